/* SPDX-License-Identifier: Apache-2.0 */
/* tf_pump: the thread "tapio-pump" that turns a source into epochs and routes them to the branches. Never calls Python.
 * One drain pass = one epoch = one batch, which ends with an EPOCH row. Owner: the caller opens, starts, stops, closes from one thread;
 * stats, rules and attach may come from any thread. */
#ifndef TF_PUMP_H
#define TF_PUMP_H

#include "tf_drain.h"
#include "tf_filter.h"
#include "tf_queue.h"
#include "tf_redact.h"
#include "tf_sample.h"
#include "tf_source.h"

struct tf_segment_writer;       /* tf_segment.h: the raw branch */

struct tf_pump_opts {
	struct tf_source *source;       /* owned by the pump from open on */
	struct tf_pool *pool;           /* its own reference is kept */
	uint32_t rows_per_domain;       /* 0 = 10000 */
	uint32_t bytes_per_pass;        /* 0 = 2 MiB: rows_per_domain usually ends a pass first */
	uint32_t flush_us;              /* us between passes when quiet; 0 = 10000 */
	uint32_t settle_us;             /* us to let records gather after a pass; 0 = 1000 */
	uint32_t idle_epoch_ms;         /* an EPOCH at least this often, even without records; 0 = 1000 */
	uint32_t raw_queue_bytes;       /* of the raw branch; 0 = 16 MiB */
	struct tf_redact *redact;       /* owned by the pump from open on; NULL = texts are routed as they are. Not for sources that make batches */
	bool publish_late;              /* durability=ring: the raw branch publishes after its write */
	void (*log)(void *ctx, int level, const char *text);    /* may be NULL; called from the pump's threads */
	void *log_ctx;
};

struct tf_pump_stats {
	uint64_t epochs, passes, wakeups;   /* count; wakeups: returns from sleep */
	uint64_t batches;
	uint64_t no_memory;                 /* passes put off because the pool was full */
	uint64_t cpu_ns;                    /* CPU time of the pump's thread */
	uint64_t late;                      /* records flagged late */
	uint64_t bad, discarded;
	uint64_t max_fill_permille;         /* of the fullest ring, since the last stats call */
	uint64_t watermark_ns;
	uint64_t in_ring;                   /* records not yet read: by walking the rings; exact when stopped, else as of the last pass */
	uint64_t keep_ppm;                  /* share of plain records that the controller has kept now; 1000000 = all */
	uint64_t rate_changes;              /* changes of rates so far, the first ones too */
	uint64_t step_errno;                /* of the source's step, 0 = fine */
	uint64_t self_skipped, foreign_calls, forgotten;        /* of struct tf_cpu_state, of all CPUs */
	int64_t source_status;              /* 0 running, 1 ended, -errno failed */
	struct tf_redact_stats redact;      /* zero where nothing is redacted */
	struct tf_queue_stats user;         /* zero until attached */
	uint64_t raw_routed, raw_buffered, raw_written, raw_bytes, raw_dropped_full, raw_dropped_io, raw_dropped_enospc, raw_dropped_memory;
	uint64_t raw_cpu_ns;
	int64_t raw_status;                 /* 0 fine, -errno of the last failure */
};

struct tf_pump;
int tf_pump_open(const struct tf_pump_opts *o, struct tf_pump **out);   /* 0, -ENOMEM, -EINVAL; on failure source and redact are not closed */
/* Raw branch: the writer is owned by the pump from now on; thread "tapio-store". Before start. */
int tf_pump_set_raw(struct tf_pump *p, struct tf_segment_writer *w, enum tf_overflow policy);
int tf_pump_start(struct tf_pump *p);           /* 0, -EAGAIN (no thread), -EALREADY */
/* The user branch exists from this call on. The queue stays owned by the pump. 0, -EBUSY if there is one. */
int tf_pump_attach_user(struct tf_pump *p, size_t max_bytes, enum tf_overflow policy, struct tf_queue **out);
void tf_pump_detach_user(struct tf_pump *p);    /* what was queued is counted overflow */
/* Puts a RULES row with this text into the next epoch (rules themselves are already in the source's maps). */
int tf_pump_note_rules(struct tf_pump *p, uint32_t gen, const char *text, size_t len);
/* Has the rows that carry a rule generation judged by a filter before they are routed, NULL: not at all. To be called before the generation
 * is in force, so that each record is judged by the filter of its own; a source without a gate has one generation, the last one set. The
 * last TF_STAGE_FILTERS generations are kept. Any thread. 0, -ENOMEM, -EINVAL (a recording: it is not filtered again). */
int tf_pump_set_filter(struct tf_pump *p, uint32_t gen, struct tf_filter *f);
/* Of the filter set last: rows judged and kept, and what its first n rules matched. How many rules it has. */
size_t tf_pump_filter_counts(struct tf_pump *p, uint64_t *judged, uint64_t *kept, uint64_t *hits, size_t n);
/* Lets the controller of tf_sample.h steer the rates of kinds, each by its class, on top of what tf_pump_set_rate asks for. Before start. */
struct tf_pump_control {
	struct tf_control_opts o;
	uint64_t interval_ns;           /* between steps */
	uint8_t class[TF_KIND_MAX];     /* enum tf_sample_class */
};
int tf_pump_set_control(struct tf_pump *p, const struct tf_pump_control *c);    /* 0, -EINVAL, -EBUSY (started, or a recording) */
/* Keeps threshold of 2^32 records of a kind from now on (TF_RATE_ALL: all; at least 1), at the source's gate if it has one, else in the
 * pump; and puts a RATE row into the next epoch. Any thread. 0, -EINVAL (no such kind, meta, or a source that is a recording), -ENOMEM. */
int tf_pump_set_rate(struct tf_pump *p, uint32_t kind, uint32_t threshold);
/* Last pass over the rings, ends the queues, joins the threads, syncs the raw branch. Idempotent. drain_ms bounds it. */
int tf_pump_stop(struct tf_pump *p, uint32_t drain_ms);
void tf_pump_stats(struct tf_pump *p, struct tf_pump_stats *out);
/* The whole ledger, [ncpu * TF_KIND_MAX * TF_L_COUNT] u8: kernel part read from the map, user part from the pump. */
int tf_pump_ledger(struct tf_pump *p, uint64_t *cells, size_t n_cells);
uint32_t tf_pump_ncpu(const struct tf_pump *p);
/* In a forked child, before the source's own forget: closes the pump's descriptors and unmaps the rings, touches no lock, no link and
 * no file. What memory it had stays; tf_pump_close is a no-op afterwards. */
void tf_pump_forget(struct tf_pump *p);
void tf_pump_close(struct tf_pump *p);          /* stop(0) and free; NULL is fine. Batches live on. */

#endif
