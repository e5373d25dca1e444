# SPDX-License-Identifier: Apache-2.0
"""Sets of values in files: one a line. Relies on `_lexer` for errors that point at the expression."""
from __future__ import annotations

import os
import stat

from tapio_fast._escape import escape
from tapio_fast.filtering._lexer import Token, refuse

MAX_BYTES = 16 << 20
_SHOWN = 200    # bytes of a path that an error repeats
# neither waits for the other end of a pipe nor becomes the terminal of a session
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


def lines_of(source: str, place: Token, path: bytes, most: int) -> list[tuple[int, str]]:
    """Return the values of a file with their lines, counted from 1: without blanks around; empty lines and those that begin with # left out.

    Raises FilterError: it cannot be read, is not a regular file, is larger than 16 MiB, not UTF-8, or has more than `most` values.
    """
    name = named(path)
    try:
        fd = os.open(path, _FLAGS)
        try:
            regular = stat.S_ISREG(os.fstat(fd).st_mode)
            data = _read(fd) if regular else b""
        finally:
            os.close(fd)
    except OSError as error:
        refuse(source, place, f"cannot read {name}: {error.strerror}; check the path")
    except ValueError:
        refuse(source, place, f"{name} is no path: it holds a NUL byte")
    if not regular:
        refuse(source, place, f"{name} is not a regular file")
    if len(data) > MAX_BYTES:
        refuse(source, place, f"{name} is larger than {MAX_BYTES >> 20} MiB")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        where = data.count(b"\n", 0, error.start) + 1
        refuse(source, place, f"{name} is not UTF-8 (line {where})")
    # only \n ends a line: a path may hold whatever else Unicode takes for one
    found = [(number, line) for number, raw in enumerate(text.split("\n"), 1) if (line := raw.strip(" \t\r")) and not line.startswith("#")]
    if len(found) > most:
        refuse(source, place, f"{name} has {len(found)} values; {most} are left of the limit")
    return found


def named(path: bytes) -> str:
    """Return a path for an error message; of a very long one its end."""
    return escape(path if len(path) <= _SHOWN else b"..." + path[-_SHOWN:])


def _read(fd: int) -> bytes:
    """Return the bytes of a file; one more than MAX_BYTES of one that is larger."""
    parts, left = [], MAX_BYTES + 1
    while left and (part := os.read(fd, left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)
