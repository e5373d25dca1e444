/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Memory of tasks and of sockets, and the calling task as a pointer that the verifier follows: the kernel's own where it has them for tracing
 * programs (5.11, 5.12), else (-DTF_OLD, 5.10) made of what is there. Programs are written for the newer kernels: the old variant puts itself
 * in the place of their helpers. */
#ifndef TF_OLD_BPF_H
#define TF_OLD_BPF_H

#include "tf_maps.bpf.h"

/* Whether the kernel has a helper. One that calls a function of ours back is not even to stand there before 5.13: such an instruction is
 * refused unread. */
#ifdef TF_OLD
#define tf_has_helper(name) false
#else
#define tf_has_helper(name) bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_##name)
#endif

/* A global function that takes pointers: since 5.12. Else a static one, which the verifier checks at each call. */
#ifdef TF_OLD
#define TF_GLOBAL static __attribute__((noinline, unused))
#else
#define TF_GLOBAL __attribute__((noinline))
#endif

/* from->a->b: of a task that may be the calling one, or of what it points to. Plain loads where the verifier knows the type. */
#ifdef TF_OLD
#define TF_GO(from, ...) BPF_CORE_READ(from, __VA_ARGS__)
#else
#define TF_GO(from, ...) ___arrow(from, __VA_ARGS__)
#endif

#ifndef TF_OLD

#define TF_TASK_STORE(name, value_type) \
	struct { \
		__uint(type, BPF_MAP_TYPE_TASK_STORAGE); \
		__uint(map_flags, BPF_F_NO_PREALLOC); \
		__type(key, int); \
		__type(value, value_type); \
	} name SEC(".maps")

/* BPF_F_CLONE in more_flags: what a listener has, the connections it accepts start with. */
#define TF_SOCK_STORE(name, value_type, more_flags) \
	struct { \
		__uint(type, BPF_MAP_TYPE_SK_STORAGE); \
		__uint(map_flags, BPF_F_NO_PREALLOC | (more_flags)); \
		__type(key, int); \
		__type(value, value_type); \
	} name SEC(".maps")

#else

/* Nothing tells us of every task's and socket's end, so what was not used for long makes room for others. Preallocated, as tracing wants it. */
#define TF_OLD_STORE(name, key_type, value_type, entries) \
	struct { \
		__uint(type, BPF_MAP_TYPE_LRU_HASH); \
		__uint(max_entries, entries); \
		__type(key, key_type); \
		__type(value, value_type); \
	} name SEC(".maps")
#define TF_TASK_STORE(name, value_type) TF_OLD_STORE(name, struct tf_task_key, value_type, sizeof(value_type) > 512 ? 1024 : 8192)
#define TF_SOCK_STORE(name, value_type, more_flags) TF_OLD_STORE(name, __u64, value_type, 16384)

struct tf_task_key {
	__u64 start_ns;          /* so that an id given away again finds nothing of whom it was taken from */
	__u64 tid;
};

static const volatile __u8 tf_zeros[5120] SEC(".rodata.zeros") = {};

static __always_inline void *tf_old_get(void *map, const void *key, __u64 create)
{
	void *value = bpf_map_lookup_elem(map, key);

	if (value || !create)
		return value;
	bpf_map_update_elem(map, key, (const void *)tf_zeros, BPF_NOEXIST);
	return bpf_map_lookup_elem(map, key);
}

static __always_inline void *tf_old_of_task(void *map, struct task_struct *task, __u64 create)
{
	struct tf_task_key key = { .start_ns = TF_GO(task, start_boottime), .tid = TF_GO(task, pid) };

	return tf_old_get(map, &key, create);
}

/* By its address: a connection's first change of state overwrites what an earlier socket left there (network.bpf.c). */
static __always_inline __u64 tf_old_sock_key(const void *sk)
{
	__u64 address = 0;

	bpf_probe_read_kernel(&address, sizeof(address), &sk);
	return address;
}

static __always_inline void *tf_old_of_sock(void *map, const void *sk, __u64 create)
{
	__u64 key = tf_old_sock_key(sk);

	return tf_old_get(map, &key, create);
}

#define bpf_get_current_task_btf() ((struct task_struct *)bpf_get_current_task()) /* a number to the verifier: TF_GO follows it */
#define bpf_task_storage_get(map, task, value, flags) tf_old_of_task((map), (task), (flags))
#define bpf_sk_storage_get(map, sk, value, flags) tf_old_of_sock((map), (sk), (flags))

#endif

#endif
