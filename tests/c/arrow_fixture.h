/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of tables need: the module with its allocations counted and refused (it is compiled into the program, so that those in
 * libtf.a are not linked), batches of random rows, and a slow spelling of what a cell of a column holds. */
#ifndef ARROW_FIXTURE_H
#define ARROW_FIXTURE_H

#include "check.h"
#include "tf_layout.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static struct {
	long calls, fail_at, live; /* fail_at: the call that is refused; 0 = none */
	bool for_ever;
} memory;

static bool refused(void)
{
	memory.calls++;
	return memory.fail_at && (memory.calls == memory.fail_at || (memory.for_ever && memory.calls > memory.fail_at));
}

static void *counted(void *p)
{
	CHECK(p);
	memory.live++;
	return p;
}

static void *counted_realloc(void *old, size_t size)
{
	void *p = refused() ? NULL : realloc(old, size);

	memory.live += p && !old;
	return p;
}

static void counted_free(void *p)
{
	memory.live -= p != NULL;
	free(p);
}

#undef strdup
#define malloc(size) (refused() ? NULL : counted(malloc(size)))
#define calloc(n, size) (refused() ? NULL : counted(calloc(n, size)))
#define strdup(text) (refused() ? NULL : counted(strdup(text)))
#define realloc counted_realloc
#define free counted_free
#include "tf_arrow.c"
#include "tf_arrow_fill.c"
#include "tf_arrow_text.c"
#undef malloc
#undef calloc
#undef strdup
#undef realloc
#undef free

enum { BATCHES = 5, MANY = 100, ROWS = 40, TEXT = 600, LONGEST = 120 };
static struct tf_batch *batches[MANY];

static const struct tf_batch *const *some(void)
{
	return (const struct tf_batch *const *)batches;
}

/* --- UTF-8, another way: what decodes to a code point that is written with the same bytes --- */

static size_t encode(uint32_t c, uint8_t to[4])
{
	static const uint8_t lead[5] = {0, 0, 0xc0, 0xe0, 0xf0};
	size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;

	for (size_t i = n - 1; i; i--, c >>= 6)
		to[i] = 0x80 | (c & 0x3f);
	to[0] = (uint8_t)(lead[n] | c);
	return n;
}

static size_t character(const uint8_t *text, size_t len)
{
	static const uint32_t highest[5] = {0, 0x7f, 0x1f, 0x0f, 0x07};

	for (size_t n = 1; n <= 4 && n <= len; n++) {
		uint32_t c = text[0] & highest[n];
		uint8_t again[4];

		for (size_t i = 1; i < n; i++)
			c = c << 6 | (text[i] & 0x3f);
		if (c <= 0x10ffff && (c < 0xd800 || c > 0xdfff) && encode(c, again) == n && !memcmp(again, text, n))
			return n;
	}
	return 0;
}

static size_t spell(const uint8_t *text, size_t len, char *to)
{
	size_t n = 0;

	for (size_t i = 0, step; i < len; i += step ? step : 1) {
		step = character(text + i, len - i);
		if (step)
			memcpy(to + n, text + i, step);
		n += step ? step : (size_t)sprintf(to + n, "\\x%02x", text[i]);
	}
	return n;
}

/* --- batches --- */

/* Letters, NULs, any bytes, and characters of every length. */
static void random_text(uint8_t *to, size_t len)
{
	for (size_t i = 0, n; i < len; i += n) {
		uint8_t c[4] = {(uint8_t)rng()};

		n = 1;
		switch (rng_below(8)) {
		case 0: c[0] = 0; break;
		case 1: break;
		case 2: n = encode(rng_below(0x110000), c); break; /* surrogates too */
		case 3: n = encode(rng_below(0x800), c); break;
		default: c[0] = 'a' + c[0] % 26;
		}
		n = n < len - i ? n : len - i; /* some are cut */
		memcpy(to + i, c, n);
	}
}

static struct tf_text random_reference(uint32_t text_len)
{
	struct tf_text t = {.offset = rng_below(text_len + 1), .full_len = (uint32_t)rng()};

	switch (rng_below(10)) {
	case 0: return (struct tf_text){UINT32_MAX, 2, 2};
	case 1: return (struct tf_text){t.offset, text_len - t.offset + 1, 0}; /* a byte too long */
	case 2: return (struct tf_text){t.offset, UINT32_MAX - rng_below(3), 0};
	case 3: return (struct tf_text){t.offset, 0, 0};
	case 4: t.offset = text_len > LONGEST ? text_len - LONGEST : 0; break; /* up to the last byte */
	}
	t.len = t.offset + LONGEST > text_len ? text_len - t.offset : rng_below(LONGEST + 1);
	return t;
}

