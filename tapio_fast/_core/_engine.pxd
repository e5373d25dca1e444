# SPDX-License-Identifier: Apache-2.0
# cdef classes that other skins cimport: the pool, the batch (buffer owner), the source handed to a pump.
from tapio_fast._core.c_engine cimport tf_batch, tf_pool, tf_source


cdef class Pool:
    cdef tf_pool *c


cdef class Batch:
    cdef tf_batch *c            # one reference, dropped in __dealloc__


cdef class Source:
    cdef tf_source *c           # NULL once a pump owns it
    cdef object keep            # what must outlive it


cdef Batch wrap_batch(tf_batch *b)      # takes over one reference; detaches it from the pool's account
