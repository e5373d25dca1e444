/* SPDX-License-Identifier: Apache-2.0 */
/* tf_filter_leaf: a test as it is run on the rows of one domain: which loop, with what numbers; or a constant, where the domain settles it. */
#include "tf_filter_impl.h"
#include "tf_layout.h"

#include <stdlib.h>

#define FEW 8u	/* masked comparisons one after the other; more go into sorted intervals or tables */

enum cost { COST_NUMBER = 1, COST_SEVERITY = 2, COST_SET = 3, COST_NAME = 4, COST_NETS = 6, COST_TEXT = 10, COST_FACT = 20, COST_FOLLOW = 60 };

static int constant(struct tf_node *out, bool value)
{
	out->op = value ? TF_N_TRUE : TF_N_FALSE;
	out->cost = 0;
	return 0;
}

/* The test's values are all there are (all), or none of them can be (!all); it may be negated. */
static int settled(const struct tf_test *t, struct tf_node *out, bool all)
{
	return constant(out, all != !!(t->flags & TF_TEST_NEGATE));
}

static int number(struct tf_node *out, tf_leaf_run *run, uint32_t cost)
{
	out->leaf.run = run;
	out->cost = cost;
	return 0;
}

static tf_i128 lowest(bool is_signed, unsigned size)
{
	return is_signed ? -((tf_i128)1 << (8 * size - 1)) : 0;
}

static tf_i128 highest(bool is_signed, unsigned size)
{
	return ((tf_i128)1 << (8 * size - is_signed)) - 1;
}

/* Ranges cut to what the field can hold, as keys. Returns how many are left. */
static uint32_t keys_of(const struct tf_test *t, bool is_signed, unsigned size, uint64_t (*keys)[2])
{
	const tf_i128 min = lowest(is_signed, size), max = highest(is_signed, size);
	uint32_t n = 0;

	for (uint32_t i = 0; i < t->n; i++) {
		tf_i128 lo = t->arg.ranges[i][0], hi = t->arg.ranges[i][1];

		lo = lo < min ? min : lo;
		hi = hi > max ? max : hi;
		if (lo > hi)
			continue;
		keys[n][0] = (uint64_t)(lo - min); /* what turning the sign bit gives */
		keys[n++][1] = (uint64_t)(hi - min);
	}
	return n;
}

static int several_ranges(struct tf_filter *f, struct tf_test *t, bool is_signed, unsigned size, struct tf_node *out)
{
	struct tf_set **made = &t->set[is_signed][__builtin_ctz(size)];
	uint64_t(*keys)[2] = malloc((size_t)t->n * sizeof(*keys));
	uint32_t n;

	if (!keys)
		return -ENOMEM;
	n = keys_of(t, is_signed, size, keys);
	if (n && !*made)
		*made = tf_set_make(f, (const uint64_t(*)[2])keys, n, 8 * size);
	free(keys);
	if (!n)
		return settled(t, out, false);
	if (!*made)
		return -ENOMEM;
	out->leaf.u.set = *made;
	return number(out, tf_run_set(*made, is_signed, size), COST_SET);
}

static int range_leaf(struct tf_filter *f, struct tf_test *t, const struct tf_place *at, struct tf_node *out)
{
	const bool is_signed = at->kind == 'i';
	uint64_t key[1][2];

	if (!t->n)
		return settled(t, out, false);
	if (t->n > 1)
		return several_ranges(f, t, is_signed, at->size, out);
	if (!keys_of(t, is_signed, at->size, key))
		return settled(t, out, false);
	if (key[0][1] - key[0][0] == (uint64_t)(highest(is_signed, at->size) - lowest(is_signed, at->size)))
		return settled(t, out, true);
	out->leaf.u.range.lo = key[0][0] + (uint64_t)lowest(is_signed, at->size);
	out->leaf.u.range.span = key[0][1] - key[0][0];
	return number(out, tf_run_range(at->size), COST_NUMBER);
}

static int bits_leaf(const struct tf_test *t, const struct tf_place *at, struct tf_node *out)
{
	out->leaf.u.bits.mask = t->arg.bits.mask;
	out->leaf.u.bits.want = t->arg.bits.want;
	return number(out, tf_run_bits(at->kind == 'i', at->size, !t->arg.bits.has_want), COST_NUMBER);
}

static int net_leaf(struct tf_filter *f, struct tf_test *t, struct tf_node *out)
{
	if (!t->n)
		return settled(t, out, false);
	if (t->n == 1) {
		out->leaf.u.net = tf_net_of(t->arg.nets[0].address, t->arg.nets[0].prefix);
		return number(out, tf_run_net, COST_NUMBER);
	}
	if (!t->intervals)
		t->intervals = tf_nets_make(f, t);
	return t->intervals ? number(out, tf_run_nets, COST_NETS) : -ENOMEM;
}

static int table_leaf(struct tf_filter *f, uint8_t **table, struct tf_node *out)
{
	*table = tf_filter_take(f, 1, 512);
	out->leaf.u.table = *table;
	out->leaf.offset = offsetof(struct tf_header, subtype);
	return *table ? 0 : -ENOMEM;
}

static int kind_leaf(struct tf_filter *f, const struct tf_test *t, uint8_t domain, struct tf_node *out)
{
	uint8_t *table;
	bool any = false;
	int rc = table_leaf(f, &table, out);

	if (rc)
		return rc;
	for (uint32_t i = 0; i < t->n; i++) {
		const struct tf_kind_info *k = &tf_kind_table[t->arg.kinds[i]];

		if (k->type == domain) {
			table[k->subtype] = 1;
			any = true;
		}
	}
	return any ? number(out, tf_run_table, COST_NUMBER) : settled(t, out, false);
}

