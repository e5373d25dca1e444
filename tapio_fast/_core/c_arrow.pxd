# SPDX-License-Identifier: Apache-2.0
# The externs of tf_arrow.h and tf_arrow_impl.h.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t
from libcpp cimport bool as cbool
from tapio_fast._core.c_engine cimport tf_batch


cdef extern from "tf_arrow_impl.h" nogil:
    struct ArrowSchema:
        const char *metadata
        void (*release)(ArrowSchema *) noexcept nogil
        ArrowSchema **children
    struct ArrowArray:
        void (*release)(ArrowArray *) noexcept nogil
        ArrowArray **children
    struct ArrowArrayStream:
        int (*get_schema)(ArrowArrayStream *, ArrowSchema *) noexcept
        int (*get_next)(ArrowArrayStream *, ArrowArray *) noexcept
        const char *(*get_last_error)(ArrowArrayStream *) noexcept
        void (*release)(ArrowArrayStream *) noexcept
        void *private_data
    enum: TF_ARROW_COLUMNS_MAX
    struct tf_arrow_column:
        const char *name
        uint8_t how
    struct tf_arrow_plan:
        uint8_t domain
        uint16_t n
        tf_arrow_column column[56]
    int tf_arrow_plan_of "tf_arrow_plan"(uint8_t domain, tf_arrow_plan *out)
    int tf_arrow_schema(const tf_arrow_plan *p, ArrowSchema *out)
    int tf_arrow_array(const tf_arrow_plan *p, const tf_batch **batches, size_t n, const cbool *wanted, ArrowArray *out)
    int tf_arrow_make(ArrowArray *a, int64_t length, int n_buffers, size_t n_children)
    int tf_arrow_make_schema(ArrowSchema *s, const char *name, const char *format, cbool nullable, size_t n_children)
    void *tf_arrow_buffer(ArrowArray *a, int i, size_t size)
