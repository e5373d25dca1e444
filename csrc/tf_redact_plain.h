/* SPDX-License-Identifier: Apache-2.0 */
/* tf_redact_plain: texts that cannot hold what a built-in rule calls a secret, told by which bytes they are made of, without a look at
 * memory that is not theirs: nearly all paths. What a rule needs, and so what a plain text has not (tf_redact_rules.c):
 *  - a blank, a NUL, = : % or $: all names with values, options, headers, URLs, and two shapes; or
 *  - a shape of which this is left: its beginning up to a - _ or . ("sk-", of the longer ones the last three bytes) and ten bytes and more
 *    of letters, digits, - and _; or eyJ and seven of them; or a capital A that sixteen of them begin with; or
 *  - the address of a webhook: ".com/".
 * More texts than need be are not plain (other signs count as blanks): those are judged, and that is all.
 * tests/c/test_tf_redact.c holds it against the rules. A user's own patterns may need less: with them no text is plain. */
#ifndef TF_REDACT_PLAIN_H
#define TF_REDACT_PLAIN_H

#include "tf_base.h"

#define REDACT_PLAIN_WINDOW 64u	/* bytes: a bit each */
#define REDACT_PLAIN_MAX 256u	/* longer texts are rare, and not plain */

/* n bytes at s, of which `room` may be read (less than a window: not plain). False: it may hold a secret, look closer. */
typedef bool redact_plain_fn(const uint8_t *s, uint32_t n, uint32_t room);

static inline bool redact_plain_never(const uint8_t *s, uint32_t n, uint32_t room)
{
	(void)s, (void)n, (void)room;
	return false;
}

#ifdef __SSE4_1__
#include <immintrin.h>

#define RP_AVX2 __attribute__((target("avx2,bmi,bmi2")))
#define RP_INLINE static inline __attribute__((always_inline))

/* The class of a byte is mostly one bit, told by its two halves; bytes above 127 and / have none. Their order makes sets of them by one
 * operation: a signed number above RP_BELOW_WORD is of a word; RP_LINE and more, unsigned, is of those that join. */
enum {
	RP_BLANK = 1,	/* rows 0 to 2, but - . and / */
	RP_SIGN = 2,	/* : to ?, and what RP_BLANK leaves of rows 0 and 1 */
	RP_DIGIT = 4,
	RP_LETTER = 8,	/* all of rows 4 to 7 */
	RP_KEY = 16,	/* A and J beside RP_LETTER: the keys of AKIA and eyJ */
	RP_LINE = 32,	/* - */
	RP_UNDER = 64,	/* _ and O beside RP_LETTER */
	RP_DOT = 128,
};
#define RP_BELOW_WORD (RP_DIGIT - 1)
#define RP_LIFT_JOIN (128 - RP_LINE)

#define RP_0 (RP_BLANK | RP_DIGIT | RP_LETTER)
#define RP_1 (RP_0 | RP_KEY)
#define RP_B (RP_BLANK | RP_SIGN | RP_LETTER)
#define RP_A (RP_B | RP_KEY)
#define RP_LOW \
	RP_0, RP_1, RP_0, RP_0, RP_0, RP_0, RP_0, RP_0, RP_0, RP_0, RP_A, RP_B, RP_B, \
	RP_SIGN | RP_LETTER | RP_LINE, (int8_t)(RP_SIGN | RP_LETTER | RP_DOT), RP_SIGN | RP_LETTER | RP_UNDER
#define RP_HIGH \
	RP_BLANK | RP_SIGN, RP_BLANK | RP_SIGN, (int8_t)(RP_BLANK | RP_LINE | RP_DOT), RP_SIGN | RP_DIGIT, \
	RP_LETTER | RP_KEY | RP_UNDER, RP_LETTER | RP_UNDER, RP_LETTER, RP_LETTER, 0, 0, 0, 0, 0, 0, 0, 0
#define RP_16(x) x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x
#define RP_ALL(x) {RP_16(x), RP_16(x)}

struct rp_constants {
	int8_t low[32], high[32], half[32], below_word[32], lift_join[32], dot[32], key[32], bad[32], place[64];
};
static const struct rp_constants rp_constants __attribute__((aligned(32))) = {
	{RP_LOW, RP_LOW}, {RP_HIGH, RP_HIGH}, RP_ALL(15), RP_ALL(RP_BELOW_WORD), RP_ALL(RP_LIFT_JOIN), RP_ALL((int8_t)RP_DOT), RP_ALL(RP_KEY),
	RP_ALL(RP_BLANK | RP_SIGN),
	{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31,
	 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63}};

