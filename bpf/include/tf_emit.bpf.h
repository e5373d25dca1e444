/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* From an admitted record to the ring. Fixed rows: tf_reserve, fill every byte, tf_submit, with no user read in between. Rows with
 * text: tf_claim a scratch slot, fill, tf_output, which frees the slot on every path. Both take seq directly before the ring is
 * touched, so that a gap in seq is exactly a record that the ring refused. */
#ifndef TF_EMIT_BPF_H
#define TF_EMIT_BPF_H

#include "tf_admit.bpf.h"

/* One forced wake-up when the unread fill passes the watermark, and none until user space has cleared wake_pending: a wake-up costs
 * microseconds, an adaptive one is lost once a NO_WAKEUP record is the first unread. Global: see tf_clauses_of. */
__noinline __u64 tf_wake_flags(__u32 cpu, __u32 lane)
{
	void *ring = tf_find_ring(cpu, lane);
	struct tf_lane_state *state;
	__u64 unread = ring ? tf_ring_unread(ring, cpu, lane, &state) : 0;
	struct tf_cpu_state *mine;

	if (!ring || !state || unread < state->watermark || *(volatile __u64 *)&state->wake_pending)
		return BPF_RB_NO_WAKEUP;
	if (!tf_swap_if(&state->wake_pending, 0, 1))
		return BPF_RB_NO_WAKEUP;
	mine = bpf_map_lookup_elem(&tf_cpus, &cpu);
	if (mine)
		tf_add(&mine->wakeups, 1);
	return BPF_RB_FORCE_WAKEUP;
}

/* Everything of the header that the gate knows; the subject is filled by the caller. */
static __always_inline void tf_fill_gate(struct tf_gate *g, struct tf_header *h, const __u32 kind)
{
	h->ts_ns = tf_now(g);
	h->seq = g->seq;
	*(__u32 *)&h->weight = g->weight;
	h->cpu = g->cpu;
	h->gen = g->gen;
	h->type = tf_kind_type(kind);
	h->subtype = tf_kind_subtype(kind);
}

static __always_inline __u16 tf_base_flags(void)
{
#ifdef TF_OLD
	return TF_F_WEAK_SEQ;
#else
	return 0;
#endif
}

static __always_inline void *tf_reserve_bytes(struct tf_gate *g, const __u32 kind, const __u64 size)
{
	const __u32 lane = tf_kind_lane(kind);
	void *ring, *row = NULL;

	g->seq = tf_fetch_add(&g->state->seq[lane], 1) + 1;
	ring = tf_find_ring(g->cpu, lane);
	if (ring)
		row = bpf_ringbuf_reserve(ring, size, 0);
	if (!row)
		tf_count(g, TF_L_K_RING_FULL);
	return row;
}

/* NULL: the ring is full, counted. Else the caller writes every byte and submits. */
#define tf_reserve(g, kind, row_type) ((row_type *)tf_reserve_bytes((g), (kind), sizeof(row_type)))

static __always_inline void tf_submit(struct tf_gate *g, const __u32 kind, void *row)
{
	__u64 flags = BPF_RB_NO_WAKEUP;

	tf_add_to(g, TF_L_SUBMITTED);
	if (!(g->seq & 7)) /* asking for the fill costs a helper call: every 8th record is often enough */
		flags = tf_wake_flags(g->cpu, tf_kind_lane(kind));
	bpf_ringbuf_submit(row, flags);
}

/* A scratch slot of this CPU: its index + 1, 0 = all taken. Programs are preemptible on newer kernels and nest (a signal's hook inside an
 * exec's), so a slot is claimed, not assumed. `busy` is the same number, by which a global function finds the slot again. */
__noinline __u32 tf_take_place(__u32 cpu)
{
	for (__u32 i = 0; i < TF_SLOTS; i++) {
		__u32 index = cpu * TF_SLOTS + i;
		struct tf_slot *slot = bpf_map_lookup_elem(&tf_slots, &index);

		if (slot && tf_swap_if(&slot->busy, 0, index + 1))
			return index + 1;
	}
	return 0;
}

/* NULL: all taken. */
static __always_inline struct tf_slot *tf_take_slot(__u32 cpu)
{
	__u32 index = tf_take_place(cpu) - 1;

	return bpf_map_lookup_elem(&tf_slots, &index);
}

/* The same for an admitted record: NULL is counted k_busy. */
static __always_inline struct tf_slot *tf_claim(struct tf_gate *g)
{
	struct tf_slot *slot = tf_take_slot(g->cpu);

	if (slot)
		tf_add(&g->state->slot_claims, 1);
	else
		tf_count(g, TF_L_K_BUSY);
	return slot;
}

/* The same slot, as a map's value: what a global function gets is plain memory to the verifier, which is no map's key on 6.1. */
static __always_inline struct tf_slot *tf_own_slot(struct tf_slot *slot)
{
	__u32 index = slot->busy - 1;

	return bpf_map_lookup_elem(&tf_slots, &index);
}

static __always_inline void tf_release(struct tf_slot *slot)
{
	*(volatile __u64 *)&slot->busy = 0;
}

/* Sends row and text (len bytes of slot->data) and frees the slot. */
static __always_inline bool tf_output(struct tf_gate *g, const __u32 kind, struct tf_slot *slot, __u64 len)
{
	const __u32 lane = tf_kind_lane(kind);
	__u64 flags = BPF_RB_NO_WAKEUP;
	bool sent = false;
	void *ring;

	tf_unknown(len); /* else the compiler, which may know better, leaves out the test that the verifier wants */
	if (len > TF_RECORD_CAP) { /* before a number is taken: the ring has not refused it */
		tf_release(slot);
		return tf_count(g, TF_L_K_TOO_BIG);
	}
	g->seq = tf_fetch_add(&g->state->seq[lane], 1) + 1;
	((struct tf_header *)slot->data)->seq = g->seq;
	ring = tf_find_ring(g->cpu, lane);
	if (ring && (!(g->seq & 7) || len > 1024)) /* as in tf_submit */
		flags = tf_wake_flags(g->cpu, lane);
	if (ring)
		sent = !bpf_ringbuf_output(ring, slot->data, len, flags);
	tf_release(slot);
	tf_count(g, sent ? TF_L_SUBMITTED : TF_L_K_RING_FULL);
	return sent;
}

#endif
