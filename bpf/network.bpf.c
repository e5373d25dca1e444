// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* TCP connections: connect (also failed ones), accept, close, listen, all seen as changes of a socket's state; their trouble:
 * retransmissions, resets, errors; round trip times. */
#include "tf_skb.bpf.h"

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
	struct task_struct *task = tf_current();
	struct tf_owner *owner;

	if (TF_GO(task, flags) & PF_KTHREAD)
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

/* A socket that has no memory left to keep an owner in (its program may fill it: net.core.optmem_max): what comes of it is nobody's, so
 * that a filter may refuse it. The actor is at hand here, and has one lost. Global: rarely run, checked once. */
__noinline int tf_lose_owner(int state)
{
	if (TF_GO(tf_current(), flags) & PF_KTHREAD)
		return 0;
	if (state == TCP_SYN_SENT)
		tf_lose(TF_K_NETWORK_CONNECT);
	if (state == TCP_LISTEN)
		tf_lose(TF_K_NETWORK_LISTEN);
	return 0;
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
	if (!owner)
		tf_lose_owner(c->to);
	if (owner && connects) {
		owner->syn_ns = bpf_ktime_get_boot_ns();
		owner->established_ns = 0;
	}
	if (owner && listens) { /* it may have been a client's before; what it accepts takes after it */
		owner->syn_ns = 0;
		owner->direction = TF_DIR_UNKNOWN;
	}
}

#ifdef TF_OLD
/* Without socket storage: a socket that begins a life has nothing of an earlier one at its address, and an accepted one begins with what its
 * listener has. It has just been copied from the listener, byte by byte: an empty list in it still points to the listener's. */
static __always_inline void tf_begin_life(struct tf_change *c)
{
	struct tcp_sock *tcp = (struct tcp_sock *)c->sk;
	__u64 key = tf_old_sock_key(c->sk), listener = 0;
	struct tf_owner *owner = NULL;

	if (c->from == TCP_LISTEN && c->to == TCP_SYN_RECV) {
		bpf_core_read(&listener, sizeof(listener), &tcp->tsorted_sent_queue.next);
		listener -= bpf_core_field_offset(struct tcp_sock, tsorted_sent_queue);
		owner = listener == key ? NULL : bpf_map_lookup_elem(&tf_owners, &listener);
	} else if (c->from != TCP_CLOSE) {
		return;
	}
	if (owner)
		bpf_map_update_elem(&tf_owners, &key, owner, BPF_ANY);
	else
		bpf_map_delete_elem(&tf_owners, &key);
}
#else
#define tf_begin_life(change) ((void)0) /* the kernel does it */
#endif

/* The kind that a change of state makes, or -1. A handshake that a client began and never ended (SYN_RECV to CLOSE) is none, nor is the
 * end of a listener. Global: its answer is unknown to the verifier, which would else follow every pair of states to the end. */
