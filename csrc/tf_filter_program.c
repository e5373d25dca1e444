/* SPDX-License-Identifier: Apache-2.0 */
/* tf_filter_program: reads the byte program of a filter into trees. Any bytes may come: each is checked before it is used.
 *
 * "TFP1", u32 rules, u8 whether there is an expression, then that many trees, each node before its parts, numbers little-endian:
 *   node   u8 op; and, or: u32 parts; test: as follows
 *   test   u8 op, u8 flags, u8 source, u8 fact, u8 places, places of {u8 domain, u8 kind, u16 offset, u16 size}, u32 args, args
 *   args   range 2 x i128; float 2 x f64, 2 x u8; bits u64 u8 u64; net 16 bytes, u8; kind u16; texts u32 and bytes; follow u32 */
#include "tf_filter_impl.h"

struct reader {
	struct tf_filter *f;
	const uint8_t *p, *end;
	uint32_t nodes, cap_tests;
};

static bool get(struct reader *r, void *to, size_t n)
{
	if ((size_t)(r->end - r->p) < n)
		return false;
	memcpy(to, r->p, n);
	r->p += n;
	return true;
}

/* Room for n args that take at least `least` bytes of program each; NULL with *rc set when that cannot be. */
static void *room(struct reader *r, uint32_t n, size_t least, size_t size, int *rc)
{
	void *p;

	if (n > (size_t)(r->end - r->p) / least) {
		*rc = -EBADMSG;
		return NULL;
	}
	p = tf_filter_take(r->f, n ? n : 1, size);
	*rc = p ? 0 : -ENOMEM;
	return p;
}

static int get_ranges(struct reader *r, struct tf_test *t)
{
	int rc;

	t->arg.ranges = room(r, t->n, sizeof(*t->arg.ranges), sizeof(*t->arg.ranges), &rc);
	if (rc)
		return rc;
	get(r, t->arg.ranges, (size_t)t->n * sizeof(*t->arg.ranges));
	for (uint32_t i = 0; i < t->n; i++)
		if (t->arg.ranges[i][0] > t->arg.ranges[i][1] || (i && t->arg.ranges[i][0] <= t->arg.ranges[i - 1][1]))
			return -EBADMSG; /* empty, or not sorted and disjoint */
	return 0;
}

static int get_spans(struct reader *r, struct tf_test *t)
{
	int rc;

	t->arg.spans = room(r, t->n, 18, sizeof(*t->arg.spans), &rc);
	for (uint32_t i = 0; !rc && i < t->n; i++) {
		struct tf_span *s = &t->arg.spans[i];

		get(r, &s->lo, 8);
		get(r, &s->hi, 8);
		get(r, &s->lo_open, 1);
		get(r, &s->hi_open, 1);
	}
	return rc;
}

static int get_bits(struct reader *r, struct tf_test *t)
{
	uint8_t has_want;

	if (t->n != 1 || !get(r, &t->arg.bits.mask, 8) || !get(r, &has_want, 1) || !get(r, &t->arg.bits.want, 8) || has_want > 1)
		return -EBADMSG;
	t->arg.bits.has_want = has_want;
	return 0;
}

static int get_nets(struct reader *r, struct tf_test *t)
{
	int rc;

	t->arg.nets = room(r, t->n, 17, sizeof(*t->arg.nets), &rc);
	for (uint32_t i = 0; !rc && i < t->n; i++) {
		get(r, t->arg.nets[i].address, 16);
		get(r, &t->arg.nets[i].prefix, 1);
		if (t->arg.nets[i].prefix > 128)
			return -EBADMSG;
	}
	return rc;
}

static int get_kinds(struct reader *r, struct tf_test *t)
{
	int rc;

	t->arg.kinds = room(r, t->n, 2, sizeof(*t->arg.kinds), &rc);
	for (uint32_t i = 0; !rc && i < t->n; i++) {
		get(r, &t->arg.kinds[i], 2);
		if (t->arg.kinds[i] >= TF_KIND_COUNT)
			return -EBADMSG;
	}
	return rc;
}

