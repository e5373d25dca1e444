# SPDX-License-Identifier: Apache-2.0
"""What the live cases share: why they cannot run, the ring's size, CPUs, and CPU time of single threads."""
from __future__ import annotations

import contextlib
import functools
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tapio_fast.config import Config

KIND = "cpu.usage"      # 120 bytes, bulk lane
ROW_BYTES = 120


@functools.lru_cache(maxsize=1)
def why_not() -> str:
    """Say why records cannot be collected live here; empty when they can."""
    from tapio_fast.platform import probe

    report = probe()
    return "" if report.can_collect else "; ".join(part for part in (report.reason, report.next_step) if part)


def possible_cpus() -> int:
    """Return how many CPUs the kernel makes rings for."""
    try:
        last = Path("/sys/devices/system/cpu/possible").read_text().strip().replace("-", ",").split(",")[-1]
        return int(last) + 1
    except (OSError, ValueError):
        return os.cpu_count() or 1


def config(ring_mib: int, **more: Any) -> Config:
    """Return a configuration in which each CPU has a bulk ring of so many MiB."""
    total = ring_mib * possible_cpus()
    return Config.default().replace(performance={"ring_buffer_size_mb": total, "memory_limit_mb": max(512, total * 9 // 8 + 256)}, **more)


@contextlib.contextmanager
def on_cpus(cpus: set[int]) -> Iterator[None]:
    """Keep this thread, and the threads it starts, on these CPUs."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def two_cpus() -> tuple[int, set[int]]:
    """Return a CPU for the generator, and those for everything else (the same one where there is only one)."""
    cpus = sorted(os.sched_getaffinity(0))
    return cpus[0], set(cpus[1:]) or {cpus[0]}


class CpuClock:
    """CPU time of this process without that of some of its Python threads (the generator's)."""

    def __init__(self, threads: list[threading.Thread]) -> None:
        self._clocks = [time.pthread_getcpuclockid(t.ident) for t in threads if t.ident is not None and t.is_alive()]

    def ns(self) -> int:
        """Return ns so far; the threads must still live."""
        return time.process_time_ns() - sum(time.clock_gettime_ns(clock) for clock in self._clocks)
