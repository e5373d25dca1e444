# SPDX-License-Identifier: Apache-2.0
"""Command line of the benchmarks: which cases to run, how to print them, and the exit status."""
from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Iterator, Sequence

from tapio_fast.bench._measure import Effort, WrongResultError
from tapio_fast.bench._rows import Row, machine, not_measured, table, to_json

# name -> (module, function, what it answers); a module is loaded only when its case runs
CASES = {
    "drain": ("drain", "drain", "in-memory ring to a batch of rows, C only; libbpf's C callback beside it"),
    "batch": ("drain", "batch", "the same to RecordBatch and numpy; libbpf, bytes, and ctypes callbacks beside it"),
    "columns": ("columns", "columns", "rows to columns; numpy beside it"),
    "filter": ("filter", "filters", "a filter of four tests and a copy of the survivors, numpy beside it; a regex on names, Python's re beside it"),
    "store": ("store", "store", "drain, demux and store in one thread; zstd 1 alone beside it"),
    "redact": ("redact", "redact", "secrets cut out of a batch's texts, one in a hundred of them new; all known, and all new, beside it"),
    "live": ("live", "live", "a pinned generator through the kernel's ring to numpy; the same with its ring merely reset beside it"),
    "end-to-end": ("endtoend", "end_to_end",
                   "generator to numpy and store at a steady rate; CPU and wake-ups, idle and at 20,000 records/s"),
    "hooks": ("hooks", "hooks", "what our programs add to a system call; an empty program and a least emit on the same hook beside them"),
    "sampling": ("sampling", "sampling", "a decision to keep a record or not: over rows, and in the kernel; a least emit beside it"),
    "load": ("load", "load", "opening, attaching and closing all programs"),
    "import": ("imports", "imports", "import tapio_fast; import numpy beside it"),
}


def parser() -> argparse.ArgumentParser:
    """Return the argument parser."""
    epilog = "cases:\n" + "\n".join(f"  {name:<11} {text}" for name, (_, _, text) in CASES.items())
    p = argparse.ArgumentParser(prog="tapio-fast bench", description=__doc__, epilog=epilog,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.description = "Measure tapio_fast and its rivals in one run, over the same bytes. Every result is checked before it is timed."
    p.add_argument("names", nargs="*", metavar="NAME", help="cases to run (all)")
    p.add_argument("--json", action="store_true", help="one JSON object per line instead of a table")
    p.add_argument("--quick", action="store_true", help="fewer and shorter repeats: about a minute in all")
    p.add_argument("--check", action="store_true", help="exit with 1 where a limit is missed (what is not measured misses nothing)")
    return p


def run_case(name: str, effort: Effort) -> list[Row]:
    """Run one case; a case that cannot run says why in a row, a wrong result raises."""
    module, function, _ = CASES[name]
    try:
        rows: list[Row] = getattr(importlib.import_module(f"tapio_fast.bench.{module}"), function)(effort)
    except WrongResultError:
        raise
    except OSError as error:        # no room, no rights: says so in its row; anything else is a bug and is seen
        return [not_measured(name, "", str(error))]
    return rows


def _results(names: Sequence[str], effort: Effort) -> Iterator[Row]:
    for name in names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        yield from run_case(name, effort)


def run(argv: Sequence[str] | None = None) -> int:
    """Run what argv asks for."""
    p = parser()
    options = p.parse_args(argv)
    unknown = [name for name in options.names if name not in CASES]
    if unknown:
        p.error(f"no case {', '.join(unknown)}; there are {', '.join(CASES)}")
    names = options.names or list(CASES)
    rows = []
    try:
        for row in _results(names, Effort(options.quick)):
            rows.append(row)
            if options.json:
                print(to_json(row), flush=True)
    except WrongResultError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    if not options.json:
        here = machine()
        print(f"{here['cpu']}, kernel {here['kernel']}, {here['commit']}; CPU time of the thread, median of repeats taken in turns\n")
        print(table(rows))
    missed = [row for row in rows if row.ok is False]
    if options.check:
        for row in missed:
            print(f"bench: {row.name} missed its limit {row.limit}: {row.ratio if row.ratio is not None else row.value:.3g}",
                  file=sys.stderr)
    return 1 if options.check and missed else 0
