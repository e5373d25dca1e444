/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The kernel fields we read, and nothing else: a substitute for vmlinux.h. Offsets come from the running kernel (CO-RE); a field that
 * was renamed has a flavour (___vNNN) with the version and the reason. Relies on no kernel header. */
#ifndef TF_KERNEL_H
#define TF_KERNEL_H

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef signed char __s8;
typedef short __s16;
typedef int __s32;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u64 __be64;
typedef __u16 __sum16;
typedef __u32 __wsum;
typedef _Bool bool;
#define true 1
#define false 0
#define NULL ((void *)0)

/* uapi/linux/bpf.h */
enum {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PROG_ARRAY = 3,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_LPM_TRIE = 11,
	BPF_MAP_TYPE_ARRAY_OF_MAPS = 12,
	BPF_MAP_TYPE_SK_STORAGE = 24,
	BPF_MAP_TYPE_RINGBUF = 27,
	BPF_MAP_TYPE_TASK_STORAGE = 29,
};
enum { BPF_ANY = 0, BPF_NOEXIST = 1 };
enum { BPF_F_NO_PREALLOC = 1, BPF_F_CLONE = 1 << 9, BPF_F_MMAPABLE = 1 << 10 };
enum { BPF_RB_NO_WAKEUP = 1, BPF_RB_FORCE_WAKEUP = 2 };
enum { BPF_RB_AVAIL_DATA = 0, BPF_RB_RING_SIZE = 1, BPF_RB_CONS_POS = 2, BPF_RB_PROD_POS = 3 };
enum { BPF_SK_STORAGE_GET_F_CREATE = 1, BPF_LOCAL_STORAGE_GET_F_CREATE = 1 };

#define PF_KTHREAD 0x00200000       /* linux/sched.h */
#define PF_FORKNOEXEC 0x00000040    /* forked, has not executed since */
#define SIGNAL_GROUP_EXIT 0x00000004 /* linux/sched/signal.h */
#define AF_INET 2                   /* linux/socket.h */
#define AF_INET6 10
#define SOCK_STREAM 1               /* linux/net.h */
#define SOCK_DGRAM 2
#define IPPROTO_TCP 6               /* uapi/linux/in.h */
#define IPPROTO_ICMP 1
#define IPPROTO_UDP 17
#define IPPROTO_ICMPV6 58
#define ETH_P_IP 0x0800             /* uapi/linux/if_ether.h */
#define ETH_P_IPV6 0x86dd
#define MSG_PEEK 2                  /* linux/socket.h */
#define MSG_ERRQUEUE 0x2000
#define S_IFMT 00170000             /* uapi/linux/stat.h */
#define S_IFSOCK 0140000
#define EPERM 1                     /* uapi/asm-generic/errno-base.h */
#define ENOENT 2
#define EACCES 13
#define EFAULT 14
#define NSFS_MAGIC 0x6e736673       /* uapi/linux/magic.h */

