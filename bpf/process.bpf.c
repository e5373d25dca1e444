// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Processes: fork, exec, exit, rename, signal. One record per process for fork and exit: threads are not reported. */
#include "tf_args.bpf.h"
#include "tf_last.bpf.h"
#include "tf_path.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

TF_KEEP_BTF(tf_process)

TF_ENDED(tf_exited);    /* for tf_process_exit_old only */

static __always_inline void tf_clear_process(struct tf_process *e)
{
	__builtin_memset(&e->parent_start_ns, 0, sizeof(*e) - sizeof(e->h));
}

/* A rename's row with room for the name: written whole, whatever its length. */
struct tf_rename_row {
	struct tf_process row;
	char name[TF_COMM_LEN];
};

/* A child of a followed process is followed, in the same sets of roots. */
static __always_inline void tf_follow_child(struct tf_who *parent, struct tf_who *child)
{
	struct tf_followed *of_parent = bpf_map_lookup_elem(&tf_follow, &parent->pid), fresh;
	__u32 cpu = bpf_get_smp_processor_id();
	struct tf_cpu_state *state;

	if (!of_parent || (of_parent->start_ns && of_parent->start_ns != parent->start_ns))
		return;
	fresh.start_ns = child->start_ns;
	fresh.set[0] = of_parent->set[0];
	fresh.set[1] = of_parent->set[1];
	if (!bpf_map_update_elem(&tf_follow, &child->pid, &fresh, BPF_ANY))
		return;
	state = bpf_map_lookup_elem(&tf_cpus, &cpu);
	if (state)
		tf_add(&state->follow_full, 1);
}

/* Hook: sched_process_fork, since 2.6.28, once per clone(), in the parent's context, when the child is complete but has not run yet:
 * so its record comes before any other record of it. Not task_newtask: the parent is not among its arguments. */
SEC("tp_btf/sched_process_fork")
int BPF_PROG(tf_process_fork, struct task_struct *parent, struct task_struct *child)
{
	struct tf_who who, from;
	struct tf_process *e;
	struct tf_gate g;
	__u16 flags;

	if (!parent || !child || child->pid != child->tgid)
		return 0;
	tf_read_who(&from, parent, &flags);
	tf_read_who(&who, child, &flags);
	tf_follow_child(&from, &who);
	if (!tf_enabled(TF_K_PROCESS_FORK) || !tf_admit(&g, &who, TF_K_PROCESS_FORK)) /* here for the rules only: nothing is seen */
		return 0;
	e = tf_reserve(&g, TF_K_PROCESS_FORK, struct tf_process);
	if (!e)
		return 0;
	tf_fill_gate(&g, &e->h, TF_K_PROCESS_FORK);
	tf_fill_task(&e->h, &who, child, flags);
	tf_clear_process(e);
	e->h.ppid = from.pid; /* who forked, also where CLONE_PARENT names another parent */
	e->parent_start_ns = from.start_ns;
	e->target_pid = who.pid;
	tf_submit(&g, TF_K_PROCESS_FORK, e);
	return 0;
}

/* argv as the kernel has just copied it to the new stack: the program has not run yet, so unlike at sys_enter nobody could have changed
 * it since the kernel looked (save another process by process_vm_writev or ptrace). Returns header flags. */
static __always_inline __u16 tf_read_args(struct tf_slot *slot, struct task_struct *task, __u32 offset, struct tf_text *text)
{
	__u64 start;
	__u16 flags = 0;
	__u32 len, head;

	text->offset = offset;
	text->len = 0;
	len = tf_measure_args(tf_plain_task(task)->mm, text, &start, &flags);
	if (!len || offset > 2 * TF_PATH_CAP)
		return flags;
	if (!bpf_probe_read_user(slot->data + 184 + offset, len, (void *)start)) {
		text->len = len;
		return flags;
	}
	head = 4096 - (start & 4095); /* a page of it is gone: what lies on the first one, if that is there */
	if (head < len && head <= TF_ARGS_CAP && !bpf_probe_read_user(slot->data + 184 + offset, head, (void *)start))
		text->len = head;
	return flags | TF_F_PARTIAL;
}

/* Hook: sched_process_exec, since 3.4, once per successful exec, in the context of the process, when the new program is in place.
 * Not sys_enter_execve: it sees failures, but only what user memory claims. */
