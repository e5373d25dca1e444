/* SPDX-License-Identifier: Apache-2.0 */
/* tf_redact: the texts of a batch, by domain. */
#include "tf_redact_impl.h"
#include "tf_redact_plain.h"

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

static __attribute__((noinline)) bool is_text(unsigned how, const uint8_t *row, const struct tf_text *t)
{
	struct tf_header h;
	int kind;

	memcpy(&h, row, sizeof(h));
	if (how & CONTENT)
		return t->len != LATENCY_BYTES || t->full_len != LATENCY_BYTES || h.flags & TF_F_USER_CLAIMED;
	kind = tf_kind_of(h.type, h.subtype);
	return kind == TF_K_META_SNAPSHOT_PROCESS || (kind >= TF_K_META_FACT_PROCESS && kind <= TF_K_META_FACT_POD);
}

static void note(struct tf_redact *r, uint8_t *row, uint16_t at, size_t left)
{
	const uint32_t len = (uint32_t)left;
	uint16_t flags;

	memcpy(row + at + offsetof(struct tf_text, len), &len, sizeof(len));
	memcpy(&flags, row + offsetof(struct tf_header, flags), sizeof(flags));
	r->rows += !(flags & TF_F_REDACTED);
	flags |= TF_F_REDACTED;
	memcpy(row + offsetof(struct tf_header, flags), &flags, sizeof(flags));
}

/* A text that is not plain. */
static __attribute__((noinline)) void redact_field(struct tf_redact *r, struct tf_rows *rows, uint8_t *row, const struct field *f)
{
	struct tf_text t;
	bool found;
	size_t left;

	memcpy(&t, row + f->at, sizeof(t));
	if (t.offset > rows->text_len || t.len > rows->text_len - t.offset || (f->how & (CONTENT | META) && !is_text(f->how, row, &t)))
		return;
	left = tf_redact_text(r, rows->text + t.offset, t.len, f->how & ARGV, &found);
	if (tf_unlikely(found))
		note(r, row, f->at, left);
}

/* All but `r` and `rows` are constants in every use. */
static inline __attribute__((always_inline)) void redact_rows(struct tf_redact *r, struct tf_rows *rows, const struct field *f, const unsigned n,
							      redact_plain_fn *is_plain)
{
	const uint32_t size = rows->row_size, text_len = rows->text_len, text_cap = rows->text_cap;
	uint8_t *row = rows->rows, *const text = rows->text, *end = row + (size_t)rows->n * size;
	uint64_t plain = 0;

	for (; text_len && row < end; row += size) {
		__builtin_prefetch(row + AHEAD * size + f[0].at);
#pragma GCC unroll 3
		for (unsigned i = 0; i < n; i++) {
			const struct tf_text *t = (const struct tf_text *)(const void *)(row + f[i].at);
			const uint32_t len = t->len, offset = t->offset;

			if (!len)
				continue;
			if (!(f[i].how & ARGV) && tf_likely((uint64_t)offset + len <= text_len && is_plain(text + offset, len, text_cap - offset)))
				plain++;
			else
				redact_field(r, rows, row, &f[i]);
		}
	}
	r->plain += plain;
}

#define REDACT(domain, fields, is_plain) redact_rows(r, &b->dom[domain], fields, sizeof(fields) / sizeof(fields[0]), is_plain)
#define BATCH(name, is_plain, attribute) \
	static attribute void name(struct tf_redact *r, struct tf_batch *b) \
	{ \
		REDACT(TF_PROCESS, of_process, is_plain); \
		REDACT(TF_NETWORK, of_network, is_plain); \
		REDACT(TF_SYSCALL, of_syscall, is_plain); \
		REDACT(TF_FILE, of_file, is_plain); \
		REDACT(TF_SECURITY, of_security, is_plain); \
		REDACT(TF_CONTAINER, of_container, is_plain); \
		REDACT(TF_META, of_meta, is_plain); \
	}
BATCH(batch_avx2, redact_plain_avx2, RP_AVX2)
BATCH(batch_sse, redact_plain_sse, )
BATCH(batch_any, redact_plain_never, )

void tf_redact_batch(struct tf_redact *r, struct tf_batch *b)
{
	if (r->judge.n_user)
		batch_any(r, b);
	else if (redact_has_avx2())
		batch_avx2(r, b);
	else
		batch_sse(r, b);
}
