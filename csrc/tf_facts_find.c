/* SPDX-License-Identifier: Apache-2.0 */
/* tf_facts_find: answers about the subject of a row: what the row itself says first, then what was learned. */
#include "tf_facts_impl.h"

static const struct {
	bool parent, ancestors, comm;
	uint8_t text;
} what[TF_FACT_COUNT] = {
	[TF_FACT_PROCESS_EXE] = {.text = TF_V_EXE}, [TF_FACT_PROCESS_ARGS] = {.text = TF_V_ARGS}, [TF_FACT_PROCESS_CWD] = {.text = TF_V_CWD},
	[TF_FACT_PARENT_EXE] = {.parent = true, .text = TF_V_EXE}, [TF_FACT_PARENT_COMM] = {.parent = true, .comm = true},
	[TF_FACT_PARENT_ARGS] = {.parent = true, .text = TF_V_ARGS}, [TF_FACT_PARENT_CWD] = {.parent = true, .text = TF_V_CWD},
	[TF_FACT_ANCESTOR_EXE] = {.parent = true, .ancestors = true, .text = TF_V_EXE},
	[TF_FACT_ANCESTOR_COMM] = {.parent = true, .ancestors = true, .comm = true},
};

/* What an exec row says of the process that it is about. */
static bool own_text(const struct tf_rows *r, uint8_t domain, const uint8_t *row, enum tf_fact fact, struct tf_fact_text *out)
{
	static const uint16_t at[TF_FACT_COUNT] = {
		[TF_FACT_PROCESS_EXE] = offsetof(struct tf_process, exe), [TF_FACT_PROCESS_ARGS] = offsetof(struct tf_process, args),
		[TF_FACT_PROCESS_CWD] = offsetof(struct tf_process, cwd)};

	if (domain != TF_PROCESS || !at[fact] || row[offsetof(struct tf_header, subtype)] != tf_kind_table[TF_K_PROCESS_EXEC].subtype)
		return false;
	*out = tf_fact_row_text(r, row, at[fact]);
	return true;
}

/* The version that held at a time, or -1. What was there when we looked had been there before, unless an exec tells otherwise. */
static int version_at(const struct tf_fact_process *p, uint64_t ts_ns)
{
	int i = p->n;

	while (i && p->v[i - 1].ts_ns > ts_ns)
		i--;
	return i ? i - 1 : p->n && p->v[0].sort == TF_V_SEEN ? 0 : -1;
}

static bool comm_at(const struct tf_fact_process *p, uint64_t ts_ns, struct tf_fact_text *out)
{
	const int i = version_at(p, ts_ns);

	if (i < 0)
		return false;
	*out = (struct tf_fact_text){(const uint8_t *)p->v[i].comm, p->v[i].comm_len};
	return true;
}

/* Who has forked only has its parent's texts, which may have them of its own, and so on. */
static bool text_at(const struct tf_facts *f, const struct tf_fact_process *p, uint64_t ts_ns, unsigned which, struct tf_fact_text *out)
{
	for (unsigned depth = 0; p && depth <= TF_FACT_DEPTH; depth++) {
		const struct tf_version *v;
		int i = version_at(p, ts_ns);

		while (i >= 0 && p->v[i].sort == TF_V_NAME)
			i--;
		if (i < 0)
			return false;
		v = &p->v[i];
		if (v->sort != TF_V_FORK) {
			if (v->text[which])
				*out = (struct tf_fact_text){v->text[which]->bytes, v->text[which]->len};
			return v->text[which];
		}
		ts_ns = v->ts_ns;
		p = tf_fact_process_at(f, v->parent, v->parent_start_ns);
	}
	return false;
}

struct line {
	uint32_t pid;
	const struct tf_fact_process *p;	/* NULL = not known */
};

/* Parent, its parent ..., as far as is known, at most max of them. */
static uint32_t walk_up(const struct tf_facts *f, const struct tf_header *h, struct line *up, uint32_t max)
{
	const struct tf_fact_process *p = f ? tf_fact_process_at(f, h->pid, h->start_ns) : NULL;
	uint32_t n = 0;

	if (!h->pid)
		return 0;
	if (!p || !p->has_parent) { /* the row names a pid, and no more */
		if (!h->ppid || !max)
			return 0;
		p = f ? tf_fact_process_by_pid(f, h->ppid, h->ts_ns, h->start_ns) : NULL;
		up[n++] = (struct line){h->ppid, p};
	}
	while (p && p->has_parent && n < max) {
		up[n] = (struct line){p->parent, tf_fact_process_at(f, p->parent, p->parent_start_ns)};
		p = up[n++].p;
	}
	return n;
}

static uint32_t cgroup_text(const struct tf_facts *f, const struct tf_header *h, enum tf_fact fact, struct tf_fact_text *out)
{
	const struct tf_fact_cgroup *c = tf_fact_cgroup_at(f, h->cgroup_id, h->flags & TF_F_CGROUP_V1);
	const struct tf_fact_string *s = c ? fact == TF_FACT_CONTAINER_ID ? c->container : c->path : NULL;

	if (s)
		*out = (struct tf_fact_text){s->bytes, s->len};
	return s != NULL;
}

uint32_t tf_facts_find(const struct tf_facts *f, const struct tf_rows *r, uint8_t domain, const uint8_t *row, enum tf_fact fact,
		       struct tf_fact_text out[TF_FACT_DEPTH])
{
	struct line up[TF_FACT_DEPTH];
	struct tf_header h;
	uint32_t n, found = 0;

	if (own_text(r, domain, row, fact, out))
		return 1;
	if (!f)
		return 0;
	memcpy(&h, row, sizeof(h));
	if (fact == TF_FACT_CONTAINER_ID || fact == TF_FACT_CGROUP_PATH)
		return cgroup_text(f, &h, fact, out);
	if (!what[fact].parent)
		return text_at(f, tf_fact_process_at(f, h.pid, h.start_ns), h.ts_ns, what[fact].text, out);
	n = walk_up(f, &h, up, what[fact].ancestors ? TF_FACT_DEPTH : 1);
	for (uint32_t i = 0; i < n; i++)
		if (up[i].p)
			found += what[fact].comm ? comm_at(up[i].p, h.ts_ns, &out[found]) : text_at(f, up[i].p, h.ts_ns, what[fact].text, &out[found]);
	return found;
}

uint32_t tf_facts_line(const struct tf_facts *f, const uint8_t *row, uint32_t pids[TF_FACT_DEPTH + 1])
{
	struct line up[TF_FACT_DEPTH];
	struct tf_header h;
	uint32_t n;

	memcpy(&h, row, sizeof(h));
	if (!h.pid)
		return 0;
	n = walk_up(f, &h, up, TF_FACT_DEPTH);
	pids[0] = h.pid;
	for (uint32_t i = 0; i < n; i++)
		pids[i + 1] = up[i].pid;
	return n + 1;
}
