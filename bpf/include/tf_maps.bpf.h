/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The maps that all objects share: rings, ledger, settings, push-down tables. Every object declares them; user space makes them once
 * and joins the others by bpf_map__reuse_fd. max_entries of 1 is set before load. Values: tf_shared.h. */
#ifndef TF_MAPS_BPF_H
#define TF_MAPS_BPF_H

#include "tf_kernel.h"

/* A section of its own, so that user space finds the struct at offset 0 of one map. */
const volatile struct tf_consts tf_consts SEC(".rodata.tf") = {};

/* Atomic adds. clang 22 turns an unused __sync_fetch_and_add into a fetching one, which 5.10 refuses: hence __c11. TF_OLD compiles the
 * variant for kernels without fetch atomics (before 5.12): plain reads, records flagged weak seq. */
#define tf_add(p, n) ((void)__c11_atomic_fetch_add((_Atomic __u64 *)(p), (n), __ATOMIC_RELAXED))
#define tf_add32(p, n) ((void)__c11_atomic_fetch_add((_Atomic __u32 *)(p), (n), __ATOMIC_RELAXED))
#ifdef TF_OLD
static __always_inline __u64 tf_fetch_add(__u64 *p, __u64 n)
{
	__u64 old = *(volatile __u64 *)p;

	*(volatile __u64 *)p = old + n;
	return old;
}
static __always_inline bool tf_swap_if(__u64 *p, __u64 from, __u64 to)
{
	if (*(volatile __u64 *)p != from)
		return false;
	*(volatile __u64 *)p = to;
	return true;
}
#else
#define tf_fetch_add(p, n) __sync_fetch_and_add((p), (n))
#define tf_swap_if(p, from, to) (__sync_val_compare_and_swap((p), (from), (to)) == (from))
#endif

/* Makes clang forget what it knows of a variable. Between two checks of a length: else clang joins them into one of a copy (`len - 1 >
 * cap - 1`), drops the one that it can prove, or adds to a pointer before it checks, and verifiers up to 6.1 know no bound of what the
 * helper gets ("R2 unbounded memory access", "makes map_value pointer be out of bounds"). */
#define tf_unknown(v) asm volatile("" : "+r"(v))

/* A string in user memory: its bytes with the NUL, at most `max` (not 0), or -errno. Older kernels (6.1) say 0 for an empty one. */
static __always_inline long tf_user_str(void *to, __u32 max, const void *from)
{
	long n = bpf_probe_read_user_str(to, max, from);

	return n ? n : 1;
}

#define TF_ARRAY(name, value_type) \
	struct { \
		__uint(type, BPF_MAP_TYPE_ARRAY); \
		__uint(map_flags, BPF_F_MMAPABLE); \
		__uint(max_entries, 1); \
		__type(key, __u32); \
		__type(value, value_type); \
	} name SEC(".maps")

TF_ARRAY(tf_ledger, struct tf_ledger_cell);
TF_ARRAY(tf_cpus, struct tf_cpu_state);
TF_ARRAY(tf_lanes, struct tf_lane_state);
TF_ARRAY(tf_throttled, struct tf_throttled);
TF_ARRAY(tf_history, struct tf_rate_history);

/* One entry each, as variables in sections of their own: an address that the verifier knows costs no lookup. User space changes them at any
 * time: read through tf_read_once. */
struct tf_settings tf_settings SEC(".data.tf_settings") = {};
struct tf_rule_slot tf_rules[TF_RULE_SLOTS] SEC(".data.tf_rules") = {};
__u64 tf_rates[TF_KIND_MAX] SEC(".data.tf_rates") = {};
#define tf_read_once(x) (*(volatile typeof(x) *)&(x))

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tf_slot);
} tf_slots SEC(".maps");

struct tf_ring_map {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
};
#define TF_RINGS(name) \
	struct { \
		__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS); \
		__uint(max_entries, 1); \
		__type(key, __u32); \
		__array(values, struct tf_ring_map); \
	} name SEC(".maps")
TF_RINGS(tf_rings_crit);
TF_RINGS(tf_rings_bulk);

/* One exact-match set a rule slot. */
struct tf_set_map {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct tf_set_key);
	__type(value, __u32);
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, TF_RULE_SLOTS);
	__type(key, __u32);
	__array(values, struct tf_set_map);
} tf_rule_sets SEC(".maps");

/* One trie a rule slot. */
struct tf_trie_map {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct tf_trie_key);
	__type(value, __u32);
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, TF_RULE_SLOTS);
	__type(key, __u32);
	__array(values, struct tf_trie_map);
} tf_rule_tries SEC(".maps");

/* Prefixes of paths, one trie a rule slot. */
struct tf_paths_map {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct tf_prefix_key);
	__type(value, __u32);
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, TF_RULE_SLOTS);
	__type(key, __u32);
	__array(values, struct tf_paths_map);
} tf_rule_paths SEC(".maps");

/* Processes followed (roots and their descendants), by thread group id. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tf_followed);
} tf_follow SEC(".maps");

/* Names of processes to leave out, compiled. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tf_globs);
} tf_globs SEC(".maps");

/* Token buckets, by cgroup id. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, __u64);
	__type(value, struct tf_bucket);
} tf_buckets SEC(".maps");

#endif
