// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Containers: control groups, namespaces, the life of containers, attempts to leave one. The collector tells container id and runtime by
 * the control group's path (csrc/tf_container_id.c). */
#include "tf_escape.bpf.h"
#include "tf_last.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

TF_KEEP_BTF(tf_container)

#define TF_CGROUP_TRACE_LEN 1024 /* kernel/cgroup/cgroup-internal.h: TRACE_CGROUP_PATH_LEN */

/* First processes of pid namespaces that have been forked and have not executed yet. Not one that pushes old entries out: everybody who may
 * make user namespaces could push out somebody else's. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct tf_process_key);
	__type(value, __u8);
} tf_t_inits SEC(".maps");
TF_ENDED(tf_stopped);   /* for tf_container_stop_old only */

static __always_inline void tf_emit_cgroup(struct cgroup *cgrp, const char *path, struct task_struct *target, const __u32 kind)
{
	struct task_struct *task = tf_current();
	struct tf_container *e;
	struct tf_slot *slot;
	struct tf_gate g;
	__u32 len = 0;
	long n;

	if (!cgrp || !tf_hierarchy_matters(cgrp, task))
		return;
	slot = tf_open_row(&g, task, kind);
	if (!slot)
		return;
	e = (struct tf_container *)slot->data;
	e->object_id = BPF_CORE_READ(cgrp, kn, id);
	e->target_pid = target ? target->tgid : 0;
	n = bpf_probe_read_kernel_str(slot->data + sizeof(*e), TF_CGROUP_TRACE_LEN, path);
	if (n > 0 && n <= TF_CGROUP_TRACE_LEN)
		len = n - 1;
	else
		e->h.flags |= TF_F_PARTIAL;
	if (len == TF_CGROUP_TRACE_LEN - 1)
		e->h.flags |= TF_F_TRUNCATED;
	e->cgroup_path.len = len;
	e->cgroup_path.full_len = len + (len == TF_CGROUP_TRACE_LEN - 1);
	tf_output(&g, kind, slot, sizeof(*e) + len);
}

/* Hooks: cgroup_mkdir, cgroup_rmdir, since 4.18, in the context of who asked for it, once it is done. */
SEC("tp_btf/cgroup_mkdir")
int BPF_PROG(tf_container_mkdir, struct cgroup *cgrp, const char *path)
{
	tf_emit_cgroup(cgrp, path, NULL, TF_K_CONTAINER_CREATE);
	return 0;
}

SEC("tp_btf/cgroup_rmdir")
int BPF_PROG(tf_container_rmdir, struct cgroup *cgrp, const char *path)
{
	tf_emit_cgroup(cgrp, path, NULL, TF_K_CONTAINER_DESTROY);
	return 0;
}

/* Hook: cgroup_attach_task, since 4.18: once per write to cgroup.procs (tasks, cgroup.threads), for the leader of what is moved; not for
 * a child that is born into its parent's group or put elsewhere by clone3(CLONE_INTO_CGROUP). The subject is who moved it. */
SEC("tp_btf/cgroup_attach_task")
int BPF_PROG(tf_container_attach, struct cgroup *cgrp, const char *path, struct task_struct *task, bool threadgroup)
{
	if (task)
		tf_emit_cgroup(cgrp, path, task, TF_K_CONTAINER_ATTACH);
	return 0;
}

/* Hook: cgroup_notify_populated, since 4.18; 0 = the last process of the group and all below it has left. The subject is that process, or
 * who moved it away. */
SEC("tp_btf/cgroup_notify_populated")
int BPF_PROG(tf_container_populated, struct cgroup *cgrp, const char *path, int populated)
{
	if (!populated)
		tf_emit_cgroup(cgrp, path, NULL, TF_K_CONTAINER_EMPTY);
	return 0;
}

/* A process that came into or went out of life as a container, or changed its namespaces: the row with its control group's path. */
static __always_inline void tf_emit_task(struct task_struct *task, const struct tf_spaces *after, __u32 changed, __u32 action,
					 __u32 target, const __u32 kind)
{
	struct tf_container *e;
	struct tf_slot *slot;
	struct tf_gate g;

	slot = tf_open_row(&g, task, kind);
	if (!slot)
		return;
	e = (struct tf_container *)slot->data;
	e->object_id = e->h.cgroup_id;
	if (after)
		__builtin_memcpy(&e->mnt_ns, after, sizeof(*after));
	e->ns_flags = changed;
	e->action = action;
	e->target_pid = target;
	if (kind == TF_K_CONTAINER_STOP) { /* whichever thread died last */
		e->h.tid = e->h.pid;
		tf_copy_comm(e->h.comm, task->group_leader);
	}
	e->h.flags |= tf_read_cgroup_path(slot, task, &e->cgroup_path);
	tf_output(&g, kind, slot, sizeof(*e) + e->cgroup_path.len);
}

/* Hook: sched_process_fork: clone() and clone3() with CLONE_NEW*, told by what child and parent are in; the subject is the child. A child
 * that lands in namespaces which its parent's unshare or setns prepared is no news. Also where first processes become known. */
SEC("tp_btf/sched_process_fork")
int BPF_PROG(tf_container_fork, struct task_struct *parent, struct task_struct *child)
{
	struct tf_spaces before, after;
	struct tf_process_key key;
	struct upid *own;
	__u32 changed;
	__u8 one = 1;

	if (!parent || !child)
		return 0;
	parent = tf_plain_task(parent);
	child = tf_plain_task(child);
	own = tf_own_upid(child);
	if (tf_enabled(TF_K_CONTAINER_START) && child->pid == child->tgid && own && TF_READ(own, nr) == 1) {
		tf_key_of(&key, child);
		if (bpf_map_update_elem(&tf_t_inits, &key, &one, BPF_ANY))
			tf_lose(TF_K_CONTAINER_START); /* nobody will know it at its exec */
	}
	if (!tf_enabled(TF_K_CONTAINER_NAMESPACE))
		return 0;
	tf_read_spaces(&before, parent, true);
	tf_read_spaces(&after, child, true);
	changed = tf_spaces_changed(&before, &after);
	if (!changed)
		return 0;
	tf_read_spaces(&after, child, false);
	tf_emit_task(child, &after, changed, TF_A_CLONE, child->tgid, TF_K_CONTAINER_NAMESPACE);
	return 0;
}

