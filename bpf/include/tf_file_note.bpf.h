/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What the kernel itself resolved of a call on a path: noted in the middle of the call by hooks of security_path_* (fentry, LSM or kprobe,
 * whichever this kernel takes), used at its exit instead of what user memory claims. Where there is no such hook nothing is ever noted. */
#ifndef TF_FILE_NOTE_BPF_H
#define TF_FILE_NOTE_BPF_H

#include "tf_fd.bpf.h"
#include "tf_join.bpf.h"
#include "tf_sys.bpf.h"

#define TF_RESOLVED_CAP 2048 /* bytes kept of each path: a note lives as long as its task */

struct tf_resolved {
	__u64 call_ns;           /* ns: entry of the call that it was noted in: an older one is not used */
	__u64 inode;             /* id: 0 = the file was not there yet */
	__u32 device;
	__u32 wanted;            /* bool: by the configuration's paths; one of the two is enough */
	__u32 flags;             /* bits: header flags */
	__u32 _pad0;
	__u32 len[2];            /* bytes: kept of path, new path */
	__u32 full_len[2];
	char text[2][TF_RESOLVED_CAP];
};
TF_TASK_STORE(tf_resolved, struct tf_resolved);

/* A path into the row's path (which 0) or new_path (1), at `offset`. */
static __always_inline int tf_path_into(struct tf_slot *slot, struct path *path, __u32 offset, __u32 which)
{
	struct tf_file *e = (struct tf_file *)slot->data;
	int flags = tf_place_into(slot, path ? TF_READ_ADDRESS(path, mnt) : 0, path ? TF_READ_ADDRESS(path, dentry) : 0, offset);

	*(which ? &e->new_path : &e->path) = tf_join_of(slot)->text;
	return flags;
}

/* Copies the last bytes of a text that was read into a slot. */
static __always_inline __u32 tf_keep_end(char *to, const __u32 cap, struct tf_slot *slot, const struct tf_text *text)
{
	__u32 len = text->len, from = 0;

	if (len > TF_PATH_CAP)
		return 0;
	if (len > cap) {
		from = len - cap;
		len = cap;
	}
	tf_unknown(from);
	tf_unknown(len);
	if (from > TF_PATH_CAP || len > cap)
		return 0; /* for the verifier: neither can be */
	tf_unknown(len);
	if (!len || bpf_probe_read_kernel(to, len, slot->data + 184 + from))
		return 0;
	return len;
}

/* Path number `which` of the note: (mount, dentry). */
static __always_inline void tf_note_path(struct tf_resolved *r, struct tf_slot *slot, __u64 vfsmount, __u64 dentry, const int which)
{
	const struct tf_text *text = &tf_join_of(slot)->text;

	if (tf_consts.options & TF_O_PATH_SETS)
		r->wanted |= tf_sets_want(tf_sets_of_dentry(slot, vfsmount, dentry, TF_S_MONITOR | TF_S_EXCLUDE));
	r->flags |= tf_place_into(slot, vfsmount, dentry, 0);
	r->len[which] = tf_keep_end(r->text[which], TF_RESOLVED_CAP, slot, text);
	r->full_len[which] = text->full_len;
	if (r->len[which] < text->full_len)
		r->flags |= TF_F_TRUNCATED;
}

