# SPDX-License-Identifier: Apache-2.0
"""Families of hooks that not every kernel takes: fentry, LSM programs, kprobes; each alone beside the tracepoints, and tracepoints
alone. In each the right variant is attached, no other, and it fires: the records say what only that hook can know.

Kernels that refuse a family skip its tests with the kernel's reason, unless TAPIO_FAST_REQUIRE names `hooks`: Debian's 6.1 in tests/vm
takes them all. One collector a family: opening one takes seconds there. The truth is what the children did and what stat(2) and wait4 say.
"""
from __future__ import annotations

import contextlib
import functools
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import file_support
import live_support as live
import numpy as np
import pytest
from file_support import AT_FDCWD, CLAIMED, Plan, latin

import support
from tapio_fast import Collector, Config, KernelFilter, KernelSource, RecordBatch
from tapio_fast.types import SecurityAction as A

pytestmark = [pytest.mark.root, pytest.mark.live, pytest.mark.hooks,
              pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of x86-64")]

USER, NET_RAW, EPERM = 1000, 13, 1
SUFFIX = {"fentry": "", "lsm": "_lsm", "kprobe": "_k"}
NOTED = ("unlink", "rmdir", "mkdir", "symlink", "link", "rename", "chmod", "chown", "truncate")
KINDS = tuple({"unlink": "delete"}.get(name, name) for name in NOTED)
SIZES = [1, 1000, 33]
MIB = 1 << 20
MODULE = os.environ.get("TAPIO_FAST_MODULE", "")        # a module that may be removed and loaded again: tests/vm


class Seen(NamedTuple):
    """What came of one family: states of the programs, what was done, the records, who the helpers are."""

    programs: dict[str, dict[str, Any]]
    told: dict[str, Any]
    batch: RecordBatch
    who: dict[str, dict[str, Any]]
    place: Path

    def attached(self, *prefixes: str) -> set[str]:
        return {name for name, p in self.programs.items() if p["state"] == "attached" and name.startswith(prefixes)}

    def need(self, *names: str) -> None:
        """Skip, or fail, where the kernel refuses one of these programs."""
        for name in names:
            if self.programs[name]["state"] != "attached":
                support.lacking("hooks", f"{name}: {self.programs[name]['reason']}")

    def security(self, subtype: str, pid: int) -> list[dict[str, Any]]:
        """Rows of one process, with their path, in order of time."""
        rows, places = live.of_kind(self.batch, f"security.{subtype}")
        path = self.batch.strings("security", "path")
        order = rows["ts_ns"].argsort(kind="stable")
        names = rows.dtype.names or ()
        return [{**{n: rows[n][i].tolist() for n in names if n != "path"}, "path": os.fsdecode(path[places[i]])}
                for i in order if rows["pid"][i] == pid]


def config() -> Config:
    """What has variants by family, and nothing else."""
    off: dict[str, Any] = {"enabled": False}
    return Config.default().replace(programs={
        "file": {"enabled": True, "events": KINDS, "exclude_paths": []}, "process": off, "network": {"events": ["flow"]},
        "memory": {"events": ["page_fault"], "track_page_faults": True},
        "security": {"enabled": True, "events": ["capability_denied", "privilege_escalation", "io_uring_op", "module_load"]}},
        performance={"map_entries_limit": 1000}, debug={"enabled": True, "profile_enabled": True})


def change_files(place: Path) -> Plan:
    """Every operation that security_path_* sees, by a path through a symbolic link: only the kernel knows where it ends."""
    real, link = place / "real", place / "link"
    stat = (real / "file").stat()
    plan, seen = Plan(), {"flags": CLAIMED, "noted": True, "inode": stat.st_ino}
    plan.do("mkdirat", AT_FDCWD, latin(link / "new"), 0o750).row("mkdir", real / "new", mode=0o750, flags=CLAIMED, noted=True)
    plan.do("symlinkat", "anywhere", AT_FDCWD, latin(link / "soft")).row("symlink", real / "soft", b"anywhere", flags=CLAIMED, noted=True)
    plan.do("linkat", AT_FDCWD, latin(link / "file"), AT_FDCWD, latin(link / "hard"), 0).row("link", real / "file", real / "hard", **seen)
    plan.do("renameat", AT_FDCWD, latin(link / "hard"), AT_FDCWD, latin(link / "moved")).row("rename", real / "hard", real / "moved", **seen)
    plan.do("fchmodat", AT_FDCWD, latin(link / "file"), 0o600).row("chmod", real / "file", mode=0o600, **seen)
    plan.do("fchownat", AT_FDCWD, latin(link / "file"), 7, 8, 0).row("chown", real / "file", new_uid=7, new_gid=8, **seen)
    plan.do("truncate", latin(link / "file"), 3).row("truncate", real / "file", size=3, **seen)
    plan.do("unlinkat", AT_FDCWD, latin(link / "moved"), 0).row("delete", real / "moved", **seen)
    return plan


def do_everything(place: Path, triggers: Path, helpers: dict[str, live.Helper]) -> dict[str, Any]:
    """Let each helper do its part."""
    secure = helpers["security"]
    plan = change_files(place)
    told: dict[str, Any] = {"plan": plan, "files": helpers["files"].call("calls", plan=plan.steps)}
    # asks for CAP_NET_RAW, and has the kernel ask itself for CAP_SYS_ADMIN (whether the process may overcommit)
    told["refused"] = secure.call("do", work="calls", uid=USER, steps=[[41, 2, 3, 1], [9, 0, MIB, 3, 0x22, -1, 0]])
    told["uring"] = secure.call("do", work="execute", path=str(triggers / "t_uring"), arguments=[str(place / "link/file")])
    if MODULE:
        name, image = Path(MODULE).stem, Path(MODULE).read_bytes()
        told["module"] = secure.call("do", work="calls", steps=[[176, name, 0x800], [175, {"buf": image.hex()}, len(image), ""],
                                                                [176, name, 0x800], [257, -100, MODULE, 0x80000], [313, {"step": 3}, "", 0]])
    told["udp"] = {host: helpers["datagrams"].call("udp_talk", host=host, connected=False, sizes=SIZES) for host in ("127.0.0.1", "::1")}
    told["faults"] = helpers["memory"].call("faults", pages=10, threads=1, path=str(place / "big"))
    return told


@functools.cache
def collected(family: str, triggers: Path) -> Seen:
    """Everything done once, with the hooks of one family beside the tracepoints."""
    place = Path(tempfile.mkdtemp(prefix="tf-hooks-"))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, place)
        (place / "real").mkdir()
        (place / "link").symlink_to("real")
        (place / "real/file").write_bytes(b"content")
        place.chmod(0o755)
        with open(place / "big", "wb") as f:
            f.write(os.urandom(MIB))
            os.fsync(f.fileno())
        helpers = {name: stack.enter_context(live.Helper(f"{name}.py")) for name in ("files", "security", "datagrams", "memory")}
        source = KernelSource(snapshot=False, hooks=("tracepoint", *([] if family == "tracepoint" else [family])))
        collector = stack.enter_context(Collector(config(), filter=KernelFilter(descendants_of=[h.pid for h in helpers.values()]), source=source))
        collector.fileno()
        inode = (place / "real/file").stat().st_ino
        told = {"inode": inode, **do_everything(place, triggers, helpers)}
        who = {name: {**h.facts, "cgroup": live.cgroup_of(h.pid)} for name, h in helpers.items()}
        programs = {p["name"]: p for p in source.programs(stats=True)}
        batch = live.everything(collector)
        live.adds_up(collector)
    return Seen(programs, told, batch, who, place)


