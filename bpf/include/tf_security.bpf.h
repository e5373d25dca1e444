/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Security records: a program says in a struct tf_act what was done, tf_send_act makes the record of it. The subject is current. The
 * sender is a global function, checked once per program, not at every place and in every state it is called from. */
#ifndef TF_SECURITY_BPF_H
#define TF_SECURITY_BPF_H

#include "tf_join.bpf.h"
#include "tf_pidfd.bpf.h"
#include "tf_sys.bpf.h"

/* Where the row's path comes from. */
enum tf_how {
	TF_HOW_NONE,
	TF_HOW_PATH,             /* base is a struct path of the kernel */
	TF_HOW_CLAIMED,          /* text is a path in user memory, relative to the struct path base */
	TF_HOW_USER,             /* text is in user memory, taken as it is */
	TF_HOW_KERNEL,           /* text is in kernel memory */
};

/* Whether there is a record at all. */
enum tf_only {
	TF_ANY,
	TF_ONLY_IF,              /* only if the path is a sensitive one. One that no slot is free to read may have been: counted lost */
	TF_ONLY_IF_SEEN,         /* the same, but the kernel has told already that it is none: what cannot be read is not counted */
};

/* The middle of a struct tf_security (from object_id to family), then how to get its path. No holes: the verifier wants all of it set. */
struct tf_act {
	__u64 object_id;
	__u64 value;
	__u64 old_caps;
	__u64 new_caps;
	__u64 inode;
	__u64 dest_ip[2];
	__u32 device;
	__u32 action;
	__s32 errno_;
	__u32 target_pid;
	__u32 old_uid;
	__u32 new_uid;
	__u32 old_gid;
	__u32 new_gid;
	__u16 dest_port;
	__u16 family;
	__u32 kind;
	__u64 base;
	__u64 text;
	__u32 max;               /* bytes of text at most */
	__u8 how;                /* enum tf_how */
	__u8 sensitive;          /* enum tf_only */
	__u16 flags;             /* header flags */
};
#define TF_ACT_ROW (__builtin_offsetof(struct tf_act, kind))
_Static_assert(__builtin_offsetof(struct tf_security, path) - sizeof(struct tf_header) == TF_ACT_ROW, "tf_act begins like tf_security");
_Static_assert(TF_K_SECURITY_IO_URING_OP - TF_K_SECURITY_PRIVILEGE_ESCALATION == 19, "subtype = kind - first kind: in the table's order");

static __always_inline struct tf_act tf_new_act(__u32 kind, __u32 action, long ret)
{
	struct tf_act a = { .kind = kind, .action = action, .errno_ = tf_sys_errno(ret), .max = TF_PATH_CAP };

	return a;
}

static __always_inline void tf_act_ids(struct tf_act *a, const struct tf_ids *old, const struct tf_ids *new)
{
	a->old_caps = old->caps;
	a->new_caps = new->caps;
	a->old_uid = old->euid;
	a->new_uid = new->euid;
	a->old_gid = old->egid;
	a->new_gid = new->egid;
}

/* The path is that of an open file. */
static __always_inline void tf_act_file(struct tf_act *a, struct file *file)
{
	if (!file)
		return;
	tf_read_inode(file, &a->inode, &a->device);
	a->base = (__u64)tf_file_path(file);
	a->how = TF_HOW_PATH;
}

/* The path is claimed by user memory, relative to a directory's descriptor (or TF_AT_FDCWD). */
static __always_inline void tf_act_claimed(struct tf_act *a, struct task_struct *task, __u64 dir, __u64 text)
{
	a->base = (__u64)((__s32)dir == TF_AT_FDCWD ? tf_cwd_path(task) : tf_file_path(tf_file_of(task, dir)));
	a->text = text;
	a->how = TF_HOW_CLAIMED;
}

static __always_inline void tf_act_user(struct tf_act *a, __u64 text)
{
	a->text = text;
	a->how = TF_HOW_USER;
}

/* The process that a pidfd stands for, as the host counts: 0 = it is not one. */
static __always_inline __u32 tf_pid_of_fd(struct task_struct *task, __u64 fd)
{
	return tf_pidfd_pid((__u64)tf_file_of(task, fd));
}

/* Reads text from user or kernel memory as it is. Returns header flags. */
static __always_inline __u16 tf_take_text(struct tf_slot *slot, const struct tf_act *a, struct tf_text *text)
{
	__u8 *to = slot->data + 184;
	__u32 max = a->max;
	long n;

	if (max > TF_PATH_CAP)
		max = TF_PATH_CAP;
	n = a->how == TF_HOW_KERNEL ? bpf_probe_read_kernel_str(to, max, (void *)a->text) : tf_user_str(to, max, (void *)a->text);
	if (n <= 0 || n > TF_PATH_CAP)
		return TF_F_PARTIAL;
	text->len = text->full_len = n - 1;
	if (n != TF_PATH_CAP)
		return 0;
	text->full_len++; /* at least one more byte */
	return TF_F_TRUNCATED;
}

