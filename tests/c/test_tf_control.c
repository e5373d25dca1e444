/* SPDX-License-Identifier: Apache-2.0 */
/* The controller against a simulated machine: a queue with a bounded service rate, a cost a record, and loads that step, ramp and swing.
 * What is judged is the plant (records kept, its queue), never the controller's own numbers. */
#include <math.h>

#include "ring_fixture.h"
#include "tf_sample.h"

#define DT 0.1 /* s: performance.sampling_interval */

/* A machine: what comes is kept by chance, queued, and consumed as fast as it can. All in records; no randomness but the noise asked for. */
struct plant {
	double service;                 /* records/s that can be consumed at most */
	double queue, room;             /* records in the rings, and how many fit */
	double cost, fixed;             /* CPU seconds a record, and cores used without any */
	double noise;                   /* of the offers, relative */
	double kept, lost, cpu;         /* of the last interval, a second */
};

static double noisy(double x, double noise)
{
	return x * (1 + noise * ((double)rng_below(2001) / 1000 - 1));
}

static void turn(struct plant *m, struct tf_control *c, const struct tf_control_opts *o, const double offer[TF_SC_COUNT])
{
	struct tf_control_in in = {0};
	double come = 0, consumed;

	for (unsigned k = 0; k < TF_SC_COUNT; k++) {
		in.offered[k] = noisy(offer[k], m->noise);
		come += in.offered[k] * tf_control_share(c, o, (enum tf_sample_class)k);
	}
	m->queue += come * DT;
	consumed = fmin(m->queue, m->service * DT);
	m->queue -= consumed;
	m->lost = fmax(0, m->queue - m->room) / DT;
	in.ring_fill = fmin(m->queue, m->room) / m->room;
	m->queue = fmin(m->queue, m->room);
	m->kept = in.kept = consumed / DT;
	m->cpu = in.cpu = m->fixed + m->kept * m->cost;
	tf_control_step(c, o, &in);
}

static struct plant roomy(double noise)
{
	return (struct plant){.service = 1e9, .room = 1e9, .noise = noise};
}

static const struct tf_control_opts limits = {.rate_limit = 10000, .cpu_limit = 2, .base_rate = 0.001, .boost = 10};

/* What p has to be, by bisection of the plant's own sum: independent of the controller's closed form. */
static double wanted_p(const struct tf_control_opts *o, const double offer[TF_SC_COUNT], double room)
{
	double low = o->base_rate, high = 1;

	for (int i = 0; i < 100; i++) {
		double p = (low + high) / 2, sum = offer[0] + offer[1] * fmin(1, o->boost * p) + offer[2] * p;

		*(sum > room ? &high : &low) = p;
	}
	return low;
}

static bool near(double a, double b, double by)
{
	return fabs(a / b - 1) <= by;
}

/* A step up or down by any factor up to a thousand is settled five intervals later, and stays. */
static void test_step(double before, double after, double noise)
{
	const double first[3] = {100, before * 0.2, before * 0.8}, then[3] = {100, after * 0.2, after * 0.8};
	struct plant m = roomy(noise);
	struct tf_control c;
	double want = wanted_p(&limits, then, limits.rate_limit);

	tf_control_init(&c);
	for (int i = 0; i < 30; i++)
		turn(&m, &c, &limits, first);
	for (int i = 0; i < 60; i++) {
		turn(&m, &c, &limits, then);
		if (i >= 5)
			CHECK(near(tf_control_share(&c, &limits, TF_SC_PLAIN), want, 0.12 + noise));
		if (i >= 6 && want < 1 && want > limits.base_rate)
			CHECK(near(m.kept, limits.rate_limit, 0.12 + 2 * noise));
		if (i >= 5 && after + 100 < limits.rate_limit)
			CHECK(tf_control_share(&c, &limits, TF_SC_PLAIN) == 1);
	}
}

