# SPDX-License-Identifier: Apache-2.0
"""Writer, reader and source over segments, and the codec under them. Relies on tf_segment.h; checks of directories are store.py's."""
import threading

from cpython.bytes cimport PyBytes_AsString, PyBytes_FromStringAndSize
from libc.stdint cimport SIZE_MAX, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memset

from tapio_fast._core._engine cimport Batch, Source, wrap_batch
from tapio_fast._core.c_engine cimport tf_batch, tf_pool, tf_pool_close, tf_pool_open, tf_source
from tapio_fast._core.c_pump cimport tf_segment_writer
from tapio_fast._core.c_store cimport (TF_ASKED_MAX, tf_asked_values, tf_codec, tf_codec_bound, tf_codec_close, tf_codec_decode_bytes, tf_codec_decode_rows,
                                       tf_codec_encode_bytes, tf_codec_encode_rows, tf_codec_open, tf_codec_planes, tf_frame_info,
                                       tf_reader_select, tf_reader_stats, tf_segment_reader, tf_segment_reader_close,
                                       tf_segment_reader_frame, tf_segment_reader_next, tf_segment_reader_open,
                                       tf_segment_reader_select, tf_segment_reader_stats_of, tf_segment_source_open,
                                       tf_segment_writer_append, tf_segment_writer_close, tf_segment_writer_flush,
                                       tf_segment_writer_open, tf_segment_writer_stats_of, tf_writer_opts, tf_writer_stats)

from tapio_fast.errors import ClosedError, error_for

cdef size_t POOL_BYTES = 32 << 20      # of memory that a reader keeps


cdef class Writer:
    """Appends batches to the store behind dir_fd (kept as a copy), as its only writer. 0 = the engine's default."""

    def __init__(self, int dir_fd, *, uint32_t block_rows=0, uint32_t block_ms=0, uint32_t sync_ms=0, uint64_t sync_bytes=0,
                 uint64_t segment_bytes=0, int level=0, what=None):
        cdef tf_writer_opts o
        o.block_rows = block_rows
        o.block_ms = block_ms
        o.sync_ms = sync_ms
        o.sync_bytes = sync_bytes
        o.segment_bytes = segment_bytes
        o.level = level
        self.lock = threading.Lock()
        cdef int rc = tf_segment_writer_open(dir_fd, &o, &self.c)
        if rc < 0:
            raise error_for(-rc, "open store for writing", what)

    def __dealloc__(self):
        cdef tf_segment_writer *w = self.c
        self.c = NULL
        if w:
            with nogil:
                tf_segment_writer_close(w)

    cdef tf_segment_writer *need(self) except NULL:
        if self.c is NULL:
            raise ClosedError("the store's writer is closed, or belongs to a collector; open a new one")
        return self.c

    cdef tf_segment_writer *release(self) except NULL:
        cdef tf_segment_writer *w
        with self.lock:
            w = self.need()
            self.c = NULL
        return w

    def append(self, Batch batch not None):
        """Write one epoch. Raises StoreError when its rows were counted lost; the next append may work again."""
        cdef int rc
        cdef tf_segment_writer *w
        with self.lock:
            w = self.need()
            with nogil:
                rc = tf_segment_writer_append(w, batch.c)
        if rc < 0:
            raise error_for(-rc, "append to store")

    def flush(self, bint sync=True):
        """Close the open block; with sync, return when the disk has it."""
        cdef int rc
        cdef tf_segment_writer *w
        with self.lock:
            w = self.need()
            with nogil:
                rc = tf_segment_writer_flush(w, sync)
        if rc < 0:
            raise error_for(-rc, "write to store")

    def stats(self):
        """Return {name: count} of struct tf_writer_stats."""
        cdef tf_writer_stats s
        with self.lock:
            tf_segment_writer_stats_of(self.need(), &s)
        return s

    def close(self):
        """Write and sync what is buffered, and unlock. Twice is fine."""
        cdef int rc = 0
        cdef tf_segment_writer *w
        with self.lock:
            w = self.c
            self.c = NULL
            if w:
                with nogil:
                    rc = tf_segment_writer_close(w)
        if rc < 0:
            raise error_for(-rc, "write to store")


cdef tf_reader_select selection(uint32_t domains, int64_t since_ns, int64_t until_ns, bint whole_epochs):
    cdef tf_reader_select sel
    memset(&sel, 0, sizeof(sel))
    sel.domains = domains
    sel.since_ns = since_ns
    sel.until_ns = until_ns
    sel.whole_epochs = whole_epochs
    return sel


