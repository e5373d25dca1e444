/* SPDX-License-Identifier: Apache-2.0 */
/* tf_filter_values: the values of a text test in the forms that tf_filter_match.c looks for them in: by hash, by their first or last two
 * bytes, or together in one table of a regular expression. */
#include "tf_filter_impl.h"

#include <stdio.h>
#include <stdlib.h>

#define FEW 4u		/* values that are tried one by one */
#define MANY 256u	/* values that are contained: more are found by their first two bytes rather than by tables */
#define JOINED 64u	/* expressions in one table at most */

enum cost { COST_EQUAL = 1, COST_ENDS = 2, COST_CONTAINS = 10, COST_REGEX = 15 };

struct maker {
	struct tf_filter *f;
	struct tf_test *t;
	struct tf_matcher *m;
	struct tf_filter_error *err;
	uint32_t value;			/* the one at work */
	struct tf_value *regex;		/* [t->n] expressions to compile */
	uint32_t *regex_of;		/* [t->n] the values that they come from */
	uint32_t n_regex;
	uint8_t text[4 * TF_RE_MAX_PATTERN + 8];
};

static int fail(struct maker *k, int rc, const char *msg)
{
	if (k->err) {
		k->err->test = k->t->index;
		k->err->value = k->value;
		snprintf(k->err->msg, sizeof(k->err->msg), "%s", msg);
	}
	return rc;
}

static uint8_t *copy_of(struct tf_filter *f, const uint8_t *p, uint32_t len)
{
	uint8_t *copy = tf_filter_take(f, (size_t)len + 1, 1);

	if (copy)
		memcpy(copy, p, len);
	return copy;
}

/* --- expressions --- */

static unsigned regex_flags(const struct maker *k)
{
	return (k->t->flags & TF_TEST_ICASE ? TF_RE_ICASE : 0u) | (k->t->flags & TF_TEST_ARGV ? TF_RE_ARGV : 0u);
}

static int keep(struct maker *k, struct tf_regex *re)
{
	struct tf_filter *f = k->f;

	if (f->n_regexes == f->cap_regexes) {
		const uint32_t cap = f->cap_regexes ? 2 * f->cap_regexes : 16;
		struct tf_regex **more = realloc(f->regexes, cap * sizeof(*more));

		if (!more) {
			tf_regex_close(re);
			return -ENOMEM;
		}
		f->regexes = more;
		f->cap_regexes = cap;
	}
	f->regexes[f->n_regexes++] = re;
	k->m->regex[k->m->n_regex++] = re;
	f->regex_bytes += tf_regex_bytes(re);
	return f->regex_bytes > TF_FILTER_MAX_BYTES ? fail(k, -E2BIG, "the regular expressions of the filter take too much memory together") : 0;
}

static int compile(struct maker *k, const struct tf_value *v, struct tf_regex **re)
{
	char msg[sizeof(((struct tf_filter_error *)0)->msg)] = "";
	size_t at = 0;
	int rc = tf_regex_compile((const char *)v->p, v->len, regex_flags(k), re, &at, msg, sizeof(msg));

	if (rc && k->err)
		k->err->at = k->t->op == TF_T_REGEX ? at : 0;
	return rc ? fail(k, rc, msg) : 0;
}

/* Each by itself must be right before they are put together: "a)(b" would be as a part. */
static int check_each(struct maker *k)
{
	for (uint32_t i = 0; i < k->n_regex; i++) {
		struct tf_regex *re;
		int rc;

		k->value = k->regex_of[i];
		rc = compile(k, &k->regex[i], &re);
		if (rc)
			return rc;
		tf_regex_close(re);
	}
	return 0;
}

/* As many from `from` on as one pattern holds, as alternatives; returns how many. */
static uint32_t join(struct maker *k, uint32_t from, uint32_t *len)
{
	uint32_t i = from;

	*len = 0;
	for (; i < k->n_regex && i - from < JOINED && *len + k->regex[i].len + 5 <= TF_RE_MAX_PATTERN; i++) {
		uint8_t *p = k->text + *len;

		if (i > from)
			*p++ = '|';
		memcpy(p, "(?:", 3);
		memcpy(p + 3, k->regex[i].p, k->regex[i].len);
		p[3 + k->regex[i].len] = ')';
		*len = (uint32_t)(p + 4 + k->regex[i].len - k->text);
	}
	return i - from;
}