__noinline int tf_kind_of_change(int from, int to)
{
	if (from == TCP_SYN_SENT && (to == TCP_ESTABLISHED || to == TCP_CLOSE))
		return TF_K_NETWORK_CONNECT;
	if (from == TCP_SYN_RECV && to == TCP_ESTABLISHED)
		return TF_K_NETWORK_ACCEPT;
	if (to == TCP_LISTEN)
		return TF_K_NETWORK_LISTEN;
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
	struct tf_ends ends = {};
	struct tf_gate g;

	__builtin_assume(kind >= TF_K_NETWORK_CONNECT && kind <= TF_K_NETWORK_CLOSE); /* folds what the kinds have in common */
	tf_read_ends(&ends, c->sk);
	if (!tf_admit_owned(&g, c->owner, &ends, kind))
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

/* listen, state: a row that says no more than the change. */
static __always_inline void tf_emit_other(struct tf_change *c, const __u32 kind)
{
	struct tf_network *e;
	struct tf_ends ends = {};
	struct tf_gate g;

	tf_read_ends(&ends, c->sk);
	e = tf_begin_owned(&g, c->owner, &ends, kind);
	if (!e)
		return;
	tf_fill_sock(e, c->sk, kind == TF_K_NETWORK_LISTEN ? TF_DIR_INGRESS : c->owner ? c->owner->direction : TF_DIR_UNKNOWN);
	e->state = c->to;
	e->old_state = c->from;
	e->errno_ = c->sk->sk_err;
	tf_submit(&g, kind, e);
}

/* Of connect, accept and close. */
static __always_inline bool tf_enabled_kind(int kind)
{
	return kind == TF_K_NETWORK_CONNECT ? tf_enabled(TF_K_NETWORK_CONNECT) :
	       kind == TF_K_NETWORK_ACCEPT ? tf_enabled(TF_K_NETWORK_ACCEPT) : tf_enabled(TF_K_NETWORK_CLOSE);
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
	tf_begin_life(&c);
	tf_note_owner(&c);
	if (kind < 0 && oldstate != TCP_SYN_RECV && !tf_enabled(TF_K_NETWORK_STATE))
		return 0;
	c.owner = bpf_sk_storage_get(&tf_owners, sk, 0, 0);
	/* simultaneous open: the other end answered connect() with a SYN of its own, or was this very socket */
	if (oldstate == TCP_SYN_RECV && (newstate == TCP_ESTABLISHED || newstate == TCP_CLOSE) && c.owner && c.owner->syn_ns &&
	    !c.owner->established_ns)
		kind = TF_K_NETWORK_CONNECT;
	if (c.owner && newstate == TCP_ESTABLISHED) {
		c.owner->established_ns = bpf_ktime_get_boot_ns();
		if (kind == TF_K_NETWORK_ACCEPT)
			c.owner->direction = TF_DIR_INGRESS;
	}
	if (kind >= TF_K_NETWORK_CONNECT && kind <= TF_K_NETWORK_CLOSE && tf_enabled_kind(kind))
		tf_emit_change(&c, kind);
	if (kind == TF_K_NETWORK_LISTEN && tf_enabled(TF_K_NETWORK_LISTEN))
		tf_emit_other(&c, TF_K_NETWORK_LISTEN);
	if (tf_enabled(TF_K_NETWORK_STATE))
		tf_emit_other(&c, TF_K_NETWORK_STATE);
	return 0;
}

/* A row about a socket whose process is not at hand: its remembered owner is the subject. NULL: refused or no room, counted. */
static __always_inline struct tf_network *tf_begin_sock(struct tf_gate *g, struct sock *sk, const __u32 kind)
{
	struct tf_owner *owner = bpf_sk_storage_get(&tf_owners, sk, 0, 0);
	struct tf_network *e;
	struct tf_ends ends = {};

	tf_read_ends(&ends, sk);
	e = tf_begin_owned(g, owner, &ends, kind);
	if (!e)
		return NULL;
	tf_fill_sock(e, sk, owner ? owner->direction : TF_DIR_UNKNOWN);
	return e;
}

static __always_inline void tf_emit_retransmit(struct sock *sk, struct sk_buff *skb, int err)
{
	struct tf_network *e;
	struct tf_gate g;

	if (!sk || !skb || !tf_wanted_sock(sk))
		return;
	e = tf_begin_sock(&g, sk, TF_K_NETWORK_RETRANSMIT);
	if (!e)
		return;
	tf_fill_counts(e, sk);
	e->bytes_sent = skb->len;
	e->bytes_received = 0;
	e->errno_ = err < 0 ? -err : 0;
	tf_submit(&g, TF_K_NETWORK_RETRANSMIT, e);
}

/* Hook: tcp_retransmit_skb, since 4.15, once per segment sent again, from a timer or softirq; before 6.16 only those that could be
 * sent. */
SEC("tp_btf/tcp_retransmit_skb")
int BPF_PROG(tf_network_retransmit, struct sock *sk, struct sk_buff *skb, int err)
{
	tf_emit_retransmit(sk, skb, err);
	return 0;
}

SEC("tp_btf/tcp_retransmit_skb")
int BPF_PROG(tf_network_retransmit_old, struct sock *sk, struct sk_buff *skb)
{
	tf_emit_retransmit(sk, skb, 0);
	return 0;
}

/* A reset that we send. A packet for no connection (sk NULL, a listener, a short socket) tells its ends itself. */
static __always_inline void tf_emit_send_reset(struct sock *sk, struct sk_buff *skb, __u32 reason)
{
	struct tf_packet p = {};
	struct tf_network *e;
	struct tf_gate g;
	__u32 netns;

	if (tf_is_full(sk) && sk->__sk_common.skc_state != TCP_LISTEN) {
		if (!tf_wanted_sock(sk))
			return;
		e = tf_begin_sock(&g, sk, TF_K_NETWORK_RESET);
		if (!e)
			return;
	} else {
		if (!skb || !tf_skb_is_ip(skb))
			return;
		netns = sk ? tf_plain_sock(sk)->__sk_common.skc_net.net->ns.inum : tf_skb_netns(skb);
		if (!tf_wanted_netns(netns) || !tf_parse_packet(tf_network_header(skb), &p))
			return;
		e = tf_begin_packet(&g, tf_is_full(sk) ? sk : NULL, &p, TF_K_NETWORK_RESET, TF_DIR_EGRESS, true);
		if (!e)
			return;
		e->netns = netns;
		e->state = sk ? sk->__sk_common.skc_state : TCP_CLOSE;
	}
	e->direction = TF_DIR_EGRESS;
	e->reason = reason;
	tf_submit(&g, TF_K_NETWORK_RESET, e);
}

/* Hook: tcp_send_reset, since 4.17, once per reset sent: in softirq for a packet that fits no connection, in the caller's context for a
 * connection closed with data unread. The reason came in 6.10. */
SEC("tp_btf/tcp_send_reset")
int BPF_PROG(tf_network_send_reset, struct sock *sk, struct sk_buff *skb, int reason)
{
	tf_emit_send_reset(sk, skb, reason);
	return 0;
}

SEC("tp_btf/tcp_send_reset")
int BPF_PROG(tf_network_send_reset_old, struct sock *sk, struct sk_buff *skb)
{
	tf_emit_send_reset(sk, skb, 0);
	return 0;
}

/* Hook: tcp_receive_reset, since 4.16, once per reset that ended a connection. */
SEC("tp_btf/tcp_receive_reset")
int BPF_PROG(tf_network_receive_reset, struct sock *sk)
{
	struct tf_network *e;
	struct tf_gate g;

	if (!sk || !tf_wanted_sock(sk))
		return 0;
	e = tf_begin_sock(&g, sk, TF_K_NETWORK_RESET);
	if (!e)
		return 0;
	e->direction = TF_DIR_INGRESS;
	tf_submit(&g, TF_K_NETWORK_RESET, e);
	return 0;
}

#define TF_RTT_EVERY 1000000000ull /* ns */

/* Hook: tcp_probe, since 4.16, at every packet of a connection that comes in: so one sample per socket and second is sent, and the
 * others are counted as aggregated. The socket is locked: no two of these run for one. */
SEC("tp_btf/tcp_probe")
int BPF_PROG(tf_network_rtt, struct sock *sk)
{
	struct tf_owner *owner;
	struct tf_network *e;
	struct tf_ends ends = {};
	struct tf_gate g;

	if (!sk || !tf_wanted_sock(sk))
		return 0;
	owner = bpf_sk_storage_get(&tf_owners, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	tf_read_ends(&ends, sk);
	if (!tf_admit_owned(&g, owner, &ends, TF_K_NETWORK_RTT))
		return 0;
	if (!owner) {
		tf_count(&g, TF_L_K_MAP_FULL);
		return 0;
	}
	if (owner->rtt_ns && tf_now(&g) - owner->rtt_ns < TF_RTT_EVERY) {
		tf_count(&g, TF_L_K_AGGREGATED);
		return 0;
	}
	e = tf_reserve(&g, TF_K_NETWORK_RTT, struct tf_network);
	if (!e)
		return 0;
	owner->rtt_ns = tf_now(&g);
	tf_fill_gate(&g, &e->h, TF_K_NETWORK_RTT);
	tf_fill_owner(&e->h, owner);
	tf_fill_sock(e, sk, owner->direction);
	tf_fill_counts(e, sk);
	tf_submit(&g, TF_K_NETWORK_RTT, e);
	return 0;
}

/* Hook: inet_sk_error_report, since 5.14, once per error that a socket tells its program: refused, reset, unreachable (by ICMP). Of
 * TCP, UDP and ICMP sockets. sk_err 0: only the queue of a program that asked for details (time stamps, sends completed) got
 * something. */
SEC("tp_btf/inet_sk_error_report")
int BPF_PROG(tf_network_error, struct sock *sk)
{
	struct tf_network *e;
	struct tf_gate g;

	if (!sk || !sk->sk_err || !tf_wanted_inet(sk) || tf_is_raw(sk->sk_protocol, sk->sk_type))
		return 0;
	e = tf_begin_sock(&g, sk, TF_K_NETWORK_ERROR);
	if (!e)
		return 0;
	e->errno_ = sk->sk_err;
	tf_submit(&g, TF_K_NETWORK_ERROR, e);
	return 0;
}
