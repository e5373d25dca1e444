/* SPDX-License-Identifier: Apache-2.0 */
/* tf_filter: compiling a program for every domain, and running it block by block. */
#include "tf_filter_impl.h"

#include <stdio.h>
#include <stdlib.h>

void *tf_filter_take(struct tf_filter *f, size_t n, size_t size)
{
	struct tf_chunk *c;
	size_t bytes;

	if (__builtin_mul_overflow(n, size, &bytes) || bytes > TF_FILTER_MAX_BYTES - f->bytes)
		return NULL;
	c = calloc(1, sizeof(*c) + bytes);
	if (!c)
		return NULL;
	c->next = f->chunks;
	f->chunks = c;
	f->bytes += bytes;
	return c->bytes;
}

/* --- for one domain --- */

static int by_cost(const void *a, const void *b)
{
	const struct tf_node *x = *(struct tf_node *const *)a, *y = *(struct tf_node *const *)b;

	return x->cost < y->cost ? -1 : x->cost > y->cost;
}

static int specialise(struct tf_filter *f, const struct tf_branch *b, uint8_t domain, struct tf_node **out);

/* The parts of an and (or): those that settle nothing go, one that settles it all stays alone. */
static int join(struct tf_filter *f, const struct tf_branch *b, uint8_t domain, struct tf_node *to)
{
	const uint8_t idle = b->op == TF_N_AND ? TF_N_TRUE : TF_N_FALSE, decisive = b->op == TF_N_AND ? TF_N_FALSE : TF_N_TRUE;

	to->kids = tf_filter_take(f, b->n ? b->n : 1, sizeof(*to->kids));
	if (!to->kids)
		return -ENOMEM;
	for (uint32_t i = 0; i < b->n; i++) {
		struct tf_node *kid;
		int rc = specialise(f, b->kids[i], domain, &kid);

		if (rc)
			return rc;
		if (kid->op == decisive) {
			*to = (struct tf_node){.op = decisive};
			return 0;
		}
		if (kid->op == idle)
			continue;
		to->kids[to->n++] = kid;
		to->cost += kid->cost;
	}
	if (to->n == 1)
		*to = *to->kids[0];
	else if (!to->n)
		to->op = idle;
	else
		qsort(to->kids, to->n, sizeof(*to->kids), by_cost); /* no test has an effect: the cheap ones come first */
	return 0;
}

static int opposite(struct tf_filter *f, const struct tf_branch *b, uint8_t domain, struct tf_node *to)
{
	int rc;

	to->kids = tf_filter_take(f, 1, sizeof(*to->kids));
	rc = to->kids ? specialise(f, b->kids[0], domain, &to->kids[0]) : -ENOMEM;
	if (rc)
		return rc;
	to->n = 1;
	to->cost = to->kids[0]->cost;
	if (to->kids[0]->op <= TF_N_TRUE)
		to->op = to->kids[0]->op == TF_N_TRUE ? TF_N_FALSE : TF_N_TRUE;
	return 0;
}

static int specialise(struct tf_filter *f, const struct tf_branch *b, uint8_t domain, struct tf_node **out)
{
	struct tf_node *to = *out = tf_filter_take(f, 1, sizeof(*to));

	if (!to)
		return -ENOMEM;
	to->op = b->op;
	switch (b->op) {
	case TF_N_TEST: return tf_filter_leaf(f, b->test, domain, to);
	case TF_N_NOT: return opposite(f, b, domain, to);
	case TF_N_AND:
	case TF_N_OR: return join(f, b, domain, to);
	default: return 0;
	}
}

static int specialise_all(struct tf_filter *f)
{
	int rc = 0;

	for (uint8_t d = 0; d < TF_TYPE_MAX; d++) {
		if (!tf_row_size(d) || d == TF_META)
			continue;
		f->rules_of[d] = tf_filter_take(f, f->n_rules ? f->n_rules : 1, sizeof(*f->rules_of[d]));
		if (!f->rules_of[d])
			return -ENOMEM;
		if (f->expr)
			rc = specialise(f, f->expr, d, &f->expr_of[d]);
		for (uint32_t i = 0; !rc && i < f->n_rules; i++)
			rc = specialise(f, f->rules[i], d, &f->rules_of[d][i]);
		if (rc)
			return rc;
	}
	return 0;
}

/* --- life --- */

static void say(struct tf_filter_error *err, int rc)
{
	const char *why = rc == -ENOMEM ? "not enough memory" : rc == -E2BIG ? "it is too big: see the bounds in docs/filter.md" : "it is damaged";

	if (err && !err->msg[0])
		snprintf(err->msg, sizeof(err->msg), "the program of a filter cannot be used: %s", why);
}

