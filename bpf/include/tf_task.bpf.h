/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Identity of a process: from the fields of a task (7 ns each), never from helpers (20 to 45 ns each). Relies on BTF-typed task
 * pointers: a bad one reads zero, it cannot fault. */
#ifndef TF_TASK_BPF_H
#define TF_TASK_BPF_H

#include "tf_emit.bpf.h"

/* A subject remembered outside its task: the owner of a socket. Copied into records whole. */
struct tf_subject {
	__u64 cgroup_id;
	__u64 start_ns;
	__u32 pid;
	__u32 tid;
	__u32 ppid;
	__u32 uid;
	__u32 gid;
	__u16 flags;
	__u16 _pad0;
	__u64 comm[TF_COMM_LEN / 8];
};

static __always_inline struct cgroup *tf_v1_cgroup(struct css_set *set, __u64 subsys, struct cgroup *dfl)
{
	struct cgroup_subsys_state *css = NULL;
	struct cgroup *cg = NULL;

	bpf_core_read(&css, sizeof(css), &set->subsys[subsys & 15]);
	if (css)
		bpf_core_read(&cg, sizeof(cg), &css->cgroup);
	if (!cg || cg == dfl || BPF_CORE_READ(cg, level) <= 0)
		return NULL;
	return cg;
}

/* Where everything sits in the root of the default hierarchy (cgroup v1 and hybrid hosts), the v1 memory controller's cgroup tells
 * containers apart, else the pids controller's. */
static __always_inline __u64 tf_cgroup_id(struct task_struct *task, __u16 *flags)
{
	struct css_set *set = task->cgroups;
	struct cgroup *dfl = set->dfl_cgrp, *v1 = NULL;

	if (dfl->level > 0)
		return dfl->kn->id;
	if (bpf_core_enum_value_exists(enum cgroup_subsys_id, memory_cgrp_id))
		v1 = tf_v1_cgroup(set, bpf_core_enum_value(enum cgroup_subsys_id, memory_cgrp_id), dfl);
	if (!v1 && bpf_core_enum_value_exists(enum cgroup_subsys_id, pids_cgrp_id))
		v1 = tf_v1_cgroup(set, bpf_core_enum_value(enum cgroup_subsys_id, pids_cgrp_id), dfl);
	if (!v1)
		return dfl->kn->id;
	*flags |= TF_F_CGROUP_V1;
	return BPF_CORE_READ(v1, kn, id);
}

static __always_inline void tf_read_who(struct tf_who *who, struct task_struct *task, __u16 *flags)
{
	*flags = tf_base_flags();
	who->pid = task->tgid;
	who->start_ns = task->group_leader->start_boottime;
	who->followed = 0;
	who->cgroup_id = tf_cgroup_id(task, flags);
}

/* comm as two words: the helper costs 33 to 45 ns, these loads 7. */
static __always_inline void tf_copy_comm(void *to, struct task_struct *task)
{
	__u64 *word = to;

	word[0] = *(__u64 *)&task->comm[0];
	word[1] = *(__u64 *)&task->comm[8];
}

/* The subject's part of the header, `who` having been read for the gate already. */
static __always_inline void tf_fill_task(struct tf_header *h, const struct tf_who *who, struct task_struct *task, __u16 flags)
{
	h->cgroup_id = who->cgroup_id;
	h->start_ns = who->start_ns;
	h->pid = who->pid;
	h->tid = task->pid;
	h->ppid = task->real_parent->tgid;
	h->uid = task->real_cred->uid.val;
	h->gid = task->real_cred->gid.val;
	h->flags = flags;
	tf_copy_comm(h->comm, task);
}

static __always_inline void tf_read_subject(struct tf_subject *s, struct task_struct *task)
{
	struct tf_who who;
	__u16 flags;

	tf_read_who(&who, task, &flags);
	s->cgroup_id = who.cgroup_id;
	s->start_ns = who.start_ns;
	s->pid = who.pid;
	s->tid = task->pid;
	s->ppid = task->real_parent->tgid;
	s->uid = task->real_cred->uid.val;
	s->gid = task->real_cred->gid.val;
	s->flags = flags;
	s->_pad0 = 0;
	tf_copy_comm(s->comm, task);
}

static __always_inline void tf_fill_subject(struct tf_header *h, const struct tf_subject *s)
{
	h->cgroup_id = s->cgroup_id;
	h->start_ns = s->start_ns;
	h->pid = s->pid;
	h->tid = s->tid;
	h->ppid = s->ppid;
	h->uid = s->uid;
	h->gid = s->gid;
	h->flags = s->flags;
	((__u64 *)h->comm)[0] = s->comm[0];
	((__u64 *)h->comm)[1] = s->comm[1];
}

#endif
