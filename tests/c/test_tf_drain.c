/* SPDX-License-Identifier: Apache-2.0 */
/* tf_drain against a slow reader that looks at one byte after the other: random rings, hostile ones among them. */
#include "ring_fixture.h"

#include "tf_container_id.h"
#include "tf_refine.h"

#define RING 16384u
#define NCPU 3

/* ---- the reference: no masks, no runs, no double mapping ---- */

struct reference {
	uint8_t rows[TF_TYPE_MAX][RING * 2];
	uint8_t text[TF_TYPE_MAX][RING * 2];
	uint32_t n[TF_TYPE_MAX], text_len[TF_TYPE_MAX];
	uint64_t counts[NCPU * TF_KIND_MAX][2];
	uint64_t max_seq[NCPU * TF_LANES], reads[NCPU * TF_LANES];
	uint64_t records, bad, discarded, late, newest[TF_LANES], read_to;
	bool busy;
};

static uint8_t byte_at(const struct tf_memring *m, uint64_t pos) { return m->data[pos % RING]; }

static uint32_t u32_at(const struct tf_memring *m, uint64_t pos)
{
	uint32_t v = 0;

	for (int i = 3; i >= 0; i--)
		v = v << 8 | byte_at(m, pos + (unsigned)i);
	return v;
}

static bool ref_text(const union any_row *row, uint32_t size, uint32_t len)
{
	const uint16_t *at;
	uint32_t fields = tf_text_fields(row->h.type, &at);

	for (uint32_t i = 0; i < fields; i++) {
		struct tf_text t;

		memcpy(&t, row->bytes + at[i], sizeof(t));
		if ((uint64_t)t.offset + t.len > len - size)
			return false;
	}
	return true;
}

static void ref_keep(struct reference *x, union any_row *row, uint32_t len, uint64_t late_before)
{
	uint8_t d = row->h.type;
	uint32_t size = tf_row_size(d), fields;
	const uint16_t *at;

	if (row->h.ts_ns < late_before) {
		row->h.flags |= TF_F_LATE;
		x->late++;
	}
	fields = tf_text_fields(d, &at);
	if (len > size && tf_refine_is_raw((uint32_t)tf_kind_of(d, row->h.subtype))) { /* what it makes of the text, test_tf_dns.c tells */
		uint32_t n = tf_refine((uint32_t)tf_kind_of(d, row->h.subtype), row->bytes, row->bytes + size, x->text[d] + x->text_len[d], 2048);
		struct tf_text t;

		memcpy(&t, row->bytes + at[0], sizeof(t));
		t.offset = t.len ? x->text_len[d] : 0;
		memcpy(row->bytes + at[0], &t, sizeof(t));
		memcpy(x->rows[d] + (size_t)x->n[d]++ * size, row->bytes, size);
		x->text_len[d] += n;
		return;
	}
	if (d == TF_CONTAINER && len > size) /* what it finds in the path, test_tf_container_id.c tells */
		tf_container_refine(row->bytes, row->bytes + size, len - size);
	for (uint32_t i = 0; i < fields && len > size; i++) {
		struct tf_text t;

		memcpy(&t, row->bytes + at[i], sizeof(t));
		t.offset = t.len ? t.offset + x->text_len[d] : 0;
		memcpy(row->bytes + at[i], &t, sizeof(t));
	}
	/* an empty text of a row without a tail keeps its offset only when that is 0: it cannot be anything else */
	memcpy(x->rows[d] + (size_t)x->n[d]++ * size, row->bytes, size);
	memcpy(x->text[d] + x->text_len[d], row->bytes + size, len - size);
	x->text_len[d] += len - size;
}

