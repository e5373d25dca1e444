/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Memory control groups: which one a task is charged to, its limits and those above it. Relies on the page counters that both versions of
 * the hierarchy have; every read is by address, a group that goes away meanwhile reads as something else or zero, never faults. */
#ifndef TF_MEMCG_BPF_H
#define TF_MEMCG_BPF_H

#include "tf_task.bpf.h"

#define TF_PAGE_SHIFT 12                /* 4 KiB pages: x86-64, and arm64 as Debian builds it */
#define TF_MEMCG_LEVELS 16              /* groups looked at on the way up */
#define TF_PAGES_UNLIMITED (1ull << 50) /* page_counter.h: PAGE_COUNTER_MAX is above, no machine has as much */
/* A charge fails for at most a huge page (512 pages) at once: a group with more room than that was not the one at its limit. */
#define TF_PAGES_OF_CHARGE 512

struct tf_memcg_limit {
	__u64 cgroup_id;         /* 0 = not known */
	__u64 bytes;             /* 0 = none */
};

static __always_inline struct mem_cgroup *tf_memcg_of_css(const struct cgroup_subsys_state *css)
{
	return css ? (struct mem_cgroup *)((void *)css - bpf_core_field_offset(struct mem_cgroup, css)) : NULL;
}

static __always_inline struct mem_cgroup *tf_memcg_of(struct task_struct *task)
{
	struct cgroup_subsys_state *css = NULL;
	struct css_set *set;

	if (!bpf_core_enum_value_exists(enum cgroup_subsys_id, memory_cgrp_id) || !bpf_core_type_exists(struct mem_cgroup))
		return NULL;
	set = TF_GO(task, cgroups);
	bpf_core_read(&css, sizeof(css), &set->subsys[bpf_core_enum_value(enum cgroup_subsys_id, memory_cgrp_id) & 15]);
	return tf_memcg_of_css(css);
}

static __always_inline __u64 tf_memcg_id(struct mem_cgroup *memcg)
{
	return memcg ? BPF_CORE_READ(memcg, css.cgroup, kn, id) : 0;
}

static __always_inline __u64 tf_memcg_max(struct mem_cgroup *memcg)
{
	__u64 max = BPF_CORE_READ(memcg, memory.max);

	return max < TF_PAGES_UNLIMITED ? max : 0;
}

/* The smallest limit at or above a group: what its processes can really use. 0 = none. */
static __always_inline __u64 tf_memcg_least(struct mem_cgroup *memcg)
{
	__u64 least = 0;

	for (int i = 0; i < TF_MEMCG_LEVELS && memcg; i++) {
		__u64 max = tf_memcg_max(memcg);

		if (max && (!least || max < least))
			least = max;
		memcg = tf_memcg_of_css(BPF_CORE_READ(memcg, css.parent));
	}
	return least << TF_PAGE_SHIFT;
}

/* Whether a group has no room for a charge: below its hard limit, or (version 2) already above memory.high. */
static __always_inline __u64 tf_memcg_hit(struct mem_cgroup *memcg)
{
	__u64 usage = BPF_CORE_READ(memcg, memory.usage.counter), max = tf_memcg_max(memcg), high = BPF_CORE_READ(memcg, memory.high);

	if (max && usage + TF_PAGES_OF_CHARGE > max)
		return max;
	return high < TF_PAGES_UNLIMITED && usage > high ? high : 0;
}

/* Whose limit a charge of the current task ran into: the kernel tries from the task's group up and stops at the first without room.
 * Nothing known: somebody asked for the reclaim (memory.reclaim, force_empty, a lowered limit), or room came back meanwhile. */
static __always_inline void tf_find_limit(struct tf_memcg_limit *out, struct task_struct *task)
{
	struct mem_cgroup *memcg = bpf_core_field_exists(task->active_memcg) ? TF_GO(task, active_memcg) : NULL;

	out->cgroup_id = out->bytes = 0;
	if (!memcg)
		memcg = tf_memcg_of(task);
	for (int i = 0; i < TF_MEMCG_LEVELS && memcg; i++) {
		__u64 hit = tf_memcg_hit(memcg);

		if (hit) {
			out->cgroup_id = tf_memcg_id(memcg);
			out->bytes = hit << TF_PAGE_SHIFT;
			return;
		}
		memcg = tf_memcg_of_css(BPF_CORE_READ(memcg, css.parent));
	}
}

#endif
