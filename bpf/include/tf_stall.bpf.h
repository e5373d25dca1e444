/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Stalls: the time from a begin hook to its end hook in one thread. A long one is a record at once; short ones (a process at the limit of
 * its group reclaims thousands of times a second) are added up per thread: one record in TF_STALL_GATHER_NS, which tells how many it stands
 * for. The rest is sent by the next stall, or when the thread ends. */
#ifndef TF_STALL_BPF_H
#define TF_STALL_BPF_H

#include "tf_memcg.bpf.h"

#define TF_STALL_LONG_NS 1000000ull      /* from here on a record of its own */
#define TF_STALL_GATHER_NS 100000000ull  /* at most one record of short ones in this time, thread and kind */

enum tf_stall_kind { TF_ST_RECLAIM, TF_ST_LIMIT, TF_ST_COMPACTION, TF_ST_COUNT };

struct tf_stall {
	__u64 began_ns;          /* of the one under way; 0 = none */
	struct tf_memcg_limit limit;
	__u32 gfp;
	__s32 order;
	__u64 sent_ns;           /* time of the last record */
	__u64 duration_ns;       /* added up since then */
	__u64 size;
	__u64 count;
};
struct tf_stalls {
	struct tf_stall of[TF_ST_COUNT];
};
TF_TASK_STORE(tf_stalls, struct tf_stalls);

/* Everything but the header is written here. */
static __always_inline void tf_fill_stall(struct tf_memory *e, const struct tf_stall *s)
{
	__builtin_memset(&e->size, 0, sizeof(*e) - sizeof(e->h));
	e->size = s->size;
	e->duration_ns = s->duration_ns;
	e->limit = s->limit.bytes;
	e->object_id = s->limit.cgroup_id;
	e->count = s->count;
	e->map_flags = s->gfp;
	e->order = s->order;
}

/* Notes the beginning. NULL: a kernel thread's (nobody waits for it), or no memory, which is counted. */
static __always_inline struct tf_stall *tf_begin_stall(const __u32 kind, const int which)
{
	struct task_struct *task = tf_current();
	struct tf_stalls *stalls;
	struct tf_who who;
	struct tf_gate g;
	__u16 flags;

	if (TF_GO(task, flags) & PF_KTHREAD)
		return NULL;
	stalls = bpf_task_storage_get(&tf_stalls, bpf_get_current_task_btf(), 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (stalls) {
		stalls->of[which].began_ns = bpf_ktime_get_boot_ns();
		return &stalls->of[which];
	}
	tf_read_who(&who, task, &flags);
	if (tf_admit(&g, &who, kind))
		tf_count(&g, TF_L_K_MAP_FULL);
	return NULL;
}

static __always_inline void tf_note_stall(struct tf_stall *s, int order, __u32 gfp)
{
	if (!s)
		return;
	s->order = order;
	s->gfp = gfp;
}

_Static_assert(TF_K_MEMORY_LIMIT - TF_K_MEMORY_OOM_KILL == 9, "subtype = kind - first kind: in the table's order");

static __always_inline void tf_send_stall(struct tf_gate *g, const struct tf_who *who, struct task_struct *task, __u16 flags,
					  struct tf_stall *s, __u32 kind)
{
	const __u32 like = TF_K_MEMORY_RECLAIM; /* all in one lane; the kind may be known at run time only */
	struct tf_memory *e = tf_reserve(g, like, struct tf_memory);

	if (!e)
		return; /* what was added up waits for the next one */
	tf_fill_gate(g, &e->h, like);
	e->h.subtype = kind - TF_K_MEMORY_OOM_KILL;
	tf_fill_task(&e->h, who, task, flags);
	tf_fill_stall(e, s);
	s->sent_ns = e->h.ts_ns;
	s->duration_ns = s->size = s->count = 0;
	tf_submit(g, like, e);
}

/* The stall under way in this thread, its end noted; NULL = its beginning was not seen. */
static __always_inline struct tf_stall *tf_stall_of(struct task_struct *task, const int which)
{
	struct tf_stalls *stalls = bpf_task_storage_get(&tf_stalls, bpf_get_current_task_btf(), 0, 0);

	return stalls && stalls->of[which].began_ns ? &stalls->of[which] : NULL;
}

static __always_inline void tf_end_stall(const __u32 kind, const int which, __u64 size)
{
	struct task_struct *task = tf_current();
	struct tf_stall *s = tf_stall_of(task, which);
	__u64 now, took;
	struct tf_who who;
	struct tf_gate g;
	__u16 flags;

	if (!s)
		return;
	now = bpf_ktime_get_boot_ns();
	took = now > s->began_ns ? now - s->began_ns : 0;
	s->began_ns = 0;
	if (!tf_admit_task(&g, &who, task, &flags, kind))
		return;
	g.now_ns = now;
	s->duration_ns += took;
	s->size += size;
	s->count++;
	if (took < TF_STALL_LONG_NS && now - s->sent_ns < TF_STALL_GATHER_NS)
		tf_count(&g, TF_L_K_AGGREGATED);
	else
		tf_send_stall(&g, &who, task, flags, s, kind);
}

/* What the calling thread, which ends, had added up. It passes the gate like any record: seen counts it as well. Global: checked once for the
 * three kinds. */
TF_GLOBAL int tf_flush_stall(struct tf_stall *s, __u32 kind)
{
	struct task_struct *task = tf_current();
	struct tf_who who;
	struct tf_gate g;
	__u16 flags;

	if (!s)
		return 0;
	kind &= TF_KIND_MAX - 1;
	tf_read_who(&who, task, &flags);
	if (tf_admit_any(&g, &who, kind, false, tf_kind_lane(TF_K_MEMORY_RECLAIM)))
		tf_send_stall(&g, &who, task, flags, s, kind);
	return 0;
}

#endif
