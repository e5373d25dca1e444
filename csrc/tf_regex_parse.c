/* SPDX-License-Identifier: Apache-2.0 */
/* tf_regex: pattern into tree, by recursive descent; groups nest at most TF_RE_MAX_NESTING deep. */
#include <stdarg.h>
#include <stdio.h>

#include "tf_regex_impl.h"

int tf_regex_fail(struct re_parse *p, int rc, size_t at, const char *format, ...)
{
	va_list args;

	p->error_at = at;
	if (p->msg && p->msg_size) {
		va_start(args, format);
		vsnprintf(p->msg, p->msg_size, format, args);
		va_end(args);
	}
	return rc;
}

static int new_node(struct re_parse *p, enum re_op op, unsigned arg)
{
	struct re_node *node = &p->nodes[p->n_nodes];

	if (p->n_nodes == RE_MAX_NODES)
		return tf_regex_fail(p, -E2BIG, p->at, "the pattern has too many parts: split it");
	*node = (struct re_node){.op = (uint8_t)op, .arg = (uint16_t)arg, .at = (uint16_t)p->at};
	return (int)p->n_nodes++;
}

static void append(struct re_parse *p, int parent, int child)
{
	struct re_node *node = &p->nodes[parent];

	p->nodes[child].prev = node->last;
	if (node->last)
		p->nodes[node->last].next = (uint16_t)child;
	else
		node->child = (uint16_t)child;
	node->last = (uint16_t)child;
}

/* Puts `with` where the last child of `parent` is, and that child under it. */
static void wrap_last(struct re_parse *p, int parent, int with)
{
	struct re_node *node = &p->nodes[parent];
	const int old = node->last, before = p->nodes[old].prev;

	p->nodes[old].prev = 0;
	append(p, with, old);
	p->nodes[with].prev = (uint16_t)before;
	if (before)
		p->nodes[before].next = (uint16_t)with;
	else
		node->child = (uint16_t)with;
	node->last = (uint16_t)with;
}

static int set_node(struct re_parse *p, const struct re_bytes *set)
{
	uint32_t i = 0;

	while (i < p->n_sets && memcmp(&p->sets[i], set, sizeof(*set)))
		i++;
	if (i == p->n_sets) {
		tf_assert(i < RE_MAX_SETS); /* a byte of the pattern makes one at most */
		p->sets[p->n_sets++] = *set;
	}
	return new_node(p, RE_SET, i);
}

static int byte_node(struct re_parse *p, unsigned c)
{
	struct re_bytes set = {{0}};

	tf_regex_add_range(&set, c, c, p->flags);
	return set_node(p, &set);
}

/* Bytes of the character at p->at, as UTF-8 has it; 1 where it is none. */
static size_t character(const struct re_parse *p)
{
	const unsigned c = p->text[p->at];
	const size_t n = c >= 0xf0 && c < 0xf5 ? 4 : c >= 0xe0 && c < 0xf0 ? 3 : c >= 0xc2 && c < 0xe0 ? 2 : 1;

	for (size_t i = 1; i < n; i++)
		if (p->at + i >= p->len || (p->text[p->at + i] & 0xc0) != 0x80)
			return 1;
	return n;
}

/* A character as one part, so that a * behind it repeats all of it. */
static int literal(struct re_parse *p)
{
	const size_t n = character(p);
	int cat, byte;

	if (n == 1)
		return byte_node(p, p->text[p->at++]);
	cat = new_node(p, RE_CAT, 0);
	for (size_t i = 0; cat >= 0 && i < n; i++) {
		byte = byte_node(p, p->text[p->at++]);
		if (byte < 0)
			return byte;
		append(p, cat, byte);
	}
	return cat;
}

static int escape(struct re_parse *p)
{
	const unsigned c = p->at + 1 < p->len ? p->text[p->at + 1] : 0;
	struct re_bytes set = {{0}};
	int byte;

	if (tf_regex_class_escape(p, &set))
		return set_node(p, &set);
	switch (c) {
	case 'b':
	case 'B':
	case 'A':
	case 'z':
		p->at += 2;
		return new_node(p, RE_ASSERT, c == 'b' ? RE_BOUNDARY : c == 'B' ? RE_NO_BOUNDARY : c == 'A' ? RE_TEXT_BEGIN : RE_TEXT_END);
	case 'C':
		p->at += 2;
		tf_regex_negate(&set);
		return set_node(p, &set);
	case 'Z':
	case 'G':
		return tf_regex_fail(p, -ENOTSUP, p->at, "\\%c is not known here: \\A begins and \\z ends the text", (char)c);
	}
	byte = tf_regex_byte_escape(p);
	return byte < 0 ? byte : byte_node(p, (unsigned)byte);
}

