# SPDX-License-Identifier: Apache-2.0
"""In-memory rings as a source: no privileges, any platform with shared memory. Relies on tf_memsource.h."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libcpp cimport bool as cbool
from libc.string cimport memcpy

from tapio_fast._core._engine cimport Source
from tapio_fast._core.c_engine cimport tf_ledger_cell, tf_memring, tf_ring, tf_source

from tapio_fast._core._layout import KIND_MAX
from tapio_fast.errors import ClosedError, error_for


cdef extern from "tf_memsource.h" nogil:
    struct tf_memsource:
        pass
    int tf_memsource_open(uint32_t ncpu, uint64_t bulk_bytes, uint64_t critical_bytes, tf_memsource **out)
    tf_source *tf_memsource_source(tf_memsource *m)
    uint64_t tf_memsource_fill(tf_memsource *m, uint32_t cpu, uint32_t kind, const void *row, uint32_t len, uint64_t n,
                               cbool stop_on_full)
    int tf_memsource_raw(tf_memsource *m, uint32_t cpu, uint32_t lane, const void *bytes, uint32_t len)
    tf_memring *tf_memsource_ring(tf_memsource *m, uint32_t cpu, uint32_t lane)


cdef class MemoryRings:
    """The producer side of in-memory rings. One filling thread per CPU; `gone()` is called when the consumer has freed them."""
    cdef tf_memsource *m
    cdef readonly int ncpu
    cdef bint handed            # a Source, later a pump, owns the memory

    def __init__(self, uint32_t ncpu, uint64_t bulk_bytes, uint64_t critical_bytes):
        cdef int rc = tf_memsource_open(ncpu, bulk_bytes, critical_bytes, &self.m) if ncpu else -22
        if rc < 0:
            raise error_for(-rc, "open in-memory rings", f"{ncpu} x {bulk_bytes} + {critical_bytes} bytes")
        self.ncpu = ncpu

    def __dealloc__(self):
        cdef tf_source *s
        if self.m and not self.handed:
            s = tf_memsource_source(self.m)
            s.close(s.self)

    cdef int check(self, uint32_t cpu) except -1:
        if self.m is NULL:
            raise ClosedError("the in-memory rings were closed with their collector; make a new source")
        if cpu >= <uint32_t>self.ncpu:
            raise IndexError(f"cpu {cpu} of {self.ncpu}")
        return 0

    def source(self):
        """Return the consumer side for a pump. Call once."""
        cdef Source s = Source.__new__(Source)
        self.check(0)
        if self.handed:
            raise ClosedError("this source was used by another collector; make a new one")
        s.c = tf_memsource_source(self.m)
        s.keep = self
        self.handed = True
        return s

    def gone(self):
        """Forget the memory: the source's owner has freed it."""
        self.m = NULL

    def fill(self, uint32_t cpu, uint32_t kind, const unsigned char[::1] record, uint64_t n, bint stop_on_full=False):
        """Send n copies of a record (row and tail) of a dense kind; return how many fitted."""
        self.check(cpu)
        if kind >= <uint32_t>KIND_MAX or record.shape[0] < 80:
            raise ValueError("kind or record out of range")
        cdef uint64_t sent
        with nogil:
            sent = tf_memsource_fill(self.m, cpu, kind, &record[0], <uint32_t>record.shape[0], n, stop_on_full)
        return sent

    def raw(self, uint32_t cpu, uint32_t lane, const unsigned char[::1] record):
        """Put these bytes as one record, right or wrong; return False when the ring is full."""
        self.check(cpu)
        if lane > 1:
            raise IndexError(lane)
        return tf_memsource_raw(self.m, cpu, lane, &record[0] if record.shape[0] else NULL, <uint32_t>record.shape[0]) == 0

    def image(self, uint32_t cpu, uint32_t lane, const unsigned char[::1] data, uint64_t consumer, uint64_t producer):
        """Load a recorded image of a ring of the same size, with its two positions; before a pump reads it."""
        self.check(cpu)
        if self.handed:
            raise ClosedError("the in-memory rings are being read already; load images before the collector starts")
        cdef tf_memring *r = tf_memsource_ring(self.m, cpu, lane)
        if r is NULL or <uint64_t>data.shape[0] != r.ring.size:
            raise ValueError("an image has exactly the bytes of the ring")
        memcpy(r.data, &data[0], data.shape[0])
        r.ring.consumer_pos[0] = consumer
        r.producer_pos[0] = producer
        cdef tf_ring *c = &tf_memsource_source(self.m).rings[cpu * 2 + lane]    # the pump's side
        r.ring.read = r.ring.published = c.read = c.published = consumer

    def ledger(self):
        """Return the producer's own ledger as bytes of u8[ncpu][kinds][16]."""
        self.check(0)
        cdef tf_ledger_cell *cells = tf_memsource_source(self.m).ledger
        return (<char *>cells)[:<size_t>self.ncpu * <size_t>KIND_MAX * 128]
