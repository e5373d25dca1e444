/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* A path that only user memory tells: the string is read once, normalised, and put behind the directory that it begins at. "//", "." and
 * "name/.." go by their text; a ".." that is left at the front goes by the kernel's own directories, from the one that the string is
 * relative to and never above the root of the process. Symbolic links, magic links (/proc/PID/root) and other mounts of the same
 * directory stay what they are written as: "link/.." loses the link. */
#ifndef TF_JOIN_BPF_H
#define TF_JOIN_BPF_H

#include "tf_sets.bpf.h"

#define TF_JOIN_TEXT (TF_PATH_SCRATCH + TF_PATH_CAP) /* of the slot: the string while it is normalised, from its second byte on */
#define TF_JOIN_CLIMB 2048 /* levels and mounts that ".." may go up where there is bpf_loop (5.17) ... */
#define TF_JOIN_PART 64    /* ... and steps that the verifier checks at once where there is not */

/* Argument `how`: the most bytes of the string (with its NUL), and these. */
enum tf_join_how {
	TF_JOIN_IN_ROOT = 1 << 16, /* openat2's RESOLVE_IN_ROOT: the directory is the string's root */
	TF_JOIN_SETS    = 1 << 17, /* look the text up in tf_prefixes */
};

/* State and result, in the slot: what is read back from a map is unknown to the verifier, so that the passes of a loop look alike. */
struct tf_join {
	struct dentry *dentry;   /* the directory that the string was put behind */
	struct mount *mount;
	struct dentry *root;     /* root of the process */
	struct mount *root_mount;
	__u32 in;                /* bytes of the string that were not looked at yet: it is read from its end */
	__u32 out;               /* where the kept part begins */
	__u32 mark;              /* where it began before the component at hand */
	__u32 ups;               /* ".." that no name to their left has answered yet */
	__u32 bits;              /* TF_JOIN_SETS: of the longest configured prefix */
	__u32 end;               /* where the string ends */
	__u8 absolute;           /* bool: it began with '/' */
	__u8 more;               /* it goes on beyond what was read */
	__u16 _pad0;
	struct tf_text text;
};

static __always_inline struct tf_join *tf_join_of(struct tf_slot *slot)
{
	return (struct tf_join *)(slot->data + TF_PATH_JOIN);
}

/* Looks at one byte, from the end: copies it behind the place it was read from; at the start of a component decides whether that stays. */
static long tf_join_step(__u32 step, struct tf_walk_slot *at)
{
	struct tf_join *j = tf_join_of(at->slot);
	__u8 *text = at->slot->data + TF_JOIN_TEXT, byte;
	__u32 in = j->in, out = j->out, mark = j->mark, len = mark - out;

	byte = in ? text[in & (TF_PATH_CAP - 1)] : '/';
	if (byte != '/') {
		out--;
		text[out & (TF_PATH_CAP - 1)] = byte;
	} else {
		byte = text[out & (TF_PATH_CAP - 1)];
		if (len == 2 && byte == '.' && text[(out + 1) & (TF_PATH_CAP - 1)] == '.') {
			j->ups++;
			out = mark;
		} else if (len && j->ups && !(len == 1 && byte == '.')) {
			j->ups--;
			out = mark;
		} else if (len > 1 || (len && byte != '.')) {
			out--;
			text[out & (TF_PATH_CAP - 1)] = '/';
		} else {
			out = mark;
		}
		j->mark = out;
	}
	j->out = out;
	if (!in)
		return 1;
	j->in = in - 1;
	return 0;
}

