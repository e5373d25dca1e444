# SPDX-License-Identifier: Apache-2.0
# The externs of tf_columns.h.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libcpp cimport bool as cbool
from tapio_fast._core.c_engine cimport tf_batch


cdef extern from "tf_columns.h" nogil:
    struct tf_column:
        uint16_t offset, size
        uint8_t *dst
    void tf_columns_split(const uint8_t *rows, uint32_t n, uint32_t row_size, const tf_column *columns, size_t n_columns)
    uint64_t tf_text_bytes(const uint8_t *rows, uint32_t n, uint32_t row_size, uint32_t field, uint32_t text_len)
    void tf_text_gather(const uint8_t *rows, uint32_t n, uint32_t row_size, uint32_t field, const uint8_t *text, uint32_t text_len,
                        uint64_t *offsets, uint8_t *data)
    int tf_batch_sorted(const tf_batch *src, tf_batch **out)
    uint32_t tf_mask_until(const uint8_t *rows, uint32_t n, uint32_t row_size, uint64_t ts_ns, cbool after, uint64_t *mask)
