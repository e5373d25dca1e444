/* SPDX-License-Identifier: Apache-2.0 */
/* tf_object: the ledger against the load generator's own count: both CPUs, both lanes, every cause, forced drops. 77 = not permitted. */
#include "object_fixture.h"

#include <pthread.h>

static struct tf_object *obj;
static struct tf_source *src;

/* What the reader found, per CPU and lane; only the reader writes. */
static struct {
	uint64_t records, last_seq, gaps;
} got[64][TF_LANES];
static uint64_t wrong_fields;

static void check_synthetic(const union any_row *r)
{
	const struct tf_cpu *e = &r->cpu;
	const uint64_t n = e->on_cpu_ns;

	wrong_fields += e->h.pid != 0x1000000 + (n & 0xfff) || e->h.tid != e->h.pid || e->h.ppid != 0x1000000 ||
			e->h.uid != (n & 0xffff) || e->h.gid != (n >> 16 & 0xffff) || e->h.cgroup_id != 0x1000000 + (n & 15) ||
			e->h.start_ns != 1000000 * (1 + (n & 0xfff)) || e->rss != n * 4096 || e->switches != n + 1 ||
			e->threads != (uint32_t)n || e->minor_faults != (uint32_t)(n * 3) || e->major_faults != n >> 32 ||
			!(e->h.flags & TF_F_SYNTHETIC) || strncmp(e->h.comm, "synth", TF_COMM_LEN) || e->_pad0;
}

static void count(const uint8_t *payload, uint32_t len)
{
	const union any_row *r = (const void *)payload;
	const int kind = tf_kind_of(r->h.type, r->h.subtype);

	CHECK(kind >= 0 && r->h.cpu < 64 && len >= tf_row_size(r->h.type));
	typeof(got[0][0]) *g = &got[r->h.cpu][tf_kind_table[kind].lane];
	CHECK(r->h.seq > g->last_seq);
	g->gaps += r->h.seq - g->last_seq - 1;
	g->last_seq = r->h.seq;
	g->records++;
	if (r->h.type == TF_CPU)
		check_synthetic(r);
}

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	CHECK(!pthread_setaffinity_np(pthread_self(), sizeof(set), &set));
}

/* One generator a CPU: n records of each of these kinds, in turns. */
struct generator {
	int cpu, done;
	uint64_t n, tried[TF_KIND_COUNT], sent[TF_KIND_COUNT];
};
static const unsigned kinds[] = {TF_K_CPU_USAGE, TF_K_CPU_LOAD, TF_K_NETWORK_CONNECT, TF_K_PROCESS_EXEC};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static void *generate(void *arg)
{
	struct generator *g = arg;

	pin(g->cpu);
	for (uint64_t done = 0; done < g->n; done += 10000)
		for (size_t k = 0; k < KINDS; k++) {
			struct tf_synth_args a = {.count = 10000, .kind = kinds[k], .text_len = 100, .first = done};
			int rc = tf_object_synth(obj, &a);

			CHECK_EQ(rc, 0);
			CHECK_EQ(a.tried, 10000);
			g->tried[kinds[k]] += a.tried;
			g->sent[kinds[k]] += a.sent;
		}
	tf_store_release(&g->done, 1);
	return NULL;
}

static uint64_t cell(int cpu, unsigned kind, int index) { return src->ledger[cpu * TF_KIND_MAX + kind].c[index]; }

/* Every cell: seen is the generator's own count, the causes add up to it, what was sent was submitted. */
static void check_ledger(const struct generator *g)
{
	for (size_t k = 0; k < KINDS; k++) {
		uint64_t sum = 0;

		for (int i = TF_L_SUBMITTED; i < TF_L_KERNEL_COUNT; i++)
			sum += cell(g->cpu, kinds[k], i);
		CHECK_EQ(cell(g->cpu, kinds[k], TF_L_SEEN), g->tried[kinds[k]]);
		CHECK_EQ(sum, g->tried[kinds[k]]);
		CHECK_EQ(cell(g->cpu, kinds[k], TF_L_SUBMITTED), g->sent[kinds[k]]);
	}
}

