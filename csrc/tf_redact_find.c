/* SPDX-License-Identifier: Apache-2.0 */
/* tf_redact: where the secrets of a text are. Every rule judges the text as it was; what any of them finds is cut out at the end, so that
 * their order says nothing. A text costs one walk for the hint, and more only where that matches. */
#include "tf_redact_impl.h"

#define STARS 3u

static int compile(const char *pattern, unsigned flags, struct redact_judge *j, struct tf_regex **out)
{
	int rc = 0;

	if (pattern)
		rc = tf_regex_compile(pattern, strlen(pattern), flags, out, NULL, NULL, 0);
	if (!rc && pattern)
		j->bytes += tf_regex_bytes(*out);
	return rc;
}

static int open_rules(struct redact_judge *j)
{
	int rc = compile(tf_redact_hint, 0, j, &j->hint);

	if (!rc)
		rc = compile(tf_redact_reference, TF_RE_END, j, &j->reference);
	for (unsigned v = 0; !rc && v < RV_COUNT; v++)
		rc = compile(tf_redact_values[v], TF_RE_END, j, &j->value[v]);
	for (size_t i = 0; !rc && i < tf_redact_n_rules; i++) {
		const struct redact_rule *from = &tf_redact_rules[i];
		struct redact_compiled *to = &j->rule[j->n_rules++];

		to->value = from->value;
		to->whole_argument = from->whole_argument;
		rc = compile(from->gate, 0, j, &to->gate);
		if (!rc)
			rc = compile(from->prefix, TF_RE_FIND, j, &to->prefix);
		if (!rc)
			rc = compile(from->except, TF_RE_END, j, &to->except);
	}
	return rc;
}

int tf_redact_judge_open(struct redact_judge *j, const char *const *patterns, size_t n, size_t *which, size_t *error_at, char *msg, size_t msg_size)
{
	int rc;

	for (*which = 0; *which < n; (*which)++) {
		rc = tf_regex_compile(patterns[*which], strlen(patterns[*which]), TF_RE_ARGV | TF_RE_FIND, &j->user[*which], error_at, msg, msg_size);
		if (rc < 0)
			return rc;
		j->bytes += tf_regex_bytes(j->user[*which]);
		j->n_user++;
	}
	rc = open_rules(j);
	tf_assert(rc == 0 || rc == -ENOMEM);
	return rc;
}

void tf_redact_judge_close(struct redact_judge *j)
{
	for (size_t i = 0; i < j->n_rules; i++) {
		tf_regex_close(j->rule[i].gate);
		tf_regex_close(j->rule[i].prefix);
		tf_regex_close(j->rule[i].except);
	}
	for (unsigned v = 0; v < RV_COUNT; v++)
		tf_regex_close(j->value[v]);
	for (size_t i = 0; i < j->n_user; i++)
		tf_regex_close(j->user[i]);
	tf_regex_close(j->hint);
	tf_regex_close(j->reference);
}

/* The first place from `at` on where a match begins, or n + 1. */
static size_t next_begin(const struct redact_judge *j, size_t at, size_t n)
{
	size_t word = at / 64;
	uint64_t bits;

	if (at > n)
		return n + 1;
	for (bits = j->begins[word] & ~0ull << (at % 64); !bits; bits = j->begins[word])
		if (++word > n / 64)
			return n + 1;
	return word * 64 + (size_t)__builtin_ctzll(bits);
}

/* Whether the argument that begins at `at` is a program of a shell: the one before it is -c, -lc or the like. */
static bool is_script(const uint8_t *s, size_t at)
{
	size_t dash = at;

	if (at < 3 || s[at - 2] != 'c')
		return false;
	for (dash = at - 2; dash && at - dash < 8 && s[dash] >= 'a' && s[dash] <= 'z'; dash--)
		;
	return s[dash] == '-' && dash && !s[dash - 1];
}

/* Whether what stands at `begin` is at the beginning of its argument, behind no more than dashes and a longer name. */
static bool begins_argument(const uint8_t *s, size_t begin)
{
	if (s[begin] == ' ' || s[begin] == '\t' || s[begin] == '\n')
		return false;
	while (begin && s[begin - 1] != '\0') {
		const unsigned c = s[begin - 1];

		if (c != '-' && c != '_' && c != '.' && !(c >= '0' && c <= '9') && !((c | 0x20) >= 'a' && (c | 0x20) <= 'z'))
			return false;
		begin--;
	}
	return !is_script(s, begin);
}

struct text {
	const uint8_t *s;
	size_t n;
	bool argv;
};

