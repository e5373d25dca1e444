/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What the kernel side and user space share besides records: ledger cells, per-CPU and per-ring state, settings, rules. All of it
 * lies in mmapable ARRAY maps, so that user space needs no bpf(2) at run time. Names of maps are in tf_maps.bpf.h. */
#ifndef TF_SHARED_H
#define TF_SHARED_H

#include "tf_kinds.h"
#include "tf_sysno.h"

/* Ledger: one cell per (cpu, kind) at index cpu * TF_KIND_MAX + kind of map tf_ledger. Only grows.
 * seen == sum of all that follow up to TF_L_K_AGGREGATED. */
enum tf_ledger_index {
	TF_L_SEEN, TF_L_SUBMITTED, TF_L_K_FILTERED, TF_L_K_THROTTLED, TF_L_K_SAMPLED, TF_L_K_RING_FULL, TF_L_K_FAULT,
	TF_L_K_TOO_BIG, TF_L_K_MAP_FULL, TF_L_K_BUSY, TF_L_K_AGGREGATED,
	TF_L_KERNEL_COUNT, /* user space goes on with its own causes below; they never live in the map */
	TF_L_CONSUMED = 16, TF_L_U_BAD, TF_L_U_FILTERED, TF_L_U_SAMPLED, TF_L_ROUTED, TF_L_COUNT,
};
struct tf_ledger_cell {
	__u64 c[16];             /* count: by tf_ledger_index; padded to two cache lines */
};

/* Per CPU, map tf_cpus: written by the kernel only. */
struct tf_cpu_state {
	__u64 seq[TF_LANES];     /* count: last seq taken, per lane */
	__u64 self_skipped;      /* count: hooks run by our own process, not counted as seen */
	__u64 follow_full;       /* count: processes that could not join the followed set */
	__u64 wakeups;           /* count: forced wake-ups sent */
	__u64 slot_claims;       /* count: scratch slots taken */
	__u64 foreign_calls;     /* count: system calls by another interface that stand for none of ours: not judged */
	__u64 forgotten;         /* count: records drawn by a key older than the rates that are remembered (tf_history) */
};

/* Per ring, map tf_lanes, index ring * TF_LANES + lane. read_pos is written by user space, the rest by both. */
struct tf_lane_state {
	__u64 read_pos;          /* bytes: read cursor, copied here after each pass (the published cursor may lag behind it) */
	__u64 watermark;         /* bytes: unread fill at which one wake-up is forced */
	__u64 wake_pending;      /* bool: a wake-up is on its way; user space clears it before it drains */
	__u64 _pad[5];
};

/* Map tf_settings, one entry: what changes at run time. */
struct tf_settings {
	__u32 gen;               /* count: current rule generation; slot gen & 3 of tf_rules and tf_rule_sets */
	__u32 _pad0;
	__u64 throttle_rate;     /* records/s a cgroup may send; 0 = no throttle */
	__u64 throttle_burst;    /* records: depth of the bucket */
	__u64 dir_bits[4];       /* bits: a hash of each key of map tf_dirs: what is not here is not there (tf_dir_bit) */
	__u64 _pad[1];
};

#define TF_RULE_SLOTS 4
/* A filter pushed down is a list of clauses, of which a record must match one; a clause has a test for each of some dimensions. For each
 * dimension one look-up gives the clauses that a value matches, as bits; what is left when all have been asked decides. */
#define TF_CLAUSES 16
enum tf_rule_dim {
	TF_D_PID, TF_D_CGROUP, TF_D_UID, TF_D_NR, TF_D_SOURCE_PORT, TF_D_DEST_PORT, /* numbers */
	TF_D_COMM, TF_D_SOURCE_IP, TF_D_DEST_IP,                                    /* 16 bytes */
	TF_D_PATH,                                                                  /* text: of file records, once it is built */
	TF_D_COUNT, TF_DIMS = 16
};
enum tf_rule_flag {
	TF_R_DIMS        = (1 << TF_DIMS) - 1, /* 1 << tf_rule_dim: looked at */
	TF_R_DESCENDANTS = 1 << 16, /* map tf_follow is looked at (roots are put there by user space) */
	TF_R_NOT_COMMS   = 1 << 17, /* subject's comm must not match map tf_globs (programs.process.exclude_comms); process domain only */
};

