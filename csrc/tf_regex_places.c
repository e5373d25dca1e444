/* SPDX-License-Identifier: Apache-2.0 */
/* tf_regex: tree into places. First instructions, made from the end to the beginning so that each knows what comes next; then, for each
 * that eats or asks, the set of those reached from behind it through splits alone. */
#include <stdlib.h>

#include "tf_regex_impl.h"

#define MAX_SPLITS (4 * TF_RE_MAX_PLACES)
#define MAX_VISITS (16 * TF_RE_MAX_PLACES)	/* of nodes: counts nested in counts multiply, even around nothing */
#define SPLIT_COST 4				/* of looking at a split, in words */
#define SPLIT 0x8000u				/* an instruction's number: a split, else a place */

struct build {
	struct re_parse *p;
	struct re_places *out;
	uint32_t n_splits, visits, mark;
	struct {
		uint16_t to[2];
	} split[MAX_SPLITS];
	uint32_t seen[MAX_SPLITS];	/* by split: the closure that was there last */
	uint16_t stack[2 * MAX_SPLITS];
};

static int too_big(struct build *b, const struct re_node *node)
{
	return tf_regex_fail(b->p, -E2BIG, node->at, "written out, the pattern has more than %d places: lower the counts in {} or split it",
			     TF_RE_MAX_PLACES);
}

static int new_place(struct build *b, const struct re_node *node, enum re_place_op op, unsigned arg, int next)
{
	struct re_places *o = b->out;

	if (o->n == TF_RE_MAX_PLACES)
		return too_big(b, node);
	o->place[o->n] = (struct re_place){.op = (uint8_t)op, .arg = (uint16_t)arg, .out = (uint16_t)next};
	return (int)o->n++;
}

static int new_split(struct build *b, const struct re_node *node, int first, int second)
{
	if (b->n_splits == MAX_SPLITS)
		return too_big(b, node);
	b->split[b->n_splits].to[0] = (uint16_t)first;
	b->split[b->n_splits].to[1] = (uint16_t)second;
	return (int)(b->n_splits++ | SPLIT);
}

static int emit(struct build *b, uint32_t at, int next);

static int emit_sequence(struct build *b, const struct re_node *node, int next)
{
	const bool backward = b->out->backward;

	for (uint32_t c = backward ? node->child : node->last; c && next >= 0; c = backward ? b->p->nodes[c].next : b->p->nodes[c].prev)
		next = emit(b, c, next);
	return next;
}

static int emit_alternatives(struct build *b, const struct re_node *node, int next)
{
	int all = emit(b, node->child, next);

	for (uint32_t c = b->p->nodes[node->child].next; c && all >= 0; c = b->p->nodes[c].next) {
		const int one = emit(b, c, next);

		if (one < 0)
			return one;
		all = new_split(b, node, one, all);
	}
	return all;
}

/* x{2,4} = xx(x(x)?)?, each ? leaving for the same end; x{2,} = x, then x with a way back to its beginning. */
static int emit_repeat(struct build *b, const struct re_node *node, int next)
{
	int to = next, copies = node->min;

	for (int i = node->min; node->max >= 0 && i < node->max && to >= 0; i++) {
		const int body = emit(b, node->child, to);

		to = body < 0 ? body : new_split(b, node, body, next);
	}
	if (node->max < 0) {
		const int loop = new_split(b, node, 0, next);
		const int body = loop < 0 ? loop : emit(b, node->child, loop);

		if (body < 0)
			return body;
		b->split[(uint32_t)loop & ~SPLIT].to[0] = (uint16_t)body;
		to = copies ? body : loop;
		copies -= copies > 0;
	}
	for (; copies > 0 && to >= 0; copies--)
		to = emit(b, node->child, to);
	return to;
}

/* Instructions for this node, `next` behind them; returns where it begins. */
static int emit(struct build *b, uint32_t at, int next)
{
	const struct re_node *node = &b->p->nodes[at];

	if (++b->visits > MAX_VISITS)
		return too_big(b, node);
	switch ((enum re_op)node->op) {
	case RE_SET:
		return new_place(b, node, RE_P_SET, node->arg, next);
	case RE_ASSERT:
		return new_place(b, node, RE_P_ASSERT, node->arg, next);
	case RE_CAT:
		return emit_sequence(b, node, next);
	case RE_ALT:
		return emit_alternatives(b, node, next);
	case RE_REPEAT:
		return emit_repeat(b, node, next);
	}
	return next;
}

/* The places reached from an instruction through splits, added to a row. False when there is no work left. */
static bool close_over(struct build *b, uint32_t from, uint64_t *row)
{
	uint32_t n = 0, looked = 0;

	b->mark++;
	b->stack[n++] = (uint16_t)from;
	while (n) {
		const uint32_t at = b->stack[--n], s = at & ~SPLIT;

		if (!(at & SPLIT)) {
			row[at / 64] |= 1ull << (at % 64);
			continue;
		}
		if (b->seen[s] == b->mark)
			continue;
		b->seen[s] = b->mark;
		b->stack[n++] = b->split[s].to[0];
		b->stack[n++] = b->split[s].to[1];
		looked++;
	}
	return re_spend(b->p, SPLIT_COST * looked);
}

static int fill_rows(struct build *b, uint32_t start)
{
	struct re_places *o = b->out;

	o->words = (o->n + 63) / 64;
	o->follow = calloc(o->n + 2, o->words * sizeof(uint64_t));
	if (!o->follow)
		return -ENOMEM;
	o->start = o->follow + (size_t)o->n * o->words;
	o->asserts = o->start + o->words;
	close_over(b, start, o->start);
	for (uint32_t i = 0; i < o->n; i++) {
		if (o->place[i].op != RE_P_MATCH && !close_over(b, o->place[i].out, o->follow + (size_t)i * o->words))
			return tf_regex_fail(b->p, -E2BIG, 0, "the pattern would pass %u steps to be made: lower the counts in {}", RE_MAX_WORK);
		if (o->place[i].op == RE_P_ASSERT) {
			o->asserts[i / 64] |= 1ull << (i % 64);
			o->assert_kinds |= 1u << o->place[i].arg;
		}
	}
	return 0;
}

int tf_regex_places(struct re_parse *p, uint32_t root, bool backward, struct re_places *out)
{
	struct build *b = calloc(1, sizeof(*b));
	int rc = -ENOMEM;

	memset(out, 0, sizeof(*out));
	out->backward = backward;
	out->place = calloc(TF_RE_MAX_PLACES, sizeof(*out->place));
	if (b && out->place) {
		b->p = p;
		b->out = out;
		rc = new_place(b, &p->nodes[root], RE_P_MATCH, 0, 0);
		rc = emit(b, root, rc);
		if (rc >= 0)
			rc = fill_rows(b, (uint32_t)rc);
	}
	free(b);
	if (rc < 0)
		tf_regex_places_free(out);
	return rc < 0 ? rc : 0;
}

void tf_regex_places_free(struct re_places *s)
{
	free(s->place);
	free(s->follow);
	memset(s, 0, sizeof(*s));
}
