/* SPDX-License-Identifier: Apache-2.0 */
/* tf_object_load: the table of programs; which of them this kernel has a hook for; loading, so that one refused program does not cost
 * the others. */
#include "tf_object_impl.h"

#include <stdlib.h>

#define VERIFIER_LOG (1u << 20) /* older kernels keep the start of a log, not its end: room for all of it */

_Static_assert(TF_KIND_COUNT <= 64, "TF_KIND_BIT has 64 bits");
#define K(name) TF_KIND_BIT(TF_K_##name)

const struct tf_program_spec tf_program_specs[] = {
	{"tf_process_fork", "tp_btf/sched_process_fork", TF_PART_PROCESS, 2, 2, K(PROCESS_FORK), true, NULL},
	{"tf_process_exec", "tp_btf/sched_process_exec", TF_PART_PROCESS, 3, 3, K(PROCESS_EXEC), false, NULL},
	{"tf_process_exit", "tp_btf/sched_process_exit", TF_PART_PROCESS, 2, 2, K(PROCESS_EXIT), true, NULL},
	{"tf_process_exit_old", "tp_btf/sched_process_exit", TF_PART_PROCESS, 1, 1, K(PROCESS_EXIT), true, NULL},
	{"tf_process_rename", "tp_btf/task_rename", TF_PART_PROCESS, 2, 2, K(PROCESS_RENAME), false, NULL},
	{"tf_process_signal", "tp_btf/signal_generate", TF_PART_PROCESS, 5, 5, K(PROCESS_SIGNAL), false, NULL},
	{"tf_network_state", "tp_btf/inet_sock_set_state", TF_PART_NETWORK, 3, 3,
	 K(NETWORK_CONNECT) | K(NETWORK_ACCEPT) | K(NETWORK_CLOSE), false, NULL},
	{"tf_snapshot_task", "iter.s/task", TF_PART_SNAPSHOT, 0, 0, K(META_SNAPSHOT_PROCESS), false, NULL},
	{"tf_snapshot_task_old", "iter/task", TF_PART_SNAPSHOT, 0, 0, K(META_SNAPSHOT_PROCESS), false, "tf_snapshot_task"},
	{"tf_snapshot_sockets", "iter/task_file", TF_PART_SNAPSHOT, 0, 0, K(META_SNAPSHOT_SOCKET), false, NULL},
	{"tf_list_pids", "iter/task", TF_PART_SNAPSHOT, 0, 0, 0, true, NULL},
	{"tf_synth", "syscall", TF_PART_SYNTH, 0, 0, 0, true, NULL},
};
const size_t tf_program_spec_count = sizeof(tf_program_specs) / sizeof(tf_program_specs[0]);
_Static_assert(sizeof(tf_program_specs) / sizeof(tf_program_specs[0]) <= TF_PROGRAMS_MAX, "room for every program");

static const char *const part_names[TF_PARTS] = {"base", "process", "network", "snapshot", "synth"};

struct tf_program *tf_find_program(struct tf_object *o, const char *name)
{
	for (size_t i = 0; i < o->n_programs; i++)
		if (!strcmp(o->programs[i].spec->name, name))
			return &o->programs[i];
	return NULL;
}

/* How many arguments the tracepoint passes in this kernel: by the prototype in its BTF, because versions lie (backports). -1 = none. */
static int hook_args(const struct btf *vmlinux, const char *hook)
{
	const struct btf_type *t;
	char name[96];
	int id;

	snprintf(name, sizeof(name), "btf_trace_%s", strchr(hook, '/') + 1);
	id = btf__find_by_name_kind(vmlinux, name, BTF_KIND_TYPEDEF);
	if (id < 0)
		return -1;
	t = btf__type_by_id(vmlinux, btf__type_by_id(vmlinux, (uint32_t)id)->type);
	if (!t || !btf_is_ptr(t))
		return -1;
	t = btf__type_by_id(vmlinux, t->type);
	return t && btf_is_func_proto(t) ? (int)btf_vlen(t) - 1 : -1; /* the first is the probe's own data */
}

static void set_state(struct tf_program *p, enum tf_program_state state, int error, const char *reason)
{
	p->info.state = state;
	p->info.error = error;
	snprintf(p->info.reason, sizeof(p->info.reason), "%s", reason);
}

