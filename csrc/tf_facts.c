/* SPDX-License-Identifier: Apache-2.0 */
/* tf_facts: the tables of processes and control groups, and their bounds: who is dead goes first, then whoever was told about longest ago. */
#include "tf_facts_impl.h"

#include <stdlib.h>

#define PROCESSES 65536u
#define CGROUPS 16384u
#define TEXT_BYTES (64u << 20)

static uint32_t mask_for(uint32_t n)
{
	uint32_t places = 64;

	while (places < n && places < 1u << 22)
		places *= 2;
	return places - 1;
}

int tf_facts_open(const struct tf_facts_opts *o, struct tf_facts **out)
{
	struct tf_facts *f = calloc(1, sizeof(*f));

	if (!f)
		return -ENOMEM;
	if (o)
		f->o = *o;
	f->o.processes = f->o.processes ? f->o.processes : PROCESSES;
	f->o.cgroups = f->o.cgroups ? f->o.cgroups : CGROUPS;
	f->o.text_bytes = f->o.text_bytes ? f->o.text_bytes : TEXT_BYTES;
	f->pid_mask = mask_for(f->o.processes);
	f->id_mask = mask_for(f->o.cgroups);
	f->string_mask = mask_for(f->o.processes);
	f->by_pid = calloc(f->pid_mask + 1, sizeof(*f->by_pid));
	f->by_id = calloc(f->id_mask + 1, sizeof(*f->by_id));
	f->strings = calloc(f->string_mask + 1, sizeof(*f->strings));
	if (!f->by_pid || !f->by_id || !f->strings) {
		tf_facts_close(f);
		return -ENOMEM;
	}
	*out = f;
	return 0;
}

/* --- lists by age: [0] alive, [1] dead --- */

static void unlist(struct tf_facts *f, struct tf_fact_process *p)
{
	*(p->older ? &p->older->newer : &f->oldest[p->dead]) = p->newer;
	*(p->newer ? &p->newer->older : &f->newest[p->dead]) = p->older;
}

static void list(struct tf_facts *f, struct tf_fact_process *p)
{
	p->older = f->newest[p->dead];
	p->newer = NULL;
	*(p->older ? &p->older->newer : &f->oldest[p->dead]) = p;
	f->newest[p->dead] = p;
}

static void unlist_cgroup(struct tf_facts *f, struct tf_fact_cgroup *c)
{
	*(c->older ? &c->older->newer : &f->oldest_cgroup) = c->newer;
	*(c->newer ? &c->newer->older : &f->newest_cgroup) = c->older;
}

static void list_cgroup(struct tf_facts *f, struct tf_fact_cgroup *c)
{
	c->older = f->newest_cgroup;
	c->newer = NULL;
	*(c->older ? &c->older->newer : &f->oldest_cgroup) = c;
	f->newest_cgroup = c;
}

/* --- tables --- */

static struct tf_fact_process **place_of(const struct tf_facts *f, uint32_t pid)
{
	return &f->by_pid[(pid * 0x9e3779b1u >> 7) & f->pid_mask];
}

static struct tf_fact_cgroup **place_of_cgroup(const struct tf_facts *f, uint64_t id)
{
	return &f->by_id[(id * 0x9e3779b97f4a7c15u >> 32) & f->id_mask];
}

struct tf_fact_process *tf_fact_process_at(const struct tf_facts *f, uint32_t pid, uint64_t start_ns)
{
	struct tf_fact_process *p = pid ? *place_of(f, pid) : NULL;

	while (p && (p->pid != pid || p->start_ns != start_ns))
		p = p->next;
	return p;
}

struct tf_fact_process *tf_fact_process_by_pid(const struct tf_facts *f, uint32_t pid, uint64_t ts_ns, uint64_t lived_ns)
{
	struct tf_fact_process *best = NULL;

