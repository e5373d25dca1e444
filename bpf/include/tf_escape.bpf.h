/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What a container does to get out of itself: judged by kernel objects where the call succeeded (open file, new mount, namespace), by what
 * user memory claims where it failed, for then the kernel has nothing to look at (flag user_claimed). */
#ifndef TF_ESCAPE_BPF_H
#define TF_ESCAPE_BPF_H

#include "tf_ns.bpf.h"
#include "tf_pidfd.bpf.h"
#include "tf_sys.bpf.h"

/* uapi/linux/magic.h, pseudo_fs.h */
#define TF_PROC_MAGIC   0x9fa0
#define TF_CGROUP_MAGIC 0x27e0eb
#define TF_NSFS_MAGIC   0x6e736673
/* uapi/linux/mount.h */
#define MS_REMOUNT 32
#define MS_BIND    4096
#define MS_MOVE    8192
#define MS_REC     16384
#define MS_SPREAD  (0xful << 17) /* unbindable, private, slave, shared */
#define MS_MGC_VAL 0xc0ed0000u
#define MS_MGC_MSK 0xffff0000u
/* linux/fs.h, linux/stat.h, asm-generic/fcntl.h */
#define FMODE_WRITE 0x2
#define FMODE_PATH  0x4000
#define S_IFBLK 0060000
#define S_IFCHR 0020000
#define O_ACCMODE 3
#define ENOTDIR 20

struct tf_escape {
	struct file *file;       /* whose path is reported, */
	const char *text;        /* or this one, */
	__u64 inode;
	__u32 claimed;           /* bool: which lies in user memory */
	__u32 action;
	__u32 ns_flags;
	__u32 target_pid;
	__s32 errno_;
	__u32 _pad0;
};

/* Global, as others here: checked once, not in every state that a caller gets to it in. */
TF_GLOBAL int tf_send_escape(struct tf_escape *x)
{
	struct task_struct *task = tf_current();
	struct tf_container *e;
	struct tf_slot *slot;
	struct tf_gate g;
	__u32 at;
	long n;

	if (!x)
		return 0;
	slot = tf_open_row(&g, task, TF_K_CONTAINER_ESCAPE);
	if (!slot)
		return 0;
	e = (struct tf_container *)slot->data;
	e->object_id = e->h.cgroup_id;
	e->inode = x->inode;
	e->ns_flags = x->ns_flags;
	e->errno_ = x->errno_;
	e->target_pid = x->target_pid;
	e->action = x->action;
	e->h.flags |= tf_read_cgroup_path(slot, task, &e->cgroup_path);
	at = e->cgroup_path.len;
	if (x->file) {
		e->h.flags |= tf_read_path(slot, tf_file_path(x->file), at, &e->path);
	} else if (x->text && at <= TF_PATH_CAP) {
		n = x->claimed ? tf_user_str(slot->data + sizeof(*e) + at, TF_PATH_CAP, x->text) :
				 bpf_probe_read_kernel_str(slot->data + sizeof(*e) + at, TF_PATH_CAP, x->text);
		e->h.flags |= (x->claimed ? TF_F_USER_CLAIMED : 0) | (n > 0 ? 0 : TF_F_PARTIAL) | (n == TF_PATH_CAP ? TF_F_TRUNCATED : 0);
		e->path.offset = at;
		e->path.len = n > 0 && n <= TF_PATH_CAP ? n - 1 : 0;
		e->path.full_len = e->path.len + (n == TF_PATH_CAP);
	}
	tf_output(&g, TF_K_CONTAINER_ESCAPE, slot, sizeof(*e) + at + e->path.len);
	return 0;
}

/* --- setns --------------------------------------------------------------------------------------------------------------------------- */

static __always_inline struct task_struct *tf_pid_task(struct pid *pid)
{
	struct hlist_node *first = TF_READ(pid, tasks[1].first);

	return first ? (void *)first - bpf_core_field_offset(struct task_struct, pid_links[1]) : NULL;
}

