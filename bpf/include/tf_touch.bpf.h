/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Which configured files and directories a kernel object is, or lies in, whatever name it was reached by; and which objects a call really
 * changed: every change of a file's or a directory's content or attributes sets a change time (ctime), and since 6.13 the kernel has
 * tracepoints where it does. They run inside the call, so what they note cannot be rewritten, and symbolic links, /proc/PID/root, bind
 * mounts, chroot and other mount namespaces are resolved already. The handler at the exit of the call takes the note. */
#ifndef TF_TOUCH_BPF_H
#define TF_TOUCH_BPF_H

#include "tf_fd.bpf.h"
#include "tf_sets.bpf.h"
#include "tf_sys.bpf.h"

#define TF_TOUCH_SEEN 4      /* a rename changes four at most */
#define TF_TOUCH_NAMES 4     /* of an inode that are looked at: hard links whose names the kernel has in memory */

/* State of a search, and the note. Kept in the task's storage: a search needs no scratch slot, which may all be taken. */
struct tf_touch {
	struct dentry *dentry;   /* where the search is ... */
	struct dentry *below;    /* ... and where it was before */
	struct mount *mount;     /* NULL: it stays inside the file system, where mounts of a part of it do not matter */
	__u32 found;             /* bits: sets of the nearest configured one */
	__u32 nr;                /* the note's call */
	__u32 count;             /* inodes that the call changed, made or read from disk; 0 = there is no note */
	__u32 bits;              /* bits: sets of all of them */
	__u64 inode;             /* of one that is in a set */
	__u32 device;
	__u32 _pad0;
	__u64 name[TF_NAME_HASHED / 8]; /* of a name: no room for it on the stack */
	__u64 seen[TF_TOUCH_SEEN]; /* addresses: the first of them. They may be gone by the end of the call: only read as numbers */
};
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct tf_touch);
} tf_touches SEC(".maps");

static __always_inline struct tf_touch *tf_touch_here(void)
{
	return bpf_task_storage_get(&tf_touches, bpf_get_current_task_btf(), 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
}

/* A configured name in its directory (tf_name_hash of csrc/tf_object_paths.c): it stays sensitive when another file takes it. */
static __always_inline __u32 tf_bits_of_name(struct tf_touch *t, struct dentry *folder, struct dentry *named)
{
	struct inode *node = TF_READ(folder, d_inode);
	struct super_block *sb = node ? TF_READ(node, i_sb) : NULL;
	struct tf_dir_key key = { .inode = node ? TF_READ(node, i_ino) : 0, .device = sb ? TF_READ(sb, s_dev) : 0 };
	__u64 hash = 0;
	__u32 *bits;

	__builtin_memset(t->name, 0, sizeof(t->name));
	if (bpf_probe_read_kernel_str(t->name, sizeof(t->name), TF_READ(named, d_name.name)) <= 0)
		return 0;
	for (__u32 i = 0; i < TF_NAME_HASHED / 8; i++)
		hash = tf_mix(hash ^ t->name[i]);
	key.name = (__u32)hash | 1;
	bits = bpf_map_lookup_elem(&tf_dirs, &key);
	return bits ? *bits : 0;
}

struct tf_touch_at {
	struct tf_touch *t;
};

/* Looks at one level and goes one up. 1: done. */
static long tf_touch_step(__u32 step, struct tf_touch_at *at)
{
	struct tf_touch *t = at->t;
	struct dentry *dentry = t->dentry, *below = t->below, *parent = TF_READ(dentry, d_parent);
	struct mount *mount = t->mount, *above;
	__u32 bits = tf_bits_of(dentry);

	if (below && bits & TF_S_BESIDE)
		bits |= tf_bits_of_name(t, dentry, below);
	t->found = bits & TF_S_SENSITIVE;
	if (t->found)
		return 1;
	if (mount && dentry == TF_READ(mount, mnt.mnt_root)) {
		above = TF_READ(mount, mnt_parent);
		if (above == mount || !above)
			return 1;
		t->dentry = TF_READ(mount, mnt_mountpoint);
		t->below = NULL;
		t->mount = above;
		return 0;
	}
	t->below = dentry;
	t->dentry = parent;
	return parent == dentry;
}

/* Whether (vfsmount, dentry), or what it lies in, is sensitive. vfsmount 0: the directories of the file system only. Global: checked
 * once. */
TF_GLOBAL int tf_touch_search(struct tf_touch *t, __u64 vfsmount, __u64 dentry)
{
	struct tf_touch_at at = { .t = t };

	if (!t || !dentry)
		return 0;
	t->dentry = (struct dentry *)dentry;
	t->below = NULL;
	t->mount = vfsmount ? (struct mount *)(vfsmount - bpf_core_field_offset(struct mount, mnt)) : NULL;
	t->found = 0;
	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_loop)) {
		bpf_loop(TF_SET_STEPS, tf_touch_step, &at, 0);
	} else {
		for (__u32 step = 0; step < TF_SET_STEPS_OLD; step++)
			if (tf_touch_step(step, &at))
				break;
	}
	return t->found;
}