int tf_filter_compile(const void *program, size_t len, struct tf_filter **out, struct tf_filter_error *err)
{
	struct tf_filter *f;
	int rc = 0;

	if (err)
		*err = (struct tf_filter_error){.test = UINT32_MAX};
	f = len > TF_FILTER_MAX_PROGRAM ? NULL : calloc(1, sizeof(*f));
	if (!f) {
		rc = len > TF_FILTER_MAX_PROGRAM ? -E2BIG : -ENOMEM;
		say(err, rc);
		return rc;
	}
	f->refs = 1;
	rc = tf_filter_read(f, program, len);
	for (uint32_t i = 0; !rc && i < f->n_tests; i++)
		if (f->tests[i]->op >= TF_T_EQUAL && f->tests[i]->op <= TF_T_REGEX)
			rc = tf_matcher_make(f, f->tests[i], err);
	if (!rc)
		rc = specialise_all(f);
	if (rc == -ENOMEM && f->bytes > TF_FILTER_MAX_BYTES / 2)
		rc = -E2BIG; /* our own bound, not the system's */
	if (rc) {
		say(err, rc);
		tf_filter_unref(f);
		return rc;
	}
	*out = f;
	return 0;
}

struct tf_filter *tf_filter_ref(struct tf_filter *f)
{
	__atomic_add_fetch(&f->refs, 1, __ATOMIC_RELAXED);
	return f;
}

void tf_filter_unref(struct tf_filter *f)
{
	if (!f || __atomic_sub_fetch(&f->refs, 1, __ATOMIC_ACQ_REL))
		return;
	for (uint32_t i = 0; i < f->n_regexes; i++)
		tf_regex_close(f->regexes[i]);
	free(f->regexes);
	while (f->chunks) {
		struct tf_chunk *c = f->chunks;

		f->chunks = c->next;
		free(c);
	}
	free(f);
}

uint32_t tf_filter_rules(const struct tf_filter *f)
{
	return f->n_rules;
}

bool tf_filter_needs_facts(const struct tf_filter *f)
{
	return f->needs_facts;
}

size_t tf_filter_bytes(const struct tf_filter *f)
{
	return sizeof(*f) + f->bytes + f->regex_bytes;
}

static int fate_of(const struct tf_node *n)
{
	return n->op == TF_N_TRUE ? 1 : n->op == TF_N_FALSE ? 0 : -1;
}

int tf_filter_fate(const struct tf_filter *f, uint8_t domain)
{
	int expr = 1, rules = f->n_rules ? 0 : 1;

	if (domain >= TF_TYPE_MAX || !f->rules_of[domain])
		return 1;
	if (f->has_expr)
		expr = fate_of(f->expr_of[domain]);
	for (uint32_t i = 0; i < f->n_rules && rules != 1; i++) {
		const int fate = fate_of(f->rules_of[domain][i]);

		rules = fate == 1 ? 1 : fate == 0 ? rules : -1;
	}
	return !expr || !rules ? 0 : expr == 1 && rules == 1 ? 1 : -1;
}

int tf_filter_scratch_open(struct tf_filter *f, struct tf_filter_scratch **out)
{
	struct tf_filter_scratch *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->words = (f->n_cached + 31) / 32;
	s->set_words = 4 + 2 * s->words;
	if (s->words) {
		const size_t size = (size_t)TF_NAME_SETS * s->set_words * sizeof(*s->sets);

		s->sets = aligned_alloc(64, size);
		if (!s->sets) {
			free(s);
			return -ENOMEM;
		}
		memset(s->sets, 0, size);
	}
	s->filter = tf_filter_ref(f);
	*out = s;
	return 0;
}

void tf_filter_scratch_close(struct tf_filter_scratch *s)
{
	if (!s)
		return;
	tf_filter_unref(s->filter);
	free(s->sets);
	free(s);
}

/* --- running --- */

static bool any(const uint64_t *bits, uint32_t words)
{
	uint64_t all = 0;

	for (uint32_t w = 0; w < words; w++)
		all |= bits[w];
	return all;
}

