/* SPDX-License-Identifier: Apache-2.0 */
/* tf_pump_impl: what the files of the pump share: tf_pump.c (owner's calls), tf_pump_loop.c (its thread), tf_pump_epoch.c (EPOCH
 * rows and losses), tf_pump_filter.c (what the gate could not judge), tf_pump_raw.c (the raw branch and its thread). Not for other files. */
#ifndef TF_PUMP_IMPL_H
#define TF_PUMP_IMPL_H

#include <pthread.h>

#include "tf_facts.h"
#include "tf_pump.h"
#include "tf_queue_impl.h"
#include "tf_segment.h"

#define TF_PUMP_RETIRED 64      /* user queues that were detached but may still be looked at by a consumer */

#define TF_STAGE_FILTERS 64     /* rule generations whose filters are kept: the kernel has four, rows of older ones wait in full rings */

/* What stages of the pump leave out of a batch before it is routed. */
enum tf_cut { TF_CUT_FILTERED, TF_CUT_SAMPLED, TF_CUTS };

/* The filter of a generation, as far as the gate could not judge. */
struct tf_stage_filter {
	uint32_t gen;
	struct tf_filter *filter;               /* NULL: nothing is left to judge */
	struct tf_filter_scratch *scratch;
	uint64_t judged, kept, *hits;           /* rows; hits: of each rule */
};
struct tf_stage_filters {
	struct tf_stage_filter at[TF_STAGE_FILTERS];    /* at gen % TF_STAGE_FILTERS */
	uint32_t newest;                        /* generation set last */
	bool used;                              /* there has been a filter */
	struct tf_facts *facts;                 /* NULL until a filter asks for them */
	uint64_t *bits;                         /* scratch: two bitmaps of rows_per_domain */
};

/* A change of rules that waits for the next epoch. */
struct tf_rules_note {
	struct tf_rules_note *next;
	uint32_t gen;
	uint32_t len;
	char text[];
};

/* The ledger as of the last epoch, and what grew since. Only kinds that exist; [ncpu * TF_KIND_COUNT]. */
struct tf_losses {
	uint64_t (*prev)[TF_L_KERNEL_COUNT];    /* kernel's cells at the last epoch */
	uint64_t (*now)[TF_L_KERNEL_COUNT];
	uint64_t (*prev_user)[4];               /* tf_drain_counts at the last epoch, then tf_pump.cuts */
	struct tf_epoch_loss *entries;          /* room for every cause of every cell */
	uint32_t n;                             /* entries of the pass under way, kernel's causes */
	uint64_t delta[TF_L_COUNT];
	uint8_t *tail;                          /* scratch: the tail of an EPOCH row */
	uint64_t *last_seq;                     /* [ncpu * TF_LANES] at the last epoch */
};

/* Where the rings stood after an epoch: the raw branch may publish up to there once it is written. */
struct tf_mark {
	uint64_t epoch;
	uint64_t *read;                         /* [n rings] */
};

struct tf_raw {
	struct tf_segment_writer *writer;
	struct tf_queue *queue;
	enum tf_overflow policy;
	pthread_t thread;
	bool running;
	pthread_mutex_t lock;                   /* snap and marks */
	struct tf_writer_stats snap;            /* the writer's, after the last append */
	uint64_t appended;                      /* records given to the writer */
	uint64_t cpu_ns;
	int64_t status;
	struct tf_mark *marks;                  /* ring of marks; NULL unless publish_late */
	size_t first_mark, n_marks, cap_marks;
};

struct tf_pump {
	struct tf_pump_opts o;
	struct tf_source *src;
	struct tf_drain *drain;                 /* NULL for a source that makes batches */
	uint32_t n;                             /* rings of both lanes */
	int stop_fd, epoll_fd;
	pthread_t thread;
	bool started, stopped, forgotten;
	uint64_t stop_at_ns;                    /* atomic: 0 = run; else boot time by which the last passes must be over */

	/* Two locks make a fair one: who waits for `lock` holds `turn`, so that a busy pump cannot starve the callers of stats. */
	pthread_mutex_t turn, lock;
	/* under lock */
	bool ended;                             /* the thread is past its last epoch */
	struct tf_queue *user;
	struct tf_queue *retired[TF_PUMP_RETIRED];
	unsigned n_retired;
	struct tf_queue_stats past;             /* sum of detached user queues */
	struct tf_rules_note *notes, **notes_end;
	uint32_t n_notes, notes_len;
	struct tf_stage_filters filters;
	struct tf_pump_stats s;

	/* the pump's thread alone */
	bool stepping;
	struct tf_losses loss;
	uint64_t (*cuts)[TF_CUTS];              /* u_filtered, u_sampled per (cpu, kind), [ncpu * TF_KIND_MAX]: stages add, nobody resets;
						 * NULL for a source that makes batches */
	uint32_t n_stages;                      /* how many may leave something out: an EPOCH row then has room for their losses */
	uint64_t epoch, watermark_ns, last_epoch_ns, wall_read_ns, wakeups;
	int64_t wall_offset_ns;
	struct tf_raw raw;
};

void tf_pump_lock(struct tf_pump *p);
void tf_pump_unlock(struct tf_pump *p);
void tf_pump_log(struct tf_pump *p, int level, const char *text);

/* tf_pump_loop.c */
void *tf_pump_main(void *pump);
uint64_t tf_pump_in_ring(const struct tf_pump *p);

/* tf_pump_epoch.c */
int tf_losses_open(struct tf_pump *p);
void tf_losses_close(struct tf_losses *l);
/* Reads the ledger; the deltas stay pending until an epoch takes them. */
void tf_losses_collect(struct tf_pump *p);
/* Adds to a pass's need what its RULES and EPOCH rows take. */
void tf_epoch_need(struct tf_pump *p, const struct tf_drain_result *r, struct tf_need *need);
/* Ends a batch: RULES rows, EPOCH row, header fields. */
void tf_epoch_close(struct tf_pump *p, struct tf_batch *b);

/* tf_pump_filter.c */
void tf_filter_batch(struct tf_pump *p, struct tf_batch *b);   /* leaves out what the filter refuses, of a batch not yet shared; under lock */
void tf_filters_close(struct tf_pump *p);

/* tf_pump_raw.c */
int tf_raw_start(struct tf_pump *p);
bool tf_raw_has_room(struct tf_pump *p);
void tf_raw_push(struct tf_pump *p, struct tf_batch *b);
void tf_raw_stop(struct tf_pump *p);        /* after the last push: writes, syncs, joins */
void tf_raw_stats(struct tf_pump *p, struct tf_pump_stats *out);
void tf_raw_close(struct tf_pump *p);

#endif
