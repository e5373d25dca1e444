/* SPDX-License-Identifier: Apache-2.0 */
/* tf_ring: maps a kernel ring buffer and moves its two cursors. */
#include "tf_ring.h"

#include <sys/mman.h>
#include <unistd.h>

static size_t page_size(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

static void start_at_consumer(struct tf_ring *r)
{
	r->read = r->published = tf_load_acquire(r->consumer_pos); /* partner: whoever published last, maybe an earlier process */
}

int tf_ring_open(struct tf_ring *r, int map_fd, uint64_t size)
{
	size_t page = page_size();
	void *producer;

	memset(r, 0, sizeof(*r));
	if (size < page || size & (size - 1) || size > SIZE_MAX / 4)
		return -EINVAL;
	r->map_consumer = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, map_fd, 0);
	if (r->map_consumer == MAP_FAILED) {
		r->map_consumer = NULL;
		return -errno;
	}
	r->map_producer_len = page + 2 * (size_t)size;
	producer = mmap(NULL, r->map_producer_len, PROT_READ, MAP_SHARED, map_fd, (off_t)page);
	if (producer == MAP_FAILED) {
		int rc = -errno;

		tf_ring_close(r);
		return rc;
	}
	r->map_producer = producer;
	r->consumer_pos = r->map_consumer;
	r->producer_pos = producer;
	r->data = (const uint8_t *)producer + page;
	r->size = size;
	start_at_consumer(r);
	return 0;
}

int tf_ring_open_mem(struct tf_ring *r, uint64_t *consumer_pos, const uint64_t *producer_pos, const uint8_t *data, uint64_t size)
{
	memset(r, 0, sizeof(*r));
	if (size < 64 || size & (size - 1) || !consumer_pos || !producer_pos || !data || (uintptr_t)data % 8)
		return -EINVAL;
	r->consumer_pos = consumer_pos;
	r->producer_pos = producer_pos;
	r->data = data;
	r->size = size;
	start_at_consumer(r);
	return 0;
}

void tf_ring_publish(struct tf_ring *r)
{
	/* Partner: the kernel's acquire of consumer_pos in reserve; our reads of the payload stay before it. */
	tf_store_release(r->consumer_pos, r->read);
	r->published = r->read;
}

uint64_t tf_ring_unread(const struct tf_ring *r)
{
	uint64_t producer;

	if (!r->size)
		return 0;
	producer = tf_load_acquire(r->producer_pos); /* partner: the kernel's release in reserve */
	return producer > r->read ? producer - r->read : 0;
}

void tf_ring_close(struct tf_ring *r)
{
	if (r->map_consumer)
		munmap(r->map_consumer, page_size());
	if (r->map_producer)
		munmap(r->map_producer, r->map_producer_len);
	memset(r, 0, sizeof(*r));
}
