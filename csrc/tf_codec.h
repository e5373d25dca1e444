/* SPDX-License-Identifier: Apache-2.0 */
/* tf_codec: rows <-> compressed bytes: ts_ns and seq as deltas (wrapping), then byte planes through 64-row tiles, then zstd.
 * Pure functions on caller memory plus one reusable context per thread. Input of decode is hostile. */
#ifndef TF_CODEC_H
#define TF_CODEC_H

#include "tf_base.h"

struct tf_codec;
int tf_codec_open(int level, struct tf_codec **out);            /* 0, -ENOMEM, -EINVAL */
void tf_codec_close(struct tf_codec *c);
size_t tf_codec_bound(size_t raw_len);
/* Transform only (benchmarks): dst has n * row_size bytes. */
void tf_codec_planes(const uint8_t *rows, uint32_t n, uint32_t row_size, uint8_t *dst);
void tf_codec_unplanes(const uint8_t *planes, uint32_t n, uint32_t row_size, uint8_t *rows);
/* Compressed length, or -ENOSPC, -ENOMEM. */
ssize_t tf_codec_encode_rows(struct tf_codec *c, const uint8_t *rows, uint32_t n, uint32_t row_size, uint8_t *dst, size_t cap);
/* The same of rows that lie in several places: decodes as if they were one array. */
struct tf_span {
	const uint8_t *rows;
	uint32_t n;
};
ssize_t tf_codec_encode_spans(struct tf_codec *c, const struct tf_span *spans, size_t n_spans, uint32_t row_size, uint8_t *dst, size_t cap);
/* The planes of such rows, before they are compressed: the codec's own memory, free to change, until the next call that makes planes. NULL:
 * no memory. */
uint8_t *tf_codec_planes_of(struct tf_codec *c, const struct tf_span *spans, size_t n_spans, uint32_t row_size);
ssize_t tf_codec_encode_bytes(struct tf_codec *c, const void *src, size_t len, uint8_t *dst, size_t cap);
/* Exactly n * row_size (or len) bytes must come out: 0, -EBADMSG, -ENOMEM. */
int tf_codec_decode_rows(struct tf_codec *c, const uint8_t *src, size_t src_len, uint8_t *rows, uint32_t n, uint32_t row_size);
int tf_codec_decode_bytes(struct tf_codec *c, const uint8_t *src, size_t src_len, void *dst, size_t len);

#endif
