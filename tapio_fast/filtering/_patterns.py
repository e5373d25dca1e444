# SPDX-License-Identifier: Apache-2.0
"""Checks of texts and patterns at the time a filter is written. Relies on `_lexer`; on `_core._regex` for what a regex may be."""
from __future__ import annotations

from functools import lru_cache

from tapio_fast._core import _regex
from tapio_fast.errors import FilterError
from tapio_fast.filtering._lexer import Token, refuse

MAX_NAME = 15           # bytes of a process's name (TASK_COMM_LEN without its NUL)
NAMED = ("comm", "parent_comm", "ancestor_comm")        # fields that hold one
MAX_PATTERN = 1024      # bytes
MAX_TABLES = 64 << 20   # bytes: tables of all regexes of an expression; the largest single one takes 1 MiB and 40 ms


def check_text(source: str, place: Token, op: str, value: bytes, icase: bool) -> int:
    """Refuse a pattern that cannot be compiled, at its place; return the bytes of its table."""
    if op not in ("regex", "glob"):
        return 0
    if len(value) > MAX_PATTERN:
        refuse(source, place, f"a pattern has at most {MAX_PATTERN} bytes, this one has {len(value)}")
    try:
        return check_regex(value, icase) if op == "regex" else check_glob(value, icase)
    except FilterError as error:
        if op == "glob":
            refuse(source, place, str(error))
        refuse(source, place, f"the regex is wrong{f' at its byte {error.position + 1}' if error.position else ''}: {error}")


@lru_cache(4096)
def check_regex(value: bytes, icase: bool) -> int:
    """Return the bytes of a regex's table; raise FilterError, with the offset in the regex, when the engine cannot compile it."""
    return _regex.Regex(value, _regex.ICASE if icase else 0).nbytes


@lru_cache(4096)
def check_glob(value: bytes, icase: bool) -> int:
    """Return the bytes that a glob takes; raise FilterError when its table would be too large. With * at its ends alone it has none."""
    if not any(sign in value.strip(b"*") for sign in b"*?["):
        return 0
    from tapio_fast.filtering._fields import catalogue
    from tapio_fast.filtering._program import compile_filter
    from tapio_fast.filtering._tree import Test

    return int(compile_filter(Test(catalogue()["path"], "glob", (value,), False, icase)).nbytes)
