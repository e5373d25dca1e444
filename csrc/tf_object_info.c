/* SPDX-License-Identifier: Apache-2.0 */
/* tf_object_info: what health(), debug() and doctor show of programs and maps. */
#include "tf_object_impl.h"

/* How often a hook is reached, the busiest last. What is not listed is rare. */
static const struct {
	const char *hook;       /* past the family */
	const char *cost;
} costs[] = {
	{"sched_process_fork", "per process"}, {"sched_process_exec", "per process"}, {"sched_process_exit", "per thread"},
	{"task_rename", "per process"}, {"signal_generate", "per signal"},
	{"inet_sock_set_state", "per connection"}, {"tcp_receive_reset", "per connection"}, {"tcp_send_reset", "per connection"},
	{"sock_release", "per connection"}, {"sock_create", "per connection"},
	{"commit_creds", "per process"}, {"cap_capable", "per capability check"}, {"handle_mm_fault", "per page fault"},
	{"page_fault_user", "per page fault"}, {"page_fault_kernel", "per page fault"}, {"security_file_open", "per file opened"},
	{"io_uring_submit_req", "per io_uring request"}, {"io_uring_submit_sqe", "per io_uring request"},
	{"net_dev_queue", "per packet"}, {"netif_receive_skb", "per packet"}, {"kfree_skb", "per packet"}, {"tcp_probe", "per packet"},
	{"consume_skb", "per packet"}, {"tcp_retransmit_skb", "per packet"}, {"sock_send_length", "per send and receive"},
	{"sock_recv_length", "per send and receive"}, {"udp_sendmsg", "per send and receive"}, {"udp_recvmsg", "per send and receive"},
};

const char *tf_cost_of(const struct tf_program_spec *s)
{
	const char *at = strchr(s->hook, '/');

	if (s->cost)
		return s->cost;
	if (s->flags & TF_PS_DISPATCH)
		return "per system call";
	if (s->syscalls)
		return "per system call it is for";
	if (s->flags & (TF_PS_SNAPSHOT | TF_PS_RUN) || !strncmp(s->hook, "iter", 4) || !strcmp(s->hook, "syscall"))
		return "when asked";
	for (size_t i = 0; at && i < sizeof(costs) / sizeof(costs[0]); i++)
		if (!strcmp(at + 1, costs[i].hook))
			return costs[i].cost;
	return "rare";
}

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

/* `name`: NULL = as the kernel calls it. */
static void put_map(struct tf_map_info *out, size_t cap, size_t *n, int fd, const char *name, uint64_t bytes)
{
	struct bpf_map_info info = {0};
	__u32 len = sizeof(info);

	if (bpf_map_get_info_by_fd(fd, &info, &len))
		return;
	if (*n < cap) {
		struct tf_map_info *m = &out[*n];

		*m = (struct tf_map_info){.id = info.id, .type = info.type, .max_entries = info.max_entries};
		snprintf(m->name, sizeof(m->name), "%s", name ? name : info.name);
		m->bytes = bytes ? bytes : ((uint64_t)info.key_size + info.value_size) * info.max_entries;
	}
	(*n)++;
}

size_t tf_object_maps(struct tf_object *o, struct tf_map_info *out, size_t cap)
{
	size_t n = 0;

	for (int i = 0; i < TF_M_COUNT; i++)
		put_map(out, cap, &n, o->map_fd[i], tf_shared_map_title((enum tf_shared_map)i), i < TF_M_MAPPED ? o->mapped_len[i] : 0);
	for (uint32_t i = 0; i < o->nrings * TF_LANES; i++)
		put_map(out, cap, &n, o->ring_fds[i], NULL, o->ring_bytes[i % TF_LANES]);
	for (int part = TF_PART_BASE + 1; part < TF_PARTS; part++) {
		struct bpf_map *map;

		if (!o->parts[part])
			continue;
		bpf_object__for_each_map(map, o->parts[part]) {
			bool shared = false;

			for (int i = 0; i < TF_M_COUNT; i++)
				shared |= !strcmp(bpf_map__name(map), tf_shared_map_name((enum tf_shared_map)i));
			if (!shared)
				put_map(out, cap, &n, bpf_map__fd(map), NULL, 0);
		}
	}
	return n;
}
