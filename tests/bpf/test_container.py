# SPDX-License-Identifier: Apache-2.0
"""Control groups made, emptied, removed and moved into, and namespaces entered: every field against what the process that did it says."""
from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import live_support as live
import numpy as np
import pytest

import tapio_fast as tapio
from tapio_fast import KernelFilter, RecordBatch
from tapio_fast.config import load

pytestmark = [pytest.mark.root, pytest.mark.live]

CGROUP_V1 = 1 << 6
NEWTIME, NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = (
    0x80, 0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000)
FLAG = {"mnt": NEWNS, "pid": NEWPID, "net": NEWNET, "user": NEWUSER, "ipc": NEWIPC, "uts": NEWUTS, "cgroup": NEWCGROUP, "time": NEWTIME}
UNSHARE, SETNS, CLONE, HOST_MOUNT = 24, 25, 26, 52      # enum tf_action
SETNS_NR = 308
CONFIG = load({"programs.process.enabled": False, "programs.network.enabled": False, "programs.memory.enabled": False,
               "programs.container.enabled": True}, env={}).config


@pytest.fixture
def helper() -> Iterator[live.Helper]:
    with live.Helper("containers.py") as helper:
        yield helper


def hierarchies() -> list[Path]:
    """Mount points of the hierarchies that records are about."""
    mounts = live._mounts()
    v1 = mounts.get("memory") or mounts.get("pids")
    return [where for where in (mounts.get(""), v1) if where]


def texts(batch: RecordBatch, places: np.ndarray, field: str) -> list[bytes]:
    """A text of some rows of the container domain."""
    return [bytes(batch.strings("container", field)[int(p)]) for p in places]


def nothing_else(batch: RecordBatch, **kinds: int) -> None:
    """Assert how many records of each container kind there are, and that there is no other."""
    found = {event.kind.removeprefix("container.") for event in batch.events() if event.kind.startswith("container.")}
    assert found == {kind for kind, n in kinds.items() if n}
    for kind, n in kinds.items():
        assert len(live.of_kind(batch, f"container.{kind}")[0]) == n, kind


def check_subject(row: Any, who: dict[str, Any], helper: live.Helper) -> None:
    cgroup, v1 = live.cgroup_of(helper.pid)
    assert (row["pid"], row["uid"], row["gid"], row["cgroup_id"]) == (who["pid"], 0, 0, cgroup)
    assert int(row["flags"]) == (CGROUP_V1 if v1 else 0)
    assert (row["weight"], row["errno"], row["inode"]) == (1.0, 0, 0)
    parent = os.getpid() if who["pid"] == helper.pid else helper.pid
    assert (row["tid"], row["ppid"], row["comm"]) == (who["pid"], parent, helper.facts["comm"].encode()[:15])
    if who["pid"] == helper.pid:
        assert row["start_ns"] // (1_000_000_000 // os.sysconf("SC_CLK_TCK")) == helper.facts["ticks"]


def check_spaces(row: Any, spaces: dict[str, int], *, children: bool = False) -> None:
    """children: pid and time are those of the process's children."""
    want = {name: spaces[f"{name}_for_children" if children and name in ("pid", "time") else name] for name in FLAG}
    assert {name: int(row["time_ns" if name == "time" else f"{name}_ns"]) for name in FLAG} == want


@pytest.mark.parametrize("where", hierarchies(), ids=lambda path: path.name)
def test_life_of_a_control_group(helper: live.Helper, where: Path) -> None:
    path = where / f"tapio_fast_test_{os.getpid()}_life"
    sleeper = helper.call("sleeper")
    spaces = helper.call("spaces")
    with live.watching(helper, config=CONFIG) as collector:
        made = helper.call("mkdir", path=str(path))
        helper.call("attach", path=str(path), pid=sleeper["pid"])
        helper.call("attach", path=str(where), pid=sleeper["pid"])
        helper.call("rmdir", path=str(path))
        batch = live.everything(collector)
        live.adds_up(collector)
    helper.call("end_sleeper", pid=sleeper["pid"])
    nothing_else(batch, create=1, attach=2, empty=1, destroy=1)
    for kind in ("create", "attach", "empty", "destroy"):
        rows, places = live.of_kind(batch, f"container.{kind}")
        assert int(rows[0]["object_id"]) == made["id"]
        assert texts(batch, places, "cgroup_path")[0] == f"/{path.name}".encode()
        check_subject(rows[0], helper.facts, helper)
        check_spaces(rows[0], spaces)
        assert rows[0]["target_pid"] == (sleeper["pid"] if kind == "attach" else 0)
        assert (rows[0]["ns_flags"], rows[0]["runtime"], rows[0]["action"]) == (0, 0, 0)
        assert texts(batch, places, "container_id")[0] == texts(batch, places, "path")[0] == b""
    rows, places = live.of_kind(batch, "container.attach")
    assert rows[1]["object_id"] == os.stat(where).st_ino and texts(batch, places, "cgroup_path")[1] == b"/"
    created = live.of_kind(batch, "container.create")[0][0]
    assert made["before"] <= created["ts_ns"] <= made["after"]


