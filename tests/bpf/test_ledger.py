# SPDX-License-Identifier: Apache-2.0
"""The ledger against the generator's own count: millions of records over all CPUs, both lanes and several kinds, many of them dropped.

What is compared: the generator counts its tries in its own program; the ledger counts at the gate; the rows that were read are counted
here, with their sequence numbers and every field that follows from a record's number.
"""
from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from typing import Any

import live_support as live
import numpy as np
import pytest

import tapio_fast as tapio
from tapio_fast import schema

pytestmark = [pytest.mark.root, pytest.mark.live]

KINDS = ("cpu.usage", "cpu.load", "network.connect", "process.exec")
SYNTHETIC = 1 << 7
LAST = 1 << 40          # number of the records sent last of all


class Checker:
    """Counts rows by (cpu, kind) and (cpu, lane), and checks each."""

    def __init__(self) -> None:
        self.by_kind: dict[tuple[int, str], int] = {}
        self.by_lane: dict[tuple[int, str], int] = {}
        self.last_seq: dict[tuple[int, str], int] = {}
        self.rows = self.meta = 0

    def take(self, batch: tapio.RecordBatch) -> None:
        """Check one batch."""
        self.rows += len(batch)
        self.meta += len(batch["meta"])
        parts: dict[tuple[int, str], list[np.ndarray]] = {}
        for kind in (schema.KIND_BY_NAME[name] for name in KINDS):
            rows = batch[kind.domain]
            rows = rows if len(rows) == 0 or (rows["subtype"] == kind.subtype).all() else rows[rows["subtype"] == kind.subtype]
            self._fields(kind.name, rows)
            for cpu in np.unique(rows["cpu"]).tolist():
                seq = rows["seq"][rows["cpu"] == cpu]
                self.by_kind[cpu, kind.name] = self.by_kind.get((cpu, kind.name), 0) + len(seq)
                parts.setdefault((cpu, kind.lane), []).append(seq)
        for where, found in parts.items():
            seq = np.sort(np.concatenate(found))
            assert (np.diff(seq.astype(np.int64)) > 0).all(), "a record twice"
            assert seq[0] > self.last_seq.get(where, 0), "batches out of order"
            self.last_seq[where] = int(seq[-1])
            self.by_lane[where] = self.by_lane.get(where, 0) + len(seq)

    @staticmethod
    def _fields(kind: str, rows: np.ndarray) -> None:
        """Every field follows from the number n of the record."""
        if len(rows) == 0:
            return
        if kind.startswith("cpu."):
            n = rows["on_cpu_ns"]
            assert np.array_equal(rows["rss"], n * 4096)
            assert np.array_equal(rows["switches"], n + 1)
        elif kind == "network.connect":
            n = rows["cookie"]
            assert np.array_equal(rows["bytes_received"], n * 3)
            assert np.array_equal(rows["errno"] == 111, n & 7 == 0)
        else:
            n = rows["exe_inode"]
            assert (rows["args"]["len"] == 64).all()
        assert np.array_equal(rows["pid"], 0x1000000 + (n & 0xFFF))
        assert np.array_equal(rows["uid"], n & 0xFFFF)
        assert (rows["flags"] & SYNTHETIC != 0).all()
        assert (rows["weight"] == 1).all()


def on_each_cpu(work: Callable[[int], None]) -> None:
    """Run work(cpu) in a thread on every CPU that the source uses."""
    def pinned(cpu: int) -> None:
        os.sched_setaffinity(0, {cpu})
        work(cpu)

    for cpu in sorted(os.sched_getaffinity(0)):
        thread = threading.Thread(target=pinned, args=(cpu,))
        thread.start()
        thread.join()


def cells(collector: tapio.Collector) -> dict[tuple[int, str], dict[str, int]]:
    """The ledger by (cpu, kind)."""
    for entry in collector.debug().active_maps:
        if entry["name"] == "tf_ledger":
            return {(row["cpu"], row["kind"]): row for row in entry["cells"]}
    raise AssertionError("debug() shows no tf_ledger")


def config(**performance: Any) -> tapio.Config:
    """Small rings and a small pool, so that a pause of the reader costs records."""
    return tapio.Config.default().replace(performance={"ring_buffer_size_mb": 1, "batch_pool_mb": 8, **performance},
                                          debug={"enabled": True, "dump_maps": True})


