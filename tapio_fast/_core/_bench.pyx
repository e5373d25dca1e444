# SPDX-License-Identifier: Apache-2.0
"""What `tapio_fast.bench` measures: a ring that is read again and again, by our drain and by its rivals. Relies on tf_bench.h.

The rivals are what a Python program would otherwise do with a ring buffer: libbpf's callback in C; a callback that hands each
record to Python as bytes, with the GIL held throughout or taken for each record; any C callback by its address (ctypes).
"""
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memset
from libcpp cimport bool as cbool

from tapio_fast._core._engine cimport Pool, wrap_batch
from tapio_fast._core.c_engine cimport tf_batch, tf_pool

from tapio_fast.errors import error_for


cdef extern from "Python.h":
    ctypedef struct PyObject
    object PyObject_CallFunctionObjArgs(object function, PyObject *argument, void *end)


cdef extern from "tf_bench.h" nogil:
    struct tf_segment_writer:
        pass
    struct tf_bench:
        pass
    struct tf_bench_opts:
        uint64_t size
        uint32_t rows_per_pass, bytes_per_pass
        cbool kernel, mixed
    struct tf_bench_sink:
        uint8_t *dst
        size_t cap, used
        uint64_t records
    ctypedef int (*tf_bench_fn)(void *ctx, void *data, size_t len) noexcept nogil
    int tf_bench_open(const tf_bench_opts *o, tf_bench **out, char *msg, size_t msg_size)
    void tf_bench_close(tf_bench *b)
    uint64_t tf_bench_records(const tf_bench *b)
    uint64_t tf_bench_bytes(const tf_bench *b)
    uint32_t tf_bench_row(uint64_t i, cbool mixed, uint8_t *row)
    void tf_bench_rewind(tf_bench *b)
    int tf_bench_pass(tf_bench *b, tf_pool *pool, tf_batch **out)
    int64_t tf_bench_drain(tf_bench *b, tf_pool *pool, uint32_t rounds)
    int64_t tf_bench_store(tf_bench *b, tf_pool *pool, tf_segment_writer *w, uint32_t rounds)
    int64_t tf_bench_sample(tf_bench *b, tf_pool *pool, uint32_t threshold, uint32_t rounds, uint32_t *kept)
    int tf_bench_copy(void *sink, void *data, size_t len)
    int tf_bench_count(void *counter, void *data, size_t len)
    int64_t tf_bench_walk(tf_bench *b, tf_bench_fn fn, void *ctx)
    int64_t tf_bench_libbpf(tf_bench *b, tf_bench_sink *sink)


cdef extern from "tf_segment.h" nogil:
    struct tf_writer_opts:
        uint32_t block_rows
    struct tf_writer_stats:
        uint64_t epochs, rows, blocks, raw_bytes, bytes
    int tf_segment_writer_open(int dir_fd, const tf_writer_opts *o, tf_segment_writer **out)
    void tf_segment_writer_stats(const tf_segment_writer *w, tf_writer_stats *out)
    int tf_segment_writer_close(tf_segment_writer *w)


cdef int64_t check(int64_t rc, str doing) except -1:
    if rc < 0:
        raise error_for(-rc, doing)
    return rc


# Handing each record to a Python function as bytes. A failure ends the walk with the exception set.
cdef int give(void *function, void *data, size_t size) except -1:
    record = PyBytes_FromStringAndSize(<char *>data, size)
    PyObject_CallFunctionObjArgs(<object>function, <PyObject *>record, NULL)
    return 0


cdef int give_with_gil(void *function, void *data, size_t size) except -1 with gil:
    record = PyBytes_FromStringAndSize(<char *>data, size)
    PyObject_CallFunctionObjArgs(<object>function, <PyObject *>record, NULL)
    return 0


cdef class Store:
    """A writer of the raw store in an open, empty directory."""
    cdef tf_segment_writer *c

    def __init__(self, int dir_fd):
        cdef tf_writer_opts o
        memset(&o, 0, sizeof(o))
        cdef int rc = tf_segment_writer_open(dir_fd, &o, &self.c)
        if rc < 0:
            self.c = NULL
            raise error_for(-rc, "open the store of the benchmark")

    def __dealloc__(self):
        if self.c:
            tf_segment_writer_close(self.c)

    def stats(self):
        """Return (rows, blocks, bytes of rows, bytes on disk)."""
        cdef tf_writer_stats s
        tf_segment_writer_stats(self.c, &s)
        return s.rows, s.blocks, s.raw_bytes, s.bytes

    def close(self):
        """Write and sync what is left."""
        cdef tf_segment_writer *w = self.c
        cdef int rc = 0
        self.c = NULL
        if w:
            with nogil:
                rc = tf_segment_writer_close(w)
        check(rc, "close the store of the benchmark")


