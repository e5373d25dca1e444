# SPDX-License-Identifier: Apache-2.0
"""Tables as capsules of Arrow's C data interface: of batches, as they come, and of arrays that are there. Relies on tf_arrow.h.

A consumer asks for the next part from any of its threads. The interpreter is entered only to learn which batches come next; the
columns are made without it.
"""
from sys import byteorder

from cpython.exc cimport PyErr_CheckSignals
from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_New
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.errno cimport E2BIG, EIO, ENOMEM
from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset
from libcpp cimport bool as cbool

from tapio_fast._core._engine cimport Batch
from tapio_fast._core._store cimport Reader
from tapio_fast._core.c_arrow cimport (TF_ARROW_COLUMNS_MAX, ArrowArray, ArrowArrayStream, ArrowSchema, tf_arrow_array, tf_arrow_buffer,
                                       tf_arrow_make, tf_arrow_make_schema, tf_arrow_plan, tf_arrow_plan_of, tf_arrow_schema)
from tapio_fast._core.c_engine cimport tf_batch, tf_batch_unref
from tapio_fast._core.c_store cimport tf_segment_reader_next

from tapio_fast.errors import ClosedError, error_for

cdef enum:
    PART_ROWS = 1 << 16         # of a part of a table: from that many rows, bytes or epochs on
    PART_BYTES = 1 << 25
    PART_EPOCHS = 1024

EVENTS = 0      # instead of a domain's number: the common fields of all of them


cdef void free_schema(object capsule) noexcept:
    cdef ArrowSchema *s = <ArrowSchema *>PyCapsule_GetPointer(capsule, "arrow_schema")
    if s.release:
        s.release(s)
    free(s)


cdef void free_stream(object capsule) noexcept:
    cdef ArrowArrayStream *s = <ArrowArrayStream *>PyCapsule_GetPointer(capsule, "arrow_array_stream")
    if s.release:
        s.release(s)
    free(s)


cdef class Feed:
    """What a stream gives: its schema, and the next array. One consumer at a time, as Arrow says."""
    cdef bytes error

    cdef int schema(self, ArrowSchema *out) except -1:
        raise NotImplementedError

    cdef int following(self, ArrowArray *out) except -1:
        """Fill the next array; leave it zero at the end."""
        raise NotImplementedError


cdef int failed(Feed feed, error) noexcept:
    # the interface carries a text and a number: what the exception was, its consumer says in a word of its own
    feed.error = f"{type(error).__name__}: {error}".encode("utf-8", "backslashreplace")
    number = getattr(error, "errno", None)
    return number if isinstance(number, int) and number > 0 else EIO


cdef int get_schema(ArrowArrayStream *s, ArrowSchema *out) noexcept with gil:
    cdef Feed feed = <Feed>s.private_data
    try:
        feed.schema(out)
    except BaseException as error:
        return failed(feed, error)
    return 0


cdef int get_next(ArrowArrayStream *s, ArrowArray *out) noexcept with gil:
    cdef Feed feed = <Feed>s.private_data
    memset(out, 0, sizeof(ArrowArray))
    if feed.error is not None:      # what failed has not come to its end
        return EIO
    try:
        feed.following(out)
    except BaseException as error:
        return failed(feed, error)
    return 0


cdef const char *get_last_error(ArrowArrayStream *s) noexcept with gil:
    cdef Feed feed = <Feed>s.private_data
    return <const char *>feed.error if feed.error is not None else NULL


cdef void release_stream(ArrowArrayStream *s) noexcept with gil:
    Py_DECREF(<Feed>s.private_data)
    s.private_data = NULL
    s.release = NULL