/* out may be in. */
static void judge(const struct tf_node *n, const struct tf_block *b, const uint64_t *in, uint64_t *out)
{
	uint64_t hit[TF_BLOCK_WORDS], left[TF_BLOCK_WORDS];
	const size_t size = b->words * sizeof(*in);

	switch (n->op) {
	case TF_N_FALSE: memset(out, 0, size); return;
	case TF_N_TRUE: memmove(out, in, size); return;
	case TF_N_AND:
		memmove(out, in, size);
		for (uint32_t i = 0; i < n->n && any(out, b->words); i++)
			judge(n->kids[i], b, out, out);
		return;
	case TF_N_OR:
		memcpy(left, in, size);
		memset(out, 0, size);
		for (uint32_t i = 0; i < n->n && any(left, b->words); i++) {
			judge(n->kids[i], b, left, hit);
			for (uint32_t w = 0; w < b->words; w++) {
				out[w] |= hit[w];
				left[w] &= ~hit[w];
			}
		}
		return;
	case TF_N_NOT:
		judge(n->kids[0], b, in, hit);
		break;
	default:
		n->leaf.run(&n->leaf, b, in, hit);
		if (!n->leaf.negate) {
			memcpy(out, hit, size);
			return;
		}
	}
	for (uint32_t w = 0; w < b->words; w++)
		out[w] = in[w] & ~hit[w];
}

struct run {
	const struct tf_filter *f;
	uint64_t *hits;		/* NULL = not asked */
	uint64_t *rule_bits;	/* NULL = not asked; at this block */
	size_t words;		/* of one rule's bits */
};

static uint64_t count(const uint64_t *bits, uint32_t words)
{
	uint64_t n = 0;

	for (uint32_t w = 0; w < words; w++)
		n += (uint64_t)__builtin_popcountll(bits[w]);
	return n;
}

/* bits: in: rows that the expression lets through; out: those that a rule matches as well. */
static void judge_rules(const struct run *r, const struct tf_block *b, uint64_t *bits)
{
	struct tf_node *const *rules = r->f->rules_of[b->domain];
	const bool each = r->hits || r->rule_bits;
	uint64_t kept[TF_BLOCK_WORDS] = {0}, left[TF_BLOCK_WORDS], hit[TF_BLOCK_WORDS];

	memcpy(left, bits, b->words * sizeof(*bits));
	for (uint32_t i = 0; i < r->f->n_rules && any(left, b->words); i++) {
		if (rules[i]->op == TF_N_FALSE)
			continue;
		judge(rules[i], b, left, hit);
		for (uint32_t w = 0; w < b->words; w++) {
			kept[w] |= hit[w];
			if (!each)
				left[w] &= ~hit[w];
		}
		if (r->hits)
			r->hits[i] += count(hit, b->words);
		if (r->rule_bits)
			memcpy(r->rule_bits + i * r->words, hit, b->words * sizeof(*hit));
	}
	memcpy(bits, kept, b->words * sizeof(*bits));
}

static int run(struct run *r, struct tf_filter_scratch *s, const struct tf_facts *facts, const struct tf_rows *rows, uint8_t domain, uint64_t *bits)
{
	const struct tf_filter *f = r->f;

	if (!s || s->filter != f || domain >= TF_TYPE_MAX || !f->rules_of[domain] || rows->row_size != tf_row_size(domain))
		return -EINVAL;
	if (rows->n % 64)
		bits[rows->n / 64] &= (1ull << rows->n % 64) - 1;
	for (uint32_t from = 0; from < rows->n; from += TF_BLOCK_ROWS) {
		const uint32_t n = rows->n - from < TF_BLOCK_ROWS ? rows->n - from : TF_BLOCK_ROWS;
		const struct tf_block b = {
			.rows = rows->rows + (size_t)from * rows->row_size, .stride = rows->row_size, .n = n, .words = (n + 63) / 64,
			.domain = domain, .all = rows, .facts = facts, .scratch = s};
		uint64_t *at = bits + from / 64;

		if (f->has_expr)
			judge(f->expr_of[domain], &b, at, at);
		if (f->n_rules)
			judge_rules(r, &b, at);
		if (r->rule_bits)
			r->rule_bits += TF_BLOCK_WORDS;
	}
	return 0;
}

int tf_filter_run(const struct tf_filter *f, struct tf_filter_scratch *s, const struct tf_facts *facts, const struct tf_rows *r,
		  uint8_t domain, uint64_t *bits, uint64_t *rule_hits)
{
	struct run x = {.f = f, .hits = rule_hits};

	return run(&x, s, facts, r, domain, bits);
}

int tf_filter_run_rules(const struct tf_filter *f, struct tf_filter_scratch *s, const struct tf_facts *facts, const struct tf_rows *r,
			uint8_t domain, uint64_t *bits, uint64_t *rule_bits)
{
	struct run x = {.f = f, .rule_bits = rule_bits, .words = ((size_t)r->n + 63) / 64};

	memset(rule_bits, 0, (size_t)f->n_rules * x.words * sizeof(*rule_bits));
	return run(&x, s, facts, r, domain, bits);
}
