# SPDX-License-Identifier: Apache-2.0
"""Case `hooks`: what our programs add to a system call, beside an empty program and a least possible emit on the same hook, in one run.

Every variant is timed from outside: a C loop of system calls on one CPU, with and without what is attached, in slices. Variants take turns,
and of all slices of all rounds the quickest counts: the others had a neighbour, and one that goes on for seconds makes single rounds
incomparable (a median of rounds came to 1.0 to 2.9 for the same ratio). A figure is variant - empty program, a ratio that over (least emit -
empty); spread is that of the rounds' own quickest slices.

A ring is written once from end to end before anything is timed, ours and the yardstick's: a collector meets the first touch of its
pages once in its life. A slice in which our ring was full does not count: a record that is
refused costs less than one that is sent.
"""
from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tapio_fast.bench._live import on_cpus, two_cpus, why_not
from tapio_fast.bench._measure import Effort, expect, spread
from tapio_fast.bench._rows import Row, not_measured

if TYPE_CHECKING:
    from tapio_fast._core._yard import Yard

SLICES = 20
RING_BYTES = 16 << 20     # of the yardstick; ours is no larger
LEAST_BYTES = 128         # of any record in a ring
CALLS = {"rename": 2_000, "getppid": 3_000, "open": 400}     # in a slice: about half a millisecond
COMPONENTS = 8
MORE_ROUNDS = 3


@dataclass(frozen=True)
class Variant:
    """One thing to attach. base: the empty program's variant; unit: the least emit's; limit of the ratio to it; deep: opens the file whose
    COMPONENTS-th directory upwards is the run's own."""

    name: str
    work: str
    attach: Callable[[Yard, Path], contextlib.AbstractContextManager[Any]]
    base: str = ""
    unit: str = ""
    limit: str = ""
    note: str = ""
    deep: bool = False


@contextlib.contextmanager
def _yard(yard: Yard, *programs: str) -> Iterator[None]:
    for program in programs:
        yard.attach(program)
    try:
        yield
    finally:
        yard.detach()


def yardstick(*programs: str) -> Callable[[Yard, Path], contextlib.AbstractContextManager[Any]]:
    """Attach yardstick programs."""
    return lambda yard, _: _yard(yard, *programs)


def collector(programs: dict[str, Any], *, trace_self: bool = True, **filter: Any) -> Callable[
        [Yard, Path], contextlib.AbstractContextManager[Any]]:
    """Attach what a configuration asks for; {root} in paths stands for the run's own directory."""
    def attach(_: Yard, root: Path) -> contextlib.AbstractContextManager[Any]:
        from tapio_fast.collector import Collector
        from tapio_fast.config import Config
        from tapio_fast.filtering import KernelFilter
        from tapio_fast.sources import KernelSource

        off = {d: {"enabled": False} for d in ("network", "process", "file", "memory", "security", "container")}
        chosen = {d: {k: [str(p).format(root=root) for p in v] if isinstance(v, list) else v for k, v in keys.items()}
                  for d, keys in programs.items()}
        config = Config().replace(programs={**off, **chosen}, performance={"ring_buffer_size_mb": RING_BYTES >> 20})
        collector = Collector(config, source=KernelSource(trace_self=trace_self, snapshot=False))
        collector.start()
        collector.set_filter(KernelFilter(**filter))    # only now: what no filter wants at the start is not even attached
        return contextlib.closing(collector)
    return attach


_RENAME = {"process": {"enabled": True, "events": ["rename"]}}
_CALL = {"process": {"enabled": True, "events": ["rename"], "monitor_syscalls": ["getppid"]}}
_OPEN = {"file": {"enabled": True, "events": ["open"], "exclude_paths": []}}
_OUTSIDE = {"file": {"enabled": True, "events": ["open"], "exclude_paths": ["{root}"]}}

VARIANTS = (
    Variant("rename/nothing", "rename", yardstick()),
    Variant("rename/empty", "rename", yardstick("tf_yard_rename_empty")),
    Variant("rename/least emit", "rename", yardstick("tf_yard_rename_emit"), "rename/empty"),
    Variant("rename/row", "rename", collector(_RENAME), "rename/empty", "rename/least emit", "<= 1.7", "process.rename, 200 bytes"),
    Variant("rename/reject own process", "rename", collector(_RENAME, trace_self=False), "rename/empty", "rename/least emit", "<= 0.3",
            "by compare"),
    Variant("rename/reject kind", "rename", collector(_RENAME, kinds=["process.exec"]), "rename/empty", "rename/least emit", "<= 0.3",
            "by bitmap"),
    Variant("rename/reject pid", "rename", collector(_RENAME, pids=[1]), "rename/empty", "rename/least emit", "<= 0.7", "by hash"),
    Variant("syscall/nothing", "getppid", yardstick()),
    Variant("syscall/empty", "getppid", yardstick("tf_yard_exit_empty")),
    Variant("syscall/least emit", "getppid", yardstick("tf_yard_exit_emit"), "syscall/empty"),
    Variant("syscall/row", "getppid", collector(_CALL), "syscall/empty", "syscall/least emit", "<= 1.7", "syscall.call, 184 bytes"),
    Variant("open/nothing", "open", yardstick()),
    Variant("open/empty", "open", yardstick("tf_yard_exit_empty", "tf_yard_enter_empty")),
    Variant("open/path", "open", collector(_OPEN), "open/empty", "syscall/least emit", "<= 12", f"file.open, {COMPONENTS} components"),
    Variant("open/empty deep", "open", yardstick("tf_yard_exit_empty", "tf_yard_enter_empty"), deep=True),
    Variant("open/path reject", "open", collector(_OUTSIDE), "open/empty deep", "syscall/least emit", f"<= {COMPONENTS}",
            f"exclude_paths at the {COMPONENTS}th level up: at most 1 a level", deep=True),
)


