/* SPDX-License-Identifier: Apache-2.0 */
/* tf_arrow_text: the columns of texts, addresses and names. */
#include "tf_arrow_impl.h"
#include "tf_layout.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#define TEXT_MAX INT32_MAX   /* bytes: offsets of utf8 and binary are i4 */
#define FIRST_TEXTS 65536u   /* count: room for the bytes of so many is made at once */

/* --- texts that grow --- */

struct grow {
	uint8_t *data;
	int32_t *offset;             /* n + 1 */
	size_t len, cap, n, n_cap;
};

static int grow_open(struct grow *g, uint64_t n)
{
	memset(g, 0, sizeof(*g));
	g->n_cap = n;
	g->offset = malloc((n + 1) * sizeof(*g->offset));
	g->cap = 64 + (n < FIRST_TEXTS ? 16 * n : 16 * (size_t)FIRST_TEXTS);
	g->data = malloc(g->cap);
	if (!g->offset || !g->data) {
		free(g->offset);
		free(g->data);
		return -ENOMEM;
	}
	g->offset[0] = 0;
	return 0;
}

static int grow_room(struct grow *g, size_t more)
{
	if (tf_likely(more <= g->cap - g->len))
		return 0;
	if (g->len + more > TEXT_MAX)
		return -E2BIG;

	size_t cap = g->cap * 2 > g->len + more ? g->cap * 2 : g->len + more;
	uint8_t *data = realloc(g->data, cap);

	if (!data)
		return -ENOMEM;
	g->data = data;
	g->cap = cap;
	return 0;
}

static int end_text(struct grow *g)
{
	if (g->len > TEXT_MAX)
		return -E2BIG;
	if (g->n == g->n_cap) {
		int32_t *offset = realloc(g->offset, (2 * g->n_cap + 2) * sizeof(*offset));

		if (!offset)
			return -ENOMEM;
		g->offset = offset;
		g->n_cap = 2 * g->n_cap + 1;
	}
	g->offset[++g->n] = (int32_t)g->len;
	return 0;
}

static bool plain(const uint8_t *text, size_t len)
{
	uint8_t any = 0;

	for (size_t i = 0; i < len; i++)
		any |= text[i];
	return any < 0x80;
}

/* Bytes of the character at text, 0 where none begins. */
static size_t char_len(const uint8_t *text, size_t len)
{
	uint8_t c = text[0];
	size_t n = c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;

	if (!n || n > len)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((text[i] & 0xc0) != 0x80)
			return 0;
	/* overlong forms, surrogates, and what lies beyond Unicode */
	if ((c == 0xe0 && text[1] < 0xa0) || (c == 0xed && text[1] > 0x9f) || (c == 0xf0 && text[1] < 0x90) || (c == 0xf4 && text[1] > 0x8f))
		return 0;
	return n;
}

size_t tf_arrow_utf8(const uint8_t *text, size_t len, uint8_t *to)
{
	static const char hex[] = "0123456789abcdef";
	uint8_t *at = to;

	for (size_t i = 0; i < len;) {
		size_t n = char_len(text + i, len - i);

		if (n) {
			memcpy(at, text + i, n);
			at += n;
			i += n;
			continue;
		}
		*at++ = '\\';
		*at++ = 'x';
		*at++ = hex[text[i] >> 4];
		*at++ = hex[text[i++] & 15];
	}
	return at - to;
}

static int put_text(struct grow *g, const uint8_t *text, size_t len)
{
	if (tf_likely(plain(text, len))) {
		int err = grow_room(g, len);

		if (err)
			return err;
		memcpy(g->data + g->len, text, len);
		g->len += len;
	} else {
		int err = grow_room(g, 4 * len);

		if (err)
			return err;
		g->len += tf_arrow_utf8(text, len, g->data + g->len);
	}
	return end_text(g);
}

static int put_bytes(struct grow *g, const uint8_t *bytes, size_t len)
{
	int err = grow_room(g, len);

	if (err)
		return err;
	memcpy(g->data + g->len, bytes, len);
	g->len += len;
	return end_text(g);
}

