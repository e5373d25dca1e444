// SPDX-License-Identifier: Apache-2.0
/* tf_segment_decode: a frame's payload as batches, one per epoch. Every length comes from a file: checked before it is used. */
#include <stdlib.h>

#include "tf_layout.h"
#include "tf_segment_impl.h"

/* ---- rows of older and newer files ---- */

struct span {
	const uint8_t *at, *end;
};

static const void *take(struct span *s, size_t len)
{
	const void *p = s->at;
	if (!p || (size_t)(s->end - s->at) < len) {
		s->at = NULL;
		return NULL;
	}
	s->at += len;
	return p;
}

static const struct tf_field *field_named(const struct tf_record_layout *l, const struct tf_seg_field *f, const char *name)
{
	for (uint16_t i = 0; l && i < l->n_fields; i++) {
		const struct tf_field *mine = &l->fields[i];
		if (strlen(mine->name) == f->name_len && memcmp(mine->name, name, f->name_len) == 0)
			return mine->kind == f->kind && mine->size == f->size ? mine : NULL;
	}
	return NULL;
}

static void add_move(struct tf_seg_moves *m, uint16_t from, uint16_t to, uint16_t len)
{
	if (m->n && m->move[m->n - 1].from + m->move[m->n - 1].len == from && m->move[m->n - 1].to + m->move[m->n - 1].len == to)
		m->move[m->n - 1].len = (uint16_t)(m->move[m->n - 1].len + len);
	else if (m->n < TF_MOVES_MAX) {
		m->move[m->n].from = from;
		m->move[m->n].to = to;
		m->move[m->n++].len = len;
	} else {
		m->known = false;
	}
}

static void plan_domain(struct span *s, const struct tf_seg_domain *d, struct tf_seg_moves *m)
{
	const struct tf_record_layout *l = d->domain < TF_TYPE_MAX ? tf_layout_of(d->domain) : NULL;
	uint32_t matched = 0, at = 0;
	m->known = l && tf_row_size(d->domain) == l->size && d->n_fields <= TF_PACK_FIELDS_MAX;
	m->src_size = d->row_size;
	for (uint16_t i = 0; i < d->n_fields; i++) {
		struct tf_seg_field f;
		const void *raw = take(s, sizeof(f));
		if (!raw)
			return;
		memcpy(&f, raw, sizeof(f));
		const char *name = take(s, f.name_len);
		if (!name)
			return;
		const struct tf_field *mine = field_named(l, &f, name);
		if (m->known) {
			m->mine[i] = (uint8_t)(mine ? mine - l->fields : TF_PACK_FIELDS_MAX);
			m->field[m->n_fields++] = (struct tf_field){ .name = "", .c_name = "", .kind = f.kind, .offset = f.offset, .size = f.size };
		}
		/* Field by field, without gaps: two that overlap could make a text reference that no unpacking made. */
		m->known = m->known && f.offset == at;
		at += f.size;
		if (!mine || (uint32_t)f.offset + f.size > d->row_size)
			continue;
		matched += mine->offset == f.offset;
		add_move(m, f.offset, mine->offset, f.size);
	}
	m->known = m->known && at == d->row_size;
	m->same = m->known && l->size == d->row_size && matched == l->n_fields && d->n_fields == l->n_fields;
}

void tf_seg_plan(const uint8_t *head, struct tf_seg_moves plan[TF_TYPE_MAX])
{
	struct tf_seg_head h;
	struct tf_seg_moves other;
	memcpy(&h, head, sizeof(h));
	struct span s = { head + sizeof(h), head + h.length - 4 };
	memset(plan, 0, TF_TYPE_MAX * sizeof(*plan));
	for (uint32_t i = 0; i < h.n_domains && s.at; i++) {
		struct tf_seg_domain d;
		const void *raw = take(&s, sizeof(d));
		if (!raw)
			break;
		memcpy(&d, raw, sizeof(d));
		take(&s, d.name_len);
		memset(&other, 0, sizeof(other));
		plan_domain(&s, &d, &other);
		if (d.domain < TF_TYPE_MAX && s.at)
			plan[d.domain] = other;
	}
}

static void convert(const struct tf_seg_moves *m, const uint8_t *src, uint32_t n, uint32_t row_size, uint8_t *dst)
{
	if (m->same) {
		memcpy(dst, src, (size_t)n * row_size);
		return;
	}
	memset(dst, 0, (size_t)n * row_size);
	for (uint32_t i = 0; i < n; i++, src += m->src_size, dst += row_size)
		for (uint16_t k = 0; k < m->n; k++)
			memcpy(dst + m->move[k].to, src + m->move[k].from, m->move[k].len);
}

/* ---- blocks ---- */

static const uint8_t *line_at(const struct tf_seg_decoded *b, uint32_t epoch)
{
	return b->raw + epoch * tf_epoch_line_len(b->head.n_loss, b->head.n_domains);
}

