# SPDX-License-Identifier: Apache-2.0
"""Every cause of the kernel's ledger, each made to happen a known number of times; the identity holds throughout.

The truth is the generator's own count, or the number of calls that a helper made.
"""
from __future__ import annotations

import contextlib
import ctypes
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import live_support as live
import numpy as np
import pytest

import tapio_fast as tapio
from tapio_fast import schema

pytestmark = [pytest.mark.root, pytest.mark.live]

SLOTS = 4                       # TF_SLOTS, a CPU
MAP_UPDATE_ELEM, MAP_LOOKUP_ELEM, MAP_GET_FD_BY_ID = 2, 1, 14
COUNT = 20_000
PROVEN: set[str] = set()        # causes that a test has made happen


def only(stats: tapio.Statistics, kind: str, *, shared: bool = False, **expected: int) -> None:
    """Assert a kind's cells of the kernel, every cause that is not named being 0, and note the causes that were proven.

    shared : other processes of the machine do it too; the filter refuses theirs, and so many more are seen
    """
    cells = stats.by_kind[kind]
    if shared:
        cells = cells | {"seen": cells["seen"] - cells["k_filtered"], "k_filtered": 0}
    named = {name: expected.get(name, 0) for name in ("seen", "submitted", *schema.KERNEL_CAUSES)}
    assert {name: cells[name] for name in named} == named
    PROVEN.update(name for name, value in expected.items() if value and name in schema.KERNEL_CAUSES)


def generate(source: live.Generator, *, filter: tapio.KernelFilter | None = None, before: Any = None,
             **performance: Any) -> tuple[tapio.RecordBatch, tapio.Statistics]:
    """Run a generator to its end; `before` is called with the collector when everything is in place."""
    config = tapio.Config().replace(performance=performance)
    with tapio.Collector(config, filter=filter or tapio.KernelFilter(), source=source) as collector:
        collector.fileno()
        if before is not None:
            before(collector)
        source.go()
        assert source.wait(30)
        batch = live.everything(collector)
        return batch, live.adds_up(collector)


def test_filtered() -> None:
    """One of the 4,096 made-up processes is wanted."""
    source = live.Generator(count=COUNT, cpus=(0,))
    batch, stats = generate(source, filter=tapio.KernelFilter(pids=[0x1000000 + 7]))
    kept = len(range(7, COUNT, 4096))
    only(stats, "cpu.usage", seen=COUNT, submitted=kept, k_filtered=COUNT - kept)
    assert batch["cpu"]["on_cpu_ns"].tolist() == list(range(7, COUNT, 4096))


def test_sampled() -> None:
    """Half of them, give or take six times the standard deviation of a fair coin."""
    source = live.Generator(count=COUNT, cpus=(0,))
    batch, stats = generate(source, before=lambda _: source.set_rate("cpu.usage", 0.5))
    kept = len(batch["cpu"])
    assert abs(kept - COUNT / 2) < 6 * (COUNT / 4) ** 0.5
    only(stats, "cpu.usage", seen=COUNT, submitted=kept, k_sampled=COUNT - kept)
    assert (batch["cpu"]["weight"] == 2.0).all()


def test_throttled() -> None:
    """Each of the 16 made-up groups has 10 tokens, and one more every second."""
    source = live.Generator(count=COUNT, cpus=(0,))
    batch, stats = generate(source, before=lambda _: source.set_throttle(1, 10))
    kept = len(batch["cpu"])
    assert 16 * 10 <= kept <= 16 * (10 + 1 + stats.seconds)
    only(stats, "cpu.usage", seen=COUNT, submitted=kept, k_throttled=COUNT - kept)


def test_ring_full() -> None:
    """More than the ring holds, in one go."""
    source = live.Generator(count=65_536, cpus=(0,))
    with tapio.Collector(tapio.Config().replace(performance={"ring_buffer_size_mb": 1}), source=source) as collector:
        collector.fileno()
        tried = sent = 0
        while tried == sent:
            more, got, _ = source._need().synth(schema.KIND_BY_NAME["cpu.usage"].number, 65_536, tried)
            tried, sent = tried + more, sent + got
        batch = live.everything(collector)
        stats = live.adds_up(collector)
    only(stats, "cpu.usage", seen=tried, submitted=sent, k_ring_full=tried - sent)
    seqs = np.concatenate([np.sort(batch["cpu"]["seq"][batch["cpu"]["cpu"] == cpu]) for cpu in np.unique(batch["cpu"]["cpu"])])
    assert len(seqs) == sent


def test_too_big() -> None:
    """A text longer than a record may be; nothing that fits is lost, and no number is taken for what does not."""
    source = live.Generator(count=1000, cpus=(0,), kinds=("process.exec",), text_len=1 << 20)
    batch, stats = generate(source)
    only(stats, "process.exec", seen=1000, k_too_big=1000)
    assert len(batch["process"]) == 0 and stats.events_dropped == 1000
    source = live.Generator(count=200, cpus=(0,), kinds=("process.exec",), text_len=4096)     # fit the ring
    batch, stats = generate(source)
    only(stats, "process.exec", seen=200, submitted=200)
    assert np.array_equal(np.sort(batch["process"]["seq"]), np.arange(1, 201))


