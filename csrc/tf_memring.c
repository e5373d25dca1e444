/* SPDX-License-Identifier: Apache-2.0 */
/* tf_memring: a ring in our own memory, laid out like the kernel's and filled by the kernel's protocol. */
#include "tf_ring.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

struct head {
	uint32_t len;
	uint32_t page;          /* the kernel keeps the header's page number here; readers ignore it */
};

/* Two pages of positions, then the data twice in a row. */
static int map_twice(struct tf_memring *m, size_t page, size_t size)
{
	int fd = (int)syscall(SYS_memfd_create, "tapio-memring", 1u /* MFD_CLOEXEC */), rc = 0;
	uint8_t *at = MAP_FAILED;
	size_t len = 2 * page + 2 * size;

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)(2 * page + size)) == 0)
		at = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED) {
		rc = -errno;
	} else if (mmap(at + 2 * page + size, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, (off_t)(2 * page)) ==
		   MAP_FAILED) {
		rc = -errno;
		munmap(at, len);
	} else {
		m->ring.map_producer = at;
		m->ring.map_producer_len = len;
	}
	close(fd);
	return rc;
}

int tf_memring_open(struct tf_memring *m, uint64_t size)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	uint8_t *at;
	int rc;

	memset(m, 0, sizeof(*m));
	if (size < page || size & (size - 1) || size > SIZE_MAX / 4)
		return -EINVAL;
	rc = map_twice(m, page, (size_t)size);
	if (rc)
		return rc;
	at = m->ring.map_producer;
	m->producer_pos = (uint64_t *)(void *)(at + page);
	m->data = at + 2 * page;
	m->ring.consumer_pos = (uint64_t *)(void *)at;
	m->ring.producer_pos = m->producer_pos;
	m->ring.data = m->data;
	m->ring.size = size;
	return 0;
}

static uint64_t stride_of(uint32_t len)
{
	return ((uint64_t)(len & ~(TF_RING_BUSY | TF_RING_DISCARD)) + TF_RING_HEADER + 7) & ~7ull;
}

/* As the kernel does: the oldest record that is still BUSY keeps the ring from being overrun behind the reader's back. */
static void advance_pending(struct tf_memring *m, uint64_t producer)
{
	while (m->pending_pos < producer) {
		const struct head *h = (const struct head *)(const void *)(m->data + (m->pending_pos & (m->ring.size - 1)));
		uint32_t len = tf_load_relaxed(&h->len);

		if (len & TF_RING_BUSY)
			break;
		m->pending_pos += stride_of(len);
	}
}

void *tf_memring_reserve(struct tf_memring *m, uint32_t len)
{
	uint64_t producer = tf_load_relaxed(m->producer_pos), end;
	uint64_t consumer = tf_load_acquire(m->ring.consumer_pos); /* partner: tf_ring_publish */
	struct head *h;

	if (len > UINT32_MAX / 4)
		return NULL;
	end = producer + stride_of(len);
	advance_pending(m, producer);
	if (end - consumer > m->ring.size - 1 || end - m->pending_pos > m->ring.size - 1)
		return NULL;
	h = (struct head *)(void *)(m->data + (producer & (m->ring.size - 1)));
	h->page = (uint32_t)(((uint8_t *)h - m->data) >> 12);
	tf_store_relaxed(&h->len, len | TF_RING_BUSY);
	tf_store_release(m->producer_pos, end); /* partner: the acquire of producer_pos in tf_drain_scan */
	return h + 1;
}

void tf_memring_commit(struct tf_memring *m, void *payload, bool discard)
{
	struct head *h = (struct head *)payload - 1;
	uint32_t len = tf_load_relaxed(&h->len) & ~TF_RING_BUSY;

	(void)m;
	tf_store_release(&h->len, discard ? len | TF_RING_DISCARD : len); /* partner: the acquire of each header in tf_drain */
}

uint64_t tf_memring_fill(struct tf_memring *m, const void *row, uint32_t len, uint64_t n, uint64_t *seq)
{
	uint64_t done;

	for (done = 0; done < n; done++) {
		uint8_t *p = tf_memring_reserve(m, len);
		uint64_t ts;

		if (!p)
			break;
		memcpy(p, row, len);
		if (len >= sizeof(struct tf_header)) {
			memcpy(&ts, p + offsetof(struct tf_header, ts_ns), sizeof(ts));
			ts += *seq;
			memcpy(p + offsetof(struct tf_header, ts_ns), &ts, sizeof(ts));
			memcpy(p + offsetof(struct tf_header, seq), seq, sizeof(*seq));
		}
		++*seq;
		tf_memring_commit(m, p, false);
	}
	return done;
}

void tf_memring_rewind(struct tf_memring *m)
{
	if (tf_load_relaxed(m->producer_pos) > m->ring.size)
		return; /* the first records are overwritten: nothing to go back to */
	m->ring.read = 0;
	tf_ring_publish(&m->ring);
}

void tf_memring_close(struct tf_memring *m)
{
	tf_ring_close(&m->ring);
	memset(m, 0, sizeof(*m));
}