static void random_field(const struct tf_field *f, uint8_t *at, uint32_t text_len)
{
	static const uint8_t families[] = {0, 0, AF_INET, AF_INET6, 17};
	struct tf_text t;

	if (f->kind == 'S')
		random_text(at, rng_below(2) ? f->size : rng_below(f->size));
	else if (f->kind == 'T')
		t = random_reference(text_len), memcpy(at, &t, sizeof(t));
	else if (f->kind == 'B' && rng_below(3))
		memset(at, 0, 16), at[10] = at[11] = rng_below(2) ? 0xff : 0, at[15] = (uint8_t)rng_below(3);
	else if (!strcmp(f->name, "family"))
		at[0] = families[rng_below(5)], at[f->size - 1] &= f->size == 1 ? 0xff : 0;
	else if (!strcmp(f->name, "errno") || !strcmp(f->name, "signal"))
		memset(at, rng_below(2), f->size);
}

static void random_row(const struct tf_record_layout *l, uint8_t *row, uint32_t text_len)
{
	struct tf_header *h = (struct tf_header *)(void *)row;

	for (uint16_t i = 0; i < l->size; i++)
		row[i] = (uint8_t)rng();
	for (uint16_t i = 0; i < l->n_fields; i++)
		random_field(&l->fields[i], row + l->fields[i].offset, text_len);
	h->type = l->domain;
	h->subtype = (uint8_t)rng_below(rng_below(4) ? 24 : 256);
	h->weight = 1 + (float)rng_below(4);
}

static struct tf_batch *random_batch(unsigned number, uint32_t most, uint32_t text)
{
	struct tf_need need = {0};
	struct tf_batch *b;

	for (size_t i = 0; i < tf_layout_count; i++) {
		need.rows[tf_layouts[i].domain] = most < 4 ? most : rng_below(most + 1) * (rng_below(4) > 0);
		need.text[tf_layouts[i].domain] = rng_below(5) ? text : 0;
	}
	CHECK(!tf_batch_new(NULL, &need, &b));
	for (size_t i = 0; i < tf_layout_count; i++) {
		struct tf_rows *r = &b->dom[tf_layouts[i].domain];

		random_text(r->text, r->text_len = r->text_cap);
		for (; r->n < r->cap; r->n++)
			random_row(&tf_layouts[i], r->rows + (size_t)r->n * r->row_size, r->text_len);
		b->total += r->n;
	}
	memset(b->boot_id, 1 + (int)number / 2, sizeof(b->boot_id)); /* two batches of each boot */
	b->boot_id[15] = 0xa0;
	b->wall_offset_ns = (int64_t)rng();
	b->epoch = rng();
	b->run_id = rng();
	return b;
}

/* --- what a column must hold --- */

struct place {
	const struct tf_batch *b;
	const struct tf_rows *r;
	const uint8_t *row;
	uint8_t domain;
};
static struct place places[BATCHES * ROWS * TF_TYPE_MAX];

/* The rows in the order in which a table has them. */
static size_t all_places(uint8_t domain, size_t n_batches)
{
	size_t n = 0;

	for (size_t k = 0; k < n_batches; k++)
		for (uint8_t d = 0; d < TF_TYPE_MAX; d++)
			for (uint32_t i = 0; i < batches[k]->dom[d].n; i++)
				if (domain == TF_ARROW_EVENTS ? d != TF_META : d == domain)
					places[n++] = (struct place){batches[k], &batches[k]->dom[d],
								     batches[k]->dom[d].rows + (size_t)i * batches[k]->dom[d].row_size, d};
	return n;
}

static uint64_t number(const struct place *p, const char *name)
{
	const struct tf_field *f = tf_arrow_field(p->domain, name);
	uint64_t value = 0;

	if (f)
		memcpy(&value, p->row + f->offset, f->size);
	return value;
}

static const struct tf_kind_info *kind_of(const struct place *p)
{
	for (size_t k = 0; k < TF_KIND_COUNT; k++)
		if (tf_kind_table[k].type == p->domain && tf_kind_table[k].subtype == number(p, "subtype"))
			return &tf_kind_table[k];
	return NULL;
}

static uint8_t severity(const struct place *p)
{
	const struct tf_kind_info *k = kind_of(p);
	bool exit = p->domain == TF_PROCESS && k && !strcmp(k->name, "exit"), failed = number(p, exit ? "signal" : "errno");
	uint8_t usual = k ? k->severity : TF_DEBUG_SEV;

	return failed && usual < TF_WARNING ? TF_WARNING : usual;
}

static const uint8_t *text_at(const struct place *p, uint16_t offset, size_t *len)
{
	struct tf_text t;

	memcpy(&t, p->row + offset, sizeof(t));
	*len = t.offset > p->r->text_len || t.len > p->r->text_len - t.offset ? 0 : t.len;
	return p->r->text + (*len ? t.offset : 0);
}

