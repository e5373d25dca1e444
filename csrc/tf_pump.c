/* SPDX-License-Identifier: Apache-2.0 */
/* tf_pump: what the pump's owner calls: opening, branches, stopping, figures. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tf_pump_impl.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

void tf_pump_lock(struct tf_pump *p)
{
	pthread_mutex_lock(&p->turn);
	pthread_mutex_lock(&p->lock);
	pthread_mutex_unlock(&p->turn);
}

void tf_pump_unlock(struct tf_pump *p)
{
	pthread_mutex_unlock(&p->lock);
}

void tf_pump_log(struct tf_pump *p, int level, const char *text)
{
	if (p->o.log)
		p->o.log(p->o.log_ctx, level, text);
}

static void set_defaults(struct tf_pump_opts *o)
{
	o->rows_per_domain = o->rows_per_domain ? o->rows_per_domain : 10000;
	o->bytes_per_pass = o->bytes_per_pass ? o->bytes_per_pass : 2u << 20;
	o->flush_us = o->flush_us ? o->flush_us : 10000;
	o->settle_us = o->settle_us ? o->settle_us : 1000;
	o->idle_epoch_ms = o->idle_epoch_ms ? o->idle_epoch_ms : 1000;
	o->raw_queue_bytes = o->raw_queue_bytes ? o->raw_queue_bytes : 16u << 20;
}

static int open_rings(struct tf_pump *p)
{
	const struct tf_drain_opts d = {
		.rings = p->src->rings, .nrings = p->src->nrings, .ncpu = p->src->ncpu,
		.rows_per_domain = p->o.rows_per_domain, .bytes_per_pass = p->o.bytes_per_pass,
	};
	int rc = tf_drain_open(&d, &p->drain);

	if (rc)
		return rc;
	p->n = p->src->nrings * TF_LANES;
	for (uint32_t i = 0; p->src->lanes && i < p->n; i++) {
		tf_store_relaxed(&p->src->lanes[i].read_pos, p->src->rings[i].read);
		tf_store_relaxed(&p->src->lanes[i].watermark, p->src->rings[i].size / 2);
	}
	p->cuts = calloc((size_t)p->src->ncpu * TF_KIND_MAX, sizeof(*p->cuts));
	if (!p->cuts)
		return -ENOMEM;
	tf_sampling_open(p);
	rc = tf_throttle_open(p);
	if (!rc)
		rc = tf_cgroups_open(p);
	return rc ? rc : tf_losses_open(p);
}

static int watch(struct tf_pump *p, int fd, uint32_t events)
{
	struct epoll_event e = {.events = events};

	return epoll_ctl(p->epoll_fd, EPOLL_CTL_ADD, fd, &e) ? -errno : 0;
}

/* Why the rings are edge triggered is said at wait_rings in tf_pump_loop.c. */
static int open_descriptors(struct tf_pump *p)
{
	int rc;

	p->stop_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (p->stop_fd < 0)
		return -errno;
	if (!p->drain || !p->src->ring_fds)
		return 0;
	p->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (p->epoll_fd < 0)
		return -errno;
	rc = watch(p, p->stop_fd, EPOLLIN);
	for (uint32_t i = 0; !rc && i < p->n; i++)
		if (p->src->rings[i].size && p->src->ring_fds[i] >= 0)
			rc = watch(p, p->src->ring_fds[i], EPOLLIN | EPOLLET);
	return rc;
}

