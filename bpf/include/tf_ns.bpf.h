/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Namespaces and control groups of a task: which ones it is in, what changed, the text of a control group's path. All from kernel
 * objects. */
#ifndef TF_NS_BPF_H
#define TF_NS_BPF_H

#include "tf_first.bpf.h"
#include "tf_fd.bpf.h"

/* uapi/linux/sched.h */
#define CLONE_NEWTIME   0x00000080u
#define CLONE_NEWNS     0x00020000u
#define CLONE_NEWCGROUP 0x02000000u
#define CLONE_NEWUTS    0x04000000u
#define CLONE_NEWIPC    0x08000000u
#define CLONE_NEWUSER   0x10000000u
#define CLONE_NEWPID    0x20000000u
#define CLONE_NEWNET    0x40000000u
#define CLONE_NEWANY    0x7e020080u

/* Inode numbers of a task's namespaces, in the order of struct tf_container; fits the container words of struct tf_note. */
struct tf_spaces {
	__u32 mnt, pid, net, user, ipc, uts, cgroup, time;
};

static __always_inline __u32 tf_mnt_space(struct task_struct *task)
{
	return TF_GO(task, nsproxy, mnt_ns, ns.inum);
}

/* `children`: the pid and time namespaces that the task's children will be in: all that unshare and setns change of them. */
static __always_inline void tf_read_spaces(struct tf_spaces *s, struct task_struct *task, const bool children)
{
	struct nsproxy *proxy = TF_GO(task, nsproxy);

	s->mnt = TF_GO(proxy, mnt_ns, ns.inum);
	s->pid = children ? TF_GO(proxy, pid_ns_for_children, ns.inum) : tf_pid_space(task);
	s->net = TF_GO(proxy, net_ns, ns.inum);
	s->user = TF_GO(task, real_cred, user_ns, ns.inum);
	s->ipc = TF_GO(proxy, ipc_ns, ns.inum);
	s->uts = TF_GO(proxy, uts_ns, ns.inum);
	s->cgroup = TF_GO(proxy, cgroup_ns, ns.inum);
	s->time = children ? TF_GO(proxy, time_ns_for_children, ns.inum) : TF_GO(proxy, time_ns, ns.inum);
}

/* `bit` if a and b differ, without a branch: eight of them are 256 states to the verifier, all of which 6.1 follows to the end. */
static __always_inline __u32 tf_if_differ(__u32 a, __u32 b, const __u32 bit)
{
	__u64 sign = 0ull - (a ^ b);

	tf_unknown(sign);
	return (sign >> 63) * bit;
}

/* CLONE_NEW* of the namespaces that differ. */
static __always_inline __u32 tf_spaces_changed(const struct tf_spaces *a, const struct tf_spaces *b)
{
	return tf_if_differ(a->mnt, b->mnt, CLONE_NEWNS) | tf_if_differ(a->pid, b->pid, CLONE_NEWPID) |
	       tf_if_differ(a->net, b->net, CLONE_NEWNET) | tf_if_differ(a->user, b->user, CLONE_NEWUSER) |
	       tf_if_differ(a->ipc, b->ipc, CLONE_NEWIPC) | tf_if_differ(a->uts, b->uts, CLONE_NEWUTS) |
	       tf_if_differ(a->cgroup, b->cgroup, CLONE_NEWCGROUP) | tf_if_differ(a->time, b->time, CLONE_NEWTIME);
}

/* A process whose mount or pid namespace is not the first process's. Asked at every open: the pid namespace by its level, which is 0
 * for the first process's only. */
static __always_inline bool tf_in_container(struct task_struct *task)
{
	return (tf_consts.host_mnt_ns && tf_mnt_space(task) != tf_consts.host_mnt_ns) ||
	       (tf_consts.host_pid_ns && TF_GO(task, thread_pid, level) > 0);
}

static __always_inline struct cgroup_root *tf_subsys_root(struct css_set *set, __u64 subsys)
{
	struct cgroup_subsys_state *css = NULL;

	bpf_core_read(&css, sizeof(css), &set->subsys[subsys & 15]);
	return css ? BPF_CORE_READ(css, cgroup, root) : NULL;
}

/* Hierarchies whose ids records carry (tf_cgroup_id): the default one and, on version 1, the memory controller's, or the pids
 * controller's where memory is not on version 1. The others repeat what these say. */
static __always_inline bool tf_hierarchy_matters(struct cgroup *cgrp, struct task_struct *task)
{
	struct css_set *set = TF_GO(task, cgroups);
	struct cgroup_root *root = TF_READ(cgrp, root), *dfl = TF_GO(set, dfl_cgrp, root), *v1 = NULL;

	if (root == dfl)
		return true;
	if (bpf_core_enum_value_exists(enum cgroup_subsys_id, memory_cgrp_id))
		v1 = tf_subsys_root(set, bpf_core_enum_value(enum cgroup_subsys_id, memory_cgrp_id));
	if ((!v1 || v1 == dfl) && bpf_core_enum_value_exists(enum cgroup_subsys_id, pids_cgrp_id))
		v1 = tf_subsys_root(set, bpf_core_enum_value(enum cgroup_subsys_id, pids_cgrp_id));
	return root == v1;
}

