/* SPDX-License-Identifier: Apache-2.0 */
/* tf_object_rules: what changes while running: rule generations, the followed processes, rates, throttle. */
#include "tf_object_impl.h"

#include <stdlib.h>
#include <unistd.h>

#define PID_MAX_LIMIT (4u << 20)    /* linux/threads.h: ids from here on are the load generator's */
#define FOLLOW_PASSES 16            /* of listing processes until no unfollowed child turns up */

/* What the iterator tf_list_pids writes (bpf/snapshot.bpf.c). */
struct pid_entry {
	uint64_t start_ns;
	uint32_t local, host, parent, pad;
};
struct pid_list {
	struct pid_entry *at;
	size_t n;
};

/* Of a filter that is not in force yet. */
struct roots {
	uint32_t *at;                   /* sorted */
	size_t n;
	uint32_t set;
};

static int read_entries(int fd, struct pid_list *list)
{
	size_t cap = 0, used = 0;

	for (;;) {
		ssize_t n;

		if (cap - used < 4096) {
			char *more = realloc(list->at, cap = cap ? cap * 2 : 64 << 10);

			if (!more)
				return -ENOMEM;
			list->at = (void *)more;
		}
		n = read(fd, (char *)list->at + used, cap - used);
		if (n < 0 && errno != EINTR && errno != EAGAIN)
			return -errno;
		if (n == 0)
			break;
		used += n > 0 ? (size_t)n : 0;
	}
	list->n = used / sizeof(*list->at);
	return 0;
}

/* All processes of our pid namespace. -ENOENT: the iterator is not there. The caller frees list->at in any case. */
static int list_processes(struct tf_object *o, struct pid_list *list)
{
	struct tf_program *p = tf_find_program(o, "tf_list_pids");
	struct bpf_link *link;
	int fd, rc;

	list->n = 0;
	if (!p || !p->prog)
		return -ENOENT;
	link = bpf_program__attach_iter(p->prog, NULL);
	if (!link)
		return errno ? -errno : -EINVAL;
	fd = bpf_iter_create(bpf_link__fd(link));
	rc = fd < 0 ? -errno : read_entries(fd, list);
	if (fd >= 0)
		close(fd);
	bpf_link__destroy(link);
	return rc;
}

static bool is_followed(struct tf_object *o, uint32_t host, uint32_t set)
{
	struct tf_followed f;

	return !bpf_map_lookup_elem(o->map_fd[TF_M_FOLLOW], &host, &f) && f.set[set & 1] == set;
}

static int follow(struct tf_object *o, uint32_t host, uint64_t start_ns, uint32_t set)
{
	struct tf_followed f = {0};

	if (bpf_map_lookup_elem(o->map_fd[TF_M_FOLLOW], &host, &f) || f.start_ns != start_ns)
		memset(&f, 0, sizeof(f)); /* none, or of an earlier process with this id */
	f.start_ns = start_ns;
	f.set[set & 1] = set; /* the other set stays: the generation in force may mean it */
	return bpf_map_update_elem(o->map_fd[TF_M_FOLLOW], &host, &f, BPF_ANY);
}

static int follow_roots(struct tf_object *o, const struct tf_rules_spec *s, const struct pid_list *list, uint32_t set)
{
	for (size_t i = 0; i < s->n_follow; i++) {
		const struct pid_entry *e = NULL;
		int rc;

		for (size_t k = 0; k < list->n && !e; k++)
			if (list->at[k].local == s->follow[i])
				e = &list->at[k];
		if (!e && s->follow[i] < PID_MAX_LIMIT)
			return -ESRCH;
		rc = follow(o, e ? e->host : s->follow[i], e ? e->start_ns : 0, set);
		if (rc)
			return rc;
	}
	return 0;
}

/* Children that the roots had before we looked. How many were added, or -errno. */
static int follow_children(struct tf_object *o, const struct pid_list *list, uint32_t set)
{
	int added = 0, before;

	do {
		before = added;
		for (size_t k = 0; k < list->n; k++) {
			const struct pid_entry *e = &list->at[k];
			int rc;

			if (!is_followed(o, e->parent, set) || is_followed(o, e->host, set))
				continue;
			rc = follow(o, e->host, e->start_ns, set);
			if (rc)
				return rc;
			added++;
		}
	} while (added > before);
	return added;
}

