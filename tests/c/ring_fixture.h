/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of rings, drain, queue and pump share: records put on a ring by hand. */
#ifndef RING_FIXTURE_H
#define RING_FIXTURE_H

#include "check.h"
#include "tf_drain.h"

/* Any row, with a header that names kind and cpu. */
union any_row {
	struct tf_header h;
	struct tf_process process;
	struct tf_network network;
	struct tf_cpu cpu;
	struct tf_meta meta;
	uint8_t bytes[TF_RECORD_CAP + 64];
};

static inline void set_kind(struct tf_header *h, unsigned kind, unsigned cpu)
{
	h->type = tf_kind_table[kind].type;
	h->subtype = tf_kind_table[kind].subtype;
	h->cpu = (uint16_t)cpu;
}

static inline uint32_t row_of(union any_row *r, unsigned kind, unsigned cpu, uint64_t ts, uint64_t seq)
{
	memset(r, 0, sizeof(r->meta));
	set_kind(&r->h, kind, cpu);
	r->h.ts_ns = ts;
	r->h.seq = seq;
	r->h.weight = 1;
	return tf_row_size(r->h.type);
}

/* Puts a committed record with this header word on the ring, whatever it says; payload may be shorter than len claims. */
static inline void put_raw(struct tf_memring *m, uint32_t head, const void *payload, uint32_t payload_len, uint64_t stride)
{
	uint64_t at = *m->producer_pos & (m->ring.size - 1);
	uint32_t words[2] = {head, 0};

	memcpy(m->data + at, words, sizeof(words));
	if (payload_len)
		memcpy(m->data + at + 8, payload, payload_len);
	tf_store_release(m->producer_pos, *m->producer_pos + stride);
}

static inline uint64_t stride_of(uint32_t len)
{
	return ((uint64_t)len + 8 + 7) / 8 * 8;
}

static inline void put(struct tf_memring *m, const void *payload, uint32_t len)
{
	put_raw(m, len, payload, len, stride_of(len));
}

/* Empties a ring and lets it begin at a position. */
static inline void move_ring(struct tf_memring *m, uint64_t position)
{
	*m->producer_pos = *m->ring.consumer_pos = position;
	m->ring.read = m->ring.published = m->pending_pos = position;
}

#endif
