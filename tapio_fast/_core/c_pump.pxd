# SPDX-License-Identifier: Apache-2.0
# The externs of tf_pump.h, tf_queue.h and tf_log.h.
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libcpp cimport bool as cbool
from tapio_fast._core._redact cimport tf_redact, tf_redact_stats
from tapio_fast._core.c_engine cimport tf_batch, tf_pool, tf_source
from tapio_fast._core.c_filter cimport tf_filter


cdef extern from "tf_log.h" nogil:
    struct tf_log:
        pass
    struct tf_log_line:
        uint64_t ts_ns
        int level
        char text[480]
    int tf_log_open(size_t lines, tf_log **out)
    void tf_log_push(void *log, int level, const char *text) noexcept
    cbool tf_log_pop(tf_log *log, tf_log_line *out)
    uint64_t tf_log_dropped(tf_log *log)
    void tf_log_close(tf_log *log)


cdef extern from "tf_queue.h" nogil:
    enum tf_overflow:
        TF_BLOCK
        TF_DROP_OLDEST
        TF_DROP_NEWEST
    struct tf_queue:
        pass
    struct tf_queue_stats:
        uint64_t routed, handed, queued, overflow, bytes
    tf_batch *tf_queue_pop(tf_queue *q, int timeout_ms, cbool *ended)
    int tf_queue_fd(const tf_queue *q)


cdef extern from "tf_pump.h" nogil:
    enum: TF_L_COUNT
    enum: TF_KIND_MAX
    struct tf_segment_writer:
        pass
    struct tf_pump:
        pass
    struct tf_pump_opts:
        tf_source *source
        tf_pool *pool
        uint32_t rows_per_domain, bytes_per_pass, flush_us, settle_us, idle_epoch_ms, raw_queue_bytes
        tf_redact *redact
        cbool publish_late
        void (*log)(void *ctx, int level, const char *text) noexcept
        void *log_ctx
    struct tf_pump_stats:
        uint64_t epochs, passes, wakeups, batches, no_memory, cpu_ns, late, bad, discarded, max_fill_permille, watermark_ns
        uint64_t in_ring, keep_ppm, rate_changes, step_errno, self_skipped, foreign_calls, forgotten
        int64_t source_status
        tf_redact_stats redact
        tf_queue_stats user
        uint64_t raw_routed, raw_buffered, raw_written, raw_bytes, raw_dropped_full, raw_dropped_io, raw_dropped_enospc
        uint64_t raw_dropped_memory, raw_cpu_ns
        int64_t raw_status
    int tf_pump_open(const tf_pump_opts *o, tf_pump **out)
    int tf_pump_set_raw(tf_pump *p, tf_segment_writer *w, tf_overflow policy)
    int tf_pump_start(tf_pump *p)
    int tf_pump_attach_user(tf_pump *p, size_t max_bytes, tf_overflow policy, tf_queue **out)
    void tf_pump_detach_user(tf_pump *p)
    int tf_pump_note_rules(tf_pump *p, uint32_t gen, const char *text, size_t len)
    int tf_pump_set_filter(tf_pump *p, uint32_t gen, tf_filter *f)
    size_t tf_pump_filter_counts(tf_pump *p, uint64_t *judged, uint64_t *kept, uint64_t *hits, size_t n)
    struct tf_control_opts:
        double rate_limit, cpu_limit, base_rate, boost
    struct tf_pump_control:
        tf_control_opts o
        uint64_t interval_ns
        uint8_t kind_class "class"[256]
    int tf_pump_set_control(tf_pump *p, const tf_pump_control *c)
    int tf_pump_set_rate(tf_pump *p, uint32_t kind, uint32_t threshold)
    int tf_pump_stop(tf_pump *p, uint32_t drain_ms)
    void c_pump_stats "tf_pump_stats"(tf_pump *p, tf_pump_stats *out)
    int tf_pump_ledger(tf_pump *p, uint64_t *cells, size_t n_cells)
    uint32_t tf_pump_ncpu(const tf_pump *p)
    void tf_pump_forget(tf_pump *p)
    void tf_pump_close(tf_pump *p)
