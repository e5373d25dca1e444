/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The one gate: own process -> seen -> kind mask -> pushed-down filter -> throttle -> sample. Every record of every program, the load
 * generator's too, passes it; every refusal is counted by cause. Domain files call it and never grow a gate of their own. */
#ifndef TF_ADMIT_BPF_H
#define TF_ADMIT_BPF_H

#include "tf_sample.bpf.h"

/* Who a record is about, as far as rules need to know. */
struct tf_who {
	__u64 cgroup_id;
	__u64 start_ns;
	__u64 followed;          /* two follow sets (low, high word) that a socket's owner was in: it may be gone by now; 0 = none */
	__u64 born_ns;           /* of the TCP connection, 0 = belongs to none; of kinds of the network only */
	__u64 comm[TF_COMM_LEN / 8]; /* thread name: for exclude_comms, judged for kinds of [programs.process] only */
	__u32 pid;
	__u32 uid;               /* read where the gate may ask for it (TF_O_PUSHED) only */
};

/* What the gate decided and what emit needs; lives on the program's stack. */
struct tf_gate {
	struct tf_cpu_state *state;
	struct tf_ledger_cell *cell;
	__u64 seq;               /* until one is taken: how often the kind was seen here before */
	__u64 now_ns;            /* 0 = not asked yet */
	__u16 alone;             /* bool: the cell needs no atomic adds */
	__u16 clauses;           /* bits: clauses of the filter that the record may still match */
	__u32 cpu;
	__u32 gen;
	__u32 weight;            /* bits of a float */
};

/* Folded to constants: callers pass a constant kind. */
static __always_inline __u32 tf_kind_lane(__u32 kind)
{
#define TF_X(name, type, subtype, text, lane, severity) case TF_K_##name: return lane;
	switch (kind) { TF_KINDS(TF_X) }
#undef TF_X
	return TF_BULK;
}

static __always_inline __u32 tf_kind_type(__u32 kind)
{
#define TF_X(name, type, subtype, text, lane, severity) case TF_K_##name: return type;
	switch (kind) { TF_KINDS(TF_X) }
#undef TF_X
	return TF_UNKNOWN;
}

static __always_inline __u32 tf_kind_subtype(__u32 kind)
{
#define TF_X(name, type, subtype, text, lane, severity) case TF_K_##name: return subtype;
	switch (kind) { TF_KINDS(TF_X) }
#undef TF_X
	return 0;
}

/* Whether the configuration wants a kind at all. A constant to the verifier, which drops the code that only serves disabled kinds: such
 * a kind is not seen, hence not counted. */
static __always_inline bool tf_enabled(const __u32 kind)
{
	return tf_consts.kinds[kind / 64] >> (kind % 64) & 1;
}

static __always_inline __u64 tf_now(struct tf_gate *g)
{
	if (!g->now_ns)
		g->now_ns = bpf_ktime_get_boot_ns();
	return g->now_ns;
}

static __always_inline bool tf_is_followed(__u32 pid, __u64 start_ns, __u32 set)
{
	struct tf_followed *f = bpf_map_lookup_elem(&tf_follow, &pid);

	return f && (!f->start_ns || f->start_ns == start_ns) && f->set[set & 1] == set;
}

/* Index of a kind that only the run tells: clang, which knows how many there are, would leave out the bound that the verifier wants. */
static __always_inline __u32 tf_kind_index(__u32 kind)
{
	if (!__builtin_constant_p(kind))
		tf_unknown(kind);
	return kind & (TF_KIND_MAX - 1);
}

/* Of its word in a mask. */
static __always_inline __u32 tf_kind_word(__u32 kind)
{
	return tf_kind_index(kind) / 64;
}

/* The rules of a generation. */
static __always_inline const struct tf_rule_slot *tf_rules_of(__u32 gen)
{
	return &tf_rules[gen & (TF_RULE_SLOTS - 1)];
}

/* Kinds whose user and name user space judges. */
static __always_inline bool tf_is_dns(const __u32 kind)
{
	return kind == TF_K_NETWORK_DNS || kind == TF_K_NETWORK_DNS_QUERY;
}

/* Whether the gate judges more than ids. A constant to the verifier. For kernels that need TF_OLD there is no stack left for more: what it
 * does not ask leaves all clauses as they are, and user space judges. */
static __always_inline bool tf_judges_more(void)
{
#ifdef TF_OLD
	return false;
#else
	return tf_consts.options & TF_O_PUSHED;
#endif
}

