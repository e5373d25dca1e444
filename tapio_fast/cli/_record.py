# SPDX-License-Identifier: Apache-2.0
"""`record`: live events into a raw store. The engine's own thread writes; this one only waits, and tells how it goes."""
from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tapio_fast import Collector, EventFilter, KernelFilter
from tapio_fast.cli import _follow
from tapio_fast.cli._exit import FAILED, OK, say
from tapio_fast.cli._ledger import kinds_of, kinds_text, ledger_text
from tapio_fast.cli._settings import Options, configure
from tapio_fast.stats import Statistics

_TICK = 0.05    # s between looks at the clock, the child and the counters
_TOLD = 1.0     # s between progress lines
_FOR_EVER = 876000.0    # h: the most that raw_retention_hours takes


def record(options: Options) -> int:
    """Run the verb; return the exit code: CMD's own, else 0, or 1 when the ledger does not add up."""
    path = options.output or Path()
    config = configure(options, dual_path={"enabled": True, "raw_storage_enabled": True, "raw_storage_path": str(path),
                                           "semantic_enabled": False, "correlation_enabled": False,
                                           # a recording is kept; a configuration file may say otherwise
                                           **({} if options.config else {"raw_retention_hours": _FOR_EVER})})
    account = _follow.account_for(options.user)
    chosen = options.chosen()
    new = not os.path.lexists(path)
    with contextlib.ExitStack() as stack:
        command = stack.enter_context(_follow.Command(options.command, account)) if options.command else None
        collector = Collector(config, filter=follow_filter(options, command, chosen))
        interrupt = stack.enter_context(_follow.Interrupt(command))
        try:
            with collector:
                started = time.monotonic()
                if command is not None:
                    command.release()
                _wait(collector, options, command, interrupt)
                collector.stop()
                seconds = time.monotonic() - started
            stats = collector.stats()
        finally:
            if new:
                _follow.give_store(path, account)
        status = _ended(command, options)
    right = report(stats, path, seconds, options)
    tell_advice(collector)
    return status or (OK if right else FAILED)


def follow_filter(options: Options, command: _follow.Command | None, chosen: EventFilter | None) -> EventFilter | None:
    """Return what the collector takes as its filter: what was chosen, of the followed process if there is one."""
    if command is not None or options.follow is not None:
        if options.follow is not None:
            _follow.check_pid(options.follow)
        family = KernelFilter(descendants_of=[command.pid if command is not None else options.follow or 0])
        return family if chosen is None else family.joined(chosen)
    return chosen


def _wait(collector: Collector, options: Options, command: _follow.Command | None, interrupt: _follow.Interrupt) -> None:
    """Return when the time is up, enough events are there, CMD has ended, or Ctrl-C was pressed."""
    end = None if options.seconds is None else time.monotonic() + options.seconds
    if command is None and sys.stderr.isatty():
        say("recording; Ctrl-C stops")
    with progress(collector) as tell:
        while not interrupt.hit and not (command is not None and command.poll()):
            if end is not None and time.monotonic() >= end:
                return
            if options.count is not None and events_in(collector.stats()) >= options.count:
                return
            time.sleep(_TICK if end is None else max(0.0, min(_TICK, end - time.monotonic())))
            tell()


@contextlib.contextmanager
def progress(collector: Collector) -> Iterator[Any]:
    """Keep one line on a terminal's stderr up to date; nothing anywhere else."""
    last = time.monotonic()
    shown = False

    def tell() -> None:
        nonlocal last, shown
        if sys.stderr.isatty() and time.monotonic() - last >= _TOLD:
            last, shown = time.monotonic(), True
            stats = collector.stats()
            fill = f"rings at most {stats.ring_buffer_usage_percent:.0f} % full "
            print(f"\r{events_in(stats):,} events, {stats.events_dropped:,} lost, {fill}", end="", file=sys.stderr, flush=True)
    try:
        yield tell
    finally:
        if shown:
            print(file=sys.stderr)


def events_in(stats: Statistics) -> int:
    """Return how many events were collected, those about the collection itself apart."""
    return sum(kinds_of(stats.by_kind).values())


def _ended(command: _follow.Command | None, options: Options) -> int:
    """Return CMD's exit code, waiting for it if the recording ended first."""
    if command is None:
        return OK
    if not command.poll():
        say(f"recording has ended; waiting for {options.command[0] if options.command else 'CMD'} (process {command.pid})")
    return command.wait()


def report(stats: Statistics, path: Path, seconds: float, options: Options) -> bool:
    """Print what was recorded and the ledger; return whether it adds up. Beside CMD, whose stdout is ours, text goes to stderr."""
    kinds = kinds_of(stats.by_kind)
    text, right = ledger_text(stats.ledger, stats.branches)
    if options.json:
        print(json.dumps({"path": str(path), "seconds": round(seconds, 3), "kinds": kinds, "ledger": stats.ledger,
                          "branches": stats.branches}), flush=True)
    else:
        total = sum(kinds.values())
        out = sys.stderr if options.command else sys.stdout
        print(f"{total:,} events in {seconds:.1f} s, written to {path}\n{kinds_text(kinds)}\n\n{text}", file=out, flush=True)
    return right


def tell_advice(collector: Collector) -> None:
    """Say what the collector has to say about its health."""
    for line in collector.health().advice:
        say(f"note: {line}")
