// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Security: identity. Privileges gained by set*id and capset, by an exec, or by neither (inside the kernel: an exploit); set-uid programs;
 * programs without a file; namespaces made and joined.
 *
 * For the third way a thread's ids are remembered at each change that we know of. They are compared where its process begins an exec, and
 * where the kernel has fentry, at commit_creds itself. */
#include "tf_ns.bpf.h"
#include "tf_security.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

TF_KEEP_BTF(tf_security)

/* Identity when we last looked, by task. A thread that has none of its own has its process's. */
TF_TASK_STORE(tf_known_ids, struct tf_ids);

static __always_inline struct tf_ids *tf_known(struct task_struct *task)
{
	struct tf_ids *known = bpf_task_storage_get(&tf_known_ids, task, 0, 0);

	if (known || task->pid == task->tgid)
		return known;
	return bpf_task_storage_get(&tf_known_ids, task->group_leader, 0, 0);
}

static __always_inline void tf_remember(struct task_struct *task, const struct tf_ids *ids)
{
	struct tf_ids *known = bpf_task_storage_get(&tf_known_ids, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (known) /* else no memory: the next change will not be noticed */
		*known = *ids;
}

static __always_inline bool tf_gained(const struct tf_ids *old, const struct tf_ids *new)
{
	return (old->euid && !new->euid) || (old->egid && !new->egid) || (new->caps & ~old->caps);
}

/* Sends privilege_escalation if there is one. `a`: room; a second one would not fit the stack of older kernels. */
static __always_inline void tf_judge(struct tf_act *a, const struct tf_ids *old, const struct tf_ids *new, __u32 action)
{
	if (!tf_enabled(TF_K_SECURITY_PRIVILEGE_ESCALATION) || !tf_gained(old, new))
		return;
	*a = tf_new_act(TF_K_SECURITY_PRIVILEGE_ESCALATION, action, 0);
	tf_act_ids(a, old, new);
	tf_send_act(a);
}

/* Calls that may change the ids, and whose own handlers judge it. */
static __always_inline bool tf_changes_ids(__u32 nr)
{
	return nr == TF_NR_setuid || nr == TF_NR_setreuid || nr == TF_NR_setresuid || nr == TF_NR_setfsuid || nr == TF_NR_setgid ||
	       nr == TF_NR_setregid || nr == TF_NR_setresgid || nr == TF_NR_setfsgid || nr == TF_NR_capset || nr == TF_NR_execve ||
	       nr == TF_NR_execveat || nr == TF_NR_unshare || nr == TF_NR_setns || nr == TF_NR_clone || nr == TF_NR_clone3;
}

/* First in the file: where the kernel refuses it, the others have not been loaded in vain.
 *
 * Hook: commit_creds (fentry, 5.10 with helpers of 5.15): every change of a task's identity, by whatever way. Those of known calls are
 * left to their handlers; what is judged here is remembered, so that the next exec does not report it again. */
SEC("fentry/commit_creds")
int BPF_PROG(tf_security_commit, struct cred *new_cred)
{
	struct task_struct *task = bpf_get_current_task_btf();
	const struct tf_regs regs = tf_regs_of((const void *)bpf_task_pt_regs(task));
	struct tf_ids old, new;
	struct tf_act a;

	if (!new_cred || !regs.at || (task->flags & PF_KTHREAD) || tf_changes_ids(tf_sys_nr(&regs)))
		return 0;
	tf_read_ids(&old, task);
	tf_read_cred(&new, new_cred);
	tf_judge(&a, &old, &new, TF_A_KERNEL);
	tf_remember(task, &new);
	return 0;
}

/* set*id, capset: the entry noted the ids before. */
static __always_inline void tf_on_ids(const struct tf_regs *regs, long ret, __u32 nr)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct tf_note *note = tf_note_of(nr);
	struct tf_ids old, new, *before = note ? &note->ids : tf_known(task); /* no memory for a note: when we last looked */
	struct tf_act a;
	__u32 action = TF_A_SETUID;

	if (nr == TF_NR_capset)
		action = TF_A_CAPSET;
	else if (nr == TF_NR_setgid || nr == TF_NR_setregid || nr == TF_NR_setresgid || nr == TF_NR_setfsgid)
		action = TF_A_SETGID;
	tf_read_ids(&new, task);
	if (before) {
		old = *before;
		tf_judge(&a, &old, &new, action);
	}
	tf_remember(task, &new);
}

