/* SPDX-License-Identifier: Apache-2.0 */
/* tf_filter_match: one text against all the values of a test: whether it is any of them. */
#include "tf_filter_impl.h"

static inline uint8_t read_as(const uint8_t *map, uint8_t c)
{
	return map ? map[c] : c;
}

static inline bool same(const uint8_t *map, const uint8_t *s, const struct tf_value *v)
{
	if (!map)
		return !memcmp(s, v->p, v->len);
	for (uint32_t i = 0; i < v->len; i++)
		if (map[s[i]] != v->p[i])
			return false;
	return true;
}

uint32_t tf_matcher_hash(const uint8_t *map, const uint8_t *s, size_t n)
{
	uint32_t h = 2166136261u;

	for (size_t i = 0; i < n; i++)
		h = (h ^ read_as(map, s[i])) * 16777619u;
	return h ^ h >> 15;
}

static bool is_equal(const struct tf_matcher *m, const uint8_t *s, size_t n)
{
	if (!m->hash) {
		for (uint32_t i = 0; i < m->equal.n; i++)
			if (m->equal.v[i].len == n && same(m->map, s, &m->equal.v[i]))
				return true;
		return false;
	}
	for (uint32_t at = tf_matcher_hash(m->map, s, n) & m->hash_mask; m->hash[at]; at = (at + 1) & m->hash_mask) {
		const struct tf_value *v = &m->equal.v[m->hash[at] - 1];

		if (v->len == n && same(m->map, s, v))
			return true;
	}
	return false;
}

static uint32_t first_of(const struct tf_values *x, uint16_t key)
{
	uint32_t from = 0, n = x->n;

	while (n > 0) {
		const uint32_t half = n / 2;

		if (x->key[from + half] < key) {
			from += half + 1;
			n -= half + 1;
		} else {
			n = half;
		}
	}
	return from;
}

/* Whether a value lies at the beginning (end) of s. */
static bool at_end(const struct tf_matcher *m, const struct tf_values *x, const uint8_t *s, size_t n, bool ends)
{
	const uint8_t *pair = ends ? s + n - 2 : s;
	uint32_t i = 0;
	uint16_t key = 0;

	if (!n)
		return false;
	if (x->has_one) {
		const uint8_t c = read_as(m->map, ends ? s[n - 1] : s[0]);

		if (x->one[c / 8] >> (c % 8) & 1)
			return true;
	}
	if (n < 2 || !x->n)
		return false;
	if (x->key) {
		key = (uint16_t)(read_as(m->map, pair[0]) << 8 | read_as(m->map, pair[1]));
		if (x->keys && !(x->keys[key / 8] >> (key % 8) & 1))
			return false;
		i = first_of(x, key);
	}
	for (; i < x->n && (!x->key || x->key[i] == key); i++)
		if (x->v[i].len <= n && same(m->map, ends ? s + n - x->v[i].len : s, &x->v[i]))
			return true;
	return false;
}

static bool is_contained(const struct tf_matcher *m, const uint8_t *s, size_t n)
{
	const struct tf_values *x = &m->contains;

	if (!m->map && !x->key && !x->has_one) {
		for (uint32_t i = 0; i < x->n; i++)
			if (memmem(s, n, x->v[i].p, x->v[i].len))
				return true;
		return false;
	}
	for (size_t i = 0; i < n; i++)
		if (at_end(m, x, s + i, n - i, false))
			return true;
	return false;
}

bool tf_matcher_run(const struct tf_matcher *m, const uint8_t *s, size_t n)
{
	while (m->argv && n && !s[n - 1])
		n--;
	if (m->all || (m->equal.n && is_equal(m, s, n)))
		return true;
	if (at_end(m, &m->starts, s, n, false) || at_end(m, &m->ends, s, n, true))
		return true;
	for (uint32_t i = 0; i < m->n_regex; i++)
		if (tf_regex_search(m->regex[i], s, n))
			return true;
	return (m->contains.n || m->contains.has_one) && is_contained(m, s, n);
}