/* Per CPU and lane: what came out is what was submitted; what is missing in seq is what the ring refused. */
static uint64_t check_lanes(int cpu)
{
	uint64_t dropped = 0;

	for (unsigned lane = 0; lane < TF_LANES; lane++) {
		uint64_t submitted = 0, full = 0;

		for (unsigned kind = 0; kind < TF_KIND_COUNT; kind++)
			if (tf_kind_table[kind].lane == lane) {
				submitted += cell(cpu, kind, TF_L_SUBMITTED);
				full += cell(cpu, kind, TF_L_K_RING_FULL);
			}
		CHECK_EQ(got[cpu][lane].records, submitted);
		CHECK_EQ(src->cpus[cpu].seq[lane], submitted + full);
		CHECK_EQ(got[cpu][lane].gaps + src->cpus[cpu].seq[lane] - got[cpu][lane].last_seq, full);
		CHECK(full > 0);
		dropped += full;
	}
	return dropped;
}

static void ten_million_records_add_up_to_the_last_one(void)
{
	const int cpus = sysconf(_SC_NPROCESSORS_ONLN) < 2 ? 1 : 2;
	struct generator g[2] = {{.cpu = 0}, {.cpu = 1}};
	uint64_t dropped = 0, passes = 1, wakeups = 0, total = scale(10) * 10000000, t0 = tf_boot_ns();
	pthread_t threads[2];
	bool running = true;

	for (int i = 0; i < cpus; i++) {
		g[i].n = total / KINDS / (uint64_t)cpus;
		CHECK(!pthread_create(&threads[i], NULL, generate, &g[i]));
	}
	while (running) { /* lazily: half of the passes come too late, and records are dropped */
		usleep(3000);
		read_all(src, count);
		passes++;
		running = false;
		for (int i = 0; i < cpus; i++)
			running |= !tf_load_acquire(&g[i].done);
	}
	for (int i = 0; i < cpus; i++)
		CHECK(!pthread_join(threads[i], NULL));
	read_all(src, count);
	total = 0;
	for (int i = 0; i < cpus; i++) {
		check_ledger(&g[i]);
		dropped += check_lanes(i);
		for (size_t k = 0; k < KINDS; k++)
			total += g[i].tried[kinds[k]];
	}
	for (uint32_t i = 0; i < src->ncpu; i++)
		wakeups += src->cpus[i].wakeups;
	CHECK(wakeups > 0 && wakeups <= passes * src->nrings * TF_LANES); /* one a ring and pass, however full */
	CHECK_EQ(wrong_fields, 0);
	CHECK(dropped * 10 >= total);
	printf("%llu records, %llu dropped (%.0f %%), %.0f ns each\n", (unsigned long long)total, (unsigned long long)dropped,
	       100.0 * (double)dropped / (double)total, (double)(tf_boot_ns() - t0) / (double)total * cpus);
}

/* ---- causes, one by one, on this CPU ---- */

static uint64_t before[TF_L_KERNEL_COUNT];
static int here;

static void mark(unsigned kind)
{
	read_all(src, count);
	for (int i = 0; i < TF_L_KERNEL_COUNT; i++)
		before[i] = cell(here, kind, i);
}

static uint64_t grew(unsigned kind, int index) { return cell(here, kind, index) - before[index]; }

static void send_numbers(unsigned kind, uint32_t n)
{
	struct tf_synth_args a = {.count = n, .kind = kind};
	int rc = tf_object_synth(obj, &a);

	CHECK_EQ(rc, 0);
	CHECK_EQ(a.cpu, here);
	CHECK_EQ(a.tried, n);
	CHECK_EQ(grew(kind, TF_L_SEEN), n);
}

/* Rules that let every kind match these clauses, but for what the entries and `others` of a dimension say. */
static struct tf_rules_spec all_match(uint16_t clauses)
{
	struct tf_rules_spec s = {.n_set = 0};

