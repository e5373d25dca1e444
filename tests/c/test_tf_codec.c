// SPDX-License-Identifier: Apache-2.0
/* tf_codec: what goes in comes out, whatever the rows and however they lie; damaged and lying input is refused. */
#include "store_fixture.h"
#include "zstd.h"

static void fill(uint8_t *rows, size_t len, int kind)
{
	for (size_t i = 0; i < len; i++)
		rows[i] = (uint8_t)(kind == 0 ? 0 : kind == 1 ? 0xff : kind == 2 ? i : rng());
}

/* The transform by its definition: deltas of ts_ns and seq, then byte p of every row in plane p. */
static void planes_by_definition(const uint8_t *rows, uint32_t n, uint32_t row_size, uint8_t *planes)
{
	for (uint32_t i = 0; i < n; i++) {
		uint8_t row[5000];
		memcpy(row, rows + (size_t)i * row_size, row_size);
		for (uint32_t at = 0; row_size >= 16 && at < 16; at += 8) {
			uint64_t here, before = 0;
			memcpy(&here, row + at, 8);
			if (i)
				memcpy(&before, rows + (size_t)(i - 1) * row_size + at, 8);
			here -= before;
			memcpy(row + at, &here, 8);
		}
		for (uint32_t p = 0; p < row_size; p++)
			planes[(size_t)p * n + i] = row[p];
	}
}

static void round_trip(struct tf_codec *c, uint32_t n, uint32_t row_size, int kind)
{
	size_t len = (size_t)n * row_size, cap = tf_codec_bound(len);
	/* exact sizes: a sanitizer sees one byte too many */
	uint8_t *rows = malloc(len + 1), *planes = malloc(len + 1), *want = malloc(len + 1), *back = malloc(len + 1), *packed = malloc(cap);
	fill(rows, len, kind);
	planes_by_definition(rows, n, row_size, want);
	tf_codec_planes(rows, n, row_size, planes);
	CHECK(memcmp(planes, want, len) == 0);
	tf_codec_unplanes(planes, n, row_size, back);
	CHECK(memcmp(back, rows, len) == 0);
	ssize_t got = tf_codec_encode_rows(c, rows, n, row_size, packed, cap);
	CHECK(got > 0);
	memset(back, 0x55, len);
	CHECK(tf_codec_decode_rows(c, packed, (size_t)got, back, n, row_size) == 0);
	CHECK(memcmp(back, rows, len) == 0);
	free(rows), free(planes), free(want), free(back), free(packed);
}

static void test_rows_come_back_for_every_size(struct tf_codec *c)
{
	static const uint32_t counts[] = { 0, 1, 2, 15, 16, 17, 63, 64, 65, 127, 128, 200, 1000, 4097 };
	static const uint32_t sizes[] = { 1, 7, 8, 15, 16, 17, 31, 32, 33, 47, 48, 80, 120, 184, 255, 4096, 4097 };
	for (size_t i = 0; i < sizeof(counts) / sizeof(*counts); i++)
		for (size_t k = 0; k < sizeof(sizes) / sizeof(*sizes); k++)
			for (int kind = 0; kind < 4; kind++)
				if ((uint64_t)counts[i] * sizes[k] < 2000000)
					round_trip(c, counts[i], sizes[k], kind);
}

static void test_spans_equal_one_array(struct tf_codec *c)
{
	enum { N = 3000, SIZE = 184 };
	uint8_t *rows = malloc(N * SIZE), *one = malloc(tf_codec_bound(N * SIZE)), *many = malloc(tf_codec_bound(N * SIZE));
	fill(rows, N * SIZE, 3);
	ssize_t want = tf_codec_encode_rows(c, rows, N, SIZE, one, tf_codec_bound(N * SIZE));
	for (int round = 0; round < 50; round++) {
		struct tf_span spans[N];
		uint8_t *copies[N];
		size_t n = 0;
		for (uint32_t at = 0; at < N;) {
			uint32_t take = rng_below(round < 25 ? 200 : 20);
			take = take < N - at ? take : N - at;
			copies[n] = malloc((size_t)take * SIZE + 1); /* exact sizes again */
			memcpy(copies[n], rows + (size_t)at * SIZE, (size_t)take * SIZE);
			spans[n] = (struct tf_span){ copies[n], take };
			n += n + 1 < N;
			at += take;
		}
		ssize_t got = tf_codec_encode_spans(c, spans, n, SIZE, many, tf_codec_bound(N * SIZE));
		CHECK(got == want && memcmp(one, many, (size_t)got) == 0);
		for (size_t i = 0; i < n; i++)
			free(copies[i]);
	}
	free(rows), free(one), free(many);
}

static void test_encode_says_when_there_is_no_room(struct tf_codec *c)
{
	uint8_t rows[184 * 64], packed[sizeof(rows)];
	fill(rows, sizeof(rows), 3);
	CHECK(tf_codec_encode_rows(c, rows, 64, 184, packed, 100) == -ENOSPC);
	CHECK(tf_codec_encode_bytes(c, rows, sizeof(rows), packed, 8) == -ENOSPC);
	round_trip(c, 64, 184, 3); /* the context is still good */
}

