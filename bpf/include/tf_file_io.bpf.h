/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What an open file is used for, added up: an entry per (process, descriptor) that was read or written. The row of an entry is sent when
 * the descriptor is closed or replaced, when the file behind it turns out to be another one, at exec (close-on-exec) and when the process
 * ends. So every operation is in exactly one row, whichever way descriptors are shared: after fork the child's operations are the
 * child's. */
#ifndef TF_FILE_IO_BPF_H
#define TF_FILE_IO_BPF_H

#include "tf_file_note.bpf.h"

#define TF_KEPT_PATH 480 /* bytes of the path kept while a file is open: its end */
#define TF_BUCKETS 24
#define TF_FD_MOST 16384 /* descriptors from here on are not added up, but sent one by one: a process's end looks at all below */

struct tf_fd_key {
	__u32 tgid;
	__s32 fd;
};

/* One direction. Several threads may add at once. */
struct tf_io_sum {
	__u64 bytes;
	__u64 duration_ns;
	__u64 count;
	__u64 sequential;
	__u64 first;             /* bytes: where the first operation began */
	__u64 next;              /* bytes: where the last one ended */
	__u64 buckets[TF_BUCKETS / 2]; /* 24 u4 */
};

struct tf_open_file {
	__u64 file;              /* address: of the struct file, and which file it was: another one at this descriptor ends the entry */
	__u64 inode;
	__u64 followed;          /* the process's two follow sets (low, high word): at its end it may be struck off before us */
	__u64 taken;             /* bool: its row is being sent: later operations go out alone */
	__u32 device;
	__u32 mode;
	__u32 file_flags;
	__u32 flags;             /* bits: header flags of the path */
	__u32 len;               /* bytes: of path */
	__u32 full_len;
	__u32 left_out;          /* bool: by monitor_paths, exclude_paths */
	__u32 _pad0;
	struct tf_io_sum sums[2]; /* read, write */
	char path[TF_KEPT_PATH];
};

/* Sized by performance.map_entries_limit (tf_t_*: csrc/tf_object_part.c). */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct tf_fd_key);
	__type(value, struct tf_open_file);
} tf_t_files SEC(".maps");

/* Highest descriptor with an entry, by process: its end need not look at every descriptor, and at none where there is no entry. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} tf_t_holders SEC(".maps");

/* floor(log2(ns)) - 7, from 0 to 23: bucket i holds what took less than 2^(i+8) ns. */
static __always_inline __u32 tf_bucket(__u64 ns)
{
	__u32 log = 0;

	if (ns >> 31)
		return TF_BUCKETS - 1;
	if (ns >> 16) { ns >>= 16; log += 16; }
	if (ns >> 8) { ns >>= 8; log += 8; }
	if (ns >> 4) { ns >>= 4; log += 4; }
	if (ns >> 2) { ns >>= 2; log += 2; }
	log += ns >> 1 & 1;
	return log < 8 ? 0 : log - 7;
}

/* Begins a row about an open file: the header, and of the rest what every such row has. */
static __always_inline struct tf_file *tf_begin_file(struct tf_gate *g, struct tf_slot *slot, const struct tf_who *who, __u16 flags,
						     __u32 kind)
{
	struct tf_file *e = (struct tf_file *)slot->data;

	tf_fill_gate(g, &e->h, kind);
	tf_fill_task(&e->h, who, tf_current(), flags);
	__builtin_memset(&e->inode, 0, sizeof(*e) - sizeof(e->h));
	e->count = 1;
	e->new_uid = e->new_gid = 0xffffffff;
	return e;
}

/* Puts a path that was kept (TF_KEPT_PATH) behind the row. */
static __always_inline void tf_put_kept(struct tf_slot *slot, struct tf_file *e, const char *path, __u32 len, __u32 full_len)
{
	e->path.full_len = full_len;
	if (len > TF_KEPT_PATH)
		len = 0;
	tf_unknown(len);
	if (len && !bpf_probe_read_kernel(slot->data + sizeof(*e), len, path))
		e->path.len = len;
	e->new_path.offset = e->data.offset = e->path.len;
}

