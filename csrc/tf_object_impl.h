/* SPDX-License-Identifier: Apache-2.0 */
/* tf_object_impl: what the tf_object_*.c files share. Private to them: nothing else sees libbpf. */
#ifndef TF_OBJECT_IMPL_H
#define TF_OBJECT_IMPL_H

#include "tf_object.h"

#include <stdio.h>

#include "bpf.h"
#include "btf.h"
#include "libbpf.h"

#define TF_KIND_BIT(kind) (1ull << (kind)) /* every kind so far is below 64: checked in tf_object_load.c */

enum tf_part_id { TF_PART_BASE, TF_PART_PROCESS, TF_PART_NETWORK, TF_PART_SNAPSHOT, TF_PART_SYNTH, TF_PARTS };

/* The maps that all parts share, made by the base part. */
enum tf_shared_map {
	TF_M_LEDGER, TF_M_CPUS, TF_M_LANES, TF_M_SETTINGS, TF_M_RULES, TF_M_RATES,
	TF_M_MAPPED, /* the ones above are mapped into our memory */
	TF_M_SLOTS = TF_M_MAPPED, TF_M_RINGS_CRIT, TF_M_RINGS_BULK, TF_M_RULE_SETS, TF_M_FOLLOW, TF_M_BUCKETS, TF_M_OWNERS,
	TF_M_COUNT,
};

/* A program of the table in tf_object_load.c. */
struct tf_program_spec {
	const char *name;
	const char *hook;               /* section */
	enum tf_part_id part;
	int min_args, max_args;         /* arguments of the hook in this kernel's BTF; 0 = not a tracepoint */
	uint64_t kinds;                 /* bits: kinds that it serves */
	bool always;                    /* loaded with its part even when no kind of it is wanted: rules over descendants need it */
	const char *instead_of;         /* used only where the kernel refused that one */
};

struct tf_program {
	const struct tf_program_spec *spec;
	struct tf_program_info info;
	struct bpf_program *prog;       /* NULL = not loaded */
	struct bpf_link *link;
};

#define TF_PROGRAMS_MAX 16

struct tf_object {
	struct tf_object_opts opts;
	uint32_t ncpu, nrings;
	uint64_t ring_bytes[TF_LANES];
	struct tf_consts consts;
	struct bpf_object *parts[TF_PARTS];
	struct tf_program programs[TF_PROGRAMS_MAX];
	size_t n_programs;
	int map_fd[TF_M_COUNT];         /* owned by the base part */
	void *mapped[TF_M_MAPPED];
	size_t mapped_len[TF_M_MAPPED];
	struct tf_ring *rings;          /* [nrings * TF_LANES] */
	int *ring_fds;
	struct bpf_link *iter_link;     /* the snapshot under way */
	int iter_fd;
	int stats_fd;                   /* keeps the kernel's run statistics on; -1 = none */
	int snapshot_stage, snapshot_error;
	struct {                        /* what we last wrote into the maps: tf_object_watch.c compares */
		struct tf_rule_slot rules;
		uint64_t rates[TF_KIND_COUNT];
		uint64_t throttle_rate, throttle_burst;
	} kept;
	uint32_t gen, follow_set;
	uint32_t *roots;                /* of follow_set, sorted */
	size_t n_roots;
	struct tf_source source;
	bool forgotten;
};

/* tf_object_load.c */
extern const struct tf_program_spec tf_program_specs[];
extern const size_t tf_program_spec_count;
int tf_load_parts(struct tf_object *o, char *msg, size_t msg_size);
struct tf_program *tf_find_program(struct tf_object *o, const char *name);
int tf_attach_program(struct tf_object *o, struct tf_program *p);

/* tf_object_part.c: one embedded object, opened, checked, joined, loaded */
int tf_part_open(struct tf_object *o, enum tf_part_id part, char *log, size_t log_size, char *msg, size_t msg_size);
void tf_part_set_consts(struct tf_object *o, enum tf_part_id part);
int tf_part_join_maps(struct tf_object *o, enum tf_part_id part);
int tf_part_check_layout(struct tf_object *o, enum tf_part_id part, char *msg, size_t msg_size);
const char *tf_shared_map_name(enum tf_shared_map map);

/* tf_object_maps.c */
void tf_plan_rings(struct tf_object *o);
int tf_size_maps(struct tf_object *o);
int tf_make_rings(struct tf_object *o, char *msg, size_t msg_size);
int tf_map_memory(struct tf_object *o, char *msg, size_t msg_size);
void tf_unmap_memory(struct tf_object *o);

/* tf_object_log.c: libbpf has one print function for the process and gives it no context */
void tf_log_begin(struct tf_object *o);         /* this thread's libbpf messages go to o's callback; NULL: nowhere */
void tf_log_end(void);
const char *tf_log_failed_program(void);        /* program named in the last warning since begin, "" = none */
const char *tf_log_last_warning(void);
void tf_object_say(struct tf_object *o, int level, const char *text);

/* tf_object_probe.c */
int tf_explain_missing(char *msg, size_t msg_size);         /* -ENOTSUP and a sentence where the kernel lacks what we need; 0 */
void tf_explain_eperm(const char *doing, char *msg, size_t msg_size);

/* tf_object_snapshot.c */
int tf_snapshot_step(void *self);
void tf_snapshot_end(struct tf_object *o);

#endif
