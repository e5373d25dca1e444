/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What the gate leaves out because there is too much: the throttle, a token bucket per cgroup, and the draws, record by record or by key.
 * Global functions of plain numbers, for the reason that tf_clauses_of (tf_admit.bpf.h) has. Used by tf_admit.bpf.h alone. */
#ifndef TF_SAMPLE_BPF_H
#define TF_SAMPLE_BPF_H

#include "tf_maps.bpf.h"

/* splitmix64's finalizer: every output bit depends on every input bit. */
static __always_inline __u64 tf_mix(__u64 x)
{
	x += 0x9e3779b97f4a7c15ull;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

static __always_inline __u32 tf_ring_index(__u32 cpu)
{
	/* The usual case costs no division: the constants are known to the verifier, which drops the other branch. */
	return tf_consts.nrings == tf_consts.ncpu ? cpu : cpu % (tf_consts.nrings ?: 1);
}

static __always_inline void *tf_find_ring(__u32 cpu, __u32 lane)
{
	__u32 index = tf_ring_index(cpu);

	return lane == TF_CRITICAL ? bpf_map_lookup_elem(&tf_rings_crit, &index) : bpf_map_lookup_elem(&tf_rings_bulk, &index);
}

/* Bytes that nobody has read yet. The published position may lag behind the read one (durability), so the kernel's own count of
 * available data would overstate it. */
static __always_inline __u64 tf_ring_unread(void *ring, __u32 cpu, __u32 lane, struct tf_lane_state **state)
{
	__u32 index = tf_ring_index(cpu) * TF_LANES + lane;

	*state = bpf_map_lookup_elem(&tf_lanes, &index);
	if (!*state)
		return 0;
	return bpf_ringbuf_query(ring, BPF_RB_PROD_POS) - *(volatile __u64 *)&(*state)->read_pos;
}

/* Takes a token of the cgroup's bucket. The bucket is one word, the time at which it will be full again: add the price of a record,
 * and give it back when that time lies further ahead than the whole depth. */
static const struct tf_bucket tf_full_bucket = {}; /* not on the stack, of which some programs have hardly any left */

static __always_inline bool tf_take_token(__u64 cgroup_id, __u64 now, __u64 rate, __u64 burst)
{
	struct tf_bucket *b = bpf_map_lookup_elem(&tf_buckets, &cgroup_id);
	__u64 price = 1000000000ull / rate, depth = price * (burst ?: 1), full;

	if (!b) {
		/* long full: the first record fills it from now on */
		bpf_map_update_elem(&tf_buckets, &cgroup_id, &tf_full_bucket, BPF_NOEXIST);
		b = bpf_map_lookup_elem(&tf_buckets, &cgroup_id);
		if (!b)
			return true; /* no memory for a bucket: an unlimited record is better than a lost one */
	}
	full = *(volatile __u64 *)&b->full_ns;
	if (full < now)
		(void)tf_swap_if(&b->full_ns, full, now); /* loser: another CPU has just refilled it */
	full = tf_fetch_add(&b->full_ns, price);
	if ((__s64)(full + price - now) <= (__s64)depth)
		return true;
	tf_add(&b->full_ns, -price);
	tf_add(&b->refused, 1);
	return false;
}

/* Whom a refusal is told of (THROTTLE records). A cgroup that finds no place is counted with the others. */
__noinline int tf_note_throttled(__u64 cgroup_id, __u32 kind)
{
	const __u32 start = tf_mix(cgroup_id);
	struct tf_throttled *entry;
	__u32 index = 0;

	for (__u32 i = 0; cgroup_id && i < TF_THROTTLED_TRIES; i++) { /* 0, not known, would be any free place */
		index = 1 + ((start + i) & (TF_THROTTLED - 2));
		entry = bpf_map_lookup_elem(&tf_throttled, &index);
		if (!entry)
			return 0; /* cannot happen */
		(void)tf_swap_if(&entry->cgroup_id, 0, cgroup_id);
		if (tf_read_once(entry->cgroup_id) == cgroup_id)
			break;
		index = 0;
	}
	entry = bpf_map_lookup_elem(&tf_throttled, &index);
	if (entry)
		tf_add(&entry->count[kind & (TF_KIND_MAX - 1)], 1);
	return 0;
}

/* The critical lane is throttled only while it is more than half full. */
__noinline bool tf_lane_is_calm(__u32 cpu)
{
	void *ring = tf_find_ring(cpu, TF_CRITICAL);
	struct tf_lane_state *state;

	return !ring || tf_ring_unread(ring, cpu, TF_CRITICAL, &state) <= bpf_ringbuf_query(ring, BPF_RB_RING_SIZE) / 2;
}

/* Apart from the lane: with little on the stack, for some programs have hardly any left. */
__noinline bool tf_throttle_allows(__u64 cgroup_id, __u64 now, __u32 kind)
{
	__u64 rate = tf_read_once(tf_settings.throttle_rate);

	if (!rate || tf_take_token(cgroup_id, now, rate, tf_read_once(tf_settings.throttle_burst)))
		return true;
#ifndef TF_OLD /* there one call within another is too much for a stack: tf_throttle_refuses */
	tf_note_throttled(cgroup_id, kind);
#endif
	return false;
}

/* Whether the throttle refuses; then it is noted whom. */
static __always_inline bool tf_throttle_refuses(__u64 cgroup_id, __u64 now, __u32 kind)
{
	if (tf_throttle_allows(cgroup_id, now, kind))
		return false;
#ifdef TF_OLD
	tf_note_throttled(cgroup_id, kind);
#endif
	return true;
}

/* Whether the gate has a throttle at all. A constant to the verifier. */
static __always_inline bool tf_throttles(void)
{
	return (tf_consts.options & TF_O_THROTTLE) && tf_read_once(tf_settings.throttle_rate);
}

/* The fate hangs on a count and a key only: no helper call, and a run with the same seed repeats. */
__noinline bool tf_sample_draws(__u32 cpu, __u32 kind, __u64 seen, __u32 threshold)
{
	return (__u32)(tf_mix(seen ^ tf_mix(tf_consts.seed ^ (__u64)cpu << 40 ^ (__u64)kind << 56)) >> 32) < threshold;
}

/* Whether a is at most b, both below 2^63: 1 or 0, without a branch, which the verifier would follow both ways. */
static __always_inline __u64 tf_at_most(__u64 a, __u64 b)
{
	return (b - a) >> 63 ^ 1;
}

/* Number of the change that made the rate in force when a key was born: of the last TF_HISTORY - 1, the last one not after its birth. */
static __always_inline __u64 tf_change_at(const struct tf_rate_history *h, __u64 newest, __u64 born_ns)
{
	__u64 low = newest > TF_HISTORY - 2 ? newest - (TF_HISTORY - 2) : 0;

	for (__u64 step = TF_HISTORY / 2; step; step /= 2) {
		__u64 on = tf_at_most(tf_read_once(h->at[(low + step) % TF_HISTORY].since_ns), born_ns) & tf_at_most(low + step, newest);

		low += step * on;
	}
	return low;
}

static __always_inline __u64 tf_rate_at(__u32 kind, __u64 born_ns)
{
	const struct tf_rate_history *h = bpf_map_lookup_elem(&tf_history, &kind);
	const struct tf_rate_since *change;

	if (!h)
		return TF_RATE(TF_RATE_ALL, TF_WEIGHT_ONE);
	change = &h->at[tf_change_at(h, tf_read_once(h->n) - 1, born_ns) % TF_HISTORY];
	if (tf_read_once(change->since_ns) > born_ns) {
		__u32 cpu = bpf_get_smp_processor_id();
		struct tf_cpu_state *mine = bpf_map_lookup_elem(&tf_cpus, &cpu);

		if (mine)
			tf_add(&mine->forgotten, 1);
	}
	return tf_read_once(change->rate);
}

/* Bits of the weight of a record whose key (born at this time) was drawn, 0 where it was not. The same for all records of the key, of any
 * kind with the same rate: it hangs on nothing else. */
__noinline __u32 tf_key_weight(__u32 kind, __u64 key, __u64 born_ns)
{
	__u64 rate = tf_rate_at(kind, born_ns);
	__u32 threshold = rate >> 32;

	if (threshold != TF_RATE_ALL && (__u32)(tf_mix(tf_consts.seed ^ tf_mix(key)) >> 32) >= threshold)
		return 0;
	return rate;
}

#endif
