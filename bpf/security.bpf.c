// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Security: system calls that are worth a record each time they are tried, whatever comes of them; io_uring; refused capabilities. Identity
 * is in security_cred.bpf.c, files and addresses in security_path.bpf.c. */
#include "tf_security.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

TF_KEEP_BTF(tf_security)

/* Which of the functions below looks at a call; at nr + 1: what a machine does not have is at 0. */
enum { TF_G_NONE, TF_G_MEMORY, TF_G_SOCKET, TF_G_TRACE, TF_G_MODULES, TF_G_MOUNT, TF_G_RARE };
#define AT(call) [TF_NR_##call + 1]
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Winitializer-overrides"
static const __u8 tf_call_groups[TF_SYS_MAX] = {
	AT(mmap) = TF_G_MEMORY, AT(mprotect) = TF_G_MEMORY, AT(pkey_mprotect) = TF_G_MEMORY,
	AT(shmat) = TF_G_MEMORY, AT(socket) = TF_G_SOCKET,
	AT(ptrace) = TF_G_TRACE, AT(process_vm_readv) = TF_G_TRACE, AT(process_vm_writev) = TF_G_TRACE, AT(pidfd_getfd) = TF_G_TRACE,
	AT(init_module) = TF_G_MODULES, AT(finit_module) = TF_G_MODULES, AT(delete_module) = TF_G_MODULES,
	AT(mount) = TF_G_MOUNT, AT(umount2) = TF_G_MOUNT, AT(pivot_root) = TF_G_MOUNT, AT(move_mount) = TF_G_MOUNT,
	AT(open_tree) = TF_G_MOUNT, AT(open_tree_attr) = TF_G_MOUNT, AT(fsmount) = TF_G_MOUNT, AT(mount_setattr) = TF_G_MOUNT,
	AT(chroot) = TF_G_MOUNT, AT(bpf) = TF_G_RARE, AT(memfd_create) = TF_G_RARE, AT(keyctl) = TF_G_RARE, AT(add_key) = TF_G_RARE,
	AT(request_key) = TF_G_RARE, AT(userfaultfd) = TF_G_RARE, AT(perf_event_open) = TF_G_RARE, [0] = TF_G_NONE,
};
#pragma clang diagnostic pop

/* Names of modules that this very thread is loading: init_module is given an image, no name. */
struct tf_module_name {
	char text[56];
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 128);
	__type(key, __u32);
	__type(value, struct tf_module_name);
} tf_modules SEC(".maps");

/* Hook: module_load, since 2.6.28, when a module's name is known and before its code runs; absent where the kernel has no modules. */
SEC("tp_btf/module_load")
int BPF_PROG(tf_security_module, struct module *mod)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();
	struct tf_module_name name;

	if (!mod || bpf_core_read(&name, sizeof(name), &mod->name))
		return 0;
	bpf_map_update_elem(&tf_modules, &tid, &name, BPF_ANY); /* pushed out of a full table: the record goes without a name */
	return 0;
}

/* A process looks into, or takes something of, another one. Refused ones are also security.access_denied. */
static __always_inline void tf_on_trace(const struct tf_regs *regs, long ret, __u32 nr)
{
	struct tf_act a = tf_new_act(TF_K_SECURITY_PROCESS_VM, TF_A_PTRACE, ret);
	struct task_struct *task = bpf_get_current_task_btf();

	a.target_pid = tf_sys_arg(regs, 0);
	if (nr == TF_NR_ptrace) {
		a.kind = TF_K_SECURITY_PTRACE;
		a.value = tf_sys_arg(regs, 0);
		/* PTRACE_TRACEME: by the parent */
		a.target_pid = a.value ? tf_sys_arg(regs, 1) : (__u32)TF_GO(tf_plain_task(task), real_parent, tgid);
		a.object_id = tf_sys_arg(regs, 2);
	} else if (nr == TF_NR_pidfd_getfd) {
		a.action = TF_A_PIDFD_GETFD;
		a.value = tf_sys_int(regs, 1);
		a.target_pid = tf_pid_of_fd(task, tf_sys_arg(regs, 0));
		a.object_id = ret < 0 ? 0 : ret;
	} else {
		a.action = nr == TF_NR_process_vm_readv ? TF_A_VM_READ : TF_A_VM_WRITE;
		a.value = ret < 0 ? 0 : ret;
	}
	if (a.kind == TF_K_SECURITY_PTRACE ? tf_enabled(TF_K_SECURITY_PTRACE) : tf_enabled(TF_K_SECURITY_PROCESS_VM))
		tf_send_act(&a);
	if (!tf_enabled(TF_K_SECURITY_ACCESS_DENIED) || (a.errno_ != EPERM && a.errno_ != EACCES))
		return;
	a.kind = TF_K_SECURITY_ACCESS_DENIED;
	tf_send_act(&a);
}

