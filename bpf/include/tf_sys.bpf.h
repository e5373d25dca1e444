/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* System calls: one program on sys_exit, one on sys_enter, and behind them handlers of the domains, called for their numbers only.
 *
 * A domain writes a handler with TF_ON_EXIT or TF_ON_ENTER; csrc/tf_object_specs_<domain>.c says which system calls it is for. A handler
 * never returns early past the macro, so that the next stage's handler is always called. Handlers read arguments by tf_sys_arg, the result
 * from `ret`, and what the entry noted by tf_note_of. */
#ifndef TF_SYS_BPF_H
#define TF_SYS_BPF_H

#include "tf_compat.h"
#include "tf_task.bpf.h"

TF_ARRAY(tf_sys_wants, __u32);

#define TF_PROG_ARRAY(name, entries) \
	struct { \
		__uint(type, BPF_MAP_TYPE_PROG_ARRAY); \
		__uint(max_entries, entries); \
		__type(key, __u32); \
		__type(value, __u32); \
	} name SEC(".maps")
TF_PROG_ARRAY(tf_exit_progs, TF_SYS_STAGES * TF_SYS_MAX);
TF_PROG_ARRAY(tf_enter_progs, TF_SYS_STAGES * TF_SYS_MAX);
TF_PROG_ARRAY(tf_direct_progs, TF_SYS_DIRECT);  /* of sys_exit too, by TF_SYS_FIRST of the call */

TF_TASK_STORE(tf_notes, struct tf_note);

/* Whether the running call came by the 32-bit interface, which has numbers and registers of its own. A matter of the call, not of the
 * program: int 0x80 works from 64-bit code. */
static __always_inline bool tf_is_compat(void)
{
	struct task_struct *task = bpf_get_current_task_btf();

#if defined(__TARGET_ARCH_arm64)
	return TF_GO(task, thread_info.flags) & (1ul << 22); /* TIF_32BIT */
#else
	return TF_GO(task, thread_info.status) & 2; /* TS_COMPAT */
#endif
}

/* The registers of a call, and by which interface it came: asked once, a program reads half a dozen arguments. */
struct tf_regs {
	const struct pt_regs *at;
	__u64 compat;            /* all bits set: by the 32-bit interface; else 0 */
};

/* A mask and no bool: of a bool clang makes branches, and each would be two states to the verifier. */
static __always_inline struct tf_regs tf_regs_of(const void *regs)
{
	struct tf_regs r = { .at = regs, .compat = 0ull - tf_is_compat() };

	tf_unknown(r.compat);
	return r;
}

#if defined(__TARGET_ARCH_arm64)
static __always_inline __u32 tf_sys_nr(const struct tf_regs *regs)
{
	return regs->compat ? TF_SYS_MAX : (__u32)regs->at->syscallno; /* 32-bit numbers are not translated */
}

/* Argument 0 to 5 as it was at the call: the registers still have it at the exit. */
static __always_inline __u64 tf_sys_arg(const struct tf_regs *regs, const int i)
{
	return i == 0 ? regs->at->orig_x0 : regs->at->regs[i];
}

static __always_inline __u32 tf_compat_nr(const struct tf_regs *regs)
{
	return TF_SYS_MAX;
}

static __always_inline __u32 tf_sys_raw(const struct tf_regs *regs)
{
	return (__u32)regs->at->syscallno;
}
#else
static __always_inline __u32 tf_sys_raw(const struct tf_regs *regs)
{
	return (__u32)regs->at->orig_ax;
}

#define TF_COMPAT_NUMBER(theirs, name) [theirs] = TF_NR_##name + 1,
static const __u16 tf_compat_numbers[TF_SYS_MAX] = { TF_COMPAT_CALLS(TF_COMPAT_NUMBER) };
#undef TF_COMPAT_NUMBER

/* The number of a call by the 32-bit interface, as that interface has it; TF_SYS_MAX: it is none. For what the forms of a call differ
 * in. */
static __always_inline __u32 tf_compat_nr(const struct tf_regs *regs)
{
	return regs->compat ? (__u32)regs->at->orig_ax : TF_SYS_MAX;
}

