/* SPDX-License-Identifier: Apache-2.0 */
/* tf_pack_read: packs to rows. Every number comes from a file: it is checked before anything is taken or read by it. */
#include "tf_pack_impl.h"

struct from {
	const uint8_t *at, *end;
	bool bad;
};

/* One field: what is said of it, and where its bytes are. */
struct part {
	uint8_t mode;
	const uint8_t *value;        /* TF_PACK_SAME */
	uint64_t entries, list_text; /* TF_PACK_LIST */
	uint64_t raw[2];             /* bytes: planes; or numbers of entries and list. 0 = no such part */
	uint64_t packed[2];          /* bytes: of its frames, unless joined */
	const uint8_t *frame[2];
};

struct reading {
	struct tf_pack *p;
	const struct tf_pack_shape *shape;
	const struct tf_pack_out *out;
	struct part part[TF_PACK_FIELDS_MAX];
	uint64_t list_text;          /* bytes: of all lists so far. Every entry is some row's text, so they are no more than all texts */
	bool joined;
};

static const uint8_t *take(struct from *f, uint64_t len)
{
	const uint8_t *at = f->at;

	if (f->bad || (uint64_t)(f->end - f->at) < len) {
		f->bad = true;
		return NULL;
	}
	f->at += len;
	return at;
}

static uint64_t take_count(struct from *f)
{
	uint64_t n = 0;

	for (unsigned shift = 0; shift < 63; shift += 7) {
		const uint8_t *byte = take(f, 1);

		if (!byte)
			return 0;
		n |= (uint64_t)(*byte & 0x7f) << shift;
		if (!(*byte & 0x80))
			return n;
	}
	f->bad = true;
	return 0;
}

static void read_list(struct reading *r, struct part *part, struct from *f)
{
	part->entries = take_count(f);
	if (!part->entries)
		return;
	part->list_text = take_count(f);
	if (part->entries > r->out->n || part->list_text > r->out->text_cap - r->list_text) {
		f->bad = true;
		return;
	}
	r->list_text += part->list_text;
	part->raw[0] = (uint64_t)tf_pack_id_size(part->entries) * r->out->n;
	part->raw[1] = 8 * part->entries + part->list_text;
}

static void read_said(struct reading *r, uint32_t i, struct from *f)
{
	const struct tf_field *field = &r->shape->fields[i];
	struct part *part = &r->part[i];

	if ((field->kind == 'T') != (part->mode == TF_PACK_LIST) || part->mode > TF_PACK_LIST ||
	    (part->mode == TF_PACK_STEPS && field->size != 8) || (uint32_t)field->offset + field->size > r->shape->row_size ||
	    (field->kind == 'T' && field->size != sizeof(struct tf_text))) {
		f->bad = true;
		return;
	}
	if (part->mode == TF_PACK_SAME)
		part->value = take(f, field->size);
	else if (part->mode == TF_PACK_LIST)
		read_list(r, part, f);
	else
		part->raw[0] = (uint64_t)field->size * r->out->n;
	for (int k = 0; k < 2 && !r->joined; k++)
		part->packed[k] = part->raw[k] ? take_count(f) : 0;
}

/* The one frame of a joined pack: its parts follow one another in it. */
static int read_joined(struct reading *r, struct from *f)
{
	uint64_t packed = take_count(f), raw = 0;
	const uint8_t *frame = take(f, packed), *at;
	int rc;

	for (uint32_t i = 0; i < r->shape->n_fields; i++)
		raw += r->part[i].raw[0] + r->part[i].raw[1];
	if (f->bad || f->at != f->end)
		return -EBADMSG;
	at = tf_pack_room((void **)&r->p->joined, &r->p->joined_cap, raw);
	if (!at)
		return -ENOMEM;
	rc = tf_codec_decode_bytes(r->p->codec, frame, packed, r->p->joined, raw);
	for (uint32_t i = 0; i < r->shape->n_fields; i++)
		for (int k = 0; k < 2; k++) {
			r->part[i].frame[k] = at;
			at += r->part[i].raw[k];
		}
	return rc;
}

