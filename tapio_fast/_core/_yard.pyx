# SPDX-License-Identifier: Apache-2.0
"""Yardstick programs and the work that runs a hook, for the benchmark `hooks`. Relies on tf_object_yard.h."""
from libc.stdint cimport int64_t, uint64_t

from tapio_fast.errors import ClosedError, error_for


cdef extern from "tf_object_yard.h" nogil:
    struct tf_yard:
        pass
    int tf_yard_open(tf_yard **out)
    int tf_yard_attach(tf_yard *y, const char *program)
    void tf_yard_detach(tf_yard *y)
    void tf_yard_reset(tf_yard *y)
    uint64_t tf_yard_records(const tf_yard *y)
    void tf_yard_close(tf_yard *y)
    enum tf_yard_work_kind "tf_yard_work":
        TF_Y_RENAME
        TF_Y_GETPPID
        TF_Y_OPEN
    int64_t c_work "tf_yard_work"(tf_yard_work_kind work, const char *path, uint64_t n)

WORKS = ("rename", "getppid", "open")


cdef class Yard:
    """The yardstick programs, loaded; attached by name."""
    cdef tf_yard *c

    def __init__(self):
        cdef int rc
        with nogil:
            rc = tf_yard_open(&self.c)
        if rc < 0:
            self.c = NULL
            raise error_for(-rc, "load the yardstick programs")

    def __dealloc__(self):
        tf_yard_close(self.c)

    cdef tf_yard *object(self) except NULL:
        if self.c is NULL:
            raise ClosedError("the yardstick programs were closed")
        return self.c

    def attach(self, str program):
        """Attach one of them."""
        cdef bytes name = program.encode()
        cdef int rc = tf_yard_attach(self.object(), name)
        if rc < 0:
            raise error_for(-rc, f"attach {program}")

    def detach(self):
        """Detach all."""
        tf_yard_detach(self.object())

    def reset(self):
        """Empty their ring."""
        tf_yard_reset(self.object())

    def produced(self):
        """Return how many bytes they have sent so far."""
        return tf_yard_records(self.object())

    def close(self):
        """Detach and unload."""
        tf_yard_close(self.c)
        self.c = NULL


def work(str kind, uint64_t n, bytes path=b"/"):
    """Run a system call n times on this thread, without the GIL; return the wall time in ns. kind: "rename", "getppid", "open"."""
    cdef int which = WORKS.index(kind)
    cdef const char *where = path
    cdef int64_t took
    with nogil:
        took = c_work(<tf_yard_work_kind>which, where, n)
    if took < 0:
        raise error_for(-took, f"open {path!r}")
    return took
