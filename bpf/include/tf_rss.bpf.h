/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What a process has in memory. Relies on the kernel's own counters, which its out-of-memory message adds up too. */
#ifndef TF_RSS_BPF_H
#define TF_RSS_BPF_H

#include "tf_task.bpf.h"

static __always_inline __u64 tf_not_below_zero(__s64 pages)
{
	return pages > 0 ? pages : 0;
}

/* Resident bytes: files, anonymous, shared; not those swapped out. 6.2 made each count a percpu_counter (until then one struct had all
 * four), and what the CPUs have not yet added to it is left out. */
static __always_inline __u64 tf_rss(struct mm_struct *mm)
{
	struct mm_struct___v61 *old = (void *)mm;
	__s64 file = 0, anon = 0, shared = 0;

	if (!mm)
		return 0;
	if (bpf_core_field_exists(old->rss_stat.count)) {
		bpf_core_read(&file, sizeof(file), &old->rss_stat.count[0].counter);
		bpf_core_read(&anon, sizeof(anon), &old->rss_stat.count[1].counter);
		bpf_core_read(&shared, sizeof(shared), &old->rss_stat.count[3].counter);
	} else {
		bpf_core_read(&file, sizeof(file), &mm->rss_stat[0].count);
		bpf_core_read(&anon, sizeof(anon), &mm->rss_stat[1].count);
		bpf_core_read(&shared, sizeof(shared), &mm->rss_stat[3].count);
	}
	return (tf_not_below_zero(file) + tf_not_below_zero(anon) + tf_not_below_zero(shared)) * tf_consts.page_size;
}

#endif
