/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Paths, read from kernel objects: from a (mount, dentry) up to the root of the mount namespace, as the kernel's d_path does, but
 * without its locks: a rename during the walk can show a path that never was. A chroot is not honoured: the path is the one that
 * another process of the same mount namespace would use. */
#ifndef TF_PATH_BPF_H
#define TF_PATH_BPF_H

#include "tf_task.bpf.h"

#define TF_PATH_STEPS 40 /* components and mount crossings; a deeper path keeps its last ones and is flagged truncated */
#define TF_NAME_MAX 255

/* Layout of the text area of a slot: exe, cwd, args, each up to its cap. A path is put together from its end backwards in the room of
 * args (free until the paths are done), then copied down: the surplus of tf_slot lets the copy read TF_PATH_CAP from any place. */
#define TF_PATH_SCRATCH (184 + 2 * TF_PATH_CAP)
/* Behind the room of a string (tf_join.bpf.h) and of a key (tf_sets.bpf.h). */
#define TF_PATH_WALK (TF_PATH_SCRATCH + 2 * TF_PATH_CAP + 320)
#define TF_PATH_JOIN (TF_PATH_WALK + 64)

/* State of a walk. Kept in the slot, not on the stack: what is read back from a map is unknown to the verifier, so that the passes of
 * the loop look alike to it. */
struct tf_walk {
	struct dentry *dentry;
	struct mount *mount;
	__u32 pos;               /* start of the path in scratch */
	__u32 full;              /* length of the whole path, kept or not */
	__u16 flags;
	__u16 more;              /* bool: the root is not reached yet */
};


/* Puts a constant text in front of the path. */
#define TF_PREPEND(w, scratch, text) \
	do { \
		(w)->full += sizeof(text) - 1; \
		if ((w)->pos >= sizeof(text) - 1) { \
			(w)->pos -= sizeof(text) - 1; \
			__builtin_memcpy((scratch) + ((w)->pos & (TF_PATH_CAP - 1)), text, sizeof(text) - 1); \
		} \
	} while (0)

#define TF_NAME_SHORT 8

/* A name of at most 8 bytes, to end where the path begins: as a word, since a helper call costs more than all of it. What is written too
 * much on its left is still free. The kernel keeps 32 bytes or more of room for a name. Where casts are only, and with no
 * variable in memory: the stack is full on 6.1. */
static __always_inline void tf_put_short(char *scratch, __u32 pos, __u64 name, __u32 len)
{
	const struct inode *at __attribute__((unused)) = (const struct inode *)(name - bpf_core_field_offset(struct inode, i_ino));
	__u64 word = ((const struct inode *)TF_CAST(at, TF_TYPE_ID(at)))->i_ino;

	*(__u64 *)(scratch + ((pos - 8) & (TF_PATH_CAP - 1))) = word << (64 - 8 * len);
}

/* Puts "/name" in front. What no longer fits is left out, and from then on everything: the end of the path is kept. */
static __always_inline void tf_prepend_name(struct tf_walk *w, char *scratch, struct dentry *dentry)
{
	__u32 len = TF_READ(dentry, d_name.len), start, room = w->pos;
	const unsigned char *name = TF_READ(dentry, d_name.name);

	if (len > TF_NAME_MAX)
		len = TF_NAME_MAX;
	w->full += len + 1;
	if (room < len + 1) { /* its end fills what is left */
		w->pos = 0;
		tf_unknown(room);
		if (room > TF_NAME_MAX)
			return; /* for the verifier: it cannot be */
		tf_unknown(room);
		if (room && bpf_probe_read_kernel(scratch, room, name + (len - room)))
			w->flags |= TF_F_PARTIAL;
		return;
	}
	start = (room - len) & (TF_PATH_CAP - 1);
	if (len && len <= TF_NAME_SHORT && room > TF_NAME_SHORT && TF_MAY_CAST((struct inode *)0)) {
		tf_put_short(scratch, room, (__u64)name, len);
	} else {
		tf_unknown(len); /* else clang leaves out the mask, which 6.1 wants */
		if (bpf_probe_read_kernel(scratch + start, len & TF_NAME_MAX, name))
			w->flags |= TF_F_PARTIAL;
	}
	start = (start - 1) & (TF_PATH_CAP - 1);
	scratch[start] = '/';
	w->pos = start;
}

/* One step up: over a mount point or to the parent directory. False: the root is reached. */
static __always_inline bool tf_walk_up(struct tf_walk *w, char *scratch)
{
	struct dentry *parent;
	struct mount *above;

	if (w->dentry == TF_READ(w->mount, mnt.mnt_root)) {
		above = TF_READ(w->mount, mnt_parent);
		if (above == w->mount || !above)
			return false;
		w->dentry = TF_READ(w->mount, mnt_mountpoint);
		w->mount = above;
		return true;
	}
	tf_prepend_name(w, scratch, w->dentry);
	parent = TF_READ(w->dentry, d_parent); /* only now: one thing less to keep on the stack */
	if (parent == w->dentry)
		return false; /* nameless file systems: memfd, pipes */
	w->dentry = parent;
	return true;
}

struct tf_walk_slot {
	struct tf_slot *slot;
};

/* A loop over the state in a slot: calls step(number, &at) until that says 1, at most `steps` times. bpf_loop (5.17) has its body checked once;
 * unrolled by the verifier, the plain loop makes loading take some ten times longer, and 5.10, which follows pointers by helper calls, does not
 * come to its end: there a few steps are a global function of numbers, checked once. */
