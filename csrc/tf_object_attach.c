/* SPDX-License-Identifier: Apache-2.0 */
/* tf_object_attach: hooks the loaded programs up: tracepoints and functions by a link, handlers of system calls by an entry per number
 * in the dispatcher's array, control group hooks at the root of the version 2 hierarchy. */
#include "tf_object_impl.h"

#include <fcntl.h>
#include <unistd.h>

/* Where the version 2 hierarchy is mounted; 0 = nowhere. */
static int find_cgroup2(char *path, size_t size)
{
	FILE *f = fopen("/proc/self/mounts", "re");
	char line[1024], where[512], type[64];
	int found = 0;

	while (f && !found && fgets(line, sizeof(line), f))
		if (sscanf(line, "%*s %511s %63s", where, type) == 2 && !strcmp(type, "cgroup2")) {
			snprintf(path, size, "%s", where);
			found = 1;
		}
	if (f)
		fclose(f);
	return found;
}

static struct bpf_link *attach_cgroup(const struct bpf_program *prog)
{
	struct bpf_link *link;
	char path[512];
	int fd;

	if (!find_cgroup2(path, sizeof(path))) {
		errno = ENOENT;
		return NULL;
	}
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return NULL;
	link = bpf_program__attach_cgroup(prog, fd);
	close(fd);
	return link;
}

/* The place of an exit handler in map tf_direct_progs; 0: none is left, or it could not be put there. The other arrays lead to it all the same,
 * slower. */
static uint32_t direct_place(struct tf_object *o, const struct bpf_program *prog)
{
	const int fd = bpf_program__fd(prog);
	uint32_t place = 1;

	while (place < TF_SYS_DIRECT && o->direct[place] && o->direct[place] != prog)
		place++;
	if (place == TF_SYS_DIRECT || bpf_map_update_elem(o->map_fd[TF_M_DIRECT_PROGS], &place, &fd, BPF_ANY))
		return 0;
	o->direct[place] = prog;
	return place;
}

/* Puts a handler behind each of its numbers. */
static int wire(struct tf_object *o, struct tf_program *p)
{
	const bool exit = strstr(p->spec->hook, "sys_exit");
	const int array = o->map_fd[exit ? TF_M_EXIT_PROGS : TF_M_ENTER_PROGS], fd = bpf_program__fd(p->prog);
	const uint8_t flags = p->spec->flags;
	uint32_t *wants = o->mapped[TF_M_SYS_WANTS];
	uint32_t bits = exit ? TF_SYS_EXIT(p->spec->stage) : TF_SYS_ENTER(p->spec->stage);
	const uint32_t place = exit ? direct_place(o, p->prog) : 0, before = exit ? bits - 1 : 0;

	if (flags & TF_PS_TIMED || (p->spec->stage == TF_SYS_CALL && o->opts.options & TF_O_DURATIONS))
		bits |= TF_SYS_TIMED;
	if (flags & TF_PS_NOTED)
		bits |= TF_SYS_TIMED | TF_SYS_NOTED;
	for (uint32_t nr = 0; nr < TF_SYS_MAX; nr++) {
		uint32_t index = p->spec->stage * TF_SYS_MAX + nr;
		bool mine = false;
		int rc;

		for (const int16_t *c = p->spec->syscalls; *c != TF_CALLS_END && !mine; c++)
			mine = *c == TF_CALLS_OF_USER ? o->opts.syscalls[nr / 64] >> (nr % 64) & 1 : (uint32_t)*c == nr;
		if (!mine)
			continue;
		rc = bpf_map_update_elem(array, &index, &fd, BPF_ANY);
		if (rc)
			return rc;
		if (exit && !(o->kept.wants[nr] & before)) /* no earlier stage has a handler: ours is the first */
			o->kept.wants[nr] = (o->kept.wants[nr] & 0xffffffu) | place << 24;
		o->kept.wants[nr] |= bits;
		tf_store_release(&wants[(size_t)nr * 2], o->kept.wants[nr]);
	}
	p->wired = true;
	tf_set_state(p, TF_P_ATTACHED, 0, "");
	return 0;
}

