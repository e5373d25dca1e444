/* SPDX-License-Identifier: Apache-2.0 */
/* tf_object: the only user of libbpf. Loads the embedded BPF objects that are asked for, joins their maps, attaches what the kernel
 * accepts, and shows the result as a source. A program that the kernel refuses costs that program, with its reason.
 * One thread; the source it gives is closed by tf_pump, which closes the object's links, maps and programs. */
#ifndef TF_OBJECT_H
#define TF_OBJECT_H

#include "tf_source.h"

#define TF_ARGS_NONE UINT32_MAX

struct tf_object_opts {
	/* total of the bulk lane over all CPUs; 0 = 16 MiB. Ring = largest power of two <= total/CPUs, at least 256 KiB, else CPUs share */
	uint64_t bulk_bytes;
	bool synth;                     /* the load generator, and no hook of ours */
	bool follow;                    /* synth: rules over descendants may be set */
	uint64_t kind_mask[TF_KIND_MAX / 64];   /* kinds that the configuration enables: programs that serve none of them are not loaded */
	uint64_t syscalls[TF_SYS_MAX / 64];     /* numbers to record as syscall.call */
	uint32_t args_max;              /* bytes; 0 = 4096; TF_ARGS_NONE = none */
	uint32_t map_entries;           /* of hash maps; 0 = 10000 */
	uint32_t netns;                 /* id: only this network namespace; 0 = all */
	uint32_t options;               /* bits: tf_option */
	uint64_t by_process[TF_KIND_MAX / 64], by_connection[TF_KIND_MAX / 64]; /* bits: kinds drawn by key, see tf_consts */
	uint32_t content_max;           /* bytes: of a read or write kept */
	uint64_t threshold_bytes;       /* mappings from this size on */
	const struct tf_globs *globs;   /* names of processes that [programs.process] leaves out; NULL = none; read by tf_object_open only */
	uint64_t usage_ns;              /* ns: how often cpu.usage is taken */
	uint32_t pressure_us;           /* stalled for so long in a window: a memory.pressure record; 0 = none */
	uint32_t pressure_window_us;
	const char *pressure_path;      /* used by tf_object_open only; NULL = /proc/pressure/memory */
	uint32_t families;              /* bits: tf_family that may be used; 0 = all */
	/* load the variant for kernels without fetch atomics (before 5.12) also where the kernel has them (tests) */
	bool old;
	/* the variant for kernels that have fetch atomics and cannot cast (5.12 to 6.1), whatever this one can: for tests */
	bool plain;
	bool trace_self;                /* do not skip our own process (tests) */
	bool no_snapshot;
	bool profile;                   /* have the kernel time every program run while the object lives (needs CAP_SYS_ADMIN) */
	void (*log)(void *ctx, int level, const char *text);    /* libbpf's and ours */
	void *log_ctx;
};

/* Kinds of hook. Tracepoints, iterators, cgroup hooks and test runs always may be used. */
enum tf_family { TF_H_TRACEPOINT = 1 << 0, TF_H_FENTRY = 1 << 1, TF_H_LSM = 1 << 2, TF_H_KPROBE = 1 << 3 };

enum tf_program_state { TF_P_ATTACHED, TF_P_NOT_WANTED, TF_P_MISSING_HOOK, TF_P_LOAD_FAILED, TF_P_ATTACH_FAILED, TF_P_LOADED };
struct tf_program_info {
	char name[64];                  /* "tf_process_exec" */
	char hook[64];                  /* "tp_btf/sched_process_exec" */
	char object[16];                /* "process" */
	enum tf_program_state state;
	char cost[80];                  /* how often it runs: "per packet" */
	bool more;                      /* only makes other programs' records say more */
	bool replaced;                  /* not running, and another variant does its work */
	uint64_t kinds[TF_KIND_MAX / 64];       /* bits: kinds that it serves */
	int error;                      /* -errno when it failed */
	char reason[512];               /* last meaningful line of the verifier, or a sentence */
	uint32_t id, insns;             /* kernel's program id, instructions after verification; 0 = unknown */
	uint32_t verified;              /* instructions that the verifier walked through to check it; 0 = unknown (before 5.16) */
	uint64_t run_ns, run_count, recursion_misses;   /* filled by tf_object_program_stats; run_* need bpf_stats */
};
struct tf_map_info { char name[20]; uint32_t id, type, max_entries; uint64_t bytes; };

