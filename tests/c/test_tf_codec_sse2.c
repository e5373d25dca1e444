// SPDX-License-Identifier: Apache-2.0
/* The codec's SSE2 path, which a machine with AVX2 never takes by itself: the engine's file, compiled here with the choice made. */
#define __builtin_cpu_supports(name) 0
#include "tf_codec.c"

#include <stdio.h>

static bool equals_definition(uint32_t n, uint32_t row_size)
{
	size_t len = (size_t)n * row_size;
	uint8_t *rows = malloc(len + 1), *fast = malloc(len + 1), *plain = malloc(len + 1);
	for (size_t i = 0; i < len; i++)
		rows[i] = (uint8_t)(i * 2654435761u >> 13);
	tf_codec_planes(rows, n, row_size, fast);
	struct cursor c = { .planes = plain, .stride = n, .row_size = row_size };
	tile_plain(&c, rows, n);
	bool same = memcmp(fast, plain, len) == 0;
	tf_codec_unplanes(fast, n, row_size, plain);
	same = same && memcmp(plain, rows, len) == 0;
	free(rows), free(fast), free(plain);
	return same;
}

int main(void)
{
	static const uint32_t counts[] = { 0, 1, 63, 64, 65, 640, 1001 }, sizes[] = { 16, 32, 33, 47, 80, 120, 184, 4096 };
	for (size_t i = 0; i < sizeof(counts) / sizeof(*counts); i++)
		for (size_t k = 0; k < sizeof(sizes) / sizeof(*sizes); k++)
			if (!equals_definition(counts[i], sizes[k])) {
				printf("%u rows of %u bytes differ from the definition\n", counts[i], sizes[k]);
				return 1;
			}
	return 0;
}