static int compile_each(struct maker *k, uint32_t from, uint32_t n)
{
	int rc = 0;

	for (uint32_t i = from; !rc && i < from + n; i++) {
		struct tf_regex *re;

		k->value = k->regex_of[i];
		rc = compile(k, &k->regex[i], &re);
		if (!rc)
			rc = keep(k, re);
	}
	return rc;
}

static int compile_all(struct maker *k)
{
	int rc = k->t->op == TF_T_REGEX && k->n_regex > 1 ? check_each(k) : 0;

	k->m->regex = tf_filter_take(k->f, k->n_regex + 1, sizeof(*k->m->regex));
	if (!k->m->regex)
		return -ENOMEM;
	for (uint32_t from = 0; !rc && from < k->n_regex;) {
		struct tf_regex *re;
		uint32_t len, n = join(k, from, &len);

		if (n > 1 && !tf_regex_compile((const char *)k->text, len, regex_flags(k), &re, NULL, NULL, 0))
			rc = keep(k, re);
		else
			rc = compile_each(k, from, n = n ? n : 1); /* alone: too long, or too many states together */
		from += n;
	}
	return rc;
}

/* --- plain values --- */

static const uint8_t *map_for(struct tf_filter *f, unsigned flags)
{
	uint8_t *map = tf_filter_take(f, 1, 256);

	for (unsigned i = 0; map && i < 256; i++)
		map[i] = (uint8_t)(flags & TF_TEST_ICASE && i >= 'A' && i <= 'Z' ? i + 32 : i);
	if (map && flags & TF_TEST_ARGV)
		map[0] = ' ';
	return map;
}

static void fold(const struct maker *k, uint8_t *p, uint32_t len)
{
	for (uint32_t i = 0; k->t->flags & TF_TEST_ICASE && i < len; i++)
		p[i] = p[i] >= 'A' && p[i] <= 'Z' ? p[i] + 32 : p[i];
}

static int add_plain(struct maker *k, struct tf_values *x, const uint8_t *p, uint32_t len, bool whole)
{
	uint8_t *copy = copy_of(k->f, p, len);

	if (!x->v)
		x->v = tf_filter_take(k->f, k->t->n, sizeof(*x->v));
	if (!copy || !x->v)
		return -ENOMEM;
	fold(k, copy, len);
	if (!len && !whole) {
		k->m->all = true;
	} else if (len == 1 && !whole) {
		x->has_one = true;
		x->one[copy[0] / 8] |= (uint8_t)(1u << (copy[0] % 8));
	} else {
		x->v[x->n++] = (struct tf_value){copy, len};
	}
	return 0;
}

static int add_regex(struct maker *k, const uint8_t *p, uint32_t len)
{
	uint8_t *copy = copy_of(k->f, p, len);

	if (!copy)
		return -ENOMEM;
	k->regex_of[k->n_regex] = k->value;
	k->regex[k->n_regex++] = (struct tf_value){copy, len};
	return 0;
}

static int add(struct maker *k, int op, const uint8_t *p, uint32_t len)
{
	uint32_t out_len = 0;

	switch (op) {
	case TF_T_EQUAL: return add_plain(k, &k->m->equal, p, len, true);
	case TF_T_STARTSWITH: return add_plain(k, &k->m->starts, p, len, false);
	case TF_T_ENDSWITH: return add_plain(k, &k->m->ends, p, len, false);
	case TF_T_CONTAINS: return add_plain(k, &k->m->contains, p, len, false);
	case TF_T_REGEX: return add_regex(k, p, len);
	case TF_T_EXISTS: k->m->all = true; return 0;
	case TF_T_COUNT: return 0; /* nothing matches it */
	default: break;
	}
	op = tf_glob_read(p, len, k->t->flags & TF_TEST_ICASE, k->text, &out_len);
	return op == -E2BIG ? fail(k, op, "the pattern is too long") : add(k, op, k->text, out_len);
}

/* Contained values whose bytes do not read as themselves, or that are several: one walk of a table finds all. */
static int contained_as_regexes(struct maker *k)
{
	struct tf_values *x = &k->m->contains;
	uint32_t kept = 0;

	if (x->n > MANY || (!k->m->map && x->n <= FEW))
		return 0;
	for (uint32_t i = 0; i < x->n; i++) {
		if (x->v[i].len > TF_RE_MAX_PATTERN / 8) { /* long ones would fill tables */
			x->v[kept++] = x->v[i];
			continue;
		}
		if (add_regex(k, k->text, tf_regex_quote(x->v[i].p, x->v[i].len, k->text)))
			return -ENOMEM;
	}
	x->n = kept;
	return 0;
}