/* Namespaces of the host, of those that `kinds` allows (0 = any), that this file leads to. */
TF_GLOBAL __u32 tf_host_spaces(__u64 at, __u32 kinds, __u64 *inode)
{
	struct file *file = (struct file *)at;
	struct task_struct *target;
	struct pid *pid;
	__u32 found = 0;

	if (!inode)
		return 0;
	if (tf_magic(file) == TF_NSFS_MAGIC) {
		*inode = BPF_CORE_READ(file, f_inode, i_ino);
		return *inode == tf_consts.host_mnt_ns ? CLONE_NEWNS : *inode == tf_consts.host_pid_ns ? CLONE_NEWPID : 0;
	}
	pid = tf_pidfd(file);
	target = pid ? tf_pid_task(pid) : NULL;
	if (!target)
		return 0;
	if (BPF_CORE_READ(target, nsproxy, mnt_ns, ns.inum) == tf_consts.host_mnt_ns)
		found |= CLONE_NEWNS;
	if (tf_pid_space(target) == tf_consts.host_pid_ns)
		found |= CLONE_NEWPID;
	return found & kinds;
}

/* A process that is not in the host's mount (pid) namespace joins it, or tries. */
static __always_inline void tf_judge_setns(struct task_struct *task, struct file *file, const struct tf_spaces *before, __u32 kinds,
					   long ret)
{
	struct tf_escape x = { .action = TF_A_HOST_NAMESPACE, .errno_ = tf_sys_errno(ret) };

	if (!tf_consts.host_mnt_ns || !tf_consts.host_pid_ns)
		return;
	if (file)
		x.ns_flags = tf_host_spaces((__u64)file, kinds, &x.inode);
	if (!ret && tf_mnt_space(task) == tf_consts.host_mnt_ns)
		x.ns_flags |= CLONE_NEWNS; /* whatever the descriptor is by now */
	if (before->mnt == tf_consts.host_mnt_ns)
		x.ns_flags &= ~CLONE_NEWNS;
	if (!TF_GO(task, thread_pid, level))
		x.ns_flags &= ~CLONE_NEWPID;
	if (!x.ns_flags)
		return;
	x.target_pid = tf_pidfd_pid((__u64)file);
	tf_send_escape(&x);
}

/* --- open ---------------------------------------------------------------------------------------------------------------------------- */

/* Disks, /dev/mem, /dev/kmem, /dev/port, /dev/kmsg. */
static __always_inline bool tf_is_host_device(struct inode *inode)
{
	__u32 type = TF_READ(inode, i_mode) & S_IFMT, device = TF_READ(inode, i_rdev), minor = device & 0xfffff;

	return type == S_IFBLK || (type == S_IFCHR && device >> 20 == 1 && (minor == 1 || minor == 2 || minor == 4 || minor == 11));
}

static __always_inline __u32 tf_escape_file(struct file *file)
{
	unsigned long magic = tf_magic(file);
	__u32 mode = TF_READ(file, f_mode);
	char name[16];

	if (mode & FMODE_PATH)
		return TF_A_NONE;
	if (tf_is_host_device(TF_READ(file, f_inode)))
		return TF_A_HOST_DEVICE;
	if (!(mode & FMODE_WRITE) || (magic != TF_PROC_MAGIC && magic != TF_CGROUP_MAGIC))
		return TF_A_NONE;
	tf_file_name(file, name);
	if (magic == TF_PROC_MAGIC)
		return TF_EQUALS(name, "core_pattern") ? TF_A_CORE_PATTERN : TF_A_NONE;
	return TF_EQUALS(name, "release_agent") ? TF_A_RELEASE_AGENT : TF_A_NONE;
}

static __always_inline void tf_judge_file(struct task_struct *task, struct file *file)
{
	struct tf_escape x = { .file = file };

	if (!file)
		return;
	x.action = tf_escape_file(file);
	if (!x.action)
		return;
	x.inode = BPF_CORE_READ(file, f_inode, i_ino);
	tf_send_escape(&x);
}

