/* SPDX-License-Identifier: Apache-2.0 */
/* What all tests in C share: checks that end the program where they fail, random numbers that are the same in every run, sizes. */
#ifndef CHECK_H
#define CHECK_H

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECK(x)                                                                                       \
	do {                                                                                           \
		if (!(x)) {                                                                            \
			printf("%s:%d: failed: %s (errno %d)\n", __FILE__, __LINE__, #x, errno);       \
			exit(1);                                                                       \
		}                                                                                      \
	} while (0)

#define CHECK_EQ(a, b)                                                                                 \
	do {                                                                                           \
		unsigned long long a_ = (unsigned long long)(a), b_ = (unsigned long long)(b);         \
		if (a_ != b_) {                                                                        \
			printf("%s:%d: failed: %s is %llu, %s is %llu\n", __FILE__, __LINE__, #a, a_, #b, b_); \
			exit(1);                                                                       \
		}                                                                                      \
	} while (0)

static uint64_t rng_state = 0x9e3779b97f4a7c15u;

static inline uint64_t rng(void)
{
	rng_state ^= rng_state << 13;
	rng_state ^= rng_state >> 7;
	rng_state ^= rng_state << 17;
	return rng_state;
}

static inline uint32_t rng_below(uint32_t n)
{
	return (uint32_t)(rng() % n);
}

/* 1 in tier 1, `tier2` times as much with TAPIO_FAST_TIER=2. */
static inline uint64_t scale(uint64_t tier2)
{
	const char *tier = getenv("TAPIO_FAST_TIER");

	return tier && *tier == '2' ? tier2 : 1;
}

#endif