static void check_address(const uint8_t *raw, uint64_t family, const uint8_t *found, size_t len)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff}, none[16];
	char text[64] = "", want[64];
	uint8_t back[16];

	CHECK(len < sizeof(text));
	memcpy(text, found, len);
	if (family == AF_INET || !memcmp(raw, mapped, 12)) {
		snprintf(want, sizeof(want), "%d.%d.%d.%d", raw[12], raw[13], raw[14], raw[15]);
		CHECK(!strcmp(text, want));
	} else if (!family && !memcmp(raw, none, 16)) {
		CHECK_EQ(len, 0);
	} else {
		CHECK(inet_pton(AF_INET6, text, back) == 1 && !memcmp(raw, back, 16));
	}
}

static const char *name_of(const struct place *p, int how, char room[64])
{
	const struct tf_kind_info *k = kind_of(p);
	const uint8_t *id = p->b->boot_id;

	if (how == TF_ARROW_TYPE)
		return tf_layout_of(p->domain)->domain_name;
	if (how == TF_ARROW_SUBTYPE && k)
		return k->name;
	if (how == TF_ARROW_SUBTYPE)
		snprintf(room, 64, "%u", (unsigned)number(p, "subtype"));
	else
		snprintf(room, 64, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", id[0], id[1], id[2], id[3], id[4], id[5], id[6],
			 id[7], id[8], id[9], id[10], id[11], id[12], id[13], id[14], id[15]);
	return room;
}

/* Bytes of text i of an array of texts; every offset is looked at once, in order. */
static const uint8_t *text_in(const struct ArrowArray *a, int64_t i, size_t *len)
{
	const int32_t *offset = a->buffers[1];

	CHECK(i < a->length && offset[0] == 0 && offset[i] <= offset[i + 1]);
	*len = (size_t)(offset[i + 1] - offset[i]);
	return (const uint8_t *)a->buffers[2] + offset[i];
}

static void check_text(const struct ArrowArray *a, int64_t i, const uint8_t *raw, size_t raw_len)
{
	char want[4 * LONGEST + 1];
	size_t len, want_len = spell(raw, raw_len, want);
	const uint8_t *found = text_in(a, i, &len);

	CHECK(len == want_len && !memcmp(found, want, len));
}

/* One by one up to a NUL or the end; no text at all has no part, one more than it has NULs has any other. */
static void check_parts(const struct ArrowArray *a, size_t i, const uint8_t *raw, size_t len)
{
	const int32_t *offset = a->buffers[1];
	int32_t at = offset[i];

	CHECK(offset[0] == 0);
	for (size_t from = 0, to = 0; len && to <= len; to++)
		if (to == len || !raw[to]) {
			check_text(a->children[0], at++, raw + from, to - from);
			from = to + 1;
		}
	CHECK_EQ(offset[i + 1], at);
}

static void check_cell(const struct tf_arrow_column *c, const struct ArrowArray *a, const struct place *p, size_t i)
{
	const uint8_t *field = p->row + c->offset, *cells = a->n_buffers > 1 ? a->buffers[1] : NULL, *raw, *found;
	uint64_t u8 = cells && (c->how == TF_ARROW_TIME || c->how == TF_ARROW_RUN || c->how == TF_ARROW_EPOCH) ? ((const uint64_t *)a->buffers[1])[i] : 0;
	size_t len = c->size, found_len;
	char room[64];

	switch (c->how) {
	case TF_ARROW_NUMBER: CHECK(!memcmp(cells + i * c->size, field, c->size)); break;
	case TF_ARROW_WORDS: CHECK(!memcmp((const uint8_t *)a->children[0]->buffers[1] + i * c->size, field, c->size)); break;
	case TF_ARROW_CHARS:
		while (len && !field[len - 1])
			len--;
		check_text(a, (int64_t)i, field, len);
		break;
	case TF_ARROW_TEXT: raw = text_at(p, c->offset, &len), check_text(a, (int64_t)i, raw, len); break;
	case TF_ARROW_PARTS: raw = text_at(p, c->offset, &len), check_parts(a, i, raw, len); break;
	case TF_ARROW_BYTES:
		raw = text_at(p, c->offset, &len);
		found = text_in(a, (int64_t)i, &found_len);
		CHECK(len == found_len && !memcmp(found, raw, len));
		break;
	case TF_ARROW_ADDRESS: found = text_in(a, (int64_t)i, &len), check_address(field, number(p, "family"), found, len); break;
	case TF_ARROW_TYPE:
	case TF_ARROW_SUBTYPE:
	case TF_ARROW_BOOT:
		found = text_in(a->dictionary, ((const uint16_t *)a->buffers[1])[i], &len);
		CHECK(len == strlen(name_of(p, c->how, room)) && !memcmp(found, name_of(p, c->how, room), len));
		break;
	case TF_ARROW_TIME: CHECK_EQ(u8, number(p, "ts_ns") + (uint64_t)p->b->wall_offset_ns); break;
	case TF_ARROW_RUN: CHECK_EQ(u8, p->b->run_id); break;
	case TF_ARROW_EPOCH: CHECK_EQ(u8, p->b->epoch); break;
	case TF_ARROW_SEVERITY: CHECK_EQ(cells[i], severity(p)); break;
	default: CHECK(!"a kind of column that this test does not know");
	}
}

#endif
