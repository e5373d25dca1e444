/* SPDX-License-Identifier: Apache-2.0 */
/* tf_object_maps: sizes of the shared maps, the rings inside them, and their view in our memory. */
#include "tf_object_impl.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define MIN_BULK_RING (256u << 10)
#define MIN_CRIT_RING (64u << 10)
#define MAX_RING (1ull << 31) /* max_entries is 32 bits and a power of two */

static const char *const map_names[TF_M_COUNT] = {
	[TF_M_LEDGER] = "tf_ledger", [TF_M_CPUS] = "tf_cpus", [TF_M_LANES] = "tf_lanes", [TF_M_SETTINGS] = ".data.tf_settings",
	[TF_M_RULES] = ".data.tf_rules", [TF_M_RATES] = ".data.tf_rates", [TF_M_THROTTLED] = "tf_throttled",
	[TF_M_HISTORY] = "tf_history", [TF_M_SLOTS] = "tf_slots", [TF_M_RINGS_CRIT] = "tf_rings_crit",
	[TF_M_RINGS_BULK] = "tf_rings_bulk", [TF_M_RULE_SETS] = "tf_rule_sets", [TF_M_RULE_TRIES] = "tf_rule_tries", [TF_M_RULE_PATHS] = "tf_rule_paths",
	[TF_M_FOLLOW] = "tf_follow",
	[TF_M_BUCKETS] = "tf_buckets", [TF_M_OWNERS] = "tf_owners", [TF_M_SYS_WANTS] = "tf_sys_wants", [TF_M_GLOBS] = "tf_globs",
	[TF_M_NOTES] = "tf_notes", [TF_M_EXIT_PROGS] = "tf_exit_progs", [TF_M_ENTER_PROGS] = "tf_enter_progs",
	[TF_M_DIRECT_PROGS] = "tf_direct_progs", [TF_M_DIRS] = "tf_dirs",
	[TF_M_PREFIXES] = "tf_prefixes", [TF_M_DNS] = "tf_dns",
};

const char *tf_shared_map_name(enum tf_shared_map map)
{
	return map_names[map];
}

/* Variables lie in a map named after their section. */
const char *tf_shared_map_title(enum tf_shared_map map)
{
	return strncmp(map_names[map], ".data.", 6) ? map_names[map] : map_names[map] + 6;
}

static uint64_t power_of_two_below(uint64_t n)
{
	uint64_t p = 1;

	while (p <= n / 2)
		p *= 2;
	return p;
}

/* One ring per CPU and lane, as large as the total allows; where that would be too small, CPUs share rings. */
void tf_plan_rings(struct tf_object *o)
{
	uint64_t total = o->opts.bulk_bytes ? o->opts.bulk_bytes : 16u << 20;
	uint64_t bulk = power_of_two_below(total / o->ncpu ? total / o->ncpu : 1);

	o->nrings = o->ncpu;
	if (bulk < MIN_BULK_RING) {
		uint64_t rings = total / MIN_BULK_RING ? power_of_two_below(total / MIN_BULK_RING) : 1;

		o->nrings = rings < o->ncpu ? (uint32_t)rings : o->ncpu;
		bulk = MIN_BULK_RING;
	}
	if (bulk > MAX_RING)
		bulk = MAX_RING;
	o->ring_bytes[TF_BULK] = bulk;
	o->ring_bytes[TF_CRITICAL] = bulk / 8 < MIN_CRIT_RING ? MIN_CRIT_RING : bulk / 8;
}

bool tf_draws_keys(const struct tf_object *o)
{
	for (int i = 0; i < TF_KIND_MAX / 64; i++)
		if (o->opts.by_process[i] | o->opts.by_connection[i])
			return true;
	return false;
}

