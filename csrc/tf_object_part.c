/* SPDX-License-Identifier: Apache-2.0 */
/* tf_object_part: one embedded BPF object: opened, its records compared with ours, its constants set, its maps joined to the shared
 * ones. */
#include "tf_object_impl.h"

#include "tf_layout.h"

#include <elf.h>

static const struct {
	const char *name;
	const char *records[4];         /* that its BTF must have */
} parts[TF_PARTS] = {
	[TF_PART_BASE] = {"base", {"tf_header"}},
	[TF_PART_PROCESS] = {"process", {"tf_header", "tf_process"}},
	[TF_PART_IDENTITY] = {"identity", {"tf_header", "tf_process"}},
	[TF_PART_NETWORK] = {"network", {"tf_header", "tf_network"}},
	[TF_PART_BIND] = {"bind", {"tf_header", "tf_network"}},
	[TF_PART_DROP] = {"drop", {"tf_header", "tf_network"}},
	[TF_PART_UDP] = {"udp", {"tf_header", "tf_network"}},
	[TF_PART_DNS] = {"dns", {"tf_header", "tf_network"}},
	[TF_PART_SYSCALL] = {"syscall", {"tf_header", "tf_syscall"}},
	[TF_PART_FILE] = {"file", {"tf_header", "tf_file"}},
	[TF_PART_FILE_IO] = {"file_io", {"tf_header", "tf_file"}},
	[TF_PART_SECURITY] = {"security", {"tf_header", "tf_security"}},
	[TF_PART_SECURITY_CRED] = {"security_cred", {"tf_header", "tf_security"}},
	[TF_PART_SECURITY_PATH] = {"security_path", {"tf_header", "tf_security"}},
	[TF_PART_SECURITY_HOOK] = {"security_hook", {"tf_header", "tf_security"}},
	[TF_PART_CONTAINER] = {"container", {"tf_header", "tf_container"}},
	[TF_PART_MEMORY] = {"memory", {"tf_header", "tf_memory"}},
	[TF_PART_SNAPSHOT] = {"snapshot", {"tf_header", "tf_meta", "tf_network"}},
	[TF_PART_USAGE] = {"usage", {"tf_header", "tf_cpu"}},
	[TF_PART_SYNTH] = {"synth", {"tf_header", "tf_cpu", "tf_network"}},
};

const char *tf_part_name(enum tf_part_id part)
{
	return parts[part].name;
}

/* Each object is embedded three times: as it is, as "NAME.old" for kernels without fetch atomics, as "NAME.new" for those that cast. */
const struct tf_blob *tf_part_blob(const struct tf_object *o, enum tf_part_id part)
{
	char name[32];

	snprintf(name, sizeof(name), "%s%s", parts[part].name, o->old ? ".old" : o->casts ? ".new" : "");
	for (size_t i = 0; i < tf_blob_count; i++)
		if (!strcmp(tf_blobs[i].name, name))
			return &tf_blobs[i];
	return NULL;
}

/* Bytes of instructions, wanted or not; 0: not in this build. */
size_t tf_part_code_size(const struct tf_object *o, enum tf_part_id part)
{
	const struct tf_blob *blob = tf_part_blob(o, part);
	const Elf64_Ehdr *elf = blob ? (const Elf64_Ehdr *)blob->data : NULL;
	const Elf64_Shdr *sections = elf ? (const Elf64_Shdr *)(blob->data + elf->e_shoff) : NULL;
	size_t size = 0;

	for (int i = 0; elf && i < elf->e_shnum; i++)
		size += sections[i].sh_flags & SHF_EXECINSTR ? sections[i].sh_size : 0;
	return size;
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
	const struct tf_blob *blob = tf_part_blob(o, part);
	LIBBPF_OPTS(bpf_object_open_opts, opts, .object_name = parts[part].name, .kernel_log_buf = log, .kernel_log_size = log_size);
	struct bpf_object *obj;
	char core[32];

	snprintf(core, sizeof(core), "/proc/self/fd/%d", o->core_fd);
	opts.btf_custom_path = o->core_fd >= 0 ? core : NULL;
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

/* Tables of a part's own, by their name: as large as the configuration lets a table be. */
int tf_part_size_tables(struct tf_object *o, enum tf_part_id part)
{
	struct bpf_map *map;
	int rc = 0;

	bpf_object__for_each_map(map, o->parts[part])
		if (!rc && !strncmp(bpf_map__name(map), "tf_t_", 5))
			rc = bpf_map__set_max_entries(map, o->opts.map_entries ? o->opts.map_entries : 10000);
	return rc;
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