@pytest.fixture(scope="module", autouse=True)
def forget() -> Iterator[None]:
    """Let go of the records when the module is done."""
    yield
    collected.cache_clear()


@pytest.mark.parametrize("family", ["fentry", "lsm", "kprobe"])
def test_paths_as_the_kernel_resolved_them(family: str, triggers: Path) -> None:
    seen = collected(family, triggers)
    names = {f"tf_note_{what}{SUFFIX[family]}" for what in NOTED}
    seen.need(*sorted(names))
    assert seen.attached("tf_note_") == names and all(seen.programs[name]["run_count"] > 0 for name in names if "rmdir" not in name)
    file_support.compare(seen.told["plan"], seen.told["files"], seen.who["files"], seen.batch, noted=set(KINDS), device=device(seen))
    rows = seen.batch["file"]
    assert len(rows) == 8 and [bool(f & CLAIMED) for f in rows["flags"][np.argsort(rows["ts_ns"])]] == [False, True, *[False] * 6]


def device(seen: Seen) -> int:
    """The temporary directory's; `place` is gone by now."""
    return file_support.device_of(seen.place.parent)


def test_without_any_family_paths_are_the_callers(triggers: Path) -> None:
    """The same calls: every hook is left alone, every path is what was written, and says so."""
    seen = collected("tracepoint", triggers)
    assert seen.attached("tf_note_") == set()
    plan = seen.told["plan"]
    for row in plan.rows:
        row.path, row.new_path = (text.replace(b"/real/", b"/link/") for text in (row.path, row.new_path))
    file_support.compare(plan, seen.told["files"], seen.who["files"], seen.batch)
    assert {p["reason"] for name, p in seen.programs.items() if name.startswith("tf_note_")} <= {
        f"hooks of this kind ({p['hook']}) are not to be used" for p in seen.programs.values()}


