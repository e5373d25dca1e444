/* SPDX-License-Identifier: Apache-2.0 */
/* tf_base: clocks, the boot's id and the checksum that every tier uses. */
#include "tf_base.h"

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

static uint64_t clock_ns(clockid_t id)
{
	struct timespec t = {0};

	clock_gettime(id, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t tf_boot_ns(void)
{
#ifdef CLOCK_BOOTTIME
	return clock_ns(CLOCK_BOOTTIME);
#else
	return clock_ns(CLOCK_MONOTONIC);
#endif
}

/* The two clocks cannot be read at once: of a few tries, the one with the shortest gap around it is the truest. */
int64_t tf_wall_offset_ns(void)
{
	uint64_t best_gap = UINT64_MAX;
	int64_t best = 0;

	for (int i = 0; i < 4; i++) {
		uint64_t before = tf_boot_ns();
		uint64_t wall = clock_ns(CLOCK_REALTIME);
		uint64_t gap = tf_boot_ns() - before;

		if (gap < best_gap) {
			best_gap = gap;
			best = (int64_t)(wall - (before + gap / 2));
		}
	}
	return best;
}

uint64_t tf_thread_cpu_ns(void)
{
	return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

/* CRC32C (Castagnoli, reflected 0x82f63b78), a byte at a time: where the processor has no instruction for it. */
#define CRC_1(c) (((c) >> 1) ^ (0x82f63b78u & (0u - ((c) & 1u))))
#define CRC_2(c) CRC_1(CRC_1(c))
#define CRC_4(c) CRC_2(CRC_2(c))
/* Table by nibble: entry n is n pushed through four steps. */
#define CRC_ROW(n) CRC_4((uint32_t)(n))
static const uint32_t crc_nibble[16] = {
	CRC_ROW(0), CRC_ROW(1), CRC_ROW(2), CRC_ROW(3), CRC_ROW(4), CRC_ROW(5), CRC_ROW(6), CRC_ROW(7),
	CRC_ROW(8), CRC_ROW(9), CRC_ROW(10), CRC_ROW(11), CRC_ROW(12), CRC_ROW(13), CRC_ROW(14), CRC_ROW(15),
};

static uint32_t crc_portable(uint32_t c, const uint8_t *p, size_t n)
{
	for (; n; n--) {
		c ^= *p++;
		c = (c >> 4) ^ crc_nibble[c & 15];
		c = (c >> 4) ^ crc_nibble[c & 15];
	}
	return c;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t crc_sse42(uint32_t c, const uint8_t *p, size_t n)
{
	uint64_t wide = c, word;

	for (; n >= 8; n -= 8, p += 8) {
		memcpy(&word, p, 8);
		wide = __builtin_ia32_crc32di(wide, word);
	}
	c = (uint32_t)wide;
	for (; n; n--)
		c = __builtin_ia32_crc32qi(c, *p++);
	return c;
}
#endif

uint32_t tf_crc32c(uint32_t crc, const void *data, size_t len)
{
#if defined(__x86_64__)
	if (__builtin_cpu_supports("sse4.2"))
		return ~crc_sse42(~crc, data, len);
#endif
	return ~crc_portable(~crc, data, len);
}

int tf_boot_id(uint8_t id[16])
{
	char text[40] = "";
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC), digits = 0;
	memset(id, 0, 16);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (fd >= 0)
		close(fd);
	for (ssize_t i = 0; i < n && digits < 32; i++) {
		char c = text[i];
		int value = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;

		if (value < 0)
			continue;
		id[digits / 2] = (uint8_t)(id[digits / 2] << 4 | value);
		digits++;
	}
	return digits == 32 ? 0 : -EIO;
}
