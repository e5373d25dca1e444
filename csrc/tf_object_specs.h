/* SPDX-License-Identifier: Apache-2.0 */
/* tf_object_specs: the table of programs, a part of it per domain: what each is hooked to, which kinds it serves, which kernels it fits.
 * Const data. Private to tf_object_*.c. */
#ifndef TF_OBJECT_SPECS_H
#define TF_OBJECT_SPECS_H

#include "tf_base.h"

/* One embedded object each; tf_object_part.c names them and the records in them. */
enum tf_part_id {
	TF_PART_BASE,
	TF_PART_SYSCALL,
	TF_PART_PROCESS,
	TF_PART_IDENTITY,
	TF_PART_NETWORK,
	TF_PART_BIND,
	TF_PART_DROP,
	TF_PART_UDP,
	TF_PART_DNS,
	TF_PART_FILE,
	TF_PART_FILE_IO,
	TF_PART_SECURITY,
	TF_PART_SECURITY_CRED,
	TF_PART_SECURITY_PATH,
	TF_PART_SECURITY_HOOK,
	TF_PART_CONTAINER,
	TF_PART_MEMORY,
	TF_PART_SNAPSHOT,
	TF_PART_USAGE,
	TF_PART_SYNTH,
	TF_PARTS
};

enum tf_spec_flag {
	TF_PS_ALWAYS   = 1 << 0, /* loaded with the collector whichever kinds are wanted: rules over descendants, the load generator */
	TF_PS_SNAPSHOT = 1 << 1, /* an iterator of the snapshot */
	TF_PS_DISPATCH = 1 << 2, /* loaded and attached when a handler behind it is */
	TF_PS_TIMED    = 1 << 3, /* handler: sys_enter notes the time of its calls */
	TF_PS_NOTED    = 1 << 4, /* handler: sys_enter notes ids and capabilities of its calls (and the time) */
	TF_PS_MORE     = 1 << 5, /* only makes records of others say more: a kernel without it is not degraded, it is listed as such */
	TF_PS_RUN      = 1 << 6, /* run by user space (iterator, test_run) while a kind is wanted: loaded, never attached */
	TF_PS_NOT_OLD  = 1 << 7, /* its old variant is more than the verifiers of old kernels follow: not tried, that takes them minutes */
};

struct tf_program_spec {
	const char *name;
	const char *hook;               /* section; the part before "/" is its family */
	/* enum tf_kind, ended by TF_KIND_COUNT: it is loaded and attached when one of them is wanted; NULL = none */
	const uint16_t *kinds;
	const int16_t *syscalls;        /* handlers of sys_exit, sys_enter: TF_NR_*, ended by TF_CALLS_END; NULL = no handler */
	const char *instead_of;         /* a program of the same part: used only where the kernel has not that one or refused it */
	const char *cost;               /* how often it runs, where the hook does not tell (tf_object_info.c); NULL = by the hook */
	const char *program;            /* in the object, where rows share one (each for calls of its own); NULL = as name */
	enum tf_part_id part;
	/* least and most arguments of the hook in this kernel's BTF; 0 = any (fentry, lsm: that the function is there) */
	uint8_t args[2];
	uint8_t stage;                  /* handlers: tf_sys_stage */
	uint8_t flags;                  /* tf_spec_flag */
};

#define TF_CALLS_END (-2)
#define TF_CALLS_OF_USER (-3)           /* the calls of tf_object_opts.syscalls */
#define KINDS(...) ((const uint16_t[]){__VA_ARGS__, TF_KIND_COUNT})
#define CALLS(...) ((const int16_t[]){__VA_ARGS__, TF_CALLS_END})

struct tf_spec_table {
	const struct tf_program_spec *at;
	size_t n;
};
extern const struct tf_spec_table *const tf_spec_tables[];      /* all of them, then NULL */
extern const struct tf_spec_table tf_specs_core, tf_specs_network, tf_specs_file, tf_specs_security, tf_specs_container, tf_specs_memory;

#endif
