/* SPDX-License-Identifier: Apache-2.0 */
/* The draw in user space: shares, weights and counts, alone and inside a pump whose rates change while it runs. */
#include <math.h>

#include "pump_fixture.h"

static const struct tf_kind_info *cpu_kind = &tf_kind_table[TF_K_CPU_USAGE];

static float float_of(uint32_t bits)
{
	float f;

	memcpy(&f, &bits, sizeof(f));
	return f;
}

static void test_thresholds(void)
{
	CHECK(tf_threshold_of(1) == TF_RATE_ALL && tf_threshold_of(0.5) == 1u << 31 && tf_threshold_of(0.25) == 1u << 30);
	CHECK(tf_threshold_of(1e-300) == 1 && tf_threshold_of(0.9999999999) == TF_RATE_ALL);
	CHECK(float_of(tf_weight_bits(TF_RATE_ALL)) == 1.0f && float_of(tf_weight_bits(1u << 29)) == 8.0f);
	CHECK(float_of(TF_WEIGHT_ONE) == 1.0f);
}

/* splitmix64, written down a second time from its description. */
static uint64_t splitmix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15u;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

static void test_draw(void)
{
	uint64_t kept = 0, n = 1000000;

	for (uint64_t i = 0; i < n; i++) {
		uint64_t seed = rng(), number = rng() >> 20;
		uint32_t cpu = rng_below(512), kind = rng_below(TF_KIND_COUNT), threshold = (uint32_t)rng();
		bool want = (uint32_t)(splitmix(number ^ splitmix(seed ^ (uint64_t)cpu << 40 ^ (uint64_t)kind << 56)) >> 32) < threshold;

		CHECK(tf_sample_draws(seed, cpu, kind, number, threshold) == want);
		kept += tf_sample_draws(1, 0, TF_K_CPU_USAGE, i, tf_threshold_of(0.1)); /* numbers in a row */
	}
	CHECK(fabs((double)kept - 0.1 * (double)n) < 5 * sqrt(0.09 * (double)n));
}

/* Two kinds of one domain, the one thinned and the other not, on two CPUs: against a walk row by row. */
static void test_rows(uint32_t n)
{
	struct tf_need need = {.rows = {[TF_CPU] = n}};
	uint64_t keep[64], *dropped = calloc(2 * TF_KIND_MAX, 2 * sizeof(*dropped)), want_dropped[2] = {0}, kept = 0;
	struct tf_sampler s;
	struct tf_batch *b;

	CHECK(dropped && n <= 64 * 64 && !tf_batch_new(NULL, &need, &b));
	tf_sampler_init(&s, 4711);
	CHECK(!tf_sampler_thins(&s, TF_CPU));
	s.rates[TF_K_CPU_USAGE] = TF_RATE(tf_threshold_of(0.25), tf_weight_bits(tf_threshold_of(0.25)));
	CHECK(tf_sampler_thins(&s, TF_CPU) && !tf_sampler_thins(&s, TF_PROCESS));
	for (uint32_t i = 0; i < n; i++) {
		struct tf_cpu row = {.h = {.type = TF_CPU, .subtype = i % 3 ? cpu_kind->subtype : tf_kind_table[TF_K_CPU_LOAD].subtype, .seq = i + 1,
					   .cpu = i % 2, .weight = 3, .pid = i}};

		CHECK(!tf_batch_append(b, TF_CPU, &row, NULL, 0));
	}
	uint32_t said = tf_sample_rows(&s, &b->dom[TF_CPU], TF_CPU, keep, dropped + 1, 2);
	for (uint32_t i = 0; i < n; i++) {
		const struct tf_header *h = &((const struct tf_cpu *)(const void *)b->dom[TF_CPU].rows)[i].h;
		bool thinned = i % 3, stays = keep[i / 64] >> (i % 64) & 1;

		CHECK(stays == (!thinned || tf_sample_draws(4711, i % 2, TF_K_CPU_USAGE, i + 1, 1u << 30)));
		CHECK(h->weight == (thinned ? 12.0f : 3.0f));
		kept += stays;
		want_dropped[i % 2] += !stays;
	}
	CHECK(said == kept && said == tf_batch_keep(b, TF_CPU, keep) && b->dom[TF_CPU].n == kept);
	for (unsigned cpu = 0; cpu < 2; cpu++) {
		CHECK_EQ(dropped[((size_t)cpu * TF_KIND_MAX + TF_K_CPU_USAGE) * 2 + 1], want_dropped[cpu]);
		CHECK_EQ(dropped[((size_t)cpu * TF_KIND_MAX + TF_K_CPU_USAGE) * 2], 0);
	}
	tf_batch_unref(b);
	free(dropped);
}

