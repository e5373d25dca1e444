# SPDX-License-Identifier: Apache-2.0
"""The codec under the store: planes and zstd. Relies on tf_codec.h."""
from cpython.bytes cimport PyBytes_AsString, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from tapio_fast._core.c_store cimport (tf_codec, tf_codec_bound, tf_codec_close, tf_codec_decode_bytes, tf_codec_decode_rows,
                                       tf_codec_encode_bytes, tf_codec_encode_rows, tf_codec_open, tf_codec_planes)

from tapio_fast.errors import error_for


cdef class Codec:
    """Rows and bytes to their compressed form and back; for tests and benchmarks. One thread at a time."""
    cdef tf_codec *c

    def __init__(self, int level=1):
        cdef int rc = tf_codec_open(level, &self.c)
        if rc < 0:
            raise error_for(-rc, "open codec", f"level {level}")

    def __dealloc__(self):
        tf_codec_close(self.c)

    def planes(self, const unsigned char[::1] rows, uint32_t row_size):
        """Return the byte planes of rows, as zstd sees them."""
        cdef uint32_t n = count_of(rows, row_size)
        out = PyBytes_FromStringAndSize(NULL, rows.shape[0])
        if n:
            tf_codec_planes(&rows[0], n, row_size, <uint8_t *>PyBytes_AsString(out))
        return out

    def encode_rows(self, const unsigned char[::1] rows, uint32_t row_size):
        """Compress whole rows."""
        cdef uint32_t n = count_of(rows, row_size)
        cdef size_t cap = tf_codec_bound(rows.shape[0])
        cdef Py_ssize_t length
        cdef const uint8_t *src = &rows[0] if n else NULL
        out = PyBytes_FromStringAndSize(NULL, cap)
        cdef uint8_t *dst = <uint8_t *>PyBytes_AsString(out)
        with nogil:
            length = tf_codec_encode_rows(self.c, src, n, row_size, dst, cap)
        if length < 0:
            raise error_for(-length, "compress rows")
        return out[:length]

    def decode_rows(self, const unsigned char[::1] packed, uint32_t n, uint32_t row_size):
        """Return n rows; raises CorruptStoreError when it is not exactly those."""
        cdef int rc
        cdef size_t length = packed.shape[0]
        if <uint64_t>n * row_size > 1 << 30:
            raise ValueError("at most 1 GiB of rows at once")
        out = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>n * row_size)
        cdef uint8_t *dst = <uint8_t *>PyBytes_AsString(out)
        cdef const uint8_t *src = &packed[0] if length else NULL
        with nogil:
            rc = tf_codec_decode_rows(self.c, src, length, dst, n, row_size)
        if rc < 0:
            raise error_for(-rc, "decompress rows")
        return out

    def encode_bytes(self, const unsigned char[::1] data):
        """Compress bytes."""
        cdef size_t cap = tf_codec_bound(data.shape[0])
        cdef size_t size = data.shape[0]
        cdef Py_ssize_t length
        cdef const uint8_t *src = &data[0] if size else NULL
        out = PyBytes_FromStringAndSize(NULL, cap)
        cdef uint8_t *dst = <uint8_t *>PyBytes_AsString(out)
        with nogil:
            length = tf_codec_encode_bytes(self.c, src, size, dst, cap)
        if length < 0:
            raise error_for(-length, "compress bytes")
        return out[:length]

    def decode_bytes(self, const unsigned char[::1] packed, size_t length):
        """Return exactly `length` bytes, or raise CorruptStoreError."""
        cdef int rc
        cdef size_t packed_len = packed.shape[0]
        out = PyBytes_FromStringAndSize(NULL, length)
        cdef uint8_t *dst = <uint8_t *>PyBytes_AsString(out)
        cdef const uint8_t *src = &packed[0] if packed_len else NULL
        with nogil:
            rc = tf_codec_decode_bytes(self.c, src, packed_len, dst, length)
        if rc < 0:
            raise error_for(-rc, "decompress bytes")
        return out


cdef uint32_t count_of(const unsigned char[::1] rows, uint32_t row_size) except? 0xffffffff:
    if row_size == 0 or rows.shape[0] % row_size or rows.shape[0] >= 1 << 30:
        raise ValueError(f"{rows.shape[0]} bytes are not whole rows of {row_size} bytes")
    return <uint32_t>(rows.shape[0] // row_size)
