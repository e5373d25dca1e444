/* SPDX-License-Identifier: Apache-2.0 */
/* tf_batch: rows of all domains drained together, carved by domain out of one arena; and the pool the arenas come from.
 * A batch is written by one thread, then shared read-only and freed by whoever drops the last reference. The pool is thread safe
 * (one mutex, taken per batch, never per record) and outlives its batches (it is reference counted by them).
 *
 * Memory: a pool hands out at most `pool_bytes` for batches that are queued inside the engine, and at most `total_bytes` counting
 * those that Python holds too (tf_batch_detach moves one from the first account to the second). Freed arenas are kept for
 * reuse, up to pool_bytes with those in use, because first-touch page faults cost 30 times the copy. */
#ifndef TF_BATCH_H
#define TF_BATCH_H

#include "tf_base.h"

struct tf_pool;

struct tf_pool_stats {
	uint64_t in_use_bytes;      /* queued inside the engine */
	uint64_t detached_bytes;    /* held by Python */
	uint64_t idle_bytes;        /* free, kept for reuse */
	uint64_t peak_bytes;        /* most of all three together */
	uint64_t limit_bytes;       /* pool_bytes: bound of in_use_bytes */
	uint64_t refused;           /* allocations refused by a limit */
};

struct tf_rows {
	uint8_t *rows;              /* n rows of row_size bytes, 64-byte aligned */
	uint8_t *text;              /* text area of the domain: offsets of tf_text count from here */
	uint32_t n, cap;            /* count: rows filled, rows carved */
	uint32_t row_size;          /* bytes */
	uint32_t text_len, text_cap;
};

struct tf_batch {
	uint32_t refs;              /* atomic */
	uint32_t detached;          /* bool, atomic: accounted to Python */
	struct tf_pool *pool;
	uint8_t *arena;
	size_t arena_size;
	struct tf_rows dom[TF_TYPE_MAX];
	uint64_t total;             /* count: rows of all domains, meta included */
	uint64_t epoch;             /* id of its (last) epoch */
	uint64_t watermark_ns;
	int64_t wall_offset_ns;
	uint8_t boot_id[16];
	uint64_t run_id;            /* ns: boot time at which the ledger was made */
	uint64_t loss[TF_L_COUNT];  /* ledger delta since the batch before, all CPUs and kinds */
};

int tf_pool_open(size_t pool_bytes, size_t total_bytes, struct tf_pool **out);      /* 0, -ENOMEM, -EINVAL */
void tf_pool_stats(struct tf_pool *p, struct tf_pool_stats *out);
void tf_pool_close(struct tf_pool *p);          /* drops the owner's reference; NULL is fine */

/* How much a batch must hold. */
struct tf_need {
	uint32_t rows[TF_TYPE_MAX];
	uint32_t text[TF_TYPE_MAX];     /* bytes */
};
/* A batch with exactly that room and refs = 1; domain d has rows of tf_row_size(d). 0, -ENOMEM (a limit or the system). */
int tf_batch_new(struct tf_pool *p, const struct tf_need *need, struct tf_batch **out);
/* Whether an empty pool would have room for it: when not, waiting for others to be freed is in vain. */
bool tf_batch_may_fit(const struct tf_pool *p, const struct tf_need *need);
void tf_batch_ref(struct tf_batch *b);
void tf_batch_unref(struct tf_batch *b);        /* NULL is fine */
void tf_batch_detach(struct tf_batch *b);       /* Python holds it now; idempotent */
/* Copies the rows whose bit is set in mask[d] (n bits, NULL = all), text compacted. */
int tf_batch_select(const struct tf_batch *src, const uint64_t *const mask[TF_TYPE_MAX], struct tf_batch **out);
/* Leaves out, in place and in order, the rows of a domain whose bit is 0, in a batch that only the caller has (refs = 1); returns how many
 * stay. bits: one a row, from the lowest of bits[0] on; those past the last row do not count. Texts stay where they are: what only a row
 * left out pointed to becomes a hole in the text area. */
uint32_t tf_batch_keep(struct tf_batch *b, uint8_t domain, const uint64_t *bits);
/* A batch out of several, in order; header fields are the last one's, loss is summed. */
int tf_batch_concat(struct tf_batch *const *src, size_t n, struct tf_batch **out);
/* Appends one row (row_size bytes, its tf_text offsets relative to `text`) and rebases the offsets. -ENOSPC when the carved room is used
 * up. */
int tf_batch_append(struct tf_batch *b, uint8_t domain, const void *row, const void *text, uint32_t text_len);
/* Order of all rows by (ts_ns, cpu, lane, seq): fills domain[] and row[] (total entries each). */
void tf_batch_order(const struct tf_batch *b, uint8_t *domain, uint32_t *row);

#endif
