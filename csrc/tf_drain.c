/* SPDX-License-Identifier: Apache-2.0 */
/* tf_drain: opening, sharing a pass out among the rings, and the scan that says how much room the copy needs. */
#include "tf_drain_impl.h"

#include <stdlib.h>

#define LOOK_BYTES (128u << 10) /* still in the second-level cache when they are copied */

static void fill_classes(struct tf_drain *d)
{
	for (unsigned k = 0; k < TF_KIND_COUNT; k++) {
		const struct tf_kind_info *info = &tf_kind_table[k];
		struct tf_class *c = &d->classes[info->type << 8 | info->subtype];
		const uint16_t *at;

		c->row_size = (uint16_t)tf_row_size(info->type);
		c->kind = (uint8_t)k;
		c->lane = info->lane;
		c->domain = info->type;
		c->n_text = (uint8_t)tf_text_fields(info->type, &at);
		c->text_at = c->n_text ? (uint8_t)at[0] : 0;
		c->raw = tf_refine_is_raw(k);
	}
}

int tf_drain_open(const struct tf_drain_opts *o, struct tf_drain **out)
{
	struct tf_drain *d;

	if (!o->rings || !o->nrings || o->nrings > o->ncpu || o->ncpu > UINT16_MAX || !o->rows_per_domain || !o->bytes_per_pass ||
	    o->bytes_per_pass > 1u << 30)
		return -EINVAL;
	d = calloc(1, sizeof(*d));
	if (!d)
		return -ENOMEM;
	d->o = *o;
	d->o.look_bytes = o->look_bytes ? o->look_bytes : LOOK_BYTES;
	d->n = o->nrings * TF_LANES;
	d->cursors = calloc(d->n, sizeof(*d->cursors));
	d->counts = calloc((size_t)o->ncpu * TF_KIND_MAX, sizeof(*d->counts));
	d->last_seq = calloc((size_t)o->ncpu * TF_LANES * 3, sizeof(*d->last_seq));
	if (!d->cursors || !d->counts || !d->last_seq) {
		tf_drain_close(d);
		return -ENOMEM;
	}
	d->reads = d->last_seq + (size_t)o->ncpu * TF_LANES;
	d->gaps = d->reads + (size_t)o->ncpu * TF_LANES;
	fill_classes(d);
#if defined(__x86_64__)
	d->avx2 = __builtin_cpu_supports("avx2");
#endif
	*out = d;
	return 0;
}

void tf_drain_close(struct tf_drain *d)
{
	if (!d)
		return;
	free(d->cursors);
	free(d->counts);
	free(d->last_seq);
	free(d);
}

bool tf_texts_inside(const struct tf_class *c, const uint8_t *record, uint32_t tail)
{
	for (unsigned i = 0; i < c->n_text; i++) {
		struct tf_text t;

		memcpy(&t, record + c->text_at + i * sizeof(t), sizeof(t));
		if (t.offset > tail || t.len > tail - t.offset)
			return false;
	}
	return true;
}

/* Shares `bytes` equally among the rings of a lane; what one does not want flows on to the others. Returns what is left. */
static uint64_t share(struct tf_drain *d, uint32_t lane, uint64_t bytes)
{
	uint32_t open = 0, before;

	for (uint32_t i = lane; i < d->n; i += TF_LANES) {
		d->cursors[i].quota = 0;
		open += d->cursors[i].producer != d->o.rings[i].read;
	}
	do { /* each round settles the rings that want no more than an equal share of what is left */
		uint64_t each = open ? bytes / open : 0;

		before = open;
		for (uint32_t i = lane; i < d->n; i += TF_LANES) {
			uint64_t wants = d->cursors[i].producer - d->o.rings[i].read;

			if (!d->cursors[i].quota && wants && wants <= each) {
				d->cursors[i].quota = wants;
				bytes -= wants;
				open--;
			}
		}
	} while (open && open != before);
	for (uint32_t i = lane; open && i < d->n; i += TF_LANES)
		if (!d->cursors[i].quota && d->cursors[i].producer != d->o.rings[i].read)
			d->cursors[i].quota = bytes / open;
	return open ? 0 : bytes;
}