SEC("tp_btf/sched_process_exec")
int BPF_PROG(tf_process_exec, struct task_struct *task, int old_pid, struct linux_binprm *bprm)
{
	struct file *file = NULL;
	struct tf_process *e;
	struct tf_slot *slot;
	struct tf_who who;
	struct tf_gate g;
	__u32 tail;
	__u16 flags;

	if (!task || !bprm)
		return 0;
	if (!tf_admit_task(&g, &who, task, &flags, TF_K_PROCESS_EXEC))
		return 0;
	slot = tf_claim(&g);
	if (!slot)
		return 0;
	e = (struct tf_process *)slot->data;
	tf_fill_gate(&g, &e->h, TF_K_PROCESS_EXEC);
	tf_fill_task(&e->h, &who, task, flags);
	tf_clear_process(e);
	e->parent_start_ns = tf_plain_task(task)->real_parent->group_leader->start_boottime;
	e->target_pid = old_pid;
	bpf_core_read(&file, sizeof(file), &bprm->file); /* not as a trusted pointer: see tf_plain_task */
	tf_read_inode(file, &e->exe_inode, &e->exe_device);
	flags |= tf_read_path(slot, tf_file_path(file), 0, &e->exe);
	tail = e->exe.len;
	flags |= tf_read_path(slot, tf_cwd_path(task), tail, &e->cwd);
	tail += e->cwd.len;
	flags |= tf_read_args(slot, task, tail, &e->args);
	e->h.flags = flags;
	tail += e->args.len;
	tf_output(&g, TF_K_PROCESS_EXEC, slot, sizeof(*e) + tail);
	return 0;
}

/* The status that wait(2) will report. */
static __always_inline void tf_fill_status(struct tf_process *e, struct task_struct *task)
{
	struct task_struct *plain = tf_plain_task(task);
	struct signal_struct *signal = plain->signal;
	int status = signal->flags & SIGNAL_GROUP_EXIT ? signal->group_exit_code : plain->group_leader->exit_code;

	e->exit_code = (status >> 8) & 0xff;
	e->signal = status & 0x7f;
}

static __always_inline void tf_emit_exit(struct task_struct *task)
{
	struct task_struct *leader = tf_plain_task(task)->group_leader;
	struct tf_process *e;
	struct tf_who who;
	struct tf_gate g;
	__u16 flags;

	tf_read_who(&who, task, &flags);
	tf_who_is_leader(&who, leader);
	if (tf_admit(&g, &who, TF_K_PROCESS_EXIT)) {
		e = tf_reserve(&g, TF_K_PROCESS_EXIT, struct tf_process);
		if (e) {
			tf_fill_gate(&g, &e->h, TF_K_PROCESS_EXIT);
			tf_fill_task(&e->h, &who, leader, flags);
			tf_clear_process(e);
			e->parent_start_ns = tf_plain_task(task)->group_leader->real_parent->group_leader->start_boottime;
			e->duration_ns = e->h.ts_ns > who.start_ns ? e->h.ts_ns - who.start_ns : 0;
			tf_fill_status(e, task);
			tf_submit(&g, TF_K_PROCESS_EXIT, e);
		}
	}
}

/* Hook: sched_process_free, when nothing more can be heard of the process: other programs at sched_process_exit and what the kernel does
 * for it afterwards still find it followed. Not at the exit: their order is not ours to choose. */
SEC("tp_btf/sched_process_free")
int BPF_PROG(tf_process_free, struct task_struct *task)
{
	struct tf_followed *f;
	__u32 pid;

	if (!task || task->pid != task->tgid)
		return 0;
	pid = task->tgid;
	f = bpf_map_lookup_elem(&tf_follow, &pid);
	if (f && f->start_ns == task->start_boottime) /* else the id has been given away already */
		bpf_map_delete_elem(&tf_follow, &pid);
	return 0;
}

/* Hook: sched_process_exit, once per thread; we report the last of a process, when its status is settled. The argument is there since
 * 6.16. tid and comm are the leader's, whichever thread died last. */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(tf_process_exit, struct task_struct *task, bool group_dead)
{
	if (task && group_dead)
		tf_emit_exit(task);
	return 0;
}

/* The same for kernels before 6.16. */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(tf_process_exit_old, struct task_struct *task)
{
	if (task && tf_is_last(&tf_exited, tf_plain_task(task)))
		tf_emit_exit(task);
	return 0;
}

/* Cuts a word behind its last byte before a NUL; how many bytes that leaves. */
static __always_inline __u32 tf_cut_word(__u64 *word)
{
	const __u64 ones = 0x0101010101010101ull;
	__u64 ends = (*word - ones) & ~*word & ones << 7, kept; /* lowest bit set: of the first NUL */

	if (!ends)
		return 8;
	kept = (ends & -ends) - 1; /* bits below that one: seven too many */
	*word &= kept >> 7;
	return ((kept >> 7 & ones) * ones) >> 56;
}

