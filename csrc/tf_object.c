/* SPDX-License-Identifier: Apache-2.0 */
/* tf_object: opens, attaches, shows and closes the BPF side. */
#include "tf_object_impl.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

/* Our own id in the host's pid namespace: getpid(2) would give the container's. */
static int ask_whoami(struct tf_object *o, uint32_t *tgid)
{
	struct bpf_program *prog = bpf_object__find_program_by_name(o->parts[TF_PART_BASE], "tf_whoami");
	LIBBPF_OPTS(bpf_test_run_opts, opts);
	int rc = bpf_prog_test_run_opts(bpf_program__fd(prog), &opts);

	if (rc == -EINVAL) { /* before 5.10 this type cannot be run for a test */
		*tgid = (uint32_t)getpid();
		return 0;
	}
	*tgid = opts.retval;
	return rc;
}

/* The first process's namespaces, as a container's rules compare them; left 0 where they cannot be told. */
static void ask_host_spaces(struct tf_object *o, struct tf_consts *c)
{
	struct bpf_program *prog = bpf_object__find_program_by_name(o->parts[TF_PART_BASE], "tf_host_space");
	uint32_t *const answers[] = {&c->host_mnt_ns, &c->host_pid_ns};

	for (uint64_t which = 0; which < 2; which++) {
		LIBBPF_OPTS(bpf_test_run_opts, opts, .ctx_in = &which, .ctx_size_in = sizeof(which));

		if (!bpf_prog_test_run_opts(bpf_program__fd(prog), &opts))
			*answers[which] = opts.retval;
	}
	if ((!c->host_mnt_ns || !c->host_pid_ns) && o->opts.kind_mask[TF_K_CONTAINER_ESCAPE / 64] >> (TF_K_CONTAINER_ESCAPE % 64) & 1)
		tf_object_say(o, TF_LOG_WARNING, "container.escape knows little here: the first process's mount or pid namespace cannot be told");
}

/* The base part: makes the shared maps, and tells who we are. */
static int load_base(struct tf_object *o, char *msg, size_t msg_size)
{
	int rc = tf_part_open(o, TF_PART_BASE, NULL, 0, msg, msg_size);

	if (!rc)
		rc = tf_part_check_layout(o, TF_PART_BASE, msg, msg_size);
	if (rc)
		return rc;
	bpf_program__set_autoload(bpf_object__find_program_by_name(o->parts[TF_PART_BASE], "tf_probe_tracing"), false);
	tf_part_set_consts(o, TF_PART_BASE); /* of which only the kernel's types are known yet */
	rc = tf_size_maps(o);
	if (!rc)
		rc = bpf_object__load(o->parts[TF_PART_BASE]);
	if (!rc)
		rc = ask_whoami(o, &o->consts.self_tgid);
	if (!rc)
		ask_host_spaces(o, &o->consts);
	if (rc && tf_log_no_descriptor())
		rc = -EMFILE;
	if (rc == -EPERM)
		tf_explain_eperm("the shared maps", msg, msg_size);
	else if (rc)
		snprintf(msg, msg_size, "cannot make the shared maps: %s (%s)", strerror(-rc), tf_log_last_warning());
	for (int i = 0; !rc && i < TF_M_COUNT; i++)
		o->map_fd[i] = bpf_object__find_map_fd_by_name(o->parts[TF_PART_BASE], tf_shared_map_name((enum tf_shared_map)i));
	return rc;
}

static int set_consts(struct tf_object *o, char *msg, size_t msg_size)
{
	const struct tf_object_opts *w = &o->opts;
	struct tf_consts *c = &o->consts;
	uint32_t keys = 0;

	if (getrandom(&c->seed, sizeof(c->seed), 0) != sizeof(c->seed)) {
		snprintf(msg, msg_size, "cannot get 8 random bytes for the sampling key: %s", strerror(errno));
		return -EIO;
	}
	if (w->trace_self)
		c->self_tgid = 0;
	c->ncpu = o->ncpu;
	c->nrings = o->nrings;
	c->args_max = w->args_max == TF_ARGS_NONE ? 0 : w->args_max && w->args_max < TF_ARGS_CAP ? w->args_max : TF_ARGS_CAP;
	c->path_max = TF_PATH_CAP;
	c->own_netns_only = w->netns;
	memcpy(c->kinds, w->kind_mask, sizeof(c->kinds));
	for (int i = 0; i < TF_KIND_MAX / 64; i++) {
		c->by_process[i] = w->by_process[i];
		c->by_connection[i] = w->by_connection[i];
		keys |= (w->by_process[i] ? TF_O_BY_PROCESS : 0) | (w->by_connection[i] ? TF_O_BY_CONNECTION : 0);
	}
	c->threshold_bytes = w->threshold_bytes;
	c->content_max = w->content_max;
	c->options = w->options | (w->globs ? TF_O_NOT_COMMS : 0) | (w->synth ? TF_O_THROTTLE : 0) | keys;
	c->page_size = (uint32_t)sysconf(_SC_PAGESIZE);
	return 0;
}

