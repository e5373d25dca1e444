/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The one definition of every record. Read by the BPF compiler and by the C compiler; numpy's dtypes are built from the same
 * fields (csrc/tf_layout.c) and all three are compared when the collector opens. Relies on __u8..__u64, __s16..__s64 being
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
	TF_F_COMPAT         = 1 << 11, /* syscall: made by the 32-bit interface; nr is the same call's number here */
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

/* process: fork, exec, exit, signal, rename, changes of identity */
struct tf_process {
	struct tf_header h;
	__u64 parent_start_ns;   /* ns: CLOCK_BOOTTIME at which the parent process started */
	__u64 duration_ns;       /* ns: exit: life time of the process */
	__u64 exe_inode;         /* id: exec: inode of the executable */
	__u64 old_caps;          /* bits: capset, setuid, setgid: effective capabilities before */
	__u64 new_caps;          /* bits: capset, setuid, setgid: effective capabilities after */
	__u32 exe_device;        /* id: exec: device of the executable (major << 20 | minor) */
	__s16 exit_code;         /* count: exit: status 0..255 given to exit() */
	__s16 signal;            /* id: signal: its number; exit: the signal that killed, 0 = none */
	__u32 target_pid;        /* id: process acted on: signal, rename; fork: the child; exec: thread id of the caller before it */
	__u32 old_uid;           /* id: setuid: effective user before (setfsuid: file system user; the header has the real one after) */
	__u32 old_gid;           /* id: setgid: effective group before (setfsgid: file system group) */
	__u32 new_uid;           /* id: setuid: effective user after */
	__u32 new_gid;           /* id: setgid: effective group after */
	struct tf_text exe;      /* text: exec: path of the executable as resolved in the mount namespace of the process */
	struct tf_text cwd;      /* text: exec: working directory */
	struct tf_text args;     /* text: exec: argv, NUL separated; rename: the name taken */
};

enum tf_direction { TF_DIR_UNKNOWN, TF_DIR_EGRESS, TF_DIR_INGRESS };

/* network: TCP connections and their trouble, UDP flows, DNS */
struct tf_network {
	struct tf_header h;
	__u64 cookie;            /* id: of the socket while it lives (its kernel address, hashed with a per-run key) */
	__u64 duration_ns;       /* ns: connect: SYN to established or failed; close: since established; dns: query to answer; flow: its time */
	__u64 bytes_sent;        /* bytes: payload sent, without retransmissions; retransmit: of the segment; drop: length of the packet */
	__u64 bytes_received;    /* bytes: payload received in order */
	__u8  source_ip[TF_IP_LEN]; /* address: local end, IPv4 mapped into IPv6; drop: the packet's source */
	__u8  dest_ip[TF_IP_LEN];   /* address: remote end */
	__u32 netns;             /* id: inode of the network namespace */
	__u32 srtt_us;           /* us: smoothed round trip time, 0 = none */
	__s32 errno_;            /* errno: 0 = success */
	__u16 source_port;       /* port: local, host byte order */
	__u16 dest_port;         /* port: remote, host byte order */
	__u16 retransmits;       /* count: segments sent again, at most 65535 */
	__u16 reason;            /* enum: drop: the kernel's skb_drop_reason; reset: its sk_rst_reason (0 = not told) */
	__u16 dns_type;          /* enum: dns, dns_query: type asked for (A 1, AAAA 28 ...) */
	__u8  family;            /* enum: AF_INET 2, AF_INET6 10 */
	__u8  protocol;          /* enum: IPPROTO_TCP 6, UDP 17 */
	__u8  direction;         /* enum: tf_direction: egress = we connected (sent), ingress = we accepted (received) */
	__u8  state;             /* enum: TCP state after (TCP_ESTABLISHED 1 ... ) */
	__u8  old_state;         /* enum: TCP state before */
	__u8  dns_rcode;         /* enum: dns: response code (NOERROR 0, NXDOMAIN 3 ...) */
	struct tf_text name;     /* text: dns_query: the name; dns: the name, then every answer (address or CNAME), NUL separated */
};

/* syscall: one call that the user asked to see */
struct tf_syscall {
	struct tf_header h;
	__u64 args[6];           /* any: as in the registers at the call */
	__s64 ret;               /* any: what it returned; -4095..-1 is an errno */
	__u64 duration_ns;       /* ns: entry to return; 0 = not measured */
	__u64 ip;                /* address: of the instruction after the call */
	__u64 sp;                /* address: user stack pointer */
	__u32 nr;                /* id: number of the call on this machine */
	__s32 errno_;            /* errno: 0 = success */
	__u32 _pad0;             /* zero */
	struct tf_text path;     /* text: first path argument, as claimed; empty where the call has none */
};

