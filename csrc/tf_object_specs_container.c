/* SPDX-License-Identifier: Apache-2.0 */
/* tf_object_specs_container: the programs of bpf/container.bpf.c. */
#include "tf_object_specs.h"

#define PROGRAM(name_, hook_, n_args, ...) \
	{.name = name_, .hook = "tp_btf/" hook_, .part = TF_PART_CONTAINER, .args = {n_args, n_args}, .kinds = KINDS(__VA_ARGS__)}
#define HANDLER(name_, hook_, flags_, calls_, ...) \
	{.name = name_, .hook = "tp_btf/" hook_, .part = TF_PART_CONTAINER, .args = {2, 2}, .stage = TF_SYS_CONTAINER, .flags = flags_, \
	 .syscalls = calls_, .kinds = KINDS(__VA_ARGS__)}

static const struct tf_program_spec specs[] = {
	PROGRAM("tf_container_mkdir", "cgroup_mkdir", 2, TF_K_CONTAINER_CREATE),
	PROGRAM("tf_container_rmdir", "cgroup_rmdir", 2, TF_K_CONTAINER_DESTROY),
	PROGRAM("tf_container_attach", "cgroup_attach_task", 4, TF_K_CONTAINER_ATTACH),
	PROGRAM("tf_container_populated", "cgroup_notify_populated", 3, TF_K_CONTAINER_EMPTY),
	PROGRAM("tf_container_fork", "sched_process_fork", 2, TF_K_CONTAINER_NAMESPACE, TF_K_CONTAINER_START),
	PROGRAM("tf_container_start", "sched_process_exec", 3, TF_K_CONTAINER_START),
	PROGRAM("tf_container_stop", "sched_process_exit", 2, TF_K_CONTAINER_STOP, TF_K_CONTAINER_START),
	PROGRAM("tf_container_stop_old", "sched_process_exit", 1, TF_K_CONTAINER_STOP, TF_K_CONTAINER_START),
	HANDLER("tf_container_enter", "sys_enter", TF_PS_NOT_OLD, CALLS(TF_NR_unshare, TF_NR_setns), TF_K_CONTAINER_NAMESPACE,
		TF_K_CONTAINER_ESCAPE),
	HANDLER("tf_container_join", "sys_exit", TF_PS_NOT_OLD, CALLS(TF_NR_unshare, TF_NR_setns), TF_K_CONTAINER_NAMESPACE,
		TF_K_CONTAINER_ESCAPE),
	HANDLER("tf_container_open", "sys_exit", 0,
		CALLS(TF_NR_open, TF_NR_creat, TF_NR_openat, TF_NR_openat2, TF_NR_open_by_handle_at), TF_K_CONTAINER_ESCAPE),
	HANDLER("tf_container_mount", "sys_exit", 0, CALLS(TF_NR_mount, TF_NR_fsmount, TF_NR_open_tree, TF_NR_open_tree_attr),
		TF_K_CONTAINER_ESCAPE),
};
const struct tf_spec_table tf_specs_container = {specs, sizeof(specs) / sizeof(specs[0])};