@pytest.mark.parametrize("where", hierarchies(), ids=lambda path: path.name)
def test_the_last_process_to_end_empties_its_group(helper: live.Helper, where: Path) -> None:
    path = where / f"tapio_fast_test_{os.getpid()}_last"
    path.mkdir()
    try:
        first, last = helper.call("sleeper"), helper.call("sleeper")
        for child in (first, last):
            helper.call("attach", path=str(path), pid=child["pid"])
        number = os.stat(path).st_ino
        with live.watching(helper, config=CONFIG) as collector:
            helper.call("end_sleeper", pid=first["pid"])
            helper.call("end_sleeper", pid=last["pid"])
            batch = live.everything(collector)
        nothing_else(batch, empty=1)
        row = live.of_kind(batch, "container.empty")[0][0]
        assert (row["pid"], row["object_id"]) == (last["pid"], number)
    finally:
        path.rmdir()


def test_other_hierarchies_are_left_out(helper: live.Helper) -> None:
    """A runtime makes one group per hierarchy: the others would repeat it."""
    others = {where for where in live._mounts().values() if where not in hierarchies()}
    if not others:
        pytest.skip("this machine has the unified hierarchy only: there are no others")
    with live.watching(helper, config=CONFIG) as collector:
        for where in others:
            path = where / f"tapio_fast_test_{os.getpid()}_other"
            helper.call("mkdir", path=str(path))
            helper.call("rmdir", path=str(path))
        batch = live.everything(collector)
        stats = live.adds_up(collector)
    nothing_else(batch)
    assert not any(cells["seen"] for kind, cells in stats.by_kind.items() if kind.startswith("container."))


def rows_of(batch: RecordBatch, pid: int) -> list[tuple[Any, bytes]]:
    """Namespace records of one process, each with its control group's path."""
    rows, places = live.of_kind(batch, "container.namespace")
    return [(row, path) for row, path in zip(rows, texts(batch, places, "cgroup_path"), strict=True) if row["pid"] == pid]


def cgroup_path(pid: int) -> bytes:
    """Path of the group that records of this process carry."""
    paths = {}
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        paths.update({name: path for name in controllers.split(",")})
    return next((paths[name] for name in ("", "memory", "pids") if paths.get(name, "/") != "/"), "/").encode()


def test_unshare(helper: live.Helper) -> None:
    plans = {**FLAG, "all": sum(FLAG.values())}
    with live.watching(helper, config=CONFIG) as collector:
        children = {name: helper.call("unshared", flags=flags) for name, flags in plans.items()}
        batch = live.everything(collector)
        live.adds_up(collector)
    nothing_else(batch, namespace=len(plans))
    for name, child in children.items():
        assert child["errno"] == 0
        (row, path), = rows_of(batch, child["pid"])
        assert (row["action"], row["ns_flags"], row["target_pid"]) == (UNSHARE, plans[name], 0)
        check_subject(row, child, helper)
        check_spaces(row, child["after"], children=True)
        assert path == cgroup_path(helper.pid) and row["object_id"] == row["cgroup_id"]


def test_setns_by_file(helper: live.Helper) -> None:
    """Back to where it came from: two changes, by two calls. Out of a mount namespace of one's own into the host's is an escape, too."""
    names = [name for name in FLAG if name not in ("user", "pid")]      # a pid namespace above one's own cannot be joined
    with live.watching(helper, config=CONFIG) as collector:
        children = {name: helper.call("back_and_forth", path=f"/proc/{helper.pid}/ns/{name}", flags=FLAG[name], kinds=FLAG[name])
                    for name in names}
        batch = live.everything(collector)
        live.adds_up(collector)
    nothing_else(batch, namespace=2 * len(names), escape=1)
    for name, child in children.items():
        assert child["errno"] == 0
        (away, _), (back, _) = rows_of(batch, child["pid"])
        assert (away["action"], away["ns_flags"], back["action"], back["ns_flags"]) == (UNSHARE, FLAG[name], SETNS, FLAG[name])
        check_spaces(back, child["before"], children=True)
        assert back["target_pid"] == 0
    assert live.of_kind(batch, "container.escape")[0][0]["pid"] == children["mnt"]["pid"]


def test_setns_by_pidfd_names_the_process(helper: live.Helper) -> None:
    with live.Helper("containers.py") as other:
        target = other.call("cloned_and_kept", flags=NEWUTS | NEWIPC)
        with live.watching(helper, config=CONFIG) as collector:
            child = helper.call("joined", path=str(target["pid"]), kinds=NEWUTS | NEWIPC)
            batch = live.everything(collector)
        other.call("end_sleeper", pid=target["pid"])
    assert child["errno"] == 0
    nothing_else(batch, namespace=1)
    (row, _), = rows_of(batch, child["pid"])
    assert (row["action"], row["ns_flags"], row["target_pid"]) == (SETNS, NEWUTS | NEWIPC, target["pid"])
    check_spaces(row, child["after"])
    assert (row["uts_ns"], row["ipc_ns"]) == (target["spaces"]["uts"], target["spaces"]["ipc"])