/* file: one operation on a file, or (read, write) what an open file was used for, added up */
struct tf_file {
	struct tf_header h;
	__u64 inode;             /* id: inode number, 0 = not known */
	__u64 offset;            /* bytes: position; truncate: 0 */
	__u64 size;              /* bytes: moved by the operation(s); open: size of the file; truncate: new length */
	__u64 duration_ns;       /* ns: of the operation, or of all that were added up */
	__u32 device;            /* id: of the superblock (major << 20 | minor) */
	__u32 file_flags;        /* bits: open(2) flags; rename: RENAME_*; link, unlink: AT_*; xattr: XATTR_*, bit 31 = removed */
	__u32 mode;              /* bits: type and permissions (chmod, mkdir, create: those asked for) */
	__s32 fd;                /* id: descriptor, -1 = none */
	__u32 count;             /* count: operations in this row; 1 = a single one */
	__u32 sequential;        /* count: of them that began where the one before ended */
	__s32 errno_;            /* errno: 0 = success */
	__u32 new_uid;           /* id: chown: -1 = unchanged */
	__u32 new_gid;           /* id: chown: -1 = unchanged */
	struct tf_text path;     /* text: path in the mount namespace of the process */
	struct tf_text new_path; /* text: rename, link: the other path; symlink: what it points to; xattr: the attribute's name */
	struct tf_text data;     /* bytes: single read, write: content; added up: latencies, 24 u4: [i] = below 2^(i+8) ns, the last any */
};

/* What a security record says was done; one list for all subtypes. */
enum tf_action {
	TF_A_NONE, TF_A_SETUID, TF_A_SETGID, TF_A_CAPSET, TF_A_EXEC, TF_A_KERNEL, /* privilege_escalation: by what (KERNEL: no system call) */
	TF_A_PTRACE, TF_A_VM_READ, TF_A_VM_WRITE, TF_A_PIDFD_GETFD,
	TF_A_MODULE_INIT, TF_A_MODULE_DELETE, TF_A_BPF, TF_A_PERF_EVENT, TF_A_USERFAULTFD, TF_A_IO_URING,
	TF_A_MOUNT, TF_A_UMOUNT, TF_A_PIVOT_ROOT, TF_A_MOVE_MOUNT, TF_A_OPEN_TREE, TF_A_FSMOUNT, TF_A_MOUNT_SETATTR, TF_A_CHROOT,
	TF_A_UNSHARE, TF_A_SETNS, TF_A_CLONE, TF_A_MEMFD, TF_A_MMAP, TF_A_MPROTECT, TF_A_OPEN, TF_A_CONNECT, TF_A_BIND, TF_A_WRITE,
	TF_A_RENAME, TF_A_UNLINK, TF_A_CHMOD, TF_A_CHOWN, TF_A_TRUNCATE, TF_A_LINK, TF_A_SYMLINK, TF_A_MKDIR, TF_A_RMDIR, TF_A_XATTR,
	TF_A_SOCKET, TF_A_KEYCTL, TF_A_ADD_KEY, TF_A_REQUEST_KEY, TF_A_CAPABLE,
	TF_A_CORE_PATTERN, TF_A_RELEASE_AGENT, TF_A_HOST_DEVICE, TF_A_HOST_MOUNT, TF_A_HOST_NAMESPACE, /* container.escape */
	TF_A_SHMAT,
	TF_A_COUNT,
};

/* security: something that matters for the security of the machine */
struct tf_security {
	struct tf_header h;
	__u64 object_id;         /* id: key serial, descriptor, address: what the action is about */
	__u64 value;             /* any: first argument of interest: flags, length, ptrace request, capability, bpf command, opcode */
	__u64 old_caps;          /* bits: effective capabilities before */
	__u64 new_caps;          /* bits: effective capabilities after */
	__u64 inode;             /* id: of the file, 0 = none */
	__u8  dest_ip[TF_IP_LEN]; /* address: denied connect, bind: IPv4 mapped into IPv6 */
	__u32 device;            /* id: of the superblock (major << 20 | minor) */
	__u32 action;            /* enum: tf_action */
	__s32 errno_;            /* errno: 0 = it was allowed */
	__u32 target_pid;        /* id: process acted on */
	__u32 old_uid;           /* id: effective user before */
	__u32 new_uid;           /* id: effective user after */
	__u32 old_gid;           /* id: effective group before */
	__u32 new_gid;           /* id: effective group after */
	__u16 dest_port;         /* port: host byte order */
	__u16 family;            /* enum: address family: AF_INET 2, AF_PACKET 17 ... */
	struct tf_text path;     /* text: file, module, mount point; keyctl: description */
};

enum tf_runtime { TF_RT_NONE, TF_RT_OTHER, TF_RT_DOCKER, TF_RT_CONTAINERD, TF_RT_CRIO, TF_RT_PODMAN, TF_RT_RUNC, TF_RT_LXC, TF_RT_SYSTEMD };