cdef object stream_capsule(Feed feed):
    cdef ArrowArrayStream *s = <ArrowArrayStream *>calloc(1, sizeof(ArrowArrayStream))
    if not s:
        raise MemoryError()
    Py_INCREF(feed)
    s.private_data = <void *>feed
    s.get_schema = get_schema
    s.get_next = get_next
    s.get_last_error = get_last_error
    s.release = release_stream
    try:
        return PyCapsule_New(s, "arrow_array_stream", free_stream)
    except BaseException:
        Py_DECREF(feed)
        free(s)
        raise


cdef object schema_capsule(Feed feed):
    cdef ArrowSchema *s = <ArrowSchema *>calloc(1, sizeof(ArrowSchema))
    if not s:
        raise MemoryError()
    try:
        feed.schema(s)
        return PyCapsule_New(s, "arrow_schema", free_schema)
    except BaseException:
        if s.release:
            s.release(s)
        free(s)
        raise


cdef class BatchFeed(Feed):
    """Rows of one domain out of lists of batches, or of what a reader gives."""
    cdef tf_arrow_plan plan
    cdef cbool wanted[TF_ARROW_COLUMNS_MAX]
    cdef object lists       # iterator of lists of Batch; or a Reader

    def __init__(self, int domain, columns, wanted, lists):
        cdef tf_arrow_plan whole
        cdef int rc = tf_arrow_plan_of(domain, &whole)
        if rc < 0:
            raise error_for(-rc, "make a table of domain", domain)
        names = [whole.column[i].name.decode() for i in range(whole.n)]
        chosen = names if columns is None else columns
        self.plan.domain = whole.domain
        self.plan.n = len(chosen)
        for i, name in enumerate(chosen):
            self.plan.column[i] = whole.column[names.index(name)]
            self.wanted[i] = wanted is None or name in wanted
        self.lists = lists

    cdef int schema(self, ArrowSchema *out) except -1:
        cdef int rc = tf_arrow_schema(&self.plan, out)
        if rc < 0:
            raise error_for(-rc, "make the schema of a table")
        return 0

    cdef int following(self, ArrowArray *out) except -1:
        cdef const tf_batch **batches
        cdef size_t n
        cdef int rc
        if isinstance(self.lists, Reader):
            return self.of_reader(<Reader>self.lists, out)
        batch_list = next(self.lists, None)
        if batch_list is None:
            return 0
        n = len(batch_list)
        batches = <const tf_batch **>malloc((n + 1) * sizeof(void *))
        if not batches:
            raise MemoryError()
        try:
            for i in range(n):
                batches[i] = (<Batch?>batch_list[i]).c
            with nogil:
                rc = tf_arrow_array(&self.plan, batches, n, self.wanted, out)
        finally:
            free(batches)
        return self.made(rc)

    cdef int made(self, int rc) except -1:
        if rc < 0:
            raise error_for(-rc, "make a table", cause="its texts take more than 2 GiB, or it has too many names; take fewer batches at once" if rc == -E2BIG else None)
        return 0

    cdef int of_reader(self, Reader reader, ArrowArray *out) except -1:
        """A part straight from a store: nothing of it is seen by Python."""
        cdef tf_batch *batches[PART_EPOCHS]
        cdef size_t n = 0, i, size = 0
        cdef uint64_t rows = 0
        cdef int rc = 1, told = 0
        with reader.lock:
            if reader.c is NULL:
                raise ClosedError("the store's reader is closed; open a new one")
            with nogil:
                while n < PART_EPOCHS and rows < PART_ROWS and size < PART_BYTES:
                    rc = tf_segment_reader_next(reader.c, reader.pool, &batches[n])
                    if rc == -ENOMEM and n:     # the part fills the pool: what comes next comes with the next part
                        rc = 1
                        break
                    if rc <= 0:
                        break
                    rows += batches[n].total
                    size += batches[n].arena_size
                    n += 1
                if n and rc >= 0:
                    told = tf_arrow_array(&self.plan, <const tf_batch **>batches, n, self.wanted, out)
                for i in range(n):
                    tf_batch_unref(batches[i])
        if rc < 0:
            raise error_for(-rc, "read store")
        PyErr_CheckSignals()        # a consumer on the main thread may go on for minutes
        return self.made(told)