/* init_module(image, len, args), finit_module(fd, args, flags), delete_module(name, flags) */
static __always_inline void tf_on_modules(const struct tf_regs *regs, long ret, __u32 nr)
{
	struct tf_act a = tf_new_act(TF_K_SECURITY_MODULE_LOAD, TF_A_MODULE_INIT, ret);
	__u32 tid = (__u32)bpf_get_current_pid_tgid();
	struct tf_module_name *name;

	a.value = tf_sys_arg(regs, 1);
	if (nr == TF_NR_delete_module) {
		a.action = TF_A_MODULE_DELETE;
		a.value = tf_sys_int(regs, 1);
		tf_act_user(&a, tf_sys_arg(regs, 0));
	} else if (nr == TF_NR_finit_module) {
		a.value = tf_sys_int(regs, 2);
		a.object_id = tf_sys_int(regs, 0);
		tf_act_file(&a, tf_file_of(bpf_get_current_task_btf(), a.object_id));
	} else {
		name = bpf_map_lookup_elem(&tf_modules, &tid);
		a.how = name ? TF_HOW_KERNEL : TF_HOW_NONE;
		a.text = (__u64)name;
	}
	tf_send_act(&a);
	bpf_map_delete_elem(&tf_modules, &tid);
}

#define TF_I386_UMOUNT 22 /* the form without flags; arch/x86/entry/syscalls/syscall_32.tbl */

/* The tree of mounts. Paths are the target's: of what was mounted, moved, or made the root. */
static __always_inline void tf_on_mount(const struct tf_regs *regs, long ret, __u32 nr)
{
	struct tf_act a = tf_new_act(TF_K_SECURITY_MOUNT, TF_A_MOUNT, ret);
	struct task_struct *task = bpf_get_current_task_btf();
	__u64 dir = (__u64)TF_AT_FDCWD, path = 0;
	struct path *root;

	if (nr == TF_NR_mount) {
		path = tf_sys_arg(regs, 1);
		a.value = tf_sys_arg(regs, 3);
	} else if (nr == TF_NR_umount2) {
		a.action = TF_A_UMOUNT;
		path = tf_sys_arg(regs, 0);
		a.value = tf_compat_nr(regs) == TF_I386_UMOUNT ? 0 : tf_sys_int(regs, 1);
	} else if (nr == TF_NR_pivot_root || nr == TF_NR_chroot) {
		a.action = nr == TF_NR_chroot ? TF_A_CHROOT : TF_A_PIVOT_ROOT;
		path = tf_sys_arg(regs, 0);
	} else if (nr == TF_NR_move_mount) {
		a.action = TF_A_MOVE_MOUNT;
		dir = tf_sys_arg(regs, 2);
		path = tf_sys_arg(regs, 3);
		a.value = tf_sys_int(regs, 4);
	} else if (nr == TF_NR_fsmount) {
		a.action = TF_A_FSMOUNT;
		a.value = tf_sys_int(regs, 1);
	} else {
		a.action = nr == TF_NR_mount_setattr ? TF_A_MOUNT_SETATTR : TF_A_OPEN_TREE;
		dir = tf_sys_arg(regs, 0);
		path = tf_sys_arg(regs, 1);
		a.value = tf_sys_int(regs, 2);
	}
	if ((nr == TF_NR_fsmount || nr == TF_NR_open_tree || nr == TF_NR_open_tree_attr) && ret >= 0) {
		a.object_id = ret; /* the mount behind the new descriptor, as the kernel found it */
		tf_act_file(&a, tf_file_of(task, ret));
	} else if (nr == TF_NR_chroot && !ret) {
		root = tf_root_path(task);
		a.base = (__u64)root;
		a.how = root ? TF_HOW_PATH : TF_HOW_NONE;
	} else if (path) {
		tf_act_claimed(&a, task, dir, path);
	}
	tf_send_act(&a);
}

