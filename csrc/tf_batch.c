/* SPDX-License-Identifier: Apache-2.0 */
/* tf_batch: carving, sharing, appending and copying of batches. */
#include "tf_pool_impl.h"

#include <stdlib.h>

#define LINE 64

static size_t lines(uint64_t bytes)
{
	return (bytes + LINE - 1) / LINE * LINE;
}

/* Bytes that the need takes, 0 when it is beyond what an offset can say. */
static bool arena_bytes(const struct tf_need *need, size_t *size)
{
	*size = 0;
	for (uint8_t d = 0; d < TF_TYPE_MAX; d++) {
		if (need->rows[d] && !tf_row_size(d))
			return false;
		*size += lines((uint64_t)need->rows[d] * tf_row_size(d)) + lines(need->text[d]);
	}
	return true;
}

static void carve(struct tf_batch *b, const struct tf_need *need)
{
	uint8_t *at = b->arena;

	for (uint8_t d = 0; d < TF_TYPE_MAX; d++) {
		struct tf_rows *r = &b->dom[d];

		r->row_size = tf_row_size(d);
		r->cap = need->rows[d];
		r->text_cap = need->text[d];
		r->rows = at;
		at += at ? lines((uint64_t)r->cap * r->row_size) : 0;
		r->text = at;
		at += at ? lines(r->text_cap) : 0;
	}
}

int tf_batch_new(struct tf_pool *p, const struct tf_need *need, struct tf_batch **out)
{
	struct tf_batch *b;
	size_t size;

	if (!arena_bytes(need, &size))
		return -EINVAL;
	b = calloc(1, sizeof(*b));
	if (!b)
		return -ENOMEM;
	b->refs = 1;
	if (size && p) {
		b->arena = tf_pool_take(p, size, &b->arena_size);
		b->pool = p;
	} else if (size) {
		b->arena = aligned_alloc(LINE, size);
		b->arena_size = size;
	}
	if (size && !b->arena) {
		free(b);
		return -ENOMEM;
	}
	carve(b, need);
	*out = b;
	return 0;
}

bool tf_batch_may_fit(const struct tf_pool *p, const struct tf_need *need)
{
	size_t size;

	return arena_bytes(need, &size) && (!size || tf_pool_ever(p, size));
}

void tf_batch_ref(struct tf_batch *b)
{
	__atomic_add_fetch(&b->refs, 1, __ATOMIC_RELAXED);
}

void tf_batch_unref(struct tf_batch *b)
{
	/* acq_rel: what other holders did to the rows happens before the arena is reused */
	if (!b || __atomic_sub_fetch(&b->refs, 1, __ATOMIC_ACQ_REL))
		return;
	if (b->pool)
		tf_pool_give(b->pool, b->arena, b->arena_size, b->detached);
	else
		free(b->arena);
	free(b);
}

void tf_batch_detach(struct tf_batch *b)
{
	if (!__atomic_exchange_n(&b->detached, 1, __ATOMIC_ACQ_REL) && b->pool)
		tf_pool_move(b->pool, b->arena_size);
}

/* Copies a row and the bytes of its texts; offsets count from `text`. The caller has made sure that it fits. */
static void add_row(struct tf_rows *r, uint8_t domain, const uint8_t *row, const uint8_t *text)
{
	uint8_t *to = r->rows + (size_t)r->n++ * r->row_size;
	const uint16_t *at;
	uint32_t fields = tf_text_fields(domain, &at);

	memcpy(to, row, r->row_size);
	for (uint32_t i = 0; i < fields; i++) {
		struct tf_text t;

		memcpy(&t, row + at[i], sizeof(t));
		if (t.len)
			memcpy(r->text + r->text_len, text + t.offset, t.len);
		t.offset = t.len ? r->text_len : 0;
		r->text_len += t.len;
		memcpy(to + at[i], &t, sizeof(t));
	}
}

/* Bytes of a row's texts, or -1 when one lies outside text_len bytes. */
static int64_t text_bytes(uint8_t domain, const uint8_t *row, uint32_t text_len)
{
	const uint16_t *at;
	uint32_t fields = tf_text_fields(domain, &at);
	int64_t sum = 0;

	for (uint32_t i = 0; i < fields; i++) {
		struct tf_text t;

		memcpy(&t, row + at[i], sizeof(t));
		if (t.offset > text_len || t.len > text_len - t.offset)
			return -1;
		sum += t.len;
	}
	return sum;
}