	for (struct tf_fact_process *p = pid ? *place_of(f, pid) : NULL; p; p = p->next)
		if (p->pid == pid && p->start_ns <= ts_ns && (!p->dead || p->exit_ns >= lived_ns) && (!best || p->start_ns > best->start_ns))
			best = p;
	return best;
}

struct tf_fact_cgroup *tf_fact_cgroup_at(const struct tf_facts *f, uint64_t id, bool v1)
{
	struct tf_fact_cgroup *c = *place_of_cgroup(f, id);

	while (c && (c->id != id || c->v1 != v1))
		c = c->next;
	return c;
}

static void evict_process(struct tf_facts *f, struct tf_fact_process *p)
{
	struct tf_fact_process **at = place_of(f, p->pid);

	while (*at != p)
		at = &(*at)->next;
	*at = p->next;
	unlist(f, p);
	for (uint8_t i = 0; i < p->n; i++)
		tf_version_drop(f, &p->v[i]);
	f->s.processes--;
	free(p);
}

static void evict_cgroup(struct tf_facts *f, struct tf_fact_cgroup *c)
{
	struct tf_fact_cgroup **at = place_of_cgroup(f, c->id);

	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	unlist_cgroup(f, c);
	tf_fact_string_drop(f, c->path);
	tf_fact_string_drop(f, c->container);
	f->s.cgroups--;
	free(c);
}

static struct tf_fact_process *oldest(const struct tf_facts *f)
{
	return f->oldest[true] ? f->oldest[true] : f->oldest[false];
}

struct tf_fact_process *tf_fact_process_need(struct tf_facts *f, uint32_t pid, uint64_t start_ns)
{
	struct tf_fact_process *p = tf_fact_process_at(f, pid, start_ns);

	if (p) {
		unlist(f, p);
		list(f, p);
		return p;
	}
	if (f->s.processes >= f->o.processes) {
		evict_process(f, oldest(f));
		f->s.evicted_processes++;
	}
	p = calloc(1, sizeof(*p));
	if (!p)
		return NULL;
	p->pid = pid;
	p->start_ns = start_ns;
	p->next = *place_of(f, pid);
	*place_of(f, pid) = p;
	list(f, p);
	f->s.processes++;
	return p;
}

struct tf_fact_cgroup *tf_fact_cgroup_need(struct tf_facts *f, uint64_t id, bool v1)
{
	struct tf_fact_cgroup *c = tf_fact_cgroup_at(f, id, v1);

	if (c) {
		unlist_cgroup(f, c);
		list_cgroup(f, c);
		return c;
	}
	if (f->s.cgroups >= f->o.cgroups) {
		evict_cgroup(f, f->oldest_cgroup);
		f->s.evicted_cgroups++;
	}
	c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	c->id = id;
	c->v1 = v1;
	c->next = *place_of_cgroup(f, id);
	*place_of_cgroup(f, id) = c;
	list_cgroup(f, c);
	f->s.cgroups++;
	return c;
}

void tf_fact_process_ended(struct tf_facts *f, struct tf_fact_process *p, uint64_t ts_ns)
{
	p->exit_ns = ts_ns;
	unlist(f, p);
	p->dead = true;
	list(f, p);
}

void tf_facts_fit(struct tf_facts *f)
{
	while (f->s.text_bytes > f->o.text_bytes && oldest(f)) {
		evict_process(f, oldest(f));
		f->s.evicted_processes++;
	}
	while (f->s.text_bytes > f->o.text_bytes && f->oldest_cgroup) {
		evict_cgroup(f, f->oldest_cgroup);
		f->s.evicted_cgroups++;
	}
}

void tf_facts_stats(const struct tf_facts *f, struct tf_facts_stats *out)
{
	*out = f->s;
}

void tf_facts_close(struct tf_facts *f)
{
	if (!f)
		return;
	while (f->by_pid && oldest(f))
		evict_process(f, oldest(f));
	while (f->by_id && f->oldest_cgroup)
		evict_cgroup(f, f->oldest_cgroup);
	free(f->by_pid);
	free(f->by_id);
	free(f->strings);
	free(f);
}
