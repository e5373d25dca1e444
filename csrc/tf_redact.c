/* SPDX-License-Identifier: Apache-2.0 */
/* tf_redact: the texts of a batch, by domain, through the cache to the judge. */
#include "tf_redact_impl.h"
#include "tf_redact_plain.h"

#include <stdlib.h>

#define AHEAD 8 /* rows */
#define LATENCY_BYTES (24 * sizeof(uint32_t)) /* file.data of reads and writes that were added up: numbers, no text */

enum { ARGV = 1, CONTENT = 2, META = 4 };

/* Texts that may carry a secret. Not the container's control group path, which the name of the container is a part of. */
struct field {
	uint16_t at; /* of its tf_text in the row */
	uint8_t how;
};
static const struct field of_process[] = {
	{offsetof(struct tf_process, exe), 0}, {offsetof(struct tf_process, cwd), 0}, {offsetof(struct tf_process, args), ARGV}};
static const struct field of_network[] = {{offsetof(struct tf_network, name), 0}};
static const struct field of_syscall[] = {{offsetof(struct tf_syscall, path), 0}};
static const struct field of_file[] = {
	{offsetof(struct tf_file, path), 0}, {offsetof(struct tf_file, new_path), 0}, {offsetof(struct tf_file, data), CONTENT}};
static const struct field of_security[] = {{offsetof(struct tf_security, path), 0}};
static const struct field of_container[] = {{offsetof(struct tf_container, path), 0}};
static const struct field of_meta[] = {
	{offsetof(struct tf_meta, path), META}, {offsetof(struct tf_meta, path2), META}, {offsetof(struct tf_meta, data), META | ARGV}};

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

static bool is_text(unsigned how, const uint8_t *row, const struct tf_text *t)
{
	struct tf_header h;
	int kind;

	memcpy(&h, row, sizeof(h));
	if (how & CONTENT)
		return t->len != LATENCY_BYTES || t->full_len != LATENCY_BYTES || h.flags & TF_F_USER_CLAIMED;
	kind = tf_kind_of(h.type, h.subtype);
	return kind == TF_K_META_SNAPSHOT_PROCESS || (kind >= TF_K_META_FACT_PROCESS && kind <= TF_K_META_FACT_POD);
}

static __attribute__((noinline)) void note(struct tf_redact *r, uint8_t *row, uint16_t at, size_t left)
{
	const uint32_t len = (uint32_t)left;
	uint16_t flags;

	memcpy(row + at + offsetof(struct tf_text, len), &len, sizeof(len));
	memcpy(&flags, row + offsetof(struct tf_header, flags), sizeof(flags));
	r->rows += !(flags & TF_F_REDACTED);
	flags |= TF_F_REDACTED;
	memcpy(row + offsetof(struct tf_header, flags), &flags, sizeof(flags));
}

/* `f` and `n` are constants in every use. */
static inline __attribute__((always_inline)) void redact_rows(struct tf_redact *r, struct tf_rows *rows, const struct field *f, const unsigned n)
{
	const uint32_t size = rows->row_size, text_len = rows->text_len;
	const bool plain = !r->judge.n_user;
	uint8_t *row = rows->rows, *end = row + (size_t)rows->n * size;

	for (; text_len && row < end; row += size) {
		__builtin_prefetch(row + AHEAD * size + f[0].at);
#pragma GCC unroll 3
		for (unsigned i = 0; i < n; i++) {
			struct tf_text t;
			struct cache_key k;
			bool found;

			memcpy(&t.len, row + f[i].at + offsetof(struct tf_text, len), sizeof(t.len));
			if (!t.len)
				continue;
			memcpy(&t, row + f[i].at, sizeof(t));
			if (t.offset > text_len || t.len > text_len - t.offset || (f[i].how & (CONTENT | META) && !is_text(f[i].how, row, &t)))
				continue;
			if (plain && !(f[i].how & ARGV) && redact_plain(rows->text + t.offset, t.len, rows->text_cap - t.offset)) {
				r->plain++;
				continue;
			}
			k = key_of(rows->text + t.offset, t.len, f[i].how & ARGV);
			const size_t left = redact_one(r, &k, rows->text + t.offset, &found);

			if (tf_unlikely(found))
				note(r, row, f[i].at, left);
		}
	}
}

#define REDACT(domain, fields) redact_rows(r, &b->dom[domain], fields, sizeof(fields) / sizeof(fields[0]))

void tf_redact_batch(struct tf_redact *r, struct tf_batch *b)
{
	REDACT(TF_PROCESS, of_process);
	REDACT(TF_NETWORK, of_network);
	REDACT(TF_SYSCALL, of_syscall);
	REDACT(TF_FILE, of_file);
	REDACT(TF_SECURITY, of_security);
	REDACT(TF_CONTAINER, of_container);
	REDACT(TF_META, of_meta);
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
