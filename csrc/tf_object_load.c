/* SPDX-License-Identifier: Apache-2.0 */
/* tf_object_load: loads the parts, two at a time, so that one refused program does not cost the others. The verifier takes most of the
 * time, and privileged programs are verified in parallel. */
#include "tf_object_impl.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#define VERIFIER_LOG (1u << 20) /* older kernels keep the start of a log, not its end: room for all of it */

struct loader {
	struct tf_object *o;
	pthread_mutex_t lock;           /* of everything here, and of the programs' states while parts are loading */
	enum tf_part_id order[TF_PARTS];        /* the longest first, so that both threads end at the same time */
	size_t next, n;                 /* in it: the part that nobody has taken yet */
	int rc;                         /* first error */
	char *msg;
	size_t msg_size;
};

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

/* A kernel that forbids one fentry program forbids them all: each further one would cost a try. */
static void drop_family(struct tf_object *o, const struct tf_program *refused)
{
	const int family = tf_family_of(refused->spec);
	char why[sizeof(refused->info.reason)];

	if (family < 0 || !tf_refuses_family(refused->info.error))
		return;
	tf_explain_family(refused->spec, refused->info.error, why, sizeof(why));
	for (size_t i = 0; i < o->n_programs; i++) {
		struct tf_program *p = &o->programs[i];

		if (p->info.state == TF_P_LOADED && !p->info.id && !tf_has_better(o, p) && tf_family_of(p->spec) == family && !o->parts[p->spec->part])
			tf_set_state(p, TF_P_LOAD_FAILED, refused->info.error, why);
	}
}

/* What only other programs of its part run, by a tail call: none of them ends well without it. */
static void drop_dependents(struct tf_object *o, const struct tf_program *refused)
{
	if (!(refused->spec->flags & TF_PS_RUN) || strncmp(refused->spec->hook, "tp_btf/", 7))
		return;
	for (size_t i = 0; i < o->n_programs; i++) {
		struct tf_program *p = &o->programs[i];
		char why[sizeof(p->info.reason)];

		if (p->spec->part != refused->spec->part || p->info.state != TF_P_LOADED)
			continue;
		snprintf(why, sizeof(why), "it ends in %s, which was refused: %.400s", refused->spec->name, refused->info.reason);
		tf_set_state(p, refused->info.state, refused->info.error, why);
	}
}

