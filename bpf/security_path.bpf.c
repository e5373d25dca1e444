// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Security: what was refused (open, exec, connect, bind, changes of files) and what touched a sensitive file. One handler for all of these
 * calls, since both questions are asked of most; a table says where each has its path. */
#include "tf_security.bpf.h"
#include "tf_touch.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

TF_KEEP_BTF(tf_security)

enum { TF_DENY = 1, TF_CHANGE = 2, TF_BY_FD = 4, TF_ADDRESS = 8, TF_OPENS = 16, TF_TWO = 32, TF_NAMES = 64, TF_ARG_NONE = 7 };

/* Where a call has its path: a directory's descriptor (or none: the working directory) and a text (or none: a handle); `dir2`, `path2` for the
 * second one (TWO). NAMES: it gives a file a name. By descriptor: it is in `dir`. */
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
	AT(open_by_handle_at) = {TF_A_OPEN, TF_DENY | TF_OPENS, 0, NONE},
	AT(execve) = {TF_A_EXEC, TF_DENY, NONE, 0}, AT(execveat) = {TF_A_EXEC, TF_DENY, 0, 1},
	AT(connect) = {TF_A_CONNECT, TF_DENY | TF_ADDRESS, NONE, 1}, AT(bind) = {TF_A_BIND, TF_DENY | TF_ADDRESS, NONE, 1},
	AT(rename) = {TF_A_RENAME, TF_DENY | TF_CHANGE | TF_TWO | TF_NAMES, NONE, 0, NONE, 1},
	AT(renameat) = {TF_A_RENAME, TF_DENY | TF_CHANGE | TF_TWO | TF_NAMES, 0, 1, 2, 3},
	AT(renameat2) = {TF_A_RENAME, TF_DENY | TF_CHANGE | TF_TWO | TF_NAMES, 0, 1, 2, 3},
	AT(link) = {TF_A_LINK, TF_DENY | TF_CHANGE | TF_TWO | TF_NAMES, NONE, 0, NONE, 1},
	AT(linkat) = {TF_A_LINK, TF_DENY | TF_CHANGE | TF_TWO | TF_NAMES, 0, 1, 2, 3},
	AT(symlink) = {TF_A_SYMLINK, TF_DENY | TF_CHANGE | TF_NAMES, NONE, 1}, AT(symlinkat) = {TF_A_SYMLINK, TF_DENY | TF_CHANGE | TF_NAMES, 1, 2},
	AT(unlink) = {TF_A_UNLINK, TF_DENY | TF_CHANGE, NONE, 0}, AT(unlinkat) = {TF_A_UNLINK, TF_DENY | TF_CHANGE, 0, 1},
	AT(mkdir) = {TF_A_MKDIR, TF_DENY | TF_CHANGE | TF_NAMES, NONE, 0}, AT(mkdirat) = {TF_A_MKDIR, TF_DENY | TF_CHANGE | TF_NAMES, 0, 1},
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

struct tf_call_args {
	__u64 at[4];
};

/* Global, as is what follows: checked once, not in each state that a call leads to. */
TF_GLOBAL int tf_claim_args(struct tf_act *a, const struct tf_call_args *args, __u32 dir, __u32 path)
{
	if (a && args)
		tf_act_claimed(a, tf_current(), dir == TF_ARG_NONE ? (__u64)TF_AT_FDCWD : args->at[dir & 3], args->at[path & 3]);
	return 0;
}

static __always_inline void tf_claim_path(struct tf_act *a, const struct tf_regs *regs, __u32 dir, __u32 path)
{
	struct tf_call_args args = {{tf_sys_arg(regs, 0), tf_sys_arg(regs, 1), tf_sys_arg(regs, 2), tf_sys_arg(regs, 3)}};

	tf_claim_args(a, &args, dir, path);
}

/* struct sockaddr: family; port and address, or a path. As user memory claims it. */
static __always_inline void tf_claim_address(struct tf_act *a, struct task_struct *task, const struct tf_regs *regs)
{
	__u64 from = tf_sys_arg(regs, 1), head = 0; /* family, port, IPv4's address or the first bytes of a path */
	__u32 len = tf_sys_arg(regs, 2), n = len < 8 ? len : 8;

	a->object_id = tf_sys_int(regs, 0);
	a->flags |= TF_F_USER_CLAIMED;
	barrier_var(n); /* else: "R2 unbounded memory access": clang compares one register and hands over another */
	if (len < 2 || n > 8 || bpf_probe_read_user(&head, n, (void *)from)) {
		a->flags |= TF_F_PARTIAL;
		return;
	}
	a->family = (__u16)head;
	if (a->family == AF_INET || a->family == AF_INET6)
		a->dest_port = bpf_ntohs((__u16)(head >> 16));
	if (a->family == AF_INET) {
		a->dest_ip[1] = (head & 0xffffffff00000000ull) | 0xffff0000;
	} else if (a->family == AF_INET6) {
		if (len < 24 || bpf_probe_read_user(a->dest_ip, sizeof(a->dest_ip), (void *)(from + 8)))
			a->flags |= TF_F_PARTIAL;
	} else if (a->family == 1 && len > 2 && (head >> 16 & 0xff)) { /* AF_UNIX, not an abstract name */
		a->max = len - 1;
		tf_act_claimed(a, task, (__u64)TF_AT_FDCWD, from + 2);
	}
}