static int get_texts(struct reader *r, struct tf_test *t)
{
	int rc;

	t->arg.texts = room(r, t->n, 4, sizeof(*t->arg.texts), &rc);
	for (uint32_t i = 0; !rc && i < t->n; i++) {
		uint32_t len;
		uint8_t *p;

		if (!get(r, &len, 4) || (size_t)(r->end - r->p) < len)
			return -EBADMSG;
		p = tf_filter_take(r->f, (size_t)len + 1, 1);
		if (!p)
			return -ENOMEM;
		get(r, p, len);
		t->arg.texts[i] = (struct tf_value){p, len};
	}
	return rc;
}

static int get_pids(struct reader *r, struct tf_test *t)
{
	int rc;

	t->arg.pids = room(r, t->n, 4, sizeof(*t->arg.pids), &rc);
	if (!rc)
		get(r, t->arg.pids, (size_t)t->n * 4);
	return rc;
}

static int get_args(struct reader *r, struct tf_test *t)
{
	if (!get(r, &t->n, 4))
		return -EBADMSG;
	switch (t->op) {
	case TF_T_RANGE: return get_ranges(r, t);
	case TF_T_FLOAT: return get_spans(r, t);
	case TF_T_BITS: return get_bits(r, t);
	case TF_T_NET: return get_nets(r, t);
	case TF_T_KIND: return get_kinds(r, t);
	case TF_T_FOLLOW: return get_pids(r, t);
	case TF_T_EXISTS: return t->n ? -EBADMSG : 0;
	default: return get_texts(r, t);
	}
}

static bool is_text(unsigned op)
{
	return op >= TF_T_EQUAL && op <= TF_T_REGEX;
}

/* Whether what lies there is of a type that the op is for. */
static bool fits(unsigned op, const struct tf_place *at)
{
	const bool number = at->size == 1 || at->size == 2 || at->size == 4 || at->size == 8;

	switch (op) {
	case TF_T_RANGE:
	case TF_T_BITS: return (at->kind == 'u' || at->kind == 'i') && number;
	case TF_T_FLOAT: return at->kind == 'f' && at->size == sizeof(float);
	case TF_T_NET: return at->kind == 'B' && at->size == 16;
	case TF_T_EXISTS: return at->kind;
	default: return is_text(op) && ((at->kind == 'S' && at->size == TF_COMM_LEN) || (at->kind == 'T' && at->size == sizeof(struct tf_text)));
	}
}

static int get_places(struct reader *r, struct tf_test *t)
{
	uint8_t n;

	if (!get(r, &n, 1))
		return -EBADMSG;
	while (n--) {
		uint8_t domain;
		struct tf_place at;

		if (!get(r, &domain, 1) || !get(r, &at.kind, 1) || !get(r, &at.offset, 2) || !get(r, &at.size, 2))
			return -EBADMSG;
		if (domain >= TF_TYPE_MAX || domain == TF_META || t->place[domain].kind || !fits(t->op, &at))
			return -EBADMSG;
		if ((uint32_t)at.offset + at.size > tf_row_size(domain))
			return -EBADMSG;
		t->place[domain] = at;
	}
	return 0;
}

/* Which ops go with which source. */
static bool belongs(const struct tf_test *t)
{
	switch (t->source) {
	case TF_S_ROW: return t->op != TF_T_KIND && t->op != TF_T_FOLLOW;
	case TF_S_FACT: return (is_text(t->op) || t->op == TF_T_EXISTS) && t->fact < TF_FACT_COUNT;
	case TF_S_KIND: return t->op == TF_T_KIND || t->op == TF_T_EXISTS;
	case TF_S_SEVERITY: return t->op == TF_T_RANGE || t->op == TF_T_EXISTS;
	case TF_S_FOLLOW: return t->op == TF_T_FOLLOW || t->op == TF_T_EXISTS;
	default: return false;
	}
}