/* ---- in a pump ---- */

struct told {
	uint64_t rows, rate_rows, sampled, last_since;
	double weights, rate;           /* rate: the kind's RATE row last seen */
};

static void look(struct told *t, const struct tf_batch *b)
{
	const struct tf_rows *m = &b->dom[TF_META], *r = &b->dom[TF_CPU];

	for (uint32_t i = 0; i < r->n; i++)
		t->weights += (double)((const struct tf_cpu *)(const void *)r->rows)[i].h.weight;
	t->rows += r->n;
	for (uint32_t i = 0; i < m->n; i++) {
		const struct tf_meta *row = (const struct tf_meta *)(const void *)m->rows + i;

		if (row->h.subtype != tf_kind_table[TF_K_META_RATE].subtype)
			continue;
		CHECK(row->object_id == TF_K_CPU_USAGE && row->cause == 0 && row->h.ts_ns >= t->last_since);
		CHECK(row->data.len == 5 && !memcmp(m->text + row->data.offset, "usage", 5));
		t->last_since = row->h.ts_ns;
		t->rate = (double)row->value / 4294967296.0;
		t->rate_rows++;
	}
	t->sampled += b->loss[TF_L_U_SAMPLED];
	CHECK_EQ(b->loss[TF_L_CONSUMED], b->loss[TF_L_U_BAD] + b->loss[TF_L_U_FILTERED] + b->loss[TF_L_U_SAMPLED] + b->loss[TF_L_ROUTED]);
}

static void read_all(struct rig *g, struct told *t, uint64_t until_rate_rows)
{
	bool ended = false;

	while (!ended && t->rate_rows < until_rate_rows) {
		struct tf_batch *b = tf_queue_pop(g->user, 1000, &ended);

		if (b)
			look(t, b);
		tf_batch_unref(b);
	}
}

/* Rates change between bursts; the estimate of what was sent is unbiased, every change is told once, and the books balance. */
static void test_pump(void)
{
	static const double rates[] = {0.5, 0.1, 1, 0.02, 0.8};
	struct tf_cpu row = {.h = {.type = TF_CPU, .weight = 1}};
	const uint64_t n = 20000;
	struct told t = {0};
	double variance = 0;
	struct rig g;

	open_rig(&g, 2, 8 * MIB, (struct tf_pump_opts){.flush_us = 1000}, 64 * MIB, 32 * MIB, TF_BLOCK);
	CHECK(tf_pump_set_rate(g.pump, TF_K_META_EPOCH, 5) == -EINVAL && tf_pump_set_rate(g.pump, TF_K_CPU_USAGE, 0) == -EINVAL);
	CHECK(tf_pump_set_rate(g.pump, TF_KIND_COUNT, 5) == -EINVAL);
	CHECK(!tf_pump_start(g.pump));
	for (unsigned i = 0; i < 5; i++) {
		CHECK(!tf_pump_set_rate(g.pump, TF_K_CPU_USAGE, tf_threshold_of(rates[i])));
		CHECK(!tf_pump_set_rate(g.pump, TF_K_CPU_USAGE, tf_threshold_of(rates[i]))); /* no change: not told */
		read_all(&g, &t, i + 1);
		CHECK(fabs(t.rate - rates[i]) < 1e-9);
		CHECK_EQ(tf_memsource_fill(g.m, i % 2, TF_K_CPU_USAGE, &row, sizeof(row), n, true), n);
		variance += (double)n * (1 - rates[i]) / rates[i];
		for (struct tf_pump_stats s = {.in_ring = 1}; s.in_ring; sleep_ms(1))
			tf_pump_stats(g.pump, &s);
	}
	CHECK(!tf_pump_stop(g.pump, 10000));
	read_all(&g, &t, UINT64_MAX);
	CHECK_EQ(t.rate_rows, 5);
	CHECK(fabs(t.weights - 5.0 * (double)n) < 5 * sqrt(variance));
	CHECK_EQ(check_ledger(&g, TF_L_U_SAMPLED), t.sampled);
	CHECK_EQ(t.rows + t.sampled, 5 * n);
	CHECK_EQ(check_ledger(&g, TF_L_ROUTED), t.rows);
	close_rig(&g);
}

