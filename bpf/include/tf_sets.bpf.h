/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Directories and files that the configuration names: by (device, inode) for what the kernel resolved, by text for what user memory
 * claims. Filled by tf_object_set_paths before anything is attached. Of nested ones the nearest decides. */
#ifndef TF_SETS_BPF_H
#define TF_SETS_BPF_H

#include "tf_path.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1024);
	__type(key, struct tf_dir_key);
	__type(value, __u32);
} tf_dirs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 2048);
	__type(key, struct tf_prefix_key);
	__type(value, __u32);
} tf_prefixes SEC(".maps");

#define TF_SET_STEPS 2048    /* levels and mounts walked where there is bpf_loop (5.17) ... */
#define TF_SET_STEPS_OLD 32  /* ... and where there is not */

#define TF_SET_KEY 256 /* room for a struct tf_prefix_key before the walk's state, where no text reaches */

/* State of a search, kept in a slot like that of a path's walk, in its place: the two never run at once. */
struct tf_search {
	struct dentry *dentry;
	struct mount *mount;
	__u32 wanted;            /* bits: sets that are looked for */
	__u32 found;             /* bits: of the nearest one */
};

static __always_inline __u32 tf_bits_of(struct dentry *dentry)
{
	struct inode *node = TF_READ(dentry, d_inode);
	struct super_block *sb = node ? TF_READ(node, i_sb) : NULL;
	struct tf_dir_key key = { .inode = node ? TF_READ(node, i_ino) : 0, .device = sb ? TF_READ(sb, s_dev) : 0 };
	const __u32 bit = tf_dir_bit(key.inode, key.device);
	__u32 *bits;

	if (!sb || !(tf_settings.dir_bits[bit / 64 & 3] >> (bit & 63) & 1))
		return 0; /* most are not: a lookup costs 25 ns */
	bits = bpf_map_lookup_elem(&tf_dirs, &key);
	return bits ? *bits : 0;
}

/* Looks at one level and goes one up. 1: done. */
static long tf_search_step(__u32 step, struct tf_walk_slot *at)
{
	struct tf_search *s = (struct tf_search *)(at->slot->data + TF_PATH_WALK);
	struct dentry *dentry = s->dentry, *parent = TF_READ(dentry, d_parent);
	struct mount *mount = s->mount, *above;

	s->found = tf_bits_of(dentry) & s->wanted;
	if (s->found)
		return 1;
	if (dentry == TF_READ(mount, mnt.mnt_root)) {
		above = TF_READ(mount, mnt_parent);
		if (above == mount || !above)
			return 1;
		s->dentry = TF_READ(mount, mnt_mountpoint);
		s->mount = above;
		return 0;
	}
	s->dentry = parent;
	return parent == dentry;
}

TF_SLOT_LOOP(tf_search_steps, tf_search_step, 4)

/* Bits of the nearest configured directory at or above (mount, dentry), 0 = none. No string is built. Global: checked once a program. */
TF_GLOBAL int tf_sets_of_dentry(struct tf_slot *slot, __u64 vfsmount, __u64 dentry, __u32 wanted)
{
	struct tf_search *s;

	if (!slot || !vfsmount || !dentry)
		return 0;
	s = (struct tf_search *)(slot->data + TF_PATH_WALK);
	s->dentry = (struct dentry *)dentry;
	s->mount = (struct mount *)(vfsmount - bpf_core_field_offset(struct mount, mnt));
	s->wanted = wanted;
	s->found = 0;
	tf_search_steps(slot, tf_has_helper(loop) ? TF_SET_STEPS : TF_SET_STEPS_OLD);
	return s->found;
}

static __always_inline __u32 tf_sets_of_path(struct tf_slot *slot, struct path *path, __u32 wanted)
{
	return path ? tf_sets_of_dentry(slot, TF_READ_ADDRESS(path, mnt), TF_READ_ADDRESS(path, dentry), wanted) : 0;
}

/* The key of a text of `len` bytes at `offset` of the text area, with its end where there is room; NULL: cannot be read. Of a slot that
 * tf_own_slot gave. */
static __always_inline struct tf_prefix_key *tf_text_key(struct tf_slot *slot, __u32 offset, __u32 len)
{
	struct tf_prefix_key *key = (struct tf_prefix_key *)(slot->data + TF_PATH_WALK - TF_SET_KEY);

	if (bpf_probe_read_kernel(key->text, sizeof(key->text), slot->data + 184 + offset))
		return NULL;
	if (len < sizeof(key->text)) {
		key->text[len] = 0;
		len++;
	} else {
		len = sizeof(key->text);
	}
	key->bits = len * 8;
	return key;
}

/* The same for a text: its longest configured prefix. */
TF_GLOBAL int tf_sets_of_text(struct tf_slot *slot, __u32 offset, __u32 len)
{
	struct tf_prefix_key *key;
	__u32 *bits;

	if (!slot || offset > 2 * TF_PATH_CAP)
		return 0;
	slot = tf_own_slot(slot);
	if (!slot)
		return 0; /* for the verifier: it cannot be */
	key = tf_text_key(slot, offset, len);
	bits = key ? bpf_map_lookup_elem(&tf_prefixes, key) : NULL;
	return bits ? *bits : 0;
}

/* The clauses of a rule slot that a text matches; all where it cannot be read. */
TF_GLOBAL __u32 tf_clauses_of_path(struct tf_slot *slot, __u32 rules, __u32 offset, __u32 len)
{
	struct tf_prefix_key *key;
	__u32 *found;
	void *paths;

	if (!slot || offset > 2 * TF_PATH_CAP)
		return ~0u;
	slot = tf_own_slot(slot);
	paths = bpf_map_lookup_elem(&tf_rule_paths, &rules);
	if (!slot || !paths)
		return ~0u;
	key = tf_text_key(slot, offset, len);
	if (!key)
		return ~0u;
	found = bpf_map_lookup_elem(paths, key);
	return found ? *found : tf_read_once(tf_rules_of(rules)->others[TF_D_PATH]);
}

/* Last of the gate for a file record whose row has its path: false: counted, the slot is free. */
static __always_inline bool tf_admit_path(struct tf_gate *g, struct tf_slot *slot, const struct tf_file *e)
{
	const __u32 rules = g->gen & (TF_RULE_SLOTS - 1);

	if (!tf_judges_more() || !(tf_read_once(tf_rules_of(g->gen)->flags) & 1 << TF_D_PATH))
		return true;
	g->clauses &= tf_clauses_of_path(slot, rules, e->path.offset, e->path.len);
	if (g->clauses)
		return true;
	tf_release(slot);
	return tf_count(g, TF_L_K_FILTERED);
}

/* What monitor_paths and exclude_paths make of these bits. */
static __always_inline bool tf_sets_want(__u32 bits)
{
	if (bits & (TF_S_EXCLUDE | TF_S_MONITOR))
		return bits & TF_S_MONITOR;
	return !(tf_consts.options & TF_O_MONITOR);
}

/* Whether a path that the kernel resolved is wanted. Costs nothing where no paths are configured. */
static __always_inline bool tf_path_wanted(struct tf_slot *slot, struct path *path)
{
	return !(tf_consts.options & TF_O_PATH_SETS) || tf_sets_want(tf_sets_of_path(slot, path, TF_S_MONITOR | TF_S_EXCLUDE));
}

#endif