/* Map tf_rules, slot gen & 3. meta kinds are never masked or filtered. */
struct tf_rule_slot {
	__u64 kind_mask[TF_KIND_MAX / 64]; /* bits: 1 = wanted */
	__u16 clauses[TF_KIND_MAX]; /* bits, by kind: clauses that its records may match */
	__u16 others[TF_DIMS];   /* bits, by tf_rule_dim: clauses that a value without an entry matches */
	__u32 flags;             /* bits: tf_rule_flag */
	__u32 gen;               /* count: generation in this slot */
	__u32 follow_set;        /* count: set of roots that TF_R_DESCENDANTS means (same roots, same number) */
	__u32 tries;             /* bits: 1 << tf_rule_dim: entries are prefixes, in the slot's trie; else values, in its set */
	__u32 follow;            /* bits: clauses for descendants of the roots only */
	__u32 not_follow;        /* bits: clauses for all others only */
	__u64 _pad[1];
};
/* Value of map tf_follow, by thread group id. Two sets, so that a process of both the old and the new roots is missed by neither. */
struct tf_followed {
	__u64 start_ns;          /* ns: start of the process: a reused id is not followed; 0 = any (synthetic processes) */
	__u32 set[2];            /* count: rule slots' follow_set that it belongs to, at follow_set & 1 */
};
/* Value of map tf_buckets, by cgroup id: a token bucket kept as the time at which it will be full again. */
struct tf_bucket {
	__u64 full_ns;           /* ns: CLOCK_BOOTTIME */
	__u64 refused;           /* count: records throttled */
};
/* Map tf_throttled: what the buckets refused, by cgroup and kind; only grows. Entry 0 stands for all cgroups that found no place of their
 * own, so the sum over all entries is the ledger's k_throttled. A place is claimed by its id, and given back by user space, counts kept. */
struct tf_throttled {
	__u64 cgroup_id;         /* id: 0 = free (entry 0: the others) */
	__u64 count[TF_KIND_MAX]; /* records */
};
#define TF_THROTTLED 129         /* entries; a power of two and one */
#define TF_THROTTLED_TRIES 4     /* neighbours looked at for a place */
/* Key of a slot's one exact-match set (inner hash of tf_rule_sets). Value: __u32, the clauses that the value matches. */
struct tf_set_key {
	__u64 value;
	__u32 dim;               /* enum: tf_rule_dim */
	__u32 _pad0;
};
/* Key of a slot's one trie (inner LPM trie of tf_rule_tries). Value: __u32, the clauses that all with this prefix match. */
struct tf_trie_key {
	__u32 bits;              /* bits: that count, the 32 of dim among them */
	__u32 dim;               /* enum: tf_rule_dim */
	__u8  data[16];          /* a number: its 8 bytes, highest first, then zeros; else the 16 bytes */
};
#define TF_TRIE_NUMBER (32 + 64) /* bits of a whole number's key */
#define TF_TRIE_BYTES (32 + 128)

/* Map tf_rates, index kind: threshold and weight in one word, so that a record sees both of one change or neither. */
#define TF_RATE(threshold, weight_bits) (((__u64)(threshold) << 32) | (__u32)(weight_bits))
#define TF_RATE_ALL 0xffffffffu /* threshold: keep every record */
#define TF_WEIGHT_ONE 0x3f800000u /* 1.0f */
/* Map tf_history, index kind, for kinds drawn by key: which rate held from when on, oldest first, in a ring. A key is judged by the rate
 * in force when it was born, however often the rate has changed since, so its fate never changes and no table of keys is needed. A key
 * older than the oldest change that is remembered is judged by that one (counted: tf_cpu_state.forgotten). */
#define TF_HISTORY 64
struct tf_rate_since {
	__u64 since_ns;          /* ns: CLOCK_BOOTTIME */
	__u64 rate;              /* TF_RATE */
};
struct tf_rate_history {
	__u64 n;                 /* count: changes so far, the first rate too; number i is at[i % TF_HISTORY], the last TF_HISTORY - 1 hold */
	__u64 _pad0;
	struct tf_rate_since at[TF_HISTORY];
};

/* Kernel types whose ids in the kernel's BTF user space tells (tf_consts.type_id, by name: tf_object_load.c). */
#define TF_PLAIN_TYPES(X) \
	X(dentry) X(mount) X(vfsmount) X(path) X(file) X(inode) X(super_block) X(files_struct) X(fdtable) X(fs_struct) X(nsproxy) X(cred) \
	X(mm_struct) X(cgroup) X(kernfs_node)
#define TF_PLAIN_TYPE(name) TF_TYPE_##name,
enum tf_plain_type { TF_PLAIN_TYPES(TF_PLAIN_TYPE) TF_PLAIN_COUNT };
#undef TF_PLAIN_TYPE