/* The dentry that this is the d_alias of. Addresses are numbers here, as a global function wants them. */
static __always_inline __u64 tf_alias_of(__u64 node)
{
	if (bpf_core_field_exists(((struct dentry *)0)->d_u.d_alias))
		return node - bpf_core_field_offset(struct dentry, d_u.d_alias);
	return node - bpf_core_field_offset(struct dentry___v700, d_alias);
}

/* Sets of an inode by the names that it has now. The first one that is in a set is kept, but rather a file than the directory it is in. */
static __always_inline void tf_touch_judge(struct tf_touch *t, __u64 inode)
{
	struct inode *node = (struct inode *)inode;
	__u64 alias = TF_READ_ADDRESS(node, i_dentry.first), named = 0;
	struct super_block *sb;
	__u32 bits = 0;

	for (__u32 i = 0; i < TF_TOUCH_NAMES && alias && !bits; i++) {
		named = tf_alias_of(alias);
		bits = tf_touch_search(t, 0, named);
		alias = TF_READ_ADDRESS((struct hlist_node *)alias, next);
	}
	if (!bits)
		return;
	if (!t->bits || BPF_CORE_READ((struct dentry *)named, d_parent, d_inode, i_ino) == t->inode) {
		sb = TF_READ(node, i_sb);
		t->inode = TF_READ(node, i_ino);
		t->device = sb ? TF_READ(sb, s_dev) : 0;
	}
	t->bits |= bits;
}

/* Notes an inode that the call under way, number nr, changes. One without a name is being made, or read from disk. */
static __always_inline void tf_touch_inode(__u64 inode, __u32 nr)
{
	struct tf_touch *t = tf_touch_here();

	if (!t || !inode)
		return;
	if (t->nr != nr || !t->count) {
		t->nr = nr;
		t->count = t->bits = 0;
		__builtin_memset(t->seen, 0, sizeof(t->seen));
	}
	if (t->count < TF_TOUCH_SEEN)
		t->seen[t->count & (TF_TOUCH_SEEN - 1)] = inode;
	t->count++;
	tf_touch_judge(t, inode);
}

/* What the call that now ends has changed; NULL: the kernel told of nothing. `again`: it gives names, which are there only now. The caller
 * clears count when it is done: the next call begins anew. */
static __always_inline struct tf_touch *tf_touch_taken(__u32 nr, bool again)
{
	struct tf_touch *t = bpf_task_storage_get(&tf_touches, bpf_get_current_task_btf(), 0, 0);

	if (!t || !t->count || t->nr != nr)
		return NULL;
	for (__u32 i = 0; again && i < TF_TOUCH_SEEN; i++)
		if (t->seen[i])
			tf_touch_judge(t, t->seen[i]);
	return t;
}

/* Whether a call changed this inode, as far as its note can tell. */
static __always_inline bool tf_touched(const struct tf_touch *t, __u64 inode)
{
	bool found = t->count > TF_TOUCH_SEEN; /* more than are kept: of a file system above others */

	for (__u32 i = 0; i < TF_TOUCH_SEEN; i++)
		found |= t->seen[i] == inode;
	return found && inode;
}

/* Number of the system call that current is in, as its handler at the exit will be given it: by whichever interface it came. */
static __always_inline __u32 tf_touch_nr(void)
{
	const struct tf_regs regs = tf_regs_of((const void *)bpf_task_pt_regs(bpf_get_current_task_btf()));

	return tf_sys_nr(&regs);
}

#endif
