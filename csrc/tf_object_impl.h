/* SPDX-License-Identifier: Apache-2.0 */
/* tf_object_impl: what the tf_object_*.c files share. Private to them: nothing else sees libbpf. */
#ifndef TF_OBJECT_IMPL_H
#define TF_OBJECT_IMPL_H

#include "tf_blobs.h"
#include "tf_cgroup_name.h"
#include "tf_object.h"
#include "tf_object_specs.h"
#include "tf_psi.h"

#include <pthread.h>
#include <stdio.h>

#include "bpf.h"
#include "btf.h"
#include "libbpf.h"

/* The maps that all parts share, made by the base part. */
enum tf_shared_map {
	TF_M_LEDGER, TF_M_CPUS, TF_M_LANES, TF_M_SETTINGS, TF_M_RULES, TF_M_RATES, TF_M_SYS_WANTS, TF_M_THROTTLED, TF_M_HISTORY,
	TF_M_MAPPED, /* the ones above are mapped into our memory */
	TF_M_SLOTS = TF_M_MAPPED, TF_M_RINGS_CRIT, TF_M_RINGS_BULK, TF_M_RULE_SETS, TF_M_RULE_TRIES, TF_M_RULE_PATHS, TF_M_FOLLOW, TF_M_BUCKETS, TF_M_DNS,
	TF_M_SIZED, /* the sizes of the ones above are ours to set */
	TF_M_OWNERS = TF_M_SIZED, TF_M_GLOBS, TF_M_NOTES, TF_M_EXIT_PROGS, TF_M_ENTER_PROGS, TF_M_DIRECT_PROGS, TF_M_DIRS, TF_M_PREFIXES,
	TF_M_COUNT,
};

struct tf_program {
	const struct tf_program_spec *spec;
	struct tf_program_info info;
	struct bpf_program *prog;       /* NULL = not loaded */
	struct bpf_link *link;
	bool wired;                     /* a handler: its numbers lead to it */
};

struct tf_object {
	struct tf_object_opts opts;
	uint32_t ncpu, nrings;
	uint64_t ring_bytes[TF_LANES];
	struct tf_consts consts;
	struct bpf_object *parts[TF_PARTS];
	struct tf_program *programs;
	size_t n_programs;
	int map_fd[TF_M_COUNT];         /* owned by the base part */
	void *mapped[TF_M_MAPPED];
	size_t mapped_len[TF_M_MAPPED];
	struct tf_ring *rings;          /* [nrings * TF_LANES] */
	int *ring_fds;
	pthread_t rings_thread;         /* hands the rings to the programs, while we open */
	bool rings_waiting;             /* it is to be joined */
	int rings_error;                /* its result */
	struct bpf_link *iter_link;     /* the snapshot under way */
	int iter_fd;
	int core_fd;                    /* while loading: the kernel types that the parts name (tf_object_btf.c); -1 = search all */
	int stats_fd;                   /* keeps the kernel's run statistics on; -1 = none */
	int snapshot_stage, snapshot_error;
	uint64_t look_began_ns;         /* the periodic stages under way or last run; 0 = none yet */
	struct tf_cgroup_names cgroups; /* where paths of control groups are asked */
	struct tf_psi psi;              /* the pressure threshold */
	uint64_t psi_next_ns;           /* not looked at before */
	struct {                        /* what we last wrote into the maps: tf_object_watch.c compares */
		struct tf_rule_slot rules;
		uint64_t rates[TF_KIND_COUNT];
		uint32_t history[TF_KIND_COUNT]; /* checksum of the kind's entry of map tf_history */
		uint64_t throttle_rate, throttle_burst, dir_bits[4];
		uint32_t wants[TF_SYS_MAX];     /* of map tf_sys_wants */
	} kept;
	const struct bpf_program *direct[TF_SYS_DIRECT]; /* by place in map tf_direct_progs, from 1 on */
	uint32_t gen, follow_set, last_set;     /* last_set: the last number given to a set of roots, in force or not */
	bool filled[TF_RULE_SLOTS][3];  /* the slot's set, trie, paths have entries */
	uint32_t *roots;                /* of follow_set, sorted */
	size_t n_roots;
	struct tf_source source;
	bool old;                       /* the variant for kernels without fetch atomics is loaded */
	bool casts;                     /* the variant for kernels with bpf_rdonly_cast is: known once the parts are loading */
	bool forgotten;
	bool not_comms;                 /* map tf_globs has patterns: every generation of rules judges by them */
	bool attached;                  /* from here on a change of rules attaches what it newly wants */
};

