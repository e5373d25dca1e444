/* SPDX-License-Identifier: Apache-2.0 */
/* tf_pool: arenas for batches, by size class, reused while they are hot; every byte is accounted. */
#include "tf_pool_impl.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

#define CLASS_MIN (16u << 10)
#define CLASSES (4 * 48)        /* four steps per doubling */
#define REUSE_STEPS 4           /* a free arena up to this many classes (one doubling) too large is taken before a fresh one */

/* Free arenas of a class, last freed first: its first bytes link to the next. */
struct idle {
	struct idle *next;
};

struct tf_pool {
	pthread_mutex_t lock;
	size_t pool_bytes, total_bytes;
	uint64_t refs;          /* the owner and every arena that is out */
	struct tf_pool_stats s;
	struct idle *idle[CLASSES];
};

static size_t class_size(unsigned c)
{
	return (size_t)(CLASS_MIN / 4 * (4 + c % 4)) << (c / 4);
}

/* The smallest class that holds size, CLASSES when none does. */
static unsigned class_of(size_t size)
{
	unsigned c = 0;

	if (size > class_size(CLASSES - 1))
		return CLASSES;
	if (size > CLASS_MIN)
		c = 4 * (unsigned)(63 - __builtin_clzll((unsigned long long)(size - 1) / CLASS_MIN));
	while (class_size(c) < size)
		c++;
	return c;
}

int tf_pool_open(size_t pool_bytes, size_t total_bytes, struct tf_pool **out)
{
	struct tf_pool *p;

	if (pool_bytes < CLASS_MIN || total_bytes < pool_bytes)
		return -EINVAL;
	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	pthread_mutex_init(&p->lock, NULL);
	p->pool_bytes = p->s.limit_bytes = pool_bytes;
	p->total_bytes = total_bytes;
	p->refs = 1;
	*out = p;
	return 0;
}

static void release_arena(struct tf_pool *p, unsigned c)
{
	struct idle *a = p->idle[c];

	p->idle[c] = a->next;
	p->s.idle_bytes -= class_size(c);
	munmap(a, class_size(c));
}

/* Gives idle arenas back, largest first, until `room` more bytes fit beside what is in use. */
static void trim(struct tf_pool *p, size_t room)
{
	for (unsigned c = CLASSES; c-- > 0;)
		while (p->idle[c] && (p->s.in_use_bytes + p->s.idle_bytes + room > p->pool_bytes ||
				      p->s.in_use_bytes + p->s.detached_bytes + p->s.idle_bytes + room > p->total_bytes))
			release_arena(p, c);
}

static bool within_limits(const struct tf_pool *p, size_t size)
{
	return size <= p->pool_bytes && p->s.in_use_bytes <= p->pool_bytes - size &&
	       p->s.in_use_bytes + p->s.detached_bytes <= p->total_bytes - size;
}

bool tf_pool_ever(const struct tf_pool *p, size_t size)
{
	unsigned c = class_of(size);

	return c < CLASSES && class_size(c) <= p->pool_bytes && class_size(c) <= p->total_bytes;
}

static uint8_t *take_idle(struct tf_pool *p, unsigned first, size_t *got)
{
	for (unsigned c = first; c < CLASSES && c <= first + REUSE_STEPS; c++) {
		struct idle *a = p->idle[c];

		if (!a || !within_limits(p, class_size(c)))
			continue;
		p->idle[c] = a->next;
		p->s.idle_bytes -= class_size(c);
		*got = class_size(c);
		return (uint8_t *)a;
	}
	return NULL;
}

/* Faulted in at once: page by page it would cost the drain 30 times the copy. */
static uint8_t *map_fresh(struct tf_pool *p, unsigned c, size_t *got)
{
	void *a;
	int flags = MAP_PRIVATE | MAP_ANONYMOUS;

#ifdef MAP_POPULATE
	flags |= MAP_POPULATE;
#endif
	if (!within_limits(p, class_size(c)))
		return NULL;
	trim(p, class_size(c));
	a = mmap(NULL, class_size(c), PROT_READ | PROT_WRITE, flags, -1, 0);
	if (a == MAP_FAILED)
		return NULL;
	*got = class_size(c);
	return a;
}

static void note_peak(struct tf_pool *p)
{
	uint64_t now = p->s.in_use_bytes + p->s.detached_bytes + p->s.idle_bytes;

	if (now > p->s.peak_bytes)
		p->s.peak_bytes = now;
}

uint8_t *tf_pool_take(struct tf_pool *p, size_t size, size_t *got)
{
	unsigned c = class_of(size);
	uint8_t *arena = NULL;

	pthread_mutex_lock(&p->lock);
	if (c < CLASSES)
		arena = take_idle(p, c, got);
	if (!arena && c < CLASSES)
		arena = map_fresh(p, c, got);
	if (arena) {
		p->s.in_use_bytes += *got;
		p->refs++;
		note_peak(p);
	} else {
		p->s.refused++;
	}
	pthread_mutex_unlock(&p->lock);
	return arena;
}

static void unlock_and_unref(struct tf_pool *p)
{
	bool last = --p->refs == 0;

	if (last)
		for (unsigned c = 0; c < CLASSES; c++)
			while (p->idle[c])
				release_arena(p, c);
	pthread_mutex_unlock(&p->lock);
	if (last) {
		pthread_mutex_destroy(&p->lock);
		free(p);
	}
}

void tf_pool_give(struct tf_pool *p, uint8_t *arena, size_t size, bool detached)
{
	pthread_mutex_lock(&p->lock);
	*(detached ? &p->s.detached_bytes : &p->s.in_use_bytes) -= size;
	if (p->s.in_use_bytes + p->s.idle_bytes + size <= p->pool_bytes &&
	    p->s.in_use_bytes + p->s.detached_bytes + p->s.idle_bytes + size <= p->total_bytes) {
		unsigned c = class_of(size);

		((struct idle *)arena)->next = p->idle[c];
		p->idle[c] = (struct idle *)arena;
		p->s.idle_bytes += size;
	} else {
		munmap(arena, size);
	}
	unlock_and_unref(p);
}

void tf_pool_move(struct tf_pool *p, size_t size)
{
	pthread_mutex_lock(&p->lock);
	p->s.in_use_bytes -= size;
	p->s.detached_bytes += size;
	pthread_mutex_unlock(&p->lock);
}

void tf_pool_stats(struct tf_pool *p, struct tf_pool_stats *out)
{
	pthread_mutex_lock(&p->lock);
	*out = p->s;
	pthread_mutex_unlock(&p->lock);
}

void tf_pool_close(struct tf_pool *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	unlock_and_unref(p);
}
