/* SPDX-License-Identifier: Apache-2.0 */
/* tf_bench: what the benchmarks need from C: one ring that was filled once and is read again and again, by our drain and by its rivals.
 * The rows are made from their number alone, so that a ring in our memory and one in the kernel hold the same bytes. One thread. */
#ifndef TF_BENCH_H
#define TF_BENCH_H

#include "tf_drain.h"
#include "tf_redact.h"
#include "tf_sample.h"
#include "tf_segment.h"

struct tf_bench;

struct tf_bench_opts {
	uint64_t size;                  /* bytes of the ring: a power of two */
	uint32_t rows_per_pass;         /* count: of a domain, as tf_drain_opts */
	uint32_t bytes_per_pass;        /* bytes of ring, as tf_drain_opts */
	bool kernel;                    /* a BPF ring buffer, filled by a BPF program; else memory of our own */
	bool mixed;                     /* rows of 120 and 184 bytes in short runs; else 120 alone */
};
/* Fills the ring as far as it goes. 0, -errno with a sentence in msg. */
int tf_bench_open(const struct tf_bench_opts *o, struct tf_bench **out, char *msg, size_t msg_size);
void tf_bench_close(struct tf_bench *b);        /* NULL is fine */
uint64_t tf_bench_records(const struct tf_bench *b);
uint64_t tf_bench_bytes(const struct tf_bench *b);      /* bytes of all records, without the ring's headers */
/* Record i as it lies in the ring: its length, the bytes in row (room for 184). */
uint32_t tf_bench_row(uint64_t i, bool mixed, uint8_t *row);

/* All is unread again. */
void tf_bench_rewind(struct tf_bench *b);
/* One pass as the pump makes it: 1 = *out holds its rows, 0 = nothing left, -errno. */
int tf_bench_pass(struct tf_bench *b, struct tf_pool *pool, struct tf_batch **out);
/* The whole ring, `rounds` times: scan, copy, publish; each batch is dropped. Records copied, or -errno. */
int64_t tf_bench_drain(struct tf_bench *b, struct tf_pool *pool, uint32_t rounds);
/* The same, each batch appended to a store; the last block is written too. */
int64_t tf_bench_store(struct tf_bench *b, struct tf_pool *pool, struct tf_segment_writer *w, uint32_t rounds);

/* A batch of the ring's first pass, drawn `rounds` times with this threshold (tf_sample.h). Decisions made, or -errno; *kept: of the last
 * round. Without compaction: what stays is told by bits. */
int64_t tf_bench_sample(struct tf_bench *b, struct tf_pool *pool, uint32_t threshold, uint32_t rounds, uint32_t *kept);

/* Rivals. A callback as libbpf's ring_buffer_sample_fn. */
typedef int (*tf_bench_fn)(void *ctx, void *data, size_t len);
/* Copies records one behind the other into room for so many bytes, from the start again when that is full (a warm destination). */
struct tf_bench_sink {
	uint8_t *dst;
	size_t cap, used;
	uint64_t records;
};
int tf_bench_copy(void *sink, void *data, size_t len);
/* Counts a record and looks at nothing. */
int tf_bench_count(void *counter, void *data, size_t len);
/* libbpf's loop, statement for statement, over the ring in our memory. Records, or what the callback returned when negative. */
int64_t tf_bench_walk(struct tf_bench *b, tf_bench_fn fn, void *ctx);
/* libbpf itself, ring_buffer__consume with tf_bench_copy, over the kernel's ring. Records, -EINVAL: the ring is not the kernel's. */
int64_t tf_bench_libbpf(struct tf_bench *b, struct tf_bench_sink *sink);

/* Redaction of a batch of so many file rows: their paths are `known` different ones, but in each round every `every`th row (0 = none) has
 * a path that there never was. plain: their bytes alone tell that there is no secret. 0, -ENOMEM. */
struct tf_bench_redact;
int tf_bench_redact_open(uint32_t rows, uint32_t known, uint32_t every, bool plain, struct tf_bench_redact **out);
void tf_bench_redact_run(struct tf_bench_redact *b, uint32_t rounds, struct tf_redact_stats *out);
void tf_bench_redact_close(struct tf_bench_redact *b);

#endif
