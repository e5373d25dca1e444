/* SPDX-License-Identifier: Apache-2.0 */
/* tf_pump_loop: the thread "tapio-pump": pass after pass until it is told to stop, asleep in between. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* ppoll, pthread_setname_np */
#endif
#include "tf_pump_impl.h"

#include <poll.h>
#include <sys/epoll.h>
#include <time.h>

#define MS 1000000u
#define PUT_OFF_NS MS                   /* between tries while there is no memory or a blocking branch is full */
#define STOP_BUSY_NS (50ull * MS)       /* a record that is still BUSY at the end gets this long */
#define FILL_HIGH 250                   /* permille of a ring, see gather_ns */
#define FILL_LOW 50

enum outcome { PASS_RECORDS, PASS_IDLE, PASS_BUSY, PASS_PUT_OFF, PASS_END };

struct pass {
	struct tf_drain_result r;
	enum outcome outcome;
};

static bool stopping(const struct tf_pump *p)
{
	return tf_load_acquire(&p->stop_at_ns) != 0; /* partner: tf_pump_stop */
}

/* Sleeps until the time is over or a stop is asked for. Rings do not wake it: what comes meanwhile gathers. */
static void rest(struct tf_pump *p, uint64_t ns)
{
	struct pollfd stop = {.fd = p->stop_fd, .events = POLLIN};
	struct timespec t = {.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};

	if (!ns)
		return;
	if (stopping(p)) /* the descriptor stays readable: sleep all the same, the last passes must not spin */
		nanosleep(&t, NULL);
	else
		ppoll(&stop, 1, &t, NULL);
	p->wakeups++;
}

/* Sleeps until the time is over, a ring reaches its watermark, or a stop is asked for. The rings are edge triggered on purpose: the
 * kernel side submits without wake-ups and forces one per watermark, every return drains all rings and the sleep is bounded, so no
 * edge can be lost; level triggered, a ring once reported would wake us again for every few records (limits 10.13, 10.15). */
static void wait_rings(struct tf_pump *p, uint64_t ns)
{
	struct epoll_event e[8];
	uint64_t ms = (ns + MS - 1) / MS;

	if (p->epoll_fd < 0 || stopping(p)) {
		rest(p, ns);
		return;
	}
	epoll_wait(p->epoll_fd, e, 8, (int)ms);
	p->wakeups++;
}

static bool has_room(struct tf_pump *p)
{
	return (!p->user || tf_queue_has_room(p->user)) && tf_raw_has_room(p);
}

/* A batch from the pool; oldest batches that wait for a user make room when that is the policy. */
static int new_batch(struct tf_pump *p, const struct tf_need *need, struct tf_batch **b)
{
	int rc = tf_batch_new(p->o.pool, need, b);

	while (rc == -ENOMEM && p->user && tf_queue_drop_oldest_allowed(p->user) && tf_queue_drop_oldest(p->user))
		rc = tf_batch_new(p->o.pool, need, b);
	return rc;
}

static void route(struct tf_pump *p, struct tf_batch *b)
{
	tf_raw_push(p, b);
	if (p->user && tf_queue_push(p->user, b))
		tf_pump_log(p, TF_LOG_WARNING, "user branch: its queue refused an epoch after it said there was room");
	p->s.batches++;
	tf_batch_unref(b);
}

/* The kernel side may force one wake-up per lane from here on. Cleared before the rings are looked at, so that a record which comes
 * after the look still finds the flag clear. */