cdef class ArrayFeed(Feed):
    """Columns that are there: a name and a format each; parts of n rows, with the buffers of each column but the first, validity."""
    cdef object columns     # [(name, format)]
    cdef object parts       # iterator of (n, [[buffer, ...] of each column])
    cdef bytes metadata     # as the interface encodes it

    def __init__(self, columns, parts, metadata):
        self.columns = columns
        self.parts = parts
        pairs = [len(metadata).to_bytes(4, byteorder)]
        for text in (text.encode() for pair in metadata.items() for text in pair):
            pairs += [len(text).to_bytes(4, byteorder), text]
        self.metadata = b"".join(pairs) if metadata else b""

    cdef int schema(self, ArrowSchema *out) except -1:
        cdef int rc = tf_arrow_make_schema(out, b"", b"+s", False, len(self.columns))
        cdef char *copy
        for i, (name, format) in enumerate(self.columns):
            if rc == 0:
                rc = tf_arrow_make_schema(out.children[i], name.encode(), format.encode(), True, 0)
        if rc == 0 and self.metadata:
            copy = <char *>malloc(len(self.metadata))
            if copy is NULL:
                rc = -ENOMEM
            else:
                memcpy(copy, <const char *>self.metadata, len(self.metadata))
                out.metadata = copy
        if rc < 0:
            raise error_for(-rc, "make the schema of a table")
        return 0

    cdef int following(self, ArrowArray *out) except -1:
        cdef const unsigned char[::1] data
        cdef uint8_t *to
        cdef int rc
        part = next(self.parts, None)
        if part is None:
            return 0
        n, columns = part
        rc = tf_arrow_make(out, n, 1, len(columns))
        for i, buffers in enumerate(columns):
            if rc == 0:
                rc = tf_arrow_make(out.children[i], n, 1 + len(buffers), 0)
            for j, buffer in enumerate(buffers):
                to = NULL if rc < 0 else <uint8_t *>tf_arrow_buffer(out.children[i], j + 1, len(buffer))
                if to is NULL:
                    rc = -ENOMEM
                elif len(buffer):
                    data = buffer
                    memcpy(to, &data[0], len(buffer))
        if rc < 0:
            if out.release:
                out.release(out)
            raise error_for(-rc, "make a table")
        return 0


def columns_of(int domain):
    """Return the names of the columns that a table of a domain has."""
    cdef tf_arrow_plan plan
    cdef int rc = tf_arrow_plan_of(domain, &plan)
    if rc < 0:
        raise error_for(-rc, "make a table of domain", domain)
    return tuple(plan.column[i].name.decode() for i in range(plan.n))


def batch_schema(int domain, columns=None):
    """Return the arrow_schema capsule of a table of a domain (EVENTS: of all) with these columns."""
    return schema_capsule(BatchFeed(domain, columns, None, None))


def batch_stream(int domain, lists, *, columns=None, wanted=None):
    """Return an arrow_array_stream capsule.

    lists : iterator of lists of Batch, each list a part of the table; it is asked on the consumer's threads. Or a Reader
    columns : names, in order; None = all. wanted : those of them that are filled; the others are null
    """
    return stream_capsule(BatchFeed(domain, columns, wanted, lists))


def array_schema(columns, metadata):
    """Return the arrow_schema capsule of array_stream(columns, ..., metadata)."""
    return schema_capsule(ArrayFeed(columns, None, metadata))


def array_stream(columns, parts, metadata):
    """Return an arrow_array_stream capsule.

    columns : [(name, format)] as Arrow spells formats; no nested ones
    parts : iterator of (n rows, [[bytes of each buffer but the validity] of each column])
    metadata : {str: str} of the schema
    """
    return stream_capsule(ArrayFeed(columns, parts, metadata))
