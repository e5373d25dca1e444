/* SPDX-License-Identifier: Apache-2.0 */
/* Filters against hostile input: random and damaged programs, texts that lie outside of their area, big sets, deep nesting, tails of blocks;
 * and what tests/test_filter_differential.py cannot reach: rows of one domain at every count, two threads on one filter. */
#include "filter_fixture.h"

#include <pthread.h>

static struct tf_filter *compiled(const struct program *p)
{
	struct tf_filter_error err;
	struct tf_filter *f;
	int rc = tf_filter_compile(p->b, p->n, &f, &err);

	if (rc)
		printf("%d: %s\n", rc, err.msg);
	CHECK(!rc);
	return f;
}

/* Runs over the rows; the bits kept. Rows end where a sanitizer sees a read past them. */
static void keep(struct tf_filter *f, uint8_t domain, const struct tf_rows *r, uint64_t *bits)
{
	struct tf_filter_scratch *s;

	CHECK(!tf_filter_scratch_open(f, &s));
	memset(bits, 0xff, (r->n + 63) / 64 * 8);
	CHECK(!tf_filter_run(f, s, NULL, r, domain, bits, NULL));
	tf_filter_scratch_close(s);
}

static struct tf_rows random_rows(uint8_t domain, uint32_t n)
{
	const uint32_t size = tf_row_size(domain);
	struct tf_rows r = {.rows = malloc((size_t)n * size + 1), .text = malloc(200), .n = n, .row_size = size, .text_len = 200};
	const uint16_t *at;
	const uint32_t fields = tf_text_fields(domain, &at);

	CHECK(r.rows && r.text);
	r.rows = realloc(r.rows, n ? (size_t)n * size : 1);
	for (size_t i = 0; i < (size_t)n * size; i++)
		r.rows[i] = (uint8_t)(rng() % 3 ? rng_below(4) : rng());
	for (uint32_t i = 0; i < 200; i++)
		r.text[i] = (uint8_t)("abc/\0"[rng_below(5)]);
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t k = 0; k < fields; k++) { /* right, at the edges, or anything */
			struct tf_text t = {rng_below(202), rng_below(202), 0};

			if (rng_below(4) == 0)
				t.offset = (uint32_t)rng();
			if (rng_below(4) == 0)
				t.len = (uint32_t)rng();
			memcpy(r.rows + (size_t)i * size + at[k], &t, sizeof(t));
		}
	return r;
}

static void free_rows(struct tf_rows *r)
{
	free(r->rows);
	free(r->text);
}

static void run_everywhere(struct tf_filter *f)
{
	uint64_t bits[(600 + 63) / 64], *rules = calloc(tf_filter_rules(f) + 1, 10 * 8);
	struct tf_filter_scratch *s;

	CHECK(rules && !tf_filter_scratch_open(f, &s));
	for (uint8_t d = 1; d < TF_TYPE_MAX; d++) {
		struct tf_rows r;

		if (!tf_row_size(d)) {
			CHECK(tf_filter_run(f, s, NULL, &(struct tf_rows){0}, d, bits, NULL) == -EINVAL);
			continue;
		}
		r = random_rows(d, rng_below(8) ? rng_below(70) : 600);
		memset(bits, 0xff, sizeof(bits));
		CHECK_EQ(tf_filter_run_rules(f, s, NULL, &r, d, bits, rules), d == TF_META ? -EINVAL : 0);
		free_rows(&r);
	}
	tf_filter_scratch_close(s);
	free(rules);
}

static void test_random_bytes(void)
{
	for (uint64_t i = 0; i < 20000 * scale(20); i++) {
		struct program p = {.n = 0};
		struct tf_filter_error err;
		struct tf_filter *f;
		uint8_t *exact;
		int rc;

		put_bytes(&p, "TFP1", 4);
		put4(&p, rng_below(3));
		for (uint32_t n = rng_below(200); n--;)
			put1(&p, (uint8_t)(rng_below(3) ? rng_below(8) : rng()));
		exact = malloc(p.n);
		memcpy(exact, p.b, p.n);
		rc = tf_filter_compile(exact, p.n, &f, &err);
		free(exact);
		CHECK(!rc || rc == -EBADMSG || rc == -E2BIG || rc == -EINVAL || rc == -ENOTSUP);
		if (!rc)
			tf_filter_unref(f);
		else
			CHECK(err.msg[0]);
	}
}

/* Right programs run; with a few bytes changed they are refused, or run as well. */
static void test_damaged_programs(void)
{
	unsigned right = 0;

	for (uint64_t i = 0; i < 3000 * scale(30); i++) {
		struct program p = random_program();
		struct tf_filter *f;

		if (rng_below(4))
			for (uint32_t k = 1 + rng_below(3); k--;)
				p.b[rng_below((uint32_t)p.n)] = (uint8_t)rng();
		if (!tf_filter_compile(p.b, rng_below(8) ? p.n : rng_below((uint32_t)p.n), &f, NULL)) {
			right++;
			run_everywhere(f);
			tf_filter_unref(f);
		}
	}
	CHECK(right > 500);
}

static void test_every_count_of_rows(void)
{
	struct program p = begin(0, true);
	struct tf_filter *f;

	put_range(&p, TF_CPU, offsetof(struct tf_header, pid), 4, 'u', 1, 1);
	f = compiled(&p);
	for (uint32_t n = 0; n < 1100; n += n < 130 ? 1 : 61) {
		struct tf_rows r = random_rows(TF_CPU, n);
		uint64_t bits[20];

		for (uint32_t i = 0; i < n; i++)
			((struct tf_cpu *)(r.rows + (size_t)i * r.row_size))->h.pid = i % 3 == 1;
		keep(f, TF_CPU, &r, bits);
		for (uint32_t i = 0; i < (n + 63) / 64 * 64; i++)
			CHECK_EQ(bits[i / 64] >> (i % 64) & 1, i < n && i % 3 == 1);
		free_rows(&r);
	}
	tf_filter_unref(f);
}

