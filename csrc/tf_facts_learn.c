/* SPDX-License-Identifier: Apache-2.0 */
/* tf_facts_learn: rows of a batch into facts. What a process executed is put in by its time, so the order in which rings were read in an
 * epoch does not matter. */
#include "tf_facts_impl.h"

void tf_version_drop(struct tf_facts *f, struct tf_version *v)
{
	for (unsigned i = 0; i < TF_V_TEXTS; i++)
		tf_fact_string_drop(f, v->text[i]);
}

/* The version that goes for a new one: the oldest name, since a process can give itself many, else the oldest execution. */
static uint8_t dispensable(const struct tf_fact_process *p)
{
	for (uint8_t i = 0; i < p->n; i++)
		if (p->v[i].sort == TF_V_NAME)
			return i;
	return 0;
}

/* Room for a version at this time: behind those that are as old or older. Of too many one goes. */
static struct tf_version *add_version(struct tf_facts *f, struct tf_fact_process *p, uint64_t ts_ns, uint8_t sort)
{
	uint8_t at = p->n;

	while (at && p->v[at - 1].ts_ns > ts_ns)
		at--;
	if (p->n == TF_FACT_VERSIONS) {
		const uint8_t gone = dispensable(p);

		f->s.evicted_versions++;
		if (p->v[gone].sort == TF_V_NAME ? sort == TF_V_NAME && at <= gone : !at)
			return NULL; /* it would be the one itself */
		tf_version_drop(f, &p->v[gone]);
		if (at > gone)
			memmove(p->v + gone, p->v + gone + 1, (--at - gone) * sizeof(*p->v));
		else
			memmove(p->v + at + 1, p->v + at, (gone - at) * sizeof(*p->v));
	} else {
		memmove(p->v + at + 1, p->v + at, (p->n - at) * sizeof(*p->v));
		p->n++;
	}
	p->v[at] = (struct tf_version){.ts_ns = ts_ns, .sort = sort};
	return &p->v[at];
}

static void set_comm(struct tf_version *v, const void *p, size_t len)
{
	v->comm_len = (uint8_t)strnlen(p, len < TF_COMM_LEN ? len : TF_COMM_LEN);
	memcpy(v->comm, p, v->comm_len);
}

static void set_text(struct tf_facts *f, struct tf_version *v, unsigned which, struct tf_fact_text t)
{
	v->text[which] = tf_fact_string_get(f, t.p, t.len);
	f->s.refused += !v->text[which];
}

/* The first row that names the parent is believed: later ones may name who took over an orphan. */
static void set_parent(struct tf_fact_process *p, const struct tf_header *h, uint64_t parent_start_ns)
{
	if (!h->ppid || !parent_start_ns || (p->has_parent && p->link_ns <= h->ts_ns))
		return;
	p->has_parent = true;
	p->link_ns = h->ts_ns;
	p->parent = h->ppid;
	p->parent_start_ns = parent_start_ns;
}

/* The process that a row is about, made where it is new; NULL: it names none, or there is no room. */
static struct tf_fact_process *subject(struct tf_facts *f, const struct tf_header *h, uint64_t parent_start_ns)
{
	struct tf_fact_process *p = h->pid ? tf_fact_process_need(f, h->pid, h->start_ns) : NULL;

	if (p)
		set_parent(p, h, parent_start_ns);
	return p;
}

static void learn_exec(struct tf_facts *f, struct tf_fact_process *p, const struct tf_rows *r, const uint8_t *row, const struct tf_header *h)
{
	struct tf_version *v = add_version(f, p, h->ts_ns, TF_V_EXEC);

	if (!v)
		return;
	set_comm(v, h->comm, TF_COMM_LEN);
	set_text(f, v, TF_V_EXE, tf_fact_row_text(r, row, offsetof(struct tf_process, exe)));
	set_text(f, v, TF_V_CWD, tf_fact_row_text(r, row, offsetof(struct tf_process, cwd)));
	set_text(f, v, TF_V_ARGS, tf_fact_row_text(r, row, offsetof(struct tf_process, args)));
}

