# SPDX-License-Identifier: Apache-2.0
"""Regular expressions over bytes, as tables. Relies on tf_regex.h."""
from libc.stdint cimport uint8_t
from libcpp cimport bool as cbool

from tapio_fast.errors import FilterError, error_for


cdef extern from "tf_regex.h" nogil:
    struct tf_regex:
        pass
    enum: TF_RE_ICASE
    enum: TF_RE_ARGV
    enum: TF_RE_FIND
    int tf_regex_compile(const char *pattern, size_t len, unsigned flags, tf_regex **out, size_t *error_at, char *msg, size_t msg_size)
    cbool tf_regex_search(const tf_regex *re, const uint8_t *s, size_t n)
    cbool tf_regex_find(const tf_regex *re, const uint8_t *s, size_t n, size_t start, size_t *begin, size_t *end)
    size_t tf_regex_bytes(const tf_regex *re)
    void tf_regex_close(tf_regex *re)


ICASE = TF_RE_ICASE
ARGV = TF_RE_ARGV
FIND = TF_RE_FIND


cdef class Regex:
    """A compiled expression; FilterError with `.position` (offset in the pattern) when it is wrong or too big."""
    cdef tf_regex *c

    def __init__(self, bytes pattern, unsigned flags=0):
        cdef char msg[256]
        cdef size_t at = 0
        cdef int rc
        cdef const char *text = pattern
        cdef size_t n = len(pattern)
        if self.c:
            raise TypeError("a Regex is made once")
        msg[0] = 0
        with nogil:
            rc = tf_regex_compile(text, n, flags, &self.c, &at, msg, sizeof(msg))
        if rc == -12:           # ENOMEM
            raise error_for(12, "compile a regular expression")
        if rc < 0:
            raise FilterError(msg.decode("utf-8", "backslashreplace"), position=at)

    def __dealloc__(self):
        tf_regex_close(self.c)

    def search(self, bytes subject):
        """Whether it matches anywhere."""
        return tf_regex_search(self.c, <const uint8_t *><const char *>subject, len(subject))

    def find(self, bytes subject, size_t start=0):
        """Return (begin, end) of the leftmost, then longest match from `start` on, or None; needs FIND."""
        cdef size_t begin, end
        if tf_regex_find(self.c, <const uint8_t *><const char *>subject, len(subject), start, &begin, &end):
            return begin, end
        return None

    @property
    def nbytes(self):
        """Bytes of memory held."""
        return tf_regex_bytes(self.c)
