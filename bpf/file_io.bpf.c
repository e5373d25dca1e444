// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Open files in use: read and write (added up per open file, or one by one), close. Regular files with a name only for reads and writes:
 * pipes, sockets, terminals and memfds are not files to people. */
#include "tf_file_io.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

TF_KEEP_BTF(tf_file)

#define TF_CLOSE_RANGE_CLOEXEC 4u /* uapi/linux/close_range.h: only marks them */
#define TF_CLOSE_RANGE_KNOWN 6u
#define TF_I386_SENDFILE 187      /* its position has 32 bits */

/* Something was read or written, by a descriptor that another thread has closed meanwhile: of what file is not known any more. */
__noinline int tf_lose_io(__u32 kind)
{
	struct task_struct *task = tf_current();
	struct tf_who who;
	struct tf_gate g;
	__u16 flags;

	if (kind < TF_K_FILE_READ || kind > TF_K_FILE_WRITE)
		return 0;
	if (tf_admit_task(&g, &who, task, &flags, kind))
		tf_count(&g, TF_L_K_FAULT);
	return 0;
}

/* One side of a call: `bytes` moved by descriptor fd in this direction. `at`: the position it was told to begin at, or -1: the file's own,
 * which by now stands where the operation ended. */
TF_GLOBAL int tf_io_side(struct tf_io *io, __s32 fd, __s64 ret, __s64 at)
{
	struct file *file = tf_file_of(tf_current(), fd);

	if (io && !file && ret > 0)
		return tf_lose_io(io->kind);
	if (!io || !file || (tf_file_mode(file) & TF_S_IFMT) != TF_S_IFREG || !tf_has_name(file))
		return 0;
	io->file = (__u64)file;
	io->fd = fd;
	io->errno_ = tf_sys_errno(ret);
	io->bytes = ret > 0 ? ret : 0;
	io->begin = at >= 0 ? (__u64)at : TF_READ(file, f_pos) - io->bytes;
	if (!(tf_consts.options & TF_O_SINGLE_IO))
		tf_flush(TF_GO(tf_current(), tgid), fd, io->file); /* of a file that was here before, closed unseen */
	return tf_io_op(io);
}

/* Where content is taken from: the buffer, or the first one of a vector. */
static __always_inline void tf_io_buffer(struct tf_io *io, __u64 at, long ret, bool vector)
{
	__u64 first[2] = {}; /* struct iovec: base, length; of 32 bits each in the 32-bit interface */

	io->buffer = at;
	io->buffer_len = ret;
	if (vector && !bpf_probe_read_user(first, tf_is_compat() ? 8 : 16, (void *)at)) {
		if (tf_is_compat()) {
			first[1] = first[0] >> 32;
			first[0] = (__u32)first[0];
		}
		io->buffer = first[0];
		io->buffer_len = first[1];
	}
}

static __always_inline void tf_io_begin(struct tf_io *io, const __u32 kind, __u32 nr)
{
	__builtin_memset(io, 0, sizeof(*io));
	io->kind = kind;
	io->duration_ns = tf_sys_duration(tf_note_of(nr), bpf_ktime_get_boot_ns());
}

/* fd, buffer (or vector, count), size, position: the order of all calls of the two families. preadv and pwritev have the position's low
 * half in argument 3, which on 64 bits is all of it; -1 in the "2" variants means the file's own position. */
static __always_inline void tf_io_plain(const struct tf_regs *regs, long ret, const bool write, __u32 nr)
{
	const bool positioned = write ? nr == TF_NR_pwrite64 || nr == TF_NR_pwritev || nr == TF_NR_pwritev2 :
					nr == TF_NR_pread64 || nr == TF_NR_preadv || nr == TF_NR_preadv2;
	const bool vector = write ? nr == TF_NR_writev || nr == TF_NR_pwritev || nr == TF_NR_pwritev2 :
				    nr == TF_NR_readv || nr == TF_NR_preadv || nr == TF_NR_preadv2;
	struct tf_io io;

	tf_io_begin(&io, write ? TF_K_FILE_WRITE : TF_K_FILE_READ, nr);
	if (tf_consts.content_max && tf_consts.options & TF_O_SINGLE_IO && ret > 0)
		tf_io_buffer(&io, tf_sys_arg(regs, 1), ret, vector);
	tf_io_side(&io, tf_sys_arg(regs, 0), ret, positioned ? (__s64)tf_sys_wide(regs, 3) : -1);
}

