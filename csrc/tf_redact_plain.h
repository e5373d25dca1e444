/* SPDX-License-Identifier: Apache-2.0 */
/* tf_redact_plain: texts that cannot hold what a built-in rule calls a secret, told by which bytes they are made of, without a look at
 * memory that is not theirs: most paths. What a rule needs, and so what a plain text has not (tf_redact_rules.c):
 *  - a blank, a NUL, = : % $ or a capital letter: all names with values, options, headers, URLs, and most shapes; or
 *  - a shape in small letters: a - _ or . and then ten bytes and more of small letters, digits, - and _; or
 *  - the address of a webhook: ".com/".
 * tests/c/test_tf_redact.c holds it against the rules. A user's own patterns may need less: with them no text is plain. */
#ifndef TF_REDACT_PLAIN_H
#define TF_REDACT_PLAIN_H

#include "tf_base.h"

#define REDACT_PLAIN_MAX 64u	/* bytes: a bit each */

#ifdef __SSSE3__
#include <tmmintrin.h>

/* Classes by both halves of a byte. Bits 0 to 4: what a secret may begin with; 5 to 7: small letters and digits. */
static inline __m128i redact_classes(__m128i x)
{
	/* rows 0 and 1; blank $ %; : =; A to O; P to Z; 0 to 9; a to o; p to z */
	const __m128i high = _mm_setr_epi8(1, 1, 2, 4 | 32, 8, 16, 64, (char)128, 0, 0, 0, 0, 0, 0, 0, 0);
	const __m128i low = _mm_setr_epi8(1 | 2 | 16 | 32 | (char)128, 1 | 8 | 16 | 32 | 64 | (char)128, 1 | 8 | 16 | 32 | 64 | (char)128,
					  1 | 8 | 16 | 32 | 64 | (char)128, 1 | 2 | 8 | 16 | 32 | 64 | (char)128,
					  1 | 2 | 8 | 16 | 32 | 64 | (char)128, 1 | 8 | 16 | 32 | 64 | (char)128, 1 | 8 | 16 | 32 | 64 | (char)128,
					  1 | 8 | 16 | 32 | 64 | (char)128, 1 | 8 | 16 | 32 | 64 | (char)128, 1 | 4 | 8 | 16 | 64 | (char)128,
					  1 | 8 | 64, 1 | 8 | 64, 1 | 4 | 8 | 64, 1 | 8 | 64, 1 | 8 | 64);
	const __m128i half = _mm_set1_epi8(15);

	return _mm_and_si128(_mm_shuffle_epi8(low, _mm_and_si128(x, half)),
			     _mm_shuffle_epi8(high, _mm_and_si128(_mm_srli_epi16(x, 4), half)));
}

/* n bytes at s, of which `room` may be read. False: it may hold a secret, look closer. */
static inline bool redact_plain(const uint8_t *s, uint32_t n, uint32_t room)
{
	uint64_t begins = 0, word = 0, joint = 0, dot = 0, run;

	if (n > REDACT_PLAIN_MAX || room < REDACT_PLAIN_MAX || !n)
		return false;
	for (uint32_t i = 0; i < n; i += 16) {
		const __m128i x = _mm_loadu_si128((const __m128i *)(const void *)(s + i)), c = redact_classes(x), zero = _mm_setzero_si128();
		const __m128i line = _mm_or_si128(_mm_cmpeq_epi8(x, _mm_set1_epi8('-')), _mm_cmpeq_epi8(x, _mm_set1_epi8('_')));
		const unsigned dots = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(x, _mm_set1_epi8('.')));
		const unsigned lines = (unsigned)_mm_movemask_epi8(line);
		const unsigned no_begin = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_and_si128(c, _mm_set1_epi8(31)), zero));
		const unsigned no_word = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_and_si128(c, _mm_set1_epi8((char)0xe0)), zero));

		begins |= (uint64_t)(~no_begin & 0xffff) << i;
		word |= (uint64_t)((~no_word & 0xffff) | lines) << i;
		joint |= (uint64_t)(lines | dots) << i;
		dot |= (uint64_t)dots << i;
	}
	if (n < 64) {
		const uint64_t mine = (1ull << n) - 1;

		begins &= mine;
		word &= mine;
		dot &= mine;
	}
	run = word & word >> 1;
	run &= run >> 2;
	run &= run >> 4;
	run &= run >> 2; /* ten begin here */
	if (begins | (joint & run >> 1))
		return false;
	for (; dot; dot &= dot - 1) {
		const uint32_t i = (uint32_t)__builtin_ctzll(dot);

		if (i + 5 <= n && !memcmp(s + i + 1, "com/", 4))
			return false;
	}
	return true;
}
#else
static inline bool redact_plain(const uint8_t *s, uint32_t n, uint32_t room)
{
	(void)s, (void)n, (void)room;
	return false;
}
#endif

#endif