/* Of a 32-bit call. Global: its answer is unknown to the verifier, which would else follow each of its ways through every handler. */
TF_GLOBAL __u32 tf_compat_number(__u32 raw)
{
	if (raw >= TF_COMPAT_SAME)
		return raw < TF_SYS_MAX ? raw : TF_SYS_MAX;
	tf_unknown(raw); /* else clang, which knows better, leaves out the mask that the verifier wants */
	raw = tf_compat_numbers[raw & (TF_SYS_MAX - 1)];
	return raw ? raw - 1 : TF_SYS_MAX;
}

/* The number of the call, whichever interface it came by: of two that do the same it is one. TF_SYS_MAX or more: not one that we know. Native
 * calls cost no call of a function (10 ns). The bit is a number of its own, so that the verifier learns nothing of the mask from it: the two
 * ways are one state again where they meet. */
static __always_inline __u32 tf_sys_nr(const struct tf_regs *regs)
{
	__u32 nr = tf_sys_raw(regs), compat = regs->compat & 1;

	tf_unknown(compat);
	if (compat)
		nr = tf_compat_number(nr);
	tf_unknown(nr);
	return nr;
}

/* One of two, without a branch: three of them would be eight states to the verifier. */
static __always_inline __u64 tf_sys_either(__u64 mask, __u64 native, __u64 compat)
{
	return (native & ~mask) | ((__u32)compat & mask);
}

/* Argument 0 to 5 as it was at the call: the registers still have it at the exit. */
static __always_inline __u64 tf_sys_arg(const struct tf_regs *regs, const int i)
{
	switch (i) {
	case 0: return tf_sys_either(regs->compat, regs->at->di, regs->at->bx);
	case 1: return tf_sys_either(regs->compat, regs->at->si, regs->at->cx);
	case 2: return tf_sys_either(regs->compat, regs->at->dx, regs->at->dx);
	case 3: return tf_sys_either(regs->compat, regs->at->r10, regs->at->si);
	case 4: return tf_sys_either(regs->compat, regs->at->r8, regs->at->di);
	default: return tf_sys_either(regs->compat, regs->at->r9, regs->at->bp);
	}
}
#endif

/* One that the kernel takes as an int: it does not look at the upper 32 bits, in which a caller may leave anything. */
static __always_inline __u32 tf_sys_int(const struct tf_regs *regs, const int i)
{
	return (__u32)tf_sys_arg(regs, i);
}

/* Argument i where it is 64 bits wide: two registers in the 32-bit interface, low half first. */
static __always_inline __u64 tf_sys_wide(const struct tf_regs *regs, const int i)
{
	return tf_sys_arg(regs, i) | (tf_sys_arg(regs, i + 1) << 32 & regs->compat);
}

static __always_inline __u64 tf_regs_ip(const struct tf_regs *regs)
{
#if defined(__TARGET_ARCH_arm64)
	return regs->at->pc;
#else
	return regs->at->ip;
#endif
}

static __always_inline __u64 tf_regs_sp(const struct tf_regs *regs)
{
	return regs->at->sp;
}

/* Argument of a hook with a prototype. Not ctx[i]: the verifier knows that as a pointer to a kernel object, which no global function takes as a
 * number. */
static __always_inline __u64 tf_hook_arg(const __u64 *ctx, const int i)
{
	__u64 value = 0;

	bpf_probe_read_kernel(&value, sizeof(value), ctx + i);
	return value;
}

/* errno of a result, 0 = success. */
static __always_inline __s32 tf_sys_errno(long ret)
{
	return ret < 0 && ret >= -4095 ? (__s32)-ret : 0;
}

static __always_inline __u32 tf_sys_wanted(__u32 nr)
{
	__u32 *wants = nr < TF_SYS_MAX ? bpf_map_lookup_elem(&tf_sys_wants, &nr) : NULL;

	return wants ? *(volatile __u32 *)wants : 0;
}

/* The call is over: its note must not be taken for that of a later call of the same number which seccomp refused (an exit without an
 * entry), or whose entry found no memory. */
