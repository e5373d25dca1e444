# SPDX-License-Identifier: Apache-2.0
"""Case `live`: one pinned generator, as fast as it goes, through a kernel ring of 16 MiB to numpy without a loss.

The rival is the same generator whose ring is merely reset between calls: nobody reads, so no consumer can be faster.
"""
from __future__ import annotations

import statistics
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tapio_fast import schema
from tapio_fast.bench._live import KIND, ROW_BYTES, config, on_cpus, possible_cpus, two_cpus, why_not
from tapio_fast.bench._measure import Effort, expect, spread
from tapio_fast.bench._rows import Row, not_measured

if TYPE_CHECKING:
    from tapio_fast.batch import RecordBatch
    from tapio_fast.collector import Collector
    from tapio_fast.sources import SyntheticSource

RING_MIB = 16
CHUNK = 16384   # records a call, as SyntheticSource
TRIES = 100     # to find room for the last record


@dataclass
class Reader:
    """Follows seq through the batches: rows that came, and numbers that did not."""

    rows: int = 0
    last: int = 0
    gaps: int = 0

    def read(self, batch: RecordBatch) -> None:
        """Count a batch."""
        seq = batch["cpu"]["seq"]
        if len(seq):
            expect(int(seq[0]) > self.last, "seq goes backwards between batches")
            self.gaps += int(seq[-1]) - self.last - len(seq)
            self.last, self.rows = int(seq[-1]), self.rows + len(seq)


def _send_last(source: SyntheticSource, collector: Collector, reader: Reader, cpu: int) -> None:
    """Send one record more, when there is room: its seq shows what the ring refused after the last one."""
    source.halt()
    for _ in range(TRIES):
        with on_cpus({cpu}):
            if source.send(KIND):
                return
        for batch in collector.batches(duration=0.05):
            reader.read(batch)
    expect(False, f"the ring has had no room for {TRIES} turns of reading it")


def through_collector(seconds: float) -> tuple[float, float, dict[str, int]]:
    """Return (records/s sent, ns of pump CPU per record, ledger); refuse a run that lost or invented a record."""
    from tapio_fast.collector import Collector
    from tapio_fast.sources import SyntheticSource

    cpu, others = two_cpus()
    source = SyntheticSource(kinds=(KIND,), cpus=(cpu,), stop_on_full=True, hold=True)
    collector = Collector(config(RING_MIB), source=source)
    reader = Reader()
    with on_cpus(others), collector:
        collector.fileno()      # the consumer exists from here on: what is routed before it would not reach it
        source.go()
        began = time.perf_counter()
        for batch in collector.batches(duration=seconds):
            reader.read(batch)
        sent, took = sum(source.sent.values()), time.perf_counter() - began
        _send_last(source, collector, reader, cpu)
        collector.stop()
        for batch in collector.batches(timeout=0.5):
            reader.read(batch)
        stats = collector.stats()
    total = sum(source.sent.values())
    expect(reader.rows == total == stats.ledger["submitted"],
           f"{total} records were sent, {reader.rows} arrived, {stats.ledger['submitted']} are in the ledger")
    expect(reader.gaps == stats.ledger["k_ring_full"], f"{reader.gaps} gaps in seq, {stats.ledger['k_ring_full']} refused reserves")
    expect(not stats.differences(), f"the ledger does not add up: {stats.differences()}")
    return sent / took, stats.cpu_percent * stats.seconds * 1e7 / total, stats.ledger


def merely_reset(seconds: float) -> float:
    """Return records/s of the generator alone, its ring emptied by moving the consumer position."""
    from tapio_fast._core._kernel import KernelObject
    from tapio_fast._core._log import Log

    kind = schema.KIND_BY_NAME[KIND].number
    rings = KernelObject(Log(), bulk_bytes=RING_MIB * possible_cpus() << 20, synth=True, kinds=[kind])
    rings.attach()
    done: list[tuple[int, float]] = []

    def generate() -> None:
        with on_cpus({two_cpus()[0]}):
            sent, began = 0, time.perf_counter()
            while (took := time.perf_counter() - began) < seconds:
                tried, n, _ = rings.synth(kind, CHUNK, sent, 0, True)
                expect(tried == n == CHUNK, f"{n} of {CHUNK} records fitted an empty ring")
                sent += n
                rings.reset_rings()
            done.append((sent, took))

    thread = threading.Thread(target=generate)
    thread.start()
    thread.join()
    expect(bool(done), "the generator failed")
    return done[0][0] / done[0][1]


def live(effort: Effort) -> list[Row]:
    """Time both in turns."""
    unit = "M records/s"
    if why_not():
        return [not_measured("live", unit, why_not(), ">= 0.85")]
    seconds = effort.seconds(0.5, 1.5)
    rates: dict[str, list[float]] = {"live": [], "live/ring merely reset": []}
    pump, refused = [], 0
    through_collector(0.2)
    for _ in range(effort.repeats):
        rate, cpu_ns, ledger = through_collector(seconds)
        rates["live"].append(rate / 1e6)
        pump.append(cpu_ns)
        refused += ledger["k_ring_full"]
        rates["live/ring merely reset"].append(merely_reset(seconds) / 1e6)
    rows = [Row(name, unit, statistics.median(r), len(r), spread(r), round(statistics.median(r) * 1e6 * seconds), ROW_BYTES)
            for name, r in rates.items()]
    rows[0].ratio_to = rows[1].name
    rows[0].ratio = statistics.median(a / b for a, b in zip(*rates.values(), strict=True))
    rows[0].judge(">= 0.85", rows[0].ratio)
    rows[0].note = f"lost 0; pump {statistics.median(pump):.1f} ns of CPU a record; the generator waited {refused} times for room"
    return rows