/* 10,000 elements: numbers (scattered, and in ranges), and texts in every op. */
static void test_big_sets(void)
{
	for (unsigned wide = 0; wide < 2; wide++) {
		struct program p = begin(0, true);
		struct tf_rows r = random_rows(TF_CPU, 1000);
		uint64_t bits[16];
		struct tf_filter *f;

		put_test(&p, TF_T_RANGE, 0, TF_S_ROW, TF_CPU, 'u', offsetof(struct tf_header, uid), 4);
		put4(&p, 10000);
		for (uint64_t i = 0; i < 10000; i++) {
			put16(&p, (int64_t)(i * 7919));
			put16(&p, (int64_t)(i * 7919 + wide));
		}
		f = compiled(&p);
		for (uint32_t i = 0; i < 1000; i++)
			((struct tf_cpu *)(r.rows + (size_t)i * r.row_size))->h.uid = i % 2 ? i * 7919 : i * 7919 + 1;
		keep(f, TF_CPU, &r, bits);
		for (uint32_t i = 0; i < 1000; i++)
			CHECK_EQ(bits[i / 64] >> (i % 64) & 1, i % 2 || wide);
		CHECK(tf_filter_bytes(f) < 2u << 20);
		tf_filter_unref(f);
		free_rows(&r);
	}
	for (uint8_t op = TF_T_EQUAL; op <= TF_T_GLOB; op++) {
		struct program p = begin(0, true);
		struct tf_rows r = random_rows(TF_CPU, 64);
		uint64_t bits[1];
		struct tf_filter *f;

		put_test(&p, op, 0, TF_S_ROW, TF_CPU, 'S', offsetof(struct tf_header, comm), 16);
		put4(&p, 10000);
		for (unsigned i = 0; i < 10000; i++)
			put_text(&p, "name%u", i * 3);
		f = compiled(&p);
		for (unsigned i = 0; i < 64; i++) {
			char *comm = ((struct tf_cpu *)(r.rows + (size_t)i * r.row_size))->h.comm;

			memset(comm, 0, TF_COMM_LEN);
			snprintf(comm, TF_COMM_LEN, "name%u", 29000 + i);
		}
		keep(f, TF_CPU, &r, bits);
		for (unsigned i = 0; i < 64 && (op == TF_T_EQUAL || op == TF_T_GLOB); i++)
			CHECK_EQ(bits[0] >> i & 1, (29000 + i) % 3 == 0);
		CHECK(tf_filter_bytes(f) < 8u << 20);
		tf_filter_unref(f);
		free_rows(&r);
	}
}

static void test_nesting_is_bounded(void)
{
	for (unsigned deep = TF_FILTER_MAX_DEPTH - 1; deep < TF_FILTER_MAX_DEPTH + 2; deep++) {
		struct program p = begin(0, true);
		struct tf_filter *f;
		int rc;

		for (unsigned i = 0; i < deep; i++)
			put1(&p, TF_N_NOT);
		put_range(&p, TF_CPU, 0, 8, 'u', 0, 1);
		rc = tf_filter_compile(p.b, p.n, &f, NULL);
		CHECK_EQ(rc, deep > TF_FILTER_MAX_DEPTH ? -E2BIG : 0);
		if (!rc) {
			run_everywhere(f);
			tf_filter_unref(f);
		}
	}
}

static void *judge_often(void *filter)
{
	struct tf_filter *f = filter;

	for (unsigned i = 0; i < 50; i++)
		run_everywhere(f);
	tf_filter_unref(f);
	return NULL;
}

static void test_threads_share_a_filter(void)
{
	struct program p = begin(0, true);
	pthread_t t[2];
	struct tf_filter *f;

	put_test(&p, TF_T_REGEX, 0, TF_S_ROW, TF_CPU, 'S', offsetof(struct tf_header, comm), 16);
	put4(&p, 1);
	put_text(&p, "[a-c]%u+", 1u);
	f = compiled(&p);
	for (int i = 0; i < 2; i++)
		CHECK(!pthread_create(&t[i], NULL, judge_often, tf_filter_ref(f)));
	tf_filter_unref(f);
	for (int i = 0; i < 2; i++)
		CHECK(!pthread_join(t[i], NULL));
}

static void test_a_scratch_is_of_its_filter(void)
{
	struct program p = begin(0, true);
	struct tf_filter *f, *g;
	struct tf_filter_scratch *s;
	struct tf_rows r = random_rows(TF_CPU, 1);
	uint64_t bits[1] = {1};

	put1(&p, TF_N_TRUE);
	f = compiled(&p);
	g = compiled(&p);
	CHECK(!tf_filter_scratch_open(f, &s));
	CHECK(tf_filter_run(g, s, NULL, &r, TF_CPU, bits, NULL) == -EINVAL && tf_filter_run(f, NULL, NULL, &r, TF_CPU, bits, NULL) == -EINVAL);
	tf_filter_unref(f); /* the scratch keeps it */
	CHECK(!tf_filter_run(f, s, NULL, &r, TF_CPU, bits, NULL) && bits[0] == 1);
	tf_filter_scratch_close(s);
	tf_filter_unref(g);
	free_rows(&r);
}

int main(void)
{
	test_random_bytes();
	test_damaged_programs();
	test_every_count_of_rows();
	test_big_sets();
	test_nesting_is_bounded();
	test_threads_share_a_filter();
	test_a_scratch_is_of_its_filter();
	return 0;
}