static __always_inline bool tf_claims_device(const char *name)
{
	return TF_EQUALS(name, "mem") || TF_EQUALS(name, "kmem") || TF_EQUALS(name, "port") || TF_EQUALS(name, "kmsg") ||
	       TF_BEGINS(name, "sd") || TF_BEGINS(name, "hd") || TF_BEGINS(name, "vd") || TF_BEGINS(name, "xvd") ||
	       TF_BEGINS(name, "nvme") || TF_BEGINS(name, "dm-") || TF_BEGINS(name, "loop") || TF_BEGINS(name, "md") ||
	       TF_BEGINS(name, "mmcblk") || TF_BEGINS(name, "mapper/") || TF_BEGINS(name, "nbd");
}

/* What a path in user memory claims to be opened. Global: checked once, whatever state it is called in. */
__noinline int tf_escape_claim(__u64 user, __u32 writes)
{
	const char *path = (const char *)user;
	char text[128];
	char tail[16] = {};
	long n = bpf_probe_read_user_str(text, sizeof(text), path);

	if (n < 9)
		return TF_A_NONE;
	if (TF_BEGINS(text, "/dev/") && tf_claims_device(text + 5))
		return TF_A_HOST_DEVICE;
	if (!writes)
		return TF_A_NONE;
	if (n == sizeof("/proc/sys/kernel/core_pattern") && TF_BEGINS(text, "/proc/sys/kernel/core_pattern"))
		return TF_A_CORE_PATTERN;
	if (n < (long)sizeof("/release_agent") || bpf_probe_read_user(tail, sizeof("/release_agent") - 1, path + n - sizeof("/release_agent")))
		return TF_A_NONE;
	return TF_BEGINS(tail, "/release_agent") ? TF_A_RELEASE_AGENT : TF_A_NONE;
}

/* An open that failed, other than for want of the file. */
static __always_inline void tf_judge_claim(struct task_struct *task, const struct tf_regs *regs, __u32 nr, long ret)
{
	struct tf_escape x = { .claimed = true, .errno_ = tf_sys_errno(ret) };
	const bool at = nr == TF_NR_openat || nr == TF_NR_openat2;
	__u64 flags;

	if (x.errno_ == ENOENT || x.errno_ == ENOTDIR || nr == TF_NR_open_by_handle_at)
		return;
	x.text = (const char *)(at ? tf_sys_arg(regs, 1) : tf_sys_arg(regs, 0));
	flags = at ? tf_sys_arg(regs, 2) : nr == TF_NR_open ? tf_sys_arg(regs, 1) : O_ACCMODE;
	if (nr == TF_NR_openat2 && bpf_probe_read_user(&flags, sizeof(flags), (void *)flags))
		flags = 0;
	x.action = tf_escape_claim((__u64)x.text, flags & O_ACCMODE);
	if (x.action)
		tf_send_escape(&x);
}

/* --- mount --------------------------------------------------------------------------------------------------------------------------- */

/* The mount that came last to the task's mount namespace: the call's own, unless another thread mounts at the same moment. */
static __always_inline struct mount *tf_newest_mount(struct task_struct *task)
{
	struct mnt_namespace *space = TF_GO(task, nsproxy, mnt_ns);
	struct mnt_namespace___v614 *v614 = (void *)space;
	struct mnt_namespace___v608 *v608 = (void *)space;
	struct mnt_namespace___v501 *v501 = (void *)space;
	struct rb_node *node, *right;

	if (!bpf_core_field_exists(struct mount___v608, mnt_node)) {
		struct list_head *last = TF_READ(v501, list.prev);

		return last ? (void *)last - bpf_core_field_offset(struct mount, mnt_list) : NULL;
	}
	if (bpf_core_field_exists(v614->mnt_last_node)) {
		node = TF_READ(v614, mnt_last_node);
	} else {
		node = TF_READ(v608, mounts.rb_node);
		for (int i = 0; node && i < 40; i++) {
			right = TF_READ(node, rb_right);
			if (!right)
				break;
			node = right;
		}
	}
	return node ? (void *)node - bpf_core_field_offset(struct mount___v608, mnt_node) : NULL;
}

/* An address that is no pointer to the verifier: global functions take no others. */
static __always_inline __u64 tf_address_of(const struct mount *mount)
{
	__u64 address = 0;

	bpf_probe_read_kernel(&address, sizeof(address), &mount);
	return address;
}