static int attach_failed(struct tf_program *p, int rc)
{
	char why[256];

	if (rc == -EPERM)
		tf_explain_refused(p->spec, why, sizeof(why));
	else
		snprintf(why, sizeof(why), "cannot attach to %s: %s (%s)", p->spec->hook, strerror(-rc), tf_log_last_warning());
	tf_set_state(p, TF_P_ATTACH_FAILED, rc, why);
	return rc;
}

int tf_attach_program(struct tf_object *o, struct tf_program *p)
{
	int rc;

	if (p->link || p->wired || !p->prog)
		return 0;
	if (p->spec->syscalls) {
		rc = wire(o, p);
		return rc ? attach_failed(p, rc) : 0;
	}
	p->link = strncmp(p->spec->hook, "cgroup/", 7) ? bpf_program__attach(p->prog) : attach_cgroup(p->prog);
	if (!p->link)
		return attach_failed(p, errno ? -errno : -EINVAL);
	tf_set_state(p, TF_P_ATTACHED, 0, "");
	return 0;
}

static bool is_hook(const struct tf_program_spec *s)
{
	return strncmp(s->hook, "iter", 4) && strcmp(s->hook, "syscall") && strncmp(s->hook, "raw_tp", 6) && !(s->flags & TF_PS_RUN);
}

/* A dispatcher is due when one of the numbers is wanted at its side. */
static bool dispatch_due(const struct tf_object *o, const struct tf_program_spec *s)
{
	const uint32_t side = strstr(s->hook, "sys_exit") ? 0xff : TF_SYS_BEFORE;
	const uint32_t *wants = o->mapped[TF_M_SYS_WANTS];

	for (uint32_t nr = 0; nr < TF_SYS_MAX; nr++)
		if (wants[(size_t)nr * 2] & side)
			return true;
	return false;
}

/* Handlers before their dispatchers, and last what notes something for them: a note taken before its reader is there would be a later
 * call's. */
static int attach_turn(const struct tf_program_spec *s)
{
	return s->flags & TF_PS_DISPATCH ? 1 : s->flags & TF_PS_MORE ? 2 : 0;
}

/* Attaches what serves one of these kinds. Returns the first error; the others are still tried. */
int tf_attach_wanted(struct tf_object *o, const uint64_t *kinds, char *msg, size_t msg_size)
{
	int first_error = 0;

	for (int turn = 0; turn < 3; turn++)
		for (size_t i = 0; i < o->n_programs; i++) {
			struct tf_program *p = &o->programs[i];
			const bool dispatcher = p->spec->flags & TF_PS_DISPATCH;
			int rc;

			if (attach_turn(p->spec) != turn || !is_hook(p->spec) || p->info.state == TF_P_NOT_WANTED)
				continue;
			if (dispatcher ? !dispatch_due(o, p->spec) : !tf_serves(p->spec, kinds))
				continue;
			rc = p->info.state == TF_P_LOADED ? tf_attach_program(o, p) : 0;
			rc = rc ? rc : p->link || p->wired || p->spec->flags & TF_PS_MORE ? 0 : p->info.error;
			if (rc && !first_error) {
				first_error = rc;
				snprintf(msg, msg_size, "%s: %s", p->info.name, p->info.reason);
			}
		}
	return first_error;
}

/* A program that fails is reported in its info; only if none is left does the call fail. */
int tf_object_attach(struct tf_object *o, char *msg, size_t msg_size)
{
	const void *kinds = o->gen ? (const void *)o->kept.rules.kind_mask : o->opts.kind_mask;
	char why[700] = "";
	bool attached = false;
	int rc;

	if (msg_size)
		msg[0] = 0;
	tf_log_begin(o);
	o->attached = true;
	rc = o->opts.synth ? 0 : tf_attach_wanted(o, kinds, why, sizeof(why));
	tf_log_end();
	for (size_t i = 0; i < o->n_programs; i++)
		attached |= o->programs[i].info.state == TF_P_ATTACHED;
	if (o->opts.profile) {
		o->stats_fd = bpf_enable_stats(BPF_STATS_RUN_TIME);
		if (o->stats_fd < 0)
			tf_object_say(o, TF_LOG_WARNING, "cannot time the programs (debug.profile_enabled): needs CAP_SYS_ADMIN");
	}
	if (attached || !rc)
		return 0;
	snprintf(msg, msg_size, "no program could be attached; %s", why);
	return rc;
}