static uint32_t rows_at(const struct tf_seg_decoded *b, uint32_t epoch, uint32_t i)
{
	uint32_t n;
	memcpy(&n, line_at(b, epoch) + sizeof(struct tf_epoch_line) + 8 * (size_t)b->head.n_loss + 4 * (size_t)i, sizeof(n));
	return n;
}

static uint32_t *texts_of(const struct tf_seg_decoded *b, uint32_t i)
{
	return b->texts + (size_t)i * b->head.n_epochs;
}

/* The epochs' counts must add up to the domains' totals, or slices would leave the buffers. */
static int check_counts(const struct tf_seg_decoded *b)
{
	for (uint32_t i = 0; i < b->head.n_domains; i++) {
		uint64_t rows = 0;
		for (uint32_t e = 0; e < b->head.n_epochs; e++)
			rows += rows_at(b, e, i);
		if (rows != b->dom[i].rows)
			return -EBADMSG;
	}
	return 0;
}

/* Where everything goes; *ours: bytes that it has as rows of this build, which may be longer than the file's. */
static size_t place(struct tf_seg_decoded *b, const struct tf_seg_moves plan[TF_TYPE_MAX], uint32_t domains, uint64_t *ours)
{
	size_t at = b->head.n_epochs * tf_epoch_line_len(b->head.n_loss, b->head.n_domains);
	b->unknown_rows = 0;
	*ours = 0;
	for (uint32_t i = 0; i < b->head.n_domains; i++) {
		const struct tf_frame_domain *d = &b->dom[i];
		bool known = d->domain < TF_TYPE_MAX && plan[d->domain].known && plan[d->domain].src_size == d->row_size;
		for (uint32_t k = 0; known && k < i; k++)
			known = b->dom[k].domain != d->domain; /* a domain named twice would overflow its batch */
		b->wanted[i] = known && (!domains || domains & 1u << d->domain);
		b->unknown_rows += known ? 0 : d->rows;
		b->rows_at[i] = at;
		b->text_at[i] = at + (size_t)d->rows * d->row_size;
		at = b->wanted[i] ? b->text_at[i] + d->text : at;
		*ours += b->wanted[i] ? (uint64_t)d->rows * tf_row_size(d->domain) + d->text : 0;
	}
	return at;
}

/* Fields of the file that are wanted: ts_ns, by which rows are told to be in the range, always. */
static void wanted_fields(const struct tf_seg_moves *m, const struct tf_reader_select *sel, uint8_t domain, uint64_t wanted[2])
{
	wanted[0] = wanted[1] = sel->some_fields ? 0 : UINT64_MAX;
	for (uint32_t i = 0; i < m->n_fields && sel->some_fields; i++) {
		uint8_t mine = m->mine[i];
		if (mine < TF_PACK_FIELDS_MAX && (mine == 0 || tf_pack_wants(sel->fields[domain], mine)))
			wanted[i / 64] |= 1ull << i % 64;
	}
}

static int decode_domain(struct tf_seg_decoded *b, uint32_t i, const struct tf_seg_moves plan[TF_TYPE_MAX], const struct tf_reader_select *sel,
			 const uint8_t *payload)
{
	const struct tf_frame_domain *d = &b->dom[i];
	uint32_t *rows = texts_of(b, b->head.n_domains);
	if (!b->wanted[i] || !d->rows)
		return 0;
	const struct tf_seg_moves *m = &plan[d->domain];
	struct tf_pack_shape shape = { m->field, m->n_fields, m->src_size };
	struct tf_pack_out out = { .epoch_rows = rows, .n_epochs = b->head.n_epochs, .n = d->rows, .rows = b->raw + b->rows_at[i],
				   .text = b->raw + b->text_at[i], .text_cap = d->text, .text_len = texts_of(b, i) };
	for (uint32_t e = 0; e < b->head.n_epochs; e++)
		rows[e] = rows_at(b, e, i);
	wanted_fields(m, sel, d->domain, out.wanted);
	return tf_pack_decode(b->pack, &shape, payload, d->pack_len, &out);
}

static int room_for(void **buffer, size_t *cap, size_t need)
{
	if (need > *cap) {
		free(*buffer);
		*buffer = malloc(need + need / 4);
		*cap = *buffer ? need + need / 4 : 0;
	}
	return *buffer ? 0 : -ENOMEM;
}

int tf_seg_decode(struct tf_seg_decoded *b, const struct tf_seg_moves plan[TF_TYPE_MAX], const struct tf_reader_select *sel,
		  const uint8_t *payload)
{
	size_t table = b->head.n_epochs * tf_epoch_line_len(b->head.n_loss, b->head.n_domains);
	uint64_t ours;
	size_t need = place(b, plan, sel->domains, &ours); /* at most TF_BLOCK_RAW_CAP: tf_frame_check */
	b->next_epoch = b->head.n_epochs; /* none to give until all is decoded */
	if (ours > TF_BLOCK_RAW_CAP)
		return -EBADMSG;
	size_t texts = (b->head.n_domains + 1) * (size_t)b->head.n_epochs * sizeof(*b->texts);
	if (room_for((void **)&b->raw, &b->raw_cap, need) || room_for((void **)&b->texts, &b->texts_cap, texts))
		return -ENOMEM;
	memset(b->texts, 0, texts);
	int rc = tf_codec_decode_bytes(tf_pack_codec(b->pack), payload, b->head.epochs_len, b->raw, table);
	if (!rc)
		rc = check_counts(b);
	payload += b->head.epochs_len;
	for (uint32_t i = 0; !rc && i < b->head.n_domains; i++) {
		rc = decode_domain(b, i, plan, sel, payload);
		payload += b->dom[i].pack_len;
	}
	if (!rc)
		b->next_epoch = 0;
	return rc;
}

