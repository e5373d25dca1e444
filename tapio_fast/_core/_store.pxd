# SPDX-License-Identifier: Apache-2.0
# The writer that _pump takes over.
from tapio_fast._core.c_pump cimport tf_segment_writer


cdef class Writer:
    cdef tf_segment_writer *c                                   # NULL once closed or handed to a pump
    cdef object lock                                            # one call of the writer at a time
    cdef tf_segment_writer *need(self) except NULL
    cdef tf_segment_writer *release(self) except NULL           # the caller owns it from now on
