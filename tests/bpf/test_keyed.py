# SPDX-License-Identifier: Apache-2.0
"""programs.X.sampling_key: all records of a process or TCP connection share one fate, that of the rate in force when it began.

The truth is the generator's formula (bpf/README.md, "Synthetic records"), and what the helpers did.
"""
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import live_support as live
import numpy as np
import pytest

import tapio_fast as tapio
from tapio_fast import schema

pytestmark = [pytest.mark.root, pytest.mark.live]

SIGMAS = 5
PIDS = 4096         # processes of the generator
RATE_ROW = schema.KIND_BY_NAME["meta.rate"].subtype


def rates_of(batch: tapio.RecordBatch, kind: str) -> list[tuple[int, int, int]]:
    """The kind's RATE rows, in order: (from when on, kept of 2^32, by key). A consumer that comes late is told again what is in force."""
    meta, names = batch["meta"], batch.strings("meta", "data")
    found = [(int(row["ts_ns"]), int(row["value"]), int(row["cause"])) for i, row in enumerate(meta)
             if row["subtype"] == RATE_ROW and row["object_id"] == schema.KIND_BY_NAME[kind].number]
    assert all(names[i] == kind.partition(".")[2].encode() for i, row in enumerate(meta)
               if row["subtype"] == RATE_ROW and row["object_id"] == schema.KIND_BY_NAME[kind].number)
    assert found == sorted(found)
    return sorted(set(found))


def whole_or_not(keys: np.ndarray, n: int, records: int, rate: float) -> None:
    """Every key that is there has all its `records`, and there are as many as a coin with this chance gives of n."""
    _, counts = np.unique(keys, return_counts=True)
    assert set(counts.tolist()) == {records}
    assert abs(len(counts) - n * rate) <= SIGMAS * math.sqrt(n * rate * (1 - rate))


def run(config: tapio.Config, **plan: Any) -> tuple[tapio.RecordBatch, tapio.Statistics]:
    source = live.Generator(cpus=(0,), **plan)
    with tapio.Collector(config, source=source) as collector:
        collector.fileno()
        source.go()
        batches = live.read_until(collector, lambda _: source.wait(0), 60) + live.drain(collector)
        stats = live.adds_up(collector)
    assert stats.ledger["k_ring_full"] == 0
    return live.together(batches), stats


@pytest.mark.parametrize(("kind", "section"), [("cpu.usage", "process"), ("cpu.load", "process"), ("process.exec", "process"),
                                               ("network.connect", "network")])
def test_a_process_is_kept_whole_or_not_at_all(kind: str, section: str, tier_size: Callable[[Any, Any], Any]) -> None:
    turns, rate = tier_size(8, 100), 0.25
    config = live.roomy(programs={section: {"sampling_rate": rate, "sampling_key": "process"}})
    batch, stats = run(config, count=turns * PIDS, rate=200_000, kinds=(kind,))
    rows, _ = live.of_kind(batch, kind)
    whole_or_not(rows["pid"], PIDS, turns, rate)
    assert (rows["weight"] == 4).all()
    assert stats.by_kind[kind]["k_sampled"] == turns * PIDS - len(rows)
    assert rates_of(batch, kind)[0][1:] == (1 << 30, 1)


def test_all_kinds_of_a_process_share_its_fate() -> None:
    config = live.roomy(programs={"process": {"sampling_rate": 0.125, "sampling_key": "process"}})
    batch, _ = run(config, count=40 * PIDS, rate=200_000, kinds=("cpu.usage", "process.exec"))
    usage, execs = (set(live.of_kind(batch, kind)[0]["pid"].tolist()) for kind in ("cpu.usage", "process.exec"))
    assert usage == execs and len(usage) < PIDS / 4


def test_a_connection_is_kept_whole_or_not_at_all(tier_size: Callable[[Any, Any], Any]) -> None:
    """Four records of the generator's are one connection."""
    n, rate = tier_size(20_000, 200_000), 0.25
    config = live.roomy(programs={"network": {"sampling_rate": rate, "sampling_key": "connection"}})
    batch, stats = run(config, count=4 * n, rate=200_000, kinds=("network.connect",))
    rows = batch["network"]
    whole_or_not(rows["cookie"] >> 2, n, 4, rate)
    assert (rows["weight"] == 4).all() and stats.by_kind["network.connect"]["k_sampled"] == 4 * n - len(rows)


