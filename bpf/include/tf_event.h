/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The one definition of every record. Read by the BPF compiler and by the C compiler; numpy's dtypes are built from the same
 * fields (csrc/tf_layout.c) and all three are compared when the collector opens. Relies on __u8..__u64, __s32, __s64 being
 * typedef'd by the includer (tf_kernel.h in BPF, <linux/types.h> in C). One field a line, biggest first, no holes. */
#ifndef TF_EVENT_H
#define TF_EVENT_H

#define TF_COMM_LEN 16
#define TF_IP_LEN 16

/* header.flags */
enum tf_flag {
	TF_F_TRUNCATED      = 1 << 0,  /* a text was cut at its cap; full_len tells its true length */
	TF_F_USER_CLAIMED   = 1 << 1,  /* a field was read from memory the traced program can change */
	TF_F_REDACTED       = 1 << 2,  /* a secret was cut out of a text */
	TF_F_LATE           = 1 << 3,  /* older than the watermark of the epoch before */
	TF_F_NO_OWNER       = 1 << 4,  /* the subject is unknown: pid 0 */
	TF_F_WEAK_SEQ       = 1 << 5,  /* kernel without fetch atomics: seq may repeat */
	TF_F_CGROUP_V1      = 1 << 6,  /* cgroup_id is a v1 controller's (memory, else pids) */
	TF_F_SYNTHETIC      = 1 << 7,  /* made by the load generator */
	TF_F_LISTENER_OWNER = 1 << 8,  /* the subject is who called listen(); who accepted is not known yet */
	TF_F_KERNEL_SENDER  = 1 << 9,  /* a signal that the kernel sent; the subject is the target */
	TF_F_PARTIAL        = 1 << 10, /* a text could not be read (whole); what is there is true */
};

/* A text of a row: bytes after the row in the ring, in the domain's text area in a batch. Never ended by NUL. */
struct tf_text {
	__u32 offset;            /* bytes: from the end of the row (ring) or the start of the text area (batch) */
	__u32 len;               /* bytes: kept */
	__u32 full_len;          /* bytes: true length; more than len when cut */
};

/* Common header of every row: who, when, what. */
struct tf_header {
	__u64 ts_ns;             /* ns: CLOCK_BOOTTIME at completion; the operation began at ts_ns - duration_ns */
	__u64 seq;               /* count: per cpu and lane, from 1; a gap is that many lost records */
	__u64 cgroup_id;         /* id: cgroup of the subject */
	__u64 start_ns;          /* ns: CLOCK_BOOTTIME at which the subject's process started */
	__u32 pid;               /* id: thread group of the subject, host pid namespace; 0 = unknown */
	__u32 tid;               /* id: thread of the subject */
	__u32 ppid;              /* id: thread group of the subject's parent */
	__u32 uid;               /* id: real user */
	__u32 gid;               /* id: real group */
	float weight;            /* f4: inverse inclusion probability (BPF copies its bits from the rate map) */
	__u16 cpu;               /* index: processor the hook ran on */
	__u16 gen;               /* count: rule generation that judged the record, modulo 65536 */
	__u8  type;              /* enum: tf_type, also the domain */
	__u8  subtype;           /* enum: of the type */
	__u16 flags;             /* bits: enum tf_flag */
	char  comm[TF_COMM_LEN]; /* text: thread name of the subject, NUL padded, not always ended */
};

/* process: fork, exec, exit, signal, rename */
struct tf_process {
	struct tf_header h;
	__u64 parent_start_ns;   /* ns: CLOCK_BOOTTIME at which the parent process started */
	__u64 duration_ns;       /* ns: exit: life time of the process */
	__u64 exe_inode;         /* id: exec: inode of the executable */
	__u32 exe_device;        /* id: exec: device of the executable (major << 20 | minor) */
	__s32 exit_code;         /* count: exit: status 0..255 given to exit() */
	__s32 signal;            /* id: signal: its number; exit: the signal that killed, 0 = none */
	__u32 target_pid;        /* id: process acted on: signal, rename; fork: the child */
	__u32 old_uid;           /* id: real user before (setuid) */
	__u32 old_gid;           /* id: real group before (setgid) */
	__u32 old_pid;           /* id: exec: thread id of the caller before the exec */
	char  new_comm[TF_COMM_LEN]; /* text: rename: the name taken, NUL padded */
	struct tf_text exe;      /* text: exec: path of the executable as resolved in the mount namespace of the process */
	struct tf_text cwd;      /* text: exec: working directory */
	struct tf_text args;     /* text: exec: argv, NUL separated */
};

enum tf_direction { TF_DIR_UNKNOWN, TF_DIR_EGRESS, TF_DIR_INGRESS };

