/* SPDX-License-Identifier: Apache-2.0 */
/* tf_pack: rows of every domain come back as they were, alone or field by field; what is not a pack is refused without harm. */
#include <string.h>

#include "check.h"
#include "tf_pack.h"

#define EPOCHS_MAX 5u

struct sample {
	struct tf_pack_shape shape;
	struct tf_pack_rows epoch[EPOCHS_MAX];
	uint8_t *rows[EPOCHS_MAX], *text[EPOCHS_MAX];
	uint32_t n_epochs, n, counts[EPOCHS_MAX];
	uint64_t text_len;               /* as it is to come back */
};

static uint32_t text_fields(const struct tf_pack_shape *s)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < s->n_fields; i++)
		n += s->fields[i].kind == 'T';
	return n;
}

/* Values as they are on a machine: many the same, some small, some of any size. */
static void fill_field(const struct tf_field *f, uint8_t *row, uint32_t i, uint32_t sort)
{
	uint64_t v = sort % 4 == 0 ? 7 : sort % 4 == 1 ? i / 3 : sort % 4 == 2 ? rng_below(5) : rng();

	for (uint16_t b = 0; b < f->size; b++)
		row[f->offset + b] = b < 8 ? (uint8_t)(v >> (8 * b)) : (uint8_t)(sort % 4 == 3 ? rng() : 0);
}

static void fill_text(const struct tf_field *f, uint8_t *row, uint8_t *text, uint32_t *at, uint32_t sort)
{
	struct tf_text t = {0};

	if (sort % 3 && rng_below(4)) {
		uint32_t which = sort % 3 == 1 ? rng_below(20) : rng_below(1u << 30);

		t.offset = *at;
		t.len = 1 + which % 40;
		t.full_len = t.len + (which % 7 == 0 ? 100 : 0);
		for (uint32_t b = 0; b < t.len; b++)
			text[*at + b] = (uint8_t)(which >> (b % 4 * 8)) ^ (uint8_t)b;
		*at += t.len;
	}
	memcpy(row + f->offset, &t, sizeof(t));
}

static void make(struct sample *s, const struct tf_record_layout *l, uint32_t n)
{
	uint32_t sorts[TF_PACK_FIELDS_MAX];

	*s = (struct sample){.shape = {l->fields, l->n_fields, l->size}, .n_epochs = 1 + rng_below(EPOCHS_MAX), .n = n};
	for (uint32_t i = 0; i < l->n_fields; i++)
		sorts[i] = rng_below(12);
	for (uint32_t e = 0, left = n; e < s->n_epochs; e++) {
		uint32_t m = e + 1 == s->n_epochs ? left : rng_below(left + 1), at = 0;

		left -= m;
		s->rows[e] = calloc(m + 1, l->size);
		s->text[e] = calloc(m + 1, 41 * text_fields(&s->shape) + 1);
		for (uint32_t i = 0; i < m; i++)
			for (uint32_t f = 0; f < l->n_fields; f++) {
				if (l->fields[f].kind == 'T')
					fill_text(&l->fields[f], s->rows[e] + (size_t)i * l->size, s->text[e], &at, sorts[f]);
				else
					fill_field(&l->fields[f], s->rows[e] + (size_t)i * l->size, i, sorts[f]);
			}
		s->epoch[e] = (struct tf_pack_rows){s->rows[e], s->text[e], m, at};
		s->counts[e] = m;
		s->text_len += at;
	}
}

static void drop(struct sample *s)
{
	for (uint32_t e = 0; e < s->n_epochs; e++) {
		free(s->rows[e]);
		free(s->text[e]);
	}
}

static uint8_t *packed(struct tf_pack *p, const struct sample *s, ssize_t *len, uint32_t text_len[EPOCHS_MAX])
{
	size_t bound = tf_pack_bound(&s->shape, s->n, s->text_len);
	uint8_t *dst = malloc(bound);
	uint64_t sum = 0;
	bool lied = false;

	for (uint32_t e = 0; e < s->n_epochs; e++) {
		text_len[e] = (uint32_t)tf_pack_measure(&s->shape, &s->epoch[e], &lied);
		sum += text_len[e];
	}
	CHECK_EQ(sum, s->text_len);
	*len = tf_pack_encode(p, &s->shape, s->epoch, s->n_epochs, sum, lied, dst, bound);
	CHECK(*len > 0);
	return dst;
}

static int unpacked(struct tf_pack *p, const struct sample *s, const uint8_t *src, size_t len, const uint64_t wanted[2], uint8_t *rows,
		    uint8_t *text, uint32_t text_len[EPOCHS_MAX])
{
	struct tf_pack_out out = {.epoch_rows = s->counts, .n_epochs = s->n_epochs, .n = s->n, .wanted = {wanted[0], wanted[1]}, .rows = rows,
				  .text = text, .text_cap = s->text_len, .text_len = text_len};

	return tf_pack_decode(p, &s->shape, src, len, &out);
}

static const uint64_t all[2] = {UINT64_MAX, UINT64_MAX};

