# SPDX-License-Identifier: Apache-2.0
"""Case `load`: opening every program of every domain with every system call named, attaching them, and closing: wall time, in turns.

Most of opening is the kernel's verifier; what of it does not hang on the machine, the instructions walked, is bounded by
tests/bpf/test_load_time.py.
"""
from __future__ import annotations

import resource
import statistics
import time

from tapio_fast import schema
from tapio_fast.bench._live import why_not
from tapio_fast.bench._measure import Effort, expect, spread
from tapio_fast.bench._rows import Row, not_measured

LIMITS = {"load": "<= 300", "load/attach": "<= 200", "load/detach": "<= 200"}
NOBODY = 1 << 30    # above any process id
SYSCALLS = range(400)


def _cpu_ms() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return (used.ru_utime + used.ru_stime) * 1e3


def _once() -> tuple[dict[str, float], float, int]:
    """Return (ms of wall time by row, ms of CPU of opening, programs that run)."""
    from tapio_fast._core._kernel import KernelObject
    from tapio_fast._core._log import Log
    from tapio_fast.filtering import KernelFilter
    from tapio_fast.filtering._push import plan

    kinds = [kind.number for kind in schema.KINDS]
    cpu, began = _cpu_ms(), time.perf_counter()
    opened = KernelObject(Log(), bulk_bytes=1 << 19, kinds=kinds, syscalls=SYSCALLS)
    took, cpu = {"load": time.perf_counter() - began}, _cpu_ms() - cpu
    opened.set_rules(plan(KernelFilter(pids=[NOBODY]).tree, schema.KIND_BY_NAME))      # attached to all, and records of none
    began = time.perf_counter()
    opened.attach()
    took["load/attach"] = time.perf_counter() - began
    running = sum(program["state"] in ("attached", "loaded") for program in opened.programs())
    began = time.perf_counter()
    del opened
    took["load/detach"] = time.perf_counter() - began
    return {name: seconds * 1e3 for name, seconds in took.items()}, cpu, running


def load(effort: Effort) -> list[Row]:
    """Open, attach and close a few times."""
    if why_not():
        return [not_measured(name, "ms", why_not(), limit) for name, limit in LIMITS.items()]
    took: dict[str, list[float]] = {name: [] for name in LIMITS}
    cpu = []
    _once()
    for _ in range(effort.repeats):
        ms, used, running = _once()
        expect(running > 0, "no program was loaded")
        cpu.append(used)
        for name, value in ms.items():
            took[name].append(value)
    rows = [Row(name, "ms", statistics.median(ms), len(ms), spread(ms), note=f"best {min(ms):.1f}") for name, ms in took.items()]
    for row in rows:
        row.judge(LIMITS[row.name], row.value)
    rows[0].note += f"; {running} programs; CPU {statistics.median(cpu):.0f} ms over two threads"
    return rows
