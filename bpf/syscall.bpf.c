// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* The two programs that every system call of the machine runs through while a domain wants one: they look up the number and go. And the
 * syscall domain itself: one record per call that the user asked for. */
#include "tf_sys.bpf.h"
#include "tf_sysargs.bpf.h"

#define TF_X32_BIT 0x40000000u /* uapi/asm/unistd.h */

char LICENSE[] SEC("license") = "Dual BSD/GPL";

TF_KEEP_BTF(tf_syscall)

/* A call of the 32-bit interface without a counterpart, or of x32 (the bit in its number): nobody looks at it, but that it was made is
 * known. */
static __always_inline void tf_note_foreign(const struct tf_regs *regs)
{
	__u32 cpu = bpf_get_smp_processor_id(), raw = tf_sys_raw(regs);
	struct tf_cpu_state *state;

	if (raw == TF_NR_NONE || (!regs->compat && !(raw & TF_X32_BIT)))
		return; /* what a handler of signals returns by, or a number that is nobody's */
	state = bpf_map_lookup_elem(&tf_cpus, &cpu);
	if (state)
		tf_add(&state->foreign_calls, 1);
}

/* To the first handler, without returning where it is known by a place in tf_direct_progs: the kernel writes a jump to a constant place into
 * our code, where one to a place that only the run tells goes through a retpoline (50 ns of what a row costs). */
static __always_inline void tf_sys_go_direct(__u64 *ctx, __u32 place)
{
#define TF_TO(n) case n: bpf_tail_call_static(ctx, &tf_direct_progs, n); break;
	switch (place) {
	TF_TO(1) TF_TO(2) TF_TO(3) TF_TO(4) TF_TO(5) TF_TO(6) TF_TO(7) TF_TO(8) TF_TO(9) TF_TO(10) TF_TO(11) TF_TO(12) TF_TO(13) TF_TO(14)
	TF_TO(15) TF_TO(16) TF_TO(17) TF_TO(18) TF_TO(19) TF_TO(20) TF_TO(21) TF_TO(22) TF_TO(23) TF_TO(24) TF_TO(25) TF_TO(26) TF_TO(27)
	TF_TO(28) TF_TO(29) TF_TO(30) TF_TO(31)
	}
#undef TF_TO
	_Static_assert(TF_SYS_DIRECT == 32, "a case for each place");
}

/* Hook: sys_exit, since 2.6.28, at the end of every system call of every process: so the first thing is one array lookup. */
SEC("tp_btf/sys_exit")
int tf_sys_exit(__u64 *ctx)
{
	const struct tf_regs regs = tf_regs_of((const void *)ctx[0]);
	__u32 nr = tf_sys_nr(&regs), wants = tf_sys_wanted(nr);

	if (nr >= TF_SYS_MAX)
		tf_note_foreign(&regs);
	if (!(wants & 0xff))
		return 0;
	tf_sys_go_direct(ctx, TF_SYS_FIRST(wants));
	tf_sys_go(ctx, &tf_exit_progs, nr, wants, 0, 0);
	return 0;
}