static __always_inline bool tf_has_trie(__u32 slot, __u32 dim)
{
	return tf_read_once(tf_rules_of(slot)->tries) >> (dim & (TF_DIMS - 1)) & 1;
}

/* By the slot's set. */
static __always_inline __u32 tf_clauses_in_set(__u32 slot, __u32 dim, __u64 value)
{
	struct tf_set_key key = { .value = value, .dim = dim };
	void *set = bpf_map_lookup_elem(&tf_rule_sets, &slot);
	__u32 *found = set ? bpf_map_lookup_elem(set, &key) : NULL;

	return found ? *found : tf_read_once(tf_rules_of(slot)->others[dim & (TF_DIMS - 1)]);
}

/* The clauses that a number matches in a dimension of this rule slot. Global and of plain numbers, as what follows: the verifier checks
 * such a function once, not at every place and in every state it is called from (loading takes a third of the time). What nearly every
 * record needs is not in one: a call costs 10 ns. */
__noinline __u32 tf_clauses_of(__u32 slot, __u32 dim, __u64 value)
{
	struct tf_trie_key key = { .bits = TF_TRIE_NUMBER, .dim = dim };
	__u32 *found;
	void *trie;

	if (!tf_has_trie(slot, dim))
		return tf_clauses_in_set(slot, dim, value);
	if (!tf_judges_more())
		return ~0u;
	*(__u64 *)key.data = __builtin_bswap64(value);
	trie = bpf_map_lookup_elem(&tf_rule_tries, &slot);
	found = trie ? bpf_map_lookup_elem(trie, &key) : NULL;
	return found ? *found : tf_read_once(tf_rules_of(slot)->others[dim & (TF_DIMS - 1)]);
}

/* The same of 16 bytes, as they lie in memory. */
__noinline __u32 tf_clauses_of_bytes(__u32 slot, __u32 dim, __u64 first, __u64 second)
{
	struct tf_trie_key key = { .bits = TF_TRIE_BYTES, .dim = dim };
	void *trie = bpf_map_lookup_elem(&tf_rule_tries, &slot);
	__u32 *found;

	((__u64 *)key.data)[0] = first;
	((__u64 *)key.data)[1] = second;
	found = trie ? bpf_map_lookup_elem(trie, &key) : NULL;
	return found ? *found : tf_read_once(tf_rules_of(slot)->others[dim & (TF_DIMS - 1)]);
}

/* The clauses that a subject's descent matches. Nothing is called from here: one call within another is too much for a stack under TF_OLD. */
__noinline __u32 tf_clauses_of_descent(__u32 slot, __u32 pid, __u64 start_ns, __u64 followed)
{
	const struct tf_rule_slot *rules = tf_rules_of(slot);

	if (tf_is_followed(pid, start_ns, rules->follow_set) ||
	    (__u32)(rules->follow_set & 1 ? followed >> 32 : followed) == rules->follow_set)
		return ~tf_read_once(rules->not_follow);
	return ~tf_read_once(rules->follow);
}

/* Whether the rules in force could let a record of these kinds (of one word of a mask) and this subject pass. Nothing is counted. */
static __always_inline bool tf_may_match(const struct tf_who *who, const __u32 kind, const __u32 other)
{
	const __u32 slot = tf_read_once(tf_settings.gen) & (TF_RULE_SLOTS - 1);
	const struct tf_rule_slot *rules = tf_rules_of(slot);
	const __u32 flags = tf_read_once(rules->flags);
	__u32 clauses = tf_read_once(rules->clauses[kind]) | tf_read_once(rules->clauses[other]);

	if (flags & 1 << TF_D_PID)
		clauses &= tf_clauses_of(slot, TF_D_PID, who->pid);
	if (clauses && flags & 1 << TF_D_CGROUP)
		clauses &= tf_clauses_of(slot, TF_D_CGROUP, who->cgroup_id);
	if (clauses && flags & TF_R_DESCENDANTS)
		clauses &= tf_clauses_of_descent(slot, who->pid, who->start_ns, who->followed);
	return clauses;
}

/* Whether a name matches a pattern of tf_globs: all patterns at once, a bit per place, a step per byte. The patterns were compiled by
 * csrc/tf_globs.c, which has the same steps for user space. */
