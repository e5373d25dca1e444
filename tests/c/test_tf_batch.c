/* SPDX-License-Identifier: Apache-2.0 */
/* Batches and their pool: limits to the byte, reuse, carving, append, select, concat, order. */
#include "ring_fixture.h"

#define KIB 1024u

static struct tf_batch *batch_of(struct tf_pool *p, uint32_t cpu_rows)
{
	struct tf_need need = {.rows = {[TF_CPU] = cpu_rows}};
	struct tf_batch *b;
	int rc = tf_batch_new(p, &need, &b);

	CHECK(!rc || rc == -ENOMEM);
	return rc ? NULL : b;
}

static struct tf_pool_stats stats(struct tf_pool *p)
{
	struct tf_pool_stats s;

	tf_pool_stats(p, &s);
	return s;
}

static void test_limits(void)
{
	struct tf_pool *p;
	struct tf_batch *b[4], *big;

	CHECK(tf_pool_open(0, 100, &p) == -EINVAL && tf_pool_open(64 * KIB, 32 * KIB, &p) == -EINVAL);
	CHECK(!tf_pool_open(64 * KIB, 96 * KIB, &p));
	for (int i = 0; i < 4; i++)
		CHECK((b[i] = batch_of(p, 100)) && b[i]->arena_size == 16 * KIB);
	CHECK(stats(p).in_use_bytes == 64 * KIB && !batch_of(p, 1) && stats(p).refused == 1);
	/* what Python holds counts on the total only */
	tf_batch_detach(b[0]);
	tf_batch_detach(b[0]);
	tf_batch_detach(b[1]);
	CHECK(stats(p).in_use_bytes == 32 * KIB && stats(p).detached_bytes == 32 * KIB);
	struct tf_batch *c = batch_of(p, 100), *d = batch_of(p, 100);
	CHECK(c && d && !batch_of(p, 100)); /* 96 KiB in all */
	CHECK(stats(p).peak_bytes == 96 * KIB);
	/* a freed one is kept and comes back, the last freed first */
	uint8_t *hot = b[2]->arena;
	tf_batch_unref(b[3]);
	tf_batch_unref(b[2]);
	CHECK(stats(p).idle_bytes == 32 * KIB && stats(p).in_use_bytes == 32 * KIB);
	CHECK((b[2] = batch_of(p, 50)) && b[2]->arena == hot);
	/* idle arenas of another size make room */
	tf_batch_unref(b[2]);
	tf_batch_unref(c);
	tf_batch_unref(d);
	CHECK(stats(p).in_use_bytes == 0 && stats(p).idle_bytes == 64 * KIB);
	CHECK((big = batch_of(p, 64 * KIB / 120)) && big->arena_size == 64 * KIB);
	CHECK(stats(p).idle_bytes == 0 && stats(p).in_use_bytes == 64 * KIB && !batch_of(p, 1000));
	tf_pool_close(p); /* its batches live on */
	memset(big->dom[TF_CPU].rows, 1, 500 * 120);
	tf_batch_ref(big);
	tf_batch_unref(big);
	tf_batch_unref(big);
	tf_batch_unref(b[0]);
	tf_batch_unref(b[1]);
}

static void test_size_classes(void)
{
	struct tf_pool *p;
	size_t before = 0;

	CHECK(!tf_pool_open(1u << 30, 1u << 30, &p));
	for (uint32_t rows = 1; rows < 200000; rows += 1 + rows / 3) {
		struct tf_batch *b = batch_of(p, rows);
		size_t need = ((size_t)rows * 120 + 63) / 64 * 64;

		CHECK(b && b->arena_size >= need && b->arena_size >= before);
		CHECK(b->arena_size <= (need < 16 * KIB ? 16 * KIB : need * 2)); /* a quarter too large at most, or an idle one up to twice */
		before = b->arena_size / 2;
		tf_batch_unref(b);
	}
	tf_pool_close(p);
}

