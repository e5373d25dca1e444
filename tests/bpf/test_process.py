# SPDX-License-Identifier: Apache-2.0
"""1,000 children with distinct argv, all 256 exit codes and every fatal signal: each found exactly once, every field right.

The truth is what the helper process that forked them saw: pids, /proc, wait status and the clock around each child.
"""
from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import live_support as live
import numpy as np
import pytest

from tapio_fast import Config, KernelFilter, RecordBatch, Statistics

pytestmark = [pytest.mark.root, pytest.mark.live]

HZ = os.sysconf("SC_CLK_TCK")
# what does not end a process by default: CHLD CONT STOP TSTP TTIN TTOU URG WINCH
FATAL = [s for s in range(1, 65) if s not in (17, 18, 19, 20, 21, 22, 23, 28)]
USERS = [(0, 0), (1001, 1002), (65534, 65533), (4_000_000_000, 7)]
NAMES = ["t_life", "x", "fifteen-bytes--", "a name of more than 15 bytes", "b\xe4\xff"]
CGROUP_V1 = 1 << 6
CHILDREN = 1000 if live.SLOW == 1 else 320      # at least a child per exit code and fatal signal


class Run(NamedTuple):
    helper: dict[str, Any]
    cgroup: tuple[int, bool]
    plans: list[dict[str, Any]]
    facts: list[dict[str, Any]]
    batch: RecordBatch
    stats: Statistics
    rows: dict[str, dict[int, Any]]     # kind -> pid -> row
    places: dict[int, int]              # pid -> place of its exec in the process rows


def make_plans(folder: Path) -> list[dict[str, Any]]:
    """How each of them starts and ends."""
    cwds = [folder, folder / "d", folder / "d" / "white space\nand \xff"]
    cwds[2].mkdir(parents=True)
    for name in NAMES[1:]:
        shutil.copy(folder / "t_life", folder / name)
    plans = []
    for i in range(CHILDREN):
        end = ["kill", str(FATAL[i - 256])] if 256 <= i < 256 + len(FATAL) else ["exit", str(i % 256)]
        uid, gid = USERS[i % 4]
        exe = str(folder / NAMES[i % 5])
        plans.append({"exe": exe, "argv": [f"child-{i}", *end, "é" * (i % 40), str(i * i)], "uid": uid, "gid": gid,
                      "cwd": str(cwds[i % 3])})
    return plans


