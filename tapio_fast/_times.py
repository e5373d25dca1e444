# SPDX-License-Identifier: Apache-2.0
"""Times as people write them, as Unix ns. Relies on nothing."""
from __future__ import annotations

import datetime as dt
import re
import time

Time = int | str | dt.datetime
MIN_NS, MAX_NS = -(1 << 63), (1 << 63) - 1
_AGO = re.compile(r"-(\d+(?:\.\d+)?)(ms|s|m|min|h|d)")
_UNITS = {"ms": 1e-3, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


def parse_time(value: Time, *, now_ns: int | None = None) -> int:
    """Return Unix ns from Unix ns, a datetime, ISO 8601 text or "-2h" (before now); without an offset it is local time."""
    if isinstance(value, str):
        ago = _AGO.fullmatch(value.strip())
        if ago:
            now = time.time_ns() if now_ns is None else now_ns
            return now - round(float(ago.group(1)) * _UNITS[ago.group(2)] * 1e9)
        try:
            value = dt.datetime.fromisoformat(value.strip())
        except ValueError:
            raise ValueError(f'{value!r} is not a time; write 2026-11-22T15:00:00Z, 2026-11-22, or "-2h"') from None
    if isinstance(value, dt.datetime):
        whole = int(value.replace(microsecond=0).timestamp())
        return whole * 1_000_000_000 + value.microsecond * 1000
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"a time is int (Unix ns), datetime or str, not {type(value).__name__}")
    return value


def range_of(since: Time | None, until: Time | None) -> tuple[int, int] | None:
    """Return (since_ns, until_ns) for the engine, where 0, 0 is everything; None when nothing can lie in it."""
    if since is None and until is None:
        return 0, 0
    first = 0 if since is None else max(0, parse_time(since))
    last = MAX_NS if until is None else min(parse_time(until), MAX_NS)
    return (first, last) if first < last else None
