/* SPDX-License-Identifier: Apache-2.0 */
/* Facts at their bounds: entries, versions and bytes that go, dead ones first; parents in a circle; texts that lie outside of their area.
 * That answers are right is for tests/test_filter_differential.py. */
#include "tf_facts.h"

#include "ring_fixture.h"

static struct tf_batch *empty(uint32_t rows, uint32_t text)
{
	const struct tf_need need = {.rows = {[TF_PROCESS] = rows, [TF_META] = rows, [TF_CONTAINER] = rows},
				     .text = {[TF_PROCESS] = text, [TF_META] = text, [TF_CONTAINER] = text}};
	struct tf_batch *b;

	CHECK(!tf_batch_new(NULL, &need, &b));
	return b;
}

static struct tf_process process_of(enum tf_kind kind, uint32_t pid, uint32_t parent, uint64_t ts_ns)
{
	return (struct tf_process){
		.h = {.type = TF_PROCESS, .subtype = tf_kind_table[kind].subtype, .pid = pid, .tid = pid, .start_ns = pid, .ppid = parent, .ts_ns = ts_ns, .comm = "name"},
		.parent_start_ns = parent};
}

static void learn(struct tf_facts *f, const struct tf_process *row, const char *exe)
{
	struct tf_batch *b = empty(1, 4096);
	struct tf_process e = *row;

	e.exe = (struct tf_text){0, (uint32_t)strlen(exe), (uint32_t)strlen(exe)};
	CHECK(!tf_batch_append(b, TF_PROCESS, &e, exe, e.exe.len));
	tf_facts_learn(f, b);
	tf_batch_unref(b);
}

static void exec(struct tf_facts *f, uint32_t pid, uint64_t ts_ns, const char *exe)
{
	const struct tf_process e = process_of(TF_K_PROCESS_EXEC, pid, 0, ts_ns);

	learn(f, &e, exe);
}

/* What the process ran at a time, as a row of another domain asks; "" = not known. */
static const char *asked(const struct tf_facts *f, uint32_t pid, uint64_t ts_ns, enum tf_fact fact)
{
	static char answer[4096];
	struct tf_fact_text out[TF_FACT_DEPTH];
	const struct tf_rows none = {0};
	const struct tf_cpu row = {.h = {.type = TF_CPU, .pid = pid, .start_ns = pid, .ts_ns = ts_ns}};
	const uint32_t n = tf_facts_find(f, &none, TF_CPU, (const uint8_t *)&row, fact, out);

	snprintf(answer, sizeof(answer), "%.*s", n ? (int)out[n - 1].len : 0, n ? (const char *)out[n - 1].p : "");
	return answer;
}

static struct tf_facts_stats stats(const struct tf_facts *f)
{
	struct tf_facts_stats s;

	tf_facts_stats(f, &s);
	return s;
}

static void test_entries_are_bounded_and_the_dead_go_first(void)
{
	struct tf_facts *f;
	struct tf_process end = process_of(TF_K_PROCESS_EXIT, 3, 0, 20);

	CHECK(!tf_facts_open(&(struct tf_facts_opts){.processes = 4}, &f));
	for (uint32_t pid = 1; pid <= 4; pid++)
		exec(f, pid, 10, "/bin/x");
	learn(f, &end, "");
	CHECK(!strcmp(asked(f, 3, 30, TF_FACT_PROCESS_EXE), "/bin/x")); /* dead, and still known */
	exec(f, 5, 30, "/bin/y");
	CHECK(!*asked(f, 3, 30, TF_FACT_PROCESS_EXE) && *asked(f, 1, 30, TF_FACT_PROCESS_EXE));
	exec(f, 1, 40, "/bin/z"); /* told about again: the youngest now */
	exec(f, 6, 50, "/bin/y");
	CHECK(*asked(f, 1, 50, TF_FACT_PROCESS_EXE) && !*asked(f, 2, 50, TF_FACT_PROCESS_EXE));
	CHECK_EQ(stats(f).processes, 4);
	CHECK_EQ(stats(f).evicted_processes, 2);
	tf_facts_close(f);
}

static void test_versions_are_bounded(void)
{
	struct tf_facts *f;

	CHECK(!tf_facts_open(NULL, &f));
	for (uint32_t i = 20; i > 0; i--) { /* the newest first: each but the first eight is the oldest, and goes */
		char exe[16];

		snprintf(exe, sizeof(exe), "/bin/%u", i);
		exec(f, 1, i * 10, exe);
	}
	CHECK(!strcmp(asked(f, 1, 205, TF_FACT_PROCESS_EXE), "/bin/20") && !strcmp(asked(f, 1, 139, TF_FACT_PROCESS_EXE), "/bin/13"));
	CHECK(!*asked(f, 1, 129, TF_FACT_PROCESS_EXE));
	exec(f, 1, 300, "/bin/30");
	CHECK(!*asked(f, 1, 139, TF_FACT_PROCESS_EXE) && !strcmp(asked(f, 1, 999, TF_FACT_PROCESS_EXE), "/bin/30"));
	CHECK_EQ(stats(f).evicted_versions, 13);
	tf_facts_close(f);
}

