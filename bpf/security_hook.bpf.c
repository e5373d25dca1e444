// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Security: what the kernel says by hooks of its own: refused capabilities, io_uring rings and what is asked of them. */
#include "tf_security.bpf.h"
#include "tf_sock.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

TF_KEEP_BTF(tf_security)

#define CAP_SYS_ADMIN 21         /* uapi/linux/capability.h */
#define CAP_OPT_NOAUDIT 2        /* linux/security.h */
#define PF_IO_WORKER 0x00000010  /* linux/sched.h */
#define CLONE_NAMESPACES 0x7e020000
#define IORING_OP_CONNECT 16     /* uapi/linux/io_uring.h */
#define IORING_OP_OPENAT 18
/* Operations on an open file (needs_file in io_uring/opdef.c of 6.18): the others' descriptor is not in the request. */
#define TF_OPS_WITH_FILE 0x3fc3cb064dc3277eull

/* The last record of a capability that a thread was refused. */
struct tf_refusal_key {
	__u64 start_ns;
	__u32 tid;
	__u32 cap;
};
struct tf_refusal {
	__u64 second;
	__u64 count;             /* refused since then */
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct tf_refusal_key);
	__type(value, struct tf_refusal);
} tf_refusals SEC(".maps");

/* Times that a capability was refused to this thread since its last record, this one included; 0: too soon for another record. */
static __always_inline __u64 tf_count_refusal(struct task_struct *task, __u32 cap, __u64 now)
{
	struct tf_refusal_key key = { .start_ns = TF_GO(task, start_boottime), .tid = TF_GO(task, pid), .cap = cap };
	struct tf_refusal *last = bpf_map_lookup_elem(&tf_refusals, &key), fresh = { .second = now / 1000000000 };
	__u64 count;

	if (!last) {
		bpf_map_update_elem(&tf_refusals, &key, &fresh, BPF_ANY); /* no room, no memory: a record too many */
		return 1;
	}
	if (last->second == fresh.second) {
		tf_add(&last->count, 1);
		return 0;
	}
	count = last->count + 1;
	last->second = fresh.second;
	last->count = 0;
	return count;
}

static __always_inline void tf_send_refusal(__u32 cap, __s32 error)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct tf_security *e;
	struct tf_who who;
	struct tf_gate g;
	__u64 count;
	__u16 flags;

	if (TF_GO(task, flags) & PF_KTHREAD)
		return;
	if (!tf_admit_task(&g, &who, task, &flags, TF_K_SECURITY_CAPABILITY_DENIED))
		return;
	count = tf_count_refusal(task, cap, tf_now(&g));
	if (!count) {
		tf_count(&g, TF_L_K_AGGREGATED);
		return;
	}
	e = tf_reserve(&g, TF_K_SECURITY_CAPABILITY_DENIED, struct tf_security);
	if (!e)
		return;
	tf_fill_gate(&g, &e->h, TF_K_SECURITY_CAPABILITY_DENIED);
	tf_fill_task(&e->h, &who, task, flags);
	__builtin_memset(&e->object_id, 0, sizeof(*e) - sizeof(e->h));
	e->action = TF_A_CAPABLE;
	e->value = cap;
	e->object_id = count;
	e->errno_ = error;
	tf_submit(&g, TF_K_SECURITY_CAPABILITY_DENIED, e);
}

/* The tracepoint does not say whether the check was one that the kernel makes on its own account. Nearly all such come from accounting
 * memory (CAP_SYS_ADMIN, in calls that need no such right): those are left out. */
static __always_inline bool tf_is_accounting(struct task_struct *task, __u32 cap)
{
	const struct tf_regs regs = tf_regs_of(cap == CAP_SYS_ADMIN ? (const void *)bpf_task_pt_regs(task) : NULL);
	__u32 nr;

	if (!regs.at)
		return false;
	nr = tf_sys_nr(&regs);
	if (nr == TF_NR_clone)
		return !(tf_sys_arg(&regs, 0) & CLONE_NAMESPACES);
	return nr == TF_NR_mmap || nr == TF_NR_brk || nr == TF_NR_mremap || nr == TF_NR_mprotect || nr == TF_NR_pkey_mprotect ||
	       nr == TF_NR_munmap || nr == TF_NR_execve || nr == TF_NR_execveat || nr == TF_NR_fork || nr == TF_NR_vfork ||
	       nr == TF_NR_NONE; /* a page fault: the stack grows */
}

/* Hook: cap_capable, since 6.14: every question for a capability, from any context; those answered no. */
SEC("tp_btf/cap_capable")
int BPF_PROG(tf_security_capable, const struct cred *cred, struct user_namespace *target, const struct user_namespace *capable, int cap,
	     int ret)
{
	if (ret && !tf_is_accounting(bpf_get_current_task_btf(), cap))
		tf_send_refusal(cap, -ret);
	return 0;
}

/* The same before 6.14, where the kernel has fexit. It tells which questions are the kernel's own. */
SEC("fexit/cap_capable")
int BPF_PROG(tf_security_capable_f, const struct cred *cred, struct user_namespace *target, int cap, unsigned int opts, int ret)
{
	if (ret && !(opts & CAP_OPT_NOAUDIT))
		tf_send_refusal(cap, -ret);
	return 0;
}

/* ... and where it has kprobes only: the question is noted, the answer is not yet known. */
struct tf_question {
	__u32 cap;
	__u32 opts;
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, struct tf_question);
} tf_questions SEC(".maps");