__noinline bool tf_comm_matches(__u64 low, __u64 high)
{
	__u64 comm[TF_COMM_LEN / 8] = {low, high}, active[TF_GLOB_WORDS];
	__u32 zero = 0;
	const struct tf_globs *globs = bpf_map_lookup_elem(&tf_globs, &zero);

	if (!globs)
		return false;
	for (int w = 0; w < TF_GLOB_WORDS; w++)
		active[w] = globs->start[w];
	for (int i = 0; i < TF_COMM_LEN; i++) {
		const __u8 byte = comm[i / 8] >> (i % 8 * 8);
		__u64 carry = 0;

		if (!byte)
			break;
		for (int w = 0; w < TF_GLOB_WORDS; w++) {
			__u64 eaten = active[w] & globs->on[byte][w];

			active[w] = eaten << 1 | carry | (active[w] & globs->star[w]);
			carry = eaten >> 63;
		}
	}
	for (int w = 0; w < TF_GLOB_WORDS; w++)
		if (active[w] & globs->accept[w])
			return true;
	return false;
}

/* Kinds that are configured by [programs.process], where that names comms to leave out. A constant to the verifier. */
static __always_inline bool tf_of_process(const __u32 kind)
{
	if (!(tf_consts.options & TF_O_NOT_COMMS))
		return false;
	return tf_kind_type(kind) == TF_PROCESS || tf_kind_type(kind) == TF_SYSCALL || tf_kind_type(kind) == TF_CPU;
}

/* Kinds drawn by key. Where there are none at all, a constant to the verifier, whatever it knows of the kind. Not for kernels that need
 * TF_OLD: no stack is left to keep a key in. */
static __always_inline bool tf_by_process(__u32 kind)
{
#ifdef TF_OLD
	return false;
#endif
	return (tf_consts.options & TF_O_BY_PROCESS) && tf_consts.by_process[tf_kind_word(kind)] >> (kind % 64) & 1;
}

static __always_inline bool tf_by_connection(__u32 kind)
{
#ifdef TF_OLD
	return false;
#endif
	return (tf_consts.options & TF_O_BY_CONNECTION) && tf_consts.by_connection[tf_kind_word(kind)] >> (kind % 64) & 1;
}

/* Kinds of what has no connection. As tf_is_dns, for the sake of programs with hardly any stack left: what is not asked need not be kept. */
static __always_inline bool tf_of_datagrams(const __u32 kind)
{
	return kind == TF_K_NETWORK_SEND || kind == TF_K_NETWORK_RECV || kind == TF_K_NETWORK_FLOW || tf_is_dns(kind);
}

static __always_inline bool tf_sample_keeps(struct tf_gate *g, const struct tf_who *who, __u32 kind, __u64 seen, const bool connected)
{
	__u64 word = tf_read_once(tf_rates[tf_kind_index(kind)]);
	__u32 threshold = word >> 32;

	if (tf_by_process(kind) && who->pid)
		return (g->weight = tf_key_weight(kind, who->start_ns ^ (__u64)who->pid << 40, who->start_ns));
	if (connected && tf_by_connection(kind) && who->born_ns)
		return (g->weight = tf_key_weight(kind, ~who->born_ns, who->born_ns));
	g->weight = (__u32)word;
	return threshold == TF_RATE_ALL || tf_sample_draws(g->cpu, kind, seen, threshold);
}

/* Whether a kind's cells need no atomic adds (7 ns each). A constant, where the kind is one. */
static __always_inline bool tf_alone(__u32 kind)
{
#ifdef TF_OLD
	return false;
#else
	return tf_consts.alone[tf_kind_word(kind)] >> (kind % 64) & 1;
#endif
}

/* One more in the ledger; what it was. */
static __always_inline __u64 tf_add_to(struct tf_gate *g, const __u32 index)
{
	__u64 *count = &g->cell->c[index], old;

	if (!g->alone)
		return tf_fetch_add(count, 1);
	old = tf_read_once(*count);
	tf_read_once(*count) = old + 1;
	return old;
}

/* Always false, so that a refusal is one line. */
static __always_inline bool tf_count(struct tf_gate *g, const __u32 cause)
{
	tf_add_to(g, cause);
	return false;
}

/* First half of the gate: what a process id and a kind suffice for. Refusals by compare and by bitmap end here, before anything else of
 * the subject is read. The kind may be known at run time only (below TF_KIND_MAX); whether it is a meta kind must be a constant. */