/* memfd_create(name, flags): the name that the kernel gave the file, past its "memfd:". */
static __always_inline void tf_fill_memfd(struct tf_act *a, const struct tf_regs *regs, long ret)
{
	struct file *file = ret < 0 ? NULL : tf_file_of(bpf_get_current_task_btf(), ret);

	a->kind = TF_K_SECURITY_MEMFD;
	a->action = TF_A_MEMFD;
	a->value = tf_sys_int(regs, 1);
	if (!file) {
		tf_act_user(a, tf_sys_arg(regs, 0));
		return;
	}
	a->object_id = ret;
	tf_read_inode(file, &a->inode, &a->device);
	a->text = (__u64)BPF_CORE_READ(tf_file_path(file), dentry, d_name.name) + sizeof("memfd:") - 1;
	a->how = TF_HOW_KERNEL;
}

/* struct perf_event_attr: u32 type, u32 size, u64 config. pid -1: everything on a CPU. */
static __always_inline void tf_fill_perf(struct tf_act *a, const struct tf_regs *regs, long ret)
{
	__u64 attr[2] = {};

	a->kind = TF_K_SECURITY_PERF_EVENT;
	a->action = TF_A_PERF_EVENT;
	a->flags = TF_F_USER_CLAIMED;
	if (bpf_probe_read_user(attr, sizeof(attr), (void *)tf_sys_arg(regs, 0)))
		a->flags |= TF_F_PARTIAL;
	a->value = (__u32)attr[0];
	a->object_id = attr[1];
	a->target_pid = tf_sys_arg(regs, 1);
}

/* Keys: operation or keyring in value, the key's serial in object_id. */
static __always_inline void tf_fill_key(struct tf_act *a, const struct tf_regs *regs, long ret, __u32 nr)
{
	a->kind = TF_K_SECURITY_KEYCTL;
	if (nr == TF_NR_keyctl) {
		a->action = TF_A_KEYCTL;
		a->value = (__u32)tf_sys_arg(regs, 0);
		a->object_id = (__u32)tf_sys_arg(regs, 1);
		return;
	}
	a->action = nr == TF_NR_add_key ? TF_A_ADD_KEY : TF_A_REQUEST_KEY;
	a->value = (__u32)(nr == TF_NR_add_key ? tf_sys_arg(regs, 4) : tf_sys_arg(regs, 3));
	a->object_id = ret < 0 ? 0 : ret;
	tf_act_user(a, tf_sys_arg(regs, 1));
}

/* What is rarely done by a program that means well: bpf, memfd_create, userfaultfd, perf_event_open, keys. */
static __always_inline void tf_on_rare(const struct tf_regs *regs, long ret, __u32 nr)
{
	struct tf_act a = tf_new_act(TF_K_SECURITY_BPF, TF_A_BPF, ret);
	bool wanted = tf_enabled(TF_K_SECURITY_BPF);

	a.value = (__u32)tf_sys_arg(regs, 0);
	a.object_id = ret < 0 ? 0 : ret;
	if (nr == TF_NR_memfd_create) {
		wanted = tf_enabled(TF_K_SECURITY_MEMFD);
		tf_fill_memfd(&a, regs, ret);
	} else if (nr == TF_NR_userfaultfd) {
		wanted = tf_enabled(TF_K_SECURITY_USERFAULTFD);
		a.kind = TF_K_SECURITY_USERFAULTFD;
		a.action = TF_A_USERFAULTFD;
	} else if (nr == TF_NR_perf_event_open) {
		wanted = tf_enabled(TF_K_SECURITY_PERF_EVENT);
		tf_fill_perf(&a, regs, ret);
	} else if (nr != TF_NR_bpf) {
		wanted = tf_enabled(TF_K_SECURITY_KEYCTL);
		tf_fill_key(&a, regs, ret, nr);
	}
	if (wanted)
		tf_send_act(&a);
}

#define TF_READ_IMPLIES_EXEC 0x0400000u /* uapi/linux/personality.h */
#define SOCK_RAW 3       /* linux/net.h */
#define SOCK_PACKET 10   /* of AF_INET: the kernel makes an AF_PACKET socket of it */
#define SOCK_TYPE_MASK 15
#define AF_NETLINK 16    /* linux/socket.h: raw or not is the same there, and every getaddrinfo opens one */
#define AF_PACKET 17

