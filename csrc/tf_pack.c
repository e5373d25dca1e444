/* SPDX-License-Identifier: Apache-2.0 */
/* tf_pack: rows to packs. Relies on tf_codec for planes and zstd. */
#include "tf_pack_impl.h"

#include <stdlib.h>
#include <sys/random.h>

#define VARINT_MAX 10u
#define SAID_VALUES_MAX 4096u        /* bytes: values of fields that are the same in all rows; no row is longer */

int tf_pack_open(int level, struct tf_pack **out)
{
	struct tf_pack *p = calloc(1, sizeof(*p));
	int rc = p ? tf_codec_open(level, &p->codec) : -ENOMEM;

	if (!rc && getrandom(p->list.key, sizeof(p->list.key), 0) != (ssize_t)sizeof(p->list.key))
		rc = -EIO;
	if (rc) {
		tf_pack_close(p);
		return rc;
	}
	*out = p;
	return 0;
}

void tf_pack_close(struct tf_pack *p)
{
	if (!p)
		return;
	tf_codec_close(p->codec);
	tf_pack_list_free(&p->list);
	free(p->ids);
	free(p->raw);
	free(p->joined);
	free(p->planes);
	free(p);
}

struct tf_codec *tf_pack_codec(struct tf_pack *p)
{
	return p->codec;
}

size_t tf_pack_bound(const struct tf_pack_shape *shape, uint32_t n_rows, uint64_t text_len)
{
	size_t bound = 1 + TF_PACK_FIELDS_MAX * (4 * VARINT_MAX + 1) + SAID_VALUES_MAX;

	/* a list has at most an entry a row, whose number and lengths take the place of the reference */
	for (uint32_t i = 0; i < shape->n_fields; i++)
		bound += 1 + tf_codec_bound((size_t)n_rows * shape->fields[i].size) + 128;
	return bound + tf_codec_bound(text_len);
}

/* --- writing --- */

struct to {
	uint8_t *at, *end;
	bool full;
};

static void put(struct to *t, const void *data, size_t len)
{
	if ((size_t)(t->end - t->at) < len) {
		t->full = true;
		return;
	}
	memcpy(t->at, data, len);
	t->at += len;
}

static void put_count(struct to *t, uint64_t n)
{
	uint8_t bytes[VARINT_MAX];
	size_t len = 0;

	for (; n > 127; n >>= 7)
		bytes[len++] = (uint8_t)(n | 0x80);
	bytes[len++] = (uint8_t)n;
	put(t, bytes, len);
}

/* What is put together while fields are looked at: what is said of them, and their frames (or, joined, their bytes as they are). */
struct packing {
	struct tf_pack *p;
	const struct tf_pack_shape *shape;
	const struct tf_pack_rows *epochs;
	uint32_t n_epochs, n;
	uint64_t text;
	uint8_t *planes;
	bool apart;
	struct to said, frames;
};

/* A part of a field: compressed now, or later with all others. */
static int put_part(struct packing *k, const uint8_t *data, size_t len)
{
	ssize_t packed;

	if (!k->apart) {
		put(&k->frames, data, len);
		return k->frames.full ? -ENOSPC : 0;
	}
	packed = tf_codec_encode_bytes(k->p->codec, data, len, k->frames.at, (size_t)(k->frames.end - k->frames.at));
	if (packed < 0)
		return (int)packed;
	k->frames.at += packed;
	put_count(&k->said, (uint64_t)packed);
	return 0;
}

static bool plane_is_one_value(const uint8_t *plane, uint32_t n)
{
	return n < 2 || !memcmp(plane, plane + 1, n - 1);
}

static int pack_number(struct packing *k, const struct tf_field *f, uint8_t *mode)
{
	const uint8_t *plane = k->planes + (size_t)f->offset * k->n;
	bool steps = f->offset < 16 && k->shape->row_size >= 16;
	uint16_t b = 0;

	while (b < f->size && plane_is_one_value(plane + (size_t)b * k->n, k->n))
		b++;
	if (b == f->size && !steps) {
		*mode = TF_PACK_SAME;
		for (b = 0; b < f->size; b++)
			put(&k->said, plane + (size_t)b * k->n, 1);
		return 0;
	}
	*mode = steps ? TF_PACK_STEPS : TF_PACK_PLANES;
	return put_part(k, plane, (size_t)f->size * k->n);
}