/* container: control groups, namespaces, containers, and attempts to leave one */
struct tf_container {
	struct tf_header h;
	__u64 object_id;         /* id: of the control group that the record is about (the header's is the subject's) */
	__u64 inode;             /* id: escape: of the file or device */
	__u32 mnt_ns;            /* id: inode of the mount namespace that the process is in after it */
	__u32 pid_ns;            /* id: its pid namespace */
	__u32 net_ns;            /* id: its net namespace */
	__u32 user_ns;           /* id: its user namespace */
	__u32 ipc_ns;            /* id: its ipc namespace */
	__u32 uts_ns;            /* id: its uts namespace */
	__u32 cgroup_ns;         /* id: its cgroup namespace */
	__u32 time_ns;           /* id: its time namespace */
	__u32 ns_flags;          /* bits: CLONE_NEW*: namespaces that changed */
	__s32 errno_;            /* errno: 0 = success */
	__u32 runtime;           /* enum: tf_runtime, told by the control group's path */
	__u32 target_pid;        /* id: process attached, or joined */
	__u32 action;            /* enum: tf_action: escape, namespace: by what */
	struct tf_text cgroup_path;  /* text: path of the control group in its hierarchy */
	struct tf_text container_id; /* text: a part of cgroup_path */
	struct tf_text path;     /* text: escape: the file, device or mount source */
};

/* memory: pressure, faults, large mappings */
struct tf_memory {
	struct tf_header h;
	__u64 size;              /* bytes: of the mapping; reclaim, limit: reclaimed */
	__u64 address;           /* address: of the mapping */
	__u64 duration_ns;       /* ns: of the stall(s); pressure: stalled in the window; page_fault: of its major faults, if measured */
	__u64 rss;               /* bytes: oom_kill: resident set of the victim */
	__u64 limit;             /* bytes: limit of the control group; pressure: threshold in ns */
	__u64 victim_start_ns;   /* ns: oom_kill: start of the victim */
	__u64 object_id;         /* id: control group: oom_kill: the victim's; limit: whose limit was hit */
	__u32 count;             /* count: page_fault: major faults; reclaim, limit, compaction: stalls in this row; others 1 */
	__u32 minor_faults;      /* count: page_fault: minor faults */
	__u32 victim_pid;        /* id: oom_kill: process killed */
	__u32 prot;              /* bits: PROT_*: mmap, mprotect */
	__u32 map_flags;         /* bits: MAP_*: mmap; reclaim, limit, compaction: gfp flags */
	__s32 errno_;            /* errno: 0 = success */
	__s32 order;             /* count: reclaim, compaction: pages asked for are 2^order; oom_kill: score adjustment */
	__u32 _pad0;             /* zero */
	char  victim_comm[TF_COMM_LEN]; /* text: oom_kill: its name */
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

/* How the fate of a kind's records is drawn. */
enum tf_drawn { TF_DRAWN_ALONE, TF_DRAWN_BY_PROCESS, TF_DRAWN_BY_CONNECTION };

/* meta: records about the collection itself */
struct tf_meta {
	struct tf_header h;
	__u64 epoch;             /* id: EPOCH: number of the drain pass, from 1 */
	__u64 watermark_ns;      /* ns: EPOCH: every record up to here has been drained (later ones are flagged late) */
	__s64 wall_offset_ns;    /* ns: EPOCH: add to ts_ns for Unix time */
	__u64 value;             /* any: LOSS, THROTTLE: records lost; RATE: kept of 2^32; FACT of a cgroup: tf_runtime */
	__u64 object_id;         /* id: cgroup, socket cookie or kind that the record is about */
	__u64 parent_start_ns;   /* ns: SNAPSHOT, FACT of a process: start of the parent */
	__u32 rules;             /* count: EPOCH, RULES: rule generation, whole */
	__u32 count;             /* count: EPOCH: records of all domains in it */
	__u32 cause;             /* enum: LOSS, THROTTLE: tf_ledger_index; RATE: tf_drawn */
	__u32 n_seqs;            /* count: EPOCH: tf_epoch_seq entries in data */
	__u32 n_losses;          /* count: EPOCH, THROTTLE (cpu 65535: all): tf_epoch_loss entries in data, after those */
	struct tf_text path;     /* text: executable, cgroup path */
	struct tf_text path2;    /* text: working directory; FACT of a cgroup: container id */
	struct tf_text data;     /* bytes: argv; EPOCH: tf_epoch_seq[], tf_epoch_loss[]; RATE: name of the kind; SNAPSHOT of a socket: tf_network past its header; RULES */
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
_Static_assert(sizeof(struct tf_syscall) == 184, "rows are 120 or 184 bytes");
_Static_assert(sizeof(struct tf_file) == 184, "rows are 120 or 184 bytes");
_Static_assert(sizeof(struct tf_security) == 184, "rows are 120 or 184 bytes");
_Static_assert(sizeof(struct tf_container) == 184, "rows are 120 or 184 bytes");
_Static_assert(sizeof(struct tf_memory) == 184, "rows are 120 or 184 bytes");
_Static_assert(sizeof(struct tf_cpu) == 120, "rows are 120 or 184 bytes");
_Static_assert(sizeof(struct tf_meta) == 184, "rows are 120 or 184 bytes");

#endif