/* What was put as an array; nothing when that failed. */
static int end_array(struct ArrowArray *a, struct grow *g, int err)
{
	if (!err)
		err = tf_arrow_make(a, (int64_t)g->n, 3, 0);
	if (err) {
		free(g->offset);
		free(g->data);
		return err;
	}
	tf_arrow_give(a, 1, g->offset);
	tf_arrow_give(a, 2, g->data);
	return 0;
}

static const uint8_t *text_of(const struct tf_rows *r, const uint8_t *row, uint16_t offset, size_t *len)
{
	const struct tf_text *t = (const void *)(row + offset);

	*len = (uint64_t)t->offset + t->len <= r->text_len ? t->len : 0;    /* a reference that lies is no text */
	return *len ? r->text + t->offset : (const uint8_t *)"";
}

/* Text of a 16-byte address as events.address_text() has it. */
static size_t address(const uint8_t *raw, unsigned family, char *to)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff}, none[16];
	const char *text;

	if (!family && !memcmp(raw, none, sizeof(none)))
		return 0;
	if (family == AF_INET || !memcmp(raw, mapped, sizeof(mapped)))
		text = inet_ntop(AF_INET, raw + 12, to, INET6_ADDRSTRLEN);
	else
		text = inet_ntop(AF_INET6, raw, to, INET6_ADDRSTRLEN);
	return text ? strlen(text) : 0;
}

int tf_arrow_texts(const struct tf_arrow_column *c, const struct tf_arrow_parts *parts, struct ArrowArray *a)
{
	struct grow g;
	int err = grow_open(&g, parts->rows);

	if (err)
		return err;
	for (size_t p = 0; p < parts->n && !err; p++) {
		const struct tf_rows *r = parts->part[p].rows;
		const struct tf_field *family = tf_arrow_field(parts->part[p].domain, "family");
		const uint8_t *row = r->rows, *text;
		char ip[INET6_ADDRSTRLEN];
		size_t len;

		for (uint32_t i = 0; i < r->n && !err; i++, row += r->row_size) {
			switch (c->how) {
			case TF_ARROW_CHARS:
				for (len = c->size; len && !row[c->offset + len - 1];)
					len--;
				err = put_text(&g, row + c->offset, len);
				break;
			case TF_ARROW_ADDRESS: {
				uint16_t number = 0;

				if (family)
					memcpy(&number, row + family->offset, family->size);
				len = address(row + c->offset, number, ip);
				err = put_bytes(&g, (const uint8_t *)ip, len);
				break;
			}
			default:
				text = text_of(r, row, c->offset, &len);
				err = c->how == TF_ARROW_BYTES ? put_bytes(&g, text, len) : put_text(&g, text, len);
			}
		}
	}
	return end_array(a, &g, err);
}

/* How many texts the NULs separate in all; -E2BIG is left to those who put them. */
static uint64_t count_parts(const struct tf_arrow_column *c, const struct tf_arrow_parts *parts)
{
	uint64_t n = 0;

	for (size_t p = 0; p < parts->n; p++) {
		const struct tf_rows *r = parts->part[p].rows;
		const uint8_t *row = r->rows;

		for (uint32_t i = 0; i < r->n; i++, row += r->row_size) {
			size_t len;
			const uint8_t *text = text_of(r, row, c->offset, &len);

			n += len > 0;
			for (size_t b = 0; b < len; b++)
				n += !text[b];
		}
	}
	return n;
}

static int put_parts(struct grow *g, const uint8_t *text, size_t len)
{
	const uint8_t *end = text + len;

	if (!len)
		return 0;
	for (;;) {
		const uint8_t *nul = memchr(text, 0, end - text);
		int err = put_text(g, text, (nul ? nul : end) - text);

		if (err || !nul)
			return err;
		text = nul + 1;
	}
}

