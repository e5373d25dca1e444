/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Which argument of a system call is its first path, for calls that have one. */
#ifndef TF_SYSARGS_BPF_H
#define TF_SYSARGS_BPF_H

#include "tf_kernel.h"

/* X(call, place of the path among its arguments). Paths that are addresses inside structures are not among them. */
#define TF_PATH_CALLS(X) \
	X(open, 0) X(creat, 0) X(openat, 1) X(openat2, 1) X(stat, 0) X(lstat, 0) X(newfstatat, 1) X(statx, 1) X(access, 0) X(faccessat, 1) \
	X(faccessat2, 1) X(execve, 0) X(execveat, 1) X(truncate, 0) X(chdir, 0) X(chroot, 0) X(rename, 0) X(renameat, 1) X(renameat2, 1) \
	X(mkdir, 0) X(mkdirat, 1) X(rmdir, 0) X(link, 0) X(linkat, 1) X(unlink, 0) X(unlinkat, 1) X(symlink, 0) X(symlinkat, 0) \
	X(readlink, 0) X(readlinkat, 1) X(chmod, 0) X(fchmodat, 1) X(fchmodat2, 1) X(chown, 0) X(lchown, 0) X(fchownat, 1) X(mknod, 0) \
	X(mknodat, 1) X(statfs, 0) X(utime, 0) X(utimes, 0) X(futimesat, 1) X(utimensat, 1) X(uselib, 0) X(acct, 0) X(swapon, 0) \
	X(swapoff, 0) X(mount, 1) X(umount2, 0) X(pivot_root, 0) X(open_tree, 1) X(open_tree_attr, 1) X(move_mount, 1) X(mount_setattr, 1) \
	X(fspick, 1) X(setxattr, 0) X(lsetxattr, 0) X(getxattr, 0) X(lgetxattr, 0) X(listxattr, 0) X(llistxattr, 0) X(removexattr, 0) \
	X(lremovexattr, 0) X(setxattrat, 1) X(getxattrat, 1) X(listxattrat, 1) X(removexattrat, 1) X(file_getattr, 1) X(file_setattr, 1) \
	X(inotify_add_watch, 1) X(fanotify_mark, 4) X(name_to_handle_at, 1) X(quotactl, 1) X(mq_open, 0) X(mq_unlink, 0)

/* By number: place + 1; 0 = the call has none. Calls that a machine has not (-1) share the last number, which no call has. */
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Winitializer-overrides"
#define TF_PATH_CELL(name, place) [TF_NR_##name & (TF_SYS_MAX - 1)] = place + 1,
static const __u8 tf_path_places[TF_SYS_MAX] = {TF_PATH_CALLS(TF_PATH_CELL)};
#undef TF_PATH_CELL
#pragma clang diagnostic pop

#endif
