/* SPDX-License-Identifier: Apache-2.0 */
/* tf_filter_number: tests of numbers, addresses, kinds and severities over a block: one load and one comparison or look-up a row. */
#include "tf_filter_impl.h"

#define LOAD(name, type)                                \
	static inline type name(const uint8_t *p)       \
	{                                               \
		type v;                                 \
                                                        \
		memcpy(&v, p, sizeof(v));               \
		return v;                               \
	}
LOAD(u1, uint8_t)
LOAD(u2, uint16_t)
LOAD(u4, uint32_t)
LOAD(u8, uint64_t)
LOAD(i1, int8_t)
LOAD(i2, int16_t)
LOAD(i4, int32_t)
LOAD(i8, int64_t)
LOAD(f4, float)

/* Field numbers of one type: x is the value as 64 bits (a signed one extended), k the key that sets are made of. */
#define RUNS(load, type, sign)                                                                                                   \
	static void bits_##load(const struct tf_leaf *l, const struct tf_block *b, const uint64_t *in, uint64_t *out)           \
	{                                                                                                                        \
		const uint64_t mask = l->u.bits.mask, want = l->u.bits.want;                                                     \
                                                                                                                                 \
		TF_JUDGE(l, b, in, out, ((uint64_t)(int64_t)load(p) & mask) == want);                                            \
	}                                                                                                                        \
	static void some_##load(const struct tf_leaf *l, const struct tf_block *b, const uint64_t *in, uint64_t *out)           \
	{                                                                                                                        \
		const uint64_t mask = l->u.bits.mask;                                                                            \
                                                                                                                                 \
		TF_JUDGE(l, b, in, out, ((uint64_t)(int64_t)load(p) & mask) != 0);                                               \
	}                                                                                                                        \
	static void set_##load(const struct tf_leaf *l, const struct tf_block *b, const uint64_t *in, uint64_t *out)            \
	{                                                                                                                        \
		const struct tf_set *s = l->u.set;                                                                               \
                                                                                                                                 \
		TF_JUDGE(l, b, in, out, in_ranges(s, (type)load(p) ^ (type)(sign)));                                             \
	}                                                                                                                        \
	static void hash_##load(const struct tf_leaf *l, const struct tf_block *b, const uint64_t *in, uint64_t *out)           \
	{                                                                                                                        \
		const struct tf_set *s = l->u.set;                                                                               \
                                                                                                                                 \
		TF_JUDGE(l, b, in, out, in_hash(s, (type)load(p) ^ (type)(sign)));                                               \
	}
#define RANGE(load, type)                                                                                                        \
	static void range_##load(const struct tf_leaf *l, const struct tf_block *b, const uint64_t *in, uint64_t *out)          \
	{                                                                                                                        \
		const type lo = (type)l->u.range.lo, span = (type)l->u.range.span;                                               \
                                                                                                                                 \
		TF_JUDGE(l, b, in, out, (type)(load(p) - lo) <= span);                                                           \
	}
#define MAP(load, type, sign)                                                                                                    \
	static void map_##load(const struct tf_leaf *l, const struct tf_block *b, const uint64_t *in, uint64_t *out)            \
	{                                                                                                                        \
		const uint8_t *map = l->u.set->map;                                                                              \
                                                                                                                                 \
		TF_JUDGE(l, b, in, out, in_map(map, (type)((type)load(p) ^ (type)(sign))));                                      \
	}

static inline bool in_map(const uint8_t *map, unsigned k)
{
	return map[k / 8] >> (k % 8) & 1;
}

/* The last range that begins at or before k, by halves without a branch. */
static inline bool in_ranges(const struct tf_set *s, uint64_t k)
{
	const uint64_t *lo = s->lo;
	uint64_t n = s->n;

	while (n > 1) {
		uint64_t half = n / 2;

		lo += lo[half] <= k ? half : 0;
		n -= half;
	}
	return *lo <= k && k <= (s->hi ? s->hi[lo - s->lo] : *lo);
}

static inline bool in_hash(const struct tf_set *s, uint64_t k)
{
	uint64_t at = (k * 0x9e3779b97f4a7c15u) >> 32 & s->mask;

	if (!k)
		return s->has_zero;
	while (s->hash[at] && s->hash[at] != k) /* at most half of it is used */
		at = (at + 1) & s->mask;
	return s->hash[at] == k;
}

RANGE(u1, uint8_t)
RANGE(u2, uint16_t)
RANGE(u4, uint32_t)
RANGE(u8, uint64_t)
MAP(u1, uint8_t, 0)
MAP(i1, uint8_t, 0x80)
MAP(u2, uint16_t, 0)
MAP(i2, uint16_t, 0x8000)
RUNS(u1, uint8_t, 0)
RUNS(u2, uint16_t, 0)
RUNS(u4, uint32_t, 0)
RUNS(u8, uint64_t, 0)
RUNS(i1, uint8_t, 0x80)
RUNS(i2, uint16_t, 0x8000)
RUNS(i4, uint32_t, 0x80000000u)
RUNS(i8, uint64_t, 0x8000000000000000u)

