// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Memory running short: kills for want of it, threads that wait for it, pressure. And what processes do with it: faults, big mappings. */
#include "tf_fault.bpf.h"
#include "tf_rss.bpf.h"
#include "tf_stall.bpf.h"
#include "tf_sys.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

TF_KEEP_BTF(tf_memory)

/* --- OOM kills --- */
static __always_inline void tf_fill_victim(struct tf_memory *e, struct task_struct *victim)
{
	struct mem_cgroup *memcg = tf_memcg_of(victim);
	__u16 ignored = 0;

	e->victim_pid = victim->tgid;
	e->victim_start_ns = victim->group_leader->start_boottime;
	e->rss = tf_rss(victim->mm);
	e->limit = tf_memcg_least(memcg);
	e->object_id = tf_cgroup_id(victim, &ignored);
	e->order = victim->signal->oom_score_adj;
	tf_copy_comm(e->victim_comm, victim);
}

/* `victim` NULL: only its id is known. */
static __always_inline void tf_emit_oom(struct task_struct *victim, __u32 victim_pid)
{
	struct task_struct *task = tf_current();
	struct tf_memory *e;
	struct tf_who who;
	struct tf_gate g;
	__u16 flags;

	if (!tf_admit_task(&g, &who, task, &flags, TF_K_MEMORY_OOM_KILL))
		return;
	e = tf_reserve(&g, TF_K_MEMORY_OOM_KILL, struct tf_memory);
	if (!e)
		return;
	tf_fill_gate(&g, &e->h, TF_K_MEMORY_OOM_KILL);
	tf_fill_task(&e->h, &who, task, victim ? flags : flags | TF_F_PARTIAL);
	tf_clear_memory(e);
	e->victim_pid = victim_pid;
	if (victim)
		tf_fill_victim(e, victim);
	tf_submit(&g, TF_K_MEMORY_OOM_KILL, e);
}

/* Hook: mark_victim, since 4.14, once per process killed for want of memory, while it still has it all. The subject is the task whose
 * allocation found none. The arguments are (task, uid) since 6.8 and in many stable kernels. */
SEC("tp_btf/mark_victim")
int BPF_PROG(tf_memory_oom, struct task_struct *victim)
{
	if (victim)
		tf_emit_oom(tf_plain_task(victim), 0);
	return 0;
}

/* The same where the argument is the victim's thread id: the rest is known only if it killed itself, as most do. */
SEC("tp_btf/mark_victim")
int BPF_PROG(tf_memory_oom_old, int pid)
{
	struct task_struct *task = tf_current();

	if (task->pid == pid)
		tf_emit_oom(task, 0);
	else
		tf_emit_oom(NULL, pid);
	return 0;
}

/* --- stalls (tf_stall.bpf.h) --- */

/* Hook: mm_vmscan_direct_reclaim_begin and _end, since 2.6.37: a thread that needs a page frees some itself. The arguments are (order,
 * gfp) until 6.18, (gfp, order, memcg) in 7.x. */
SEC("tp_btf/mm_vmscan_direct_reclaim_begin")
int BPF_PROG(tf_memory_reclaim_old, int order, __u32 gfp)
{
	tf_note_stall(tf_begin_stall(TF_K_MEMORY_RECLAIM, TF_ST_RECLAIM), order, gfp);
	return 0;
}

SEC("tp_btf/mm_vmscan_direct_reclaim_begin")
int BPF_PROG(tf_memory_reclaim, __u32 gfp, int order)
{
	tf_note_stall(tf_begin_stall(TF_K_MEMORY_RECLAIM, TF_ST_RECLAIM), order, gfp);
	return 0;
}

SEC("tp_btf/mm_vmscan_direct_reclaim_end")
int BPF_PROG(tf_memory_reclaimed, unsigned long nr_reclaimed)
{
	tf_end_stall(TF_K_MEMORY_RECLAIM, TF_ST_RECLAIM, (__u64)nr_reclaimed << TF_PAGE_SHIFT);
	return 0;
}

/* Hook: mm_vmscan_memcg_reclaim_begin and _end, since 2.6.37: the same because a control group is full. Before 7.x the group is not
 * among the arguments: it is looked for. */
