# SPDX-License-Identifier: Apache-2.0
"""The collector as a plain user meets it, over in-memory rings: every way to read, every limit, every wrong use."""
from __future__ import annotations

import asyncio
import logging
import select
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import live_support as live
import numpy as np
import pytest

import tapio_fast as tapio
from tapio_fast import _consume, schema

pytestmark = pytest.mark.usefixtures("no_leaks")

LONG = 20       # seconds that nothing here takes, even on a machine that others use


@pytest.fixture
def source() -> tapio.MemorySource:
    return tapio.MemorySource(cpus=2)


@pytest.fixture
def collector(source: tapio.MemorySource) -> Iterator[tapio.Collector]:
    """A running collector whose consumer is attached."""
    with tapio.Collector(source=source) as running:
        running.fileno()
        yield running


def count(batch: tapio.RecordBatch) -> int:
    """Records without meta."""
    return len(batch) - len(batch["meta"])


def test_read_gives_what_was_sent(collector: tapio.Collector, source: tapio.MemorySource) -> None:
    row = np.zeros(1, schema.DTYPES["network"])[0]
    row["pid"], row["source_port"], row["bytes_sent"], row["comm"] = 42, 443, 1 << 40, b"me"
    row["dest_ip"] = np.arange(16)
    assert source.fill("network.connect", row, 3) == 3
    batch = live.read_until(collector, lambda got: any("network" in b for b in got))[-1]
    rows = batch["network"]
    assert rows["pid"].tolist() == [42] * 3 and rows["seq"].tolist() == [1, 2, 3]
    assert rows["source_port"].tolist() == [443] * 3 and rows["bytes_sent"].tolist() == [1 << 40] * 3
    assert rows["dest_ip"].tolist() == [list(range(16))] * 3
    assert rows["comm"].tolist() == [b"me"] * 3 and (rows["weight"] == 1).all()


def test_read_without_records_returns_none_in_time(collector: tapio.Collector) -> None:
    while collector.read(timeout=0.05) is not None:
        pass        # RULES of the start
    begun = time.monotonic()
    assert all(len(b.domains) == 1 for b in [collector.read(timeout=0.3)] if b is not None)
    assert time.monotonic() - begun < LONG


def test_batches_ends_after_idle_seconds(collector: tapio.Collector, source: tapio.MemorySource) -> None:
    source.fill("cpu.usage", n=100)
    begun = time.monotonic()
    got = sum(map(count, collector.batches(timeout=0.3)))
    assert got == 100
    assert 0.3 <= time.monotonic() - begun < LONG


def test_batches_ends_after_a_duration_though_records_keep_coming(collector: tapio.Collector, source: tapio.MemorySource) -> None:
    stop = threading.Event()

    def feed() -> None:
        while not stop.wait(0.001):
            source.fill("cpu.usage", n=5)

    feeder = threading.Thread(target=feed)
    feeder.start()
    begun = time.monotonic()
    got = sum(map(count, collector.batches(duration=0.4)))
    took = time.monotonic() - begun
    stop.set()
    feeder.join()
    assert got > 0 and 0.4 <= took < LONG


async def _take_all(batches: AsyncIterator[tapio.RecordBatch], between: Callable[[], None]) -> int:
    n = 0
    async for _ in batches:
        between()
        n += 1
    return n


@pytest.mark.parametrize("way", ["batches", "abatches"])
def test_a_duration_ends_for_a_consumer_slower_than_its_stream(collector: tapio.Collector, source: tapio.MemorySource, way: str) -> None:
    """There is always a batch more to read; what was drained after time was up is for the next reader."""
    turns = 0

    def slow() -> None:
        nonlocal turns
        turns += 1
        assert turns < 10_000, "it goes on for ever"
        source.fill("cpu.usage")
        assert select.select([collector], [], [], LONG)[0]

    source.fill("cpu.usage")
    if way == "batches":
        for _ in collector.batches(duration=0.2):
            slow()
    else:
        asyncio.run(_take_all(collector.abatches(duration=0.2), slow))
    assert collector.read(timeout=LONG) is not None


@pytest.mark.parametrize("most", [0, 1, 7, 100, 101])
def test_max_events_is_exact_and_takes_the_first_in_time(collector: tapio.Collector, source: tapio.MemorySource, most: int) -> None:
    for i in range(10):
        for cpu in (0, 1):
            source.fill(("cpu.usage", "network.close")[i % 2], n=10, cpu=cpu)
    batches = list(collector.batches(max_events=most, timeout=1))
    times = np.concatenate([b[d]["ts_ns"] for b in batches for d in b.domains if d != "meta"] or [np.zeros(0, "u8")])
    assert len(times) == most
    live.drain(collector)


def test_first_records_of_a_batch_are_its_oldest() -> None:
    """What batches(max_events=) does with a batch that holds too many."""
    kinds = ("cpu.usage", "network.close", "process.exit")
    whole = live.from_memory(lambda source: [source.fill(kinds[i % 3], cpu=i % 2) for i in range(20)])
    batch = _consume.head(whole, 7)
    order = sorted((int(r["ts_ns"]), int(r["cpu"])) for d in batch.domains if d != "meta" for r in batch[d])
    assert [cpu for _, cpu in order] == [0, 1, 0, 1, 0, 1, 0]
    assert [len(batch[d]) for d in ("cpu", "network", "process")] == [3, 2, 2]
    assert len(batch["meta"]) == len(whole["meta"])


