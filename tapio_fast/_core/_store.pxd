# SPDX-License-Identifier: Apache-2.0
# The writer that _pump takes over, and the reader that _arrow reads tables from.
from tapio_fast._core.c_engine cimport tf_pool
from tapio_fast._core.c_pump cimport tf_segment_writer
from tapio_fast._core.c_store cimport tf_segment_reader


cdef class Writer:
    cdef tf_segment_writer *c                                   # NULL once closed or handed to a pump
    cdef object lock                                            # one call of the writer at a time
    cdef tf_segment_writer *need(self) except NULL
    cdef tf_segment_writer *release(self) except NULL           # the caller owns it from now on


cdef class Reader:
    cdef tf_segment_reader *c
    cdef object lock            # a table is read on its consumer's threads
    cdef tf_pool *pool          # arenas of batches that nobody holds any more, so that the next ones need no fresh pages
