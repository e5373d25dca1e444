/* SPDX-License-Identifier: Apache-2.0 */
/* tf_columns: columns, texts and time order out of batches. Relies on tf_batch for the layout of an arena. */
#include "tf_columns.h"

#include <stdlib.h>

#define BLOCK 64 /* rows: 64 rows of 184 bytes are 12 KiB, well inside a 32 KiB L1 beside the destinations */

#define COPY_COLUMN(type)                                                                   \
	do {                                                                                \
		type *out = (type *)dst;                                                    \
		for (uint32_t i = 0; i < n; i++, src += row_size)                           \
			memcpy(&out[i], src, sizeof(type));                                 \
	} while (0)

struct wide { uint8_t bytes[16]; };

static void copy_column(const uint8_t *src, uint32_t n, uint32_t row_size, uint32_t size, uint8_t *restrict dst)
{
	switch (size) {
	case 1: COPY_COLUMN(uint8_t); return;
	case 2: COPY_COLUMN(uint16_t); return;
	case 4: COPY_COLUMN(uint32_t); return;
	case 8: COPY_COLUMN(uint64_t); return;
	case 16: COPY_COLUMN(struct wide); return;
	}
	for (uint32_t i = 0; i < n; i++, src += row_size)
		memcpy(dst + (size_t)i * size, src, size);
}

void tf_columns_split(const uint8_t *rows, uint32_t n, uint32_t row_size, const struct tf_column *columns, size_t n_columns)
{
	for (uint32_t at = 0; at < n; at += BLOCK) {
		uint32_t m = n - at < BLOCK ? n - at : BLOCK;
		const uint8_t *block = rows + (size_t)at * row_size;

		for (size_t c = 0; c < n_columns; c++)
			copy_column(block + columns[c].offset, m, row_size, columns[c].size,
				    columns[c].dst + (size_t)at * columns[c].size);
	}
}

uint64_t tf_text_bytes(const uint8_t *rows, uint32_t n, uint32_t row_size, uint32_t field, uint32_t text_len)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < n; i++) {
		const struct tf_text *t = (const void *)(rows + (size_t)i * row_size + field);

		if ((uint64_t)t->offset + t->len <= text_len)
			sum += t->len;
	}
	return sum;
}

void tf_text_gather(const uint8_t *rows, uint32_t n, uint32_t row_size, uint32_t field, const uint8_t *text, uint32_t text_len,
		    uint64_t *offsets, uint8_t *data)
{
	uint64_t at = 0;

	for (uint32_t i = 0; i < n; i++) {
		const struct tf_text *t = (const void *)(rows + (size_t)i * row_size + field);

		offsets[i] = at;
		if ((uint64_t)t->offset + t->len > text_len)
			continue;
		memcpy(data + at, text + t->offset, t->len);
		at += t->len;
	}
	offsets[n] = at;
}

int tf_batch_sorted(const struct tf_batch *src, struct tf_batch **out)
{
	struct tf_need need = {0};
	struct tf_batch *b = NULL;
	uint8_t *domain = malloc(src->total + 1);
	uint32_t *row = malloc((src->total + 1) * sizeof(*row));
	int err = -ENOMEM;

	if (!domain || !row)
		goto out;
	for (int d = 0; d < TF_TYPE_MAX; d++) {
		need.rows[d] = src->dom[d].n;
		need.text[d] = src->dom[d].text_len;
	}
	err = tf_batch_new(src->pool, &need, &b);
	if (err)
		goto out;
	tf_batch_order(src, domain, row);
	for (uint64_t i = 0; i < src->total; i++) {
		const struct tf_rows *from = &src->dom[domain[i]];
		struct tf_rows *to = &b->dom[domain[i]];

		memcpy(to->rows + (size_t)to->n++ * to->row_size, from->rows + (size_t)row[i] * from->row_size, to->row_size);
	}
	for (int d = 0; d < TF_TYPE_MAX; d++) {
		/* the text area is kept whole, so the rows' offsets stay right */
		if (src->dom[d].text_len)
			memcpy(b->dom[d].text, src->dom[d].text, src->dom[d].text_len);
		b->dom[d].text_len = src->dom[d].text_len;
	}
	b->total = src->total;
	b->epoch = src->epoch;
	b->watermark_ns = src->watermark_ns;
	b->wall_offset_ns = src->wall_offset_ns;
	b->run_id = src->run_id;
	memcpy(b->boot_id, src->boot_id, sizeof(b->boot_id));
	memcpy(b->loss, src->loss, sizeof(b->loss));
	*out = b;
out:
	free(domain);
	free(row);
	return err;
}

uint32_t tf_mask_until(const uint8_t *rows, uint32_t n, uint32_t row_size, uint64_t ts_ns, bool after, uint64_t *mask)
{
	uint32_t set = 0;

	memset(mask, 0, (n + 63) / 64 * 8);
	for (uint32_t i = 0; i < n; i++) {
		const struct tf_header *h = (const void *)(rows + (size_t)i * row_size);

		if ((h->ts_ns > ts_ns) == after) {
			mask[i / 64] |= 1ULL << (i % 64);
			set++;
		}
	}
	return set;
}