/* A name of at most 15 bytes and a NUL, by words: the helper for strings costs 25 ns. It is called where a word is empty: the name may end
 * there, or the memory, at the end of a page. */
static __always_inline __u32 tf_read_name(char *to, __u64 name)
{
	__u64 low = tf_word(name), high = 0, *words = (__u64 *)to;
	__u32 len = tf_cut_word(&low);
	long n;

	if (len == 8) {
		high = tf_word(name + 8) & ~0ull >> 8;
		len += tf_cut_word(&high);
	}
	words[0] = low;
	words[1] = high;
	if (low && (high || len < 8))
		return len;
	words[0] = words[1] = 0;
	n = bpf_probe_read_kernel_str(to, TF_COMM_LEN, (void *)name); /* with the NUL */
	return n > 0 ? n - 1 : 0;
}

/* Hook: task_rename, since 3.4: prctl(PR_SET_NAME), writes to /proc/PID/comm, and every exec. The exec's own is left out: its record
 * says it. The subject is the renamed thread, with its old name. */
SEC("tp_btf/task_rename")
int BPF_PROG(tf_process_rename, struct task_struct *task, const char *comm)
{
	struct tf_rename_row *r;
	struct tf_process *e;
	struct tf_who who;
	struct tf_gate g;
	__u16 flags;

	if (!task || !comm)
		return 0;
	if (bpf_core_field_exists(task->in_execve) && BPF_CORE_READ_BITFIELD(task, in_execve))
		return 0;
	if (!tf_admit_task(&g, &who, task, &flags, TF_K_PROCESS_RENAME))
		return 0;
	r = tf_reserve(&g, TF_K_PROCESS_RENAME, struct tf_rename_row);
	if (!r)
		return 0;
	e = &r->row;
	tf_fill_gate(&g, &e->h, TF_K_PROCESS_RENAME);
	tf_fill_task(&e->h, &who, task, flags);
	tf_clear_process(e);
	e->target_pid = who.pid;
	e->args.len = e->args.full_len = tf_read_name(r->name, (__u64)comm);
	tf_submit(&g, TF_K_PROCESS_RENAME, r);
	return 0;
}

enum { TF_SENT_BY_USER, TF_SENT_BY_KERNEL, TF_SENT_UNSURE };

/* info: 0 = a process (no details), 1 = the kernel, else a pointer. Positive codes are the kernel's alone; timers, SIGIO and async I/O
 * have negative codes although current is whoever was interrupted, and rt_sigqueueinfo(2) lets a process claim the same codes. */
static __always_inline int tf_signal_sender(struct kernel_siginfo *info)
{
	int code = 0;

	if ((__u64)info <= 1)
		return (__u64)info ? TF_SENT_BY_KERNEL : TF_SENT_BY_USER;
	bpf_core_read(&code, sizeof(code), &info->si_code);
	if (code > 0)
		return TF_SENT_BY_KERNEL;
	return code == -2 || code == -4 || code == -5 || code == -60 ? TF_SENT_UNSURE : TF_SENT_BY_USER;
}

/* Hook: signal_generate, since 2.6.33: every signal made, in the sender's context; only those that were queued (result 0: not ignored,
 * not already pending). The subject is the sender, or the target where the kernel sent it. */
SEC("tp_btf/signal_generate")
int BPF_PROG(tf_process_signal, int sig, struct kernel_siginfo *info, struct task_struct *task, int group, int result)
{
	struct task_struct *subject;
	struct tf_process *e;
	struct tf_who who;
	struct tf_gate g;
	__u16 flags;
	int sender;

	if (!task || result)
		return 0;
	sender = tf_signal_sender(info);
	subject = sender == TF_SENT_BY_USER ? tf_current() : task;
	tf_read_who(&who, subject, &flags);
	if (sender != TF_SENT_BY_USER)
		flags |= TF_F_KERNEL_SENDER;
	if (sender == TF_SENT_UNSURE)
		flags |= TF_F_USER_CLAIMED;
	if (!tf_admit(&g, &who, TF_K_PROCESS_SIGNAL))
		return 0;
	e = tf_reserve(&g, TF_K_PROCESS_SIGNAL, struct tf_process);
	if (!e)
		return 0;
	tf_fill_gate(&g, &e->h, TF_K_PROCESS_SIGNAL);
	tf_fill_task(&e->h, &who, subject, flags);
	tf_clear_process(e);
	e->signal = sig;
	e->target_pid = task->tgid;
	tf_submit(&g, TF_K_PROCESS_SIGNAL, e);
	return 0;
}