#ifdef TF_OLD
#define TF_SLOT_LOOP(name, step_function, part) \
	__attribute__((noinline)) int name##_part(__u32 index) \
	{ \
		struct tf_walk_slot at = { .slot = bpf_map_lookup_elem(&tf_slots, &index) }; \
		if (!at.slot) \
			return 1; \
		for (__u32 step = 0; step < (part); step++) \
			if (step_function(step, &at)) \
				return 1; \
		return 0; \
	} \
	static __always_inline void name(struct tf_slot *slot, const __u32 steps) \
	{ \
		__u32 index = slot->busy - 1, left = steps / (part); \
		while (!name##_part(index) && --left) \
			; \
	}
#else
#define TF_SLOT_LOOP(name, step_function, part) \
	static __always_inline void name(struct tf_slot *slot, const __u32 steps) \
	{ \
		struct tf_walk_slot at = { .slot = slot }; \
		if (tf_has_helper(loop)) { \
			bpf_loop(steps, step_function, &at, 0); \
			return; \
		} \
		for (__u32 step = 0; step < steps; step++) \
			if (step_function(step, &at)) \
				break; \
	}
#endif

static long tf_walk_step(__u32 step, struct tf_walk_slot *at)
{
	struct tf_walk *w = (struct tf_walk *)(at->slot->data + TF_PATH_WALK);

	w->more = tf_walk_up(w, (char *)at->slot->data + TF_PATH_SCRATCH);
	return !w->more;
}


TF_SLOT_LOOP(tf_walk_steps, tf_walk_step, 4)

/* Copies the finished path down to its place and describes it. */
static __always_inline void tf_keep_path(struct tf_walk *w, struct tf_slot *slot, __u32 offset, struct tf_text *text)
{
	__u32 pos = w->pos, len = TF_PATH_CAP - pos, cap = tf_consts.path_max;

	if (cap > TF_PATH_CAP)
		cap = TF_PATH_CAP;
	if (len > cap) {
		pos += len - cap;
		len = cap;
	}
	if (w->full > len)
		w->flags |= TF_F_TRUNCATED;
	text->offset = offset;
	text->len = 0;
	text->full_len = w->full;
	if (len > TF_PATH_CAP || pos > TF_PATH_CAP || offset > TF_PATH_CAP || !len)
		return; /* for the verifier: none of these can be */
	if (!bpf_probe_read_kernel(slot->data + 184 + offset, len, slot->data + TF_PATH_SCRATCH + pos))
		text->len = len;
}

/* Reads the path of (mount, dentry) into the text area at `offset` (at most TF_PATH_CAP) and returns header flags. */
static __always_inline __u16 tf_read_place(struct tf_slot *slot, struct vfsmount *vfsmount, struct dentry *dentry, __u32 offset,
					   struct tf_text *text)
{
	struct tf_walk *w;
	char *scratch;

	if (!slot || !text)
		return 0;
	text->offset = offset;
	text->len = text->full_len = 0;
	scratch = (char *)slot->data + TF_PATH_SCRATCH;
	w = (struct tf_walk *)(slot->data + TF_PATH_WALK);
	w->dentry = dentry;
	if (!vfsmount || !dentry)
		return 0; /* kernel threads */
	w->mount = (void *)vfsmount - bpf_core_field_offset(struct mount, mnt);
	w->pos = TF_PATH_CAP;
	w->full = w->flags = w->more = 0;
	if (!TF_READ(w->dentry, d_hash.pprev) && w->dentry != TF_READ(vfsmount, mnt_root))
		TF_PREPEND(w, scratch, " (deleted)");
	tf_walk_steps(slot, TF_PATH_STEPS);
	if (w->more) {
		w->full++; /* at least one more byte: cut */
		w->flags |= TF_F_TRUNCATED;
	} else if (!TF_READ(w->mount, mnt_ns)) {
		TF_PREPEND(w, scratch, "(unreachable)"); /* its mount is no longer part of any namespace */
	} else if (!w->full) {
		TF_PREPEND(w, scratch, "/");
	}
	tf_keep_path(w, slot, offset, text);
	return w->flags;
}

static __noinline __attribute__((unused)) __u16 tf_read_path(struct tf_slot *slot, struct path *path, __u32 offset, struct tf_text *text)
{
	return tf_read_place(slot, path ? TF_READ(path, mnt) : NULL, path ? TF_READ(path, dentry) : NULL, offset, text);
}

/* Device numbers as user space writes them in one word: major << 20 | minor is the kernel's own dev_t. */
static __always_inline void tf_read_inode(struct file *file, __u64 *inode, __u32 *device)
{
	struct inode *node = TF_READ(file, f_inode);
	struct super_block *sb = node ? TF_READ(node, i_sb) : NULL;

	*inode = node ? TF_READ(node, i_ino) : 0;
	*device = sb ? TF_READ(sb, s_dev) : 0;
}

static __always_inline struct path *tf_file_path(struct file *file)
{
	if (!file)
		return NULL;
	if (bpf_core_field_exists(file->f_path))
		return (void *)file + bpf_core_field_offset(struct file, f_path);
	return (void *)file + bpf_core_field_offset(struct file___v618, __f_path);
}


static __always_inline struct path *tf_cwd_path(struct task_struct *task)
{
	struct fs_struct *fs = TF_READ(task, fs);

	return fs ? (void *)fs + bpf_core_field_offset(struct fs_struct, pwd) : NULL;
}

#endif
