# SPDX-License-Identifier: Apache-2.0
from libcpp cimport bool as cbool


cdef extern from "tf_globs.h" nogil:
    struct tf_globs:
        pass
    int tf_globs_compile(const char *const *patterns, size_t n, tf_globs *out)
    cbool tf_globs_match(const tf_globs *g, const char *name, size_t len)


cdef class Globs:
    cdef tf_globs *c