/* From idle to twenty times the limit and back, within 40 intervals each: what is kept follows a few per cent behind. */
static void test_ramp(void)
{
	struct plant m = roomy(0.01);
	struct tf_control c;

	tf_control_init(&c);
	for (int i = 0; i < 160; i++) {
		double load = 200000.0 / 40 * (i < 40 ? i : i < 80 ? 40 : i < 120 ? 120 - i : 0);
		const double offer[3] = {0, 0, load};

		turn(&m, &c, &limits, offer);
		if (load > 6 * 5000) /* a slope of 5000 records/s an interval is less than a sixth of the load from here on */
			CHECK(m.kept > limits.rate_limit * 0.75 && m.kept < limits.rate_limit * 1.3);
		if (i > 125)
			CHECK(tf_control_share(&c, &limits, TF_SC_PLAIN) == 1);
	}
}

/* Load that switches between quiet and flood: settled within five intervals of every edge, again and again, without growing swings. */
static void test_square(int half)
{
	const double quiet[3] = {0, 500, 1500}, flood[3] = {0, 20000, 180000};
	double want = wanted_p(&limits, flood, limits.rate_limit);
	struct plant m = roomy(0.02);
	struct tf_control c;

	tf_control_init(&c);
	for (int i = 0; i < 40 * half; i++) {
		bool high = i / half % 2;

		turn(&m, &c, &limits, high ? flood : quiet);
		if (i % half >= 5)
			CHECK(high ? near(c.p, want, 0.13) : c.p == 1);
		CHECK(!high || i % half < 2 || m.kept < limits.rate_limit * 1.15);
	}
}

/* Steady load with noise: no swinging, and hardly any change at all. */
static void test_calm(void)
{
	const double offer[3] = {300, 2000, 50000};
	struct plant m = roomy(0.03);
	struct tf_control c;
	unsigned changes = 0;

	tf_control_init(&c);
	for (int i = 0; i < 1000; i++) {
		double before = c.p;

		turn(&m, &c, &limits, offer);
		changes += i >= 10 && c.p != before;
		CHECK(i < 5 || near(m.kept, limits.rate_limit, 0.15));
	}
	CHECK(changes <= 20);
	for (int i = 0; i < 100; i++) { /* idle: nothing comes at all */
		static const double none[3];

		turn(&m, &c, &limits, none);
		CHECK(i < 5 || c.p == 1);
	}
}

/* The least share is a promise, importance holds a kind up, critical kinds are never touched. */
static void test_limits(void)
{
	static const struct tf_control_opts base = {.rate_limit = 1000, .base_rate = 0.1, .boost = 10};
	static const double flood[3] = {5000, 1e6, 1e7}, little[3] = {0, 500, 5000};
	struct plant m = roomy(0);
	struct tf_control c;

	tf_control_init(&c);
	for (int i = 0; i < 50; i++) {
		turn(&m, &c, &base, flood);
		CHECK(tf_control_share(&c, &base, TF_SC_WHOLE) == 1 && tf_control_share(&c, &base, TF_SC_IMPORTANT) == 1);
		CHECK(c.p >= base.base_rate && (i < 1 || c.p == base.base_rate));
	}
	for (int i = 0; i < 50; i++) { /* 500 important whole, 5000 plain at a tenth: just the limit */
		turn(&m, &c, &base, little);
		CHECK(tf_control_share(&c, &base, TF_SC_IMPORTANT) == 1);
		CHECK(i < 5 || near(m.kept, 1000, 0.12));
	}
	static const struct tf_control_opts weak = {.rate_limit = 1000, .base_rate = 0.01, .boost = 3};
	for (int i = 0; i < 50; i++) { /* important kinds give way too, a third as far */
		turn(&m, &c, &weak, (const double[3]){0, 2000, 20000});
		CHECK(i < 5 || near(m.kept, 1000, 0.12));
		CHECK(near(tf_control_share(&c, &weak, TF_SC_IMPORTANT), 3 * c.p, 1e-9) || i < 1);
	}
}

