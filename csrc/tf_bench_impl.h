/* SPDX-License-Identifier: Apache-2.0 */
/* tf_bench_impl: what tf_bench.c and tf_bench_kernel.c share; not for other files. */
#ifndef TF_BENCH_IMPL_H
#define TF_BENCH_IMPL_H

#include "tf_bench.h"

#define TF_BENCH_ROW_MAX 184

struct tf_bench_kernel;
/* A ring buffer of this size, a BPF program that sends what it is given, and libbpf's consumer of it. */
int tf_bench_kernel_open(uint64_t size, struct tf_bench_kernel **out, char *msg, size_t msg_size);
void tf_bench_kernel_close(struct tf_bench_kernel *k);
int tf_bench_kernel_map(const struct tf_bench_kernel *k);
int tf_bench_kernel_send(struct tf_bench_kernel *k, const uint8_t *row, uint32_t len);  /* 0, -ENOSPC: full, -errno */
int64_t tf_bench_kernel_consume(struct tf_bench_kernel *k, struct tf_bench_sink *sink);

#endif