class Slots:
    """The scratch slots of a collector, through a descriptor of our own."""

    def __init__(self, collector: tapio.Collector) -> None:
        slots = next(m for m in collector.debug().active_maps if m["name"] == "tf_slots")
        self.fd, _ = live._bpf(MAP_GET_FD_BY_ID, struct.pack("<III", slots["id"], 0, 0))
        assert self.fd >= 0
        self.count = slots["max_entries"]
        self._value = ctypes.create_string_buffer(slots["bytes"] // self.count)

    def mark(self, index: int, busy: int) -> None:
        """Take a slot, as a program that was interrupted would have it, or give it back."""
        key = ctypes.create_string_buffer(struct.pack("<I", index), 4)
        attr = struct.pack("<IIQQQ", self.fd, 0, ctypes.addressof(key), ctypes.addressof(self._value), 0)
        assert live._bpf(MAP_LOOKUP_ELEM, attr)[0] == 0
        assert struct.unpack_from("<Q", self._value)[0] == 1 - busy
        struct.pack_into("<Q", self._value, 0, busy)
        assert live._bpf(MAP_UPDATE_ELEM, attr)[0] == 0


@contextlib.contextmanager
def slots_of(collector: tapio.Collector) -> Iterator[Slots]:
    slots = Slots(collector)
    try:
        yield slots
    finally:
        os.close(slots.fd)


@pytest.mark.parametrize("taken", [SLOTS, SLOTS - 1])
def test_busy(taken: int) -> None:
    """All slots taken: every record with text is refused. One left: none is."""
    source = live.Generator(count=1000, cpus=(0,), kinds=("process.exec",))

    def take(collector: tapio.Collector) -> None:
        with slots_of(collector) as slots:
            assert slots.count % SLOTS == 0
            for i in range(taken):
                slots.mark(i, 1)        # of CPU 0

    batch, stats = generate(source, before=take)
    refused = 1000 if taken == SLOTS else 0
    only(stats, "process.exec", seen=1000, submitted=1000 - refused, k_busy=refused)
    assert len(batch["process"]) == 1000 - refused


def file_config(*events: str, **performance: Any) -> tapio.Config:
    return tapio.Config().replace(programs={
        "process": {"enabled": False}, "network": {"enabled": False}, "memory": {"enabled": False},
        "file": {"enabled": True, "events": events}}, performance=performance)


def test_aggregated(tmp_path: Path) -> None:
    """Ten writes to each of five files are five records."""
    with live.Helper("memory.py") as helper, live.watching(
            helper, config=file_config("write"),
            filter=tapio.KernelFilter(descendants_of=[helper.pid])) as collector:
        facts = helper.call("written_files", folder=str(tmp_path), files=5, writes=10)
        batch = live.everything(collector)
        stats = live.adds_up(collector)
    cells = stats.by_kind["file.write"]
    mine = batch["file"][batch["file"]["size"] == 1000]
    assert len(mine) == 5 and (mine["count"] == 10).all()
    assert cells["k_aggregated"] >= facts["calls"] == mine["count"].sum()
    only(stats, "file.write", shared=True, seen=cells["k_aggregated"] + cells["submitted"], submitted=cells["submitted"],
         k_aggregated=cells["k_aggregated"])


def test_map_full(tmp_path: Path) -> None:
    """More files open than their table has places: their writes are told to be missing."""
    limit = 64
    with live.Helper("memory.py") as helper, live.watching(helper, config=file_config("write", map_entries_limit=limit)) as collector:
        facts = helper.call("written_files", folder=str(tmp_path), files=100, writes=3)
        batch = live.everything(collector)
        stats = live.adds_up(collector)
    cells = stats.by_kind["file.write"]
    assert cells["k_map_full"] >= (100 - limit) * 3
    assert batch["file"]["count"].sum() == cells["k_aggregated"]
    assert cells["k_aggregated"] + cells["k_map_full"] >= facts["calls"]
    only(stats, "file.write", shared=True, seen=cells["k_aggregated"] + cells["k_map_full"] + cells["submitted"],
         submitted=cells["submitted"], k_aggregated=cells["k_aggregated"], k_map_full=cells["k_map_full"])


def test_fault() -> None:
    """A path that cannot be read is no record."""
    with live.Helper("memory.py") as helper, live.watching(helper, config=file_config("delete")) as collector:
        assert helper.call("unreadable_paths", count=25) == [14] * 25
        batch = live.everything(collector)
        stats = live.adds_up(collector)
    only(stats, "file.delete", shared=True, seen=25, k_fault=25)
    assert len(batch["file"]) == 0


def test_every_cause_was_proven(request: pytest.FixtureRequest) -> None:
    """By the tests above, when all of them ran."""
    mine = {item.name for item in request.session.items if item.path == request.path}
    if len(mine) < 11:
        pytest.skip("only some of this file's tests were asked for")
    assert PROVEN == set(schema.KERNEL_CAUSES)
