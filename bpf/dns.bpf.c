// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* DNS over UDP port 53: queries as they leave, answers as they come, matched by network namespace, address and transaction. The message
 * travels as it is; the engine decodes it (csrc/tf_dns.c). */
#include "tf_dns.bpf.h"
#include "tf_skb.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

TF_KEEP_BTF(tf_network)

#define TF_DNS_PORT 53
#define TF_DNS_MAX 512           /* bytes of a message that are kept */
#define TF_DNS_LEAST 12          /* bytes: a message's header */
#define TF_DNS_FORGET 30000000000ull /* ns: a query that long without an answer will get none */
#define TF_DNS_SAME 1000000ull   /* ns: the same packet on its next device */
#define TF_QR 0x80               /* bit of a message's third byte: it is an answer */

/* A message of DNS, in a packet. */
struct tf_message {
	struct tf_packet p;
	__u64 at;                /* address of the message */
	__u32 linear;            /* bytes of it that can be read in one go */
	__u32 netns;
	__u16 id;
	__u8  flags;
	__u8  known;             /* bool: id and flags were read; the sender may have put a message in pages, where we do not look */
};

/* Reads a packet that may be DNS; `at` is its IP header, `end` the end of its linear part. Global: checked once. */
TF_GLOBAL int tf_read_message(__u64 at, __u64 end, struct tf_message *m)
{
	__u8 head[4] = {};

	if (!m || !tf_parse_packet(at, &m->p) || m->p.payload_len < TF_DNS_LEAST || !m->p.payload_at)
		return 0;
	if (m->p.dest_port != TF_DNS_PORT && m->p.source_port != TF_DNS_PORT)
		return 0;
	m->at = at + m->p.payload_at;
	m->linear = m->at > end ? 0 : end - m->at < m->p.payload_len ? end - m->at : m->p.payload_len;
	m->known = m->linear >= sizeof(head) && !bpf_probe_read_kernel(head, sizeof(head), (void *)m->at);
	m->id = head[0] << 8 | head[1];
	m->flags = head[2];
	return 1;
}

static __always_inline __u64 tf_linear_end(const struct sk_buff *skb)
{
	return (__u64)BPF_CORE_READ(skb, data) + skb->len - skb->data_len;
}

static __always_inline void tf_fill_key(struct tf_dns_key *key, const struct tf_message *m, const bool answer)
{
	for (int i = 0; i < 2; i++)
		((__u64 *)key->server_ip)[i] = ((const __u64 *)(answer ? m->p.source_ip : m->p.dest_ip))[i];
	key->netns = m->netns;
	key->port = answer ? m->p.dest_port : m->p.source_port;
	key->id = m->id;
}

/* Sends a row with the message as its text. */
static __always_inline void tf_emit_message(struct tf_gate *g, const struct tf_message *m, const struct tf_dns_asked *asked,
					    const __u32 kind)
{
	const bool answer = kind == TF_K_NETWORK_DNS;
	__u32 len = m->linear < TF_DNS_MAX ? m->linear : TF_DNS_MAX;
	struct tf_slot *slot = tf_claim(g);
	struct tf_network *e;

	if (!slot)
		return;
	e = (struct tf_network *)slot->data;
	tf_fill_gate(g, &e->h, kind);
	tf_fill_owner(&e->h, &asked->owner);
	tf_clear_network(e, IPPROTO_UDP, TF_DIR_EGRESS);
	tf_fill_packet(e, &m->p, answer);
	e->cookie = asked->cookie;
	e->netns = m->netns;
	if (answer) {
		e->bytes_received = m->p.payload_len;
		e->duration_ns = e->h.ts_ns > asked->ts_ns ? e->h.ts_ns - asked->ts_ns : 0;
	} else {
		e->bytes_sent = m->p.payload_len;
	}
	e->name.len = len;
	e->name.full_len = m->p.payload_len;
	if (len < m->p.payload_len)
		e->h.flags |= TF_F_TRUNCATED;
	if (bpf_probe_read_kernel(slot->data + sizeof(*e), len, (void *)m->at)) {
		tf_release(slot);
		tf_count(g, TF_L_K_FAULT);
		return;
	}
	tf_output(g, kind, slot, sizeof(*e) + len);
}

