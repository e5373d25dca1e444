/* SPDX-License-Identifier: Apache-2.0 */
/* tf_ring: the consumer side of one BPF ring buffer, or of memory laid out like one. Two cursors: `read` is private and moves when
 * records are copied out; the published one (the kernel's consumer position) frees the space. One thread per ring. No globals.
 * Orderings match libbpf: acquire producer_pos, acquire each header, stop at BUSY, release consumer_pos after the last read. */
#ifndef TF_RING_H
#define TF_RING_H

#include "tf_base.h"

#define TF_RING_BUSY 0x80000000u
#define TF_RING_DISCARD 0x40000000u
#define TF_RING_HEADER 8

struct tf_ring {
	uint64_t *consumer_pos;         /* shared with the kernel: we write, it reads */
	const uint64_t *producer_pos;   /* shared: it writes, we read */
	const uint8_t *data;            /* size bytes, mapped twice in a row */
	uint64_t size;                  /* bytes, power of two */
	uint64_t read;                  /* bytes: read cursor, >= published */
	uint64_t published;             /* bytes: what consumer_pos says */
	void *map_consumer, *map_producer; /* what close unmaps; NULL for foreign memory */
	size_t map_producer_len;
};

/* Maps the ring behind map_fd; size in bytes = the map's max_entries. 0, -EINVAL, -ENOMEM, -EPERM. */
int tf_ring_open(struct tf_ring *r, int map_fd, uint64_t size);
/* Uses memory of the caller that is laid out like the kernel's (tests, recorded images). 0, -EINVAL. */
int tf_ring_open_mem(struct tf_ring *r, uint64_t *consumer_pos, const uint64_t *producer_pos, const uint8_t *data, uint64_t size);
void tf_ring_publish(struct tf_ring *r);        /* consumer_pos = read */
uint64_t tf_ring_unread(const struct tf_ring *r);   /* bytes between read cursor and producer */
void tf_ring_close(struct tf_ring *r);          /* zeroed struct is fine */

/* A ring in our own memory with a producer side that follows the kernel's protocol; needs no privileges. */
struct tf_memring {
	struct tf_ring ring;            /* the consumer side */
	uint64_t *producer_pos;
	uint8_t *data;                  /* writable view, mapped twice */
	uint64_t pending_pos;
};
int tf_memring_open(struct tf_memring *m, uint64_t size);       /* 0, -EINVAL, -ENOMEM */
/* Like bpf_ringbuf_reserve: pointer to len payload bytes with a BUSY header, or NULL when full. */
void *tf_memring_reserve(struct tf_memring *m, uint32_t len);
void tf_memring_commit(struct tf_memring *m, void *payload, bool discard);
/* Writes up to n copies of a row; each takes the next *seq as seq and adds it to ts_ns. Returns how many fitted. For tests and
 * benchmarks. */
uint64_t tf_memring_fill(struct tf_memring *m, const void *row, uint32_t len, uint64_t n, uint64_t *seq);
/* Rewinds: everything already produced can be read again (benchmarks). Does nothing once the producer has gone round the ring. */
void tf_memring_rewind(struct tf_memring *m);
void tf_memring_close(struct tf_memring *m);

#endif
