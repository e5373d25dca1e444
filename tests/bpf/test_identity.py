# SPDX-License-Identifier: Apache-2.0
"""setuid, setgid and capset records: every call of the family, as root and as a plain user, in threads; against /proc of the thread."""
from __future__ import annotations

import os
from typing import Any

import live_support as live
import numpy as np
import pytest

import tapio_fast as tapio

pytestmark = [pytest.mark.root, pytest.mark.live]

HZ = os.sysconf("SC_CLK_TCK")
CGROUP_V1 = 1 << 6
KINDS = ("setuid", "setgid", "capset")
CONFIG = tapio.Config.default().replace(programs={"process": {"events": list(KINDS)}, "network": {"enabled": False},
                                                  "memory": {"enabled": False}})
REAL, EFFECTIVE, SAVED, FS = range(4)


def kind_of(call: str) -> str:
    """The subtype that a call belongs to."""
    return "capset" if call == "capset" else "setuid" if "uid" in call else "setgid"


def changed(fact: dict[str, Any]) -> bool:
    """Whether a record is due: the call did what it was asked for."""
    if fact["call"] in ("setfsuid", "setfsgid"):
        which = fact["call"][5:]
        return bool(fact["before"][which][FS] != fact["after"][which][FS])
    return bool(fact["result"] == 0)


def expected(done: dict[str, Any], fact: dict[str, Any], helper: live.Helper) -> dict[str, Any]:
    """Every field of the record of one call, but the times."""
    which = FS if fact["call"].startswith("setfs") else EFFECTIVE
    before, after = fact["before"], fact["after"]
    cgroup, v1 = live.cgroup_of()      # the helper was born here
    fields = {"pid": done["pid"], "tid": fact["tid"], "ppid": helper.pid, "cgroup_id": cgroup, "flags": CGROUP_V1 if v1 else 0,
              "uid": after["uid"][REAL], "gid": after["gid"][REAL], "old_uid": before["uid"][which], "new_uid": after["uid"][which],
              "old_gid": before["gid"][which], "new_gid": after["gid"][which], "old_caps": before["caps"], "new_caps": after["caps"],
              "type": 4, "subtype": tapio.ProcessEventType[kind_of(fact["call"]).upper()].value, "weight": 1.0, "exit_code": 0,
              "signal": 0, "target_pid": 0, "duration_ns": 0, "exe_inode": 0, "exe_device": 0}
    return fields


def collect(plan: list[list[Any]], threads: list[list[list[Any]]] | None = None) -> tuple[dict[str, Any], np.ndarray, live.Helper]:
    with live.Helper("identity.py") as helper, live.watching(helper, config=CONFIG) as collector:
        done = helper.call("change", plan=plan, threads=threads)
        batch = live.everything(collector)
        live.adds_up(collector)
    assert set(batch.domains) <= {"process", "meta"}
    return done, batch["process"], helper


def compare(done: dict[str, Any], rows: np.ndarray, helper: live.Helper) -> list[str]:
    """Each call that did something has its record, in order, and there is no other; the calls."""
    due = [fact for fact in done["facts"] if changed(fact)]
    assert len(rows) == len(due)
    for row, fact in zip(rows, due, strict=True):
        true = expected(done, fact, helper)
        assert {name: row[name] for name in true} == true
        assert fact["begun"] <= row["ts_ns"] <= fact["ended"]
        assert row["start_ns"] // (1_000_000_000 // HZ) == done["ticks"]
        assert row["parent_start_ns"] // (1_000_000_000 // HZ) == helper.facts["ticks"]
        assert row["comm"] == helper.facts["comm"].encode()[:15]
    return [fact["call"] for fact in due]


