// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Packets that the kernel dropped, and why. */
#include "tf_skb.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

TF_KEEP_BTF(tf_network)

/* Not a loss: what was consumed, what nobody gave a reason for, and what lay unread on a socket that closed (every connection's last
 * FIN). Kernels before 6.3 have no SKB_CONSUMED, before 6.4 no QUEUE_PURGE. */
static __always_inline bool tf_is_drop(__u32 reason)
{
	if (!reason || (bpf_core_enum_value_exists(enum skb_drop_reason, SKB_CONSUMED) &&
			reason == bpf_core_enum_value(enum skb_drop_reason, SKB_CONSUMED)))
		return false;
	if (bpf_core_enum_value_exists(enum skb_drop_reason, SKB_DROP_REASON_QUEUE_PURGE) &&
	    reason == bpf_core_enum_value(enum skb_drop_reason, SKB_DROP_REASON_QUEUE_PURGE))
		return false;
	return reason != bpf_core_enum_value(enum skb_drop_reason, SKB_DROP_REASON_NOT_SPECIFIED);
}

/* A dropped packet. Its socket: the one it was for, or came from; none is told before 6.11 for a packet that came in. */
static __always_inline void tf_emit_drop(struct sk_buff *skb, struct sock *sk, __u32 reason)
{
	const bool full = tf_is_full(sk);
	struct tf_packet p = {};
	struct tf_network *e;
	struct tf_gate g;
	__u32 netns;

	netns = full ? tf_plain_sock(sk)->__sk_common.skc_net.net->ns.inum : tf_skb_netns(skb);
	if (!tf_wanted_netns(netns) || !tf_parse_packet(tf_network_header(skb), &p) || !tf_wanted_protocol(p.protocol))
		return;
	e = tf_begin_packet(&g, full ? sk : NULL, &p, TF_K_NETWORK_DROP, skb->skb_iif ? TF_DIR_INGRESS : TF_DIR_EGRESS, false);
	if (!e)
		return;
	e->netns = netns;
	e->reason = reason < 65535 ? reason : 65535;
	e->bytes_sent = p.length ?: skb->len;
	if (p.protocol == IPPROTO_TCP && full)
		e->state = sk->__sk_common.skc_state;
	tf_submit(&g, TF_K_NETWORK_DROP, e);
}

/* Hook: kfree_skb, since 2.6.30; it fires for packets that end other than by delivery. The reason came in 5.17, the receiving socket in
 * 6.11. Not consume_skb: that is delivery. */
SEC("tp_btf/kfree_skb")
int BPF_PROG(tf_network_drop, struct sk_buff *skb, void *location, __u32 reason, struct sock *rx_sk)
{
	if (!skb || !tf_is_drop(reason) || !tf_skb_is_ip(skb))
		return 0;
	tf_emit_drop(skb, rx_sk ? rx_sk : skb->sk, reason);
	return 0;
}

SEC("tp_btf/kfree_skb")
int BPF_PROG(tf_network_drop_3, struct sk_buff *skb, void *location, __u32 reason)
{
	if (!skb || !tf_is_drop(reason) || !tf_skb_is_ip(skb))
		return 0;
	tf_emit_drop(skb, skb->sk, reason);
	return 0;
}

SEC("tp_btf/kfree_skb")
int BPF_PROG(tf_network_drop_2, struct sk_buff *skb)
{
	if (!skb || !tf_skb_is_ip(skb))
		return 0;
	tf_emit_drop(skb, skb->sk, 0);
	return 0;
}