/* Sends one direction of an entry as a row of its own. */
TF_GLOBAL int tf_send_sum(struct tf_open_file *f, __s32 fd, __u32 write)
{
	struct task_struct *task = tf_current();
	const __u32 kind = write ? TF_K_FILE_WRITE : TF_K_FILE_READ;
	struct tf_io_sum *sum;
	struct tf_slot *slot;
	struct tf_file *e;
	struct tf_who who;
	struct tf_gate g;
	__u32 len;
	__u16 flags;

	if (!f)
		return 0;
	sum = write ? &f->sums[1] : &f->sums[0];
	if (!sum->count)
		return 0;
	tf_read_who(&who, task, &flags);
	who.followed = f->followed;
	if (!tf_admit(&g, &who, kind))
		return 0;
	slot = tf_claim(&g);
	if (!slot)
		return 0;
	e = tf_begin_file(&g, slot, &who, flags | f->flags, kind);
	e->inode = f->inode;
	e->device = f->device;
	e->mode = f->mode;
	e->file_flags = f->file_flags;
	e->fd = fd;
	e->offset = sum->first;
	e->size = sum->bytes;
	e->duration_ns = sum->duration_ns;
	e->count = sum->count;
	e->sequential = sum->sequential;
	tf_put_kept(slot, e, f->path, f->len, f->full_len);
	len = e->path.len;
	if (len > TF_KEPT_PATH || bpf_probe_read_kernel(slot->data + sizeof(*e) + len, sizeof(sum->buckets), sum->buckets)) {
		tf_release(slot);
		return tf_count(&g, TF_L_K_FAULT);
	}
	e->data.len = e->data.full_len = sizeof(sum->buckets);
	if (tf_admit_path(&g, slot, e))
		tf_output(&g, kind, slot, sizeof(*e) + len + sizeof(sum->buckets));
	return 0;
}

/* Whether `file` is what the entry was made for. The address alone does not say: it is used again soon after a file is closed. */
static __always_inline bool tf_is_entry_of(const struct tf_open_file *f, __u64 file)
{
	struct inode *node;
	struct super_block *sb;

	if (f->file != file || !file)
		return false;
	node = TF_READ((struct file *)file, f_inode);
	sb = node ? TF_READ(node, i_sb) : NULL;
	return sb && f->inode == TF_READ(node, i_ino) && f->device == TF_READ(sb, s_dev);
}

/* Ends the entry of a descriptor unless it is that of `keep`, the file that is there now. Who takes it sends it. */
__noinline int tf_flush(__u32 tgid, __s32 fd, __u64 keep)
{
	struct tf_fd_key key = { .tgid = tgid, .fd = fd };
	struct tf_open_file *f = bpf_map_lookup_elem(&tf_t_files, &key);

	if (!f || tf_is_entry_of(f, keep) || !tf_swap_if(&f->taken, 0, 1))
		return 0;
	if (!f->left_out) {
		if (tf_enabled(TF_K_FILE_READ))
			tf_send_sum(f, fd, 0);
		if (tf_enabled(TF_K_FILE_WRITE))
			tf_send_sum(f, fd, 1);
	}
	bpf_map_delete_elem(&tf_t_files, &key);
	return 1;
}

struct tf_flush_range {
	__u32 tgid;
	__u32 first;
	__u32 all;               /* bool: the process ends; else only descriptors that no longer have the file */
};

__noinline int tf_flush_one(__u32 tgid, __s32 fd, __u32 all)
{
	tf_flush(tgid, fd, all ? 0 : (__u64)tf_file_of(tf_current(), fd));
	return 0;
}

static long tf_flush_step(__u32 step, struct tf_flush_range *r)
{
	return tf_flush_one(r->tgid, r->first + step, r->all);
}

#define TF_FLUSH_OLD 64 /* descriptors looked at where there is no bpf_loop (before 5.17) */