static bool lies(const void *text, const struct tf_pack_rows *r)
{
	struct tf_text t;

	memcpy(&t, text, sizeof(t));
	return (uint64_t)t.offset + t.len > r->text_len;
}

uint64_t tf_pack_measure(const struct tf_pack_shape *shape, const struct tf_pack_rows *r, bool *lied)
{
	uint64_t sum = 0;

	for (uint32_t f = 0; f < shape->n_fields; f++) {
		const uint8_t *at = r->rows + shape->fields[f].offset;

		if (shape->fields[f].kind != 'T')
			continue;
		for (uint32_t i = 0; i < r->n; i++, at += shape->row_size) {
			struct tf_text t;

			memcpy(&t, at, sizeof(t));
			if (tf_unlikely(lies(at, r)))
				*lied = true;
			else
				sum += t.len;
		}
	}
	return sum;
}

/* Rows with a reference that lies are marked, in the planes. */
static void mark_lies(struct packing *k)
{
	uint8_t *partial = k->planes + (offsetof(struct tf_header, flags) + 1) * (size_t)k->n;
	size_t at = 0;

	_Static_assert(TF_F_PARTIAL >> 8 && TF_F_PARTIAL <= 0xffff, "it is in the second byte of flags");
	for (uint32_t e = 0; e < k->n_epochs; e++) {
		const struct tf_pack_rows *r = &k->epochs[e];
		const uint8_t *row = r->rows;

		for (uint32_t i = 0; i < r->n; i++, at++, row += k->shape->row_size)
			for (uint32_t f = 0; f < k->shape->n_fields; f++)
				if (k->shape->fields[f].kind == 'T' && lies(row + k->shape->fields[f].offset, r))
					partial[at] |= TF_F_PARTIAL >> 8;
	}
}

/* Numbers of the texts of a field, row by row. */
static int collect_texts(struct packing *k, const struct tf_field *f)
{
	struct tf_pack *p = k->p;
	uint32_t *id = p->ids;

	tf_pack_list_reset(&p->list);
	for (uint32_t e = 0; e < k->n_epochs; e++) {
		const struct tf_pack_rows *r = &k->epochs[e];
		const uint8_t *row = r->rows;

		for (uint32_t i = 0; i < r->n; i++, row += k->shape->row_size) {
			struct tf_text t;
			int64_t found = 0;

			memcpy(&t, row + f->offset, sizeof(t));
			if (lies(&t, r))
				t.len = 0;
			if (t.len || t.full_len)
				found = tf_pack_list_find(&p->list, t.len ? r->text + t.offset : (const uint8_t *)"", t.len, t.full_len);
			if (found < 0)
				return (int)found;
			*id++ = (uint32_t)found;
		}
	}
	return 0;
}

/* n numbers of 4 bytes as `size` planes. */
static void planes_of(const uint32_t *number, size_t stride, uint32_t n, uint32_t size, uint8_t *to)
{
	for (uint32_t b = 0; b < size; b++)
		for (uint32_t i = 0; i < n; i++)
			to[(size_t)b * n + i] = (uint8_t)(*(const uint32_t *)((const uint8_t *)number + i * stride) >> (8 * b));
}

static int pack_texts(struct packing *k, const struct tf_field *f)
{
	struct tf_pack *p = k->p;
	struct tf_pack_list *l = &p->list;
	uint32_t size;
	uint8_t *raw;
	int rc = collect_texts(k, f);

	if (rc)
		return rc;
	put_count(&k->said, l->n);
	if (!l->n)
		return 0;
	put_count(&k->said, l->text_len);
	size = tf_pack_id_size(l->n);
	raw = tf_pack_room((void **)&p->raw, &p->raw_cap, (size_t)size * k->n + 8 * (size_t)l->n + l->text_len);
	if (!raw)
		return -ENOMEM;
	planes_of(p->ids, sizeof(*p->ids), k->n, size, raw);
	rc = put_part(k, raw, (size_t)size * k->n);
	if (rc)
		return rc;
	planes_of(&l->entry->len, sizeof(*l->entry), l->n, 4, raw);
	planes_of(&l->entry->full_len, sizeof(*l->entry), l->n, 4, raw + 4 * (size_t)l->n);
	memcpy(raw + 8 * (size_t)l->n, l->text, l->text_len);
	return put_part(k, raw, 8 * (size_t)l->n + l->text_len);
}