/* The controller in a real pump: a flood is thinned, its least share holds, critical records stay whole. */
static void test_steered(void)
{
	struct tf_pump_control c = {.o = {.rate_limit = 1000, .base_rate = 0.05, .boost = 1}, .interval_ns = 10000000};
	struct tf_cpu row = {.h = {.type = TF_CPU, .weight = 1}};
	struct told t = {0};
	uint64_t sent = 0, critical = 0;
	struct tf_pump_stats s;
	struct rig g;

	c.class[TF_K_CPU_USAGE] = TF_SC_PLAIN;
	open_rig(&g, 1, 8 * MIB, (struct tf_pump_opts){.flush_us = 500}, 64 * MIB, 32 * MIB, TF_BLOCK);
	CHECK(!tf_pump_set_control(g.pump, &c) && !tf_pump_start(g.pump) && tf_pump_set_control(g.pump, &c) == -EBUSY);
	for (unsigned i = 0; i < 5000 && (t.rate_rows < 1 || t.rate > 0.051 || !t.sampled); i++) {
		row.h.subtype = cpu_kind->subtype;
		sent += tf_memsource_fill(g.m, 0, TF_K_CPU_USAGE, &row, sizeof(row), 1000, true);
		row.h.subtype = tf_kind_table[TF_K_CPU_LOAD].subtype;
		critical += tf_memsource_fill(g.m, 0, TF_K_CPU_LOAD, &row, sizeof(row), 10, true);
		sleep_ms(1);
		while (g.user && t.rate_rows < 1000) {
			bool ended;
			struct tf_batch *b = tf_queue_pop(g.user, 0, &ended);

			if (!b)
				break;
			look(&t, b);
			tf_batch_unref(b);
		}
	}
	CHECK(fabs(t.rate - 0.05) < 1e-6);
	for (unsigned i = 0; i < 5000 && t.rate < 1; i++) { /* quiet again */
		bool ended;
		struct tf_batch *b = tf_queue_pop(g.user, 1000, &ended);

		if (b)
			look(&t, b);
		tf_batch_unref(b);
	}
	tf_pump_stats(g.pump, &s);
	CHECK(t.rate == 1 && s.keep_ppm == 1000000 && s.rate_changes == t.rate_rows);
	CHECK(!tf_pump_stop(g.pump, 10000));
	read_all(&g, &t, UINT64_MAX);
	CHECK_EQ(t.rows + t.sampled, sent + critical);
	CHECK_EQ(check_ledger(&g, TF_L_U_SAMPLED), t.sampled);
	CHECK(t.sampled > 0 && t.rows >= critical);
	uint64_t *cells = read_ledger(&g);
	CHECK_EQ(cells[TF_K_CPU_LOAD * TF_L_COUNT + TF_L_ROUTED], critical);
	free(cells);
	close_rig(&g);
}

int main(void)
{
	test_thresholds();
	test_draw();
	for (uint32_t n = 0; n < 4000; n = n * 2 + 1)
		test_rows(n);
	test_pump();
	test_steered();
	puts("ok");
	return 0;
}
