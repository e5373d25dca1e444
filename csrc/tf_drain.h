/* SPDX-License-Identifier: Apache-2.0 */
/* tf_drain: one drain pass: looks over the rings (tf_drain_scan), then copies the records into a batch carved to fit (tf_drain_copy).
 * Scanning checks every length, stops at BUSY, counts per (cpu, kind); copying demultiplexes by domain in one walk while the headers
 * are still in cache. Nothing is consumed by a scan: a pass that finds no memory leaves the rings as they are.
 * A scan looks at the first look_bytes of a pass and estimates the rest from it; copying goes on there, checking as it goes, until
 * something is out of the ordinary or the room is used up. So memory, which is what limits a drain, is read once.
 * Foreign bytes: a record of a wrong length, type, lane or cpu, or with a text outside its tail, is counted u_bad and skipped; a length
 * that leaves the ring or passes TF_RECORD_CAP makes all that is there one bad record: nothing behind it can be found again. */
#ifndef TF_DRAIN_H
#define TF_DRAIN_H

#include "tf_batch.h"
#include "tf_ring.h"

struct tf_drain_opts {
	struct tf_ring *rings;          /* [nrings * TF_LANES], index ring * TF_LANES + lane; size 0 = absent */
	uint32_t nrings, ncpu;
	uint32_t rows_per_domain;       /* count: at most in one pass (event_buffer_size) */
	uint32_t bytes_per_pass;        /* bytes: at most in one pass, shared fairly between rings; critical lanes are served first */
	uint32_t look_bytes;            /* bytes of a pass to scan before copying, shared by the rings; 0 = 128 KiB */
};
struct tf_drain;
int tf_drain_open(const struct tf_drain_opts *o, struct tf_drain **out);    /* 0, -ENOMEM, -EINVAL */
void tf_drain_close(struct tf_drain *d);

struct tf_drain_result {
	struct tf_need need;            /* room that copying needs */
	uint64_t records;               /* count: whole records seen, bad ones not among them */
	uint64_t bytes;                 /* bytes of ring that will be freed */
	uint64_t bad, discarded;        /* count */
	bool more;                      /* a limit ended the pass: drain again at once */
	bool busy;                      /* a ring stopped at a BUSY record */
	uint32_t max_fill_permille;     /* of the fullest ring, before the pass */
};
/* Fills `out`, which must live on until the copy: that completes records, bytes, more and busy. */
void tf_drain_scan(struct tf_drain *d, struct tf_drain_result *out);
/* Copies what the scan found. late_before: rows with a smaller ts_ns get TF_F_LATE. Moves the read cursors, publishes nothing.
 * Returns the smallest ts_ns up to which a ring that was not emptied has been read (UINT64_MAX if all were emptied). */
uint64_t tf_drain_copy(struct tf_drain *d, struct tf_batch *b, uint64_t late_before);
void tf_drain_publish(struct tf_drain *d);
/* consumed/u_bad per (cpu, kind), only grows: [ncpu * TF_KIND_MAX][2]: [0] consumed without bad, [1] bad. Bad records whose kind or cpu
 * cannot be told are on kind 0 of the ring's cpu. */
const uint64_t (*tf_drain_counts(const struct tf_drain *d))[2];
/* last seq read, [ncpu * TF_LANES]. */
const uint64_t *tf_drain_last_seq(const struct tf_drain *d);
/* Sum of gaps seen in seq per (cpu, lane), [ncpu * TF_LANES]: last_seq - records read; exact once the rings are empty. */
const uint64_t *tf_drain_gaps(const struct tf_drain *d);
uint64_t tf_drain_late(const struct tf_drain *d);       /* count: rows flagged TF_F_LATE so far */
uint64_t tf_drain_newest(const struct tf_drain *d);     /* ns: greatest ts_ns copied so far */

#endif
