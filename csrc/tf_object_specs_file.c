/* SPDX-License-Identifier: Apache-2.0 */
/* tf_object_specs_file: the programs of bpf/file.bpf.c and bpf/file_io.bpf.c. */
#include "tf_object_specs.h"

#define HANDLER(program, section, part_, flags_, kinds_, ...) \
	{.name = program, .hook = "tp_btf/" section, .part = part_, .args = {2, 2}, .stage = TF_SYS_FILE, .flags = TF_PS_TIMED | (flags_), \
	 .kinds = kinds_, .syscalls = CALLS(__VA_ARGS__)}
#define ON_PATH(program, kinds_, ...) HANDLER("tf_file_" program, "sys_exit", TF_PART_FILE, 0, KINDS kinds_, __VA_ARGS__)
#define ON_IO(program_, kinds_, ...) \
	{.name = "tf_file_" program_, .program = "tf_file_io", .hook = "tp_btf/sys_exit", .part = TF_PART_FILE_IO, .args = {2, 2}, \
	 .stage = TF_SYS_FILE, .flags = TF_PS_TIMED | TF_PS_NOT_OLD, .kinds = KINDS kinds_, .syscalls = CALLS(__VA_ARGS__)}
#define ON_FD(program, section, kinds_, ...) HANDLER("tf_file_" program, section, TF_PART_FILE_IO, TF_PS_NOT_OLD, KINDS kinds_, __VA_ARGS__)

/* What the kernel resolved in the middle of a call: one of the three, the first that this kernel takes. */
#define NOTE(what, ...) \
	{.name = "tf_note_" what, .hook = "fentry/security_path_" what, .part = TF_PART_FILE, .kinds = KINDS(__VA_ARGS__), .flags = TF_PS_MORE}, \
	{.name = "tf_note_" what "_lsm", .hook = "lsm/path_" what, .part = TF_PART_FILE, .kinds = KINDS(__VA_ARGS__), .flags = TF_PS_MORE, \
	 .instead_of = "tf_note_" what}, \
	{.name = "tf_note_" what "_k", .hook = "kprobe/security_path_" what, .part = TF_PART_FILE, .kinds = KINDS(__VA_ARGS__), \
	 .flags = TF_PS_MORE, .instead_of = "tf_note_" what "_lsm"}

static const struct tf_program_spec specs[] = {
	NOTE("unlink", TF_K_FILE_DELETE),
	NOTE("rmdir", TF_K_FILE_RMDIR),
	NOTE("mkdir", TF_K_FILE_MKDIR),
	NOTE("symlink", TF_K_FILE_SYMLINK),
	NOTE("link", TF_K_FILE_LINK),
	NOTE("rename", TF_K_FILE_RENAME),
	NOTE("chmod", TF_K_FILE_CHMOD),
	NOTE("chown", TF_K_FILE_CHOWN),
	NOTE("truncate", TF_K_FILE_TRUNCATE),
	{.name = "tf_file_finish", .hook = "tp_btf/sys_exit", .part = TF_PART_FILE, .args = {2, 2}, .flags = TF_PS_RUN,
	 .kinds = KINDS(TF_K_FILE_OPEN, TF_K_FILE_CREATE, TF_K_FILE_DELETE, TF_K_FILE_RENAME, TF_K_FILE_CHMOD, TF_K_FILE_CHOWN, TF_K_FILE_MKDIR,
			TF_K_FILE_RMDIR, TF_K_FILE_LINK, TF_K_FILE_SYMLINK, TF_K_FILE_TRUNCATE, TF_K_FILE_XATTR)},
	ON_PATH("open", (TF_K_FILE_OPEN, TF_K_FILE_CREATE), TF_NR_open, TF_NR_creat, TF_NR_openat, TF_NR_openat2, TF_NR_open_by_handle_at),
	ON_PATH("mknod", (TF_K_FILE_CREATE), TF_NR_mknod, TF_NR_mknodat),
	ON_PATH("remove", (TF_K_FILE_DELETE, TF_K_FILE_RMDIR), TF_NR_unlink, TF_NR_unlinkat, TF_NR_rmdir),
	ON_PATH("mkdir", (TF_K_FILE_MKDIR), TF_NR_mkdir, TF_NR_mkdirat),
	ON_PATH("rename", (TF_K_FILE_RENAME), TF_NR_rename, TF_NR_renameat, TF_NR_renameat2),
	ON_PATH("link", (TF_K_FILE_LINK), TF_NR_link, TF_NR_linkat),
	ON_PATH("symlink", (TF_K_FILE_SYMLINK), TF_NR_symlink, TF_NR_symlinkat),
	ON_PATH("chmod", (TF_K_FILE_CHMOD), TF_NR_chmod, TF_NR_fchmod, TF_NR_fchmodat, TF_NR_fchmodat2),
	ON_PATH("chown", (TF_K_FILE_CHOWN), TF_NR_chown, TF_NR_lchown, TF_NR_fchown, TF_NR_fchownat),
	ON_PATH("truncate", (TF_K_FILE_TRUNCATE), TF_NR_truncate, TF_NR_ftruncate),
	ON_PATH("xattr", (TF_K_FILE_XATTR), TF_NR_setxattr, TF_NR_lsetxattr, TF_NR_fsetxattr, TF_NR_removexattr, TF_NR_lremovexattr,
		TF_NR_fremovexattr, TF_NR_setxattrat, TF_NR_removexattrat),
	ON_IO("read", (TF_K_FILE_READ), TF_NR_read, TF_NR_pread64, TF_NR_readv, TF_NR_preadv, TF_NR_preadv2),
	ON_IO("write", (TF_K_FILE_WRITE), TF_NR_write, TF_NR_pwrite64, TF_NR_writev, TF_NR_pwritev, TF_NR_pwritev2),
	ON_IO("move", (TF_K_FILE_READ, TF_K_FILE_WRITE), TF_NR_sendfile, TF_NR_copy_file_range, TF_NR_splice),
	ON_FD("closing", "sys_enter", (TF_K_FILE_CLOSE), TF_NR_close, TF_NR_dup2, TF_NR_dup3, TF_NR_close_range),
	ON_FD("closed", "sys_exit", (TF_K_FILE_CLOSE, TF_K_FILE_READ, TF_K_FILE_WRITE), TF_NR_close, TF_NR_dup2, TF_NR_dup3,
	      TF_NR_close_range),
	{.name = "tf_file_exec", .hook = "tp_btf/sched_process_exec", .part = TF_PART_FILE_IO, .args = {3, 3},
	 .flags = TF_PS_NOT_OLD, .kinds = KINDS(TF_K_FILE_READ, TF_K_FILE_WRITE)},
	{.name = "tf_file_exit", .hook = "tp_btf/sched_process_exit", .part = TF_PART_FILE_IO, .args = {1, 2},
	 .flags = TF_PS_NOT_OLD, .kinds = KINDS(TF_K_FILE_READ, TF_K_FILE_WRITE)},
};
const struct tf_spec_table tf_specs_file = {specs, sizeof(specs) / sizeof(specs[0])};