static void ref_record(struct reference *x, const struct tf_memring *m, uint64_t pos, uint32_t len, uint32_t lane, uint64_t late_before)
{
	union any_row row;
	int kind = -1;
	bool cpu_known;

	memset(row.bytes, 0, sizeof(row.h));
	for (uint32_t i = 0; i < len; i++)
		row.bytes[i] = byte_at(m, pos + 8 + i);
	if (len >= sizeof(row.h))
		kind = tf_kind_of(row.h.type, row.h.subtype);
	cpu_known = kind >= 0 && row.h.cpu < NCPU;
	uint32_t size = kind < 0 ? 0 : tf_row_size(row.h.type);
	const uint16_t *at;
	bool texts = kind >= 0 && tf_text_fields(row.h.type, &at) > 0;

	if (!cpu_known || len < size || (len > size && !texts) || tf_kind_table[kind].lane != lane || !ref_text(&row, size, len)) {
		x->counts[cpu_known ? row.h.cpu * TF_KIND_MAX + kind : 0][1]++;
		x->bad++;
		return;
	}
	x->counts[row.h.cpu * TF_KIND_MAX + kind][0]++;
	x->records++;
	uint32_t s = row.h.cpu * TF_LANES + lane;
	x->reads[s]++;
	x->max_seq[s] = row.h.seq > x->max_seq[s] ? row.h.seq : x->max_seq[s];
	x->newest[lane] = row.h.ts_ns > x->newest[lane] ? row.h.ts_ns : x->newest[lane];
	ref_keep(x, &row, len, late_before);
}

static void ref_ring(struct reference *x, const struct tf_memring *m, uint32_t lane, uint64_t late_before)
{
	uint64_t pos = m->ring.read, end = *m->producer_pos;

	while (pos < end) {
		uint32_t head = u32_at(m, pos), len = head & 0x3fffffff;

		if (head & TF_RING_BUSY) {
			x->busy = true;
			x->read_to = x->newest[lane] < x->read_to ? x->newest[lane] : x->read_to;
			return;
		}
		if (len > TF_RECORD_CAP || stride_of(len) > end - pos) {
			x->counts[0][1]++;
			x->bad++;
			return;
		}
		if (head & TF_RING_DISCARD)
			x->discarded++;
		else
			ref_record(x, m, pos, len, lane, late_before);
		pos += stride_of(len);
	}
}

/* ---- random rings ---- */

static uint64_t clock_ns;

static uint32_t random_record(union any_row *r)
{
	unsigned kind = rng_below(4) ? (rng_below(2) ? TF_K_CPU_USAGE : TF_K_NETWORK_CLOSE) : rng_below(TF_KIND_COUNT);
	uint32_t len = row_of(r, kind, rng_below(NCPU), clock_ns, clock_ns), size = len, fields;
	const uint16_t *at;

	clock_ns += rng_below(3);
	if (!rng_below(3))
		r->h.ts_ns -= rng_below(5);
	fields = tf_text_fields(r->h.type, &at);
	if (fields && !rng_below(3))
		len += rng_below(rng_below(50) ? 90 : TF_TAIL_CAP + 1);
	for (uint32_t i = size; i < len; i++)
		r->bytes[i] = (uint8_t)rng();
	for (uint32_t i = 0; i < fields && len > size; i++) {
		struct tf_text t = {.offset = rng_below(len - size + 1)};

		t.len = rng_below(len - size - t.offset + 1);
		t.full_len = t.len + rng_below(2);
		memcpy(r->bytes + at[i], &t, sizeof(t));
	}
	return len;
}

/* Makes a good record bad in one of the ways an attacker or a bug could. Returns its length. */
static uint32_t spoil(union any_row *r, uint32_t len)
{
	const uint16_t *at;
	struct tf_text t = {.offset = rng_below(2) ? UINT32_MAX : 0, .len = rng_below(2) ? UINT32_MAX : TF_RECORD_CAP, .full_len = 0};

	switch (rng_below(8)) {
	case 0: r->h.cpu = (uint16_t)(NCPU + rng_below(3)); return len;
	case 1: r->h.type = (uint8_t)rng(); return len;
	case 2: r->h.subtype = (uint8_t)rng(); return len;
	case 3: return rng_below(len);
	case 4: return rng_below(9);
	case 5: return len + 1 + rng_below(20);
	case 6: set_kind(&r->h, rng_below(TF_KIND_COUNT), 0); return len;
	default:
		if (tf_text_fields(r->h.type, &at))
			memcpy(r->bytes + at[0], &t, sizeof(t));
		return len;
	}
}