/* Where a call that takes a pointer to its position began: the kernel has added what it moved. -1: the file's own, or not to be read. */
static __always_inline __s64 tf_io_position(struct tf_io *io, __u64 pointer, long ret, bool small)
{
	__s64 at = 0;

	if (!pointer || bpf_probe_read_user(&at, small ? 4 : 8, (void *)pointer))
		return -1;
	io->flags |= TF_F_USER_CLAIMED;
	return at - (ret > 0 ? ret : 0);
}

/* From file to file (or pipe, or socket): sendfile(out, in, position, n); copy_file_range and splice (in, position, out, position, n). Each
 * end that is a regular file has an operation. */
static __always_inline void tf_io_move(const struct tf_regs *regs, long ret, __u32 nr)
{
	const bool sendfile = nr == TF_NR_sendfile, small = tf_compat_nr(regs) == TF_I386_SENDFILE;
	struct tf_io io;

	if (tf_enabled(TF_K_FILE_READ)) {
		tf_io_begin(&io, TF_K_FILE_READ, nr);
		tf_io_side(&io, sendfile ? tf_sys_arg(regs, 1) : tf_sys_arg(regs, 0), ret,
			   tf_io_position(&io, sendfile ? tf_sys_arg(regs, 2) : tf_sys_arg(regs, 1), ret, small));
	}
	if (tf_enabled(TF_K_FILE_WRITE)) {
		tf_io_begin(&io, TF_K_FILE_WRITE, nr);
		tf_io_side(&io, sendfile ? tf_sys_arg(regs, 0) : tf_sys_arg(regs, 2), ret,
			   sendfile ? -1 : tf_io_position(&io, tf_sys_arg(regs, 3), ret, false));
	}
}

/* One program for all of these calls: the verifier checks it once. The most frequent ones are told first. */
TF_ON_EXIT(tf_file_io, TF_SYS_FILE)
{
	if (nr == TF_NR_read || nr == TF_NR_pread64 || nr == TF_NR_readv || nr == TF_NR_preadv || nr == TF_NR_preadv2)
		tf_io_plain(regs, ret, false, nr);
	else if (nr == TF_NR_sendfile || nr == TF_NR_copy_file_range || nr == TF_NR_splice)
		tf_io_move(regs, ret, nr);
	else
		tf_io_plain(regs, ret, true, nr);
}

/* A file about to be closed, as the entry of the call found it: at the exit it is gone. */
struct tf_closing {
	__u64 call_ns;           /* ns: entry of the call */
	__u64 inode;
	__u64 size;
	__u32 device;
	__u32 mode;
	__u32 file_flags;
	__u32 flags;             /* bits: header flags of the path */
	__u32 len;
	__u32 full_len;
	__u32 left_out;          /* bool */
	__u32 _pad0;
	char path[TF_KEPT_PATH];
};
TF_TASK_STORE(tf_closings, struct tf_closing);

/* Whether the rules in force let this process's records pass: else its paths need not be read. Nothing is counted. */
static __always_inline bool tf_may_pass(struct task_struct *task)
{
	struct tf_who who;
	__u16 flags;

	if (!tf_read_once(tf_rules_of(tf_settings.gen)->clauses[TF_K_FILE_CLOSE]))
		return false;
	tf_read_who(&who, task, &flags);
	if (tf_consts.self_tgid && who.pid == tf_consts.self_tgid)
		return false;
	return tf_may_match(&who, TF_K_FILE_CLOSE, TF_K_FILE_CLOSE);
}