static bool in_test(const struct tf_test *t, int64_t x)
{
	for (uint32_t i = 0; i < t->n; i++)
		if (t->arg.ranges[i][0] <= x && x <= t->arg.ranges[i][1])
			return true;
	return false;
}

/* Where a row of the domain says that it failed, as RecordBatch.severity has it. */
static void find_failure(uint8_t domain, struct tf_leaf *l)
{
	const struct tf_record_layout *layout = tf_layout_of(domain);

	if (domain == TF_PROCESS) {
		l->failed_at = offsetof(struct tf_process, signal);
		l->failed_size = 2;
		l->failed_subtype = tf_kind_table[TF_K_PROCESS_EXIT].subtype;
		return;
	}
	for (uint16_t i = 0; layout && i < layout->n_fields; i++)
		if (!strcmp(layout->fields[i].name, "errno")) {
			l->failed_at = layout->fields[i].offset;
			l->failed_size = 4;
		}
}

static int severity_leaf(struct tf_filter *f, const struct tf_test *t, uint8_t domain, struct tf_node *out)
{
	uint8_t *table;
	int rc = table_leaf(f, &table, out);

	if (rc)
		return rc;
	for (unsigned subtype = 0; subtype < 256; subtype++) {
		const int kind = tf_kind_of(domain, (uint8_t)subtype);
		const uint8_t severity = kind < 0 ? TF_DEBUG_SEV : tf_kind_table[kind].severity;

		table[subtype] = in_test(t, severity);
		table[256 + subtype] = in_test(t, severity < TF_WARNING ? TF_WARNING : severity);
	}
	find_failure(domain, &out->leaf);
	return number(out, tf_run_severity, COST_SEVERITY);
}

/* A char[16] that is, or begins with, a text: a masked comparison. One that no name can be gives false. */
static bool name_net(const struct tf_value *v, bool whole, struct tf_net *net)
{
	uint8_t bytes[TF_COMM_LEN] = {0};

	if (v->len > TF_COMM_LEN || memchr(v->p, 0, v->len))
		return false;
	memcpy(bytes, v->p, v->len);
	*net = tf_net_of(bytes, 8 * (v->len + (whole && v->len < TF_COMM_LEN))); /* the byte after it is a NUL */
	return true;
}

static int few_names(struct tf_filter *f, const struct tf_test *t, struct tf_node *out)
{
	struct tf_net *nets = tf_filter_take(f, t->n, sizeof(*nets));

	if (!nets)
		return -ENOMEM;
	for (uint32_t i = 0; i < t->n; i++)
		if (!name_net(&t->arg.texts[i], t->op == TF_T_EQUAL, &nets[i])) {
			nets[i].mask[0] = 0; /* nothing is 1 under no mask */
			nets[i].want[0] = 1;
		}
	out->leaf.u.few = nets;
	return number(out, tf_run_few, COST_NUMBER + t->n / 2);
}

static int text_leaf(struct tf_filter *f, struct tf_test *t, const struct tf_place *at, struct tf_node *out)
{
	if (at->kind != 'S')
		return number(out, tf_run_text, COST_TEXT + t->matcher->cost);
	if ((t->op == TF_T_EQUAL || t->op == TF_T_STARTSWITH) && t->n && t->n <= FEW && !(t->flags & TF_TEST_ICASE))
		return few_names(f, t, out);
	if (t->cached < 0)
		t->cached = (int32_t)f->n_cached++;
	return number(out, tf_run_name, COST_NAME);
}

static int fact_leaf(struct tf_filter *f, const struct tf_test *t, struct tf_node *out)
{
	f->needs_facts = true;
	out->leaf.negate = false; /* unknown is false, negated or not: the loop sees to it */
	return number(out, tf_run_fact, COST_FACT + (t->matcher ? t->matcher->cost : 0));
}

static int row_leaf(struct tf_filter *f, struct tf_test *t, const struct tf_place *at, struct tf_node *out)
{
	out->leaf.offset = at->offset;
	switch (t->op) {
	case TF_T_RANGE: return range_leaf(f, t, at, out);
	case TF_T_FLOAT: return number(out, tf_run_float, COST_NUMBER);
	case TF_T_BITS: return bits_leaf(t, at, out);
	case TF_T_NET: return net_leaf(f, t, out);
	case TF_T_EXISTS: return settled(t, out, true);
	default: return text_leaf(f, t, at, out);
	}
}

int tf_filter_leaf(struct tf_filter *f, struct tf_test *t, uint8_t domain, struct tf_node *out)
{
	const struct tf_place *at = &t->place[domain];

	out->op = TF_N_TEST;
	out->leaf.test = t;
	out->leaf.negate = t->flags & TF_TEST_NEGATE;
	if (at->kind)
		return row_leaf(f, t, at, out);
	if (t->source == TF_S_ROW)
		return constant(out, false); /* the domain lacks the field */
	if (t->source == TF_S_FACT)
		return fact_leaf(f, t, out);
	if (t->op == TF_T_EXISTS)
		return settled(t, out, true);
	if (t->source == TF_S_KIND)
		return kind_leaf(f, t, domain, out);
	if (t->source == TF_S_SEVERITY)
		return severity_leaf(f, t, domain, out);
	f->needs_facts = true;
	return number(out, tf_run_follow, COST_FOLLOW);
}
