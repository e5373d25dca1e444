// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* The load generator: traces nothing, sends records of made-up processes through the same gate and into the same rings. Record number
 * n = first + i; every field follows from n, so that a test can check each (the formula: README.md, "Synthetic records"). */
#include "tf_task.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

TF_KEEP_BTF(tf_cpu)
TF_KEEP_BTF(tf_network)
TF_KEEP_BTF(tf_process)

#define TF_SYNTH_PID 0x1000000u /* above PID_MAX_LIMIT: never a real process, so never our own */
#define TF_SYNTH_MOST 65536
#define TF_SYNTH_SOURCE_IP(n) (0x0a000000 | ((n) & 0xffffff))
#define TF_SYNTH_DEST_IP(n) (0xc0000200 | ((n) & 0xff))
#define TF_SYNTH_SOURCE_PORT(n) (1024 + ((n) & 0x7fff))
#define TF_SYNTH_DEST_PORT(n) ((n) & 1 ? 443 : 80)

struct tf_run {
	__u64 first;
	__u64 tried;
	__u64 sent;
	__u32 text_len;
	__u32 stop_on_full;
};

static __always_inline void tf_make_who(struct tf_who *who, __u64 n)
{
	who->pid = TF_SYNTH_PID + (n & 0xfff);
	who->cgroup_id = 0x1000000 + (n & 15);
	who->start_ns = 1000000ull * (1 + (n & 0xfff));
	who->followed = 0;
	who->born_ns = 1 + (n >> 2);
	who->comm[0] = 0x68746e7973ull; /* "synth" */
	who->comm[1] = 0;
	who->uid = n & 0xffff;
}

static __always_inline void tf_make_subject(struct tf_header *h, const struct tf_who *who, __u64 n)
{
	h->cgroup_id = who->cgroup_id;
	h->start_ns = who->start_ns;
	h->pid = who->pid;
	h->tid = who->pid;
	h->ppid = TF_SYNTH_PID;
	h->uid = n & 0xffff;
	h->gid = (n >> 16) & 0xffff;
	h->flags = tf_base_flags() | TF_F_SYNTHETIC;
	((__u64 *)h->comm)[0] = who->comm[0];
	((__u64 *)h->comm)[1] = who->comm[1];
}

static __always_inline void tf_make_cpu(struct tf_cpu *e, __u64 n)
{
	e->on_cpu_ns = n;
	e->rss = n * 4096;
	e->switches = n + 1;
	e->threads = n;
	e->minor_faults = n * 3;
	e->major_faults = n >> 32;
	e->_pad0 = 0;
}

static __always_inline void tf_make_network(struct tf_network *e, __u64 n)
{
	e->cookie = n;
	e->duration_ns = n * 10;
	e->bytes_sent = n * 2;
	e->bytes_received = n * 3;
	for (int i = 0; i < 4; i++) {
		((__u32 *)e->source_ip)[i] = i < 2 ? 0 : i == 2 ? bpf_htonl(0xffff) : bpf_htonl(TF_SYNTH_SOURCE_IP(n));
		((__u32 *)e->dest_ip)[i] = i < 2 ? 0 : i == 2 ? bpf_htonl(0xffff) : bpf_htonl(TF_SYNTH_DEST_IP(n));
	}
	e->netns = 0xf0000000;
	e->srtt_us = n & 0xffff;
	e->errno_ = n & 7 ? 0 : 111;
	e->retransmits = n & 3;
	e->source_port = TF_SYNTH_SOURCE_PORT(n);
	e->dest_port = TF_SYNTH_DEST_PORT(n);
	e->family = AF_INET;
	e->protocol = IPPROTO_TCP;
	e->direction = TF_DIR_EGRESS;
	e->state = TCP_ESTABLISHED;
	e->old_state = TCP_SYN_SENT;
	e->reason = e->dns_type = e->dns_rcode = 0;
	e->name.offset = e->name.len = e->name.full_len = 0;
}

/* A step's answer: false where the gate let it pass and the ring (or a slot) was not there. */
static __always_inline bool tf_send_cpu(struct tf_run *run, __u64 n, const __u32 kind)
{
	struct tf_cpu *e;
	struct tf_who who;
	struct tf_gate g;

	tf_make_who(&who, n);
	run->tried++;
	if (!tf_admit(&g, &who, kind))
		return true;
	e = tf_reserve(&g, kind, struct tf_cpu);
	if (!e)
		return false;
	tf_fill_gate(&g, &e->h, kind);
	tf_make_subject(&e->h, &who, n);
	tf_make_cpu(e, n);
	tf_submit(&g, kind, e);
	run->sent++;
	return true;
}