static int get_test(struct reader *r, struct tf_test **out)
{
	struct tf_test *t = tf_filter_take(r->f, 1, sizeof(*t));
	int rc;

	if (!t)
		return -ENOMEM;
	t->cached = -1;
	if (!get(r, &t->op, 1) || !get(r, &t->flags, 1) || !get(r, &t->source, 1) || !get(r, &t->fact, 1))
		return -EBADMSG;
	if (t->op >= TF_T_COUNT || t->flags > 7 || !belongs(t))
		return -EBADMSG;
	rc = get_places(r, t);
	if (!rc && t->source >= TF_S_KIND)
		for (unsigned d = 0; d < TF_TYPE_MAX; d++)
			rc = t->place[d].kind ? -EBADMSG : rc;
	if (!rc)
		rc = get_args(r, t);
	t->index = r->f->n_tests++;
	*out = t;
	return rc;
}

static int get_node(struct reader *r, struct tf_branch *b, unsigned depth)
{
	int rc = 0;

	if (depth > TF_FILTER_MAX_DEPTH || ++r->nodes > TF_FILTER_MAX_NODES)
		return -E2BIG;
	if (!get(r, &b->op, 1) || b->op > TF_N_TEST)
		return -EBADMSG;
	if (b->op == TF_N_TEST)
		return get_test(r, &b->test);
	b->n = b->op == TF_N_NOT;
	if ((b->op == TF_N_AND || b->op == TF_N_OR) && !get(r, &b->n, 4))
		return -EBADMSG;
	if (b->n)
		b->kids = room(r, b->n, 1, sizeof(*b->kids), &rc);
	for (uint32_t i = 0; !rc && i < b->n; i++) {
		b->kids[i] = tf_filter_take(r->f, 1, sizeof(**b->kids));
		rc = b->kids[i] ? get_node(r, b->kids[i], depth + 1) : -ENOMEM;
	}
	return rc;
}

static int get_tree(struct reader *r, struct tf_branch **out)
{
	*out = tf_filter_take(r->f, 1, sizeof(**out));
	return *out ? get_node(r, *out, 0) : -ENOMEM;
}

static void list_tests(struct tf_filter *f, const struct tf_branch *b)
{
	if (b->test)
		f->tests[b->test->index] = b->test;
	for (uint32_t i = 0; i < b->n; i++)
		list_tests(f, b->kids[i]);
}

int tf_filter_read(struct tf_filter *f, const uint8_t *program, size_t len)
{
	struct reader r = {.f = f, .p = program, .end = program + len};
	uint8_t magic[4], has_expr;
	int rc;

	if (!get(&r, magic, 4) || memcmp(magic, "TFP1", 4) || !get(&r, &f->n_rules, 4) || !get(&r, &has_expr, 1) || has_expr > 1)
		return -EBADMSG;
	if (f->n_rules > TF_FILTER_MAX_RULES)
		return -E2BIG;
	f->has_expr = has_expr;
	f->rules = room(&r, f->n_rules, 1, sizeof(*f->rules), &rc);
	if (!rc && has_expr)
		rc = get_tree(&r, &f->expr);
	for (uint32_t i = 0; !rc && i < f->n_rules; i++)
		rc = get_tree(&r, &f->rules[i]);
	if (rc)
		return rc;
	if (r.p != r.end)
		return -EBADMSG;
	f->tests = tf_filter_take(f, f->n_tests ? f->n_tests : 1, sizeof(*f->tests));
	if (!f->tests)
		return -ENOMEM;
	if (f->expr)
		list_tests(f, f->expr);
	for (uint32_t i = 0; i < f->n_rules; i++)
		list_tests(f, f->rules[i]);
	return 0;
}
