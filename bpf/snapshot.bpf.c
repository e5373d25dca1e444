// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* What ran before us: processes and TCP sockets, by BPF iterators, as SNAPSHOT records through the same gate into the critical ring.
 * Each object also writes 64 bytes to the reader of the iterator, so that user space paces the walk between drain passes. */
#include "tf_args.bpf.h"
#include "tf_iter.bpf.h"
#include "tf_path.bpf.h"
#include "tf_sock.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

TF_KEEP_BTF(tf_meta)
TF_KEEP_BTF(tf_network)

static __always_inline void tf_clear_meta(struct tf_meta *e)
{
	__builtin_memset(&e->epoch, 0, sizeof(*e) - sizeof(e->h));
}

/* argv of another process, where the kernel can fault its pages in (5.18). The process can write there: user claimed. */
static __always_inline __u16 tf_copy_args(struct tf_slot *slot, struct task_struct *task, __u32 offset, struct tf_text *text)
{
	struct mm_struct *mm = tf_plain_task(task)->mm;
	__u16 flags = TF_F_USER_CLAIMED;
	__u64 start;
	__u32 len;

	text->offset = offset;
	text->len = text->full_len = 0;
	if (!mm)
		return 0;
	len = tf_measure_args(mm, text, &start, &flags);
	if (!len || offset > 2 * TF_PATH_CAP)
		return flags;
	if (bpf_copy_from_user_task(slot->data + 184 + offset, len, (void *)start, task, 0))
		return flags | TF_F_PARTIAL;
	text->len = len;
	return flags;
}

static __always_inline int tf_snapshot_process(struct bpf_iter__task *ctx, const bool with_args)
{
	struct task_struct *task = ctx->task;
	struct tf_slot *slot;
	struct mm_struct *mm;
	struct tf_meta *e;
	struct tf_who who;
	struct tf_gate g;
	__u16 flags;
	__u32 tail;

	if (!task || task->pid != task->tgid)
		return TF_NEXT;
	if (tf_ring_is_full(TF_CRITICAL))
		return TF_AGAIN;
	if (!tf_admit_task(&g, &who, task, &flags, TF_K_META_SNAPSHOT_PROCESS))
		return TF_NEXT;
	slot = tf_claim(&g);
	if (!slot)
		return TF_NEXT;
	e = (struct tf_meta *)slot->data;
	tf_fill_gate(&g, &e->h, TF_K_META_SNAPSHOT_PROCESS);
	tf_fill_task(&e->h, &who, task, flags);
	tf_clear_meta(e);
	e->parent_start_ns = tf_plain_task(task)->real_parent->group_leader->start_boottime;
	mm = tf_plain_task(task)->mm;
	flags |= tf_read_path(slot, mm ? tf_file_path(mm->exe_file) : NULL, 0, &e->path);
	tail = e->path.len;
	flags |= tf_read_path(slot, mm ? tf_cwd_path(task) : NULL, tail, &e->path2);
	tail += e->path2.len;
	if (with_args)
		flags |= tf_copy_args(slot, task, tail, &e->data);
	else if (mm)
		flags |= TF_F_PARTIAL;
	e->h.flags = flags;
	tail += e->data.len;
	tf_output(&g, TF_K_META_SNAPSHOT_PROCESS, slot, sizeof(*e) + tail);
	tf_pace(ctx->meta);
	return TF_NEXT;
}

/* Hook: iterator over all tasks. Sleepable where the kernel has that (5.18): only so can argv be read. */
SEC("iter.s/task")
int tf_snapshot_task(struct bpf_iter__task *ctx)
{
	return tf_snapshot_process(ctx, true);
}

/* The same for kernels before 5.18: without argv, flagged partial. */
SEC("iter/task")
int tf_snapshot_task_old(struct bpf_iter__task *ctx)
{
	return tf_snapshot_process(ctx, false);
}

/* A snapshot of a socket: the meta row, then a network row without its header. */
struct tf_snapshot_row {
	struct tf_meta meta;
	__u8 network[sizeof(struct tf_network) - sizeof(struct tf_header)];
};

