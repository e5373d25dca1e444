/* SPDX-License-Identifier: Apache-2.0 */
/* tf_facts: what the stream has told about processes and control groups: who runs what, whose child it is, where. Filters join it.
 *
 * Learned from batches in the order of the stream, before their rows are judged: tf_facts_learn. What is learned depends on the batches
 * alone (no clock, no /proc), so a replay gives the answers that were given live. A process is (pid, start_ns); what it executed is kept
 * with its time, and a question carries the time of the row that asks: an exec later in the same epoch changes nothing for rows before it.
 *
 * Sources: process.fork (parent; a child has its parent's texts until it executes), process.exec, process.exit, any process row's parent;
 * meta SNAPSHOT_PROCESS and FACT_PROCESS (path executable, path2 working directory, data argv); container rows and meta FACT_CGROUP,
 * FACT_CONTAINER (object_id; path control group, path2 container id).
 *
 * Bounded: in entries of each sort and in bytes of text; whoever was learned or told about longest ago goes, and is counted. One thread
 * learns; asking changes nothing, so any number may ask while nobody learns. */
#ifndef TF_FACTS_H
#define TF_FACTS_H

#include "tf_batch.h"

struct tf_facts;

/* In the order of _fields.py. */
enum tf_fact {
	TF_FACT_CONTAINER_ID, TF_FACT_CGROUP_PATH, TF_FACT_PROCESS_EXE, TF_FACT_PROCESS_ARGS, TF_FACT_PROCESS_CWD, TF_FACT_PARENT_EXE,
	TF_FACT_PARENT_COMM, TF_FACT_PARENT_ARGS, TF_FACT_PARENT_CWD, TF_FACT_ANCESTOR_EXE, TF_FACT_ANCESTOR_COMM, TF_FACT_COUNT,
};
#define TF_FACT_DEPTH 64u	/* ancestors that are looked at */

struct tf_fact_text {
	const uint8_t *p;
	uint32_t len;
};

struct tf_facts_opts {		/* zero-fills to the defaults */
	uint32_t processes;	/* count: 65536 */
	uint32_t cgroups;	/* count: 16384 */
	size_t text_bytes;	/* bytes: 64 MiB */
};

struct tf_facts_stats {
	uint64_t processes, cgroups, text_bytes;		/* held */
	uint64_t evicted_processes, evicted_cgroups;		/* counts: for want of room */
	uint64_t evicted_versions;				/* count: what a process executed, too long ago */
	uint64_t refused;					/* count: rows with texts that lie outside of their area, or no memory */
};

int tf_facts_open(const struct tf_facts_opts *o, struct tf_facts **out);	/* 0, -ENOMEM */
void tf_facts_close(struct tf_facts *f);				/* NULL is fine */
void tf_facts_learn(struct tf_facts *f, const struct tf_batch *b);
void tf_facts_stats(const struct tf_facts *f, struct tf_facts_stats *out);

/* Texts of a fact about a row's subject, at the row's time: 0 = not known; ancestors give one each. They are valid until the next
 * tf_facts_learn. f may be NULL: what a process.exec row says of itself is known all the same. */
uint32_t tf_facts_find(const struct tf_facts *f, const struct tf_rows *r, uint8_t domain, const uint8_t *row, enum tf_fact fact,
		       struct tf_fact_text out[TF_FACT_DEPTH]);
/* Process ids of a row's subject and its ancestors, nearest first; returns how many. Without facts: the subject and the parent that its
 * row names. */
uint32_t tf_facts_line(const struct tf_facts *f, const uint8_t *row, uint32_t pids[TF_FACT_DEPTH + 1]);

#endif
