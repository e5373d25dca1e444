# SPDX-License-Identifier: Apache-2.0
"""Cutting secrets out of texts, and what its benchmark needs. Relies on tf_redact.h, tf_bench.h."""
from cpython.bytes cimport PyBytes_AsString, PyBytes_FromStringAndSize
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy
from libc.stdint cimport uint32_t
from libcpp cimport bool as cbool

from tapio_fast.errors import ClosedError, FilterError, error_for


cdef extern from "tf_bench.h" nogil:
    struct tf_bench_redact:
        pass
    int tf_bench_redact_open(uint32_t rows, uint32_t known, uint32_t every, bint plain, tf_bench_redact **out)
    void tf_bench_redact_run(tf_bench_redact *b, uint32_t rounds, tf_redact_stats *out)
    void tf_bench_redact_close(tf_bench_redact *b)


cdef class Redactor:
    """The built-in rules and `patterns` (bytes); FilterError with `.position` and `.index` of the pattern that is wrong. One thread."""

    def __init__(self, patterns=()):
        cdef size_t n = len(patterns), i, which = 0, at = 0
        cdef const char **texts = <const char **>calloc(n + 1, sizeof(char *))
        cdef char msg[256]
        cdef int rc
        if texts is NULL:
            raise MemoryError()
        kept = list(patterns)
        msg[0] = 0
        try:
            for i in range(n):
                texts[i] = kept[i]
            with nogil:
                rc = tf_redact_open(texts, n, &self.c, &which, &at, msg, sizeof(msg))
        finally:
            free(texts)
        if rc < 0:
            if not msg[0]:
                raise error_for(-rc, "make the redaction rules")
            error = FilterError(msg.decode("utf-8", "backslashreplace"), position=at)
            error.index = which
            raise error

    def __dealloc__(self):
        tf_redact_close(self.c)

    cdef tf_redact *release(self) except NULL:
        cdef tf_redact *c = self.c
        if c is NULL:
            raise ClosedError("these redaction rules belong to a collector already; make new ones")
        self.c = NULL
        return c

    def text(self, bytes data, bint argv=False):
        """Return (the text without its secrets, whether there were any)."""
        cdef size_t n = len(data), left
        cdef cbool found = False
        if self.c is NULL:
            raise ClosedError("these redaction rules belong to a collector now; make new ones")
        copy = PyBytes_FromStringAndSize(NULL, n)
        memcpy(PyBytes_AsString(copy), <const char *>data, n)
        left = tf_redact_text(self.c, <unsigned char *>PyBytes_AsString(copy), n, argv, &found)
        return copy[:left], found

    def stats(self):
        """Return {rows, plain, hits, misses, bytes}."""
        cdef tf_redact_stats s
        if self.c is NULL:
            raise ClosedError("these redaction rules belong to a collector now; ask it for its stats")
        c_redact_stats(self.c, &s)
        return s


cdef class BenchBatch:
    """A batch of `rows` file rows with `known` different paths, every `every`th of them new in each round (0 = none)."""
    cdef tf_bench_redact *c

    def __init__(self, uint32_t rows, uint32_t known, uint32_t every, bint plain):
        cdef int rc
        with nogil:
            rc = tf_bench_redact_open(rows, known, every, plain, &self.c)
        if rc < 0:
            raise error_for(-rc, "make the batch of the benchmark")

    def __dealloc__(self):
        tf_bench_redact_close(self.c)

    def run(self, uint32_t rounds=1):
        """Redact it; return {rows, plain, hits, misses, bytes} since it was made."""
        cdef tf_redact_stats s
        with nogil:
            tf_bench_redact_run(self.c, rounds, &s)
        return s