static void test_bytes_are_bounded(void)
{
	struct tf_facts *f;
	char exe[1001] = "";

	memset(exe, 'x', 1000);
	CHECK(!tf_facts_open(&(struct tf_facts_opts){.text_bytes = 10000}, &f));
	for (uint32_t pid = 1; pid < 1000; pid++) {
		exe[0] = (char)('a' + pid % 26);
		exe[1] = (char)('a' + pid / 26);
		exec(f, pid, pid, exe);
		CHECK(stats(f).text_bytes <= 10000);
	}
	CHECK(stats(f).processes < 12 && *asked(f, 999, 999, TF_FACT_PROCESS_EXE));
	for (uint32_t pid = 1; pid < 1000; pid++) /* one text of many is kept once */
		exec(f, pid, pid, "/bin/same");
	CHECK(stats(f).processes > 900);
	tf_facts_close(f);
}

static void test_parents_in_a_circle(void)
{
	struct tf_facts *f;
	uint32_t pids[TF_FACT_DEPTH + 1];
	const struct tf_cpu row = {.h = {.pid = 1, .start_ns = 1, .ts_ns = 100}};

	CHECK(!tf_facts_open(NULL, &f));
	for (uint32_t pid = 1; pid <= 3; pid++) {
		const struct tf_process e = process_of(TF_K_PROCESS_FORK, pid, pid % 3 + 1, 10);

		learn(f, &e, "");
	}
	CHECK_EQ(tf_facts_line(f, (const uint8_t *)&row, pids), TF_FACT_DEPTH + 1);
	CHECK(pids[0] == 1 && pids[1] == 2 && pids[3] == 1);
	CHECK(!*asked(f, 1, 100, TF_FACT_PROCESS_EXE)); /* inherited for ever from each other: nobody has executed */
	CHECK(!strcmp(asked(f, 1, 100, TF_FACT_ANCESTOR_COMM), "name"));
	tf_facts_close(f);
}

/* Rows whose texts lie, of every domain: read as empty, never past the area. */
static void test_any_rows(void)
{
	struct tf_facts *f;

	CHECK(!tf_facts_open(&(struct tf_facts_opts){.processes = 50, .cgroups = 20, .text_bytes = 5000}, &f));
	for (uint64_t round = 0; round < 300 * scale(30); round++) {
		struct tf_batch *b = empty(20, 64);

		for (uint8_t d = 0; d < TF_TYPE_MAX; d++) {
			struct tf_rows *r = &b->dom[d];

			r->n = r->cap;
			r->text_len = r->text_cap;
			for (size_t i = 0; i < (size_t)r->n * r->row_size; i++)
				r->rows[i] = (uint8_t)(rng_below(8) ? rng_below(9) : rng());
			for (uint32_t i = 0; i < r->text_len; i++)
				r->text[i] = (uint8_t)rng();
		}
		tf_facts_learn(f, b);
		for (uint32_t i = 0; i < 20; i++)
			for (enum tf_fact fact = 0; fact < TF_FACT_COUNT; fact++) {
				struct tf_fact_text out[TF_FACT_DEPTH];
				uint32_t pids[TF_FACT_DEPTH + 1];
				const uint8_t *row = b->dom[TF_PROCESS].rows + (size_t)i * b->dom[TF_PROCESS].row_size;
				const uint32_t n = tf_facts_find(f, &b->dom[TF_PROCESS], TF_PROCESS, row, fact, out);
				uint32_t sum = tf_facts_line(f, row, pids);

				for (uint32_t k = 0; k < n; k++)
					for (uint32_t at = 0; at < out[k].len; at++)
						sum += out[k].p[at]; /* a sanitizer sees what is not there */
				CHECK(n <= TF_FACT_DEPTH && sum < UINT32_MAX);
			}
		CHECK(stats(f).processes <= 50 && stats(f).cgroups <= 20 && stats(f).text_bytes <= 5000);
		tf_batch_unref(b);
	}
	tf_facts_close(f);
}

/* A process that gives itself name after name is still known by what it runs. */
static void test_names_push_names_out(void)
{
	struct tf_facts *f;

	CHECK(!tf_facts_open(NULL, &f));
	exec(f, 5, 10, "/bin/one");
	for (uint64_t i = 0; i < 20; i++) {
		struct tf_process e = process_of(TF_K_PROCESS_RENAME, 5, 0, 20 + i);

		learn(f, &e, "");
	}
	CHECK(!strcmp(asked(f, 5, 100, TF_FACT_PROCESS_EXE), "/bin/one"));
	exec(f, 5, 60, "/bin/two");
	CHECK(!strcmp(asked(f, 5, 100, TF_FACT_PROCESS_EXE), "/bin/two") && !strcmp(asked(f, 5, 59, TF_FACT_PROCESS_EXE), "/bin/one"));
	for (uint64_t i = 0; i < 20; i++)
		exec(f, 5, 200 + i, "/bin/more"); /* of executions the oldest goes */
	CHECK(!strcmp(asked(f, 5, 300, TF_FACT_PROCESS_EXE), "/bin/more") && !strcmp(asked(f, 5, 100, TF_FACT_PROCESS_EXE), ""));
	tf_facts_close(f);
}

int main(void)
{
	test_names_push_names_out();
	test_entries_are_bounded_and_the_dead_go_first();
	test_versions_are_bounded();
	test_bytes_are_bounded();
	test_parents_in_a_circle();
	test_any_rows();
	tf_facts_close(NULL);
	return 0;
}