static void compare(const struct sample *s, const uint64_t wanted[2], const uint8_t *rows, const uint8_t *text)
{
	for (uint32_t e = 0; e < s->n_epochs; e++)
		for (uint32_t i = 0; i < s->counts[e]; i++, rows += s->shape.row_size)
			for (uint32_t f = 0; f < s->shape.n_fields; f++) {
				const struct tf_field *field = &s->shape.fields[f];
				const uint8_t *was = s->rows[e] + (size_t)i * s->shape.row_size + field->offset, *is = rows + field->offset;
				static const uint8_t none[256];
				struct tf_text t, u;

				if (!tf_pack_wants(wanted, f)) {
					CHECK(!memcmp(is, none, field->size));
					continue;
				}
				if (field->kind != 'T') {
					CHECK(!memcmp(is, was, field->size));
					continue;
				}
				memcpy(&t, was, sizeof(t));
				memcpy(&u, is, sizeof(u));
				CHECK_EQ(t.len, u.len);
				CHECK_EQ(t.full_len, u.full_len);
				/* texts lie as rows and fields do: the next one is where the last one ended */
				CHECK(!t.len || !memcmp(text, s->text[e] + t.offset, t.len));
				text += t.len;
			}
}

static void round_trip(struct tf_pack *p, const struct tf_record_layout *l, uint32_t n)
{
	struct sample s;
	uint32_t written[EPOCHS_MAX], read[EPOCHS_MAX];
	ssize_t len;
	uint8_t *src, *rows, *text;

	make(&s, l, n);
	src = packed(p, &s, &len, written);
	rows = malloc((size_t)n * l->size + 1);
	text = malloc(s.text_len + 1);
	CHECK_EQ(unpacked(p, &s, src, (size_t)len, all, rows, text, read), 0);
	for (uint32_t e = 0, at = 0; e < s.n_epochs; e++) {
		CHECK_EQ(written[e], s.epoch[e].text_len);
		CHECK_EQ(read[e], written[e]);
		/* these texts had no gaps between them: rows are the same byte for byte, offsets too */
		CHECK(!memcmp(rows + (size_t)at * l->size, s.rows[e], (size_t)s.counts[e] * l->size));
		at += s.counts[e];
	}
	compare(&s, all, rows, text);
	for (int k = 0; k < 4; k++) {
		uint64_t some[2] = {k ? rng() : 0, k ? rng() : 0};

		CHECK_EQ(unpacked(p, &s, src, (size_t)len, some, rows, text, read), 0);
		compare(&s, some, rows, text);
	}
	free(src);
	free(rows);
	free(text);
	drop(&s);
}

static void texts_anywhere(struct tf_pack *p)
{
	const struct tf_record_layout *l = tf_layout_of(TF_FILE);
	struct sample s;
	uint32_t at[2] = {0}, bytes, n_text = 0;
	uint16_t text_at[3];
	uint8_t *src, *rows, *text;
	ssize_t len;
	struct tf_text t;

	make(&s, l, 300);
	for (uint32_t f = 0; f < l->n_fields; f++)
		if (l->fields[f].kind == 'T')
			text_at[n_text++] = l->fields[f].offset;
	CHECK_EQ(n_text, 3);
	/* the same place twice, in the middle of another, and past the end: the last one is a lie */
	s.n_epochs = 1;
	s.counts[0] = s.epoch[0].n = s.n = 3;
	for (uint32_t e = 1; e < EPOCHS_MAX; e++) {
		free(s.rows[e]);
		free(s.text[e]);
	}
	free(s.rows[0]);
	free(s.text[0]);
	s.rows[0] = calloc(3, l->size);
	s.text[0] = malloc(100);
	memset(s.text[0], 'x', 100);
	memcpy(s.text[0], "abcdefgh", 8);
	s.epoch[0] = (struct tf_pack_rows){s.rows[0], s.text[0], 3, 100};
	for (int i = 0; i < 3; i++) {
		t = (struct tf_text){i == 2 ? 98 : 2, 4, 4};
		memcpy(s.rows[0] + i * l->size + text_at[i == 1], &t, sizeof(t));
	}
	s.text_len = 8;
	src = packed(p, &s, &len, at);
	CHECK_EQ(at[0], 8);
	rows = malloc(3 * l->size);
	text = malloc(8);
	CHECK_EQ(unpacked(p, &s, src, (size_t)len, all, rows, text, &bytes), 0);
	CHECK_EQ(bytes, 8);
	CHECK(!memcmp(text, "cdefcdef", 8));
	for (int i = 0; i < 3; i++) {
		const struct tf_header *h = (const void *)(rows + i * l->size);

		memcpy(&t, rows + i * l->size + text_at[i == 1], sizeof(t));
		CHECK_EQ(t.len, i == 2 ? 0 : 4);
		CHECK_EQ(t.full_len, 4);
		CHECK_EQ(t.offset, i == 1 ? 4 : 0);
		CHECK_EQ(h->flags, i == 2 ? TF_F_PARTIAL : 0);
	}
	free(rows);
	free(text);
	free(src);
	free(s.rows[0]);
	free(s.text[0]);
}

