// SPDX-License-Identifier: Apache-2.0
/* tf_codec: turns rows into byte planes and compresses them, and back. Relies on zstd (vendored, linked static).
 *
 * Why this layout: neighbouring rows differ in few bytes, so a plane (byte p of every row) is long runs and small alphabets; on a real
 * trace it is 2.2 times smaller and 1.7 times faster to compress than rows. A tile of 64 rows is transposed at a time so that every
 * 64-byte line of a plane is written once and whole: planes are often a multiple of 4096 bytes apart, where all of them fall into the
 * same cache set. */
#include "tf_codec.h"

#include <stdlib.h>

#define ZSTD_STATIC_LINKING_ONLY /* ZSTD_getFrameHeader: window size before anything is decoded */
#include "zstd.h"

#ifdef __SSE2__
#include <immintrin.h>
#endif

#define TILE 64u
#define GROUP 16u                    /* bytes of a row transposed together */
#define ROW_MAX 4096u                /* bytes: bounds the staging tile */
#define WINDOW_CAP (1ull << 23)      /* bytes: decode refuses more */
#define LEVEL_MAX 19                 /* above, zstd writes windows that decode refuses */
#define DELTA_BYTES 16u              /* ts_ns and seq open every row */

struct tf_codec {
	ZSTD_CCtx *cctx;
	ZSTD_DCtx *dctx;
	uint8_t *planes;             /* scratch, grows to the largest block seen */
	size_t planes_cap;
	uint8_t stage[TILE * ROW_MAX] __attribute__((aligned(64)));
};

