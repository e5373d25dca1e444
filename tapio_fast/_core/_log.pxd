# SPDX-License-Identifier: Apache-2.0
from tapio_fast._core.c_pump cimport tf_log


cdef class Log:
    cdef tf_log *c
