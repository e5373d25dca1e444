# SPDX-License-Identifier: Apache-2.0
"""Timing: variants take turns, thread CPU time, median and spread. Relies on `_rows`.

The machine is usually shared: a variant measured alone is compared with another's luck. So each repeat runs every variant once,
and a ratio is the median of the ratios within the repeats.
"""
from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tapio_fast.bench._rows import Row


class WrongResultError(AssertionError):
    """A variant did not do the work that was to be timed."""


def expect(true: bool, what: str) -> None:
    """Refuse to time what gives a wrong result."""
    if not true:
        raise WrongResultError(f"the result is wrong, so nothing was timed: {what}")


def spread(samples: list[float]) -> float:
    """Return the interquartile range over the median."""
    if len(samples) < 2:
        return 0.0
    low, middle, high = statistics.quantiles(samples, n=4, method="inclusive")
    return (high - low) / middle if middle else 0.0


@dataclass
class Samples:
    """ns per record of each repeat."""

    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)

    def row(self, name: str, **more: object) -> Row:
        """Return the row of the CPU times."""
        return Row(name, "ns/record", statistics.median(self.cpu), len(self.cpu), spread(self.cpu), **more)  # type: ignore[arg-type]


def ratio(above: Samples, below: Samples) -> float:
    """Return the median of the ratios within the repeats."""
    return statistics.median(a / b for a, b in zip(above.cpu, below.cpu, strict=True))


@dataclass(frozen=True)
class Effort:
    """How much to measure."""

    quick: bool

    @property
    def repeats(self) -> int:
        """Repeats of each variant."""
        return 3 if self.quick else 7

    @property
    def slice_ns(self) -> int:
        """ns that one repeat of a variant should last at least."""
        return 20_000_000 if self.quick else 60_000_000

    def seconds(self, quick: float, full: float) -> float:
        """Choose a duration."""
        return quick if self.quick else full


def _timed(call: Callable[[], object], times: int) -> tuple[int, int]:
    wall, cpu = time.perf_counter_ns(), time.thread_time_ns()
    for _ in range(times):
        call()
    return time.thread_time_ns() - cpu, time.perf_counter_ns() - wall


def take_turns(variants: dict[str, Callable[[], object]], records: int, effort: Effort, more: int = 1) -> dict[str, Samples]:
    """Time each variant, which handles so many records a call, once per repeat (`more` times as many); the first calls only warm up."""
    times = {}
    for name, call in variants.items():
        _timed(call, 1)
        times[name] = max(1, round(effort.slice_ns / max(1, _timed(call, 1)[0])))
    samples = {name: Samples() for name in variants}
    for _ in range(effort.repeats * more):
        for name, call in variants.items():
            cpu, wall = _timed(call, times[name])
            samples[name].cpu.append(cpu / times[name] / records)
            samples[name].wall.append(wall / times[name] / records)
    return samples