def test_real_connections_are_kept_whole_or_not_at_all(tier_size: Callable[[Any, Any], Any]) -> None:
    """Both ends of a connection are sockets of their own: connect and close of the one, accept and close of the other."""
    n, rate = tier_size(300, 3000), 0.5
    config = tapio.Config.default().replace(programs={"network": {
        "sampling_rate": rate, "sampling_key": "connection", "events": ["connect", "accept", "close"]}, "process": {"enabled": False}})
    with live.Helper("sockets.py") as helper, live.watching(helper, config=config) as collector:
        helper.call("dial_many", host="127.0.0.1", n=n, timeout=120)
        rows = live.everything(collector)["network"]
        live.adds_up(collector)
    assert (rows["weight"] == 2).all()
    ends: dict[tuple[int, int, int], list[int]] = {}
    for row in rows:
        ends.setdefault((int(row["source_port"]), int(row["dest_port"]), int(row["cookie"])), []).append(int(row["subtype"]))
    assert {tuple(sorted(kinds)) for kinds in ends.values()} == {(0, 2), (1, 2)}
    assert abs(len(ends) - 2 * n * rate) <= SIGMAS * math.sqrt(2 * n * rate * (1 - rate))


def test_a_change_of_rate_leaves_the_fate_of_those_who_were_there() -> None:
    """All processes of the generator began before the first change."""
    source = live.Generator(cpus=(0,), count=64 * PIDS, rate=200_000)
    config = live.roomy(programs={"process": {"sampling_rate": 0.5, "sampling_key": "process"}})
    with tapio.Collector(config, source=source) as collector:
        collector.fileno()
        source.go()
        for i in range(40):
            source.set_rate("cpu.usage", (0.1, 0.9, 0.01, 1.0)[i % 4])
            live.read_until(collector, lambda _: True, 1)
        source.wait(30)
        live.drain(collector)
        stats = live.adds_up(collector)
    kept = stats.by_kind["cpu.usage"]["submitted"]
    assert kept % 64 == 0       # whole processes, each of 64 records
    assert abs(kept / 64 - PIDS / 2) <= SIGMAS * math.sqrt(PIDS / 4)


def test_keys_older_than_what_is_remembered_are_told() -> None:
    """Nobody is before the 64th change of the rate, all are after it; then the oldest change that is remembered judges them."""
    source = live.Generator(cpus=(0,), count=2 * PIDS, rate=200_000)
    config = live.roomy(programs={"process": {"sampling_rate": 0.5, "sampling_key": "process"}})
    with tapio.Collector(config, source=source) as collector:
        collector.fileno()
        for i in range(62):
            source.set_rate("cpu.usage", 0.25 if i % 2 else 0.125)
        source.send("cpu.usage")
        assert not [line for line in collector.health().advice if "63 changes" in line]
        for i in range(62):
            source.set_rate("cpu.usage", 0.25 if i % 2 else 0.125)
        source.go()
        live.read_until(collector, lambda _: source.wait(0), 60)
        live.drain(collector)
        live.adds_up(collector)
        advice = [line for line in collector.health().advice if "63 changes" in line]
    assert len(advice) == 1 and advice[0].startswith(f"{2 * PIDS} records")


def test_who_begins_later_is_judged_by_the_rate_of_then(tier_size: Callable[[Any, Any], Any]) -> None:
    """Forty changes, children before, between and after; each kept record has the weight of the RATE row in force when its process began."""
    n = tier_size(40, 400)
    chances = [0.5, 0.1, 0.9, 0.25]
    config = tapio.Config.default().replace(programs={
        "process": {"sampling_rate": chances[0], "sampling_key": "process", "events": ["exit"]}, "network": {"enabled": False}})
    source = tapio.KernelSource(snapshot=False)
    with live.Helper("processes.py") as helper, tapio.Collector(
            config, filter=tapio.KernelFilter(descendants_of=[helper.pid]), source=source) as collector:
        collector.fileno()
        for i in range(40):
            if i:
                source.set_rate("process.exit", chances[i % 4])
            helper.call("forks_only", n=n)
        batch = live.everything(collector)
        live.adds_up(collector)
    exits = live.of_kind(batch, "process.exit")[0]
    changes = rates_of(batch, "process.exit")
    assert len(changes) == 40 and all(keyed for _, _, keyed in changes)
    since = np.array([ts for ts, _, _ in changes], np.uint64)
    value = np.array([kept for _, kept, _ in changes])
    place = np.searchsorted(since, exits["start_ns"], side="right") - 1     # -1: the first rate, which holds for who is older too
    assert np.allclose(exits["weight"], 2**32 / value[np.maximum(place, 0)])
    for chance in chances:
        mine = int(np.isclose(exits["weight"], 1 / chance, rtol=1e-6).sum())
        assert abs(mine - 10 * n * chance) <= SIGMAS * math.sqrt(10 * n * chance * (1 - chance)) + 0.05 * 10 * n    # born within the lead