/* Set in .rodata of every object before load (`const volatile struct tf_consts tf_consts`). */
struct tf_consts {
	__u64 seed;              /* key of the sampling hash and of socket cookies */
	__u32 self_tgid;         /* id: our own process, host pid namespace; its hooks are skipped */
	__u32 ncpu;              /* count: possible CPUs; bound of every per-CPU index */
	__u32 nrings;            /* count: rings per lane; power of two or ncpu; ring = cpu % nrings */
	__u32 args_max;          /* bytes: argv kept per exec, at most TF_ARGS_CAP */
	__u32 path_max;          /* bytes: path kept, at most TF_PATH_CAP */
	__u32 own_netns_only;    /* id: 0 = all; else only sockets of this network namespace (tests) */
	__u64 kinds[TF_KIND_MAX / 64]; /* bits: kinds that the configuration enables; the verifier drops code for the others (tf_enabled) */
	__u64 threshold_bytes;   /* bytes: memory: mappings from this size on */
	__u32 content_max;       /* bytes: file: content kept of a read or write; 0 = none */
	__u32 options;           /* bits: tf_option */
	__u32 host_mnt_ns;       /* id: inode of the mount namespace that counts as the host's (the first process's); 0 = not known */
	__u32 host_pid_ns;       /* id: its pid namespace */
	__u32 type_task;         /* id: of struct task_struct in the kernel's BTF (tf_plain_task); these three: variant TF_CASTS only */
	__u32 type_sock;         /* id: of struct sock */
	__u32 page_size;         /* bytes */
	__u32 _pad0;
	__u32 type_id[16];       /* id: by tf_plain_type */
	__u64 by_process[TF_KIND_MAX / 64]; /* bits: kinds drawn by key: one fate for all records of a process */
	__u64 by_connection[TF_KIND_MAX / 64]; /* bits: ... of a TCP connection; those that belong to none are drawn one by one */
	__u64 alone[TF_KIND_MAX / 64]; /* bits: kinds whose ledger cells one program alone writes, never twice at once on a CPU (tf_add_to) */
};
_Static_assert(TF_PLAIN_COUNT <= 16, "room for every type");

enum tf_option {
	TF_O_SINGLE_IO   = 1 << 0, /* file: a record per read and write instead of one per open file */
	TF_O_PATH_SETS   = 1 << 1, /* file: map tf_dirs, tf_prefixes have monitor or exclude entries */
	TF_O_MONITOR     = 1 << 2, /* file: ... and monitor entries: what lies below none of them is left out */
	TF_O_DURATIONS   = 1 << 3, /* syscall: sys_enter notes the time */
	TF_O_NOTES       = 1 << 5, /* sys_enter is attached: calls have notes */
	TF_O_SINGLE_UDP  = 1 << 4, /* network: also a record per UDP send and receive, beside the flow */
	TF_O_NOT_COMMS   = 1 << 6, /* process: map tf_globs has patterns (user space sets it; the generation's rules say when they count) */
	TF_O_THROTTLE    = 1 << 7, /* the gate has a throttle (tf_settings.throttle_rate) */
	TF_O_BY_PROCESS  = 1 << 8, /* by_process has kinds (user space sets these two) */
	TF_O_BY_CONNECTION = 1 << 9,
	TF_O_PUSHED      = 1 << 10, /* the gate looks at more than ids: user ids, names, system call numbers, ports, addresses, prefixes */
	TF_O_NO_TCP      = 1 << 16, /* network: drops, errors and binds of this protocol are left out (other kinds belong to one protocol) */
	TF_O_NO_UDP      = 1 << 17,
	TF_O_NO_ICMP     = 1 << 18,
};

/* Key of map tf_dirs: a directory or file that a configuration names, as the kernel knows it. Value: __u32, bits of tf_path_set. */
struct tf_dir_key {
	__u64 inode;
	__u32 device;            /* of the superblock */
	__u32 name;              /* hash of a name in that directory, whatever file has it; 0 = the directory or file itself */
};
/* Which bit of tf_settings.dir_bits stands for a key. */
static inline __u32 tf_dir_bit(__u64 inode, __u32 device)
{
	return (inode * 0x9e3779b97f4a7c15ull ^ device * 0xc2b2ae3d27d4eb4full) >> 56;
}
#define TF_NAME_HASHED 64        /* bytes of a name that its hash is made of, with its NUL */
/* Key of map tf_prefixes (longest prefix match), for paths that only user memory tells: "/a/" and "/a\0" both stand for /a. And of a rule
 * slot's prefixes of paths (inner LPM trie of tf_rule_paths; value: __u32, clauses): a whole path is one that ends in NUL. */
#define TF_PREFIX_LEN 248
struct tf_prefix_key {
	__u32 bits;              /* bits: of text that count */
	char  text[TF_PREFIX_LEN];
};
enum tf_path_set { TF_S_MONITOR = 1 << 0, TF_S_EXCLUDE = 1 << 1, TF_S_SENSITIVE = 1 << 2, TF_S_ESCAPE = 1 << 3,
		   TF_S_BESIDE = 1 << 4 /* a directory that a sensitive path lies in: what replaces it does too */ };