tf_leaf_run *tf_run_range(unsigned size)
{
	return size == 1 ? range_u1 : size == 2 ? range_u2 : size == 4 ? range_u4 : range_u8;
}

tf_leaf_run *tf_run_bits(bool is_signed, unsigned size, bool some)
{
	static tf_leaf_run *const all[2][2][4] = {{{bits_u1, bits_u2, bits_u4, bits_u8}, {bits_i1, bits_i2, bits_i4, bits_i8}},
						  {{some_u1, some_u2, some_u4, some_u8}, {some_i1, some_i2, some_i4, some_i8}}};

	return all[some][is_signed][__builtin_ctz(size)];
}

tf_leaf_run *tf_run_set(const struct tf_set *s, bool is_signed, unsigned size)
{
	static tf_leaf_run *const ranges[2][4] = {{set_u1, set_u2, set_u4, set_u8}, {set_i1, set_i2, set_i4, set_i8}};
	static tf_leaf_run *const hashes[2][4] = {{hash_u1, hash_u2, hash_u4, hash_u8}, {hash_i1, hash_i2, hash_i4, hash_i8}};
	static tf_leaf_run *const maps[2][2] = {{map_u1, map_u2}, {map_i1, map_i2}};
	const unsigned log = (unsigned)__builtin_ctz(size);

	return s->map ? maps[is_signed][log] : s->hash ? hashes[is_signed][log] : ranges[is_signed][log];
}

static bool in_spans(const struct tf_test *t, double x)
{
	for (uint32_t i = 0; i < t->n; i++) {
		const struct tf_span *s = &t->arg.spans[i];

		if ((s->lo_open ? x > s->lo : x >= s->lo) && (s->hi_open ? x < s->hi : x <= s->hi))
			return true;
	}
	return false;
}

void tf_run_float(const struct tf_leaf *l, const struct tf_block *b, const uint64_t *in, uint64_t *out)
{
	TF_JUDGE(l, b, in, out, in_spans(l->test, f4(p)));
}

static inline bool in_net(const struct tf_net *n, const uint8_t *p)
{
	return !(((u8(p) & n->mask[0]) ^ n->want[0]) | ((u8(p + 8) & n->mask[1]) ^ n->want[1]));
}

void tf_run_net(const struct tf_leaf *l, const struct tf_block *b, const uint64_t *in, uint64_t *out)
{
	const struct tf_net net = l->u.net;

	TF_JUDGE(l, b, in, out, in_net(&net, p));
}

static inline bool in_few(const struct tf_net *few, uint32_t n, const uint8_t *p)
{
	for (uint32_t i = 0; i < n; i++)
		if (in_net(&few[i], p))
			return true;
	return false;
}

void tf_run_few(const struct tf_leaf *l, const struct tf_block *b, const uint64_t *in, uint64_t *out)
{
	const uint32_t n = l->test->n;

	TF_JUDGE(l, b, in, out, in_few(l->u.few, n, p));
}

static inline bool in_nets(const struct tf_nets *s, const uint8_t *p)
{
	const tf_u128 k = (tf_u128)__builtin_bswap64(u8(p)) << 64 | __builtin_bswap64(u8(p + 8));
	uint64_t from = 0, n = s->n;

	while (n > 1) {
		uint64_t half = n / 2;

		from += s->lo[from + half] <= k ? half : 0;
		n -= half;
	}
	return s->lo[from] <= k && k <= s->hi[from];
}

void tf_run_nets(const struct tf_leaf *l, const struct tf_block *b, const uint64_t *in, uint64_t *out)
{
	const struct tf_nets *s = l->test->intervals;

	TF_JUDGE(l, b, in, out, in_nets(s, p));
}

void tf_run_table(const struct tf_leaf *l, const struct tf_block *b, const uint64_t *in, uint64_t *out)
{
	const uint8_t *table = l->u.table;

	TF_JUDGE(l, b, in, out, table[*p]);
}

/* p is the subtype; whether the operation failed is told by errno, or (exit of a process) by the signal that killed it. */
static inline bool failed(const struct tf_leaf *l, const uint8_t *p)
{
	const uint8_t *row = p - l->offset;

	if (!l->failed_at)
		return false;
	if (l->failed_size == 2)
		return *p == l->failed_subtype && u2(row + l->failed_at);
	return u4(row + l->failed_at) != 0;
}

void tf_run_severity(const struct tf_leaf *l, const struct tf_block *b, const uint64_t *in, uint64_t *out)
{
	const uint8_t *table = l->u.table;

	TF_JUDGE(l, b, in, out, table[*p + (failed(l, p) ? 256 : 0)]);
}
