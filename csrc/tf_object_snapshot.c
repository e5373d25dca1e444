/* SPDX-License-Identifier: Apache-2.0 */
/* tf_object_snapshot: runs the SNAPSHOT iterators, one read of 4 KiB at a time, so that the pump drains in between. */
#include "tf_object_impl.h"

#include <unistd.h>

#define CHUNK 4096 /* bytes: 64 objects */

static const char *const stages[][2] = { /* a stage is the first of these that the kernel took */
	{"tf_snapshot_task", "tf_snapshot_task_old"},
	{"tf_snapshot_sockets", NULL},
};
#define STAGES (int)(sizeof(stages) / sizeof(stages[0]))

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

static bool next_stage(struct tf_object *o)
{
	tf_snapshot_end(o);
	return ++o->snapshot_stage < STAGES;
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

/* tf_source.step. 1 = call again after a drain pass, 0 = all done, -errno = done, but a stage failed (its program's info says why). */
int tf_snapshot_step(void *self)
{
	struct tf_object *o = self;
	int rc;

	if (o->opts.no_snapshot || o->snapshot_stage >= STAGES)
		return 0;
	rc = read_chunk(o);
	if (rc > 0)
		return 1;
	if (rc < 0)
		o->snapshot_error = rc;
	return next_stage(o) ? 1 : o->snapshot_error;
}