/* Map tf_globs, one entry: every pattern of exclude_comms, compiled into one bit-parallel automaton: a bit per place in a pattern. */
#define TF_GLOB_WORDS 4 /* 256 places in all patterns together */
struct tf_globs {
	__u64 on[256][TF_GLOB_WORDS];  /* by byte: places that may consume it */
	__u64 start[TF_GLOB_WORDS];    /* places active before the first byte */
	__u64 star[TF_GLOB_WORDS];     /* places that stay active over any byte */
	__u64 accept[TF_GLOB_WORDS];   /* places that, active after the last byte, are a match */
};

/* System calls. One sys_exit (sys_enter) program looks up what a number is wanted for and tail-calls the handlers of each stage in turn:
 * tf_exit_progs (tf_enter_progs) at stage * TF_SYS_MAX + nr. */
enum tf_sys_stage {
	TF_SYS_FILE, TF_SYS_PROCESS, TF_SYS_SECURITY, TF_SYS_CONTAINER, TF_SYS_MEMORY, TF_SYS_NETWORK, TF_SYS_CALL, TF_SYS_STAGES = 8
};
#define TF_SYS_EXIT(stage)  (1u << (stage))        /* bits of map tf_sys_wants */
#define TF_SYS_ENTER(stage) (1u << (8 + (stage)))
#define TF_SYS_TIMED        (1u << 16)             /* sys_enter notes the time */
#define TF_SYS_NOTED        (1u << 17)             /* sys_enter notes the ids and capabilities before */
#define TF_SYS_BEFORE       0xffff00u              /* all that sys_enter is for */
#define TF_SYS_FIRST(wants) ((wants) >> 24)        /* place of the first stage's exit handler in map tf_direct_progs; 0 = it has none */
#define TF_SYS_DIRECT       32                     /* of these places */

/* Identity of a task as security rules see it. */
struct tf_ids {
	__u64 caps;              /* bits: effective capabilities */
	__u32 uid, euid, gid, egid;
	__u32 fsuid, fsgid;      /* file system access */
};
/* Value of map tf_notes, by task: what the entry of the system call under way left for its exit. */
struct tf_note {
	__u64 start_ns;          /* ns: CLOCK_BOOTTIME at entry; 0 = not seen */
	__u32 nr;                /* id: of which call */
	__u32 _pad0;
	struct tf_ids ids;       /* before the call (TF_SYS_NOTED) */
	__u64 file[4];           /* for the enter handlers of each stage to use as they like */
	__u64 security[4];
	__u64 container[4];
	__u64 memory[4];
};

#define TF_ARGS_CAP 4096
#define TF_PATH_CAP 4096
#define TF_TAIL_CAP (TF_ARGS_CAP + 2 * TF_PATH_CAP)
#define TF_RECORD_CAP (184 + TF_TAIL_CAP) /* longest record a ring may hold: longer is bad */

/* Scratch slots for rows with text: map tf_slots, index cpu * TF_SLOTS + i. */
#define TF_SLOTS 4
struct tf_slot {
	__u64 busy;              /* count: 0 = free; else its index + 1; claimed by compare and swap */
	__u8  data[TF_RECORD_CAP + TF_PATH_CAP + 512]; /* row, then text; the surplus keeps the verifier's bounds simple and has a walk's state */
};

/* Argument and answer of the load generator (SEC("syscall")), in and out. */
struct tf_synth_args {
	__u32 count;             /* in: records to try, at most 65536 a call */
	__u32 kind;              /* in: tf_kind: CPU_USAGE (bulk, 120), CPU_LOAD (critical, 120), NETWORK_CONNECT (184), PROCESS_EXEC (text) */
	__u32 text_len;          /* in: PROCESS_EXEC: bytes of args, at most TF_ARGS_CAP; above TF_RECORD_CAP: a record too big to send */
	__u32 stop_on_full;      /* in: bool: stop at the first refused reserve */
	__u64 first;             /* in: number of the first record; fields are made from it */
	__u64 tried;             /* out: admissions asked for: the generator's own count, independent of the ledger */
	__u64 sent;              /* out: submits that succeeded */
	__u32 cpu;               /* out: processor it ran on */
	__u32 _pad0;
};

/* Argument of the program that sends memory.pressure, run when the kernel reported that a threshold was passed. */
struct tf_pressure_args {
	__u64 stalled_ns;        /* in the window */
	__u64 threshold_ns;
	__u64 cgroup_id;         /* whose pressure; 0 = of the whole machine */
};

#endif
