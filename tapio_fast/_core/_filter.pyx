# SPDX-License-Identifier: Apache-2.0
"""Compiled filters and the facts that they join, over batches. Relies on tf_filter.h and tf_facts.h; programs come from filtering._program."""
import threading

from cpython.bytes cimport PyBytes_AsString, PyBytes_FromStringAndSize
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from tapio_fast._core._engine cimport Batch
from tapio_fast._core.c_engine cimport TF_TYPE_MAX, tf_rows
from tapio_fast._core.c_filter cimport (c_facts_stats, tf_facts, tf_facts_close, tf_facts_learn, tf_facts_open, tf_facts_opts,
                                        tf_facts_stats, tf_filter_bytes, tf_filter_compile, tf_filter_error, tf_filter_fate,
                                        tf_filter_needs_facts, tf_filter_rules, tf_filter_run, tf_filter_run_rules,
                                        tf_filter_scratch, tf_filter_scratch_close, tf_filter_scratch_open, tf_filter_unref)

from tapio_fast._core import _layout
from tapio_fast.errors import FilterError, OutOfMemoryError, error_for

_META = next(number for name, _, number, _, _ in _layout.layouts() if name == "meta")
_ENOMEM = 12


cdef class Facts:
    """What the stream told about processes and control groups. Bounds of 0 are the defaults."""

    def __init__(self, uint32_t processes=0, uint32_t cgroups=0, size_t text_bytes=0):
        cdef tf_facts_opts o
        memset(&o, 0, sizeof(o))
        o.processes, o.cgroups, o.text_bytes = processes, cgroups, text_bytes
        cdef int rc = tf_facts_open(&o, &self.c)
        if rc < 0:
            raise error_for(-rc, "make a table of facts")
        self.lock = threading.Lock()

    def __dealloc__(self):
        tf_facts_close(self.c)

    def learn(self, Batch batch not None):
        """Learn from all rows of a batch; batches come in the order of the stream."""
        with self.lock, nogil:
            tf_facts_learn(self.c, batch.c)

    def stats(self):
        """Return what is held and what was evicted: name -> number."""
        cdef tf_facts_stats s
        with self.lock:
            c_facts_stats(self.c, &s)
        return s


cdef extern from *:
    """
    static inline void *tf_swap(void **place, void *with) { return __atomic_exchange_n(place, with, __ATOMIC_ACQ_REL); }
    """
    void *tf_swap(void **place, void *with_) noexcept nogil


cdef tf_filter_scratch *take(Filter f) except NULL:
    cdef tf_filter_scratch *s = <tf_filter_scratch *>tf_swap(<void **>&f.idle, NULL)    # who comes meanwhile makes one
    cdef int rc
    if s == NULL:
        rc = tf_filter_scratch_open(f.c, &s)
        if rc < 0:
            raise error_for(-rc, "run a filter")
    return s


cdef void give(Filter f, tf_filter_scratch *s) noexcept:
    tf_filter_scratch_close(<tf_filter_scratch *>tf_swap(<void **>&f.idle, s))


cdef bytes run(Filter f, tf_filter_scratch *s, Batch batch, int d, Facts facts, uint64_t *counts, bytes rules):
    cdef tf_rows *r = &batch.c.dom[d]
    cdef Py_ssize_t size = (<Py_ssize_t>r.n + 63) // 64 * 8
    cdef bytes out = PyBytes_FromStringAndSize(NULL, size)
    cdef uint64_t *bits = <uint64_t *>PyBytes_AsString(out)
    cdef uint64_t *rule_bits = <uint64_t *>PyBytes_AsString(rules) if rules is not None else NULL
    cdef tf_facts *known = facts.c if facts is not None else NULL
    cdef int rc
    memset(bits, 0xff, size)
    if facts is not None:
        facts.lock.acquire()
    try:
        with nogil:
            if rule_bits != NULL:
                rc = tf_filter_run_rules(f.c, s, known, r, d, bits, rule_bits)
            else:
                rc = tf_filter_run(f.c, s, known, r, d, bits, counts)
    finally:
        if facts is not None:
            facts.lock.release()
    if rc < 0:
        raise error_for(-rc, "run a filter")
    return out


cdef class Filter:
    """A compiled filter: immutable, for any thread."""

    def __init__(self, bytes program not None):
        cdef tf_filter_error err
        cdef const char *p = PyBytes_AsString(program)
        cdef size_t n = len(program)
        cdef int rc
        with nogil:
            rc = tf_filter_compile(p, n, &self.c, &err)
        if rc == -_ENOMEM:
            raise OutOfMemoryError("cannot compile the filter: not enough memory; shorten it, or raise the memory limit")
        if rc < 0:
            error = FilterError(err.msg.decode("utf-8", "backslashreplace"))
            if err.test != <uint32_t>-1:
                error.test, error.value, error.at = err.test, err.value, err.at
            raise error

    def __dealloc__(self):
        tf_filter_scratch_close(self.idle)
        tf_filter_unref(self.c)

    @property
    def rules(self):
        """How many rules it has."""
        return tf_filter_rules(self.c)

    @property
    def needs_facts(self):
        """Whether a test joins facts."""
        return tf_filter_needs_facts(self.c)

    @property
    def nbytes(self):
        """Bytes that it holds."""
        return tf_filter_bytes(self.c)

    def fate(self, int domain):
        """Return True when all rows of the domain are kept, False when none is, None when it depends on the row."""
        cdef int fate = tf_filter_fate(self.c, domain)
        return None if fate < 0 else bool(fate)

    def match(self, Batch batch not None, Facts facts=None, list hits=None):
        """Return {domain number: packed little-endian bits, whole words} of the rows kept, meta apart; add to hits[rule] what each matched."""
        cdef uint64_t *counts = NULL
        cdef tf_filter_scratch *s = take(self)
        found = {}
        try:
            if hits is not None:
                counts = <uint64_t *>calloc(self.rules + 1, sizeof(uint64_t))
                if counts == NULL:
                    raise MemoryError()
            for d in range(TF_TYPE_MAX):
                if batch.c.dom[d].n and d != _META:
                    found[d] = run(self, s, batch, d, facts, counts, None)
            if hits is not None:
                for i in range(self.rules):
                    hits[i] += counts[i]
        finally:
            free(counts)
            give(self, s)
        return found

    def match_rules(self, Batch batch not None, Facts facts=None):
        """Return {domain number: (bits of the rows kept, [bits of the rows that each rule matched])}, meta apart."""
        cdef tf_filter_scratch *s = take(self)
        found = {}
        try:
            for d in range(TF_TYPE_MAX):
                if batch.c.dom[d].n and d != _META:
                    size = (<Py_ssize_t>batch.c.dom[d].n + 63) // 64 * 8
                    rules = PyBytes_FromStringAndSize(NULL, self.rules * size)
                    bits = run(self, s, batch, d, facts, NULL, rules)
                    found[d] = bits, [rules[i:i + size] for i in range(0, len(rules), size)]
        finally:
            give(self, s)
        return found