/* Whether the match itself is the secret, and nothing behind it. */
static bool is_whole(const struct redact_compiled *rule)
{
	return rule->value == RV_WHOLE || rule->value == RV_BEHIND;
}

/* Marks the secret behind a prefix [begin, end); returns its end, or 0 when there is none. */
static size_t mark(struct redact_judge *j, const struct redact_compiled *rule, const struct text *t, size_t begin, size_t end)
{
	const size_t first = begin + (begin < end && !t->s[begin]); /* a prefix may begin with the NUL before its argument */
	const bool argument = rule->whole_argument && t->argv && (memchr(t->s + first, 0, end - first) || begins_argument(t->s, first));
	const bool userinfo = rule->value == RV_USERINFO || rule->value == RV_LONG_USERINFO;
	const uint8_t *nul = t->argv ? memchr(t->s + end, 0, t->n - end) : NULL;
	const size_t limit = nul ? (size_t)(nul - t->s) : t->n;
	size_t from = is_whole(rule) ? begin + (rule->value == RV_BEHIND && t->s[begin] != 'e') : end, to = end, reference;

	if (!is_whole(rule)) {
		to = tf_regex_end(j->value[rule->value], t->s, limit, end);
		if (to > limit || to == end)
			return 0;
		reference = argument ? 0 : tf_regex_end(j->reference, t->s, limit, end);
		if (reference >= to && reference <= limit)
			return 0;
		to = argument ? limit : to;
	}
	memset(j->secret + from, 1, to - from - userinfo);
	return to;
}

/* A value may hold the name of the next one, and a name's blank is what the next name begins with: so the next prefix is looked for one
 * byte before the end of this one, and its value wherever it is not marked as part of another. */
static void apply(struct redact_judge *j, const struct redact_compiled *rule, const struct text *t)
{
	size_t begin, next, marked = 0;

	if ((rule->gate && !tf_regex_search(rule->gate, t->s, t->n)) || !tf_regex_search(rule->prefix, t->s, t->n))
		return;
	tf_regex_begins(rule->prefix, t->s, t->n, j->begins);
	for (begin = next_begin(j, 0, t->n); begin <= t->n; begin = next_begin(j, next, t->n)) {
		const size_t behind = tf_regex_end(rule->prefix, t->s, t->n, begin);
		size_t end;

		next = begin + 1;
		if (behind > t->n)
			continue;
		next = behind > next + 1 ? behind - 1 : next;
		if ((rule->except && tf_regex_end(rule->except, t->s, t->n, begin) <= t->n) || behind < marked)
			continue;
		end = mark(j, rule, t, begin, behind);
		marked = end > marked ? end : marked;
		next = is_whole(rule) && end > next ? end : next;
	}
}

static bool user_hint(const struct redact_judge *j, const struct text *t)
{
	for (size_t i = 0; i < j->n_user; i++)
		if (tf_regex_search(j->user[i], t->s, t->n))
			return true;
	return false;
}

/* Writes what is not secret, and stars for each stretch that is; NUL parts stretches and stays. -1: all that is secret are stars already. */
static ssize_t cut(const struct redact_judge *j, const struct text *t, uint8_t *out)
{
	bool changed = false;
	size_t to = 0;

	for (size_t i = 0; i < t->n;) {
		size_t end = i;

		if (!j->secret[i] || !t->s[i]) {
			out[to++] = t->s[i++];
			continue;
		}
		for (; end < t->n && j->secret[end] && t->s[end]; end++)
			changed |= t->s[end] != '*';
		changed |= end - i > STARS;
		for (size_t k = 0; k < STARS && k < end - i; k++)
			out[to++] = '*';
		i = end;
	}
	return changed ? (ssize_t)to : -1;
}

ssize_t tf_redact_judge(struct redact_judge *j, const uint8_t *s, size_t n, bool argv, uint8_t *out)
{
	const struct text t = {s, n, argv};
	const bool hint = tf_regex_search(j->hint, s, n), user = user_hint(j, &t);
	const struct redact_compiled own = {.value = RV_WHOLE};

	if (!hint && !user)
		return -1;
	memset(j->secret, 0, n);
	for (size_t i = 0; hint && i < j->n_rules; i++)
		apply(j, &j->rule[i], &t);
	for (size_t i = 0; user && i < j->n_user; i++) {
		struct redact_compiled rule = own;

		rule.prefix = j->user[i];
		apply(j, &rule, &t);
	}
	return cut(j, &t, out);
}
