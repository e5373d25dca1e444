// SPDX-License-Identifier: Apache-2.0
/* tf_segment_encode: one block as one frame: epoch table, then rows and text of each domain, compressed over all epochs of the block. */
#include <stdlib.h>

#include "tf_segment_impl.h"

static uint8_t *gather_room(struct tf_seg_block *b, size_t need)
{
	if (need > b->gather_cap) {
		free(b->gather);
		b->gather = malloc(need + need / 4);
		b->gather_cap = b->gather ? need + need / 4 : 0;
	}
	return b->gather;
}

static ssize_t encode_text(struct tf_seg_block *b, uint8_t domain, uint32_t raw, uint8_t *dst, size_t cap)
{
	uint8_t *at = gather_room(b, raw);
	if (!at)
		return -ENOMEM;
	for (uint32_t e = 0; e < b->n_held; e++) {
		const struct tf_held_rows *h = &b->held[e].dom[domain];
		if (!h->text_len)
			continue;
		memcpy(at, h->text, h->text_len);
		at += h->text_len;
	}
	return tf_codec_encode_bytes(b->codec, b->gather, raw, dst, cap);
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
		for (uint32_t i = 0; i < n_doms; i++, at += 4)
			memcpy(at, &h->dom[doms[i].domain].text_len, 4);
	}
	return tf_codec_encode_bytes(b->codec, b->gather, len, dst, cap);
}

static void widen_range(const struct tf_held_epoch *e, struct tf_frame_head *h)
{
	const uint64_t lo = e->ts_min, hi = e->ts_max;
	if (lo > hi)
		return;
	int64_t first = (int64_t)(lo + (uint64_t)e->line.wall_offset_ns), last = (int64_t)(hi + (uint64_t)e->line.wall_offset_ns);
	h->ts_min = lo < h->ts_min ? lo : h->ts_min;
	h->ts_max = hi > h->ts_max ? hi : h->ts_max;
	h->unix_min = first < h->unix_min ? first : h->unix_min;
	h->unix_max = last > h->unix_max ? last : h->unix_max;
}

static void head_of_block(const struct tf_seg_block *b, struct tf_frame_head *h, uint32_t n_doms)
{
	*h = (struct tf_frame_head){
		.length = (uint32_t)tf_frame_head_len(n_doms), .ts_min = UINT64_MAX, .unix_min = INT64_MAX, .unix_max = INT64_MIN,
		.n_epochs = b->n_held, .n_domains = n_doms, .n_loss = TF_L_COUNT, .rows = b->rows,
		.first_epoch = b->held[0].line.epoch, .last_epoch = b->held[b->n_held - 1].line.epoch,
	};
	for (uint32_t e = 0; e < b->n_held; e++)
		widen_range(&b->held[e], h);
}

/* Which domains the block has, and how many bytes a frame of it takes at most. */
static uint32_t survey(struct tf_seg_block *b, struct tf_frame_domain doms[TF_TYPE_MAX], size_t *bound)
{
	uint32_t n = 0;
	*bound = 0;
	for (uint8_t d = 0; d < TF_TYPE_MAX; d++) {
		struct tf_frame_domain f = { .domain = d, .row_size = (uint16_t)b->row_size[d] };
		for (uint32_t e = 0; e < b->n_held; e++) {
			f.rows += b->held[e].dom[d].n;
			f.text_raw += b->held[e].dom[d].text_len;
		}
		if (!f.rows && !f.text_raw)
			continue;
		*bound += tf_codec_bound((size_t)f.rows * f.row_size) + tf_codec_bound(f.text_raw);
		doms[n++] = f;
	}
	*bound += tf_frame_head_len(n) + tf_codec_bound(b->n_held * tf_epoch_line_len(TF_L_COUNT, n)) + sizeof(struct tf_frame_foot);
	return n;
}

static int encode_domain(struct tf_seg_block *b, struct tf_frame_domain *f, uint8_t **at, const uint8_t *end)
{
	size_t n_spans = 0;
	ssize_t len;
	for (uint32_t e = 0; e < b->n_held; e++)
		if (b->held[e].dom[f->domain].n)
			b->spans[n_spans++] = (struct tf_span){ b->held[e].dom[f->domain].rows, b->held[e].dom[f->domain].n };
	if (f->rows) {
		len = tf_codec_encode_spans(b->codec, b->spans, n_spans, f->row_size, *at, (size_t)(end - *at));
		if (len < 0)
			return (int)len;
		f->rows_len = (uint32_t)len;
		*at += len;
	}
	if (f->text_raw) {
		len = encode_text(b, f->domain, f->text_raw, *at, (size_t)(end - *at));
		if (len < 0)
			return (int)len;
		f->text_len = (uint32_t)len;
		*at += len;
	}
	return 0;
}

ssize_t tf_seg_block_encode(struct tf_seg_block *b, struct tf_seg_out *out)
{
	struct tf_frame_domain doms[TF_TYPE_MAX];
	struct tf_frame_head h;
	size_t bound;
	uint32_t n = survey(b, doms, &bound);
	uint8_t *frame = tf_seg_out_room(out, bound);
	if (!frame)
		return -ENOMEM;
	head_of_block(b, &h, n);
	uint8_t *at = frame + h.length;
	const uint8_t *end = frame + bound - sizeof(struct tf_frame_foot);
	ssize_t len = encode_epochs(b, doms, n, at, (size_t)(end - at));
	if (len < 0)
		return len;
	h.epochs_len = (uint32_t)len;
	at += len;
	for (uint32_t i = 0; i < n; i++) {
		int rc = encode_domain(b, &doms[i], &at, end);
		if (rc)
			return rc;
	}
	h.payload_len = (uint64_t)(at - frame) - h.length;
	memcpy(frame, &h, sizeof(h));
	memcpy(frame + sizeof(h), doms, n * sizeof(doms[0]));
	return (ssize_t)tf_frame_len(&h);
}
