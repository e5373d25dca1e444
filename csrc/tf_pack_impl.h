/* SPDX-License-Identifier: Apache-2.0 */
/* tf_pack_impl: between tf_pack.c (encode), tf_pack_list.c (lists of texts) and tf_pack_read.c (decode). */
#ifndef TF_PACK_IMPL_H
#define TF_PACK_IMPL_H

#include "tf_pack.h"

/* A pack, in this order: u1 form; u1 mode of each field; what is said of each field; of a joined pack the length of its frame; the frames.
 *   TF_PACK_SAME   the value
 *   TF_PACK_PLANES size planes of n bytes            apart: length of the frame
 *   TF_PACK_STEPS  the same of differences (8 bytes) apart: length of the frame
 *   TF_PACK_LIST   entries e, bytes of their texts t; then numbers of entries, 0 the empty text: planes of n bytes as many as e needs; and
 *                  the list: e lengths and e true lengths as four planes each, t bytes.  apart: length of each of the two frames
 *                  (no entries: nothing more)
 * Lengths and counts are LEB128. A joined pack's one frame holds all of it, one after the other. */
enum tf_pack_form { TF_PACK_JOINED, TF_PACK_FIELDS };
enum tf_pack_mode { TF_PACK_SAME, TF_PACK_PLANES, TF_PACK_STEPS, TF_PACK_LIST };

struct tf_pack_entry {
	uint32_t hash_low;           /* of the text: spares most comparisons */
	uint32_t len, full_len;
	uint64_t at;                 /* bytes: of its text in the list */
};
/* The different texts of one field, in the order in which they came. */
struct tf_pack_list {
	struct tf_pack_entry *entry;
	uint32_t n, cap;
	uint8_t *text;
	size_t text_len, text_cap;
	uint32_t *slot;              /* hash table: entry + 1, 0 = free; a power of two of them */
	uint32_t n_slots;
	uint64_t key[2];             /* random: who names files must not choose where they fall */
};

struct tf_pack {
	struct tf_codec *codec;
	struct tf_pack_list list;
	uint32_t *ids;               /* of the field at hand, a row each */
	size_t ids_cap;
	uint8_t *raw;                /* parts of the field at hand */
	size_t raw_cap;
	uint8_t *joined;             /* all parts of a joined pack */
	size_t joined_cap;
	uint8_t *planes;             /* all planes of the rows that are read */
	size_t planes_cap;
};

bool tf_pack_covers(const struct tf_pack_shape *s);      /* a row, without gaps, by its fields in order */
void tf_pack_list_reset(struct tf_pack_list *l);
void tf_pack_list_free(struct tf_pack_list *l);
/* Number of the entry with this text, from 1; made if there is none. -ENOMEM. */
int64_t tf_pack_list_find(struct tf_pack_list *l, const uint8_t *text, uint32_t len, uint32_t full_len);
/* Room of at least `need` bytes in a buffer whose contents need not stay; NULL: no memory. */
void *tf_pack_room(void **buffer, size_t *cap, size_t need);

static inline uint32_t tf_pack_id_size(uint64_t entries)
{
	return entries < 256 ? 1 : entries < 65536 ? 2 : 4;
}

#endif
