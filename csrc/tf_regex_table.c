/* SPDX-License-Identifier: Apache-2.0 */
/* tf_regex: places into a table. A row is a set of places, and what the byte before them was where an assertion may ask. Assertions that
 * look back are judged when a row is made; those that look ahead when its cells are, for then the next byte is known: hence a match is found
 * one byte late, and the edge has a column. Walking backward, the two change places. */
#include <stdlib.h>

#include "tf_regex_impl.h"

#define HASH_SLOTS (4 * TF_RE_MAX_STATES)

struct build {
	struct re_parse *p;
	const struct re_places *s;
	const struct re_classes *c;
	enum re_kind kind;
	size_t max_cells;
	uint64_t *takes;		/* [classes][words]: places that eat a class */
	uint64_t *set;			/* [states][words] */
	uint8_t *side;			/* [states] enum re_side */
	uint32_t *cell;
	uint32_t n, room;		/* states */
	uint64_t *now, *next, *todo;	/* [words] each */
	uint16_t slot[HASH_SLOTS];	/* state + 1 */
};

static uint64_t *row_of(const struct build *b, uint32_t state)
{
	return b->set + (size_t)state * b->s->words;
}

static bool has_match(const uint64_t *row)
{
	return row[0] & 1; /* place 0 is the match */
}

/* Whether an assertion holds between what lies behind the walk and what lies ahead of it. */
static bool holds(const struct build *b, unsigned kind, unsigned behind, unsigned ahead)
{
	const unsigned left = b->s->backward ? ahead : behind, right = b->s->backward ? behind : ahead;

	switch ((enum re_assert)kind) {
	case RE_TEXT_BEGIN:
		return left == RE_EDGE;
	case RE_LINE_BEGIN:
		return left == RE_EDGE || left == RE_NEWLINE;
	case RE_TEXT_END:
		return right == RE_EDGE;
	case RE_LINE_END:
		return right == RE_EDGE || right == RE_NEWLINE;
	case RE_BOUNDARY:
		return (left == RE_WORD) != (right == RE_WORD);
	case RE_NO_BOUNDARY:
		return (left == RE_WORD) == (right == RE_WORD);
	}
	return false;
}

/* Whether it asks only for what lies behind the walk. */
static bool looks_back(const struct build *b, unsigned kind)
{
	const bool begin = kind == RE_TEXT_BEGIN || kind == RE_LINE_BEGIN, end = kind == RE_TEXT_END || kind == RE_LINE_END;

	return b->s->backward ? end : begin;
}

/* Replaces assertions of `row` by what follows them where they hold, and drops them where not. With ahead == RE_SIDES the next byte is not
 * known: those that ask for it stay. */
static void judge(struct build *b, uint64_t *row, unsigned behind, unsigned ahead)
{
	const uint32_t words = b->s->words;
	bool more = b->s->assert_kinds;

	memset(b->todo, 0xff, words * sizeof(*row)); /* not judged yet */
	while (more) {
		more = false;
		for (uint32_t w = 0; w < words; w++) {
			uint64_t found = row[w] & b->s->asserts[w] & b->todo[w];

			for (b->todo[w] &= ~found; found; found &= found - 1) {
				const uint32_t at = w * 64 + (uint32_t)__builtin_ctzll(found), kind = b->s->place[at].arg;
				const uint64_t *follow = b->s->follow + (size_t)at * words;

				if (ahead == RE_SIDES && !looks_back(b, kind))
					continue;
				row[w] &= ~(found & -found);
				if (!holds(b, kind, behind, ahead))
					continue;
				for (uint32_t k = 0; k < words; k++) /* an assertion judged before is not taken back */
					row[k] |= follow[k] & (b->todo[k] | ~b->s->asserts[k]);
				more = true;
				re_spend(b->p, words);
			}
		}
	}
}

static bool pending(const struct build *b, const uint64_t *row)
{
	for (uint32_t w = 0; w < b->s->words; w++)
		if (row[w] & b->s->asserts[w])
			return true;
	return false;
}

