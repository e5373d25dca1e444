/* SPDX-License-Identifier: Apache-2.0 */
/* tf_globs: patterns into an automaton with a bit per place. Place k of a pattern: k bytes of it have been eaten. A byte moves a place to
 * the next one up (one shift for all patterns); a * makes its place stay. */
#include "tf_globs.h"

/* Bytes that the element at `p` eats, as bits of `set`; returns the element's end. A [ that no ] ends is an ordinary byte. */
static const uint8_t *read_set(const uint8_t *p, bool set[256])
{
	const bool not = p[1] == '!';
	const uint8_t *first = p + 1 + not, *end = first + (*first == ']');

	while (*end && *end != ']')
		end++;
	if (!*end) {
		set['['] = true;
		return p + 1;
	}
	for (const uint8_t *c = first; c < end; c++) {
		if (end - c > 2 && c[1] == '-') { /* a range; one that runs backwards is empty */
			for (unsigned b = c[0]; b <= c[2]; b++)
				set[b] = true;
			c += 2;
		} else {
			set[*c] = true;
		}
	}
	for (unsigned b = 0; not && b < 256; b++)
		set[b] = !set[b];
	return end + 1;
}

static const uint8_t *read_element(const uint8_t *p, bool set[256])
{
	memset(set, 0, 256 * sizeof(*set));
	if (*p == '[')
		return read_set(p, set);
	if (*p == '?')
		memset(set, true, 256 * sizeof(*set));
	else
		set[*p] = true;
	return p + 1;
}

size_t tf_globs_places(const char *pattern)
{
	const uint8_t *p = (const uint8_t *)pattern;
	bool set[256];
	size_t n = 1;

	while (*p) {
		if (*p == '*') {
			p++;
			continue;
		}
		p = read_element(p, set);
		n++;
	}
	return n;
}

static void put(__u64 *bits, size_t place)
{
	bits[place / 64] |= 1ull << (place % 64);
}

/* From `place` on; there is room. Returns the place after its last. */
static size_t add_pattern(struct tf_globs *g, const char *pattern, size_t place)
{
	const uint8_t *p = (const uint8_t *)pattern;
	bool set[256];

	put(g->start, place);
	while (*p) {
		if (*p == '*') {
			put(g->star, place);
			p++;
			continue;
		}
		p = read_element(p, set);
		for (unsigned b = 1; b < 256; b++) /* 0 ends a name */
			if (set[b])
				put(g->on[b], place);
		place++;
	}
	put(g->accept, place);
	return place + 1;
}

int tf_globs_compile(const char *const *patterns, size_t n, struct tf_globs *out)
{
	size_t place = 0;

	memset(out, 0, sizeof(*out));
	for (size_t i = 0; i < n; i++) {
		if (tf_globs_places(patterns[i]) > TF_GLOB_WORDS * 64 - place)
			return -E2BIG;
		place = add_pattern(out, patterns[i], place);
	}
	return 0;
}

bool tf_globs_match(const struct tf_globs *g, const char *name, size_t len)
{
	uint64_t active[TF_GLOB_WORDS], found = 0;

	memcpy(active, g->start, sizeof(active));
	for (size_t i = 0; i < len && name[i]; i++) {
		const __u64 *on = g->on[(uint8_t)name[i]];
		uint64_t carry = 0;

		for (int w = 0; w < TF_GLOB_WORDS; w++) {
			const uint64_t eaten = active[w] & on[w];

			active[w] = eaten << 1 | carry | (active[w] & g->star[w]);
			carry = eaten >> 63;
		}
	}
	for (int w = 0; w < TF_GLOB_WORDS; w++)
		found |= active[w] & g->accept[w];
	return found != 0;
}