/* Filled once and frozen: whoever may write to maps cannot make us blind for a name. */
static int put_globs(struct tf_object *o, char *msg, size_t msg_size)
{
	const uint32_t zero = 0;
	int rc;

	if (!o->opts.globs)
		return 0;
	rc = bpf_map_update_elem(o->map_fd[TF_M_GLOBS], &zero, o->opts.globs, BPF_ANY);
	if (!rc)
		rc = bpf_map_freeze(o->map_fd[TF_M_GLOBS]);
	if (rc)
		snprintf(msg, msg_size, "cannot fill map tf_globs (programs.process.exclude_comms): %s", strerror(-rc));
	o->not_comms = true;
	o->opts.globs = NULL; /* the caller's */
	return rc;
}

bool tf_object_is_old(const struct tf_object *o)
{
	return o->old;
}

static void close_source(void *self)
{
	tf_object_close(self);
}

static int set_rate(void *self, uint32_t kind, uint32_t threshold, uint32_t weight_bits, uint64_t since_ns)
{
	return tf_object_set_rate(self, kind, threshold, weight_bits, since_ns);
}

static int path_of_cgroup(void *self, uint64_t id, bool v1, char *path)
{
	struct tf_object *o = self;

	return tf_cgroup_name(&o->cgroups, id, v1, path);
}

static int show_source(struct tf_object *o, char *msg, size_t msg_size)
{
	struct tf_source *s = &o->source;

	*s = (struct tf_source){
		.name = "kernel", .self = o, .rings = o->rings, .nrings = o->nrings, .ncpu = o->ncpu, .ring_fds = o->ring_fds,
		.ledger = o->mapped[TF_M_LEDGER], .cpus = o->mapped[TF_M_CPUS], .lanes = o->mapped[TF_M_LANES],
		.settings = o->mapped[TF_M_SETTINGS], .gate = true, .run_id = tf_boot_ns(), .step = tf_snapshot_step,
		.tick = tf_pressure_tick, .close = close_source, .set_rate = set_rate, .throttled = o->mapped[TF_M_THROTTLED],
	};
	memcpy(s->by_process, o->opts.by_process, sizeof(s->by_process));
	memcpy(s->by_connection, o->opts.by_connection, sizeof(s->by_connection));
	if (!o->opts.synth && !tf_cgroup_names_open(&o->cgroups, "/proc/self/mountinfo"))
		s->cgroup_path = path_of_cgroup;
	if (!tf_boot_id(s->boot_id))
		return 0;
	snprintf(msg, msg_size, "cannot read /proc/sys/kernel/random/boot_id: is /proc mounted?");
	return -EIO;
}

static int open_steps(struct tf_object *o, char *msg, size_t msg_size)
{
	int rc = tf_explain_missing(msg, msg_size);

	if (rc)
		return rc;
	rc = libbpf_num_possible_cpus();
	if (rc <= 0) {
		snprintf(msg, msg_size, "cannot tell how many CPUs there are: %s; is /sys mounted?", strerror(-rc));
		return rc ? rc : -EIO;
	}
	o->ncpu = (uint32_t)rc;
	tf_plan_rings(o);
	o->old = o->opts.old || !tf_has_fetch_atomics();
	if (o->old) {
		tf_object_say(o, TF_LOG_INFO, "BPF programs without fetch atomics are used: sequence numbers are weak (flag weak_seq), the gate judges ids "
					      "only, and no kind is drawn by key");
		memset(o->opts.by_process, 0, sizeof(o->opts.by_process));
		memset(o->opts.by_connection, 0, sizeof(o->opts.by_connection));
	}
	rc = tf_prepare_parts(o, msg, msg_size);
	if (!rc)
		rc = load_base(o, msg, msg_size);
	if (!rc)
		rc = set_consts(o, msg, msg_size);
	if (!rc)
		rc = tf_map_memory(o, msg, msg_size);
	if (!rc)
		rc = tf_make_rings(o, msg, msg_size);
	if (!rc)
		rc = put_globs(o, msg, msg_size);
	if (!rc)
		rc = tf_load_parts(o, msg, msg_size);
	if (!rc)
		tf_pressure_open(o);
	return rc ? rc : show_source(o, msg, msg_size);
}