/* Ends the entries of a process's descriptors from `first` to `last`. */
__noinline int tf_flush_range(__u32 tgid, __u32 first, __u32 last, __u32 all)
{
	__u64 *top = bpf_map_lookup_elem(&tf_t_holders, &tgid);
	struct tf_flush_range r = { .tgid = tgid, .first = first, .all = all };

	if (!top)
		return 0;
	if (last > *top)
		last = *top;
	if (first > last)
		return 0;
	if (tf_has_helper(loop)) {
		bpf_loop(last - first + 1, tf_flush_step, &r, 0);
	} else {
		for (__u32 step = 0; step < TF_FLUSH_OLD && step <= last - first; step++)
			tf_flush_one(tgid, first + step, all);
	}
	if (all)
		bpf_map_delete_elem(&tf_t_holders, &tgid);
	return 0;
}

/* One read or write, as its handler saw it. */
struct tf_io {
	__u64 file;
	__u64 begin;             /* bytes: position at which it began */
	__u64 bytes;
	__u64 buffer;            /* address: user's, 0 = none */
	__u64 buffer_len;        /* bytes: there */
	__u64 duration_ns;
	__u32 kind;
	__s32 fd;
	__s32 errno_;
	__u32 flags;             /* bits: header flags to add */
};

static __always_inline bool tf_note_holder(__u32 tgid, __u32 fd)
{
	__u64 *top = bpf_map_lookup_elem(&tf_t_holders, &tgid), fresh = fd, old;

	if (!top) {
		bpf_map_update_elem(&tf_t_holders, &tgid, &fresh, BPF_NOEXIST);
		top = bpf_map_lookup_elem(&tf_t_holders, &tgid);
		if (!top)
			return false;
	}
	for (int i = 0; i < 4; i++) { /* against other threads of the process */
		old = *(volatile __u64 *)top;
		if (old >= fd || tf_swap_if(top, old, fd))
			return true;
	}
	return false;
}

/* Makes the entry of a descriptor. In `slot`: the path first, the entry behind it, where no path reaches. */
static __always_inline bool tf_make_entry(struct tf_slot *slot, const struct tf_io *io, const struct tf_fd_key *key)
{
	struct tf_open_file *f = (struct tf_open_file *)(slot->data + 184 + TF_PATH_CAP);
	struct tf_text *text = &((struct tf_file *)slot->data)->path;
	struct file *file = (struct file *)io->file;
	struct path *path = tf_file_path(file);
	struct tf_followed *followed = bpf_map_lookup_elem(&tf_follow, &key->tgid);

	__builtin_memset(f, 0, sizeof(*f) - sizeof(f->path));
	f->file = io->file;
	f->followed = followed ? followed->set[0] | (__u64)followed->set[1] << 32 : 0;
	f->left_out = !tf_path_wanted(slot, path);
	tf_read_inode(file, &f->inode, &f->device);
	if (!f->left_out) {
		f->mode = tf_file_mode(file);
		f->file_flags = TF_READ(file, f_flags);
		f->flags = tf_path_into(slot, path, 0, 0);
		f->len = tf_keep_end(f->path, TF_KEPT_PATH, slot, text);
		f->full_len = text->full_len;
		if (f->len < f->full_len)
			f->flags |= TF_F_TRUNCATED;
	}
	if (!tf_note_holder(key->tgid, key->fd))
		return false;
	bpf_map_update_elem(&tf_t_files, key, f, BPF_NOEXIST); /* another thread may have been quicker */
	return true;
}

static __always_inline void tf_add_up(struct tf_open_file *f, struct tf_io_sum *sum, const struct tf_io *io)
{
	__u32 *bucket = (__u32 *)sum->buckets + tf_bucket(io->duration_ns);
	__u64 before = tf_fetch_add(&sum->count, 1);

	if (!before)
		sum->first = io->begin;
	else if (sum->next == io->begin)
		tf_add(&sum->sequential, 1);
	sum->next = io->begin + io->bytes;
	tf_add(&sum->bytes, io->bytes);
	tf_add(&sum->duration_ns, io->duration_ns);
	tf_add32(bucket, 1);
	if (io->flags)
		f->flags |= io->flags;
}

