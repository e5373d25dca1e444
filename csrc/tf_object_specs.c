/* SPDX-License-Identifier: Apache-2.0 */
/* tf_object_specs: the programs of the parts that every collector may need: system call dispatch, processes, snapshot, load generator. The
 * other domains have a file each. */
#include "tf_object_specs.h"

static const struct tf_program_spec specs[] = {
	{.name = "tf_sys_exit", .hook = "tp_btf/sys_exit", .part = TF_PART_SYSCALL, .args = {2, 2}, .flags = TF_PS_DISPATCH},
	{.name = "tf_sys_enter", .hook = "tp_btf/sys_enter", .part = TF_PART_SYSCALL, .args = {2, 2}, .flags = TF_PS_DISPATCH},
	{.name = "tf_syscall_call", .hook = "tp_btf/sys_exit", .part = TF_PART_SYSCALL, .args = {2, 2}, .kinds = KINDS(TF_K_SYSCALL_CALL),
	 .stage = TF_SYS_CALL, .syscalls = CALLS(TF_CALLS_OF_USER)},
	{.name = "tf_process_fork", .hook = "tp_btf/sched_process_fork", .part = TF_PART_PROCESS, .args = {2, 2},
	 .kinds = KINDS(TF_K_PROCESS_FORK), .flags = TF_PS_ALWAYS},
	{.name = "tf_process_exec", .hook = "tp_btf/sched_process_exec", .part = TF_PART_PROCESS, .args = {3, 3},
	 .kinds = KINDS(TF_K_PROCESS_EXEC)},
	{.name = "tf_process_exit", .hook = "tp_btf/sched_process_exit", .part = TF_PART_PROCESS, .args = {2, 2},
	 .kinds = KINDS(TF_K_PROCESS_EXIT)},
	{.name = "tf_process_exit_old", .hook = "tp_btf/sched_process_exit", .part = TF_PART_PROCESS, .args = {1, 1},
	 .kinds = KINDS(TF_K_PROCESS_EXIT)},
	{.name = "tf_process_free", .hook = "tp_btf/sched_process_free", .part = TF_PART_PROCESS, .args = {1, 1}, .flags = TF_PS_ALWAYS},
	{.name = "tf_process_rename", .hook = "tp_btf/task_rename", .part = TF_PART_PROCESS, .args = {2, 2},
	 .kinds = KINDS(TF_K_PROCESS_RENAME)},
	{.name = "tf_process_signal", .hook = "tp_btf/signal_generate", .part = TF_PART_PROCESS, .args = {5, 5},
	 .kinds = KINDS(TF_K_PROCESS_SIGNAL)},
	{.name = "tf_process_setuid", .program = "tf_process_identity", .hook = "tp_btf/sys_exit", .part = TF_PART_IDENTITY, .args = {2, 2},
	 .kinds = KINDS(TF_K_PROCESS_SETUID), .stage = TF_SYS_PROCESS, .flags = TF_PS_NOTED,
	 .syscalls = CALLS(TF_NR_setuid, TF_NR_setreuid, TF_NR_setresuid, TF_NR_setfsuid)},
	{.name = "tf_process_setgid", .program = "tf_process_identity", .hook = "tp_btf/sys_exit", .part = TF_PART_IDENTITY, .args = {2, 2},
	 .kinds = KINDS(TF_K_PROCESS_SETGID), .stage = TF_SYS_PROCESS, .flags = TF_PS_NOTED,
	 .syscalls = CALLS(TF_NR_setgid, TF_NR_setregid, TF_NR_setresgid, TF_NR_setfsgid, TF_NR_setgroups)},
	{.name = "tf_process_capset", .program = "tf_process_identity", .hook = "tp_btf/sys_exit", .part = TF_PART_IDENTITY, .args = {2, 2},
	 .kinds = KINDS(TF_K_PROCESS_CAPSET), .stage = TF_SYS_PROCESS, .flags = TF_PS_NOTED, .syscalls = CALLS(TF_NR_capset)},
	{.name = "tf_snapshot_task", .hook = "iter.s/task", .part = TF_PART_SNAPSHOT, .kinds = KINDS(TF_K_META_SNAPSHOT_PROCESS),
	 .flags = TF_PS_SNAPSHOT},
	{.name = "tf_snapshot_task_old", .hook = "iter/task", .part = TF_PART_SNAPSHOT, .kinds = KINDS(TF_K_META_SNAPSHOT_PROCESS),
	 .flags = TF_PS_SNAPSHOT, .instead_of = "tf_snapshot_task"},
	{.name = "tf_snapshot_sockets", .hook = "iter/task_file", .part = TF_PART_SNAPSHOT, .kinds = KINDS(TF_K_META_SNAPSHOT_SOCKET),
	 .flags = TF_PS_SNAPSHOT},
	{.name = "tf_list_pids", .hook = "iter/task", .part = TF_PART_SNAPSHOT, .flags = TF_PS_ALWAYS},
	{.name = "tf_usage", .hook = "iter/task", .part = TF_PART_USAGE, .kinds = KINDS(TF_K_CPU_USAGE), .flags = TF_PS_RUN},
	{.name = "tf_synth", .hook = "syscall", .part = TF_PART_SYNTH, .flags = TF_PS_ALWAYS},
};
const struct tf_spec_table tf_specs_core = {specs, sizeof(specs) / sizeof(specs[0])};
