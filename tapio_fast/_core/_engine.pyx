# SPDX-License-Identifier: Apache-2.0
"""Pools, batches (the owners of rows that numpy looks at) and sources. Relies on tf_batch.h and tf_columns.h.

A `Rows` object is the buffer that numpy arrays are made over: it holds the batch, so an array that outlives collector, pump and
pool keeps just its own arena alive, which goes back to the pool when the last array is gone.
"""
from cpython.bytes cimport PyBytes_AsString, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from tapio_fast._core.c_columns cimport (tf_batch_sorted, tf_column, tf_columns_split, tf_mask_until, tf_text_bytes,
                                         tf_text_gather)
from tapio_fast._core.c_engine cimport (TF_L_COUNT, TF_TYPE_MAX, c_pool_stats, tf_batch, tf_batch_concat, tf_batch_detach,
                                        tf_batch_new, tf_batch_order, tf_batch_ref, tf_batch_select, tf_batch_unref, tf_pool, tf_pool_close,
                                        tf_need, tf_pool_open, tf_pool_stats, tf_row_size, tf_rows, tf_source)

from tapio_fast.errors import error_for


cdef class Pool:
    """Where arenas of batches come from; bounded in bytes."""

    def __init__(self, size_t pool_bytes, size_t total_bytes):
        cdef int rc = tf_pool_open(pool_bytes, total_bytes, &self.c)
        if rc < 0:
            raise error_for(-rc, "open batch pool")

    def __dealloc__(self):
        tf_pool_close(self.c)

    def stats(self):
        """Return {in_use, detached, idle, peak: bytes, refused: count}."""
        cdef tf_pool_stats s
        c_pool_stats(self.c, &s)
        return {"in_use": s.in_use_bytes, "detached": s.detached_bytes, "idle": s.idle_bytes, "peak": s.peak_bytes,
                "refused": s.refused}


cdef class Rows:
    """Read-only buffer over the rows (or the text area) of one domain of a batch."""
    cdef Batch owner            # keeps the arena
    cdef uint8_t *start
    cdef Py_ssize_t size        # bytes
    cdef Py_ssize_t shape[1]
    cdef Py_ssize_t strides[1]

    def __init__(self):
        raise TypeError("Rows come from a Batch")

    def __getbuffer__(self, Py_buffer *view, int flags):
        if flags & 1:           # PyBUF_WRITABLE
            raise BufferError("rows are shared and read-only; copy() the array to change it")
        self.shape[0] = self.size
        self.strides[0] = 1
        view.buf = self.start
        view.obj = self
        view.len = self.size
        view.itemsize = 1
        view.readonly = 1
        view.ndim = 1
        view.format = "B"
        view.shape = self.shape
        view.strides = self.strides
        view.suboffsets = NULL
        view.internal = NULL

    def __releasebuffer__(self, Py_buffer *view):
        pass


cdef Rows rows_view(Batch owner, uint8_t *start, Py_ssize_t size):
    cdef Rows r = Rows.__new__(Rows)
    r.owner = owner
    r.start = start
    r.size = size
    return r


cdef tf_rows *domain_of(Batch batch, int d) except NULL:
    if d < 0 or d >= TF_TYPE_MAX:
        raise IndexError(d)
    return &batch.c.dom[d]


