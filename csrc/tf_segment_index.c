// SPDX-License-Identifier: Apache-2.0
/* tf_segment_index: what a frame's header tells of the rows in it, so that most blocks need not be read for a narrow question. */
#include "tf_segment_impl.h"

void tf_index_open(struct tf_frame_domain *d)
{
	d->kinds = 0;
	d->cgroup_min = UINT64_MAX;
	d->pid_min = UINT32_MAX;
	d->port_min = UINT16_MAX;
	d->cgroup_max = d->pid_max = d->port_max = 0;
}

static void set_bit(uint8_t *bits, uint32_t n, uint64_t value)
{
	uint32_t bit = tf_index_bit(value, n);
	bits[bit / 8] |= (uint8_t)(1u << bit % 8);
}

static bool has_bit(const uint8_t *bits, uint32_t n, uint64_t value)
{
	uint32_t bit = tf_index_bit(value, n);
	return bits[bit / 8] >> bit % 8 & 1;
}

/* Offsets of a domain's ports. */
static uint32_t ports_of(uint8_t domain, uint16_t offset[2])
{
	if (domain == TF_NETWORK) {
		offset[0] = offsetof(struct tf_network, source_port);
		offset[1] = offsetof(struct tf_network, dest_port);
		return 2;
	}
	offset[0] = offsetof(struct tf_security, dest_port);
	return domain == TF_SECURITY;
}

static void add_port(struct tf_frame_domain *d, struct tf_frame_filter *filter, uint16_t port)
{
	if (!port)
		return;
	d->port_min = port < d->port_min ? port : d->port_min;
	d->port_max = port > d->port_max ? port : d->port_max;
	if (filter)
		set_bit(filter->port, 8 * sizeof(filter->port), port);
}

void tf_index_add(struct tf_frame_domain *d, struct tf_frame_filter *filter, const uint8_t *rows, uint32_t n)
{
	uint64_t kinds = d->kinds, cgroup_min = d->cgroup_min, cgroup_max = d->cgroup_max;
	uint32_t pid_min = d->pid_min, pid_max = d->pid_max;
	uint16_t port_at[2];
	uint32_t n_ports = ports_of(d->domain, port_at);
	struct tf_header last = { .pid = 0 };
	for (uint32_t i = 0; i < n; i++, rows += d->row_size) {
		struct tf_header h;
		memcpy(&h, rows, sizeof(h));
		kinds |= 1ull << (h.subtype < 63 ? h.subtype : 63);
		pid_min = h.pid < pid_min ? h.pid : pid_min;
		pid_max = h.pid > pid_max ? h.pid : pid_max;
		cgroup_min = h.cgroup_id < cgroup_min ? h.cgroup_id : cgroup_min;
		cgroup_max = h.cgroup_id > cgroup_max ? h.cgroup_id : cgroup_max;
		/* rows of one process come in a row: its bits are set already */
		if (filter && (!i || h.pid != last.pid || h.cgroup_id != last.cgroup_id)) {
			set_bit(filter->pid, 8 * sizeof(filter->pid), h.pid);
			set_bit(filter->cgroup, 8 * sizeof(filter->cgroup), h.cgroup_id);
			last = h;
		}
		for (uint32_t k = 0; k < n_ports; k++) {
			uint16_t port;
			memcpy(&port, rows + port_at[k], sizeof(port));
			add_port(d, filter, port);
		}
	}
	d->kinds = kinds;
	d->cgroup_min = cgroup_min;
	d->cgroup_max = cgroup_max;
	d->pid_min = pid_min;
	d->pid_max = pid_max;
}

static bool any_of(const struct tf_asked_values *a, uint64_t min, uint64_t max, const uint8_t *bits, uint32_t n_bits)
{
	if (!a->n)
		return true;
	for (uint32_t i = 0; i < a->n; i++)
		if (a->value[i] >= min && a->value[i] <= max && (!bits || has_bit(bits, n_bits, a->value[i])))
			return true;
	return false;
}

bool tf_index_may_match(const struct tf_frame_head *h, const struct tf_reader_select *sel)
{
	const struct tf_frame_domain *d = tf_frame_domains(h);
	const uint8_t *filters = (const uint8_t *)(d + h->n_domains);
	for (uint32_t i = 0; i < h->n_domains; i++) {
		struct tf_frame_filter f;
		bool filtered = d[i].filtered;
		if (filtered) {
			memcpy(&f, filters, sizeof(f));
			filters += sizeof(f);
		}
		if (d[i].domain >= TF_TYPE_MAX || !d[i].rows || (sel->domains && !(sel->domains & 1u << d[i].domain)))
			continue;
		if (sel->narrow & 1u << d[i].domain) {
			const struct tf_asked *a = &sel->asked[d[i].domain];
			if (!(d[i].kinds & a->kinds) ||
			    !any_of(&a->pid, d[i].pid_min, d[i].pid_max, filtered ? f.pid : NULL, 8 * sizeof(f.pid)) ||
			    !any_of(&a->cgroup, d[i].cgroup_min, d[i].cgroup_max, filtered ? f.cgroup : NULL, 8 * sizeof(f.cgroup)) ||
			    !any_of(&a->port, d[i].port_min, d[i].port_max, filtered ? f.port : NULL, 8 * sizeof(f.port)))
				continue;
		}
		return true;
	}
	return false;
}