/* One ".." by the kernel's directories, or over a mount point on its way. 1: done. */
static long tf_climb_step(__u32 step, struct tf_walk_slot *at)
{
	struct tf_join *j = tf_join_of(at->slot);
	struct dentry *dentry = j->dentry, *parent;
	struct mount *mount = j->mount, *above;

	if (!j->ups || (dentry == j->root && mount == j->root_mount))
		return 1;
	if (dentry == TF_READ(mount, mnt.mnt_root)) {
		above = TF_READ(mount, mnt_parent);
		if (above == mount || !above)
			return 1;
		j->dentry = TF_READ(mount, mnt_mountpoint);
		j->mount = above;
		return 0;
	}
	parent = TF_READ(dentry, d_parent);
	if (parent == dentry || !parent)
		return 1;
	j->dentry = parent;
	j->ups--;
	return 0;
}

#ifdef TF_OLD
TF_SLOT_LOOP(tf_climb_steps, tf_climb_step, 8)
TF_SLOT_LOOP(tf_join_steps, tf_join_step, TF_JOIN_PART)
#else
/* Some steps of either loop, for kernels without bpf_loop: global, so that the verifier checks them once. */
TF_GLOBAL int tf_join_part(struct tf_slot *slot, __u32 climb)
{
	struct tf_walk_slot at = { .slot = slot };

	if (!slot)
		return 1;
	for (__u32 step = 0; step < TF_JOIN_PART; step++)
		if (climb ? tf_climb_step(step, &at) : tf_join_step(step, &at))
			return 1;
	return 0;
}

#endif

static __always_inline void tf_join_run(struct tf_slot *slot, const bool climb)
{
#ifdef TF_OLD
	if (climb)
		tf_climb_steps(slot, TF_PATH_STEPS);
	else
		tf_join_steps(slot, TF_PATH_CAP);
#else
	struct tf_walk_slot at = { .slot = slot };

	if (tf_has_helper(loop)) {
		if (climb)
			bpf_loop(TF_JOIN_CLIMB, tf_climb_step, &at, 0);
		else
			bpf_loop(TF_PATH_CAP, tf_join_step, &at, 0);
		return;
	}
	for (__u32 part = 0; part < TF_PATH_CAP / TF_JOIN_PART; part++)
		if (tf_join_part(slot, climb))
			break;
#endif
}

static __always_inline struct mount *tf_mount_of(struct vfsmount *mnt)
{
	return mnt ? (void *)mnt - bpf_core_field_offset(struct mount, mnt) : NULL;
}

/* The path of (mount, dentry) at `offset` of the text area, described in the slot's struct tf_join. Returns header flags. */
TF_GLOBAL int tf_place_into(struct tf_slot *slot, __u64 vfsmount, __u64 dentry, __u32 offset)
{
	if (!slot)
		return 0;
	return tf_read_place(slot, (struct vfsmount *)vfsmount, (struct dentry *)dentry, offset, &tf_join_of(slot)->text);
}

static __always_inline struct path *tf_root_path(struct task_struct *task)
{
	struct fs_struct *fs = TF_READ(task, fs);

	return fs ? (void *)fs + bpf_core_field_offset(struct fs_struct, root) : NULL;
}

/* The directory that the string begins at: the root of the process for an absolute one, else `base`, up by the ".." that are left. */
TF_GLOBAL int tf_join_base(struct tf_slot *slot, __u64 from, __u32 how)
{
	struct path *root = tf_root_path(tf_current()), *base = (struct path *)from;
	const bool in_root = how & TF_JOIN_IN_ROOT;
	struct tf_join *j;
	bool absolute;

	if (!slot)
		return 0;
	j = tf_join_of(slot);
	absolute = j->absolute;
	if (absolute && !in_root)
		base = root;
	j->dentry = NULL;
	j->mount = NULL;
	if (!base)
		return 0; /* the descriptor is none */
	j->dentry = TF_READ(base, dentry);
	j->mount = tf_mount_of(TF_READ(base, mnt));
	if (!j->dentry || !j->mount)
		return 0;
	if (j->ups && !absolute && !in_root && root) {
		j->root = TF_READ(root, dentry);
		j->root_mount = tf_mount_of(TF_READ(root, mnt));
		tf_join_run(slot, true);
	}
	return tf_read_place(slot, (struct vfsmount *)((__u64)j->mount + bpf_core_field_offset(struct mount, mnt)), j->dentry, j->text.offset,
			     &j->text);
}