SEC("tp_btf/mm_vmscan_memcg_reclaim_begin")
int BPF_PROG(tf_memory_limit_old, int order, __u32 gfp)
{
	struct tf_stall *s = tf_begin_stall(TF_K_MEMORY_LIMIT, TF_ST_LIMIT);

	if (s) {
		s->order = order;
		s->gfp = gfp;
		tf_find_limit(&s->limit, tf_current());
	}
	return 0;
}

SEC("tp_btf/mm_vmscan_memcg_reclaim_begin")
int BPF_PROG(tf_memory_limit, __u32 gfp, int order, struct mem_cgroup *memcg)
{
	struct tf_stall *s = tf_begin_stall(TF_K_MEMORY_LIMIT, TF_ST_LIMIT);

	if (s && memcg) {
		s->order = order;
		s->gfp = gfp;
		s->limit.cgroup_id = tf_memcg_id(memcg);
		s->limit.bytes = tf_memcg_max(memcg) << TF_PAGE_SHIFT;
	}
	return 0;
}

SEC("tp_btf/mm_vmscan_memcg_reclaim_end")
int BPF_PROG(tf_memory_limited, unsigned long nr_reclaimed)
{
	tf_end_stall(TF_K_MEMORY_LIMIT, TF_ST_LIMIT, (__u64)nr_reclaimed << TF_PAGE_SHIFT);
	return 0;
}

/* Hook: mm_compaction_begin and _end, since 3.14, per zone that is compacted, by a thread that waits for a large page (or asked for it).
 * Arguments moved in 5.18: the beginning reads none, the end has two variants. */
SEC("tp_btf/mm_compaction_begin")
int tf_memory_compaction(void *ctx)
{
	tf_begin_stall(TF_K_MEMORY_COMPACTION, TF_ST_COMPACTION);
	return 0;
}

SEC("tp_btf/mm_compaction_end")
int BPF_PROG(tf_memory_compacted, struct compact_control *cc)
{
	struct tf_stall *s = tf_stall_of(tf_current(), TF_ST_COMPACTION);

	if (s) {
		s->order = BPF_CORE_READ(cc, order);
		s->gfp = BPF_CORE_READ(cc, gfp_mask);
	}
	tf_end_stall(TF_K_MEMORY_COMPACTION, TF_ST_COMPACTION, 0);
	return 0;
}

SEC("tp_btf/mm_compaction_end")
int tf_memory_compacted_old(void *ctx)
{
	tf_end_stall(TF_K_MEMORY_COMPACTION, TF_ST_COMPACTION, 0);
	return 0;
}

/* --- pressure --- */

/* Run by user space when a threshold of /proc/pressure/memory (or a control group's memory.pressure) was passed. Nobody is the subject. */
SEC("syscall")
int tf_memory_pressure(struct tf_pressure_args *args)
{
	struct tf_who who = { .cgroup_id = args->cgroup_id };
	const struct tf_subject nobody = { .cgroup_id = args->cgroup_id };
	struct tf_memory *e;
	struct tf_gate g;

	if (!tf_admit(&g, &who, TF_K_MEMORY_PRESSURE))
		return 0;
	e = tf_reserve(&g, TF_K_MEMORY_PRESSURE, struct tf_memory);
	if (!e)
		return 0;
	tf_fill_gate(&g, &e->h, TF_K_MEMORY_PRESSURE);
	tf_fill_subject(&e->h, &nobody);
	e->h.flags = tf_base_flags() | TF_F_NO_OWNER;
	tf_clear_memory(e);
	e->duration_ns = args->stalled_ns;
	e->limit = args->threshold_ns;
	e->object_id = args->cgroup_id;
	tf_submit(&g, TF_K_MEMORY_PRESSURE, e);
	return 0;
}

/* --- page faults --- */