/* Whether this mount, or with a tree of them (MS_REC) one above it, shows the directory that is the host's root. Global, as
 * tf_escape_claim is. */
__noinline bool tf_shows_host_root(__u64 address, bool tree)
{
	struct task_struct *task = tf_current(), *first = tf_first_process(task);
	struct mount *mount = (struct mount *)address;
	struct dentry *host = first ? BPF_CORE_READ(first, fs, root.dentry) : NULL;
	struct vfsmount *own = BPF_CORE_READ(task, fs, root.mnt);

	for (int i = 0; host && mount && i < 8; i++) {
		if ((void *)own == (void *)mount + bpf_core_field_offset(struct mount, mnt))
			return false; /* up to the root the process has: not new */
		if (TF_READ(mount, mnt.mnt_root) == host)
			return true;
		if (!tree)
			return false;
		mount = TF_READ(mount, mnt_parent);
	}
	return false;
}

static __always_inline void tf_send_mount(struct task_struct *task, struct mount *mount)
{
	struct tf_escape x = { .action = TF_A_HOST_MOUNT };

	x.text = TF_READ(mount, mnt_devname);
	x.inode = BPF_CORE_READ(mount, mnt.mnt_root, d_inode, i_ino);
	tf_send_escape(&x);
}

/* File systems that live on a disk. */
static __always_inline bool tf_claims_disk(const char *type)
{
	return TF_BEGINS(type, "ext") || TF_BEGINS(type, "xfs") || TF_BEGINS(type, "btrfs") || TF_BEGINS(type, "vfat");
}

/* A mount that failed: of a device by name, of a disk's file system from a file, or (bind) of the first process's root. */
static __always_inline void tf_claim_mount(struct task_struct *task, const struct tf_regs *regs, bool bind, long ret)
{
	struct tf_escape x = { .claimed = true, .action = TF_A_HOST_MOUNT, .errno_ = tf_sys_errno(ret) };
	char text[16] = {}, type[8] = {};

	x.text = (const char *)tf_sys_arg(regs, 0);
	if (bpf_probe_read_user_str(text, sizeof(text), x.text) < 2 || text[0] != '/' || text[1] == '/')
		return;
	bpf_probe_read_user_str(type, sizeof(type), (const char *)tf_sys_arg(regs, 2));
	if (bind ? !TF_BEGINS(text, "/proc/1/root") : !tf_claims_disk(type) && !(TF_BEGINS(text, "/dev/") && tf_claims_device(text + 5)))
		return;
	tf_send_escape(&x);
}

static __always_inline void tf_judge_mount(struct task_struct *task, const struct tf_regs *regs, long ret)
{
	__u64 flags = tf_sys_arg(regs, 3);
	struct mount *mount;
	bool bind;

	if ((flags & MS_MGC_MSK) == MS_MGC_VAL)
		flags &= ~(__u64)MS_MGC_MSK;
	bind = flags & MS_BIND;
	if (flags & MS_REMOUNT || (!bind && flags & (MS_MOVE | MS_SPREAD)))
		return;
	if (ret) {
		tf_claim_mount(task, regs, bind, ret);
		return;
	}
	mount = tf_newest_mount(task);
	if (mount && (bind ? tf_shows_host_root(tf_address_of(mount), flags & MS_REC) : BPF_CORE_READ(mount, mnt.mnt_sb, s_bdev) != NULL))
		tf_send_mount(task, mount);
}

/* The file of fsmount, open_tree: of a mount that is not in any namespace yet. */
static __always_inline void tf_judge_tree(struct task_struct *task, struct file *file, bool copy)
{
	struct path *path = tf_file_path(file);
	struct vfsmount *vfsmount = path ? TF_READ(path, mnt) : NULL;
	struct mount *mount = vfsmount ? (void *)vfsmount - bpf_core_field_offset(struct mount, mnt) : NULL;

	if (mount && (copy ? tf_shows_host_root(tf_address_of(mount), false) : BPF_CORE_READ(mount, mnt.mnt_sb, s_bdev) != NULL))
		tf_send_mount(task, mount);
}

#endif