static __always_inline bool tf_admit_pid(struct tf_gate *g, __u32 pid, __u32 kind, const bool meta)
{
	const struct tf_rule_slot *rules;
	__u32 index, flags;

	g->cpu = bpf_get_smp_processor_id();
	g->alone = __builtin_constant_p(kind) ? tf_alone(kind) : 0; /* else the verifier would follow both ways at every count */
	g->now_ns = 0;
	g->weight = TF_WEIGHT_ONE;
	g->state = bpf_map_lookup_elem(&tf_cpus, &g->cpu);
	if (!g->state)
		return false; /* cannot happen: the maps have an entry for every possible CPU */
	if (!meta && tf_consts.self_tgid && pid == tf_consts.self_tgid) {
		tf_add(&g->state->self_skipped, 1);
		return false;
	}
	index = g->cpu * TF_KIND_MAX + kind;
	g->cell = bpf_map_lookup_elem(&tf_ledger, &index);
	if (!g->cell)
		return false; /* cannot happen */
	g->seq = tf_add_to(g, TF_L_SEEN);
	g->gen = tf_read_once(tf_settings.gen); /* read once: what judges the record is what it carries */
	if (meta)
		return true;
	rules = tf_rules_of(g->gen);
	g->clauses = tf_read_once(rules->clauses[tf_kind_index(kind)]);
	flags = tf_read_once(rules->flags);
	if (g->clauses && flags & 1 << TF_D_PID)
		g->clauses &= tf_clauses_of(g->gen & (TF_RULE_SLOTS - 1), TF_D_PID, pid);
	return g->clauses || tf_count(g, TF_L_K_FILTERED);
}

/* In between, where a record has more to be judged by: a number, or 16 bytes. The dimension must be a constant. */
static __always_inline bool tf_admit_number(struct tf_gate *g, const __u32 dim, __u64 value)
{
	if (!tf_judges_more() || !(tf_read_once(tf_rules_of(g->gen)->flags) & 1 << dim))
		return true;
	g->clauses &= tf_clauses_of(g->gen & (TF_RULE_SLOTS - 1), dim, value);
	return g->clauses || tf_count(g, TF_L_K_FILTERED);
}

static __always_inline bool tf_admit_bytes(struct tf_gate *g, const __u32 dim, const void *bytes)
{
	const __u64 *word = bytes;

	if (!tf_judges_more() || !(tf_read_once(tf_rules_of(g->gen)->flags) & 1 << dim))
		return true;
	g->clauses &= tf_clauses_of_bytes(g->gen & (TF_RULE_SLOTS - 1), dim, word[0], word[1]);
	return g->clauses || tf_count(g, TF_L_K_FILTERED);
}

/* Second half: the rest of the subject, the throttle, the sampler. The lane must be a constant. */
static __always_inline bool tf_admit_rest(struct tf_gate *g, const struct tf_who *who, __u32 kind, const __u32 lane)
{
	const struct tf_rule_slot *rules = tf_rules_of(g->gen);
	__u32 flags = tf_read_once(rules->flags);

	if (flags & 1 << TF_D_CGROUP)
		g->clauses &= tf_clauses_of(g->gen & (TF_RULE_SLOTS - 1), TF_D_CGROUP, who->cgroup_id);
	if (flags & TF_R_DESCENDANTS)
		g->clauses &= tf_clauses_of_descent(g->gen & (TF_RULE_SLOTS - 1), who->pid, who->start_ns, who->followed);
	if (!g->clauses)
		return tf_count(g, TF_L_K_FILTERED);
	if (!tf_is_dns(kind) && (!tf_admit_number(g, TF_D_UID, who->uid) || !tf_admit_bytes(g, TF_D_COMM, who->comm)))
		return false;
	if (tf_of_process(kind) && (flags & TF_R_NOT_COMMS) && tf_comm_matches(who->comm[0], who->comm[1]))
		return tf_count(g, TF_L_K_FILTERED);
	if (tf_throttles() && (lane != TF_CRITICAL || !tf_lane_is_calm(g->cpu)) && tf_throttle_refuses(who->cgroup_id, tf_now(g), kind))
		return tf_count(g, TF_L_K_THROTTLED);
	if (!tf_sample_keeps(g, who, kind, g->seq, tf_kind_type(kind) == TF_NETWORK && !tf_of_datagrams(kind)))
		return tf_count(g, TF_L_K_SAMPLED);
	return true;
}

static __always_inline bool tf_admit_any(struct tf_gate *g, const struct tf_who *who, __u32 kind, const bool meta, const __u32 lane)
{
	return tf_admit_pid(g, who->pid, kind, meta) && (meta || tf_admit_rest(g, who, kind, lane));
}

/* True: the caller must now emit (tf_emit.bpf.h), which counts the rest. False: counted, go home. */
static __always_inline bool tf_admit(struct tf_gate *g, const struct tf_who *who, const __u32 kind)
{
	return tf_admit_any(g, who, kind, tf_kind_type(kind) == TF_META, tf_kind_lane(kind));
}

#endif