static int read_head(struct reading *r, const uint8_t *src, size_t len)
{
	struct from f = {.at = src, .end = src + len};
	const uint8_t *form = take(&f, 1), *modes = take(&f, r->shape->n_fields);

	if (f.bad || *form > TF_PACK_FIELDS)
		return -EBADMSG;
	r->joined = *form == TF_PACK_JOINED;
	for (uint32_t i = 0; i < r->shape->n_fields; i++) {
		r->part[i] = (struct part){.mode = modes[i]};
		read_said(r, i, &f);
		if (f.bad)
			return -EBADMSG;
	}
	if (r->joined)
		return read_joined(r, &f);
	for (uint32_t i = 0; i < r->shape->n_fields; i++)
		for (int k = 0; k < 2; k++)
			r->part[i].frame[k] = take(&f, r->part[i].packed[k]);
	return f.bad || f.at != f.end ? -EBADMSG : 0;
}

/* A part's bytes into `to`. */
static int part_into(struct reading *r, const struct part *part, int k, uint8_t *to)
{
	if (!r->joined)
		return tf_codec_decode_bytes(r->p->codec, part->frame[k], part->packed[k], to, part->raw[k]);
	memcpy(to, part->frame[k], part->raw[k]);
	return 0;
}

/* --- numbers --- */

static bool wants_all(const struct reading *r)
{
	for (uint32_t i = 0; i < r->shape->n_fields; i++)
		if (!tf_pack_wants(r->out->wanted, i))
			return false;
	return true;
}

/* Whether the planes can be put side by side and turned into rows at once: as this engine writes them. */
static bool is_usual(const struct reading *r)
{
	for (uint32_t i = 0; i < r->shape->n_fields; i++)
		if ((r->part[i].mode == TF_PACK_STEPS) != (r->shape->fields[i].offset < 16))
			return false;
	return tf_pack_covers(r->shape) && wants_all(r);
}

static int all_rows(struct reading *r)
{
	size_t n = r->out->n;
	uint8_t *planes = tf_pack_room((void **)&r->p->planes, &r->p->planes_cap, n * r->shape->row_size + 64);
	int rc = 0;

	if (!planes)
		return -ENOMEM;
	for (uint32_t i = 0; i < r->shape->n_fields && !rc; i++) {
		const struct tf_field *f = &r->shape->fields[i];
		const struct part *part = &r->part[i];
		uint8_t *to = planes + f->offset * n;

		if (part->mode == TF_PACK_SAME)
			for (uint16_t b = 0; b < f->size; b++)
				memset(to + b * n, part->value[b], n);
		else if (part->mode == TF_PACK_LIST)
			memset(to, 0, f->size * n);
		else
			rc = part_into(r, part, 0, to);
	}
	if (!rc)
		tf_codec_unplanes(planes, r->out->n, r->shape->row_size, r->out->rows);
	return rc;
}

static void put_column(const struct tf_field *f, const struct part *part, const uint8_t *planes, const struct tf_pack_out *out, uint32_t row_size)
{
	uint8_t *to = out->rows + f->offset;
	uint64_t sum = 0;

	if (part->mode == TF_PACK_SAME) {
		for (uint32_t i = 0; i < out->n; i++, to += row_size)
			memcpy(to, part->value, f->size);
		return;
	}
	if (part->mode == TF_PACK_PLANES) {
		for (uint16_t b = 0; b < f->size; b++, planes += out->n)
			for (uint32_t i = 0; i < out->n; i++)
				to[(size_t)i * row_size + b] = planes[i];
		return;
	}
	for (uint32_t i = 0; i < out->n; i++, to += row_size) {
		uint64_t step = 0;

		for (int b = 0; b < 8; b++)
			step |= (uint64_t)planes[(size_t)b * out->n + i] << (8 * b);
		sum += step;
		memcpy(to, &sum, sizeof(sum));
	}
}

static int some_fields(struct reading *r)
{
	int rc = 0;

	memset(r->out->rows, 0, (size_t)r->out->n * r->shape->row_size);
	for (uint32_t i = 0; i < r->shape->n_fields && !rc; i++) {
		const struct part *part = &r->part[i];
		const uint8_t *planes = part->frame[0];

		if (part->mode == TF_PACK_LIST || !tf_pack_wants(r->out->wanted, i))
			continue;
		if (part->mode != TF_PACK_SAME && !r->joined) {
			uint8_t *to = tf_pack_room((void **)&r->p->planes, &r->p->planes_cap, part->raw[0]);

			rc = to ? part_into(r, part, 0, to) : -ENOMEM;
			planes = to;
		}
		if (!rc)
			put_column(&r->shape->fields[i], part, planes, r->out, r->shape->row_size);
	}
	return rc;
}

/* --- texts --- */

