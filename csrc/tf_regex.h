/* SPDX-License-Identifier: Apache-2.0 */
/* tf_regex: a regular expression over bytes, compiled once to a bounded table that is walked without allocating, backtracking or failing.
 *
 * Syntax: what RE2 and its kin share: literals, \d \w \s \b \A \z \xHH \x{..} and the like, [...] with ranges, negation and [:alpha:], ( )
 * (?: ) (?P<n> ), (?i) (?s) (?m) (?U) for the rest of a group and (?i: ), | * + ? {m,n}, lazy forms, ^ $. The subject is bytes: . is any
 * byte but \n ((?s): any byte), a character outside ASCII in the pattern is the bytes that UTF-8 has for it (so it stands outside [...]
 * only), \xHH and \x{HH} are one byte, case is ASCII. Which subjects match is what RE2 says of the same pattern in Latin-1.
 *
 * A compiled expression is read-only: any number of threads may search with it. It belongs to the caller until tf_regex_close. */
#ifndef TF_REGEX_H
#define TF_REGEX_H

#include "tf_base.h"

struct tf_regex;

enum {
	TF_RE_ICASE = 1,	/* ASCII letters match in either case */
	TF_RE_ARGV = 2,		/* a NUL byte of the subject reads as a space: texts of arguments */
	TF_RE_FIND = 4,		/* tf_regex_find will be asked too, which takes two tables more */
	TF_RE_END = 8,		/* tf_regex_end alone will be asked: one table, in which no match begins on its own */
};

/* What is refused with -E2BIG rather than compiled. */
#define TF_RE_MAX_PATTERN 1024		/* bytes of a pattern */
#define TF_RE_MAX_REPEAT 1000		/* m and n of {m,n} */
#define TF_RE_MAX_NESTING 100		/* groups in groups */
#define TF_RE_MAX_PLACES 4096		/* places of the automaton before it is a table */
#define TF_RE_MAX_STATES 4096		/* rows of a table */
#define TF_RE_MAX_BYTES (1u << 20)	/* of the tables of one expression */

/* Compiles len bytes of pattern; flags are TF_RE_*. 0; -EINVAL a syntax error; -ENOTSUP a construct that no table can hold (back references,
 * look around); -E2BIG beyond a bound above; -ENOMEM. After an error msg (may be NULL) says what and what to do, and *error_at (may be NULL)
 * is the offset in the pattern that it is about. Takes tens of milliseconds at most, whatever the pattern; tens of microseconds as a rule. */
int tf_regex_compile(const char *pattern, size_t len, unsigned flags, struct tf_regex **out, size_t *error_at, char *msg, size_t msg_size);

/* Whether it matches anywhere in the n bytes at s. */
bool tf_regex_search(const struct tf_regex *re, const uint8_t *s, size_t n);

/* The leftmost match that begins at or after `from`, and of those that begin there the longest; ^ and \b see the bytes before `from`. Two
 * walks, whatever the subject: back from its end for where matches begin, then on from there. False without TF_RE_FIND. */
bool tf_regex_find(const struct tf_regex *re, const uint8_t *s, size_t n, size_t from, size_t *begin, size_t *end);

/* The two walks apart, for who wants every match: bit i of bits (n / 64 + 1 words, written whole) is set where a match begins, 0 <= i <= n;
 * and the end of the longest match that begins exactly at `at`, or n + 1. They need TF_RE_FIND; the second is content with TF_RE_END. */
void tf_regex_begins(const struct tf_regex *re, const uint8_t *s, size_t n, uint64_t *bits);
size_t tf_regex_end(const struct tf_regex *re, const uint8_t *s, size_t n, size_t at);

size_t tf_regex_bytes(const struct tf_regex *re);	/* of memory held */
void tf_regex_close(struct tf_regex *re);		/* NULL is fine */

#endif
