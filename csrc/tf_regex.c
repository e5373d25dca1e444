/* SPDX-License-Identifier: Apache-2.0 */
/* tf_regex: compiling in order, and the walks. */
#include <stdlib.h>

#include "tf_regex_impl.h"

/* Splits every class into the bytes that are in `set` and those that are not. */
static void refine(struct re_classes *c, const struct re_bytes *set)
{
	int fresh[256][2];
	uint32_t n = 0;

	memset(fresh, 0xff, sizeof(fresh));
	for (unsigned byte = 0; byte < 256; byte++) {
		int *to = &fresh[c->of[byte]][re_has(set, byte)];

		if (*to < 0)
			*to = (int)n++;
		c->of[byte] = (uint8_t)*to;
	}
	c->n = n;
}

static unsigned side_of(unsigned byte, bool lines, bool words)
{
	return lines && byte == '\n' ? RE_NEWLINE : words && re_is_word(byte) ? RE_WORD : RE_OTHER;
}

void tf_regex_classes(const struct re_parse *p, const struct re_places *s, struct re_classes *out)
{
	const bool lines = s->assert_kinds & (1u << RE_LINE_BEGIN | 1u << RE_LINE_END);
	const bool words = s->assert_kinds & (1u << RE_BOUNDARY | 1u << RE_NO_BOUNDARY);
	struct re_bytes line = {{0}}, word = {{0}};

	memset(out, 0, sizeof(*out));
	for (uint32_t i = 0; i < p->n_sets; i++)
		refine(out, &p->sets[i]);
	for (unsigned byte = 0; byte < 256; byte++) {
		if (side_of(byte, lines, false) == RE_NEWLINE)
			re_add(&line, byte);
		if (side_of(byte, false, words) == RE_WORD)
			re_add(&word, byte);
	}
	refine(out, &line);
	refine(out, &word);
	for (unsigned byte = 0; byte < 256; byte++) {
		out->sample[out->of[byte]] = (uint8_t)byte;
		out->side[out->of[byte]] = (uint8_t)side_of(byte, lines, words);
	}
	out->side[out->n] = RE_EDGE;
	out->stride = out->n + 1;
}

/* The row that most bytes stay in, of those one step from the start: where a search waits. */
static void find_home(struct tf_regex *re)
{
	const uint32_t *cell = re->search.cell;
	int most = 64;

	re->needle = -1;
	re->home = UINT32_MAX; /* no row: waiting does not pay */
	for (unsigned byte = 0; byte < 256; byte++) {
		const uint32_t row = cell[re->search.start[RE_EDGE] + re->of[byte]];
		int stay = 0;

		for (unsigned b = 0; b < 256; b++)
			stay += cell[row + re->of[b]] == row;
		if (row > re->stride && stay > most) {
			most = stay;
			re->home = row;
		}
	}
	for (unsigned byte = 0; re->home != UINT32_MAX && byte < 256; byte++) {
		re->leave[byte] = cell[re->home + re->of[byte]] != re->home;
		if (re->leave[byte])
			re->needle = most == 255 ? (int)byte : -1;
	}
}

static void take_classes(struct tf_regex *re, const struct re_classes *c, unsigned flags)
{
	for (unsigned byte = 0; byte < 256; byte++) {
		re->of[byte] = c->of[byte];
		re->side[byte] = c->side[c->of[byte]];
	}
	if (flags & TF_RE_ARGV) {
		re->of[0] = re->of[' '];
		re->side[0] = re->side[' '];
	}
	re->stride = c->stride;
	re->edge = c->n;
}

static int add_table(struct re_parse *p, struct tf_regex *re, const struct re_places *s, const struct re_classes *c, enum re_kind kind,
		     struct re_table *out)
{
	const int rc = tf_regex_table(p, s, c, kind, TF_RE_MAX_BYTES - re->bytes, out);

	if (!rc)
		re->bytes += (size_t)out->states * re->stride * sizeof(uint32_t);
	return rc;
}

/* The tables of a parsed pattern. */
static int build(struct re_parse *p, uint32_t root, unsigned flags, struct tf_regex *re)
{
	struct re_places forward, backward;
	struct re_classes classes;
	int rc = tf_regex_places(p, root, false, &forward);

	if (rc < 0)
		return rc;
	tf_regex_classes(p, &forward, &classes);
	take_classes(re, &classes, flags);
	if (!(flags & TF_RE_END))
		rc = add_table(p, re, &forward, &classes, RE_ANYWHERE, &re->search);
	if (!rc && flags & (TF_RE_FIND | TF_RE_END))
		rc = add_table(p, re, &forward, &classes, RE_ANCHORED, &re->on);
	tf_regex_places_free(&forward);
	if (rc < 0 || !(flags & TF_RE_FIND))
		return rc;
	rc = tf_regex_places(p, root, true, &backward);
	if (rc < 0)
		return rc;
	rc = add_table(p, re, &backward, &classes, RE_EVERY, &re->back);
	tf_regex_places_free(&backward);
	return rc;
}

