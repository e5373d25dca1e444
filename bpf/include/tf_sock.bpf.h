/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Sockets: who owns one, and what a network row says about it. Network hooks run in softirq, where current is whoever was interrupted;
 * so the owner is remembered in socket storage while a process is known to act, and the child of a listener inherits it. */
#ifndef TF_SOCK_BPF_H
#define TF_SOCK_BPF_H

#include "tf_task.bpf.h"

struct tf_owner {
	struct tf_subject subject; /* pid 0: not known */
	__u64 syn_ns;            /* connect(): when the SYN was sent, 0 = not seen */
	__u64 established_ns;    /* 0 = not (or not seen) */
	__u64 followed;          /* follow sets that the subject was in, as in struct tf_who */
	__u64 rtt_ns;            /* when the last sample of its round trip time was sent, 0 = never */
	__u8 direction;          /* enum tf_direction */
	__u8 listener;           /* bool: the subject is who called listen() */
	__u8 _pad0[6];
};

TF_SOCK_STORE(tf_owners, struct tf_owner, BPF_F_CLONE);

/* A socket often closes after its process has ended and is followed no more: what it was in is kept with the socket. */
static __always_inline void tf_note_followed(struct tf_owner *owner)
{
	__u32 pid = owner->subject.pid;
	struct tf_followed *f = bpf_map_lookup_elem(&tf_follow, &pid);

	owner->followed = f && (!f->start_ns || f->start_ns == owner->subject.start_ns) ? (__u64)f->set[1] << 32 | f->set[0] : 0;
}

/* Whether sk has everything that a socket has; time-wait and request sockets are short. */
static __always_inline bool tf_is_full(const struct sock *sk)
{
	return sk && sk->__sk_common.skc_state != TCP_TIME_WAIT && sk->__sk_common.skc_state != TCP_NEW_SYN_RECV;
}

static __always_inline bool tf_wanted_netns(__u32 netns)
{
	return !tf_consts.own_netns_only || netns == tf_consts.own_netns_only;
}

static __always_inline bool tf_wanted_sock(const struct sock *sk)
{
	if (!sk || sk->sk_protocol != IPPROTO_TCP)
		return false;
	return !tf_consts.own_netns_only || tf_wanted_netns(tf_plain_sock(sk)->__sk_common.skc_net.net->ns.inum);
}

/* Of programs.network.protocols, for kinds that are not of one protocol. Others (SCTP, raw) are not covered. */
static __always_inline bool tf_wanted_protocol(__u32 protocol)
{
	if (protocol == IPPROTO_TCP)
		return !(tf_consts.options & TF_O_NO_TCP);
	if (protocol == IPPROTO_UDP)
		return !(tf_consts.options & TF_O_NO_UDP);
	return (protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6) && !(tf_consts.options & TF_O_NO_ICMP);
}

/* A raw socket may have any protocol's number, and speaks none of them: it is neither TCP nor UDP. */
static __always_inline bool tf_is_raw(__u32 protocol, __u32 type)
{
	return (protocol == IPPROTO_TCP && type != SOCK_STREAM) || (protocol == IPPROTO_UDP && type != SOCK_DGRAM);
}

/* A socket of the internet families and of a protocol that is collected. Not for time-wait and request sockets: they end before
 * sk_protocol. */
static __always_inline bool tf_wanted_inet(const struct sock *sk)
{
	if (!sk || (sk->__sk_common.skc_family != AF_INET && sk->__sk_common.skc_family != AF_INET6))
		return false;
	if (!tf_wanted_protocol(sk->sk_protocol))
		return false;
	return !tf_consts.own_netns_only || tf_wanted_netns(tf_plain_sock(sk)->__sk_common.skc_net.net->ns.inum);
}