static long tf_forget_old(void *map, const struct tf_dns_key *key, const struct tf_dns_asked *asked, __u64 *before)
{
	if (asked->ts_ns < *before)
		bpf_map_delete_elem(map, key);
	return 0;
}

static __u64 tf_forgot_ns; /* when that was last tried */

/* Makes room in a full table: answers that never came. At most once a second, on one processor. */
static __always_inline bool tf_forget(__u64 now)
{
	__u64 last = *(volatile __u64 *)&tf_forgot_ns, before = now - TF_DNS_FORGET;

	if (!tf_has_helper(for_each_map_elem)) /* 5.13 */
		return false;
	if (now - last < 1000000000ull || !tf_swap_if(&tf_forgot_ns, last, now))
		return false;
	bpf_for_each_map_elem(&tf_dns, tf_forget_old, &before, 0);
	return true;
}

/* Who asks: who used the socket last, else the running process: a packet that had to wait for its neighbour's address is sent by an
 * interrupt of somebody else's time, and nothing tells that a program runs in one (the processor's __preempt_count is in no symbol
 * table). */
static __always_inline void tf_note_asker(struct tf_dns_asked *asked, struct sock *sk)
{
	struct tf_owner *owner = bpf_sk_storage_get(&tf_owners, sk, 0, 0);
	struct task_struct *task = tf_current();

	if (owner && owner->subject.pid && owner->subject.pid != TF_GO(task, tgid)) {
		asked->owner.subject = owner->subject;
		asked->owner.followed = owner->followed;
	} else if (TF_GO(task, tgid) && !(TF_GO(task, flags) & PF_KTHREAD)) {
		tf_read_subject(&asked->owner.subject, task);
		tf_note_followed(&asked->owner);
	}
}

/* An answer that nobody will know. */
static __always_inline void tf_lose_answer(const struct tf_dns_asked *asked)
{
	struct tf_who who;
	struct tf_gate g;

	tf_read_owner(&who, &asked->owner);
	if (tf_enabled(TF_K_NETWORK_DNS) && tf_admit(&g, &who, TF_K_NETWORK_DNS))
		tf_count(&g, TF_L_K_MAP_FULL);
}

/* Remembers a query. False: it was the same packet again, on another device. */
static __always_inline bool tf_remember(const struct tf_message *m, const struct tf_dns_asked *asked)
{
	struct tf_dns_asked *before;
	struct tf_dns_key key = {};

	tf_fill_key(&key, m, false);
	before = bpf_map_lookup_elem(&tf_dns, &key);
	if (before && before->skb == asked->skb && before->dev != asked->dev && asked->ts_ns - before->ts_ns < TF_DNS_SAME)
		return false;
	if (!bpf_map_update_elem(&tf_dns, &key, asked, BPF_ANY))
		return true;
	if (tf_forget(asked->ts_ns) && !bpf_map_update_elem(&tf_dns, &key, asked, BPF_ANY))
		return true;
	tf_lose_answer(asked);
	return true;
}

/* Whether the gate's rules would let a record about the query or its answer pass. What they refuse takes no place in the table: a stranger's
 * queries must not push out those of whom we look at. (Throttle and sampler are asked when the answer is there.) */
static __always_inline bool tf_may_pass(const struct tf_who *who)
{
	return tf_may_match(who, TF_K_NETWORK_DNS, TF_K_NETWORK_DNS_QUERY);
}

/* Whether one of a packet's ports is that of DNS: every packet of the machine gets here, so that two short reads must do. */
static __always_inline bool tf_may_be_dns(const struct sk_buff *skb, __u64 at)
{
	const bool v4 = skb->protocol == bpf_htons(ETH_P_IP);
	__u16 port[2];
	__u8 ip[10];

	if ((!v4 && skb->protocol != bpf_htons(ETH_P_IPV6)) || bpf_probe_read_kernel(ip, sizeof(ip), (void *)at) ||
	    (v4 ? ip[9] : ip[6]) != IPPROTO_UDP)
		return false;
	if (bpf_probe_read_kernel(port, sizeof(port), (void *)(at + (v4 ? (ip[0] & 15) * 4 : 40))))
		return false;
	return port[0] == bpf_htons(TF_DNS_PORT) || port[1] == bpf_htons(TF_DNS_PORT);
}

