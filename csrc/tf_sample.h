/* SPDX-License-Identifier: Apache-2.0 */
/* tf_sample: which records are kept when there are too many: the draw in user space, for sources whose gate has none (the kernel draws in
 * tf_admit.bpf.h, by the same hash), and the controller that says how many of 2^32 to keep. Pure: no clock, no globals, no memory of its
 * own; the pump drives it, and so does a simulation in the tests. One thread per object. */
#ifndef TF_SAMPLE_H
#define TF_SAMPLE_H

#include "tf_batch.h"

/* Bits of the float 2^32 / threshold, the weight of a record kept with that chance; 1 for TF_RATE_ALL. threshold > 0. */
uint32_t tf_weight_bits(uint32_t threshold);
/* Of 2^32, for a chance p of keeping in (0, 1]; TF_RATE_ALL for 1. */
uint32_t tf_threshold_of(double p);
/* The kernel's draw: keep when the hash of these is below the threshold. */
bool tf_sample_draws(uint64_t seed, uint32_t cpu, uint32_t kind, uint64_t number, uint32_t threshold);

/* ---- the draw over rows ---- */

struct tf_sampler {
	uint64_t seed;
	uint64_t rates[TF_KIND_MAX];            /* TF_RATE: threshold and weight; the caller sets them at any time between batches */
};
void tf_sampler_init(struct tf_sampler *s, uint64_t seed);      /* keeps everything */
bool tf_sampler_thins(const struct tf_sampler *s, uint8_t domain);      /* whether any kind of it is not kept whole */
/* Draws for every row of a domain by (cpu, kind, seq). Sets its bit in keep ((n + 63) / 64 words) and multiplies its weight, or adds one
 * to dropped[cpu * TF_KIND_MAX + kind] at `stride` u64 a cell. Rows must be of known kinds (the drain has checked them). How many stay. */
uint32_t tf_sample_rows(const struct tf_sampler *s, const struct tf_rows *r, uint8_t domain, uint64_t *keep, uint64_t *dropped,
			size_t stride);

/* ---- the controller ----
 *
 * One number is steered: p, the chance of keeping for plain kinds. Important kinds are kept with min(1, boost * p), critical ones always.
 *
 * The load is not guessed from what was kept: what the gate was offered is counted, so p follows from it without a loop through the
 * sampler, and cannot swing. Each step:
 *
 *   room   = the least of rate_limit, of cpu_limit * kept / cpu (what the CPU limit allows at the cost a record had), and of the cap
 *   cap    : while rings or pool are under pressure (above FILL_HIGH of the ring or POOL_HIGH of the pool) what was consumed is what can
 *            be consumed: the cap is nine tenths of it, or of half of what was consumed in the steps before, if that is more: one
 *            step in which the reader paused says nothing. Without pressure it rises by 2 % a step; once it is beyond the offer it is gone
 *   target = the p at which critical + important * min(1, boost * p) + plain * p = room, at least base_rate, at most 1
 *   p      : down to the target at once, because the rings do not wait; up by three quarters of the way in log p, which is there within 5
 *            steps from any p down to 1/1000; left alone within 5 % over and 10 % under the target, so that noise makes no RATE rows
 *
 * Nothing goes below base_rate: what does not fit then is lost in the rings, and counted there. */
enum tf_sample_class { TF_SC_WHOLE, TF_SC_IMPORTANT, TF_SC_PLAIN, TF_SC_COUNT };

struct tf_control_opts {
	double rate_limit;              /* records/s of all kinds; 0 = no limit */
	double cpu_limit;               /* cores; 0 = no limit */
	double base_rate;               /* least p, above 0 */
	double boost;                   /* at least 1 */
};
struct tf_control_in {                  /* since the step before */
	double offered[TF_SC_COUNT];    /* records/s that reached the draw, and that no filter behind it refuses */
	double kept;                    /* records/s that were consumed and kept */
	double cpu;                     /* cores used */
	double ring_fill, pool_fill;    /* 0..1: the highest seen */
};
struct tf_control {
	double p;                       /* chance of a plain record */
	double cap;                     /* records/s; 0 = none */
	double best;                    /* records/s: the most that was kept in a step lately */
};
void tf_control_init(struct tf_control *c);             /* p = 1 */
void tf_control_step(struct tf_control *c, const struct tf_control_opts *o, const struct tf_control_in *in);
double tf_control_share(const struct tf_control *c, const struct tf_control_opts *o, enum tf_sample_class class);
/* The same for kinds drawn by key, whose rate should change seldom: a power of two at most p. `now` is the share in force. */
double tf_control_keyed_share(double share, double now);

#endif
