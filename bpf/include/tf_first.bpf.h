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

/* The machine's first process: the reaper of the pid namespace that every process has its first number in, which is the host's, however
 * deep in containers or forks the process is. No /proc is asked. NULL: the task is being reaped. */
static __always_inline struct task_struct *tf_first_process(struct task_struct *task)
{
	struct pid *pid = BPF_CORE_READ(task, thread_pid);
	struct upid *host = (void *)pid + bpf_core_field_offset(struct pid, numbers);

	return pid ? BPF_CORE_READ(host, ns, child_reaper) : NULL;
}

#endif