int tf_object_open(const struct tf_object_opts *opts, struct tf_object **out, char *msg, size_t msg_size)
{
	struct tf_object *o = calloc(1, sizeof(*o));
	struct btf *types;
	int rc;

	*out = NULL;
	if (msg_size)
		msg[0] = 0;
	if (!o) {
		snprintf(msg, msg_size, "no memory for the BPF object's state");
		return -ENOMEM;
	}
	o->opts = *opts;
	o->iter_fd = o->stats_fd = o->core_fd = o->psi.fd = o->cgroups.v1.fd = o->cgroups.v2.fd = -1;
	for (int i = 0; i < TF_M_COUNT; i++)
		o->map_fd[i] = -1;
	tf_log_begin(o);
	types = btf__load_vmlinux_btf(); /* kept for all who ask while we open; without it the first of them says what is wrong */
	rc = open_steps(o, msg, msg_size);
	btf__free(types);
	if (rc)
		tf_rings_ready(o, NULL, 0); /* what went wrong first is what is told */
	else
		rc = tf_rings_ready(o, msg, msg_size);
	tf_log_end();
	if (rc) {
		tf_add_next_step(rc, msg, msg_size);
		tf_object_close(o);
		return rc;
	}
	*out = o;
	return 0;
}

struct tf_source *tf_object_source(struct tf_object *o)
{
	return &o->source;
}

int tf_object_synth(struct tf_object *o, struct tf_synth_args *args)
{
	struct tf_program *p = tf_find_program(o, "tf_synth");
	LIBBPF_OPTS(bpf_test_run_opts, opts, .ctx_in = args, .ctx_size_in = sizeof(*args));
	int rc;

	if (!p || !p->prog)
		return p && p->info.error ? p->info.error : -ENOENT;
	rc = bpf_prog_test_run_opts(bpf_program__fd(p->prog), &opts);
	return rc ? rc : (int)opts.retval;
}

void tf_object_reset_rings(struct tf_object *o)
{
	struct tf_lane_state *lanes = o->mapped[TF_M_LANES];

	for (uint32_t i = TF_BULK; i < o->nrings * TF_LANES; i += TF_LANES) {
		o->rings[i].read = tf_load_acquire(o->rings[i].producer_pos);
		tf_ring_publish(&o->rings[i]);
		tf_store_relaxed(&lanes[i].read_pos, o->rings[i].read);
	}
}

static void free_object(struct tf_object *o)
{
	free(o->rings);
	free(o->ring_fds);
	free(o->roots);
	free(o->programs);
	free(o);
}

/* libbpf's own view of a part's constants holds the map alive as a descriptor would. */
static void forget_part(struct bpf_object *obj)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	struct bpf_program *prog;
	struct bpf_map *map;

	bpf_object__for_each_program(prog, obj) {
		if (bpf_program__fd(prog) >= 0)
			close(bpf_program__fd(prog));
	}
	bpf_object__for_each_map(map, obj) {
		size_t size = 0;
		void *at = bpf_map__initial_value(map, &size);

		if (at && bpf_map__is_internal(map))
			munmap(at, (size + page - 1) & ~(page - 1));
		if (bpf_map__fd(map) >= 0)
			close(bpf_map__fd(map));
	}
	if (bpf_object__btf_fd(obj) >= 0)
		close(bpf_object__btf_fd(obj));
}

/* The links are the parent's: destroying one here would detach the parent's program. libbpf's memory is left behind on purpose: freeing
 * it would close the descriptors' numbers a second time. */
void tf_object_forget(struct tf_object *o)
{
	if (!o || o->forgotten)
		return;
	o->forgotten = true;
	for (size_t i = 0; i < o->n_programs; i++)
		if (o->programs[i].link)
			close(bpf_link__fd(o->programs[i].link));
	if (o->iter_link)
		close(bpf_link__fd(o->iter_link));
	if (o->iter_fd >= 0)
		close(o->iter_fd);
	if (o->stats_fd >= 0)
		close(o->stats_fd);
	tf_psi_close(&o->psi);
	tf_cgroup_names_close(&o->cgroups);
	tf_unmap_memory(o);
	for (int i = 0; i < TF_PARTS; i++)
		if (o->parts[i])
			forget_part(o->parts[i]);
}

void tf_object_close(struct tf_object *o)
{
	if (!o)
		return;
	if (!o->forgotten) {
		tf_snapshot_end(o);
		if (o->stats_fd >= 0)
			close(o->stats_fd);
		tf_psi_close(&o->psi);
		tf_cgroup_names_close(&o->cgroups);
		for (size_t i = 0; i < o->n_programs; i++)
			bpf_link__destroy(o->programs[i].link);
		tf_drop_core_btf(o);
	tf_unmap_memory(o);
		for (int i = TF_PARTS - 1; i >= 0; i--)
			bpf_object__close(o->parts[i]);
	}
	free_object(o);
}
