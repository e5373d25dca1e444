# SPDX-License-Identifier: Apache-2.0
# The externs of tf_segment.h, tf_segment_source.h and tf_codec.h: only what _store uses.
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libcpp cimport bool as cbool
from tapio_fast._core.c_engine cimport tf_batch, tf_pool, tf_source
from tapio_fast._core.c_pump cimport tf_segment_writer


cdef extern from "tf_codec.h" nogil:
    struct tf_codec:
        pass
    int tf_codec_open(int level, tf_codec **out)
    void tf_codec_close(tf_codec *c)
    size_t tf_codec_bound(size_t raw_len)
    void tf_codec_planes(const uint8_t *rows, uint32_t n, uint32_t row_size, uint8_t *dst)
    Py_ssize_t tf_codec_encode_rows(tf_codec *c, const uint8_t *rows, uint32_t n, uint32_t row_size, uint8_t *dst, size_t cap)
    Py_ssize_t tf_codec_encode_bytes(tf_codec *c, const void *src, size_t len, uint8_t *dst, size_t cap)
    int tf_codec_decode_rows(tf_codec *c, const uint8_t *src, size_t src_len, uint8_t *rows, uint32_t n, uint32_t row_size)
    int tf_codec_decode_bytes(tf_codec *c, const uint8_t *src, size_t src_len, void *dst, size_t len)


cdef extern from "tf_segment.h" nogil:
    struct tf_keep:
        uint64_t age_ns, bytes, free_bytes, spare
        cbool look_only
    struct tf_removed:
        uint64_t segments, rows, bytes, number
        int64_t until_ns
    int tf_segment_keep(int dir_fd, const tf_keep *k, int64_t now_unix_ns, tf_removed *run)
    int tf_segment_removed(int dir_fd, tf_removed *out)
    struct tf_writer_opts:
        uint32_t block_rows, block_ms, sync_ms
        uint64_t sync_bytes, segment_bytes
        int level
        tf_keep keep
    struct tf_writer_stats:
        uint64_t epochs, rows, blocks, segments, buffered_rows, raw_bytes, bytes, lost_io, lost_enospc, lost_memory
        uint64_t sync_failures, last_errno, removed_segments, removed_rows
    int tf_segment_writer_open(int dir_fd, const tf_writer_opts *o, tf_segment_writer **out)
    int tf_segment_writer_append(tf_segment_writer *w, const tf_batch *b)
    int tf_segment_writer_flush(tf_segment_writer *w, cbool sync)
    void tf_segment_writer_stats_of "tf_segment_writer_stats"(const tf_segment_writer *w, tf_writer_stats *out)
    int tf_segment_writer_close(tf_segment_writer *w)
    struct tf_segment_reader:
        pass
    struct tf_reader_stats:
        uint64_t segments, blocks, epochs, rows, gone_segments, corrupt_blocks, lost_rows, unknown_rows, torn_bytes, skipped_blocks, foreign
    enum: TF_ASKED_MAX
    struct tf_asked_values:
        uint32_t n
        uint64_t value[16]
    struct tf_asked:
        uint64_t kinds
        tf_asked_values pid, cgroup, port
    struct tf_reader_select:
        uint32_t domains, narrow
        tf_asked asked[16]
        cbool some_fields
        uint64_t fields[16][2]
        int64_t since_ns, until_ns
        cbool whole_epochs
    struct tf_frame_info:
        uint64_t segment, frame_no, bytes, rows, n_epochs, first_epoch, last_epoch
        uint64_t domain_rows[16]
        int64_t unix_min, unix_max
        uint8_t boot_id[16]
        uint64_t run_id
    int tf_segment_reader_open(int dir_fd, tf_segment_reader **out)
    void tf_segment_reader_select(tf_segment_reader *r, const tf_reader_select *s)
    int tf_segment_reader_next(tf_segment_reader *r, tf_pool *pool, tf_batch **out)
    int tf_segment_reader_frame(tf_segment_reader *r, tf_frame_info *out)
    void tf_segment_reader_stats_of "tf_segment_reader_stats"(const tf_segment_reader *r, tf_reader_stats *out)
    void tf_segment_reader_close(tf_segment_reader *r)


cdef extern from "tf_segment_source.h" nogil:
    int tf_segment_source_open(int dir_fd, const tf_reader_select *sel, tf_source **out)


cdef extern from "tf_segment_impl.h" nogil:
    int tf_seg_list(int dir_fd, uint64_t **numbers, size_t *n)
