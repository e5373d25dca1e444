/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Page faults, added up per process: the kernel counts them per thread; their time, where functions can be traced, is added up here. */
#ifndef TF_FAULT_BPF_H
#define TF_FAULT_BPF_H

#include "tf_last.bpf.h"

#define TF_VM_FAULT_MAJOR 4      /* linux/mm_types.h */
#define TF_ENOMEM 12             /* uapi/asm-generic/errno-base.h */

static __always_inline void tf_clear_memory(struct tf_memory *e)
{
	__builtin_memset(&e->size, 0, sizeof(*e) - sizeof(e->h));
	e->count = 1;
}

/* Time that a process waited for major faults, where functions can be traced. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 10240);
	__type(key, struct tf_process_key);
	__type(value, __u64);
} tf_fault_ns SEC(".maps");
TF_ENDED(tf_fault_done);        /* for tf_memory_exit_old only */
TF_TASK_STORE(tf_fault_began, __u64);

#define TF_THREADS_LEFT 64 /* threads of an ending process that are not yet released; it is the last to run */

struct tf_fault_sum {
	__u64 head, at;          /* addresses in the list of threads */
	__u64 minor, major;
};

static long tf_fault_step(__u32 i, struct tf_fault_sum *s)
{
	struct task_struct *thread = (void *)s->at - bpf_core_field_offset(struct task_struct, thread_node);

	if (!s->at || s->at == s->head)
		return 1;
	s->minor += BPF_CORE_READ(thread, min_flt);
	s->major += BPF_CORE_READ(thread, maj_flt);
	s->at = (__u64)BPF_CORE_READ(thread, thread_node.next);
	return 0;
}

/* Faults of the threads that are gone are in `signal`, those of the others in the threads. */
static __always_inline void tf_sum_faults(struct tf_memory *e, struct task_struct *task)
{
	struct signal_struct *signal = task->signal;
	struct tf_fault_sum s = { .minor = signal->min_flt, .major = signal->maj_flt };

	s.head = (__u64)signal + bpf_core_field_offset(struct signal_struct, thread_head);
	bpf_probe_read_kernel(&s.at, sizeof(s.at), (void *)s.head);
	if (tf_has_helper(loop)) {
		bpf_loop(TF_THREADS_LEFT, tf_fault_step, &s, 0);
	} else {
		for (__u32 i = 0; i < TF_THREADS_LEFT; i++)
			if (tf_fault_step(i, &s))
				break;
	}
	e->minor_faults = s.minor;
	e->count = s.major;
}

static __always_inline void tf_emit_faults(struct task_struct *task)
{
	struct tf_process_key key;
	struct tf_memory *e;
	struct tf_who who;
	struct tf_gate g;
	__u64 *waited;
	__u16 flags;

	tf_key_of(&key, task);
	tf_read_who(&who, task, &flags);
	tf_who_is_leader(&who, tf_plain_task(task)->group_leader);
	if (tf_admit(&g, &who, TF_K_MEMORY_PAGE_FAULT)) {
		waited = bpf_map_lookup_elem(&tf_fault_ns, &key);
		e = tf_reserve(&g, TF_K_MEMORY_PAGE_FAULT, struct tf_memory);
		if (e) {
			tf_fill_gate(&g, &e->h, TF_K_MEMORY_PAGE_FAULT);
			tf_fill_task(&e->h, &who, task->group_leader, flags);
			tf_clear_memory(e);
			e->duration_ns = waited ? *waited : 0;
			tf_sum_faults(e, task);
			tf_submit(&g, TF_K_MEMORY_PAGE_FAULT, e);
		}
	}
	bpf_map_delete_elem(&tf_fault_ns, &key);
}

#endif
