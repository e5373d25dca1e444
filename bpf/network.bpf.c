// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* TCP connections: connect (also failed ones), accept, close, all seen as changes of a socket's state. */
#include "tf_sock.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

TF_KEEP_BTF(tf_network)

/* errno(3) values for attempts that end without the kernel noting an error on the socket. */
#define TF_EADDRNOTAVAIL 99
#define TF_ECONNABORTED 103

struct tf_change {
	struct sock *sk;
	struct tf_owner *owner;  /* may be NULL: a socket older than us, or no memory */
	int from;
	int to;
};

static __always_inline void tf_read_owner(struct tf_who *who, const struct tf_owner *owner)
{
	who->cgroup_id = owner ? owner->subject.cgroup_id : 0;
	who->start_ns = owner ? owner->subject.start_ns : 0;
	who->followed = owner ? owner->followed : 0;
	who->pid = owner ? owner->subject.pid : 0;
}

static __always_inline void tf_fill_owner(struct tf_header *h, const struct tf_owner *owner)
{
	const struct tf_subject nobody = {};

	if (!owner || !owner->subject.pid) {
		tf_fill_subject(h, &nobody);
		h->flags = tf_base_flags() | TF_F_NO_OWNER;
		return;
	}
	tf_fill_subject(h, &owner->subject);
	if (owner->listener)
		h->flags |= TF_F_LISTENER_OWNER;
}

/* Why a connect() failed. Without sk_err it never got as far as a reply: no local port was free, or its own program closed it. */
static __always_inline int tf_connect_error(const struct sock *sk)
{
	if (sk->sk_err)
		return sk->sk_err;
	return tf_local_port(sk) ? TF_ECONNABORTED : TF_EADDRNOTAVAIL;
}

/* Takes the calling process for the owner. Kernel threads are nobody: they close sockets on behalf of processes. */
static __always_inline struct tf_owner *tf_take_ownership(struct sock *sk, __u8 direction, bool listener)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct tf_owner *owner;

	if (task->flags & PF_KTHREAD)
		return NULL;
	owner = bpf_sk_storage_get(&tf_owners, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!owner)
		return NULL;
	tf_read_subject(&owner->subject, task);
	tf_note_followed(owner);
	owner->listener = listener;
	if (direction != TF_DIR_UNKNOWN)
		owner->direction = direction;
	return owner;
}

/* Changes that only a system call makes, so that current is the process that acts on the socket. */
static __always_inline void tf_note_owner(struct tf_change *c)
{
	const bool connects = c->to == TCP_SYN_SENT, listens = c->to == TCP_LISTEN;
	struct tf_owner *owner;

	/* FIN_WAIT1, LAST_ACK: close() or shutdown(), by who really used the connection */
	if (!connects && !listens && c->to != TCP_FIN_WAIT1 && c->to != TCP_LAST_ACK)
		return;
	owner = tf_take_ownership(c->sk, connects ? TF_DIR_EGRESS : TF_DIR_UNKNOWN, listens);
	if (owner && connects) {
		owner->syn_ns = bpf_ktime_get_boot_ns();
		owner->established_ns = 0;
	}
}

/* The kind that a change of state makes, or -1. A handshake that a client began and never ended (SYN_RECV to CLOSE) is none, nor is the
 * end of a listener. Global: its answer is unknown to the verifier, which would else follow every pair of states to the end. */
__noinline int tf_kind_of_change(int from, int to)
{
	if (from == TCP_SYN_SENT && (to == TCP_ESTABLISHED || to == TCP_CLOSE))
		return TF_K_NETWORK_CONNECT;
	if (from == TCP_SYN_RECV && to == TCP_ESTABLISHED)
		return TF_K_NETWORK_ACCEPT;
	if (to == TCP_CLOSE && from != TCP_SYN_RECV && from != TCP_LISTEN && from != TCP_CLOSE)
		return TF_K_NETWORK_CLOSE;
	return -1;
}

/* What only this kind says. `began` is the owner's time at which it began, 0 = not known. */
static __always_inline void tf_fill_change(struct tf_network *e, struct tf_change *c, __u32 kind)
{
	__u64 began = 0;

	e->state = c->to; /* the hook runs before the socket's own field changes */
	e->old_state = c->from;
	if (kind == TF_K_NETWORK_CONNECT) {
		e->direction = TF_DIR_EGRESS;
		began = c->owner ? c->owner->syn_ns : 0;
		if (c->to == TCP_CLOSE)
			e->errno_ = tf_connect_error(c->sk);
	} else if (kind == TF_K_NETWORK_ACCEPT) {
		e->direction = TF_DIR_INGRESS;
	} else {
		tf_fill_counts(e, c->sk);
		e->errno_ = c->sk->sk_err;
		began = c->owner ? c->owner->established_ns : 0;
	}
	if (began && e->h.ts_ns > began)
		e->duration_ns = e->h.ts_ns - began;
}

_Static_assert(TF_K_NETWORK_ACCEPT == TF_K_NETWORK_CONNECT + 1 && TF_K_NETWORK_CLOSE == TF_K_NETWORK_CONNECT + 2, "one range");

/* One path for the three kinds, so that the verifier checks it once. */
static __always_inline void tf_emit_change(struct tf_change *c, __u32 kind)
{
	struct tf_network *e;
	struct tf_who who;
	struct tf_gate g;

	__builtin_assume(kind >= TF_K_NETWORK_CONNECT && kind <= TF_K_NETWORK_CLOSE); /* folds what the kinds have in common */
	tf_read_owner(&who, c->owner);
	if (!tf_admit(&g, &who, kind))
		return;
	e = tf_reserve(&g, kind, struct tf_network);
	if (!e)
		return;
	tf_fill_gate(&g, &e->h, kind);
	tf_fill_owner(&e->h, c->owner);
	tf_fill_sock(e, c->sk, c->owner ? c->owner->direction : TF_DIR_UNKNOWN);
	tf_fill_change(e, c, kind);
	tf_submit(&g, kind, e);
}

/* Hook: inet_sock_set_state, since 4.16, a few times per connection, before the state changes: SYN_SENT and LISTEN in the caller's
 * context, the rest mostly in softirq. Not fentry of tcp_connect and tcp_close: some kernels refuse those, and they miss resets. */
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(tf_network_state, struct sock *sk, int oldstate, int newstate)
{
	struct tf_change c = { .sk = sk, .from = oldstate, .to = newstate };
	int kind = tf_kind_of_change(oldstate, newstate);

	if (!sk || !tf_wanted_sock(sk))
		return 0;
	tf_note_owner(&c);
	if (kind < TF_K_NETWORK_CONNECT || kind > TF_K_NETWORK_CLOSE)
		return 0;
	c.owner = bpf_sk_storage_get(&tf_owners, sk, 0, 0);
	if (c.owner && newstate == TCP_ESTABLISHED) {
		c.owner->established_ns = bpf_ktime_get_boot_ns();
		if (kind == TF_K_NETWORK_ACCEPT)
			c.owner->direction = TF_DIR_INGRESS;
	}
	tf_emit_change(&c, kind);
	return 0;
}