#if defined(__TARGET_ARCH_arm64)
#define TF_KARG2(regs) (regs)->regs[2]
#define TF_KARG3(regs) (regs)->regs[3]
#define TF_KRET(regs) (regs)->regs[0]
#else
#define TF_KARG2(regs) (regs)->dx
#define TF_KARG3(regs) (regs)->cx
#define TF_KRET(regs) (regs)->ax
#endif

SEC("kprobe/cap_capable")
int tf_security_capable_k(struct pt_regs *regs)
{
	struct tf_question q = { .cap = TF_KARG2(regs), .opts = TF_KARG3(regs) };
	__u64 tid = bpf_get_current_pid_tgid();

	bpf_map_update_elem(&tf_questions, &tid, &q, BPF_ANY);
	return 0;
}

SEC("kretprobe/cap_capable")
int tf_security_capable_kr(struct pt_regs *regs)
{
	__u64 tid = bpf_get_current_pid_tgid();
	struct tf_question *q = bpf_map_lookup_elem(&tf_questions, &tid);
	int ret = TF_KRET(regs);

	if (ret && q && !(q->opts & CAP_OPT_NOAUDIT))
		tf_send_refusal(q->cap, -ret);
	return 0;
}

/* Hook: io_uring_create, since 5.1: a ring was made. One that was refused shows as syscall.call only. */
SEC("tp_btf/io_uring_create")
int BPF_PROG(tf_security_uring, int fd, void *ctx_, __u32 sq_entries, __u32 cq_entries, __u32 flags)
{
	struct tf_act a = tf_new_act(TF_K_SECURITY_IO_URING, TF_A_IO_URING, 0);

	a.value = flags;
	a.object_id = (__u64)cq_entries << 32 | sq_entries;
	tf_send_act(&a);
	return 0;
}

/* Operations go to the bulk lane: a program may ask for millions a second. */
static __always_inline void tf_send_request(struct io_kiocb *req)
{
	struct tf_act a = tf_new_act(TF_K_SECURITY_IO_URING_OP, TF_A_IO_URING, 0);

	if (!req)
		return;
	a.value = req->opcode;
	a.object_id = a.value < 64 && TF_OPS_WITH_FILE >> a.value & 1 ? (__u64)(__s64)req->cqe.fd : -1ull;
	tf_send_like(&a, TF_K_SECURITY_IO_URING_OP);
}

/* Hook: io_uring_submit_req, since 6.4: each operation, when it is taken from the ring, by who submitted it (or the ring's own thread). */
SEC("tp_btf/io_uring_submit_req")
int BPF_PROG(tf_security_uring_op, struct io_kiocb *req)
{
	tf_send_request(req);
	return 0;
}

/* The same from 6.0 to 6.3. */
SEC("tp_btf/io_uring_submit_sqe")
int BPF_PROG(tf_security_uring_op_sqe, struct io_kiocb *req, bool force_nonblock)
{
	tf_send_request(req);
	return 0;
}

/* Whether current runs an io_uring request: as a worker of a ring, or while it submits. */
static __always_inline bool tf_in_uring(struct task_struct *task)
{
	struct tf_regs regs;

	if (TF_GO(task, flags) & PF_IO_WORKER)
		return true;
	regs = tf_regs_of((const void *)bpf_task_pt_regs(task));
	return regs.at && tf_sys_nr(&regs) == TF_NR_io_uring_enter;
}

/* Hook: security_file_open (fentry, with bpf_task_pt_regs: 5.15): an operation's open, with the path that the kernel found. A row beside
 * the operation's own. */
SEC("fentry/security_file_open")
int BPF_PROG(tf_security_uring_open, struct file *file)
{
	struct tf_act a = tf_new_act(TF_K_SECURITY_IO_URING_OP, TF_A_OPEN, 0);
	struct task_struct *task = bpf_get_current_task_btf();

	if (!file || !tf_in_uring(task))
		return 0;
	a.value = IORING_OP_OPENAT;
	a.object_id = file->f_flags;
	tf_act_file(&a, file);
	tf_send_like(&a, TF_K_SECURITY_IO_URING_OP);
	return 0;
}

/* Hook: security_socket_connect (fentry): an operation's connect; the address is the kernel's own copy. */
SEC("fentry/security_socket_connect")
int BPF_PROG(tf_security_uring_connect, struct socket *sock, void *address, int len)
{
	struct tf_act a = tf_new_act(TF_K_SECURITY_IO_URING_OP, TF_A_CONNECT, 0);
	struct task_struct *task = bpf_get_current_task_btf();
	__u64 at[4] = {};

	if (len < 2 || !tf_in_uring(task) || bpf_probe_read_kernel(at, 28, address))
		return 0;
	a.value = IORING_OP_CONNECT;
	a.family = (__u16)at[0];
	if (a.family == AF_INET || a.family == AF_INET6)
		a.dest_port = bpf_ntohs((__u16)(at[0] >> 16));
	if (a.family == AF_INET) {
		a.dest_ip[1] = (at[0] & 0xffffffff00000000ull) | 0xffff0000;
	} else if (a.family == AF_INET6) {
		a.dest_ip[0] = at[1];
		a.dest_ip[1] = at[2];
	}
	tf_send_like(&a, TF_K_SECURITY_IO_URING_OP);
	return 0;
}
