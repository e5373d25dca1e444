// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* The object that owns the shared maps: loaded first, it has nothing that a kernel could refuse. And tiny programs that are never
 * attached: who we are in the host's pid namespace, which namespaces are the host's, which directory a descriptor of ours is, whether a
 * tracing program loads at all. */
#include "tf_dns.bpf.h"
#include "tf_fd.bpf.h"
#include "tf_sets.bpf.h"
#include "tf_sock.bpf.h"
#include "tf_sys.bpf.h"
#include "tf_first.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

TF_KEEP_BTF(tf_header)

/* Run by test_run: the calling process's id in the host's pid namespace. getpid(2) gives another one inside a container. */
SEC("raw_tp")
int tf_whoami(void *ctx)
{
	return bpf_get_current_pid_tgid() >> 32;
}

/* Run by test_run with (descriptor, bits of tf_path_set, hash of a name in it or 0): puts what the calling process has open there into tf_dirs, under the numbers that
 * the kernel's objects carry: stat(2) tells other device numbers on overlayfs and btrfs. */
SEC("raw_tp")
int tf_add_dir(__u64 *ctx)
{
	struct file *file = tf_file_of((struct task_struct *)bpf_get_current_task(), ctx[0]);
	struct tf_dir_key key = {};
	__u32 bits = ctx[1], bit, *old;

	if (!file)
		return -9; /* EBADF */
	tf_read_inode(file, &key.inode, &key.device);
	bit = tf_dir_bit(key.inode, key.device);
	tf_settings.dir_bits[bit / 64 & 3] |= 1ull << (bit & 63);
	key.name = ctx[2];
	old = bpf_map_lookup_elem(&tf_dirs, &key);
	if (old)
		bits |= *old;
	return bpf_map_update_elem(&tf_dirs, &key, &bits, BPF_ANY);
}

/* Run by test_run: inode of the first process's mount (argument 0) or pid (1) namespace; 0 = not found. Not /proc/1/ns: the collector's
 * /proc may be a container's. */
SEC("raw_tp")
int tf_host_space(__u64 *ctx)
{
	struct task_struct *first = tf_first_process((struct task_struct *)bpf_get_current_task());

	if (!first)
		return 0;
	return ctx[0] ? tf_pid_space(first) : BPF_CORE_READ(first, nsproxy, mnt_ns, ns.inum);
}

/* Loading it needs BTF, CAP_BPF and CAP_PERFMON, as our hooks do. */
SEC("tp_btf/sched_process_exit")
int tf_probe_tracing(void *ctx)
{
	return 0;
}
