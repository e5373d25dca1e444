/* SPDX-License-Identifier: Apache-2.0 */
/* tf_redact: the texts of a batch, by domain, through the cache to the judge. */
#include "tf_redact_impl.h"

#include <stdlib.h>

#define LATENCY_BYTES (24 * sizeof(uint32_t)) /* file.data of reads and writes that were added up: numbers, no text */

#define BLOCK 16u /* rows that are looked at together */
#define FIELDS_MAX 3u

enum { ARGV = 1, CONTENT = 2 };

/* Texts that may carry a secret. Not the container's control group path, which the name of the container is a part of. */
static const struct field {
	uint8_t domain, how;
	uint16_t at;
} fields[] = {
	{TF_PROCESS, 0, offsetof(struct tf_process, exe)},
	{TF_PROCESS, 0, offsetof(struct tf_process, cwd)},
	{TF_PROCESS, ARGV, offsetof(struct tf_process, args)},
	{TF_NETWORK, 0, offsetof(struct tf_network, name)},
	{TF_SYSCALL, 0, offsetof(struct tf_syscall, path)},
	{TF_FILE, 0, offsetof(struct tf_file, path)},
	{TF_FILE, 0, offsetof(struct tf_file, new_path)},
	{TF_FILE, CONTENT, offsetof(struct tf_file, data)},
	{TF_SECURITY, 0, offsetof(struct tf_security, path)},
	{TF_CONTAINER, 0, offsetof(struct tf_container, path)},
	{TF_META, 0, offsetof(struct tf_meta, path)},
	{TF_META, 0, offsetof(struct tf_meta, path2)},
	{TF_META, ARGV, offsetof(struct tf_meta, data)},
};
#define N_FIELDS (sizeof(fields) / sizeof(fields[0]))

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

static inline struct cache_key key_of(const uint8_t *text, uint32_t n, bool argv)
{
	return (struct cache_key){redact_hash(text, n, argv), text, n | (argv ? CACHE_ARGV : 0)};
}

/* Returns the new length. */
static inline size_t redact_one(struct tf_redact *r, const struct cache_key *k, uint8_t *text, bool *found)
{
	uint32_t len = 0;
	const uint8_t *known = redact_known(&r->cache, k, &len);

	*found = false;
	r->hits += known != NULL;
	if (tf_likely(known && !(len & CACHE_FOUND)))
		return k->len & ~CACHE_ARGV;
	return redact_slowly(r, k, known, text, found);
}

size_t tf_redact_text(struct tf_redact *r, uint8_t *text, size_t n, bool argv, bool *found)
{
	const struct cache_key k = key_of(text, (uint32_t)n, argv);

	return redact_one(r, &k, text, found);
}

static bool is_text(const struct field *f, const uint8_t *row, const struct tf_text *t)
{
	struct tf_header h;

	memcpy(&h, row, sizeof(h));
	if (f->how == CONTENT)
		return t->len != LATENCY_BYTES || t->full_len != LATENCY_BYTES || h.flags & TF_F_USER_CLAIMED;
	if (f->domain == TF_META) {
		const int kind = tf_kind_of(h.type, h.subtype);

		return kind == TF_K_META_SNAPSHOT_PROCESS || (kind >= TF_K_META_FACT_PROCESS && kind <= TF_K_META_FACT_POD);
	}
	return true;
}

/* Texts that are about to be looked up: their hashes are made first, so that the cache's lines come while others are being made. */
struct lookup {
	struct cache_key key;
	uint8_t *row;
	uint32_t at; /* of the tf_text in the row */
};

static inline bool take(struct lookup *l, const struct field *f, const struct tf_rows *rows, uint8_t *row)
{
	struct tf_text t;

	memcpy(&t, row + f->at, sizeof(t));
	if (!t.len || t.offset > rows->text_len || t.len > rows->text_len - t.offset)
		return false;
	if ((f->how == CONTENT || f->domain == TF_META) && !is_text(f, row, &t))
		return false;
	*l = (struct lookup){key_of(rows->text + t.offset, t.len, f->how == ARGV), row, f->at};
	return true;
}

static inline void look_up(struct tf_redact *r, const struct lookup *l)
{
	struct tf_text t;
	uint16_t flags;
	bool found;
	const size_t left = redact_one(r, &l->key, (uint8_t *)(uintptr_t)l->key.text, &found);

	if (tf_likely(!found))
		return;
	memcpy(&t, l->row + l->at, sizeof(t));
	t.len = (uint32_t)left;
	memcpy(l->row + l->at, &t, sizeof(t));
	memcpy(&flags, l->row + offsetof(struct tf_header, flags), sizeof(flags));
	r->rows += !(flags & TF_F_REDACTED);
	flags |= TF_F_REDACTED;
	memcpy(l->row + offsetof(struct tf_header, flags), &flags, sizeof(flags));
}

/* The fields [f, end) of one domain. */
static void redact_rows(struct tf_redact *r, const struct field *f, const struct field *end, const struct tf_rows *rows)
{
	struct lookup queue[BLOCK * FIELDS_MAX];

	for (uint32_t i = 0; i < rows->n; i += BLOCK) {
		const uint32_t stop = rows->n - i < BLOCK ? rows->n : i + BLOCK;
		uint32_t n = 0;

		for (uint32_t k = i; k < stop; k++) {
			uint8_t *row = rows->rows + (size_t)k * rows->row_size;

			__builtin_prefetch(row + BLOCK * rows->row_size + f->at);
			for (const struct field *g = f; g < end; g++) {
				if (!take(&queue[n], g, rows, row))
					continue;
				__builtin_prefetch(&r->cache.set[redact_set(queue[n].key.hash)]);
				n++;
			}
		}
		for (uint32_t k = 0; k < n; k++)
			look_up(r, &queue[k]);
	}
}

void tf_redact_batch(struct tf_redact *r, struct tf_batch *b)
{
	const struct field *end = fields + N_FIELDS, *next;

	for (const struct field *f = fields; f < end; f = next) {
		for (next = f; next < end && next->domain == f->domain; next++)
			;
		tf_assert(next - f <= FIELDS_MAX);
		if (b->dom[f->domain].n && b->dom[f->domain].text_len)
			redact_rows(r, f, next, &b->dom[f->domain]);
	}
}

void tf_redact_stats(const struct tf_redact *r, struct tf_redact_stats *out)
{
	*out = (struct tf_redact_stats){r->rows, r->hits, r->misses, sizeof(*r) + r->judge.bytes};
}

void tf_redact_close(struct tf_redact *r)
{
	if (!r)
		return;
	tf_redact_judge_close(&r->judge);
	free(r);
}
