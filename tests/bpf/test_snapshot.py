# SPDX-License-Identifier: Apache-2.0
"""The snapshot at start: what ran before the collector, processes with their texts and sockets with both ends."""
from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import live_support as live
import numpy as np
import pytest

import tapio_fast as tapio
from tapio_fast import schema

pytestmark = [pytest.mark.root, pytest.mark.live]

HZ = os.sysconf("SC_CLK_TCK")
HEADER = 80


def snapshot(collector: tapio.Collector, done: Any) -> tapio.RecordBatch:
    """Read until `done` finds what it looks for in the meta rows; then everything."""
    found = live.read_until(collector, lambda got: bool(got) and done(tapio.RecordBatch.concat(got)))
    return live.together([*found, *live.drain(collector)])


def test_processes_that_were_there(triggers: Path) -> None:
    plans = [["plain"], ["with", "", "empty ones", ""], ["\xff\xfe"], ["x" * 5000]]
    with live.Helper("processes.py") as helper:
        facts = [helper.call("start_program", exe=str(triggers / "t_life"), argv=argv, cwd=str(triggers), uid=1234, gid=4321)
                 for argv in plans]
        pids = [f["pid"] for f in facts]

        def all_there(batch: tapio.RecordBatch) -> bool:
            return set(pids) <= set(live.of_kind(batch, "meta.snapshot_process")[0]["pid"].tolist())

        with live.watching(helper, snapshot=True) as collector:
            batch = snapshot(collector, all_there)
            live.adds_up(collector)
        for fact in facts:
            helper.call("end_program", pid=fact["pid"])
    rows, places = live.of_kind(batch, "meta.snapshot_process")
    texts = {f: batch.strings("meta", f) for f in ("path", "path2", "data")}
    for fact, argv in zip(facts, plans, strict=True):
        mine = np.flatnonzero(rows["pid"] == fact["pid"])
        assert len(mine) == 1, "each process once"
        row, at = rows[mine[0]], int(places[mine[0]])
        true = b"\0".join(a.encode("latin-1") for a in argv)
        expected = {"tid": fact["pid"], "ppid": helper.pid, "uid": 1234, "gid": 4321, "comm": b"t_life",
                    "cgroup_id": live.cgroup_of()[0]}
        assert {name: row[name] for name in expected} == expected
        assert row["start_ns"] // (1_000_000_000 // HZ) == fact["ticks"]
        assert row["parent_start_ns"] // (1_000_000_000 // HZ) == helper.facts["ticks"]
        assert texts["path"][at] == os.fsencode(triggers / "t_life")
        assert texts["path2"][at] == os.fsencode(triggers)
        assert texts["data"][at] == true[:4096]
        assert row["data"]["full_len"] == len(true)
        assert bool(row["flags"] & 1) == (len(true) > 4096)


def test_every_living_process_once(triggers: Path) -> None:
    """Against /proc: processes that live before and after must be there, each once. Not pid 1: some sandboxes hide theirs from BPF's
    iterators."""
    def alive() -> set[int]:
        """Not those that have ended and wait for their parents."""
        found = set()
        for pid in (int(p) for p in os.listdir("/proc") if p.isdigit() and p != "1"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2][:1] not in b"ZX":
                    found.add(pid)
        return found

    before = alive()
    with live.Helper("processes.py") as helper, live.watching(helper, snapshot=True) as collector:
        def enough(batch: tapio.RecordBatch) -> bool:
            return before & alive() <= set(live.of_kind(batch, "meta.snapshot_process")[0]["pid"].tolist())
        batch = snapshot(collector, enough)
        stats = live.adds_up(collector)
    pids = live.of_kind(batch, "meta.snapshot_process")[0]["pid"].tolist()
    assert len(pids) == len(set(pids))
    assert stats.by_kind["meta.snapshot_process"]["routed"] == len(pids)
    assert stats.events_dropped == 0


def test_sockets_that_were_there_and_their_later_records() -> None:
    with live.Helper("sockets.py") as helper:
        kept = helper.call("keep_open", host="127.0.0.1")
        pairs = {(kept["listening"][1], 0), *((kept[end]["sock"][1], kept[end]["peer"][1]) for end in ("client", "server"))}
        network = schema.DTYPES["network"]

        def sockets(batch: tapio.RecordBatch) -> tuple[np.ndarray, np.ndarray]:
            rows, places = live.of_kind(batch, "meta.snapshot_socket")
            data = batch.strings("meta", "data")
            whole = b"".join(b"\0" * HEADER + data[int(p)] for p in places)
            return rows, np.frombuffer(whole, network)

        def all_there(batch: tapio.RecordBatch) -> bool:
            found = sockets(batch)[1]
            return pairs <= set(zip(found["source_port"].tolist(), found["dest_port"].tolist(), strict=True))

        with live.watching(helper, snapshot=True, netns=helper.facts["netns"]) as collector:
            first = live.read_until(collector, lambda got: bool(got) and all_there(tapio.RecordBatch.concat(got)))
            helper.call("close_kept")
            batch = live.together([*first, *live.drain(collector)])
    rows, found = sockets(batch)
    assert len(found) == len(pairs)
    assert set(rows["pid"].tolist()) == {helper.pid}
    assert set(found["netns"].tolist()) == {helper.facts["netns"]}
    states = dict(zip(zip(found["source_port"].tolist(), found["dest_port"].tolist(), strict=True), found["state"].tolist(), strict=True))
    assert states.pop((kept["listening"][1], 0)) == 10      # LISTEN
    assert set(states.values()) == {1}
    sent = found[found["source_port"] == kept["client"]["sock"][1]]
    assert sent["bytes_sent"].tolist() == [1000]
    closes, _ = live.of_kind(batch, "network.close")
    assert closes["pid"].tolist() == [helper.pid] * 2
    assert set(closes["cookie"].tolist()) <= set(rows["object_id"].tolist())


def test_without_a_snapshot_there_is_none(triggers: Path) -> None:
    with live.Helper("processes.py") as helper, live.watching(helper) as collector:
        helper.call("child", exe=str(triggers / "t_life"), argv=["a", "exit", "0"])
        batch = live.everything(collector)
    assert len(batch["process"]) >= 3
    for kind in ("snapshot_process", "snapshot_socket"):
        assert len(live.of_kind(batch, f"meta.{kind}")[0]) == 0
