/* SPDX-License-Identifier: Apache-2.0 */
/* The pump's raw branch and its sources that make batches. The segment writer here is a stand-in that can be slow, fail in each way and
 * hold rows back; it is linked instead of the archive's, whose own tests are elsewhere. */
#include <pthread.h>
#include <time.h>

#include "ring_fixture.h"
#include "tf_memsource.h"
#include "tf_pump.h"
#include "tf_segment.h"

#define MIB (1u << 20)

/* ---- the stand-in ---- */

struct tf_segment_writer {
	struct tf_writer_stats s;
	unsigned sleep_us, fail_every, calls, held, max_held; /* held: epochs in the open block */
	int error;
	uint64_t last_epoch, written_records, flushes, synced;
	const uint64_t *consumer_pos;   /* checked against what was written */
	bool closed;
};

static void write_block(struct tf_segment_writer *w)
{
	w->s.rows += w->s.buffered_rows;
	w->s.buffered_rows = 0;
	w->s.blocks++;
	w->held = 0;
}

static void pos_is_safe(const struct tf_segment_writer *w)
{
	/* every record is 128 bytes of ring; META rows take none */
	if (w->consumer_pos)
		CHECK(tf_load_acquire(w->consumer_pos) <= w->written_records * 128);
}

int tf_segment_writer_append(struct tf_segment_writer *w, const struct tf_batch *b)
{
	struct timespec t = {.tv_nsec = w->sleep_us * 1000L};

	CHECK(b->epoch > w->last_epoch);
	pos_is_safe(w);
	w->last_epoch = b->epoch;
	if (w->sleep_us)
		nanosleep(&t, NULL);
	if (w->fail_every && ++w->calls % w->fail_every == 0) {
		*(w->error == -ENOSPC ? &w->s.lost_enospc : w->error == -ENOMEM ? &w->s.lost_memory : &w->s.lost_io) += b->total;
		return w->error;
	}
	w->s.buffered_rows += b->total;
	w->written_records += b->dom[TF_CPU].n;
	w->s.epochs++;
	if (++w->held >= w->max_held)
		write_block(w);
	return 0;
}

int tf_segment_writer_tick(struct tf_segment_writer *w, uint64_t now)
{
	CHECK(now);
	pos_is_safe(w);
	return 0;
}

int tf_segment_writer_flush(struct tf_segment_writer *w, bool sync)
{
	pos_is_safe(w);
	w->flushes++;
	w->synced += sync;
	write_block(w);
	return 0;
}

void tf_segment_writer_stats(const struct tf_segment_writer *w, struct tf_writer_stats *out) { *out = w->s; }

void tf_segment_writer_forget(struct tf_segment_writer *w)
{
	(void)w;
}

int tf_segment_writer_close(struct tf_segment_writer *w)
{
	w->closed = true;
	return 0;
}

/* ---- ring sources with a raw branch ---- */

struct rig {
	struct tf_memsource *m;
	struct tf_pool *pool;
	struct tf_pump *pump;
};

static void open_rig(struct rig *g, struct tf_segment_writer *w, struct tf_pump_opts o, enum tf_overflow policy)
{
	CHECK(!tf_memsource_open(1, 256 * 1024, 65536, &g->m) && !tf_pool_open(8 * MIB, 16 * MIB, &g->pool));
	o.source = tf_memsource_source(g->m);
	o.pool = g->pool;
	o.flush_us = 1000;
	CHECK(!tf_pump_open(&o, &g->pump) && !tf_pump_set_raw(g->pump, w, policy));
	CHECK(tf_pump_set_raw(g->pump, w, policy) == -EBUSY);
	CHECK(!tf_pump_start(g->pump));
}

static struct tf_pump_stats check_raw(struct rig *g)
{
	struct tf_pump_stats s;

	tf_pump_stats(g->pump, &s);
	CHECK_EQ(s.raw_routed,
		 s.raw_buffered + s.raw_written + s.raw_dropped_full + s.raw_dropped_io + s.raw_dropped_enospc + s.raw_dropped_memory);
	return s;
}

/* Sends n rows, asking for figures all the time: the raw identity holds at every moment. */
static void send(struct rig *g, uint64_t n)
{
	struct tf_cpu row = {.h = {.type = TF_CPU, .weight = 1}};
	struct timespec t = {.tv_nsec = 200000};

	for (uint64_t sent = 0; sent < n;) {
		sent += tf_memsource_fill(g->m, 0, TF_K_CPU_USAGE, &row, sizeof(row), n - sent < 500 ? n - sent : 500, true);
		check_raw(g);
		nanosleep(&t, NULL);
	}
}

