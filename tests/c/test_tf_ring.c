/* SPDX-License-Identifier: Apache-2.0 */
/* Rings in memory: the producer's protocol, and every hostile case with the exact counts it must give. */
#include "ring_fixture.h"

#define RING 16384u

static void test_producer(void)
{
	struct tf_memring m;
	uint8_t *a, *b, *c;

	CHECK(tf_memring_open(&m, 1000) == -EINVAL && tf_memring_open(&m, 12288) == -EINVAL && tf_memring_open(&m, 512) == -EINVAL);
	CHECK(!tf_memring_open(&m, 4096));
	CHECK(!tf_memring_reserve(&m, UINT32_MAX / 2) && !tf_memring_reserve(&m, 4096 - 8)); /* the kernel never fills the last byte */
	a = tf_memring_reserve(&m, 4096 - 16);
	CHECK(a && !tf_memring_reserve(&m, 1) && tf_ring_unread(&m.ring) == 4088);
	tf_memring_commit(&m, a, false);
	m.ring.read = 4088;
	CHECK(!tf_memring_reserve(&m, 16)); /* read but not published: not free yet */
	tf_ring_publish(&m.ring);
	CHECK(tf_ring_unread(&m.ring) == 0 && *m.ring.consumer_pos == 4088);
	b = tf_memring_reserve(&m, 16);
	memset(b, 7, 16); /* across the end: the second mapping carries it */
	CHECK(b == m.data + 4096 && m.data[0] == 7 && m.data[15] == 7);
	/* published space is not free while an older record is BUSY */
	m.ring.read = *m.producer_pos;
	tf_ring_publish(&m.ring);
	c = tf_memring_reserve(&m, 4000);
	CHECK(c);
	tf_memring_commit(&m, c, false);
	m.ring.read = *m.producer_pos;
	tf_ring_publish(&m.ring);
	CHECK(!tf_memring_reserve(&m, 120));
	tf_memring_commit(&m, b, false);
	CHECK(tf_memring_reserve(&m, 120));
	tf_memring_close(&m);
	tf_memring_close(&m);
}

static void test_open_mem(void)
{
	static uint64_t consumer = 64, producer = 192;
	static uint8_t data[512] __attribute__((aligned(8)));
	struct tf_ring r;

	CHECK(tf_ring_open_mem(&r, &consumer, &producer, data, 100) == -EINVAL);
	CHECK(tf_ring_open_mem(&r, &consumer, &producer, data + 1, 256) == -EINVAL);
	CHECK(tf_ring_open_mem(&r, NULL, &producer, data, 256) == -EINVAL);
	CHECK(!tf_ring_open_mem(&r, &consumer, &producer, data, 256));
	CHECK(r.read == 64 && tf_ring_unread(&r) == 128);
	producer = 10; /* behind the consumer: nothing to read */
	CHECK(tf_ring_unread(&r) == 0);
	tf_ring_close(&r);
	CHECK(tf_ring_unread(&r) == 0);
	CHECK(tf_ring_open(&r, -1, 4096) == -EBADF && tf_ring_open(&r, 0, 4097) == -EINVAL);
	tf_ring_close(&r);
}

struct want {
	uint64_t records, bad, discarded, read; /* read: bytes consumed */
	unsigned cell;                          /* kind on which the bad ones are counted */
	bool busy;
};

/* Drains what is on the ring in one pass and compares; returns the batch. */
static struct tf_batch *drain_one(struct tf_memring *m, uint32_t lane, struct want w)
{
	struct tf_ring rings[TF_LANES] = {{0}};
	struct tf_drain_opts o = {.rings = rings, .nrings = 1, .ncpu = 2, .rows_per_domain = 10000, .bytes_per_pass = 1 << 20};
	struct tf_drain_result r;
	struct tf_drain *d;
	struct tf_batch *b;
	uint64_t bad = 0;