cdef void ask(tf_asked_values *to, values) except *:
    """No values, or more than an index is asked for: any will do."""
    if len(values) <= TF_ASKED_MAX:
        for value in values:
            to.value[to.n] = value
            to.n += 1


cdef class Reader:
    """Iterates over the epochs of a store as Batch. One thread at a time.

    domains : bits (1 << number), 0 = all. since_ns, until_ns : Unix ns, both 0 = all
    fields : {domain number: set of places of fields in its layout}; others are zero. None = all
    asked : {domain number: (bits of subtypes, pids, cgroups, ports)}: blocks in which no row of a domain can be like that are passed over
    """

    def __init__(self, int dir_fd, *, uint32_t domains=0, int64_t since_ns=0, int64_t until_ns=0, fields=None, asked=None, what=None):
        cdef tf_reader_select sel = selection(domains, since_ns, until_ns, False)
        cdef int rc
        cdef int d, place
        self.lock = threading.Lock()
        if fields is not None:
            sel.some_fields = True
            for d, places in fields.items():
                for place in places:
                    sel.fields[d][place // 64] |= <uint64_t>1 << (place % 64)
        for d, (kinds, pids, cgroups, ports) in (asked or {}).items():
            sel.narrow |= <uint32_t>1 << d
            sel.asked[d].kinds = kinds
            ask(&sel.asked[d].pid, pids)
            ask(&sel.asked[d].cgroup, cgroups)
            ask(&sel.asked[d].port, ports)
        rc = tf_pool_open(POOL_BYTES, SIZE_MAX, &self.pool)
        if rc == 0:
            with nogil:
                rc = tf_segment_reader_open(dir_fd, &self.c)
        if rc < 0:
            raise error_for(-rc, "open store", what)
        tf_segment_reader_select(self.c, &sel)

    def __dealloc__(self):
        tf_segment_reader_close(self.c)
        tf_pool_close(self.pool)

    def __iter__(self):
        return self

    def __next__(self):
        cdef tf_batch *b = NULL
        cdef int rc
        if self.c is NULL:
            raise ClosedError("the store's reader is closed; open a new one")
        with nogil:
            rc = tf_segment_reader_next(self.c, self.pool, &b)
        if rc < 0:
            raise error_for(-rc, "read store")
        if rc == 0:
            raise StopIteration
        return wrap_batch(b)

    def frame(self):
        """Return the header of the next frame as a dict, or None at the end. Not to be mixed with iteration."""
        cdef tf_frame_info f
        cdef int rc, d
        if self.c is NULL:
            raise ClosedError("the store's reader is closed; open a new one")
        with nogil:
            rc = tf_segment_reader_frame(self.c, &f)
        if rc < 0:
            raise error_for(-rc, "read store")
        if rc == 0:
            return None
        return {"segment": f.segment, "frame": f.frame_no, "bytes": f.bytes, "rows": f.rows, "epochs": f.n_epochs,
                "domains": {d: f.domain_rows[d] for d in range(16) if f.domain_rows[d]}, "first_epoch": f.first_epoch,
                "last_epoch": f.last_epoch, "unix_min": f.unix_min, "unix_max": f.unix_max, "boot_id": (<char *>f.boot_id)[:16],
                "run_id": f.run_id}

    def stats(self):
        """Return {name: count} of struct tf_reader_stats, as far as was read."""
        cdef tf_reader_stats s
        if self.c is NULL:
            raise ClosedError("the store's reader is closed; open a new one")
        tf_segment_reader_stats_of(self.c, &s)
        return s

    def close(self):
        """Let go of the files. Twice is fine."""
        cdef tf_segment_reader *r = self.c
        self.c = NULL
        tf_segment_reader_close(r)


def store_source(int dir_fd, *, int64_t since_ns=0, int64_t until_ns=0, what=None):
    """Return a Source that replays the store: epochs whole, those with a row in the range; times: Unix ns, both 0 = all."""
    cdef tf_reader_select sel = selection(0, since_ns, until_ns, True)
    cdef Source s = Source.__new__(Source)
    cdef int rc
    with nogil:
        rc = tf_segment_source_open(dir_fd, &sel, &s.c)
    if rc < 0:
        raise error_for(-rc, "replay store", what)
    return s


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