static bool part_wanted(const struct tf_object *o, enum tf_part_id part)
{
	const struct tf_object_opts *w = &o->opts;

	switch (part) {
	case TF_PART_PROCESS:
	case TF_PART_SNAPSHOT:
		return w->process || w->network; /* rules over descendants need fork, exit and the list of processes */
	case TF_PART_NETWORK:
		return w->network;
	case TF_PART_SYNTH:
		return w->synth;
	default:
		return false;
	}
}

/* Whether a program is to be loaded; sets its state when not. */
static bool choose(struct tf_object *o, struct tf_program *p, const struct btf *vmlinux)
{
	const struct tf_program_spec *s = p->spec;
	const bool snapshot = s->kinds & (K(META_SNAPSHOT_PROCESS) | K(META_SNAPSHOT_SOCKET));
	const bool asked = s->part != TF_PART_PROCESS || o->opts.process;
	int args;

	if (!part_wanted(o, s->part) || (snapshot && o->opts.no_snapshot) ||
	    (!s->always && !snapshot && !(asked && (s->kinds & o->opts.kind_mask[0])))) {
		set_state(p, TF_P_NOT_WANTED, 0, "no kind that it serves is wanted");
		return false;
	}
	if (!s->max_args)
		return true;
	args = hook_args(vmlinux, s->hook);
	if (args >= s->min_args && args <= s->max_args)
		return true;
	set_state(p, TF_P_MISSING_HOOK, -ENOENT, "");
	if (args < 0)
		snprintf(p->info.reason, sizeof(p->info.reason), "this kernel has no tracepoint %s", strchr(s->hook, '/') + 1);
	else
		snprintf(p->info.reason, sizeof(p->info.reason), "this kernel's %s passes %d arguments, the program is for %d",
			 strchr(s->hook, '/') + 1, args, s->min_args);
	return false;
}

/* The last line that says something: before the statistics, past blank lines and marks. */
static void last_meaningful_line(char *log, char *out, size_t size)
{
	static const char *const noise[] = {"processed ", "verification time", "stack depth", "mark_precise", "-- "};
	char *end = log + strlen(log), *line;

	while (end > log) {
		bool skip = false;

		*end = 0;
		for (line = end; line > log && line[-1] != '\n'; line--)
			;
		for (size_t i = 0; *line && i < sizeof(noise) / sizeof(noise[0]); i++)
			skip |= !strncmp(line, noise[i], strlen(noise[i]));
		if (*line && !skip) {
			snprintf(out, size, "%s", line);
			return;
		}
		end = line > log ? line - 1 : log;
	}
}

/* libbpf loads all or nothing and names the culprit in its last warning. True: it is out, try again. */
static bool drop_culprit(struct tf_object *o, enum tf_part_id part, int rc, char *log)
{
	struct tf_program *p = tf_find_program(o, tf_log_failed_program());
	char reason[sizeof(p->info.reason)] = "";

	if (!p || p->spec->part != part || p->info.state != TF_P_LOADED)
		return false;
	last_meaningful_line(log, reason, sizeof(reason));
	set_state(p, TF_P_LOAD_FAILED, rc, reason[0] ? reason : tf_log_last_warning());
	if (rc == -EPERM && !reason[0])
		tf_explain_eperm(p->spec->name, p->info.reason, sizeof(p->info.reason));
	p->prog = NULL;
	return true;
}

/* Which programs of a part the next try loads: a fallback only after its original has failed. */
static size_t set_autoload(struct tf_object *o, enum tf_part_id part)
{
	size_t n = 0;

	for (size_t i = 0; i < o->n_programs; i++) {
		struct tf_program *p = &o->programs[i], *original;
		bool load = p->info.state == TF_P_LOADED;

		if (p->spec->part != part)
			continue;
		original = p->spec->instead_of ? tf_find_program(o, p->spec->instead_of) : NULL;
		if (original && original->info.state != TF_P_LOAD_FAILED)
			load = false;
		p->prog = load ? bpf_object__find_program_by_name(o->parts[part], p->spec->name) : NULL;
		n += p->prog != NULL;
	}
	return n;
}

/* Programs that the table does not know, or that are not to load, are switched off in the opened object. */
static void apply_autoload(struct tf_object *o, enum tf_part_id part)
{
	struct bpf_program *prog;

	bpf_object__for_each_program(prog, o->parts[part]) {
		bool load = false;

		for (size_t i = 0; i < o->n_programs; i++)
			load |= o->programs[i].prog == prog;
		bpf_program__set_autoload(prog, load);
	}
}

