// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Yardsticks for the cost of our programs: on the same hooks, a program that does nothing, and the least that could send a record of
 * 120 bytes. Attached only by the benchmark `hooks`; they look at nobody and share no map with the collector. */
#include "tf_kernel.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 24);
} tf_yard_ring SEC(".maps");

struct tf_yard_row {
	__u64 word[15];
};

/* A time stamp, who, and the rest zero: less would be no record. */
static __always_inline int tf_yard_emit(void)
{
	struct tf_yard_row *row = bpf_ringbuf_reserve(&tf_yard_ring, sizeof(*row), 0);

	if (!row)
		return 0;
	__builtin_memset(row, 0, sizeof(*row));
	row->word[0] = bpf_ktime_get_boot_ns();
	row->word[1] = bpf_get_current_pid_tgid();
	bpf_ringbuf_submit(row, BPF_RB_NO_WAKEUP);
	return 0;
}

SEC("tp_btf/task_rename")
int tf_yard_rename_empty(void *ctx)
{
	return 0;
}

SEC("tp_btf/task_rename")
int tf_yard_rename_emit(void *ctx)
{
	return tf_yard_emit();
}

SEC("tp_btf/sys_exit")
int tf_yard_exit_empty(void *ctx)
{
	return 0;
}

SEC("tp_btf/sys_exit")
int tf_yard_exit_emit(void *ctx)
{
	return tf_yard_emit();
}

/* Beside sys_exit, for what also needs the entry. */
SEC("tp_btf/sys_enter")
int tf_yard_enter_empty(void *ctx)
{
	return 0;
}
