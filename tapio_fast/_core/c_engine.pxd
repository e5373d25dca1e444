# SPDX-License-Identifier: Apache-2.0
# The externs of tf_batch.h, tf_ring.h, tf_source.h, tf_queue.h and tf_pump.h: only what the skins use, no logic.
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libcpp cimport bool as cbool


cdef extern from "tf_batch.h" nogil:
    enum: TF_TYPE_MAX
    enum: TF_L_COUNT
    struct tf_pool:
        pass
    struct tf_pool_stats:
        uint64_t in_use_bytes, detached_bytes, idle_bytes, peak_bytes, refused
    struct tf_rows:
        uint8_t *rows
        uint8_t *text
        uint32_t n, cap, row_size, text_len, text_cap
    struct tf_batch:
        uint32_t refs, detached
        tf_pool *pool
        size_t arena_size
        tf_rows dom[16]
        uint64_t total, epoch, watermark_ns, run_id
        int64_t wall_offset_ns
        uint8_t boot_id[16]
        uint64_t loss[21]
    int tf_pool_open(size_t pool_bytes, size_t total_bytes, tf_pool **out)
    void c_pool_stats "tf_pool_stats"(tf_pool *p, tf_pool_stats *out)
    void tf_pool_close(tf_pool *p)
    struct tf_need:
        uint32_t rows[16]
        uint32_t text[16]
    uint32_t tf_row_size(uint8_t domain)
    int tf_batch_new(tf_pool *p, const tf_need *need, tf_batch **out)
    void tf_batch_ref(tf_batch *b)
    void tf_batch_unref(tf_batch *b)
    void tf_batch_detach(tf_batch *b)
    int tf_batch_select(const tf_batch *src, const uint64_t *const *mask, tf_batch **out)
    int tf_batch_concat(tf_batch *const *src, size_t n, tf_batch **out)
    void tf_batch_order(const tf_batch *b, uint8_t *domain, uint32_t *row)


cdef extern from "tf_source.h" nogil:
    struct tf_ring:
        uint64_t *consumer_pos
        uint64_t size
        uint64_t read, published
    struct tf_memring:
        tf_ring ring
        uint8_t *data
        uint64_t *producer_pos
    struct tf_ledger_cell:
        uint64_t c[16]
    struct tf_source:
        const char *name
        void *self
        tf_ring *rings
        uint32_t nrings, ncpu
        tf_ledger_cell *ledger
        uint64_t run_id
        uint8_t boot_id[16]
        int (*next)(void *self, tf_pool *pool, tf_batch **out) noexcept nogil
        void (*close)(void *self) noexcept nogil
