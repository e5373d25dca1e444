/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Which process a pidfd stands for; and what that needs: the kind of a file's file system, its name, texts compared. */
#ifndef TF_PIDFD_BPF_H
#define TF_PIDFD_BPF_H

#include "tf_fd.bpf.h"

#define TF_PIDFS_MAGIC 0x50494446 /* uapi/linux/magic.h */
#define TF_ANON_MAGIC  0x09041934

/* Differing bits, or-ed: with branches clang makes a call of memcmp of it, which BPF has not. */
static __always_inline bool tf_same(const char *a, const char *b, const __u32 n)
{
	__u8 differ = 0;

#pragma clang loop unroll(full)
	for (__u32 i = 0; i < n; i++)
		differ |= a[i] ^ b[i];
	return !differ;
}
#define TF_BEGINS(text, prefix) tf_same((text), (prefix), sizeof(prefix) - 1)
#define TF_EQUALS(text, word) tf_same((text), (word), sizeof(word)) /* with its NUL */

static __always_inline unsigned long tf_magic(struct file *file)
{
	return BPF_CORE_READ(file, f_inode, i_sb, s_magic);
}

/* The name of the file in its directory, up to 15 bytes of it, padded with zeros. */
static __always_inline void tf_file_name(struct file *file, char name[16])
{
	struct path *path = tf_file_path(file);
	struct dentry *dentry = path ? TF_READ(path, dentry) : NULL;

	__builtin_memset(name, 0, 16);
	if (dentry)
		bpf_probe_read_kernel_str(name, 16, TF_READ(dentry, d_name.name));
}

/* What a pidfd stands for, NULL = it is none. */
static __always_inline struct pid *tf_pidfd(struct file *file)
{
	unsigned long magic = tf_magic(file);
	char name[16];

	if (magic == TF_PIDFS_MAGIC) /* 6.9 */
		return BPF_CORE_READ(file, f_inode, i_private);
	if (magic != TF_ANON_MAGIC)
		return NULL;
	tf_file_name(file, name);
	return TF_EQUALS(name, "[pidfd]") ? TF_READ(file, private_data) : NULL;
}

/* The process behind a pidfd, in the host's pid namespace; 0 = it is none. */
__noinline __u32 tf_pidfd_pid(__u64 file)
{
	struct pid *pid = file ? tf_pidfd((struct file *)file) : NULL;

	return pid ? TF_READ(pid, numbers[0].nr) : 0;
}

#endif
