/* SPDX-License-Identifier: Apache-2.0 */
/* tf_object_alone: which kinds are counted by one attached program only. Since 6.1 the kernel runs a tracepoint's program never twice at once
 * on a CPU: not in an interrupt of itself, not in a task that took the CPU from it (such a run is left out, and counted as a recursion
 * miss). What one program alone writes, per CPU, it can add to without an atomic operation. */
#include "tf_object_impl.h"

/* bpf_user_ringbuf_drain came with the same release as that check, which BTF does not show. */
static bool keeps_off(const struct btf *vmlinux)
{
	const int id = btf__find_by_name_kind(vmlinux, "bpf_func_id", BTF_KIND_ENUM);
	const struct btf_type *t = id > 0 ? btf__type_by_id(vmlinux, (uint32_t)id) : NULL;

	for (uint16_t i = 0; t && i < btf_vlen(t); i++)
		if (!strcmp(btf__name_by_offset(vmlinux, btf_enum(t)[i].name_off), "BPF_FUNC_user_ringbuf_drain"))
			return true;
	return false;
}

/* What the kernel runs when a program counts: the handlers of system calls run as part of their dispatcher, of a program and those to be
 * used instead of it at most one is attached. NULL: something that can run twice at once. */
static const char *entry_of(struct tf_object *o, const struct tf_program *p)
{
	if (strncmp(p->spec->hook, "tp_btf/", 7))
		return NULL;
	if (!strncmp(p->spec->hook, "tp_btf/sys_", 11))
		return p->spec->hook;
	while (p->spec->instead_of)
		p = tf_find_program(o, p->spec->instead_of);
	return p->spec->name;
}

/* Of the programs that may be attached at all: one more that is refused later does no harm. */
void tf_find_alone(struct tf_object *o, const struct btf *vmlinux)
{
	const char *entries[TF_KIND_COUNT] = {0}, *const several = "";
	const struct tf_program *enter = tf_find_program(o, "tf_sys_enter");

	if (enter && enter->info.state == TF_P_LOADED)
		o->consts.options |= TF_O_NOTES;
	memset(o->consts.alone, 0, sizeof(o->consts.alone));
	if (o->old || o->opts.synth || !keeps_off(vmlinux))
		return;
	for (size_t i = 0; i < o->n_programs; i++) {
		const struct tf_program *p = &o->programs[i];
		const char *entry = entry_of(o, p);

		for (const uint16_t *k = p->spec->kinds; p->info.state == TF_P_LOADED && k && *k != TF_KIND_COUNT; k++)
			entries[*k] = !entry || (entries[*k] && strcmp(entries[*k], entry)) ? several : entry;
	}
	for (uint32_t k = 0; k < TF_KIND_COUNT; k++)
		if (entries[k] && entries[k] != several)
			o->consts.alone[k / 64] |= 1ull << (k % 64);
}