/* For what the entry of an exec notes before: the ids. And a thread that executes takes its leader's place, and with it what is known of
 * it. */
TF_ON_ENTER(tf_security_exec_enter, TF_SYS_SECURITY)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct tf_ids *known = task->pid == task->tgid ? NULL : tf_known(task), ids;

	if (!known)
		return;
	ids = *known;
	tf_remember(task, &ids);
}

/* Namespaces that a child was made in: told by what it and its parent are in, whatever the memory says that clone3 was given. A thread may be
 * made in others than its process is in. */
static __always_inline void tf_judge_clone(struct task_struct *parent, struct task_struct *child)
{
	struct tf_spaces before, after;
	struct tf_act a;
	__u32 changed;

	tf_read_spaces(&before, parent, true);
	tf_read_spaces(&after, child, true);
	changed = tf_spaces_changed(&before, &after);
	if (!changed)
		return;
	a = tf_new_act(TF_K_SECURITY_NAMESPACE, TF_A_CLONE, 0);
	a.value = changed;
	a.target_pid = child->pid;
	tf_send_act(&a);
}

/* Hook: sched_process_fork: a child begins with what is known of its parent, so that a change before the fork is noticed at the child's
 * exec; but in a new user namespace with its own, all capabilities of that namespace. */
SEC("tp_btf/sched_process_fork")
int BPF_PROG(tf_security_fork, struct task_struct *parent, struct task_struct *child)
{
	struct tf_ids *known, ids;

	if (!parent || !child)
		return 0;
	if (tf_enabled(TF_K_SECURITY_NAMESPACE))
		tf_judge_clone(tf_plain_task(parent), tf_plain_task(child));
	if (!tf_enabled(TF_K_SECURITY_PRIVILEGE_ESCALATION) || child->pid != child->tgid)
		return 0;
	tf_read_ids(&ids, child);
	known = tf_known(parent);
	if (known && BPF_CORE_READ(child, cred, user_ns) == BPF_CORE_READ(parent, cred, user_ns))
		ids = *known;
	tf_remember(child, &ids);
	return 0;
}

#define S_ISUID 04000 /* uapi/linux/stat.h */
#define S_ISGID 02000

/* Which record an exec is worth for its ids, 0 = none. secureexec: the ids or the file's capabilities raised it (a process whose real
 * user is root cannot show the latter). per_clear: a set-id bit was honoured. */
static __always_inline __u32 tf_exec_kind(struct linux_binprm *bprm, const struct tf_ids *old, const struct tf_ids *new, __u32 mode)
{
	bool secure = BPF_CORE_READ_BITFIELD(bprm, secureexec);

	if (bprm->per_clear && (((mode & S_ISUID) && new->euid != new->uid) || ((mode & S_ISGID) && new->egid != new->gid)))
		return TF_K_SECURITY_SETUID_EXEC;
	if (!tf_gained(old, new))
		return 0;
	return secure ? TF_K_SECURITY_SETUID_EXEC : TF_K_SECURITY_PRIVILEGE_ESCALATION;
}