cdef class Ring:
    """One ring, filled once: `size` bytes, in our memory or the kernel's, rows of 120 bytes or of 120 and 184 mixed."""
    cdef tf_bench *c
    cdef Pool pool
    cdef readonly uint64_t records, nbytes

    def __init__(self, Pool pool, *, uint64_t size, uint32_t bytes_per_pass, uint32_t rows_per_pass=10000, bint kernel=False,
                 bint mixed=False):
        cdef tf_bench_opts o
        cdef char msg[256]
        cdef int rc
        o.size = size
        o.rows_per_pass = rows_per_pass
        o.bytes_per_pass = bytes_per_pass
        o.kernel = kernel
        o.mixed = mixed
        with nogil:
            rc = tf_bench_open(&o, &self.c, msg, sizeof(msg))
        if rc < 0:
            self.c = NULL
            raise error_for(-rc, "load the ring of the benchmark", cause=msg.decode() or None)
        self.pool = pool
        self.records = tf_bench_records(self.c)
        self.nbytes = tf_bench_bytes(self.c)

    def __dealloc__(self):
        tf_bench_close(self.c)

    def rewind(self):
        """Make all unread again."""
        tf_bench_rewind(self.c)

    def next(self):
        """Return the batch of one pass, or None when nothing is left."""
        cdef tf_batch *b = NULL
        cdef int rc
        with nogil:
            rc = tf_bench_pass(self.c, self.pool.c, &b)
        return wrap_batch(b) if check(rc, "drain ring") else None

    def drain(self, uint32_t rounds=1):
        """Read the whole ring into batches, `rounds` times, and drop them; return the records copied."""
        cdef int64_t n
        with nogil:
            n = tf_bench_drain(self.c, self.pool.c, rounds)
        return check(n, "drain ring")

    def sample(self, uint32_t threshold, uint32_t rounds=1):
        """Draw `rounds` times for each row of the first pass; return (decisions, rows kept in the last round)."""
        cdef int64_t n
        cdef uint32_t kept = 0
        with nogil:
            n = tf_bench_sample(self.c, self.pool.c, threshold, rounds, &kept)
        return check(n, "sample rows"), kept

    def store(self, Store into, uint32_t rounds=1):
        """Read the whole ring into a store, `rounds` times, last block included; return the records."""
        cdef int64_t n
        with nogil:
            n = tf_bench_store(self.c, self.pool.c, into.c, rounds)
        return check(n, "append to the store of the benchmark")

    # Rivals: each reads the whole ring once and returns the records it saw.

    def walk_copy(self, unsigned char[::1] into):
        """Run libbpf's loop over the ring in our memory with a C callback that copies each record."""
        cdef tf_bench_sink s
        cdef int64_t n
        s.dst, s.cap, s.used, s.records = &into[0], into.shape[0], 0, 0
        tf_bench_rewind(self.c)
        with nogil:
            n = tf_bench_walk(self.c, tf_bench_copy, &s)
        return check(n, "walk ring")

    def libbpf_copy(self, unsigned char[::1] into):
        """Run ring_buffer__consume over the kernel's ring with a C callback that copies each record."""
        cdef tf_bench_sink s
        cdef int64_t n
        s.dst, s.cap, s.used, s.records = &into[0], into.shape[0], 0, 0
        tf_bench_rewind(self.c)
        with nogil:
            n = tf_bench_libbpf(self.c, &s)
        return check(n, "consume ring")

    def walk_bytes(self, function):
        """Call function(bytes) for each record, with the GIL held throughout."""
        cdef int64_t n
        tf_bench_rewind(self.c)
        n = tf_bench_walk(self.c, <tf_bench_fn><void *>give, <void *>function)
        return self.walked(n)

    def walk_bytes_gil(self, function):
        """Call function(bytes) for each record, with the GIL taken for each and released between."""
        cdef int64_t n
        cdef void *ctx = <void *>function
        tf_bench_rewind(self.c)
        with nogil:
            n = tf_bench_walk(self.c, <tf_bench_fn><void *>give_with_gil, ctx)
        return self.walked(n)

    cdef object walked(self, int64_t n):
        cdef object error = take_error()
        if error is not None:
            raise error
        return check(n, "walk ring")

    def walk_address(self, uintptr_t address):
        """Call the C function at this address, int (*)(void *, void *, size_t), for each record, with the GIL released (ctypes)."""
        cdef int64_t n
        tf_bench_rewind(self.c)
        with nogil:
            n = tf_bench_walk(self.c, <tf_bench_fn><void *>address, NULL)
        return check(n, "walk ring")


cdef extern from "Python.h":
    PyObject *PyErr_Occurred()
    void PyErr_Fetch(PyObject **kind, PyObject **value, PyObject **trace)
    void PyErr_NormalizeException(PyObject **kind, PyObject **value, PyObject **trace)
    void Py_XDECREF(PyObject *o)


cdef object take_error():
    """Return the exception that a callback left behind, or None."""
    cdef PyObject *kind = NULL
    cdef PyObject *value = NULL
    cdef PyObject *trace = NULL
    if PyErr_Occurred() is NULL:
        return None
    PyErr_Fetch(&kind, &value, &trace)
    PyErr_NormalizeException(&kind, &value, &trace)
    error = <object>value
    Py_XDECREF(kind)
    Py_XDECREF(value)
    Py_XDECREF(trace)
    return error


def row(uint64_t i, bint mixed=False):
    """Return record i as the rings hold it: the same everywhere."""
    cdef uint8_t data[184]
    cdef uint32_t n = tf_bench_row(i, mixed, data)
    return (<char *>data)[:n]
