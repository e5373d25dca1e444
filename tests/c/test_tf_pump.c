/* SPDX-License-Identifier: Apache-2.0 */
/* tf_pump over in-memory rings: every record once and in order, exact identities, back pressure, EPOCH and RULES rows, sleeping. */
#include "pump_fixture.h"

/* Sends n rows without loss: what the ring refuses is sent again later, with new numbers. Returns refusals. */
static uint64_t send_all(struct rig *g, uint64_t n)
{
	struct tf_cpu row = {.h = {.type = TF_CPU, .weight = 1}};
	uint64_t sent = 0, refused = 0;

	while (sent < n) {
		uint64_t got = tf_memsource_fill(g->m, 0, TF_K_CPU_USAGE, &row, sizeof(row), n - sent, true);

		sent += got;
		if (sent < n) {
			refused++;
			sleep_ms(1);
		}
	}
	return refused;
}

static void test_full_speed(uint64_t n)
{
	struct rig g;
	struct seen x = {.next_seq = 1, .gaps_allowed = true};
	struct tf_pump_stats s;
	pthread_t reader;

	open_rig(&g, 1, 8 * MIB, (struct tf_pump_opts){0}, 64 * MIB, 32 * MIB, TF_BLOCK);
	x.queue = g.user;
	CHECK(!tf_pump_start(g.pump) && tf_pump_start(g.pump) == -EALREADY);
	CHECK(!pthread_create(&reader, NULL, consume, &x));
	uint64_t refused = send_all(&g, n);
	CHECK(!tf_pump_stop(g.pump, 10000) && !tf_pump_stop(g.pump, 0));
	pthread_join(reader, NULL);
	tf_pump_stats(g.pump, &s);
	CHECK_EQ(x.rows, n);
	CHECK_EQ(x.wrong, 0);
	CHECK_EQ(x.next_seq - 1, n + refused);
	CHECK_EQ(check_ledger(&g, TF_L_ROUTED), n);
	CHECK_EQ(check_ledger(&g, TF_L_K_RING_FULL), refused);
	CHECK(s.in_ring == 0 && s.bad == 0 && s.late == 0 && s.source_status == 1);
	CHECK_EQ(s.user.handed, n + s.epochs);
	CHECK_EQ(x.epochs, s.batches);
	CHECK_EQ(x.epoch_losses[TF_L_K_RING_FULL], refused);
	CHECK_EQ(x.batch_losses[TF_L_K_RING_FULL], refused);
	CHECK_EQ(x.batch_losses[TF_L_SEEN], n + refused);
	CHECK(x.batch_losses[TF_L_SUBMITTED] == n && x.batch_losses[TF_L_CONSUMED] == n && x.batch_losses[TF_L_ROUTED] == n);
	printf("full speed: %llu rows, %llu epochs, pump %.1f ns a row\n", (unsigned long long)n, (unsigned long long)s.epochs,
	       (double)s.cpu_ns / (double)n);
	close_rig(&g);
}

/* Nobody reads: the policy decides what is lost, and where it is counted. */
static void test_back_pressure(enum tf_overflow policy, size_t pool, size_t queue)
{
	struct tf_cpu row = {.h = {.type = TF_CPU, .weight = 1}};
	struct tf_pump_opts o = {.flush_us = 1000, .settle_us = 100, .bytes_per_pass = 65536};
	struct rig g;
	struct seen x = {.next_seq = 1, .gaps_allowed = true};
	struct tf_pump_stats s;
	struct tf_pool_stats ps;
	uint64_t sent = 0, tried = 200000;

	open_rig(&g, 1, 256 * 1024, o, pool, queue, policy);
	CHECK(!tf_pump_start(g.pump));
	for (uint64_t i = 0; i < tried; i += 1000) {
		sent += tf_memsource_fill(g.m, 0, TF_K_CPU_USAGE, &row, sizeof(row), 1000, false);
		if (i % 20000 == 0)
			sleep_ms(3);
	}
	sleep_ms(20);
	x.queue = g.user;
	CHECK(!tf_pump_stop(g.pump, 20));
	consume(&x);
	tf_pump_stats(g.pump, &s);
	tf_pool_stats(g.pool, &ps);
	CHECK_EQ(check_ledger(&g, TF_L_SEEN), tried);
	CHECK_EQ(check_ledger(&g, TF_L_SUBMITTED), sent);
	CHECK_EQ(check_ledger(&g, TF_L_K_RING_FULL), tried - sent);
	CHECK_EQ(x.wrong, 0);
	CHECK(ps.peak_bytes <= pool);
	if (policy == TF_BLOCK) {
		CHECK(s.no_memory > 0 && s.user.overflow == 0 && sent < tried);
		CHECK_EQ(x.rows + s.in_ring, sent);
	} else {
		CHECK(s.user.overflow > 0 && s.in_ring == 0);
		CHECK_EQ(x.rows + s.user.overflow + x.epochs, sent + s.epochs);
	}
	close_rig(&g);
}

