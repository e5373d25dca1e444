/* SPDX-License-Identifier: Apache-2.0 */
/* tf_filter_text: tests of texts over a block: names of 16 bytes, whose results are kept by name; texts of rows; texts of facts. */
#include "tf_filter_impl.h"

static uint64_t word_at(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

/* The test's result for the 16 bytes at p. The slot of a name holds them whole, so a result is never another name's. */
static inline bool judge_name(const struct tf_test *t, struct tf_filter_scratch *s, const uint8_t *p)
{
	const uint64_t k0 = word_at(p), k1 = word_at(p + 8), bit = 1ull << t->cached % 64;
	const uint64_t hash = (k0 ^ (k1 << 23 | k1 >> 41)) * 0x9e3779b97f4a7c15u;
	uint64_t *slot = s->slots + (hash >> 53) * (2 + 2 * s->words), *known = slot + 2 + t->cached / 64, *value = known + s->words;

	if (tf_unlikely(slot[0] != k0 || slot[1] != k1)) {
		slot[0] = k0;
		slot[1] = k1;
		memset(slot + 2, 0, s->words * sizeof(*slot));
	}
	if (tf_unlikely(!(*known & bit))) {
		const bool hit = tf_matcher_run(t->matcher, p, strnlen((const char *)p, TF_COMM_LEN));

		*known |= bit;
		*value = hit ? *value | bit : *value & ~bit;
	}
	return *value & bit;
}
_Static_assert(TF_NAME_SLOTS == 1u << 11, "the hash above keeps 11 bits");

void tf_run_name(const struct tf_leaf *l, const struct tf_block *b, const uint64_t *in, uint64_t *out)
{
	const struct tf_test *t = l->test;
	struct tf_filter_scratch *s = b->scratch;

	TF_JUDGE(l, b, in, out, judge_name(t, s, p));
}

/* A text that lies outside of its area (a damaged batch) is empty. */
static bool judge_text(const struct tf_leaf *l, const struct tf_block *b, const uint8_t *row)
{
	const struct tf_rows *r = b->all;
	struct tf_text t;

	memcpy(&t, row + l->offset, sizeof(t));
	if (t.offset > r->text_len || t.len > r->text_len - t.offset)
		t = (struct tf_text){0};
	return tf_matcher_run(l->test->matcher, t.len ? r->text + t.offset : (const uint8_t *)"", t.len);
}

/* Whether the fact is known, and (there is a matcher) one of its texts matches, or none when the test is negated. */
static bool judge_fact(const struct tf_leaf *l, const struct tf_block *b, const uint8_t *row)
{
	const struct tf_test *t = l->test;
	struct tf_fact_text texts[TF_FACT_DEPTH];
	const uint32_t n = tf_facts_find(b->facts, b->all, b->domain, row, t->fact, texts);
	bool hit = false;

	for (uint32_t i = 0; t->matcher && i < n && !hit; i++)
		hit = tf_matcher_run(t->matcher, texts[i].p, texts[i].len);
	return n && (!t->matcher || hit != !!(t->flags & TF_TEST_NEGATE));
}

static bool judge_follow(const struct tf_leaf *l, const struct tf_block *b, const uint8_t *row)
{
	const struct tf_test *t = l->test;
	uint32_t line[TF_FACT_DEPTH + 1];
	const uint32_t n = tf_facts_line(b->facts, b->domain, row, line);

	for (uint32_t i = 0; i < n; i++)
		for (uint32_t k = 0; k < t->n; k++)
			if (line[i] == t->arg.pids[k])
				return true;
	return false;
}

/* Only rows that are still asked about: a text costs more than a branch. */
#define EACH_ROW(call)                                                                                  \
	for (uint32_t w = 0; w < b->words; w++) {                                                       \
		uint64_t hit = 0;                                                                       \
                                                                                                        \
		for (uint64_t todo = in[w]; todo; todo &= todo - 1) {                                   \
			const unsigned i = (unsigned)__builtin_ctzll(todo);                             \
                                                                                                        \
			hit |= (uint64_t)call(l, b, b->rows + (w * 64 + i) * b->stride) << i;           \
		}                                                                                       \
		out[w] = hit;                                                                           \
	}

void tf_run_text(const struct tf_leaf *l, const struct tf_block *b, const uint64_t *in, uint64_t *out)
{
	EACH_ROW(judge_text)
}

void tf_run_fact(const struct tf_leaf *l, const struct tf_block *b, const uint64_t *in, uint64_t *out)
{
	EACH_ROW(judge_fact)
}

void tf_run_follow(const struct tf_leaf *l, const struct tf_block *b, const uint64_t *in, uint64_t *out)
{
	EACH_ROW(judge_follow)
}