	rings[lane] = m->ring;
	CHECK(!tf_drain_open(&o, &d));
	tf_drain_scan(d, &r);
	CHECK_EQ(r.records, w.records);
	CHECK_EQ(r.bad, w.bad);
	CHECK_EQ(r.discarded, w.discarded);
	CHECK_EQ(r.bytes, w.read);
	CHECK(r.busy == w.busy && !r.more);
	CHECK(!tf_batch_new(NULL, &r.need, &b));
	uint64_t read_to = tf_drain_copy(d, b, 0);
	CHECK_EQ(read_to == UINT64_MAX, !w.busy);
	CHECK_EQ(rings[lane].read - m->ring.read, w.read);
	CHECK_EQ(*m->ring.consumer_pos, m->ring.read); /* nothing published yet */
	tf_drain_publish(d);
	CHECK_EQ(*m->ring.consumer_pos, m->ring.read + w.read);
	for (unsigned i = 0; i < 2 * TF_KIND_MAX; i++)
		bad += tf_drain_counts(d)[i][1];
	CHECK_EQ(bad, w.bad);
	CHECK_EQ(tf_drain_counts(d)[w.cell][1], w.bad);
	CHECK_EQ(b->total, w.records);
	tf_drain_close(d);
	return b;
}

static void expect(struct tf_memring *m, uint32_t lane, struct want w)
{
	tf_batch_unref(drain_one(m, lane, w));
}

/* One good record of 128 bytes, then the hostile one, then another good one. */
static void around(struct tf_memring *m, uint32_t head, const void *payload, uint32_t payload_len, uint64_t stride)
{
	union any_row good;
	uint32_t len = row_of(&good, TF_K_CPU_USAGE, 0, 5, 1);

	move_ring(m, 0);
	put(m, &good, len);
	put_raw(m, head, payload, payload_len, stride);
	put(m, &good, len);
}

static void test_lengths(struct tf_memring *m)
{
	static const uint32_t shorter[] = {0, 1, 7, 8, 79};
	static union any_row r;
	uint32_t len;

	row_of(&r, TF_K_CPU_USAGE, 1, 9, 2);
	for (unsigned i = 0; i < sizeof(shorter) / sizeof(shorter[0]); i++) {
		len = shorter[i];
		around(m, len, r.bytes, len, stride_of(len));
		expect(m, TF_BULK, (struct want){.records = 2, .bad = 1, .read = 256 + stride_of(len)});
	}
	for (len = 80; len < 140; len++) { /* right kind, any length but the right one */
		if (len == 120)
			continue;
		around(m, len, r.bytes, len, stride_of(len));
		expect(m, TF_BULK, (struct want){.records = 2, .bad = 1, .read = 256 + stride_of(len), .cell = TF_KIND_MAX + TF_K_CPU_USAGE});
	}
	row_of(&r, TF_K_NETWORK_CLOSE, 0, 9, 2);
	around(m, TF_RECORD_CAP, r.bytes, TF_RECORD_CAP, stride_of(TF_RECORD_CAP)); /* the longest that is legal */
	expect(m, TF_BULK, (struct want){.records = 3, .read = 256 + stride_of(TF_RECORD_CAP)});
	around(m, TF_RECORD_CAP + 1, r.bytes, TF_RECORD_CAP, stride_of(TF_RECORD_CAP + 1));
	expect(m, TF_BULK, (struct want){.records = 1, .bad = 1, .read = 256 + stride_of(TF_RECORD_CAP + 1)});
	around(m, 0x3fffffff, r.bytes, 120, 128);
	expect(m, TF_BULK, (struct want){.records = 1, .bad = 1, .read = 384});
	around(m, 1000, r.bytes, 120, 128); /* ends behind the producer */
	expect(m, TF_BULK, (struct want){.records = 1, .bad = 1, .read = 384});
	around(m, 1000 | TF_RING_DISCARD, r.bytes, 120, 128);
	expect(m, TF_BULK, (struct want){.records = 1, .bad = 1, .read = 384});
	len = 185; /* not a multiple of 8: legal, the stride rounds up */
	around(m, len, r.bytes, len, stride_of(len));
	expect(m, TF_BULK, (struct want){.records = 3, .read = 256 + 200});
}