static __always_inline void tf_read_owner(struct tf_who *who, const struct tf_owner *owner)
{
	who->cgroup_id = owner ? owner->subject.cgroup_id : 0;
	who->start_ns = owner ? owner->subject.start_ns : 0;
	who->followed = owner ? owner->followed : 0;
	who->pid = owner ? owner->subject.pid : 0;
#ifndef TF_OLD
	who->uid = 0;
	who->comm[0] = who->comm[1] = 0;
#endif
	if (tf_judges_more()) {
		who->uid = owner ? owner->subject.uid : 0;
		who->comm[0] = owner ? ((__u64 *)owner->subject.comm)[0] : 0;
		who->comm[1] = owner ? ((__u64 *)owner->subject.comm)[1] : 0;
	}
	who->born_ns = owner ? owner->syn_ns ?: owner->established_ns : 0;
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

/* Both ends of a connection, as its row will have them. */
struct tf_ends {
	__u8 source_ip[TF_IP_LEN];
	__u8 dest_ip[TF_IP_LEN];
	__u16 source_port, dest_port;
};

/* The gate, for a record whose subject is the owner (NULL: unknown). ends: NULL where they are not known yet. */
static __always_inline bool tf_admit_owned(struct tf_gate *g, const struct tf_owner *owner, const struct tf_ends *ends, __u32 kind)
{
	struct tf_who who;

	tf_read_owner(&who, owner);
	if (!tf_admit_pid(g, who.pid, kind, false))
		return false;
	if (ends && tf_judges_more() &&
	    (!tf_admit_number(g, TF_D_SOURCE_PORT, ends->source_port) || !tf_admit_number(g, TF_D_DEST_PORT, ends->dest_port) ||
	     !tf_admit_bytes(g, TF_D_SOURCE_IP, ends->source_ip) || !tf_admit_bytes(g, TF_D_DEST_IP, ends->dest_ip)))
		return false;
	return tf_admit_rest(g, &who, kind, TF_BULK); /* as all kinds of the domain */
}

/* Asks the gate, and begins the row: gate and subject. NULL: counted. */
static __always_inline struct tf_network *tf_begin_owned(struct tf_gate *g, struct tf_owner *owner, const struct tf_ends *ends,
							 const __u32 kind)
{
	struct tf_network *e;

	if (!tf_admit_owned(g, owner, ends, kind))
		return NULL;
	e = tf_reserve(g, kind, struct tf_network);
	if (!e)
		return NULL;
	tf_fill_gate(g, &e->h, kind);
	tf_fill_owner(&e->h, owner);
	return e;
}

static __always_inline __u64 tf_cookie(const struct sock *sk)
{
	__u64 address = 0;

	/* Through memory: the verifier forbids arithmetic on the pointer itself ("bitwise operator ^= on pointer prohibited"). */
	bpf_probe_read_kernel(&address, sizeof(address), &sk);
	return tf_mix(address ^ tf_consts.seed);
}

static __always_inline void tf_map_ipv4(__u8 *to, __be32 addr)
{
	((__u32 *)to)[0] = 0;
	((__u32 *)to)[1] = 0;
	((__u32 *)to)[2] = bpf_htonl(0xffff);
	((__u32 *)to)[3] = addr;
}

static __always_inline void tf_copy_ipv6(__u8 *to, const struct in6_addr *from)
{
	for (int i = 0; i < 4; i++)
		((__u32 *)to)[i] = from->in6_u.u6_addr32[i];
}

/* Not skc_num: that is given back before the hook when a socket closes. */
static __always_inline __u16 tf_local_port(const struct sock *sk)
{
	__be16 port = 0;

	bpf_core_read(&port, sizeof(port), &((struct inet_sock *)sk)->inet_sport);
	return bpf_ntohs(port);
}

/* 1 for 0, else 0. No branch: what is unknown stays one number to the verifier, where a branch would be two states from here on. */
static __always_inline __u64 tf_is_zero(__u32 x)
{
	__u64 below = (__u64)x - 1;

	tf_unknown(below);
	return below >> 63;
}

/* One end: an IPv6 address where all bits of the mask are set, else an IPv4 address, mapped. */
static __always_inline void tf_put_address(__u8 *to, const struct in6_addr *v6, __be32 v4, __u32 mask)
{
	const __u32 *from = v6->in6_u.u6_addr32;

	((__u32 *)to)[0] = from[0] & mask;
	((__u32 *)to)[1] = from[1] & mask;
	((__u32 *)to)[2] = (from[2] & mask) | (bpf_htonl(0xffff) & ~mask);
	((__u32 *)to)[3] = (from[3] & mask) | (v4 & ~mask);
}

/* Both addresses; the family. An IPv6 socket that talks IPv4 is reported as what goes over the wire: AF_INET. (Of an IPv4 socket the IPv6 fields are read too,
 * and not used: three ways less for the verifier.) */
static __always_inline __u8 tf_put_addresses(__u8 *source, __u8 *dest, const struct sock *sk)
{
	const struct sock_common *sc = &sk->__sk_common;
	const __u32 *d = sc->skc_v6_daddr.in6_u.u6_addr32, *s = sc->skc_v6_rcv_saddr.in6_u.u6_addr32;
	__u64 mapped = tf_is_zero(d[0] | d[1] | (d[2] ^ bpf_htonl(0xffff))) & tf_is_zero(s[0] | s[1]);
	__u64 v6 = 0 - (tf_is_zero(sc->skc_family ^ AF_INET6) & ~mapped);

	tf_unknown(v6);
	tf_put_address(source, &sc->skc_v6_rcv_saddr, sc->skc_rcv_saddr, v6);
	tf_put_address(dest, &sc->skc_v6_daddr, sc->skc_daddr, v6);
	return AF_INET ^ ((AF_INET ^ AF_INET6) & v6);
}

static __always_inline void tf_fill_ends(struct tf_network *e, const struct sock *sk)
{
	e->family = tf_put_addresses(e->source_ip, e->dest_ip, sk);
	e->source_port = tf_local_port(sk);
	e->dest_port = bpf_ntohs(sk->__sk_common.skc_dport);
	e->netns = tf_plain_sock(sk)->__sk_common.skc_net.net->ns.inum;
}

/* For the gate only. */
static __always_inline void tf_read_ends(struct tf_ends *e, const struct sock *sk)
{
	if (!tf_judges_more())
		return;
	tf_put_addresses(e->source_ip, e->dest_ip, sk);
	e->source_port = tf_local_port(sk);
	e->dest_port = bpf_ntohs(sk->__sk_common.skc_dport);
}

/* A received FIN moves rcv_nxt by one, and the kernel counts that one as a byte received; SOCK_DONE is set where it does. bytes_sent
 * counts every payload byte sent, again for each retransmission. */
static __always_inline void tf_fill_counts(struct tf_network *e, const struct sock *sk)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	__u64 done = 1ull << (bpf_core_enum_value(enum sock_flags, SOCK_DONE) & 63);
	__u64 sent = 0, again = 0, received = 0;
	__u32 srtt = 0, retrans = 0;

	bpf_core_read(&sent, sizeof(sent), &tp->bytes_sent);
	bpf_core_read(&again, sizeof(again), &tp->bytes_retrans);
	bpf_core_read(&received, sizeof(received), &tp->bytes_received);
	bpf_core_read(&srtt, sizeof(srtt), &tp->srtt_us);
	bpf_core_read(&retrans, sizeof(retrans), &tp->total_retrans);
	e->bytes_sent = sent - again;
	e->bytes_received = received - (received && (sk->__sk_common.skc_flags & done));
	e->srtt_us = srtt >> 3; /* kept in eighths of a microsecond */
	e->retransmits = retrans < 65535 ? retrans : 65535;
}

/* Zero in everything past the header but cookie, ends and netns. */
static __always_inline void tf_clear_network(struct tf_network *e, __u8 protocol, __u8 direction)
{
	e->duration_ns = 0;
	e->bytes_sent = 0;
	e->bytes_received = 0;
	e->srtt_us = 0;
	e->errno_ = 0;
	e->retransmits = 0;
	e->protocol = protocol;
	e->direction = direction;
	e->state = e->old_state = 0;
	e->reason = e->dns_type = e->dns_rcode = 0;
	e->name.offset = e->name.len = e->name.full_len = 0;
}

/* Everything past the header but what only an event knows: duration, errno, states. */
static __always_inline void tf_fill_sock(struct tf_network *e, const struct sock *sk, __u8 direction)
{
	__u8 protocol = sk->sk_protocol;

	tf_clear_network(e, protocol, direction);
	e->cookie = tf_cookie(sk);
	e->state = protocol == IPPROTO_TCP ? sk->__sk_common.skc_state : 0;
	tf_fill_ends(e, sk);
}

#endif