/* Not told what they are, the compiler takes them from memory; it would make each of them anew in every call. */
RP_INLINE const struct rp_constants *rp_known(void)
{
	const struct rp_constants *k = &rp_constants;

	__asm__("" : "+r"(k));
	return k;
}

/* A bit for each byte: is of a word; is - _ O or a dot. What lies behind the text is a dot. `key`: there is an A or J. */
struct rp_masks {
	uint64_t word, join;
	bool key;
};

RP_INLINE __m128i rp_load(const void *p)
{
	return _mm_loadu_si128((const __m128i *)p);
}

/* The classes of 16 bytes at s + i; `own`: of which those up to place `last` are the text's, else all. */
RP_INLINE __m128i rp_look(const struct rp_constants *k, struct rp_masks *m, const uint8_t *s, unsigned i, __m128i last, bool own)
{
	const __m128i x = rp_load(s + i), high = _mm_and_si128(_mm_srli_epi16(x, 4), rp_load(k->half));
	__m128i c = _mm_and_si128(_mm_shuffle_epi8(rp_load(k->low), x), _mm_shuffle_epi8(rp_load(k->high), high)); /* above 127: 0 */

	if (own)
		c = _mm_blendv_epi8(c, rp_load(k->dot), _mm_cmpgt_epi8(rp_load(k->place + i), last));
	m->word |= (uint64_t)(unsigned)_mm_movemask_epi8(_mm_cmpgt_epi8(c, rp_load(k->below_word))) << i;
	m->join |= (uint64_t)(unsigned)_mm_movemask_epi8(_mm_adds_epu8(c, rp_load(k->lift_join))) << i;
	return c;
}

/* False: there is a blank or a sign. */
RP_INLINE bool rp_look_sse(struct rp_masks *m, const uint8_t *s, uint32_t n)
{
	const struct rp_constants *k = rp_known();
	const __m128i last = _mm_set1_epi8((char)((int)n - 1));
	const bool own = n < REDACT_PLAIN_WINDOW;
	__m128i any = _mm_setzero_si128();

	m->word = m->join = 0;
	for (unsigned i = 0; i < REDACT_PLAIN_WINDOW; i += 16)
		any = _mm_or_si128(any, rp_look(k, m, s, i, last, own));
	m->key = !_mm_testz_si128(any, rp_load(k->key));
	return _mm_testz_si128(any, rp_load(k->bad));
}

RP_AVX2 RP_INLINE __m256i rp_load_32(const void *p)
{
	return _mm256_loadu_si256((const __m256i *)p);
}

RP_AVX2 RP_INLINE __m256i rp_look_half(const struct rp_constants *k, struct rp_masks *m, const uint8_t *s, unsigned i, __m256i last, bool own)
{
	const __m256i x = rp_load_32(s + i), high = _mm256_and_si256(_mm256_srli_epi16(x, 4), rp_load_32(k->half));
	__m256i c = _mm256_and_si256(_mm256_shuffle_epi8(rp_load_32(k->low), x), _mm256_shuffle_epi8(rp_load_32(k->high), high));

	if (own)
		c = _mm256_blendv_epi8(c, rp_load_32(k->dot), _mm256_cmpgt_epi8(rp_load_32(k->place + i), last));
	m->word = (uint32_t)_mm256_movemask_epi8(_mm256_cmpgt_epi8(c, rp_load_32(k->below_word)));
	m->join = (uint32_t)_mm256_movemask_epi8(_mm256_adds_epu8(c, rp_load_32(k->lift_join)));
	return c;
}

RP_AVX2 RP_INLINE bool rp_look_avx2(struct rp_masks *m, const uint8_t *s, uint32_t n)
{
	const struct rp_constants *k = rp_known();
	const __m256i last = _mm256_set1_epi8((char)((int)n - 1));
	const bool own = n < REDACT_PLAIN_WINDOW;
	struct rp_masks second;
	const __m256i low = rp_look_half(k, m, s, 0, last, own), any = _mm256_or_si256(low, rp_look_half(k, &second, s, 32, last, own));

	m->word |= second.word << 32;
	m->join |= second.join << 32;
	m->key = !_mm256_testz_si256(any, rp_load_32(k->key));
	return _mm256_testz_si256(any, rp_load_32(k->bad));
}

