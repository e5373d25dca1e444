/* SPDX-License-Identifier: Apache-2.0 */
/* tf_pack: the rows of one domain of a block <-> a pack: each field compressed by itself, so that one can be read without the others.
 *
 * A field of which all rows have the same value is that value. Numbers are byte planes (ts_ns and seq as differences), texts numbers of
 * entries in a list of the different ones. A pack of few rows is one zstd frame, since a frame has its price; a pack of many has one for
 * each field. Texts come back in the order of rows and fields without gaps, whatever lay between them before: offsets are not kept.
 * The caller owns all memory; a tf_pack is scratch for one thread. Input of decode is hostile. */
#ifndef TF_PACK_H
#define TF_PACK_H

#include "tf_codec.h"
#include "tf_layout.h"

#define TF_PACK_FIELDS_MAX 96u
#define TF_PACK_APART 1024u          /* rows from which on each field is a frame of its own */

struct tf_pack;
int tf_pack_open(int level, struct tf_pack **out);      /* 0, -ENOMEM, -EINVAL */
void tf_pack_close(struct tf_pack *p);                  /* NULL is fine */
struct tf_codec *tf_pack_codec(struct tf_pack *p);      /* for what else is compressed beside the rows */

/* Rows of one epoch: offsets of their texts count from `text`. */
struct tf_pack_rows {
	const uint8_t *rows, *text;
	uint32_t n, text_len;
};
/* Fields of a row: together they cover its row_size bytes. What decode needs of them: kind, offset, size. */
struct tf_pack_shape {
	const struct tf_field *fields;
	uint32_t n_fields, row_size;
};
/* Bytes of text that an epoch will have when it comes back; *lied is set when a reference leads outside its text. */
uint64_t tf_pack_measure(const struct tf_pack_shape *shape, const struct tf_pack_rows *epoch, bool *lied);
/* Bytes that a pack takes at most. */
size_t tf_pack_bound(const struct tf_pack_shape *shape, uint32_t n_rows, uint64_t text);
/* Its length; -ENOMEM, -ENOSPC, -EINVAL (the fields do not cover a row). text, lied: sum and or of what tf_pack_measure() said of the epochs.
 * A text reference that lies is an empty text, and TF_F_PARTIAL is in the row's flags. */
ssize_t tf_pack_encode(struct tf_pack *p, const struct tf_pack_shape *shape, const struct tf_pack_rows *epochs, uint32_t n_epochs,
		       uint64_t text, bool lied, uint8_t *dst, size_t cap);

/* What decode makes of a pack of `n` rows in `n_epochs` epochs. */
struct tf_pack_out {
	const uint32_t *epoch_rows;  /* count: rows of each epoch; adds up to n */
	uint32_t n_epochs, n;
	uint64_t wanted[2];          /* bits: field i of the shape; others are zero in the rows */
	uint8_t *rows;               /* n rows */
	uint8_t *text;               /* text_cap bytes: texts of the fields that are wanted */
	size_t text_cap;
	uint32_t *text_len;          /* bytes: of each epoch's part of it */
};
/* 0; -EBADMSG: not such a pack, or its texts need more than text_cap; -ENOMEM. */
int tf_pack_decode(struct tf_pack *p, const struct tf_pack_shape *shape, const uint8_t *src, size_t len, const struct tf_pack_out *out);

static inline bool tf_pack_wants(const uint64_t wanted[2], uint32_t field)
{
	return wanted[field / 64] >> field % 64 & 1;
}

#endif
