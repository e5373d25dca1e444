/* SPDX-License-Identifier: Apache-2.0 */
/* tf_drain_copy: the second walk of a pass: copies what the scan found into the batch, by domain, and counts it. */
#include "tf_container_id.h"
#include "tf_drain_impl.h"

/* Everything the hot loop changes, so that it lives in registers during a run. */
struct run {
	uint64_t newest, last_seq, late;
	uint32_t n;
};

/* Explicit moves: the compiler's choice for 184 bytes may be a string instruction, which is slow below some 500 bytes. A function
 * built for AVX2 does it in halves of a line, others in quarters. */
typedef uint64_t half_line __attribute__((vector_size(32), aligned(1), may_alias));

static inline __attribute__((always_inline)) void copy_row(uint8_t *to, const uint8_t *from, const uint32_t size)
{
#pragma GCC unroll 8
	for (uint32_t i = 0; i < size / 32; i++)
		((half_line *)(void *)to)[i] = ((const half_line *)(const void *)from)[i];
	memcpy(to + size / 32 * 32, from + size / 32 * 32, size % 32);
}

static void flag_late(uint8_t *row)
{
	uint16_t flags;

	memcpy(&flags, row + offsetof(struct tf_header, flags), sizeof(flags));
	flags |= TF_F_LATE;
	memcpy(row + offsetof(struct tf_header, flags), &flags, sizeof(flags));
}

static inline __attribute__((always_inline)) void note_row(struct run *x, uint8_t *to, const uint8_t *from, uint64_t late_before)
{
	uint64_t ts = tf_load64(from + offsetof(struct tf_header, ts_ns));
	uint64_t seq = tf_load64(from + offsetof(struct tf_header, seq));

	if (tf_unlikely(ts < late_before)) {
		flag_late(to);
		x->late++;
	}
	x->newest = ts > x->newest ? ts : x->newest;
	x->last_seq = seq > x->last_seq ? seq : x->last_seq;
	x->n++;
}

/* What a run reads and writes: records from `at` to `last` (the last that may be taken), rows from `to` on. */
struct span {
	const struct tf_class *c;
	const uint8_t *at, *last;
	uint8_t *to;
	uint64_t late_before;
};

/* Copies the records of a span that are all alike (see scan_alike). `size` and `texts` are constants in every use. */
static inline __attribute__((always_inline)) void copy_alike(const struct span *s, struct run *run, const uint32_t size, const bool texts)
{
	const uint32_t stride = (size + TF_RING_HEADER + 7) & ~7u;
	const uint8_t *at = s->at, *last = s->last;
	const uint64_t word = tf_word(at + TF_RING_HEADER), late_before = s->late_before;
	uint8_t *to = s->to;
	struct run x = *run;

	for (; at <= last; at += stride, to += size) {
		const uint8_t *record = at + TF_RING_HEADER;

		tf_prefetch(at, last, stride);
		if (tf_unlikely(tf_head(at) != size || tf_word(record) != word))
			break;
		if (texts && !tf_texts_empty(s->c, record))
			break;
		__builtin_prefetch(to + TF_PREFETCH_TO * size, 1);
		__builtin_prefetch(to + TF_PREFETCH_TO * size + 64, 1);
		copy_row(to, record, size);
		note_row(&x, to, record, late_before);
	}
	*run = x;
}

#define COPY_SPAN(name, size, texts, attribute) \
	static __attribute__((noinline)) attribute void name(const struct span *s, struct run *x) { copy_alike(s, x, size, texts); }

COPY_SPAN(copy_120, 120, false, )
COPY_SPAN(copy_184, 184, true, )
#if defined(__x86_64__)
COPY_SPAN(copy_120_avx2, 120, false, __attribute__((target("avx2"))))
COPY_SPAN(copy_184_avx2, 184, true, __attribute__((target("avx2"))))
#else
#define copy_120_avx2 copy_120
#define copy_184_avx2 copy_184
#endif

