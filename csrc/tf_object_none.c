/* SPDX-License-Identifier: Apache-2.0 */
/* tf_object_none: tf_object.h and tf_object_yard.h for builds without libbpf (TF_NO_BPF): every call says that live collection is not in
 * this build. */
#include "tf_object.h"
#include "tf_object_yard.h"

#include <stdio.h>

#define SENTENCE "this build has no live collection (it was made with TAPIO_FAST_NO_BPF=1): rebuild without that variable"

int tf_object_open(const struct tf_object_opts *opts, struct tf_object **out, char *msg, size_t msg_size)
{
	(void)opts;
	*out = NULL;
	snprintf(msg, msg_size, "%s", SENTENCE);
	return -ENOTSUP;
}

int tf_object_attach(struct tf_object *o, char *msg, size_t msg_size)
{
	(void)o;
	snprintf(msg, msg_size, "%s", SENTENCE);
	return -ENOTSUP;
}

struct tf_source *tf_object_source(struct tf_object *o)
{
	(void)o;
	return NULL;
}

size_t tf_object_programs(struct tf_object *o, struct tf_program_info *out, size_t cap)
{
	(void)o, (void)out, (void)cap;
	return 0;
}

size_t tf_object_maps(struct tf_object *o, struct tf_map_info *out, size_t cap)
{
	(void)o, (void)out, (void)cap;
	return 0;
}

void tf_object_program_stats(struct tf_object *o)
{
	(void)o;
}

int64_t tf_object_set_rules(struct tf_object *o, const struct tf_rules_spec *s)
{
	(void)o, (void)s;
	return -ENOTSUP;
}

bool tf_object_is_old(const struct tf_object *o)
{
	(void)o;
	return false;
}

int tf_object_set_rate(struct tf_object *o, uint32_t kind, uint32_t threshold, uint32_t weight_bits, uint64_t since_ns)
{
	(void)o, (void)kind, (void)threshold, (void)weight_bits, (void)since_ns;
	return -ENOTSUP;
}

int tf_object_set_throttle(struct tf_object *o, uint64_t rate, uint64_t burst)
{
	(void)o, (void)rate, (void)burst;
	return -ENOTSUP;
}

int tf_object_set_paths(struct tf_object *o, uint32_t bits, const char *path)
{
	(void)o, (void)bits, (void)path;
	return -ENOTSUP;
}

uint32_t tf_object_tampered(struct tf_object *o, char *msg, size_t msg_size)
{
	(void)o, (void)msg, (void)msg_size;
	return 0;
}

int tf_object_synth(struct tf_object *o, struct tf_synth_args *args)
{
	(void)o, (void)args;
	return -ENOTSUP;
}

void tf_object_reset_rings(struct tf_object *o)
{
	(void)o;
}

void tf_object_forget(struct tf_object *o)
{
	(void)o;
}

void tf_object_close(struct tf_object *o)
{
	(void)o;
}

void tf_probe_run(struct tf_probe *out)
{
	memset(out, 0, sizeof(*out));
	snprintf(out->reason, sizeof(out->reason), "%s", SENTENCE);
	out->ring_buffer = out->prog_load = -ENOTSUP;
}

int tf_yard_open(struct tf_yard **out)
{
	*out = NULL;
	return -ENOTSUP;
}

int tf_yard_attach(struct tf_yard *y, const char *program)
{
	(void)y, (void)program;
	return -ENOTSUP;
}

void tf_yard_detach(struct tf_yard *y)
{
	(void)y;
}

void tf_yard_reset(struct tf_yard *y)
{
	(void)y;
}

uint64_t tf_yard_records(const struct tf_yard *y)
{
	(void)y;
	return 0;
}

void tf_yard_close(struct tf_yard *y)
{
	(void)y;
}

int64_t tf_yard_work(enum tf_yard_work work, const char *path, uint64_t n)
{
	(void)work, (void)path, (void)n;
	return -ENOTSUP;
}
