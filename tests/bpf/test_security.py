# SPDX-License-Identifier: Apache-2.0
"""Security records: a child does one thing, with the whole domain collected; every field of every row that it caused, and no other row.

The truth is what the child did and what the system told it: results of its calls, stat(2), /proc.
"""
from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import live_support as live
import pytest

import support
import tapio_fast as tapio
from tapio_fast import schema
from tapio_fast._config_sections import MemoryConfig, NetworkConfig, ProcessConfig, ProgramsConfig, SecurityConfig
from tapio_fast.types import SecurityAction as A
from tapio_fast.types import SecurityEventType

pytestmark = [pytest.mark.root, pytest.mark.live, pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of x86-64")]

USER = 1000
CLAIMED, CGROUP_V1 = 1 << 1, 1 << 6
EPERM, EACCES, EINVAL = 1, 13, 22
TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
KNOWS_CHANGES = b"btf_trace_inode_set_ctime_to_ts\0" in Path("/sys/kernel/btf/vmlinux").read_bytes()   # 6.13: which inodes a call changed
FIELDS = [f for f in schema.DTYPES["security"].names or () if f not in schema.HEADER_FIELDS and f != "path"]
Row = dict[str, Any]
DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, NET_BIND, NET_RAW, SYS_PTRACE, SYS_ADMIN, SYS_TIME = 1, 2, 3, 10, 13, 19, 21, 25
NEWUTS, NEWNS, NEWTIME = 0x04000000, 0x00020000, 0x80


# names that lead to the sensitive dir/none, and two that do not, relative to Place.top
AROUND = ("dir/none", "./dir//none/", "other/../dir/./none", "dir/../dir/none", "../security/dir/x/../none", "dir/../none", "dirx/../dirx")


def row(kind: str, action: A, *, path: str = "", claimed: bool = False, **fields: Any) -> Row:
    """One expected row; fields that are not named are 0."""
    return {"kind": kind, "action": action, "path": path, "claimed": claimed, **{k: v for k, v in fields.items() if v}}


def no_cap(cap: int, count: int = 1) -> Row:
    return row("capability_denied", A.CAPABLE, value=cap, errno=EPERM, object_id=count)


class Place(NamedTuple):
    """Files that the children use; `secret` and what lies in `dir` is sensitive."""

    top: Path
    uring: Path
    inode: int              # of dir/file, which is removed

    def __truediv__(self, name: str) -> str:
        return str(self.top / name)


@pytest.fixture(scope="module")
def place(triggers: Path) -> Iterator[Place]:
    top = triggers / "security"
    top.mkdir(mode=0o755)
    (top / "dir").mkdir()
    for name, mode in (("secret", 0o600), ("plain", 0o644), ("other", 0o644), ("dir/file", 0o644), ("mine", 0o644)):
        (top / name).write_text("text")
        (top / name).chmod(mode)
    for name, mode in (("suid", 0o4755), ("sgid", 0o2755), ("true", 0o755), ("gone", 0o755), ("capable", 0o755)):
        shutil.copy("/bin/true", top / name)
        (top / name).chmod(mode)
    # VFS_CAP_REVISION_2, effective: CAP_NET_RAW
    os.setxattr(top / "capable", "security.capability", bytes.fromhex("0100000200200000000000000000000000000000"))
    os.chown(top / "mine", USER, USER)
    yield Place(top, triggers / "t_uring", os.stat(top / "dir/file").st_ino)


@pytest.fixture(scope="module")
def run(place: Place) -> Iterator[dict[str, tuple[Row, list[Row]]]]:
    """One collection over all cases: name -> (what the child said, the rows that it caused, in order)."""
    off = {"network": NetworkConfig(enabled=False), "process": ProcessConfig(enabled=False), "memory": MemoryConfig(enabled=False)}
    config = tapio.Config(programs=ProgramsConfig(
        security=SecurityConfig(enabled=True, events=("all",), sensitive_paths=(place / "secret", place / "dir")), **off))
    with live.Helper("security.py") as helper, live.watching(helper, config=config) as collector:
        told = {name: helper.call("do", **{"work": work, **args}) for name, work, args in cases(place, helper.pid)}
        attached = [p["name"] for p in collector.health().programs if p["state"] == "attached"]
        batch = live.everything(collector)
        stats = live.adds_up(collector)
    assert stats.events_dropped == 0
    rows: dict[int, list[Row]] = {}
    for at in batch["security"]["ts_ns"].argsort(kind="stable"):
        made = observed(batch, int(at), told, helper.pid)
        rows.setdefault(made.pop("pid"), []).append(made)
    by_pid = {fact["pid"] for fact in told.values()}
    assert set(rows) <= by_pid, "rows of a process that did nothing"
    yield {name: (fact, rows.get(fact["pid"], [])) for name, fact in told.items()} | {"": ({**stats.by_kind, "attached": attached}, [])}


def observed(batch: tapio.RecordBatch, at: int, told: dict[str, Row], parent: int) -> Row:
    """One row as a dict like row()'s, its header checked against what its child said of itself."""
    record = batch["security"][at]
    made: Row = {"pid": int(record["pid"]), "kind": SecurityEventType(int(record["subtype"])).text,
                 "path": os.fsdecode(batch.strings("security", "path")[at]), "claimed": bool(int(record["flags"]) & CLAIMED)}
    for name in FIELDS:
        value: Any = bytes(record[name]) if name == "dest_ip" else int(record[name])
        if value and value != bytes(16):
            made[name] = value
    made["action"] = A(int(record["action"]))
    assert not int(record["flags"]) & ~(CLAIMED | CGROUP_V1)
    fact = next(f for f in told.values() if f["pid"] == made["pid"])
    assert fact["before"] <= record["ts_ns"] <= fact["after"]
    cgroup, v1 = live.cgroup_of()      # nobody was moved
    assert (record["tid"], record["ppid"], record["cgroup_id"], bool(record["flags"] & CGROUP_V1)) == (fact["pid"], parent, cgroup, v1)
    assert fact["before"] - TICK <= record["start_ns"] <= record["ts_ns"]
    assert record["weight"] == 1.0
    if fact["uid"]:
        assert (record["uid"], record["gid"]) == (fact["uid"], fact["uid"])
    return made


def calls(*steps: list[Any], **more: Any) -> dict[str, Any]:
    return {"steps": list(steps), **more}


def cases(p: Place, helper: int) -> list[tuple[str, str, dict[str, Any]]]:
    """(name, what the child does, with what)."""
    attr = {"buf": (b"\1\0\0\0\x80\0\0\0" + b"\5" + bytes(119)).hex()}
    unix = (b"\1\0" + os.fsencode("closed.sock")).hex()
    return [
        ("ptrace", "trace", {}), ("ptrace_denied", "trace_other", {"target": helper, "uid": USER}), ("process_vm", "process_vm", {}),
        *((f"regain_{how}", "regain", {"how": how}) for how in ("setuid", "setgid", "capset")),
        ("exec_root", "execute", {"path": p / "true", "drop": True}),
        ("exec_plain", "execute", {"path": p / "true", "uid": USER}),
        ("suid", "execute", {"path": p / "suid", "uid": USER}), ("sgid", "execute", {"path": p / "sgid", "uid": USER}),
        ("suid_by_root", "execute", {"path": p / "suid"}), ("capable", "execute", {"path": p / "capable", "uid": USER}),
        ("memfd_exec", "execute", {"path": p / "true", "memfd": "hidden"}),
        ("unlinked_exec", "execute", {"path": p / "gone", "unlink": True}),
        ("unshare", "calls", calls([272, NEWUTS], [272, 0x400])), ("setns", "join", {"kind": "uts"}),
        ("clone", "new_process", {"number": 56, "flags": NEWUTS}), ("clone3", "new_process", {"number": 435, "flags": NEWUTS | NEWTIME}),
        ("fork", "new_process", {"number": 56, "flags": 0}), ("chroot", "chroot", {"path": str(p.top)}),
        ("mounts", "calls", calls([272, NEWNS], [165, "none", "/", 0, 0x44000, 0], [165, "tmpfs", "dir", "tmpfs", 2, 0], [166, "dir", 2],
                                  [428, -100, "dir", 1], [429, {"step": 4}, "", -100, "dir", 4], [442, -100, "dir", 0, {"buf": "00" * 32},
                                                                                                  32],
                                  [430, "tmpfs", 0], [431, {"step": 7}, 6, 0, 0, 0], [432, {"step": 7}, 0, 0], [155, "dir", "dir"],
                                  cwd=str(p.top))),
        ("memory", "memory", {"path": p / "plain"}), ("memfd", "named_memory", {"title": "tf name"}),
        ("sockets", "calls", calls([41, 2, 3, 1], [41, 17, 2 | 0x80000, 0], [41, 2, 1, 0])),
        ("socket_denied", "calls", calls([41, 2, 3, 1], uid=USER)),
        ("bpf", "calls", calls([321, 9999, 0, 0], [321, 0, {"buf": "02000000040000000400000001000000" + "00" * 104}, 120])),
        ("userfaultfd", "calls", calls([323, 0x80001])), ("perf", "calls", calls([298, attr, 0, -1, -1, 0])),
        ("keys", "calls", calls([250, 0, -3, 0], [248, "user", "tf:text", "payload", 7, -2], [249, "user", "tf:text", 0, -2])),
        ("modules", "calls", calls([175, "image", 5, ""], [176, "tf_no_module", 0x800], [257, -100, p / "plain", 0],
                                   [313, {"step": 2}, "", 3])),
        ("refused", "refuse_often", {"n": 500, "uid": USER}),
        ("open_denied", "calls", calls([257, -100, "secret", 0], [257, -100, p / "secret", 0], uid=USER, cwd=str(p.top))),
        ("exec_denied", "calls", calls([59, p / "plain", 0, 0], [59, "plain", 0, 0], cwd=str(p.top))),
        ("connect_denied", "to_address", {"number": 42, "family": 2, "kind": 2, "address": "020000097fffffff" + "00" * 8}),
        ("bind_denied", "to_address", {"number": 49, "family": 10, "kind": 1, "uid": USER,
                                       "address": "0a000050" + "00" * 19 + "01" + "00" * 4}),
        ("unix_denied", "closed_socket", {"address": unix, "path": str(p.top)}),
        ("chmod_denied", "calls", calls([90, p / "plain", 0o777], uid=USER)),
        ("sensitive_open", "calls", calls([257, -100, p / "secret", 1], [257, -100, p / "secret", 0], [77, {"step": 0}, 0],
                                          [257, -100, p / "dir/new", 0o102, 0o600], [257, -100, p / "plain", 2])),
        ("sensitive_denied", "calls", calls([257, -100, "secret", 1], uid=USER, cwd=str(p.top))),
        ("sensitive_names", "calls", calls([87, p / "dir/file"], [82, "plain", "secret"], [257, -100, "secret", 0o1001], [90, "dir", 0o700],
                                           [86, "secret", "name"], [82, "other", "renamed"], cwd=str(p.top))),
        ("sensitive_around", "calls", calls(*([87, name] for name in AROUND), cwd=str(p.top))),
        ("uring", "execute", {"path": str(p.uring), "arguments": [p / "secret"]}),
    ]


def expect(run: dict[str, tuple[Row, list[Row]]], name: str, *rows: Row) -> None:
    assert run[name][1] == list(rows)


def test_looking_into_processes(run: dict[str, Any], place: Place) -> None:
    told = run["ptrace"][0]
    assert told["results"] == [0, 0]
    expect(run, "ptrace", *(row("ptrace", A.PTRACE, value=request, target_pid=told["target"]) for request in (16, 17)))
    told, rows = run["ptrace_denied"]
    assert told["results"] == [-EPERM]
    target = {"value": 16, "target_pid": rows[1]["target_pid"], "errno": EPERM}
    expect(run, "ptrace_denied", no_cap(SYS_PTRACE), row("ptrace", A.PTRACE, **target), row("access_denied", A.PTRACE, **target))
    told = run["process_vm"][0]
    assert told["results"][:2] == [10, 10]
    expect(run, "process_vm", *(row("process_vm", how, value=10, target_pid=told["target"]) for how in (A.VM_READ, A.VM_WRITE)),
           row("process_vm", A.PIDFD_GETFD, value=1, object_id=told["results"][2], target_pid=told["target"]))


@pytest.mark.parametrize("how", ["setuid", "setgid", "capset"])
def test_privileges_taken_back(run: dict[str, Any], how: str) -> None:
    told = run[f"regain_{how}"][0]
    (old_caps, old_uid, old_gid), (new_caps, new_uid, new_gid) = told["old"], told["new"]
    expect(run, f"regain_{how}", row("privilege_escalation", A[how.upper()], old_caps=old_caps, new_caps=new_caps, old_uid=old_uid,
                                     new_uid=new_uid, old_gid=old_gid, new_gid=new_gid))
    assert old_caps != new_caps or old_gid != new_gid


def exec_row(place: Place, kind: str, name: str, old: tuple[int, int, int], new: tuple[int, int, int]) -> Row:
    stat = os.stat(place / name)
    return row(kind, A.EXEC, path=place / name, value=stat.st_mode, inode=stat.st_ino,
               device=os.major(stat.st_dev) << 20 | os.minor(stat.st_dev), old_caps=old[0], old_uid=old[1], old_gid=old[2],
               new_caps=new[0], new_uid=new[1], new_gid=new[2])


def test_exec_changes_who_one_is(run: dict[str, Any], place: Place) -> None:
    whole = run["regain_capset"][0]["new"][0]
    user = (0, USER, USER)
    expect(run, "exec_root", exec_row(place, "privilege_escalation", "true", (whole & ~(1 << SYS_ADMIN), 0, 0), (whole, 0, 0)))
    expect(run, "exec_plain")
    expect(run, "suid_by_root")
    expect(run, "suid", exec_row(place, "setuid_exec", "suid", user, (whole, 0, USER)))
    expect(run, "sgid", exec_row(place, "setuid_exec", "sgid", user, (0, USER, 0)))
    expect(run, "capable", exec_row(place, "setuid_exec", "capable", user, (1 << NET_RAW, USER, USER)))


@pytest.mark.parametrize("fork", [False, True])
def test_privileges_from_nowhere(run: dict[str, Any], place: Place, fork: bool) -> None:
    """What no system call that we see has done shows at the next exec, once; also where a child executes."""
    whole = run["regain_capset"][0]["new"][0]
    config = tapio.Config(programs=ProgramsConfig(
        security=SecurityConfig(enabled=True, events=("privilege_escalation",)), network=NetworkConfig(enabled=False),
        process=ProcessConfig(enabled=False), memory=MemoryConfig(enabled=False)))
    fifo = place / f"fifo{fork}"
    os.mkfifo(fifo)
    with live.Helper("security.py") as helper, live.watching(helper, config=config) as collector:
        helper.send("do", work="execute_later", path=place / "true", fifo=fifo, fork=fork)
        with open(fifo, "w") as go:     # opens when the child is there
            pid = int(Path(f"/proc/{helper.pid}/task/{helper.pid}/children").read_text().split()[0])
            live.let_be_known_as(pid, USER)
            go.write("go")
        told = helper.result()
        batch = live.everything(collector)
        stats = live.adds_up(collector)
    (made,) = batch["security"]
    assert made["ppid" if fork else "pid"] == told["pid"] == pid
    assert (made["action"], made["old_uid"], made["new_uid"]) == (A.KERNEL, USER, 0)
    assert (made["old_caps"], made["new_caps"]) == (0, whole)
    seen = {kind for kind, cells in stats.by_kind.items() if cells["seen"] and kind.startswith("security.")}
    assert seen == {"security.privilege_escalation"}


def test_programs_without_a_file(run: dict[str, Any], place: Place) -> None:
    made, executed = run["memfd_exec"][1]
    whole = run["regain_capset"][0]["new"][0]
    assert (made["kind"], made["path"], made["action"]) == ("memfd", "hidden", A.MEMFD)
    assert executed == row("fileless_exec", A.EXEC, path="/memfd:hidden (deleted)", inode=made["inode"], device=made["device"],
                           value=0o100777, old_caps=whole, new_caps=whole)
    (gone,) = run["unlinked_exec"][1]
    assert gone.pop("inode") != 0
    device = os.stat(place.top).st_dev
    assert gone == row("fileless_exec", A.EXEC, path=place / "gone (deleted)", value=0o100755, old_caps=whole, new_caps=whole,
                       device=os.major(device) << 20 | os.minor(device))
    told = run["memfd"][0]
    expect(run, "memfd", row("memfd", A.MEMFD, path="tf name", value=1, object_id=told["fd"], inode=told["inode"], device=told["device"]))


def test_namespaces(run: dict[str, Any]) -> None:
    expect(run, "unshare", row("namespace", A.UNSHARE, value=NEWUTS))
    expect(run, "setns", row("namespace", A.SETNS, value=NEWUTS, object_id=run["setns"][0]["inode"]))
    expect(run, "clone", row("namespace", A.CLONE, value=NEWUTS, target_pid=run["clone"][0]["results"][0]))
    expect(run, "clone3", row("namespace", A.CLONE, value=NEWUTS | NEWTIME, target_pid=run["clone3"][0]["results"][0]))
    expect(run, "fork")


def test_mounts(run: dict[str, Any], place: Place) -> None:
    told, folder = run["mounts"][0]["results"], place / "dir"
    errors = [max(0, -result) for result in told]
    expect(run, "mounts", row("namespace", A.UNSHARE, value=NEWNS),
           row("mount", A.MOUNT, path="/", claimed=True, value=0x44000), row("mount", A.MOUNT, path=folder, claimed=True, value=2),
           row("mount", A.UMOUNT, path=folder, claimed=True, value=2),
           run["mounts"][1][4],      # looked at below
           row("mount", A.MOVE_MOUNT, path=folder, claimed=True, value=4, errno=errors[5]),
           row("mount", A.MOUNT_SETATTR, path=folder, claimed=True, errno=errors[6]),
           run["mounts"][1][7], row("mount", A.PIVOT_ROOT, path=folder, claimed=True, errno=errors[10]))
    opened, made = run["mounts"][1][4], run["mounts"][1][7]
    assert (opened["action"], opened["object_id"], opened["value"], opened["claimed"]) == (A.OPEN_TREE, told[4], 1, False)
    assert (made["action"], made["object_id"], made["claimed"]) == (A.FSMOUNT, told[9], False)
    assert opened["inode"] == os.stat(folder).st_ino
    expect(run, "chroot", row("mount", A.CHROOT, path=str(place.top)),
           row("access_denied", A.EXEC, path=place / "plain", claimed=True, errno=EACCES))


def test_writable_code(run: dict[str, Any], place: Place) -> None:
    told = run["memory"][0]
    anonymous, mapped, plain, *rest = told["results"]
    assert rest == [0, 0, 0]
    expect(run, "memory", row("writable_code", A.MMAP, value=7, object_id=anonymous),
           row("writable_code", A.MMAP, value=7, object_id=mapped, path=place / "plain", inode=told["inode"], device=told["device"]),
           *[row("writable_code", A.MPROTECT, value=7, object_id=plain)] * 2)


def test_sockets(run: dict[str, Any]) -> None:
    raw, packet, _ = run["sockets"][0]["results"]
    expect(run, "sockets", row("raw_socket", A.SOCKET, family=2, value=3, object_id=raw),
           row("raw_socket", A.SOCKET, family=17, value=2, object_id=packet))
    expect(run, "socket_denied", no_cap(NET_RAW), row("raw_socket", A.SOCKET, family=2, value=3, errno=EPERM))


def test_rare_calls(run: dict[str, Any], place: Place) -> None:
    assert run["bpf"][0]["results"][0] == -EINVAL
    made = run["bpf"][0]["results"][1]
    expect(run, "bpf", row("bpf", A.BPF, value=9999, errno=EINVAL), row("bpf", A.BPF, object_id=max(0, made), errno=max(0, -made)))
    (fd,) = run["userfaultfd"][0]["results"]
    expect(run, "userfaultfd", row("userfaultfd", A.USERFAULTFD, value=0x80001, object_id=max(0, fd), errno=max(0, -fd)))
    (fd,) = run["perf"][0]["results"]
    expect(run, "perf", row("perf_event", A.PERF_EVENT, value=1, object_id=5, errno=max(0, -fd), claimed=True))
    _, key, found = run["keys"][0]["results"]
    assert key == found > 0
    expect(run, "keys", row("keyctl", A.KEYCTL, object_id=2**32 - 3),
           *(row("keyctl", how, value=2**32 - 2, object_id=key, path="tf:text", claimed=True) for how in (A.ADD_KEY, A.REQUEST_KEY)))
    first, second, fd, third = run["modules"][0]["results"]
    assert min(first, second, third) < 0 <= fd
    assert max(first, second, third) < 0        # none of them is a module
    stat = os.stat(place.top / "secret")        # what was "plain" has been renamed over it since
    expect(run, "modules", row("module_load", A.MODULE_INIT, value=5, errno=-first),
           row("module_load", A.MODULE_DELETE, value=0x800, path="tf_no_module", claimed=True, errno=-second),
           row("module_load", A.MODULE_INIT, value=3, object_id=fd, path=place / "plain", errno=-third, inode=stat.st_ino,
               device=os.major(stat.st_dev) << 20 | os.minor(stat.st_dev)))


def test_refused_capabilities_are_added_up(run: dict[str, Any]) -> None:
    told, rows = run["refused"]
    seconds = told["after"] // 10**9 - told["before"] // 10**9 + 1
    assert 1 <= len(rows) <= seconds
    assert rows == [no_cap(SYS_TIME, made["object_id"]) for made in rows]
    assert rows[0]["object_id"] == 1
    ledger = run[""][0]["security.capability_denied"]
    told_twice = sum(made["object_id"] - 1 for made in rows)
    assert 500 - len(rows) - told_twice <= ledger["k_aggregated"]
    assert 1 + told_twice <= 500


def test_denied(run: dict[str, Any], place: Place) -> None:
    denied = {"claimed": True, "errno": EACCES}
    expect(run, "open_denied", no_cap(DAC_READ_SEARCH), no_cap(DAC_OVERRIDE), *[row("access_denied", A.OPEN, path=place / "secret",
                                                                                    **denied)] * 2)
    expect(run, "exec_denied", *[row("access_denied", A.EXEC, path=place / "plain", **denied)] * 2)
    expect(run, "connect_denied", row("access_denied", A.CONNECT, family=2, dest_port=9, object_id=run["connect_denied"][0]["fd"],
                                      dest_ip=bytes(10) + b"\xff\xff\x7f\xff\xff\xff", **denied))
    expect(run, "bind_denied", no_cap(NET_BIND), row("access_denied", A.BIND, family=10, dest_port=80, dest_ip=bytes(15) + b"\1",
                                                     object_id=run["bind_denied"][0]["fd"], **denied))
    expect(run, "unix_denied", no_cap(DAC_OVERRIDE), row("access_denied", A.CONNECT, family=1, path=place / "closed.sock",
                                                         object_id=run["unix_denied"][0]["fd"], **denied))
    expect(run, "chmod_denied", no_cap(FOWNER), row("access_denied", A.CHMOD, path=place / "plain", claimed=True, errno=EPERM))


def test_sensitive_files(run: dict[str, Any], place: Place) -> None:
    fd, _, _, made, _ = run["sensitive_open"][0]["results"]
    rows = run["sensitive_open"][1]
    inode, new = rows[0]["inode"], os.stat(place / "dir/new")
    device = os.major(new.st_dev) << 20 | os.minor(new.st_dev)
    expect(run, "sensitive_open",
           row("sensitive_file", A.OPEN, path=place / "secret", value=1, object_id=fd, inode=inode, device=device),
           row("sensitive_file", A.TRUNCATE, path=place / "secret", object_id=fd, inode=inode, device=device),
           row("sensitive_file", A.OPEN, path=place / "dir/new", value=0o102, object_id=made, inode=new.st_ino, device=device))
    denied = {"path": place / "secret", "claimed": True, "value": 1, "errno": EACCES}
    expect(run, "sensitive_denied", no_cap(DAC_OVERRIDE), row("sensitive_file", A.OPEN, **denied), row("access_denied", A.OPEN, **denied))
    replaced = os.stat(place / "secret")
    assert replaced.st_ino != inode
    known = [{"inode": n, "device": device} if KNOWS_CHANGES else {}
             for n in (place.inode, inode, os.stat(place / "dir").st_ino, replaced.st_ino)]
    expect(run, "sensitive_names", row("sensitive_file", A.UNLINK, path=place / "dir/file", claimed=True, **known[0]),
           row("sensitive_file", A.RENAME, path=place / "secret", claimed=True, **known[1]),
           row("sensitive_file", A.OPEN, path=place / "secret", value=0o1001, object_id=run["sensitive_names"][0]["results"][2],
               inode=replaced.st_ino, device=device),
           row("sensitive_file", A.CHMOD, path=place / "dir", claimed=True, **known[2]),
           row("sensitive_file", A.LINK, path=place / "secret", claimed=True, **known[3]))


def test_sensitive_names_written_another_way(run: dict[str, Any], place: Place) -> None:
    assert len(run["sensitive_around"][0]["results"]) == len(AROUND)
    expect(run, "sensitive_around", *(row("sensitive_file", A.UNLINK, path=place / "dir/none", claimed=True, errno=-result)
                                      for result in run["sensitive_around"][0]["results"][:5]))


def test_io_uring(run: dict[str, Any]) -> None:
    assert run["uring"][0]["status"] == 0
    more = [made["action"] for made in run["uring"][1] if made["action"] != A.IO_URING]      # what these say: test_hooks.py
    assert more == ([A.OPEN, A.CONNECT] if "tf_security_uring_open" in run[""][0]["attached"] else [])
    assert [made for made in run["uring"][1] if made["action"] == A.IO_URING] == [
        row("io_uring", A.IO_URING, object_id=8 << 32 | 4),
        *(row("io_uring_op", A.IO_URING, value=opcode, object_id=fd & 2**64 - 1) for opcode, fd in ((0, -1), (22, 9), (18, -1), (16, 8)))]


@pytest.mark.parametrize("event", support.tier_size(["privilege_escalation", "fileless_exec", "access_denied", "sensitive_file", "bpf"],
                                                    [member.text for member in SecurityEventType]))
def test_one_event_alone_loads_and_brings_no_other(event: str, place: Place) -> None:
    """Programs without the code of what is switched off are other programs to the verifier."""
    config = tapio.Config(programs=ProgramsConfig(security=SecurityConfig(enabled=True, events=(event,)),
                                                  network=NetworkConfig(enabled=False), process=ProcessConfig(enabled=False),
                                                  memory=MemoryConfig(enabled=False)))
    source = tapio.KernelSource(snapshot=False)
    with tapio.Collector(config, source=source):
        programs = [p for p in source.programs() if p["object"].startswith("security")]
    serving = [p for p in programs if p["state"] == "attached"]
    assert serving
    number = schema.KIND_BY_NAME[f"security.{event}"].number
    assert all(number in p["kinds"] for p in serving)
    assert [p["reason"] for p in programs if p["state"] in ("load_failed", "attach_failed") and not p["more"]] == []
