/* SPDX-License-Identifier: Apache-2.0 */
/* tf_regex_impl: what the files of tf_regex share. A pattern goes pattern -> tree (_parse, _class) -> places that follow each other (_places)
 * -> table (_table), and is walked in tf_regex.c. All but the tables lives for one compilation. */
#ifndef TF_REGEX_IMPL_H
#define TF_REGEX_IMPL_H

#include "tf_regex.h"

struct re_bytes { /* a set of bytes */
	uint64_t w[4];
};

static inline void re_add(struct re_bytes *b, unsigned c)
{
	b->w[c >> 6] |= 1ull << (c & 63);
}

static inline bool re_has(const struct re_bytes *b, unsigned c)
{
	return b->w[c >> 6] >> (c & 63) & 1;
}

static inline bool re_is_word(unsigned c)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
}

/* --- tree --- */

enum re_op { RE_SET, RE_ASSERT, RE_CAT, RE_ALT, RE_REPEAT };

/* What an assertion asks of the bytes beside a place, or of the edge that is there. */
enum re_assert { RE_TEXT_BEGIN, RE_LINE_BEGIN, RE_TEXT_END, RE_LINE_END, RE_BOUNDARY, RE_NO_BOUNDARY };

struct re_node {
	uint8_t op;
	uint16_t arg;			/* RE_SET: index into sets; RE_ASSERT: enum re_assert */
	int16_t min, max;		/* RE_REPEAT; max -1 = no bound */
	uint16_t child, last;		/* first and last child; 0 = none (node 0 is nobody's child) */
	uint16_t next, prev;		/* siblings */
	uint16_t at;			/* offset in the pattern */
};

#define RE_MAX_NODES (4 * TF_RE_MAX_PATTERN + 16)
#define RE_MAX_SETS (TF_RE_MAX_PATTERN + 2)

enum { /* flags of a stretch of the pattern; the low ones are TF_RE_* */
	RE_DOT_ALL = 16,		/* (?s) */
	RE_LINES = 32,			/* (?m) */
	RE_UNGREEDY = 64,		/* (?U): says nothing about which subjects match */
};

#define RE_MAX_WORK (1u << 25)		/* words looked at to make the tables of one pattern: some 40 ms */

struct re_parse {
	const uint8_t *text;
	size_t len, at;
	unsigned flags;
	uint32_t depth, n_nodes, n_sets;
	struct re_node nodes[RE_MAX_NODES];
	struct re_bytes sets[RE_MAX_SETS];
	uint64_t work;			/* left of RE_MAX_WORK */
	size_t error_at;
	char *msg;
	size_t msg_size;
};

/* Records an error about offset `at` and returns rc. */
int tf_regex_fail(struct re_parse *p, int rc, size_t at, const char *format, ...) __attribute__((format(printf, 4, 5)));
/* Takes `words` from what is left; false when that is nothing. */
static inline bool re_spend(struct re_parse *p, uint64_t words)
{
	p->work -= p->work < words ? p->work : words;
	return p->work;
}

/* The root's number, or a negative errno. */
int tf_regex_parse(struct re_parse *p);
/* Reads what stands behind a [ up to its ], at p->at. 0 or -errno. */
int tf_regex_bracket(struct re_parse *p, struct re_bytes *out);
/* Whether the escape at p->at (a backslash) is a class such as \d; reads it and adds it then. */
bool tf_regex_class_escape(struct re_parse *p, struct re_bytes *out);
/* Reads an escape that stands for one byte: the byte, or -errno. */
int tf_regex_byte_escape(struct re_parse *p);
/* Adds lo..hi, in both cases where the flags say so. */
void tf_regex_add_range(struct re_bytes *b, unsigned lo, unsigned hi, unsigned flags);
void tf_regex_negate(struct re_bytes *b);

/* --- places: where a match can stand --- */

enum re_place_op { RE_P_SET, RE_P_ASSERT, RE_P_MATCH };

struct re_place {
	uint8_t op;
	uint16_t arg;			/* as in re_node */
	uint16_t out;			/* instruction that comes next */
};

/* Sets of places are rows of `words` 64-bit words. */
struct re_places {
	uint32_t n, words, match;	/* match: number of the place that means success */
	struct re_place *place;		/* [n] */
	uint64_t *follow;		/* [n][words]: places reached from behind a place, through nothing but empty steps */
	uint64_t *start;		/* [words]: from the beginning */
	uint64_t *asserts;		/* [words]: those that are assertions */
	uint32_t assert_kinds;		/* bits of enum re_assert that occur */
	bool backward;			/* of the pattern read from its end */
};

/* 0, -E2BIG (says so in p), -ENOMEM. */
int tf_regex_places(struct re_parse *p, uint32_t root, bool backward, struct re_places *out);
void tf_regex_places_free(struct re_places *s);

/* --- tables --- */

/* What stands beside a place: an edge of the subject, \n, a byte of a word, another byte. */
enum re_side { RE_EDGE, RE_NEWLINE, RE_WORD, RE_OTHER, RE_SIDES };

#define RE_MATCHED 0x80000000u		/* of a cell: a match ends before the byte that chose it */

struct re_table {
	uint32_t *cell;			/* [states][stride]: offset of the next row, | RE_MATCHED */
	uint32_t states;
	uint32_t start[RE_SIDES];	/* offset of the first row, by what is on the side that the walk comes from */
};

/* Bytes that no pattern part tells apart are one class; the column behind the last class is the edge. */
struct re_classes {
	uint8_t of[256];
	uint8_t side[257];		/* enum re_side of a class; [n]: RE_EDGE */
	uint8_t sample[256];		/* a byte of the class */
	uint32_t n, stride;
};

/* Which classes the sets of p and the assertions of s need. */
void tf_regex_classes(const struct re_parse *p, const struct re_places *s, struct re_classes *out);

/* TF_REGEX_ANYWHERE ends in row 1 (offset stride) as soon as there is a match; EVERY begins a match at each byte and marks cells;
 * ANCHORED marks cells of matches that begin where the walk does. Row 0 is where nothing can match any more. */
enum re_kind { RE_ANYWHERE, RE_EVERY, RE_ANCHORED };

/* max_bytes: left for this table. 0, -E2BIG, -ENOMEM. */
int tf_regex_table(struct re_parse *p, const struct re_places *s, const struct re_classes *c, enum re_kind kind, size_t max_bytes,
		   struct re_table *out);

struct tf_regex {
	uint8_t of[256];		/* class of a byte; with TF_RE_ARGV NUL has that of a space */
	uint8_t leave[256];		/* of a byte: leads away from the row `home` */
	uint8_t side[256];		/* enum re_side of a byte */
	uint32_t stride, edge;		/* cells of a row; its last cell */
	uint32_t home;			/* row in which a search waits for its first byte */
	int needle;			/* the only byte that leaves home, or -1 */
	size_t bytes;
	struct re_table search;		/* forward, anywhere */
	struct re_table back, on;	/* TF_RE_FIND: backward, every beginning; forward, anchored */
};

#endif
