/* SPDX-License-Identifier: Apache-2.0 */
/* tf_filter_impl: what the files of the filter share: tf_filter.c (running), _program (bytes to trees), _leaf (a test for one domain),
 * _number and _text (running tests), _set (numbers and addresses in sets), _match (a text against values), _values (making them), _glob. Not for other files. */
#ifndef TF_FILTER_IMPL_H
#define TF_FILTER_IMPL_H

#include "tf_facts.h"
#include "tf_filter.h"
#include "tf_regex.h"

#define TF_BLOCK_WORDS 4u
#define TF_BLOCK_ROWS (TF_BLOCK_WORDS * 64)

/* ops of nodes and of tests, and where a test looks: as in _program.py */
enum tf_node_op { TF_N_FALSE, TF_N_TRUE, TF_N_NOT, TF_N_AND, TF_N_OR, TF_N_TEST };
enum tf_test_op {
	TF_T_RANGE, TF_T_FLOAT, TF_T_BITS, TF_T_NET, TF_T_KIND, TF_T_EQUAL, TF_T_STARTSWITH, TF_T_ENDSWITH, TF_T_CONTAINS, TF_T_GLOB,
	TF_T_REGEX, TF_T_FOLLOW, TF_T_EXISTS, TF_T_COUNT,
};
enum tf_test_source { TF_S_ROW, TF_S_FACT, TF_S_KIND, TF_S_SEVERITY, TF_S_FOLLOW, TF_S_COUNT };
enum { TF_TEST_NEGATE = 1, TF_TEST_ICASE = 2, TF_TEST_ARGV = 4 };

typedef __int128 tf_i128;
typedef unsigned __int128 tf_u128;

struct tf_place {
	char kind;		/* u i f S B T, as in tf_layout.h; 0 = the domain lacks the field */
	uint16_t offset, size;	/* bytes */
};

/* Whole numbers in a form that one comparison or one look-up decides: keys are field values as unsigned, signed ones with the sign bit
 * turned, so that they sort. */
struct tf_set {
	uint64_t n;		/* ranges */
	uint64_t *lo, *hi;	/* sorted, disjoint; hi NULL = every range is one number */
	uint64_t *hash;		/* numbers by their hash; NULL = none */
	uint64_t mask;		/* of places in hash */
	bool has_zero;		/* 0 marks a free place, so it is told apart */
	uint8_t *map;		/* a bit for each value of 8 or 16 bit fields */
};

struct tf_net {			/* a masked comparison of 16 bytes as they lie in memory */
	uint64_t mask[2], want[2];
};
struct tf_nets {
	uint64_t n;
	tf_u128 *lo, *hi;	/* sorted, disjoint */
};
struct tf_span {		/* of a float */
	double lo, hi;
	uint8_t lo_open, hi_open;
};

struct tf_value {
	const uint8_t *p;
	uint32_t len;
};
/* Values of one op. Few are tried one by one; many are sorted by their key, the first (ends: last) two bytes. */
struct tf_values {
	struct tf_value *v;	/* of two bytes and more */
	uint16_t *key;		/* [n] sorted; NULL = few */
	uint8_t *keys;		/* a bit for each key that there is; contains only */
	uint32_t n;
	bool has_one;		/* a value of one byte: its bit in `one` */
	uint8_t one[32];
};
struct tf_matcher {
	const uint8_t *map;	/* what each byte of a text reads as; NULL = itself */
	bool argv;		/* NULs at the end do not count */
	bool all;		/* a value that everything matches */
	struct tf_values equal, starts, ends, contains;
	uint32_t *hash;		/* equal: index + 1 by hash; NULL = tried one by one */
	uint32_t hash_mask;
	struct tf_regex **regex;
	uint32_t n_regex;
	uint8_t cost;
};

struct tf_test {
	uint8_t op, flags, source, fact;
	uint32_t index;		/* in the program */
	struct tf_place place[TF_TYPE_MAX];
	uint32_t n;		/* args */
	union {
		tf_i128 (*ranges)[2];
		struct tf_span *spans;
		struct { uint64_t mask, want; bool has_want; } bits;
		struct { uint8_t address[16]; uint8_t prefix; } *nets;
		uint16_t *kinds;
		struct tf_value *texts;
		uint32_t *pids;
	} arg;
	struct tf_matcher *matcher;	/* text ops */
	struct tf_nets *intervals;	/* net with more than one */
	struct tf_set *set[2][4];	/* by signedness and log2 of the size; made when first asked for */
	int32_t cached;			/* number of its results in a scratch's names; -1 = none */
};

/* A tree as it was read. */
struct tf_branch {
	uint8_t op;
	uint32_t n;
	struct tf_branch **kids;
	struct tf_test *test;
};

struct tf_block {
	const uint8_t *rows;
	size_t stride;		/* bytes */
	uint32_t n, words;
	uint8_t domain;
	const struct tf_rows *all;
	const struct tf_facts *facts;
	struct tf_filter_scratch *scratch;
};

struct tf_leaf;
typedef void tf_leaf_run(const struct tf_leaf *l, const struct tf_block *b, const uint64_t *in, uint64_t *out);
struct tf_leaf {
	tf_leaf_run *run;	/* out: rows of `in` that match, before `negate` */
	uint16_t offset;	/* bytes: of the field in the row */
	bool negate;
	const struct tf_test *test;
	union {
		struct { uint64_t lo, span; } range;
		struct { uint64_t mask, want; } bits;
		struct tf_net net;
		const struct tf_net *few;
		const struct tf_set *set;
		const uint8_t *table;		/* [512]: by subtype; severity: 256 further on where it failed */
	} u;
	uint16_t failed_at;	/* severity: offset of errno_ or signal; 0 = nothing fails */
	uint8_t failed_size;
	uint8_t failed_subtype;	/* severity of a process: of its exit */
};