def test_ordered_merges_cpus_by_time(collector: tapio.Collector, source: tapio.MemorySource) -> None:
    def feed() -> None:
        for i in range(400):
            source.fill("cpu.usage", n=3, cpu=i % 2)
        collector.stop()

    feeder = threading.Thread(target=feed)
    feeder.start()
    rows = np.concatenate([b["cpu"] for b in collector.batches(ordered=True)])
    feeder.join()
    assert len(rows) == 1200
    ts = rows["ts_ns"].astype(np.int64)
    assert (np.diff(ts) >= 0).all()
    assert (np.diff(rows["cpu"].astype(int)) != 0).sum() > 100, "both CPUs, interleaved"


def test_batches_end_when_stopped_and_hand_out_everything(collector: tapio.Collector, source: tapio.MemorySource) -> None:
    source.fill("cpu.usage", n=1000)
    collector.stop()
    assert sum(map(count, collector.batches())) == 1000
    assert collector.ended
    assert collector.read() is None


def test_abatches(collector: tapio.Collector, source: tapio.MemorySource) -> None:
    async def main() -> tuple[int, int]:
        ticks = 0

        async def other() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.005)
                ticks += 1
                if ticks % 10 == 0:
                    source.fill("cpu.usage", n=100)

        task = asyncio.create_task(other())
        got = 0
        async for batch in collector.abatches(max_events=500, timeout=10):
            got += count(batch)
        task.cancel()
        return got, ticks

    got, ticks = asyncio.run(main())
    assert got == 500
    assert ticks >= 40, "the loop was blocked"


def test_abatches_lets_others_run_while_batches_wait(collector: tapio.Collector, source: tapio.MemorySource) -> None:
    """There is always a batch more: another task, a timeout and the cancellation that it is have their turn all the same."""
    turns = others = 0

    async def other() -> None:
        nonlocal others
        while True:
            others += 1
            await asyncio.sleep(0)

    async def main() -> None:
        nonlocal turns
        task = asyncio.create_task(other())
        try:
            async with asyncio.timeout(0.2):
                async for _ in collector.abatches():
                    turns += 1
                    assert turns < 10_000, "it goes on for ever"
                    source.fill("cpu.usage")
                    assert select.select([collector], [], [], LONG)[0]
        finally:
            task.cancel()

    source.fill("cpu.usage")
    with pytest.raises(TimeoutError):
        asyncio.run(main())
    assert others >= turns > 0
    assert collector.read(timeout=LONG) is not None, "the batch that waited was lost to the cancellation"


def test_abatches_ends_with_the_collector_and_after_idle_time() -> None:
    async def main() -> list[int]:
        source = tapio.MemorySource()
        async with tapio.Collector(source=source) as collector:
            collector.fileno()
            source.fill("cpu.usage", n=10)
            idle = [count(b) async for b in collector.abatches(timeout=0.2)]
            asyncio.get_running_loop().call_later(0.1, collector.stop)
            return idle + [count(b) async for b in collector.abatches()]
    assert sum(asyncio.run(main())) == 10


def test_fileno_becomes_readable_with_a_batch_and_at_the_end(collector: tapio.Collector, source: tapio.MemorySource) -> None:
    while collector.read(timeout=0.02) is not None:
        pass
    fd = collector.fileno()
    assert fd == collector.fileno()
    source.fill("cpu.usage")
    assert select.select([fd], [], [], 5)[0] == [fd]
    assert collector.read(timeout=0) is not None
    collector.stop()
    while not collector.ended:
        assert select.select([fd], [], [], 5)[0] == [fd]
        collector.read(timeout=0)
    assert select.select([fd], [], [], 5)[0] == [fd], "ended: readable for ever"


def test_events_are_objects_in_order(collector: tapio.Collector, source: tapio.MemorySource) -> None:
    row = np.zeros(1, schema.DTYPES["process"])[0]
    row["pid"] = 7
    row["args"] = (0, 5, 9)
    for i in range(3):
        source.fill("process.exec", row, tail=b"ls\0-l", cpu=i % 2)
        source.fill("cpu.usage", cpu=i % 2)
    events = list(collector.events(max_events=6))
    assert [e.type.name for e in events] == ["PROCESS", "CPU"] * 3
    assert events[0].pid == 7
    assert events[0].to_dict()["details"]["args"] in (("ls", "-l"), ["ls", "-l"])


def test_second_reader_is_refused_while_the_first_reads(collector: tapio.Collector) -> None:
    inside, outcome = threading.Event(), []

    def reader() -> None:
        inside.set()
        while collector.read(timeout=0.5) is not None:
            pass
        outcome.append("done")

    thread = threading.Thread(target=reader)
    thread.start()
    inside.wait(5)

    def refused() -> bool:
        try:
            collector.read(timeout=0)
        except RuntimeError as error:
            return "another thread is reading" in str(error)
        return False
    live.wait_for(refused, 5, every=0)
    collector.stop()
    thread.join(5)
    assert outcome == ["done"]


