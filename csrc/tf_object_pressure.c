/* SPDX-License-Identifier: Apache-2.0 */
/* tf_object_pressure: asks now and then whether a pressure threshold was passed, and has the program send the record, through the gate like
 * every other. No thread of its own: the pump calls. */
#include "tf_object_impl.h"

#include <unistd.h>

#define TICK_NS 50000000u /* between two looks: the kernel tells at most once a window, which is 500 ms or more */

#define MACHINES "/proc/pressure/memory"

/* A kernel that measures has the machine's file too; one booted with psi=0 shows files and refuses them (EOPNOTSUPP). */
static bool measures_none(int rc)
{
	return rc == -EOPNOTSUPP || (rc == -ENOENT && access(MACHINES, F_OK));
}

static void explain(int rc, const char *path, char *why, size_t size)
{
	if (measures_none(rc))
		snprintf(why, size, "the kernel measures no pressure (%s: %s): boot it with psi=1", path, strerror(-rc));
	else if (rc == -ENOENT)
		snprintf(why, size, "there is no file %s; check programs.memory.pressure_path", path);
	else if (rc == -EINVAL)
		snprintf(why, size, "the kernel refuses this threshold on %s: without CAP_SYS_RESOURCE programs.memory.pressure_window_ms must be a "
				    "multiple of 2000", path);
	else
		snprintf(why, size, "cannot set a threshold on %s: %s; check programs.memory.pressure_path", path, strerror(-rc));
}

/* Before anything is attached. A kernel without it costs this program, with the reason in its info. */
void tf_pressure_open(struct tf_object *o)
{
	struct tf_program *p = tf_find_program(o, "tf_memory_pressure");
	const char *path = o->opts.pressure_path ? o->opts.pressure_path : MACHINES;
	char why[400];
	int rc;

	o->psi.fd = -1;
	if (!p || !p->prog || !o->opts.pressure_us)
		return;
	rc = tf_psi_open(&o->psi, path, o->opts.pressure_us, o->opts.pressure_window_us);
	if (!rc)
		return;
	explain(rc, path, why, sizeof(why));
	tf_set_state(p, measures_none(rc) ? TF_P_MISSING_HOOK : TF_P_ATTACH_FAILED, rc, why);
}

/* tf_source.tick */
void tf_pressure_tick(void *self)
{
	struct tf_object *o = self;
	struct tf_pressure_args args = {.threshold_ns = (uint64_t)o->opts.pressure_us * 1000, .cgroup_id = o->psi.group};
	LIBBPF_OPTS(bpf_test_run_opts, run, .ctx_in = &args, .ctx_size_in = sizeof(args));
	struct tf_program *p;
	uint64_t now, stalled_ns;
	int rc;

	if (o->psi.fd < 0)
		return;
	now = tf_boot_ns();
	if (now < o->psi_next_ns)
		return;
	o->psi_next_ns = now + TICK_NS;
	rc = tf_psi_poll(&o->psi, &stalled_ns);
	if (!rc)
		return;
	args.stalled_ns = stalled_ns;
	p = tf_find_program(o, "tf_memory_pressure");
	if (rc > 0)
		rc = bpf_prog_test_run_opts(bpf_program__fd(p->prog), &run);
	if (rc < 0) {
		tf_psi_close(&o->psi);
		tf_object_say(o, TF_LOG_WARNING, "memory pressure is no longer watched: its file or program cannot be used any more");
	}
}