/* Notes one path, or two, of the call under way. `dentry` 0: the file is not there yet or the hook does not tell. */
__noinline int tf_note_resolved(__u64 vfsmount, __u64 dentry, __u64 new_vfsmount, __u64 new_dentry)
{
	struct tf_note *note = bpf_task_storage_get(&tf_notes, bpf_get_current_task_btf(), 0, 0);
	struct dentry *old = (struct dentry *)dentry;
	struct tf_resolved *r;
	struct super_block *sb;
	struct tf_slot *slot;
	struct inode *node;

	if (!note || !note->start_ns || !old)
		return 0;
	r = bpf_task_storage_get(&tf_resolved, bpf_get_current_task_btf(), 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	slot = r ? tf_take_slot(bpf_get_smp_processor_id()) : NULL; /* none: no note; no record is lost */
	if (!slot)
		return 0;
	node = TF_READ(old, d_inode);
	sb = TF_READ(old, d_sb);
	r->inode = node ? TF_READ(node, i_ino) : 0;
	r->device = sb ? TF_READ(sb, s_dev) : 0;
	r->flags = 0;
	r->wanted = !(tf_consts.options & TF_O_PATH_SETS);
	r->len[1] = r->full_len[1] = 0;
	tf_note_path(r, slot, vfsmount, dentry, 0);
	if (new_dentry)
		tf_note_path(r, slot, new_vfsmount, new_dentry, 1);
	tf_release(slot);
	r->call_ns = note->start_ns;
	return 0;
}

static __always_inline void tf_use_text(struct tf_slot *slot, struct tf_resolved *r, const int which, __u32 offset, struct tf_text *text)
{
	__u32 len = r->len[which];

	text->offset = offset;
	text->len = 0;
	text->full_len = r->full_len[which];
	if (len > TF_RESOLVED_CAP || offset > TF_PATH_CAP)
		return;
	tf_unknown(len);
	if (len && !bpf_probe_read_kernel(slot->data + 184 + offset, len, r->text[which]))
		text->len = len;
}

/* Fills the row from the note of this very call. False: there is none. */
static __always_inline bool tf_read_resolved(struct tf_slot *slot, struct tf_file *e, const struct tf_note *note, int *result)
{
	struct tf_resolved *r = note ? bpf_task_storage_get(&tf_resolved, bpf_get_current_task_btf(), 0, 0) : NULL;

	if (!r || r->call_ns != note->start_ns)
		return false;
	*result = !r->wanted;
	e->inode = r->inode;
	e->device = r->device;
	e->h.flags |= r->flags;
	tf_use_text(slot, r, 0, 0, &e->path);
	if (r->len[1])
		tf_use_text(slot, r, 1, e->path.len, &e->new_path);
	return true;
}

/* Argument of a function at its first instruction (not of a system call: the fourth lies elsewhere on x86). */
static __always_inline __u64 tf_call_arg(const struct pt_regs *regs, const int i)
{
#if defined(__TARGET_ARCH_arm64)
	return regs->regs[i];
#else
	return i == 0 ? regs->di : i == 1 ? regs->si : i == 2 ? regs->dx : regs->cx;
#endif
}

/* Argument of a hook, 0 where the hook passes no more than n. */
static __always_inline __u64 tf_hook_arg_of(const __u64 *ctx, const int i, const int n)
{
	return n > i ? tf_hook_arg(ctx, i) : 0;
}

/* One body, three programs: as fentry, as LSM hook, as kprobe of the function that calls the LSMs. The hook passes `n` arguments; the body
 * uses a0 to a3. */
#define TF_NOTE_ON(name, hook, n, body) \
	static __always_inline int tf_n_##name(__u64 a0, __u64 a1, __u64 a2, __u64 a3) { return body; } \
	SEC("fentry/security_path_" hook) int tf_note_##name(__u64 *ctx) \
	{ \
		return tf_n_##name(tf_hook_arg(ctx, 0), tf_hook_arg_of(ctx, 1, n), tf_hook_arg_of(ctx, 2, n), tf_hook_arg_of(ctx, 3, n)); \
	} \
	SEC("lsm/path_" hook) int tf_note_##name##_lsm(__u64 *ctx) \
	{ \
		return tf_n_##name(tf_hook_arg(ctx, 0), tf_hook_arg_of(ctx, 1, n), tf_hook_arg_of(ctx, 2, n), tf_hook_arg_of(ctx, 3, n)); \
	} \
	SEC("kprobe/security_path_" hook) int tf_note_##name##_k(struct pt_regs *ctx) \
	{ \
		return tf_n_##name(tf_call_arg(ctx, 0), tf_call_arg(ctx, 1), tf_call_arg(ctx, 2), tf_call_arg(ctx, 3)); \
	}
#define TF_MNT(at) (TF_READ_ADDRESS((struct path *)(at), mnt))
#define TF_DENTRY(at) (TF_READ_ADDRESS((struct path *)(at), dentry))

#endif