static void random_ring(struct tf_memring *m, uint32_t lane)
{
	uint32_t records = rng_below(40), hostile = rng_below(3) ? 0 : 4;
	static union any_row r;

	move_ring(m, rng_below(RING / 8 * 3) * 8ull);
	while (records--) {
		uint32_t len = random_record(&r), head;

		if (tf_kind_table[tf_kind_of(r.h.type, r.h.subtype)].lane != lane && rng_below(20))
			continue;
		if (hostile && !rng_below(hostile))
			len = spoil(&r, len);
		head = len;
		if (!rng_below(30))
			head |= TF_RING_DISCARD;
		if (!rng_below(200))
			head |= TF_RING_BUSY;
		if (stride_of(len) > RING - (*m->producer_pos - m->ring.read))
			break;
		put_raw(m, head, r.bytes, len, stride_of(len));
	}
	if (!rng_below(20) && *m->producer_pos - m->ring.read + 16 <= RING) /* a length that leaves the ring, or is past the cap */
		put_raw(m, rng_below(2) ? TF_RECORD_CAP + 1 + rng_below(1000) : 9 + rng_below(500), "", 0, 16);
}

static void compare_rows(const struct reference *x, const struct tf_batch *b)
{
	CHECK_EQ(b->total, x->records);
	for (int d = 0; d < TF_TYPE_MAX; d++) {
		CHECK_EQ(b->dom[d].n, x->n[d]);
		CHECK_EQ(b->dom[d].text_len, x->text_len[d]);
		CHECK(!x->n[d] || !memcmp(b->dom[d].rows, x->rows[d], (size_t)x->n[d] * b->dom[d].row_size));
		CHECK(!x->text_len[d] || !memcmp(b->dom[d].text, x->text[d], x->text_len[d]));
	}
}

static void compare_counts(const struct reference *x, const struct tf_drain *d)
{
	CHECK(!memcmp(tf_drain_counts(d), x->counts, sizeof(x->counts)));
	CHECK(!memcmp(tf_drain_last_seq(d), x->max_seq, sizeof(x->max_seq)));
	for (int i = 0; i < NCPU * TF_LANES; i++)
		CHECK_EQ(tf_drain_gaps(d)[i], x->max_seq[i] > x->reads[i] ? x->max_seq[i] - x->reads[i] : 0);
	CHECK_EQ(tf_drain_late(d), x->late);
}

static struct tf_drain *open_drain(struct tf_ring *rings, uint32_t rows, uint32_t bytes)
{
	struct tf_drain_opts o = {.rings = rings, .nrings = 1, .ncpu = NCPU, .rows_per_domain = rows, .bytes_per_pass = bytes};
	struct tf_drain *d;

	CHECK(!tf_drain_open(&o, &d));
	return d;
}

static void test_random_whole(struct tf_memring m[TF_LANES], uint64_t images)
{
	static struct reference x;

	while (images--) {
		struct tf_drain_result r;
		struct tf_batch *b;

		memset(&x, 0, sizeof(x));
		x.read_to = UINT64_MAX;
		for (uint32_t lane = 0; lane < TF_LANES; lane++)
			random_ring(&m[lane], lane);
		uint64_t late_before = rng_below(2) ? clock_ns - rng_below(40) : 0;
		for (uint32_t lane = 0; lane < TF_LANES; lane++)
			ref_ring(&x, &m[lane], lane, late_before);
		struct tf_ring rings[TF_LANES] = {m[0].ring, m[1].ring};
		struct tf_drain *d = open_drain(rings, 1u << 20, 1u << 20);

		tf_drain_scan(d, &r);
		CHECK_EQ(r.records, x.records);
		CHECK_EQ(r.bad, x.bad);
		CHECK_EQ(r.discarded, x.discarded);
		CHECK(r.busy == x.busy && !r.more);
		CHECK(!tf_batch_new(NULL, &r.need, &b));
		CHECK_EQ(tf_drain_copy(d, b, late_before), x.read_to);
		tf_drain_publish(d);
		CHECK(*m[0].ring.consumer_pos == rings[0].read && *m[1].ring.consumer_pos == rings[1].read);
		compare_rows(&x, b);
		compare_counts(&x, d);
		tf_batch_unref(b);
		tf_drain_close(d);
	}
}

