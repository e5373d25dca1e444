// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* UDP: what each socket sent and received, added up into flows. */
#include "tf_sock.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

TF_KEEP_BTF(tf_network)

#define TF_FLOW_EVERY 10000000000ull /* ns: a socket in use is reported this often */

/* Of one socket, since its last report. */
struct tf_flow {
	__u64 sent;
	__u64 received;
	__u64 began_ns;          /* first use since the last report; 0 = none */
	__u64 cookie;
	__u32 netns;
	__u32 pid;               /* of the owner, to see at a glance that it changed */
	__u8  source_ip[TF_IP_LEN];
	__u8  dest_ip[TF_IP_LEN];
	__u8  peer_ip[TF_IP_LEN]; /* of an unconnected socket: who it last sent to or heard from */
	__u16 source_port;
	__u16 dest_port;
	__u16 peer_port;
	__u8  family;
	__u8  direction;         /* enum tf_direction: of its first use */
};

TF_SOCK_STORE(tf_flows, struct tf_flow, 0);

static __always_inline void tf_copy_ip(__u8 *to, const __u8 *from)
{
	((__u64 *)to)[0] = ((const __u64 *)from)[0];
	((__u64 *)to)[1] = ((const __u64 *)from)[1];
}

static __always_inline bool tf_is_mapped(const __u8 *ip)
{
	return !((const __u64 *)ip)[0] && ((const __u32 *)ip)[2] == bpf_htonl(0xffff);
}

/* Both ends as they are now; a socket that is not connected names its last peer instead. */
static __always_inline void tf_note_ends(struct tf_flow *f, const struct sock *sk)
{
	struct tf_network e;

	tf_fill_ends(&e, sk);
	f->cookie = tf_cookie(sk);
	f->netns = e.netns;
	f->family = e.family;
	f->source_port = e.source_port;
	f->dest_port = e.dest_port;
	tf_copy_ip(f->source_ip, e.source_ip);
	tf_copy_ip(f->dest_ip, e.dest_ip);
	if (f->dest_port || !f->peer_port)
		return;
	f->dest_port = f->peer_port;
	tf_copy_ip(f->dest_ip, f->peer_ip);
	if (f->family == AF_INET6 && tf_is_mapped(f->peer_ip)) {
		f->family = AF_INET;
		if (!((__u64 *)f->source_ip)[0] && !((__u64 *)f->source_ip)[1])
			tf_map_ipv4(f->source_ip, 0);
	}
}

static __always_inline void tf_fill_flow(struct tf_network *e, const struct tf_flow *f)
{
	tf_clear_network(e, IPPROTO_UDP, f->direction);
	e->cookie = f->cookie;
	e->netns = f->netns;
	e->family = f->family;
	e->source_port = f->source_port;
	e->dest_port = f->dest_port;
	tf_copy_ip(e->source_ip, f->source_ip);
	tf_copy_ip(e->dest_ip, f->dest_ip);
}

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
	if (!tf_admit(&g, &who, TF_K_NETWORK_FLOW))
		return 0;
	e = tf_reserve(&g, TF_K_NETWORK_FLOW, struct tf_network);
	if (!e)
		return 0;
	tf_fill_gate(&g, &e->h, TF_K_NETWORK_FLOW);
	tf_fill_owner(&e->h, owner);
	tf_fill_flow(e, f);
	e->bytes_sent = sent;
	e->bytes_received = received;
	e->duration_ns = e->h.ts_ns > began ? e->h.ts_ns - began : 0;
	tf_submit(&g, TF_K_NETWORK_FLOW, e);
	return 0;
}

/* A record of its own for this one operation, about who made it: other processes may be using the socket at the same time. */
static __always_inline void tf_emit_single(struct tf_gate *g, const struct tf_who *who, struct task_struct *task, __u16 flags,
					   const struct tf_flow *f, __u64 bytes, const __u32 kind)
{
	struct tf_network *e = tf_reserve(g, kind, struct tf_network);

	if (!e)
		return;
	tf_fill_gate(g, &e->h, kind);
	tf_fill_task(&e->h, who, task, flags);
	tf_fill_flow(e, f);
	if (kind == TF_K_NETWORK_SEND)
		e->bytes_sent = bytes;
	else
		e->bytes_received = bytes;
	e->direction = kind == TF_K_NETWORK_SEND ? TF_DIR_EGRESS : TF_DIR_INGRESS;
	tf_submit(g, kind, e);
}

