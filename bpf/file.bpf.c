// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Operations on paths: open and create, delete, rename, mkdir, rmdir, link, symlink, chmod, chown, truncate, xattr. Each handler only says
 * which argument is what; tf_file.bpf.h does the rest. Reads, writes and closes are in file_io.bpf.c. */
#include "tf_file.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

TF_KEEP_BTF(tf_file)

#define TF_O_CREAT 0100            /* uapi/asm-generic/fcntl.h */
#define TF_O_TRUNC_CREAT (TF_O_CREAT | 01000 | 01)
#define TF_O_TMPFILE 020000000     /* __O_TMPFILE: a file without a name, always new */
#define TF_RESOLVE_IN_ROOT 0x10    /* uapi/linux/openat2.h */
#define TF_AT_REMOVEDIR 0x200
#define TF_XATTR_REMOVED 0x80000000u /* ours, in file_flags: the attribute was removed */
#define TF_UNCHANGED 0xffffffffu
#define TF_I386_LCHOWN 16          /* calls with 16-bit ids; arch/x86/entry/syscalls/syscall_32.tbl */
#define TF_I386_FCHOWN 95
#define TF_I386_CHOWN 182
#define TF_I386_TRUNCATE 92        /* ... and with a size of 32 bits */
#define TF_I386_FTRUNCATE 93

/* Hooks of the middle of a call. First in the object: a kernel that refuses them does so before the big programs cost a load. Since
 * CONFIG_SECURITY_PATH exists (2.6.29); a few per call. Not do_unlinkat and its like: they are gone in 7.x. */
TF_NOTE_ON(unlink, "unlink", 2, tf_note_resolved(TF_MNT(a0), a1, 0, 0))
TF_NOTE_ON(rmdir, "rmdir", 2, tf_note_resolved(TF_MNT(a0), a1, 0, 0))
TF_NOTE_ON(mkdir, "mkdir", 2, tf_note_resolved(TF_MNT(a0), a1, 0, 0))
TF_NOTE_ON(symlink, "symlink", 2, tf_note_resolved(TF_MNT(a0), a1, 0, 0))
TF_NOTE_ON(link, "link", 3, tf_note_resolved(TF_MNT(a1), a0, TF_MNT(a1), a2))
TF_NOTE_ON(rename, "rename", 4, tf_note_resolved(TF_MNT(a0), a1, TF_MNT(a2), a3))
TF_NOTE_ON(chmod, "chmod", 1, tf_note_resolved(TF_MNT(a0), TF_DENTRY(a0), 0, 0))
TF_NOTE_ON(chown, "chown", 1, tf_note_resolved(TF_MNT(a0), TF_DENTRY(a0), 0, 0))
TF_NOTE_ON(truncate, "truncate", 1, tf_note_resolved(TF_MNT(a0), TF_DENTRY(a0), 0, 0))

int tf_file_finish(__u64 *ctx);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__array(values, int(void *));
} tf_finish SEC(".maps") = { .values = { (void *)&tf_file_finish } };

static __always_inline void tf_op_begin(struct tf_op *op, const __u32 kind, long ret, __u32 nr)
{
	__builtin_memset(op, 0, sizeof(*op));
	op->kind = kind;
	op->nr = nr;
	op->dfd = op->new_dfd = TF_AT_FDCWD;
	op->fd = -1;
	op->errno_ = tf_sys_errno(ret);
	op->uid = op->gid = TF_UNCHANGED;
}

/* An operation that there was no memory to describe. */
__noinline int tf_lose_op(__u32 kind)
{
	struct task_struct *task = tf_current();
	struct tf_who who;
	struct tf_gate g;
	__u16 flags;

	if (kind < TF_K_FILE_OPEN || kind > TF_K_FILE_XATTR)
		return 0;
	if (tf_admit_task(&g, &who, task, &flags, kind))
		tf_count(&g, TF_L_K_MAP_FULL);
	return 0;
}

/* A handler: `static bool NAME(op, regs, ret, nr)` follows the macro, as the body. True: the row is to be made; where there is no memory
 * for that it is asked on the stack, for the kind that is lost. */
