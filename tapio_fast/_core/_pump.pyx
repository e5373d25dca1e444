# SPDX-License-Identifier: Apache-2.0
"""The pump and its user branch. Relies on tf_pump.h. Waits happen without the GIL, in slices that look for signals."""
from cpython.exc cimport PyErr_CheckSignals
from cpython.bytes cimport PyBytes_AsString, PyBytes_FromStringAndSize
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset
from libcpp cimport bool as cbool

from tapio_fast._core._engine cimport Pool, Source, wrap_batch
from tapio_fast._core._filter cimport Filter
from tapio_fast._core._log cimport Log
from tapio_fast._core._redact cimport Redactor, tf_redact_close
from tapio_fast._core._store cimport Writer
from tapio_fast._core.c_engine cimport tf_batch, tf_batch_unref
from tapio_fast._core.c_pump cimport (TF_BLOCK, TF_DROP_NEWEST, TF_DROP_OLDEST, TF_KIND_MAX, TF_L_COUNT, c_pump_stats, tf_log_push,
                                      tf_overflow, tf_pump, tf_pump_attach_user, tf_pump_close, tf_pump_detach_user,
                                      tf_pump_control, tf_pump_filter_counts, tf_pump_forget, tf_pump_ledger, tf_pump_ncpu,
                                      tf_pump_note_rules, tf_pump_open, tf_pump_opts, tf_pump_set_control, tf_pump_set_filter,
                                      tf_pump_set_rate, tf_pump_set_raw, tf_pump_start, tf_pump_stats, tf_pump_stop, tf_queue,
                                      tf_queue_fd, tf_queue_pop)

from tapio_fast.errors import ClosedError, error_for

cdef int SLICE_MS = 100

POLICIES = {"block": TF_BLOCK, "drop_oldest": TF_DROP_OLDEST, "drop_newest": TF_DROP_NEWEST}


cdef int check(int rc, str doing) except -1:
    if rc < 0:
        raise error_for(-rc, doing)
    return rc


