/* SPDX-License-Identifier: Apache-2.0 */
/* tf_object_info: what health(), debug() and doctor show of programs and maps. */
#include "tf_object_impl.h"

size_t tf_object_programs(struct tf_object *o, struct tf_program_info *out, size_t cap)
{
	for (size_t i = 0; i < o->n_programs && i < cap; i++)
		out[i] = o->programs[i].info;
	return o->n_programs;
}

void tf_object_program_stats(struct tf_object *o)
{
	for (size_t i = 0; i < o->n_programs; i++) {
		struct tf_program *p = &o->programs[i];
		struct bpf_prog_info info = {0};
		__u32 len = sizeof(info);

		if (!p->prog || bpf_prog_get_info_by_fd(bpf_program__fd(p->prog), &info, &len))
			continue;
		p->info.run_ns = info.run_time_ns;
		p->info.run_count = info.run_cnt;
		p->info.recursion_misses = info.recursion_misses;
	}
}

static void put_map(struct tf_map_info *out, size_t cap, size_t *n, int fd, uint64_t bytes)
{
	struct bpf_map_info info = {0};
	__u32 len = sizeof(info);

	if (bpf_map_get_info_by_fd(fd, &info, &len))
		return;
	if (*n < cap) {
		struct tf_map_info *m = &out[*n];

		*m = (struct tf_map_info){.id = info.id, .type = info.type, .max_entries = info.max_entries};
		snprintf(m->name, sizeof(m->name), "%s", info.name);
		m->bytes = bytes ? bytes : ((uint64_t)info.key_size + info.value_size) * info.max_entries;
	}
	(*n)++;
}

size_t tf_object_maps(struct tf_object *o, struct tf_map_info *out, size_t cap)
{
	size_t n = 0;

	for (int i = 0; i < TF_M_COUNT; i++)
		put_map(out, cap, &n, o->map_fd[i], i < TF_M_MAPPED ? o->mapped_len[i] : 0);
	for (uint32_t i = 0; i < o->nrings * TF_LANES; i++)
		put_map(out, cap, &n, o->ring_fds[i], o->ring_bytes[i % TF_LANES]);
	for (int part = TF_PART_BASE + 1; part < TF_PARTS; part++) {
		struct bpf_map *map;

		if (!o->parts[part])
			continue;
		bpf_object__for_each_map(map, o->parts[part]) {
			bool shared = false;

			for (int i = 0; i < TF_M_COUNT; i++)
				shared |= !strcmp(bpf_map__name(map), tf_shared_map_name((enum tf_shared_map)i));
			if (!shared)
				put_map(out, cap, &n, bpf_map__fd(map), 0);
		}
	}
	return n;
}
