/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The last thread of a process, before the kernel tells (6.16): signal->live is counted down before sched_process_exit, so of threads that
 * die at the same time on several CPUs more than one can see nobody left. The first of them to put the process into a table is it. */
#ifndef TF_LAST_BPF_H
#define TF_LAST_BPF_H

#include "tf_task.bpf.h"

/* A process, also when its id has been given away again. */
struct tf_process_key {
	__u64 start_ns;
	__u64 pid;
};

static __always_inline void tf_key_of(struct tf_process_key *key, struct task_struct *task)
{
	key->start_ns = TF_GO(task, group_leader, start_boottime);
	key->pid = TF_GO(task, tgid);
}

/* Processes whose end was reported, until they are pushed out. */
#define TF_ENDED(name) \
	struct { \
		__uint(type, BPF_MAP_TYPE_LRU_HASH); \
		__uint(max_entries, 4096); \
		__type(key, struct tf_process_key); \
		__type(value, __u8); \
	} name SEC(".maps")

#define TF_EEXIST 17             /* uapi/asm-generic/errno-base.h */

/* Of a plain task (tf_plain_task). */
static __always_inline bool tf_is_last(void *ended, struct task_struct *task)
{
	struct tf_process_key key;
	__u8 one = 1;

	if (TF_GO(task, signal, live.counter))
		return false;
	tf_key_of(&key, task);
	return bpf_map_update_elem(ended, &key, &one, BPF_NOEXIST) != -TF_EEXIST; /* no room: rather twice than not at all */
}

#endif
