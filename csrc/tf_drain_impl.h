/* SPDX-License-Identifier: Apache-2.0 */
/* tf_drain_impl: what tf_drain.c (opening, quotas, scanning) and tf_drain_copy.c (copying) share; not for other files. */
#ifndef TF_DRAIN_IMPL_H
#define TF_DRAIN_IMPL_H

#include "tf_drain.h"
#include "tf_refine.h"

#define TF_PREFETCH 32 /* records ahead: reads */
#define TF_PREFETCH_TO 8 /* rows ahead: writes, in a batch larger than the second-level cache */

/* What (type, subtype) says about a record; row_size 0 = unknown kind. */
struct tf_class {
	uint16_t row_size;
	uint8_t kind, lane, domain;
	uint8_t n_text;         /* tf_text members, all at the end of the row */
	uint8_t text_at;        /* byte offset of the first one */
	bool raw;               /* its text comes raw: tf_refine.h */
};

/* One ring during a pass: scanning sets it, copying follows it. Positions are bytes, as the ring's. */
struct tf_cursor {
	uint64_t producer;      /* when the pass began */
	uint64_t quota;         /* bytes this ring may give */
	uint64_t stop;          /* records up to here are whole */
	uint64_t end;           /* where the read cursor goes: past `stop` only when the ring was corrupt there */
	uint64_t limit;         /* what copying may go on to when the scan looked no further than `end`; else not past it */
	uint64_t newest;        /* ns: greatest ts_ns copied from this ring */
};

struct tf_drain {
	struct tf_drain_opts o;
	uint32_t n;                     /* rings of both lanes */
	uint32_t turn;                  /* ring that goes first in the next pass */
	uint64_t late, newest;
	struct tf_need room;            /* what this pass asked for itself: the caller may have carved more for rows of its own */
	struct tf_drain_result *found;  /* the caller's, of the pass at hand */
	bool avx2;                      /* the processor has it */
	struct tf_cursor *cursors;      /* [n] */
	uint64_t (*counts)[2];          /* [ncpu * TF_KIND_MAX] */
	uint64_t *last_seq, *reads, *gaps; /* [ncpu * TF_LANES] */
	struct tf_class classes[TF_TYPE_MAX * 256];
};

/* The bytes of a header that decide what it is: cpu, (gen), type, subtype, (flags). Same place in every row. */
#define TF_WORD_AT offsetof(struct tf_header, cpu)
#define TF_WORD_MASK 0x0000ffff0000ffffull
_Static_assert(offsetof(struct tf_header, type) == TF_WORD_AT + 4 && offsetof(struct tf_header, subtype) == TF_WORD_AT + 5,
	       "tf_word reads cpu, type and subtype at once");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "tf_word and the store are little endian");

static inline uint64_t tf_load64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static inline uint64_t tf_word(const uint8_t *record)
{
	return tf_load64(record + TF_WORD_AT) & TF_WORD_MASK;
}

/* The lines of a record some way ahead, where it still belongs to the pass: behind that a producer may be writing. */
static inline __attribute__((always_inline)) void tf_prefetch(const uint8_t *at, const uint8_t *last, const uint32_t stride)
{
	if (tf_likely(at + TF_PREFETCH * stride <= last))
		for (uint32_t i = 0; i < stride; i += 64)
			__builtin_prefetch(at + TF_PREFETCH * stride + i);
}

static inline uint32_t tf_head(const uint8_t *at)
{
	return tf_load_acquire((const uint32_t *)(const void *)at); /* partner: the release that commits a record */
}

static inline uint64_t tf_stride(uint32_t len)
{
	return ((uint64_t)len + TF_RING_HEADER + 7) & ~7ull;
}

/* True when all texts of a row without a tail are empty: {offset, len} are read as one word each. */
static inline bool tf_texts_empty(const struct tf_class *c, const uint8_t *record)
{
	const uint8_t *t = record + c->text_at;
	uint64_t any = 0;

	for (unsigned i = 0; i < c->n_text; i++)
		any |= tf_load64(t + i * sizeof(struct tf_text));
	return !any;
}

/* Room in a batch that the tail of a classified record needs. */
static inline uint32_t tf_tail_room(const struct tf_class *c, const uint8_t *record, uint32_t len)
{
	if (tf_unlikely(c->raw) && len != c->row_size)
		return tf_refine_size(c->kind, record, record + c->row_size);
	return len - c->row_size;
}

/* Every text of a row with a tail lies inside the tail. */
bool tf_texts_inside(const struct tf_class *c, const uint8_t *record, uint32_t tail);

/* The class of a record of this lane whose length and texts are right, else NULL; *cell gets the (cpu, kind) that it counts on. */
static inline const struct tf_class *tf_drain_classify(const struct tf_drain *d, uint32_t ring, const uint8_t *record, uint32_t len,
							uint32_t *cell)
{
	const struct tf_class *c;
	uint64_t word;
	uint32_t cpu;

	*cell = ring / TF_LANES * TF_KIND_MAX;
	if (len < sizeof(struct tf_header))
		return NULL;
	word = tf_word(record);
	cpu = (uint32_t)word & 0xffff;
	if ((uint8_t)(word >> 32) >= TF_TYPE_MAX)
		return NULL;
	c = &d->classes[(uint8_t)(word >> 32) << 8 | (uint8_t)(word >> 40)];
	if (!c->row_size || cpu >= d->o.ncpu)
		return NULL;
	*cell = cpu * TF_KIND_MAX + c->kind;
	if (len < c->row_size || (len > c->row_size && !c->n_text) || c->lane != ring % TF_LANES)
		return NULL;
	return !c->n_text || tf_texts_inside(c, record, len - c->row_size) ? c : NULL;
}

#endif
