# SPDX-License-Identifier: Apache-2.0
"""Sets of values in files: one a line. Relies on `_lexer` for errors that point at the expression."""
from __future__ import annotations

import os
import stat

from tapio_fast._escape import escape
from tapio_fast.filtering._lexer import refuse

MAX_BYTES = 16 << 20


def lines_of(source: str, at: int, path: str, most: int) -> list[str]:
    """Return the values of a file: lines without blanks around, empty ones and those that begin with # left out.

    Raises FilterError: it cannot be read, is not a regular file, is larger than 16 MiB, not UTF-8, or has more than `most` values.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                refuse(source, at, f"{escape(path)} is not a regular file")
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        refuse(source, at, f"cannot read {escape(path)}: {error.strerror}; check the path")
    if len(data) > MAX_BYTES:
        refuse(source, at, f"{escape(path)} is larger than {MAX_BYTES >> 20} MiB")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        refuse(source, at, f"{escape(path)} is not UTF-8 (byte {error.start})")
    found = [line for raw in text.splitlines() if (line := raw.strip()) and not line.startswith("#")]
    if len(found) > most:
        refuse(source, at, f"{escape(path)} has {len(found)} values; {most} are left of the limit")
    return found
