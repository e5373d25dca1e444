/* SPDX-License-Identifier: Apache-2.0 */
/* tf_batch_keep: leaves rows out of a batch that nobody shares yet, in place. Relies on nothing but the batch. */
#include "tf_batch.h"

/* First row from `at` on whose bit is `wanted`, n when there is none. A word at a time: whole runs are usually kept or dropped. */
static uint32_t next_row(const uint64_t *bits, uint32_t at, uint32_t n, bool wanted)
{
	while (at < n) {
		uint64_t word = (wanted ? bits[at / 64] : ~bits[at / 64]) >> (at % 64);

		if (word) {
			at += (uint32_t)__builtin_ctzll(word);
			break;
		}
		at = (at / 64 + 1) * 64;
	}
	return at < n ? at : n;
}

uint32_t tf_batch_keep(struct tf_batch *b, uint8_t domain, const uint64_t *bits)
{
	struct tf_rows *r = &b->dom[domain];
	uint32_t end = next_row(bits, 0, r->n, false), kept = end;

	tf_assert(tf_load_relaxed(&b->refs) == 1);
	while (end < r->n) {
		uint32_t start = next_row(bits, end, r->n, true);

		end = next_row(bits, start, r->n, false);
		if (end > start)
			memmove(r->rows + (size_t)kept * r->row_size, r->rows + (size_t)start * r->row_size, (size_t)(end - start) * r->row_size);
		kept += end - start;
	}
	b->total -= r->n - kept;
	r->n = kept;
	return kept;
}