int tf_arrow_lists(const struct tf_arrow_column *c, const struct tf_arrow_parts *parts, struct ArrowArray *a)
{
	uint64_t n = count_parts(c, parts), at = 0;
	struct grow g;
	int err = tf_arrow_make(a, (int64_t)parts->rows, 2, 1);
	int32_t *offset = err ? NULL : tf_arrow_buffer(a, 1, (parts->rows + 1) * sizeof(*offset));

	if (err || !offset)
		return -ENOMEM;
	if (n > TEXT_MAX)
		return -E2BIG;
	err = grow_open(&g, n);
	if (err)
		return err;
	for (size_t p = 0; p < parts->n && !err; p++) {
		const struct tf_rows *r = parts->part[p].rows;
		const uint8_t *row = r->rows;

		for (uint32_t i = 0; i < r->n && !err; i++, row += r->row_size) {
			size_t len;
			const uint8_t *text = text_of(r, row, c->offset, &len);

			err = put_parts(&g, text, len);
			offset[++at] = (int32_t)g.n;
		}
	}
	return end_array(a->children[0], &g, err);
}

/* --- names: a dictionary of those that the rows have, in the order in which they come --- */

/* Place of a name in `g`, put there if it is new: a dictionary has no name twice. -E2BIG, -ENOMEM. */
static int place_of(struct grow *g, const char *name)
{
	size_t len = strlen(name);
	int err;

	for (size_t i = 0; i < g->n; i++)
		if ((size_t)(g->offset[i + 1] - g->offset[i]) == len && !memcmp(g->data + g->offset[i], name, len))
			return (int)i;
	if (g->n > UINT16_MAX)
		return -E2BIG;
	err = put_bytes(g, (const uint8_t *)name, len);
	return err ? err : (int)g->n - 1;
}

static int place_of_kind(struct grow *g, int how, uint8_t type, uint8_t subtype)
{
	const struct tf_record_layout *l = tf_layout_of(type);
	int kind = tf_kind_of(type, subtype);
	char number[16];

	snprintf(number, sizeof(number), "%u", how == TF_ARROW_TYPE ? type : subtype);
	if (how == TF_ARROW_TYPE)
		return place_of(g, l ? l->domain_name : number);
	return place_of(g, kind >= 0 ? tf_kind_table[kind].name : number);
}

static int kinds(int how, const struct tf_arrow_parts *parts, struct grow *g, uint16_t *index)
{
	int32_t place[TF_TYPE_MAX][256];

	memset(place, -1, sizeof(place));
	for (size_t p = 0; p < parts->n; p++) {
		const struct tf_rows *r = parts->part[p].rows;
		uint8_t domain = parts->part[p].domain;
		const uint8_t *row = r->rows;

		for (uint32_t i = 0; i < r->n; i++, row += r->row_size) {
			uint8_t subtype = ((const struct tf_header *)row)->subtype;
			int32_t *at = &place[domain][how == TF_ARROW_TYPE ? 0 : subtype];

			if (tf_unlikely(*at < 0))
				*at = place_of_kind(g, how, domain, subtype);
			if (*at < 0)
				return *at;
			*index++ = (uint16_t)*at;
		}
	}
	return 0;
}

static void boot_text(const uint8_t id[16], char text[40])
{
	char *at = text;

	for (int i = 0; i < 16; i++)
		at += sprintf(at, i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x", id[i]);
}

static int boots(const struct tf_arrow_parts *parts, struct grow *g, uint16_t *index)
{
	const uint8_t *last = NULL;
	int place = 0;

	for (size_t p = 0; p < parts->n; p++) {
		const uint8_t *id = parts->part[p].batch->boot_id;

		if (!last || memcmp(last, id, 16)) {
			char text[40];

			boot_text(id, text);
			place = place_of(g, text);
			if (place < 0)
				return place;
			last = id;
		}
		for (uint32_t i = 0; i < parts->part[p].rows->n; i++)
			*index++ = (uint16_t)place;
	}
	return 0;
}

int tf_arrow_names(const struct tf_arrow_column *c, const struct tf_arrow_parts *parts, struct ArrowArray *a)
{
	struct grow g;
	int err = tf_arrow_make(a, (int64_t)parts->rows, 2, 0);
	uint16_t *index = err ? NULL : tf_arrow_buffer(a, 1, parts->rows * sizeof(*index));

	if (err || !index || !(a->dictionary = calloc(1, sizeof(*a->dictionary))))
		return -ENOMEM;
	err = grow_open(&g, 16);
	if (err)
		return err;
	err = c->how == TF_ARROW_BOOT ? boots(parts, &g, index) : kinds(c->how, parts, &g, index);
	return end_array(a->dictionary, &g, err);
}