int tf_batch_append(struct tf_batch *b, uint8_t domain, const void *row, const void *text, uint32_t text_len)
{
	struct tf_rows *r;
	int64_t need;

	if (!tf_row_size(domain))
		return -EINVAL;
	r = &b->dom[domain];
	need = text_bytes(domain, row, text_len);
	if (need < 0)
		return -EINVAL;
	if (r->n == r->cap || need > (int64_t)(r->text_cap - r->text_len))
		return -ENOSPC;
	add_row(r, domain, row, text);
	b->total++;
	return 0;
}

/* The first row from i on whose bit is set (NULL: i), or n: few of many are found a word at a time. */
static uint32_t next_wanted(const uint64_t *mask, uint32_t i, uint32_t n)
{
	uint64_t left;

	if (!mask || i >= n)
		return i;
	left = mask[i / 64] >> (i % 64);
	while (!left) {
		i = (i / 64 + 1) * 64;
		if (i >= n)
			return n;
		left = mask[i / 64];
	}
	i += (uint32_t)__builtin_ctzll(left);
	return i < n ? i : n;
}

/* -EBADMSG when a text lies outside its area (a batch from a damaged file), -EFBIG when the texts together pass 4 GiB. */
static int add_need(const struct tf_batch *src, uint8_t d, const uint64_t *mask, struct tf_need *need)
{
	const struct tf_rows *r = &src->dom[d];
	uint64_t text = need->text[d], rows = need->rows[d];

	for (uint32_t i = next_wanted(mask, 0, r->n); i < r->n; i = next_wanted(mask, i + 1, r->n)) {
		const int64_t len = text_bytes(d, r->rows + (size_t)i * r->row_size, r->text_len);

		if (len < 0)
			return -EBADMSG;
		text += (uint64_t)len;
		rows++;
	}
	if (text > UINT32_MAX || rows > UINT32_MAX)
		return -EFBIG;
	need->text[d] = (uint32_t)text;
	need->rows[d] = (uint32_t)rows;
	return 0;
}

static void add_rows(struct tf_batch *to, const struct tf_batch *src, uint8_t d, const uint64_t *mask)
{
	const struct tf_rows *r = &src->dom[d];

	for (uint32_t i = next_wanted(mask, 0, r->n); i < r->n; i = next_wanted(mask, i + 1, r->n))
		add_row(&to->dom[d], d, r->rows + (size_t)i * r->row_size, r->text);
	to->total += to->dom[d].n;
}

static void copy_identity(struct tf_batch *to, const struct tf_batch *src)
{
	to->epoch = src->epoch;
	to->watermark_ns = src->watermark_ns;
	to->wall_offset_ns = src->wall_offset_ns;
	to->run_id = src->run_id;
	memcpy(to->boot_id, src->boot_id, sizeof(to->boot_id));
}

int tf_batch_select(const struct tf_batch *src, const uint64_t *const mask[TF_TYPE_MAX], struct tf_batch **out)
{
	struct tf_need need = {0};
	int rc = 0;

	for (uint8_t d = 0; !rc && d < TF_TYPE_MAX; d++)
		rc = add_need(src, d, mask ? mask[d] : NULL, &need);
	if (!rc)
		rc = tf_batch_new(NULL, &need, out);
	if (rc)
		return rc;
	for (uint8_t d = 0; d < TF_TYPE_MAX; d++)
		add_rows(*out, src, d, mask ? mask[d] : NULL);
	copy_identity(*out, src);
	memcpy((*out)->loss, src->loss, sizeof(src->loss));
	return 0;
}

int tf_batch_concat(struct tf_batch *const *src, size_t n, struct tf_batch **out)
{
	struct tf_need need = {0};
	int rc = 0;

	for (size_t i = 0; i < n; i++)
		for (uint8_t d = 0; !rc && d < TF_TYPE_MAX; d++)
			rc = add_need(src[i], d, NULL, &need);
	if (!rc)
		rc = tf_batch_new(NULL, &need, out);
	if (rc)
		return rc;
	for (uint8_t d = 0; d < TF_TYPE_MAX; d++) {
		for (size_t i = 0; i < n; i++) {
			const struct tf_rows *r = &src[i]->dom[d];

			for (uint32_t k = 0; k < r->n; k++)
				add_row(&(*out)->dom[d], d, r->rows + (size_t)k * r->row_size, r->text);
		}
		(*out)->total += (*out)->dom[d].n;
	}
	for (size_t i = 0; i < n; i++)
		for (unsigned c = 0; c < TF_L_COUNT; c++)
			(*out)->loss[c] += src[i]->loss[c];
	if (n)
		copy_identity(*out, src[n - 1]);
	return 0;
}
