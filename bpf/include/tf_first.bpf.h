/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The machine's first process, whose namespaces are the host's, and a task's place in its own pid namespace. */
#ifndef TF_FIRST_BPF_H
#define TF_FIRST_BPF_H

#include "tf_task.bpf.h"

/* A task's number in the pid namespace that it is in, and that namespace. */
static __always_inline struct upid *tf_own_upid(struct task_struct *task)
{
	struct pid *pid = BPF_CORE_READ(task, thread_pid);
	__u32 level;

	if (!pid)
		return NULL; /* reaped */
	level = BPF_CORE_READ(pid, level);
	return (void *)pid + bpf_core_field_offset(struct pid, numbers) + (__u64)level * bpf_core_type_size(struct upid);
}

static __always_inline __u32 tf_pid_space(struct task_struct *task)
{
	struct upid *own = tf_own_upid(task);
	struct pid_namespace *space = own ? BPF_CORE_READ(own, ns) : NULL;

	return space ? BPF_CORE_READ(space, ns.inum) : 0;
}

/* The first process of the machine, found upwards from any process: a container's leads there too, and no /proc is asked. */
#define TF_PARENTS_MOST 64
struct tf_upwards {
	__u64 task;              /* address */
	__u64 found;             /* bool */
};

static long tf_step_up(__u32 i, struct tf_upwards *up)
{
	struct task_struct *task = (struct task_struct *)up->task, *parent = BPF_CORE_READ(task, real_parent);

	up->found = !parent || parent == task || BPF_CORE_READ(task, tgid) == 1;
	if (!up->found)
		up->task = (__u64)parent;
	return up->found;
}

static __always_inline struct task_struct *tf_first_process(struct task_struct *task)
{
	struct tf_upwards up = {};

	bpf_probe_read_kernel(&up.task, sizeof(up.task), &task); /* the address, which is no pointer to the verifier */
	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_loop)) { /* its body is checked once, not 64 times */
		bpf_loop(TF_PARENTS_MOST, tf_step_up, &up, 0);
	} else {
		for (__u32 i = 0; i < TF_PARENTS_MOST; i++)
			if (tf_step_up(i, &up))
				break;
	}
	return up.found ? (struct task_struct *)up.task : NULL;
}

#endif
