/* SPDX-License-Identifier: Apache-2.0 */
/* tf_pump_raw: the raw branch: a queue of its own and the thread "tapio-store" that gives epochs to the segment writer. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* pthread_setname_np */
#endif
#include "tf_pump_impl.h"

#include <stdlib.h>

#define TICK_MS 100             /* time-driven closing of blocks and syncs is looked at this often */
#define MARKS 1024

static void publish_marks(struct tf_pump *p, uint64_t epoch)
{
	struct tf_raw *r = &p->raw;
	const uint64_t *read = NULL;

	while (r->n_marks && r->marks[r->first_mark].epoch <= epoch) {
		read = r->marks[r->first_mark].read;
		r->first_mark = (r->first_mark + 1) % r->cap_marks;
		r->n_marks--;
	}
	for (uint32_t i = 0; read && i < p->n; i++)
		if (p->src->rings[i].size)
			tf_store_release(p->src->rings[i].consumer_pos, read[i]); /* partner: the kernel's reserve */
}

/* The oldest mark waits for bytes that fill half of some ring: do not wait for the block to fill. */
static bool ring_presses(const struct tf_pump *p)
{
	const struct tf_raw *r = &p->raw;
	const uint64_t *read;

	if (!r->n_marks)
		return false;
	read = r->marks[(r->first_mark + r->n_marks - 1) % r->cap_marks].read;
	for (uint32_t i = 0; i < p->n; i++) {
		const struct tf_ring *ring = &p->src->rings[i];

		if (ring->size && read[i] - tf_load_relaxed(ring->consumer_pos) > ring->size / 2)
			return true;
	}
	return false;
}

/* The writer's counters become the branch's. Returns true when the rings cannot wait for the open block to fill. */
static bool note(struct tf_pump *p, int rc, uint64_t records, uint64_t epoch)
{
	struct tf_raw *r = &p->raw;
	bool presses = false;

	pthread_mutex_lock(&r->lock);
	r->appended += records;
	if (rc < 0)
		r->status = rc;
	tf_segment_writer_stats(r->writer, &r->snap);
	r->cpu_ns = tf_thread_cpu_ns();
	if (r->marks && !r->snap.buffered_rows)
		publish_marks(p, epoch);
	else if (r->marks)
		presses = ring_presses(p);
	pthread_mutex_unlock(&r->lock);
	return presses;
}

static void *raw_main(void *pump)
{
	struct tf_pump *p = pump;
	struct tf_raw *r = &p->raw;
	uint64_t epoch = 0;
	bool ended = false;

	pthread_setname_np(pthread_self(), "tapio-store");
	while (!ended) {
		struct tf_batch *b = tf_queue_pop(r->queue, TICK_MS, &ended);

		if (b) {
			int rc = tf_segment_writer_append(r->writer, b);

			epoch = b->epoch;
			if (note(p, rc, b->total, epoch))
				note(p, tf_segment_writer_flush(r->writer, false), 0, epoch);
			tf_batch_unref(b);
		}
		note(p, tf_segment_writer_tick(r->writer, tf_boot_ns()), 0, epoch);
	}
	note(p, tf_segment_writer_flush(r->writer, true), 0, epoch);
	return NULL;
}

static int open_marks(struct tf_pump *p)
{
	struct tf_raw *r = &p->raw;

	if (!p->o.publish_late || !p->drain)
		return 0;
	r->marks = calloc(MARKS, sizeof(*r->marks));
	for (size_t i = 0; r->marks && i < MARKS; i++) {
		r->marks[i].read = calloc(p->n, sizeof(uint64_t));
		if (!r->marks[i].read)
			return -ENOMEM;
	}
	r->cap_marks = MARKS;
	return r->marks ? 0 : -ENOMEM;
}

int tf_pump_set_raw(struct tf_pump *p, struct tf_segment_writer *w, enum tf_overflow policy)
{
	struct tf_raw *r = &p->raw;
	int rc;

	if (p->started || r->writer)
		return -EBUSY;
	rc = tf_queue_open(p->o.raw_queue_bytes, policy, &r->queue);
	if (!rc)
		rc = open_marks(p);
	if (rc) {
		tf_raw_close(p);
		return rc;
	}
	pthread_mutex_init(&r->lock, NULL);
	r->policy = policy;
	r->writer = w;
	tf_segment_writer_stats(w, &r->snap);
	return 0;
}

int tf_raw_start(struct tf_pump *p)
{
	if (!p->raw.writer)
		return 0;
	if (pthread_create(&p->raw.thread, NULL, raw_main, p))
		return -EAGAIN;
	p->raw.running = true;
	return 0;
}

bool tf_raw_has_room(struct tf_pump *p)
{
	return !p->raw.running || tf_queue_has_room(p->raw.queue);
}

/* Notes where the rings stand. When there is no place the newest mark is moved on: publishing waits longer, never too short. */
static void add_mark(struct tf_pump *p, uint64_t epoch)
{
	struct tf_raw *r = &p->raw;
	struct tf_mark *m;

	pthread_mutex_lock(&r->lock);
	if (r->n_marks < r->cap_marks)
		r->n_marks++;
	m = &r->marks[(r->first_mark + r->n_marks - 1) % r->cap_marks];
	m->epoch = epoch;
	for (uint32_t i = 0; i < p->n; i++)
		m->read[i] = p->src->rings[i].read;
	pthread_mutex_unlock(&r->lock);
}

void tf_raw_push(struct tf_pump *p, struct tf_batch *b)
{
	if (!p->raw.running)
		return;
	if (p->raw.marks)
		add_mark(p, b->epoch);
	if (tf_queue_push(p->raw.queue, b))
		tf_pump_log(p, TF_LOG_WARNING, "raw branch: its queue refused an epoch after it said there was room");
}

void tf_raw_stop(struct tf_pump *p)
{
	struct tf_raw *r = &p->raw;

	if (!r->running)
		return;
	tf_queue_end(r->queue);
	pthread_join(r->thread, NULL);
	r->running = false;
	if (r->marks)
		publish_marks(p, UINT64_MAX);
}

void tf_raw_stats(struct tf_pump *p, struct tf_pump_stats *out)
{
	struct tf_raw *r = &p->raw;
	struct tf_queue_stats q;

	if (!r->writer)
		return;
	/* snap first: what is popped meanwhile is then handed but not yet appended, that is, buffered */
	pthread_mutex_lock(&r->lock);
	out->raw_written = r->snap.rows;
	out->raw_bytes = r->snap.bytes;
	out->raw_dropped_io = r->snap.lost_io;
	out->raw_dropped_enospc = r->snap.lost_enospc;
	out->raw_dropped_memory = r->snap.lost_memory;
	out->raw_cpu_ns = r->cpu_ns;
	out->raw_status = r->status;
	tf_queue_stats(r->queue, &q);
	out->raw_buffered = q.queued + (q.handed - r->appended) + r->snap.buffered_rows;
	pthread_mutex_unlock(&r->lock);
	out->raw_routed = q.routed;
	out->raw_dropped_full = q.overflow;
}

void tf_raw_close(struct tf_pump *p)
{
	struct tf_raw *r = &p->raw;

	tf_queue_close(r->queue);
	for (size_t i = 0; r->marks && i < MARKS; i++)
		free(r->marks[i].read);
	free(r->marks);
	if (r->writer) {
		int rc = tf_segment_writer_close(r->writer);

		if (rc < 0)
			tf_pump_log(p, TF_LOG_WARNING, "raw branch: closing the store failed; its last epochs may be missing");
		pthread_mutex_destroy(&r->lock);
	}
	memset(r, 0, sizeof(*r));
}