/* Hook: sys_enter, attached only while a wanted call needs its duration or the state before it. */
SEC("tp_btf/sys_enter")
int tf_sys_enter(__u64 *ctx)
{
	const struct tf_regs regs = tf_regs_of((const void *)ctx[0]);
	__u32 nr = tf_sys_nr(&regs), wants = tf_sys_wanted(nr);
	struct task_struct *task;
	struct tf_note *note;

	if (!(wants & TF_SYS_BEFORE))
		return 0;
	task = tf_current();
	note = bpf_task_storage_get(&tf_notes, bpf_get_current_task_btf(), 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (note) { /* else no memory: the exit reports the call without what the entry would have told */
		note->nr = nr;
		note->start_ns = bpf_ktime_get_boot_ns();
		if (wants & TF_SYS_NOTED)
			tf_read_ids(&note->ids, task);
	}
	tf_sys_go(ctx, &tf_enter_progs, nr, wants, 8, 0);
	return 0;
}

/* The path argument of a call, 0 = it has none, or gave none. */
static __always_inline __u64 tf_path_arg(const struct tf_regs *regs, __u32 nr)
{
	__u32 place = nr < TF_SYS_MAX ? nr : TF_SYS_MAX - 1; /* the last number is no call's */

	tf_unknown(place);
	switch (tf_path_places[place & (TF_SYS_MAX - 1)]) {
	case 1: return tf_sys_arg(regs, 0);
	case 2: return tf_sys_arg(regs, 1);
	case 5: return (tf_sys_arg(regs, 4) & ~regs->compat) | (tf_sys_arg(regs, 5) & regs->compat); /* behind a 64-bit mask: two of 32 */
	default: return 0;
	}
}

static __always_inline void tf_fill_call(struct tf_syscall *e, const struct tf_regs *regs, long ret, __u32 nr, struct task_struct *task)
{
	for (int i = 0; i < 6; i++)
		e->args[i] = tf_sys_arg(regs, i);
	e->ret = ret;
	e->duration_ns = tf_sys_duration(tf_note_of(nr), e->h.ts_ns);
	e->ip = tf_regs_ip(regs);
	e->sp = tf_regs_sp(regs);
	e->nr = nr;
	e->errno_ = tf_sys_errno(ret);
	e->h.flags |= TF_F_COMPAT & regs->compat;
	e->path.offset = e->path.len = e->path.full_len = 0;
	e->_pad0 = 0;
}

/* As user memory has it now that the call is over: another thread may have changed it since the kernel looked. Returns header flags. */
static __always_inline __u16 tf_claim_path(struct tf_slot *slot, struct tf_text *text, __u64 address)
{
	__u32 cap = tf_consts.path_max;
	long n;

	if (cap > TF_PATH_CAP)
		cap = TF_PATH_CAP;
	n = tf_user_str(slot->data + 184, cap, (void *)address); /* with the NUL */
	if (n <= 0 || n > TF_PATH_CAP)
		return TF_F_PARTIAL; /* its page is not there (any more) */
	text->len = n - 1;
	text->full_len = n - 1;
	if (n < cap)
		return TF_F_USER_CLAIMED;
	text->full_len = n; /* at least one more byte, or none: only the call knows */
	return TF_F_USER_CLAIMED | TF_F_TRUNCATED;
}

static __always_inline void tf_emit_with_path(struct tf_gate *g, struct tf_who *who, const struct tf_regs *regs, long ret, __u32 nr, __u16 flags)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct tf_slot *slot = tf_claim(g);
	struct tf_syscall *e;
	__u32 len;

	if (!slot)
		return;
	e = (struct tf_syscall *)slot->data;
	tf_fill_gate(g, &e->h, TF_K_SYSCALL_CALL);
	tf_fill_task(&e->h, who, task, flags);
	tf_fill_call(e, regs, ret, nr, task);
	e->h.flags |= tf_claim_path(slot, &e->path, tf_path_arg(regs, nr));
	len = e->path.len;
	tf_output(g, TF_K_SYSCALL_CALL, slot, sizeof(*e) + (len & (2 * TF_PATH_CAP - 1)));
}

/* Any call that the user listed (programs.process.monitor_syscalls). */
TF_ON_EXIT(tf_syscall_call, TF_SYS_CALL)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct tf_syscall *e;
	struct tf_who who;
	struct tf_gate g;
	__u16 flags;

	if (!tf_admit_pid(&g, TF_GO(task, tgid), TF_K_SYSCALL_CALL, false) || !tf_admit_number(&g, TF_D_NR, nr))
		return;
	tf_read_who(&who, task, &flags);
	if (!tf_admit_rest(&g, &who, TF_K_SYSCALL_CALL, TF_BULK))
		return;
	if (tf_path_arg(regs, nr)) {
		tf_emit_with_path(&g, &who, regs, ret, nr, flags);
		return;
	}
	e = tf_reserve(&g, TF_K_SYSCALL_CALL, struct tf_syscall);
	if (!e)
		return;
	tf_fill_gate(&g, &e->h, TF_K_SYSCALL_CALL);
	tf_fill_task(&e->h, &who, task, flags);
	tf_fill_call(e, regs, ret, nr, task);
	tf_submit(&g, TF_K_SYSCALL_CALL, e);
}
