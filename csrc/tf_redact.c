/* SPDX-License-Identifier: Apache-2.0 */
/* tf_redact: a text through the cache to the judge. */
#include "tf_redact_impl.h"

#include <stdlib.h>

int tf_redact_open(const char *const *patterns, size_t n, struct tf_redact **out, size_t *which, size_t *error_at, char *msg, size_t msg_size)
{
	struct tf_redact *r;
	int rc;

	*out = NULL;
	*which = *error_at = 0;
	if (n > REDACT_MAX_PATTERNS)
		return -E2BIG;
	r = aligned_alloc(64, (sizeof(*r) + 63) & ~(size_t)63);
	if (!r)
		return -ENOMEM;
	memset(r, 0, sizeof(*r));
	rc = tf_redact_judge_open(&r->judge, patterns, n, which, error_at, msg, msg_size);
	if (rc < 0) {
		tf_redact_close(r);
		return rc;
	}
	*out = r;
	return 0;
}

/* Judges a text that the cache does not know; *left as tf_redact_judge. */
static const uint8_t *judge(struct tf_redact *r, const struct cache_key *k, ssize_t *left)
{
	const uint32_t n = k->len & ~CACHE_ARGV;

	r->misses++;
	if (n > REDACT_TEXT_CAP) {
		memcpy(r->out, "***", 3);
		*left = 3;
		return r->out;
	}
	*left = tf_redact_judge(&r->judge, k->text, n, k->len & CACHE_ARGV, r->out);
	tf_redact_remember(&r->cache, k, r->out, *left);
	return r->out;
}

/* As tf_redact_text, for a text that is not known as one without a secret. */
static __attribute__((noinline)) size_t redact_slowly(struct tf_redact *r, const struct cache_key *k, const uint8_t *known, uint8_t *text,
						     bool *found)
{
	const uint32_t n = k->len & ~CACHE_ARGV;
	const uint8_t *bytes = NULL;
	ssize_t left;

	if (known)
		left = tf_redact_left(known, n, &bytes);
	else
		bytes = judge(r, k, &left);
	if (left < 0)
		return n;
	*found = true;
	memcpy(text, bytes, (size_t)left);
	memset(text + left, 0, n - (size_t)left); /* the store keeps the whole area */
	return (size_t)left;
}

size_t tf_redact_text(struct tf_redact *r, uint8_t *text, size_t n, bool argv, bool *found)
{
	const struct cache_key k = {redact_hash(text, n, argv), text, (uint32_t)n | (argv ? CACHE_ARGV : 0)};
	uint32_t len = 0;
	const uint8_t *known = redact_known(&r->cache, &k, &len);

	*found = false;
	r->hits += known != NULL;
	if (tf_likely(known && !(len & CACHE_FOUND)))
		return n;
	return redact_slowly(r, &k, known, text, found);
}

void tf_redact_stats(const struct tf_redact *r, struct tf_redact_stats *out)
{
	*out = (struct tf_redact_stats){r->rows, r->plain, r->hits, r->misses, sizeof(*r) + r->judge.bytes};
}

void tf_redact_close(struct tf_redact *r)
{
	if (!r)
		return;
	tf_redact_judge_close(&r->judge);
	free(r);
}