/* Whether what ends at s[i], one of those that join, ends as the beginning of a shape does. */
static bool rp_begins_shape(const uint8_t *s, uint32_t i)
{
	const unsigned before = i < 2 ? 0 : (unsigned)s[i - 2] << 8 | s[i - 1];

#define IS(a, b) (before == ((a) << 8 | (b)))
	switch (s[i]) {
	case '-':	/* glpat- sk- pypi- xox?- */
		return IS('a', 't') || IS('s', 'k') || IS('p', 'i') || before >> 8 == 'x';
	case '_':	/* gh?_ pat_ live_ test_ npm_ hf_ v1_ */
		return before >> 8 == 'h' || IS('a', 't') || IS('v', 'e') || IS('s', 't') || IS('p', 'm') || IS('v', '1');
	case '.':	/* ya29. hvs. SG. */
		return IS('2', '9') || IS('v', 's') || IS('S', 'G');
	default:	/* O */
		return false;
	}
#undef IS
}

/* Looks at the neighbours of the places of a window that are left: joints before a word that is long enough, keys that begin one, dots. */
static __attribute__((noinline)) bool rp_settle(const uint8_t *s, uint64_t join, uint64_t key, uint64_t sixteen, uint64_t dot)
{
	for (; join; join &= join - 1)
		if (rp_begins_shape(s, (unsigned)__builtin_ctzll(join)))
			return false;
	for (; key; key &= key - 1) {
		const unsigned i = (unsigned)__builtin_ctzll(key);

		if ((s[i] == 'A' && sixteen >> i & 1) || (s[i] == 'J' && i > 1 && s[i - 1] == 'y' && s[i - 2] == 'e'))
			return false;
	}
	for (; dot; dot &= dot - 1)
		if (!memcmp(s + __builtin_ctzll(dot) + 1, "com/", 4))
			return false;
	return true;
}

/* Doubts are rare by what costs nothing here, for a branch on them could not be foreseen else. */
RP_INLINE bool rp_plain(const struct rp_masks *m, const uint8_t *s)
{
	/* where so many bytes of a word begin: 16 behind a joint; for xox?- and ten, 15 with the joint as the fifth */
	const uint64_t two = m->word & m->word >> 1, four = two & two >> 2, eight = four & four >> 4, sixteen = eight & eight >> 8;
	const uint64_t xox = (eight & eight >> 7) << 4, join = m->join & (sixteen >> 1 | xox);
	const uint64_t dot = m->join & ~m->word & ~(m->word | m->join) >> 4; /* and a / where .com/ has one */

	const uint64_t key = eight & -(uint64_t)m->key;

	return tf_likely(!(join | dot | key)) || rp_settle(s, join, key, sixteen, dot);
}

/* Windows lie over each other by more than any shape and its beginning need, and the last ends with the text. */
#define RP_STRIDE (REDACT_PLAIN_WINDOW - 24)
#define RP_WAY(name, look, attribute) \
	attribute RP_INLINE bool name##_window(const uint8_t *s, uint32_t n) \
	{ \
		struct rp_masks m; \
\
		return tf_likely(look(&m, s, n)) && rp_plain(&m, s); \
	} \
	static attribute __attribute__((noinline)) bool name##_long(const uint8_t *s, uint32_t n) \
	{ \
		for (; n > REDACT_PLAIN_WINDOW + RP_STRIDE; s += RP_STRIDE, n -= RP_STRIDE) \
			if (!name##_window(s, REDACT_PLAIN_WINDOW)) \
				return false; \
		return name##_window(s, REDACT_PLAIN_WINDOW) && name##_window(s + n - REDACT_PLAIN_WINDOW, REDACT_PLAIN_WINDOW); \
	} \
	attribute RP_INLINE bool name(const uint8_t *s, uint32_t n, uint32_t room) \
	{ \
		if (n - 1 >= REDACT_PLAIN_MAX || room < REDACT_PLAIN_WINDOW) \
			return false; \
		return n < REDACT_PLAIN_WINDOW ? name##_window(s, n) : name##_long(s, n); \
	}
RP_WAY(redact_plain_sse, rp_look_sse, )
RP_WAY(redact_plain_avx2, rp_look_avx2, RP_AVX2)

static inline bool redact_has_avx2(void)
{
	return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
}
#else
#define RP_AVX2
#define redact_plain_sse redact_plain_never
#define redact_plain_avx2 redact_plain_never
static inline bool redact_has_avx2(void)
{
	return false;
}
#endif

#endif