/* Where all rings stand, and how much each may give: the critical lane first, from a quarter of the pass of its own. */
static void begin_pass(struct tf_drain *d, struct tf_drain_result *out)
{
	uint64_t quarter = d->o.bytes_per_pass / 4;

	for (uint32_t i = 0; i < d->n; i++) {
		const struct tf_ring *r = &d->o.rings[i];
		struct tf_cursor *c = &d->cursors[i];
		uint64_t unread = 0;

		c->producer = r->read;
		if (r->size) {
			c->producer = tf_load_acquire(r->producer_pos); /* partner: the release in reserve */
			unread = c->producer - r->read;
		}
		c->stop = c->end = c->limit = r->read;
		if (r->size && unread <= r->size && unread * 1000 / r->size > out->max_fill_permille)
			out->max_fill_permille = (uint32_t)(unread * 1000 / r->size);
	}
	share(d, TF_BULK, d->o.bytes_per_pass - quarter + share(d, TF_CRITICAL, quarter));
}

/* Counts the records from `at` up to `last` that are all alike: same length, class and cpu, empty texts. The data is mapped twice in a
 * row, so that a run needs no look at the wrap. `size` and `texts` are constants in every use. */
static inline __attribute__((always_inline)) const uint8_t *scan_alike(const struct tf_class *c, const uint8_t *at, const uint8_t *last,
								       const uint32_t size, const bool texts)
{
	const uint32_t stride = (size + TF_RING_HEADER + 7) & ~7u;
	const uint64_t word = tf_word(at + TF_RING_HEADER);

	for (; at <= last; at += stride) {
		tf_prefetch(at, last, stride);
		if (tf_unlikely(tf_head(at) != size || tf_word(at + TF_RING_HEADER) != word))
			break;
		if (texts && !tf_texts_empty(c, at + TF_RING_HEADER))
			break;
	}
	return at;
}

static __attribute__((noinline)) const uint8_t *scan_120(const struct tf_class *c, const uint8_t *at, const uint8_t *last)
{
	return scan_alike(c, at, last, 120, false);
}

static __attribute__((noinline)) const uint8_t *scan_184(const struct tf_class *c, const uint8_t *at, const uint8_t *last)
{
	return scan_alike(c, at, last, 184, true);
}

/* How many records alike the one at pos follow each other up to limit, at most room. 0 when its row size has no fast walk. */
static uint32_t scan_run(const struct tf_ring *r, const struct tf_class *c, uint64_t pos, uint64_t limit, uint32_t room)
{
	const uint8_t *at = r->data + (pos & (r->size - 1));
	const uint64_t stride = tf_stride(c->row_size);
	uint64_t bytes = limit - pos;

	if (bytes < stride || pos > limit)
		return 0;
	if (bytes > stride * room)
		bytes = stride * room;
	if (c->row_size == 120 && !c->n_text)
		return (uint32_t)(scan_120(c, at, at + bytes - stride) - at) / 128;
	if (c->row_size == 184)
		return (uint32_t)(scan_184(c, at, at + bytes - stride) - at) / 192;
	return 0;
}

/* True when what is there cannot be a sequence of records at all. */
static bool positions_wrong(const struct tf_ring *r, uint64_t producer)
{
	return producer - r->read > r->size || (producer | r->read) % 8;
}