/* network: connect, accept, close */
struct tf_network {
	struct tf_header h;
	__u64 cookie;            /* id: of the socket while it lives (its kernel address, hashed with a per-run key) */
	__u64 duration_ns;       /* ns: connect: SYN to established or failed; close: established to closed */
	__u64 bytes_sent;        /* bytes: payload sent, without retransmissions */
	__u64 bytes_received;    /* bytes: payload received in order */
	__u8  source_ip[TF_IP_LEN]; /* address: local end, IPv4 mapped into IPv6 */
	__u8  dest_ip[TF_IP_LEN];   /* address: remote end */
	__u32 netns;             /* id: inode of the network namespace */
	__u32 srtt_us;           /* us: smoothed round trip time, 0 = none */
	__s32 errno_;            /* errno: 0 = success */
	__u32 retransmits;       /* count: segments sent again */
	__u16 source_port;       /* port: local, host byte order */
	__u16 dest_port;         /* port: remote, host byte order */
	__u8  family;            /* enum: AF_INET 2, AF_INET6 10 */
	__u8  protocol;          /* enum: IPPROTO_TCP 6 */
	__u8  direction;         /* enum: tf_direction: egress = we connected, ingress = we accepted */
	__u8  state;             /* enum: TCP state after (TCP_ESTABLISHED 1 ... ) */
	__u8  old_state;         /* enum: TCP state before */
	__u8  _pad0[3];          /* zero */
	struct tf_text name;     /* text: reserved for DNS names; empty */
};

/* cpu: use of one process over a period; also the plain row of the load generator */
struct tf_cpu {
	struct tf_header h;
	__u64 on_cpu_ns;         /* ns: time on a CPU */
	__u64 rss;               /* bytes: resident set */
	__u64 switches;          /* count: context switches */
	__u32 threads;           /* count: living threads */
	__u32 minor_faults;      /* count: page faults served from memory */
	__u32 major_faults;      /* count: page faults that read a disk */
	__u32 _pad0;             /* zero */
};

/* meta: records about the collection itself */
struct tf_meta {
	struct tf_header h;
	__u64 epoch;             /* id: EPOCH: number of the drain pass, from 1 */
	__u64 watermark_ns;      /* ns: EPOCH: every record up to here has been drained (later ones are flagged late) */
	__s64 wall_offset_ns;    /* ns: EPOCH: add to ts_ns for Unix time */
	__u64 value;             /* any: LOSS, THROTTLE: records lost; RATE: kept of 2^32 */
	__u64 object_id;         /* id: cgroup, socket cookie or kind that the record is about */
	__u64 parent_start_ns;   /* ns: SNAPSHOT, FACT of a process: start of the parent */
	__u32 rules;             /* count: EPOCH, RULES: rule generation, whole */
	__u32 count;             /* count: EPOCH: records of all domains in it */
	__u32 cause;             /* enum: LOSS: tf_ledger_index */
	__u32 n_seqs;            /* count: EPOCH: tf_epoch_seq entries in data */
	__u32 n_losses;          /* count: EPOCH: tf_epoch_loss entries in data, after those */
	struct tf_text path;     /* text: executable, cgroup path */
	struct tf_text path2;    /* text: working directory */
	struct tf_text data;     /* bytes: argv; EPOCH: tf_epoch_seq[] then tf_epoch_loss[]; SNAPSHOT of a socket: tf_network past its header; RULES: text */
};

/* Tail of an EPOCH record: `n_seqs` entries of the first kind, then `n_losses` of the second. */
struct tf_epoch_seq {
	__u64 last_seq;          /* count: last seq drained of this cpu and lane */
	__u32 cpu;               /* index */
	__u32 lane;              /* enum: tf_lane */
};
struct tf_epoch_loss {
	__u64 count;             /* count: what this ledger cell grew by since the epoch before */
	__u16 cpu;               /* index */
	__u8  type;              /* enum: tf_type */
	__u8  subtype;           /* enum: of the type */
	__u32 cause;             /* enum: tf_ledger_index */
};

_Static_assert(sizeof(struct tf_header) == 80, "80 byte header: store files and docs depend on it");
_Static_assert(sizeof(struct tf_process) == 184, "rows are 120 or 184 bytes: 2 or 3 cache lines with the ring's header");
_Static_assert(sizeof(struct tf_network) == 184, "rows are 120 or 184 bytes");
_Static_assert(sizeof(struct tf_cpu) == 120, "rows are 120 or 184 bytes");
_Static_assert(sizeof(struct tf_meta) == 184, "rows are 120 or 184 bytes");

#endif
