/* SPDX-License-Identifier: Apache-2.0 */
/* tf_queue: a bounded ring of batch pointers between the pump and one branch. */
#include "tf_queue_impl.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define COST_MIN 4096u  /* bytes a batch counts at least: bounds the number of empty ones */

struct tf_queue {
	pthread_mutex_t lock;
	pthread_cond_t filled;
	size_t max_bytes;
	enum tf_overflow policy;
	int fd;                 /* eventfd: readable while n > 0 or ended */
	bool readable, ended;
	struct tf_queue_stats s;
	size_t first, n, cap;   /* ring of slots */
	struct tf_batch *slots[];
};

int tf_queue_open(size_t max_bytes, enum tf_overflow policy, struct tf_queue **out)
{
	size_t cap = max_bytes / COST_MIN + 2;
	pthread_condattr_t attr;
	struct tf_queue *q;

	q = calloc(1, sizeof(*q) + cap * sizeof(q->slots[0]));
	if (!q)
		return -ENOMEM;
	q->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (q->fd < 0) {
		free(q);
		return -EMFILE;
	}
	q->max_bytes = max_bytes;
	q->policy = policy;
	q->cap = cap;
	pthread_mutex_init(&q->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&q->filled, &attr);
	pthread_condattr_destroy(&attr);
	*out = q;
	return 0;
}

static size_t cost(const struct tf_batch *b)
{
	return b->arena_size > COST_MIN ? b->arena_size : COST_MIN;
}

/* Makes the descriptor say what the queue is. An eventfd of our own cannot fail here: one write, one read in turn. */
static void update_fd(struct tf_queue *q)
{
	bool want = q->n || q->ended;
	uint64_t one = 1;

	if (want == q->readable)
		return;
	q->readable = want;
	if (want ? write(q->fd, &one, sizeof(one)) < 0 : read(q->fd, &one, sizeof(one)) < 0)
		q->readable = !want;
}

static struct tf_batch *take_first(struct tf_queue *q)
{
	struct tf_batch *b;

	if (!q->n)
		return NULL;
	b = q->slots[q->first];
	q->first = (q->first + 1) % q->cap;
	q->n--;
	q->s.queued -= b->total;
	q->s.bytes -= cost(b);
	return b;
}

static uint64_t drop_first(struct tf_queue *q)
{
	struct tf_batch *b = take_first(q);
	uint64_t records = b ? b->total : 0;

	q->s.overflow += records;
	tf_batch_unref(b);
	return records;
}

static bool has_room(const struct tf_queue *q)
{
	return q->s.bytes < q->max_bytes || !q->n;
}

int tf_queue_push(struct tf_queue *q, struct tf_batch *b)
{
	int rc = 0;

	pthread_mutex_lock(&q->lock);
	while (!q->ended && q->policy == TF_DROP_OLDEST && !has_room(q))
		drop_first(q);
	if (q->ended) {
		rc = -EPIPE;
	} else if (has_room(q)) {
		tf_batch_ref(b);
		q->slots[(q->first + q->n++) % q->cap] = b;
		q->s.routed += b->total;
		q->s.queued += b->total;
		q->s.bytes += cost(b);
		update_fd(q);
		pthread_cond_signal(&q->filled);
	} else if (q->policy == TF_BLOCK) {
		rc = -EAGAIN;
	} else {
		q->s.routed += b->total;
		q->s.overflow += b->total;
	}
	pthread_mutex_unlock(&q->lock);
	return rc;
}

bool tf_queue_has_room(struct tf_queue *q)
{
	bool room;

	pthread_mutex_lock(&q->lock);
	room = q->policy != TF_BLOCK || has_room(q);
	pthread_mutex_unlock(&q->lock);
	return room;
}

bool tf_queue_drop_oldest_allowed(const struct tf_queue *q)
{
	return q->policy == TF_DROP_OLDEST;
}

uint64_t tf_queue_drop_oldest(struct tf_queue *q)
{
	uint64_t records;

	pthread_mutex_lock(&q->lock);
	records = drop_first(q);
	update_fd(q);
	pthread_mutex_unlock(&q->lock);
	return records;
}

static void deadline_in(int timeout_ms, struct timespec *t)
{
	clock_gettime(CLOCK_MONOTONIC, t);
	t->tv_sec += timeout_ms / 1000;
	t->tv_nsec += timeout_ms % 1000 * 1000000L;
	if (t->tv_nsec >= 1000000000L) {
		t->tv_nsec -= 1000000000L;
		t->tv_sec++;
	}
}

struct tf_batch *tf_queue_pop(struct tf_queue *q, int timeout_ms, bool *ended)
{
	struct timespec until;
	struct tf_batch *b;
	int rc = 0;

	if (timeout_ms > 0)
		deadline_in(timeout_ms, &until);
	pthread_mutex_lock(&q->lock);
	while (!q->n && !q->ended && timeout_ms && rc != ETIMEDOUT)
		rc = timeout_ms < 0 ? pthread_cond_wait(&q->filled, &q->lock) : pthread_cond_timedwait(&q->filled, &q->lock, &until);
	b = take_first(q);
	if (b)
		q->s.handed += b->total;
	*ended = !b && q->ended;
	update_fd(q);
	pthread_mutex_unlock(&q->lock);
	return b;
}

int tf_queue_fd(const struct tf_queue *q)
{
	return q->fd;
}

void tf_queue_stats(struct tf_queue *q, struct tf_queue_stats *out)
{
	pthread_mutex_lock(&q->lock);
	*out = q->s;
	pthread_mutex_unlock(&q->lock);
}

static void end(struct tf_queue *q, bool drop)
{
	pthread_mutex_lock(&q->lock);
	q->ended = true;
	while (drop && q->n)
		drop_first(q);
	update_fd(q);
	pthread_cond_broadcast(&q->filled);
	pthread_mutex_unlock(&q->lock);
}

void tf_queue_end(struct tf_queue *q)
{
	end(q, false);
}

void tf_queue_abandon(struct tf_queue *q)
{
	end(q, true);
}

void tf_queue_forget(struct tf_queue *q)
{
	close(q->fd);
	q->fd = -1;
}

void tf_queue_close(struct tf_queue *q)
{
	if (!q)
		return;
	while (q->n)
		drop_first(q);
	close(q->fd);
	pthread_cond_destroy(&q->filled);
	pthread_mutex_destroy(&q->lock);
	free(q);
}
