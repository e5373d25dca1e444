/* SPDX-License-Identifier: Apache-2.0 */
/* tf_facts_impl: what the files of the facts share: tf_facts.c (tables, bounds), _learn (rows in), _find (answers out), _text (texts, each
 * kept once). Not for other files. */
#ifndef TF_FACTS_IMPL_H
#define TF_FACTS_IMPL_H

#include "tf_facts.h"

#define TF_FACT_VERSIONS 8u	/* kept of one process */

/* A text that facts share. */
struct tf_fact_string {
	struct tf_fact_string *next;	/* in its place of the hash table */
	uint32_t refs, len, hash;
	uint8_t bytes[];
};

enum tf_version_sort {
	TF_V_EXEC,		/* has texts */
	TF_V_SEEN,		/* has texts: what was there when we looked had been there before */
	TF_V_FORK,		/* the parent's texts at that time */
	TF_V_NAME,		/* a new name; the texts of the version before */
};
enum { TF_V_EXE, TF_V_CWD, TF_V_ARGS, TF_V_TEXTS };

struct tf_version {
	uint64_t ts_ns;
	uint32_t parent;		/* FORK: pid of who forked */
	uint64_t parent_start_ns;
	struct tf_fact_string *text[TF_V_TEXTS];	/* NULL = not known */
	uint8_t sort, comm_len;
	char comm[TF_COMM_LEN];
};

struct tf_fact_process {
	struct tf_fact_process *next;		/* in its place of the hash table, by pid */
	struct tf_fact_process *older, *newer;	/* in the list of its state */
	uint64_t start_ns, exit_ns;		/* exit_ns: where it is dead */
	uint64_t parent_start_ns, link_ns;	/* link_ns: time of the row that named the parent */
	uint32_t pid, parent;
	bool has_parent, dead;
	uint8_t n;
	struct tf_version v[TF_FACT_VERSIONS];	/* by ts_ns; of two at one time the one learned first */
};

struct tf_fact_cgroup {
	struct tf_fact_cgroup *next, *older, *newer;
	uint64_t id;
	bool v1;
	struct tf_fact_string *path, *container;
};


struct tf_facts {
	struct tf_facts_opts o;
	struct tf_facts_stats s;
	struct tf_fact_process **by_pid;	/* [mask + 1] */
	struct tf_fact_cgroup **by_id;
	struct tf_fact_string **strings;
	uint32_t pid_mask, id_mask, string_mask;
	struct tf_fact_process *oldest[2], *newest[2];	/* [dead] */
	struct tf_fact_cgroup *oldest_cgroup, *newest_cgroup;
};

/* tf_facts_text.c */
struct tf_fact_string *tf_fact_string_get(struct tf_facts *f, const uint8_t *p, uint32_t len);	/* a reference; NULL = no memory */
void tf_fact_string_drop(struct tf_facts *f, struct tf_fact_string *s);			/* NULL is fine */
/* tf_facts.c */
struct tf_fact_process *tf_fact_process_at(const struct tf_facts *f, uint32_t pid, uint64_t start_ns);	/* NULL = not known */
struct tf_fact_process *tf_fact_process_by_pid(const struct tf_facts *f, uint32_t pid, uint64_t ts_ns, uint64_t lived_ns);	/* youngest that had
											 * started by ts_ns, and not ended before lived_ns */
struct tf_fact_cgroup *tf_fact_cgroup_at(const struct tf_facts *f, uint64_t id, bool v1);
struct tf_fact_process *tf_fact_process_need(struct tf_facts *f, uint32_t pid, uint64_t start_ns);	/* makes it, or makes it young; NULL */
struct tf_fact_cgroup *tf_fact_cgroup_need(struct tf_facts *f, uint64_t id, bool v1);
void tf_fact_process_ended(struct tf_facts *f, struct tf_fact_process *p, uint64_t ts_ns);
void tf_facts_fit(struct tf_facts *f);		/* evicts until the texts fit */
/* tf_facts_learn.c */
void tf_version_drop(struct tf_facts *f, struct tf_version *v);

static inline struct tf_fact_text tf_fact_row_text(const struct tf_rows *r, const uint8_t *row, size_t at)
{
	struct tf_text t;

	memcpy(&t, row + at, sizeof(t));
	if (t.offset > r->text_len || t.len > r->text_len - t.offset || !t.len)
		return (struct tf_fact_text){(const uint8_t *)"", 0};
	return (struct tf_fact_text){r->text + t.offset, t.len};
}

#endif