/* Fork and free keep the followed set: they must run from here on, whichever kinds are wanted. The load generator's processes do not fork. */
static int attach_keepers(struct tf_object *o)
{
	static const char *const keepers[] = {"tf_process_fork", "tf_process_free"};

	for (size_t i = 0; i < sizeof(keepers) / sizeof(keepers[0]) && !o->opts.synth; i++) {
		struct tf_program *p = tf_find_program(o, keepers[i]);
		int rc = p && p->prog ? tf_attach_program(o, p) : p && p->info.error ? p->info.error : -ENODEV;

		if (rc)
			return rc;
	}
	return 0;
}

static int compare_u32(const void *a, const void *b)
{
	const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/* The same roots keep their set, and with it descendants whose parents are gone. Otherwise a new number is taken, whose place (its lowest
 * bit) is not that of the set in force: what comes of it is known only when it is filled. */
static int choose_set(struct tf_object *o, const struct tf_rules_spec *s, struct roots *roots)
{
	roots->n = s->n_follow;
	roots->at = malloc(roots->n * sizeof(*roots->at) + 1);
	if (!roots->at)
		return -ENOMEM;
	if (roots->n)
		memcpy(roots->at, s->follow, roots->n * sizeof(*roots->at));
	qsort(roots->at, roots->n, sizeof(*roots->at), compare_u32);
	roots->set = o->follow_set;
	if (o->follow_set && o->n_roots == roots->n && !memcmp(o->roots, roots->at, roots->n * sizeof(*roots->at)))
		return 0;
	do
		roots->set = ++o->last_set;
	while (!roots->set || (o->follow_set && (roots->set & 1) == (o->follow_set & 1)));
	return 0;
}

/* A child forked between a listing and its parent's entry is found by the next listing; the last one finds none. */
static int fill_follow(struct tf_object *o, const struct tf_rules_spec *s, struct roots *roots)
{
	struct pid_list list = {0};
	int rc = attach_keepers(o), added = 1;

	if (!rc)
		rc = choose_set(o, s, roots);
	if (!rc)
		rc = list_processes(o, &list);
	if (rc == -ENOENT)
		rc = 0; /* only synthetic processes can be followed without it */
	if (!rc)
		rc = follow_roots(o, s, &list, roots->set);
	for (int pass = 0; !rc && added && list.n && pass < FOLLOW_PASSES; pass++) {
		if (pass)
			rc = list_processes(o, &list);
		added = rc ? rc : follow_children(o, &list, roots->set);
		rc = added < 0 ? added : rc;
	}
	free(list.at);
	return rc;
}

/* The tables of a slot, by their place in struct tf_object's `filled`. */
static const struct table {
	enum tf_shared_map outer;
	enum bpf_map_type type;
	const char *name;
	uint32_t key_size, stride;
} tables[] = {
	{TF_M_RULE_SETS, BPF_MAP_TYPE_HASH, "tf_set", sizeof(struct tf_set_key), sizeof(struct tf_set_entry)},
	{TF_M_RULE_TRIES, BPF_MAP_TYPE_LPM_TRIE, "tf_trie", sizeof(struct tf_trie_key), sizeof(struct tf_trie_entry)},
	{TF_M_RULE_PATHS, BPF_MAP_TYPE_LPM_TRIE, "tf_paths", sizeof(struct tf_prefix_key), sizeof(struct tf_path_entry)},
};

/* One table of a slot, of entries that are {key, clauses}. After an update of the outer map the kernel waits until no program can be running
 * that saw the old one: an empty table that follows an empty one is left. */
static int fill_entries(struct tf_object *o, uint32_t slot, unsigned table, const void *entries, size_t n)
{
	const struct table *t = &tables[table];
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_NO_PREALLOC);
	bool *filled = &o->filled[slot][table];
	int fd, rc = 0;

	if (n > (o->opts.map_entries ? o->opts.map_entries : 10000))
		return -E2BIG;
	if (!n && !*filled)
		return 0;
	fd = bpf_map_create(t->type, t->name, t->key_size, sizeof(uint32_t), n ? (uint32_t)n : 1, &opts);
	if (fd < 0)
		return fd;
	for (size_t i = 0; !rc && i < n; i++) {
		const char *entry = (const char *)entries + i * t->stride;

		rc = bpf_map_update_elem(fd, entry, entry + t->key_size, BPF_ANY);
	}
	if (!rc)
		rc = bpf_map_update_elem(o->map_fd[t->outer], &slot, &fd, BPF_ANY);
	if (!rc)
		*filled = n;
	close(fd);
	return rc;
}

