# SPDX-License-Identifier: Apache-2.0
"""`query`: a question in SQL to a raw store, answered as a table or as JSON Lines."""
from __future__ import annotations

import decimal
import json as _json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tapio_fast import RawStore
from tapio_fast._escape import escape
from tapio_fast.cli._exit import FAILED, OK, USAGE, say

_FIRST = 1000               # rows that set the widths of a table's columns
_WIDE = 100                 # characters of a cell on a terminal
_STAMPS = ("TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ_NS")


def query(path: Path, question: str, json: bool) -> int:
    """Print the answer's rows: a table on a terminal, JSON Lines in a pipe or with --json."""
    with RawStore(path) as store:
        try:
            answer = store.sql(question)
            rows = _rows(answer)
            _print_lines(answer.columns, rows) if json or not sys.stdout.isatty() else _print_table(answer.columns, rows)
        except ValueError as error:
            say(f"error: {error}")
            return USAGE
        except Exception as error:
            if not type(error).__module__.endswith("duckdb"):
                raise
            say(f"error: {error}")
            # a question that is wrong, or one that went wrong
            return USAGE if type(error).__name__ in ("BinderException", "CatalogException", "ParserException") else FAILED
    return OK


def _rows(answer: Any) -> Iterator[tuple[Any, ...]]:
    """Yield rows; times are RFC 3339 text with ns, which datetime has no room for."""
    quoted = ['"' + name.replace('"', '""') + '"' for name in answer.columns]
    shown = [f"strftime({name}, '%Y-%m-%dT%H:%M:%S.%nZ') AS {name}" if str(kind) in _STAMPS else name
             for name, kind in zip(quoted, answer.types, strict=True)]
    if shown != quoted and len(set(quoted)) == len(quoted):
        answer = answer.project(", ".join(shown))
    yield from answer.iter_rows()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (bytes, bytearray)):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, decimal.Decimal):
        return float(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def _print_lines(columns: list[str], rows: Iterator[tuple[Any, ...]]) -> None:
    for row in rows:
        print(_json.dumps(dict(zip(columns, map(_plain, row), strict=True)), ensure_ascii=True, allow_nan=False))


def _cell(value: Any) -> str:
    value = _plain(value)
    if isinstance(value, float):
        return f"{value:g}" if value and not 1e-3 <= abs(value) < 1e15 else f"{value:.3f}".rstrip("0").rstrip(".")
    text = "" if value is None else value if isinstance(value, str) else _json.dumps(value, ensure_ascii=False)
    text = escape(text)
    return text if len(text) <= _WIDE else text[:_WIDE - 1] + "…"


def _print_table(columns: list[str], rows: Iterator[tuple[Any, ...]]) -> None:
    numbers = [True] * len(columns)
    some: list[list[str]] = []
    for row in rows:
        numbers = [n and (v is None or isinstance(v, (int, float, decimal.Decimal))) for n, v in zip(numbers, row, strict=True)]
        some.append([_cell(value) for value in row])
        if len(some) == _FIRST:
            break
    names = [escape(name) for name in columns]
    widths = [max(map(len, column)) for column in zip(names, *some, strict=True)]
    count = 0
    for cells in (names, *some, *([_cell(value) for value in row] for row in rows)):
        print("  ".join(f"{cell:>{width}}" if number else f"{cell:<{width}}" for cell, width, number in zip(cells, widths, numbers,
                                                                                                           strict=True)).rstrip())
        count += 1
    print(f"({count - 1:,} row{'' if count == 2 else 's'})")
