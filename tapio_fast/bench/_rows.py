# SPDX-License-Identifier: Apache-2.0
"""Result rows, where they were measured, and how they are printed. Relies on nothing of the engine."""
from __future__ import annotations

import functools
import json
import os
import platform
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass
class Row:
    """One measured (or not measured) figure.

    name : "case" or "case/variant"; unit : of value; value : median, None = not measured
    n : repeats; spread : interquartile range / median; records : in one repeat; record_bytes : of one record
    ratio : of `value` and the value of row `ratio_to`, the way round that the limit reads: ">= 5.0" or "<= 1.5"
    ok : None when there is no limit; note : why it was not measured, or what else was seen
    """

    name: str
    unit: str
    value: float | None
    n: int = 0
    spread: float | None = None
    records: int | None = None
    record_bytes: int | None = None
    ratio_to: str | None = None
    ratio: float | None = None
    limit: str | None = None
    ok: bool | None = None
    note: str = ""

    def judge(self, limit: str, figure: float | None) -> Row:
        """Hold `figure` against "OP NUMBER"; return self."""
        self.limit = limit
        if figure is not None:
            op, bound = limit.split()
            self.ok = figure >= float(bound) if op == ">=" else figure <= float(bound)
        return self


def not_measured(name: str, unit: str, reason: str, limit: str | None = None) -> Row:
    """Return a row that says why there is no figure."""
    return Row(name, unit, None, limit=limit, note=f"not measured: {reason}")


def cpu_model() -> str:
    """Return the processor's name."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("model name", "Model")):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _commit() -> str:
    """Return the commit of the tree this package lies in, else the installed version."""
    from importlib.metadata import PackageNotFoundError, version

    tree = Path(__file__).resolve().parents[2]
    if (tree / ".git").exists():
        argv = ["git", "-C", str(tree), "describe", "--always", "--dirty", "--abbrev=12"]
        try:
            done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)
        except OSError:
            done = None
        if done is not None and done.returncode == 0:
            return done.stdout.strip()
    try:
        return f"version {version('tapio_fast')}"
    except PackageNotFoundError:
        return "unknown"


@functools.lru_cache(maxsize=1)
def machine() -> dict[str, str]:
    """Return what every row says about where it was measured."""
    return {"cpu": f"{cpu_model()} x {os.cpu_count()}", "kernel": platform.release(), "commit": _commit()}


def to_json(row: Row) -> str:
    """Return a row as one JSON line."""
    known: dict[str, Any] = asdict(row)
    for key in ("value", "spread", "ratio"):
        if known[key] is not None:
            known[key] = float(f"{known[key]:.4g}")
    return json.dumps(known | machine())


def _cells(row: Row) -> list[str]:
    value = "-" if row.value is None else f"{row.value:.3g}" if row.value < 1000 else f"{row.value:,.0f}"
    spread = "" if row.spread is None else f"{row.spread:.0%}"
    ratio = "" if row.ratio is None else f"{row.ratio:.2f} x {row.ratio_to}"
    return [row.name, value, row.unit, spread, ratio, row.limit or "", {None: "", True: "ok", False: "MISSED"}[row.ok], row.note]


HEAD = ["name", "value", "unit", "spread", "ratio", "limit", "", ""]


def table(rows: Iterable[Row]) -> str:
    """Return rows as aligned plain text."""
    lines: list[Sequence[str]] = [HEAD, *(_cells(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEAD) - 1)]
    right = {1, 3}
    out = []
    for line in lines:
        cells = [cell.rjust(w) if i in right else cell.ljust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=False))]
        out.append("  ".join([*cells, line[-1]]).rstrip())
    return "\n".join(out)
