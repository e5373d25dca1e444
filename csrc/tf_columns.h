/* SPDX-License-Identifier: Apache-2.0 */
/* tf_columns: columns, texts and time order out of batches, on demand. Pure functions on caller memory; any thread. */
#ifndef TF_COLUMNS_H
#define TF_COLUMNS_H

#include "tf_batch.h"

struct tf_column {
	uint16_t offset, size;      /* bytes: of the field in the row */
	uint8_t *dst;               /* n * size bytes, contiguous */
};
/* Splits rows into columns, in blocks that stay in the first-level cache. */
void tf_columns_split(const uint8_t *rows, uint32_t n, uint32_t row_size, const struct tf_column *columns, size_t n_columns);
/* Bytes that tf_text_gather will pack: a reference outside the text area counts nothing. */
uint64_t tf_text_bytes(const uint8_t *rows, uint32_t n, uint32_t row_size, uint32_t field, uint32_t text_len);
/* Texts of one field packed in row order: offsets[n + 1], data of tf_text_bytes(). A reference outside `text` gives an empty text. */
void tf_text_gather(const uint8_t *rows, uint32_t n, uint32_t row_size, uint32_t field, const uint8_t *text, uint32_t text_len,
		    uint64_t *offsets, uint8_t *data);
/* The same batch with the rows of each domain in order of (ts_ns, cpu, lane, seq). 0, -ENOMEM. */
int tf_batch_sorted(const struct tf_batch *src, struct tf_batch **out);
/* Bit i of mask = rows[i].ts_ns <= ts_ns (or >, when after). Returns how many are set. */
uint32_t tf_mask_until(const uint8_t *rows, uint32_t n, uint32_t row_size, uint64_t ts_ns, bool after, uint64_t *mask);

#endif