static void test_identity(struct tf_memring *m)
{
	union any_row r;

	row_of(&r, TF_K_CPU_USAGE, 2, 9, 2); /* a CPU that is not there */
	around(m, 120, r.bytes, 120, 128);
	expect(m, TF_BULK, (struct want){.records = 2, .bad = 1, .read = 384});
	row_of(&r, TF_K_CPU_LOAD, 0, 9, 2); /* a kind of the other lane */
	around(m, 120, r.bytes, 120, 128);
	expect(m, TF_BULK, (struct want){.records = 2, .bad = 1, .read = 384, .cell = TF_K_CPU_LOAD});
	for (unsigned type = 0; type < 256; type++) { /* no such subtype, mostly no such type */
		row_of(&r, TF_K_CPU_USAGE, 0, 9, 2);
		r.h.type = (uint8_t)type;
		r.h.subtype = 200;
		around(m, 120, r.bytes, 120, 128);
		expect(m, TF_BULK, (struct want){.records = 2, .bad = 1, .read = 384});
	}
	memset(&r, 0xff, sizeof(r.meta));
	around(m, 184, r.bytes, 184, 192);
	expect(m, TF_BULK, (struct want){.records = 2, .bad = 1, .read = 448});
}

static void text_case(struct tf_memring *m, struct tf_text t, uint32_t tail, bool good)
{
	static union any_row r;

	row_of(&r, TF_K_PROCESS_EXEC, 1, 9, 2);
	memset(r.bytes + 184, 'x', tail);
	r.process.cwd = t;
	move_ring(m, 8);
	put(m, r.bytes, 184 + tail);
	struct tf_batch *b = drain_one(m, TF_CRITICAL, (struct want){
		.records = good, .bad = !good, .read = stride_of(184 + tail), .cell = TF_KIND_MAX + TF_K_PROCESS_EXEC});
	if (good && t.len) {
		const struct tf_process *p = (const struct tf_process *)(const void *)b->dom[TF_PROCESS].rows;

		CHECK(p->cwd.len == t.len && p->cwd.full_len == t.full_len && p->cwd.offset + p->cwd.len <= b->dom[TF_PROCESS].text_len);
		CHECK(b->dom[TF_PROCESS].text[p->cwd.offset] == 'x');
	}
	tf_batch_unref(b);
}

static void test_texts(struct tf_memring *m)
{
	text_case(m, (struct tf_text){0, 0, 0}, 0, true);
	text_case(m, (struct tf_text){0, 10, 10}, 10, true);
	text_case(m, (struct tf_text){10, 0, 0}, 10, true);
	text_case(m, (struct tf_text){9, 1, 5}, 10, true);
	text_case(m, (struct tf_text){0, TF_TAIL_CAP, TF_TAIL_CAP}, TF_TAIL_CAP, true);
	text_case(m, (struct tf_text){0, 1, 1}, 0, false);
	text_case(m, (struct tf_text){1, 0, 0}, 0, false);
	text_case(m, (struct tf_text){0, 11, 11}, 10, false);
	text_case(m, (struct tf_text){10, 1, 1}, 10, false);
	text_case(m, (struct tf_text){11, 0, 0}, 10, false);
	text_case(m, (struct tf_text){UINT32_MAX, 2, 2}, 10, false);   /* offset + len wraps round to 1 */
	text_case(m, (struct tf_text){8, UINT32_MAX, 2}, 10, false);
}