/* Of the thread that ends, which is the calling one. */
static __always_inline void tf_flush_stalls(void)
{
	struct tf_stalls *stalls = bpf_task_storage_get(&tf_stalls, bpf_get_current_task_btf(), 0, 0);

	if (!stalls)
		return;
	if (tf_enabled(TF_K_MEMORY_RECLAIM) && stalls->of[TF_ST_RECLAIM].count)
		tf_flush_stall(&stalls->of[TF_ST_RECLAIM], TF_K_MEMORY_RECLAIM);
	if (tf_enabled(TF_K_MEMORY_LIMIT) && stalls->of[TF_ST_LIMIT].count)
		tf_flush_stall(&stalls->of[TF_ST_LIMIT], TF_K_MEMORY_LIMIT);
	if (tf_enabled(TF_K_MEMORY_COMPACTION) && stalls->of[TF_ST_COMPACTION].count)
		tf_flush_stall(&stalls->of[TF_ST_COMPACTION], TF_K_MEMORY_COMPACTION);
}

/* Hook: sched_process_exit, once per thread: its stalls not yet sent; with the last of a process (argument since 6.16) its faults. */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(tf_memory_exit, struct task_struct *task, bool group_dead)
{
	if (!task)
		return 0;
	task = tf_plain_task(task);
	tf_flush_stalls();
	if (tf_enabled(TF_K_MEMORY_PAGE_FAULT) && group_dead)
		tf_emit_faults(task);
	return 0;
}

/* The same before 6.16. */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(tf_memory_exit_old, struct task_struct *task)
{
	if (!task)
		return 0;
	task = tf_plain_task(task);
	tf_flush_stalls();
	if (tf_enabled(TF_K_MEMORY_PAGE_FAULT) && tf_is_last(&tf_fault_done, task))
		tf_emit_faults(task);
	return 0;
}

/* Hook: handle_mm_fault, every page fault of the machine. Only those that had to read a disk are asked about at the gate. Not the
 * tracepoint exceptions:page_fault_user: it has no end, hence no time. */
