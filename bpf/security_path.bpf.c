// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Security: what was refused (open, exec, connect, bind, changes of files) and what touched a sensitive file. One handler for all of these
 * calls, since both questions are asked of most; a table says where each has its path. */
#include "tf_security.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

TF_KEEP_BTF(tf_security)

enum { TF_DENY = 1, TF_CHANGE = 2, TF_BY_FD = 4, TF_ADDRESS = 8, TF_OPENS = 16, TF_TWO = 32, TF_ARG_NONE = 7 };

/* Where a call has its path: a directory's descriptor (or none: the working directory) and a text; `dir2`, `path2` for the second one. By
 * descriptor: it is in `dir`. */
struct tf_path_call {
	__u8 action;
	__u8 what;               /* bits above */
	__u8 dir, path;          /* places of arguments */
	__u8 dir2, path2;
};

/* At nr + 1: what a machine does not have is at 0. */
#define AT(call) [TF_NR_##call + 1]
#define NONE TF_ARG_NONE
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Winitializer-overrides"
static const struct tf_path_call tf_path_calls[TF_SYS_MAX] = {
	AT(open) = {TF_A_OPEN, TF_DENY | TF_OPENS, NONE, 0}, AT(creat) = {TF_A_OPEN, TF_DENY | TF_OPENS, NONE, 0},
	AT(openat) = {TF_A_OPEN, TF_DENY | TF_OPENS, 0, 1}, AT(openat2) = {TF_A_OPEN, TF_DENY | TF_OPENS, 0, 1},
	AT(execve) = {TF_A_EXEC, TF_DENY, NONE, 0}, AT(execveat) = {TF_A_EXEC, TF_DENY, 0, 1},
	AT(connect) = {TF_A_CONNECT, TF_DENY | TF_ADDRESS, NONE, 1}, AT(bind) = {TF_A_BIND, TF_DENY | TF_ADDRESS, NONE, 1},
	AT(rename) = {TF_A_RENAME, TF_DENY | TF_CHANGE | TF_TWO, NONE, 0, NONE, 1},
	AT(renameat) = {TF_A_RENAME, TF_DENY | TF_CHANGE | TF_TWO, 0, 1, 2, 3},
	AT(renameat2) = {TF_A_RENAME, TF_DENY | TF_CHANGE | TF_TWO, 0, 1, 2, 3},
	AT(link) = {TF_A_LINK, TF_DENY | TF_CHANGE | TF_TWO, NONE, 0, NONE, 1},
	AT(linkat) = {TF_A_LINK, TF_DENY | TF_CHANGE | TF_TWO, 0, 1, 2, 3},
	AT(symlink) = {TF_A_SYMLINK, TF_DENY | TF_CHANGE, NONE, 1}, AT(symlinkat) = {TF_A_SYMLINK, TF_DENY | TF_CHANGE, 1, 2},
	AT(unlink) = {TF_A_UNLINK, TF_DENY | TF_CHANGE, NONE, 0}, AT(unlinkat) = {TF_A_UNLINK, TF_DENY | TF_CHANGE, 0, 1},
	AT(mkdir) = {TF_A_MKDIR, TF_DENY | TF_CHANGE, NONE, 0}, AT(mkdirat) = {TF_A_MKDIR, TF_DENY | TF_CHANGE, 0, 1},
	AT(rmdir) = {TF_A_RMDIR, TF_DENY | TF_CHANGE, NONE, 0},
	AT(chmod) = {TF_A_CHMOD, TF_DENY | TF_CHANGE, NONE, 0}, AT(fchmod) = {TF_A_CHMOD, TF_DENY | TF_CHANGE | TF_BY_FD, 0, NONE},
	AT(fchmodat) = {TF_A_CHMOD, TF_DENY | TF_CHANGE, 0, 1}, AT(fchmodat2) = {TF_A_CHMOD, TF_DENY | TF_CHANGE, 0, 1},
	AT(chown) = {TF_A_CHOWN, TF_DENY | TF_CHANGE, NONE, 0}, AT(lchown) = {TF_A_CHOWN, TF_DENY | TF_CHANGE, NONE, 0},
	AT(fchown) = {TF_A_CHOWN, TF_DENY | TF_CHANGE | TF_BY_FD, 0, NONE}, AT(fchownat) = {TF_A_CHOWN, TF_DENY | TF_CHANGE, 0, 1},
	AT(truncate) = {TF_A_TRUNCATE, TF_DENY | TF_CHANGE, NONE, 0},
	AT(ftruncate) = {TF_A_TRUNCATE, TF_DENY | TF_CHANGE | TF_BY_FD, 0, NONE},
	AT(setxattr) = {TF_A_XATTR, TF_DENY | TF_CHANGE, NONE, 0}, AT(lsetxattr) = {TF_A_XATTR, TF_DENY | TF_CHANGE, NONE, 0},
	AT(fsetxattr) = {TF_A_XATTR, TF_DENY | TF_CHANGE | TF_BY_FD, 0, NONE},
	AT(removexattr) = {TF_A_XATTR, TF_DENY | TF_CHANGE, NONE, 0}, AT(lremovexattr) = {TF_A_XATTR, TF_DENY | TF_CHANGE, NONE, 0},
	AT(fremovexattr) = {TF_A_XATTR, TF_DENY | TF_CHANGE | TF_BY_FD, 0, NONE},
	AT(setxattrat) = {TF_A_XATTR, TF_DENY | TF_CHANGE, 0, 1}, AT(removexattrat) = {TF_A_XATTR, TF_DENY | TF_CHANGE, 0, 1},
	[0] = {},
};
#pragma clang diagnostic pop

