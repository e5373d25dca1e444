/* SPDX-License-Identifier: Apache-2.0 */
/* tf_filter_set: sets of numbers and of addresses in the forms that tf_filter_number.c looks things up in. */
#include "tf_filter_impl.h"

#include <stdlib.h>

#define HASH_FROM 16u	/* numbers: fewer are found as fast by halves */

static bool make_map(struct tf_filter *f, struct tf_set *s, unsigned bits)
{
	s->map = tf_filter_take(f, 1, (size_t)1 << (bits - 3));
	if (!s->map)
		return false;
	for (uint64_t i = 0; i < s->n; i++)
		for (uint64_t k = s->lo[i]; k <= (s->hi ? s->hi[i] : s->lo[i]); k++)
			s->map[k / 8] |= (uint8_t)(1u << (k % 8));
	return true;
}

static bool make_hash(struct tf_filter *f, struct tf_set *s)
{
	uint64_t places = 32;

	while (places < 2 * s->n)
		places *= 2;
	s->mask = places - 1;
	s->hash = tf_filter_take(f, places, sizeof(*s->hash));
	if (!s->hash)
		return false;
	for (uint64_t i = 0; i < s->n; i++) {
		uint64_t at = (s->lo[i] * 0x9e3779b97f4a7c15u) >> 32 & s->mask;

		if (!s->lo[i]) {
			s->has_zero = true;
			continue;
		}
		while (s->hash[at])
			at = (at + 1) & s->mask;
		s->hash[at] = s->lo[i];
	}
	return true;
}

struct tf_set *tf_set_make(struct tf_filter *f, const uint64_t (*ranges)[2], uint32_t n, unsigned bits)
{
	struct tf_set *s = tf_filter_take(f, 1, sizeof(*s));
	bool wide = false;

	if (!s)
		return NULL;
	s->n = n;
	for (uint32_t i = 0; i < n; i++)
		wide |= ranges[i][0] != ranges[i][1];
	s->lo = tf_filter_take(f, n, sizeof(*s->lo));
	s->hi = wide ? tf_filter_take(f, n, sizeof(*s->hi)) : NULL;
	if (!s->lo || (wide && !s->hi))
		return NULL;
	for (uint32_t i = 0; i < n; i++) {
		s->lo[i] = ranges[i][0];
		if (wide)
			s->hi[i] = ranges[i][1];
	}
	if (bits <= 16)
		return make_map(f, s, bits) ? s : NULL;
	if (!wide && n >= HASH_FROM)
		return make_hash(f, s) ? s : NULL;
	return s;
}

static void mask_of(unsigned prefix, uint8_t mask[16])
{
	for (unsigned i = 0; i < 16; i++) {
		const unsigned here = prefix > 8 * i ? prefix - 8 * i : 0;

		mask[i] = here >= 8 ? 0xff : (uint8_t)(0xff00u >> here);
	}
}

struct tf_net tf_net_of(const uint8_t address[16], unsigned prefix)
{
	struct tf_net n;
	uint8_t mask[16];

	mask_of(prefix, mask);
	memcpy(n.mask, mask, sizeof(mask));
	memcpy(n.want, address, sizeof(n.want));
	n.want[0] &= n.mask[0];
	n.want[1] &= n.mask[1];
	return n;
}

static int by_lo(const void *a, const void *b)
{
	const tf_u128 x = ((const tf_u128 *)a)[0], y = ((const tf_u128 *)b)[0];

	return x < y ? -1 : x > y;
}

static void interval_of(const uint8_t address[16], unsigned prefix, tf_u128 *lo, tf_u128 *hi)
{
	const tf_u128 host = prefix ? prefix < 128 ? ((tf_u128)1 << (128 - prefix)) - 1 : 0 : ~(tf_u128)0;
	tf_u128 a = 0;

	for (unsigned i = 0; i < 16; i++)
		a = a << 8 | address[i];
	*lo = a & ~host;
	*hi = a | host;
}

struct tf_nets *tf_nets_make(struct tf_filter *f, const struct tf_test *t)
{
	struct tf_nets *s = tf_filter_take(f, 1, sizeof(*s));
	tf_u128(*pairs)[2] = malloc((size_t)t->n * sizeof(*pairs));

	if (s) {
		s->lo = tf_filter_take(f, t->n, sizeof(*s->lo));
		s->hi = tf_filter_take(f, t->n, sizeof(*s->hi));
	}
	if (!s || !pairs || !s->lo || !s->hi) {
		free(pairs);
		return NULL;
	}
	for (uint32_t i = 0; i < t->n; i++)
		interval_of(t->arg.nets[i].address, t->arg.nets[i].prefix, &pairs[i][0], &pairs[i][1]);
	qsort(pairs, t->n, sizeof(*pairs), by_lo);
	for (uint32_t i = 0; i < t->n; i++) { /* networks overlap only by one holding the other */
		if (s->n && pairs[i][0] <= s->hi[s->n - 1]) {
			if (pairs[i][1] > s->hi[s->n - 1])
				s->hi[s->n - 1] = pairs[i][1];
			continue;
		}
		s->lo[s->n] = pairs[i][0];
		s->hi[s->n++] = pairs[i][1];
	}
	free(pairs);
	return s;
}
