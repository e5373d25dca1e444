# SPDX-License-Identifier: Apache-2.0
"""Control groups that rows name are told as facts: a filter on the container's id finds what ran in it, live and in a replay."""
from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import live_support as live
import pytest

import tapio_fast as tapio
from tapio_fast import schema
from tapio_fast.filtering import EventFilter

pytestmark = [pytest.mark.root, pytest.mark.live]

ID = "0123456789abcdef" * 4
FACT_CGROUP = schema.KIND_BY_NAME["meta.fact_cgroup"].subtype
CGROUP_V1, DOCKER = 1 << 6, 2


@contextlib.contextmanager
def container() -> Iterator[Path]:
    """A control group of a name that docker gives."""
    with live.own_cgroup("facts") as parent:
        inner = parent / f"docker-{ID}.scope"
        inner.mkdir()
        try:
            yield inner
        finally:
            live.wait_for(lambda: not (inner / "cgroup.procs").read_text(), 10)
            inner.rmdir()


def names(batches: list[tapio.RecordBatch]) -> set[tuple[int, int, int]]:
    """What names the records of processes: cpu, lane (by kind), seq."""
    return {(int(row["cpu"]), int(row["subtype"]), int(row["seq"])) for batch in batches for row in batch["process"]}


def facts_of(batches: list[tapio.RecordBatch], cgroup: int) -> list[tuple[bytes, bytes, int, int]]:
    """(path, container id, runtime, flags) of the facts about a control group."""
    found = []
    for batch in batches:
        paths, ids = batch.strings("meta", "path"), batch.strings("meta", "path2")
        for i, row in enumerate(batch["meta"]):
            if row["subtype"] == FACT_CGROUP and row["object_id"] == cgroup:
                found.append((paths[i], ids[i], int(row["value"]), int(row["flags"])))
    return found


def test_a_containers_id_is_known_live_and_in_a_replay(tmp_path: Path) -> None:
    config = tapio.Config.default().replace(dual_path={"enabled": True, "raw_storage_path": str(tmp_path / "store")})
    wanted = f'container_id == "{ID}"'
    with container() as path, live.Helper("containers.py") as outside, live.Helper("containers.py", cgroup=path) as inside:
        cgroup, v1 = live.cgroup_of(inside.pid)
        filter = tapio.KernelFilter(descendants_of=[outside.pid, inside.pid])
        with tapio.Collector(config, filter=filter, source=tapio.KernelSource(snapshot=False)) as collector:
            collector.fileno()
            pids = [helper.call("run", argv=["/bin/true"])["pid"] for helper in (outside, inside, inside)]
            batches = live.drain(collector)
            assert collector.stats().differences() == {}
    found = facts_of(batches, cgroup)
    shown = "/" + str(path.relative_to(live._mounts()["memory" if v1 else ""]))
    assert found == [(os.fsencode(shown), ID.encode(), DOCKER, CGROUP_V1 if v1 else 0)]     # told once
    by_live = EventFilter(wanted)
    kept = [batch.filter(by_live) for batch in batches]
    execs = {int(pid) for batch in kept for pid in live.of_kind(batch, "process.exec")[0]["pid"]}
    assert execs == set(pids[1:]) and names(kept) < names(batches)
    store = tapio.RawStore(str(tmp_path / "store"))
    assert names(list(store.scan(filter=wanted))) == names(kept)
    with tapio.Collector(source=store.replay()) as collector:
        again = EventFilter(wanted)
        replayed = [batch.filter(again) for batch in collector.batches(timeout=live.LIMIT)]
    assert names(replayed) == names(kept)


def test_a_collection_can_be_of_a_container() -> None:
    with container() as path, live.Helper("containers.py") as outside, live.Helper("containers.py", cgroup=path) as inside:
        cgroup, _ = live.cgroup_of(inside.pid)
        with tapio.Collector(filter=f'type == process and container_id == "{ID}"', source=tapio.KernelSource(snapshot=False)) as collector:
            collector.fileno()
            pids = [helper.call("run", argv=["/bin/true"])["pid"] for helper in (outside, inside)]
            batch = live.everything(collector)
            stats = collector.stats()
            assert stats.differences() == {} and stats.ledger["u_filtered"] > 0
    rows = batch["process"]
    assert {int(pid) for pid in live.of_kind(batch, "process.exec")[0]["pid"]} == {pids[1]}
    assert {int(c) for c in rows["cgroup_id"]} == {cgroup}