/* The gate, as connections have it: with both ends. */
static __always_inline bool tf_admit_network(struct tf_gate *g, const struct tf_who *who, __u64 n)
{
	const __u32 source[4] = {0, 0, bpf_htonl(0xffff), bpf_htonl(TF_SYNTH_SOURCE_IP(n))};
	const __u32 dest[4] = {0, 0, bpf_htonl(0xffff), bpf_htonl(TF_SYNTH_DEST_IP(n))};

	return tf_admit_pid(g, who->pid, TF_K_NETWORK_CONNECT, false) && tf_admit_number(g, TF_D_SOURCE_PORT, TF_SYNTH_SOURCE_PORT(n)) &&
	       tf_admit_number(g, TF_D_DEST_PORT, TF_SYNTH_DEST_PORT(n)) && tf_admit_bytes(g, TF_D_SOURCE_IP, source) &&
	       tf_admit_bytes(g, TF_D_DEST_IP, dest) && tf_admit_rest(g, who, TF_K_NETWORK_CONNECT, TF_BULK);
}

static __always_inline bool tf_send_network(struct tf_run *run, __u64 n)
{
	struct tf_network *e;
	struct tf_who who;
	struct tf_gate g;

	tf_make_who(&who, n);
	run->tried++;
	if (!tf_admit_network(&g, &who, n))
		return true;
	e = tf_reserve(&g, TF_K_NETWORK_CONNECT, struct tf_network);
	if (!e)
		return false;
	tf_fill_gate(&g, &e->h, TF_K_NETWORK_CONNECT);
	tf_make_subject(&e->h, &who, n);
	tf_make_network(e, n);
	tf_submit(&g, TF_K_NETWORK_CONNECT, e);
	run->sent++;
	return true;
}

/* Bytes of every synthetic argv: arguments of 64 bytes, NUL separated. */
#define TF_LINE "synthetic argument of the tapio_fast load generator, 64 bytes --\0"
#define TF_LINES_8(line) line line line line line line line line
static const char tf_synth_text[] = TF_LINES_8(TF_LINES_8(TF_LINE));
_Static_assert(sizeof(tf_synth_text) >= TF_ARGS_CAP, "text_len goes up to TF_ARGS_CAP");

static __always_inline bool tf_send_exec(struct tf_run *run, __u64 n)
{
	__u32 len = run->text_len > TF_ARGS_CAP ? TF_ARGS_CAP : run->text_len;
	struct tf_process *e;
	struct tf_slot *slot;
	struct tf_who who;
	struct tf_gate g;

	tf_make_who(&who, n);
	run->tried++;
	if (!tf_admit(&g, &who, TF_K_PROCESS_EXEC))
		return true;
	slot = tf_claim(&g);
	if (!slot)
		return false;
	e = (struct tf_process *)slot->data;
	tf_fill_gate(&g, &e->h, TF_K_PROCESS_EXEC);
	tf_make_subject(&e->h, &who, n);
	__builtin_memset(&e->parent_start_ns, 0, sizeof(*e) - sizeof(e->h));
	e->exe_inode = n;
	bpf_probe_read_kernel(slot->data + sizeof(*e), len, tf_synth_text);
	e->args.len = e->args.full_len = len;
	/* text beyond the cap of a whole record is not made, but the ring must refuse what claims to have it */
	if (!tf_output(&g, TF_K_PROCESS_EXEC, slot, sizeof(*e) + (run->text_len > TF_RECORD_CAP ? TF_RECORD_CAP : len)))
		return false;
	run->sent++;
	return true;
}

#define TF_STEP(name, call) \
	static long tf_step_##name(__u32 i, struct tf_run *run) \
	{ \
		__u64 n = run->first + i; \
\
		return !(call) && run->stop_on_full; \
	}
TF_STEP(usage, tf_send_cpu(run, n, TF_K_CPU_USAGE))
TF_STEP(load, tf_send_cpu(run, n, TF_K_CPU_LOAD))
TF_STEP(network, tf_send_network(run, n))
TF_STEP(exec, tf_send_exec(run, n))

/* Run by test_run on the calling thread's CPU, since 5.17 (bpf_loop); at most 65,536 records a call, about 8 ms. */
SEC("syscall")
int tf_synth(struct tf_synth_args *args)
{
	struct tf_run run = { .first = args->first, .text_len = args->text_len, .stop_on_full = args->stop_on_full };
	__u32 count = args->count > TF_SYNTH_MOST ? TF_SYNTH_MOST : args->count;

	switch (args->kind) {
	case TF_K_CPU_USAGE:
		bpf_loop(count, tf_step_usage, &run, 0);
		break;
	case TF_K_CPU_LOAD:
		bpf_loop(count, tf_step_load, &run, 0);
		break;
	case TF_K_NETWORK_CONNECT:
		bpf_loop(count, tf_step_network, &run, 0);
		break;
	case TF_K_PROCESS_EXEC:
		bpf_loop(count, tf_step_exec, &run, 0);
		break;
	default:
		return -22; /* EINVAL */
	}
	args->tried = run.tried;
	args->sent = run.sent;
	args->cpu = bpf_get_smp_processor_id();
	return 0;
}