def test_flood_over_all_cpus_lanes_and_kinds(tier_size: Callable[[Any, Any], Any]) -> None:
    count = tier_size(10_000_000, 100_000_000)
    source = live.Generator(count=count, kinds=KINDS)
    checker, kept, marks = Checker(), [], []
    with tapio.Collector(config(), source=source) as collector:
        collector.fileno()
        source.go()
        live.wait_for(lambda: sum(source.tried.values()) > count // 4, 120)     # nobody reads: rings and pool fill, records drop
        places = iter(range(1 << 30))
        while not source.wait(0):
            batch = collector.read(timeout=0.1)
            if batch is not None:
                checker.take(batch)
                if next(places) % 16 == 0:
                    kept.append(batch)
                    marks.append(digest(batch))
        live.wait_for(lambda: (b := collector.read(timeout=0.05)) is None or checker.take(b))
        tried = dict(source.tried)

        def one_more(cpu: int) -> None:     # into rings with room: shows how far the numbers have come
            for name in ("cpu.usage", "cpu.load"):
                done, sent, where = source._need().synth(schema.KIND_BY_NAME[name].number, 1, LAST)
                assert (done, sent, where) == (1, 1, cpu)
                tried[cpu, name] += 1

        on_each_cpu(one_more)
        for batch in live.drain(collector):
            checker.take(batch)
        stats, ledger = live.adds_up(collector), cells(collector)
        kept_bytes = sum(b.nbytes for b in kept)
        assert kept_bytes and marks == [digest(b) for b in kept], "a kept batch changed"
        del batch
        kept.clear()
        after = live.adds_up(collector)
        assert (after.ledger, after.branches, after.by_kind, after.by_cpu) == (stats.ledger, stats.branches, stats.by_kind, stats.by_cpu)
    assert sum(tried.values()) == count + 2 * len(os.sched_getaffinity(0))
    compare(tried, ledger, checker, stats, count)


def digest(batch: tapio.RecordBatch) -> str:
    """Fingerprint of all rows."""
    sums = hashlib.blake2b()
    for domain in batch.domains:
        sums.update(batch[domain].tobytes())
    return sums.hexdigest()


def compare(tried: dict[tuple[int, str], int], ledger: dict[tuple[int, str], dict[str, int]], checker: Checker,
            stats: tapio.Statistics, count: int) -> None:
    """The generator's count, the ledger and the rows that were read."""
    assert {where: row["seen"] for where, row in ledger.items() if not where[1].startswith("meta.")} == tried
    assert {cpu for cpu, _ in tried} == os.sched_getaffinity(0)
    for (cpu, kind), seen in tried.items():
        row = ledger[cpu, kind]
        assert seen == row.get("submitted", 0) + row.get("k_ring_full", 0)
        assert row["routed"] == row["submitted"] == checker.by_kind[cpu, kind]
    lost: dict[tuple[int, str], int] = {}
    for (cpu, kind), row in ledger.items():
        where = (cpu, schema.KIND_BY_NAME[kind].lane)
        lost[where] = lost.get(where, 0) + row.get("k_ring_full", 0)
    for where, last in checker.last_seq.items():
        assert last - checker.by_lane[where] == lost[where], f"gaps in seq of {where}"
    assert set(checker.last_seq) == {(cpu, lane) for cpu in os.sched_getaffinity(0) for lane in schema.LANES}
    assert count // 10 <= stats.ring_buffer_full == sum(lost.values())
    assert sum(checker.by_lane.values()) >= count // 100
    user = stats.branches["user"]
    assert user["overflow"] == 0 and user["handed"] == user["routed"] == checker.rows
    assert user["routed"] - checker.meta == stats.ledger["routed"], "meta rows are the pump's own: the kernel's ledger has none here"


def test_slow_consumer_with_drop_oldest_loses_at_the_queue_and_counts_it(tier_size: Callable[[Any, Any], Any]) -> None:
    count = tier_size(400_000, 20_000_000)      # the small one fits the rings: a pump that others keep from the CPU loses none there
    source = live.Generator(count=count, kinds=("cpu.usage", "cpu.load"), rate=1_500_000)
    with tapio.Collector(config(overflow_policy="drop_oldest", batch_pool_mb=4, ring_buffer_size_mb=256), source=source) as collector:
        collector.fileno()
        source.go()
        assert source.wait(60)
        batches = live.drain(collector)
        stats = live.adds_up(collector)
    got = sum(len(b) for b in batches)
    user = stats.branches["user"]
    routed = stats.ledger["routed"]
    assert stats.ledger["seen"] == count == routed + stats.ring_buffer_full and stats.ring_buffer_full < count // 20
    assert user["handed"] == got and user["overflow"] > 0
    assert routed <= user["routed"] == user["handed"] + user["overflow"] <= routed + stats.epochs + 10      # and the pump's own meta rows
    seen = np.concatenate([b["cpu"]["on_cpu_ns"] for b in batches])
    assert int(seen.max()) >= count // len(os.sched_getaffinity(0)) - 1, "drop_oldest keeps the newest"


def test_losses_of_batches_add_up_to_the_ledgers() -> None:
    """Each batch carries what was lost since the one before."""
    source = live.Generator(count=2_000_000, kinds=("cpu.usage", "network.connect"))
    with tapio.Collector(config(), source=source) as collector:
        collector.fileno()
        source.go()
        assert source.wait(60)          # nobody read so far: rings and pool are full
        batches = live.read_until(collector, lambda _: collector.stats().ledger["in_ring"] == 0) + live.drain(collector)
        stats = live.adds_up(collector)
    total = {name: sum(b.loss[name] for b in batches) for name in batches[0].loss}
    assert total["k_ring_full"] == stats.ledger["k_ring_full"] > 0
    assert total["seen"] == stats.ledger["seen"]


def test_stop_on_full_waits_instead_of_losing() -> None:
    """The generator stops at a refused reserve: each refusal is one try that is made again, and no record is missing."""
    count = 500_000
    source = live.Generator(count=count, kinds=("cpu.usage",), stop_on_full=True)
    numbers = []
    with tapio.Collector(config(), source=source) as collector:
        collector.fileno()
        source.go()
        for batch in collector.batches(max_events=count, timeout=20):
            numbers.extend([(batch["cpu"]["cpu"].copy(), batch["cpu"]["on_cpu_ns"].copy())])
        assert source.wait(5)
        live.drain(collector)
        stats = live.adds_up(collector)
    cpus, n = (np.concatenate(part) for part in zip(*numbers, strict=True))
    for cpu in os.sched_getaffinity(0):
        mine = n[cpus == cpu]
        assert np.array_equal(mine, np.arange(len(mine)))
    assert len(n) == count
    usage = stats.by_kind["cpu.usage"]
    assert usage["seen"] == sum(source.tried.values()) == count + usage["k_ring_full"]