static struct tf_pump_stats finish(struct rig *g, struct tf_segment_writer *w)
{
	struct tf_pump_stats s;

	CHECK(!tf_pump_stop(g->pump, 10000));
	s = check_raw(g);
	CHECK(s.raw_buffered == 0 && w->synced == 1 && !w->closed && s.in_ring == 0);
	tf_pump_close(g->pump);
	CHECK(w->closed);
	tf_pool_close(g->pool);
	return s;
}

static void test_written(enum tf_overflow policy, unsigned sleep_us)
{
	struct tf_segment_writer w = {.max_held = 7, .sleep_us = sleep_us};
	struct tf_pump_stats s;
	struct rig g;

	open_rig(&g, &w, (struct tf_pump_opts){.raw_queue_bytes = sleep_us ? 65536 : 8 * MIB, .bytes_per_pass = 16384}, policy);
	send(&g, 30000);
	s = finish(&g, &w);
	CHECK_EQ(s.raw_routed, 30000 + s.epochs);
	CHECK(s.raw_status == 0 && s.raw_dropped_io == 0);
	if (policy == TF_BLOCK)
		CHECK(s.raw_written == s.raw_routed && (sleep_us == 0 || s.no_memory > 0));
	else
		CHECK(sleep_us ? s.raw_dropped_full > 0 : s.raw_written == s.raw_routed);
}

static void test_failing(int error)
{
	struct tf_segment_writer w = {.max_held = 3, .fail_every = 4, .error = error};
	struct tf_pump_stats s;
	struct rig g;

	open_rig(&g, &w, (struct tf_pump_opts){0}, TF_BLOCK);
	send(&g, 20000);
	s = finish(&g, &w);
	CHECK_EQ(s.raw_status, error);
	CHECK_EQ(s.raw_dropped_io > 0, error == -EIO);
	CHECK_EQ(s.raw_dropped_enospc > 0, error == -ENOSPC);
	CHECK_EQ(s.raw_dropped_memory > 0, error == -ENOMEM);
}

/* durability=ring: the kernel gets its space back only after the write. Blocks that do not fill are flushed when the ring presses. */
static void test_publish_late(unsigned max_held)
{
	struct tf_segment_writer w = {.max_held = max_held};
	struct tf_pump_stats s;
	struct rig g;

	open_rig(&g, &w, (struct tf_pump_opts){.publish_late = true, .bytes_per_pass = 16384}, TF_BLOCK);
	w.consumer_pos = tf_memsource_ring(g.m, 0, TF_BULK)->ring.consumer_pos;
	send(&g, 20000);
	CHECK(!tf_pump_stop(g.pump, 10000));
	CHECK(tf_load_acquire(w.consumer_pos) == *tf_memsource_ring(g.m, 0, TF_BULK)->producer_pos);
	w.consumer_pos = NULL;
	s = finish(&g, &w);
	CHECK(s.raw_written == s.raw_routed && (max_held < 1000 || w.flushes > 2));
}

/* ---- a source that makes batches ---- */

struct maker {
	struct tf_source source;
	uint64_t made, end;
	int error;
	unsigned closed;
};

static int make_next(void *self, struct tf_pool *pool, struct tf_batch **out)
{
	struct maker *x = self;
	struct tf_need need = {.rows = {[TF_CPU] = 100}};
	struct tf_cpu row = {.h = {.type = TF_CPU}};
	int rc;

	if (x->made == x->end)
		return x->error;
	rc = tf_batch_new(pool, &need, out);
	if (rc)
		return rc;
	x->made++;
	for (int i = 0; i < 100; i++)
		CHECK(!tf_batch_append(*out, TF_CPU, &row, NULL, 0));
	(*out)->epoch = x->made;
	(*out)->watermark_ns = x->made * 10;
	return 1;
}

static void close_maker(void *self) { ((struct maker *)self)->closed++; }