static void test_idle(void)
{
	struct tf_cpu row = {.h = {.type = TF_CPU, .weight = 1}};
	struct rig g;
	struct seen x = {.next_seq = 1};
	struct tf_pump_stats a, b;

	open_rig(&g, 2, MIB, (struct tf_pump_opts){.idle_epoch_ms = 50}, 8 * MIB, 4 * MIB, TF_DROP_OLDEST);
	CHECK(!tf_pump_start(g.pump));
	sleep_ms(400);
	tf_pump_stats(g.pump, &a);
	CHECK(a.epochs >= 3 && a.epochs <= 9);
	CHECK(a.passes <= 80);
	/* 20,000 records a second: no wake-up per record, at most 1 % of a core */
	for (int i = 0; i < 1000; i++) {
		CHECK_EQ(tf_memsource_fill(g.m, 0, TF_K_CPU_USAGE, &row, sizeof(row), 20, true), 20);
		sleep_ms(1);
	}
	tf_pump_stats(g.pump, &b);
	printf("20,000 records/s: %llu wakeups, %.2f ms CPU in about a second\n", (unsigned long long)(b.wakeups - a.wakeups),
	       (double)(b.cpu_ns - a.cpu_ns) / 1e6);
	CHECK(b.wakeups - a.wakeups < 400);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	CHECK(b.cpu_ns - a.cpu_ns < 20000000);
#endif
	CHECK(!tf_pump_note_rules(g.pump, 7, "pid == 1", 8));
	CHECK(!tf_pump_stop(g.pump, 1000));
	x.queue = g.user;
	consume(&x);
	CHECK(x.rows == 20000 && x.wrong == 0);
	CHECK_EQ(check_ledger(&g, TF_L_CONSUMED), 20000);
	close_rig(&g);
}

static void test_rules_row(void)
{
	struct rig g;
	bool ended;
	unsigned found = 0;

	open_rig(&g, 1, MIB, (struct tf_pump_opts){0}, MIB, MIB, TF_BLOCK);
	CHECK(!tf_pump_note_rules(g.pump, 70000, "first", 5) && !tf_pump_note_rules(g.pump, 70001, "", 0));
	CHECK(!tf_pump_start(g.pump) && !tf_pump_stop(g.pump, 100));
	for (struct tf_batch *b; (b = tf_queue_pop(g.user, 0, &ended)); tf_batch_unref(b)) {
		const struct tf_meta *m = (const struct tf_meta *)(const void *)b->dom[TF_META].rows;

		if (b->dom[TF_META].n != 3)
			continue;
		found++;
		CHECK(m[0].h.subtype == 1 && m[1].h.subtype == 1 && m[2].h.subtype == 0);
		CHECK(m[0].rules == 70000 && m[0].h.gen == (uint16_t)70000 && m[0].data.len == 5);
		CHECK(!memcmp(b->dom[TF_META].text + m[0].data.offset, "first", 5));
		CHECK(m[1].rules == 70001 && m[1].data.len == 0 && m[2].count == 0);
	}
	CHECK(ended && found == 1);
	close_rig(&g);
}