static void scan_ring(struct tf_drain *d, uint32_t ring, uint64_t look, struct tf_drain_result *out)
{
	const struct tf_ring *r = &d->o.rings[ring];
	struct tf_cursor *cur = &d->cursors[ring];
	uint64_t pos = r->read, limit = pos + (cur->quota < look ? cur->quota : look);
	uint32_t cell, n;

	cur->end = cur->producer;
	if (positions_wrong(r, cur->producer)) {
		out->bad++;
		return;
	}
	while (pos < cur->producer) {
		const uint8_t *at = r->data + (pos & (r->size - 1));
		uint32_t head = tf_head(at), len = head & ~TF_RING_DISCARD;
		uint64_t stride = tf_stride(len);
		const struct tf_class *c;

		if (head & TF_RING_BUSY) {
			out->busy = true;
			break;
		}
		if (len > TF_RECORD_CAP || stride > cur->producer - pos) {
			out->bad++;
			cur->stop = pos;
			return;
		}
		if (pos != r->read && pos + stride > limit) {
			if (cur->quota > look)
				cur->limit = r->read + cur->quota; /* the copy goes on */
			else
				out->more = true;
			break;
		}
		if (head & TF_RING_DISCARD) {
			out->discarded++;
			pos += stride;
			continue;
		}
		c = tf_drain_classify(d, ring, at + TF_RING_HEADER, len, &cell);
		if (!c) {
			out->bad++;
			pos += stride;
			continue;
		}
		if (out->need.rows[c->domain] >= d->o.rows_per_domain) {
			out->more = true;
			break;
		}
		n = 0;
		if (len == c->row_size)
			n = scan_run(r, c, pos, limit, d->o.rows_per_domain - out->need.rows[c->domain]);
		if (!n) {
			n = 1;
			out->need.text[c->domain] += tf_tail_room(c, at + TF_RING_HEADER, len);
		}
		pos += n * stride;
		out->need.rows[c->domain] += n;
		out->records += n;
	}
	cur->stop = cur->end = pos;
}

/* Adds to `more` what a ring will need besides what was seen of it, if it goes on as it began. */
static void estimate(const struct tf_drain *d, uint32_t ring, const struct tf_need *before, const struct tf_need *after,
		     struct tf_need *more)
{
	const struct tf_cursor *cur = &d->cursors[ring];
	uint64_t seen = cur->end - d->o.rings[ring].read;

	if (cur->limit <= cur->end)
		return;
	for (unsigned i = 0; i < TF_TYPE_MAX; i++) {
		more->rows[i] += (uint32_t)((after->rows[i] - before->rows[i]) * (cur->limit - cur->end) / seen);
		more->text[i] += (uint32_t)((after->text[i] - before->text[i]) * (cur->limit - cur->end) / seen);
	}
}

static uint64_t unread_rings(const struct tf_drain *d)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < d->n; i++)
		n += d->cursors[i].producer != d->o.rings[i].read;
	return n;
}

void tf_drain_scan(struct tf_drain *d, struct tf_drain_result *out)
{
	uint32_t first = d->turn;
	struct tf_need before, more = {.rows = {0}};
	uint64_t look;

	memset(out, 0, sizeof(*out));
	d->found = out;
	begin_pass(d, out);
	look = d->o.look_bytes / (unread_rings(d) | 1);
	for (uint32_t lane = 0; lane < TF_LANES; lane++)
		for (uint32_t i = 0; i < d->o.nrings; i++) {
			uint32_t ring = (first + i) % d->o.nrings * TF_LANES + lane;

			before = out->need;
			if (d->cursors[ring].producer != d->o.rings[ring].read)
				scan_ring(d, ring, look, out);
			estimate(d, ring, &before, &out->need, &more);
			out->bytes += d->cursors[ring].end - d->o.rings[ring].read;
		}
	for (unsigned i = 0; i < TF_TYPE_MAX; i++) {
		uint32_t room = d->o.rows_per_domain - out->need.rows[i];

		out->need.rows[i] += more.rows[i] < room ? more.rows[i] : room;
		out->need.text[i] += more.text[i];
	}
	d->room = out->need;
	d->turn = (first + 1) % d->o.nrings;
}

void tf_drain_publish(struct tf_drain *d)
{
	for (uint32_t i = 0; i < d->n; i++)
		if (d->o.rings[i].size && d->o.rings[i].read != d->o.rings[i].published)
			tf_ring_publish(&d->o.rings[i]);
}

const uint64_t (*tf_drain_counts(const struct tf_drain *d))[2]
{
	return (const uint64_t(*)[2])d->counts;
}

const uint64_t *tf_drain_last_seq(const struct tf_drain *d) { return d->last_seq; }
const uint64_t *tf_drain_gaps(const struct tf_drain *d) { return d->gaps; }
uint64_t tf_drain_late(const struct tf_drain *d) { return d->late; }
uint64_t tf_drain_newest(const struct tf_drain *d) { return d->newest; }
