/* SPDX-License-Identifier: Apache-2.0 */
/* tf_pump_sample: sampling in the pump: the controller's inputs and what follows from its answer, and the draw for sources whose gate has
 * none. Every change of a rate goes through tf_rate_change, so that the stream tells it. */
#include "tf_pump_impl.h"

#include <stdlib.h>

void tf_sampling_open(struct tf_pump *p)
{
	struct tf_sampling *s = &p->sampling;

	tf_sampler_init(&s->sampler, p->src->run_id);
	for (uint32_t k = 0; k < TF_KIND_COUNT; k++)
		s->own[k] = s->now[k] = TF_RATE_ALL;
	tf_control_init(&s->control);
	p->n_stages += !p->src->set_rate;
}

void tf_sampling_close(struct tf_pump *p)
{
	free(p->sampling.keep);
	p->sampling.keep = NULL;
}

int tf_pump_set_control(struct tf_pump *p, const struct tf_pump_control *c)
{
	struct tf_sampling *s = &p->sampling;

	if (p->started || !p->drain)
		return -EBUSY;
	if (!(c->o.base_rate > 0 && c->o.base_rate <= 1) || !(c->o.boost >= 1) || !c->interval_ns)
		return -EINVAL;
	s->o = c->o;
	s->interval_ns = c->interval_ns;
	memcpy(s->class, c->class, sizeof(s->class));
	return 0;
}

/* ---- the draw ---- */

static bool keep_room(struct tf_sampling *s, uint32_t rows)
{
	size_t words = ((size_t)rows + 63) / 64;

	if (words > s->keep_words) {
		uint64_t *more = realloc(s->keep, words * sizeof(*more));

		if (!more)
			return false;
		s->keep = more;
		s->keep_words = words;
	}
	return true;
}

void tf_sample_batch(struct tf_pump *p, struct tf_batch *b)
{
	struct tf_sampling *s = &p->sampling;

	if (p->src->set_rate)
		return;
	for (uint8_t d = 0; d < TF_TYPE_MAX; d++) {
		struct tf_rows *r = &b->dom[d];

		if (!r->n || d == TF_META || !tf_sampler_thins(&s->sampler, d) || !keep_room(s, r->n)) /* without memory all stay, at weight 1 */
			continue;
		tf_sample_rows(&s->sampler, r, d, s->keep, &p->cuts[0][TF_CUT_SAMPLED], TF_CUTS);
		tf_batch_keep(b, d, s->keep);
	}
}

/* ---- the controller ---- */

/* What reached the draw of a cell: of what was seen, all that was not refused before it and does not only feed a sum. */
static uint64_t offered(const struct tf_pump *p, size_t cell)
{
	const struct tf_ledger_cell *l;

	if (!p->src->set_rate)
		return tf_drain_counts(p->drain)[cell][0];
	l = &p->src->ledger[cell];
	return tf_load_relaxed(&l->c[TF_L_SEEN]) - tf_load_relaxed(&l->c[TF_L_K_FILTERED]) - tf_load_relaxed(&l->c[TF_L_K_THROTTLED]) -
	       tf_load_relaxed(&l->c[TF_L_K_AGGREGATED]) - tf_load_relaxed(&l->c[TF_L_K_MAP_FULL]);
}

static void read_sums(const struct tf_pump *p, struct tf_sampling_sums *sums)
{
	memset(sums, 0, sizeof(*sums));
	for (uint32_t cpu = 0; cpu < p->src->ncpu; cpu++)
		for (uint32_t k = 0; k < TF_KIND_COUNT; k++) {
			size_t cell = (size_t)cpu * TF_KIND_MAX + k;
			uint64_t drained = tf_drain_counts(p->drain)[cell][0];
			unsigned class = p->sampling.class[k];

			if (p->src->ledger && !tf_load_relaxed(&p->src->ledger[cell].c[TF_L_SEEN]))
				continue; /* most kinds, on most CPUs */
			sums->offered[class] += offered(p, cell);
			sums->drained[class] += drained;
			sums->filtered[class] += p->cuts[cell][TF_CUT_FILTERED];
			sums->kept += drained - p->cuts[cell][TF_CUT_FILTERED] - p->cuts[cell][TF_CUT_SAMPLED];
		}
	sums->cpu_ns = tf_thread_cpu_ns() + tf_load_relaxed(&p->raw.cpu_ns);
}

