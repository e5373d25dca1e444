/* SPDX-License-Identifier: Apache-2.0 */
/* tf_base: what every tier uses: fixed types, acquire/release, asserts, clocks, CRC32C. No globals, no allocation. */
#ifndef TF_BASE_H
#define TF_BASE_H

#include <errno.h>
#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>

#include "tf_event.h"
#include "tf_kinds.h"
#include "tf_shared.h"

/* States what the programmer promised; never used on bytes from kernel or disk. */
#ifdef TF_DEBUG
#include <assert.h>
#define tf_assert(x) assert(x)
#else
#define tf_assert(x) ((void)0)
#endif

/* Levels of the log callbacks, as in Python's logging. */
#define TF_LOG_DEBUG 10
#define TF_LOG_INFO 20
#define TF_LOG_WARNING 30
#define TF_LOG_ERROR 40

#define tf_likely(x) __builtin_expect(!!(x), 1)
#define tf_unlikely(x) __builtin_expect(!!(x), 0)
#define tf_load_acquire(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define tf_store_release(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define tf_load_relaxed(p) __atomic_load_n((p), __ATOMIC_RELAXED)
#define tf_store_relaxed(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)

uint64_t tf_boot_ns(void);          /* ns, CLOCK_BOOTTIME: the clock of ts_ns */
int64_t tf_wall_offset_ns(void);    /* ns to add to ts_ns for Unix time, as of now */
int tf_boot_id(uint8_t id[16]);     /* of this boot of the kernel; 0, or -EIO and zeros where /proc does not tell */
uint64_t tf_thread_cpu_ns(void);    /* ns of CPU time of the calling thread */
uint32_t tf_crc32c(uint32_t crc, const void *data, size_t len);

/* Table of kinds (tf_kinds.h as data). */
struct tf_kind_info {
	const char *name;           /* "exec" */
	uint8_t type, subtype, lane, severity;
};
extern const struct tf_kind_info tf_kind_table[TF_KIND_COUNT];
/* Table of system calls (tf_sysno.h as data); -1 = that machine has none. */
struct tf_sysno_info {
	const char *name;           /* "openat" */
	int16_t x86_64, arm64;
};
extern const struct tf_sysno_info tf_sysno_table[];
extern const size_t tf_sysno_count;
/* Dense kind of (type, subtype), or -1. */
int tf_kind_of(uint8_t type, uint8_t subtype);
/* Bytes of a row of this domain without its text, 0 for a domain not in this build. */
uint32_t tf_row_size(uint8_t domain);
/* Offsets of the domain's tf_text members; returns how many (0..3). */
uint32_t tf_text_fields(uint8_t domain, const uint16_t **offsets);

#endif
