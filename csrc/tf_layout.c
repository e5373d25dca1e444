/* SPDX-License-Identifier: Apache-2.0 */
/* tf_layout: the C view of every record of bpf/include/tf_event.h as const data: one line per field. */
#include "tf_layout.h"

#define FIELD(rec, member, py, k) \
	{.name = py, .c_name = #member, .kind = k, .offset = offsetof(struct rec, member), .size = sizeof(((struct rec *)0)->member)}
#define U(rec, member) FIELD(rec, member, #member, 'u')
#define I(rec, member) FIELD(rec, member, #member, 'i')
#define F(rec, member) FIELD(rec, member, #member, 'f')
#define S(rec, member) FIELD(rec, member, #member, 'S')
#define B(rec, member) FIELD(rec, member, #member, 'B')
#define A(rec, member) FIELD(rec, member, #member, 'A')
#define T(rec, member) FIELD(rec, member, #member, 'T')

/* The header is the first member of every row, so its offsets are the row's. */
#define HEADER_FIELDS \
	U(tf_header, ts_ns), \
	U(tf_header, seq), \
	U(tf_header, cgroup_id), \
	U(tf_header, start_ns), \
	U(tf_header, pid), \
	U(tf_header, tid), \
	U(tf_header, ppid), \
	U(tf_header, uid), \
	U(tf_header, gid), \
	F(tf_header, weight), \
	U(tf_header, cpu), \
	U(tf_header, gen), \
	U(tf_header, type), \
	U(tf_header, subtype), \
	U(tf_header, flags), \
	S(tf_header, comm)

static const struct tf_field process_fields[] = {
	HEADER_FIELDS,
	U(tf_process, parent_start_ns),
	U(tf_process, duration_ns),
	U(tf_process, exe_inode),
	U(tf_process, old_caps),
	U(tf_process, new_caps),
	U(tf_process, exe_device),
	I(tf_process, exit_code),
	I(tf_process, signal),
	U(tf_process, target_pid),
	U(tf_process, old_uid),
	U(tf_process, old_gid),
	U(tf_process, new_uid),
	U(tf_process, new_gid),
	T(tf_process, exe),
	T(tf_process, cwd),
	T(tf_process, args),
};

static const struct tf_field network_fields[] = {
	HEADER_FIELDS,
	U(tf_network, cookie),
	U(tf_network, duration_ns),
	U(tf_network, bytes_sent),
	U(tf_network, bytes_received),
	B(tf_network, source_ip),
	B(tf_network, dest_ip),
	U(tf_network, netns),
	U(tf_network, srtt_us),
	FIELD(tf_network, errno_, "errno", 'i'), /* errno is a macro in C */
	U(tf_network, source_port),
	U(tf_network, dest_port),
	U(tf_network, retransmits),
	U(tf_network, reason),
	U(tf_network, dns_type),
	U(tf_network, family),
	U(tf_network, protocol),
	U(tf_network, direction),
	U(tf_network, state),
	U(tf_network, old_state),
	U(tf_network, dns_rcode),
	T(tf_network, name),
};

static const struct tf_field syscall_fields[] = {
	HEADER_FIELDS,
	A(tf_syscall, args),
	I(tf_syscall, ret),
	U(tf_syscall, duration_ns),
	U(tf_syscall, ip),
	U(tf_syscall, sp),
	U(tf_syscall, nr),
	FIELD(tf_syscall, errno_, "errno", 'i'), /* errno is a macro in C */
	U(tf_syscall, _pad0),
	T(tf_syscall, path),
};

static const struct tf_field file_fields[] = {
	HEADER_FIELDS,
	U(tf_file, inode),
	U(tf_file, offset),
	U(tf_file, size),
	U(tf_file, duration_ns),
	U(tf_file, device),
	U(tf_file, file_flags),
	U(tf_file, mode),
	I(tf_file, fd),
	U(tf_file, count),
	U(tf_file, sequential),
	FIELD(tf_file, errno_, "errno", 'i'), /* errno is a macro in C */
	U(tf_file, new_uid),
	U(tf_file, new_gid),
	T(tf_file, path),
	T(tf_file, new_path),
	T(tf_file, data),
};

static const struct tf_field security_fields[] = {
	HEADER_FIELDS,
	U(tf_security, object_id),
	U(tf_security, value),
	U(tf_security, old_caps),
	U(tf_security, new_caps),
	U(tf_security, inode),
	B(tf_security, dest_ip),
	U(tf_security, device),
	U(tf_security, action),
	FIELD(tf_security, errno_, "errno", 'i'), /* errno is a macro in C */
	U(tf_security, target_pid),
	U(tf_security, old_uid),
	U(tf_security, new_uid),
	U(tf_security, old_gid),
	U(tf_security, new_gid),
	U(tf_security, dest_port),
	U(tf_security, family),
	T(tf_security, path),
};

static const struct tf_field container_fields[] = {
	HEADER_FIELDS,
	U(tf_container, object_id),
	U(tf_container, inode),
	U(tf_container, mnt_ns),
	U(tf_container, pid_ns),
	U(tf_container, net_ns),
	U(tf_container, user_ns),
	U(tf_container, ipc_ns),
	U(tf_container, uts_ns),
	U(tf_container, cgroup_ns),
	U(tf_container, time_ns),
	U(tf_container, ns_flags),
	FIELD(tf_container, errno_, "errno", 'i'), /* errno is a macro in C */
	U(tf_container, runtime),
	U(tf_container, target_pid),
	U(tf_container, action),
	T(tf_container, cgroup_path),
	T(tf_container, container_id),
	T(tf_container, path),
};

static const struct tf_field memory_fields[] = {
	HEADER_FIELDS,
	U(tf_memory, size),
	U(tf_memory, address),
	U(tf_memory, duration_ns),
	U(tf_memory, rss),
	U(tf_memory, limit),
	U(tf_memory, victim_start_ns),
	U(tf_memory, object_id),
	U(tf_memory, count),
	U(tf_memory, minor_faults),
	U(tf_memory, victim_pid),
	U(tf_memory, prot),
	U(tf_memory, map_flags),
	FIELD(tf_memory, errno_, "errno", 'i'), /* errno is a macro in C */
	I(tf_memory, order),
	U(tf_memory, _pad0),
	S(tf_memory, victim_comm),
};

static const struct tf_field cpu_fields[] = {
	HEADER_FIELDS,
	U(tf_cpu, on_cpu_ns),
	U(tf_cpu, rss),
	U(tf_cpu, switches),
	U(tf_cpu, threads),
	U(tf_cpu, minor_faults),
	U(tf_cpu, major_faults),
	U(tf_cpu, _pad0),
};

static const struct tf_field meta_fields[] = {
	HEADER_FIELDS,
	U(tf_meta, epoch),
	U(tf_meta, watermark_ns),
	I(tf_meta, wall_offset_ns),
	U(tf_meta, value),
	U(tf_meta, object_id),
	U(tf_meta, parent_start_ns),
	U(tf_meta, rules),
	U(tf_meta, count),
	U(tf_meta, cause),
	U(tf_meta, n_seqs),
	U(tf_meta, n_losses),
	T(tf_meta, path),
	T(tf_meta, path2),
	T(tf_meta, data),
};

#define LAYOUT(rec, dom, text, table) \
	{.struct_name = #rec, .domain_name = text, .domain = dom, .size = sizeof(struct rec), \
	 .n_fields = sizeof(table) / sizeof((table)[0]), .fields = table}

const struct tf_record_layout tf_layouts[] = {
	LAYOUT(tf_process, TF_PROCESS, "process", process_fields),
	LAYOUT(tf_network, TF_NETWORK, "network", network_fields),
	LAYOUT(tf_syscall, TF_SYSCALL, "syscall", syscall_fields),
	LAYOUT(tf_file, TF_FILE, "file", file_fields),
	LAYOUT(tf_security, TF_SECURITY, "security", security_fields),
	LAYOUT(tf_container, TF_CONTAINER, "container", container_fields),
	LAYOUT(tf_memory, TF_MEMORY, "memory", memory_fields),
	LAYOUT(tf_cpu, TF_CPU, "cpu", cpu_fields),
	LAYOUT(tf_meta, TF_META, "meta", meta_fields),
};
const size_t tf_layout_count = sizeof(tf_layouts) / sizeof(tf_layouts[0]);

const struct tf_record_layout *tf_layout_of(uint8_t domain)
{
	for (size_t i = 0; i < tf_layout_count; i++)
		if (tf_layouts[i].domain == domain)
			return &tf_layouts[i];
	return NULL;
}