static void learn_process(struct tf_facts *f, const struct tf_rows *r, const uint8_t *row)
{
	struct tf_process e;
	struct tf_fact_process *p;
	struct tf_version *v;

	memcpy(&e, row, sizeof(e));
	p = subject(f, &e.h, e.parent_start_ns);
	if (!p)
		return;
	switch (tf_kind_of(TF_PROCESS, e.h.subtype)) {
	case TF_K_PROCESS_EXEC: learn_exec(f, p, r, row, &e.h); break;
	case TF_K_PROCESS_EXIT: tf_fact_process_ended(f, p, e.h.ts_ns); break;
	case TF_K_PROCESS_FORK:
		v = add_version(f, p, e.h.ts_ns, TF_V_FORK);
		if (v) {
			set_comm(v, e.h.comm, TF_COMM_LEN);
			v->parent = e.h.ppid;
			v->parent_start_ns = e.parent_start_ns;
		}
		break;
	case TF_K_PROCESS_RENAME:
		v = e.h.tid == e.h.pid ? add_version(f, p, e.h.ts_ns, TF_V_NAME) : NULL;
		if (v) {
			struct tf_fact_text name = tf_fact_row_text(r, row, offsetof(struct tf_process, args));

			set_comm(v, name.p, name.len);
		}
		break;
	default: break;
	}
}

/* A text that could not be read is not known; one of a process that has none is. */
static void set_seen(struct tf_facts *f, struct tf_version *v, unsigned which, struct tf_fact_text t, uint16_t flags)
{
	if (t.len || !(flags & TF_F_PARTIAL))
		set_text(f, v, which, t);
}

static void learn_seen(struct tf_facts *f, const struct tf_rows *r, const uint8_t *row)
{
	struct tf_meta e;
	struct tf_fact_process *p;
	struct tf_version *v;

	memcpy(&e, row, sizeof(e));
	p = subject(f, &e.h, e.parent_start_ns);
	if (!p)
		return;
	v = add_version(f, p, e.h.ts_ns, TF_V_SEEN);
	if (!v)
		return;
	set_comm(v, e.h.comm, TF_COMM_LEN);
	set_seen(f, v, TF_V_EXE, tf_fact_row_text(r, row, offsetof(struct tf_meta, path)), e.h.flags);
	set_seen(f, v, TF_V_CWD, tf_fact_row_text(r, row, offsetof(struct tf_meta, path2)), e.h.flags);
	set_seen(f, v, TF_V_ARGS, tf_fact_row_text(r, row, offsetof(struct tf_meta, data)), e.h.flags);
}

static void learn_cgroup(struct tf_facts *f, uint64_t id, uint16_t flags, struct tf_fact_text path, struct tf_fact_text container)
{
	struct tf_fact_cgroup *c = path.len ? tf_fact_cgroup_need(f, id, flags & TF_F_CGROUP_V1) : NULL;
	struct tf_fact_string *was[2];

	if (!c)
		return;
	was[0] = c->path; /* dropped last: they are often the same */
	was[1] = c->container;
	c->path = tf_fact_string_get(f, path.p, path.len);
	c->container = tf_fact_string_get(f, container.p, container.len);
	f->s.refused += !c->path + !c->container;
	tf_fact_string_drop(f, was[0]);
	tf_fact_string_drop(f, was[1]);
}

static void learn_container(struct tf_facts *f, const struct tf_rows *r, const uint8_t *row)
{
	struct tf_container e;

	memcpy(&e, row, sizeof(e));
	learn_cgroup(f, e.object_id, e.h.flags, tf_fact_row_text(r, row, offsetof(struct tf_container, cgroup_path)),
		     tf_fact_row_text(r, row, offsetof(struct tf_container, container_id)));
}

static void learn_meta(struct tf_facts *f, const struct tf_rows *r, const uint8_t *row)
{
	struct tf_meta e;

	memcpy(&e, row, sizeof(e));
	switch (tf_kind_of(TF_META, e.h.subtype)) {
	case TF_K_META_SNAPSHOT_PROCESS:
	case TF_K_META_FACT_PROCESS: learn_seen(f, r, row); break;
	case TF_K_META_FACT_CGROUP:
	case TF_K_META_FACT_CONTAINER:
		learn_cgroup(f, e.object_id, e.h.flags, tf_fact_row_text(r, row, offsetof(struct tf_meta, path)),
			     tf_fact_row_text(r, row, offsetof(struct tf_meta, path2)));
		break;
	default: break;
	}
}

void tf_facts_learn(struct tf_facts *f, const struct tf_batch *b)
{
	static const struct {
		uint8_t domain;
		void (*learn)(struct tf_facts *f, const struct tf_rows *r, const uint8_t *row);
	} all[] = {{TF_META, learn_meta}, {TF_PROCESS, learn_process}, {TF_CONTAINER, learn_container}};

	for (unsigned i = 0; i < sizeof(all) / sizeof(*all); i++) {
		const struct tf_rows *r = &b->dom[all[i].domain];

		for (uint32_t k = 0; k < r->n; k++) {
			all[i].learn(f, r, r->rows + (size_t)k * r->row_size);
			if (tf_unlikely(f->s.text_bytes > f->o.text_bytes))
				tf_facts_fit(f);
		}
	}
}
