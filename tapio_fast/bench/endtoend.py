# SPDX-License-Identifier: Apache-2.0
"""Case `end-to-end`: the generator at a steady rate to numpy and store; and what collecting costs when little or nothing happens.

CPU is that of the engine's threads (Statistics.cpu_percent); the note adds the whole process without the generator's thread.
"""
from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tapio_fast.bench._live import KIND, ROW_BYTES, CpuClock, config, two_cpus, why_not
from tapio_fast.bench._measure import Effort, WrongResultError, expect
from tapio_fast.bench._rows import Row, not_measured

RATE = 1_000_000
LOW_RATE = 20_000
TRIES = 3       # runs that may be thrown away because others had the CPUs and records were lost, but for the last


def _sum_until(collector: Any, seconds: float) -> tuple[int, int]:
    """Read for so many seconds as a consumer does; return records and the sum of one column."""
    records = total = 0
    for batch in collector.batches(duration=seconds):
        rows = batch["cpu"]
        records += len(rows)
        total += int(rows["on_cpu_ns"].sum())
    return records, total


def _run(rate: int, seconds: float, settings: dict[str, Any]) -> dict[str, float]:
    """Collect at a rate (0: nothing is sent); refuse a run that miscounts. `lost` of the result are records that the ledger says were dropped."""
    from tapio_fast.collector import Collector
    from tapio_fast.sources import SyntheticSource

    source = SyntheticSource(rate=rate, kinds=(KIND,), cpus=(two_cpus()[0],), count=None if rate else 0, hold=True)
    with Collector(config(8, **settings), source=source) as collector:
        collector.fileno()      # the consumer exists from here on: what is routed before it would not reach it
        source.go()
        got = _sum_until(collector, 0.3)[0]         # starting up is not what is measured
        clock, before = CpuClock(source._threads), collector.stats()
        cpu, wall = clock.ns(), time.perf_counter()
        got += _sum_until(collector, seconds)[0]
        cpu, wall = clock.ns() - cpu, time.perf_counter() - wall
        after = collector.stats()
        collector.stop()
        got += _sum_until(collector, 5)[0]
        end = collector.stats()
    sent = sum(source.sent.values())
    unstored = sum(n for name, n in end.branches["raw"].items() if name.startswith("dropped"))      # events_dropped knows the user branch only
    expect(sent == end.ledger["routed"] and (got == sent or got < sent and end.branches["user"]["overflow"] > 0),
           f"{sent} records were sent, {got} arrived, {end.events_dropped} lost: {end.ledger}, {end.branches}")
    expect(not end.differences(), f"the ledger does not add up: {end.differences()}")
    return {"cpu": cpu / wall / 1e7, "engine": (after.cpu_percent * after.seconds - before.cpu_percent * before.seconds) / wall,
            "wakeups": (after.wakeups - before.wakeups) / wall, "rate": (after.events_received - before.events_received) / wall,
            "records": got, "lost": end.events_dropped + unstored, "bytes": end.branches["raw"].get("bytes", 0)}


class TooBusyError(WrongResultError):
    """Every run lost records, and the ledger has them."""


def _lossless(run: Callable[[], dict[str, float]]) -> dict[str, float]:
    """Return the first of a few runs that lost nothing; refuse when all of them lost records."""
    lost: list[int] = []
    while len(lost) < TRIES:
        x = run()
        if not x["lost"]:
            return x
        lost.append(round(x["lost"]))
    raise TooBusyError(f"each of {TRIES} runs lost records: {lost}")


def _cpu_row(name: str, x: dict[str, float], seconds: float) -> Row:
    return Row(name, "% of a core", x["engine"], 1, None, round(x["rate"] * seconds), ROW_BYTES,
               note=f"{x['rate']:,.0f} records/s, lost 0, {x['wakeups']:.0f} wake-ups/s; with the Python consumer {x['cpu']:.2f} %")


def _stored(seconds: float) -> dict[str, float]:
    """Collect at the high rate into a store of its own; refuse a run whose store holds something else."""
    from tapio_fast.store import RawStore

    with tempfile.TemporaryDirectory(prefix="tapio-bench-") as folder:
        path = str(Path(folder) / "store")
        dual = {"enabled": True, "raw_storage_enabled": True, "raw_storage_path": path}
        x = _run(RATE, seconds, {"dual_path": dual})
        stored = sum(len(batch["cpu"]) for batch in RawStore(path).scan())
    expect(x["lost"] > 0 or stored == x["records"], f"{x['records']} records were collected, {stored} are in the store")
    return x


def _steady(seconds: float) -> list[Row]:
    try:
        x = _lossless(lambda: _stored(seconds))
    except TooBusyError as error:       # a rate that this machine does not carry now is no wrong result; the lower ones below it must
        return [not_measured("end-to-end", "% of a core", str(error)), not_measured("end-to-end/delivered", "records/s", str(error))]
    row = _cpu_row("end-to-end", x, seconds)
    row.note += f"; all of them to numpy and stored, {x['bytes'] / x['records']:.1f} bytes a record" if x["records"] else ""
    delivered = Row("end-to-end/delivered", "records/s", x["rate"], 1, None, row.records, ROW_BYTES, note=f"asked for {RATE:,}, none lost")
    return [row, delivered]


def end_to_end(effort: Effort) -> list[Row]:
    """Run at a steady rate with the store, then at 20,000 records/s, then idle."""
    reason = why_not()
    names = {"end-to-end": "% of a core", "end-to-end/20,000 records/s": "% of a core", "end-to-end/20,000 records/s, wake-ups": "1/record",
             "end-to-end/idle": "% of a core"}
    if reason:
        return [not_measured(name, unit, reason) for name, unit in names.items()]
    rows = _steady(effort.seconds(1.0, 4.0))
    seconds = effort.seconds(1.5, 8.0)
    low, idle = _lossless(lambda: _run(LOW_RATE, seconds, {})), _lossless(lambda: _run(0, seconds, {}))
    rows.append(_cpu_row("end-to-end/20,000 records/s", low, seconds))
    rows[-1].judge("<= 1.0", rows[-1].value)
    per_record = low["wakeups"] / low["rate"] if low["rate"] else 1.0
    rows.append(Row("end-to-end/20,000 records/s, wake-ups", "1/record", per_record, 1, record_bytes=ROW_BYTES,
                    note=f"{low['wakeups']:.0f} wake-ups/s").judge("<= 0.05", per_record))
    rows.append(_cpu_row("end-to-end/idle", idle, seconds))
    rows[-1].judge("<= 1.0", rows[-1].value)
    return rows