#define TF_ON_PATH(name, k) \
	static __always_inline bool name##_body(struct tf_op *op, const struct tf_regs *regs, long ret, __u32 nr); \
	SEC("tp_btf/sys_exit") int name(__u64 *ctx) \
	{ \
		const struct tf_regs regs = tf_regs_of((const void *)ctx[0]); \
		const long ret = (long)*(volatile __u64 *)&ctx[1]; /* at once: a pointer into ctx that clang keeps is refused */ \
		__u32 nr = tf_sys_nr(&regs); \
		struct tf_op *op = bpf_task_storage_get(&tf_ops, bpf_get_current_task_btf(), 0, BPF_LOCAL_STORAGE_GET_F_CREATE), lost; \
		if (op) { \
			tf_op_begin(op, k, ret, nr); \
			if (name##_body(op, &regs, ret, nr)) \
				bpf_tail_call(ctx, &tf_finish, 0); \
		} else { \
			tf_op_begin(&lost, k, ret, nr); \
			if (name##_body(&lost, &regs, ret, nr)) \
				tf_lose_op(lost.kind); \
		} \
		tf_sys_go(ctx, &tf_exit_progs, nr, tf_sys_wanted(nr), 0, TF_SYS_FILE + 1); \
		return 0; \
	} \
	static __always_inline bool name##_body(struct tf_op *op, const struct tf_regs *regs, long ret, __u32 nr)

/* Never attached: called by every handler below. */
SEC("tp_btf/sys_exit")
int tf_file_finish(__u64 *ctx)
{
	const struct tf_regs regs = tf_regs_of((const void *)ctx[0]);
	__u32 nr = tf_sys_nr(&regs);
	struct tf_op *op = bpf_task_storage_get(&tf_ops, bpf_get_current_task_btf(), 0, 0);

	if (op)
		tf_file_op(op);
	tf_sys_go(ctx, &tf_exit_progs, nr, tf_sys_wanted(nr), 0, TF_SYS_FILE + 1);
	return 0;
}

/* The operation is on the file that argument 0 is the descriptor of. */
static __always_inline void tf_op_on_fd(struct tf_op *op, const struct tf_regs *regs)
{
	op->flags |= TF_OP_NO_PATH;
	op->fd = tf_sys_arg(regs, 0);
	op->file = (__u64)tf_file_of(tf_current(), op->fd);
}

/* An open path: dfd and string in arguments 0 and 1. */
static __always_inline void tf_op_at(struct tf_op *op, const struct tf_regs *regs)
{
	op->dfd = tf_sys_arg(regs, 0);
	op->path = tf_sys_arg(regs, 1);
}

struct tf_open_how {
	__u64 flags, mode, resolve;
};

/* What the call asked for. openat2 has its flags in user memory. */
static __always_inline void tf_read_request(struct tf_op *op, const struct tf_regs *regs, __u32 nr)
{
	struct tf_open_how how = {};

	if (TF_NR_open >= 0 && (nr == TF_NR_open || nr == TF_NR_creat)) {
		op->path = tf_sys_arg(regs, 0);
		op->file_flags = nr == TF_NR_creat ? TF_O_TRUNC_CREAT : tf_sys_arg(regs, 1);
		op->mode = nr == TF_NR_creat ? tf_sys_arg(regs, 1) : tf_sys_arg(regs, 2);
		return;
	}
	if (nr == TF_NR_open_by_handle_at) {
		op->flags = TF_OP_NO_PATH;
		op->dfd = tf_sys_arg(regs, 0);
		op->file_flags = tf_sys_arg(regs, 2);
		return;
	}
	tf_op_at(op, regs);
	if (nr == TF_NR_openat) {
		op->file_flags = tf_sys_arg(regs, 2);
		op->mode = tf_sys_arg(regs, 3);
		return;
	}
	bpf_probe_read_user(&how, sizeof(how), (void *)tf_sys_arg(regs, 2));
	op->file_flags = how.flags;
	op->mode = how.mode;
	op->flags = how.resolve & TF_RESOLVE_IN_ROOT ? TF_OP_IN_ROOT : 0;
}

/* open, openat, openat2, creat, open_by_handle_at. What was opened is told by the file behind the descriptor; where another thread has
 * closed it already, by the string. A file that this open made is a create, told by the file itself. */
TF_ON_PATH(tf_file_open, TF_K_FILE_OPEN)
{
	struct file *file;
	bool created;

	tf_read_request(op, regs, nr);
	if (ret >= 0) {
		op->fd = ret;
		file = tf_file_of(tf_current(), ret);
		op->file = (__u64)file;
	}
	if (op->file) {
		created = TF_READ(file, f_mode) & TF_FMODE_CREATED || TF_READ(file, f_flags) & TF_O_TMPFILE;
		op->kind = created ? TF_K_FILE_CREATE : TF_K_FILE_OPEN;
		if (nr == TF_NR_openat2)
			op->file_flags = TF_READ(file, f_flags) | (created ? TF_O_CREAT : 0);
	}
	op->mode = op->kind == TF_K_FILE_CREATE ? op->mode & 07777 : 0;
	if (op->kind == TF_K_FILE_CREATE && nr == TF_NR_openat2)
		op->more_flags |= TF_F_USER_CLAIMED; /* the mode is user memory's word, whatever the file says of the rest */
	if (op->kind == TF_K_FILE_CREATE ? !tf_enabled(TF_K_FILE_CREATE) : !tf_enabled(TF_K_FILE_OPEN))
		return false;
	return true;
}

/* A path to be made and its mode: (path, mode) or (dfd, path, mode). */
static __always_inline void tf_read_new(struct tf_op *op, const struct tf_regs *regs, bool at)
{
	if (at) {
		tf_op_at(op, regs);
		op->mode = tf_sys_arg(regs, 2);
	} else {
		op->path = tf_sys_arg(regs, 0);
		op->mode = tf_sys_arg(regs, 1);
	}
}

/* mknod, mknodat: the other way to make a file. */
TF_ON_PATH(tf_file_mknod, TF_K_FILE_CREATE)
{
	tf_read_new(op, regs, nr == TF_NR_mknodat);
	return true;
}

/* unlink, unlinkat, rmdir: by what was asked for, also where it failed. */
TF_ON_PATH(tf_file_remove, TF_K_FILE_DELETE)
{
	if (nr == TF_NR_unlinkat) {
		tf_op_at(op, regs);
		op->file_flags = tf_sys_arg(regs, 2);
		if (op->file_flags & TF_AT_REMOVEDIR)
			op->kind = TF_K_FILE_RMDIR;
	} else {
		op->path = tf_sys_arg(regs, 0);
		if (nr == TF_NR_rmdir)
			op->kind = TF_K_FILE_RMDIR;
	}
	if (op->kind == TF_K_FILE_RMDIR ? !tf_enabled(TF_K_FILE_RMDIR) : !tf_enabled(TF_K_FILE_DELETE))
		return false;
	return true;
}

TF_ON_PATH(tf_file_mkdir, TF_K_FILE_MKDIR)
{
	tf_read_new(op, regs, nr == TF_NR_mkdirat);
	return true;
}

/* Two paths: (old, new) or (old dfd, old, new dfd, new, flags). */
static __always_inline void tf_op_two(struct tf_op *op, const struct tf_regs *regs, bool at, bool flags)
{
	if (!at) {
		op->path = tf_sys_arg(regs, 0);
		op->new_path = tf_sys_arg(regs, 1);
		return;
	}
	tf_op_at(op, regs);
	op->new_dfd = tf_sys_arg(regs, 2);
	op->new_path = tf_sys_arg(regs, 3);
	op->file_flags = flags ? tf_sys_arg(regs, 4) : 0;
}

TF_ON_PATH(tf_file_rename, TF_K_FILE_RENAME)
{
	tf_op_two(op, regs, nr == TF_NR_renameat || nr == TF_NR_renameat2, nr == TF_NR_renameat2);
	return true;
}

TF_ON_PATH(tf_file_link, TF_K_FILE_LINK)
{
	tf_op_two(op, regs, nr == TF_NR_linkat, true);
	return true;
}

/* symlink(target, path), symlinkat(target, dfd, path): the target is a text, kept as it is. */
TF_ON_PATH(tf_file_symlink, TF_K_FILE_SYMLINK)
{
	op->flags = TF_OP_NEW_PLAIN;
	op->new_path = tf_sys_arg(regs, 0);
	if (nr == TF_NR_symlinkat) {
		op->dfd = tf_sys_arg(regs, 1);
		op->path = tf_sys_arg(regs, 2);
	} else {
		op->path = tf_sys_arg(regs, 1);
	}
	return true;
}

TF_ON_PATH(tf_file_chmod, TF_K_FILE_CHMOD)
{
	const bool at = nr == TF_NR_fchmodat || nr == TF_NR_fchmodat2;

	if (nr == TF_NR_fchmod)
		tf_op_on_fd(op, regs);
	else if (at)
		tf_op_at(op, regs);
	else
		op->path = tf_sys_arg(regs, 0);
	op->mode = at ? tf_sys_arg(regs, 2) : tf_sys_arg(regs, 1);
	op->file_flags = nr == TF_NR_fchmodat2 ? tf_sys_arg(regs, 3) : 0;
	return true;
}

TF_ON_PATH(tf_file_chown, TF_K_FILE_CHOWN)
{
	const bool at = nr == TF_NR_fchownat;
	const __u32 compat = tf_compat_nr(regs);

	if (nr == TF_NR_fchown)
		tf_op_on_fd(op, regs);
	else if (at)
		tf_op_at(op, regs);
	else
		op->path = tf_sys_arg(regs, 0);
	op->uid = at ? tf_sys_arg(regs, 2) : tf_sys_arg(regs, 1);
	op->gid = at ? tf_sys_arg(regs, 3) : tf_sys_arg(regs, 2);
	if (compat == TF_I386_LCHOWN || compat == TF_I386_FCHOWN || compat == TF_I386_CHOWN) {
		op->uid = (__u16)op->uid == 0xffff ? TF_UNCHANGED : (__u16)op->uid;
		op->gid = (__u16)op->gid == 0xffff ? TF_UNCHANGED : (__u16)op->gid;
	}
	op->file_flags = at ? tf_sys_arg(regs, 4) : 0;
	return true;
}

TF_ON_PATH(tf_file_truncate, TF_K_FILE_TRUNCATE)
{
	if (nr == TF_NR_ftruncate)
		tf_op_on_fd(op, regs);
	else
		op->path = tf_sys_arg(regs, 0);
	if (tf_compat_nr(regs) == TF_I386_TRUNCATE || tf_compat_nr(regs) == TF_I386_FTRUNCATE)
		op->size = (__s32)tf_sys_arg(regs, 1); /* the short forms */
	else
		op->size = tf_sys_wide(regs, 1);
	return true;
}

/* The path, or descriptor, of any of the eight; then the name follows it, and in the older six value, size and flags. */
TF_ON_PATH(tf_file_xattr, TF_K_FILE_XATTR)
{
	const bool at = nr == TF_NR_setxattrat || nr == TF_NR_removexattrat;
	const bool removes = nr == TF_NR_removexattr || nr == TF_NR_lremovexattr || nr == TF_NR_fremovexattr || nr == TF_NR_removexattrat;

	op->flags = TF_OP_NEW_PLAIN;
	if (nr == TF_NR_fsetxattr || nr == TF_NR_fremovexattr)
		tf_op_on_fd(op, regs);
	else if (at)
		tf_op_at(op, regs);
	else
		op->path = tf_sys_arg(regs, 0);
	op->new_path = at ? tf_sys_arg(regs, 3) : tf_sys_arg(regs, 1);
	if (!at && !removes) {
		op->size = tf_sys_arg(regs, 3);
		op->file_flags = tf_sys_arg(regs, 4);
	}
	if (removes)
		op->file_flags = TF_XATTR_REMOVED;
	return true;
}
