/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What iterators share: pacing by user space, which reads them 4 KiB at a time and drains the rings in between
 * (csrc/tf_object_snapshot.c). */
#ifndef TF_ITER_BPF_H
#define TF_ITER_BPF_H

#include "tf_task.bpf.h"

#define TF_PACE_BYTES 64
enum { TF_NEXT = 0, TF_AGAIN = 1 }; /* an iterator's return: AGAIN makes read(2) stop, and come back to the same object */

/* Room is looked for before the gate is asked: a full ring must delay the walk, not lose its records. */
static __always_inline bool tf_ring_is_full(const __u32 lane)
{
	__u32 cpu = bpf_get_smp_processor_id();
	void *ring = tf_find_ring(cpu, lane);
	struct tf_lane_state *state;

	return ring && tf_ring_unread(ring, cpu, lane, &state) > bpf_ringbuf_query(ring, BPF_RB_RING_SIZE) / 2;
}

/* 64 bytes to the reader for each object. */
static __always_inline void tf_pace(struct bpf_iter_meta *meta)
{
	char dummy[TF_PACE_BYTES] = {};

	bpf_seq_write(meta->seq, dummy, sizeof(dummy));
}

#endif