static bool empty(const struct build *b, const uint64_t *row)
{
	for (uint32_t w = 0; w < b->s->words; w++)
		if (row[w])
			return false;
	return true;
}

/* Whether an empty set may come to something again: a match that must begin at a line waits for the next one. */
static bool revives(const struct build *b)
{
	return b->kind != RE_ANCHORED && b->s->assert_kinds & (1u << RE_LINE_BEGIN | 1u << RE_LINE_END);
}

static int too_big(struct build *b, const char *what, unsigned long bound)
{
	return tf_regex_fail(b->p, -E2BIG, 0, "the pattern's table would pass %lu %s: lower the counts in {}, or put fewer alternatives and .* before "
			     "what is counted", bound, what);
}

static int grow(struct build *b)
{
	const uint32_t room = b->room ? b->room * 2 : 32;
	uint64_t *set = realloc(b->set, (size_t)room * b->s->words * sizeof(*set));
	uint32_t *cell;
	uint8_t *side;

	b->set = set ? set : b->set;
	side = realloc(b->side, room);
	b->side = side ? side : b->side;
	cell = realloc(b->cell, (size_t)room * b->c->stride * sizeof(*cell));
	b->cell = cell ? cell : b->cell;
	if (!set || !side || !cell)
		return -ENOMEM;
	b->room = room;
	return 0;
}

/* A new state: 0 or -errno. */
static int add_state(struct build *b, const uint64_t *row, unsigned side)
{
	int rc;

	if (b->n == TF_RE_MAX_STATES)
		return too_big(b, "states", TF_RE_MAX_STATES);
	if ((size_t)(b->n + 1) * b->c->stride > b->max_cells)
		return too_big(b, "bytes", TF_RE_MAX_BYTES);
	if (b->n == b->room) {
		rc = grow(b);
		if (rc < 0)
			return rc;
	}
	memcpy(row_of(b, b->n), row, b->s->words * sizeof(*row));
	b->side[b->n++] = (uint8_t)side;
	return 0;
}

/* The number of the state for this set of places behind `side`; changes row. Or -errno. */
static int state_of(struct build *b, uint64_t *row, unsigned side)
{
	uint64_t hash;
	uint32_t slot;
	int rc;

	judge(b, row, side, RE_SIDES);
	if (has_match(row) && b->kind == RE_ANYWHERE)
		return 1;
	if (empty(b, row) && !revives(b))
		return 0;
	if (!pending(b, row))
		side = RE_OTHER; /* nobody asks */
	hash = side;
	for (uint32_t w = 0; w < b->s->words; w++)
		hash = (hash ^ row[w]) * 0x9e3779b97f4a7c15ull, hash ^= hash >> 29;
	for (slot = (uint32_t)hash % HASH_SLOTS; b->slot[slot]; slot = (slot + 1) % HASH_SLOTS) {
		const uint32_t state = b->slot[slot] - 1u;

		if (b->side[state] == side && !memcmp(row_of(b, state), row, b->s->words * sizeof(*row)))
			return (int)state;
	}
	rc = add_state(b, row, side);
	if (rc < 0)
		return rc;
	b->slot[slot] = (uint16_t)b->n;
	return (int)b->n - 1;
}

/* Places after eating a class, into b->next. */
static void step(struct build *b, uint32_t class)
{
	const uint32_t words = b->s->words;
	const uint64_t *takes = b->takes + (size_t)class * words;
	uint64_t cost = words;

	if (b->kind == RE_ANCHORED)
		memset(b->next, 0, words * sizeof(*b->next));
	else
		memcpy(b->next, b->s->start, words * sizeof(*b->next)); /* a match may begin here */
	for (uint32_t w = 0; w < words; w++) {
		for (uint64_t found = b->now[w] & takes[w]; found; found &= found - 1) {
			const uint64_t *follow = b->s->follow + (size_t)(w * 64 + (uint32_t)__builtin_ctzll(found)) * words;

			for (uint32_t k = 0; k < words; k++)
				b->next[k] |= follow[k];
			cost += words;
		}
	}
	re_spend(b->p, cost);
}