/* What the configuration says of an open file: sensitive, by itself or by a directory above; or in a directory that has sensitive files. */
static __always_inline __u32 tf_bits_of_file(struct file *file)
{
	struct path *path = tf_file_path(file);
	struct tf_slot *slot = path ? tf_take_slot(bpf_get_smp_processor_id()) : NULL;
	__u32 bits;

	if (!slot)
		return path ? TF_S_BESIDE : 0; /* the sender finds no slot either, and counts it */
	bits = tf_sets_of_path(slot, path, TF_S_SENSITIVE);
	tf_release(slot);
	return bits ?: tf_bits_of(BPF_CORE_READ(path, dentry, d_parent)) & TF_S_BESIDE;
}

static __always_inline __u64 tf_arg_at(const struct pt_regs *regs, __u32 place)
{
	switch (place) {
	case 0: return tf_sys_arg(regs, 0);
	case 1: return tf_sys_arg(regs, 1);
	case 2: return tf_sys_arg(regs, 2);
	default: return tf_sys_arg(regs, 3);
	}
}

static __always_inline void tf_claim_path(struct tf_act *a, struct task_struct *task, const struct pt_regs *regs, __u32 dir, __u32 path)
{
	tf_act_claimed(a, task, dir == TF_ARG_NONE ? (__u64)TF_AT_FDCWD : tf_arg_at(regs, dir), tf_arg_at(regs, path));
}

/* struct sockaddr: family; port and address, or a path. As user memory claims it. */
static __always_inline void tf_claim_address(struct tf_act *a, struct task_struct *task, const struct pt_regs *regs)
{
	__u64 from = tf_sys_arg(regs, 1), at[4] = {};
	__u32 len = tf_sys_arg(regs, 2), n = len < 28 ? len : 28;
	__u8 *bytes = (__u8 *)at;

	a->object_id = tf_sys_arg(regs, 0);
	a->flags |= TF_F_USER_CLAIMED;
	barrier_var(n); /* else: "R2 unbounded memory access": clang compares one register and hands over another */
	if (len < 2 || n > 28 || bpf_probe_read_user(at, n, (void *)from)) {
		a->flags |= TF_F_PARTIAL;
		return;
	}
	a->family = *(__u16 *)bytes;
	if (a->family == AF_INET || a->family == AF_INET6)
		a->dest_port = bpf_ntohs(*(__u16 *)(bytes + 2));
	if (a->family == AF_INET) {
		a->dest_ip[1] = at[0] & 0xffffffff00000000ull;
		a->dest_ip[1] |= 0xffff0000;
	} else if (a->family == AF_INET6) {
		a->dest_ip[0] = at[1];
		a->dest_ip[1] = at[2];
	} else if (a->family == 1 && len > 2 && bytes[2]) { /* AF_UNIX, not an abstract name */
		a->max = len - 1;
		tf_act_claimed(a, task, (__u64)TF_AT_FDCWD, from + 2);
	}
}