/* Frees everything but the source. */
static void free_pump(struct tf_pump *p)
{
	tf_raw_close(p);
	tf_queue_close(p->user);
	for (unsigned i = 0; i < p->n_retired; i++)
		tf_queue_close(p->retired[i]);
	tf_notes_free(p);
	tf_throttle_close(p);
	tf_sampling_close(p);
	tf_filters_close(p);
	tf_cgroups_close(p);
	free(p->cuts);
	tf_losses_close(&p->loss);
	tf_redact_close(p->o.redact);
	tf_drain_close(p->drain);
	if (p->stop_fd >= 0)
		close(p->stop_fd);
	if (p->epoll_fd >= 0)
		close(p->epoll_fd);
	pthread_mutex_destroy(&p->turn);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

int tf_pump_open(const struct tf_pump_opts *o, struct tf_pump **out)
{
	struct tf_pump *p;
	int rc = 0;

	if (!o->source || !o->pool || (!o->source->rings && !o->source->next))
		return -EINVAL;
	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->o = *o;
	p->src = o->source;
	p->stop_fd = p->epoll_fd = -1;
	p->notes_end = &p->notes;
	pthread_mutex_init(&p->turn, NULL);
	pthread_mutex_init(&p->lock, NULL);
	set_defaults(&p->o);
	if (p->src->rings)
		rc = open_rings(p);
	if (!rc)
		rc = open_descriptors(p);
	if (rc) {
		p->o.redact = NULL; /* still the caller's */
		free_pump(p);
		return rc;
	}
	*out = p;
	return 0;
}

/* Signals belong to the program we live in: our threads take none. */
static int start_threads(struct tf_pump *p)
{
	sigset_t all, before;
	int rc;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = tf_raw_start(p);
	if (!rc && pthread_create(&p->thread, NULL, tf_pump_main, p)) {
		tf_raw_stop(p);
		rc = -EAGAIN;
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return rc;
}

int tf_pump_start(struct tf_pump *p)
{
	int rc;

	if (p->started)
		return -EALREADY;
	p->last_epoch_ns = tf_boot_ns();
	p->stepping = p->src->step != NULL;
	rc = start_threads(p);
	p->started = rc == 0;
	return rc;
}

int tf_pump_attach_user(struct tf_pump *p, size_t max_bytes, enum tf_overflow policy, struct tf_queue **out)
{
	struct tf_queue *q;
	int rc;

	rc = tf_queue_open(max_bytes, policy, &q);
	if (rc)
		return rc;
	tf_pump_lock(p);
	if (p->user || p->n_retired == TF_PUMP_RETIRED)
		rc = -EBUSY;
	else
		p->user = *out = q;
	if (!rc)
		tf_rates_tell(p);
	if (!rc && p->ended)
		tf_queue_end(q);
	tf_pump_unlock(p);
	if (rc)
		tf_queue_close(q);
	return rc;
}

void tf_pump_detach_user(struct tf_pump *p)
{
	struct tf_queue_stats s;

	tf_pump_lock(p);
	if (p->user) {
		tf_queue_abandon(p->user);
		tf_queue_stats(p->user, &s);
		p->past.routed += s.routed;
		p->past.handed += s.handed;
		p->past.overflow += s.overflow;
		/* kept until close: its consumer may just be waking up inside tf_queue_pop */
		p->retired[p->n_retired++] = p->user;
		p->user = NULL;
	}
	tf_pump_unlock(p);
}

int tf_pump_stop(struct tf_pump *p, uint32_t drain_ms)
{
	uint64_t one = 1;

	if (!p->started || p->stopped)
		return 0;
	tf_store_release(&p->stop_at_ns, tf_boot_ns() + (uint64_t)drain_ms * 1000000u); /* partner: stopping() */
	while (write(p->stop_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
	pthread_join(p->thread, NULL);
	tf_raw_stop(p);
	p->stopped = true;
	return 0;
}

static void user_stats(struct tf_pump *p, struct tf_queue_stats *out)
{
	memset(out, 0, sizeof(*out));
	if (p->user)
		tf_queue_stats(p->user, out);
	out->routed += p->past.routed;
	out->handed += p->past.handed;
	out->overflow += p->past.overflow;
}

static void cpu_stats(const struct tf_pump *p, struct tf_pump_stats *out)
{
	out->self_skipped = out->foreign_calls = out->forgotten = 0;
	for (uint32_t i = 0; p->src->cpus && i < p->src->ncpu; i++) {
		out->self_skipped += tf_load_relaxed(&p->src->cpus[i].self_skipped);
		out->foreign_calls += tf_load_relaxed(&p->src->cpus[i].foreign_calls);
		out->forgotten += tf_load_relaxed(&p->src->cpus[i].forgotten);
	}
}

void tf_pump_stats(struct tf_pump *p, struct tf_pump_stats *out)
{
	tf_pump_lock(p);
	*out = p->s;
	p->s.max_fill_permille = 0;
	out->keep_ppm = (uint64_t)(p->sampling.control.p * 1e6 + 0.5);
	out->in_ring = tf_pump_in_ring(p);
	user_stats(p, &out->user);
	cpu_stats(p, out);
	if (p->o.redact)
		tf_redact_stats(p->o.redact, &out->redact);
	tf_raw_stats(p, out);
	tf_pump_unlock(p);
}

static void fill_cell(const struct tf_pump *p, size_t cell, uint64_t *c)
{
	memset(c, 0, TF_L_COUNT * sizeof(*c));
	for (unsigned i = 0; p->src->ledger && i < TF_L_KERNEL_COUNT; i++)
		c[i] = tf_load_relaxed(&p->src->ledger[cell].c[i]);
	if (p->drain) {
		const uint64_t *n = tf_drain_counts(p->drain)[cell], *cut = p->cuts[cell];

		c[TF_L_CONSUMED] = n[0] + n[1];
		c[TF_L_U_BAD] = n[1];
		c[TF_L_U_FILTERED] = cut[TF_CUT_FILTERED];
		c[TF_L_U_SAMPLED] = cut[TF_CUT_SAMPLED];
		c[TF_L_ROUTED] = n[0] - cut[TF_CUT_FILTERED] - cut[TF_CUT_SAMPLED];
	}
}

int tf_pump_ledger(struct tf_pump *p, uint64_t *cells, size_t n_cells)
{
	size_t n = (size_t)p->src->ncpu * TF_KIND_MAX;

	if (n_cells != n * TF_L_COUNT)
		return -EINVAL;
	tf_pump_lock(p);
	for (size_t i = 0; i < n; i++)
		fill_cell(p, i, cells + i * TF_L_COUNT);
	tf_pump_unlock(p);
	return 0;
}

uint32_t tf_pump_ncpu(const struct tf_pump *p)
{
	return p->src->ncpu;
}

void tf_pump_forget(struct tf_pump *p)
{
	for (uint32_t i = 0; i < p->n; i++)
		tf_ring_close(&p->src->rings[i]);
	if (p->user)
		tf_queue_forget(p->user);
	for (unsigned i = 0; i < p->n_retired; i++)
		tf_queue_forget(p->retired[i]);
	if (p->raw.queue)
		tf_queue_forget(p->raw.queue);
	if (p->raw.writer)
		tf_segment_writer_forget(p->raw.writer);
	if (p->epoll_fd >= 0)
		close(p->epoll_fd);
	close(p->stop_fd);
	p->forgotten = true;
}

void tf_pump_close(struct tf_pump *p)
{
	struct tf_source *src;

	if (!p || p->forgotten)
		return;
	src = p->src;
	tf_pump_stop(p, 0);
	free_pump(p);
	if (src->close)
		src->close(src->self);
}