static uint16_t key_of(const struct tf_value *v, bool ends)
{
	const uint8_t *p = ends ? v->p + v->len - 2 : v->p;

	return (uint16_t)(p[0] << 8 | p[1]);
}

static int by_first(const void *a, const void *b)
{
	return (int)key_of(a, false) - (int)key_of(b, false);
}

static int by_last(const void *a, const void *b)
{
	return (int)key_of(a, true) - (int)key_of(b, true);
}

static int sort_values(struct tf_filter *f, struct tf_values *x, bool ends, bool contains)
{
	if (x->n <= FEW)
		return 0;
	qsort(x->v, x->n, sizeof(*x->v), ends ? by_last : by_first);
	x->key = tf_filter_take(f, x->n, sizeof(*x->key));
	x->keys = contains ? tf_filter_take(f, 65536 / 8, 1) : NULL;
	if (!x->key || (contains && !x->keys))
		return -ENOMEM;
	for (uint32_t i = 0; i < x->n; i++) {
		x->key[i] = key_of(&x->v[i], ends);
		if (contains)
			x->keys[x->key[i] / 8] |= (uint8_t)(1u << (x->key[i] % 8));
	}
	return 0;
}

static int hash_values(struct tf_filter *f, struct tf_matcher *m)
{
	uint32_t places = 16;

	if (m->equal.n <= FEW)
		return 0;
	while (places < 2 * m->equal.n)
		places *= 2;
	m->hash = tf_filter_take(f, places, sizeof(*m->hash));
	if (!m->hash)
		return -ENOMEM;
	m->hash_mask = places - 1;
	for (uint32_t i = 0; i < m->equal.n; i++) {
		uint32_t at = tf_matcher_hash(NULL, m->equal.v[i].p, m->equal.v[i].len) & m->hash_mask; /* values are folded already */

		while (m->hash[at])
			at = (at + 1) & m->hash_mask;
		m->hash[at] = i + 1;
	}
	return 0;
}

static int make(struct maker *k)
{
	struct tf_matcher *m = k->m;
	int rc = 0;

	m->argv = k->t->flags & TF_TEST_ARGV;
	if (k->t->flags & (TF_TEST_ARGV | TF_TEST_ICASE) && !(m->map = map_for(k->f, k->t->flags)))
		return -ENOMEM;
	for (uint32_t i = 0; !rc && i < k->t->n; i++) {
		k->value = i;
		rc = add(k, k->t->op, k->t->arg.texts[i].p, k->t->arg.texts[i].len);
	}
	if (!rc)
		rc = contained_as_regexes(k);
	if (!rc)
		rc = compile_all(k);
	if (!rc)
		rc = hash_values(k->f, m);
	if (!rc)
		rc = sort_values(k->f, &m->starts, false, false);
	if (!rc)
		rc = sort_values(k->f, &m->ends, true, false);
	if (!rc)
		rc = sort_values(k->f, &m->contains, false, true);
	m->cost = (uint8_t)((m->equal.n ? COST_EQUAL : 0) + (m->starts.n + m->ends.n ? COST_ENDS : 0) +
			    (m->contains.n || m->contains.has_one ? COST_CONTAINS : 0) + COST_REGEX * (m->n_regex < 8 ? m->n_regex : 8));
	return rc;
}

int tf_matcher_make(struct tf_filter *f, struct tf_test *t, struct tf_filter_error *err)
{
	struct maker *k = calloc(1, sizeof(*k));
	int rc = -ENOMEM;

	if (!k)
		return rc;
	k->f = f;
	k->t = t;
	k->err = err;
	k->m = t->matcher = tf_filter_take(f, 1, sizeof(*t->matcher));
	k->regex = tf_filter_take(f, (size_t)t->n + 1, sizeof(*k->regex));
	k->regex_of = tf_filter_take(f, (size_t)t->n + 1, sizeof(*k->regex_of));
	if (k->m && k->regex && k->regex_of)
		rc = make(k);
	free(k);
	return rc;
}