/* Copies the run of records alike the one at pos; x->n stays 0 when its row size has no fast walk. */
static void copy_run(const struct tf_drain *d, const struct tf_ring *r, const struct tf_class *c, uint64_t pos, uint64_t stop,
		     struct tf_rows *rows, uint64_t late_before, struct run *x)
{
	const uint8_t *at = r->data + (pos & (r->size - 1));
	const uint64_t stride = tf_stride(c->row_size), room = stride * (d->room.rows[c->domain] - rows->n);
	const uint64_t bytes = stop - pos < room ? stop - pos : room;
	const struct span s = {
		.c = c, .at = at, .last = at + bytes - stride, .late_before = late_before,
		.to = rows->rows + (size_t)rows->n * rows->row_size,
	};

	if (bytes < stride)
		return;
	if (c->row_size == 120 && !c->n_text)
		(d->avx2 ? copy_120_avx2 : copy_120)(&s, x);
	else if (c->row_size == 184)
		(d->avx2 ? copy_184_avx2 : copy_184)(&s, x);
	rows->n += x->n;
}

/* One row whose tail is raw: its text is written here. */
static void copy_raw_text(const struct tf_class *c, uint8_t *to, const uint8_t *record, struct tf_rows *rows, uint32_t room)
{
	uint32_t n = tf_refine(c->kind, to, record + rows->row_size, rows->text + rows->text_len, room);
	struct tf_text t;

	memcpy(&t, to + c->text_at, sizeof(t));
	t.offset = t.len ? rows->text_len : 0;
	memcpy(to + c->text_at, &t, sizeof(t));
	rows->text_len += n;
}

/* One row with a tail: its texts move to the domain's text area, their offsets with them. */
static void copy_text_row(const struct tf_class *c, struct run *x, const uint8_t *record, uint32_t len, struct tf_rows *rows,
			  uint32_t room, uint64_t late_before)
{
	uint8_t *to = rows->rows + (size_t)rows->n * rows->row_size;

	memcpy(to, record, rows->row_size);
	if (tf_unlikely(c->raw) && len != rows->row_size) {
		copy_raw_text(c, to, record, rows, room);
		rows->n++;
		note_row(x, to, record, late_before);
		return;
	}
	if (c->domain == TF_CONTAINER)
		tf_container_refine(to, record + rows->row_size, len - rows->row_size);
	memcpy(rows->text + rows->text_len, record + rows->row_size, len - rows->row_size);
	for (unsigned i = 0; i < c->n_text; i++) {
		uint8_t *at = to + c->text_at + i * sizeof(struct tf_text);
		struct tf_text t;

		memcpy(&t, at, sizeof(t));
		t.offset = t.len ? rows->text_len + t.offset : 0;
		memcpy(at, &t, sizeof(t));
	}
	rows->text_len += len - rows->row_size;
	rows->n++;
	note_row(x, to, record, late_before);
}

static void count_run(struct tf_drain *d, const struct tf_class *c, uint32_t cell, struct tf_cursor *cur, const struct run *x)
{
	uint32_t at = cell / TF_KIND_MAX * TF_LANES + c->lane;

	d->counts[cell][0] += x->n;
	d->reads[at] += x->n;
	d->late += x->late;
	if (x->last_seq > d->last_seq[at])
		d->last_seq[at] = x->last_seq;
	/* a kernel without fetch atomics may give one seq twice: then fewer seqs than records, and no gap to tell */
	d->gaps[at] = d->last_seq[at] > d->reads[at] ? d->last_seq[at] - d->reads[at] : 0;
	if (x->newest > cur->newest)
		cur->newest = x->newest;
}