/* A row of its own: on demand, for a failed operation, and while the entry's row is being sent. */
static __always_inline void tf_send_single(struct tf_gate *g, const struct tf_who *who, const struct tf_io *io, __u32 kind, __u16 flags)
{
	struct file *file = (struct file *)io->file;
	struct tf_slot *slot = tf_claim(g);
	__u32 tail, len;
	struct tf_file *e;

	if (!slot)
		return;
	if (!tf_path_wanted(slot, tf_file_path(file))) {
		tf_release(slot);
		tf_count(g, TF_L_K_FILTERED);
		return;
	}
	e = tf_begin_file(g, slot, who, flags | io->flags, kind);
	tf_read_inode(file, &e->inode, &e->device);
	e->mode = tf_file_mode(file);
	e->file_flags = TF_READ(file, f_flags);
	e->offset = io->begin;
	e->size = io->bytes;
	e->duration_ns = io->duration_ns;
	e->fd = io->fd;
	e->errno_ = io->errno_;
	e->h.flags |= tf_path_into(slot, tf_file_path(file), 0, 0);
	tail = e->path.len;
	e->new_path.offset = e->data.offset = tail;
	if (tf_consts.content_max && io->buffer && io->bytes) {
		e->h.flags |= TF_F_USER_CLAIMED;
		e->data.full_len = io->bytes;
		len = io->bytes > tf_consts.content_max ? tf_consts.content_max : io->bytes;
		if (len > io->buffer_len)
			len = io->buffer_len;
		if (len < io->bytes)
			e->h.flags |= TF_F_TRUNCATED;
		if (len <= TF_PATH_CAP && tail <= TF_PATH_CAP && !bpf_probe_read_user(slot->data + sizeof(*e) + tail, len, (void *)io->buffer))
			e->data.len = len;
		else
			e->h.flags |= TF_F_PARTIAL;
	}
	if (tf_admit_path(g, slot, e))
		tf_output(g, kind, slot, sizeof(*e) + tail + e->data.len);
}

/* The gate; then into the entry, or out alone. The handler has ended an entry of another file before (tf_flush): called from here it would
 * take the stack beyond its 512 bytes. */
TF_GLOBAL int tf_io_op(struct tf_io *io)
{
	struct task_struct *task = tf_current();
	struct tf_open_file *f;
	struct tf_fd_key key;
	struct tf_slot *slot;
	struct tf_who who;
	struct tf_gate g;
	bool room = true;
	__u16 flags;
	__u32 kind;

	if (!io)
		return 0;
	kind = io->kind;
	if (kind < TF_K_FILE_READ || kind > TF_K_FILE_WRITE)
		return 0;
	if (!tf_admit_task(&g, &who, task, &flags, kind))
		return 0;
	key.tgid = who.pid;
	key.fd = io->fd;
	if (!(tf_consts.options & TF_O_SINGLE_IO) && !io->errno_ && (__u32)io->fd < TF_FD_MOST) {
		f = bpf_map_lookup_elem(&tf_t_files, &key);
		if (!f) {
			slot = tf_claim(&g);
			if (!slot)
				return 0;
			room = tf_make_entry(slot, io, &key);
			tf_release(slot);
			f = room ? bpf_map_lookup_elem(&tf_t_files, &key) : NULL;
		}
		if (!f)
			return tf_count(&g, TF_L_K_MAP_FULL);
		if (f->left_out)
			return tf_count(&g, TF_L_K_FILTERED);
		if (!f->taken && tf_is_entry_of(f, io->file)) {
			if (kind == TF_K_FILE_WRITE)
				tf_add_up(f, &f->sums[1], io);
			else
				tf_add_up(f, &f->sums[0], io);
			return tf_count(&g, TF_L_K_AGGREGATED);
		}
	}
	tf_send_single(&g, &who, io, kind, flags);
	return 0;
}

#endif
