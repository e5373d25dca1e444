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
	X(CPU_LOAD,          TF_CPU,     1, "load",           TF_CRITICAL, TF_DEBUG_SEV) /* the generator's, to load the critical lane */

#define TF_KIND_ENUM(name, type, subtype, text, lane, severity) TF_K_##name,
enum tf_kind { TF_KINDS(TF_KIND_ENUM) TF_KIND_COUNT };
#undef TF_KIND_ENUM

#define TF_KIND_MAX 256 /* bound of dense kind numbers: size of masks and ledger rows */

#endif
