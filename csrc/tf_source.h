/* SPDX-License-Identifier: Apache-2.0 */
/* tf_source: where a pump reads from. A source either shows rings (kernel, synthetic, in memory) or makes batches itself (replay).
 * The pump is its only reader; close is called once, after the pump's thread has ended. */
#ifndef TF_SOURCE_H
#define TF_SOURCE_H

#include "tf_batch.h"
#include "tf_ring.h"

struct tf_source {
	const char *name;               /* "kernel", "memory", "store" */
	void *self;
	/* Rings, or NULL for a source that makes batches. */
	struct tf_ring *rings;          /* [nrings * TF_LANES] */
	uint32_t nrings, ncpu;
	const int *ring_fds;            /* same index; to be polled, or NULL */
	struct tf_ledger_cell *ledger;  /* [ncpu * TF_KIND_MAX]; NULL = none */
	struct tf_cpu_state *cpus;      /* [ncpu]; NULL = none */
	struct tf_lane_state *lanes;    /* [nrings * TF_LANES]; NULL = none */
	struct tf_settings *settings;   /* NULL = none */
	bool gate;                      /* it has rules of its own: rows carry the generation that judged them */
	struct tf_throttled *throttled; /* [TF_THROTTLED]: whom the throttle refused; NULL = none */
	/* Changes the rate at which the source's own gate keeps a kind (TF_RATE_ALL: all), for keys born from since_ns on where it draws by
	 * key. Called with the pump's lock held. 0, -errno. NULL: it has no gate, the pump samples what it drains. */
	int (*set_rate)(void *self, uint32_t kind, uint32_t threshold, uint32_t weight_bits, uint64_t since_ns);
	uint64_t by_process[TF_KIND_MAX / 64], by_connection[TF_KIND_MAX / 64]; /* bits: kinds that it draws by such a key */
	uint64_t run_id;                /* ns */
	uint8_t boot_id[16];
	/* Called by the pump's thread before each pass until it returns 0, and again from step_at_ns on: work at start that must be paced by
	 * draining (the SNAPSHOT iterators: reads one chunk). 1 = call again after the pass, 0 = done for now, -errno = failed (reported,
	 * collection goes on). NULL = none. */
	int (*step)(void *self);
	uint64_t step_at_ns;            /* boot time from which step is to be called again; 0 = no more. Step sets it, on the pump's thread */
	/* Called by the pump's thread once a pass, as long as it runs: looks that need no thread of their own. Must not block. NULL = none. */
	void (*tick)(void *self);
	/* Path of a control group by its id (v1: with TF_F_CGROUP_V1), as tf_cgroup_name tells it. Called by the pump's thread, a bounded number
	 * of times a pass. NULL = cannot tell. */
	int (*cgroup_path)(void *self, uint64_t id, bool v1, char *path);
	/* Replay: next batch (its own reference) or 0 at the end; 1 = got one; -errno. NULL for sources with rings. */
	int (*next)(void *self, struct tf_pool *pool, struct tf_batch **out);
	void (*close)(void *self);      /* NULL = nothing to close */
};

#endif