static int pack_fields(struct packing *k, uint8_t *modes)
{
	int rc = 0;

	for (uint32_t i = 0; i < k->shape->n_fields && !rc; i++) {
		const struct tf_field *f = &k->shape->fields[i];

		if (f->kind == 'T') {
			modes[i] = TF_PACK_LIST;
			rc = pack_texts(k, f);
		} else {
			rc = pack_number(k, f, &modes[i]);
		}
	}
	return rc;
}

bool tf_pack_covers(const struct tf_pack_shape *s)
{
	uint32_t at = 0;

	if (s->n_fields > TF_PACK_FIELDS_MAX || s->row_size < sizeof(struct tf_header) || s->row_size > SAID_VALUES_MAX)
		return false;
	for (uint32_t i = 0; i < s->n_fields; i++) {
		if (s->fields[i].offset != at || (s->fields[i].kind == 'T' && s->fields[i].size != sizeof(struct tf_text)))
			return false;
		at += s->fields[i].size;
	}
	return at == s->row_size;
}

/* Sets up `k`: what is to be packed, planes, and room for the numbers of texts. */
static int begin(struct packing *k)
{
	struct tf_span *spans = malloc((k->n_epochs + 1) * sizeof(*spans));

	if (!spans)
		return -ENOMEM;
	for (uint32_t e = 0; e < k->n_epochs; e++) {
		spans[e] = (struct tf_span){k->epochs[e].rows, k->epochs[e].n};
		k->n += k->epochs[e].n;
	}
	k->apart = k->n >= TF_PACK_APART;
	k->planes = tf_codec_planes_of(k->p->codec, spans, k->n_epochs, k->shape->row_size);
	free(spans);
	if (!k->planes || !tf_pack_room((void **)&k->p->ids, &k->p->ids_cap, (size_t)k->n * sizeof(*k->p->ids)))
		return -ENOMEM;
	return 0;
}

/* Bytes of all parts of a joined pack as they are, at most. */
static size_t joined_room(const struct packing *k)
{
	return (size_t)k->n * k->shape->row_size + (size_t)k->text;
}

/* One frame of everything. */
static int join(struct packing *k, const uint8_t *raw, uint8_t *dst, size_t cap)
{
	ssize_t packed = tf_codec_encode_bytes(k->p->codec, raw, (size_t)(k->frames.at - raw), dst, cap);

	if (packed < 0)
		return (int)packed;
	put_count(&k->said, (uint64_t)packed);
	k->frames = (struct to){.at = dst + packed, .end = dst + cap};
	return 0;
}

ssize_t tf_pack_encode(struct tf_pack *p, const struct tf_pack_shape *shape, const struct tf_pack_rows *epochs, uint32_t n_epochs,
		       uint64_t text, bool lied, uint8_t *dst, size_t cap)
{
	uint8_t said[TF_PACK_FIELDS_MAX * (4 * VARINT_MAX + 1) + SAID_VALUES_MAX];
	struct packing k = {.p = p, .shape = shape, .epochs = epochs, .n_epochs = n_epochs, .text = text};
	size_t head = 1 + shape->n_fields;
	uint8_t *frames = dst + head + sizeof(said);      /* moved down to what is said, once that is known */
	int rc;

	if (!tf_pack_covers(shape))
		return -EINVAL;
	if (cap < head + sizeof(said))
		return -ENOSPC;
	rc = begin(&k);
	if (rc)
		return rc;
	if (lied)
		mark_lies(&k);
	k.said = (struct to){.at = said, .end = said + sizeof(said)};
	k.frames = (struct to){.at = frames, .end = dst + cap};
	if (!k.apart) {
		size_t room = joined_room(&k);
		uint8_t *raw = tf_pack_room((void **)&p->joined, &p->joined_cap, room);

		if (!raw)
			return -ENOMEM;
		k.frames = (struct to){.at = raw, .end = raw + room};
	}
	dst[0] = k.apart ? TF_PACK_FIELDS : TF_PACK_JOINED;
	rc = pack_fields(&k, dst + 1);
	if (!rc && !k.apart)
		rc = join(&k, p->joined, frames, (size_t)(dst + cap - frames));
	if (rc || k.said.full)
		return rc ? rc : -EINVAL;
	memcpy(dst + head, said, (size_t)(k.said.at - said));
	memmove(dst + head + (k.said.at - said), frames, (size_t)(k.frames.at - frames));
	return (ssize_t)(head + (size_t)(k.said.at - said) + (size_t)(k.frames.at - frames));
}