/* The letters between (? and : or ): 0, or -errno. p->at is at the first of them; `flags` is what holds behind them. */
static int read_flags(struct re_parse *p, size_t begin, unsigned *flags)
{
	static const char letters[] = "ismU";
	static const unsigned bits[] = {TF_RE_ICASE, RE_DOT_ALL, RE_LINES, RE_UNGREEDY};
	bool off = false, fresh = true;

	for (; p->at < p->len && p->text[p->at] != ')' && p->text[p->at] != ':'; p->at++) {
		const char *l = memchr(letters, p->text[p->at], sizeof(letters) - 1);

		if (p->text[p->at] == '-' && !off) {
			off = true;
			fresh = false;
			continue;
		}
		if (!l)
			return tf_regex_fail(p, -EINVAL, begin, "what stands behind this (? is not known: (?i) (?s) (?m) (?U), (?i:...), (?:...), (?P<name>...)");
		fresh = true;
		*flags = off ? *flags & ~bits[l - letters] : *flags | bits[l - letters];
	}
	if (p->at == p->len)
		return tf_regex_fail(p, -EINVAL, begin, "this ( has no ): \\( is a parenthesis");
	return fresh ? 0 : tf_regex_fail(p, -EINVAL, begin, "(?-) switches nothing off: name what, as in (?-i)");
}

static bool behind(const struct re_parse *p, const char *words)
{
	const size_t n = strlen(words);

	return p->len - p->at >= n && !memcmp(p->text + p->at, words, n);
}

/* <name> of a group at p->at. */
static int read_name(struct re_parse *p, size_t begin)
{
	const uint8_t *name = p->text + p->at + 1, *end = memchr(name, '>', p->len - p->at - 1);
	bool good = end && end > name;

	for (const uint8_t *c = name; good && c < end; c++)
		good = re_is_word(*c) || *c >= 0x80;
	if (!good)
		return tf_regex_fail(p, -EINVAL, begin, "a named group is (?P<name>...), its name letters, digits and _");
	p->at = (size_t)(end + 1 - p->text);
	return 0;
}

/* What begins with ( at p->at: up to the group's inside. 1 = a group begins; 0 = flags were changed; -errno. */
static int open_group(struct re_parse *p)
{
	const size_t begin = p->at++;
	unsigned flags = p->flags;
	int rc;

	if (!behind(p, "?"))
		return 1;
	if (behind(p, "?=") || behind(p, "?!") || behind(p, "?<=") || behind(p, "?<!"))
		return tf_regex_fail(p, -ENOTSUP, begin, "looking around a place is nothing that a table can hold: use two conditions, joined by and / and not");
	if (behind(p, "?>") || behind(p, "?P=") || behind(p, "?P>") || behind(p, "?(") || behind(p, "?R") || behind(p, "?&"))
		return tf_regex_fail(p, -ENOTSUP, begin, "atomic groups, references to groups and conditions are nothing that a table can hold: write them out");
	if (behind(p, "?P<") || behind(p, "?<")) {
		p->at += behind(p, "?P<") ? 2 : 1;
		rc = read_name(p, begin);
		return rc < 0 ? rc : 1;
	}
	p->at++;
	rc = read_flags(p, begin, &flags);
	if (rc < 0)
		return rc;
	p->flags = flags;
	return p->text[p->at++] == ':';
}

static int parse_alternatives(struct re_parse *p);

static int group(struct re_parse *p, size_t begin)
{
	int inner;

	if (p->depth == TF_RE_MAX_NESTING)
		return tf_regex_fail(p, -E2BIG, begin, "groups are nested deeper than %d: take out those that group nothing", TF_RE_MAX_NESTING);
	p->depth++;
	inner = parse_alternatives(p);
	p->depth--;
	if (inner < 0)
		return inner;
	if (p->at == p->len)
		return tf_regex_fail(p, -EINVAL, begin, "this ( has no ): \\( is a parenthesis");
	p->at++;
	return inner;
}

static int any_byte(struct re_parse *p)
{
	struct re_bytes set = {{0}};

	if (!(p->flags & RE_DOT_ALL))
		re_add(&set, '\n');
	tf_regex_negate(&set);
	p->at++;
	return set_node(p, &set);
}

/* One part of a sequence; 0 when only flags were changed (node 0 is no part). */
static int part(struct re_parse *p)
{
	const unsigned outside = p->flags;
	const size_t begin = p->at;
	struct re_bytes set = {{0}};
	int rc;

	switch (p->text[p->at]) {
	case '(':
		rc = open_group(p);
		if (rc <= 0)
			return rc;
		rc = group(p, begin);
		p->flags = outside;
		return rc;
	case '[':
		p->at++;
		rc = tf_regex_bracket(p, &set);
		return rc < 0 ? rc : set_node(p, &set);
	case '.':
		return any_byte(p);
	case '^':
		p->at++;
		return new_node(p, RE_ASSERT, p->flags & RE_LINES ? RE_LINE_BEGIN : RE_TEXT_BEGIN);
	case '$':
		p->at++;
		return new_node(p, RE_ASSERT, p->flags & RE_LINES ? RE_LINE_END : RE_TEXT_END);
	case '\\':
		return escape(p);
	}
	return literal(p);
}

