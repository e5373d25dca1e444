/* SPDX-License-Identifier: Apache-2.0 */
/* tf_object_snapshot: runs the iterators: those of the snapshot once at the start, then the periodic ones again and again. One read of
 * 4 KiB at a time, so that the pump drains in between. */
#include "tf_object_impl.h"

#include <unistd.h>

#define CHUNK 4096 /* bytes: 64 objects */

static const char *const stages[][2] = { /* a stage is the first of these that the kernel took */
	{"tf_snapshot_task", "tf_snapshot_task_old"},
	{"tf_snapshot_sockets", NULL},
	{"tf_usage", NULL},
};
#define STAGES (int)(sizeof(stages) / sizeof(stages[0]))
#define PERIODIC 2                      /* the first stage that is run every opts.usage_ns */
#define DEFAULT_PERIOD_NS 1000000000ull

static struct tf_program *stage_program(struct tf_object *o, int stage)
{
	for (int i = 0; i < 2 && stages[stage][i]; i++) {
		struct tf_program *p = tf_find_program(o, stages[stage][i]);

		if (p && p->prog)
			return p;
	}
	return NULL;
}

void tf_snapshot_end(struct tf_object *o)
{
	if (o->iter_fd >= 0)
		close(o->iter_fd);
	bpf_link__destroy(o->iter_link);
	o->iter_fd = -1;
	o->iter_link = NULL;
}

static int start_stage(struct tf_object *o, struct tf_program *p)
{
	int rc = 0;

	tf_log_begin(o);
	o->iter_link = bpf_program__attach_iter(p->prog, NULL);
	if (!o->iter_link)
		rc = errno ? -errno : -EINVAL;
	if (!rc) {
		o->iter_fd = bpf_iter_create(bpf_link__fd(o->iter_link));
		rc = o->iter_fd < 0 ? -errno : 0;
	}
	tf_log_end();
	if (rc) {
		p->info.state = TF_P_ATTACH_FAILED;
		p->info.error = rc;
		snprintf(p->info.reason, sizeof(p->info.reason), "cannot start the iterator: %s", strerror(-rc));
		tf_snapshot_end(o);
	}
	return rc;
}

static bool has_periodic(struct tf_object *o)
{
	for (int stage = PERIODIC; stage < STAGES; stage++)
		if (stage_program(o, stage))
			return true;
	return false;
}

/* After the last stage: when the periodic ones begin again. A look that took longer than the period is followed by the next at once. */
static void plan_look(struct tf_object *o)
{
	const uint64_t period = o->opts.usage_ns ? o->opts.usage_ns : DEFAULT_PERIOD_NS, now = tf_boot_ns();

	o->source.step_at_ns = 0;
	if (!has_periodic(o))
		return;
	o->snapshot_stage = PERIODIC;
	o->source.step_at_ns = o->look_began_ns + period > now ? o->look_began_ns + period : now;
}

/* False: that was the last one. */
static bool next_stage(struct tf_object *o)
{
	tf_snapshot_end(o);
	if (++o->snapshot_stage < STAGES)
		return true;
	plan_look(o);
	return false;
}

/* One chunk of the stage under way: 1 = more, 0 = its end, -errno. */
static int read_chunk(struct tf_object *o)
{
	struct tf_program *p = stage_program(o, o->snapshot_stage);
	char chunk[CHUNK];
	ssize_t n;
	int rc;

	if (!p)
		return 0;
	if (o->iter_fd < 0) {
		rc = start_stage(o, p);
		if (rc)
			return rc;
	}
	n = read(o->iter_fd, chunk, sizeof(chunk));
	if (n < 0 && errno != EAGAIN && errno != EINTR)
		return -errno;
	return n != 0; /* EAGAIN: the ring is half full, the program wants a drain first */
}

/* tf_source.step. 1 = call again after a drain pass, 0 = done for now, -errno = done, but a stage failed (its program's info says why). */
int tf_snapshot_step(void *self)
{
	struct tf_object *o = self;
	int rc;

	if (o->snapshot_stage >= STAGES)
		return 0;
	if (o->snapshot_stage == PERIODIC && o->iter_fd < 0)
		o->look_began_ns = tf_boot_ns();
	rc = read_chunk(o);
	if (rc > 0)
		return 1;
	if (rc < 0)
		o->snapshot_error = rc;
	if (next_stage(o))
		return 1;
	rc = o->snapshot_error;
	o->snapshot_error = 0;
	return rc;
}