@pytest.mark.parametrize(("family", "names"), [("fentry", {"tf_security_capable_f"}), ("kprobe", {"tf_security_capable_k", "tf_security_capable_kr"})])
def test_refused_capabilities(family: str, names: set[str], triggers: Path) -> None:
    """What the program asked for, once, and nothing of what the kernel asked on its own account."""
    seen = collected(family, triggers)
    if seen.programs["tf_security_capable"]["state"] == "attached":
        support.lacking("hooks", "this kernel has the tracepoint cap_capable, which is better")
    seen.need(*sorted(names))
    assert seen.attached("tf_security_capable") == names
    told = seen.told["refused"]
    assert told["results"][0] == -EPERM and told["results"][1] > 0
    (row,) = seen.security("capability_denied", told["pid"])
    assert (row["value"], row["errno"], row["object_id"], row["action"], row["uid"]) == (NET_RAW, EPERM, 1, A.CAPABLE, USER)
    assert told["before"] <= row["ts_ns"] <= told["after"]


def test_changes_of_ids_are_looked_at_in_the_kernel(triggers: Path) -> None:
    """commit_creds runs at every change of ids; those that calls made, which their handlers tell, it does not tell again. (A change that no
    call made would take a kernel module of our own: its row is not shown here.)"""
    seen = collected("fentry", triggers)
    seen.need("tf_security_commit")
    assert seen.programs["tf_security_commit"]["run_count"] >= 4      # two helpers' children became users
    assert live.of_kind(seen.batch, "security.privilege_escalation")[0]["action"].tolist().count(A.KERNEL) == 0