/* net/tcp_states.h */
enum {
	TCP_ESTABLISHED = 1, TCP_SYN_SENT, TCP_SYN_RECV, TCP_FIN_WAIT1, TCP_FIN_WAIT2, TCP_TIME_WAIT, TCP_CLOSE, TCP_CLOSE_WAIT,
	TCP_LAST_ACK, TCP_LISTEN, TCP_CLOSING, TCP_NEW_SYN_RECV,
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct { __u32 val; } kuid_t;
typedef struct { __u32 val; } kgid_t;
typedef struct { int counter; } atomic_t;
struct list_head {
	struct list_head *next;
	struct list_head *prev;
};
struct hlist_node {
	struct hlist_node *next;
};
struct hlist_head {
	struct hlist_node *first;
};
struct rb_node {
	struct rb_node *rb_right;
};
struct rb_root {
	struct rb_node *rb_node;
};

/* Their numbers depend on the kernel's configuration: read by bpf_core_enum_value. */
enum cgroup_subsys_id { memory_cgrp_id = 4, pids_cgrp_id = 11 };
enum sock_flags { SOCK_DONE = 1 };
enum bpf_func_id { BPF_FUNC_for_each_map_elem = 164, BPF_FUNC_loop = 181 };
enum skb_drop_reason { SKB_CONSUMED = 1, SKB_DROP_REASON_NOT_SPECIFIED = 2, SKB_DROP_REASON_QUEUE_PURGE = 104 };

/* A capability set is u32[2] before 6.3, one u64 after: the same 8 bytes on little endian machines. */
typedef struct { __u64 val; } kernel_cap_t;
struct user_namespace;
struct cred {
	kuid_t uid;
	kgid_t gid;
	kuid_t suid;
	kgid_t sgid;
	kuid_t euid;
	kgid_t egid;
	kuid_t fsuid;
	kgid_t fsgid;
	kernel_cap_t cap_permitted;
	kernel_cap_t cap_effective;
	struct user_namespace *user_ns;
};

struct kernfs_node {
	struct kernfs_node *parent;
	const char *name;
	__u64 id;
};
/* 6.15 protects the parent by RCU. */
struct kernfs_node___v615 {
	struct kernfs_node *__parent;
};
struct cgroup_root {
	int hierarchy_id;
};
struct cgroup {
	int level;
	struct kernfs_node *kn;
	struct cgroup_root *root;
};
struct cgroup_subsys_state {
	struct cgroup *cgroup;
	struct cgroup_subsys_state *parent;
};
typedef struct { long counter; } atomic_long_t;
struct page_counter {
	atomic_long_t usage;     /* pages, all of them */
	unsigned long high;
	unsigned long max;
};
struct mem_cgroup {
	struct cgroup_subsys_state css;
	struct page_counter memory;
};
struct css_set {
	struct cgroup_subsys_state *subsys[16];
	struct cgroup *dfl_cgrp;
};

struct block_device;
struct super_block {
	__u32 s_dev;
	unsigned long s_flags;
	unsigned long s_magic;
	struct block_device *s_bdev;
};
struct inode {
	unsigned short i_mode;
	kuid_t i_uid;
	kgid_t i_gid;
	__u32 i_rdev;
	unsigned int i_nlink;
	long long i_size;
	unsigned long i_ino;
	struct super_block *i_sb;
	struct hlist_head i_dentry;
	void *i_private;
};
struct qstr {
	__u32 len;
	const unsigned char *name;
};
struct hlist_bl_node {
	struct hlist_bl_node **pprev;
};
struct dentry {
	struct hlist_bl_node d_hash;
	struct dentry *d_parent;
	struct qstr d_name;
	struct inode *d_inode;
	struct super_block *d_sb;
	union {
		struct hlist_node d_alias;
	} d_u;
};
struct dentry___v700 { /* without the name of the union */
	struct hlist_node d_alias;
};
struct vfsmount {
	struct dentry *mnt_root;
	struct super_block *mnt_sb;
};
struct mnt_namespace;
struct mount {
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
	struct list_head mnt_list;
	const char *mnt_devname;
	struct mnt_namespace *mnt_ns;
};
/* 6.8 keeps a namespace's mounts in a tree, by a number that grows. */
struct mount___v608 {
	struct rb_node mnt_node;
};
struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};
struct file {
	struct inode *f_inode;
	struct path f_path;
	unsigned int f_flags;
	unsigned int f_mode;
	long long f_pos;
	void *private_data;
};
struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};
struct files_struct {
	atomic_t count;
	struct fdtable *fdt;
};
/* 6.18 made f_path const inside a union with __f_path; BTF of some builds shows only the latter. */
struct file___v618 {
	struct path __f_path;
};
struct fs_struct {
	struct path root;
	struct path pwd;
};

struct percpu_counter {
	__s64 count;
};
struct mm_rss_stat {             /* before 6.2 */
	atomic_long_t count[4];
};
struct mm_struct {
	unsigned long brk;
	unsigned long arg_start;
	unsigned long arg_end;
	struct file *exe_file;
	struct percpu_counter rss_stat[4]; /* file, anonymous, swapped out, shared */
};
struct mm_struct___v61 {
	struct mm_rss_stat rss_stat;
};
struct compact_control {
	__u32 gfp_mask;
	int order;
};
struct linux_binprm {
	struct file *file;
	unsigned int secureexec : 1;
	unsigned int per_clear;
};

struct sched_entity {
	__u64 sum_exec_runtime;
};
struct signal_struct {
	atomic_t live;
	struct list_head thread_head;
	int group_exit_code;
	unsigned int flags;
	unsigned long min_flt;   /* of threads that are gone */
	unsigned long maj_flt;
	short oom_score_adj;
};

/* The kind of a namespace (CLONE_NEW*): a field of its own since 6.18, of its operations before. */
struct proc_ns_operations {
	int type;
};
struct ns_common {
	unsigned int inum;
	__u32 ns_type;
	const struct proc_ns_operations *ops;
};
struct pid_namespace {
	struct task_struct *child_reaper;
	unsigned int level;
	struct ns_common ns;
};
struct upid {
	int nr;
	struct pid_namespace *ns;
};
struct pid {
	unsigned int level;
	struct hlist_head tasks[4]; /* by enum pid_type: 1 = thread group leader */
	struct upid numbers[1];
};

