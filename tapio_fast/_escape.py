# SPDX-License-Identifier: Apache-2.0
"""The one function that makes hostile text safe to show: on terminals, in logs, in error messages. Relies on nothing.

Names, paths, arguments and packets are chosen by whoever is traced. A raw escape sequence would drive the reader's terminal, a
newline would forge a log line, a bidirectional control would show another path than there is.
"""
from __future__ import annotations

_SHORT = {"\n": "\\n", "\t": "\\t", "\r": "\\r", "\\": "\\\\"}


def escape(value: bytes | bytearray | memoryview | str) -> str:
    r"""Return text that prints as one line and cannot act on a terminal.

    Everything that is not printable (C0, C1, DEL, bidirectional and other invisible controls, separators, private and unassigned
    characters) and every byte that is not UTF-8 becomes \xNN, \uNNNN or \UNNNNNNNN; a backslash is doubled, so that no two inputs
    look the same.
    """
    text = value if isinstance(value, str) else bytes(value).decode("utf-8", "surrogateescape")
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(c if c.isprintable() and c != "\\" else _SHORT.get(c) or _code(ord(c)) for c in text)


def _code(point: int) -> str:
    if 0xDC80 <= point <= 0xDCFF:       # surrogateescape: a byte that was not UTF-8
        return f"\\x{point - 0xDC00:02x}"
    if point < 0x80:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"
