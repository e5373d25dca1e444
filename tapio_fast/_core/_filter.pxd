# SPDX-License-Identifier: Apache-2.0
# cdef classes that other skins cimport: a compiled filter, and facts.
from tapio_fast._core.c_filter cimport tf_facts, tf_filter, tf_filter_scratch


cdef class Facts:
    cdef tf_facts *c
    cdef object lock            # one learns or asks at a time


cdef class Filter:
    cdef tf_filter *c           # one reference, dropped in __dealloc__
    cdef tf_filter_scratch *idle    # NULL while a match uses it
