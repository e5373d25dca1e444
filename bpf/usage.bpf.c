// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Use of CPU and memory, one record per process whenever user space runs the iterator (programs.process.usage_interval). Totals since the
 * process began, not differences: a record that is lost costs resolution, not truth. */
#include "tf_iter.bpf.h"
#include "tf_rss.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

TF_KEEP_BTF(tf_cpu)

#define TF_USAGE_THREADS 32768   /* of a process that are looked at; a record that left some out is flagged partial */
#define TF_USAGE_THREADS_OLD 256 /* without bpf_loop (before 5.17) */
#define TF_USAGE_TRIES 3

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
/* A process's own counts are those of its dead threads; the living ones have theirs. */
struct signal_struct___sums {
	int nr_threads;
	struct list_head thread_head;
	unsigned long nvcsw, nivcsw, min_flt, maj_flt;
	unsigned long long sum_sched_runtime;
};
struct task_struct___sums {
	struct sched_entity se;
	struct list_head thread_node;
	unsigned long nvcsw, nivcsw, min_flt, maj_flt;
	struct mm_struct *mm;
};
#pragma clang attribute pop

/* On the stack: a walk over the threads of one process. */
struct tf_sum {
	struct list_head *head;
	struct list_head *at;
	struct mm_struct *mm;    /* of a thread that still has one: the leader may be gone before the others */
	__u64 on_cpu_ns;
	__u64 switches;
	__u64 minor;
	__u64 major;
};

static long tf_add_thread(__u32 i, struct tf_sum *s)
{
	struct task_struct___sums *task = (void *)s->at - bpf_core_field_offset(struct task_struct___sums, thread_node);
	struct mm_struct *mm = NULL;

	if (s->at == s->head || !s->at)
		return 1;
	s->on_cpu_ns += BPF_CORE_READ(task, se.sum_exec_runtime);
	s->switches += BPF_CORE_READ(task, nvcsw) + BPF_CORE_READ(task, nivcsw);
	s->minor += BPF_CORE_READ(task, min_flt);
	s->major += BPF_CORE_READ(task, maj_flt);
	bpf_core_read(&mm, sizeof(mm), &task->mm);
	if (mm)
		s->mm = mm;
	bpf_core_read(&s->at, sizeof(s->at), &task->thread_node.next);
	return 0;
}

/* Under RCU, as every iterator is, a list of threads can be walked. A thread that ends meanwhile moves its counts to the process: then
 * what was read is worth nothing. Returns whether it is worth something. */
static __always_inline bool tf_sum_once(struct tf_sum *s, struct signal_struct___sums *signal)
{
	const __u64 dead = BPF_CORE_READ(signal, sum_sched_runtime);
	const int threads = BPF_CORE_READ(signal, nr_threads);

	s->head = (void *)signal + bpf_core_field_offset(struct signal_struct___sums, thread_head);
	s->at = BPF_CORE_READ(signal, thread_head.next);
	s->mm = NULL;
	s->on_cpu_ns = dead;
	s->switches = BPF_CORE_READ(signal, nvcsw) + BPF_CORE_READ(signal, nivcsw);
	s->minor = BPF_CORE_READ(signal, min_flt);
	s->major = BPF_CORE_READ(signal, maj_flt);
	if (tf_has_helper(loop)) {
		bpf_loop(TF_USAGE_THREADS, tf_add_thread, s, 0);
	} else {
		for (__u32 i = 0; i < TF_USAGE_THREADS_OLD; i++)
			if (tf_add_thread(i, s))
				break;
	}
	return !((dead ^ BPF_CORE_READ(signal, sum_sched_runtime)) | (__u32)(threads ^ BPF_CORE_READ(signal, nr_threads)));
}

static __always_inline void tf_emit_usage(struct tf_gate *g, struct tf_who *who, struct task_struct *task, struct tf_sum *sum, __u16 flags)
{
	struct tf_cpu *e = tf_reserve(g, TF_K_CPU_USAGE, struct tf_cpu);
	struct signal_struct___sums *signal = (void *)task->signal;

	if (!e)
		return;
	tf_fill_gate(g, &e->h, TF_K_CPU_USAGE);
	tf_fill_task(&e->h, who, task, flags);
	e->on_cpu_ns = sum->on_cpu_ns;
	e->rss = tf_rss(sum->mm);
	e->switches = sum->switches;
	e->threads = BPF_CORE_READ(signal, nr_threads);
	e->minor_faults = sum->minor;
	e->major_faults = sum->major;
	e->_pad0 = 0;
	tf_submit(g, TF_K_CPU_USAGE, e);
}

/* Hook: iterator over all tasks, run by user space; leaders of processes that have a living thread. */
SEC("iter/task")
int tf_usage(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task ? tf_plain_task(ctx->task) : NULL;
	struct tf_sum sum = {};
	struct tf_who who;
	struct tf_gate g;
	__u32 tries = TF_USAGE_TRIES;
	__u16 flags;

	if (!task || task->pid != task->tgid || !task->signal->live.counter)
		return TF_NEXT;
	if (tf_ring_is_full(TF_BULK))
		return TF_AGAIN;
	tf_read_who(&who, task, &flags);
	if (!tf_admit(&g, &who, TF_K_CPU_USAGE))
		return TF_NEXT;
	while (!tf_sum_once(&sum, (void *)task->signal) && --tries) /* one way back, by a jump: all that 6.1 takes as a loop */
		;
	if (!tries || sum.at != sum.head) /* threads end faster than they can be added up, or are too many */
		flags |= TF_F_PARTIAL;
	tf_emit_usage(&g, &who, task, &sum, flags);
	tf_pace(ctx->meta);
	return TF_NEXT;
}