static void fill_head(const struct tf_seg_decoded *b, uint32_t e, struct tf_batch *out)
{
	struct tf_epoch_line line;
	uint32_t n_loss = b->head.n_loss < TF_L_COUNT ? b->head.n_loss : TF_L_COUNT;
	memcpy(&line, line_at(b, e), sizeof(line));
	memcpy(out->loss, line_at(b, e) + sizeof(line), n_loss * sizeof(out->loss[0]));
	out->epoch = line.epoch;
	out->watermark_ns = line.watermark_ns;
	out->wall_offset_ns = line.wall_offset_ns;
}

int tf_seg_next_epoch(struct tf_seg_decoded *b, const struct tf_seg_moves plan[TF_TYPE_MAX], struct tf_pool *pool, struct tf_batch **out)
{
	struct tf_need need = { 0 };
	uint32_t e = b->next_epoch;
	if (e >= b->head.n_epochs)
		return 0;
	for (uint32_t i = 0; i < b->head.n_domains; i++) {
		if (!b->wanted[i])
			continue;
		need.rows[b->dom[i].domain] = rows_at(b, e, i);
		need.text[b->dom[i].domain] = texts_of(b, i)[e];
	}
	/* An epoch larger than the whole pool has memory of its own (a block's at most): it would be waited for in vain. */
	int rc = tf_batch_new(pool && tf_batch_may_fit(pool, &need) ? pool : NULL, &need, out);
	if (rc)
		return rc;
	fill_head(b, e, *out);
	for (uint32_t i = 0; i < b->head.n_domains; i++) {
		if (!b->wanted[i])
			continue;
		uint8_t d = b->dom[i].domain;
		struct tf_rows *r = &(*out)->dom[d];
		r->n = need.rows[d];
		r->text_len = need.text[d];
		if (r->n)
			convert(&plan[d], b->raw + b->rows_at[i], r->n, r->row_size, r->rows);
		if (r->text_len)
			memcpy(r->text, b->raw + b->text_at[i], r->text_len);
		(*out)->total += r->n;
		b->rows_at[i] += (size_t)r->n * b->dom[i].row_size;
		b->text_at[i] += r->text_len;
	}
	b->next_epoch++;
	return 1;
}

void tf_seg_unread_epoch(struct tf_seg_decoded *b)
{
	b->next_epoch--;
	for (uint32_t i = 0; i < b->head.n_domains; i++) {
		if (!b->wanted[i])
			continue;
		b->rows_at[i] -= (size_t)rows_at(b, b->next_epoch, i) * b->dom[i].row_size;
		b->text_at[i] -= texts_of(b, i)[b->next_epoch];
	}
}

static uint64_t mark_inside(const struct tf_batch *b, const struct tf_reader_select *sel, uint64_t *words,
			    const uint64_t *mask[TF_TYPE_MAX])
{
	uint64_t kept = 0;
	for (int d = 0; d < TF_TYPE_MAX; d++) {
		const uint8_t *row = b->dom[d].rows;
		mask[d] = words;
		for (uint32_t i = 0; i < b->dom[d].n; i++, row += b->dom[d].row_size) {
			uint64_t ts;
			memcpy(&ts, row, sizeof(ts));
			int64_t at = (int64_t)(ts + (uint64_t)b->wall_offset_ns);
			if (at < sel->since_ns || at >= sel->until_ns)
				continue;
			words[i / 64] |= 1ull << (i % 64);
			kept++;
		}
		words += b->dom[d].n / 64 + 1;
	}
	return kept;
}

int tf_seg_trim(struct tf_batch **io, const struct tf_reader_select *sel)
{
	struct tf_batch *b = *io, *inside;
	const uint64_t *mask[TF_TYPE_MAX];
	uint64_t *words = calloc(b->total / 64 + 2 * TF_TYPE_MAX, sizeof(*words));
	if (!words)
		return -ENOMEM;
	uint64_t kept = mark_inside(b, sel, words, mask);
	int rc = kept > 0;
	if (kept && kept < b->total && !sel->whole_epochs) {
		rc = tf_batch_select(b, mask, &inside);
		if (!rc) {
			rc = 1;
			tf_batch_unref(b);
			*io = inside;
		}
	}
	free(words);
	if (rc == 0) {
		tf_batch_unref(b);
		*io = NULL;
	}
	return rc;
}