/* One that was refused. */
static __always_inline void tf_deny(const struct tf_path_call *call, struct task_struct *task, const struct pt_regs *regs, long ret)
{
	struct tf_act a = tf_new_act(TF_K_SECURITY_ACCESS_DENIED, call->action, ret);

	if (call->what & TF_ADDRESS)
		tf_claim_address(&a, task, regs);
	else if (call->what & TF_BY_FD)
		tf_act_file(&a, tf_file_of(task, tf_sys_arg(regs, 0)));
	else
		tf_claim_path(&a, task, regs, call->dir, call->path);
	if (call->what & TF_OPENS)
		a.value = call->dir == TF_ARG_NONE ? tf_sys_arg(regs, 1) : tf_sys_arg(regs, 2);
	tf_send_act(&a);
}

/* A file that the kernel found: sensitive by itself or by a directory above; or it took the place of one (the directory says so), then by
 * its path. */
static __always_inline void tf_sensitive_file(struct tf_act *a, struct file *file)
{
	__u32 bits = tf_bits_of_file(file);

	if (!bits)
		return;
	a->sensitive = !(bits & TF_S_SENSITIVE);
	tf_act_file(a, file);
	tf_send_act(a);
}

#define O_ACCMODE 3      /* uapi/asm-generic/fcntl.h */
#define O_CREAT 0100
#define O_TRUNC 01000
#define O_PATH 010000000

/* An open that may change the file: for writing, or with O_TRUNC. openat2 has its flags in user memory: what the open file says counts. */
static __always_inline void tf_sensitive_open(struct task_struct *task, const struct pt_regs *regs, long ret, __u32 nr,
					      const struct tf_path_call *call)
{
	struct tf_act a = tf_new_act(TF_K_SECURITY_SENSITIVE_FILE, TF_A_OPEN, ret);
	struct file *file = ret >= 0 ? tf_file_of(task, ret) : NULL;
	__u64 flags = call->dir == TF_ARG_NONE ? tf_sys_arg(regs, 1) : tf_sys_arg(regs, 2);

	if (nr == TF_NR_creat)
		flags = 1 | O_CREAT | O_TRUNC;
	if (nr == TF_NR_openat2) {
		flags = file ? TF_READ(file, f_flags) : 0;
		if (!file)
			bpf_probe_read_user(&flags, sizeof(flags), (void *)tf_sys_arg(regs, 2));
	}
	if ((flags & O_PATH) || !((flags & O_ACCMODE) || (flags & O_TRUNC)))
		return;
	a.value = flags;
	if (file) {
		a.object_id = ret;
		tf_sensitive_file(&a, file);
		return;
	}
	a.sensitive = 1;
	tf_claim_path(&a, task, regs, call->dir, call->path);
	tf_send_act(&a);
}

/* A change by name: it may be gone by now, so the path is what counts; the first of two that is sensitive. */
static __always_inline void tf_sensitive_change(const struct tf_path_call *call, struct task_struct *task, const struct pt_regs *regs, long ret)
{
	struct tf_act a = tf_new_act(TF_K_SECURITY_SENSITIVE_FILE, call->action, ret);

	if (call->what & TF_BY_FD) {
		a.object_id = tf_sys_arg(regs, 0);
		tf_sensitive_file(&a, tf_file_of(task, a.object_id));
		return;
	}
	a.sensitive = 1;
	tf_claim_path(&a, task, regs, call->dir, call->path);
	if (tf_send_act(&a) || !(call->what & TF_TWO))
		return;
	tf_claim_path(&a, task, regs, call->dir2, call->path2);
	tf_send_act(&a);
}

TF_ON_EXIT(tf_security_path, TF_SYS_SECURITY)
{
	const struct tf_path_call *call = &tf_path_calls[(nr + 1) & (TF_SYS_MAX - 1)];
	struct task_struct *task = bpf_get_current_task_btf();
	__s32 error = tf_sys_errno(ret);

	if (tf_enabled(TF_K_SECURITY_SENSITIVE_FILE)) {
		if (call->what & TF_OPENS)
			tf_sensitive_open(task, regs, ret, nr, call);
		else if (call->what & TF_CHANGE)
			tf_sensitive_change(call, task, regs, ret);
	}
	if (tf_enabled(TF_K_SECURITY_ACCESS_DENIED) && (error == EPERM || error == EACCES))
		tf_deny(call, task, regs, ret);
}
