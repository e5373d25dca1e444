/* SPDX-License-Identifier: Apache-2.0 */
/* tf_object_choose: which programs of the tables this collector wants and this kernel has a hook for. By the kernel's BTF, never by its
 * version: backports move prototypes. */
#include "tf_object_impl.h"

#include <stdlib.h>
#include <unistd.h>

const struct tf_spec_table *const tf_spec_tables[] = {
	&tf_specs_core, &tf_specs_network, &tf_specs_file, &tf_specs_security, &tf_specs_container, &tf_specs_memory, NULL,
};

static const struct {
	const char *prefix;             /* of the hook */
	const char *btf_prefix;         /* of what stands for it in BTF; NULL = nothing does */
	uint32_t btf_kind;
	uint32_t family;
	const char *said;
} families[] = {
	{"tp_btf/", "btf_trace_", BTF_KIND_TYPEDEF, TF_H_TRACEPOINT, "tracepoint"},
	{"fentry/", "", BTF_KIND_FUNC, TF_H_FENTRY, "function"},
	{"fexit/", "", BTF_KIND_FUNC, TF_H_FENTRY, "function"},
	{"lsm/", "bpf_lsm_", BTF_KIND_FUNC, TF_H_LSM, "LSM hook"},
	{"kprobe/", "", BTF_KIND_FUNC, TF_H_KPROBE, "function"},
	{"kretprobe/", "", BTF_KIND_FUNC, TF_H_KPROBE, "function"},
};
#define FAMILIES (sizeof(families) / sizeof(families[0]))

struct tf_program *tf_find_program(struct tf_object *o, const char *name)
{
	for (size_t i = 0; i < o->n_programs; i++)
		if (!strcmp(o->programs[i].spec->name, name))
			return &o->programs[i];
	return NULL;
}

const char *tf_program_name(const struct tf_program_spec *s)
{
	return s->program ? s->program : s->name;
}

bool tf_serves(const struct tf_program_spec *s, const uint64_t *kinds)
{
	for (const uint16_t *k = s->kinds; k && *k != TF_KIND_COUNT; k++)
		if (kinds[*k / 64] >> (*k % 64) & 1)
			return true;
	return false;
}

void tf_set_state(struct tf_program *p, enum tf_program_state state, int error, const char *reason)
{
	p->info.state = state;
	p->info.error = error;
	snprintf(p->info.reason, sizeof(p->info.reason), "%s", reason);
}

/* Kernels without CONFIG_KPROBES load such programs and have nothing to attach them to. The first file is there since 4.17, the second
 * needs tracefs. */
static bool has_kprobes(void)
{
	return !access("/sys/bus/event_source/devices/kprobe/type", F_OK) || !access("/sys/kernel/tracing/kprobe_events", F_OK) ||
	       !access("/sys/kernel/debug/tracing/kprobe_events", F_OK);
}

/* How many arguments a hook passes in this kernel. -1 = it is not there. */
static int hook_args(const struct btf *vmlinux, const char *hook, size_t family)
{
	const struct btf_type *t;
	char name[96];
	int id;

	snprintf(name, sizeof(name), "%s%s", families[family].btf_prefix, strchr(hook, '/') + 1);
	id = btf__find_by_name_kind(vmlinux, name, families[family].btf_kind);
	if (id < 0)
		return -1;
	t = btf__type_by_id(vmlinux, btf__type_by_id(vmlinux, (uint32_t)id)->type);
	if (families[family].btf_kind == BTF_KIND_FUNC)
		return t && btf_is_func_proto(t) ? (int)btf_vlen(t) : -1;
	if (!t || !btf_is_ptr(t))
		return -1;
	t = btf__type_by_id(vmlinux, t->type);
	return t && btf_is_func_proto(t) ? (int)btf_vlen(t) - 1 : -1; /* the first is the probe's own data */
}

static bool too_new(const struct tf_object *o, const struct tf_program_spec *s)
{
	return o->old && s->flags & TF_PS_NOT_OLD;
}

static bool has_hook(struct tf_object *o, struct tf_program *p, const struct btf *vmlinux)
{
	const struct tf_program_spec *s = p->spec;
	size_t f = 0;
	int args;

	while (f < FAMILIES && strncmp(s->hook, families[f].prefix, strlen(families[f].prefix)))
		f++;
	if (f == FAMILIES)
		return true; /* iterators, test runs, control groups: the kernel is asked */
	tf_set_state(p, TF_P_MISSING_HOOK, -ENOENT, "");
	if (o->opts.families && !(o->opts.families & families[f].family)) {
		snprintf(p->info.reason, sizeof(p->info.reason), "hooks of this kind (%s) are not to be used", s->hook);
		return false;
	}
	if (families[f].family == TF_H_KPROBE && !has_kprobes()) {
		snprintf(p->info.reason, sizeof(p->info.reason), "this kernel has no kprobes");
		return false;
	}
	if (too_new(o, s)) {
		snprintf(p->info.reason, sizeof(p->info.reason), "too much for the verifier of kernels before 5.12, which have not global functions "
			 "with pointers (Linux 5.12) nor the BPF helper bpf_loop (Linux 5.17)");
		return false;
	}
	args = hook_args(vmlinux, s->hook, f);
	if (args < 0)
		snprintf(p->info.reason, sizeof(p->info.reason), "this kernel has no %s %s", families[f].said, strchr(s->hook, '/') + 1);
	else if (s->args[1] && (args < s->args[0] || args > s->args[1]))
		snprintf(p->info.reason, sizeof(p->info.reason), "this kernel's %s passes %d arguments, the program is for %d",
			 strchr(s->hook, '/') + 1, args, s->args[0]);
	else
		return true;
	return false;
}