/* Fills the text area with the path, described in the slot's struct tf_join: text, and bits where only a sensitive one counts. Returns
 * header flags. */
static __always_inline __u16 tf_build_path(struct tf_slot *slot, const struct tf_act *a)
{
	struct path *base = (struct path *)a->base;
	struct tf_join *j = tf_join_of(slot);
	struct tf_text *text = &j->text;
	int flags;

	j->bits = 0;
	text->offset = text->len = text->full_len = 0;
	if (a->how == TF_HOW_USER || a->how == TF_HOW_KERNEL)
		return tf_take_text(slot, a, text) | (a->how == TF_HOW_USER ? TF_F_USER_CLAIMED : 0);
	if (a->how == TF_HOW_CLAIMED) {
		flags = tf_join_claimed(slot, a->text, a->base, 0, a->max | (a->sensitive ? TF_JOIN_SETS : 0));
		if (flags < 0)
			return TF_F_USER_CLAIMED | TF_F_PARTIAL;
		flags |= TF_F_USER_CLAIMED;
	} else {
		flags = tf_place_into(slot, base ? TF_READ_ADDRESS(base, mnt) : 0, base ? TF_READ_ADDRESS(base, dentry) : 0, 0);
		if (a->sensitive)
			j->bits = tf_sets_of_text(slot, 0, text->len);
	}
	return flags;
}

static __always_inline void tf_fill_act(struct tf_gate *g, struct tf_security *e, const struct tf_act *a, __u32 kind)
{
	tf_fill_gate(g, &e->h, TF_K_SECURITY_PTRACE); /* type; the subtype follows */
	e->h.subtype = kind - TF_K_SECURITY_PRIVILEGE_ESCALATION;
	__builtin_memcpy(&e->object_id, a, TF_ACT_ROW);
}

/* Makes the record of an act of current. 1: there was something to record (whatever became of the record); 0: the path is not sensitive.
 * `like`: a kind of the same lane. */
static __always_inline int tf_send_like(struct tf_act *a, const __u32 like)
{
	struct task_struct *task = tf_current();
	struct tf_slot *slot = NULL;
	struct tf_security *e;
	struct tf_who who;
	struct tf_gate g;
	__u16 flags;

	tf_read_who(&who, task, &flags);
	g.state = NULL; /* not asked yet */
	if (!a->sensitive && !tf_admit_any(&g, &who, a->kind & (TF_KIND_MAX - 1), false, tf_kind_lane(like)))
		return 1;
	if (a->how != TF_HOW_NONE) {
		slot = tf_take_slot(bpf_get_smp_processor_id());
		if (slot)
			((struct tf_header *)slot->data)->flags = tf_build_path(slot, a);
	}
	if (!g.state) {
		if (slot && !(tf_join_of(slot)->bits & TF_S_SENSITIVE)) {
			tf_release(slot);
			return 0;
		}
		if (!slot && a->sensitive == TF_ONLY_IF_SEEN)
			return 0;
		if (!tf_admit_any(&g, &who, a->kind & (TF_KIND_MAX - 1), false, tf_kind_lane(like))) {
			if (slot)
				tf_release(slot);
			return 1;
		}
	}
	if (a->how == TF_HOW_NONE) {
		e = tf_reserve(&g, like, struct tf_security);
		if (!e)
			return 1;
		tf_fill_act(&g, e, a, a->kind);
		tf_fill_task(&e->h, &who, task, flags | a->flags);
		e->path.offset = e->path.len = e->path.full_len = 0;
		tf_submit(&g, like, e);
		return 1;
	}
	if (!slot) {
		tf_count(&g, TF_L_K_BUSY);
		return 1;
	}
	tf_add(&g.state->slot_claims, 1);
	e = (struct tf_security *)slot->data;
	tf_fill_act(&g, e, a, a->kind);
	tf_fill_task(&e->h, &who, task, flags | a->flags | e->h.flags);
	e->path = tf_join_of(slot)->text;
	tf_output(&g, like, slot, sizeof(*e) + (e->path.len & (2 * TF_PATH_CAP - 1)));
	return 1;
}

TF_GLOBAL int tf_send_act(struct tf_act *a)
{
	return a ? tf_send_like(a, TF_K_SECURITY_PTRACE) : 0;
}

#endif
