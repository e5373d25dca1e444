/* SPDX-License-Identifier: Apache-2.0 */
/* tf_object_specs_security: the programs of bpf/security*.bpf.c. */
#include "tf_object_specs.h"

#define HANDLER .hook = "tp_btf/sys_exit", .args = {2, 2}, .stage = TF_SYS_SECURITY
#define NEW .flags = TF_PS_NOT_OLD
#define IDS TF_K_SECURITY_PRIVILEGE_ESCALATION

#define CTIME .args = {2, 4}, .part = TF_PART_SECURITY_PATH, .kinds = KINDS(TF_K_SECURITY_SENSITIVE_FILE), .flags = TF_PS_MORE | TF_PS_NOT_OLD, \
	.cost = "per change of a file or directory, and per read of one from disk"

/* Calls that this machine does not have are -1 and match no number. */
static const struct tf_program_spec specs[] = {
	{.name = "tf_security_trace", .program = "tf_security_call", HANDLER, NEW, .part = TF_PART_SECURITY,
	 .kinds = KINDS(TF_K_SECURITY_PTRACE, TF_K_SECURITY_PROCESS_VM, TF_K_SECURITY_ACCESS_DENIED),
	 .syscalls = CALLS(TF_NR_ptrace, TF_NR_process_vm_readv, TF_NR_process_vm_writev, TF_NR_pidfd_getfd)},
	{.name = "tf_security_modules", .program = "tf_security_call", HANDLER, NEW, .part = TF_PART_SECURITY,
	 .kinds = KINDS(TF_K_SECURITY_MODULE_LOAD),
	 .syscalls = CALLS(TF_NR_init_module, TF_NR_finit_module, TF_NR_delete_module)},
	{.name = "tf_security_module", .hook = "tp_btf/module_load", .part = TF_PART_SECURITY, .args = {1, 1},
	 .kinds = KINDS(TF_K_SECURITY_MODULE_LOAD), .flags = TF_PS_MORE | TF_PS_NOT_OLD},
	{.name = "tf_security_mount", .program = "tf_security_call", HANDLER, NEW, .part = TF_PART_SECURITY,
	 .kinds = KINDS(TF_K_SECURITY_MOUNT),
	 .syscalls = CALLS(TF_NR_mount, TF_NR_umount2, TF_NR_pivot_root, TF_NR_move_mount, TF_NR_open_tree, TF_NR_open_tree_attr, TF_NR_fsmount,
			   TF_NR_mount_setattr, TF_NR_chroot)},
	{.name = "tf_security_rare", .program = "tf_security_call", HANDLER, NEW, .part = TF_PART_SECURITY,
	 .kinds = KINDS(TF_K_SECURITY_BPF, TF_K_SECURITY_MEMFD, TF_K_SECURITY_KEYCTL, TF_K_SECURITY_USERFAULTFD, TF_K_SECURITY_PERF_EVENT),
	 .syscalls = CALLS(TF_NR_bpf, TF_NR_memfd_create, TF_NR_keyctl, TF_NR_add_key, TF_NR_request_key, TF_NR_userfaultfd,
			   TF_NR_perf_event_open)},
	{.name = "tf_security_socket", .program = "tf_security_call", HANDLER, NEW, .part = TF_PART_SECURITY,
	 .kinds = KINDS(TF_K_SECURITY_RAW_SOCKET),
	 .syscalls = CALLS(TF_NR_socket)},
	{.name = "tf_security_memory", .program = "tf_security_call", HANDLER, NEW, .part = TF_PART_SECURITY,
	 .kinds = KINDS(TF_K_SECURITY_WRITABLE_CODE),
	 .syscalls = CALLS(TF_NR_mmap, TF_NR_mprotect, TF_NR_pkey_mprotect, TF_NR_shmat)},

	{.name = "tf_security_ids", .program = "tf_security_cred", HANDLER, .part = TF_PART_SECURITY_CRED,
	 .kinds = KINDS(IDS), .flags = TF_PS_NOTED | TF_PS_NOT_OLD,
	 .syscalls = CALLS(TF_NR_setuid, TF_NR_setreuid, TF_NR_setresuid, TF_NR_setfsuid, TF_NR_setgid, TF_NR_setregid, TF_NR_setresgid,
			   TF_NR_setfsgid, TF_NR_capset)},
	{.name = "tf_security_exec_enter", .hook = "tp_btf/sys_enter", .args = {2, 2}, .stage = TF_SYS_SECURITY,
	 .part = TF_PART_SECURITY_CRED,
	 .kinds = KINDS(IDS, TF_K_SECURITY_SETUID_EXEC), .flags = TF_PS_NOTED | TF_PS_NOT_OLD,
	 .syscalls = CALLS(TF_NR_execve, TF_NR_execveat)},
	{.name = "tf_security_fork", .hook = "tp_btf/sched_process_fork", .args = {2, 2}, NEW, .part = TF_PART_SECURITY_CRED,
	 .kinds = KINDS(IDS, TF_K_SECURITY_NAMESPACE)},
	{.name = "tf_security_exec", .hook = "tp_btf/sched_process_exec", .args = {3, 3}, NEW, .part = TF_PART_SECURITY_CRED,
	 .kinds = KINDS(IDS, TF_K_SECURITY_SETUID_EXEC, TF_K_SECURITY_FILELESS_EXEC)},
	{.name = "tf_security_namespace", .program = "tf_security_cred", HANDLER, NEW, .part = TF_PART_SECURITY_CRED,
	 .kinds = KINDS(IDS, TF_K_SECURITY_NAMESPACE),
	 .syscalls = CALLS(TF_NR_unshare, TF_NR_setns, TF_NR_clone, TF_NR_clone3)},
	{.name = "tf_security_commit", .hook = "fentry/commit_creds", .args = {1, 1}, .part = TF_PART_SECURITY_CRED, .kinds = KINDS(IDS),
	 .flags = TF_PS_MORE | TF_PS_NOT_OLD},

	{.name = "tf_security_path", HANDLER, NEW, .part = TF_PART_SECURITY_PATH,
	 .kinds = KINDS(TF_K_SECURITY_ACCESS_DENIED, TF_K_SECURITY_SENSITIVE_FILE),
	 .syscalls = CALLS(TF_NR_open, TF_NR_creat, TF_NR_openat, TF_NR_openat2, TF_NR_open_by_handle_at, TF_NR_execve, TF_NR_execveat,
			   TF_NR_connect, TF_NR_bind)},
	{.name = "tf_security_change", HANDLER, NEW, .part = TF_PART_SECURITY_PATH,
	 .kinds = KINDS(TF_K_SECURITY_ACCESS_DENIED, TF_K_SECURITY_SENSITIVE_FILE),
	 .syscalls = CALLS(TF_NR_rename, TF_NR_renameat, TF_NR_renameat2, TF_NR_link, TF_NR_linkat, TF_NR_symlink, TF_NR_symlinkat, TF_NR_unlink,
			   TF_NR_unlinkat, TF_NR_mkdir, TF_NR_mkdirat, TF_NR_rmdir, TF_NR_chmod, TF_NR_fchmod, TF_NR_fchmodat, TF_NR_fchmodat2,
			   TF_NR_chown, TF_NR_lchown, TF_NR_fchown, TF_NR_fchownat, TF_NR_truncate, TF_NR_ftruncate, TF_NR_setxattr,
			   TF_NR_lsetxattr, TF_NR_fsetxattr, TF_NR_removexattr, TF_NR_lremovexattr, TF_NR_fremovexattr, TF_NR_setxattrat,
			   TF_NR_removexattrat)},
	{.name = "tf_security_ctime", .hook = "tp_btf/inode_set_ctime_to_ts", CTIME},
	{.name = "tf_security_ctime_swap", .hook = "tp_btf/ctime_ns_xchg", CTIME},
	{.name = "tf_security_ctime_skip", .hook = "tp_btf/ctime_xchg_skip", CTIME},

	{.name = "tf_security_capable", .hook = "tp_btf/cap_capable", .args = {5, 5}, NEW, .part = TF_PART_SECURITY_HOOK,
	 .kinds = KINDS(TF_K_SECURITY_CAPABILITY_DENIED)},
	{.name = "tf_security_capable_f", .hook = "fexit/cap_capable", .args = {4, 4}, .part = TF_PART_SECURITY_HOOK,
	 .kinds = KINDS(TF_K_SECURITY_CAPABILITY_DENIED), .instead_of = "tf_security_capable"},
	{.name = "tf_security_capable_k", .hook = "kprobe/cap_capable", .args = {4, 4}, .part = TF_PART_SECURITY_HOOK,
	 .kinds = KINDS(TF_K_SECURITY_CAPABILITY_DENIED), .instead_of = "tf_security_capable_f"},
	{.name = "tf_security_capable_kr", .hook = "kretprobe/cap_capable", .args = {4, 4}, .part = TF_PART_SECURITY_HOOK,
	 .kinds = KINDS(TF_K_SECURITY_CAPABILITY_DENIED), .instead_of = "tf_security_capable_f"},
	{.name = "tf_security_uring", .hook = "tp_btf/io_uring_create", .args = {5, 5}, NEW, .part = TF_PART_SECURITY_HOOK,
	 .kinds = KINDS(TF_K_SECURITY_IO_URING)},
	{.name = "tf_security_uring_op", .hook = "tp_btf/io_uring_submit_req", .args = {1, 1}, NEW, .part = TF_PART_SECURITY_HOOK,
	 .kinds = KINDS(TF_K_SECURITY_IO_URING_OP)},
	{.name = "tf_security_uring_op_sqe", .hook = "tp_btf/io_uring_submit_sqe", .args = {2, 2}, NEW, .part = TF_PART_SECURITY_HOOK,
	 .kinds = KINDS(TF_K_SECURITY_IO_URING_OP), .instead_of = "tf_security_uring_op"},
	{.name = "tf_security_uring_open", .hook = "fentry/security_file_open", .args = {1, 1}, .part = TF_PART_SECURITY_HOOK,
	 .kinds = KINDS(TF_K_SECURITY_IO_URING_OP), .flags = TF_PS_MORE | TF_PS_NOT_OLD},
	{.name = "tf_security_uring_connect", .hook = "fentry/security_socket_connect", .args = {3, 3}, .part = TF_PART_SECURITY_HOOK,
	 .kinds = KINDS(TF_K_SECURITY_IO_URING_OP), .flags = TF_PS_MORE | TF_PS_NOT_OLD},
};
const struct tf_spec_table tf_specs_security = {specs, sizeof(specs) / sizeof(specs[0])};