def _counts(collector: Any) -> tuple[int, int, int, int]:
    """Records seen, sent, and refused by a full ring; calls passed by because they were our own."""
    stats = collector.stats()
    kinds = stats.by_kind.values()
    return (sum(k["seen"] for k in kinds), sum(k["submitted"] for k in kinds), sum(k["k_ring_full"] for k in kinds), stats.self_skipped)


def _quickest(name: str, work: Callable[[], int], collector: Any) -> int:
    """ns of the quickest slice in which no ring was full."""
    took, full = [], _counts(collector)[2] if collector else 0
    for _ in range(SLICES):
        ns, before = work(), full
        full = _counts(collector)[2] if collector else 0
        if full == before:
            took.append(ns)
    expect(len(took) >= SLICES // 2, f"{name}: the ring was full in {SLICES - len(took)} of {SLICES} slices")
    return min(took)


def _time(variant: Variant, yard: Yard, root: Path, path: bytes, cpu: int) -> float:
    """ns per call. What it sends is checked: a program that is not there costs nothing. The collector's threads run on the other CPU."""
    from tapio_fast._core import _yard as core

    calls = CALLS[variant.work]
    n = calls * SLICES
    sends = "reject" not in variant.name
    with variant.attach(yard, root) as attached, on_cpus({cpu}):
        if attached is not None or "least" in variant.name:
            for _ in range(RING_BYTES // LEAST_BYTES // calls + 1 if sends else 1):
                core.work(variant.work, calls, path)
                yard.reset()
        before, counts = yard.produced(), _counts(attached) if attached else (0, 0, 0, 0)
        took = _quickest(variant.name, lambda: core.work(variant.work, calls, path), attached)
        if attached is not None:
            seen, sent, full, own = (a - b for a, b in zip(_counts(attached), counts, strict=True))
            expect(not sends or sent + full >= n, f"{variant.name}: {sent} records of {n} calls")
            if "own" in variant.name:       # what others did meanwhile is sent
                expect(own >= n, f"{variant.name}: {own} of {n} calls were told to be our own")
            else:
                expect(sends or seen >= n > sent, f"{variant.name}: {seen} seen, {sent} sent")
    if "least" in variant.name:
        expect(yard.produced() - before >= LEAST_BYTES * n, f"{variant.name} sent {(yard.produced() - before) // LEAST_BYTES} records of {n} calls")
    return took / calls


def _added(variant: Variant, times: dict[str, list[float]]) -> float:
    return min(times[variant.name]) - min(times[variant.base])


def _row(variant: Variant, times: dict[str, list[float]]) -> Row:
    if not variant.base:
        return Row(f"hooks/{variant.name}", "ns/call", min(times[variant.name]), len(times[variant.name]), spread(times[variant.name]))
    added = _added(variant, times)
    row = Row(f"hooks/{variant.name}", "ns added", added, len(times[variant.name]), spread(times[variant.name]))
    row.note = variant.note
    if variant.unit:
        unit = next(v for v in VARIANTS if v.name == variant.unit)
        row.ratio_to = f"hooks/{variant.unit}"
        row.ratio = added / _added(unit, times)
        row.judge(variant.limit, row.ratio)
    return row


def _files(root: Path) -> tuple[Path, Path]:
    """Make two files below a directory: one of COMPONENTS components in all, and one whose COMPONENTS-th directory upwards it is."""
    path = root.joinpath(*"abcdefghij"[:max(0, COMPONENTS - len(root.parts))], "file")
    deep = root.joinpath(*"abcdefghij"[:COMPONENTS - 1], "deep")
    for file in (path, deep):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")
    return path, deep


def hooks(effort: Effort) -> list[Row]:
    """Time every variant once a round."""
    if why_not():
        return [not_measured("hooks", "ns added", why_not(), "<= 1.7")]
    from tapio_fast._core._yard import Yard

    root = Path(tempfile.mkdtemp(prefix="tapio-hooks-"))
    path, deep = _files(root)
    times: dict[str, list[float]] = {v.name: [] for v in VARIANTS}
    yard = Yard()
    cpu, others = two_cpus()
    try:
        with on_cpus(others):
            for _ in range(effort.repeats * MORE_ROUNDS):
                for variant in VARIANTS:
                    times[variant.name].append(_time(variant, yard, root, os.fsencode(deep if variant.deep else path), cpu))
    finally:
        yard.close()
        shutil.rmtree(root)
    return [_row(v, times) for v in VARIANTS]