static void refused(struct tf_codec *c, const uint8_t *packed, size_t len, size_t want)
{
	uint8_t *exact = malloc(len ? len : 1), *out = malloc(want + 1);
	memcpy(exact, packed, len);
	CHECK(tf_codec_decode_bytes(c, exact, len, out, want) == -EBADMSG);
	free(exact), free(out);
}

static void test_decode_takes_one_exact_frame_and_nothing_else(struct tf_codec *c)
{
	enum { LEN = 1000 };
	uint8_t raw[LEN], packed[2 * LEN + 512], twice[4 * LEN + 1024];
	static const uint8_t skippable[] = { 0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4 };
	fill(raw, LEN, 2);
	size_t len = (size_t)tf_codec_encode_bytes(c, raw, LEN, packed, sizeof(packed));
	for (size_t cut = 0; cut < len; cut++)
		refused(c, packed, cut, LEN);
	refused(c, packed, len, LEN - 1);
	refused(c, packed, len, LEN + 1);
	memcpy(twice, packed, len), memcpy(twice + len, packed, len);
	refused(c, twice, 2 * len, LEN);
	refused(c, twice, 2 * len, 2 * LEN);
	memcpy(twice, skippable, sizeof(skippable)), memcpy(twice + sizeof(skippable), packed, len);
	refused(c, twice, sizeof(skippable) + len, LEN);
	refused(c, skippable, sizeof(skippable), 0);
	ZSTD_CCtx *z = ZSTD_createCCtx(); /* a frame that does not say its size */
	ZSTD_CCtx_setParameter(z, ZSTD_c_contentSizeFlag, 0);
	refused(c, packed, ZSTD_compress2(z, packed, sizeof(packed), raw, LEN), LEN);
	ZSTD_freeCCtx(z);
}

static void test_decode_refuses_a_large_window(struct tf_codec *c)
{
	/* magic, descriptor (4-byte size), window of 2^(10 + e), size 4, one raw block */
	uint8_t frame[] = { 0x28, 0xb5, 0x2f, 0xfd, 0x80, 13 << 3, 4, 0, 0, 0, 4 << 3 | 1, 0, 0, 'a', 'b', 'c', 'd' }, out[4];
	CHECK(tf_codec_decode_bytes(c, frame, sizeof(frame), out, 4) == 0 && memcmp(out, "abcd", 4) == 0);
	frame[5] = 14 << 3;
	CHECK(tf_codec_decode_bytes(c, frame, sizeof(frame), out, 4) == -EBADMSG);
}

static void test_what_the_highest_level_writes_can_be_read(void)
{
	enum { LEN = 12 << 20 };
	struct tf_codec *c;
	uint8_t *raw = calloc(1, LEN), *packed = malloc(tf_codec_bound(LEN)), *out = malloc(LEN);
	CHECK(tf_codec_open(20, &c) == -EINVAL);
	CHECK(tf_codec_open(19, &c) == 0);
	ssize_t len = tf_codec_encode_bytes(c, raw, LEN, packed, tf_codec_bound(LEN));
	CHECK(len > 0 && tf_codec_decode_bytes(c, packed, (size_t)len, out, LEN) == 0);
	tf_codec_close(c);
	free(raw), free(packed), free(out);
}

static void test_decode_survives_any_bytes(struct tf_codec *c)
{
	enum { N = 40, SIZE = 120 };
	uint8_t rows[N * SIZE], packed[2 * N * SIZE + 512], bad[sizeof(packed)], *out = malloc(N * SIZE);
	fill(rows, sizeof(rows), 2);
	size_t len = (size_t)tf_codec_encode_rows(c, rows, N, SIZE, packed, sizeof(packed));
	for (int round = 0; round < 20000; round++) {
		memcpy(bad, packed, len);
		for (uint32_t k = 0; k < 1 + rng_below(4); k++)
			bad[rng_below((uint32_t)len)] = (uint8_t)rng();
		int rc = tf_codec_decode_rows(c, bad, rng_below(2) ? len : rng_below((uint32_t)len + 1), out, N, SIZE);
		CHECK(rc == 0 || rc == -EBADMSG);
	}
	CHECK(tf_codec_decode_rows(c, packed, len, out, N, SIZE) == 0 && memcmp(out, rows, sizeof(rows)) == 0);
	free(out);
}

int main(void)
{
	struct tf_codec *c = NULL;
	CHECK(tf_codec_open(1000, &c) == -EINVAL);
	CHECK(tf_codec_open(1, &c) == 0);
	test_rows_come_back_for_every_size(c);
	test_spans_equal_one_array(c);
	test_encode_says_when_there_is_no_room(c);
	test_decode_takes_one_exact_frame_and_nothing_else(c);
	test_decode_refuses_a_large_window(c);
	test_what_the_highest_level_writes_can_be_read();
	test_decode_survives_any_bytes(c);
	tf_codec_close(c);
	tf_codec_close(NULL);
	return 0;
}