/* Hook: sched_process_exec, once per successful exec, when the new identity is in place. */
SEC("tp_btf/sched_process_exec")
int BPF_PROG(tf_security_exec, struct task_struct *task, int old_pid, struct linux_binprm *bprm)
{
	struct file *file = bprm ? TF_READ(bprm, file) : NULL; /* not through the trusted pointer: see tf_plain_task */
	struct inode *inode = file ? TF_READ(file, f_inode) : NULL;
	const __u32 mode = inode ? TF_READ(inode, i_mode) : 0;
	struct tf_ids new, *old = &new, *known; /* no copies: the stack is full; nobody else changes what a task notes of itself */
	struct tf_note *note;
	struct tf_act a;

	if (!task || !inode)
		return 0;
	tf_read_ids(&new, task);
	note = bpf_task_storage_get(&tf_notes, task, 0, 0);
	if (note && note->start_ns && (note->nr == TF_NR_execve || note->nr == TF_NR_execveat)) {
		known = tf_known(task);
		old = &note->ids;
		if (known) /* changed since we last looked, and by no call that we know: by the kernel itself */
			tf_judge(&a, known, old, TF_A_KERNEL);
	}
	a = tf_new_act(0, TF_A_EXEC, 0);
	a.value = mode;
	tf_act_file(&a, file);
	tf_act_ids(&a, old, &new);
	if (tf_enabled(TF_K_SECURITY_FILELESS_EXEC) && !TF_READ(inode, i_nlink)) { /* memfd, or nothing names the file any more */
		a.kind = TF_K_SECURITY_FILELESS_EXEC;
		tf_send_act(&a);
	}
	a.kind = tf_exec_kind(bprm, old, &new, mode);
	if ((a.kind == TF_K_SECURITY_SETUID_EXEC && tf_enabled(TF_K_SECURITY_SETUID_EXEC)) ||
	    (a.kind == TF_K_SECURITY_PRIVILEGE_ESCALATION && tf_enabled(TF_K_SECURITY_PRIVILEGE_ESCALATION)))
		tf_send_act(&a);
	tf_remember(task, &new);
	return 0;
}

/* setns(fd, type): type 0 takes what the descriptor is. */
static __always_inline void tf_fill_setns(struct tf_act *a, struct task_struct *task, const struct tf_regs *regs)
{
	struct file *file = tf_file_of(task, tf_sys_arg(regs, 0));
	struct inode *inode = file ? TF_READ(file, f_inode) : NULL;
	struct ns_common *ns = inode && BPF_CORE_READ(inode, i_sb, s_magic) == NSFS_MAGIC ? TF_READ(inode, i_private) : NULL;

	a->action = TF_A_SETNS;
	a->value = (__u32)tf_sys_arg(regs, 1);
	if (!ns) {
		a->target_pid = tf_pid_of_fd(task, tf_sys_arg(regs, 0));
		return;
	}
	a->object_id = TF_READ(ns, inum);
	if (a->value)
		return;
	if (bpf_core_field_exists(ns->ns_type))
		a->value = TF_READ(ns, ns_type);
	else
		a->value = BPF_CORE_READ(ns, ops, type);
}

/* unshare, setns; clone and clone3 where they failed (tf_judge_clone has the others). */
static __always_inline void tf_on_namespace(const struct tf_regs *regs, long ret, __u32 nr)
{
	struct tf_act a = tf_new_act(TF_K_SECURITY_NAMESPACE, TF_A_UNSHARE, ret);
	struct task_struct *task = bpf_get_current_task_btf();
	__u64 mask = CLONE_NEWANY;
	struct tf_ids now;

	a.value = tf_sys_arg(regs, 0);
	if (nr == TF_NR_setns) {
		tf_fill_setns(&a, task, regs);
		mask = -1ull;
	} else if (nr != TF_NR_unshare) {
		a.action = TF_A_CLONE;
		if (nr == TF_NR_clone)
			mask &= ~CLONE_NEWTIME; /* these bits are the exit signal's */
		else if (bpf_probe_read_user(&a.value, sizeof(a.value), (void *)tf_sys_arg(regs, 0)))
			a.value = 0; /* the first member of struct clone_args; the page is gone: nothing to go by */
		else
			a.flags = TF_F_USER_CLAIMED;
		a.value &= mask;
		if (ret >= 0)
			mask = 0;
	}
	if (tf_enabled(TF_K_SECURITY_NAMESPACE) && (nr == TF_NR_setns || a.value & mask))
		tf_send_act(&a);
	if (a.action != TF_A_CLONE && !ret) {
		tf_read_ids(&now, task);
		tf_remember(task, &now);
	}
}

/* One program, two rows of the table: as in security.bpf.c. */
TF_ON_EXIT(tf_security_cred, TF_SYS_SECURITY)
{
	if (nr == TF_NR_unshare || nr == TF_NR_setns || nr == TF_NR_clone || nr == TF_NR_clone3)
		tf_on_namespace(regs, ret, nr);
	else
		tf_on_ids(regs, ret, nr);
}
