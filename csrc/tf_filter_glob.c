/* SPDX-License-Identifier: Apache-2.0 */
/* tf_filter_glob: name patterns of any length. Those that are a plain text with * at its ends need no automaton; the others become a
 * regular expression. The same patterns as tf_globs.h: * ? [abc] [a-z] [!abc], a [ without its ] stands for itself. */
#include "tf_filter_impl.h"

struct element {
	bool set[256];
	uint32_t next;		/* where the one after it begins */
};

static bool is_plain(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '/' || c == '-';
}

static uint32_t put_byte(uint8_t c, uint8_t *out)
{
	static const char digit[] = "0123456789abcdef";

	if (is_plain(c) && c != '-') {
		out[0] = c;
		return 1;
	}
	out[0] = '\\';
	out[1] = 'x';
	out[2] = (uint8_t)digit[c >> 4];
	out[3] = (uint8_t)digit[c & 15];
	return 4;
}

uint32_t tf_regex_quote(const uint8_t *p, uint32_t len, uint8_t *out)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < len; i++)
		n += put_byte(p[i], out + n);
	return n;
}

/* Both cases of a letter that is in the set: before the set is turned round, so that [!a] leaves out A as well. */
static void fold_set(bool set[256])
{
	for (unsigned b = 'A'; b <= 'Z'; b++)
		set[b] = set[b + 32] = set[b] || set[b + 32];
}

/* The set at p[at] == '['. False when no ] ends it: an ordinary byte. */
static bool read_set(const uint8_t *p, uint32_t len, uint32_t at, bool icase, struct element *e)
{
	const bool not = at + 1 < len && p[at + 1] == '!';
	const uint32_t first = at + 1 + not;
	uint32_t end = first + (first < len && p[first] == ']');

	while (end < len && p[end] != ']')
		end++;
	if (end >= len)
		return false;
	memset(e->set, 0, sizeof(e->set));
	for (uint32_t c = first; c < end; c++) {
		if (end - c > 2 && p[c + 1] == '-') { /* one that runs backwards is empty */
			for (unsigned b = p[c]; b <= p[c + 2]; b++)
				e->set[b] = true;
			c += 2;
		} else {
			e->set[p[c]] = true;
		}
	}
	if (icase)
		fold_set(e->set);
	for (unsigned b = 0; not && b < 256; b++)
		e->set[b] = !e->set[b];
	e->next = end + 1;
	return true;
}

/* A class as \x escapes and ranges: at most 128 of them. 0 = it has no byte. */
static uint32_t put_set(const bool set[256], uint8_t *out)
{
	uint32_t n = 0;

	out[n++] = '[';
	for (unsigned b = 0; b < 256; b++) {
		unsigned last = b;

		if (!set[b])
			continue;
		while (last < 255 && set[last + 1])
			last++;
		n += put_byte((uint8_t)b, out + n);
		if (last > b) {
			out[n++] = '-';
			n += put_byte((uint8_t)last, out + n);
		}
		b = last;
	}
	out[n++] = ']';
	return n == 2 ? 0 : n;
}

/* Stars at the ends and plain bytes between: the op that says the same; TF_T_GLOB: something else. */
static int read_plain(const uint8_t *p, uint32_t len, uint8_t *out, uint32_t *out_len)
{
	uint32_t from = 0, to = len;

	while (from < len && p[from] == '*')
		from++;
	while (to > from && p[to - 1] == '*')
		to--;
	for (uint32_t i = from; i < to; i++)
		if (p[i] == '*' || p[i] == '?' || p[i] == '[')
			return TF_T_GLOB;
	if (to - from > 4 * TF_RE_MAX_PATTERN)
		return -E2BIG;
	memcpy(out, p + from, to - from);
	*out_len = to - from;
	if (from == to && len)
		return TF_T_EXISTS;
	return from ? to < len ? TF_T_CONTAINS : TF_T_ENDSWITH : to < len ? TF_T_STARTSWITH : TF_T_EQUAL;
}

int tf_glob_read(const uint8_t *p, uint32_t len, bool icase, uint8_t *out, uint32_t *out_len)
{
	static const char head[] = "(?s:\\A", tail[] = "\\z)", many[] = ".*";
	const int plain = read_plain(p, len, out, out_len);
	uint8_t piece[4 * 256 + 2];
	uint32_t n = sizeof(head) - 1, add;
	struct element e;

	if (plain != TF_T_GLOB)
		return plain;
	memcpy(out, head, n);
	for (uint32_t i = 0; i < len; i = e.next) {
		e.next = i + 1;
		if (p[i] == '*') {
			while (e.next < len && p[e.next] == '*')
				e.next++;
			memcpy(piece, many, add = 2);
		} else if (p[i] == '?') {
			piece[0] = '.';
			add = 1;
		} else if (p[i] == '[' && read_set(p, len, i, icase, &e)) {
			add = put_set(e.set, piece);
			if (!add)
				return TF_T_COUNT;
		} else {
			add = put_byte(p[i], piece);
		}
		if (n + add + sizeof(tail) > 4 * TF_RE_MAX_PATTERN)
			return -E2BIG;
		memcpy(out + n, piece, add);
		n += add;
	}
	memcpy(out + n, tail, sizeof(tail) - 1);
	*out_len = n + (uint32_t)sizeof(tail) - 1;
	return TF_T_REGEX;
}
