/* SPDX-License-Identifier: Apache-2.0 */
/* tf_bench_kernel: a BPF ring buffer for the benchmarks, and libbpf's own consumer of it. Relies on libbpf as tf_object does; the rival
 * has to be libbpf itself. A build without BPF answers -ENOTSUP. */
#include "tf_bench_impl.h"

#include <stdio.h>
#include <stdlib.h>

#ifndef TF_NO_BPF
#include "bpf.h"
#include "libbpf.h"

#include <linux/bpf.h>
#include <unistd.h>

struct tf_bench_kernel {
	int map, programs[2];           /* one program a row size */
	struct ring_buffer *consumer;
	struct tf_bench_sink sink;      /* libbpf is told its context once: the caller's goes in and out */
};

static const uint32_t row_sizes[2] = {120, 184};

#define INSN(op, d, s, o, i) ((struct bpf_insn){.code = (op), .dst_reg = (d), .src_reg = (s), .off = (int16_t)(o), .imm = (i)})

/* Copies the row from its argument to the stack and the stack to the ring: ringbuf_output takes no argument memory on older kernels. */
static int load_sender(int map, uint32_t len)
{
	struct bpf_insn code[TF_BENCH_ROW_MAX / 8 * 2 + 8];
	uint32_t n = 0;
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .prog_flags = BPF_F_SLEEPABLE);

	for (uint32_t at = 0; at < len; at += 8) {
		code[n++] = INSN(BPF_LDX | BPF_MEM | BPF_DW, BPF_REG_2, BPF_REG_1, at, 0);
		code[n++] = INSN(BPF_STX | BPF_MEM | BPF_DW, BPF_REG_10, BPF_REG_2, (int32_t)at - (int32_t)len, 0);
	}
	code[n++] = INSN(BPF_LD | BPF_IMM | BPF_DW, BPF_REG_1, BPF_PSEUDO_MAP_FD, 0, map);
	code[n++] = INSN(0, 0, 0, 0, 0);
	code[n++] = INSN(BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_2, BPF_REG_10, 0, 0);
	code[n++] = INSN(BPF_ALU64 | BPF_ADD | BPF_K, BPF_REG_2, 0, 0, -(int32_t)len);
	code[n++] = INSN(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_3, 0, 0, (int32_t)len);
	code[n++] = INSN(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_4, 0, 0, BPF_RB_NO_WAKEUP);
	code[n++] = INSN(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_ringbuf_output);
	code[n++] = INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
	return bpf_prog_load(BPF_PROG_TYPE_SYSCALL, "tf_bench_send", "Dual BSD/GPL", code, n, &opts);
}

int tf_bench_kernel_open(uint64_t size, struct tf_bench_kernel **out, char *msg, size_t msg_size)
{
	struct tf_bench_kernel *k = calloc(1, sizeof(*k));
	int rc;

	if (!k)
		return -ENOMEM;
	k->programs[0] = k->programs[1] = -1;
	k->map = bpf_map_create(BPF_MAP_TYPE_RINGBUF, "tf_bench", 0, 0, (uint32_t)size, NULL);
	if (k->map < 0) {
		rc = -errno;
		snprintf(msg, msg_size, "the kernel made no ring buffer of %llu bytes", (unsigned long long)size);
		goto fail;
	}
	for (int i = 0; i < 2; i++) {
		k->programs[i] = load_sender(k->map, row_sizes[i]);
		if (k->programs[i] < 0) {
			rc = -errno;
			snprintf(msg, msg_size, "the kernel did not load the program that fills the ring");
			goto fail;
		}
	}
	k->consumer = ring_buffer__new(k->map, tf_bench_copy, &k->sink, NULL);
	if (k->consumer) {
		*out = k;
		return 0;
	}
	rc = -errno;
	snprintf(msg, msg_size, "libbpf did not open the ring buffer");
fail:
	tf_bench_kernel_close(k);
	return rc;
}

void tf_bench_kernel_close(struct tf_bench_kernel *k)
{
	if (!k)
		return;
	ring_buffer__free(k->consumer);
	for (int i = 0; i < 2; i++)
		if (k->programs[i] >= 0)
			close(k->programs[i]);
	if (k->map >= 0)
		close(k->map);
	free(k);
}

int tf_bench_kernel_map(const struct tf_bench_kernel *k)
{
	return k->map;
}

int tf_bench_kernel_send(struct tf_bench_kernel *k, const uint8_t *row, uint32_t len)
{
	uint8_t copy[TF_BENCH_ROW_MAX];
	LIBBPF_OPTS(bpf_test_run_opts, run, .ctx_in = copy, .ctx_size_in = len);

	memcpy(copy, row, len); /* the kernel writes the argument back */
	if (bpf_prog_test_run_opts(k->programs[len == row_sizes[1]], &run))
		return -errno;
	return run.retval ? -ENOSPC : 0; /* ringbuf_output has no other refusal for a row of constant size */
}

int64_t tf_bench_kernel_consume(struct tf_bench_kernel *k, struct tf_bench_sink *sink)
{
	int rc;

	k->sink = *sink;
	rc = ring_buffer__consume(k->consumer);
	*sink = k->sink;
	return rc;
}
#else
int tf_bench_kernel_open(uint64_t size, struct tf_bench_kernel **out, char *msg, size_t msg_size)
{
	(void)size;
	(void)out;
	snprintf(msg, msg_size, "this build has no BPF support (TAPIO_FAST_NO_BPF)");
	return -ENOTSUP;
}

void tf_bench_kernel_close(struct tf_bench_kernel *k) { (void)k; }
int tf_bench_kernel_map(const struct tf_bench_kernel *k)
{
	(void)k;
	return -1;
}
int tf_bench_kernel_send(struct tf_bench_kernel *k, const uint8_t *row, uint32_t len)
{
	(void)k;
	(void)row;
	(void)len;
	return -ENOTSUP;
}
int64_t tf_bench_kernel_consume(struct tf_bench_kernel *k, struct tf_bench_sink *sink)
{
	(void)k;
	(void)sink;
	return -ENOTSUP;
}
#endif
