# SPDX-License-Identifier: Apache-2.0
"""Name patterns as the gate in the kernel takes them. Relies on tf_globs.h."""
from libc.stdlib cimport calloc, free


cdef class Globs:
    """Name patterns (bytes), compiled; ValueError when they are too long together."""

    def __init__(self, patterns):
        cdef size_t n = len(patterns), i
        cdef const char **texts = <const char **>calloc(n + 1, sizeof(char *))
        cdef int rc
        kept = list(patterns)
        self.c = <tf_globs *>calloc(1, sizeof(tf_globs))
        try:
            if texts is NULL or self.c is NULL:
                raise MemoryError()
            for i in range(n):
                texts[i] = kept[i]
            rc = tf_globs_compile(texts, n, self.c)
        finally:
            free(texts)
        if rc < 0:
            raise ValueError("the patterns are too long together")

    def __dealloc__(self):
        free(self.c)

    def match(self, bytes name):
        """Whether a name, up to its first NUL, matches one of them."""
        return tf_globs_match(self.c, name, len(name))
