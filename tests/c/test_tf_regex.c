/* SPDX-License-Identifier: Apache-2.0 */
/* tf_regex: what single patterns match, which are refused and where, and random bytes as pattern and subject, in memory of exactly their
 * length. That the language is RE2's, tests/test_regex.py tells by RE2. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "tf_regex.h"

static uint8_t *exact(const void *bytes, size_t n)
{
	uint8_t *copy = malloc(n ? n : 1);

	CHECK(copy);
	memcpy(copy, bytes, n);
	return copy;
}

static int compile(const char *pattern, size_t len, unsigned flags, struct tf_regex **out, size_t *at)
{
	uint8_t *copy = exact(pattern, len);
	char msg[200] = "x";
	const int rc = tf_regex_compile((char *)copy, len, flags, out, at, msg, sizeof(msg));

	CHECK(!rc == (*out != NULL) && !rc == !*msg);
	CHECK(rc == 0 || rc == -EINVAL || rc == -ENOTSUP || rc == -E2BIG);
	CHECK(*at <= len && strlen(msg) < sizeof(msg) - 1);
	free(copy);
	return rc;
}

/* begin -1: no match. */
static void expect(const char *pattern, unsigned flags, const char *subject, size_t n, size_t from, long begin, long end)
{
	struct tf_regex *re;
	uint8_t *copy = exact(subject, n);
	size_t at, b = 0, e = 0;
	bool found;

	CHECK(compile(pattern, strlen(pattern), flags | TF_RE_FIND, &re, &at) == 0);
	found = tf_regex_find(re, copy, n, from, &b, &e);
	if (found != (begin >= 0) || (found && ((long)b != begin || (long)e != end)))
		fprintf(stderr, "%s on %.*s: %d %zu..%zu\n", pattern, (int)n, subject, found, b, e);
	CHECK(found == (begin >= 0));
	CHECK(!found || ((long)b == begin && (long)e == end));
	if (!from)
		CHECK(tf_regex_search(re, copy, n) == found);
	tf_regex_close(re);
	free(copy);
}

