/* SPDX-License-Identifier: Apache-2.0 */
/* tf_redact: the texts that were judged before. They lie in a log that begins again at its start when it is full; a place whose text has
 * been written over is known by the log's lap and counts as empty. */
#include "tf_redact_impl.h"

uint32_t tf_redact_left(const uint8_t *text, uint32_t n, const uint8_t **bytes)
{
	const uint8_t *at = text + ((n + 3) & ~3u);
	uint32_t left;

	memcpy(&left, at, sizeof(left));
	*bytes = at + sizeof(left);
	return left;
}

/* An empty place of the set, else its oldest. */
static unsigned make_place(const struct redact_cache *c, const struct cache_set *s)
{
	unsigned oldest = 0;

	for (unsigned i = 0; i < 4; i++) {
		if (!redact_alive(c, s, i))
			return i;
		if (s->lap[i] < s->lap[oldest] || (s->lap[i] == s->lap[oldest] && s->at[i] < s->at[oldest]))
			oldest = i;
	}
	return oldest;
}

void tf_redact_remember(struct redact_cache *c, const struct cache_key *k, const uint8_t *out, ssize_t left)
{
	struct cache_set *s = &c->set[redact_set(k->hash)];
	const uint32_t n = k->len & ~CACHE_ARGV, kept = left < 0 ? 0 : (uint32_t)left;
	const uint32_t behind = (n + 3) & ~3u, size = (behind + (left < 0 ? 0 : 4 + kept) + 15) & ~15u;
	uint8_t *at;
	unsigned i;

	if (n > CACHE_TEXT_MAX)
		return;
	if (size > CACHE_LOG - c->head) {
		c->head = 0;
		c->lap++;
	}
	at = c->log + c->head;
	memcpy(at, k->text, n);
	if (left >= 0) {
		memcpy(at + behind, &kept, sizeof(kept));
		memcpy(at + behind + 4, out, kept);
	}
	c->head += size; /* before a place is chosen: one whose text is gone now is taken first */
	i = make_place(c, s);
	s->tag[i] = (uint32_t)k->hash | 1;
	s->at[i] = (uint32_t)(at - c->log);
	s->lap[i] = c->lap;
	s->len[i] = k->len | (left < 0 ? 0 : CACHE_FOUND);
}