static void test_bad_and_busy(void)
{
	struct rig g;
	struct seen x = {.next_seq = 1, .gaps_allowed = true};
	struct tf_pump_stats s;
	struct tf_cpu row = {.h = {.type = TF_CPU, .weight = 1}};
	union any_row wrong;
	uint64_t t;

	open_rig(&g, 2, MIB, (struct tf_pump_opts){0}, 8 * MIB, 4 * MIB, TF_BLOCK);
	row_of(&wrong, TF_K_PROCESS_EXEC, 1, 1, 1);
	CHECK(!tf_memsource_raw(g.m, 1, TF_BULK, &wrong, sizeof(wrong.process)));  /* wrong lane */
	CHECK(!tf_memsource_raw(g.m, 1, TF_CRITICAL, &wrong, 79));                 /* shorter than a header */
	CHECK(!tf_memsource_raw(g.m, 1, TF_CRITICAL, &wrong, 0));
	CHECK_EQ(tf_memsource_fill(g.m, 1, TF_K_CPU_USAGE, &row, sizeof(row), 10, true), 10);
	void *busy = tf_memring_reserve(tf_memsource_ring(g.m, 1, TF_BULK), 120);
	CHECK(busy && tf_memsource_fill(g.m, 1, TF_K_CPU_USAGE, &row, sizeof(row), 5, true) == 5);
	CHECK(!tf_pump_start(g.pump));
	sleep_ms(50);
	tf_pump_stats(g.pump, &s);
	CHECK(s.bad == 3 && s.in_ring == 5 && s.wakeups < 200);
	t = tf_boot_ns();
	CHECK(!tf_pump_stop(g.pump, 5000));
	t = (tf_boot_ns() - t) / 1000000;
	CHECK(t >= 45 && t < 1500);
	x.queue = g.user;
	consume(&x);
	CHECK_EQ(x.rows, 10);
	CHECK(x.epoch_losses[TF_L_U_BAD] == 3 && x.batch_losses[TF_L_U_BAD] == 3);
	uint64_t *cells = read_ledger(&g);
	CHECK_EQ(cells[(TF_KIND_MAX + TF_K_PROCESS_EXEC) * TF_L_COUNT + TF_L_U_BAD], 3); /* kind 0 is exec: the unknown count there */
	free(cells);
	tf_pump_stats(g.pump, &s);
	CHECK(s.in_ring == 5 && s.bad == 3);
	close_rig(&g);
}

static int log_calls;

static void count_log(void *ctx, int level, const char *text)
{
	(void)ctx;
	(void)level;
	log_calls++;
	puts(text);
}

/* A flood of meta records that grows behind what a scan looks at must not take the room of the EPOCH row, nor of its tail. */
static void test_meta_flood(void)
{
	struct tf_cpu load = {.h = {.type = TF_CPU, .subtype = 1, .weight = 1}};
	struct tf_pump_opts o = {.bytes_per_pass = 8 * MIB, .rows_per_domain = 100000, .log = count_log};
	struct rig g;
	struct tf_pump_stats s;
	union any_row meta;

	open_rig(&g, 1, 32 * MIB, o, 64 * MIB, 32 * MIB, TF_BLOCK);
	row_of(&meta, TF_K_META_SNAPSHOT_PROCESS, 0, 1, 1);
	memset(meta.bytes + 184, 'x', 100);
	meta.meta.path = (struct tf_text){0, 100, 100};
	/* few at first, so that the estimate is too small, then nothing else, and without texts, so that only rows are short */
	CHECK_EQ(tf_memsource_fill(g.m, 0, TF_K_META_SNAPSHOT_PROCESS, &meta, 284, 10, true), 10);
	CHECK_EQ(tf_memsource_fill(g.m, 0, TF_K_CPU_LOAD, &load, sizeof(load), 2000, true), 2000);
	meta.meta.path = (struct tf_text){0};
	CHECK_EQ(tf_memsource_fill(g.m, 0, TF_K_META_SNAPSHOT_PROCESS, &meta, 184, 4000, true), 4000);
	CHECK(!tf_pump_note_rules(g.pump, 3, "a rule", 6));
	CHECK(!tf_pump_start(g.pump) && !tf_pump_stop(g.pump, 5000));
	bool ended = false;
	uint64_t rules = 0, snapshots = 0;
	while (!ended) {
		struct tf_batch *b = tf_queue_pop(g.user, 0, &ended);

		if (!b)
			continue;
		const struct tf_meta *m = (const struct tf_meta *)(const void *)b->dom[TF_META].rows;
		uint32_t n = b->dom[TF_META].n, own = 0;

		for (uint32_t i = 0; i < n; i++) {
			snapshots += m[i].h.subtype == tf_kind_table[TF_K_META_SNAPSHOT_PROCESS].subtype;
			own += m[i].h.subtype <= 1;
			rules += m[i].h.subtype == 1;
		}
		CHECK(n && m[n - 1].h.subtype == 0);
		CHECK_EQ(m[n - 1].count, b->total - own);
		tf_batch_unref(b);
	}
	tf_pump_stats(g.pump, &s);
	CHECK(snapshots == 4010 && rules == 1 && log_calls == 0 && s.bad == 0 && s.in_ring == 0);
	CHECK_EQ(check_ledger(&g, TF_L_CONSUMED), 6010);
	close_rig(&g);
}

