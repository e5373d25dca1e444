# SPDX-License-Identifier: Apache-2.0
# Redactor: owner of a tf_redact until a pump takes it.
from libc.stdint cimport uint64_t
from libcpp cimport bool as cbool


cdef extern from "tf_redact.h" nogil:
    struct tf_redact:
        pass
    struct tf_redact_stats:
        uint64_t rows, plain, hits, misses, bytes
    int tf_redact_open(const char *const *patterns, size_t n, tf_redact **out, size_t *which, size_t *error_at, char *msg, size_t msg_size)
    size_t tf_redact_text(tf_redact *r, unsigned char *text, size_t n, cbool argv, cbool *found)
    void c_redact_stats "tf_redact_stats"(const tf_redact *r, tf_redact_stats *out)
    void tf_redact_close(tf_redact *r)


cdef class Redactor:
    cdef tf_redact *c
    cdef tf_redact *release(self) except NULL
