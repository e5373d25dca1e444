# SPDX-License-Identifier: Apache-2.0
"""Checks of texts and patterns at the time a filter is written. Relies on `_lexer`; on `_core._regex` for what a regex may be."""
from __future__ import annotations

from functools import lru_cache

from tapio_fast._core import _regex
from tapio_fast.errors import FilterError
from tapio_fast.filtering._lexer import Token, refuse

MAX_PATTERN = 1024      # bytes
MAX_TABLES = 64 << 20   # bytes: tables of all regexes of an expression; the largest single one takes 1 MiB and 40 ms


def check_text(source: str, place: Token, op: str, value: bytes, icase: bool) -> int:
    """Refuse a pattern that cannot be compiled, at its place; return the bytes of its table."""
    if op not in ("regex", "glob"):
        return 0
    if len(value) > MAX_PATTERN:
        refuse(source, place, f"a pattern has at most {MAX_PATTERN} bytes, this one has {len(value)}")
    if op == "glob":
        return 0
    try:
        return check_regex(value, icase)
    except FilterError as error:
        refuse(source, place, f"the regex is wrong{f' at its byte {error.position + 1}' if error.position else ''}: {error}")


@lru_cache(4096)
def check_regex(value: bytes, icase: bool) -> int:
    """Return the bytes of a regex's table; raise FilterError, with the offset in the regex, when the engine cannot compile it."""
    return _regex.Regex(value, _regex.ICASE if icase else 0).nbytes