/* Digits at *at; -1 = none. Stops counting above the bound. */
static int number(const struct re_parse *p, size_t *at)
{
	int value = -1;

	for (; *at < p->len && p->text[*at] >= '0' && p->text[*at] <= '9'; (*at)++)
		if (value <= TF_RE_MAX_REPEAT)
			value = (value < 0 ? 0 : value) * 10 + p->text[*at] - '0';
	return value;
}

/* {m}, {m,} or {m,n} at p->at. 1 and passed; 0 = it is not one, hence a literal. */
static int counts(struct re_parse *p, int *min, int *max)
{
	size_t at = p->at + 1;

	*min = *max = number(p, &at);
	if (*min < 0)
		return 0;
	if (at < p->len && p->text[at] == ',') {
		at++;
		*max = number(p, &at);
	}
	if (at >= p->len || p->text[at] != '}')
		return 0;
	if (*min > TF_RE_MAX_REPEAT || *max > TF_RE_MAX_REPEAT)
		return tf_regex_fail(p, -E2BIG, p->at, "repeats more than %d times: write * or +", TF_RE_MAX_REPEAT);
	if (*max >= 0 && *max < *min)
		return tf_regex_fail(p, -EINVAL, p->at, "repeats at least %d and at most %d times: the smaller number comes first", *min, *max);
	p->at = at + 1;
	return 1;
}

/* A repetition at p->at: 1 and passed, 0 = none, -errno. */
static int repetition(struct re_parse *p, int *min, int *max)
{
	const unsigned c = p->text[p->at];
	int rc = 1;

	*min = c == '+';
	*max = c == '?' ? 1 : -1;
	if (c == '{')
		rc = counts(p, min, max);
	else if (c == '*' || c == '+' || c == '?')
		p->at++;
	else
		return 0;
	if (rc > 0 && p->at < p->len && p->text[p->at] == '?')
		p->at++; /* lazy: which match is meant, not whether there is one */
	return rc;
}

/* \Q...\E: each byte in between stands for itself. */
static int quoted(struct re_parse *p, int cat)
{
	for (p->at += 2; p->at < p->len && !behind(p, "\\E");) {
		const int child = literal(p);

		if (child < 0)
			return child;
		append(p, cat, child);
	}
	if (p->at < p->len)
		p->at += 2;
	return 0;
}

/* A sequence of parts up to | or ) or the end. */
static int sequence(struct re_parse *p)
{
	const int cat = new_node(p, RE_CAT, 0);
	bool repeated = false;
	int min, max, rc = cat;

	while (rc >= 0 && p->at < p->len && p->text[p->at] != '|' && p->text[p->at] != ')') {
		const size_t at = p->at;

		rc = repetition(p, &min, &max);
		if (rc < 0)
			break;
		if (rc && !p->nodes[cat].last)
			return tf_regex_fail(p, -EINVAL, at, "nothing stands before this %c to be repeated: \\%c is the character", (char)p->text[at],
					     (char)p->text[at]);
		if (rc && repeated)
			return tf_regex_fail(p, -EINVAL, at, "a repetition of a repetition: put the first in (?:...)");
		repeated = rc;
		if (rc) {
			rc = new_node(p, RE_REPEAT, 0);
			if (rc < 0)
				break;
			p->nodes[rc].min = (int16_t)min;
			p->nodes[rc].max = (int16_t)max;
			p->nodes[rc].at = (uint16_t)at;
			wrap_last(p, cat, rc);
		} else if (behind(p, "\\Q")) {
			rc = quoted(p, cat);
		} else {
			rc = part(p);
			if (rc > 0) {
				p->nodes[rc].at = (uint16_t)at;
				append(p, cat, rc);
			}
		}
	}
	return rc < 0 ? rc : cat;
}

static int parse_alternatives(struct re_parse *p)
{
	const int alt = new_node(p, RE_ALT, 0);

	if (alt < 0)
		return alt;
	for (;;) {
		const int cat = sequence(p);

		if (cat < 0)
			return cat;
		append(p, alt, cat);
		if (p->at == p->len || p->text[p->at] != '|')
			return alt;
		p->at++;
	}
}

int tf_regex_parse(struct re_parse *p)
{
	int root;

	p->n_nodes = 1; /* 0 is nobody's child */
	root = parse_alternatives(p);
	if (root >= 0 && p->at < p->len)
		return tf_regex_fail(p, -EINVAL, p->at, "this ) closes nothing: \\) is a parenthesis");
	return root;
}
