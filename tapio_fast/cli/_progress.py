# SPDX-License-Identifier: Apache-2.0
"""How far long work has come, on stderr, where a terminal shows it."""
from __future__ import annotations

import sys
import time
from types import TracebackType

_AGAIN = 0.2    # s between two looks
_QUIET = 0.5    # s: shorter work says nothing


class Progress:
    """Say `verify  42 %  1,234,567 rows  3 s left` until the end of the work."""

    def __init__(self, what: str, total: int) -> None:
        self._what, self._total = what, total
        self._started = self._told = time.monotonic()
        self._shown = 0
        self._on = sys.stderr.isatty()

    def at(self, done: int) -> None:
        """Note that so many rows are done."""
        now = time.monotonic()
        if not self._on or now - self._told < _AGAIN or now - self._started < _QUIET:
            return
        self._told = now
        share = min(done / self._total, 1.0) if self._total else 0.0
        left = f"  {(now - self._started) * (1 - share) / share:.0f} s left" if share > 0.02 else ""
        self._show(f"{self._what}  {100 * share:.0f} %  {done:,} rows{left}")

    def _show(self, text: str) -> None:
        sys.stderr.write("\r" + text.ljust(self._shown))
        sys.stderr.flush()
        self._shown = len(text)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._shown:
            self._show("")
            sys.stderr.write("\r")
            sys.stderr.flush()