/* Hook: sys_enter of unshare and setns: the namespaces before. */
TF_ON_ENTER(tf_container_enter, TF_SYS_CONTAINER)
{
	if (note)
		tf_read_spaces((struct tf_spaces *)note->container, tf_current(), true);
}

/* Hook: sys_exit of unshare and setns. The record has the namespaces that the process, and for pid and time its children, are in now. */
TF_ON_EXIT(tf_container_join, TF_SYS_CONTAINER)
{
	struct task_struct *task = tf_current();
	struct tf_note *note = tf_note_of(nr);
	const bool setns = nr == TF_NR_setns;
	struct tf_spaces before = {}, after;
	struct file *file = NULL;
	__u32 changed = 0;

	tf_read_spaces(&after, task, true);
	if (note) {
		before = *(struct tf_spaces *)note->container;
		changed = tf_spaces_changed(&before, &after);
	} else if (!ret) { /* no memory for a note, or it began before we were attached: what it changed is not known */
		tf_lose(TF_K_CONTAINER_NAMESPACE);
		if (setns)
			tf_lose(TF_K_CONTAINER_ESCAPE);
	}
	if (setns)
		file = tf_file_of(task, tf_sys_arg(regs, 0));
	if (changed && tf_enabled(TF_K_CONTAINER_NAMESPACE))
		tf_emit_task(task, &after, changed, setns ? TF_A_SETNS : TF_A_UNSHARE, setns ? tf_pidfd_pid((__u64)file) : 0,
			     TF_K_CONTAINER_NAMESPACE);
	if (setns && note && tf_enabled(TF_K_CONTAINER_ESCAPE))
		tf_judge_setns(task, file, &before, tf_sys_arg(regs, 1), ret);
}

/* Hook: sched_process_exec, of the first process of a pid namespace other than the host's, the first time: what the container runs has
 * begun. Before that a runtime's own set-up code was running in it. */
SEC("tp_btf/sched_process_exec")
int BPF_PROG(tf_container_start, struct task_struct *task, int old_pid, struct linux_binprm *bprm)
{
	struct tf_process_key key;

	if (!task)
		return 0;
	task = tf_plain_task(task);
	if (!task->thread_pid->level)
		return 0;
	tf_key_of(&key, task);
	if (!bpf_map_lookup_elem(&tf_t_inits, &key))
		return 0;
	bpf_map_delete_elem(&tf_t_inits, &key);
	tf_emit_task(task, NULL, 0, TF_A_NONE, key.pid, TF_K_CONTAINER_START);
	return 0;
}

/* Whether the process is the first of a pid namespace other than the host's. */
static __always_inline bool tf_is_init(struct task_struct *task)
{
	struct upid *own = tf_own_upid(task->group_leader);

	return task->thread_pid->level > 0 && own && TF_READ(own, nr) == 1;
}

/* One that never executed has not been reported as started. */
static __always_inline void tf_emit_stop(struct task_struct *task)
{
	struct task_struct *leader = task->group_leader;
	struct tf_process_key key;

	if (!(leader->flags & PF_FORKNOEXEC)) {
		if (tf_enabled(TF_K_CONTAINER_STOP))
			tf_emit_task(task, NULL, 0, TF_A_NONE, task->tgid, TF_K_CONTAINER_STOP);
		return;
	}
	tf_key_of(&key, task);
	bpf_map_delete_elem(&tf_t_inits, &key);
}

/* Hook: sched_process_exit, of the last thread of such a process: the kernel kills all others of the namespace with it. The argument is
 * there since 6.16. */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(tf_container_stop, struct task_struct *task, bool group_dead)
{
	if (!task || !group_dead)
		return 0;
	task = tf_plain_task(task);
	if (tf_is_init(task))
		tf_emit_stop(task);
	return 0;
}

/* The same before 6.16. */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(tf_container_stop_old, struct task_struct *task)
{
	if (!task)
		return 0;
	task = tf_plain_task(task);
	if (tf_is_init(task) && tf_is_last(&tf_stopped, task))
		tf_emit_stop(task);
	return 0;
}

/* Hook: sys_exit of what gives a descriptor for a path: the open file is looked at, whatever its path was. */
TF_ON_EXIT(tf_container_open, TF_SYS_CONTAINER)
{
	struct task_struct *task = tf_current();

	if (!tf_in_container(task))
		return;
	if (ret >= 0)
		tf_judge_file(task, tf_file_of(task, ret));
	else
		tf_judge_claim(task, regs, nr, ret);
}

/* Hook: sys_exit of mount, fsmount, open_tree and open_tree_attr (6.15), whose first three arguments are the same. */
TF_ON_EXIT(tf_container_mount, TF_SYS_CONTAINER)
{
	struct task_struct *task = tf_current();

	if (!tf_in_container(task))
		return;
	if (nr == TF_NR_mount)
		tf_judge_mount(task, regs, ret);
	else if (ret >= 0 && nr == TF_NR_fsmount)
		tf_judge_tree(task, tf_file_of(task, ret), false);
	else if (ret >= 0 && tf_sys_arg(regs, 2) & 1) /* OPEN_TREE_CLONE */
		tf_judge_tree(task, tf_file_of(task, ret), true);
}
