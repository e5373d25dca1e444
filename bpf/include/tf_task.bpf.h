/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Identity of a process: from the fields of a task (7 ns each), never from helpers (20 to 45 ns each). Relies on BTF-typed task
 * pointers: a bad one reads zero, it cannot fault. */
#ifndef TF_TASK_BPF_H
#define TF_TASK_BPF_H

#include "tf_emit.bpf.h"
#include "tf_old.bpf.h"

/* The same object through a pointer that the verifier does not trust. It reads the same and cannot fault, and is for following pointers:
 * at each pointer read through a trusted one, verifiers of 6.3 and later look up to four type names up in the whole of the kernel's BTF,
 * one after the other: 0.4 ms apiece, most of what loading took. No code: the verifier puts a move in its place. Plain fields are best
 * read through the trusted pointer, which needs no check for a fault (seven instructions). TF_CASTS compiles the variant for kernels that
 * have the function (6.2); a test at load time would be a dead branch at each read, and taking those out took a tenth of opening. */
#ifdef TF_CASTS
extern void *bpf_rdonly_cast(const void *obj, __u32 btf_id) __ksym;

static __always_inline struct task_struct *tf_plain_task(struct task_struct *task)
{
	return bpf_rdonly_cast(task, tf_consts.type_task);
}

static __always_inline const struct sock *tf_plain_sock(const struct sock *sk)
{
	return bpf_rdonly_cast(sk, tf_consts.type_sock);
}
#else
#define tf_plain_task(task) (task)
#define tf_plain_sock(sk) (sk)
#endif

/* The calling task, to be read; bpf_task_storage_get wants the trusted pointer, which bpf_get_current_task_btf gives. */
static __always_inline struct task_struct *tf_current(void)
{
	return tf_plain_task(bpf_get_current_task_btf());
}

/* The id of the type that a pointer points to, 0 where it cannot be cast to. A constant 0, or a number that the verifier knows. */
#ifdef TF_CASTS
#define TF_PLAIN_ID(name) struct name *: tf_consts.type_id[TF_TYPE_##name], const struct name *: tf_consts.type_id[TF_TYPE_##name],
#define TF_TYPE_ID(pointer) _Generic((pointer), TF_PLAIN_TYPES(TF_PLAIN_ID) default: 0)
#define TF_PLAIN_ONE(name) struct name *: true, const struct name *: true,
#define TF_MAY_CAST(pointer) _Generic((pointer), TF_PLAIN_TYPES(TF_PLAIN_ONE) default: false)
#define TF_CAST(pointer, type) bpf_rdonly_cast((pointer), (type))
#else
#define TF_TYPE_ID(pointer) 0
#define TF_MAY_CAST(pointer) false
#define TF_CAST(pointer, type) NULL
#endif

/* One field of a kernel object that we have but the address of: a plain load that cannot fault (1 ns) where the kernel lets us name the
 * type, else bpf_probe_read_kernel (15 ns). The pointer goes through a variable of its own, else clang asks the kernel's BTF for the members
 * of our own structures. */
#define TF_READ(from, field) \
	({ \
		typeof(from) tf_from = (from); \
		typeof(tf_from->field) tf_value = 0; \
		if (TF_MAY_CAST(tf_from)) \
			tf_value = ((typeof(tf_from))TF_CAST(tf_from, TF_TYPE_ID(tf_from)))->field; \
		else \
			bpf_core_read(&tf_value, sizeof(tf_value), &tf_from->field); \
		tf_value; \
	})

/* Eight bytes of kernel memory at any address, 0 where there is none; as cheap as a field. The verifier is told that they are some inode's
 * number. */
static __always_inline __u64 tf_word(__u64 address)
{
	struct inode *at = (struct inode *)(address - bpf_core_field_offset(struct inode, i_ino));

	return TF_READ(at, i_ino);
}

/* A pointer as a number, for arguments of global functions, which take no pointers to kernel objects. */
#define TF_READ_ADDRESS(from, field) \
	({ \
		typeof(from) tf_from = (from); \
		tf_word((__u64)__builtin_preserve_access_index(&tf_from->field)); \
	})

/* A subject remembered outside its task: the owner of a socket. Copied into records whole. */
struct tf_subject {
	__u64 cgroup_id;
	__u64 start_ns;
	__u32 pid;
	__u32 tid;
	__u32 ppid;
	__u32 uid;
	__u32 gid;
	__u16 flags;
	__u16 _pad0;
	__u64 comm[TF_COMM_LEN / 8];
};

/* subsys[n] for an n that only the running kernel's BTF tells. */
static __always_inline struct cgroup_subsys_state *tf_css(const struct css_set *set, const __u64 n)
{
#ifdef TF_OLD
	struct cgroup_subsys_state *css = NULL;

	bpf_core_read(&css, sizeof(css), &set->subsys[n & 15]);
	return css;
#else
	return set->subsys[n];
#endif
}

static __always_inline struct cgroup *tf_v1_cgroup(const struct css_set *set, const __u64 subsys, const struct cgroup *dfl)
{
	struct cgroup_subsys_state *css = tf_css(set, subsys);
	struct cgroup *cg = css ? TF_GO(css, cgroup) : NULL;

	return cg && cg != dfl && TF_GO(cg, level) > 0 ? cg : NULL;
}

/* Where everything sits in the root of the default hierarchy (cgroup v1 and hybrid hosts), the v1 memory controller's cgroup tells
 * containers apart, else the pids controller's. */
