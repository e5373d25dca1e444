/* SPDX-License-Identifier: Apache-2.0 */
/* tf_bench: rows made from their number, the ring that holds them, our drain over it, and libbpf's loop over it. */
#include "tf_bench_impl.h"

#include <stdio.h>
#include <stdlib.h>

#define PROCESSES 64u   /* count: whose records take turns, in bursts */

struct tf_bench {
	bool mixed;
	struct tf_memring mem;          /* in our memory, or */
	struct tf_bench_kernel *kernel; /* the kernel's */
	struct tf_ring rings[TF_LANES]; /* the bulk lane is the ring; no critical one */
	struct tf_drain *drain;
	uint64_t records, bytes;
};

/* splitmix64: noise that is the same everywhere. */
static uint64_t noise(uint64_t i)
{
	uint64_t z = (i + 1) * 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

/* Bursts of one process, times that advance unevenly, counters that grow: about as regular as real records are. */
static void fill_header(struct tf_header *h, uint64_t i, uint8_t type, uint8_t subtype)
{
	static const char names[8][TF_COMM_LEN] = {"nginx", "postgres", "python3", "node", "sshd", "redis-server", "kworker/0:1", "java"};
	uint64_t who = noise(i / 8) % PROCESSES;

	memset(h, 0, sizeof(*h));
	h->ts_ns = 1000000000000ull + i * 1500 + noise(i) % 1024;
	h->seq = i + 1;
	h->cgroup_id = 4000 + who / 8;
	h->start_ns = 500000000000ull + who * 7919000003ull;
	h->pid = (uint32_t)(2000 + who * 13);
	h->tid = h->pid + (noise(i / 2) & 3 ? 0 : 1);
	h->ppid = (uint32_t)(1000 + who / 8);
	h->uid = h->gid = who % 8 == 3 ? 0 : 1000;
	h->weight = 1.0f;
	h->gen = 1;
	h->type = type;
	h->subtype = subtype;
	memcpy(h->comm, names[who % 8], sizeof(h->comm));
}

static uint32_t fill_cpu(uint64_t i, struct tf_cpu *row)
{
	fill_header(&row->h, i, TF_CPU, 0);
	row->on_cpu_ns = noise(i * 3) % 4000000;
	row->rss = (20000 + noise(row->h.pid) % 5000 + i / 4096) * 4096;
	row->switches = i / PROCESSES;
	row->threads = 1 + row->h.pid % 7;
	row->minor_faults = (uint32_t)(noise(i * 5) % 16);
	row->major_faults = 0;
	row->_pad0 = 0;
	return sizeof(*row);
}

static uint32_t fill_network(uint64_t i, struct tf_network *row)
{
	uint64_t x = noise(i * 7);

	memset(row, 0, sizeof(*row));
	fill_header(&row->h, i, TF_NETWORK, 2);
	row->cookie = noise(i / 4);
	row->duration_ns = x % 90000000;
	row->bytes_sent = x >> 40 & 0xffff;
	row->bytes_received = x >> 24 & 0xfffff;
	row->source_ip[10] = row->source_ip[11] = row->dest_ip[10] = row->dest_ip[11] = 0xff;
	row->source_ip[12] = row->dest_ip[12] = 10;
	row->source_ip[15] = 7;
	row->dest_ip[15] = (uint8_t)(x >> 8 & 31);
	row->netns = 4026531840u;
	row->srtt_us = (uint32_t)(x % 4000);
	row->source_port = (uint16_t)(32768 + x % 28000);
	row->dest_port = x & 1 ? 443 : 5432;
	row->family = 2;
	row->protocol = 6;
	row->direction = TF_DIR_EGRESS;
	row->state = 7;
	row->old_state = 5;
	return sizeof(*row);
}

uint32_t tf_bench_row(uint64_t i, bool mixed, uint8_t *row)
{
	union {
		struct tf_cpu cpu;
		struct tf_network network;
	} u;
	uint32_t len = mixed && noise(i / 4 + 99) & 1 ? fill_network(i, &u.network) : fill_cpu(i, &u.cpu);

	memcpy(row, &u, len);
	return len;
}

static int send_row(struct tf_bench *b, const uint8_t *row, uint32_t len)
{
	void *to;

	if (b->kernel)
		return tf_bench_kernel_send(b->kernel, row, len);
	to = tf_memring_reserve(&b->mem, len);
	if (!to)
		return -ENOSPC;
	memcpy(to, row, len);
	tf_memring_commit(&b->mem, to, false);
	return 0;
}

static int fill(struct tf_bench *b, char *msg, size_t msg_size)
{
	uint8_t row[TF_BENCH_ROW_MAX];
	int rc;

	for (;;) {
		uint32_t len = tf_bench_row(b->records, b->mixed, row);

		rc = send_row(b, row, len);
		if (rc)
			break;
		b->records++;
		b->bytes += len;
	}
	if (rc == -ENOSPC && b->records)
		return 0;
	snprintf(msg, msg_size, "record %llu could not be sent", (unsigned long long)b->records);
	return rc;
}

static int open_ring(struct tf_bench *b, const struct tf_bench_opts *o, char *msg, size_t msg_size)
{
	int rc;

	if (!o->kernel) {
		rc = tf_memring_open(&b->mem, o->size);
		b->rings[TF_BULK] = b->mem.ring;
		return rc;
	}
	rc = tf_bench_kernel_open(o->size, &b->kernel, msg, msg_size);
	return rc ? rc : tf_ring_open(&b->rings[TF_BULK], tf_bench_kernel_map(b->kernel), o->size);
}

int tf_bench_open(const struct tf_bench_opts *o, struct tf_bench **out, char *msg, size_t msg_size)
{
	struct tf_bench *b = calloc(1, sizeof(*b));
	struct tf_drain_opts drain = {.rings = b ? b->rings : NULL, .nrings = 1, .ncpu = 1, .rows_per_domain = o->rows_per_pass,
				      .bytes_per_pass = o->bytes_per_pass};
	int rc;

	*msg = 0;
	if (!b)
		return -ENOMEM;
	b->mixed = o->mixed;
	rc = open_ring(b, o, msg, msg_size);
	if (!rc)
		rc = fill(b, msg, msg_size);
	if (!rc)
		rc = tf_drain_open(&drain, &b->drain);
	if (rc) {
		tf_bench_close(b);
		return rc;
	}
	*out = b;
	return 0;
}

void tf_bench_close(struct tf_bench *b)
{
	if (!b)
		return;
	tf_drain_close(b->drain);
	if (b->kernel)
		tf_ring_close(&b->rings[TF_BULK]);
	tf_bench_kernel_close(b->kernel);
	tf_memring_close(&b->mem);
	free(b);
}

uint64_t tf_bench_records(const struct tf_bench *b) { return b->records; }
uint64_t tf_bench_bytes(const struct tf_bench *b) { return b->bytes; }

void tf_bench_rewind(struct tf_bench *b)
{
	b->rings[TF_BULK].read = 0; /* nothing produces, and the ring never went round: all of it is still there */
	tf_ring_publish(&b->rings[TF_BULK]);
}

int tf_bench_pass(struct tf_bench *b, struct tf_pool *pool, struct tf_batch **out)
{
	struct tf_drain_result found;
	int rc;

	tf_drain_scan(b->drain, &found);
	if (!found.records)
		return 0;
	rc = tf_batch_new(pool, &found.need, out);
	if (rc)
		return rc;
	tf_drain_copy(b->drain, *out, 0);
	tf_drain_publish(b->drain);
	return 1;
}

int64_t tf_bench_store(struct tf_bench *b, struct tf_pool *pool, struct tf_segment_writer *w, uint32_t rounds)
{
	int64_t total = 0;
	int rc = 0;

	for (uint32_t i = 0; i < rounds; i++) {
		struct tf_batch *batch;

		tf_bench_rewind(b);
		while ((rc = tf_bench_pass(b, pool, &batch)) > 0) {
			batch->epoch = (uint64_t)total + 1; /* only has to grow */
			total += (int64_t)batch->total;
			if (w)
				rc = tf_segment_writer_append(w, batch);
			tf_batch_unref(batch);
			if (rc < 0)
				return rc;
		}
		if (rc < 0)
			return rc;
	}
	if (w)
		rc = tf_segment_writer_flush(w, false);
	return rc < 0 ? rc : total;
}

int64_t tf_bench_drain(struct tf_bench *b, struct tf_pool *pool, uint32_t rounds)
{
	return tf_bench_store(b, pool, NULL, rounds);
}

int64_t tf_bench_sample(struct tf_bench *b, struct tf_pool *pool, uint32_t threshold, uint32_t rounds, uint32_t *kept)
{
	struct tf_sampler s;
	struct tf_batch *rows = NULL;
	uint64_t *dropped = NULL, *keep = NULL;
	int64_t n = 0;
	int rc;

	tf_bench_rewind(b);
	rc = tf_bench_pass(b, pool, &rows);
	if (rc <= 0)
		return rc ? rc : -ENODATA;
	dropped = calloc(TF_KIND_MAX, sizeof(*dropped));
	keep = calloc(rows->dom[TF_CPU].n / 64 + 1, sizeof(*keep));
	tf_sampler_init(&s, 1);
	s.rates[TF_K_CPU_USAGE] = TF_RATE(threshold, tf_weight_bits(threshold));
	for (uint32_t i = 0; dropped && keep && i < rounds; i++) {
		*kept = tf_sample_rows(&s, &rows->dom[TF_CPU], TF_CPU, keep, dropped, 1);
		n += rows->dom[TF_CPU].n;
	}
	free(dropped);
	free(keep);
	tf_batch_unref(rows);
	return n ? n : -ENOMEM;
}

int tf_bench_copy(void *sink, void *data, size_t len)
{
	struct tf_bench_sink *s = sink;

	if (s->used + len > s->cap)
		s->used = 0;
	memcpy(s->dst + s->used, data, len);
	s->used += len;
	s->records++;
	return 0;
}

int tf_bench_count(void *counter, void *data, size_t len)
{
	(void)data;
	(void)len;
	++*(uint64_t *)counter;
	return 0;
}

/* As ringbuf_process_ring() of libbpf 1.7: a record at a time, each one published. */
int64_t tf_bench_walk(struct tf_bench *b, tf_bench_fn fn, void *ctx)
{
	struct tf_ring *r = &b->rings[TF_BULK];
	uint64_t mask = r->size - 1, cons_pos = tf_load_acquire(r->consumer_pos), prod_pos;
	int64_t cnt = 0;
	bool got_new_data;

	do {
		got_new_data = false;
		prod_pos = tf_load_acquire(r->producer_pos);
		while (cons_pos < prod_pos) {
			const uint32_t *len_ptr = (const uint32_t *)(const void *)(r->data + (cons_pos & mask));
			uint32_t len = tf_load_acquire(len_ptr);

			if (len & TF_RING_BUSY)
				return cnt;
			got_new_data = true;
			cons_pos += ((uint64_t)(len << 2 >> 2) + TF_RING_HEADER + 7) / 8 * 8;
			if (!(len & TF_RING_DISCARD)) {
				int err = fn(ctx, (uint8_t *)(uintptr_t)len_ptr + TF_RING_HEADER, len);

				if (err < 0) {
					tf_store_release(r->consumer_pos, cons_pos);
					return err;
				}
				cnt++;
			}
			tf_store_release(r->consumer_pos, cons_pos);
		}
	} while (got_new_data);
	return cnt;
}

int64_t tf_bench_libbpf(struct tf_bench *b, struct tf_bench_sink *sink)
{
	return b->kernel ? tf_bench_kernel_consume(b->kernel, sink) : -EINVAL;
}