def test_consumer_exists_from_the_first_read(source: tapio.MemorySource) -> None:
    """Before, records are collected for nobody: counted as routed, and to no one's queue."""
    with tapio.Collector(source=source) as collector:
        source.fill("cpu.usage", n=10)
        live.wait_for(lambda: collector.stats().ledger["routed"] >= 10)
        assert collector.stats().branches["user"] == {}
        collector.fileno()
        source.fill("cpu.usage", n=5)
        assert sum(map(count, live.drain(collector))) == 5


@pytest.mark.parametrize("call", ["read", "batches", "abatches", "fileno", "stats", "health", "debug", "set_filter"])
def test_use_before_start_says_what_to_do(call: str, source: tapio.MemorySource) -> None:
    collector = tapio.Collector(source=source)
    with pytest.raises(tapio.ClosedError, match="this collector is new"):
        getattr(collector, call)(*([None] if call == "set_filter" else []))


@pytest.mark.parametrize("call", ["read", "batches", "abatches", "fileno", "set_filter", "start"])
def test_use_after_close(call: str, collector: tapio.Collector) -> None:
    collector.close()
    with pytest.raises(tapio.ClosedError, match="closed"):
        getattr(collector, call)(*([None] if call == "set_filter" else []))


def test_stop_and_close_twice_and_numbers_after_close(collector: tapio.Collector, source: tapio.MemorySource) -> None:
    source.fill("cpu.usage", n=10)
    live.drain(collector)
    collector.stop()
    before = live.adds_up(collector)
    collector.close()
    collector.close()
    after = collector.stats()
    assert after.ledger == before.ledger and after.branches == before.branches
    assert collector.health().status == "healthy"
    assert repr(collector).startswith("<Collector tapio closed source=memory seen=")


def test_source_serves_one_collector(collector: tapio.Collector, source: tapio.MemorySource) -> None:
    with pytest.raises(tapio.ClosedError, match="make a new one"), tapio.Collector(source=source):
        pass


@pytest.mark.parametrize("bad", [{"timeout": -1}, {"duration": -0.1}, {"max_events": -1}])
def test_negative_limits(bad: dict[str, Any], collector: tapio.Collector) -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        collector.batches(**bad)


def test_filters_that_cannot_be() -> None:
    with pytest.raises(tapio.FilterError, match="did you mean 'comm'") as caught:
        tapio.Collector(filter="pid == 1 and comn == x")
    assert caught.value.position == len("pid == 1 and ")
    with pytest.raises(tapio.FilterError, match="pod: this needs enrichment"):
        tapio.Collector(filter='pod == "web-1"')
    with pytest.raises(tapio.FilterError, match="expression .str. or an EventFilter, not int"):
        tapio.Collector(filter=4711)  # type: ignore[arg-type]
    with pytest.raises(tapio.FilterError, match="no kind"):
        tapio.KernelFilter(kinds=["process.nonsense"])
    with pytest.raises(tapio.FilterError, match="not an id"):
        tapio.KernelFilter(pids=[-1])


def test_a_filter_that_cannot_be_leaves_the_one_in_force(collector: tapio.Collector) -> None:
    gen = collector.set_filter("pid == 1")
    for bad in ("importance > 0.5", "pid =="):
        with pytest.raises(tapio.FilterError):
            collector.set_filter(bad)
    assert collector.set_filter(None) == gen + 1


def test_parts_of_later_versions_are_refused() -> None:
    for name in ("sampler", "enricher", "correlator", "output"):
        with pytest.raises(tapio.ConfigError, match=name):
            tapio.Collector(**{name: object()})


def test_builder(source: tapio.MemorySource) -> None:
    config = tapio.Config.default().replace(name="built")
    built = tapio.Collector.builder(config).with_source(source).with_filter(tapio.KernelFilter()).build()
    assert built.config.name == "built" and repr(built) == "<Collector built new source=memory>"
    with built as collector:
        collector.fileno()
        source.fill("cpu.usage", n=4)
        assert sum(map(count, live.drain(collector))) == 4


def test_trace_events_logs_batches(source: tapio.MemorySource, caplog: pytest.LogCaptureFixture) -> None:
    config = tapio.Config.default().replace(debug={"enabled": True, "trace_events": True})
    with caplog.at_level(logging.DEBUG, "tapio_fast"), tapio.Collector(config, source=source) as collector:
        collector.fileno()
        source.fill("cpu.usage", n=3)
        live.drain(collector)
    assert any("cpu=3" in r.getMessage() for r in caplog.records)


@pytest.mark.parametrize("ask", [lambda c: c.semantic(), lambda c: c.groups(), lambda c: c.set_output(object())])
def test_what_comes_later_says_so(ask: Callable[[tapio.Collector], object]) -> None:
    with pytest.raises(tapio.ConfigError, match="not available in this version"):
        ask(tapio.Collector(source=tapio.MemorySource()))