/* A close that there was no memory to note. */
__noinline int tf_lose_close(__s32 fd)
{
	struct file *file = tf_file_of(tf_current(), fd);

	if (file && tf_has_name(file))
		tf_lose(TF_K_FILE_CLOSE);
	return 0;
}

/* Notes what descriptor fd is, at the entry of a call that closes it. False: not a file with a name, or (counted) no memory. */
__noinline int tf_note_closing(__s32 fd, __u64 call_ns)
{
	struct task_struct *task = tf_current();
	struct file *file = tf_file_of(task, fd);
	struct tf_closing *c;
	struct tf_slot *slot;
	struct tf_text *text;
	struct inode *node;

	if (!file || !tf_has_name(file))
		return 0;
	c = bpf_task_storage_get(&tf_closings, bpf_get_current_task_btf(), 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!c)
		return tf_lose_close(fd);
	node = TF_READ(file, f_inode);
	tf_read_inode(file, &c->inode, &c->device);
	c->size = node ? TF_READ(node, i_size) : 0;
	c->mode = tf_file_mode(file);
	c->file_flags = TF_READ(file, f_flags);
	c->flags = TF_F_PARTIAL; /* unless the path is read */
	c->len = c->full_len = c->left_out = 0;
	c->call_ns = call_ns;
	slot = tf_may_pass(task) ? tf_take_slot(bpf_get_smp_processor_id()) : NULL;
	if (!slot)
		return 1;
	text = &((struct tf_file *)slot->data)->path;
	c->left_out = !tf_path_wanted(slot, tf_file_path(file));
	if (!c->left_out) {
		c->flags = tf_path_into(slot, tf_file_path(file), 0, 0);
		c->len = tf_keep_end(c->path, TF_KEPT_PATH, slot, text);
		c->full_len = text->full_len;
		if (c->len < c->full_len)
			c->flags |= TF_F_TRUNCATED;
	}
	tf_release(slot);
	return 1;
}

/* Sends the row of a close that was noted in the call that began at call_ns. */
__noinline int tf_send_close(__s32 fd, __u64 call_ns, __u64 duration_ns, __s32 errno_)
{
	struct task_struct *task = tf_current();
	struct tf_closing *c = bpf_task_storage_get(&tf_closings, bpf_get_current_task_btf(), 0, 0);
	struct tf_slot *slot;
	struct tf_file *e;
	struct tf_who who;
	struct tf_gate g;
	__u16 flags;

	if (!c || !call_ns || c->call_ns != call_ns)
		return 0;
	c->call_ns = 0;
	if (!tf_admit_task(&g, &who, task, &flags, TF_K_FILE_CLOSE))
		return 0;
	if (c->left_out)
		return tf_count(&g, TF_L_K_FILTERED);
	slot = tf_claim(&g);
	if (!slot)
		return 0;
	e = tf_begin_file(&g, slot, &who, flags | c->flags, TF_K_FILE_CLOSE);
	e->inode = c->inode;
	e->device = c->device;
	e->size = c->size;
	e->mode = c->mode;
	e->file_flags = c->file_flags;
	e->duration_ns = duration_ns;
	e->fd = fd;
	e->errno_ = errno_;
	tf_put_kept(slot, e, c->path, c->len, c->full_len);
	if (tf_admit_path(&g, slot, e))
		tf_output(&g, TF_K_FILE_CLOSE, slot, sizeof(*e) + e->path.len);
	return 0;
}

struct tf_close_range {
	__u64 call_ns;
	__u32 first;
};

__noinline int tf_close_one(__s32 fd, __u64 call_ns)
{
	if (tf_note_closing(fd, call_ns))
		tf_send_close(fd, call_ns, 0, 0);
	return 0;
}

static long tf_close_step(__u32 step, struct tf_close_range *r)
{
	return tf_close_one(r->first + step, r->call_ns);
}

#define TF_CLOSE_OLD 64 /* descriptors looked at where there is no bpf_loop (before 5.17) */

