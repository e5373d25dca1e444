// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* UDP: what each socket sent and received, added up into flows. */
#include "tf_udp.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

TF_KEEP_BTF(tf_network)

#define TF_FLOW_EVERY 10000000000ull /* ns: a socket in use is reported this often */

/* Reports what was added up and begins anew. Sums stay exact: what is added meanwhile is left for the next report. */
TF_GLOBAL int tf_emit_flow(struct tf_flow *f, struct tf_owner *owner)
{
	__u64 began, sent, received;
	struct tf_network *e;
	struct tf_who who;
	struct tf_gate g;

	if (!f)
		return 0;
	began = f->began_ns;
	sent = f->sent;
	received = f->received;
	if (!began || !tf_swap_if(&f->began_ns, began, 0))
		return 0; /* nothing, or another processor is at it */
	tf_add(&f->sent, -sent);
	tf_add(&f->received, -received);
	tf_read_owner(&who, owner);
	if (!tf_admit_pid(&g, who.pid, TF_K_NETWORK_FLOW, false))
		return 0;
	/* not the source's address: the row may say it otherwise (tf_put_ends) */
	if (tf_judges_more() && (!tf_admit_number(&g, TF_D_SOURCE_PORT, f->source_port) || !tf_admit_number(&g, TF_D_DEST_PORT, f->to.port) ||
				 !tf_admit_bytes(&g, TF_D_DEST_IP, f->to.ip)))
		return 0;
	if (!tf_admit_rest(&g, &who, TF_K_NETWORK_FLOW, TF_BULK))
		return 0;
	e = tf_reserve(&g, TF_K_NETWORK_FLOW, struct tf_network);
	if (!e)
		return 0;
	tf_fill_gate(&g, &e->h, TF_K_NETWORK_FLOW);
	tf_fill_owner(&e->h, owner);
	tf_put_ends(e, f, &f->to, f->direction);
	e->bytes_sent = sent;
	e->bytes_received = received;
	e->duration_ns = e->h.ts_ns > began ? e->h.ts_ns - began : 0;
	tf_submit(&g, TF_K_NETWORK_FLOW, e);
	return 0;
}

/* A record of its own for this one operation, about who made it: other processes may be using the socket at the same time. */
static __always_inline void tf_emit_single(struct tf_gate *g, const struct tf_who *who, struct task_struct *task, __u16 flags,
					   const struct tf_flow *f, const struct tf_peer *to, __u64 bytes, const __u32 kind)
{
	struct tf_network *e = tf_reserve(g, kind, struct tf_network);

	if (!e)
		return;
	tf_fill_gate(g, &e->h, kind);
	tf_fill_task(&e->h, who, task, flags);
	tf_put_ends(e, f, to, kind == TF_K_NETWORK_SEND ? TF_DIR_EGRESS : TF_DIR_INGRESS);
	if (kind == TF_K_NETWORK_SEND)
		e->bytes_sent = bytes;
	else
		e->bytes_received = bytes;
	tf_submit(g, kind, e);
}

/* Who uses a socket now owns it. What another process used it for until now is that one's, and so are the peers that it named. */
static __always_inline struct tf_owner *tf_note_user(struct tf_flow *f, struct sock *sk, struct task_struct *task)
{
	struct tf_owner *owner = bpf_sk_storage_get(&tf_owners, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);

	if (tf_enabled(TF_K_NETWORK_FLOW) && owner && owner->subject.pid && owner->subject.pid != TF_GO(task, tgid))
		tf_emit_flow(f, owner);
	if (f->pid != TF_GO(task, tgid))
		f->to.port = 0;
	if (owner && (f->pid != TF_GO(task, tgid) || owner->subject.pid != TF_GO(task, tgid) || owner->subject.tid != TF_GO(task, pid))) {
		tf_read_subject(&owner->subject, task);
		tf_note_followed(owner);
		f->pid = TF_GO(task, tgid);
	}
	return owner;
}

/* Both ends of an operation. A connected socket that turns to another peer (sendto, a second connect) has a row for each: what went to one
 * is never told as having gone to the other. One that is not connected may change its peer with every packet: its rows name the last. */
static __always_inline void tf_note_ends(struct tf_flow *f, struct tf_peer *to, struct tf_owner *owner, const struct sock *sk)
{
	struct tf_network e;

	tf_fill_ends(&e, sk);
	tf_complete_peer(to, f, &e);
	if (tf_enabled(TF_K_NETWORK_FLOW) && e.dest_port && f->to.port && (to->port != f->to.port || !tf_same_ip(to->ip, f->to.ip)))
		tf_emit_flow(f, owner);
	f->cookie = tf_cookie(sk);
	f->netns = e.netns;
	f->source_port = e.source_port;
	tf_copy_ip(f->source_ip, e.source_ip);
	f->to = *to;
}