int tf_size_maps(struct tf_object *o)
{
	const uint32_t tables = o->opts.map_entries ? o->opts.map_entries : 10000;
	const uint32_t entries[TF_M_SIZED] = {
		[TF_M_LEDGER] = o->ncpu * TF_KIND_MAX, [TF_M_CPUS] = o->ncpu, [TF_M_LANES] = o->nrings * TF_LANES,
		[TF_M_SETTINGS] = 1, [TF_M_RULES] = 1, [TF_M_RATES] = 1, [TF_M_SLOTS] = o->ncpu * TF_SLOTS,
		[TF_M_RINGS_CRIT] = o->nrings, [TF_M_RINGS_BULK] = o->nrings, [TF_M_RULE_SETS] = TF_RULE_SLOTS, [TF_M_RULE_TRIES] = TF_RULE_SLOTS, [TF_M_RULE_PATHS] = TF_RULE_SLOTS,
		[TF_M_THROTTLED] = TF_THROTTLED, [TF_M_HISTORY] = tf_draws_keys(o) ? TF_KIND_MAX : 1,
		[TF_M_FOLLOW] = tables, [TF_M_BUCKETS] = tables, [TF_M_DNS] = tables, [TF_M_SYS_WANTS] = TF_SYS_MAX,
	};

	for (int i = 0; i < TF_M_SIZED; i++) {
		struct bpf_map *map = bpf_object__find_map_by_name(o->parts[TF_PART_BASE], map_names[i]);
		int rc = map ? bpf_map__set_max_entries(map, entries[i]) : -ENOENT;

		if (rc)
			return rc;
	}
	return 0;
}

static int make_ring(struct tf_object *o, uint32_t ring, uint32_t lane, char *msg, size_t msg_size)
{
	const uint64_t bytes = o->ring_bytes[lane];
	const uint32_t index = ring * TF_LANES + lane;
	char name[24]; /* the kernel keeps 15 bytes */
	int fd, rc;

	snprintf(name, sizeof(name), "tf_%s%u", lane == TF_CRITICAL ? "crit" : "bulk", ring);
	fd = bpf_map_create(BPF_MAP_TYPE_RINGBUF, name, 0, 0, (uint32_t)bytes, NULL);
	if (fd < 0) {
		snprintf(msg, msg_size, "cannot make a ring of %llu KiB (%s): %s", (unsigned long long)bytes >> 10, strerror(-fd),
			 fd == -ENOMEM ? "lower performance.ring_buffer_size_mb" : "see `tapio-fast doctor`");
		return fd;
	}
	o->ring_fds[index] = fd;
	rc = tf_ring_open(&o->rings[index], fd, bytes);
	if (rc)
		snprintf(msg, msg_size, "cannot map a ring of %llu KiB (%s); lower performance.ring_buffer_size_mb",
			 (unsigned long long)bytes >> 10, strerror(-rc));
	return rc;
}

/* Puts a lane's rings where the programs look for them. All at once: after each update of such a map the kernel waits until no program
 * can be running that saw the old one, some 15 ms. */
static int hand_out_lane(struct tf_object *o, uint32_t lane)
{
	const int outer = o->map_fd[lane == TF_CRITICAL ? TF_M_RINGS_CRIT : TF_M_RINGS_BULK];
	uint32_t *keys = calloc(o->nrings, 2 * sizeof(*keys)), *fds = keys + o->nrings, n = o->nrings;
	int rc = keys ? 0 : -ENOMEM;

	for (uint32_t i = 0; !rc && i < o->nrings; i++) {
		keys[i] = i;
		fds[i] = (uint32_t)o->ring_fds[i * TF_LANES + lane];
	}
	if (!rc && bpf_map_update_batch(outer, keys, fds, &n, NULL)) /* before 5.13 such maps have no batches */
		for (uint32_t i = 0; !rc && i < o->nrings; i++)
			rc = bpf_map_update_elem(outer, &keys[i], &fds[i], BPF_ANY);
	free(keys);
	return rc;
}

static void *hand_out(void *arg)
{
	struct tf_object *o = arg;

	o->rings_error = hand_out_lane(o, TF_CRITICAL);
	if (!o->rings_error)
		o->rings_error = hand_out_lane(o, TF_BULK);
	return NULL;
}

/* The waits pass on a thread of their own, which takes no signals, while programs load; if it cannot be had, here. */
static void begin_hand_out(struct tf_object *o)
{
	sigset_t all, before;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	o->rings_waiting = !pthread_create(&o->rings_thread, NULL, hand_out, o);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (!o->rings_waiting)
		hand_out(o);
}