/* A row per descriptor, at the entry: the call fails only for what is checked here, and at its exit the files are gone. */
static __always_inline void tf_close_range(struct task_struct *task, __u32 first, __u32 last, __u32 flags, __u64 call_ns)
{
	struct tf_close_range r = { .call_ns = call_ns, .first = first };
	struct files_struct *files = TF_READ(task, files);
	struct fdtable *table = files ? TF_READ(files, fdt) : NULL;
	__u32 top = table ? TF_READ(table, max_fds) : 0;

	if (flags & TF_CLOSE_RANGE_CLOEXEC || flags & ~TF_CLOSE_RANGE_KNOWN || first > last || first >= top)
		return;
	if (last >= top)
		last = top - 1;
	if (last - first >= TF_FD_MOST)
		last = first + TF_FD_MOST - 1;
	if (tf_has_helper(loop)) {
		bpf_loop(last - first + 1, tf_close_step, &r, 0);
		return;
	}
	for (__u32 step = 0; step < TF_CLOSE_OLD && step <= last - first; step++)
		tf_close_one(first + step, call_ns);
}

/* Entry of close, dup2, dup3 (which close what the new number had) and close_range. */
TF_ON_ENTER(tf_file_closing, TF_SYS_FILE)
{
	__s32 fd = tf_sys_arg(regs, 0);

	if (nr == TF_NR_close_range) {
		tf_close_range(tf_current(), fd, tf_sys_arg(regs, 1), tf_sys_arg(regs, 2), bpf_ktime_get_boot_ns());
		return;
	}
	if (nr != TF_NR_close) {
		if (fd == (__s32)tf_sys_arg(regs, 1))
			return;
		fd = tf_sys_arg(regs, 1);
	}
	if (note)
		tf_note_closing(fd, note->start_ns);
	else
		tf_lose_close(fd);
}

/* Exit of the same: the close's own row, and before it what the file was used for. close() has freed the descriptor also where it says EIO
 * or EINTR; a failed dup2 has closed nothing. */
TF_ON_EXIT(tf_file_closed, TF_SYS_FILE)
{
	struct task_struct *task = tf_current();
	struct tf_note *note = tf_note_of(nr);
	__u64 call_ns = note ? note->start_ns : 0;
	__s32 fd = tf_sys_arg(regs, 0);

	if (nr == TF_NR_close_range) {
		tf_flush_range(TF_GO(task, tgid), fd, tf_sys_arg(regs, 1), 0);
		return;
	}
	if (nr != TF_NR_close) {
		fd = tf_sys_arg(regs, 1);
		if (ret < 0)
			return;
	}
	if (tf_enabled(TF_K_FILE_READ) || tf_enabled(TF_K_FILE_WRITE))
		tf_flush(TF_GO(task, tgid), fd, (__u64)tf_file_of(task, fd));
	if (tf_enabled(TF_K_FILE_CLOSE))
		tf_send_close(fd, call_ns, tf_sys_duration(note, bpf_ktime_get_boot_ns()), tf_sys_errno(ret));
}

/* Hook: sched_process_exec, since 3.4: descriptors marked close-on-exec are gone by now. */
SEC("tp_btf/sched_process_exec")
int tf_file_exec(__u64 *ctx)
{
	tf_flush_range(((struct task_struct *)ctx[0])->tgid, 0, 0xffffffff, 0);
	return 0;
}

/* Hook: sched_process_exit, once per thread, before the process lets go of its files; the last one matters (of threads that end at the same
 * time more than one may see 0: an entry is sent by who takes it). Its first argument is the same in every kernel. */
SEC("tp_btf/sched_process_exit")
int tf_file_exit(__u64 *ctx)
{
	struct task_struct *task = (struct task_struct *)ctx[0];

	if (!tf_plain_task(task)->signal->live.counter)
		tf_flush_range(TF_GO(task, tgid), 0, 0xffffffff, 1);
	return 0;
}
