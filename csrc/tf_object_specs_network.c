/* SPDX-License-Identifier: Apache-2.0 */
/* tf_object_specs_network: the programs of bpf/network.bpf.c, bind.bpf.c, drop.bpf.c, udp.bpf.c and dns.bpf.c. */
#include "tf_object_specs.h"

#define STATE_KINDS \
	KINDS(TF_K_NETWORK_CONNECT, TF_K_NETWORK_ACCEPT, TF_K_NETWORK_CLOSE, TF_K_NETWORK_LISTEN, TF_K_NETWORK_STATE)
#define FLOW_KINDS KINDS(TF_K_NETWORK_SEND, TF_K_NETWORK_RECV, TF_K_NETWORK_FLOW)

/* What is better told when a UDP socket has an owner before its first packet leaves. */
#define USER_KINDS \
	KINDS(TF_K_NETWORK_SEND, TF_K_NETWORK_RECV, TF_K_NETWORK_FLOW, TF_K_NETWORK_DNS_QUERY, TF_K_NETWORK_DNS, TF_K_NETWORK_ERROR)

static const struct tf_program_spec specs[] = {
	{.name = "tf_network_state", .hook = "tp_btf/inet_sock_set_state", .part = TF_PART_NETWORK, .args = {3, 3}, .kinds = STATE_KINDS},
	{.name = "tf_network_retransmit", .hook = "tp_btf/tcp_retransmit_skb", .part = TF_PART_NETWORK, .args = {3, 3},
	 .kinds = KINDS(TF_K_NETWORK_RETRANSMIT)},
	{.name = "tf_network_retransmit_old", .hook = "tp_btf/tcp_retransmit_skb", .part = TF_PART_NETWORK, .args = {2, 2},
	 .kinds = KINDS(TF_K_NETWORK_RETRANSMIT)},
	{.name = "tf_network_send_reset", .hook = "tp_btf/tcp_send_reset", .part = TF_PART_NETWORK, .args = {3, 3},
	 .kinds = KINDS(TF_K_NETWORK_RESET)},
	{.name = "tf_network_send_reset_old", .hook = "tp_btf/tcp_send_reset", .part = TF_PART_NETWORK, .args = {2, 2},
	 .kinds = KINDS(TF_K_NETWORK_RESET)},
	{.name = "tf_network_receive_reset", .hook = "tp_btf/tcp_receive_reset", .part = TF_PART_NETWORK, .args = {1, 1},
	 .kinds = KINDS(TF_K_NETWORK_RESET)},
	{.name = "tf_network_rtt", .hook = "tp_btf/tcp_probe", .part = TF_PART_NETWORK, .args = {2, 2}, .kinds = KINDS(TF_K_NETWORK_RTT)},
	{.name = "tf_network_error", .hook = "tp_btf/inet_sk_error_report", .part = TF_PART_NETWORK, .args = {1, 1},
	 .kinds = KINDS(TF_K_NETWORK_ERROR)},
	{.name = "tf_network_drop", .hook = "tp_btf/kfree_skb", .part = TF_PART_DROP, .args = {4, 4}, .kinds = KINDS(TF_K_NETWORK_DROP)},
	{.name = "tf_network_drop_3", .hook = "tp_btf/kfree_skb", .part = TF_PART_DROP, .args = {3, 3}, .kinds = KINDS(TF_K_NETWORK_DROP)},
	{.name = "tf_network_drop_2", .hook = "tp_btf/kfree_skb", .part = TF_PART_DROP, .args = {2, 2}, .kinds = KINDS(TF_K_NETWORK_DROP)},
	{.name = "tf_network_bind", .hook = "tp_btf/sys_exit", .part = TF_PART_BIND, .args = {2, 2}, .kinds = KINDS(TF_K_NETWORK_BIND),
	 .stage = TF_SYS_NETWORK, .syscalls = CALLS(TF_NR_bind)},
	{.name = "tf_udp_send", .hook = "tp_btf/sock_send_length", .part = TF_PART_UDP, .args = {3, 3}, .kinds = FLOW_KINDS},
	{.name = "tf_udp_recv", .hook = "tp_btf/sock_recv_length", .part = TF_PART_UDP, .args = {3, 3}, .kinds = FLOW_KINDS},
	{.name = "tf_udp_sendmsg", .hook = "fexit/udp_sendmsg", .part = TF_PART_UDP, .args = {3, 3}, .kinds = FLOW_KINDS,
	 .instead_of = "tf_udp_send"},
	{.name = "tf_udp_sendmsg_v6", .hook = "fexit/udpv6_sendmsg", .part = TF_PART_UDP, .args = {3, 3}, .kinds = FLOW_KINDS,
	 .instead_of = "tf_udp_send"},
	{.name = "tf_udp_recvmsg", .hook = "fexit/udp_recvmsg", .part = TF_PART_UDP, .args = {5, 5}, .kinds = FLOW_KINDS,
	 .instead_of = "tf_udp_recv"},
	{.name = "tf_udp_recvmsg_v6", .hook = "fexit/udpv6_recvmsg", .part = TF_PART_UDP, .args = {5, 5}, .kinds = FLOW_KINDS,
	 .instead_of = "tf_udp_recv"},
	{.name = "tf_udp_recvmsg_old", .hook = "fexit/udp_recvmsg", .part = TF_PART_UDP, .args = {6, 6}, .kinds = FLOW_KINDS,
	 .instead_of = "tf_udp_recv"},
	{.name = "tf_udp_recvmsg_v6_old", .hook = "fexit/udpv6_recvmsg", .part = TF_PART_UDP, .args = {6, 6}, .kinds = FLOW_KINDS,
	 .instead_of = "tf_udp_recv"},
	{.name = "tf_udp_connect4", .hook = "cgroup/connect4", .part = TF_PART_UDP, .kinds = USER_KINDS, .flags = TF_PS_MORE},
	{.name = "tf_udp_to4", .hook = "cgroup/sendmsg4", .part = TF_PART_UDP, .kinds = USER_KINDS, .flags = TF_PS_MORE},
	{.name = "tf_udp_connect6", .hook = "cgroup/connect6", .part = TF_PART_UDP, .kinds = USER_KINDS, .flags = TF_PS_MORE},
	{.name = "tf_udp_to6", .hook = "cgroup/sendmsg6", .part = TF_PART_UDP, .kinds = USER_KINDS, .flags = TF_PS_MORE},
	{.name = "tf_udp_from4", .hook = "cgroup/recvmsg4", .part = TF_PART_UDP, .kinds = FLOW_KINDS, .flags = TF_PS_MORE},
	{.name = "tf_udp_from6", .hook = "cgroup/recvmsg6", .part = TF_PART_UDP, .kinds = FLOW_KINDS, .flags = TF_PS_MORE},
	{.name = "tf_udp_release", .hook = "cgroup/sock_release", .part = TF_PART_UDP, .kinds = KINDS(TF_K_NETWORK_FLOW)},
	{.name = "tf_dns_query", .hook = "tp_btf/net_dev_queue", .part = TF_PART_DNS, .args = {1, 1},
	 .kinds = KINDS(TF_K_NETWORK_DNS_QUERY, TF_K_NETWORK_DNS)},
	{.name = "tf_dns_answer", .hook = "tp_btf/netif_receive_skb", .part = TF_PART_DNS, .args = {1, 1}, .kinds = KINDS(TF_K_NETWORK_DNS)},
};
const struct tf_spec_table tf_specs_network = {specs, sizeof(specs) / sizeof(specs[0])};
