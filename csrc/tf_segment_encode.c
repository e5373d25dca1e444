// SPDX-License-Identifier: Apache-2.0
/* tf_segment_encode: one block as one frame: epoch table, then a pack of each domain over all epochs of the block. */
#include <stdlib.h>

#include "tf_segment_impl.h"

#define FILTER_ROWS 512u             /* fewer are read as fast as a filter is asked */

static uint8_t *gather_room(struct tf_seg_block *b, size_t need)
{
	if (need > b->gather_cap) {
		free(b->gather);
		b->gather = malloc(need + need / 4);
		b->gather_cap = b->gather ? need + need / 4 : 0;
	}
	return b->gather;
}

static ssize_t encode_epochs(struct tf_seg_block *b, const struct tf_frame_domain *doms, uint32_t n_doms, uint8_t *dst, size_t cap)
{
	size_t len = b->n_held * tf_epoch_line_len(TF_L_COUNT, n_doms);
	uint8_t *at = gather_room(b, len);
	if (!at)
		return -ENOMEM;
	for (uint32_t e = 0; e < b->n_held; e++) {
		const struct tf_held_epoch *h = &b->held[e];
		memcpy(at, &h->line, sizeof(h->line));
		at += sizeof(h->line);
		memcpy(at, h->loss, sizeof(h->loss));
		at += sizeof(h->loss);
		for (uint32_t i = 0; i < n_doms; i++, at += 4)
			memcpy(at, &h->dom[doms[i].domain].n, 4);
	}
	return tf_codec_encode_bytes(tf_pack_codec(b->pack), b->gather, len, dst, cap);
}

static void widen_range(const struct tf_held_epoch *e, struct tf_frame_head *h)
{
	const uint64_t lo = e->ts_min, hi = e->ts_max;
	if (lo > hi)
		return;
	int64_t first = (int64_t)(lo + (uint64_t)e->line.wall_offset_ns), last = (int64_t)(hi + (uint64_t)e->line.wall_offset_ns);
	if (first > last) /* a time so wild that Unix time wraps: no range leaves the block out */
		first = INT64_MIN, last = INT64_MAX;
	h->ts_min = lo < h->ts_min ? lo : h->ts_min;
	h->ts_max = hi > h->ts_max ? hi : h->ts_max;
	h->unix_min = first < h->unix_min ? first : h->unix_min;
	h->unix_max = last > h->unix_max ? last : h->unix_max;
}

static void head_of_block(const struct tf_seg_block *b, struct tf_frame_head *h, uint32_t n_doms, uint32_t n_filters)
{
	*h = (struct tf_frame_head){
		.length = (uint32_t)tf_frame_head_len(n_doms, n_filters), .ts_min = UINT64_MAX, .unix_min = INT64_MAX, .unix_max = INT64_MIN,
		.n_epochs = b->n_held, .n_domains = n_doms, .n_loss = TF_L_COUNT, .rows = b->rows,
		.first_epoch = b->held[0].line.epoch, .last_epoch = b->held[b->n_held - 1].line.epoch,
	};
	for (uint32_t e = 0; e < b->n_held; e++)
		widen_range(&b->held[e], h);
}

/* What is known of a block before it is compressed. */
struct survey {
	struct tf_frame_domain dom[TF_TYPE_MAX];
	struct tf_frame_filter filter[TF_TYPE_MAX];
	bool lied[TF_TYPE_MAX];      /* texts that point outside */
	uint32_t n, n_filters;
	uint64_t raw;                /* bytes: decoded */
	size_t bound;                /* bytes: the frame takes at most */
};

static struct tf_pack_shape shape_of(uint8_t domain)
{
	const struct tf_record_layout *l = tf_layout_of(domain);
	return l ? (struct tf_pack_shape){ l->fields, l->n_fields, l->size } : (struct tf_pack_shape){ NULL, 0, 0 };
}

/* The domain's rows, an entry for each epoch that has some; how many. */
static uint32_t rows_of(struct tf_seg_block *b, uint8_t domain)
{
	uint32_t n = 0;
	for (uint32_t e = 0; e < b->n_held; e++) {
		const struct tf_held_rows *r = &b->held[e].dom[domain];
		if (r->n)
			b->rows_of[n++] = (struct tf_pack_rows){ r->rows, r->text, r->n, r->text_len };
	}
	return n;
}

