# SPDX-License-Identifier: Apache-2.0
"""Checks of texts and patterns at the time a filter is written. Relies on `_lexer`; on `_core._regex` for what a regex may be."""
from __future__ import annotations

from tapio_fast.errors import FilterError
from tapio_fast.filtering._lexer import Token, refuse

MAX_PATTERN = 1024


def check_text(source: str, place: Token, op: str, value: bytes, icase: bool) -> None:
    """Refuse a pattern that cannot be compiled, at its place."""
    if op not in ("regex", "glob"):
        return
    if len(value) > MAX_PATTERN:
        refuse(source, place, f"a pattern has at most {MAX_PATTERN} bytes, this one has {len(value)}")
    if op == "regex":
        try:
            check_regex(value, icase)
        except FilterError as error:
            refuse(source, place, str(error))


def check_regex(value: bytes, icase: bool) -> None:
    """Raise FilterError when the engine cannot compile a regex."""