/* All cells of one state. The edge's leads to state 0 or, where a search has matched, 1. */
static int fill_row(struct build *b, uint32_t state)
{
	const uint32_t words = b->s->words, edge = b->c->n;
	int to;

	for (uint32_t class = 0; class <= edge; class++) {
		uint32_t flag = 0;

		memcpy(b->now, row_of(b, state), words * sizeof(*b->now));
		if (pending(b, b->now))
			judge(b, b->now, b->side[state], b->c->side[class]);
		if (has_match(b->now))
			flag = RE_MATCHED;
		if (flag && b->kind == RE_ANYWHERE) {
			to = 1;
			flag = 0;
		} else if (class == edge) {
			to = 0;
		} else {
			step(b, class);
			to = state_of(b, b->next, b->c->side[class]);
		}
		if (to < 0)
			return to;
		b->cell[(size_t)state * b->c->stride + class] = (uint32_t)to * b->c->stride | flag;
	}
	return re_spend(b->p, words) ? 0 : too_big(b, "steps to be made", RE_MAX_WORK);
}

static void find_takers(struct build *b)
{
	for (uint32_t at = 0; at < b->s->n; at++)
		for (uint32_t class = 0; class < b->c->n && b->s->place[at].op == RE_P_SET; class++)
			if (re_has(&b->p->sets[b->s->place[at].arg], b->c->sample[class]))
				b->takes[(size_t)class * b->s->words + at / 64] |= 1ull << (at % 64);
}

static int fill(struct build *b, struct re_table *out)
{
	const uint32_t words = b->s->words;
	int rc;

	memset(b->next, 0, words * sizeof(*b->next));
	for (int i = 0; i < 2; i++) { /* rows 0 and 1: nothing can match any more, all is said */
		rc = add_state(b, b->next, RE_OTHER);
		for (uint32_t class = 0; rc >= 0 && class < b->c->stride; class++)
			b->cell[(size_t)i * b->c->stride + class] = (uint32_t)i * b->c->stride;
		if (rc < 0)
			return rc;
	}
	for (unsigned side = 0; side < RE_SIDES; side++) {
		memcpy(b->next, b->s->start, words * sizeof(*b->next));
		rc = state_of(b, b->next, side);
		if (rc < 0)
			return rc;
		out->start[side] = (uint32_t)rc * b->c->stride;
		if (b->kind != RE_ANCHORED && side == RE_EDGE)
			side = RE_SIDES - 1; /* the others begin at an edge only */
	}
	for (uint32_t state = 2; state < b->n; state++) {
		rc = fill_row(b, state);
		if (rc < 0)
			return rc;
	}
	out->states = b->n;
	return 0;
}

int tf_regex_table(struct re_parse *p, const struct re_places *s, const struct re_classes *c, enum re_kind kind, size_t max_bytes,
		   struct re_table *out)
{
	struct build *b = calloc(1, sizeof(*b));
	int rc = -ENOMEM;

	memset(out, 0, sizeof(*out));
	if (!b)
		return rc;
	*b = (struct build){.p = p, .s = s, .c = c, .kind = kind, .max_cells = max_bytes / sizeof(uint32_t)};
	b->takes = calloc((size_t)c->n + 3, s->words * sizeof(uint64_t));
	if (b->takes) {
		b->now = b->takes + (size_t)c->n * s->words;
		b->next = b->now + s->words;
		b->todo = b->next + s->words;
		find_takers(b);
		rc = fill(b, out);
	}
	if (!rc) {
		out->cell = realloc(b->cell, (size_t)b->n * c->stride * sizeof(uint32_t));
		out->cell = out->cell ? out->cell : b->cell;
		b->cell = NULL;
	}
	free(b->takes);
	free(b->set);
	free(b->side);
	free(b->cell);
	free(b);
	return rc;
}