/* libbpf loads all or nothing and names the culprit in its last warning. True: it, in every row that it serves, is out; try again. */
static bool drop_culprit(struct tf_object *o, enum tf_part_id part, int rc, char *log)
{
	const char *failed = tf_log_failed_program();
	char reason[sizeof(((struct tf_program *)0)->info.reason)] = "";
	bool found = false, lacking;

	for (size_t i = 0; i < o->n_programs; i++) {
		struct tf_program *p = &o->programs[i];

		if (p->spec->part != part || p->info.state != TF_P_LOADED || strcmp(tf_program_name(p->spec), failed))
			continue;
		lacking = tf_explain_lacking(p->spec, rc, log, reason, sizeof(reason));
		if (!lacking)
			last_meaningful_line(log, reason, sizeof(reason));
		tf_set_state(p, lacking ? TF_P_MISSING_HOOK : TF_P_LOAD_FAILED, rc, reason[0] ? reason : tf_log_last_warning());
		if (rc == -EPERM && !reason[0])
			tf_explain_refused(p->spec, p->info.reason, sizeof(p->info.reason));
		p->prog = NULL;
		drop_family(o, p);
		drop_dependents(o, p);
		found = true;
	}
	return found;
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

static bool choose_programs(struct loader *l, enum tf_part_id part)
{
	bool any;

	pthread_mutex_lock(&l->lock);
	any = tf_choose_of_part(l->o, part);
	if (any)
		apply_autoload(l->o, part);
	pthread_mutex_unlock(&l->lock);
	return any;
}

static bool drop_refused(struct loader *l, enum tf_part_id part, int rc, char *log)
{
	bool dropped;

	pthread_mutex_lock(&l->lock);
	dropped = drop_culprit(l->o, part, rc, log);
	pthread_mutex_unlock(&l->lock);
	return dropped;
}

static int load_part(struct loader *l, enum tf_part_id part, char *log, char *msg, size_t msg_size)
{
	struct tf_object *o = l->o;

	for (;;) {
		int rc = tf_part_open(o, part, log, VERIFIER_LOG, msg, msg_size);

		if (!rc)
			rc = tf_part_check_layout(o, part, msg, msg_size);
		if (rc)
			return rc;
		log[0] = 0;
		if (choose_programs(l, part)) {
			tf_part_set_consts(o, part);
			rc = tf_part_size_tables(o, part);
			if (!rc)
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
		if (tf_log_no_descriptor()) /* no fault of the program that was the next */
			rc = -EMFILE;
		else if (drop_refused(l, part, rc, log))
			continue;
		if (rc == -EPERM)
			tf_explain_eperm("the BPF programs", msg, msg_size);
		else
			snprintf(msg, msg_size, "cannot load %s.bpf.o: %s (%s)", tf_part_name(part), strerror(-rc), tf_log_last_warning());
		return rc;
	}
}

/* Of a program and the variants to be used instead of it at most one runs: the others are not missing. */
static void settle_variants(struct tf_object *o)
{
	for (size_t i = 0; i < o->n_programs; i++) {
		struct tf_program *p = &o->programs[i], *original = p;
		bool runs = p->info.state == TF_P_LOADED && p->prog;

		while (original && original->spec->instead_of) {
			original = tf_find_program(o, original->spec->instead_of);
			if (original && runs)
				original->info.replaced = true;
			else if (original && original->info.state == TF_P_LOADED && original->prog)
				tf_set_state(p, TF_P_NOT_WANTED, 0, "the kernel takes the better variant");
		}
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
			tf_set_state(p, TF_P_NOT_WANTED, 0, "the kernel takes the better variant");
			continue;
		}
		if (bpf_prog_get_info_by_fd(bpf_program__fd(p->prog), &info, &len))
			continue;
		p->info.id = info.id;
		p->info.insns = info.xlated_prog_len / 8;
		p->info.verified = info.verified_insns;
	}
}

/* The parts that have something to load, by the size of their code: what that takes the verifier is about in proportion. */
static void order_parts(struct loader *l)
{
	size_t size[TF_PARTS];

	for (int part = TF_PART_BASE + 1; part < TF_PARTS; part++) {
		size_t at;

		if (!tf_choose_of_part(l->o, (enum tf_part_id)part))
			continue;
		size[part] = tf_part_code_size(l->o, (enum tf_part_id)part);
		for (at = l->n++; at && size[l->order[at - 1]] < size[part]; at--)
			l->order[at] = l->order[at - 1];
		l->order[at] = (enum tf_part_id)part;
	}
}

/* TF_PARTS: none is left. */
static enum tf_part_id take_part(struct loader *l)
{
	enum tf_part_id part;

	pthread_mutex_lock(&l->lock);
	part = l->rc || l->next == l->n ? TF_PARTS : l->order[l->next++];
	pthread_mutex_unlock(&l->lock);
	return part;
}

static void *load_some(void *arg)
{
	struct loader *l = arg;
	char *log = malloc(VERIFIER_LOG), msg[512] = "no memory for the verifier's log";
	int rc = log ? 0 : -ENOMEM;

	tf_log_begin(l->o);
	for (enum tf_part_id part = take_part(l); !rc && part < TF_PARTS; part = rc ? TF_PARTS : take_part(l))
		rc = load_part(l, part, log, msg, sizeof(msg));
	if (rc) {
		pthread_mutex_lock(&l->lock);
		if (!l->rc)
			snprintf(l->msg, l->msg_size, "%s", msg);
		l->rc = l->rc ? l->rc : rc;
		pthread_mutex_unlock(&l->lock);
	}
	free(log);
	return NULL;
}

/* On this thread and a second one, which takes no signals; if it cannot be had, this one does it all. */
static int load_all(struct tf_object *o, char *msg, size_t msg_size)
{
	struct loader l = {.o = o, .lock = PTHREAD_MUTEX_INITIALIZER, .msg = msg, .msg_size = msg_size};
	sigset_t all, before;
	pthread_t second;
	bool two;

	order_parts(&l);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	two = !pthread_create(&second, NULL, load_some, &l);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	load_some(&l);
	if (two)
		pthread_join(second, NULL);
	return l.rc;
}

/* 0 where the kernel cannot cast to it (bpf_rdonly_cast, 6.2). */
static uint32_t type_id(const struct btf *vmlinux, const char *name)
{
	int id = btf__find_by_name_kind(vmlinux, "bpf_rdonly_cast", BTF_KIND_FUNC);

	id = id > 0 ? btf__find_by_name_kind(vmlinux, name, BTF_KIND_STRUCT) : 0;
	return id > 0 ? (uint32_t)id : 0;
}

static void note_types(struct tf_object *o, const struct btf *vmlinux)
{
#define TF_PLAIN_NAME(name) #name,
	static const char *const names[] = {TF_PLAIN_TYPES(TF_PLAIN_NAME)};
#undef TF_PLAIN_NAME

	o->consts.type_task = type_id(vmlinux, "task_struct");
	o->consts.type_sock = type_id(vmlinux, "sock");
	o->casts = !o->old && !o->opts.plain && o->consts.type_task && o->consts.type_sock;
	for (int i = 0; i < TF_PLAIN_COUNT; i++) {
		o->consts.type_id[i] = type_id(vmlinux, names[i]);
		o->casts &= o->consts.type_id[i] != 0;
	}
}

/* Before anything is loaded, the base part too: libbpf would search all of the kernel's types for each that the part names (14 ms). */
int tf_prepare_parts(struct tf_object *o, char *msg, size_t msg_size)
{
	struct btf *vmlinux = btf__load_vmlinux_btf();
	int rc;

	if (!vmlinux) {
		snprintf(msg, msg_size, "cannot read /sys/kernel/btf/vmlinux");
		return -ENOTSUP;
	}
	note_types(o, vmlinux);
	rc = tf_list_programs(o, vmlinux);
	if (!rc) {
		tf_try_families(o, vmlinux);
		o->core_fd = tf_core_btf(o, vmlinux);
	}
	btf__free(vmlinux);
	return rc;
}

int tf_load_parts(struct tf_object *o, char *msg, size_t msg_size)
{
	struct btf *vmlinux = btf__load_vmlinux_btf();
	int rc;

	if (vmlinux)
		tf_find_alone(o, vmlinux);
	rc = load_all(o, msg, msg_size);
	if (!rc) { /* else a part that failed has been freed, and its programs with it */
		settle_variants(o);
		note_loaded(o);
	}
	tf_drop_core_btf(o);
	btf__free(vmlinux);
	return rc;
}