int tf_codec_open(int level, struct tf_codec **out)
{
	if (level < ZSTD_minCLevel() || level > LEVEL_MAX)
		return -EINVAL;
	struct tf_codec *c = aligned_alloc(64, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->planes = NULL;
	c->planes_cap = 0;
	c->cctx = ZSTD_createCCtx();
	c->dctx = ZSTD_createDCtx();
	if (!c->cctx || !c->dctx || ZSTD_isError(ZSTD_CCtx_setParameter(c->cctx, ZSTD_c_compressionLevel, level))) {
		tf_codec_close(c);
		return -ENOMEM;
	}
	*out = c;
	return 0;
}

void tf_codec_close(struct tf_codec *c)
{
	if (!c)
		return;
	ZSTD_freeCCtx(c->cctx);
	ZSTD_freeDCtx(c->dctx);
	free(c->planes);
	free(c);
}

size_t tf_codec_bound(size_t raw_len)
{
	return ZSTD_compressBound(raw_len);
}

static int scratch(struct tf_codec *c, size_t need)
{
	if (need <= c->planes_cap)
		return 0;
	free(c->planes); /* contents are never kept: freeing first halves the peak */
	size_t cap = (need + need / 8 + 4095) & ~(size_t)4095;
	c->planes = aligned_alloc(4096, cap);
	c->planes_cap = c->planes ? cap : 0;
	return c->planes ? 0 : -ENOMEM;
}

/* Where the transform stands: the row before the next one, and how many rows are in the planes. */
struct cursor {
	uint8_t *planes;
	size_t stride;               /* rows of the whole block */
	size_t at;                   /* rows done */
	uint32_t row_size;
	uint64_t prev[2];            /* ts_ns, seq of the row before */
	void (*group)(const uint8_t *src, uint32_t row_size, uint8_t lines[GROUP][TILE], const uint64_t prev[2], bool delta);
};

static bool has_delta(uint32_t row_size)
{
	return row_size >= DELTA_BYTES;
}

#ifdef __SSE2__
/* 16 x 16 bytes: row i of the answer is column i of the question. Its own inverse. */
static inline void transpose16(__m128i r[16])
{
	__m128i t[16];
#define ROUND(to, from)                                                        \
	for (int i = 0; i < 8; i++) {                                          \
		to[2 * i] = _mm_unpacklo_epi8(from[i], from[i + 8]);           \
		to[2 * i + 1] = _mm_unpackhi_epi8(from[i], from[i + 8]);       \
	}
	ROUND(t, r)
	ROUND(r, t)
	ROUND(t, r)
	ROUND(r, t)
#undef ROUND
}

static inline __m128i load(const void *p)
{
	return _mm_loadu_si128(p);
}

static inline void store(void *p, __m128i v)
{
	_mm_storeu_si128(p, v);
}

/* 64 rows x 16 bytes -> 16 lines of 64 bytes. With `delta` the 16 bytes are ts_ns and seq, of which the row before is subtracted. */
static void group_sse2(const uint8_t *src, uint32_t row_size, uint8_t lines[GROUP][TILE], const uint64_t prev[2], bool delta)
{
	__m128i before = load(prev);
	for (uint32_t quarter = 0; quarter < 4; quarter++) {
		__m128i r[16];
		for (uint32_t i = 0; i < 16; i++, src += row_size)
			r[i] = load(src);
		if (delta) {
			__m128i last = r[15];
			for (uint32_t i = 15; i > 0; i--)
				r[i] = _mm_sub_epi64(r[i], r[i - 1]);
			r[0] = _mm_sub_epi64(r[0], before);
			before = last;
		}
		transpose16(r);
		for (uint32_t p = 0; p < GROUP; p++)
			store(lines[p] + 16 * quarter, r[p]);
	}
}

#define AVX2 __attribute__((target("avx2")))
static AVX2 inline __m256i load_pair(const uint8_t *low, const uint8_t *high)
{
	return _mm256_inserti128_si256(_mm256_castsi128_si256(load(low)), load(high), 1);
}

/* Half the shuffles: rows i and i + 16 side by side in one register. Chosen at run time; nothing else needs AVX2. */
static AVX2 void group_avx2(const uint8_t *src, uint32_t row_size, uint8_t lines[GROUP][TILE], const uint64_t prev[2], bool delta)
{
	for (uint32_t half = 0; half < 2; half++) {
		__m256i r[16], t[16];
		const uint8_t *high = src + (size_t)16 * row_size;
		for (uint32_t i = 0; i < 16; i++)
			r[i] = load_pair(src + (size_t)i * row_size, high + (size_t)i * row_size);
		if (delta) {
			const uint8_t *before = half ? src - row_size : (const uint8_t *)prev;
			__m256i first = load_pair(before, high - row_size);
			for (uint32_t i = 15; i > 0; i--)
				r[i] = _mm256_sub_epi64(r[i], r[i - 1]);
			r[0] = _mm256_sub_epi64(r[0], first);
		}
#define ROUND(to, from)                                                        \
	for (int i = 0; i < 8; i++) {                                          \
		to[2 * i] = _mm256_unpacklo_epi8(from[i], from[i + 8]);        \
		to[2 * i + 1] = _mm256_unpackhi_epi8(from[i], from[i + 8]);    \
	}
		ROUND(t, r)
		ROUND(r, t)
		ROUND(t, r)
		ROUND(r, t)
#undef ROUND
		for (uint32_t p = 0; p < GROUP; p++)
			_mm256_storeu_si256((__m256i *)(lines[p] + 32 * half), r[p]);
		src = high + (size_t)16 * row_size;
	}
}

static void choose_group(struct cursor *c)
{
	c->group = __builtin_cpu_supports("avx2") ? group_avx2 : group_sse2;
}

static inline void put_lines(struct cursor *c, uint32_t column, uint8_t lines[GROUP][TILE], uint32_t m)
{
	uint8_t *dst = c->planes + (size_t)column * c->stride + c->at;
	for (uint32_t p = 0; p < GROUP; p++, dst += c->stride) {
		if (tf_likely(m == TILE)) {
			memcpy(dst, lines[p], TILE);
			__builtin_prefetch(dst + 2 * TILE, 1); /* no hardware prefetcher follows 184 streams: a fifth of the time */
		} else {
			memcpy(dst, lines[p], m);
		}
	}
}

/* m <= 64 rows at src, which must be readable for 64 rows. */
static void tile(struct cursor *c, const uint8_t *src, uint32_t m)
{
	uint8_t lines[GROUP][TILE] __attribute__((aligned(64)));
	for (size_t off = 0; off < (size_t)TILE * c->row_size; off += 64)
		__builtin_prefetch(src + (size_t)TILE * c->row_size + off);
	c->group(src, c->row_size, lines, c->prev, true);
	put_lines(c, 0, lines, m);
	for (uint32_t column = GROUP; column < c->row_size; column += GROUP) {
		if (column + GROUP > c->row_size)
			column = c->row_size - GROUP; /* the last group overlaps the one before: same bytes again */
		c->group(src + column, c->row_size, lines, c->prev, false);
		put_lines(c, column, lines, m);
	}
	memcpy(c->prev, src + (size_t)(m - 1) * c->row_size, DELTA_BYTES);
	c->at += m;
}

/* The other way: 64 lines' worth of planes back to rows; stage has room for 64 rows. */
static void untile(struct cursor *c, uint8_t *rows)
{
	__m128i acc = load(c->prev);
	for (uint32_t column = 0; column < c->row_size; column += GROUP) {
		if (column + GROUP > c->row_size)
			column = c->row_size - GROUP;
		const uint8_t *src = c->planes + (size_t)column * c->stride + c->at;
		for (uint32_t quarter = 0; quarter < 4; quarter++) {
			__m128i r[16];
			for (uint32_t p = 0; p < 16; p++)
				r[p] = load(src + p * c->stride + 16 * quarter);
			transpose16(r);
			uint8_t *dst = rows + (size_t)quarter * 16 * c->row_size + column;
			for (uint32_t i = 0; i < 16; i++, dst += c->row_size) {
				if (column == 0)
					r[i] = acc = _mm_add_epi64(acc, r[i]);
				store(dst, r[i]);
			}
		}
	}
	store(c->prev, acc);
	c->at += TILE;
}
#define TILE_ROW_MIN (2 * GROUP)     /* shorter rows would let the overlapping group overwrite the deltas */
#else
#define TILE_ROW_MIN (ROW_MAX + 1)
#endif

/* Any row size, any count: the definition that the fast path must equal. */
static void tile_plain(struct cursor *c, const uint8_t *src, uint32_t m)
{
	for (uint32_t i = 0; i < m; i++, src += c->row_size, c->at++) {
		uint8_t head[DELTA_BYTES];
		uint32_t from = 0;
		if (has_delta(c->row_size)) {
			uint64_t here[2];
			memcpy(here, src, sizeof(here));
			uint64_t delta[2] = { here[0] - c->prev[0], here[1] - c->prev[1] };
			memcpy(head, delta, sizeof(head));
			memcpy(c->prev, here, sizeof(here));
			from = DELTA_BYTES;
		}
		for (uint32_t p = 0; p < from; p++)
			c->planes[(size_t)p * c->stride + c->at] = head[p];
		for (uint32_t p = from; p < c->row_size; p++)
			c->planes[(size_t)p * c->stride + c->at] = src[p];
	}
}

static void untile_plain(struct cursor *c, uint8_t *rows, size_t m)
{
	for (size_t i = 0; i < m; i++, rows += c->row_size, c->at++) {
		for (uint32_t p = 0; p < c->row_size; p++)
			rows[p] = c->planes[(size_t)p * c->stride + c->at];
		if (!has_delta(c->row_size))
			continue;
		uint64_t delta[2];
		memcpy(delta, rows, sizeof(delta));
		c->prev[0] += delta[0];
		c->prev[1] += delta[1];
		memcpy(rows, c->prev, sizeof(c->prev));
	}
}

static bool fits_tiles(uint32_t row_size)
{
	return row_size >= TILE_ROW_MIN && row_size <= ROW_MAX;
}

#ifdef __SSE2__
/* Tiles straight out of each span; rows that do not fill one are gathered in `stage` (room for 64). */
static void planes_of_spans(const struct tf_span *spans, size_t n_spans, struct cursor *c, uint8_t *stage)
{
	uint32_t held = 0;
	choose_group(c);
	for (size_t s = 0; s < n_spans; s++) {
		const uint8_t *src = spans[s].rows;
		uint32_t left = spans[s].n;
		while (left) {
			if (!held && left >= TILE) {
				tile(c, src, TILE);
				src += (size_t)TILE * c->row_size;
				left -= TILE;
				continue;
			}
			uint32_t take = left < TILE - held ? left : TILE - held;
			memcpy(stage + (size_t)held * c->row_size, src, (size_t)take * c->row_size);
			src += (size_t)take * c->row_size;
			left -= take;
			held += take;
			if (held == TILE) {
				tile(c, stage, TILE);
				held = 0;
			}
		}
	}
	if (held) {
		memset(stage + (size_t)held * c->row_size, 0, (size_t)(TILE - held) * c->row_size);
		tile(c, stage, held);
	}
}
#endif

static void spans_to_planes(const struct tf_span *spans, size_t n_spans, struct cursor *c, uint8_t *stage)
{
#ifdef __SSE2__
	if (stage && fits_tiles(c->row_size)) {
		planes_of_spans(spans, n_spans, c, stage);
		return;
	}
#endif
	(void)stage;
	for (size_t s = 0; s < n_spans; s++)
		tile_plain(c, spans[s].rows, spans[s].n);
}

void tf_codec_planes(const uint8_t *rows, uint32_t n, uint32_t row_size, uint8_t *dst)
{
	struct cursor c = { .planes = dst, .stride = n, .row_size = row_size };
#ifdef __SSE2__
	choose_group(&c);
	if (fits_tiles(row_size))
		while (n - c.at >= TILE)
			tile(&c, rows + c.at * row_size, TILE);
#endif
	tile_plain(&c, rows + c.at * row_size, n - (uint32_t)c.at);
}

void tf_codec_unplanes(const uint8_t *planes, uint32_t n, uint32_t row_size, uint8_t *rows)
{
	struct cursor c = { .planes = (uint8_t *)(uintptr_t)planes, .stride = n, .row_size = row_size };
#ifdef __SSE2__
	if (fits_tiles(row_size))
		while (n - c.at >= TILE)
			untile(&c, rows + c.at * row_size);
#endif
	untile_plain(&c, rows + c.at * row_size, n - c.at);
}

static ssize_t encode(struct tf_codec *c, const void *src, size_t len, uint8_t *dst, size_t cap)
{
	/* A failed call leaves the session undefined: each one starts anew. Parameters are kept. */
	ZSTD_CCtx_reset(c->cctx, ZSTD_reset_session_only);
	size_t r = ZSTD_compress2(c->cctx, dst, cap, src, len);
	if (!ZSTD_isError(r))
		return (ssize_t)r;
	return ZSTD_getErrorCode(r) == ZSTD_error_dstSize_tooSmall ? -ENOSPC : -ENOMEM;
}

ssize_t tf_codec_encode_bytes(struct tf_codec *c, const void *src, size_t len, uint8_t *dst, size_t cap)
{
	return encode(c, src, len, dst, cap);
}

static size_t rows_of(const struct tf_span *spans, size_t n_spans)
{
	size_t n = 0;
	for (size_t s = 0; s < n_spans; s++)
		n += spans[s].n;
	return n;
}

uint8_t *tf_codec_planes_of(struct tf_codec *c, const struct tf_span *spans, size_t n_spans, uint32_t row_size)
{
	size_t n = rows_of(spans, n_spans);
	if (scratch(c, n * row_size + 1)) /* never zero bytes: aligned_alloc may answer NULL to that */
		return NULL;
	struct cursor to = { .planes = c->planes, .stride = n, .row_size = row_size };
	spans_to_planes(spans, n_spans, &to, c->stage);
	return c->planes;
}

ssize_t tf_codec_encode_spans(struct tf_codec *c, const struct tf_span *spans, size_t n_spans, uint32_t row_size, uint8_t *dst, size_t cap)
{
	if (!tf_codec_planes_of(c, spans, n_spans, row_size))
		return -ENOMEM;
	return encode(c, c->planes, rows_of(spans, n_spans) * row_size, dst, cap);
}

ssize_t tf_codec_encode_rows(struct tf_codec *c, const uint8_t *rows, uint32_t n, uint32_t row_size, uint8_t *dst, size_t cap)
{
	struct tf_span span = { rows, n };
	return tf_codec_encode_spans(c, &span, 1, row_size, dst, cap);
}

/* One zstd frame, no more and no less, that says it holds exactly `want` bytes and asks for no large window. */
static int check_frame(const uint8_t *src, size_t src_len, size_t want)
{
	ZSTD_FrameHeader h;
	if (ZSTD_getFrameHeader(&h, src, src_len) != 0)
		return -EBADMSG;
	if (h.frameType != ZSTD_frame || h.frameContentSize != want || h.dictID != 0)
		return -EBADMSG;
	if (h.windowSize > WINDOW_CAP)
		return -EBADMSG;
	return ZSTD_findFrameCompressedSize(src, src_len) == src_len ? 0 : -EBADMSG;
}

int tf_codec_decode_bytes(struct tf_codec *c, const uint8_t *src, size_t src_len, void *dst, size_t len)
{
	int rc = check_frame(src, src_len, len);
	if (rc)
		return rc;
	ZSTD_DCtx_reset(c->dctx, ZSTD_reset_session_only);
	size_t r = ZSTD_decompressDCtx(c->dctx, dst, len, src, src_len);
	if (ZSTD_isError(r))
		return ZSTD_getErrorCode(r) == ZSTD_error_memory_allocation ? -ENOMEM : -EBADMSG;
	return r == len ? 0 : -EBADMSG;
}

int tf_codec_decode_rows(struct tf_codec *c, const uint8_t *src, size_t src_len, uint8_t *rows, uint32_t n, uint32_t row_size)
{
	size_t len = (size_t)n * row_size;
	int rc = check_frame(src, src_len, len); /* before scratch memory is taken */
	if (rc)
		return rc;
	rc = scratch(c, len + 1);
	if (rc)
		return rc;
	rc = tf_codec_decode_bytes(c, src, src_len, c->planes, len);
	if (!rc)
		tf_codec_unplanes(c->planes, n, row_size, rows);
	return rc;
}