def test_every_call_as_root() -> None:
    """Every one succeeds; what it changes is up to its arguments (-1: nothing)."""
    plan: list[list[Any]] = [
        ["setgroups", 7, 8, 9], ["setgroups"], ["setgid", 50], ["setregid", 51, 52], ["setresgid", 53, 54, 55], ["setresgid", -1, -1, -1],
        ["setfsgid", 56], ["setfsuid", 57], ["setresuid", -1, 1234, -1], ["setresuid", -1, 0, -1], ["setreuid", 60, 0],
        ["capset", 0xFF, 0x1FF], ["capset", 0x0, 0x1FF], ["capset", 0x1C3, 0x1FF], ["setresuid", 61, 62, 63], ["setreuid", 62, 61],
        ["setuid", 62],
    ]
    done, rows, helper = collect(plan)
    assert {f["errno"] for f in done["facts"]} == {0}
    assert compare(done, rows, helper) == [call for call, *_ in plan]
    assert done["left"]["uid"] == [62, 62, 61, 62] and done["left"]["gid"][:3] == [53, 54, 55]


def test_a_plain_user_is_refused_and_what_it_may_is_recorded() -> None:
    plan: list[list[Any]] = [["setresgid", 70, 70, 71], ["setresuid", 80, 80, 81]]
    refused: list[list[Any]] = [["setuid", 0], ["setgid", 0], ["setreuid", 0, 0], ["setregid", -1, 5], ["setresuid", 0, 0, 0],
                                ["setresgid", 1, 1, 1],
                                ["setgroups", 1], ["capset", 1 << 21, 1 << 21], ["setfsuid", 0], ["setfsgid", 0]]
    allowed: list[list[Any]] = [["setresuid", -1, 81, -1], ["setreuid", -1, 80], ["setfsuid", 81], ["setfsgid", 71], ["setregid", 70, 71],
                                ["setuid", 80], ["capset", 0, 0]]
    done, rows, helper = collect(plan + refused + allowed)
    by_call = {tuple(map(str, (f["call"], *f["args"]))): f for f in done["facts"]}
    for call in refused:
        fact = by_call[tuple(map(str, call))]
        assert fact["before"] == fact["after"]
        assert fact["errno"] == (0 if call[0].startswith("setfs") else 1)
    assert compare(done, rows, helper) == [call for call, *_ in plan + allowed]


def test_credentials_are_of_the_thread() -> None:
    done, rows, helper = collect([["setresgid", 5, 5, 5]], [[["setresuid", -1, 900, -1]], [["setresuid", 901, 902, 903], ["setuid", 901]]])
    tids = {f["tid"] for f in done["facts"]}
    assert len(tids) == 3 and done["left"]["uid"] == [0, 0, 0, 0], "the others keep theirs"
    assert compare(done, rows, helper) == ["setresgid", "setresuid", "setresuid", "setuid"]
    assert set(rows["tid"].tolist()) == tids


def test_many_are_all_there() -> None:
    with live.Helper("identity.py") as helper, live.watching(helper, config=CONFIG) as collector:
        pid = helper.call("storm", n=2000)
        rows = live.everything(collector)["process"]
        stats = live.adds_up(collector)
    assert (rows["pid"] == pid).all()
    assert rows["new_uid"].tolist() == [1234, 0] * 2000 and rows["old_uid"].tolist() == [0, 1234] * 2000
    assert stats.by_kind["process.setuid"]["submitted"] == 4000 and stats.events_dropped == 0


@pytest.mark.parametrize("wanted", KINDS)
def test_one_alone(wanted: str) -> None:
    config = CONFIG.replace(programs={"process": {"events": [wanted]}})
    plan: list[list[Any]] = [["setgid", 50], ["capset", 0x1FF, 0x1FF], ["setuid", 60]]
    with live.Helper("identity.py") as helper, live.watching(helper, config=config) as collector:
        helper.call("change", plan=plan)
        state = {p["name"]: p["state"] for p in collector._source.programs()}
        batch = live.everything(collector)
        stats = live.adds_up(collector)
    assert len(batch["process"]) == len(live.of_kind(batch, f"process.{wanted}")[0]) == 1
    assert {name for name in KINDS if state[f"tf_process_{name}"] == "attached"} == {wanted}
    assert state["tf_sys_exit"] == state["tf_sys_enter"] == "attached"
    assert all(stats.by_kind.get(f"process.{k}", {}).get("seen", 0) == (k == wanted) for k in KINDS)