static void test_carving(void)
{
	struct tf_need none = {0}, need = {.rows = {[TF_PROCESS] = 3, [TF_CPU] = 1},
					   .text = {[TF_PROCESS] = 100}}, odd = {.rows = {[TF_KPROBE] = 1}};
	struct tf_batch *b;
	struct tf_process row = {.h = {.type = TF_PROCESS}, .exe = {2, 3, 3}, .args = {0, 5, 9}};
	struct tf_cpu cpu = {.h = {.type = TF_CPU}};

	CHECK(!tf_batch_new(NULL, &none, &b) && b->total == 0 && b->arena_size == 0 && b->dom[TF_CPU].row_size == 120);
	CHECK(tf_batch_append(b, TF_CPU, &cpu, NULL, 0) == -ENOSPC);
	tf_batch_detach(b);
	tf_batch_unref(b);
	tf_batch_unref(NULL);
	CHECK(tf_batch_new(NULL, &odd, &b) == -EINVAL);
	CHECK(!tf_batch_new(NULL, &need, &b));
	for (int d = 0; d < TF_TYPE_MAX; d++)
		CHECK((uintptr_t)b->dom[d].rows % 64 == 0 && b->dom[d].cap == need.rows[d] && b->dom[d].text_cap == need.text[d]);
	CHECK(!tf_batch_append(b, TF_PROCESS, &row, "abcde", 5) && !tf_batch_append(b, TF_PROCESS, &row, "ABCDE", 5));
	const struct tf_process *p = (const struct tf_process *)(const void *)b->dom[TF_PROCESS].rows;
	CHECK(p[0].exe.offset == 0 && p[0].args.offset == 3 && p[1].exe.offset == 8 && p[1].args.offset == 11 && p[1].args.full_len == 9);
	CHECK(p[0].cwd.offset == 0 && p[0].cwd.len == 0);
	CHECK(b->dom[TF_PROCESS].text_len == 16 && !memcmp(b->dom[TF_PROCESS].text, "cdeabcdeCDEABCDE", 16));
	CHECK(tf_batch_append(b, TF_PROCESS, &row, "abc", 3) == -EINVAL); /* args reach past it */
	row.exe = (struct tf_text){UINT32_MAX, 2, 2};
	CHECK(tf_batch_append(b, TF_PROCESS, &row, "abcde", 5) == -EINVAL);
	row.exe = (struct tf_text){0, 90, 90};
	static const char long_text[90];
	CHECK(tf_batch_append(b, TF_PROCESS, &row, long_text, 90) == -ENOSPC);
	CHECK(!tf_batch_append(b, TF_CPU, &cpu, NULL, 0) && tf_batch_append(b, TF_CPU, &cpu, NULL, 0) == -ENOSPC);
	CHECK(tf_batch_append(b, 99, &cpu, NULL, 0) == -EINVAL && b->total == 3);
	tf_batch_unref(b);
}

/* n process rows with texts "<tag>i" and n cpu rows. */
static struct tf_batch *sample(unsigned tag, uint32_t n)
{
	struct tf_need need = {.rows = {[TF_PROCESS] = n, [TF_CPU] = n}, .text = {[TF_PROCESS] = n * 16}};
	struct tf_batch *b;

	CHECK(!tf_batch_new(NULL, &need, &b));
	for (uint32_t i = 0; i < n; i++) {
		char text[16];
		uint32_t len = (uint32_t)snprintf(text, sizeof(text), "%u-%u", tag, i);
		struct tf_process p = {.h = {.type = TF_PROCESS, .pid = i}, .cwd = {0, len, len}};
		struct tf_cpu c = {.h = {.type = TF_CPU, .pid = i}};

		CHECK(!tf_batch_append(b, TF_PROCESS, &p, text, len) && !tf_batch_append(b, TF_CPU, &c, NULL, 0));
	}
	b->epoch = tag;
	b->loss[TF_L_K_RING_FULL] = tag;
	return b;
}

static void check_text(const struct tf_batch *b, uint32_t row, unsigned tag, unsigned i)
{
	const struct tf_process *p = (const struct tf_process *)(const void *)b->dom[TF_PROCESS].rows + row;
	char want[16];
	int len = snprintf(want, sizeof(want), "%u-%u", tag, i);

	CHECK(p->h.pid == i && p->cwd.len == (uint32_t)len && !memcmp(b->dom[TF_PROCESS].text + p->cwd.offset, want, (size_t)len));
}

static void test_select_and_concat(void)
{
	uint64_t third[4] = {0}, none[4] = {0};
	const uint64_t *mask[TF_TYPE_MAX] = {[TF_PROCESS] = third, [TF_CPU] = none};
	struct tf_batch *a = sample(1, 200), *b = sample(2, 50), *out, *both[2] = {a, b};

	for (uint32_t i = 0; i < 200; i += 3)
		third[i / 64] |= 1ull << (i % 64);
	CHECK(!tf_batch_select(a, mask, &out) && out->total == 67 && out->dom[TF_CPU].n == 0 && out->epoch == 1 &&
	      out->loss[TF_L_K_RING_FULL] == 1);
	for (uint32_t i = 0; i < 67; i++)
		check_text(out, i, 1, i * 3);
	CHECK(out->dom[TF_PROCESS].text_len == out->dom[TF_PROCESS].text_cap && out->pool == NULL);
	tf_batch_unref(out);
	CHECK(!tf_batch_select(a, NULL, &out) && out->total == 400);
	tf_batch_unref(a); /* the copy stands alone */
	check_text(out, 199, 1, 199);
	both[0] = out;
	CHECK(!tf_batch_concat(both, 2, &a) && a->total == 500 && a->epoch == 2 && a->loss[TF_L_K_RING_FULL] == 3);
	check_text(a, 5, 1, 5);
	check_text(a, 249, 2, 49);
	tf_batch_unref(a);
	((struct tf_process *)(void *)b->dom[TF_PROCESS].rows)[3].cwd.offset = 1u << 30; /* as from a damaged file */
	CHECK(tf_batch_concat(both, 2, &a) == -EBADMSG && tf_batch_select(b, NULL, &a) == -EBADMSG);
	tf_batch_unref(out);
	tf_batch_unref(b);
	CHECK(!tf_batch_concat(NULL, 0, &a) && a->total == 0);
	tf_batch_unref(a);
}