/* Node of the very control group whose id the record carries (tf_cgroup_id, step by step). */
static __always_inline struct kernfs_node *tf_cgroup_node(struct task_struct *task)
{
	struct css_set *set = TF_GO(task, cgroups);
	struct cgroup *dfl = TF_GO(set, dfl_cgrp), *v1 = NULL;

	if (TF_GO(dfl, level) > 0)
		return TF_GO(dfl, kn);
	if (bpf_core_enum_value_exists(enum cgroup_subsys_id, memory_cgrp_id))
		v1 = tf_v1_cgroup(set, bpf_core_enum_value(enum cgroup_subsys_id, memory_cgrp_id), dfl);
	if (!v1 && bpf_core_enum_value_exists(enum cgroup_subsys_id, pids_cgrp_id))
		v1 = tf_v1_cgroup(set, bpf_core_enum_value(enum cgroup_subsys_id, pids_cgrp_id), dfl);
	return v1 ? TF_READ(v1, kn) : TF_GO(dfl, kn);
}

static __always_inline struct kernfs_node *tf_node_parent(struct kernfs_node *node)
{
	struct kernfs_node___v615 *newer = (void *)node;

	if (bpf_core_field_exists(newer->__parent))
		return TF_READ(newer, __parent);
	return TF_READ(node, parent);
}

#define TF_NAME_ROOM (TF_PATH_SCRATCH + TF_PATH_CAP) /* of the slot: a name on its way into the path */

/* One step up of a control group's path; `dentry` of the walk holds the node. */
static long tf_node_step(__u32 step, struct tf_walk_slot *at)
{
	struct tf_walk *w = (struct tf_walk *)(at->slot->data + TF_PATH_WALK);
	char *scratch = (char *)at->slot->data + TF_PATH_SCRATCH, *name = (char *)at->slot->data + TF_NAME_ROOM;
	struct kernfs_node *node = (struct kernfs_node *)w->dentry, *parent = tf_node_parent(node);
	__u32 len, start;
	long n;

	w->more = parent != NULL;
	if (!parent)
		return 1;
	n = bpf_probe_read_kernel_str(name, TF_NAME_MAX + 1, TF_READ(node, name));
	if (n <= 1 || n > TF_NAME_MAX + 1) {
		w->flags |= TF_F_PARTIAL;
		return 1;
	}
	len = n - 1;
	w->full += len + 1;
	w->dentry = (struct dentry *)parent;
	if (w->pos < len + 1)
		return 1;
	start = (w->pos - len) & (TF_PATH_CAP - 1);
	bpf_probe_read_kernel(scratch + start, len & TF_NAME_MAX, name);
	start = (start - 1) & (TF_PATH_CAP - 1);
	scratch[start] = '/';
	w->pos = start;
	return 0;
}

TF_SLOT_LOOP(tf_node_steps, tf_node_step, 8)

/* Reads the path of a task's control group in its hierarchy to the start of the text area; returns header flags. */
static __noinline __attribute__((unused)) __u16 tf_read_cgroup_path(struct tf_slot *slot, struct task_struct *task, struct tf_text *text)
{
	struct tf_walk *w;

	if (!slot || !task || !text)
		return 0;
	w = (struct tf_walk *)(slot->data + TF_PATH_WALK);
	w->dentry = (struct dentry *)tf_cgroup_node(task);
	w->pos = TF_PATH_CAP;
	w->full = w->flags = 0;
	w->more = 1;
	tf_node_steps(slot, TF_PATH_STEPS);
	if (w->more) {
		w->full++; /* deeper or longer than we walk: cut */
		w->flags |= TF_F_TRUNCATED;
	} else if (!w->full) {
		TF_PREPEND(w, (char *)slot->data + TF_PATH_SCRATCH, "/");
	}
	tf_keep_path(w, slot, 0, text);
	return w->flags;
}

/* Admits a record about `task` and begins its row: all but the texts and what is special about the kind. NULL: counted. */
static __always_inline struct tf_slot *tf_open_row(struct tf_gate *g, struct task_struct *task, const __u32 kind)
{
	struct tf_container *e;
	struct tf_slot *slot;
	struct tf_who who;
	__u16 flags;

	tf_read_who(&who, task, &flags);
	if (!tf_admit(g, &who, kind))
		return NULL;
	slot = tf_claim(g);
	if (!slot)
		return NULL;
	e = (struct tf_container *)slot->data;
	tf_fill_gate(g, &e->h, kind);
	tf_fill_task(&e->h, &who, task, flags);
	__builtin_memset(&e->object_id, 0, sizeof(*e) - sizeof(e->h));
	tf_read_spaces((struct tf_spaces *)&e->mnt_ns, task, false);
	return slot;
}

#endif
