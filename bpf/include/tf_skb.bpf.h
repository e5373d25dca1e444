/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Packets: the addresses and ports in one, read from the socket buffer's linear part. Every byte of it was its sender's choice. */
#ifndef TF_SKB_BPF_H
#define TF_SKB_BPF_H

#include "tf_sock.bpf.h"

struct tf_packet {
	__u8  source_ip[TF_IP_LEN];
	__u8  dest_ip[TF_IP_LEN];
	__u32 length;            /* bytes: of the whole packet, as its IP header says */
	__u32 payload_at;        /* bytes: from the IP header to what UDP carries; 0 = not UDP */
	__u32 payload_len;       /* bytes: of it, as the UDP header says */
	__u16 source_port;
	__u16 dest_port;
	__u8  family;
	__u8  protocol;
	__u16 _pad0;
};

/* Network namespace of the device that a packet is on. skb->dev shares its place with other things once a packet is queued on a socket:
 * those are no kernel addresses, so that the read fails and gives 0. */
static __always_inline __u32 tf_skb_netns(const struct sk_buff *skb)
{
	return BPF_CORE_READ(skb, dev, nd_net.net, ns.inum);
}

static __always_inline bool tf_skb_is_ip(const struct sk_buff *skb)
{
	return skb->protocol == bpf_htons(ETH_P_IP) || skb->protocol == bpf_htons(ETH_P_IPV6);
}

/* Reads the packet whose IP header is at kernel address `at`. Global and of plain arguments: the verifier checks it once. IPv6
 * extension headers are not followed: such a packet has no ports here. */
TF_GLOBAL int tf_parse_packet(__u64 at, struct tf_packet *p)
{
	__u8 ip[40] = {}, l4[8] = {};
	__u32 header;

	if (!p || bpf_probe_read_kernel(ip, sizeof(ip), (void *)at))
		return 0;
	p->source_port = p->dest_port = 0;
	p->payload_at = p->payload_len = 0;
	p->_pad0 = 0;
	if (ip[0] >> 4 == 4) {
		header = (ip[0] & 15) * 4;
		p->family = AF_INET;
		p->protocol = ip[9];
		p->length = ip[2] << 8 | ip[3];
		tf_map_ipv4(p->source_ip, *(__be32 *)&ip[12]);
		tf_map_ipv4(p->dest_ip, *(__be32 *)&ip[16]);
		if ((ip[6] & 0x1f) || ip[7])
			return 1; /* a later fragment: the ports are in the first one */
	} else if (ip[0] >> 4 == 6) {
		header = 40;
		p->family = AF_INET6;
		p->protocol = ip[6];
		p->length = 40 + (ip[4] << 8 | ip[5]);
		for (int i = 0; i < 4; i++) {
			((__u32 *)p->source_ip)[i] = *(__u32 *)&ip[8 + 4 * i];
			((__u32 *)p->dest_ip)[i] = *(__u32 *)&ip[24 + 4 * i];
		}
	} else {
		return 0;
	}
	if ((p->protocol != IPPROTO_TCP && p->protocol != IPPROTO_UDP) || bpf_probe_read_kernel(l4, sizeof(l4), (void *)(at + header)))
		return 1;
	p->source_port = l4[0] << 8 | l4[1];
	p->dest_port = l4[2] << 8 | l4[3];
	if (p->protocol == IPPROTO_UDP && (l4[4] << 8 | l4[5]) >= 8) {
		p->payload_at = header + 8;
		p->payload_len = (l4[4] << 8 | l4[5]) - 8;
	}
	return 1;
}

static __always_inline __u64 tf_network_header(const struct sk_buff *skb)
{
	return (__u64)BPF_CORE_READ(skb, head) + skb->network_header;
}

/* The ends of a row from a packet; `turned`: the packet came to us, so that its destination is our end. */
static __always_inline void tf_fill_packet(struct tf_network *e, const struct tf_packet *p, const bool turned)
{
	for (int i = 0; i < 2; i++) {
		((__u64 *)e->source_ip)[i] = ((const __u64 *)(turned ? p->dest_ip : p->source_ip))[i];
		((__u64 *)e->dest_ip)[i] = ((const __u64 *)(turned ? p->source_ip : p->dest_ip))[i];
	}
	e->source_port = turned ? p->dest_port : p->source_port;
	e->dest_port = turned ? p->source_port : p->dest_port;
	e->family = p->family;
}

/* For the gate only. */
static __always_inline void tf_packet_ends(struct tf_ends *ends, const struct tf_packet *p, const bool turned)
{
	if (!tf_judges_more())
		return;
	for (int i = 0; i < 2; i++) {
		((__u64 *)ends->source_ip)[i] = ((const __u64 *)(turned ? p->dest_ip : p->source_ip))[i];
		((__u64 *)ends->dest_ip)[i] = ((const __u64 *)(turned ? p->source_ip : p->dest_ip))[i];
	}
	ends->source_port = turned ? p->dest_port : p->source_port;
	ends->dest_port = turned ? p->source_port : p->dest_port;
}

/* A row about a packet; its subject is the owner of sk, which may be NULL. Cookie, if any, is the caller's. */
static __always_inline struct tf_network *tf_begin_packet(struct tf_gate *g, struct sock *sk, const struct tf_packet *p, const __u32 kind,
							  __u8 direction, const bool turned)
{
	struct tf_owner *owner = sk ? bpf_sk_storage_get(&tf_owners, sk, 0, 0) : NULL;
	struct tf_network *e;
	struct tf_ends ends = {};

	tf_packet_ends(&ends, p, turned);
	e = tf_begin_owned(g, owner, &ends, kind);
	if (!e)
		return NULL;
	tf_clear_network(e, p->protocol, direction);
	e->cookie = sk ? tf_cookie(sk) : 0;
	tf_fill_packet(e, p, turned);
	return e;
}

#endif