/* ---- many CPUs of figures at once: stats while running are whole ---- */

static void *ask_stats(void *arg)
{
	struct rig *g = arg;
	struct tf_pump_stats s = {0};
	uint64_t before = 0;

	for (int i = 0; i < 300 && s.source_status == 0; i++) {
		uint64_t *cells = read_ledger(g), routed = 0;

		for (size_t c = 0; c < TF_KIND_MAX; c++) {
			CHECK_EQ(cells[c * TF_L_COUNT + TF_L_CONSUMED], cells[c * TF_L_COUNT + TF_L_ROUTED]);
			routed += cells[c * TF_L_COUNT + TF_L_ROUTED];
		}
		free(cells);
		CHECK(routed >= before);
		before = routed;
		tf_pump_stats(g->pump, &s);
		CHECK_EQ(s.user.routed, s.user.handed + s.user.queued + s.user.overflow);
	}
	return NULL;
}

static void test_attach_while_running(void)
{
	struct rig g;
	pthread_t asker, reader;
	struct tf_pump_stats s;
	struct tf_queue *none;
	uint64_t refused = 0, handed = 0, rows = 0;

	open_rig(&g, 1, MIB, (struct tf_pump_opts){0}, 16 * MIB, 0, TF_BLOCK);
	CHECK(!tf_pump_start(g.pump) && !pthread_create(&asker, NULL, ask_stats, &g));
	for (int round = 0; round < 10; round++) {
		struct seen x = {.next_seq = 1, .gaps_allowed = true};

		CHECK(!tf_pump_attach_user(g.pump, 4 * MIB, TF_BLOCK, &x.queue));
		CHECK(tf_pump_attach_user(g.pump, 4 * MIB, TF_BLOCK, &none) == -EBUSY);
		CHECK(!pthread_create(&reader, NULL, consume, &x));
		refused += send_all(&g, 20000);
		tf_pump_detach_user(g.pump);
		pthread_join(reader, NULL);
		CHECK_EQ(x.wrong, 0);
		rows += x.rows;
		handed += x.rows + x.epochs;
	}
	CHECK(!tf_pump_stop(g.pump, 5000));
	pthread_join(asker, NULL);
	tf_pump_stats(g.pump, &s);
	CHECK(rows > 0 && s.user.handed == handed && s.user.queued == 0);
	CHECK_EQ(check_ledger(&g, TF_L_ROUTED), 200000);
	CHECK_EQ(check_ledger(&g, TF_L_K_RING_FULL), refused);
	close_rig(&g);
}

int main(void)
{
	test_rules_row();
	test_bad_and_busy();
	test_idle();
	test_back_pressure(TF_BLOCK, 2 * MIB, MIB);             /* the queue is full */
	test_back_pressure(TF_BLOCK, MIB, 64 * MIB);            /* the pool is */
	test_back_pressure(TF_DROP_OLDEST, 2 * MIB, MIB);
	test_back_pressure(TF_DROP_OLDEST, MIB, 64 * MIB);
	test_back_pressure(TF_DROP_NEWEST, 2 * MIB, MIB);
	test_meta_flood();
	test_attach_while_running();
	test_full_speed(10000000 * scale(10));
	puts("ok");
	return 0;
}