/* In its place: a copy would be on the stack too. */
static __always_inline void tf_begin_act(struct tf_act *a, __u32 kind, __u32 action, long ret)
{
	__builtin_memset(a, 0, sizeof(*a));
	a->kind = kind;
	a->action = action;
	a->errno_ = tf_sys_errno(ret);
	a->max = TF_PATH_CAP;
}

#define O_ACCMODE 3      /* uapi/asm-generic/fcntl.h */
#define O_CREAT 0100
#define O_TRUNC 01000
#define O_PATH 010000000

/* Flags that an open was given, of 32 bits: the kernel looks at no more. openat2 has them in user memory. */
static __always_inline __u64 tf_asked(const struct tf_regs *regs, __u32 nr, const struct tf_path_call *call)
{
	__u64 flags = call->dir == TF_ARG_NONE ? tf_sys_arg(regs, 1) : tf_sys_arg(regs, 2);

	if (nr == TF_NR_creat)
		flags = 1 | O_CREAT | O_TRUNC;
	if (nr == TF_NR_openat2 && bpf_probe_read_user(&flags, sizeof(flags), (void *)flags))
		flags = 0;
	return (__u32)flags;
}

/* One that was refused. `changes`: a change of a file, not an open, exec, connect or bind. */
static __always_inline void tf_deny(struct tf_act *a, const bool changes, const struct tf_path_call *call, struct task_struct *task,
				    const struct tf_regs *regs, long ret, __u32 nr)
{
	tf_begin_act(a, TF_K_SECURITY_ACCESS_DENIED, call->action, ret);
	if (!changes && call->what & TF_ADDRESS)
		tf_claim_address(a, task, regs);
	else if (changes && call->what & TF_BY_FD)
		tf_act_file(a, tf_file_of(task, tf_sys_arg(regs, 0)));
	else if (changes || call->path != TF_ARG_NONE)
		tf_claim_path(a, regs, call->dir, call->path);
	if (!changes && call->what & TF_OPENS)
		a->value = tf_asked(regs, nr, call);
	tf_send_act(a);
}

/* A file that the kernel found: sensitive by what it is, by its name in its directory, or by a directory above, of the file system or over
 * mount points. No memory to search with: rather a row too many. */
static __always_inline bool tf_sensitive_file(struct tf_act *a, struct file *file)
{
	struct path *path = tf_file_path(file);
	struct tf_touch *t = path ? tf_touch_here() : NULL;
	__u64 dentry = path ? TF_READ_ADDRESS(path, dentry) : 0;

	if (!path || (t && !tf_touch_search(t, 0, dentry) && !tf_touch_search(t, TF_READ_ADDRESS(path, mnt), dentry)))
		return false;
	tf_act_file(a, file);
	return true;
}

/* An open that may change the file: for writing, with O_TRUNC, or one that made it. openat2 has its flags in user memory: what the open file
 * says counts; but of O_TRUNC it says nothing, so that is claimed. */
static __always_inline void tf_sensitive_open(struct tf_act *a, struct task_struct *task, const struct tf_regs *regs, long ret, __u32 nr,
					      const struct tf_path_call *call)
{
	struct file *file = ret >= 0 ? tf_file_of(task, ret) : NULL;
	const __u32 made = file ? TF_READ(file, f_mode) & TF_FMODE_CREATED : 0;
	__u64 flags = tf_asked(regs, nr, call);

	tf_begin_act(a, TF_K_SECURITY_SENSITIVE_FILE, TF_A_OPEN, ret);
	if (file && nr == TF_NR_openat2) {
		a->flags = flags & O_TRUNC ? TF_F_USER_CLAIMED : 0;
		flags = TF_READ(file, f_flags) | (flags & O_TRUNC) | (made ? O_CREAT : 0);
	}
	if ((flags & O_PATH) || !(flags & (O_ACCMODE | O_TRUNC) || made))
		return;
	a->value = flags;
	if (file) {
		a->object_id = ret;
		if (tf_sensitive_file(a, file))
			tf_send_act(a);
		return;
	}
	if (call->path == TF_ARG_NONE)
		return; /* no text to judge by */
	a->sensitive = TF_ONLY_IF;
	tf_claim_path(a, regs, call->dir, call->path);
	tf_send_act(a);
}