static void test_wrap(struct tf_memring *m)
{
	static union any_row r;

	for (uint64_t start = 0; start < RING; start += 8) {
		static const unsigned kinds[] = {TF_K_CPU_USAGE, TF_K_NETWORK_CLOSE, TF_K_CPU_USAGE};

		move_ring(m, 5ull * RING + start);
		for (uint64_t i = 0; i < 3; i++) {
			uint32_t len = row_of(&r, kinds[i], 0, 100 + i, 1 + i);

			memset(r.bytes + 80, (int)(0x10 + i), 40);
			put(m, r.bytes, len);
		}
		struct tf_batch *b = drain_one(m, TF_BULK, (struct want){.records = 3, .read = 448});
		const struct tf_cpu *c = (const struct tf_cpu *)(const void *)b->dom[TF_CPU].rows;

		CHECK(c[0].h.seq == 1 && c[1].h.seq == 3 && c[0].rss == 0x1010101010101010u && c[1]._pad0 == 0x12121212);
		CHECK(((const struct tf_network *)(const void *)b->dom[TF_NETWORK].rows)->bytes_sent == 0x1111111111111111u);
		tf_batch_unref(b);
	}
}

static void test_busy_and_order(struct tf_memring *m)
{
	union any_row r;
	void *slot[3];

	move_ring(m, 0);
	for (unsigned i = 0; i < 3; i++) {
		uint32_t len = row_of(&r, TF_K_CPU_USAGE, 0, 100 + i, 1 + i);

		slot[i] = tf_memring_reserve(m, len);
		memcpy(slot[i], &r, len);
	}
	expect(m, TF_BULK, (struct want){.busy = true});         /* BUSY at the head */
	tf_memring_commit(m, slot[2], false);
	tf_memring_commit(m, slot[1], true);
	expect(m, TF_BULK, (struct want){.busy = true});         /* what is committed behind it has to wait */
	tf_memring_commit(m, slot[0], false);
	expect(m, TF_BULK, (struct want){.records = 2, .discarded = 1, .read = 384});
}

static void test_garbage_positions(struct tf_memring *m)
{
	move_ring(m, 0);
	*m->producer_pos = RING + 8;                             /* more than the ring holds */
	expect(m, TF_BULK, (struct want){.bad = 1, .read = RING + 8});
	move_ring(m, 0);
	*m->producer_pos = 20;                                   /* not on a record's boundary */
	expect(m, TF_BULK, (struct want){.bad = 1, .read = 20});
	move_ring(m, 0);
	memset(m->data, 0, RING);
	*m->producer_pos = RING;                                 /* all zero: records of length 0 */
	expect(m, TF_BULK, (struct want){.bad = RING / 8, .read = RING});
	move_ring(m, 0);
	memset(m->data, 0xff, RING);
	*m->producer_pos = RING;                                 /* all ones: BUSY */
	expect(m, TF_BULK, (struct want){.busy = true});
}

static void test_fill(void)
{
	struct tf_cpu row = {.h = {.type = TF_CPU, .ts_ns = 1000}};
	struct tf_memring m;
	uint64_t seq = 1;

	CHECK(!tf_memring_open(&m, 65536));
	CHECK_EQ(tf_memring_fill(&m, &row, sizeof(row), 1000, &seq), 511);
	CHECK_EQ(seq, 512);
	for (int round = 0; round < 2; round++) {
		struct tf_batch *b = drain_one(&m, TF_BULK, (struct want){.records = 511, .read = 511 * 128});

		CHECK(((const struct tf_cpu *)(const void *)b->dom[TF_CPU].rows)[510].h.ts_ns == 1511);
		tf_batch_unref(b);
		tf_memring_rewind(&m);
	}
	tf_memring_close(&m);
}

int main(void)
{
	struct tf_memring m;

	test_producer();
	test_open_mem();
	CHECK(!tf_memring_open(&m, RING));
	test_lengths(&m);
	test_identity(&m);
	test_texts(&m);
	test_wrap(&m);
	test_busy_and_order(&m);
	test_garbage_positions(&m);
	tf_memring_close(&m);
	test_fill();
	puts("ok");
	return 0;
}
