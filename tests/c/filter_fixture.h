/* SPDX-License-Identifier: Apache-2.0 */
/* Programs of filters, put together by hand or at random. */
#ifndef FILTER_FIXTURE_H
#define FILTER_FIXTURE_H

#include "ring_fixture.h"

#include <stdarg.h>

#include "tf_filter_impl.h"
#include "tf_layout.h"

struct program {
	uint8_t b[400000];
	size_t n;
};

static inline void put_bytes(struct program *p, const void *x, size_t n)
{
	CHECK(p->n + n <= sizeof(p->b));
	memcpy(p->b + p->n, x, n);
	p->n += n;
}

static inline void put1(struct program *p, uint8_t x)
{
	put_bytes(p, &x, 1);
}

static inline void put4(struct program *p, uint32_t x)
{
	put_bytes(p, &x, 4);
}

static inline void put16(struct program *p, int64_t x)
{
	const tf_i128 wide = x;

	put_bytes(p, &wide, 16);
}

static inline void put_text(struct program *p, const char *format, ...)
{
	char text[64];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	put4(p, (uint32_t)strlen(text));
	put_bytes(p, text, strlen(text));
}

static inline struct program begin(uint32_t rules, bool expr)
{
	struct program p = {.n = 0};

	put_bytes(&p, "TFP1", 4);
	put4(&p, rules);
	put1(&p, expr);
	return p;
}

/* A test of one place, up to its args. */
static inline void put_test(struct program *p, uint8_t op, uint8_t flags, uint8_t source, uint8_t domain, char kind, uint16_t offset, uint16_t size)
{
	put1(p, TF_N_TEST);
	put1(p, op);
	put1(p, flags);
	put1(p, source);
	put1(p, 0);
	put1(p, kind != 0);
	if (!kind)
		return;
	put1(p, domain);
	put1(p, (uint8_t)kind);
	put_bytes(p, &offset, 2);
	put_bytes(p, &size, 2);
}

static inline void put_range(struct program *p, uint8_t domain, uint16_t offset, uint16_t size, char kind, int64_t lo, int64_t hi)
{
	put_test(p, TF_T_RANGE, 0, TF_S_ROW, domain, kind, offset, size);
	put4(p, 1);
	put16(p, lo);
	put16(p, hi);
}

static inline void random_args(struct program *p, uint8_t op)
{
	const uint32_t n = op == TF_T_BITS ? 1 : op == TF_T_EXISTS ? 0 : rng_below(8) ? rng_below(4) : 30;

	put4(p, n);
	for (uint32_t i = 0; i < n; i++) {
		const uint64_t words[2] = {rng() % 3 ? rng_below(4) : rng(), rng()};
		const double lo = rng_below(5);

		switch (op) {
		case TF_T_RANGE: put16(p, 10 * i - 15); put16(p, 10 * i - 15 + rng_below(9)); break;
		case TF_T_FLOAT: put_bytes(p, &lo, 8); put_bytes(p, &lo, 8); put_bytes(p, "\0\1", 2); break;
		case TF_T_BITS: put_bytes(p, &words[0], 8); put1(p, rng_below(2)); put_bytes(p, &words[0], 8); break;
		case TF_T_NET: put_bytes(p, words, 16); put1(p, rng_below(129)); break;
		case TF_T_KIND: put_bytes(p, &(uint16_t){(uint16_t)rng_below(TF_KIND_COUNT)}, 2); break;
		case TF_T_FOLLOW: put4(p, rng_below(9)); break;
		default: put_text(p, rng_below(2) ? "a%uc" : op == TF_T_REGEX ? "(a|b/)*%u" : "*a?c[%u", rng_below(3));
		}
	}
}

/* A test of a field of a table, or of none. */
static inline void random_test(struct program *p)
{
	const struct tf_record_layout *l = &tf_layouts[rng_below((uint32_t)tf_layout_count)];
	const struct tf_field *x = &l->fields[rng_below(l->n_fields)];
	const uint8_t flags = (uint8_t)rng_below(8);
	uint8_t op;

	if (rng_below(3) == 0) {
		op = (uint8_t[]){TF_T_REGEX, TF_T_KIND, TF_T_RANGE, TF_T_FOLLOW, TF_T_EXISTS}[rng_below(5)];
		put_test(p, op, flags, op == TF_T_KIND ? TF_S_KIND : op == TF_T_RANGE ? TF_S_SEVERITY : op == TF_T_FOLLOW ? TF_S_FOLLOW : TF_S_FACT, 0, 0, 0, 0);
		random_args(p, op);
		return;
	}
	switch (x->kind) {
	case 'f': op = TF_T_FLOAT; break;
	case 'B': op = TF_T_NET; break;
	case 'S':
	case 'T': op = (uint8_t)(TF_T_EQUAL + rng_below(6)); break;
	default: op = rng_below(2) ? TF_T_RANGE : TF_T_BITS;
	}
	put_test(p, op, flags, TF_S_ROW, l->domain, x->kind, x->offset, x->size);
	random_args(p, op);
}

static inline void random_tree(struct program *p, unsigned depth)
{
	const uint8_t op = depth ? (uint8_t)rng_below(7) : TF_N_TEST;
	uint32_t n = rng_below(4);

	if (op >= TF_N_TEST) {
		random_test(p);
		return;
	}
	put1(p, op);
	if (op <= TF_N_TRUE)
		return;
	if (op == TF_N_NOT)
		n = 1;
	else
		put4(p, n);
	while (n--)
		random_tree(p, depth - 1);
}

static inline struct program random_program(void)
{
	const uint32_t rules = rng_below(4);
	const bool expr = rng_below(2);
	struct program p = begin(rules, expr);

	for (uint32_t i = 0; i < rules + expr; i++)
		random_tree(&p, 4);
	return p;
}

#endif
