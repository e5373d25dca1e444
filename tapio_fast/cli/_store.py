# SPDX-License-Identifier: Apache-2.0
"""`info`, `verify`, `prune`: what a raw store holds, whether it can be read, and what need not stay."""
from __future__ import annotations

import dataclasses
import json as _json
from pathlib import Path
from typing import Any

from tapio_fast import RawStore
from tapio_fast._escape import escape
from tapio_fast.cli._exit import IO, OK, USAGE, say
from tapio_fast.cli._progress import Progress
from tapio_fast.formatting import rfc3339


def info(path: Path, json: bool) -> int:
    """Print RawStore.info() as a table or as JSON."""
    with RawStore(path) as store:
        found = dataclasses.asdict(store.info())
    if json:
        print(_json.dumps(found))
    else:
        times = {name: rfc3339(found[name]) if found[name] is not None else "-" for name in ("first_ns", "last_ns")}
        gone = found["removed"]
        if gone is not None:
            gone = {**gone, "until_ns": rfc3339(gone["until_ns"]) if gone["until_ns"] is not None else "-"} if gone["segments"] else "nothing"
        print("\n".join(_lines({**found, **times, "removed": gone or "nobody knows: its record is damaged"})))
    return OK


def verify(path: Path, json: bool) -> int:
    """Print RawStore.verify(); return 74 when something is damaged."""
    with RawStore(path) as store, Progress("verify", store.info().rows) as progress:
        report = dataclasses.asdict(store.verify(progress.at))
    if json:
        print(_json.dumps(report))
    else:
        print("\n".join(_lines({**report, "seconds": round(report["seconds"], 3)})))
    return OK if report["ok"] else IO


def prune(path: Path, older_than: str | None, max_size: str | None, keep_free: str | None, dry_run: bool, json: bool) -> int:
    """Remove what need not stay and say what went."""
    with RawStore(path) as store:
        try:
            gone = store.prune(older_than=older_than, max_bytes=max_size, keep_free=keep_free, dry_run=dry_run)
        except ValueError as error:
            say(f"error: {error}")
            return USAGE
    if json:
        print(_json.dumps(dataclasses.asdict(gone)))
    else:
        until = f", all before {rfc3339(gone.until_ns)}" if gone.until_ns is not None else ""
        print(f"{'would remove' if dry_run else 'removed'} {gone.segments:,} segment{'s' * (gone.segments != 1)}, {gone.rows:,} rows, "
              f"{gone.bytes:,} bytes{until}")
    return OK


def _lines(found: dict[str, Any], indent: str = "") -> list[str]:
    width = max((len(str(name)) for name in found), default=0)
    lines = []
    for name, value in found.items():
        if isinstance(value, dict):
            lines += [f"{indent}{escape(str(name))}", *_lines(value, indent + "  ")]
        elif isinstance(value, (list, tuple)):
            lines.append(f"{indent}{escape(str(name)):<{width}}  {', '.join(escape(str(item)) for item in value) or '-'}")
        else:
            shown = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else escape(str(value))
            lines.append(f"{indent}{escape(str(name)):<{width}}  {shown}")
    return lines