static __always_inline void tf_emit_socket(struct tf_gate *g, struct sock *sk, struct tf_owner *owner)
{
	struct tf_snapshot_row *row = tf_reserve(g, TF_K_META_SNAPSHOT_SOCKET, struct tf_snapshot_row);
	struct tf_network *net;

	if (!row)
		return;
	net = (struct tf_network *)(row->network - sizeof(struct tf_header));
	tf_fill_sock(net, sk, TF_DIR_UNKNOWN);
	tf_fill_counts(net, sk);
	tf_fill_gate(g, &row->meta.h, TF_K_META_SNAPSHOT_SOCKET);
	tf_fill_subject(&row->meta.h, &owner->subject);
	tf_clear_meta(&row->meta);
	row->meta.object_id = net->cookie;
	row->meta.data.offset = 0;
	row->meta.data.len = row->meta.data.full_len = sizeof(row->network);
	tf_submit(g, TF_K_META_SNAPSHOT_SOCKET, row);
}

/* Hook: iterator over all open files. Gives each TCP socket that has none an owner (the first process found that holds it), so that its
 * later accepts and its close have a subject, and reports it. A socket opened since the hooks were attached has one: it is skipped. */
SEC("iter/task_file")
int tf_snapshot_sockets(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct socket *socket;
	struct tf_owner *owner;
	struct tf_who who;
	struct tf_gate g;
	struct sock *sk;
	__u16 flags;

	if (!task || !file)
		return TF_NEXT;
	socket = bpf_sock_from_file(file);
	if (!socket)
		return TF_NEXT;
	sk = socket->sk;
	if (!sk || (sk->__sk_common.skc_family != AF_INET && sk->__sk_common.skc_family != AF_INET6) || !tf_wanted_sock(sk))
		return TF_NEXT;
	if (tf_ring_is_full(TF_CRITICAL))
		return TF_AGAIN;
	owner = bpf_sk_storage_get(&tf_owners, sk, 0, 0);
	if (owner && owner->subject.pid)
		return TF_NEXT;
	owner = bpf_sk_storage_get(&tf_owners, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!owner) {
		if (tf_admit_task(&g, &who, task, &flags, TF_K_META_SNAPSHOT_SOCKET))
			tf_count(&g, TF_L_K_MAP_FULL);
		return TF_NEXT;
	}
	tf_read_subject(&owner->subject, task);
	tf_note_followed(owner);
	owner->listener = sk->__sk_common.skc_state == TCP_LISTEN;
	who.cgroup_id = owner->subject.cgroup_id;
	who.start_ns = owner->subject.start_ns;
	who.followed = owner->followed;
	who.pid = owner->subject.pid;
	if (tf_admit(&g, &who, TF_K_META_SNAPSHOT_SOCKET))
		tf_emit_socket(&g, sk, owner);
	tf_pace(ctx->meta);
	return TF_NEXT;
}

/* Not a record: an entry of what tf_list_pids writes to its reader (csrc/tf_object_rules.c has the same struct). */
struct tf_pid_entry {
	__u64 start_ns;
	__u32 local;             /* id in the reader's pid namespace */
	__u32 host;              /* id in the host's */
	__u32 parent;            /* host id of the parent */
	__u32 _pad0;
};

/* Lists the processes of the reader's pid namespace, for rules that name processes as the caller sees them. */
SEC("iter/task")
int tf_list_pids(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task, *self = tf_current();
	struct pid_namespace *ns = NULL, *own = NULL;
	struct tf_pid_entry entry = {};
	struct pid *pid, *own_pid;
	__u32 level = 0, nr = 0;

	if (!task || task->pid != task->tgid)
		return TF_NEXT;
	own_pid = TF_GO(tf_plain_task(self), thread_pid);
	pid = tf_plain_task(task)->thread_pid;
	if (!own_pid || !pid)
		return TF_NEXT;
	bpf_core_read(&level, sizeof(level), &own_pid->level);
	if (level > 32 || level > BPF_CORE_READ(pid, level))
		return TF_NEXT;
	bpf_core_read(&own, sizeof(own), &own_pid->numbers[level & 63].ns);
	bpf_core_read(&ns, sizeof(ns), &pid->numbers[level & 63].ns);
	bpf_core_read(&nr, sizeof(nr), &pid->numbers[level & 63].nr);
	if (ns != own)
		return TF_NEXT;
	entry.start_ns = task->start_boottime;
	entry.local = nr;
	entry.host = task->tgid;
	entry.parent = tf_plain_task(task)->real_parent->tgid;
	bpf_seq_write(ctx->meta->seq, &entry, sizeof(entry));
	return TF_NEXT;
}
