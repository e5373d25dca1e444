# SPDX-License-Identifier: Apache-2.0
"""Messages of the engine's threads on their way to Python's logging. Relies on tf_log.h."""
from tapio_fast._core.c_pump cimport tf_log_close, tf_log_dropped, tf_log_line, tf_log_open, tf_log_pop


cdef class Log:
    """A bounded log that C threads write without the GIL."""

    def __init__(self, size_t lines=256):
        if tf_log_open(lines, &self.c) < 0:
            raise MemoryError("engine log")

    def __dealloc__(self):
        tf_log_close(self.c)

    def take(self):
        """Return and forget [(boot ns, level, text), ...]."""
        cdef tf_log_line line
        out = []
        while tf_log_pop(self.c, &line):
            out.append((line.ts_ns, line.level, line.text.decode("utf-8", "backslashreplace")))
        return out

    @property
    def dropped(self):
        """Count of lines that gave way to newer ones."""
        return tf_log_dropped(self.c)
