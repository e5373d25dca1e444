/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the pump share: a pump over in-memory rings, the check of its ledger, and what a consumer learns from batches. */
#ifndef PUMP_FIXTURE_H
#define PUMP_FIXTURE_H

#include <pthread.h>
#include <time.h>

#include "ring_fixture.h"
#include "tf_memsource.h"
#include "tf_pump.h"

#define MIB (1u << 20)

static inline void sleep_ms(unsigned ms)
{
	struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};

	nanosleep(&t, NULL);
}

struct rig {
	struct tf_memsource *m;
	struct tf_pool *pool;
	struct tf_pump *pump;
	struct tf_queue *user;
};

static inline void open_rig(struct rig *g, uint32_t ncpu, uint64_t ring, struct tf_pump_opts o, size_t pool, size_t queue,
			    enum tf_overflow policy)
{
	memset(g, 0, sizeof(*g));
	CHECK(!tf_memsource_open(ncpu, ring, ring / 8 < 4096 ? 4096 : ring / 8, &g->m));
	CHECK(!tf_pool_open(pool, pool * 4, &g->pool));
	o.source = tf_memsource_source(g->m);
	o.pool = g->pool;
	CHECK(!tf_pump_open(&o, &g->pump));
	if (queue)
		CHECK(!tf_pump_attach_user(g->pump, queue, policy, &g->user));
}

static inline void close_rig(struct rig *g)
{
	tf_pump_close(g->pump);
	tf_pool_close(g->pool);
}

static inline uint64_t *read_ledger(struct rig *g)
{
	size_t n = (size_t)tf_pump_ncpu(g->pump) * TF_KIND_MAX * TF_L_COUNT;
	uint64_t *cells = malloc(n * sizeof(*cells));

	CHECK(cells && !tf_pump_ledger(g->pump, cells, n));
	CHECK(tf_pump_ledger(g->pump, cells, n - 1) == -EINVAL);
	return cells;
}

/* Both identities, per CPU and kind, and the sum over all of one cause. */
static inline uint64_t check_ledger(struct rig *g, unsigned cause)
{
	struct tf_pump_stats s;
	uint64_t *cells = read_ledger(g), sum = 0, submitted = 0, consumed = 0;

	for (size_t i = 0; i < (size_t)tf_pump_ncpu(g->pump) * TF_KIND_MAX; i++) {
		const uint64_t *c = cells + i * TF_L_COUNT;
		uint64_t outcomes = 0;

		for (unsigned k = TF_L_SUBMITTED; k < TF_L_KERNEL_COUNT; k++)
			outcomes += c[k];
		CHECK_EQ(c[TF_L_SEEN], outcomes);
		CHECK_EQ(c[TF_L_CONSUMED], c[TF_L_U_BAD] + c[TF_L_U_FILTERED] + c[TF_L_U_SAMPLED] + c[TF_L_ROUTED]);
		submitted += c[TF_L_SUBMITTED];
		consumed += c[TF_L_CONSUMED];
		sum += c[cause];
	}
	tf_pump_stats(g->pump, &s);
	CHECK_EQ(submitted, consumed + s.in_ring);
	CHECK_EQ(s.user.routed, s.user.handed + s.user.queued + s.user.overflow);
	free(cells);
	return sum;
}

/* ---- what a consumer learns from the batches ---- */

struct seen {
	struct tf_queue *queue;
	uint64_t rows, epochs, next_seq, epoch_losses[TF_L_COUNT], batch_losses[TF_L_COUNT], last_watermark, last_epoch, wrong;
	bool gaps_allowed;
};

static inline void look_at_meta(struct seen *x, const struct tf_batch *b)
{
	const struct tf_rows *r = &b->dom[TF_META];
	const struct tf_meta *last = (const struct tf_meta *)(const void *)r->rows + r->n - 1;

	CHECK(r->n >= 1 && last->h.type == TF_META && last->h.subtype == tf_kind_table[TF_K_META_EPOCH].subtype);
	CHECK(last->epoch == b->epoch && b->epoch > x->last_epoch && last->watermark_ns == b->watermark_ns);
	CHECK(last->watermark_ns >= x->last_watermark && last->h.seq == last->epoch && last->h.weight == 1.0f);
	CHECK_EQ(last->count, b->total - r->n);
	CHECK_EQ(last->data.len, last->n_seqs * sizeof(struct tf_epoch_seq) + last->n_losses * sizeof(struct tf_epoch_loss));
	CHECK(last->data.offset + last->data.len <= r->text_len);
	x->last_epoch = b->epoch;
	x->last_watermark = last->watermark_ns;
	const uint8_t *tail = r->text + last->data.offset + last->n_seqs * sizeof(struct tf_epoch_seq);
	for (uint32_t i = 0; i < last->n_losses; i++) {
		struct tf_epoch_loss l;

		memcpy(&l, tail + i * sizeof(l), sizeof(l));
		CHECK(l.cause < TF_L_COUNT && l.cause != TF_L_SEEN && l.cause != TF_L_SUBMITTED && l.count);
		x->epoch_losses[l.cause] += l.count;
	}
	for (unsigned c = 0; c < TF_L_COUNT; c++)
		x->batch_losses[c] += b->loss[c];
}

static inline void look_at(struct seen *x, const struct tf_batch *b)
{
	const struct tf_rows *r = &b->dom[TF_CPU];

	for (uint32_t i = 0; i < r->n; i++) {
		struct tf_header h;

		memcpy(&h, r->rows + (size_t)i * r->row_size, sizeof(h));
		if (h.seq != x->next_seq)
			x->wrong += !x->gaps_allowed || h.seq < x->next_seq;
		x->next_seq = h.seq + 1;
	}
	x->rows += r->n;
	x->epochs++;
	if (!x->gaps_allowed || b->dom[TF_META].n)
		look_at_meta(x, b);
}

static inline void *consume(void *arg)
{
	struct seen *x = arg;
	bool ended = false;

	while (!ended) {
		struct tf_batch *b = tf_queue_pop(x->queue, 1000, &ended);

		if (b)
			look_at(x, b);
		tf_batch_unref(b);
	}
	return NULL;
}

#endif