static int survey_domain(struct tf_seg_block *b, uint8_t domain, struct survey *s)
{
	struct tf_frame_domain *d = &s->dom[s->n];
	struct tf_pack_shape shape = shape_of(domain);
	uint32_t n = rows_of(b, domain);
	uint64_t text = 0;
	if (!n)
		return 0;
	if (!shape.fields || shape.row_size != b->row_size[domain])
		return -EINVAL;
	*d = (struct tf_frame_domain){ .domain = domain, .row_size = (uint16_t)shape.row_size };
	for (uint32_t e = 0; e < n; e++)
		d->rows += b->rows_of[e].n;
	d->filtered = d->rows >= FILTER_ROWS;
	tf_index_open(d);
	for (uint32_t e = 0; e < n; e++) {
		tf_index_add(d, d->filtered ? &s->filter[s->n_filters] : NULL, b->rows_of[e].rows, b->rows_of[e].n);
		text += tf_pack_measure(&shape, &b->rows_of[e], &s->lied[domain]);
	}
	s->raw += (uint64_t)d->rows * d->row_size + text;
	if (s->raw > TF_BLOCK_RAW_CAP)
		return -E2BIG; /* rows that share their texts, and would not when they come back */
	d->text = (uint32_t)text;
	s->bound += tf_pack_bound(&shape, d->rows, text);
	s->n_filters += d->filtered;
	s->n++;
	return 0;
}

static int survey(struct tf_seg_block *b, struct survey *s)
{
	int rc = 0;
	memset(s, 0, sizeof(*s));
	for (uint8_t d = 0; d < TF_TYPE_MAX && !rc; d++)
		rc = survey_domain(b, d, s);
	size_t table = b->n_held * tf_epoch_line_len(TF_L_COUNT, s->n);
	s->bound += tf_frame_head_len(s->n, s->n_filters) + tf_codec_bound(table) + sizeof(struct tf_frame_foot);
	if (!rc && s->raw + table > TF_BLOCK_RAW_CAP)
		rc = -E2BIG;
	return rc;
}

static int encode_domain(struct tf_seg_block *b, struct tf_frame_domain *d, bool lied, uint8_t **at, const uint8_t *end)
{
	struct tf_pack_shape shape = shape_of(d->domain);
	uint32_t n = rows_of(b, d->domain);
	ssize_t len = tf_pack_encode(b->pack, &shape, b->rows_of, n, d->text, lied, *at, (size_t)(end - *at));
	if (len < 0)
		return (int)len;
	d->pack_len = (uint32_t)len;
	*at += len;
	return 0;
}

static uint8_t *append(uint8_t *at, const void *data, size_t len)
{
	memcpy(at, data, len);
	return at + len;
}

ssize_t tf_seg_block_encode(struct tf_seg_block *b, struct tf_seg_out *out)
{
	struct survey s;
	struct tf_frame_head h;
	int rc = survey(b, &s);
	uint8_t *frame = rc ? NULL : tf_seg_out_room(out, s.bound);
	if (!frame)
		return rc ? rc : -ENOMEM;
	head_of_block(b, &h, s.n, s.n_filters);
	uint8_t *at = frame + h.length;
	const uint8_t *end = frame + s.bound - sizeof(struct tf_frame_foot);
	ssize_t len = encode_epochs(b, s.dom, s.n, at, (size_t)(end - at));
	if (len < 0)
		return len;
	h.epochs_len = (uint32_t)len;
	at += len;
	for (uint32_t i = 0; i < s.n && !rc; i++)
		rc = encode_domain(b, &s.dom[i], s.lied[s.dom[i].domain], &at, end);
	if (rc)
		return rc;
	h.payload_len = (uint64_t)(at - frame) - h.length;
	at = append(frame, &h, sizeof(h));
	at = append(at, s.dom, s.n * sizeof(s.dom[0]));
	append(at, s.filter, s.n_filters * sizeof(s.filter[0]));
	return (ssize_t)tf_frame_len(&h);
}