struct mnt_namespace {
	struct ns_common ns;
};
/* Where the newest mount is: end of a list, right end of a tree (6.8), a pointer (6.14). */
struct mnt_namespace___v501 {
	struct list_head list;
};
struct mnt_namespace___v608 {
	struct rb_root mounts;
};
struct mnt_namespace___v614 {
	struct rb_node *mnt_last_node;
};
struct uts_namespace {
	struct ns_common ns;
};
struct ipc_namespace {
	struct ns_common ns;
};
struct time_namespace {
	struct ns_common ns;
};
struct cgroup_namespace {
	struct ns_common ns;
};
struct user_namespace {
	struct ns_common ns;
	int level;
};
struct nsproxy {
	struct uts_namespace *uts_ns;
	struct ipc_namespace *ipc_ns;
	struct mnt_namespace *mnt_ns;
	struct pid_namespace *pid_ns_for_children;
	struct net *net_ns;
	struct time_namespace *time_ns;
	struct time_namespace *time_ns_for_children;
	struct cgroup_namespace *cgroup_ns;
};

struct thread_info {
	unsigned long flags;
	__u32 status;            /* x86 */
};

#if defined(__TARGET_ARCH_arm64)
struct pt_regs {
	__u64 regs[31];
	__u64 sp;
	__u64 pc;
	__u64 orig_x0;
	__s32 syscallno;
};
#else
struct pt_regs {
	unsigned long bp;
	unsigned long bx;
	unsigned long r10;
	unsigned long r9;
	unsigned long r8;
	unsigned long ax;
	unsigned long cx;
	unsigned long dx;
	unsigned long si;
	unsigned long di;
	unsigned long orig_ax;
	unsigned long ip;
	unsigned long sp;
};
#endif

struct task_struct {
	struct thread_info thread_info;
	unsigned int flags;
	unsigned int personality;
	struct mm_struct *mm;
	int exit_code;
	unsigned int in_execve : 1;
	int pid;
	int tgid;
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	struct pid *thread_pid;
	struct hlist_node pid_links[4];
	__u64 start_boottime;
	const struct cred *real_cred;
	const struct cred *cred;
	struct files_struct *files;
	struct nsproxy *nsproxy;
	__u64 utime;
	__u64 stime;
	unsigned long nvcsw;
	unsigned long nivcsw;
	unsigned long min_flt;
	unsigned long maj_flt;
	char comm[16];
	struct fs_struct *fs;
	struct signal_struct *signal;
	struct css_set *cgroups;
	struct mem_cgroup *active_memcg;
	struct list_head thread_node;
};

/* Since 5.19 the descriptor lies in cqe; the request's own members have been there since 5.1. */
struct io_cqe {
	__u64 user_data;
	int fd;
};
struct io_kiocb {
	struct file *file;
	__u8 opcode;
	struct io_cqe cqe;
};
struct module {
	char name[56];
};

struct kernel_siginfo {
	int si_code;
};

struct in6_addr {
	union {
		__u8 u6_addr8[16];
		__u32 u6_addr32[4];
	} in6_u;
};
struct net {
	struct ns_common ns;
};
typedef struct { struct net *net; } possible_net_t;
struct sock_common {
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	unsigned short skc_family;
	volatile unsigned char skc_state;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
	unsigned long skc_flags;
	__u16 skc_num;
};
struct sock {
	struct sock_common __sk_common;
	int sk_err;
	__u16 sk_protocol;
	__u16 sk_type;
};
struct inet_sock {
	__be16 inet_sport;
};
struct socket {
	struct sock *sk;
};
struct net_device {
	possible_net_t nd_net;
};
struct sk_buff {
	struct net_device *dev;
	struct sock *sk;
	unsigned int len;
	unsigned int data_len;
	int skb_iif;
	__be16 protocol;
	__u16 transport_header;
	__u16 network_header;
	unsigned char *head;
	unsigned char *data;
};
struct tcp_sock {
	struct list_head tsorted_sent_queue;
	__u64 bytes_sent;
	__u64 bytes_retrans;
	__u64 bytes_received;
	__u32 srtt_us;
	__u32 total_retrans;
};

struct seq_file;
struct bpf_iter_meta {
	struct seq_file *seq;
};
struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
};
struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	__u32 fd;
	struct file *file;
};

#pragma clang attribute pop

/* uapi/linux/bpf.h: what control group programs are given. Not relocated: its layout is the same everywhere. */
struct bpf_sock {
	__u32 bound_dev_if, family, type, protocol;
};
struct bpf_sock_addr {
	__u32 user_family;
	__u32 user_ip4;          /* network byte order */
	__u32 user_ip6[4];       /* network byte order */
	__u32 user_port;         /* network byte order */
	__u32 family, type, protocol;
	__u32 msg_src_ip4, msg_src_ip6[4];
	struct bpf_sock *sk __attribute__((aligned(8)));
};

#include "bpf_helpers.h"
#include "bpf_core_read.h"
#include "bpf_tracing.h"
#include "bpf_endian.h"

#include "tf_event.h"
#include "tf_kinds.h"
#include "tf_shared.h"

/* Keeps a record in the object's BTF, for the layout check at open: clang leaves out what only a local pointer reaches. */
#define TF_KEEP_BTF(name) \
	__attribute__((noinline)) int tf_btf_##name(struct name *p) { return p != 0; }

#endif