/* A pack whose checksum was right may still be anything: no byte of it may lead outside, and none may hang the reader. */
static void hostile(struct tf_pack *p, const struct tf_record_layout *l, uint32_t n, uint32_t tries)
{
	struct sample s;
	uint32_t text_len[EPOCHS_MAX], refused = 0;
	ssize_t len;
	uint8_t *src, *rows, *text, *bad;

	make(&s, l, n);
	src = packed(p, &s, &len, text_len);
	rows = malloc((size_t)n * l->size);
	text = malloc(s.text_len + 1);
	bad = malloc((size_t)len);
	for (ssize_t cut = 0; cut < len; cut += 1 + len / 512) {
		uint8_t *exact = malloc((size_t)cut + 1);       /* its own size: a sanitizer sees a step too far */

		memcpy(exact, src, (size_t)cut);
		CHECK_EQ(unpacked(p, &s, exact, (size_t)cut, all, rows, text, text_len), -EBADMSG);
		free(exact);
	}
	for (uint32_t i = 0; i < tries; i++) {
		uint64_t some[2] = {rng() | rng(), rng() | rng()};
		/* what is said of the fields is at the beginning, and half of the changes */
		uint32_t span = i % 2 && len > 400 ? 400 : (uint32_t)len;

		memcpy(bad, src, (size_t)len);
		for (uint32_t k = 0; k < 1 + i % 3; k++)
			bad[rng_below(span)] = (uint8_t)(i % 5 ? rng() : 0xff);
		refused += unpacked(p, &s, bad, (size_t)len, i % 4 ? all : some, rows, text, text_len) == -EBADMSG;
	}
	CHECK(refused > tries / 10);
	free(bad);
	free(rows);
	free(text);
	free(src);
	drop(&s);
}

/* Lists with more text than their rows can have: room would be taken for every field's. */
static void lists_are_bounded_together(struct tf_pack *p)
{
	const struct tf_record_layout *l = tf_layout_of(TF_FILE);
	struct tf_pack_shape shape = {l->fields, l->n_fields, l->size};
	static const uint32_t one[1] = {1};
	uint32_t text_len[1], n_text = 0;
	uint8_t rows[256], text[600], raw[3 * (1 + 8 + 600)] = {0}, src[4096], *at = src, *part = raw;

	*at++ = 0;                                              /* joined */
	for (uint32_t i = 0; i < l->n_fields; i++)
		*at++ = l->fields[i].kind == 'T' ? 3 : 0;
	for (uint32_t i = 0; i < l->n_fields; i++) {
		if (l->fields[i].kind != 'T') {
			memset(at, 0, l->fields[i].size);
			at += l->fields[i].size;
			continue;
		}
		*at++ = 1;                                      /* one entry of 600 bytes, which the row does not have */
		*at++ = 600 % 128 | 128;
		*at++ = 600 / 128;
		part[1] = 600 % 256;
		part[2] = 600 / 256;
		part += 1 + 8 + 600;
		n_text++;
	}
	CHECK_EQ(n_text, 3);

	uint8_t frame[1024];
	ssize_t len = tf_codec_encode_bytes(tf_pack_codec(p), raw, sizeof(raw), frame, sizeof(frame));

	CHECK(len > 0 && len < 128);
	*at++ = (uint8_t)len;
	memcpy(at, frame, (size_t)len);
	at += len;

	struct tf_pack_out out = {.epoch_rows = one, .n_epochs = 1, .n = 1, .wanted = {all[0], all[1]}, .rows = rows, .text = text,
				  .text_cap = 600, .text_len = text_len};

	CHECK_EQ(tf_pack_decode(p, &shape, src, (size_t)(at - src), &out), -EBADMSG);
	out.text_cap = 1800;                                    /* as much as the lists have: the same bytes are a pack */
	CHECK_EQ(tf_pack_decode(p, &shape, src, (size_t)(at - src), &out), 0);
	CHECK_EQ(text_len[0], 0);
}

int main(void)
{
	struct tf_pack *p;

	CHECK_EQ(tf_pack_open(99, &p), -EINVAL);
	CHECK_EQ(tf_pack_open(1, &p), 0);
	for (size_t i = 0; i < tf_layout_count; i++) {
		static const uint32_t sizes[] = {1, 2, 63, 64, 65, TF_PACK_APART - 1, TF_PACK_APART, 5000};

		for (size_t k = 0; k < sizeof(sizes) / sizeof(*sizes); k++)
			for (uint64_t again = 0; again < 2 * scale(20); again++)
				round_trip(p, &tf_layouts[i], sizes[k]);
		hostile(p, &tf_layouts[i], 100, 2000 * (uint32_t)scale(20));
		hostile(p, &tf_layouts[i], TF_PACK_APART + 100, 500 * (uint32_t)scale(20));
	}
	texts_anywhere(p);
	lists_are_bounded_together(p);
	tf_pack_close(p);
	tf_pack_close(NULL);
	printf("packs come back as they were, and what is no pack is refused\n");
	return 0;
}
