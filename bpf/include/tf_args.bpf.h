/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Where a process has its arguments, and how much of them is kept. */
#ifndef TF_ARGS_BPF_H
#define TF_ARGS_BPF_H

#include "tf_task.bpf.h"

/* Sets text->full_len and *start; returns how many bytes to read there: at most TF_ARGS_CAP, 0 = none. More than that is flagged. */
static __always_inline __u32 tf_measure_args(struct mm_struct *mm, struct tf_text *text, __u64 *start, __u16 *flags)
{
	__u64 end = mm->arg_end, full;
	__u32 cap = tf_consts.args_max, len;

	*start = mm->arg_start;
	full = end > *start ? end - *start - 1 : 0; /* without the last NUL */
	if (cap > TF_ARGS_CAP)
		cap = TF_ARGS_CAP;
	text->full_len = full > 0xffffffff ? 0xffffffff : full;
	len = full > cap ? cap : full;
	if (full > cap)
		*flags |= TF_F_TRUNCATED;
	return len > TF_ARGS_CAP ? 0 : len;
}

#endif
