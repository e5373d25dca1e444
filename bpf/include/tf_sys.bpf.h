/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* System calls: one program on sys_exit, one on sys_enter, and behind them handlers of the domains, called for their numbers only.
 *
 * A domain writes a handler with TF_ON_EXIT or TF_ON_ENTER; csrc/tf_object_specs_<domain>.c says which system calls it is for. A handler
 * never returns early past the macro, so that the next stage's handler is always called. Handlers read arguments by tf_sys_arg, the result
 * from `ret`, and what the entry noted by tf_note_of. */
#ifndef TF_SYS_BPF_H
#define TF_SYS_BPF_H

#include "tf_task.bpf.h"

TF_ARRAY(tf_sys_wants, __u32);

#define TF_PROG_ARRAY(name) \
	struct { \
		__uint(type, BPF_MAP_TYPE_PROG_ARRAY); \
		__uint(max_entries, TF_SYS_STAGES * TF_SYS_MAX); \
		__type(key, __u32); \
		__type(value, __u32); \
	} name SEC(".maps")
TF_PROG_ARRAY(tf_exit_progs);
TF_PROG_ARRAY(tf_enter_progs);

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct tf_note);
} tf_notes SEC(".maps");

static __always_inline __u32 tf_sys_nr(const struct pt_regs *regs)
{
#if defined(__TARGET_ARCH_arm64)
	return (__u32)regs->syscallno;
#else
	return (__u32)regs->orig_ax;
#endif
}

/* Argument 0 to 5 as it was at the call: the registers still have it at the exit. */
static __always_inline __u64 tf_sys_arg(const struct pt_regs *regs, const int i)
{
#if defined(__TARGET_ARCH_arm64)
	return i == 0 ? regs->orig_x0 : regs->regs[i];
#else
	switch (i) {
	case 0: return regs->di;
	case 1: return regs->si;
	case 2: return regs->dx;
	case 3: return regs->r10;
	case 4: return regs->r8;
	default: return regs->r9;
	}
#endif
}

static __always_inline __u64 tf_regs_ip(const struct pt_regs *regs)
{
#if defined(__TARGET_ARCH_arm64)
	return regs->pc;
#else
	return regs->ip;
#endif
}

static __always_inline __u64 tf_regs_sp(const struct pt_regs *regs)
{
	return regs->sp;
}

/* errno of a result, 0 = success. */
static __always_inline __s32 tf_sys_errno(long ret)
{
	return ret < 0 && ret >= -4095 ? (__s32)-ret : 0;
}

/* 32-bit callers have numbers of their own: not covered. */
static __always_inline bool tf_is_compat(void)
{
	struct task_struct *task = tf_current();

#if defined(__TARGET_ARCH_arm64)
	return task->thread_info.flags & (1ul << 22); /* TIF_32BIT */
#else
	return task->thread_info.status & 2; /* TS_COMPAT */
#endif
}

static __always_inline __u32 tf_sys_wanted(__u32 nr)
{
	__u32 *wants = nr < TF_SYS_MAX ? bpf_map_lookup_elem(&tf_sys_wants, &nr) : NULL;

	return wants ? *(volatile __u32 *)wants : 0;
}

/* The handler of the first wanted stage from `stage` on. Returns only when there is none. `shift`: 0 for exit, 8 for enter. */
static __always_inline void tf_sys_go(void *ctx, void *progs, __u32 nr, __u32 wants, const int shift, const int stage)
{
	__u32 left = ((wants >> shift) & 0xff) >> stage << stage;

	if (!left)
		return;
	/* lowest bit set, without a loop: 8 stages */
	left &= -left;
	bpf_tail_call(ctx, progs, (left >= 16 ? 4 + (left >= 32) + (left >= 64) + (left >= 128) :
						(left >= 2) + (left >= 4) + (left >= 8)) * TF_SYS_MAX + nr);
}

/* The note that the entry of this very call left, or NULL. */
static __always_inline struct tf_note *tf_note_of(__u32 nr)
{
	struct tf_note *note = bpf_task_storage_get(&tf_notes, bpf_get_current_task_btf(), 0, 0);

	return note && note->nr == nr && note->start_ns ? note : NULL;
}

static __always_inline __u64 tf_sys_duration(const struct tf_note *note, __u64 now)
{
	return note && now > note->start_ns ? now - note->start_ns : 0;
}

static __always_inline void tf_read_cred(struct tf_ids *ids, const struct cred *cred)
{
	ids->caps = tf_cap_bits(cred);
	ids->uid = cred->uid.val;
	ids->euid = cred->euid.val;
	ids->gid = cred->gid.val;
	ids->egid = cred->egid.val;
	ids->fsuid = cred->fsuid.val;
	ids->fsgid = cred->fsgid.val;
}

static __always_inline void tf_read_ids(struct tf_ids *ids, struct task_struct *task)
{
	tf_read_cred(ids, tf_plain_task(task)->cred);
}

/* A handler: `static void NAME(regs, ret, nr)` follows the macro, as the body. */
#define TF_ON_EXIT(name, stage) \
	static __always_inline void name##_body(struct pt_regs *regs, long ret, __u32 nr); \
	SEC("tp_btf/sys_exit") int name(__u64 *ctx) \
	{ \
		struct pt_regs *regs = (struct pt_regs *)ctx[0]; \
		__u32 nr = tf_sys_nr(regs); \
		name##_body(regs, (long)ctx[1], nr); \
		tf_sys_go(ctx, &tf_exit_progs, nr, tf_sys_wanted(nr), 0, (stage) + 1); \
		return 0; \
	} \
	static __always_inline void name##_body(struct pt_regs *regs, long ret, __u32 nr)

/* The same at entry; `note` is the task's, with its time (and ids) already taken. */
#define TF_ON_ENTER(name, stage) \
	static __always_inline void name##_body(struct pt_regs *regs, struct tf_note *note, __u32 nr); \
	SEC("tp_btf/sys_enter") int name(__u64 *ctx) \
	{ \
		struct pt_regs *regs = (struct pt_regs *)ctx[0]; \
		__u32 nr = (__u32)ctx[1]; \
		struct tf_note *note = tf_note_of(nr); \
		if (note) \
			name##_body(regs, note, nr); \
		tf_sys_go(ctx, &tf_enter_progs, nr, tf_sys_wanted(nr), 8, (stage) + 1); \
		return 0; \
	} \
	static __always_inline void name##_body(struct pt_regs *regs, struct tf_note *note, __u32 nr)

#endif