def test_what_changes_nothing_is_no_record(helper: live.Helper) -> None:
    """unshare(CLONE_FILES), joining one's own namespace, and a call that fails."""
    with live.watching(helper, config=CONFIG) as collector:
        assert helper.call("unshared", flags=0x400)["errno"] == 0
        assert helper.call("joined", path=f"/proc/{helper.pid}/ns/uts", kinds=NEWUTS)["errno"] == 0
        assert helper.call("joined", path=f"/proc/{helper.pid}/ns/uts", kinds=NEWNET)["errno"] != 0
        batch = live.everything(collector)
        live.adds_up(collector)
    nothing_else(batch)


def test_clone(helper: live.Helper) -> None:
    names = [name for name in FLAG if name != "time"]       # by clone3 only
    with live.watching(helper, config=CONFIG) as collector:
        children = {name: helper.call("cloned", flags=FLAG[name]) for name in names}
        batch = live.everything(collector)
        live.adds_up(collector)
    nothing_else(batch, namespace=len(names))
    for name, child in children.items():
        (row, path), = rows_of(batch, child["pid"])
        check_subject(row, child, helper)
        check_spaces(row, child["spaces"])
        assert (row["action"], row["ns_flags"], row["target_pid"], row["ppid"]) == (CLONE, FLAG[name], child["pid"], helper.pid)
        assert path == cgroup_path(helper.pid)


@pytest.mark.parametrize("depth", [1, 80])
def test_the_hosts_root_is_known_however_deep(helper: live.Helper, tmp_path: Path, depth: int) -> None:
    """Bound, and by each call that copies a tree of mounts."""
    with live.watching(helper, config=CONFIG, filter=KernelFilter(descendants_of=[helper.pid], kinds=["container.escape"])) as collector:
        child = helper.call("shown_from_below", depth=depth, folder=str(tmp_path))
        batch = live.everything(collector)
        live.adds_up(collector)
    done = [name for name, error in child["errors"].items() if error != errno.ENOSYS]     # open_tree_attr: 6.15
    assert {"mount", "open_tree"} <= set(done) and not any(child["errors"][name] for name in done)
    rows, _ = live.of_kind(batch, "container.escape")
    assert [(row["pid"], row["action"], row["inode"]) for row in rows] == [(child["pid"], HOST_MOUNT, os.stat("/").st_ino)] * len(done)


def test_a_collector_far_below_the_first_process_knows_the_host() -> None:
    """Its own place in the tree of processes is no matter: it must still tell a container from the host."""
    code = """
import os, sys
for _ in range(80):
    if child := os.fork():
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
sys.path.insert(0, "tests")
import live_support as live
import tapio_fast as tapio
from tapio_fast.config import load
config = load({"programs.process.enabled": False, "programs.network.enabled": False, "programs.memory.enabled": False,
               "programs.container.enabled": True, "programs.container.events": ["escape"]}, env={}).config
with live.Helper("containers.py") as helper, live.watching(helper, config=config) as collector:
    helper.call("back_and_forth", path=f"/proc/{helper.pid}/ns/mnt", flags=0x20000, kinds=0x20000)
    batch = live.everything(collector)
sys.exit(0 if len(batch["container"]) == 1 else f"{len(batch['container'])} rows")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of x86-64")
def test_a_call_whose_beginning_was_not_seen_is_counted(helper: live.Helper) -> None:
    """What it changed is not known: setns is lost to both of its kinds."""
    with live.watching(helper, config=CONFIG) as collector:
        assert helper.call("call_without_entry", nr=SETNS_NR)["status"] == 0
        batch = live.everything(collector)
        stats = live.adds_up(collector)
    nothing_else(batch)
    assert {kind: stats.by_kind[f"container.{kind}"]["k_map_full"] for kind in ("namespace", "escape")} == {"namespace": 1, "escape": 1}


def test_a_domain_of_its_own_attaches_nothing_else(helper: live.Helper) -> None:
    """One kind wanted: its programs, and no system call is looked at for it."""
    config = load({"programs.process.enabled": False, "programs.network.enabled": False, "programs.memory.enabled": False,
                   "programs.container.enabled": True, "programs.container.events": ["create"]}, env={}).config
    source = tapio.KernelSource(snapshot=False)
    with tapio.Collector(config, filter=KernelFilter(pids=[helper.pid]), source=source):
        attached = {p["name"] for p in source.programs() if p["state"] == "attached"}
    assert attached == {"tf_container_mkdir"}
