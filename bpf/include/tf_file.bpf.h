/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Operations on paths: one way from a system call's arguments to a file row. A handler says in a struct tf_op what was asked for;
 * tf_file_op reads who did it and which path that is, best source first: the open file itself, what the kernel resolved (tf_note.bpf.h),
 * the string in user memory joined to the directory it is relative to (user_claimed). Global functions: the verifier checks them once a
 * program, whatever state a handler comes with. */
#ifndef TF_FILE_BPF_H
#define TF_FILE_BPF_H

#include "tf_file_note.bpf.h"

enum tf_op_flag {
	TF_OP_IN_ROOT   = 1 << 0, /* openat2: an absolute path begins at dfd too */
	TF_OP_NEW_PLAIN = 1 << 1, /* new_path is no path: what a symlink points to, an attribute's name */
	TF_OP_NO_PATH   = 1 << 2, /* the call takes no path: a descriptor, a handle */
};

/* What a handler took from the registers; everything else is 0. */
struct tf_op {
	__u64 file;              /* address: of the open file that it was done to, 0 = it was done to a path */
	__u64 path;              /* address: user's string; 0 = none (which the kernel takes of few calls) */
	__u64 new_path;          /* address: user's second string; 0 = none */
	__u64 size;
	__s32 dfd;               /* id: directory that path is relative to */
	__s32 new_dfd;
	__s32 fd;                /* id: -1 = none */
	__s32 errno_;
	__u32 kind;              /* enum: tf_kind */
	__u32 nr;
	__u32 file_flags;
	__u32 mode;
	__u32 uid;
	__u32 gid;
	__u32 flags;             /* bits: tf_op_flag */
	__u32 more_flags;        /* bits: header flags to add */
};

/* The directory that a relative string begins at; 0: the descriptor is none. */
static __always_inline __u64 tf_start_of(struct task_struct *task, __s32 dfd)
{
	return (__u64)(dfd == TF_AT_FDCWD ? tf_cwd_path(task) : tf_file_path(tf_file_of(task, dfd)));
}

/* Reads a string of the user's that is no path behind the path. */
TF_GLOBAL int tf_read_plain(struct tf_slot *slot, __u64 user)
{
	struct tf_text *text;
	__u32 offset;
	long n;

	if (!slot)
		return -1;
	offset = ((struct tf_file *)slot->data)->path.len;
	text = &((struct tf_file *)slot->data)->new_path;
	text->offset = offset;
	text->len = text->full_len = 0;
	if (offset > TF_PATH_CAP)
		return -1; /* for the verifier: it cannot be */
	n = tf_user_str(slot->data + 184 + offset, TF_PATH_CAP, (void *)user);
	if (n < 1)
		return -1;
	text->len = text->full_len = n - 1;
	return 0;
}

/* Puts a user's path into the row as path (which 0), or behind it as new_path (1), and says in *wanted whether the configuration wants
 * it: by its text, else by the directory that it was put behind. Returns header flags, or -1: the string cannot be read. */
static __always_inline int tf_read_string(struct tf_slot *slot, __u64 user, __s32 dfd, const __u32 which, __u32 how, bool *wanted)
{
	const __u32 sets = TF_S_MONITOR | TF_S_EXCLUDE;
	struct tf_file *e = (struct tf_file *)slot->data;
	struct tf_join *j = tf_join_of(slot);
	struct vfsmount *mnt;
	__u32 bits;
	int flags;

	if (tf_consts.options & TF_O_PATH_SETS)
		how |= TF_JOIN_SETS;
	flags = tf_join_claimed(slot, user, tf_start_of(tf_current(), dfd), which ? e->path.len : 0, how | TF_PATH_CAP);
	if (flags < 0)
		return flags;
	*(which ? &e->new_path : &e->path) = j->text;
	if (how & TF_JOIN_SETS && !*wanted) {
		bits = j->bits & sets;
		mnt = j->mount ? (void *)j->mount + bpf_core_field_offset(struct mount, mnt) : NULL;
		*wanted = tf_sets_want(bits ?: tf_sets_of_dentry(slot, (__u64)mnt, (__u64)j->dentry, sets));
	}
	return flags;
}

enum tf_read_result { TF_READ_OK, TF_READ_UNWANTED, TF_READ_FAULT };