/* Cells are read while they move: a difference may come out a little below 0. */
static double per_second(uint64_t now, uint64_t before, double seconds)
{
	return (int64_t)(now - before) > 0 ? (double)(now - before) / seconds : 0;
}

/* Share of what was drained that the pump's own filter wanted: what it will refuse is no load that sampling has to make room for. */
static double wanted(const struct tf_sampling_sums *now, const struct tf_sampling_sums *before, unsigned class)
{
	uint64_t drained = now->drained[class] - before->drained[class];

	return drained ? 1 - (double)(now->filtered[class] - before->filtered[class]) / (double)drained : 1;
}

static void inputs(struct tf_pump *p, double seconds, struct tf_control_in *in)
{
	struct tf_sampling *s = &p->sampling;
	struct tf_sampling_sums now;
	struct tf_pool_stats pool;

	read_sums(p, &now);
	for (unsigned c = 0; c < TF_SC_COUNT; c++)
		in->offered[c] = per_second(now.offered[c], s->sums.offered[c], seconds) * wanted(&now, &s->sums, c);
	in->kept = per_second(now.kept, s->sums.kept, seconds);
	in->cpu = per_second(now.cpu_ns, s->sums.cpu_ns, seconds) / 1e9;
	tf_pool_stats(p->o.pool, &pool);
	in->ring_fill = s->max_fill_permille / 1000.0;
	in->pool_fill = (double)pool.in_use_bytes / (double)pool.limit_bytes;
	s->sums = now;
	s->max_fill_permille = 0;
}

static uint32_t steered(const struct tf_pump *p, uint32_t kind)
{
	const struct tf_sampling *s = &p->sampling;
	double share = s->interval_ns ? tf_control_share(&s->control, &s->o, s->class[kind]) : 1;
	double own = s->own[kind] == TF_RATE_ALL ? 1 : s->own[kind] / 4294967296.0;

	if (tf_drawn_by(p, kind) && share < 1) {
		share = tf_control_keyed_share(share, s->now[kind] == TF_RATE_ALL ? 1 : s->now[kind] / 4294967296.0 / own);
		share = share < s->o.base_rate ? s->o.base_rate : share;
	}
	return tf_threshold_of(own * share);
}

static int change(struct tf_pump *p, uint32_t kind, uint64_t since_ns)
{
	uint32_t threshold = steered(p, kind);

	return threshold == p->sampling.now[kind] ? 0 : tf_rate_change(p, kind, threshold, since_ns);
}

void tf_steer(struct tf_pump *p)
{
	struct tf_sampling *s = &p->sampling;
	uint64_t now = tf_boot_ns(), since = now + TF_KEY_LEAD_NS;
	struct tf_control_in in;

	if (!s->interval_ns || (s->last_ns && now - s->last_ns < s->interval_ns))
		return;
	tf_pump_lock(p);
	inputs(p, s->last_ns ? (double)(now - s->last_ns) / 1e9 : 1, &in);
	if (s->last_ns) /* else only the sums begin here */
		tf_control_step(&s->control, &s->o, &in);
	s->last_ns = now;
	for (uint32_t k = 0; k < TF_KIND_COUNT; k++)
		if (s->class[k] != TF_SC_WHOLE && s->own[k] && change(p, k, tf_drawn_by(p, k) ? since : now))
			break; /* no memory for a note: the next step tries again */
	tf_pump_unlock(p);
}

int tf_pump_set_rate(struct tf_pump *p, uint32_t kind, uint32_t threshold)
{
	uint64_t now = tf_boot_ns();
	uint32_t before;
	int rc;

	if (kind >= TF_KIND_COUNT || tf_kind_table[kind].type == TF_META || !threshold || !p->drain)
		return -EINVAL;
	tf_pump_lock(p);
	before = p->sampling.own[kind];
	p->sampling.own[kind] = threshold;
	rc = change(p, kind, tf_drawn_by(p, kind) ? now + TF_KEY_LEAD_NS : now);
	if (rc)
		p->sampling.own[kind] = before;
	tf_pump_unlock(p);
	return rc;
}
