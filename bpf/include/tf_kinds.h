/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The table of kinds: every (type, subtype) that can be recorded, with its name, lane and severity. A kind's place in this table
 * is its dense number (enum tf_kind), which indexes the ledger, the kind mask and the rates. Append only: stores name kinds by
 * (type, subtype), but running collectors share the dense numbers with their pinned maps. */
#ifndef TF_KINDS_H
#define TF_KINDS_H

enum tf_type {
	TF_UNKNOWN = 0, TF_SYSCALL = 1, TF_NETWORK = 2, TF_FILE = 3, TF_PROCESS = 4, TF_MEMORY = 5, TF_CPU = 6, TF_SECURITY = 7,
	TF_CONTAINER = 8, TF_KPROBE = 9, TF_UPROBE = 10, TF_TRACEPOINT = 11, TF_META = 12,
	TF_TYPE_MAX = 16, /* also the bound of domain numbers: a domain is a type */
};

enum tf_lane { TF_CRITICAL = 0, TF_BULK = 1, TF_LANES = 2 };

enum tf_severity { TF_DEBUG_SEV = 1, TF_INFO = 2, TF_WARNING = 3, TF_ERROR = 4, TF_CRITICAL_SEV = 5 };

/*   name               type        subtype  text        lane         severity when it succeeds */
#define TF_KINDS(X) \
	X(PROCESS_EXEC,      TF_PROCESS, 0, "exec",           TF_CRITICAL, TF_INFO) \
	X(PROCESS_EXIT,      TF_PROCESS, 1, "exit",           TF_CRITICAL, TF_INFO) \
	X(PROCESS_FORK,      TF_PROCESS, 2, "fork",           TF_CRITICAL, TF_INFO) \
	X(PROCESS_SIGNAL,    TF_PROCESS, 3, "signal",         TF_BULK,     TF_DEBUG_SEV) \
	X(PROCESS_RENAME,    TF_PROCESS, 6, "rename",         TF_BULK,     TF_DEBUG_SEV) \
	X(NETWORK_CONNECT,   TF_NETWORK, 0, "connect",        TF_BULK,     TF_INFO) \
	X(NETWORK_ACCEPT,    TF_NETWORK, 1, "accept",         TF_BULK,     TF_INFO) \
	X(NETWORK_CLOSE,     TF_NETWORK, 2, "close",          TF_BULK,     TF_INFO) \
	X(CPU_USAGE,         TF_CPU,     0, "usage",          TF_BULK,     TF_DEBUG_SEV) \
	X(META_EPOCH,        TF_META,    0, "epoch",          TF_CRITICAL, TF_DEBUG_SEV) \
	X(META_RULES,        TF_META,    1, "rules",          TF_CRITICAL, TF_INFO) \
	X(META_RATE,         TF_META,    2, "rate",           TF_CRITICAL, TF_INFO) \
	X(META_FACT_PROCESS, TF_META,    3, "fact_process",   TF_CRITICAL, TF_DEBUG_SEV) \
	X(META_FACT_CGROUP,  TF_META,    4, "fact_cgroup",    TF_CRITICAL, TF_DEBUG_SEV) \
	X(META_FACT_CONTAINER, TF_META,  5, "fact_container", TF_CRITICAL, TF_DEBUG_SEV) \
	X(META_FACT_POD,     TF_META,    6, "fact_pod",       TF_CRITICAL, TF_DEBUG_SEV) \
	X(META_SNAPSHOT_PROCESS, TF_META, 7, "snapshot_process", TF_CRITICAL, TF_DEBUG_SEV) \
	X(META_SNAPSHOT_SOCKET, TF_META, 8, "snapshot_socket", TF_CRITICAL, TF_DEBUG_SEV) \
	X(META_THROTTLE,     TF_META,    9, "throttle",       TF_CRITICAL, TF_WARNING) \
	X(META_LOSS,         TF_META,   10, "loss",           TF_CRITICAL, TF_WARNING) \
	X(CPU_LOAD,                   TF_CPU,        1, "load",                 TF_CRITICAL, TF_DEBUG_SEV) /* the generator's */ \
	X(PROCESS_SETUID,             TF_PROCESS,    4, "setuid",               TF_CRITICAL, TF_INFO) \
	X(PROCESS_SETGID,             TF_PROCESS,    5, "setgid",               TF_CRITICAL, TF_INFO) \
	X(PROCESS_CAPSET,             TF_PROCESS,    7, "capset",               TF_CRITICAL, TF_INFO) \
	X(NETWORK_SEND,               TF_NETWORK,    3, "send",                 TF_BULK,     TF_DEBUG_SEV) \
	X(NETWORK_RECV,               TF_NETWORK,    4, "recv",                 TF_BULK,     TF_DEBUG_SEV) \
	X(NETWORK_DNS,                TF_NETWORK,    5, "dns",                  TF_BULK,     TF_INFO) \
	X(NETWORK_STATE,              TF_NETWORK,    8, "state",                TF_BULK,     TF_DEBUG_SEV) \
	X(NETWORK_RETRANSMIT,         TF_NETWORK,    9, "retransmit",           TF_BULK,     TF_DEBUG_SEV) \
	X(NETWORK_RESET,              TF_NETWORK,   10, "reset",                TF_BULK,     TF_INFO) \
	X(NETWORK_RTT,                TF_NETWORK,   11, "rtt",                  TF_BULK,     TF_DEBUG_SEV) \
	X(NETWORK_DROP,               TF_NETWORK,   12, "drop",                 TF_BULK,     TF_INFO) \
	X(NETWORK_LISTEN,             TF_NETWORK,   13, "listen",               TF_BULK,     TF_INFO) \
	X(NETWORK_BIND,               TF_NETWORK,   14, "bind",                 TF_BULK,     TF_INFO) \
	X(NETWORK_FLOW,               TF_NETWORK,   15, "flow",                 TF_BULK,     TF_INFO) \
	X(NETWORK_DNS_QUERY,          TF_NETWORK,   16, "dns_query",            TF_BULK,     TF_INFO) \
	X(NETWORK_ERROR,              TF_NETWORK,   17, "error",                TF_BULK,     TF_WARNING) \
	X(SYSCALL_CALL,               TF_SYSCALL,    0, "call",                 TF_BULK,     TF_DEBUG_SEV) \
	X(FILE_OPEN,                  TF_FILE,       0, "open",                 TF_BULK,     TF_DEBUG_SEV) \
	X(FILE_CLOSE,                 TF_FILE,       1, "close",                TF_BULK,     TF_DEBUG_SEV) \
	X(FILE_READ,                  TF_FILE,       2, "read",                 TF_BULK,     TF_DEBUG_SEV) \
	X(FILE_WRITE,                 TF_FILE,       3, "write",                TF_BULK,     TF_DEBUG_SEV) \
	X(FILE_CREATE,                TF_FILE,       4, "create",               TF_BULK,     TF_INFO) \
	X(FILE_DELETE,                TF_FILE,       5, "delete",               TF_BULK,     TF_INFO) \
	X(FILE_RENAME,                TF_FILE,       6, "rename",               TF_BULK,     TF_INFO) \
	X(FILE_CHMOD,                 TF_FILE,       7, "chmod",                TF_BULK,     TF_INFO) \
	X(FILE_CHOWN,                 TF_FILE,       8, "chown",                TF_BULK,     TF_INFO) \
	X(FILE_MKDIR,                 TF_FILE,       9, "mkdir",                TF_BULK,     TF_INFO) \
	X(FILE_RMDIR,                 TF_FILE,      10, "rmdir",                TF_BULK,     TF_INFO) \
	X(FILE_LINK,                  TF_FILE,      11, "link",                 TF_BULK,     TF_INFO) \
	X(FILE_SYMLINK,               TF_FILE,      12, "symlink",              TF_BULK,     TF_INFO) \
	X(FILE_TRUNCATE,              TF_FILE,      13, "truncate",             TF_BULK,     TF_INFO) \
	X(FILE_XATTR,                 TF_FILE,      14, "xattr",                TF_BULK,     TF_INFO) \
	X(SECURITY_PRIVILEGE_ESCALATION,TF_SECURITY,   0, "privilege_escalation", TF_CRITICAL, TF_ERROR) \
	X(SECURITY_PTRACE,            TF_SECURITY,   1, "ptrace",               TF_CRITICAL, TF_WARNING) \
	X(SECURITY_MODULE_LOAD,       TF_SECURITY,   2, "module_load",          TF_CRITICAL, TF_WARNING) \
	X(SECURITY_BPF,               TF_SECURITY,   3, "bpf",                  TF_CRITICAL, TF_INFO) \
	X(SECURITY_MOUNT,             TF_SECURITY,   4, "mount",                TF_CRITICAL, TF_WARNING) \
	X(SECURITY_NAMESPACE,         TF_SECURITY,   5, "namespace",            TF_CRITICAL, TF_INFO) \
	X(SECURITY_FILELESS_EXEC,     TF_SECURITY,   6, "fileless_exec",        TF_CRITICAL, TF_ERROR) \
	X(SECURITY_WRITABLE_CODE,     TF_SECURITY,   7, "writable_code",        TF_CRITICAL, TF_WARNING) \
	X(SECURITY_CAPABILITY_DENIED, TF_SECURITY,   8, "capability_denied",    TF_CRITICAL, TF_INFO) \
	X(SECURITY_ACCESS_DENIED,     TF_SECURITY,   9, "access_denied",        TF_CRITICAL, TF_INFO) \
	X(SECURITY_SENSITIVE_FILE,    TF_SECURITY,  10, "sensitive_file",       TF_CRITICAL, TF_WARNING) \
	X(SECURITY_RAW_SOCKET,        TF_SECURITY,  11, "raw_socket",           TF_CRITICAL, TF_WARNING) \
	X(SECURITY_KEYCTL,            TF_SECURITY,  12, "keyctl",               TF_CRITICAL, TF_INFO) \
	X(SECURITY_USERFAULTFD,       TF_SECURITY,  13, "userfaultfd",          TF_CRITICAL, TF_WARNING) \
	X(SECURITY_PERF_EVENT,        TF_SECURITY,  14, "perf_event",           TF_CRITICAL, TF_INFO) \
	X(SECURITY_IO_URING,          TF_SECURITY,  15, "io_uring",             TF_CRITICAL, TF_INFO) \
	X(SECURITY_SETUID_EXEC,       TF_SECURITY,  16, "setuid_exec",          TF_CRITICAL, TF_INFO) \
	X(SECURITY_PROCESS_VM,        TF_SECURITY,  17, "process_vm",           TF_CRITICAL, TF_WARNING) \
	X(SECURITY_MEMFD,             TF_SECURITY,  18, "memfd",                TF_CRITICAL, TF_INFO) \
	X(SECURITY_IO_URING_OP,       TF_SECURITY,  19, "io_uring_op",          TF_BULK,     TF_DEBUG_SEV) \
	X(CONTAINER_CREATE,           TF_CONTAINER,  0, "create",               TF_CRITICAL, TF_INFO) \
	X(CONTAINER_START,            TF_CONTAINER,  1, "start",                TF_CRITICAL, TF_INFO) \
	X(CONTAINER_STOP,             TF_CONTAINER,  2, "stop",                 TF_CRITICAL, TF_INFO) \
	X(CONTAINER_DESTROY,          TF_CONTAINER,  3, "destroy",              TF_CRITICAL, TF_INFO) \
	X(CONTAINER_ATTACH,           TF_CONTAINER,  4, "attach",               TF_CRITICAL, TF_DEBUG_SEV) \
	X(CONTAINER_NAMESPACE,        TF_CONTAINER,  5, "namespace",            TF_CRITICAL, TF_INFO) \
	X(CONTAINER_ESCAPE,           TF_CONTAINER,  6, "escape",               TF_CRITICAL, TF_CRITICAL_SEV) \
	X(CONTAINER_EMPTY,            TF_CONTAINER,  7, "empty",                TF_CRITICAL, TF_DEBUG_SEV) \
	X(MEMORY_OOM_KILL,            TF_MEMORY,     0, "oom_kill",             TF_CRITICAL, TF_CRITICAL_SEV) \
	X(MEMORY_RECLAIM,             TF_MEMORY,     1, "reclaim",              TF_BULK,     TF_WARNING) \
	X(MEMORY_COMPACTION,          TF_MEMORY,     2, "compaction",           TF_BULK,     TF_WARNING) \
	X(MEMORY_PRESSURE,            TF_MEMORY,     3, "pressure",             TF_CRITICAL, TF_WARNING) \
	X(MEMORY_PAGE_FAULT,          TF_MEMORY,     4, "page_fault",           TF_BULK,     TF_DEBUG_SEV) \
	X(MEMORY_MMAP,                TF_MEMORY,     5, "mmap",                 TF_BULK,     TF_INFO) \
	X(MEMORY_MUNMAP,              TF_MEMORY,     6, "munmap",               TF_BULK,     TF_INFO) \
	X(MEMORY_MPROTECT,            TF_MEMORY,     7, "mprotect",             TF_BULK,     TF_INFO) \
	X(MEMORY_BRK,                 TF_MEMORY,     8, "brk",                  TF_BULK,     TF_INFO) \
	X(MEMORY_LIMIT,               TF_MEMORY,     9, "limit",                TF_BULK,     TF_WARNING)

#define TF_KIND_ENUM(name, type, subtype, text, lane, severity) TF_K_##name,
enum tf_kind { TF_KINDS(TF_KIND_ENUM) TF_KIND_COUNT };
#undef TF_KIND_ENUM

#define TF_KIND_MAX 256 /* bound of dense kind numbers: size of masks and ledger rows */

#endif