static __always_inline void tf_end_note(void)
{
	struct tf_note *note = bpf_task_storage_get(&tf_notes, bpf_get_current_task_btf(), 0, 0);

	if (note)
		note->start_ns = 0;
}

/* The handler of the first wanted stage from `stage` on. Returns only when there is none. `shift`: 0 for exit, 8 for enter. */
static __always_inline void tf_sys_go(void *ctx, void *progs, __u32 nr, __u32 wants, const int shift, const int stage)
{
	__u32 left = ((wants >> shift) & 0xff) >> stage << stage;

	if (!left) {
		if (!shift && wants & TF_SYS_BEFORE)
			tf_end_note();
		return;
	}
	/* Number of the lowest bit set, of 8, without a branch: the verifier would follow each. Three bits of a product tell which it is. */
	left &= -left;
	left = 0x34572610u >> ((left * 0x1d & 0xff) >> 5) * 4 & 7;
	bpf_tail_call(ctx, progs, left * TF_SYS_MAX + nr);
}

/* The note that the entry of this very call left, or NULL. */
static __always_inline struct tf_note *tf_note_of(__u32 nr)
{
	struct tf_note *note;

	if (!(tf_consts.options & TF_O_NOTES))
		return NULL;
	note = bpf_task_storage_get(&tf_notes, bpf_get_current_task_btf(), 0, 0);
	return note && note->nr == nr && note->start_ns ? note : NULL;
}

static __always_inline __u64 tf_sys_duration(const struct tf_note *note, __u64 now)
{
	return note && now > note->start_ns ? now - note->start_ns : 0;
}

static __always_inline void tf_read_cred(struct tf_ids *ids, const struct cred *cred)
{
	ids->caps = tf_cap_bits(cred);
	ids->uid = TF_GO(cred, uid.val);
	ids->euid = TF_GO(cred, euid.val);
	ids->gid = TF_GO(cred, gid.val);
	ids->egid = TF_GO(cred, egid.val);
	ids->fsuid = TF_GO(cred, fsuid.val);
	ids->fsgid = TF_GO(cred, fsgid.val);
}

static __always_inline void tf_read_ids(struct tf_ids *ids, struct task_struct *task)
{
	tf_read_cred(ids, TF_GO(tf_plain_task(task), cred));
}

/* A handler: `static void NAME(regs, ret, nr)` follows the macro, as the body. */
#define TF_ON_EXIT(name, stage) \
	static __always_inline void name##_body(const struct tf_regs *regs, long ret, __u32 nr); \
	SEC("tp_btf/sys_exit") int name(__u64 *ctx) \
	{ \
		const struct tf_regs regs = tf_regs_of((const void *)ctx[0]); \
		const long ret = (long)*(volatile __u64 *)&ctx[1]; /* at once: a pointer into ctx that clang keeps is refused */ \
		__u32 nr = tf_sys_nr(&regs); \
		name##_body(&regs, ret, nr); \
		if ((stage) < TF_SYS_CALL) /* which is the last */ \
			tf_sys_go(ctx, &tf_exit_progs, nr, tf_sys_wanted(nr), 0, (stage) + 1); \
		else if (tf_sys_wanted(nr) & TF_SYS_BEFORE) \
			tf_end_note(); \
		return 0; \
	} \
	static __always_inline void name##_body(const struct tf_regs *regs, long ret, __u32 nr)

/* The same at entry; `note` is the task's, with its time (and ids) already taken; NULL: there was no memory for one. */
#define TF_ON_ENTER(name, stage) \
	static __always_inline void name##_body(const struct tf_regs *regs, struct tf_note *note, __u32 nr); \
	SEC("tp_btf/sys_enter") int name(__u64 *ctx) \
	{ \
		const struct tf_regs regs = tf_regs_of((const void *)ctx[0]); \
		__u32 nr = tf_sys_nr(&regs); \
		name##_body(&regs, tf_note_of(nr), nr); \
		tf_sys_go(ctx, &tf_enter_progs, nr, tf_sys_wanted(nr), 8, (stage) + 1); \
		return 0; \
	} \
	static __always_inline void name##_body(const struct tf_regs *regs, struct tf_note *note, __u32 nr)

#endif
