# SPDX-License-Identifier: Apache-2.0
"""Writer, reader and source over segments, and what a store keeps. Relies on tf_segment.h; checks of directories are _store_files.py's."""
import threading

from libc.errno cimport EBADMSG
from libc.stdint cimport SIZE_MAX, UINT64_MAX, int64_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memset

from tapio_fast._core._engine cimport Batch, Source, wrap_batch
from tapio_fast._core.c_engine cimport tf_batch, tf_pool_close, tf_pool_open
from tapio_fast._core.c_pump cimport tf_segment_writer
from tapio_fast._core.c_store cimport (TF_ASKED_MAX, tf_asked_values, tf_frame_info, tf_keep, tf_reader_select, tf_reader_stats, tf_removed,
                                       tf_seg_list, tf_segment_keep, tf_segment_reader_close, tf_segment_reader_frame,
                                       tf_segment_reader_next, tf_segment_reader_open, tf_segment_reader_select,
                                       tf_segment_reader_stats_of, tf_segment_removed, tf_segment_source_open,
                                       tf_segment_writer_append, tf_segment_writer_close, tf_segment_writer_flush,
                                       tf_segment_writer_open, tf_segment_writer_stats_of, tf_writer_opts, tf_writer_stats)

from tapio_fast.errors import ClosedError, error_for

cdef size_t POOL_BYTES = 32 << 20      # of memory that a reader keeps


cdef class Writer:
    """Appends batches to the store behind dir_fd (kept as a copy), as its only writer. 0 = the engine's default.

    keep_age_ns, keep_bytes, keep_free : what stays in the store, as in prune(); 0 = no such bound
    """

    def __init__(self, int dir_fd, *, uint32_t block_rows=0, uint32_t block_ms=0, uint32_t sync_ms=0, uint64_t sync_bytes=0,
                 uint64_t segment_bytes=0, int level=0, uint64_t keep_age_ns=0, uint64_t keep_bytes=0, uint64_t keep_free=0, what=None):
        cdef tf_writer_opts o
        memset(&o, 0, sizeof(o))
        o.keep.age_ns = keep_age_ns
        o.keep.bytes = keep_bytes
        o.keep.free_bytes = keep_free
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


def prune(int dir_fd, *, uint64_t age_ns=0, uint64_t max_bytes=0, uint64_t keep_free=0, bint spare_newest=True, bint look_only=False,
          int64_t now_ns=0, what=None):
    """Remove whole segments, oldest first, while one of the bounds is passed (0 = none); return {segments, rows, bytes, number, until_ns}.

    age_ns : since a segment was last written to; max_bytes : of all of them; keep_free : bytes of the file system
    spare_newest : the newest segment stays; look_only : nothing goes
    """
    cdef tf_keep k
    cdef tf_removed run
    cdef int rc
    memset(&k, 0, sizeof(k))
    k.age_ns = age_ns
    k.bytes = max_bytes
    k.free_bytes = keep_free
    k.spare = newest(dir_fd, what) if spare_newest else UINT64_MAX
    k.look_only = look_only
    with nogil:
        rc = tf_segment_keep(dir_fd, &k, now_ns, &run)
    if rc < 0:
        raise error_for(-rc, "prune store", what)
    return run


cdef uint64_t newest(int dir_fd, what) except? 0:
    cdef uint64_t *numbers = NULL
    cdef uint64_t last
    cdef size_t n = 0
    cdef int rc = tf_seg_list(dir_fd, &numbers, &n)
    if rc < 0:
        raise error_for(-rc, "list store", what)
    last = numbers[n - 1] if n else 0
    free(numbers)
    return last


def removed(int dir_fd, *, what=None):
    """Return what was removed since the store was made, as prune() does; None when its record is damaged."""
    cdef tf_removed all_of_it
    cdef int rc
    with nogil:
        rc = tf_segment_removed(dir_fd, &all_of_it)
    if rc == -EBADMSG:
        return None
    if rc < 0:
        raise error_for(-rc, "read store", what)
    return all_of_it