static void test_maker(enum tf_overflow policy, int error)
{
	struct maker x = {.end = 500, .error = error, .source = {.name = "store", .ncpu = 1, .next = make_next, .close = close_maker}};
	struct timespec t = {.tv_nsec = 100000};
	struct tf_pump_stats s;
	struct tf_pool *pool;
	struct tf_pump *p;
	struct tf_queue *q;
	bool ended = false;
	uint64_t got = 0, last = 0;

	x.source.self = &x;
	CHECK(!tf_pool_open(10 * 16384, 64 * MIB, &pool)); /* ten batches */
	CHECK(!tf_pump_open(&(struct tf_pump_opts){.source = &x.source, .pool = pool}, &p));
	CHECK(!tf_pump_attach_user(p, 64 * MIB, policy, &q) && !tf_pump_start(p));
	while (!ended) {
		struct tf_batch *b = tf_queue_pop(q, 1000, &ended);

		if (b) {
			CHECK(b->epoch > last && b->total == 100 && b->dom[TF_META].n == 0); /* nothing is added to a replay */
			last = b->epoch;
			got++;
			nanosleep(&t, NULL);
		}
		tf_batch_unref(b);
	}
	tf_pump_stop(p, 0);
	tf_pump_stats(p, &s);
	CHECK_EQ(last, 500);
	CHECK_EQ(s.user.overflow, (500 - got) * 100);
	CHECK(policy != TF_BLOCK || got == 500);
	CHECK(s.epochs == 500 && s.watermark_ns == 5000 && s.source_status == (error ? error : 1));
	tf_pump_close(p);
	CHECK_EQ(x.closed, 1);
	tf_pool_close(pool);
}

/* ---- a source with work at start ---- */

static int steps_left;
static int step_result;

static int count_step(void *self)
{
	(void)self;
	return --steps_left > 0 ? 1 : step_result;
}

static void test_step(int result)
{
	struct tf_segment_writer w = {.max_held = 1};
	struct timespec t = {.tv_nsec = 100000000};
	struct tf_pump_stats s;
	struct rig g;

	steps_left = 20;
	step_result = result;
	CHECK(!tf_memsource_open(1, 65536, 65536, &g.m) && !tf_pool_open(MIB, MIB, &g.pool));
	tf_memsource_source(g.m)->step = count_step;
	CHECK(!tf_pump_open(&(struct tf_pump_opts){.source = tf_memsource_source(g.m), .pool = g.pool}, &g.pump));
	CHECK(!tf_pump_set_raw(g.pump, &w, TF_DROP_NEWEST) && !tf_pump_start(g.pump));
	nanosleep(&t, NULL);
	s = finish(&g, &w);
	CHECK(steps_left == 0 && s.step_errno == (uint64_t)-result && s.passes >= 20);
}

/* ---- a source that wants a step again and again ---- */

#define PERIOD_NS 20000000ull

static uint64_t looks_at[64];
static unsigned looks;
static struct tf_source *looked;

/* Two calls a look, the first at once. */
static int look_step(void *self)
{
	static bool under_way;

	(void)self;
	under_way = !under_way;
	if (under_way) {
		if (looks < 64)
			looks_at[looks++] = tf_boot_ns();
		return 1;
	}
	looked->step_at_ns = looks < 8 ? looks_at[looks - 1] + PERIOD_NS : 0;
	return 0;
}

static void test_step_again(void)
{
	struct tf_segment_writer w = {.max_held = 1};
	struct timespec t = {.tv_nsec = 5000000};
	struct tf_pump_stats s;
	struct rig g;

	CHECK(!tf_memsource_open(1, 65536, 65536, &g.m) && !tf_pool_open(MIB, MIB, &g.pool));
	looked = tf_memsource_source(g.m);
	looked->step = look_step;
	CHECK(!tf_pump_open(&(struct tf_pump_opts){.source = looked, .pool = g.pool}, &g.pump));
	CHECK(!tf_pump_set_raw(g.pump, &w, TF_DROP_NEWEST) && !tf_pump_start(g.pump));
	for (int i = 0; i < 2000 && tf_load_relaxed(&looks) < 8; i++)
		nanosleep(&t, NULL);
	nanosleep(&(struct timespec){.tv_nsec = 3 * PERIOD_NS}, NULL); /* time enough for more, which nobody asked for */
	s = finish(&g, &w);
	CHECK_EQ(looks, 8);
	for (unsigned i = 1; i < looks; i++)
		CHECK(looks_at[i] >= looks_at[i - 1] + PERIOD_NS);
	CHECK(!s.step_errno);
}

int main(void)
{
	test_written(TF_DROP_NEWEST, 0);
	test_written(TF_DROP_NEWEST, 3000);
	test_written(TF_BLOCK, 0);
	test_written(TF_BLOCK, 2000);
	test_failing(-EIO);
	test_failing(-ENOSPC);
	test_failing(-ENOMEM);
	test_publish_late(1);
	test_publish_late(5);
	test_publish_late(1000000);
	test_maker(TF_BLOCK, 0);
	test_maker(TF_DROP_OLDEST, 0);
	test_maker(TF_BLOCK, -EIO);
	test_step(0);
	test_step(-EPERM);
	test_step_again();
	puts("ok");
	return 0;
}
