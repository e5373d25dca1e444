/* SPDX-License-Identifier: Apache-2.0 */
/* tf_pump_impl: what the files of the pump share: tf_pump.c (owner's calls), tf_pump_loop.c (its thread), tf_pump_epoch.c (EPOCH
 * rows and losses), tf_pump_notes.c, tf_pump_throttle.c and tf_pump_cgroup.c (other meta rows), tf_pump_filter.c (what the gate could not judge),
 * tf_pump_sample.c (rates), tf_pump_raw.c (the raw branch and its thread). Not for other files. */
#ifndef TF_PUMP_IMPL_H
#define TF_PUMP_IMPL_H

#include <pthread.h>

#include "tf_facts.h"
#include "tf_pump.h"
#include "tf_queue_impl.h"
#include "tf_sample.h"
#include "tf_segment.h"

#define TF_PUMP_RETIRED 64      /* user queues that were detached but may still be looked at by a consumer */

#define TF_STAGE_FILTERS 64     /* rule generations whose filters are kept: the kernel has four, rows of older ones wait in full rings */

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

/* What stages of the pump leave out of a batch before it is routed. */
enum tf_cut { TF_CUT_FILTERED, TF_CUT_SAMPLED, TF_CUTS };

/* What a meta row of the next epoch will say: RULES, RATE, THROTTLE. */
struct tf_pump_note {
	struct tf_pump_note *next;
	uint64_t ts_ns;                         /* 0 = the epoch's end */
	uint64_t object_id, value;
	uint32_t gen, cause, n_losses;
	uint32_t len;                           /* bytes of data */
	uint8_t subtype;
	uint8_t data[];
};

/* What of the throttle's refusals THROTTLE rows have told. */
struct tf_throttle_told {
	uint64_t (*count)[TF_KIND_COUNT];       /* [TF_THROTTLED], by entry and kind; NULL: the source has none */
	uint64_t total;                         /* the ledger's k_throttled then, all cpus and kinds */
	uint64_t looked_ns;
	bool active;                            /* there has been a throttle */
	uint32_t idle[TF_THROTTLED];            /* looks since the entry last grew */
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

/* Sums over all cpus as of the controller's last step. */
struct tf_sampling_sums {
	uint64_t offered[TF_SC_COUNT];          /* reached the draw; at a gate of the source's before the pump's own filter */
	uint64_t drained[TF_SC_COUNT], filtered[TF_SC_COUNT];   /* by the pump */
	uint64_t kept, cpu_ns;
};

struct tf_sampling {
	struct tf_sampler sampler;              /* for sources whose gate draws not */
	uint64_t *keep;                         /* scratch: a bit a row */
	size_t keep_words;
	struct tf_control_opts o;
	struct tf_control control;
	uint64_t interval_ns;                   /* 0 = nothing is steered */
	uint64_t last_ns;
	uint8_t class[TF_KIND_MAX];             /* enum tf_sample_class */
	uint32_t own[TF_KIND_COUNT];            /* threshold that was asked for */
	uint32_t now[TF_KIND_COUNT];            /* threshold in force: own times the controller's share */
	uint64_t since_ns[TF_KIND_COUNT];       /* ... from then on; 0 = all were kept from the start */
	struct tf_sampling_sums sums;
	uint64_t max_fill_permille;             /* of the fullest ring, since the last step */
};

#define TF_KEY_LEAD_NS 1000000u /* a rate by key holds for keys born from a moment ahead on: by then every CPU sees it */

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
	struct tf_pump_note *notes, **notes_end;
	uint32_t n_notes, notes_len;
	struct tf_stage_filters filters;
	struct tf_pump_stats s;

	uint64_t (*cuts)[TF_CUTS];              /* u_filtered, u_sampled per (cpu, kind), [ncpu * TF_KIND_MAX]: stages add, nobody resets;
						 * NULL for a source that makes batches */
	struct tf_sampling sampling;
	uint32_t n_stages;                      /* how many may leave something out: an EPOCH row then has room for their losses */

	/* the pump's thread alone */
	bool stepping;
	struct tf_losses loss;
	struct tf_throttle_told told;
	struct {                                /* tf_pump_cgroup.c */
		struct tf_cgroups *cgroups;     /* asked about; NULL: the source cannot tell */
		uint32_t rows, text;            /* room left in the epoch under way */
		uint32_t added;                 /* rows, in that epoch */
	} facts;
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
/* Ends a batch: rows of the notes, EPOCH row, header fields. */
void tf_epoch_close(struct tf_pump *p, struct tf_batch *b);

/* tf_pump_filter.c */
void tf_filter_batch(struct tf_pump *p, struct tf_batch *b);   /* leaves out what the filter refuses, of a batch not yet shared; under lock */
void tf_filters_close(struct tf_pump *p);
/* tf_pump_notes.c */
/* A note with room for len bytes of data, zero but for what the arguments say; NULL: no memory. */
struct tf_pump_note *tf_note_new(uint32_t kind, uint64_t object_id, uint64_t value, uint32_t len);
void tf_note_push(struct tf_pump *p, struct tf_pump_note *note);        /* under lock; the next epoch tells it */
void tf_notes_free(struct tf_pump *p);
enum tf_drawn tf_drawn_by(const struct tf_pump *p, uint32_t kind);
/* Changes a rate and notes it; under lock. 0, -ENOMEM, or what the source answers: then nothing has changed. */
int tf_rate_change(struct tf_pump *p, uint32_t kind, uint32_t threshold, uint64_t since_ns);

/* Notes the rates in force again, for a consumer that was not there when they changed; under lock. */
void tf_rates_tell(struct tf_pump *p);

/* tf_pump_sample.c */
void tf_sampling_open(struct tf_pump *p);
void tf_sampling_close(struct tf_pump *p);
void tf_sample_batch(struct tf_pump *p, struct tf_batch *b);    /* leaves out what is not drawn, of a batch not yet shared; under lock */
void tf_steer(struct tf_pump *p);       /* a step of the controller when it is due; the pump's thread, not under lock */

/* tf_pump_throttle.c */
int tf_throttle_open(struct tf_pump *p);
void tf_throttle_close(struct tf_pump *p);
/* Notes what was refused since the last look, a row a cgroup; under lock. Without force not more often than it pays. */
void tf_throttle_look(struct tf_pump *p, bool force);

/* tf_pump_cgroup.c */
int tf_cgroups_open(struct tf_pump *p);
void tf_cgroups_need(struct tf_pump *p, struct tf_need *need);  /* adds what a pass's FACT rows may take */
void tf_cgroups_add(struct tf_pump *p, struct tf_batch *b);     /* before anything is left out of it, or learned from it */
void tf_cgroups_ask_again(struct tf_pump *p);                   /* who begins to learn has missed what was told; under lock */
void tf_cgroups_close(struct tf_pump *p);

/* tf_pump_raw.c */
int tf_raw_start(struct tf_pump *p);
bool tf_raw_has_room(struct tf_pump *p);
void tf_raw_push(struct tf_pump *p, struct tf_batch *b);
void tf_raw_stop(struct tf_pump *p);        /* after the last push: writes, syncs, joins */
void tf_raw_stats(struct tf_pump *p, struct tf_pump_stats *out);
void tf_raw_close(struct tf_pump *p);

#endif
