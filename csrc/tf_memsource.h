/* SPDX-License-Identifier: Apache-2.0 */
/* tf_memsource: a source of in-memory rings laid out like the kernel's, with a ledger of its own kept by the producer side. Needs no
 * privileges. The pump reads; one producer thread per CPU fills. close frees it: stop filling before. */
#ifndef TF_MEMSOURCE_H
#define TF_MEMSOURCE_H

#include "tf_source.h"

struct tf_memsource;
/* Ring sizes are powers of two, at least a page. 0, -EINVAL, -ENOMEM. */
int tf_memsource_open(uint32_t ncpu, uint64_t bulk_bytes, uint64_t critical_bytes, struct tf_memsource **out);
struct tf_source *tf_memsource_source(struct tf_memsource *m);
/* Sends n copies of a row (with its tail; len bytes) as kind on cpu: ts_ns = now, seq and cpu are set. Returns how many fitted; the rest
 * is counted k_ring_full, as the kernel side would. stop_on_full: stop at the first refusal. */
uint64_t tf_memsource_fill(struct tf_memsource *m, uint32_t cpu, uint32_t kind, const void *row, uint32_t len, uint64_t n,
			   bool stop_on_full);
/* Puts len raw bytes as one record on a ring, right or wrong (hostile tests); no ledger. 0 or -ENOSPC. */
int tf_memsource_raw(struct tf_memsource *m, uint32_t cpu, uint32_t lane, const void *bytes, uint32_t len);
struct tf_memring *tf_memsource_ring(struct tf_memsource *m, uint32_t cpu, uint32_t lane);

#endif
