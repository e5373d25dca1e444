/* SPDX-License-Identifier: Apache-2.0 */
/* tf_filter_text: tests of texts over a block: names of 16 bytes, whose results are kept by name; texts of rows; texts of facts. */
#include "tf_filter_impl.h"

static uint64_t word_at(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

/* A set of two names in a scratch: key[2][2], then bits[words] of the one and of the other: known << 32 | value, 32 tests a word. */
static __attribute__((noinline)) bool judge_anew(const struct tf_test *t, const struct tf_filter_scratch *s, uint64_t *set, const uint8_t *p)
{
	const uint64_t value = 1ull << t->cached % 32;
	uint64_t *bits = set + 4;
	unsigned way;

	for (way = 0; way < 2; way++)
		if (set[2 * way] == word_at(p) && set[2 * way + 1] == word_at(p + 8))
			break;
	if (way == 2) { /* a new one: the older of the two goes */
		memcpy(set + 2, set, 2 * sizeof(*set));
		memcpy(bits + s->words, bits, s->words * sizeof(*bits));
		memcpy(set, p, 2 * sizeof(*set));
		memset(bits, 0, s->words * sizeof(*bits));
		way = 0;
	}
	bits += way * s->words + t->cached / 32;
	*bits = (*bits & ~value) | value << 32;
	if (tf_matcher_run(t->matcher, p, strnlen((const char *)p, TF_COMM_LEN)))
		*bits |= value;
	return *bits & value;
}

/* The test's result for the 16 bytes at p. Names are kept whole, so a result is never another name's. */
static inline bool judge_name(const struct tf_test *t, const struct tf_filter_scratch *s, uint64_t *sets, size_t set_words, size_t words,
			      const uint64_t *bits, unsigned shift, const uint8_t *p)
{
	const uint64_t k0 = word_at(p), k1 = word_at(p + 8), hash = (k0 ^ (k1 << 23 | k1 >> 41)) * 0x9e3779b97f4a7c15u;
	const size_t at = (hash >> 54) * set_words;
	const uint64_t *set = sets + at, other = (set[0] ^ k0) | (set[1] ^ k1);
	const uint64_t found = bits[at + (other ? words : 0)] >> shift;

	if (tf_unlikely(other && ((set[2] ^ k0) | (set[3] ^ k1))) || tf_unlikely(!(found >> 32 & 1)))
		return judge_anew(t, s, sets + at, p);
	return found & 1;
}
_Static_assert(TF_NAME_SETS == 1u << 10, "the hash above keeps 10 bits");

void tf_run_name(const struct tf_leaf *l, const struct tf_block *b, const uint64_t *in, uint64_t *out)
{
	const struct tf_test *t = l->test;
	const struct tf_filter_scratch *s = b->scratch;
	uint64_t *sets = s->sets;
	const size_t set_words = s->set_words, words = s->words;
	const uint64_t *bits = sets + 4 + t->cached / 32;
	const unsigned shift = (unsigned)t->cached % 32;

	TF_JUDGE(l, b, in, out, judge_name(t, s, sets, set_words, words, bits, shift, p));
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

/* Whether the fact is known, and one of its texts matches, or none when the test is negated. */
static bool judge_fact(const struct tf_leaf *l, const struct tf_block *b, const uint8_t *row)
{
	const struct tf_test *t = l->test;
	struct tf_fact_text texts[TF_FACT_DEPTH];
	const uint32_t n = tf_facts_find(b->facts, b->all, b->domain, row, t->fact, texts);
	bool hit = !t->matcher; /* it is there */

	for (uint32_t i = 0; i < n && !hit; i++)
		hit = tf_matcher_run(t->matcher, texts[i].p, texts[i].len);
	return n && hit != !!(t->flags & TF_TEST_NEGATE);
}

static bool judge_follow(const struct tf_leaf *l, const struct tf_block *b, const uint8_t *row)
{
	const struct tf_test *t = l->test;
	uint32_t line[TF_FACT_DEPTH + 1];
	const uint32_t n = tf_facts_line(b->facts, row, line);

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