/* A tree for one domain. */
struct tf_node {
	uint8_t op;
	uint32_t cost;
	uint32_t n;
	struct tf_node **kids;
	struct tf_leaf leaf;
};

struct tf_chunk {
	struct tf_chunk *next;
	uint8_t bytes[] __attribute__((aligned(16)));
};

struct tf_filter {
	uint32_t refs;		/* atomic */
	uint32_t n_rules, n_tests, n_cached;
	bool has_expr, needs_facts;
	size_t bytes;
	struct tf_chunk *chunks;	/* all memory but regexes */
	struct tf_test **tests;
	struct tf_branch *expr, **rules;	/* as read */
	struct tf_node *expr_of[TF_TYPE_MAX];
	struct tf_node **rules_of[TF_TYPE_MAX];
	struct tf_regex **regexes;	/* to be closed */
	uint32_t n_regexes, cap_regexes;
	size_t regex_bytes;
};

#define TF_NAME_SETS 1024u
struct tf_filter_scratch {
	struct tf_filter *filter;
	uint32_t words;		/* of two bits for each cached test */
	uint32_t set_words;	/* of a set of two names with their bits */
	uint64_t *sets;		/* [TF_NAME_SETS * set_words] */
};

/* tf_filter.c */
void *tf_filter_take(struct tf_filter *f, size_t n, size_t size);	/* zeroed; NULL = no memory or too much */
/* tf_filter_program.c */
int tf_filter_read(struct tf_filter *f, const uint8_t *program, size_t len);
/* tf_filter_leaf.c: 0, or -errno; the node may be a constant */
int tf_filter_leaf(struct tf_filter *f, struct tf_test *t, uint8_t domain, struct tf_node *out);
/* tf_filter_number.c */
tf_leaf_run *tf_run_range(unsigned size);
tf_leaf_run *tf_run_bits(bool is_signed, unsigned size, bool some);
tf_leaf_run *tf_run_set(const struct tf_set *s, bool is_signed, unsigned size);
tf_leaf_run tf_run_float, tf_run_net, tf_run_few, tf_run_nets, tf_run_table, tf_run_severity;
/* tf_filter_text.c */
tf_leaf_run tf_run_name, tf_run_text, tf_run_fact, tf_run_follow;
/* tf_filter_set.c; NULL = no memory */
struct tf_set *tf_set_make(struct tf_filter *f, const uint64_t (*ranges)[2], uint32_t n, unsigned bits);
struct tf_nets *tf_nets_make(struct tf_filter *f, const struct tf_test *t);
struct tf_net tf_net_of(const uint8_t address[16], unsigned prefix);
/* tf_filter_match.c */
bool tf_matcher_run(const struct tf_matcher *m, const uint8_t *s, size_t n);
uint32_t tf_matcher_hash(const uint8_t *map, const uint8_t *s, size_t n);
/* tf_filter_values.c: fills t->matcher */
int tf_matcher_make(struct tf_filter *f, struct tf_test *t, struct tf_filter_error *err);
/* tf_filter_glob.c: which of the values' ops a pattern is, and its bytes; TF_T_REGEX: an expression in `out` (room for 4 * TF_RE_MAX_PATTERN)
 * TF_T_COUNT: nothing matches it; TF_T_EXISTS: everything. -E2BIG. */
int tf_glob_read(const uint8_t *p, uint32_t len, bool icase, uint8_t *out, uint32_t *out_len);
uint32_t tf_regex_quote(const uint8_t *p, uint32_t len, uint8_t *out);	/* returns its length; room for 4 * len */

static inline bool tf_word_is_whole(const struct tf_block *b, uint32_t w)
{
	return (w + 1) * 64 <= b->n;
}

/* The rows of `in` for which `test` (of `p`, the field) is true. A word of which most rows are asked about is judged whole: no branch. */
#define TF_JUDGE(l, b, in, out, test)                                                                   \
	do {                                                                                            \
		const uint8_t *base_ = (b)->rows + (l)->offset;                                         \
		const size_t stride_ = (b)->stride;                                                     \
                                                                                                        \
		for (uint32_t w_ = 0; w_ < (b)->words; w_++, base_ += 64 * stride_) {                   \
			uint64_t todo_ = (in)[w_], hit_ = 0;                                            \
			const uint8_t *p = base_;                                                       \
                                                                                                        \
			if (tf_word_is_whole(b, w_) && __builtin_popcountll(todo_) > 20) {              \
				_Pragma("GCC unroll 8") for (unsigned i_ = 0; i_ < 64; i_++, p += stride_) \
					hit_ = hit_ >> 1 | (uint64_t)(test) << 63; /* row 0 comes down to bit 0 */ \
				hit_ &= todo_;                                                          \
			} else {                                                                        \
				for (; todo_; todo_ &= todo_ - 1) {                                     \
					unsigned i_ = (unsigned)__builtin_ctzll(todo_);                 \
                                                                                                        \
					p = base_ + i_ * stride_;                                       \
					hit_ |= (uint64_t)(test) << i_;                                 \
				}                                                                       \
			}                                                                               \
			(out)[w_] = hit_;                                                               \
		}                                                                                       \
	} while (0)

#endif
