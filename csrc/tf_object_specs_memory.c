/* SPDX-License-Identifier: Apache-2.0 */
/* tf_object_specs_memory: the programs of bpf/memory.bpf.c. */
#include "tf_object_specs.h"

#define STALLS TF_K_MEMORY_RECLAIM, TF_K_MEMORY_LIMIT, TF_K_MEMORY_COMPACTION

static const struct tf_program_spec specs[] = {
	{.name = "tf_memory_oom", .hook = "tp_btf/mark_victim", .part = TF_PART_MEMORY, .args = {2, 2}, .kinds = KINDS(TF_K_MEMORY_OOM_KILL)},
	{.name = "tf_memory_oom_old", .hook = "tp_btf/mark_victim", .part = TF_PART_MEMORY, .args = {1, 1},
	 .kinds = KINDS(TF_K_MEMORY_OOM_KILL)},
	{.name = "tf_memory_reclaim", .hook = "tp_btf/mm_vmscan_direct_reclaim_begin", .part = TF_PART_MEMORY, .args = {3, 3},
	 .kinds = KINDS(TF_K_MEMORY_RECLAIM)},
	{.name = "tf_memory_reclaim_old", .hook = "tp_btf/mm_vmscan_direct_reclaim_begin", .part = TF_PART_MEMORY, .args = {2, 2},
	 .kinds = KINDS(TF_K_MEMORY_RECLAIM)},
	{.name = "tf_memory_reclaimed", .hook = "tp_btf/mm_vmscan_direct_reclaim_end", .part = TF_PART_MEMORY, .args = {1, 2},
	 .kinds = KINDS(TF_K_MEMORY_RECLAIM)},
	{.name = "tf_memory_limit", .hook = "tp_btf/mm_vmscan_memcg_reclaim_begin", .part = TF_PART_MEMORY, .args = {3, 3},
	 .kinds = KINDS(TF_K_MEMORY_LIMIT)},
	{.name = "tf_memory_limit_old", .hook = "tp_btf/mm_vmscan_memcg_reclaim_begin", .part = TF_PART_MEMORY, .args = {2, 2},
	 .kinds = KINDS(TF_K_MEMORY_LIMIT)},
	{.name = "tf_memory_limited", .hook = "tp_btf/mm_vmscan_memcg_reclaim_end", .part = TF_PART_MEMORY, .args = {1, 2},
	 .kinds = KINDS(TF_K_MEMORY_LIMIT)},
	{.name = "tf_memory_compaction", .hook = "tp_btf/mm_compaction_begin", .part = TF_PART_MEMORY,
	 .kinds = KINDS(TF_K_MEMORY_COMPACTION)},
	{.name = "tf_memory_compacted", .hook = "tp_btf/mm_compaction_end", .part = TF_PART_MEMORY, .args = {5, 5},
	 .kinds = KINDS(TF_K_MEMORY_COMPACTION)},
	{.name = "tf_memory_compacted_old", .hook = "tp_btf/mm_compaction_end", .part = TF_PART_MEMORY, .args = {6, 6},
	 .kinds = KINDS(TF_K_MEMORY_COMPACTION)},
	{.name = "tf_memory_pressure", .hook = "syscall", .part = TF_PART_MEMORY, .kinds = KINDS(TF_K_MEMORY_PRESSURE), .flags = TF_PS_RUN},
	{.name = "tf_memory_exit", .hook = "tp_btf/sched_process_exit", .part = TF_PART_MEMORY, .args = {2, 2},
	 .kinds = KINDS(STALLS, TF_K_MEMORY_PAGE_FAULT)},
	{.name = "tf_memory_exit_old", .hook = "tp_btf/sched_process_exit", .part = TF_PART_MEMORY, .args = {1, 1},
	 .kinds = KINDS(STALLS, TF_K_MEMORY_PAGE_FAULT)},
	{.name = "tf_memory_fault", .hook = "fentry/handle_mm_fault", .part = TF_PART_MEMORY, .kinds = KINDS(TF_K_MEMORY_PAGE_FAULT),
	 .flags = TF_PS_MORE},
	{.name = "tf_memory_faulted", .hook = "fexit/handle_mm_fault", .part = TF_PART_MEMORY, .args = {4, 4},
	 .kinds = KINDS(TF_K_MEMORY_PAGE_FAULT), .flags = TF_PS_MORE},
	{.name = "tf_memory_break", .hook = "tp_btf/sys_enter", .part = TF_PART_MEMORY, .args = {2, 2}, .kinds = KINDS(TF_K_MEMORY_BRK),
	 .stage = TF_SYS_MEMORY, .syscalls = CALLS(TF_NR_brk)},
	{.name = "tf_memory_map", .hook = "tp_btf/sys_exit", .part = TF_PART_MEMORY, .args = {2, 2},
	 .kinds = KINDS(TF_K_MEMORY_MMAP, TF_K_MEMORY_MUNMAP, TF_K_MEMORY_MPROTECT, TF_K_MEMORY_BRK), .stage = TF_SYS_MEMORY,
	 .syscalls = CALLS(TF_NR_mmap, TF_NR_mremap, TF_NR_munmap, TF_NR_mprotect, TF_NR_pkey_mprotect, TF_NR_brk)},
};
const struct tf_spec_table tf_specs_memory = {specs, sizeof(specs) / sizeof(specs[0])};
