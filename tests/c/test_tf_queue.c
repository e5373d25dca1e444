/* SPDX-License-Identifier: Apache-2.0 */
/* The queue between pump and branch: policies with exact counts, its descriptor as a level, two threads at once. */
#include <poll.h>
#include <pthread.h>
#include <sched.h>

#include "ring_fixture.h"
#include "tf_queue_impl.h"

#define SMALL 4096u /* what a small batch counts */

static struct tf_batch *numbered(uint64_t number, uint32_t rows)
{
	struct tf_need need = {.rows = {[TF_CPU] = rows}};
	struct tf_cpu row = {.h = {.type = TF_CPU}};
	struct tf_batch *b;

	CHECK(!tf_batch_new(NULL, &need, &b));
	for (uint32_t i = 0; i < rows; i++)
		CHECK(!tf_batch_append(b, TF_CPU, &row, NULL, 0));
	b->epoch = number;
	return b;
}

static int push(struct tf_queue *q, uint64_t number, uint32_t rows)
{
	struct tf_batch *b = numbered(number, rows);
	int rc = tf_queue_push(q, b);

	tf_batch_unref(b);
	return rc;
}

/* Number of the next batch, 0 if there is none. */
static uint64_t pop(struct tf_queue *q)
{
	bool ended;
	struct tf_batch *b = tf_queue_pop(q, 0, &ended);
	uint64_t number = b ? b->epoch : 0;

	tf_batch_unref(b);
	return number;
}

static bool readable(struct tf_queue *q)
{
	struct pollfd p = {.fd = tf_queue_fd(q), .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

static void check_stats(struct tf_queue *q, uint64_t routed, uint64_t handed, uint64_t queued, uint64_t overflow)
{
	struct tf_queue_stats s;

	tf_queue_stats(q, &s);
	CHECK_EQ(s.routed, routed);
	CHECK_EQ(s.handed, handed);
	CHECK_EQ(s.queued, queued);
	CHECK_EQ(s.overflow, overflow);
	CHECK((s.bytes == 0) == (queued == 0));
}

static void test_block(void)
{
	struct tf_queue *q;
	bool ended;

	CHECK(!tf_queue_open(2 * SMALL, TF_BLOCK, &q) && !readable(q));
	CHECK(!push(q, 1, 3) && readable(q) && tf_queue_has_room(q) && !push(q, 2, 4) && !tf_queue_has_room(q));
	CHECK(push(q, 3, 5) == -EAGAIN);
	check_stats(q, 7, 0, 7, 0);
	CHECK(pop(q) == 1 && tf_queue_has_room(q) && readable(q) && pop(q) == 2 && !readable(q) && pop(q) == 0);
	check_stats(q, 7, 7, 0, 0);
	CHECK(!push(q, 4, 1));
	tf_queue_end(q);
	CHECK(push(q, 5, 1) == -EPIPE && readable(q) && pop(q) == 4);
	CHECK(readable(q) && !tf_queue_pop(q, -1, &ended) && ended && readable(q)); /* ended: for ever readable, never blocks */
	check_stats(q, 8, 8, 0, 0);
	tf_queue_close(q);
	tf_queue_close(NULL);
}

static void test_drop_oldest(void)
{
	struct tf_queue *q;

	CHECK(!tf_queue_open(2 * SMALL, TF_DROP_OLDEST, &q));
	for (uint64_t i = 1; i <= 5; i++)
		CHECK(tf_queue_has_room(q) && !push(q, i, (uint32_t)i));
	check_stats(q, 15, 0, 9, 6);
	CHECK_EQ(tf_queue_drop_oldest(q), 4);
	CHECK(pop(q) == 5 && tf_queue_drop_oldest(q) == 0 && !readable(q));
	check_stats(q, 15, 5, 0, 10);
	CHECK(!push(q, 6, 1000) && !push(q, 7, 1)); /* one batch beyond the bound alone is taken, then it makes room */
	CHECK(pop(q) == 7);
	check_stats(q, 1016, 6, 0, 1010);
	tf_queue_close(q);
}

static void test_drop_newest(void)
{
	struct tf_queue *q;

	CHECK(!tf_queue_open(2 * SMALL, TF_DROP_NEWEST, &q));
	for (uint64_t i = 1; i <= 5; i++)
		CHECK(tf_queue_has_room(q) && !push(q, i, (uint32_t)i));
	check_stats(q, 15, 0, 3, 12);
	CHECK(pop(q) == 1 && !push(q, 6, 6) && pop(q) == 2 && pop(q) == 6);
	check_stats(q, 21, 9, 0, 12);
	CHECK(!push(q, 7, 7));
	tf_queue_abandon(q); /* its consumer is gone */
	CHECK(pop(q) == 0);
	check_stats(q, 28, 9, 0, 19);
	tf_queue_close(q);
}

static void test_timeout(void)
{
	struct tf_queue *q;
	bool ended;
	uint64_t t = tf_boot_ns();

	CHECK(!tf_queue_open(SMALL, TF_BLOCK, &q));
	CHECK(!tf_queue_pop(q, 30, &ended) && !ended);
	t = tf_boot_ns() - t;
	CHECK(t >= 29000000 && t < 2000000000);
	tf_queue_close(q);
}

/* ---- one thread pushes, one pops ---- */

struct consumer {
	struct tf_queue *q;
	uint64_t batches, rows, last, wrong;
	unsigned slow;
};

static void *consume(void *arg)
{
	struct consumer *c = arg;
	bool ended = false;

	while (!ended) {
		struct tf_batch *b = tf_queue_pop(c->q, -1, &ended);

		if (!b)
			continue;
		c->wrong += b->epoch <= c->last;
		c->last = b->epoch;
		c->batches++;
		c->rows += b->total;
		tf_batch_unref(b);
		if (c->slow && c->batches % c->slow == 0)
			sched_yield();
	}
	return NULL;
}

static void test_threads(enum tf_overflow policy, uint64_t n)
{
	struct consumer c = {.slow = 3};
	struct tf_queue_stats s;
	uint64_t pushed = 0, again = 0;
	pthread_t t;

	CHECK(!tf_queue_open(8 * SMALL, policy, &c.q) && !pthread_create(&t, NULL, consume, &c));
	for (uint64_t i = 1; i <= n; i++) {
		int rc;

		while ((rc = push(c.q, i, 1 + i % 3)) == -EAGAIN) {
			again++;
			sched_yield();
		}
		CHECK(!rc);
		pushed += 1 + i % 3;
		tf_queue_stats(c.q, &s);
		CHECK(s.routed == pushed && s.routed == s.handed + s.queued + s.overflow);
	}
	tf_queue_end(c.q);
	pthread_join(t, NULL);
	tf_queue_stats(c.q, &s);
	CHECK(c.wrong == 0 && s.queued == 0 && s.handed == c.rows && s.routed == pushed && s.overflow == pushed - c.rows);
	CHECK(policy == TF_BLOCK ? c.batches == n : again == 0);
	CHECK(policy != TF_DROP_OLDEST || c.last == n); /* the newest is never the one dropped */
	tf_queue_close(c.q);
}

int main(void)
{
	test_block();
	test_drop_oldest();
	test_drop_newest();
	test_timeout();
	test_threads(TF_BLOCK, 20000 * scale(20));
	test_threads(TF_DROP_OLDEST, 20000 * scale(20));
	test_threads(TF_DROP_NEWEST, 20000 * scale(20));
	puts("ok");
	return 0;
}