static __always_inline bool tf_is_udp(const struct sock *sk, struct task_struct *task)
{
	return sk && sk->sk_protocol == IPPROTO_UDP && sk->sk_type == SOCK_DGRAM && !(TF_GO(task, flags) & PF_KTHREAD) && tf_wanted_inet(sk);
}

/* One send or receive that moved `bytes` (or failed: below 0), in the context of the process that made it. */
static __always_inline void tf_note_use(struct sock *sk, int bytes, const __u32 kind)
{
	const bool single = (tf_consts.options & TF_O_SINGLE_UDP) || !tf_enabled(TF_K_NETWORK_FLOW);
	struct task_struct *task = tf_current();
	struct tf_owner *owner = NULL;
	struct tf_peer to = {};
	struct tf_flow *f;
	struct tf_who who;
	struct tf_gate g;
	__u16 flags;

	if (!tf_enabled(kind) || !tf_is_udp(sk, task))
		return;
	f = bpf_sk_storage_get(&tf_flows, sk, 0, 0);
	tf_take_peer(&to, f, tf_whose(task, kind));
	if (bytes < 0 || !tf_admit_task(&g, &who, task, &flags, kind))
		return;
	f = f ?: bpf_sk_storage_get(&tf_flows, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (f)
		owner = tf_note_user(f, sk, task);
	if (!f || !owner) {
		tf_count(&g, TF_L_K_MAP_FULL);
		return;
	}
	if (!f->direction)
		f->direction = kind == TF_K_NETWORK_SEND ? TF_DIR_EGRESS : TF_DIR_INGRESS;
	tf_note_ends(f, &to, owner, sk);
	if (single)
		tf_emit_single(&g, &who, task, flags, f, &to, bytes, kind);
	else
		tf_count(&g, TF_L_K_AGGREGATED);
	if (!tf_enabled(TF_K_NETWORK_FLOW))
		return;
	tf_add(kind == TF_K_NETWORK_SEND ? &f->sent : &f->received, bytes);
	if (!f->began_ns)
		(void)tf_swap_if(&f->began_ns, 0, tf_now(&g));
	else if (tf_now(&g) - f->began_ns >= TF_FLOW_EVERY)
		tf_emit_flow(f, owner);
}

/* Hook: sock_send_length, since 6.3, at the end of every send on any socket, in the sender's context: others than UDP leave at once. */
SEC("tp_btf/sock_send_length")
int BPF_PROG(tf_udp_send, struct sock *sk, int ret, int flags)
{
	tf_note_use(sk, ret, TF_K_NETWORK_SEND);
	return 0;
}

/* Looking at what came without taking it, and reading errors, is not receiving. */
static __always_inline void tf_note_recv(struct sock *sk, int ret, int flags)
{
	if (!(flags & (MSG_PEEK | MSG_ERRQUEUE)))
		tf_note_use(sk, ret, TF_K_NETWORK_RECV);
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(tf_udp_recv, struct sock *sk, int ret, int flags)
{
	tf_note_recv(sk, ret, flags);
	return 0;
}

/* Hooks of kernels before 6.3. udpv6_sendmsg hands IPv4 on to udp_sendmsg, with the same socket: counted there only once. */
SEC("fexit/udp_sendmsg")
int BPF_PROG(tf_udp_sendmsg, struct sock *sk, void *msg, unsigned long len, int ret)
{
	if (sk->__sk_common.skc_family == AF_INET)
		tf_note_use(sk, ret, TF_K_NETWORK_SEND);
	return 0;
}

SEC("fexit/udpv6_sendmsg")
int BPF_PROG(tf_udp_sendmsg_v6, struct sock *sk, void *msg, unsigned long len, int ret)
{
	tf_note_use(sk, ret, TF_K_NETWORK_SEND);
	return 0;
}

/* udpv6_recvmsg takes what came over IPv4 itself. */
SEC("fexit/udp_recvmsg")
int BPF_PROG(tf_udp_recvmsg, struct sock *sk, void *msg, unsigned long len, int flags, int *addr_len, int ret)
{
	tf_note_recv(sk, ret, flags);
	return 0;
}

SEC("fexit/udpv6_recvmsg")
int BPF_PROG(tf_udp_recvmsg_v6, struct sock *sk, void *msg, unsigned long len, int flags, int *addr_len, int ret)
{
	tf_note_recv(sk, ret, flags);
	return 0;
}

/* Before 5.19: `noblock` is an argument of its own. */
SEC("fexit/udp_recvmsg")
int BPF_PROG(tf_udp_recvmsg_old, struct sock *sk, void *msg, unsigned long len, int noblock, int flags, int *addr_len, int ret)
{
	tf_note_recv(sk, ret, flags);
	return 0;
}

SEC("fexit/udpv6_recvmsg")
int BPF_PROG(tf_udp_recvmsg_v6_old, struct sock *sk, void *msg, unsigned long len, int noblock, int flags, int *addr_len, int ret)
{
	tf_note_recv(sk, ret, flags);
	return 0;
}

/* A first owner for a socket, before its first packet leaves: what comes of that (an error, a DNS query) has a subject then. */
static __always_inline void tf_note_first_user(struct bpf_sock *sk)
{
	struct task_struct *task = tf_current();
	struct tf_owner *owner;

	if (bpf_sk_storage_get(&tf_owners, sk, 0, 0) || TF_GO(task, flags) & PF_KTHREAD)
		return;
	owner = bpf_sk_storage_get(&tf_owners, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!owner)
		return;
	tf_read_subject(&owner->subject, task);
	tf_note_followed(owner);
}

/* The other end of a single message, from control group hooks: they are given the address as the kernel uses it, and only where the
 * operation names one (of receives: asks for it). They see every UDP socket of the machine, so all they do is to note it. */
static __always_inline int tf_note_peer(struct bpf_sock_addr *ctx, const bool v6, const __u32 kind)
{
	const __u32 whose = tf_whose(tf_current(), kind);
	struct bpf_sock *sk = ctx->sk;
	struct tf_flow *f = NULL;
	struct tf_peer *peer;

	if (!sk || ctx->protocol != IPPROTO_UDP)
		return 1;
	tf_note_first_user(sk);
	if (tf_enabled(TF_K_NETWORK_SEND) || tf_enabled(TF_K_NETWORK_RECV))
		f = bpf_sk_storage_get(&tf_flows, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!f)
		return 1;
	peer = tf_peer_of(f, whose);
	if (v6) {
		((__u32 *)peer->ip)[0] = ctx->user_ip6[0];
		((__u32 *)peer->ip)[1] = ctx->user_ip6[1];
		((__u32 *)peer->ip)[2] = ctx->user_ip6[2];
		((__u32 *)peer->ip)[3] = ctx->user_ip6[3];
	} else {
		tf_map_ipv4(peer->ip, ctx->user_ip4);
	}
	peer->port = bpf_ntohs(ctx->user_port);
	peer->whose = whose;
	return 1;
}

SEC("cgroup/sendmsg4")
int tf_udp_to4(struct bpf_sock_addr *ctx) { return tf_note_peer(ctx, false, TF_K_NETWORK_SEND); }

SEC("cgroup/sendmsg6")
int tf_udp_to6(struct bpf_sock_addr *ctx) { return tf_note_peer(ctx, true, TF_K_NETWORK_SEND); }

SEC("cgroup/recvmsg4")
int tf_udp_from4(struct bpf_sock_addr *ctx) { return tf_note_peer(ctx, false, TF_K_NETWORK_RECV); }

SEC("cgroup/recvmsg6")
int tf_udp_from6(struct bpf_sock_addr *ctx) { return tf_note_peer(ctx, true, TF_K_NETWORK_RECV); }

/* connect() of UDP sends nothing: it only names the other end, which the socket itself knows from then on. */
static __always_inline int tf_note_connect(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;

	if (sk && ctx->protocol == IPPROTO_UDP)
		tf_note_first_user(sk);
	return 1;
}

SEC("cgroup/connect4")
int tf_udp_connect4(struct bpf_sock_addr *ctx) { return tf_note_connect(ctx); }

SEC("cgroup/connect6")
int tf_udp_connect6(struct bpf_sock_addr *ctx) { return tf_note_connect(ctx); }

/* Hook: cgroup/sock_release at the root, since 5.9, when a socket is closed for good, in the context of who closes it. The subject is
 * who used it. Not fexit of udp_destroy_sock: some kernels refuse it. */
SEC("cgroup/sock_release")
int tf_udp_release(struct bpf_sock *ctx)
{
	struct tf_flow *f = NULL;

	if (ctx->protocol == IPPROTO_UDP)
		f = bpf_sk_storage_get(&tf_flows, ctx, 0, 0);
	if (f)
		tf_emit_flow(f, bpf_sk_storage_get(&tf_owners, ctx, 0, 0));
	return 1;
}
