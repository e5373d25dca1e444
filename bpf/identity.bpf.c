// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Changes of identity: set*uid, set*gid, setgroups, capset, of the calling thread (Linux keeps credentials per thread; glibc makes the
 * call in every thread of a process, and each of these is a record).
 *
 * A record is a call that did what it was asked for. One that failed changed nothing: it is security.access_denied's. setfsuid and
 * setfsgid do not tell whether they failed: only those that changed the id are recorded. */
#include "tf_sys.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

TF_KEEP_BTF(tf_process)

#define TF_NO_ID 0xffffffffu /* (uid_t)-1 is nobody's */

/* setfsuid, setfsgid: the rows tell the file system ids, all others the effective ones. */
static __always_inline bool tf_is_fs_call(__u32 nr)
{
	return nr == TF_NR_setfsuid || nr == TF_NR_setfsgid;
}

static __always_inline void tf_fill_ids(struct tf_process *e, const struct tf_ids *old, const struct tf_ids *now, const bool fs)
{
	__builtin_memset(&e->parent_start_ns, 0, sizeof(*e) - sizeof(e->h));
	e->old_caps = old ? old->caps : 0;
	e->new_caps = now->caps;
	e->old_uid = !old ? TF_NO_ID : fs ? old->fsuid : old->euid;
	e->old_gid = !old ? TF_NO_ID : fs ? old->fsgid : old->egid;
	e->new_uid = fs ? now->fsuid : now->euid;
	e->new_gid = fs ? now->fsgid : now->egid;
}

_Static_assert(TF_K_PROCESS_CAPSET == TF_K_PROCESS_SETUID + 2, "one range");

/* Global: its answer is unknown to the verifier, which would else follow each kind to the end. */
__noinline int tf_kind_of_call(__u32 nr)
{
	switch ((int)nr) {
	case TF_NR_setuid:
	case TF_NR_setreuid:
	case TF_NR_setresuid:
	case TF_NR_setfsuid:
		return TF_K_PROCESS_SETUID;
	case TF_NR_capset:
		return TF_K_PROCESS_CAPSET;
	default:
		return TF_K_PROCESS_SETGID;
	}
}

/* Hook: sys_exit of the calls of setuid, setgid and capset, which share the program; what was before comes from sys_enter. Not
 * fentry/commit_creds: it is not to be had everywhere, and tells neither which call it was nor what the call asked for. */
TF_ON_EXIT(tf_process_identity, TF_SYS_PROCESS)
{
	struct task_struct *task = tf_current();
	const __u32 kind = tf_kind_of_call(nr);
	struct tf_note *note = tf_note_of(nr);
	const bool fs = tf_is_fs_call(nr);
	struct tf_process *e;
	struct tf_ids now;
	struct tf_who who;
	struct tf_gate g;
	__u16 flags;

	if (kind < TF_K_PROCESS_SETUID || kind > TF_K_PROCESS_CAPSET)
		return; /* for the verifier: it cannot be */
	tf_read_ids(&now, task);
	if (fs ? note && note->ids.fsuid == now.fsuid && note->ids.fsgid == now.fsgid : ret != 0)
		return;
	if (!tf_admit_task(&g, &who, task, &flags, kind))
		return;
	e = tf_reserve(&g, kind, struct tf_process);
	if (!e)
		return;
	tf_fill_gate(&g, &e->h, kind);
	tf_fill_task(&e->h, &who, task, note ? flags : flags | TF_F_PARTIAL);
	tf_fill_ids(e, note ? &note->ids : NULL, &now, fs);
	e->parent_start_ns = TF_GO(task, real_parent, group_leader, start_boottime);
	tf_submit(&g, kind, e);
}