/* A change by descriptor: of the file behind it now, sensitive as an open is, or by any name that the kernel noted of it. Where the kernel noted
 * that the call changed another one, since a thread has put a file there meanwhile, that one counts, without a path. */
static __always_inline void tf_sensitive_change_of(struct tf_act *a, struct task_struct *task, const struct tf_touch *touch, long ret)
{
	struct file *file = tf_file_of(task, a->object_id);
	const bool noted = touch && !ret, sensitive = noted && touch->bits & TF_S_SENSITIVE;
	const bool other = noted && !tf_touched(touch, file ? TF_READ_ADDRESS(file, f_inode) : 0);

	if (sensitive && other) {
		a->inode = touch->inode;
		a->device = touch->device;
	} else if (sensitive) {
		tf_act_file(a, file);
	} else if (other || !tf_sensitive_file(a, file)) {
		return;
	}
	tf_send_act(a);
}

/* A change. By name: sensitive by what the kernel noted that it changed, whatever the name; or by the text of a path (the first of two that
 * is), for what failed, was not there before, or is on a kernel or file system that notes nothing. */
static __always_inline void tf_sensitive_change(struct tf_act *a, const struct tf_path_call *call, struct task_struct *task,
						const struct tf_regs *regs, long ret, __u32 nr)
{
	struct tf_touch *touch = tf_touch_taken(nr, !ret && call->what & TF_NAMES);

	tf_begin_act(a, TF_K_SECURITY_SENSITIVE_FILE, call->action, ret);
	if (call->what & TF_BY_FD) {
		a->object_id = tf_sys_int(regs, 0);
		tf_sensitive_change_of(a, task, touch, ret);
		if (touch)
			touch->count = 0;
		return;
	}
	if (touch) {
		if (!ret && touch->bits & TF_S_SENSITIVE) {
			a->inode = touch->inode;
			a->device = touch->device;
		}
		touch->count = 0;
	}
	a->sensitive = touch && !ret ? TF_ONLY_IF_SEEN : TF_ONLY_IF;
	for (int i = 0; i < 3; i++) { /* by its text, by that of its second path, whatever the text: the kernel knows better */
		if (i == 1 && !(call->what & TF_TWO))
			continue;
		if (i == 2 && !a->inode)
			return;
		if (i == 2)
			a->sensitive = TF_ANY;
		tf_claim_path(a, regs, i == 1 ? call->dir2 : call->dir, i == 1 ? call->path2 : call->path);
		if (tf_send_act(a))
			return;
	}
}

static __always_inline bool tf_refused(long ret)
{
	return tf_enabled(TF_K_SECURITY_ACCESS_DENIED) && (ret == -EPERM || ret == -EACCES);
}

/* open, exec, connect, bind. Two programs: what one has on its stack the functions that it calls have not. */
TF_ON_EXIT(tf_security_path, TF_SYS_SECURITY)
{
	const struct tf_path_call *call = &tf_path_calls[(nr + 1) & (TF_SYS_MAX - 1)];
	struct task_struct *task = bpf_get_current_task_btf();
	struct tf_act a;

	if (tf_enabled(TF_K_SECURITY_SENSITIVE_FILE) && call->what & TF_OPENS)
		tf_sensitive_open(&a, task, regs, ret, nr, call);
	if (tf_refused(ret))
		tf_deny(&a, false, call, task, regs, ret, nr);
}

/* Changes of files. */
TF_ON_EXIT(tf_security_change, TF_SYS_SECURITY)
{
	const struct tf_path_call *call = &tf_path_calls[(nr + 1) & (TF_SYS_MAX - 1)];
	struct task_struct *task = bpf_get_current_task_btf();
	struct tf_act a;

	if (tf_enabled(TF_K_SECURITY_SENSITIVE_FILE))
		tf_sensitive_change(&a, call, task, regs, ret, nr);
	if (tf_refused(ret))
		tf_deny(&a, true, call, task, regs, ret, nr);
}

/* Where the kernel sets the change time of a file or a directory: at once, as one of several at the same time, not again in the same tick.
 * A call that is not in the table as a change is over in some 20 instructions. */
#define TF_TOUCH_ON(name, hook) \
	SEC("tp_btf/" hook) int name(__u64 *ctx) \
	{ \
		__u32 nr = tf_touch_nr(); \
		if (nr + 1 < TF_SYS_MAX && tf_path_calls[nr + 1].what & TF_CHANGE) \
			tf_touch_inode(tf_hook_arg(ctx, 0), nr); \
		return 0; \
	}
TF_TOUCH_ON(tf_security_ctime, "inode_set_ctime_to_ts")
TF_TOUCH_ON(tf_security_ctime_swap, "ctime_ns_xchg")
TF_TOUCH_ON(tf_security_ctime_skip, "ctime_xchg_skip")