static void test_matches(void)
{
	expect("abcd|c", 0, "xabcd", 5, 0, 1, 5); /* the match that ends first begins later */
	expect("a|ab|abc", 0, "abcabc", 6, 1, 3, 6);
	expect("a+?", 0, "baaa", 4, 0, 1, 4); /* lazy says which match; found is the longest */
	expect("^a", 0, "aa", 2, 1, -1, 0);
	expect("\\ba", 0, "aa a", 4, 1, 3, 4);
	expect("\\B", 0, "ab", 2, 0, 1, 1);
	expect("", 0, "", 0, 0, 0, 0);
	expect("$", 0, "ab", 2, 0, 2, 2);
	expect("(?m)^b$", 0, "a\nb\n", 4, 0, 2, 3);
	expect(".", 0, "\n\r", 2, 0, 1, 2);
	expect("(?s).", 0, "\n", 1, 0, 0, 1);
	expect("[^a]", 0, "a\n", 2, 0, 1, 2);
	expect("\\x00\\x{ff}", 0, "a\0\xff", 3, 0, 1, 3);
	expect("\xc3\xa9+$", 0, "\xc3\xa9\xc3\xa9", 4, 0, 0, 4); /* a character is one part */
	expect("PassWord", TF_RE_ICASE, "my pASSwORD", 11, 0, 3, 11);
	expect("(?-i)A", TF_RE_ICASE, "a", 1, 0, -1, 0);
	expect("--key \\S+", TF_RE_ARGV, "x\0--key\0abc\0y", 13, 0, 2, 11);
	expect("--key \\S+", 0, "x\0--key\0abc\0y", 13, 0, -1, 0);
	expect("\\bkey\\b", TF_RE_ARGV, "a\0key\0", 6, 0, 2, 5);
	expect("a{2,3}", 0, "aaaa", 4, 0, 0, 3);
	expect("a{,3}", 0, "a{,3}", 5, 0, 0, 5); /* no repetition, hence itself */
	expect("x{0}y", 0, "xy", 2, 0, 1, 2);
	expect("(|a)*b", 0, "aab", 3, 0, 0, 3);
	expect("((a*)*)*c", 0, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaab", 30, 0, -1, 0);
	expect("a", 0, "bbbb", 4, 5, -1, 0); /* from is beyond the end */
}

static void refused(const char *pattern, int rc, size_t where)
{
	struct tf_regex *re;
	size_t at;
	const int got = compile(pattern, strlen(pattern), TF_RE_FIND, &re, &at);

	if (got != rc || at != where)
		fprintf(stderr, "%.40s: %d at %zu\n", pattern, got, at);
	CHECK(got == rc && at == where);
}

static void test_errors(void)
{
	char deep[203], wide[1026];

	refused("ab(c", -EINVAL, 2);
	refused("ab)c", -EINVAL, 2);
	refused("a[b", -EINVAL, 1);
	refused("x*|*", -EINVAL, 3);
	refused("a**", -EINVAL, 2);
	refused("a{3,2}", -EINVAL, 1);
	refused("[b-a]", -EINVAL, 1);
	refused("a\\", -EINVAL, 1);
	refused("\\y", -EINVAL, 0);
	refused("\\x{100}", -EINVAL, 0);
	refused("[\xc3\xa9]", -EINVAL, 1);
	refused("[[:nope:]]", -EINVAL, 1);
	refused("(?z)", -EINVAL, 0);
	refused("(?P<>a)", -EINVAL, 0);
	refused("(a)\\1", -ENOTSUP, 3);
	refused("a(?=b)", -ENOTSUP, 1);
	refused("(?<!a)b", -ENOTSUP, 0);
	refused("(?>a)", -ENOTSUP, 0);
	refused("\\pL", -ENOTSUP, 0);
	refused("a{1001}", -E2BIG, 1);
	refused("(a|b)*a(a|b){20}", -E2BIG, 0);
	refused("(((x{1000}){1000}){1000}){1000}", -E2BIG, 3);
	refused("((((){1000}){1000}){1000}){1000}", -E2BIG, 3);
	refused("((a?){1000}){4}", -E2BIG, 0);
	memset(deep, '(', 101);
	memset(deep + 101, ')', 101);
	deep[202] = 0;
	refused(deep, -E2BIG, 100);
	memset(wide, 'a', 1025);
	wide[1025] = 0;
	refused(wide, -E2BIG, 1024);
}

static void test_bounds_can_be_reached(void)
{
	struct tf_regex *re;
	char deep[200], wide[1024];
	size_t at;

	memset(deep, '(', 100);
	memset(deep + 100, ')', 100);
	CHECK(compile(deep, 200, TF_RE_FIND, &re, &at) == 0);
	tf_regex_close(re);
	memset(wide, 'a', 1024);
	CHECK(compile(wide, 1024, TF_RE_FIND, &re, &at) == 0);
	CHECK(tf_regex_bytes(re) > 1024 && tf_regex_bytes(re) <= TF_RE_MAX_BYTES);
	CHECK(tf_regex_search(re, (uint8_t *)wide, 1024) && !tf_regex_search(re, (uint8_t *)wide, 1023));
	tf_regex_close(re);
	CHECK(compile("a{1000}", 7, 0, &re, &at) == 0);
	CHECK(tf_regex_search(re, (uint8_t *)wide, 1000) && !tf_regex_search(re, (uint8_t *)wide, 999));
	tf_regex_close(re);
	tf_regex_close(NULL);
}

/* Patterns of random bytes, and of pieces that are syntax; each that compiles judges random subjects, and find agrees with search. */
static void test_hostile(uint32_t rounds)
{
	static const char *const pieces[] = {"(", ")", "(?:", "(?i)", "(?P<n>", "(?", "[", "]", "^", "-", "[:", ":]", "[:alpha:]", "\\", "\\x", "\\b", "\\Q",
					     "\\E", "{", "}", "{1,", "{2}", "{30}", "0", "9", ",", "*", "+", "?", "|", "$", ".", "a", "b", "\\1", "\xc3", "\xa9"};
	char pattern[256];
	uint8_t subject[64];
	uint32_t compiled = 0, matched = 0;

	for (uint32_t i = 0; i < rounds; i++) {
		const uint32_t mode = rng_below(3), want = rng_below(24);
		struct tf_regex *re;
		size_t len = 0, n = rng_below(sizeof(subject)), at, begin, end;

		for (uint32_t k = 0; k < want; k++) {
			const char *piece = pieces[rng_below(sizeof(pieces) / sizeof(*pieces))];

			if (mode) {
				memcpy(pattern + len, piece, strlen(piece));
				len += strlen(piece);
			} else {
				pattern[len++] = (char)rng_below(256);
			}
		}
		if (compile(pattern, len, rng_below(8) | TF_RE_FIND, &re, &at))
			continue;
		compiled++;
		for (size_t k = 0; k < n; k++)
			subject[k] = (uint8_t)(rng_below(2) ? "ab09\n ]\\"[rng_below(8)] : rng_below(256));
		uint8_t *copy = exact(subject, n);
		const bool found = tf_regex_find(re, copy, n, 0, &begin, &end);

		CHECK(found == tf_regex_search(re, copy, n));
		CHECK(!found || (begin <= end && end <= n));
		matched += found;
		free(copy);
		tf_regex_close(re);
	}
	CHECK(compiled > rounds / 20 && matched > rounds / 100);
}

int main(void)
{
	test_matches();
	test_errors();
	test_bounds_can_be_reached();
	test_hostile((uint32_t)(30000 * scale(20)));
	return 0;
}