static void rearm(struct tf_pump *p)
{
	for (uint32_t i = 0; p->src->lanes && i < p->n; i++)
		tf_store_relaxed(&p->src->lanes[i].wake_pending, 0u);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static void publish(struct tf_pump *p)
{
	for (uint32_t i = 0; p->src->lanes && i < p->n; i++)
		tf_store_relaxed(&p->src->lanes[i].read_pos, p->src->rings[i].read);
	if (!p->raw.marks)
		tf_drain_publish(p->drain);
}

static void move_watermark(struct tf_pump *p, uint64_t read_to, uint64_t began_ns)
{
	/* a source without descriptors has no clock of its own: time is what its records say */
	uint64_t newest = p->src->ring_fds ? began_ns : tf_drain_newest(p->drain);
	uint64_t mark = read_to < newest ? read_to : newest;

	if (mark > p->watermark_ns)
		p->watermark_ns = mark;
}

static bool heartbeat_due(const struct tf_pump *p, uint64_t now)
{
	return now - p->last_epoch_ns >= (uint64_t)p->o.idle_epoch_ms * MS;
}

/* Makes an epoch of what the scan found. */
static int make_epoch(struct tf_pump *p, struct tf_drain_result *r, uint64_t began_ns)
{
	struct tf_batch *b;
	uint64_t read_to;
	int rc;

	tf_losses_collect(p);
	tf_epoch_need(p, r, &r->need);
	tf_cgroups_need(p, &r->need);
	rc = new_batch(p, &r->need, &b);
	if (rc)
		return rc;
	read_to = tf_drain_copy(p->drain, b, p->watermark_ns);
	publish(p);
	if (p->o.redact)
		tf_redact_batch(p->o.redact, b);
	move_watermark(p, read_to, began_ns);
	tf_cgroups_add(p, b);
	tf_filter_batch(p, b);
	tf_sample_batch(p, b);
	tf_epoch_close(p, b);
	p->s.bad += r->bad;
	p->s.discarded += r->discarded;
	p->s.late = tf_drain_late(p->drain);
	p->s.epochs = p->epoch;
	p->s.watermark_ns = p->watermark_ns;
	route(p, b);
	return 0;
}

static enum outcome ring_pass(struct tf_pump *p, struct tf_drain_result *r, bool force_epoch)
{
	uint64_t now = tf_boot_ns();

	memset(r, 0, sizeof(*r));
	rearm(p);
	if (!has_room(p))
		return PASS_PUT_OFF;
	tf_drain_scan(p->drain, r);
	if (r->max_fill_permille > p->s.max_fill_permille)
		p->s.max_fill_permille = r->max_fill_permille;
	if (r->max_fill_permille > p->sampling.max_fill_permille)
		p->sampling.max_fill_permille = r->max_fill_permille;
	tf_throttle_look(p, force_epoch);
	if (!r->bytes && !p->notes && !force_epoch && !heartbeat_due(p, now))
		return r->busy ? PASS_BUSY : PASS_IDLE;
	if (make_epoch(p, r, now))
		return PASS_PUT_OFF;
	return r->bytes ? PASS_RECORDS : r->busy ? PASS_BUSY : PASS_IDLE;
}

/* A source that makes its batches itself: they keep the EPOCH rows they have. */
static enum outcome next_pass(struct tf_pump *p)
{
	struct tf_batch *b = NULL;
	int rc;

	if (!p->user && !p->raw.running)
		return PASS_IDLE; /* what nobody takes yet would be gone: a recording can wait, the kernel cannot */
	if (!has_room(p))
		return PASS_PUT_OFF;
	rc = p->src->next(p->src->self, p->o.pool, &b);
	while (rc == -ENOMEM && p->user && tf_queue_drop_oldest_allowed(p->user) && tf_queue_drop_oldest(p->user))
		rc = p->src->next(p->src->self, p->o.pool, &b);
	if (rc == -ENOMEM)
		return PASS_PUT_OFF;
	if (rc <= 0) {
		p->s.source_status = rc ? rc : 1;
		return PASS_END;
	}
	p->epoch = b->epoch;
	p->s.epochs++;
	p->watermark_ns = p->s.watermark_ns = b->watermark_ns;
	route(p, b);
	return PASS_RECORDS;
}

static struct pass one_pass(struct tf_pump *p, bool force_epoch)
{
	struct pass x = {.outcome = PASS_IDLE};

	tf_pump_lock(p);
	x.outcome = p->drain ? ring_pass(p, &x.r, force_epoch) : next_pass(p);
	p->s.passes++;
	p->s.no_memory += x.outcome == PASS_PUT_OFF;
	p->s.wakeups = p->wakeups;
	p->s.cpu_ns = tf_thread_cpu_ns();
	tf_pump_unlock(p);
	return x;
}

static void step(struct tf_pump *p)
{
	int rc;

	/* a due step does not shorten the sleep: it is late by one flush time at most */
	if (!p->stepping && (!p->src->step_at_ns || tf_boot_ns() < p->src->step_at_ns))
		return;
	rc = p->src->step(p->src->self);
	p->stepping = rc == 1;
	if (rc < 0) {
		tf_pump_lock(p);
		p->s.step_errno = (uint64_t)-rc;
		tf_pump_unlock(p);
		tf_pump_log(p, TF_LOG_WARNING, "source: a step of the snapshot or of a periodic look failed; collection goes on without it");
	}
}

/* How long records gather before anything can wake us: the fuller the rings were, the shorter; nearly empty ones need no such pause,
 * because nothing below their watermark wakes us anyway. */
static uint64_t gather_ns(const struct tf_pump *p, uint32_t fill)
{
	uint64_t settle = (uint64_t)p->o.settle_us * 1000;

	return fill > FILL_HIGH ? settle / 5 : fill > FILL_LOW ? settle : 0;
}

static void sleep_after(struct tf_pump *p, const struct pass *x)
{
	uint64_t flush = (uint64_t)p->o.flush_us * 1000, pause = gather_ns(p, x->r.max_fill_permille);

	if (p->stepping && x->outcome != PASS_PUT_OFF)
		return;
	switch (x->outcome) {
	case PASS_PUT_OFF: rest(p, PUT_OFF_NS); break;
	case PASS_BUSY: rest(p, (uint64_t)p->o.settle_us * 1000); break;
	case PASS_IDLE: wait_rings(p, flush); break;
	case PASS_END: break;
	case PASS_RECORDS:
		if (x->r.more || !p->drain)
			break;
		rest(p, pause);
		if (flush > pause && (p->epoll_fd >= 0 || !pause)) /* rings that cannot wake us are looked at again at once */
			wait_rings(p, flush - pause);
	}
}

/* After a stop was asked for: passes until the rings are empty or the time is over, then a last EPOCH. */
static void last_passes(struct tf_pump *p)
{
	uint64_t until = tf_load_acquire(&p->stop_at_ns), busy_until = 0;
	struct pass x;

	do {
		x = one_pass(p, false);
		if (x.outcome == PASS_BUSY && !busy_until)
			busy_until = tf_boot_ns() + STOP_BUSY_NS;
		if (x.outcome == PASS_IDLE || (x.outcome == PASS_BUSY && tf_boot_ns() >= busy_until))
			break;
		if (x.outcome != PASS_RECORDS)
			rest(p, PUT_OFF_NS);
	} while (tf_boot_ns() < until);
	one_pass(p, true);
}

void *tf_pump_main(void *pump)
{
	struct tf_pump *p = pump;
	struct pass x = {.outcome = PASS_RECORDS};

	pthread_setname_np(pthread_self(), "tapio-pump");
	while (!stopping(p) && x.outcome != PASS_END) {
		step(p);
		if (p->src->tick)
			p->src->tick(p->src->self);
		x = one_pass(p, false);
		if (p->drain)
			tf_steer(p);
		sleep_after(p, &x);
	}
	if (p->drain)
		last_passes(p);
	tf_pump_lock(p);
	p->ended = true;
	if (!p->s.source_status)
		p->s.source_status = 1;
	if (p->user)
		tf_queue_end(p->user);
	if (p->raw.running)
		tf_queue_end(p->raw.queue);
	p->s.cpu_ns = tf_thread_cpu_ns();
	tf_pump_unlock(p);
	return NULL;
}

/* Whole records between read cursor and producer; what is still BUSY has not been submitted. */
static uint64_t count_unread(const struct tf_ring *r)
{
	uint64_t pos = r->read, end = pos + tf_ring_unread(r), n = 0;

	if (end - pos > r->size || (pos | end) % 8)
		return end != pos;
	while (pos < end) {
		uint32_t head = tf_load_acquire((const uint32_t *)(const void *)(r->data + (pos & (r->size - 1))));
		uint32_t len = head & ~(TF_RING_BUSY | TF_RING_DISCARD);

		n += !(head & (TF_RING_BUSY | TF_RING_DISCARD));
		if (len > TF_RECORD_CAP)
			break;
		pos += ((uint64_t)len + TF_RING_HEADER + 7) & ~7ull;
	}
	return n;
}

uint64_t tf_pump_in_ring(const struct tf_pump *p)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < p->n; i++)
		if (p->src->rings[i].size)
			n += count_unread(&p->src->rings[i]);
	return n;
}