/* Puts what is kept of the string, [out, end), behind the directory's path. */
TF_GLOBAL int tf_join_append(struct tf_slot *slot, __u32 how, int flags)
{
	__u32 offset, len, out, rest, cap = tf_consts.path_max, total, excess;
	struct tf_join *j;

	if (!slot)
		return -1;
	j = tf_join_of(slot);
	offset = j->text.offset;
	len = j->text.len;
	out = j->out;
	rest = j->end - out;
	if (rest && len == 1)
		len = 0; /* "/" */
	j->text.full_len += len - j->text.len + rest;
	total = len + rest;
	tf_unknown(out);
	tf_unknown(rest);
	if (offset > TF_PATH_CAP || len > TF_PATH_CAP || out > TF_PATH_CAP || rest > TF_PATH_CAP)
		return -1; /* for the verifier: none of these can be */
	tf_unknown(rest);
	if (rest && bpf_probe_read_kernel(slot->data + 184 + offset + len, rest, slot->data + TF_JOIN_TEXT + out))
		return -1;
	j->text.len = total;
	if (how & TF_JOIN_SETS && !(flags & TF_F_TRUNCATED)) /* before it is cut */
		j->bits = tf_sets_of_text(slot, offset, total);
	if (total > cap && cap <= TF_PATH_CAP) { /* like all paths it keeps its end; a copy downwards may overlap */
		excess = total - cap;
		if (excess > TF_PATH_CAP || bpf_probe_read_kernel(slot->data + 184 + offset, cap, slot->data + 184 + offset + excess))
			return -1;
		j->text.len = cap;
	}
	return (flags & ~TF_F_PARTIAL) | (j->text.full_len > j->text.len ? TF_F_TRUNCATED : 0);
}

/* Reads the string and normalises it. 0, or -1: it cannot be read. */
TF_GLOBAL int tf_join_read(struct tf_slot *slot, __u64 user, __u32 offset, __u32 how)
{
	__u32 max = how & 0xffff;
	struct tf_join *j;
	__u8 *text;
	long n;

	if (!slot)
		return -1;
	j = tf_join_of(slot);
	text = slot->data + TF_JOIN_TEXT;
	j->text.offset = offset;
	j->text.len = j->text.full_len = 0;
	j->ups = j->bits = j->more = 0;
	if (max > TF_PATH_CAP)
		max = TF_PATH_CAP;
	n = tf_user_str(text + 1, max, (void *)user);
	if (n < 1 || n > TF_PATH_CAP)
		return -1;
	j->absolute = text[1] == '/';
	if (n == TF_PATH_CAP) /* one that is longer than the kernel takes? */
		bpf_probe_read_user(&j->more, 1, (void *)(user + n - 1));
	j->in = n - 1;
	j->out = j->mark = j->end = n;
	tf_join_run(slot, false);
	return 0;
}

/* A user's path, joined to the struct path `base` that it is relative to, at `offset` (at most TF_PATH_CAP) of the text area; described by
 * the slot's struct tf_join. Returns header flags, or -1: the string cannot be read. Three functions one after the other, not one below the
 * other: the stack of a chain of calls is 512 bytes. */
static __always_inline int tf_join_claimed(struct tf_slot *slot, __u64 user, __u64 base, __u32 offset, __u32 how)
{
	struct tf_join *j = tf_join_of(slot);
	int flags;

	if (tf_join_read(slot, user, offset, how))
		return -1;
	flags = tf_join_append(slot, how, tf_join_base(slot, base, how));
	if (flags < 0 || !j->more)
		return flags;
	j->text.full_len++; /* at least one more byte */
	return flags | TF_F_TRUNCATED;
}

#endif