/* Random bits, with whole runs among them, against what a row by row walk keeps; bits past the last row are set and must not count. */
static void test_keep(uint32_t n)
{
	for (unsigned way = 0; way < 6; way++) {
		struct tf_batch *b = sample(7, n);
		uint64_t bits[64], run = 0;
		uint32_t want = 0;

		CHECK(n < 64 * 64);
		memset(bits, way == 1 ? 0 : 0xff, sizeof(bits));
		for (uint32_t i = 0; way >= 2 && i < n; i++) {
			if (way < 4 || !rng_below(100)) /* each row for itself, or runs of a hundred */
				run = way == 3 ? !rng_below(50) : rng_below(2);
			bits[i / 64] = (bits[i / 64] & ~(1ull << i % 64)) | run << i % 64;
		}
		for (uint32_t i = 0; i < n; i++)
			want += bits[i / 64] >> (i % 64) & 1;
		CHECK_EQ(tf_batch_keep(b, TF_PROCESS, bits), want);
		CHECK(b->dom[TF_PROCESS].n == want && b->dom[TF_CPU].n == n && b->total == n + want);
		for (uint32_t i = 0, k = 0; i < n; i++) {
			if (!(bits[i / 64] >> (i % 64) & 1))
				continue;
			CHECK(((const struct tf_process *)(const void *)b->dom[TF_PROCESS].rows)[k].h.pid == i);
			check_text(b, k++, 7, i);
		}
		tf_batch_unref(b);
	}
}

static const struct tf_header *row_at(const struct tf_batch *b, uint8_t d, uint32_t i)
{
	return (const struct tf_header *)(const void *)(b->dom[d].rows + (size_t)i * b->dom[d].row_size);
}

static bool not_after(const struct tf_header *a, const struct tf_header *b)
{
	unsigned la = tf_kind_table[tf_kind_of(a->type, a->subtype)].lane, lb = tf_kind_table[tf_kind_of(b->type, b->subtype)].lane;

	if (a->ts_ns != b->ts_ns)
		return a->ts_ns < b->ts_ns;
	if (a->cpu != b->cpu)
		return a->cpu < b->cpu;
	return la != lb ? la < lb : a->seq <= b->seq;
}

static void test_order(uint32_t n)
{
	static const unsigned kinds[] = {TF_K_PROCESS_EXEC, TF_K_PROCESS_SIGNAL, TF_K_CPU_USAGE, TF_K_CPU_LOAD, TF_K_META_EPOCH};
	struct tf_need need = {.rows = {[TF_PROCESS] = n, [TF_CPU] = n, [TF_META] = n}};
	struct tf_batch *b;
	uint8_t *domain = malloc(n + 1), *seen = calloc(TF_TYPE_MAX, n + 1);
	uint32_t *row = malloc((n + 1) * sizeof(*row));

	CHECK(domain && seen && row && !tf_batch_new(NULL, &need, &b));
	for (uint32_t i = 0; i < n; i++) {
		union any_row r;

		row_of(&r, kinds[rng_below(5)], rng_below(3), rng_below(2) ? i / 4 : rng_below(n), rng_below(5));
		CHECK(!tf_batch_append(b, r.h.type, &r, NULL, 0));
	}
	tf_batch_order(b, domain, row);
	for (uint32_t i = 0; i < n; i++) {
		CHECK(row[i] < b->dom[domain[i]].n && !seen[domain[i] * n + row[i]]++);
		CHECK(!i || not_after(row_at(b, domain[i - 1], row[i - 1]), row_at(b, domain[i], row[i])));
	}
	tf_batch_unref(b);
	free(domain);
	free(seen);
	free(row);
}

static void test_base(void)
{
	CHECK_EQ(tf_crc32c(0, "123456789", 9), 0xe3069283); /* the check value of CRC-32C */
	CHECK_EQ(tf_crc32c(tf_crc32c(0, "1234", 4), "56789", 5), 0xe3069283);
	CHECK_EQ(tf_crc32c(0, "", 0), 0);
	CHECK(tf_kind_of(TF_PROCESS, 6) == TF_K_PROCESS_RENAME && tf_kind_of(TF_PROCESS, 200) == -1 && tf_kind_of(200, 0) == -1);
	for (unsigned k = 0; k < TF_KIND_COUNT; k++)
		CHECK_EQ(tf_kind_of(tf_kind_table[k].type, tf_kind_table[k].subtype), k);
}

int main(void)
{
	test_base();
	test_limits();
	test_size_classes();
	test_carving();
	test_select_and_concat();
	for (uint32_t n = 0; n < 3000; n = n * 2 + 1) {
		test_order(n);
		test_keep(n);
		test_keep(n + 1);
	}
	puts("ok");
	return 0;
}