static void copy_ring(struct tf_drain *d, uint32_t ring, struct tf_batch *b, uint64_t late_before)
{
	struct tf_ring *r = &d->o.rings[ring];
	struct tf_cursor *cur = &d->cursors[ring];
	uint64_t pos = r->read;

	while (pos < cur->stop) {
		const uint8_t *at = r->data + (pos & (r->size - 1)), *record = at + TF_RING_HEADER;
		uint32_t head = tf_head(at), len = head & ~TF_RING_DISCARD, cell, tail;
		struct run x = {0};
		const struct tf_class *c;
		struct tf_rows *rows;

		if (tf_unlikely(head & TF_RING_DISCARD)) {
			pos += tf_stride(len);
			continue;
		}
		c = tf_drain_classify(d, ring, record, len, &cell);
		rows = c ? &b->dom[c->domain] : NULL;
		/* more than was carved: the memory changed under us, which the kernel does not do, but a recorded image might */
		tail = c ? tf_tail_room(c, record, len) : 0;
		if (tf_unlikely(!c || rows->n >= d->room.rows[c->domain] || tail + rows->text_len > d->room.text[c->domain])) {
			d->counts[cell][1]++;
			pos += tf_stride(len);
			continue;
		}
		if (len == c->row_size)
			copy_run(d, r, c, pos, cur->stop, rows, late_before, &x);
		if (!x.n)
			copy_text_row(c, &x, record, len, rows, tail, late_before);
		b->total += x.n;
		count_run(d, c, cell, cur, &x);
		pos += x.n * tf_stride(len);
	}
	if (cur->end != cur->stop)
		d->counts[(size_t)(ring / TF_LANES) * TF_KIND_MAX][1]++;
	r->read = cur->end;
}

/* Goes on behind what was scanned, checking and copying in one walk, which reads memory once. Anything out of the ordinary ends it, and
 * so does the room that was carved by an estimate: the next pass begins there and looks first. */
static void copy_on(struct tf_drain *d, uint32_t ring, struct tf_batch *b, uint64_t late_before)
{
	struct tf_ring *r = &d->o.rings[ring];
	struct tf_cursor *cur = &d->cursors[ring];
	uint64_t pos = r->read;

	while (pos < cur->limit) {
		const uint8_t *at = r->data + (pos & (r->size - 1)), *record = at + TF_RING_HEADER;
		uint32_t len = tf_head(at), cell, tail; /* BUSY and DISCARD make it too long */
		struct run x = {0};
		const struct tf_class *c;
		struct tf_rows *rows;

		if (len > TF_RECORD_CAP || tf_stride(len) > cur->limit - pos)
			break;
		c = tf_drain_classify(d, ring, record, len, &cell);
		rows = c ? &b->dom[c->domain] : NULL;
		tail = c ? tf_tail_room(c, record, len) : 0;
		if (!c || rows->n >= d->room.rows[c->domain] || tail + rows->text_len > d->room.text[c->domain])
			break;
		if (len == c->row_size)
			copy_run(d, r, c, pos, cur->limit, rows, late_before, &x);
		if (!x.n)
			copy_text_row(c, &x, record, len, rows, tail, late_before);
		b->total += x.n;
		d->found->records += x.n;
		count_run(d, c, cell, cur, &x);
		pos += x.n * tf_stride(len);
	}
	d->found->bytes += pos - r->read;
	if (pos < cur->producer && tf_head(r->data + (pos & (r->size - 1))) & TF_RING_BUSY)
		d->found->busy = true;
	else if (pos < cur->producer)
		d->found->more = true;
	cur->stop = cur->end = r->read = pos;
}

uint64_t tf_drain_copy(struct tf_drain *d, struct tf_batch *b, uint64_t late_before)
{
	uint64_t read_to = UINT64_MAX;

	for (unsigned i = 0; i < TF_TYPE_MAX; i++) { /* a batch smaller than asked for loses records as bad, not memory */
		d->room.rows[i] = d->room.rows[i] < b->dom[i].cap ? d->room.rows[i] : b->dom[i].cap;
		d->room.text[i] = d->room.text[i] < b->dom[i].text_cap ? d->room.text[i] : b->dom[i].text_cap;
	}
	for (uint32_t i = 0; i < d->n; i++)
		if (d->cursors[i].end != d->o.rings[i].read)
			copy_ring(d, i, b, late_before);
	for (uint32_t i = 0; i < d->n; i++) {
		struct tf_cursor *cur = &d->cursors[i];

		if (cur->limit > cur->end) /* only now: what was scanned has its room for certain */
			copy_on(d, i, b, late_before);
		if (cur->end != cur->producer && cur->newest < read_to)
			read_to = cur->newest;
		if (cur->newest > d->newest)
			d->newest = cur->newest;
	}
	return read_to;
}
