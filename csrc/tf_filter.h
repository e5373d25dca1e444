/* SPDX-License-Identifier: Apache-2.0 */
/* tf_filter: a filter expression and its rules, judged over rows in blocks of 512, a bitmap at a time.
 *
 * A filter is compiled from a byte program (tapio_fast/filtering/_program.py writes it, tf_filter_program.c reads it and trusts no byte of
 * it) and is read-only from then on: any number of threads may run it, each with a scratch of its own. It is reference counted, and a
 * scratch holds a reference. Running allocates nothing, calls no Python and cannot fail.
 *
 * A row is kept when the expression (if there is one) is true and, if there are rules, at least one of them. A test on a field that the
 * row's domain lacks, or on a fact that is not known, is false, negated or not. meta rows are never judged: keep them. */
#ifndef TF_FILTER_H
#define TF_FILTER_H

#include "tf_batch.h"

struct tf_filter;
struct tf_filter_scratch;
struct tf_facts;

/* What is refused with -E2BIG rather than compiled. */
#define TF_FILTER_MAX_PROGRAM (64u << 20)	/* bytes of a program */
#define TF_FILTER_MAX_BYTES (256u << 20)	/* of a filter's memory */
#define TF_FILTER_MAX_RULES 65536		/* rules */
#define TF_FILTER_MAX_NODES (1u << 20)		/* tests, and, or, not */
#define TF_FILTER_MAX_DEPTH 256			/* nesting */

/* Why a program does not compile. */
struct tf_filter_error {
	uint32_t test;		/* index: the test, counted from 0 in the order of the program; UINT32_MAX = none in particular */
	uint32_t value;		/* index: of its values */
	size_t at;		/* bytes: into the value (a regular expression) */
	char msg[192];
};

/* Compiles len bytes of program. 0 and *out with one reference; -EBADMSG not a program; -E2BIG beyond a bound above or of tf_regex.h;
 * -EINVAL, -ENOTSUP a regular expression that is wrong or that no table can hold; -ENOMEM. err may be NULL. */
int tf_filter_compile(const void *program, size_t len, struct tf_filter **out, struct tf_filter_error *err);
struct tf_filter *tf_filter_ref(struct tf_filter *f);
void tf_filter_unref(struct tf_filter *f);			/* NULL is fine */
uint32_t tf_filter_rules(const struct tf_filter *f);		/* how many there are */
bool tf_filter_needs_facts(const struct tf_filter *f);		/* a test joins facts */
size_t tf_filter_bytes(const struct tf_filter *f);
/* Whether all rows of a domain have one fate: 1 kept, 0 dropped, -1 it depends on the row. */
int tf_filter_fate(const struct tf_filter *f, uint8_t domain);

/* What a thread needs to run one filter: results by name that are kept from batch to batch. */
int tf_filter_scratch_open(struct tf_filter *f, struct tf_filter_scratch **out);	/* 0, -ENOMEM */
void tf_filter_scratch_close(struct tf_filter_scratch *s);	/* NULL is fine */

/* Judges the rows of one domain of a batch whose bit is set in bits (n bits from the lowest of bits[0] on, whole words; those past the
 * last row are cleared); leaves the bits of those that are kept. rule_hits[n rules] grows by the rows that each rule matched among those
 * that the expression lets through; NULL = not asked, and faster. facts NULL: nothing is known. 0, or -EINVAL: s is of another filter or
 * the rows are not those of the domain. */
int tf_filter_run(const struct tf_filter *f, struct tf_filter_scratch *s, const struct tf_facts *facts, const struct tf_rows *r,
		  uint8_t domain, uint64_t *bits, uint64_t *rule_hits);
/* The same, and the bitmap of each rule: rule_bits[rule * words + word], words = (n + 63) / 64. */
int tf_filter_run_rules(const struct tf_filter *f, struct tf_filter_scratch *s, const struct tf_facts *facts, const struct tf_rows *r,
			uint8_t domain, uint64_t *bits, uint64_t *rule_bits);

#endif