/* Who uses a socket now owns it. What another process used it for until now is that one's. */
static __always_inline struct tf_owner *tf_note_user(struct tf_flow *f, struct sock *sk, struct task_struct *task)
{
	struct tf_owner *owner = bpf_sk_storage_get(&tf_owners, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);

	if (tf_enabled(TF_K_NETWORK_FLOW) && owner && owner->subject.pid && owner->subject.pid != TF_GO(task, tgid))
		tf_emit_flow(f, owner);
	if (owner && (f->pid != TF_GO(task, tgid) || owner->subject.pid != TF_GO(task, tgid) || owner->subject.tid != TF_GO(task, pid))) {
		tf_read_subject(&owner->subject, task);
		tf_note_followed(owner);
		f->pid = TF_GO(task, tgid);
	}
	return owner;
}

/* One send or receive that moved `bytes`, in the context of the process that made it. */
static __always_inline void tf_note_use(struct sock *sk, int bytes, const __u32 kind)
{
	const bool single = (tf_consts.options & TF_O_SINGLE_UDP) || !tf_enabled(TF_K_NETWORK_FLOW);
	struct task_struct *task = tf_current();
	struct tf_owner *owner = NULL;
	struct tf_flow *f;
	struct tf_who who;
	struct tf_gate g;
	__u64 began;
	__u16 flags;

	if (!tf_enabled(kind) || !sk || bytes < 0 || sk->sk_protocol != IPPROTO_UDP || TF_GO(task, flags) & PF_KTHREAD ||
	    (sk->__sk_common.skc_family != AF_INET && sk->__sk_common.skc_family != AF_INET6) || !tf_wanted_inet(sk))
		return;
	if (!tf_admit_task(&g, &who, task, &flags, kind))
		return;
	f = bpf_sk_storage_get(&tf_flows, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (f)
		owner = tf_note_user(f, sk, task);
	if (!f || !owner) {
		tf_count(&g, TF_L_K_MAP_FULL);
		return;
	}
	began = f->began_ns;
	if (!f->direction)
		f->direction = kind == TF_K_NETWORK_SEND ? TF_DIR_EGRESS : TF_DIR_INGRESS;
	tf_note_ends(f, sk);
	if (tf_enabled(TF_K_NETWORK_FLOW)) {
		tf_add(kind == TF_K_NETWORK_SEND ? &f->sent : &f->received, bytes);
		if (!began)
			(void)tf_swap_if(&f->began_ns, 0, tf_now(&g));
	}
	if (single)
		tf_emit_single(&g, &who, task, flags, f, bytes, kind);
	else
		tf_count(&g, TF_L_K_AGGREGATED);
	if (tf_enabled(TF_K_NETWORK_FLOW) && began && tf_now(&g) - began >= TF_FLOW_EVERY)
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
 * socket is not connected. They see every UDP socket of the machine, so all they do is to note it. */
static __always_inline int tf_note_peer(struct bpf_sock_addr *ctx, const bool v6)
{
	struct bpf_sock *sk = ctx->sk;
	struct tf_flow *f = NULL;

	if (!sk || ctx->protocol != IPPROTO_UDP)
		return 1;
	tf_note_first_user(sk);
	if (tf_enabled(TF_K_NETWORK_SEND) || tf_enabled(TF_K_NETWORK_RECV))
		f = bpf_sk_storage_get(&tf_flows, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (f) {
		if (v6) {
			((__u32 *)f->peer_ip)[0] = ctx->user_ip6[0];
			((__u32 *)f->peer_ip)[1] = ctx->user_ip6[1];
			((__u32 *)f->peer_ip)[2] = ctx->user_ip6[2];
			((__u32 *)f->peer_ip)[3] = ctx->user_ip6[3];
		} else {
			tf_map_ipv4(f->peer_ip, ctx->user_ip4);
		}
		f->peer_port = bpf_ntohs(ctx->user_port);
	}
	return 1;
}

SEC("cgroup/sendmsg4")
int tf_udp_to4(struct bpf_sock_addr *ctx) { return tf_note_peer(ctx, false); }

SEC("cgroup/sendmsg6")
int tf_udp_to6(struct bpf_sock_addr *ctx) { return tf_note_peer(ctx, true); }

SEC("cgroup/recvmsg4")
int tf_udp_from4(struct bpf_sock_addr *ctx) { return tf_note_peer(ctx, false); }

SEC("cgroup/recvmsg6")
int tf_udp_from6(struct bpf_sock_addr *ctx) { return tf_note_peer(ctx, true); }

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