static __always_inline __u64 tf_cgroup_id(struct task_struct *task, __u16 *flags) /* of a plain task */
{
	struct css_set *set = TF_GO(task, cgroups);
	struct cgroup *dfl = TF_GO(set, dfl_cgrp), *v1 = NULL;

	if (TF_GO(dfl, level) > 0)
		return TF_GO(dfl, kn, id);
	if (bpf_core_enum_value_exists(enum cgroup_subsys_id, memory_cgrp_id))
		v1 = tf_v1_cgroup(set, bpf_core_enum_value(enum cgroup_subsys_id, memory_cgrp_id), dfl);
	if (!v1 && bpf_core_enum_value_exists(enum cgroup_subsys_id, pids_cgrp_id))
		v1 = tf_v1_cgroup(set, bpf_core_enum_value(enum cgroup_subsys_id, pids_cgrp_id), dfl);
	if (!v1)
		return TF_GO(dfl, kn, id);
	*flags |= TF_F_CGROUP_V1;
	return TF_GO(v1, kn, id);
}

/* comm as two words: the helper costs 33 to 45 ns, these loads 7. */
static __always_inline void tf_copy_comm(void *to, struct task_struct *task)
{
	__u64 *word = to;

#ifdef TF_OLD
	bpf_core_read(word, TF_COMM_LEN, &task->comm);
#else
	word[0] = *(__u64 *)&task->comm[0];
	word[1] = *(__u64 *)&task->comm[8];
#endif
}

static __always_inline void tf_read_who(struct tf_who *who, struct task_struct *task, __u16 *flags)
{
	struct task_struct *plain = tf_plain_task(task);

	*flags = tf_base_flags();
	who->pid = TF_GO(task, tgid);
	who->start_ns = TF_GO(plain, group_leader, start_boottime);
	who->followed = who->born_ns = 0;
	who->cgroup_id = tf_cgroup_id(plain, flags);
	tf_copy_comm(who->comm, task);
	who->uid = 0;
	if (tf_judges_more())
		who->uid = TF_GO(plain, real_cred, uid.val);
}

/* The leader's name and user, as the row of a whole process has them, for the gate to judge: `who` was read from the thread that died last. */
static __always_inline void tf_who_is_leader(struct tf_who *who, struct task_struct *leader)
{
	tf_copy_comm(who->comm, leader);
	if (tf_judges_more())
		who->uid = TF_GO(leader, real_cred, uid.val);
}

/* tf_read_who and tf_admit in one: what is refused by kind or process id costs no look at the rest of the task. */
static __always_inline bool tf_admit_task(struct tf_gate *g, struct tf_who *who, struct task_struct *task, __u16 *flags, const __u32 kind)
{
	const bool meta = tf_kind_type(kind) == TF_META;

	if (!tf_admit_pid(g, TF_GO(task, tgid), kind, meta))
		return false;
	tf_read_who(who, task, flags);
	return meta || tf_admit_rest(g, who, kind, tf_kind_lane(kind));
}

/* The subject's part of the header, `who` having been read for the gate already. */
static __always_inline void tf_fill_task(struct tf_header *h, const struct tf_who *who, struct task_struct *task, __u16 flags)
{
	struct task_struct *plain = tf_plain_task(task);
	const struct cred *cred = TF_GO(plain, real_cred);

	h->cgroup_id = who->cgroup_id;
	h->start_ns = who->start_ns;
	h->pid = who->pid;
	h->tid = TF_GO(task, pid);
	h->ppid = TF_GO(plain, real_parent, tgid);
	h->uid = TF_GO(cred, uid.val);
	h->gid = TF_GO(cred, gid.val);
	h->flags = flags;
	((__u64 *)h->comm)[0] = who->comm[0];
	((__u64 *)h->comm)[1] = who->comm[1];
}

/* A record that there was no memory to begin with: seen, and lost. Its subject is the calling task. */
static __always_inline void tf_lose(const __u32 kind)
{
	struct task_struct *task = tf_current();
	struct tf_who who;
	struct tf_gate g;
	__u16 flags;

	if (tf_enabled(kind) && tf_admit_task(&g, &who, task, &flags, kind))
		tf_count(&g, TF_L_K_MAP_FULL);
}

/* Effective capabilities, as bits. */
static __always_inline __u64 tf_cap_bits(const struct cred *cred)
{
	__u64 bits = 0;

	bpf_core_read(&bits, sizeof(bits), &cred->cap_effective);
	return bits;
}

static __always_inline void tf_read_subject(struct tf_subject *s, struct task_struct *task)
{
	struct task_struct *plain = tf_plain_task(task);
	const struct cred *cred = TF_GO(plain, real_cred);
	struct tf_who who;
	__u16 flags;

	tf_read_who(&who, task, &flags);
	s->cgroup_id = who.cgroup_id;
	s->start_ns = who.start_ns;
	s->pid = who.pid;
	s->tid = TF_GO(task, pid);
	s->ppid = TF_GO(plain, real_parent, tgid);
	s->uid = TF_GO(cred, uid.val);
	s->gid = TF_GO(cred, gid.val);
	s->flags = flags;
	s->_pad0 = 0;
	s->comm[0] = who.comm[0];
	s->comm[1] = who.comm[1];
}

static __always_inline void tf_fill_subject(struct tf_header *h, const struct tf_subject *s)
{
	h->cgroup_id = s->cgroup_id;
	h->start_ns = s->start_ns;
	h->pid = s->pid;
	h->tid = s->tid;
	h->ppid = s->ppid;
	h->uid = s->uid;
	h->gid = s->gid;
	h->flags = s->flags;
	((__u64 *)h->comm)[0] = s->comm[0];
	((__u64 *)h->comm)[1] = s->comm[1];
}

#endif
