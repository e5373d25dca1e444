# SPDX-License-Identifier: Apache-2.0
"""Case `sampling`: what it costs to decide whether a record is kept: over rows in a batch, and in the kernel's gate.

In the kernel: the load generator with a draw for each record, all of which are kept, against the same without one; beside them what a least
emit adds to an empty program on the same hook (case `hooks`). Variants take turns. Everywhere the quickest slice
counts: the others had a neighbour.
"""
from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tapio_fast import schema
from tapio_fast.bench import hooks
from tapio_fast.bench._live import KIND, ROW_BYTES, on_cpus, possible_cpus, two_cpus, why_not
from tapio_fast.bench._measure import Effort, expect, spread
from tapio_fast.bench._rows import Row, not_measured
from tapio_fast.bench.drain import memory_ring
from tapio_fast.sampling import RATE_ALL, threshold_of

if TYPE_CHECKING:
    from tapio_fast._core._kernel import KernelObject

ROUNDS = 5             # over one batch, so that taking it from the ring does not count
SHARE = 0.25
RECORDS = 4_096         # of the generator, in a call: half a millisecond
SLICES = 100
LIMITS = {"draw": "<= 0.15", "draw by key": "<= 0.3"}
LEAST = ("rename/empty", "rename/least emit")


def _user(effort: Effort) -> list[Row]:
    ring = memory_ring()
    decided, kept = ring.sample(threshold_of(SHARE))
    expect(abs(kept - SHARE * decided) <= 6 * (decided * SHARE * (1 - SHARE)) ** 0.5, f"{kept} of {decided} rows kept with {SHARE}")
    took = []
    for _ in range(effort.repeats * SLICES):
        began = time.thread_time_ns()
        n, _ = ring.sample(threshold_of(SHARE), ROUNDS)
        took.append((time.thread_time_ns() - began) / n)
    row = Row("sampling/rows", "ns/record", min(took), len(took), spread(took), decided, ROW_BYTES, note=f"a share of {SHARE}, told by bits")
    return [row.judge("<= 5", row.value)]


def _generator(by_process: bool, threshold: int) -> KernelObject:
    from tapio_fast._core._kernel import KernelObject
    from tapio_fast._core._log import Log

    kind = schema.KIND_BY_NAME[KIND].number
    opened = KernelObject(Log(), bulk_bytes=(16 << 20) * possible_cpus(), kinds=[kind], synth=True, snapshot=False,
                          by_process=[kind] if by_process else [])
    opened.set_rate(kind, threshold)
    opened.attach()
    return opened


def _slice(opened: KernelObject) -> float:
    """ns per record of the quickest call; all of it is sent."""
    kind, took = schema.KIND_BY_NAME[KIND].number, []
    for _ in range(SLICES):
        opened.reset_rings()
        began = time.perf_counter_ns()
        tried, sent, _ = opened.synth(kind, RECORDS)
        took.append((time.perf_counter_ns() - began) / RECORDS)
        expect(tried == sent == RECORDS, f"{sent} of {tried} records sent")
    return min(took)


def _kernel(effort: Effort) -> list[Row]:
    from tapio_fast._core._yard import Yard

    variants = {"no draw": _generator(False, RATE_ALL), "draw": _generator(False, RATE_ALL - 1), "draw by key": _generator(True, RATE_ALL - 1)}
    least = {v.name: v for v in hooks.VARIANTS if v.name in LEAST}
    times: dict[str, list[float]] = {name: [] for name in (*variants, *least)}
    yard = Yard()
    cpu, _ = two_cpus()
    with tempfile.TemporaryDirectory(prefix="tapio-sampling-") as folder:
        root = Path(folder)
        path, _ = hooks._files(root)
        for _ in range(effort.repeats):
            with on_cpus({cpu}):
                for name, opened in variants.items():
                    times[name].append(_slice(opened))
            for name, variant in least.items():
                times[name].append(hooks._time(variant, yard, root, os.fsencode(path), cpu))
    yard.close()
    emit = min(times[LEAST[1]]) - min(times[LEAST[0]])
    rows = [Row("sampling/least emit", "ns added", emit, len(times[LEAST[1]]), spread(times[LEAST[1]]))]
    for name, limit in LIMITS.items():
        added = min(times[name]) - min(times["no draw"])
        row = Row(f"sampling/{name}", "ns added", added, len(times[name]), spread(times[name]), RECORDS, ROW_BYTES, "sampling/least emit")
        row.ratio = added / emit
        rows.append(row.judge(limit, row.ratio))
    return rows


def sampling(effort: Effort) -> list[Row]:
    """Time decisions over rows, and in the kernel."""
    if why_not():
        return [*_user(effort), *(not_measured(f"sampling/{name}", "ns added", why_not(), limit) for name, limit in LIMITS.items())]
    return _user(effort) + _kernel(effort)