	for (uint32_t kind = 0; kind < TF_KIND_MAX; kind++)
		s.rules.clauses[kind] = clauses;
	memset(s.rules.others, 0xff, sizeof(s.rules.others));
	return s;
}

static int64_t put_rules(const struct tf_rules_spec *s)
{
	int64_t rc = tf_object_set_rules(obj, s);

	mark(TF_K_CPU_USAGE);
	return rc;
}

/* 4096 numbers are 4096 processes, one each, in 16 cgroups. Clause 1: two processes; clause 2: a cgroup, but for one process of it; clause
 * 4: descendants of a third. */
static void the_pushed_down_filter_counts_what_it_refuses(void)
{
	const struct tf_set_entry set[] = {{{.value = 0x1000005, .dim = TF_D_PID}, 1 | 2},  {{.value = 0x1000006, .dim = TF_D_PID}, 1 | 2 | 4},
					   {{.value = 0x1000013, .dim = TF_D_PID}, 4},      {{.value = 0x1000003, .dim = TF_D_CGROUP}, 1 | 2 | 4}};
	const struct {
		uint32_t flags, clauses, root, pass;
	} cases[] = {{0, 1, 0, 4096},
		     {0, 0, 0, 0},
		     {1 << TF_D_PID, 1, 0, 2},
		     {1 << TF_D_PID, 2, 0, 4095},                           /* all others, too */
		     {1 << TF_D_CGROUP, 2, 0, 256},
		     {1 << TF_D_PID | 1 << TF_D_CGROUP, 2, 0, 255},
		     {1 << TF_D_PID | 1 << TF_D_CGROUP, 1 | 2, 0, 257},
		     {TF_R_DESCENDANTS, 4, 0x1000007, 1},
		     {1 << TF_D_CGROUP | TF_R_DESCENDANTS, 4 | 2, 0x1000007, 257},
		     {1 << TF_D_PID | 1 << TF_D_CGROUP | TF_R_DESCENDANTS, 1 | 2 | 4, 0x1000007, 258}};
	int64_t gen, last = 0;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct tf_rules_spec s = all_match((uint16_t)cases[i].clauses);

		s.rules.flags = cases[i].flags;
		s.rules.others[TF_D_PID] = 2 | 4;
		s.rules.others[TF_D_CGROUP] = 1 | 4;
		s.rules.follow = 4;
		s.set = set;
		s.n_set = sizeof(set) / sizeof(set[0]);
		s.follow = &cases[i].root;
		s.n_follow = cases[i].root != 0;
		gen = put_rules(&s);
		CHECK(gen > last);
		last = gen;
		send_numbers(TF_K_CPU_USAGE, 4096);
		CHECK_EQ(grew(TF_K_CPU_USAGE, TF_L_SUBMITTED), cases[i].pass);
		CHECK_EQ(grew(TF_K_CPU_USAGE, TF_L_K_FILTERED), 4096 - cases[i].pass);
	}
}

static void rules_that_cannot_be_leave_those_in_force(void)
{
	struct tf_rules_spec s = all_match(1);
	const uint32_t stranger = 4194303;
	int64_t gen = put_rules(&s);

	s.rules.flags = TF_R_DESCENDANTS;
	s.rules.follow = 1;
	s.follow = &stranger;
	s.n_follow = 1;
	CHECK_EQ(put_rules(&s), -ESRCH);
	send_numbers(TF_K_CPU_USAGE, 10);
	CHECK_EQ(grew(TF_K_CPU_USAGE, TF_L_SUBMITTED), 10);
	s = all_match(1);
	CHECK_EQ(put_rules(&s), gen + 1);
}

static void the_kind_mask_counts_as_filtered(void)
{
	struct tf_rules_spec s = all_match(0);

	s.rules.clauses[TF_K_CPU_LOAD] = 1;
	CHECK(put_rules(&s) > 0);
	send_numbers(TF_K_CPU_USAGE, 100);
	CHECK_EQ(grew(TF_K_CPU_USAGE, TF_L_K_FILTERED), 100);
	mark(TF_K_CPU_LOAD);
	send_numbers(TF_K_CPU_LOAD, 100);
	CHECK_EQ(grew(TF_K_CPU_LOAD, TF_L_SUBMITTED), 100);
	s = all_match(1);
	CHECK(put_rules(&s) > 0);
}