struct tf_object;
/* 0; -EPERM, -ENOTSUP (no BTF, no ring buffer), -EBADMSG (layout differs), -errno, with a sentence in msg. Nothing is attached yet. */
int tf_object_open(const struct tf_object_opts *o, struct tf_object **out, char *msg, size_t msg_size);
int tf_object_attach(struct tf_object *o, char *msg, size_t msg_size);
/* The source; its close() is tf_object_close. Valid until then. */
struct tf_source *tf_object_source(struct tf_object *o);
size_t tf_object_programs(struct tf_object *o, struct tf_program_info *out, size_t cap);  /* how many there are */
size_t tf_object_maps(struct tf_object *o, struct tf_map_info *out, size_t cap);
void tf_object_program_stats(struct tf_object *o);  /* refreshes run_* and recursion_misses */

/* One entry of a slot's set or trie: which clauses its value, or all with its prefix, match. */
struct tf_set_entry { struct tf_set_key key; uint32_t clauses; };
struct tf_trie_entry { struct tf_trie_key key; uint32_t clauses; };
struct tf_path_entry { struct tf_prefix_key key; uint32_t clauses; };
/* Rules: fills the next slot, then switches generation. Returns the new generation (> 0), -E2BIG (more entries than map_entries), -ESRCH (a
 * root is not a living process) or -errno; then the rules in force stay. */
struct tf_rules_spec {
	struct tf_rule_slot rules;      /* gen and follow_set are set here, kind_mask follows from clauses */
	const struct tf_set_entry *set;
	size_t n_set;
	const struct tf_trie_entry *trie;
	size_t n_trie;
	const struct tf_path_entry *paths;
	size_t n_paths;
	const uint32_t *follow;         /* roots for TF_R_DESCENDANTS, pids as this process sees them */
	size_t n_follow;
};
int64_t tf_object_set_rules(struct tf_object *o, const struct tf_rules_spec *s);
/* From now on; by key: for keys born from since_ns on, or for all there are before the programs are attached. One thread at a time. */
int tf_object_set_rate(struct tf_object *o, uint32_t kind, uint32_t threshold, uint32_t weight_bits, uint64_t since_ns);
/* -EOPNOTSUPP: the programs were loaded without TF_O_THROTTLE (the load generator always has it). */
int tf_object_set_throttle(struct tf_object *o, uint64_t rate, uint64_t burst);
/* Puts a directory or file into the kernel's sets (bits: tf_path_set); shorter paths first. -ENOENT: it is not there; paths that user
 * memory claims are matched by its text all the same. -ENAMETOOLONG: above 247 bytes. -E2BIG, -ENOSPC: too many. */
int tf_object_set_paths(struct tf_object *o, uint32_t bits, const char *path);
/* How many things that decide about records (rule generation, rules, rates, throttle, links) are not as we left them; the first one in
 * msg. */
uint32_t tf_object_tampered(struct tf_object *o, char *msg, size_t msg_size);
/* Runs the generator once on the calling thread's CPU (GIL not needed). 0 or -errno. */
int tf_object_synth(struct tf_object *o, struct tf_synth_args *args);
/* Sets consumer position = producer position of every bulk ring: the yardstick "consumer merely reset". */
bool tf_object_is_old(const struct tf_object *o);    /* the programs are those for kernels before 5.12 */
void tf_object_reset_rings(struct tf_object *o);
/* In a forked child: closes descriptors and mappings, destroys no link. */
void tf_object_forget(struct tf_object *o);
void tf_object_close(struct tf_object *o);

/* What this kernel can do; needs no rights for most of it. */
struct tf_probe {
	int btf;                        /* 1 there, 0 not */
	int ring_buffer;                /* 1 yes, 0 no, -errno could not be tried */
	int prog_load;                  /* 1 a tracing program loads, 0 no, -errno */
	char reason[256];
};
void tf_probe_run(struct tf_probe *out);

#endif
