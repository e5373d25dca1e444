/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* From a descriptor of a process to the open file behind it, and what the file says of itself. Kernel memory only: nothing here can be
 * changed by the traced program, but another of its threads may put another file behind the number while a call is under way. */
#ifndef TF_FD_BPF_H
#define TF_FD_BPF_H

#include "tf_path.bpf.h"

#define TF_AT_FDCWD (-100)      /* uapi/linux/fcntl.h */
#define TF_S_IFMT 0170000       /* uapi/linux/stat.h */
#define TF_S_IFREG 0100000
#define TF_FMODE_CREATED 0x100000u /* linux/fs.h, since 4.19: the open of this file made it */
#define TF_SB_NOUSER (1ul << 31) /* linux/fs.h: file systems that nobody can mount: pipes, sockets, memfds, anonymous inodes */

static __always_inline struct file *tf_file_of(struct task_struct *task, __s32 fd)
{
	struct files_struct *files = TF_READ(task, files);
	struct fdtable *table = files ? TF_READ(files, fdt) : NULL;

	if (!table || fd < 0 || (__u32)fd >= TF_READ(table, max_fds))
		return NULL;
	return (struct file *)tf_word((__u64)TF_READ(table, fd) + fd * sizeof(void *));
}

/* Whether a file lies in a file system with names. */
static __always_inline bool tf_has_name(struct file *file)
{
	struct inode *node = TF_READ(file, f_inode);
	struct super_block *sb = node ? TF_READ(node, i_sb) : NULL;

	return sb && !(TF_READ(sb, s_flags) & TF_SB_NOUSER);
}

static __always_inline __u32 tf_file_mode(struct file *file)
{
	struct inode *node = TF_READ(file, f_inode);

	return node ? TF_READ(node, i_mode) : 0;
}

#endif