/* tf_object_choose.c: which programs this kernel has a hook for and a kind is wanted of */
int tf_list_programs(struct tf_object *o, const struct btf *vmlinux);
struct tf_program *tf_find_program(struct tf_object *o, const char *name);
const char *tf_program_name(const struct tf_program_spec *s);     /* in the object */
bool tf_has_better(struct tf_object *o, const struct tf_program *p);    /* what it is instead of is there */
bool tf_serves(const struct tf_program_spec *s, const uint64_t *kinds);
void tf_set_state(struct tf_program *p, enum tf_program_state state, int error, const char *reason);
/* A part's programs that are to be loaded, variants settled; each gets its bpf_program. How many. */
size_t tf_choose_of_part(struct tf_object *o, enum tf_part_id part);

/* tf_object_alone.c */
void tf_find_alone(struct tf_object *o, const struct btf *vmlinux); /* kinds that need no atomic adds: tf_consts.alone */

/* tf_object_family.c */
int tf_family_of(const struct tf_program_spec *s);      /* of hooks that kernels refuse as a whole; -1 = of none */
bool tf_refuses_family(int error);
void tf_explain_family(const struct tf_program_spec *s, int error, char *msg, size_t msg_size);
void tf_try_families(struct tf_object *o, const struct btf *vmlinux);   /* marks the programs of those that are refused */

/* tf_object_info.c */
const char *tf_cost_of(const struct tf_program_spec *s);

/* tf_object_load.c */
int tf_prepare_parts(struct tf_object *o, char *msg, size_t msg_size);  /* which programs, from which types; needs no map */
int tf_load_parts(struct tf_object *o, char *msg, size_t msg_size);

/* tf_object_attach.c */
int tf_attach_program(struct tf_object *o, struct tf_program *p);
int tf_attach_wanted(struct tf_object *o, const uint64_t *kinds, char *msg, size_t msg_size);

/* tf_object_part.c: one embedded object, opened, checked, joined, loaded */
const char *tf_part_name(enum tf_part_id part);
int tf_part_open(struct tf_object *o, enum tf_part_id part, char *log, size_t log_size, char *msg, size_t msg_size);
const struct tf_blob *tf_part_blob(const struct tf_object *o, enum tf_part_id part);    /* NULL: not in this build */
size_t tf_part_code_size(const struct tf_object *o, enum tf_part_id part);
void tf_part_set_consts(struct tf_object *o, enum tf_part_id part);
int tf_part_size_tables(struct tf_object *o, enum tf_part_id part);     /* maps named tf_t_*: opts.map_entries */
int tf_part_join_maps(struct tf_object *o, enum tf_part_id part);
int tf_part_check_layout(struct tf_object *o, enum tf_part_id part, char *msg, size_t msg_size);
const char *tf_shared_map_name(enum tf_shared_map map);       /* in the object */
const char *tf_shared_map_title(enum tf_shared_map map);      /* as users see it */

/* tf_object_btf.c */
int tf_core_btf(struct tf_object *o, const struct btf *vmlinux);
void tf_drop_core_btf(struct tf_object *o);

/* tf_object_maps.c */
void tf_plan_rings(struct tf_object *o);
bool tf_draws_keys(const struct tf_object *o);  /* some kind is drawn by key */
int tf_size_maps(struct tf_object *o);
int tf_make_rings(struct tf_object *o, char *msg, size_t msg_size);     /* the programs see them when tf_rings_ready returns 0 */
int tf_rings_ready(struct tf_object *o, char *msg, size_t msg_size);
int tf_map_memory(struct tf_object *o, char *msg, size_t msg_size);
void tf_unmap_memory(struct tf_object *o);

/* tf_object_log.c: libbpf has one print function for the process and gives it no context */
void tf_log_begin(struct tf_object *o);         /* this thread's libbpf messages go to o's callback; NULL: nowhere */
void tf_log_end(void);
const char *tf_log_failed_program(void);        /* program named in the last warning since begin, "" = none */
const char *tf_log_last_warning(void);
bool tf_log_no_descriptor(void);                /* this process has no descriptor left (EMFILE), said a warning since begin */
void tf_object_say(struct tf_object *o, int level, const char *text);

/* tf_object_probe.c */
bool tf_has_fetch_atomics(void);
int tf_explain_missing(char *msg, size_t msg_size);         /* -ENOTSUP and a sentence where the kernel lacks what we need; 0 */
void tf_explain_eperm(const char *doing, char *msg, size_t msg_size);
void tf_explain_refused(const struct tf_program_spec *s, char *msg, size_t msg_size);       /* EPERM for one program */

/* tf_object_reason.c */
void tf_add_next_step(int rc, char *msg, size_t msg_size);      /* what to do about an error that no program is to blame for */
/* true, and a sentence: the kernel is too old for this program */
bool tf_explain_lacking(const struct tf_program_spec *s, int rc, const char *log, char *out, size_t size);

/* tf_object_pressure.c */
void tf_pressure_open(struct tf_object *o);
void tf_pressure_tick(void *self);

/* tf_object_snapshot.c */
int tf_snapshot_step(void *self);
void tf_snapshot_end(struct tf_object *o);

#endif
