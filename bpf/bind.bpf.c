// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* bind(2): which address a socket was given, or was refused. A handler of sys_exit: the kernel has no tracepoint of its own for it. */
#include "tf_fd.bpf.h"
#include "tf_sock.bpf.h"
#include "tf_sys.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

TF_KEEP_BTF(tf_network)

/* uapi/linux/in.h, in6.h: what a program hands to bind(2). */
struct tf_sockaddr {
	__u16 family;
	__be16 port;
	__be32 ip4;              /* IPv6: flow label */
	__be32 ip6[4];
	__u32 scope;
};

/* The socket behind a descriptor of the calling process, or NULL. */
static __always_inline struct sock *tf_sock_of_fd(struct task_struct *task, __s32 fd)
{
	struct file *file = tf_file_of(task, fd);
	struct socket *socket;

	if (!file || (tf_file_mode(file) & S_IFMT) != S_IFSOCK)
		return NULL;
	socket = BPF_CORE_READ(file, private_data);
	return BPF_CORE_READ(socket, sk);
}

/* As the kernel has it: after a bind that succeeded nobody but the kernel can have written it. */
static __always_inline void tf_fill_bound(struct tf_network *e, struct sock *sk, __u16 family)
{
	struct in6_addr ip6;

	if (family == AF_INET6) {
		BPF_CORE_READ_INTO(&ip6, sk, __sk_common.skc_v6_rcv_saddr);
		tf_copy_ipv6(e->source_ip, &ip6);
	} else {
		tf_map_ipv4(e->source_ip, BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr));
	}
	e->source_port = tf_local_port(sk);
	e->family = family;
}

/* As the program's memory claims. */
static __always_inline void tf_fill_claimed(struct tf_network *e, const struct tf_sockaddr *a)
{
	if (a->family == AF_INET6)
		for (int i = 0; i < 4; i++)
			((__u32 *)e->source_ip)[i] = a->ip6[i];
	else
		tf_map_ipv4(e->source_ip, a->ip4);
	e->source_port = bpf_ntohs(a->port);
	e->family = a->family == AF_INET6 ? AF_INET6 : AF_INET;
	e->h.flags |= TF_F_USER_CLAIMED;
}

static __always_inline void tf_no_address(__u8 *to, bool v6)
{
	const struct in6_addr none = {};

	if (v6)
		tf_copy_ipv6(to, &none);
	else
		tf_map_ipv4(to, 0);
}

static __always_inline void tf_emit_bind(struct task_struct *task, struct sock *sk, const struct tf_sockaddr *claimed, __s32 errno_,
					 bool unread)
{
	__u16 family = BPF_CORE_READ(sk, __sk_common.skc_family), flags;
	struct tf_network *e;
	struct tf_who who;
	struct tf_gate g;

	if (!tf_admit_task(&g, &who, task, &flags, TF_K_NETWORK_BIND))
		return;
	if (errno_ && unread) {
		tf_count(&g, TF_L_K_FAULT);
		return;
	}
	e = tf_reserve(&g, TF_K_NETWORK_BIND, struct tf_network);
	if (!e)
		return;
	tf_fill_gate(&g, &e->h, TF_K_NETWORK_BIND);
	tf_fill_task(&e->h, &who, task, flags);
	tf_clear_network(e, BPF_CORE_READ(sk, sk_protocol), TF_DIR_UNKNOWN);
	e->cookie = tf_cookie(sk);
	e->netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	e->errno_ = errno_;
	if (errno_)
		tf_fill_claimed(e, claimed);
	else
		tf_fill_bound(e, sk, family);
	tf_no_address(e->dest_ip, e->family == AF_INET6);
	e->dest_port = 0;
	if (e->protocol == IPPROTO_TCP)
		e->state = BPF_CORE_READ(sk, __sk_common.skc_state);
	tf_submit(&g, TF_K_NETWORK_BIND, e);
}

/* bind, of internet sockets. A refused address is the program's claim: memory that another thread may have changed since. */
TF_ON_EXIT(tf_network_bind, TF_SYS_NETWORK)
{
	struct task_struct *task = tf_current();
	struct sock *sk = tf_sock_of_fd(task, tf_sys_arg(regs, 0));
	__u16 family = sk ? BPF_CORE_READ(sk, __sk_common.skc_family) : 0;
	struct tf_sockaddr claimed = {};
	__u32 len = (__u32)tf_sys_arg(regs, 2);

	if ((family == AF_INET || family == AF_INET6) && tf_wanted_protocol(BPF_CORE_READ(sk, sk_protocol)) &&
	    !tf_is_raw(BPF_CORE_READ(sk, sk_protocol), BPF_CORE_READ(sk, sk_type)) &&
	    (!tf_consts.own_netns_only || tf_wanted_netns(BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum)))) {
		bool unread = ret && bpf_probe_read_user(&claimed, len < sizeof(claimed) ? len : sizeof(claimed), (void *)tf_sys_arg(regs, 1));

		tf_emit_bind(task, sk, &claimed, tf_sys_errno(ret), unread);
	}
}