int tf_rings_ready(struct tf_object *o, char *msg, size_t msg_size)
{
	if (o->rings_waiting)
		pthread_join(o->rings_thread, NULL);
	o->rings_waiting = false;
	if (o->rings_error)
		snprintf(msg, msg_size, "cannot hand the rings to the programs: %s", strerror(-o->rings_error));
	return o->rings_error;
}

int tf_make_rings(struct tf_object *o, char *msg, size_t msg_size)
{
	const uint32_t n = o->nrings * TF_LANES;
	int rc;

	o->rings = calloc(n, sizeof(*o->rings));
	o->ring_fds = malloc(n * sizeof(*o->ring_fds));
	if (!o->rings || !o->ring_fds) {
		snprintf(msg, msg_size, "no memory for the state of %u rings", n);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < n; i++)
		o->ring_fds[i] = -1;
	for (uint32_t i = 0; i < n; i++) {
		rc = make_ring(o, i / TF_LANES, i % TF_LANES, msg, msg_size);

		if (rc)
			return rc;
	}
	begin_hand_out(o);
	return 0;
}

/* First contents: nothing is attached yet, so no program can see a half-made state. */
static void fill_memory(struct tf_object *o)
{
	struct tf_lane_state *lanes = o->mapped[TF_M_LANES];
	struct tf_rule_slot *rules = o->mapped[TF_M_RULES];
	struct tf_rate_history *history = o->mapped[TF_M_HISTORY];
	uint64_t *rates = o->mapped[TF_M_RATES];

	for (uint32_t i = 0; i < o->nrings * TF_LANES; i++)
		lanes[i].watermark = o->ring_bytes[i % TF_LANES] / 4;
	for (uint32_t kind = 0; kind < TF_KIND_MAX; kind++)
		rates[kind] = TF_RATE(TF_RATE_ALL, TF_WEIGHT_ONE);
	memcpy(o->kept.rates, rates, sizeof(o->kept.rates));
	for (uint32_t kind = 0; kind < (tf_draws_keys(o) ? TF_KIND_MAX : 1); kind++) {
		history[kind].at[0].rate = rates[kind];
		history[kind].n = 1;
		if (kind < TF_KIND_COUNT)
			o->kept.history[kind] = tf_crc32c(0, &history[kind], sizeof(history[kind]));
	}
	memcpy(rules[0].kind_mask, o->opts.kind_mask, sizeof(rules[0].kind_mask));
	for (uint32_t kind = 0; kind < TF_KIND_MAX; kind++)
		rules[0].clauses[kind] = o->opts.kind_mask[kind / 64] >> (kind % 64) & 1;
}

int tf_map_memory(struct tf_object *o, char *msg, size_t msg_size)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);

	for (int i = 0; i < TF_M_MAPPED; i++) {
		struct bpf_map *map = bpf_object__find_map_by_name(o->parts[TF_PART_BASE], map_names[i]);
		size_t len = (((size_t)bpf_map__value_size(map) + 7) & ~(size_t)7) * bpf_map__max_entries(map);
		void *at;

		len = (len + page - 1) & ~(page - 1);
		at = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, o->map_fd[i], 0);
		if (at == MAP_FAILED) {
			int rc = -errno;

			snprintf(msg, msg_size, "cannot map %s (%zu bytes) into memory: %s", map_names[i], len, strerror(-rc));
			return rc;
		}
		o->mapped[i] = at;
		o->mapped_len[i] = len;
	}
	fill_memory(o);
	return 0;
}

void tf_unmap_memory(struct tf_object *o)
{
	for (int i = 0; i < TF_M_MAPPED; i++) {
		if (o->mapped[i])
			munmap(o->mapped[i], o->mapped_len[i]);
		o->mapped[i] = NULL;
	}
	for (uint32_t i = 0; i < o->nrings * TF_LANES; i++) {
		if (o->rings)
			tf_ring_close(&o->rings[i]);
		if (o->ring_fds && o->ring_fds[i] >= 0) {
			close(o->ring_fds[i]);
			o->ring_fds[i] = -1;
		}
	}
}