struct texts {
	uint16_t offset;             /* bytes: of the field in the row */
	uint32_t entries, id_size;
	const uint8_t *ids, *lens, *text;
	uint64_t *at;                /* bytes: of each entry's text in the list; one more: its end */
};

static uint32_t number_at(const uint8_t *planes, size_t n, uint32_t size, size_t i)
{
	uint32_t v = 0;

	for (uint32_t b = 0; b < size; b++)
		v |= (uint32_t)planes[b * n + i] << (8 * b);
	return v;
}

/* Lays a list out in `room`: its parts, and where each text begins. */
static int open_list(struct reading *r, uint32_t field, uint8_t *room, struct texts *t)
{
	const struct part *part = &r->part[field];
	uint64_t at = 0;
	int rc = part_into(r, part, 0, room + 8 * (part->entries + 1));

	if (!rc)
		rc = part_into(r, part, 1, room + 8 * (part->entries + 1) + part->raw[0]);
	if (rc)
		return rc;
	t->at = (uint64_t *)room;
	t->offset = r->shape->fields[field].offset;
	t->entries = (uint32_t)part->entries;
	t->id_size = tf_pack_id_size(part->entries);
	t->ids = room + 8 * (part->entries + 1);
	t->lens = t->ids + part->raw[0];
	t->text = t->lens + 8 * part->entries;
	for (uint32_t i = 0; i < t->entries; i++) {
		t->at[i] = at;
		at += number_at(t->lens, t->entries, 4, i);
	}
	t->at[t->entries] = at;
	return at == part->list_text ? 0 : -EBADMSG;
}

static uint64_t list_room(const struct part *part)
{
	return (8 * (part->entries + 1) + part->raw[0] + part->raw[1] + 7) & ~7ull;
}

static int open_lists(struct reading *r, struct texts *t, uint32_t *n)
{
	uint64_t need = 0;
	uint8_t *room;
	int rc = 0;

	*n = 0;
	for (uint32_t i = 0; i < r->shape->n_fields; i++)
		if (r->part[i].entries && tf_pack_wants(r->out->wanted, i))
			need += list_room(&r->part[i]);
	room = tf_pack_room((void **)&r->p->raw, &r->p->raw_cap, need);
	if (!room)
		return -ENOMEM;
	for (uint32_t i = 0; i < r->shape->n_fields && !rc; i++)
		if (r->part[i].entries && tf_pack_wants(r->out->wanted, i)) {
			rc = open_list(r, i, room, &t[(*n)++]);
			room += list_room(&r->part[i]);
		}
	return rc;
}

static int put_texts(struct reading *r)
{
	struct texts t[TF_PACK_FIELDS_MAX];
	const struct tf_pack_out *out = r->out;
	uint8_t *row = out->rows;
	uint32_t n, i = 0;
	size_t pos = 0, start;
	int rc = open_lists(r, t, &n);

	if (rc)
		return rc;
	for (uint32_t e = 0; e < out->n_epochs; e++) {
		start = pos;
		for (uint32_t left = n ? out->epoch_rows[e] : 0; left; left--, i++, row += r->shape->row_size)
			for (uint32_t f = 0; f < n; f++) {
				uint32_t id = number_at(t[f].ids, out->n, t[f].id_size, i);
				struct tf_text text = {.offset = (uint32_t)(pos - start)};

				if (!id)
					continue;
				if (id > t[f].entries)
					return -EBADMSG;
				text.len = (uint32_t)(t[f].at[id] - t[f].at[id - 1]);
				text.full_len = number_at(t[f].lens + 4 * (size_t)t[f].entries, t[f].entries, 4, id - 1);
				if (text.len > out->text_cap - pos)
					return -EBADMSG;
				if (!text.len)
					text.offset = 0;
				memcpy(out->text + pos, t[f].text + t[f].at[id - 1], text.len);
				memcpy(row + t[f].offset, &text, sizeof(text));
				pos += text.len;
			}
		out->text_len[e] = (uint32_t)(pos - start);
	}
	return 0;
}

int tf_pack_decode(struct tf_pack *p, const struct tf_pack_shape *shape, const uint8_t *src, size_t len, const struct tf_pack_out *out)
{
	struct reading r = {.p = p, .shape = shape, .out = out};
	int rc;

	if (shape->n_fields > TF_PACK_FIELDS_MAX || !out->n)
		return -EBADMSG;
	rc = read_head(&r, src, len);
	if (!rc)
		rc = is_usual(&r) ? all_rows(&r) : some_fields(&r);
	return rc ? rc : put_texts(&r);
}