cdef class Pump:
    """Owns a tf_pump and, through it, the source. Methods may be called from any thread until close()."""
    cdef tf_pump *c
    cdef tf_queue *user
    cdef Log log
    cdef object source_keeper
    cdef readonly bint ended    # the user branch is closed and empty

    def __init__(self, Source source, Pool pool, Log log, *, uint32_t rows_per_domain=0, uint32_t bytes_per_pass=0,
                 uint32_t flush_us=0, uint32_t settle_us=0, uint32_t idle_epoch_ms=0, uint32_t raw_queue_bytes=0, Redactor redactor=None):
        cdef tf_pump_opts o
        if source.c is NULL:
            raise ClosedError("this source was used by another collector; make a new one")
        o.source = source.c
        o.pool = pool.c
        o.rows_per_domain = rows_per_domain
        o.bytes_per_pass = bytes_per_pass
        o.flush_us = flush_us
        o.settle_us = settle_us
        o.idle_epoch_ms = idle_epoch_ms
        o.raw_queue_bytes = raw_queue_bytes
        o.publish_late = False
        o.log = tf_log_push
        o.log_ctx = log.c
        self.log = log
        o.redact = redactor.release() if redactor is not None else NULL
        cdef int rc = tf_pump_open(&o, &self.c)
        if rc < 0:
            tf_redact_close(o.redact)
        check(rc, "open pump")
        source.c = NULL         # the pump closes it from now on
        self.source_keeper = source.keep

    def __dealloc__(self):
        cdef tf_pump *p = self.c
        self.c = NULL
        if p:
            with nogil:
                tf_pump_close(p)

    cdef tf_pump *pump(self) except NULL:
        if self.c is NULL:
            raise ClosedError("the collector is closed")
        return self.c

    def set_raw(self, Writer writer, str policy):
        """Hand the store's writer to the raw branch."""
        check(tf_pump_set_raw(self.pump(), writer.release(), <tf_overflow>POLICIES[policy]), "start raw branch")

    def start(self):
        """Start the threads."""
        check(tf_pump_start(self.pump()), "start pump")

    def attach_user(self, size_t max_bytes, str policy):
        """Create the user branch."""
        check(tf_pump_attach_user(self.pump(), max_bytes, <tf_overflow>POLICIES[policy], &self.user), "attach consumer")

    def detach_user(self):
        """End the user branch; what is queued counts as overflow."""
        if self.user:
            self.user = NULL
            tf_pump_detach_user(self.pump())

    def pop(self, long long timeout_ms):
        """Wait for the next batch: None after timeout_ms (< 0: none) or when the branch has ended (`ended`)."""
        cdef tf_batch *b = NULL
        cdef cbool over = False
        cdef int slice_ms
        cdef tf_queue *q = self.user
        if self.c is NULL or q is NULL:
            raise ClosedError("the collector is closed")
        while True:
            slice_ms = SLICE_MS if timeout_ms < 0 or timeout_ms > SLICE_MS else <int>timeout_ms
            with nogil:
                b = tf_queue_pop(q, slice_ms, &over)
            if b:
                return wrap_batch(b)
            if over:
                self.ended = True
                return None
            PyErr_CheckSignals()
            if timeout_ms >= 0:
                timeout_ms -= slice_ms
                if timeout_ms <= 0:
                    return None
            if self.c is NULL or self.user is NULL:
                return None

    def fileno(self):
        """Descriptor that is readable while a batch waits or the branch has ended."""
        if self.user is NULL:
            raise ClosedError("there is no consumer yet; read() once or use fileno() of an open collector")
        return tf_queue_fd(self.user)

    def note_rules(self, uint32_t gen, bytes text):
        """Put a RULES record into the next epoch."""
        check(tf_pump_note_rules(self.pump(), gen, text, len(text)), "note rules")

    def set_filter(self, uint32_t gen, Filter filter):
        """Have records of a rule generation judged by a filter (None: not at all) from the moment on that they come."""
        check(tf_pump_set_filter(self.pump(), gen, filter.c if filter is not None else NULL), "set filter")

    def filter_counts(self):
        """Return (rows judged, rows kept, [rows that each rule matched]) of the filter in force."""
        cdef tf_pump *p = self.pump()
        cdef uint64_t judged, kept
        cdef size_t n = tf_pump_filter_counts(p, &judged, &kept, NULL, 0), i
        data = PyBytes_FromStringAndSize(NULL, n * 8)
        cdef uint64_t *hits = <uint64_t *>PyBytes_AsString(data)
        n = min(n, tf_pump_filter_counts(p, &judged, &kept, hits, n))
        return judged, kept, [hits[i] for i in range(n)]

    def set_rate(self, uint32_t kind, uint32_t threshold):
        """Keep threshold of 2^32 records of a dense kind, and tell the stream."""
        cdef tf_pump *p = self.pump()
        cdef int rc
        with nogil:
            rc = tf_pump_set_rate(p, kind, threshold)
        check(rc, "set sampling rate")

    def set_control(self, double rate_limit, double cpu_limit, double base_rate, double boost, double interval, classes):
        """Let the controller steer; classes: {dense kind: enum tf_sample_class}. Before start."""
        cdef tf_pump_control c
        memset(&c, 0, sizeof(c))
        c.o.rate_limit = rate_limit
        c.o.cpu_limit = cpu_limit
        c.o.base_rate = base_rate
        c.o.boost = boost
        c.interval_ns = <uint64_t>(interval * 1e9)
        for kind, place in classes.items():
            if not 0 <= kind < TF_KIND_MAX:
                raise IndexError(kind)
            c.kind_class[<int>kind] = place
        check(tf_pump_set_control(self.pump(), &c), "set adaptive sampling")

    def stop(self, uint32_t drain_ms):
        """Drain, end the branches and join the threads."""
        cdef tf_pump *p = self.pump()
        cdef int rc
        with nogil:
            rc = tf_pump_stop(p, drain_ms)
        check(rc, "stop pump")

    def stats(self):
        """Return the counters of tf_pump_stats as a dict; `user` and `raw` are dicts."""
        cdef tf_pump_stats s
        cdef tf_pump *p = self.pump()
        with nogil:
            c_pump_stats(p, &s)
        out = dict(s)
        raw = {k[4:]: out.pop(k) for k in list(out) if k.startswith("raw_")}
        out["raw"] = raw
        return out

    def ledger(self):
        """Return (cpus, kinds, columns, bytes of u8[cpus][kinds][columns])."""
        cdef tf_pump *p = self.pump()
        cdef size_t n = <size_t>tf_pump_ncpu(p) * TF_KIND_MAX * TF_L_COUNT
        data = PyBytes_FromStringAndSize(NULL, n * 8)
        cdef uint64_t *cells = <uint64_t *>PyBytes_AsString(data)
        cdef int rc
        with nogil:
            rc = tf_pump_ledger(p, cells, n)
        check(rc, "read ledger")
        return tf_pump_ncpu(p), TF_KIND_MAX, TF_L_COUNT, data

    def forget(self):
        """In a forked child: let go of everything without touching the parent's."""
        if self.c:
            self.user = NULL
            tf_pump_forget(self.c)
            self.c = NULL       # the memory is the child's copy; freeing it could need locks that a dead thread held

    def close(self):
        """Stop and free. Batches live on."""
        cdef tf_pump *p = self.c
        if p is NULL:
            return
        self.user = NULL
        self.c = NULL
        with nogil:
            tf_pump_close(p)
        if self.source_keeper is not None:
            self.source_keeper.gone()
            self.source_keeper = None
