/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The table of DNS queries that wait for their answer. Owned by the base object, so that its size is the user's (map_entries_limit). */
#ifndef TF_DNS_BPF_H
#define TF_DNS_BPF_H

#include "tf_sock.bpf.h"

struct tf_dns_key {
	__u8  server_ip[TF_IP_LEN];
	__u32 netns;
	__u16 port;              /* of the one who asks */
	__u16 id;                /* of the transaction, as on the wire */
};

struct tf_dns_asked {
	struct tf_owner owner;
	__u64 ts_ns;
	__u64 cookie;
	__u64 skb;               /* address of the packet: it passes one hook per stacked device */
	__u64 dev;               /* address of the first of these: there again it is another packet in the same memory */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct tf_dns_key);
	__type(value, struct tf_dns_asked);
} tf_dns SEC(".maps");

#endif