int64_t tf_object_set_rules(struct tf_object *o, const struct tf_rules_spec *s)
{
	char why[700];
	struct tf_settings *settings = o->mapped[TF_M_SETTINGS];
	const uint32_t gen = o->gen + 1 ? o->gen + 1 : 1, slot = gen & (TF_RULE_SLOTS - 1);
	struct tf_rule_slot *rules = (struct tf_rule_slot *)o->mapped[TF_M_RULES] + slot;
	const bool follows = s->rules.flags & TF_R_DESCENDANTS;
	struct roots roots = {0};
	int rc;

	tf_log_begin(o);
	rc = fill_entries(o, slot, 0, s->set, s->n_set);
	if (!rc)
		rc = fill_entries(o, slot, 1, s->trie, s->n_trie);
	if (!rc)
		rc = fill_entries(o, slot, 2, s->paths, s->n_paths);
	if (!rc && follows)
		rc = fill_follow(o, s, &roots);
	tf_log_end();
	if (rc) {
		free(roots.at); /* the filter in force goes on as it was */
		return rc;
	}
	if (follows) {
		free(o->roots);
		o->roots = roots.at;
		o->n_roots = roots.n;
		o->follow_set = roots.set;
	}
	*rules = s->rules;
	rules->flags |= o->not_comms ? TF_R_NOT_COMMS : 0;
	rules->gen = gen;
	rules->follow_set = roots.set;
	memset(rules->kind_mask, 0, sizeof(rules->kind_mask));
	for (uint32_t kind = 0; kind < TF_KIND_MAX; kind++)
		rules->kind_mask[kind / 64] |= (uint64_t)!!rules->clauses[kind] << (kind % 64);
	o->kept.rules = *rules;
	o->gen = gen;
	if (o->attached) {
		tf_log_begin(o);
		tf_attach_wanted(o, (const void *)o->kept.rules.kind_mask, why, sizeof(why)); /* what could not be says so in its program's info */
		tf_log_end();
	}
	tf_store_release(&settings->gen, gen); /* partner: the one read of gen in tf_admit; the slot is whole before it is named */
	return gen;
}

/* The entry is whole before it is counted; the one it takes the place of is no longer looked at (TF_HISTORY - 1 hold). */
static void add_to_history(struct tf_object *o, uint32_t kind, uint64_t since_ns)
{
	struct tf_rate_history *h = (struct tf_rate_history *)o->mapped[TF_M_HISTORY] + kind;
	const bool first = !o->attached;
	const uint64_t n = first ? 0 : h->n;

	h->at[n % TF_HISTORY] = (struct tf_rate_since){.since_ns = first ? 0 : since_ns, .rate = o->kept.rates[kind]};
	tf_store_release(&h->n, n + 1); /* partner: the one read of n in tf_rate_at */
	tf_store_release(&o->kept.history[kind], tf_crc32c(0, h, sizeof(*h))); /* partner: history_differs */
}

int tf_object_set_rate(struct tf_object *o, uint32_t kind, uint32_t threshold, uint32_t weight_bits, uint64_t since_ns)
{
	if (kind >= TF_KIND_COUNT || tf_kind_table[kind].type == TF_META)
		return -EINVAL;
	if (o->kept.rates[kind] == TF_RATE(threshold, weight_bits))
		return 0;
	tf_store_relaxed(&o->kept.rates[kind], TF_RATE(threshold, weight_bits));
	if ((o->opts.by_process[kind / 64] | o->opts.by_connection[kind / 64]) >> (kind % 64) & 1)
		add_to_history(o, kind, since_ns);
	tf_store_release((uint64_t *)o->mapped[TF_M_RATES] + kind, o->kept.rates[kind]); /* partner: rates_differ */
	return 0;
}

int tf_object_set_throttle(struct tf_object *o, uint64_t rate, uint64_t burst)
{
	struct tf_settings *settings = o->mapped[TF_M_SETTINGS];

	if (rate > 1000000000)
		return -EINVAL; /* below a nanosecond a record: the price of a token would be 0 */
	if (!(o->consts.options & TF_O_THROTTLE))
		return -EOPNOTSUPP;
	o->kept.throttle_rate = rate;
	o->kept.throttle_burst = burst;
	tf_store_relaxed(&settings->throttle_burst, burst);
	tf_store_release(&settings->throttle_rate, rate);
	return 0;
}