/* Both texts as user memory claims them. A wanted one is enough: a rename out of a monitored directory concerns it. */
TF_GLOBAL int tf_read_claimed(struct tf_slot *slot, struct tf_op *op)
{
	bool wanted = !(tf_consts.options & TF_O_PATH_SETS);
	struct tf_file *e;
	int flags;

	if (!slot || !op)
		return TF_READ_FAULT;
	e = (struct tf_file *)slot->data;
	flags = tf_read_string(slot, op->path, op->dfd, 0, op->flags & TF_OP_IN_ROOT ? TF_JOIN_IN_ROOT : 0, &wanted);
	if (flags < 0)
		return TF_READ_FAULT;
	e->h.flags |= flags | TF_F_USER_CLAIMED;
	if (op->new_path && !(op->flags & TF_OP_NEW_PLAIN)) {
		flags = tf_read_string(slot, op->new_path, op->new_dfd, 1, 0, &wanted);
		if (flags < 0)
			return TF_READ_FAULT;
		e->h.flags |= flags;
	}
	return wanted ? TF_READ_OK : TF_READ_UNWANTED;
}

/* Everything of the row that the open file says. */
TF_GLOBAL int tf_read_open(struct tf_slot *slot, struct tf_op *op)
{
	struct tf_file *e;
	struct inode *node;
	struct file *file;

	if (!slot || !op)
		return TF_READ_FAULT;
	e = (struct tf_file *)slot->data;
	file = (struct file *)op->file;
	node = TF_READ(file, f_inode);
	if (!tf_path_wanted(slot, tf_file_path(file)))
		return TF_READ_UNWANTED;
	tf_read_inode(file, &e->inode, &e->device);
	if (op->kind == TF_K_FILE_OPEN || op->kind == TF_K_FILE_CREATE) {
		e->size = node ? TF_READ(node, i_size) : 0;
		e->mode = op->kind == TF_K_FILE_OPEN ? tf_file_mode(file) : (tf_file_mode(file) & TF_S_IFMT) | op->mode;
	}
	e->h.flags |= tf_path_into(slot, tf_file_path(file), 0, 0);
	return TF_READ_OK;
}

static __always_inline void tf_fill_op(struct tf_file *e, const struct tf_op *op)
{
	__builtin_memset(&e->inode, 0, sizeof(*e) - sizeof(e->h));
	e->size = op->size;
	e->file_flags = op->file_flags;
	e->mode = op->mode;
	e->fd = op->fd;
	e->count = 1;
	e->errno_ = op->errno_;
	e->new_uid = op->uid;
	e->new_gid = op->gid;
}

/* Path and new path, best source first. */
TF_GLOBAL int tf_read_texts(struct tf_slot *slot, struct tf_op *op)
{
	struct tf_file *e;
	int result, flags;

	if (!slot || !op)
		return TF_READ_FAULT;
	e = (struct tf_file *)slot->data;
	if (!op->path && !(op->flags & TF_OP_NO_PATH) && op->errno_ != EFAULT)
		op->file = (__u64)tf_file_of(tf_current(), op->dfd); /* no path and AT_EMPTY_PATH: the file behind dfd */
	if (op->file)
		result = tf_read_open(slot, op);
	else if (op->flags & TF_OP_NO_PATH)
		return TF_READ_OK; /* a descriptor that is none: nothing more to say */
	else if (!tf_read_resolved(slot, e, tf_note_of(op->nr), &result))
		result = tf_read_claimed(slot, op);
	if (result || !op->new_path || !(op->flags & TF_OP_NEW_PLAIN))
		return result;
	flags = tf_read_plain(slot, op->new_path);
	if (flags < 0)
		return TF_READ_FAULT;
	e->h.flags |= flags | TF_F_USER_CLAIMED;
	return TF_READ_OK;
}

/* Operations under way: a handler fills its task's, then goes on to the one program that makes the row: what is heavy is loaded, and
 * checked by the verifier, once. */
TF_TASK_STORE(tf_ops, struct tf_op);

/* The gate, the row, and out. */
static __always_inline int tf_file_op(struct tf_op *op)
{
	struct task_struct *task = tf_current();
	struct tf_slot *slot;
	struct tf_file *e;
	struct tf_who who;
	struct tf_gate g;
	__u32 kind;
	__u16 flags;
	int result;

	kind = op->kind;
	if (kind < TF_K_FILE_OPEN || kind > TF_K_FILE_XATTR)
		return 0;
	if (!tf_admit_task(&g, &who, task, &flags, kind))
		return 0;
	slot = tf_claim(&g);
	if (!slot)
		return 0;
	e = (struct tf_file *)slot->data;
	tf_fill_gate(&g, &e->h, kind);
	tf_fill_task(&e->h, &who, task, flags | op->more_flags);
	tf_fill_op(e, op);
	e->duration_ns = tf_sys_duration(tf_note_of(op->nr), e->h.ts_ns);
	result = tf_read_texts(slot, op);
	if (result) {
		tf_release(slot);
		return tf_count(&g, result == TF_READ_FAULT ? TF_L_K_FAULT : TF_L_K_FILTERED);
	}
	if (tf_admit_path(&g, slot, e))
		tf_output(&g, kind, slot, sizeof(*e) + e->path.len + e->new_path.len);
	return 0;
}

#endif