cdef class Batch:
    """One reference to a tf_batch."""

    def __init__(self):
        raise TypeError("batches come from a pump, a store or concat()")

    def __dealloc__(self):
        tf_batch_unref(self.c)

    def __len__(self):
        return self.c.total

    @property
    def info(self):
        """(epoch, watermark_ns, wall_offset_ns, boot_id bytes, run_id)."""
        return (self.c.epoch, self.c.watermark_ns, self.c.wall_offset_ns, (<char *>self.c.boot_id)[:16], self.c.run_id)

    @property
    def nbytes(self):
        """Bytes of the arena."""
        return self.c.arena_size

    @property
    def loss(self):
        """Ledger delta since the batch before, in the order of _layout.LEDGER."""
        return [self.c.loss[i] for i in range(TF_L_COUNT)]

    def counts(self):
        """Return {domain number: rows} of the domains present."""
        return {d: self.c.dom[d].n for d in range(TF_TYPE_MAX) if self.c.dom[d].n}

    def rows(self, int d):
        """Return the buffer of domain d's rows, or None when it has none."""
        cdef tf_rows *r = domain_of(self, d)
        return rows_view(self, r.rows, <Py_ssize_t>r.n * r.row_size) if r.n else None

    def text(self, int d):
        """Return the buffer of domain d's text area, or None when it is empty."""
        cdef tf_rows *r = domain_of(self, d)
        return rows_view(self, r.text, r.text_len) if r.text_len else None

    def gather(self, int d, uint32_t field_offset):
        """Pack one text field: (offsets as u8[n + 1] in bytes, data bytes)."""
        cdef tf_rows *r = domain_of(self, d)
        cdef uint64_t size
        with nogil:
            size = tf_text_bytes(r.rows, r.n, r.row_size, field_offset, r.text_len)
        offsets = PyBytes_FromStringAndSize(NULL, (<Py_ssize_t>r.n + 1) * 8)
        data = PyBytes_FromStringAndSize(NULL, size)
        cdef uint64_t *o = <uint64_t *>PyBytes_AsString(offsets)
        cdef uint8_t *p = <uint8_t *>PyBytes_AsString(data)
        with nogil:
            tf_text_gather(r.rows, r.n, r.row_size, field_offset, r.text, r.text_len, o, p)
        return offsets, data

    def split(self, int d, list offsets, list destinations):
        """Copy fields [(offset, size), ...] into writable contiguous buffers of n * size bytes."""
        cdef tf_rows *r = domain_of(self, d)
        cdef size_t n = len(offsets)
        cdef uint8_t[::1] dst
        cdef tf_column *columns = <tf_column *>malloc((n + 1) * sizeof(tf_column))
        if not columns:
            raise MemoryError()
        try:
            for i in range(n):
                columns[i].offset, columns[i].size = offsets[i]
                dst = destinations[i]
                if <size_t>dst.shape[0] < <size_t>r.n * columns[i].size:
                    raise ValueError("destination is too small")
                columns[i].dst = &dst[0] if r.n else NULL
            with nogil:
                tf_columns_split(r.rows, r.n, r.row_size, columns, n)
        finally:
            free(columns)

    def order(self):
        """Return (domain u1[n], row u4[n]) as bytes: all rows by (ts_ns, cpu, lane, seq)."""
        domain = PyBytes_FromStringAndSize(NULL, self.c.total)
        row = PyBytes_FromStringAndSize(NULL, self.c.total * 4)
        cdef uint8_t *d = <uint8_t *>PyBytes_AsString(domain)
        cdef uint32_t *r = <uint32_t *>PyBytes_AsString(row)
        with nogil:
            tf_batch_order(self.c, d, r)
        return domain, row

    def sorted(self):
        """Return the batch with the rows of each domain in time order."""
        cdef tf_batch *out
        cdef int rc
        with nogil:
            rc = tf_batch_sorted(self.c, &out)
        if rc < 0:
            raise error_for(-rc, "sort batch")
        return wrap_batch(out)

    def select(self, dict masks):
        """Copy rows: masks maps a domain number to packed little-endian bits (bytes); a domain without an entry is kept whole."""
        cdef const uint64_t *mask[16]
        cdef const unsigned char[::1] bits
        cdef tf_batch *out
        cdef int rc, d
        keep = []
        for d in range(TF_TYPE_MAX):
            mask[d] = NULL
            if d in masks and self.c.dom[d].n:
                # copied to bytes: aligned, padded to whole words, and stays put while C reads it
                need = (<Py_ssize_t>self.c.dom[d].n + 63) // 64 * 8
                word = bytes(masks[d]).ljust(need, b"\0")
                keep.append(word)
                bits = word
                mask[d] = <const uint64_t *>&bits[0]
        with nogil:
            rc = tf_batch_select(self.c, mask, &out)
        if rc < 0:
            raise error_for(-rc, "select rows of a batch")
        return wrap_batch(out)

    def until(self, uint64_t ts_ns, bint after=False):
        """Copy the rows with ts_ns <= this time (or > it, when after)."""
        masks = {}
        cdef tf_rows *r
        cdef uint64_t *bits
        for d in range(TF_TYPE_MAX):
            r = &self.c.dom[d]
            if r.n:
                word = PyBytes_FromStringAndSize(NULL, (<Py_ssize_t>r.n + 63) // 64 * 8)
                bits = <uint64_t *>PyBytes_AsString(word)
                tf_mask_until(r.rows, r.n, r.row_size, ts_ns, after, bits)
                masks[d] = word
        return self.select(masks)


cdef Batch wrap_batch(tf_batch *b):
    cdef Batch batch = Batch.__new__(Batch)
    batch.c = b
    tf_batch_detach(b)
    return batch


def concat(list batches):
    """Return one batch out of several, in order."""
    cdef size_t n = len(batches)
    cdef tf_batch **src = <tf_batch **>malloc((n + 1) * sizeof(void *))
    cdef tf_batch *out
    cdef int rc
    if not src:
        raise MemoryError()
    try:
        for i in range(n):
            src[i] = (<Batch?>batches[i]).c
        with nogil:
            rc = tf_batch_concat(src, n, &out)
    finally:
        free(src)
    if rc < 0:
        raise error_for(-rc, "concatenate batches")
    return wrap_batch(out)


def build(dict rows, uint64_t epoch=0):
    """Make a batch of {domain number: (rows as bytes, text area as bytes)}; rows are taken as they are, what their texts say is not checked."""
    cdef tf_need need
    cdef tf_batch *out
    cdef tf_rows *r
    cdef const unsigned char[::1] view
    cdef int rc, d
    memset(&need, 0, sizeof(need))
    for d, (data, text) in rows.items():
        if d < 0 or d >= TF_TYPE_MAX or not tf_row_size(d) or len(data) % tf_row_size(d):
            raise ValueError(f"{len(data)} bytes are no rows of domain {d}")
        need.rows[d], need.text[d] = len(data) // tf_row_size(d), len(text)
    rc = tf_batch_new(NULL, &need, &out)
    if rc < 0:
        raise error_for(-rc, "make a batch")
    for d, (data, text) in rows.items():
        r = &out.dom[d]
        r.n, r.text_len = r.cap, r.text_cap
        out.total += r.n
        if data:
            view = data
            memcpy(r.rows, &view[0], len(data))
        if text:
            view = text
            memcpy(r.text, &view[0], len(text))
    out.epoch = epoch
    return wrap_batch(out)


cdef class Source:
    """A tf_source on its way to a pump, which owns it from then on."""

    def __dealloc__(self):
        if self.c and self.c.close:
            self.c.close(self.c.self)

    @property
    def name(self):
        """Name of the kind of source, or "" once a pump owns it."""
        return self.c.name.decode() if self.c else ""
