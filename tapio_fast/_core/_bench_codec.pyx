# SPDX-License-Identifier: Apache-2.0
"""What `tapio_fast.bench` measures of the store's compressor alone. Relies on tf_codec.h."""
from cpython.bytes cimport PyBytes_AsString, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport free, malloc

from tapio_fast._core.c_store cimport (
    tf_codec, tf_codec_bound, tf_codec_close, tf_codec_encode_bytes, tf_codec_open, tf_codec_planes)

from tapio_fast.errors import error_for


cdef Py_ssize_t check(Py_ssize_t rc, str doing) except -1:
    if rc < 0:
        raise error_for(-rc, doing)
    return rc


def planes(const unsigned char[::1] rows, uint32_t row_size):
    """Return rows as the store transforms them before it compresses: deltas, then byte planes."""
    out = PyBytes_FromStringAndSize(NULL, rows.shape[0])
    cdef uint8_t *dst = <uint8_t *>PyBytes_AsString(out)
    with nogil:
        tf_codec_planes(&rows[0], <uint32_t>(rows.shape[0] // row_size), row_size, dst)
    return out


cdef class Zstd:
    """The store's compressor alone, with its level and parameters."""
    cdef tf_codec *c
    cdef uint8_t *dst
    cdef size_t cap

    def __init__(self, int level, size_t block_bytes):
        check(tf_codec_open(level, &self.c), "open compressor")
        self.cap = tf_codec_bound(block_bytes)
        self.dst = <uint8_t *>malloc(self.cap)
        if self.dst is NULL:
            raise MemoryError()

    def __dealloc__(self):
        free(self.dst)
        tf_codec_close(self.c)

    def compress(self, list blocks):
        """Compress each block by itself; return the bytes of all."""
        cdef const unsigned char[::1] src
        cdef Py_ssize_t n, total = 0
        for block in blocks:
            src = block
            with nogil:
                n = tf_codec_encode_bytes(self.c, &src[0], src.shape[0], self.dst, self.cap)
            total += check(n, "compress")
        return total