@pytest.fixture(scope="module")
def run(triggers: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """One collection of all of them."""
    folder = triggers / "thousand"
    folder.mkdir(mode=0o755)
    shutil.copy(triggers / "t_life", folder)
    with live.Helper("processes.py") as helper:
        plans = make_plans(folder)
        cgroup = live.cgroup_of(helper.pid)
        with live.watching(helper) as collector:
            facts = helper.call("children", timeout=120, plans=plans)
            batch = live.everything(collector)
            stats = live.adds_up(collector)
        rows: dict[str, dict[int, Any]] = {}
        for kind in ("fork", "exec", "exit"):
            found, places = live.of_kind(batch, f"process.{kind}")
            rows[kind] = {int(r["pid"]): r for r in found}
            assert len(found) == len(rows[kind]) == CHILDREN, f"{kind}: every process once"
            if kind == "exec":
                at = dict(zip(found["pid"].tolist(), places.tolist(), strict=True))
        yield Run(helper.facts, cgroup, plans, facts, batch, stats, rows, at)


def differs(row: Any, expected: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Fields of a row that are not as expected: name -> (found, expected)."""
    return {name: (row[name], value) for name, value in expected.items() if row[name] != value}


def common(run: Run, fact: dict[str, Any]) -> dict[str, Any]:
    """Fields that every record of this child must have."""
    cgroup, v1 = run.cgroup
    return {"pid": fact["pid"], "tid": fact["pid"], "ppid": run.helper["pid"], "cgroup_id": cgroup, "flags": CGROUP_V1 if v1 else 0,
            "weight": 1.0, "gen": run.rows["fork"][fact["pid"]]["gen"], "type": 4, "old_caps": 0, "new_caps": 0, "old_uid": 0, "old_gid": 0,
            "new_uid": 0, "new_gid": 0}


def test_each_child_has_a_fork_an_exec_and_an_exit(run: Run) -> None:
    pids = {f["pid"] for f in run.facts}
    assert len(pids) == CHILDREN
    for kind in ("fork", "exec", "exit"):
        assert set(run.rows[kind]) == pids, kind
    assert {os.waitstatus_to_exitcode(f["status"]) for f in run.facts} == {*range(256), *(-s for s in FATAL)}


def test_nothing_was_lost_and_the_ledger_adds_up(run: Run) -> None:
    assert run.stats.events_dropped == 0
    for kind in ("fork", "exec", "exit"):
        cells = run.stats.by_kind[f"process.{kind}"]
        assert cells["routed"] == cells["submitted"] == CHILDREN
    assert run.stats.recursion_misses == 0


def test_fork_fields(run: Run) -> None:
    for fact in run.facts:
        row = run.rows["fork"][fact["pid"]]
        assert not differs(row, {**common(run, fact), "subtype": 2, "uid": 0, "gid": 0, "target_pid": fact["pid"], "exit_code": 0,
                                 "signal": 0, "duration_ns": 0, "comm": run.helper["comm"].encode("latin-1"), "exe_inode": 0, "exe_device": 0})
        assert row["start_ns"] // (1_000_000_000 // HZ) == fact["ticks"]
        assert fact["before"] <= row["start_ns"] <= row["ts_ns"] <= fact["after"]


def test_exec_fields(run: Run) -> None:
    for fact, plan in zip(run.facts, run.plans, strict=True):
        row = run.rows["exec"][fact["pid"]]
        stat = os.stat(plan["exe"])
        name = os.path.basename(os.fsencode(plan["exe"]))[:15]
        device = os.major(stat.st_dev) << 20 | os.minor(stat.st_dev)
        assert not differs(row, {**common(run, fact), "subtype": 0, "uid": plan["uid"], "gid": plan["gid"], "target_pid": fact["pid"],
                                 "exe_inode": stat.st_ino, "exe_device": device, "comm": name, "exit_code": 0, "signal": 0, "duration_ns": 0,
                                 "start_ns": run.rows["fork"][fact["pid"]]["start_ns"]})


def test_exec_texts(run: Run) -> None:
    texts = {f: run.batch.strings("process", f) for f in ("exe", "cwd", "args")}
    for fact, plan in zip(run.facts, run.plans, strict=True):
        at, row = run.places[fact["pid"]], run.rows["exec"][fact["pid"]]
        wanted = {"exe": os.fsencode(plan["exe"]), "cwd": os.fsencode(plan["cwd"]),
                  "args": b"\0".join(a.encode("latin-1") for a in plan["argv"])}
        assert {f: texts[f][at] for f in texts} == wanted
        for field, text in wanted.items():
            assert row[field]["len"] == row[field]["full_len"] == len(text), field


def test_exit_fields(run: Run) -> None:
    for fact, plan in zip(run.facts, run.plans, strict=True):
        row = run.rows["exit"][fact["pid"]]
        code, signal = fact["status"] >> 8, fact["status"] & 0x7F
        name = os.path.basename(os.fsencode(plan["exe"]))[:15]
        assert not differs(row, {**common(run, fact), "subtype": 1, "uid": plan["uid"], "gid": plan["gid"], "exit_code": code,
                                 "signal": signal, "comm": name, "target_pid": 0, "exe_inode": 0, "exe_device": 0,
                                 "start_ns": run.rows["fork"][fact["pid"]]["start_ns"]})
        assert row["duration_ns"] == row["ts_ns"] - row["start_ns"]
        assert 0 < row["duration_ns"] <= fact["after"] - fact["before"]
        assert row["ts_ns"] <= fact["after"]


def test_parents_identity_is_the_helper(run: Run) -> None:
    starts = {int(r["parent_start_ns"]) for kind in run.rows.values() for r in kind.values()}
    assert len(starts) == 1
    assert starts.pop() // (1_000_000_000 // HZ) == run.helper["ticks"]


def test_order_of_a_life(run: Run) -> None:
    for fact in run.facts:
        fork, exec_, exit_ = (run.rows[kind][fact["pid"]]["ts_ns"] for kind in ("fork", "exec", "exit"))
        assert fact["before"] <= fork < exec_ < exit_ <= fact["after"]


def test_signals_that_killed_were_sent_by_the_child_itself(run: Run) -> None:
    rows, _ = live.of_kind(run.batch, "process.signal")
    for fact in run.facts[256:256 + len(FATAL)]:
        number = fact["status"] & 0x7F
        mine = rows[(rows["pid"] == fact["pid"]) & (rows["signal"] == number)]
        assert len(mine) == 1, number
        assert mine["target_pid"][0] == fact["pid"]
        assert not int(mine["flags"][0]) & ~CGROUP_V1


def test_sequence_has_no_gap(run: Run) -> None:
    rows = run.batch["process"]
    online = os.sched_getaffinity(0)
    assert set(rows["cpu"].tolist()) <= online
    bulk = np.isin(rows["subtype"], (3, 6))         # signal, rename
    for cpu in online:
        for lane in (bulk, ~bulk):
            seq = np.sort(rows["seq"][(rows["cpu"] == cpu) & lane])
            assert seq.tolist() == list(range(1, len(seq) + 1))


def test_severity_of_a_killed_child_is_at_least_warning(run: Run) -> None:
    severity = run.batch.severity("process")
    rows = run.batch["process"]
    exits = rows["subtype"] == 1
    assert (severity[exits & (rows["signal"] != 0)] == 3).all()
    assert (severity[exits & (rows["signal"] == 0)] == 2).all()


@pytest.mark.parametrize("wanted", ["cgroup", "pid"])
def test_by_cgroup_and_by_pid_the_same_is_found(triggers: Path, wanted: str) -> None:
    """Not by descendants: a cgroup of the test's own, and the pids of a helper."""
    with live.own_cgroup(wanted) as cgroup, live.Helper("processes.py", cgroup=cgroup) as helper:
        number, v1 = live.cgroup_of(helper.pid)
        assert number == cgroup.stat().st_ino
        rule = KernelFilter(cgroups=[number]) if wanted == "cgroup" else KernelFilter(pids=[helper.pid])
        config = Config.default().replace(programs={"process": {"args_max_bytes": 16}})
        with live.watching(helper, filter=rule, config=config) as collector:
            fact = helper.call("child", exe=str(triggers / "t_life"), argv=["exactly-16-bytes", "exit", "0"])
            batch = live.everything(collector)
        rows = batch["process"]
        if wanted == "pid":     # the helper itself has no record of these kinds: forks belong to the child
            assert set(rows["pid"].tolist()) <= {helper.pid}
            return
        assert (rows["cgroup_id"] == number).all()
        assert (rows["flags"] & CGROUP_V1 == (CGROUP_V1 if v1 else 0)).all()
        mine = rows[rows["pid"] == fact["pid"]]
        assert sorted(mine["subtype"].tolist()) == [0, 1, 2]
        assert batch.strings("process", "args")[int(np.flatnonzero(rows["subtype"] == 0)[0])] == b"exactly-16-bytes"