static float last_weight;
static void note_weight(const uint8_t *payload, uint32_t len)
{
	const struct tf_header *h = (const void *)payload;

	CHECK(len >= sizeof(*h));
	if (h->type == TF_CPU)
		last_weight = h->weight;
}

static void the_sampler_keeps_its_share_and_says_the_weight(void)
{
	const float ten = 10;
	uint32_t bits;

	memcpy(&bits, &ten, 4);
	CHECK(!tf_object_set_rate(obj, TF_K_CPU_USAGE, (uint32_t)(0.1 * 4294967296.0), bits, 0));
	mark(TF_K_CPU_USAGE);
	send_numbers(TF_K_CPU_USAGE, 20000);
	CHECK(grew(TF_K_CPU_USAGE, TF_L_SUBMITTED) > 1800 && grew(TF_K_CPU_USAGE, TF_L_SUBMITTED) < 2200); /* 4.7 sigma */
	CHECK_EQ(grew(TF_K_CPU_USAGE, TF_L_K_SAMPLED) + grew(TF_K_CPU_USAGE, TF_L_SUBMITTED), 20000);
	read_all(src, note_weight);
	CHECK(last_weight == 10);
	CHECK_EQ(tf_object_set_rate(obj, TF_K_META_EPOCH, 0, bits, 0), -EINVAL);
	CHECK(!tf_object_set_rate(obj, TF_K_CPU_USAGE, TF_RATE_ALL, TF_WEIGHT_ONE, 0));
}

/* 16 cgroups, 1,600 records each: every one keeps its burst, and what its rate gave it while the call ran: one a second, so that a
 * machine that stands still for a while gives none a second burst. */
static void the_throttle_gives_each_cgroup_its_burst(void)
{
	CHECK(!tf_object_set_throttle(obj, 1, 100));
	mark(TF_K_CPU_USAGE);
	send_numbers(TF_K_CPU_USAGE, 25600);
	CHECK(grew(TF_K_CPU_USAGE, TF_L_SUBMITTED) >= 1600 && grew(TF_K_CPU_USAGE, TF_L_SUBMITTED) < 3200);
	CHECK_EQ(grew(TF_K_CPU_USAGE, TF_L_K_THROTTLED) + grew(TF_K_CPU_USAGE, TF_L_SUBMITTED), 25600);
	mark(TF_K_CPU_LOAD); /* the critical lane only above half its room: 64 KiB hold 512 records, 2,048 in ours */
	send_numbers(TF_K_CPU_LOAD, 1000);
	CHECK_EQ(grew(TF_K_CPU_LOAD, TF_L_K_THROTTLED), 0);
	mark(TF_K_CPU_LOAD);
	send_numbers(TF_K_CPU_LOAD, 60000);
	CHECK(grew(TF_K_CPU_LOAD, TF_L_K_THROTTLED) > 50000);
	CHECK_EQ(grew(TF_K_CPU_LOAD, TF_L_K_RING_FULL), 0);
	CHECK(!tf_object_set_throttle(obj, 0, 0));
}

int main(void)
{
	struct tf_object_opts opts = {.synth = true, .log = log_line, .bulk_bytes = 4u << 20};

	memset(opts.kind_mask, 0xff, sizeof(opts.kind_mask));
	obj = open_object(&opts);
	src = tf_object_source(obj);
	attach_object(obj);
	ten_million_records_add_up_to_the_last_one();
	pin(here);
	the_pushed_down_filter_counts_what_it_refuses();
	rules_that_cannot_be_leave_those_in_force();
	the_kind_mask_counts_as_filtered();
	the_sampler_keeps_its_share_and_says_the_weight();
	the_throttle_gives_each_cgroup_its_burst();
	tf_object_close(obj);
	return 0;
}
