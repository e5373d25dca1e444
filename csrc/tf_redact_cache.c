/* SPDX-License-Identifier: Apache-2.0 */
/* tf_redact: the texts that were judged before. They lie in a log that begins again at its start when it is full; a place whose text has
 * been written over is known by how much was written since, and counts as empty. */
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
		if (!s->tag[i] || !redact_alive(c, s, i))
			return i;
		if (c->head - s->at[i] > c->head - s->at[oldest])
			oldest = i;
	}
	return oldest;
}

/* Room for a text that does not go over the end of the log. */
static void make_room(struct redact_cache *c, uint32_t size)
{
	if (size > CACHE_LOG - c->head % CACHE_LOG)
		c->head += CACHE_LOG - c->head % CACHE_LOG;
	if (c->head > UINT32_MAX - 2 * CACHE_LOG) { /* 4 GiB of new texts: positions would come again */
		memset(c->set, 0, sizeof(c->set));
		c->head = 0;
	}
}

void tf_redact_remember(struct redact_cache *c, const struct cache_key *k, const uint8_t *out, ssize_t left)
{
	struct cache_set *s = &c->set[redact_set(k->hash)];
	const uint32_t n = k->len & ~CACHE_ARGV, kept = left < 0 ? 0 : (uint32_t)left;
	const uint32_t behind = (n + 3) & ~3u, size = (behind + (left < 0 ? 0 : 4 + kept) + 15) & ~15u;
	uint32_t from;
	uint8_t *at;
	unsigned i;

	if (n > CACHE_TEXT_MAX)
		return;
	make_room(c, size);
	from = c->head;
	at = c->log + from % CACHE_LOG;
	memcpy(at, k->text, n);
	if (left >= 0) {
		memcpy(at + behind, &kept, sizeof(kept));
		memcpy(at + behind + 4, out, kept);
	}
	c->head += size; /* before a place is chosen: one whose text is gone now is taken first */
	i = make_place(c, s);
	s->tag[i] = (uint32_t)k->hash | 1;
	s->at[i] = from;
	s->len[i] = k->len | (left < 0 ? 0 : CACHE_FOUND);
}