/* socket(family, type, protocol): often called, so what is neither raw nor of packets goes home at once. */
static __always_inline void tf_on_socket(const struct tf_regs *regs, long ret, __u32 nr)
{
	__u32 family = tf_sys_arg(regs, 0), type = tf_sys_arg(regs, 1) & SOCK_TYPE_MASK;
	struct tf_act a;

	if (family != AF_PACKET && !(family == AF_INET && type == SOCK_PACKET) && !(type == SOCK_RAW && family != AF_NETLINK))
		return;
	a = tf_new_act(TF_K_SECURITY_RAW_SOCKET, TF_A_SOCKET, ret);
	a.family = family;
	a.value = type;
	a.object_id = ret < 0 ? 0 : ret;
	tf_send_act(&a);
}

#define SHM_RDONLY 010000 /* uapi/linux/shm.h */
#define SHM_EXEC 0100000

/* The protection that shmat's flags stand for: PROT_READ, PROT_WRITE, PROT_EXEC. */
static __always_inline __u32 tf_shm_prot(__u32 flags)
{
	return (flags & SHM_RDONLY ? 1 : 1 | 2) | (flags & SHM_EXEC ? 4 : 0);
}

/* mmap(addr, len, prot, flags, fd, off), mprotect(addr, len, prot), pkey_mprotect(addr, len, prot, key), shmat(id, addr, flags) with write and execute at once.
 * Memory that is made executable after it was written (as JITs do) is not told: what it was before cannot be seen at the exit. */
static __always_inline void tf_on_memory(const struct tf_regs *regs, long ret, __u32 nr)
{
	const __u32 both = 2 | 4; /* PROT_WRITE, PROT_EXEC: uapi/asm-generic/mman-common.h */
	__u32 prot = tf_sys_arg(regs, 2), map = tf_sys_arg(regs, 3);
	struct tf_act a;

	if (nr == TF_NR_shmat)
		prot = tf_shm_prot(prot);
	if (prot & 1 && tf_current()->personality & TF_READ_IMPLIES_EXEC) /* what may be read may be executed */
		prot |= 4;
	if ((prot & both) != both)
		return;
	a = tf_new_act(TF_K_SECURITY_WRITABLE_CODE, nr == TF_NR_mmap ? TF_A_MMAP : TF_A_MPROTECT, ret);
	a.value = prot;
	a.object_id = tf_sys_arg(regs, 0);
	if (nr == TF_NR_shmat) {
		a.action = TF_A_SHMAT;
		a.object_id = a.errno_ ? 0 : (__u64)ret;
	} else if (nr == TF_NR_mmap) {
		a.object_id = a.errno_ ? a.object_id : (__u64)ret;
		if (!(map & 0x20)) /* MAP_ANONYMOUS */
			tf_act_file(&a, tf_file_of(bpf_get_current_task_btf(), tf_sys_arg(regs, 4)));
	}
	tf_send_act(&a);
}

/* One program for all of these calls, so that the verifier checks the sender once; each group has a row of its own in the table, which says
 * for which numbers the program is called. Short ones first: mmap and socket are called often. */
TF_ON_EXIT(tf_security_call, TF_SYS_SECURITY)
{
	switch (tf_call_groups[(nr + 1) & (TF_SYS_MAX - 1)]) {
	case TF_G_MEMORY:
		if (tf_enabled(TF_K_SECURITY_WRITABLE_CODE))
			tf_on_memory(regs, ret, nr);
		break;
	case TF_G_SOCKET:
		if (tf_enabled(TF_K_SECURITY_RAW_SOCKET))
			tf_on_socket(regs, ret, nr);
		break;
	case TF_G_TRACE:
		tf_on_trace(regs, ret, nr);
		break;
	case TF_G_MODULES:
		if (tf_enabled(TF_K_SECURITY_MODULE_LOAD))
			tf_on_modules(regs, ret, nr);
		break;
	case TF_G_MOUNT:
		if (tf_enabled(TF_K_SECURITY_MOUNT))
			tf_on_mount(regs, ret, nr);
		break;
	case TF_G_RARE:
		tf_on_rare(regs, ret, nr);
	}
}