static __always_inline void tf_handle_query(struct sk_buff *skb, struct sock *sk, __u64 at)
{
	struct tf_dns_asked asked = {};
	struct tf_message m = {};
	struct tf_who who;
	struct tf_gate g;

	m.netns = tf_plain_sock(sk)->__sk_common.skc_net.net->ns.inum;
	if (!tf_wanted_netns(m.netns) || !tf_read_message(at, tf_linear_end(skb), &m) || m.p.dest_port != TF_DNS_PORT || m.flags & TF_QR)
		return;
	tf_note_asker(&asked, sk);
	asked.ts_ns = bpf_ktime_get_boot_ns();
	asked.cookie = tf_cookie(sk);
	bpf_probe_read_kernel(&asked.skb, sizeof(asked.skb), &skb);
	bpf_core_read(&asked.dev, sizeof(asked.dev), &skb->dev);
	tf_read_owner(&who, &asked.owner);
	if (!m.known)
		tf_lose_answer(&asked);
	else if (tf_may_pass(&who) && !tf_remember(&m, &asked))
		return;
	if (!tf_enabled(TF_K_NETWORK_DNS_QUERY))
		return;
	if (!tf_admit(&g, &who, TF_K_NETWORK_DNS_QUERY))
		return;
	g.now_ns = asked.ts_ns; /* from which the answer's latency counts */
	tf_emit_message(&g, &m, &asked, TF_K_NETWORK_DNS_QUERY);
}

static __always_inline void tf_handle_answer(struct sk_buff *skb, __u64 at)
{
	struct tf_dns_asked asked = {}, *found;
	struct tf_dns_key key = {};
	struct tf_message m = {};
	struct tf_who who;
	struct tf_gate g;

	if (!tf_read_message(at, tf_linear_end(skb), &m) || !m.known || m.p.source_port != TF_DNS_PORT || !(m.flags & TF_QR))
		return;
	m.netns = tf_skb_netns(skb);
	if (!tf_wanted_netns(m.netns))
		return;
	tf_fill_key(&key, &m, true);
	found = bpf_map_lookup_elem(&tf_dns, &key);
	if (!found)
		return;
	asked = *found;
	if (bpf_map_delete_elem(&tf_dns, &key))
		return; /* the same answer, on another processor */
	tf_read_owner(&who, &asked.owner);
	if (tf_admit(&g, &who, TF_K_NETWORK_DNS))
		tf_emit_message(&g, &m, &asked, TF_K_NETWORK_DNS);
}

/* Hook: net_dev_queue, since 2.6.37, per packet and device, before it is queued: mostly in the sender's context. A packet without a
 * socket is a forwarded one: it was seen where it was sent. */
SEC("tp_btf/net_dev_queue")
int BPF_PROG(tf_dns_query, struct sk_buff *skb)
{
	struct sock *sk;
	__u64 at;

	if (!skb)
		return 0;
	sk = skb->sk;
	if (!sk || !tf_is_full(sk) || sk->sk_protocol != IPPROTO_UDP)
		return 0;
	at = tf_network_header(skb);
	if (tf_may_be_dns(skb, at))
		tf_handle_query(skb, sk, at);
	return 0;
}

/* Hook: netif_receive_skb, since 2.6.37, per packet that comes in, in softirq. Its data begins at the IP header. An answer that nobody
 * waits for is not one. */
SEC("tp_btf/netif_receive_skb")
int BPF_PROG(tf_dns_answer, struct sk_buff *skb)
{
	__u64 at;

	if (!skb)
		return 0;
	bpf_core_read(&at, sizeof(at), &skb->data);
	if (tf_may_be_dns(skb, at))
		tf_handle_answer(skb, at);
	return 0;
}