def test_what_io_uring_opens_and_connects_to(triggers: Path) -> None:
    """A row beside the operation's own: the file that was found, the address that was used."""
    seen = collected("fentry", triggers)
    told = seen.told["uring"]
    assert told["status"] == 0
    rows = seen.security("io_uring_op", told["pid"])
    plain = [(row["value"], row["object_id"]) for row in rows if row["action"] == A.IO_URING]
    assert plain == [(0, 2**64 - 1), (22, 9), (18, 2**64 - 1), (16, 8)]
    seen.need("tf_security_uring_open", "tf_security_uring_connect")
    assert [row["action"] for row in rows] == [A.IO_URING, A.IO_URING, A.IO_URING, A.OPEN, A.IO_URING, A.CONNECT]
    opened, connected = rows[3], rows[5]
    assert (opened["path"], opened["inode"], opened["device"]) == (str(seen.place / "real/file"), seen.told["inode"], device(seen))
    assert opened["object_id"] & 3 == 0 and opened["value"] == 18
    assert (bytes(connected["dest_ip"]), connected["dest_port"], connected["family"], connected["value"]) == (
        bytes(10) + b"\xff\xff\x7f\0\0\2", 9, 2, 16)
    assert not (opened["flags"] | connected["flags"]) & CLAIMED


def test_datagrams(triggers: Path) -> None:
    """Before 6.3 the kernel tells the bytes of UDP at the end of its functions only."""
    seen = collected("fentry", triggers)
    if seen.programs["tf_udp_send"]["state"] == "attached":
        support.lacking("hooks", "this kernel has the tracepoints sock_send_length and sock_recv_length, which are better")
    names = {f"tf_udp_{what}{version}" for what in ("sendmsg", "recvmsg") for version in ("", "_v6")}
    seen.need(*sorted(names))
    assert seen.attached("tf_udp_send", "tf_udp_recv") == names
    flows, _ = live.of_kind(seen.batch, "network.flow")
    for told in seen.told["udp"].values():
        child, peer = told["child"], told["peer"]
        mine, = flows[(flows["pid"] == child["pid"]) & (flows["dest_port"] == peer[1])]
        other, = flows[flows["source_port"] == peer[1]]
        assert (mine["bytes_sent"], mine["bytes_received"]) == (sum(SIZES), 2 * sum(SIZES))
        assert (other["bytes_sent"], other["bytes_received"], other["pid"]) == (2 * sum(SIZES), sum(SIZES), seen.who["datagrams"]["pid"])


def test_time_of_major_faults(triggers: Path) -> None:
    """fentry and fexit of handle_mm_fault: the time that the process waited for its file; without them the count alone."""
    without, seen = collected("tracepoint", triggers), collected("fentry", triggers)
    plain, = fault_rows(without)
    assert plain["count"] > 0 and plain["duration_ns"] == 0
    seen.need("tf_memory_fault", "tf_memory_faulted")
    row, = fault_rows(seen)
    told = seen.told["faults"]
    assert told["major"] - 2 <= row["count"] <= told["major"] and told["major"] > 200
    assert 0 < row["duration_ns"] < told["after"] - told["before"]
    assert row["duration_ns"] > 100 * row["count"]       # no fault that waits for a disk takes less than 100 ns


def fault_rows(seen: Seen) -> np.ndarray:
    rows, _ = live.of_kind(seen.batch, "memory.page_fault")
    return rows[rows["pid"] == seen.told["faults"]["pid"]]


def test_modules_that_were_loaded(triggers: Path) -> None:
    """module_load, the tracepoint: init_module is given an image, only the kernel knows its name."""
    seen = collected("tracepoint", triggers)
    seen.need("tf_security_module")
    if not MODULE:
        support.lacking("hooks", "TAPIO_FAST_MODULE names no module that may be removed and loaded again")
    told, stat = seen.told["module"], os.stat(MODULE)
    assert told["results"][3] >= 0 and [told["results"][i] for i in (0, 1, 2, 4)] == [0] * 4
    rows = seen.security("module_load", told["pid"])
    name = Path(MODULE).stem
    removed = (A.MODULE_DELETE, name, 0x800, 0, 0, True)
    loaded = (A.MODULE_INIT, name, stat.st_size, 0, 0, False)
    again = (A.MODULE_INIT, MODULE, 0, told["results"][3], stat.st_ino, False)
    assert [(r["action"], r["path"], r["value"], r["object_id"], r["inode"], bool(r["flags"] & CLAIMED)) for r in rows] == [
        removed, loaded, removed, again]