static int load_part(struct tf_object *o, enum tf_part_id part, char *log, char *msg, size_t msg_size)
{
	for (;;) {
		int rc = tf_part_open(o, part, log, VERIFIER_LOG, msg, msg_size);

		if (!rc)
			rc = tf_part_check_layout(o, part, msg, msg_size);
		if (rc)
			return rc;
		log[0] = 0;
		if (set_autoload(o, part)) {
			apply_autoload(o, part);
			tf_part_set_consts(o, part);
			rc = tf_part_join_maps(o, part);
			if (!rc)
				rc = bpf_object__load(o->parts[part]);
			if (!rc)
				return 0;
		}
		bpf_object__close(o->parts[part]);
		o->parts[part] = NULL;
		if (!rc)
			return 0; /* nothing of it is left to load */
		if (drop_culprit(o, part, rc, log))
			continue;
		if (rc == -EPERM)
			tf_explain_eperm("the BPF programs", msg, msg_size);
		else
			snprintf(msg, msg_size, "cannot load %s.bpf.o: %s (%s)", part_names[part], strerror(-rc), tf_log_last_warning());
		return rc;
	}
}

static void note_loaded(struct tf_object *o)
{
	for (size_t i = 0; i < o->n_programs; i++) {
		struct tf_program *p = &o->programs[i];
		struct bpf_prog_info info = {0};
		__u32 len = sizeof(info);

		if (p->info.state != TF_P_LOADED)
			continue;
		if (!p->prog) {
			set_state(p, TF_P_NOT_WANTED, 0, "the kernel takes the better variant");
			continue;
		}
		if (bpf_prog_get_info_by_fd(bpf_program__fd(p->prog), &info, &len))
			continue;
		p->info.id = info.id;
		p->info.insns = info.xlated_prog_len / 8;
	}
}

/* A program for another kernel's prototype is not missing where its sibling fits. */
static void forgive_variants(struct tf_object *o)
{
	for (size_t i = 0; i < o->n_programs; i++)
		for (size_t k = 0; k < o->n_programs; k++)
			if (o->programs[i].info.state == TF_P_MISSING_HOOK && o->programs[k].info.state == TF_P_LOADED &&
			    !strcmp(o->programs[i].spec->hook, o->programs[k].spec->hook))
				set_state(&o->programs[i], TF_P_NOT_WANTED, 0, "another variant fits this kernel");
}

static void list_programs(struct tf_object *o, const struct btf *vmlinux)
{
	for (size_t i = 0; i < tf_program_spec_count; i++) {
		struct tf_program *p = &o->programs[o->n_programs++];
		const struct tf_program_spec *s = &tf_program_specs[i];

		p->spec = s;
		snprintf(p->info.name, sizeof(p->info.name), "%s", s->name);
		snprintf(p->info.hook, sizeof(p->info.hook), "%s", s->hook);
		snprintf(p->info.object, sizeof(p->info.object), "%s", part_names[s->part]);
		if (choose(o, p, vmlinux))
			set_state(p, TF_P_LOADED, 0, "");
	}
	forgive_variants(o);
}

int tf_load_parts(struct tf_object *o, char *msg, size_t msg_size)
{
	struct btf *vmlinux = btf__load_vmlinux_btf();
	char *log = malloc(VERIFIER_LOG);
	int rc = 0;

	if (!vmlinux || !log) {
		rc = vmlinux ? -ENOMEM : -ENOTSUP;
		snprintf(msg, msg_size, "%s", vmlinux ? "no memory for the verifier's log" : "cannot read /sys/kernel/btf/vmlinux");
	} else {
		list_programs(o, vmlinux);
	}
	for (int part = TF_PART_BASE + 1; !rc && part < TF_PARTS; part++)
		if (part_wanted(o, (enum tf_part_id)part))
			rc = load_part(o, (enum tf_part_id)part, log, msg, msg_size);
	note_loaded(o);
	free(log);
	btf__free(vmlinux);
	return rc;
}

int tf_attach_program(struct tf_object *o, struct tf_program *p)
{
	char why[256];
	int rc;

	(void)o;
	if (p->link || !p->prog)
		return 0;
	p->link = bpf_program__attach(p->prog);
	if (p->link) {
		set_state(p, TF_P_ATTACHED, 0, "");
		return 0;
	}
	rc = errno ? -errno : -EINVAL;
	if (rc == -EPERM)
		tf_explain_eperm(p->spec->hook, why, sizeof(why));
	else
		snprintf(why, sizeof(why), "cannot attach to %s: %s (%s)", p->spec->hook, strerror(-rc), tf_log_last_warning());
	set_state(p, TF_P_ATTACH_FAILED, rc, why);
	return rc;
}