/* A scan that looks at a part only: what copying adds by itself is the same as what a scan of everything finds. */
static void test_random_look(struct tf_memring m[TF_LANES], uint64_t images)
{
	static struct reference x;

	while (images--) {
		uint32_t lane = rng_below(TF_LANES), rows = 1 + rng_below(rng_below(2) ? 5 : 50), done[TF_TYPE_MAX] = {0};
		uint64_t guard = 0, records = 0, bad = 0, discarded = 0, bytes = 0, began;
		struct tf_drain_result r;

		memset(&x, 0, sizeof(x));
		random_ring(&m[lane], lane);
		began = m[lane].ring.read;
		ref_ring(&x, &m[lane], lane, 0);
		struct tf_ring rings[TF_LANES] = {{0}};
		rings[lane] = m[lane].ring;
		struct tf_drain_opts o = {.rings = rings, .nrings = 1, .ncpu = NCPU, .rows_per_domain = rows, .bytes_per_pass = 1u << 20,
					  .look_bytes = 1 + rng_below(rng_below(2) ? 300 : 3000)};
		struct tf_drain *d;

		CHECK(!tf_drain_open(&o, &d));
		do {
			struct tf_batch *b;

			tf_drain_scan(d, &r);
			CHECK(!tf_batch_new(NULL, &r.need, &b));
			tf_drain_copy(d, b, 0);
			CHECK_EQ(b->total, r.records);
			for (int t = 0; t < TF_TYPE_MAX; t++) {
				uint32_t size = b->dom[t].row_size;

				CHECK(b->dom[t].n <= b->dom[t].cap && b->dom[t].cap <= rows && b->dom[t].text_len <= b->dom[t].text_cap);
				for (uint32_t i = 0; i < b->dom[t].n; i++, done[t]++)
					CHECK(!memcmp(b->dom[t].rows + (size_t)i * size, x.rows[t] + (size_t)done[t] * size, sizeof(struct tf_header)));
			}
			records += r.records;
			bad += r.bad;
			discarded += r.discarded;
			bytes += r.bytes;
			tf_batch_unref(b);
			CHECK(++guard < 10000);
		} while (r.more);
		CHECK(records == x.records && bad == x.bad && discarded == x.discarded && r.busy == x.busy);
		CHECK_EQ(bytes, rings[lane].read - began);
		for (int t = 0; t < TF_TYPE_MAX; t++)
			CHECK_EQ(done[t], x.n[t]);
		compare_counts(&x, d);
		tf_drain_close(d);
	}
}

/* One ring, many small passes: together they give the same rows as one big one. */
static void test_random_limits(struct tf_memring m[TF_LANES], uint64_t images)
{
	static struct reference x;

	while (images--) {
		uint32_t lane = rng_below(TF_LANES), rows = 1 + rng_below(5), bytes = 64 + rng_below(2000), done[TF_TYPE_MAX] = {0};
		struct tf_drain_result r;
		uint64_t guard = 0;

		memset(&x, 0, sizeof(x));
		random_ring(&m[lane], lane);
		ref_ring(&x, &m[lane], lane, 0);
		struct tf_ring rings[TF_LANES] = {{0}};
		rings[lane] = m[lane].ring;
		struct tf_drain *d = open_drain(rings, rows, bytes);
		do {
			struct tf_batch *b;

			tf_drain_scan(d, &r);
			CHECK(!tf_batch_new(NULL, &r.need, &b));
			tf_drain_copy(d, b, 0);
			CHECK_EQ(b->total, r.records);
			for (int t = 0; t < TF_TYPE_MAX; t++) {
				uint32_t size = b->dom[t].row_size;

				CHECK(b->dom[t].n <= rows && b->dom[t].n == b->dom[t].cap);
				for (uint32_t i = 0; i < b->dom[t].n; i++, done[t]++) /* texts move with the batch: compare heads */
					CHECK(!memcmp(b->dom[t].rows + (size_t)i * size, x.rows[t] + (size_t)done[t] * size, sizeof(struct tf_header)));
			}
			tf_batch_unref(b);
			CHECK(++guard < 10000);
		} while (r.more);
		for (int t = 0; t < TF_TYPE_MAX; t++)
			CHECK_EQ(done[t], x.n[t]);
		compare_counts(&x, d);
		tf_drain_close(d);
	}
}

int main(void)
{
	struct tf_memring m[TF_LANES];

	for (int i = 0; i < TF_LANES; i++)
		CHECK(!tf_memring_open(&m[i], RING));
	test_random_whole(m, 100000 * scale(10));
	test_random_limits(m, 20000 * scale(10));
	test_random_look(m, 50000 * scale(10));
	for (int i = 0; i < TF_LANES; i++)
		tf_memring_close(&m[i]);
	puts("ok");
	return 0;
}
