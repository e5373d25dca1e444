/* SPDX-License-Identifier: Apache-2.0 */
/* tf_object_part: one embedded BPF object: opened, its records compared with ours, its constants set, its maps joined to the shared ones. */
#include "tf_object_impl.h"

#include "tf_blobs.h"
#include "tf_layout.h"

static const struct {
	const char *name;
	const char *records[4];         /* that its BTF must have */
} parts[TF_PARTS] = {
	[TF_PART_BASE] = {"base", {"tf_header"}},
	[TF_PART_PROCESS] = {"process", {"tf_header", "tf_process"}},
	[TF_PART_NETWORK] = {"network", {"tf_header", "tf_network"}},
	[TF_PART_SNAPSHOT] = {"snapshot", {"tf_header", "tf_meta", "tf_network"}},
	[TF_PART_SYNTH] = {"synth", {"tf_header", "tf_cpu", "tf_network"}},
};

static const struct tf_blob *find_blob(const char *name)
{
	for (size_t i = 0; i < tf_blob_count; i++)
		if (!strcmp(tf_blobs[i].name, name))
			return &tf_blobs[i];
	return NULL;
}

int tf_part_check_layout(struct tf_object *o, enum tf_part_id part, char *msg, size_t msg_size)
{
	const char *required[5] = {0};
	const void *data;
	uint32_t size = 0;

	for (size_t i = 0; i < sizeof(parts[part].records) / sizeof(parts[part].records[0]); i++)
		required[i] = parts[part].records[i];
	data = bpf_object__btf(o->parts[part]) ? btf__raw_data(bpf_object__btf(o->parts[part]), &size) : NULL;
	if (!data) {
		snprintf(msg, msg_size, "the embedded object %s.bpf.o has no BTF: rebuild bpf/ with -g", parts[part].name);
		return -EBADMSG;
	}
	return tf_layout_check(data, size, required, msg, msg_size) ? -EBADMSG : 0;
}

int tf_part_open(struct tf_object *o, enum tf_part_id part, char *log, size_t log_size, char *msg, size_t msg_size)
{
	const struct tf_blob *blob = find_blob(parts[part].name);
	LIBBPF_OPTS(bpf_object_open_opts, opts, .object_name = parts[part].name, .kernel_log_buf = log, .kernel_log_size = log_size);
	struct bpf_object *obj;

	if (!blob) {
		snprintf(msg, msg_size, "the object %s.bpf.o is not in this build: rebuild it", parts[part].name);
		return -ENOENT;
	}
	obj = bpf_object__open_mem(blob->data, blob->size, &opts);
	if (!obj) {
		int rc = errno ? -errno : -EINVAL;

		snprintf(msg, msg_size, "cannot open the embedded object %s.bpf.o: %s (%s)", parts[part].name, strerror(-rc),
			 tf_log_last_warning());
		return rc;
	}
	o->parts[part] = obj;
	return 0;
}

/* The section .rodata.tf holds struct tf_consts and nothing else. */
void tf_part_set_consts(struct tf_object *o, enum tf_part_id part)
{
	struct bpf_map *map = bpf_object__find_map_by_name(o->parts[part], ".rodata.tf");
	size_t size = 0;
	void *at = map ? bpf_map__initial_value(map, &size) : NULL;

	if (at && size >= sizeof(o->consts))
		memcpy(at, &o->consts, sizeof(o->consts));
}

int tf_part_join_maps(struct tf_object *o, enum tf_part_id part)
{
	for (int i = 0; i < TF_M_COUNT; i++) {
		struct bpf_map *map = bpf_object__find_map_by_name(o->parts[part], tf_shared_map_name((enum tf_shared_map)i));
		int rc = map ? bpf_map__reuse_fd(map, o->map_fd[i]) : 0;

		if (rc)
			return rc;
	}
	return 0;
}