int tf_regex_compile(const char *pattern, size_t len, unsigned flags, struct tf_regex **out, size_t *error_at, char *msg, size_t msg_size)
{
	struct re_parse *p = calloc(1, sizeof(*p));
	struct tf_regex *re = calloc(1, sizeof(*re));
	int rc = -ENOMEM;

	*out = NULL;
	if (error_at)
		*error_at = 0;
	if (msg && msg_size)
		*msg = 0;
	if (p && re) {
		p->text = (const uint8_t *)pattern;
		p->len = len;
		p->flags = flags & TF_RE_ICASE;
		p->work = RE_MAX_WORK;
		p->msg = msg;
		p->msg_size = msg_size;
		rc = len <= TF_RE_MAX_PATTERN ? tf_regex_parse(p)
					      : tf_regex_fail(p, -E2BIG, TF_RE_MAX_PATTERN, "the pattern is longer than %d bytes: split it", TF_RE_MAX_PATTERN);
		re->bytes = sizeof(*re);
		if (rc >= 0)
			rc = build(p, (uint32_t)rc, flags, re);
		if (rc < 0 && error_at)
			*error_at = p->error_at;
	}
	free(p);
	if (rc < 0) {
		tf_regex_close(re);
		return rc;
	}
	if (re->search.cell)
		find_home(re);
	*out = re;
	return 0;
}

/* The first byte from `i` on that leads out of home, or n. */
static size_t wait_home(const struct tf_regex *re, const uint8_t *s, size_t i, size_t n)
{
	const uint8_t *found;

	if (re->needle >= 0) {
		found = memchr(s + i, re->needle, n - i);
		return found ? (size_t)(found - s) : n;
	}
	while (n - i >= 4 && !(re->leave[s[i]] | re->leave[s[i + 1]] | re->leave[s[i + 2]] | re->leave[s[i + 3]]))
		i += 4;
	while (i < n && !re->leave[s[i]])
		i++;
	return i;
}

bool tf_regex_search(const struct tf_regex *re, const uint8_t *s, size_t n)
{
	const uint32_t *cell = re->search.cell;
	const uint32_t all = re->stride, home = re->home;
	uint32_t row = re->search.start[RE_EDGE];
	size_t i = 0;

	while (row > all) { /* rows 0 and 1 are verdicts */
		if (row == home && i < n && !re->leave[s[i]])
			i = wait_home(re, s, i, n);
		if (i == n)
			return cell[row + re->edge] == all;
		row = cell[row + re->of[s[i++]]];
	}
	return row == all;
}

/* Where the first match from `from` on begins, or n + 1: walks from the end of the subject, and the last one seen is the first. */
static size_t first_begin(const struct tf_regex *re, const uint8_t *s, size_t n, size_t from)
{
	const uint32_t *cell = re->back.cell;
	uint32_t row = re->back.start[RE_EDGE];
	size_t begin = n + 1;

	for (size_t i = n;; i--) {
		const uint32_t to = cell[row + (i ? re->of[s[i - 1]] : re->edge)];

		if (to & RE_MATCHED)
			begin = i;
		row = to & ~RE_MATCHED;
		if (i <= from || !row)
			return begin;
	}
}

void tf_regex_begins(const struct tf_regex *re, const uint8_t *s, size_t n, uint64_t *bits)
{
	const uint32_t *cell = re->back.cell;
	uint32_t row = re->back.start[RE_EDGE];

	memset(bits, 0, (n / 64 + 1) * sizeof(*bits));
	for (size_t i = n; row; i--) {
		const uint32_t to = cell[row + (i ? re->of[s[i - 1]] : re->edge)];

		bits[i / 64] |= (uint64_t)(to >> 31) << (i % 64);
		row = to & ~RE_MATCHED;
	}
}

size_t tf_regex_end(const struct tf_regex *re, const uint8_t *s, size_t n, size_t at)
{
	const uint32_t *cell = re->on.cell;
	uint32_t row = re->on.start[at ? re->side[s[at - 1]] : RE_EDGE];
	size_t end = n + 1;

	for (size_t i = at; row; i++) {
		const uint32_t to = cell[row + (i < n ? re->of[s[i]] : re->edge)];

		if (to & RE_MATCHED)
			end = i;
		row = to & ~RE_MATCHED;
	}
	return end;
}

bool tf_regex_find(const struct tf_regex *re, const uint8_t *s, size_t n, size_t from, size_t *begin, size_t *end)
{
	if (!re->back.cell || from > n)
		return false;
	*begin = first_begin(re, s, n, from);
	if (*begin > n)
		return false;
	*end = tf_regex_end(re, s, n, *begin);
	tf_assert(*end <= n);
	return *end <= n;
}

size_t tf_regex_bytes(const struct tf_regex *re)
{
	return re->bytes;
}

void tf_regex_close(struct tf_regex *re)
{
	if (!re)
		return;
	free(re->search.cell);
	free(re->back.cell);
	free(re->on.cell);
	free(re);
}
