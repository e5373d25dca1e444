// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* The object that owns the shared maps: loaded first, it has nothing that a kernel could refuse. And two tiny programs that are never
 * attached: who we are in the host's pid namespace, and whether a tracing program loads at all. */
#include "tf_sock.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

TF_KEEP_BTF(tf_header)

/* Run by test_run: the calling process's id in the host's pid namespace. getpid(2) gives another one inside a container. */
SEC("raw_tp")
int tf_whoami(void *ctx)
{
	return bpf_get_current_pid_tgid() >> 32;
}

/* Loading it needs BTF, CAP_BPF and CAP_PERFMON, as our hooks do. */
SEC("tp_btf/sched_process_exit")
int tf_probe_tracing(void *ctx)
{
	return 0;
}
