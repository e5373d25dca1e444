/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* UDP sockets: what is added up for each, and both ends of an operation. A socket may be used by several processes at the same time, so what an
 * operation named is kept under its thread. */
#ifndef TF_UDP_BPF_H
#define TF_UDP_BPF_H

#include "tf_sock.bpf.h"

#define TF_PEERS 4               /* threads that may send on one socket at a time; a power of 2 */

/* The other end of an operation. */
struct tf_peer {
	__u8  ip[TF_IP_LEN];
	__u32 whose;             /* while the operation lasts: tf_whose(), 0 = no operation's */
	__u16 port;              /* 0 = no peer is known */
	__u16 family;            /* of what goes over the wire */
};

/* Of one socket, since its last report. */
struct tf_flow {
	__u64 sent;
	__u64 received;
	__u64 began_ns;          /* first use since the last report; 0 = none */
	__u64 cookie;
	__u32 netns;
	__u32 pid;               /* of the owner, to see at a glance that it changed */
	__u8  source_ip[TF_IP_LEN];
	struct tf_peer to;       /* of its last use */
	struct tf_peer peers[TF_PEERS]; /* that operations under way named */
	__u16 source_port;
	__u8  direction;         /* enum tf_direction: of its first use */
	__u8  _pad0[5];
};

TF_SOCK_STORE(tf_flows, struct tf_flow, 0);

static __always_inline void tf_copy_ip(__u8 *to, const __u8 *from)
{
	((__u64 *)to)[0] = ((const __u64 *)from)[0];
	((__u64 *)to)[1] = ((const __u64 *)from)[1];
}

static __always_inline bool tf_same_ip(const __u8 *a, const __u8 *b)
{
	return ((const __u64 *)a)[0] == ((const __u64 *)b)[0] && ((const __u64 *)a)[1] == ((const __u64 *)b)[1];
}

static __always_inline bool tf_is_mapped(const __u8 *ip)
{
	return !((const __u64 *)ip)[0] && ((const __u32 *)ip)[2] == bpf_htonl(0xffff);
}

/* One thread makes one operation at a time. */
static __always_inline __u32 tf_whose(struct task_struct *task, const __u32 kind)
{
	return TF_GO(task, pid) << 1 | (kind == TF_K_NETWORK_RECV);
}

static __always_inline struct tf_peer *tf_peer_of(struct tf_flow *f, __u32 whose)
{
	return &f->peers[whose >> 1 & (TF_PEERS - 1)];
}

/* The peer that this operation named, if it did, into zeros. Taken also where the operation failed or is refused: it must not be taken for a
 * later one's. */
static __always_inline void tf_take_peer(struct tf_peer *to, struct tf_flow *f, __u32 whose)
{
	struct tf_peer *named = f ? tf_peer_of(f, whose) : NULL;

	if (!named || named->whose != whose)
		return;
	tf_copy_ip(to->ip, named->ip);
	to->port = named->port;
	named->whose = 0;
}

/* Completes the other end: who named none means that of the connected socket, else the last one that this process named. */
static __always_inline void tf_complete_peer(struct tf_peer *to, const struct tf_flow *f, const struct tf_network *e)
{
	if (!to->port) {
		to->port = e->dest_port;
		tf_copy_ip(to->ip, e->dest_ip);
	}
	if (!to->port && f->to.port) {
		to->port = f->to.port;
		tf_copy_ip(to->ip, f->to.ip);
	}
	to->family = e->family == AF_INET6 && !tf_is_mapped(to->ip) ? AF_INET6 : AF_INET;
}

static __always_inline void tf_put_ends(struct tf_network *e, const struct tf_flow *f, const struct tf_peer *to, __u8 direction)
{
	tf_clear_network(e, IPPROTO_UDP, direction);
	e->cookie = f->cookie;
	e->netns = f->netns;
	e->family = to->family;
	e->source_port = f->source_port;
	e->dest_port = to->port;
	tf_copy_ip(e->source_ip, f->source_ip);
	tf_copy_ip(e->dest_ip, to->ip);
	if (to->family == AF_INET && !((__u64 *)e->source_ip)[0] && !((__u64 *)e->source_ip)[1])
		tf_map_ipv4(e->source_ip, 0); /* an IPv6 socket that is bound to no address */
}

#endif
