/* SPDX-License-Identifier: Apache-2.0 */
/* tf_control: the controller of tf_sample.h, where its law is told. */
#include "tf_sample.h"

#define FILL_HIGH 0.5
#define POOL_HIGH 0.8
#define CAP_OF 0.9              /* of what was consumed under pressure: the rest empties the rings */
#define CAP_RISE 1.02
#define BEST_PRESSED 0.5        /* of the most that was consumed in a step lately: what is left of it after a step */
#define BEST_CALM 0.99
#define NO_LIMIT 1e300
#define OVER 1.05               /* p may be so far above the target before it moves down */
#define UNDER 0.9               /* ... and below it before it moves up */

void tf_control_init(struct tf_control *c)
{
	*c = (struct tf_control){.p = 1};
}

static double least(double a, double b)
{
	return a < b ? a : b;
}

/* By Newton's steps, which are enough for what shares of a rate are divided by: no library of mathematics is linked for it. */
static double root(double x)
{
	double r = x > 1 ? x : 1;

	for (int i = 0; i < 60; i++)
		r = (r + x / r) / 2;
	return r;
}

static double all_offered(const struct tf_control_in *in)
{
	double sum = 0;

	for (unsigned k = 0; k < TF_SC_COUNT; k++)
		sum += in->offered[k];
	return sum;
}

static void move_cap(struct tf_control *c, const struct tf_control_in *in)
{
	const bool pressed = in->ring_fill > FILL_HIGH || in->pool_fill > POOL_HIGH;

	/* a reader who paused, or too little that came, says nothing of what can be consumed: only pressure that stays does */
	c->best *= pressed ? BEST_PRESSED : BEST_CALM;
	c->best = in->kept > c->best ? in->kept : c->best;
	if (pressed) {
		double able = c->best * CAP_OF;

		c->cap = !c->cap || able < c->cap ? able : c->cap;
		c->cap = c->cap > 1 ? c->cap : 1; /* 0 stands for none */
	} else if (c->cap) {
		c->cap *= CAP_RISE;
		if (c->cap >= all_offered(in))
			c->cap = 0;
	}
}

static double room(const struct tf_control *c, const struct tf_control_opts *o, const struct tf_control_in *in)
{
	double r = o->rate_limit ? o->rate_limit : NO_LIMIT;

	if (o->cpu_limit && in->cpu > 0 && in->kept > 0)
		r = least(r, o->cpu_limit * in->kept / in->cpu);
	return c->cap ? least(r, c->cap) : r;
}

/* Two straight lines: important kinds stop growing with p at p = 1 / boost. */
static double target(double left, const struct tf_control_opts *o, const struct tf_control_in *in)
{
	double plain = in->offered[TF_SC_PLAIN], important = in->offered[TF_SC_IMPORTANT], both = plain + o->boost * important;
	double p = both > 0 ? left / both : NO_LIMIT;

	if (p * o->boost > 1)
		p = plain > 0 ? (left - important) / plain : NO_LIMIT;
	return least(1, p > o->base_rate ? p : o->base_rate);
}

void tf_control_step(struct tf_control *c, const struct tf_control_opts *o, const struct tf_control_in *in)
{
	double t;

	move_cap(c, in);
	t = target(room(c, o, in) - in->offered[TF_SC_WHOLE], o, in);
	if (c->p > t * OVER)
		c->p = t;
	else if (c->p < t * UNDER || (t == 1 && c->p < 1))
		c->p *= root(t / c->p) * root(root(t / c->p)); /* three quarters of the way in log p */
	if (t == 1 && c->p > UNDER)
		c->p = 1;
}

double tf_control_share(const struct tf_control *c, const struct tf_control_opts *o, enum tf_sample_class class)
{
	if (class == TF_SC_WHOLE)
		return 1;
	return class == TF_SC_IMPORTANT ? least(1, o->boost * c->p) : c->p;
}

double tf_control_keyed_share(double share, double now)
{
	double step = 1;

	while (step > share)
		step /= 2;
	/* up only where there is a margin, so that a share on the edge does not go to and fro */
	if (step > now && share < 1 && share < 1.2 * step)
		return step / 2 > now ? step / 2 : now;
	return step;
}