SEC("fentry/handle_mm_fault")
int tf_memory_fault(void *ctx)
{
	__u64 *began = bpf_task_storage_get(&tf_fault_began, bpf_get_current_task_btf(), 0, BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (began)
		*began = bpf_ktime_get_boot_ns();
	return 0;
}

SEC("fexit/handle_mm_fault")
int BPF_PROG(tf_memory_faulted, void *vma, unsigned long address, unsigned int how, void *regs, unsigned int ret)
{
	struct task_struct *task = tf_current();
	struct tf_process_key key;
	__u64 *began, *waited, took;
	struct tf_who who;
	struct tf_gate g;
	__u16 flags;

	if (!(ret & TF_VM_FAULT_MAJOR))
		return 0;
	tf_read_who(&who, task, &flags);
	began = bpf_task_storage_get(&tf_fault_began, bpf_get_current_task_btf(), 0, 0);
	if ((began && !*began) || !tf_admit(&g, &who, TF_K_MEMORY_PAGE_FAULT)) /* it began before we were attached */
		return 0;
	if (!began) {
		tf_count(&g, TF_L_K_MAP_FULL);
		return 0;
	}
	took = bpf_ktime_get_boot_ns() - *began;
	*began = 0;
	tf_key_of(&key, task);
	waited = bpf_map_lookup_elem(&tf_fault_ns, &key);
	if (waited)
		tf_add(waited, took);
	tf_count(&g, waited || !bpf_map_update_elem(&tf_fault_ns, &key, &took, BPF_NOEXIST) ? TF_L_K_AGGREGATED : TF_L_K_MAP_FULL);
	return 0;
}

/* --- mappings --- */

enum { TF_NOTE_BREAK };                 /* tf_note.memory[]: the break before the call */

struct tf_mapping {
	__u64 address;
	__u64 size;
	__u32 prot;
	__u32 flags;
	__u32 kind;
	__s32 errno_;
};

/* What one of the calls did or tried: by its arguments, in registers, which no other thread can change. False: nothing of ours. */
static __always_inline bool tf_read_mapping(struct tf_mapping *m, const struct tf_regs *regs, long ret, __u32 nr)
{
	m->address = tf_sys_arg(regs, 0);
	m->size = tf_sys_arg(regs, 1);
	m->prot = m->flags = 0;
	switch ((int)nr) {
	case TF_NR_mmap:
		m->kind = TF_K_MEMORY_MMAP;
		m->prot = tf_sys_arg(regs, 2);
		m->flags = tf_sys_arg(regs, 3);
		break;
	case TF_NR_mremap: /* a mapping that grows is as good as a new one */
		if (tf_sys_arg(regs, 2) <= m->size)
			return false;
		m->kind = TF_K_MEMORY_MMAP;
		m->size = tf_sys_arg(regs, 2);
		break;
	case TF_NR_munmap:
		m->kind = TF_K_MEMORY_MUNMAP;
		return true;
	case TF_NR_mprotect:
	case TF_NR_pkey_mprotect:
		m->kind = TF_K_MEMORY_MPROTECT;
		m->prot = tf_sys_arg(regs, 2);
		return true;
	default:
		return false;
	}
	if (!tf_sys_errno(ret))
		m->address = ret;
	return true;
}

/* brk(2) answers with the break, also when it refuses to move it. Growth only: from the old break to the one asked for. */
static __always_inline bool tf_read_brk(struct tf_mapping *m, const struct tf_regs *regs)
{
	const struct tf_note *note = tf_note_of(TF_NR_brk);
	__u64 wanted = tf_sys_arg(regs, 0);

	if (!note || wanted <= note->memory[TF_NOTE_BREAK])
		return false;
	m->kind = TF_K_MEMORY_BRK;
	m->address = note->memory[TF_NOTE_BREAK];
	m->size = wanted - m->address;
	m->prot = m->flags = 0;
	return true;
}

_Static_assert(TF_K_MEMORY_BRK == TF_K_MEMORY_MMAP + 3, "one range");

TF_ON_ENTER(tf_memory_break, TF_SYS_MEMORY)
{
	if (note)
		note->memory[TF_NOTE_BREAK] = BPF_CORE_READ(tf_current(), mm, brk);
}

/* Global: checked once, not in each state that a call leads to. */
TF_GLOBAL int tf_send_mapping(struct tf_mapping *m)
{
	struct task_struct *task = tf_current();
	struct tf_memory *e;
	struct tf_who who;
	struct tf_gate g;
	__u16 flags;
	__u32 kind;

	if (!m)
		return 0;
	kind = m->kind;
	if (m->size < tf_consts.threshold_bytes || kind < TF_K_MEMORY_MMAP || kind > TF_K_MEMORY_BRK)
		return 0;
	if (!tf_admit_task(&g, &who, task, &flags, kind))
		return 0;
	e = tf_reserve(&g, kind, struct tf_memory);
	if (!e)
		return 0;
	tf_fill_gate(&g, &e->h, kind);
	tf_fill_task(&e->h, &who, task, flags);
	tf_clear_memory(e);
	e->address = m->address;
	e->size = m->size;
	e->prot = m->prot;
	e->map_flags = m->flags;
	e->errno_ = m->errno_;
	tf_submit(&g, kind, e);
	return 0;
}

static __always_inline bool tf_wants_mapping(__u32 kind)
{
	return kind == TF_K_MEMORY_MMAP ? tf_enabled(TF_K_MEMORY_MMAP) : kind == TF_K_MEMORY_MUNMAP ? tf_enabled(TF_K_MEMORY_MUNMAP) :
	       kind == TF_K_MEMORY_MPROTECT ? tf_enabled(TF_K_MEMORY_MPROTECT) : tf_enabled(TF_K_MEMORY_BRK);
}

/* One program for all of these calls: the verifier checks it once. */
TF_ON_EXIT(tf_memory_map, TF_SYS_MEMORY)
{
	const bool is_brk = (int)nr == TF_NR_brk;
	struct tf_mapping m = {};

	if (is_brk ? !tf_read_brk(&m, regs) : !tf_read_mapping(&m, regs, ret, nr))
		return;
	m.errno_ = is_brk ? (__u64)ret < m.address + m.size ? TF_ENOMEM : 0 : tf_sys_errno(ret);
	if (tf_wants_mapping(m.kind))
		tf_send_mapping(&m);
}