/* Whether this collector has a use for a program. */
static bool wanted(const struct tf_object *o, const struct tf_program_spec *s)
{
	const struct tf_object_opts *w = &o->opts;

	if (s->part == TF_PART_SYNTH)
		return w->synth;
	if (s->flags & TF_PS_ALWAYS)
		return !w->synth || w->follow;
	if (w->synth)
		return false;
	if (s->flags & TF_PS_SNAPSHOT)
		return !w->no_snapshot;
	return tf_serves(s, w->kind_mask);
}

/* Dispatchers come along with the handlers behind them. */
static bool has_handlers(const struct tf_object *o, const char *hook)
{
	for (size_t i = 0; i < o->n_programs; i++)
		if (o->programs[i].spec->syscalls && o->programs[i].info.state == TF_P_LOADED && !strcmp(o->programs[i].spec->hook, hook))
			return true;
	return false;
}

/* sys_enter is also wanted for the time or the ids that an exit handler asks for. */
static bool has_timed(const struct tf_object *o)
{
	for (size_t i = 0; i < o->n_programs; i++)
		if (o->programs[i].spec->flags & (TF_PS_TIMED | TF_PS_NOTED) && o->programs[i].info.state == TF_P_LOADED)
			return true;
	return o->opts.options & TF_O_DURATIONS;
}

/* What a dispatcher is for. */
static bool dispatches(const struct tf_object *o, const struct tf_program_spec *s)
{
	return has_handlers(o, s->hook) || (strstr(s->hook, "sys_enter") && has_handlers(o, "tp_btf/sys_exit") && has_timed(o));
}

static void choose(struct tf_object *o, struct tf_program *p, const struct btf *vmlinux)
{
	const struct tf_program_spec *s = p->spec;

	if (s->flags & TF_PS_DISPATCH ? !dispatches(o, s) : !wanted(o, s))
		tf_set_state(p, TF_P_NOT_WANTED, 0, "no kind that it serves is wanted");
	else if (has_hook(o, p, vmlinux))
		tf_set_state(p, TF_P_LOADED, 0, "");
}

/* A program for another kernel's prototype is not missing where its sibling fits. Substitutes wait for what loads: settle_variants. */
static void forgive_variants(struct tf_object *o)
{
	for (size_t i = 0; i < o->n_programs; i++)
		for (size_t k = 0; k < o->n_programs; k++)
			if (o->programs[i].info.state == TF_P_MISSING_HOOK && o->programs[k].info.state == TF_P_LOADED &&
			    !too_new(o, o->programs[i].spec) && o->programs[i].spec->part == o->programs[k].spec->part &&
			    !strcmp(o->programs[i].spec->hook, o->programs[k].spec->hook))
				tf_set_state(&o->programs[i], TF_P_NOT_WANTED, 0, "another variant fits this kernel");
}

int tf_list_programs(struct tf_object *o, const struct btf *vmlinux)
{
	size_t n = 0;

	for (size_t t = 0; tf_spec_tables[t]; t++)
		n += tf_spec_tables[t]->n;
	o->programs = calloc(n, sizeof(*o->programs));
	if (!o->programs)
		return -ENOMEM;
	for (size_t t = 0; tf_spec_tables[t]; t++)
		for (size_t i = 0; i < tf_spec_tables[t]->n; i++) {
			struct tf_program *p = &o->programs[o->n_programs++];
			const struct tf_program_spec *s = &tf_spec_tables[t]->at[i];

			p->spec = s;
			p->info.more = s->flags & TF_PS_MORE;
			snprintf(p->info.cost, sizeof(p->info.cost), "%s", tf_cost_of(s));
			for (const uint16_t *k = s->kinds; k && *k != TF_KIND_COUNT; k++)
				p->info.kinds[*k / 64] |= 1ull << (*k % 64);
			snprintf(p->info.name, sizeof(p->info.name), "%s", s->name);
			snprintf(p->info.hook, sizeof(p->info.hook), "%s", s->hook);
			snprintf(p->info.object, sizeof(p->info.object), "%s", tf_part_name(s->part));
		}
	for (int dispatchers = 0; dispatchers < 2; dispatchers++)
		for (size_t i = 0; i < o->n_programs; i++)
			if (!(o->programs[i].spec->flags & TF_PS_DISPATCH) == !dispatchers)
				choose(o, &o->programs[i], vmlinux);
	forgive_variants(o);
	return 0;
}

/* The second best of a second best waits for both. */
bool tf_has_better(struct tf_object *o, const struct tf_program *p)
{
	while (p->spec->instead_of) {
		p = tf_find_program(o, p->spec->instead_of);
		if (p->info.state != TF_P_LOAD_FAILED && p->info.state != TF_P_MISSING_HOOK)
			return true;
	}
	return false;
}

size_t tf_choose_of_part(struct tf_object *o, enum tf_part_id part)
{
	size_t n = 0;

	for (size_t i = 0; i < o->n_programs; i++) {
		struct tf_program *p = &o->programs[i];
		bool load = p->info.state == TF_P_LOADED;

		if (p->spec->part != part)
			continue;
		load = load && !tf_has_better(o, p);
		p->prog = load && o->parts[part] ? bpf_object__find_program_by_name(o->parts[part], tf_program_name(p->spec)) : NULL;
		n += load;
	}
	return n;
}