/* Without a limit of records, the CPU limit rules: at the cost that records have, with what an idle collector takes counted in. */
static void test_cpu_limit(void)
{
	static const struct tf_control_opts o = {.cpu_limit = 0.5, .base_rate = 0.001, .boost = 1};
	struct plant m = roomy(0.01);
	struct tf_control c;

	m.cost = 2e-6; /* half a core is 225,000 records/s */
	m.fixed = 0.05;
	tf_control_init(&c);
	for (int i = 0; i < 50; i++) {
		turn(&m, &c, &o, (const double[3]){0, 0, 2e6});
		CHECK(i < 6 || near(m.cpu, 0.5, 0.1));
	}
	for (int i = 0; i < 20; i++) {
		turn(&m, &c, &o, (const double[3]){0, 0, 2e5});
		CHECK(i < 5 || (c.p == 1 && m.cpu < 0.5));
	}
}

/* A consumer slower than any limit says: rings fill up, the controller finds its speed, the rings empty, nothing more is lost. */
static void test_slow_consumer(void)
{
	static const struct tf_control_opts o = {.rate_limit = 1e6, .base_rate = 0.001, .boost = 1};
	struct plant m = {.service = 50000, .room = 40000, .noise = 0.02};
	struct tf_control c;
	double late_loss = 0, sum = 0;

	tf_control_init(&c);
	for (int i = 0; i < 300; i++) {
		turn(&m, &c, &o, (const double[3]){0, 0, 400000});
		late_loss += i >= 5 ? m.lost : 0;
		sum += i >= 20 ? m.kept : 0;
	}
	CHECK(late_loss == 0);
	CHECK(sum / 280 > 0.85 * m.service);
	for (int i = 0; i < 6; i++)
		turn(&m, &c, &o, (const double[3]){0, 0, 20000});
	CHECK(c.p == 1);
}

/* A reader who pauses for one interval: that nothing was consumed in it says nothing of what can be. */
static void test_pause(void)
{
	static const struct tf_control_opts o = {.rate_limit = 1e6, .base_rate = 0.001, .boost = 1};
	struct plant m = {.service = 200000, .room = 8000};
	struct tf_control c;
	int steps = 0;

	tf_control_init(&c);
	for (int i = 0; i < 20; i++)
		turn(&m, &c, &o, (const double[3]){500, 0, 50000});
	CHECK(c.p == 1);
	m.service = 0;
	turn(&m, &c, &o, (const double[3]){500, 0, 50000});
	CHECK(c.p < 1 && c.p > 0.3);
	for (m.service = 200000; c.p < 1; steps++)
		turn(&m, &c, &o, (const double[3]){500, 0, 50000});
	CHECK(steps < 45);
}

static void test_keyed_steps(void)
{
	double now = 1;

	CHECK(tf_control_keyed_share(1, 0.1) == 1 && tf_control_keyed_share(0.9, 1) == 0.5 && tf_control_keyed_share(0.26, 1) == 0.25);
	CHECK(tf_control_keyed_share(0.51, 0.25) == 0.25 && tf_control_keyed_share(0.61, 0.25) == 0.5);
	for (int i = 0; i < 1000; i++) { /* never more than allowed, whatever was before */
		double share = (1 + rng_below(1000000)) / 1e6, next = tf_control_keyed_share(share, now);

		CHECK(next <= share && next > share / 4);
		now = next;
	}
}

int main(void)
{
	for (double from = 100; from < 1e7; from *= 9)
		for (double to = 100; to < 1e7; to *= 7)
			for (int n = 0; n < 3; n++)
				test_step(from, to, n * 0.02);
	test_ramp();
	for (int half = 6; half < 40; half += 3)
		test_square(half);
	test_calm();
	test_limits();
	test_cpu_limit();
	test_slow_consumer();
	test_pause();
	test_keyed_steps();
	puts("ok");
	return 0;
}
