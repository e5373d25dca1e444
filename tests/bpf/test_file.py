# SPDX-License-Identifier: Apache-2.0
"""Every operation on a path, by every system call that makes it, done and refused: each row field by field, and no other row.

The truth is what the helper's system calls returned, what stat(2) says of the files, and which string the test gave.
"""
from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import file_support as support
import live_support as live
import pytest
from file_support import AT_FDCWD, CLAIMED, PARTIAL, TRUNCATED, Plan, latin

from tapio_fast import Collector, KernelFilter, KernelSource

pytestmark = [pytest.mark.root, pytest.mark.live]

ODD = os.fsdecode(b"n\xe4me\xff with\nnewline \x80")
CREAT, EXCL, TRUNC, TMPFILE, DIRECTORY, PATH = 0o100, 0o200, 0o1000, 0o20000000, 0o200000, 0o10000000
LARGE = 0o100000        # O_LARGEFILE, which a 64-bit kernel adds
EMPTY_PATH = 0x1000
OLD_CALLS = platform.machine() == "x86_64"      # open, unlink, rename ... besides the *at ones


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory that every user may look into, with a name of all kinds of bytes."""
    for part in (tmp_path, *tmp_path.parents[:2]):
        part.chmod(0o755)
    folder = tmp_path / ODD
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def helper() -> Iterator[live.Helper]:
    """One helper for all."""
    with live.Helper("files.py") as one:
        yield one


def noted(collector: Collector) -> set[str]:
    """Kinds whose paths the kernel itself tells here (security_path_*)."""
    names = {"unlink": "delete"}
    return {names.get(what, what) for p in collector.health().programs if p["state"] == "attached" and p["name"].startswith("tf_note_")
            for what in [p["name"].split("_")[2]]}


def check(helper: live.Helper, plan: Plan, place: Path, **file: Any) -> list[dict[str, Any]]:
    """Run a plan and compare; return the facts."""
    who = {**helper.facts, "cgroup": live.cgroup_of(helper.pid)}
    with live.watching(helper, config=support.config(**file)) as collector:
        hooks = noted(collector)
        facts: list[dict[str, Any]] = helper.call("calls", plan=plan.steps)
        batch = live.everything(collector)
        live.adds_up(collector)
    support.compare(plan, facts, who, batch, noted=hooks, device=support.device_of(place))
    return facts


def make(path: Path, size: int = 0, mode: int = 0o644) -> os.stat_result:
    path.write_bytes(b"x" * size)
    path.chmod(mode)
    return path.stat()


def test_open_and_close(helper: live.Helper, place: Path) -> None:
    file = place / "existing"
    stat = make(file, 123, 0o4755)
    folder = place.stat()
    device = support.device_of(place)
    same = {"inode": stat.st_ino, "device": device, "size": 123, "mode": stat.st_mode}
    plan = Plan()

    def opened(kind: str = "open", path: Path = file, **fields: Any) -> None:
        fd = 100 + len(plan.rows)
        plan.row(kind, path, **{**same, **fields})
        plan.rows[-1].fields["fd"] = fd        # replaced by what the call returned

    name = latin(file)
    opens: list[tuple[list[Any], int]] = [(["openat", AT_FDCWD, name, 2], 2), (["openat", AT_FDCWD, name, CREAT | 1, 0o600], CREAT | 1)]
    if OLD_CALLS:
        opens += [(["open", name, 0], 0), (["open", name, CREAT, 0o777], CREAT)]
    opens.append((["openat2", AT_FDCWD, name, ["how", 0, 0, 0], 24], LARGE))
    for call, flags in opens:
        plan.do(*call, label="f")
        opened(file_flags=flags)
        plan.do("close", ["fd", "f"])
        opened("close", file_flags=(flags & ~CREAT) | LARGE)
    dirs = {"inode": folder.st_ino, "size": folder.st_size, "mode": folder.st_mode}
    plan.do("openat", AT_FDCWD, latin(place), DIRECTORY, label="d")
    opened(path=place, file_flags=DIRECTORY, **dirs)
    plan.do("openat", ["fd", "d"], "existing", 0, label="f")
    opened(file_flags=0)
    for call in (["close", ["fd", "f"]], ["dup2" if OLD_CALLS else "dup3", ["fd", "d"], 200, *([] if OLD_CALLS else [0])]):
        plan.do(*call)
        if call[0] == "close":
            opened("close", file_flags=LARGE)
    plan.do("close_range", 200, 200, 0)
    opened("close", path=place, file_flags=DIRECTORY | LARGE, duration_ns=0, **dirs)
    plan.rows[-1].fields["fd"] = 200
    plan.do("close", ["fd", "d"])
    opened("close", path=place, file_flags=DIRECTORY | LARGE, **dirs)
    plan.do("close", 199)       # EBADF: no file, no row
    _check_descriptors(helper, plan, place)


def _check_descriptors(helper: live.Helper, plan: Plan, place: Path) -> None:
    """The helper has 0, 1 and 2: what it opens gets the lowest free number."""
    free = [True] * 64
    for fd in os.listdir(f"/proc/{helper.pid}/fd"):
        free[int(fd)] = False
    held: dict[str, int] = {}
    numbers: dict[int, int] = {}
    for i, step in enumerate(plan.steps):
        name, *args = step["do"]
        if "as" in step:
            held[step["as"]] = numbers[i] = free.index(True)
            free[numbers[i]] = False
        elif name == "close" and isinstance(args[0], list):
            numbers[i] = held[args[0][1]]
            free[numbers[i]] = True
    for row in plan.rows:
        if row.fields["fd"] != 200:
            row.fields["fd"] = numbers[row.step]
    facts = check(helper, plan, place)
    assert all(facts[i]["ret"] in (number, 0) for i, number in numbers.items())


def test_a_file_that_an_open_made_is_a_create(helper: live.Helper, place: Path) -> None:
    device = support.device_of(place)
    plan = Plan()
    calls: list[list[Any]] = [["openat", AT_FDCWD, latin(place / "a"), CREAT | 2, 0o640],
                              ["openat2", AT_FDCWD, latin(place / "b"), ["how", CREAT | EXCL | 1, 0o604, 0], 24]]
    if OLD_CALLS:
        calls += [["creat", latin(place / "c"), 0o600], ["open", latin(place / "d"), CREAT | TRUNC, 0o7777]]
    for n, call in enumerate(calls):
        plan.do(*call, label=f"f{n}")
    who = {**helper.facts, "cgroup": live.cgroup_of(helper.pid)}
    with live.watching(helper, config=support.config(events=["open", "create"])) as collector:
        facts = helper.call("calls", plan=plan.steps)
        tmp = helper.call("calls", plan=[{"do": ["openat", AT_FDCWD, latin(place), TMPFILE | DIRECTORY | 2, 0o600], "as": "t"}])
        batch = live.everything(collector)
        live.adds_up(collector)
    flags = [CREAT | 2, CREAT | 1 | LARGE, 0o1101, CREAT | TRUNC]
    modes = [0o640, 0o604, 0o600, 0o7777]
    for n, fact in enumerate(facts):
        plan.rows.append(support.Expected(n, "create", os.fsencode(place / "abcd"[n]), fields={
            "inode": fact["stat"]["inode"], "device": device, "mode": 0o100000 | modes[n], "file_flags": flags[n], "fd": fact["ret"]},
            flags=CLAIMED if calls[n][0] == "openat2" else 0))
    rows, path = batch["file"], batch.strings("file", "path")
    nameless = [i for i in range(len(rows)) if rows["fd"][i] == tmp[0]["ret"]]
    assert len(nameless) == 1
    assert rows["inode"][nameless[0]] == tmp[0]["stat"]["inode"]
    assert path[nameless[0]].startswith(os.fsencode(place) + b"/#")
    assert path[nameless[0]].endswith(b" (deleted)")
    facts.append(tmp[0])
    plan.steps.append({})
    plan.rows.append(support.Expected(len(facts) - 1, "create", path[nameless[0]], fields={
        "inode": tmp[0]["stat"]["inode"], "device": device, "mode": 0o100600, "file_flags": TMPFILE | DIRECTORY | 2, "fd": tmp[0]["ret"]}))
    support.compare(plan, facts, who, batch)
    helper.call("calls", plan=[{"do": ["close", ["fd", label]]} for label in [*(f"f{n}" for n in range(len(calls))), "t"]])


def test_opens_that_fail(helper: live.Helper, place: Path) -> None:
    make(place / "there")
    plan = Plan()
    for call, path, flags in (
            (["openat", AT_FDCWD, latin(place / "missing"), 0], place / "missing", 0),                              # ENOENT
            (["openat", AT_FDCWD, latin(place / "there"), CREAT | EXCL, 0o600], place / "there", CREAT | EXCL),     # EEXIST
            (["openat", AT_FDCWD, latin(place / "there/below"), 2], place / "there/below", 2),                      # ENOTDIR
            (["openat2", AT_FDCWD, latin(place / "missing"), ["how", 1, 0, 0], 24], place / "missing", 1),
            (["openat", 99, "relative", 0], "/relative", 0)):                                                       # EBADF
        plan.do(*call)
        plan.row("open", path if call[1] != 99 else b"/relative", flags=CLAIMED, file_flags=flags)
    facts = check(helper, plan, place)
    assert [-f["ret"] for f in facts] == [2, 17, 20, 2, 9]


def test_directories(helper: live.Helper, place: Path) -> None:
    plan, claimed = Plan(), {"flags": CLAIMED, "noted": True}
    new = place / "new"
    helper.call("chdir", path=latin(place))
    plan.do("mkdirat", AT_FDCWD, latin(new), 0o751).row("mkdir", new, mode=0o751, **claimed)
    plan.do("mkdirat", AT_FDCWD, latin(new), 0o700).row("mkdir", new, mode=0o700, flags=CLAIMED)       # EEXIST
    plan.do("mkdirat", AT_FDCWD, "relative", 0o755).row("mkdir", place / "relative", mode=0o755, **claimed)
    plan.do("unlinkat", AT_FDCWD, latin(place / "none"), 0x200).row("rmdir", place / "none", flags=CLAIMED, file_flags=0x200)
    if OLD_CALLS:
        plan.do("mkdir", "old", 0o700).row("mkdir", place / "old", mode=0o700, **claimed)
        plan.do("rmdir", "nothing").row("rmdir", place / "nothing", flags=CLAIMED)
    facts = check(helper, plan, place)
    assert [-f["ret"] for f in facts] == [0, 17, 0, 2, 0, 2][:len(facts)]
    gone = Plan()
    gone.do("unlinkat", AT_FDCWD, "relative", 0x200).row("rmdir", place / "relative", file_flags=0x200,
                                                        inode=(place / "relative").stat().st_ino, **claimed)
    if OLD_CALLS:
        gone.do("rmdir", latin(new)).row("rmdir", new, inode=new.stat().st_ino, **claimed)
    check(helper, gone, place)
    assert not (place / "relative").exists()


def test_names(helper: live.Helper, place: Path) -> None:
    """Link, symbolic link, rename, delete: with absolute paths, relative to the working directory and to descriptors."""
    stat = make(place / "file", 5)
    (place / "sub").mkdir()
    helper.call("chdir", path=latin(place))
    dirfd = helper.call("calls", plan=[{"do": ["openat", AT_FDCWD, latin(place / "sub"), PATH], "as": "sub"}])[0]["ret"]
    assert dirfd > 2
    plan, claimed = Plan(), {"flags": CLAIMED, "noted": True, "inode": stat.st_ino}
    plan.do("linkat", AT_FDCWD, "file", ["fd", "sub"], "hard", 0).row("link", place / "file", place / "sub/hard", **claimed)
    plan.do("linkat", AT_FDCWD, "none", ["fd", "sub"], "x", 0).row("link", place / "none", place / "sub/x", flags=CLAIMED)
    plan.do("symlinkat", "../any thing\xff", ["fd", "sub"], "soft").row(
        "symlink", place / "sub/soft", b"../any thing\xff", flags=CLAIMED, noted=True)
    plan.do("renameat", ["fd", "sub"], "hard", AT_FDCWD, latin(place / ODD)).row("rename", place / "sub/hard", place / ODD, **claimed)
    plan.do("renameat2", AT_FDCWD, "file", AT_FDCWD, ODD.encode("utf-8", "surrogateescape").decode("latin-1"), 1).row(
        "rename", place / "file", place / ODD, flags=CLAIMED, file_flags=1)     # RENAME_NOREPLACE: EEXIST
    plan.do("unlinkat", ["fd", "sub"], "none", 0).row("delete", place / "sub/none", flags=CLAIMED)
    plan.do("unlinkat", AT_FDCWD, "file", 0).row("delete", place / "file", **claimed)
    if OLD_CALLS:
        plan.do("link", latin(place / ODD), "again").row("link", place / ODD, place / "again", **claimed)
        plan.do("rename", "again", "../moved").row("rename", place / "again", place.parent / "moved", **claimed)
        plan.do("symlink", "target", "s").row("symlink", place / "s", b"target", flags=CLAIMED, noted=True)
        plan.do("unlink", latin(place / ODD)).row("delete", place / ODD, **claimed)
        plan.do("unlink", "nowhere").row("delete", place / "nowhere", flags=CLAIMED)
    facts = check(helper, plan, place)
    assert [-f["ret"] for f in facts] == [0, 2, 0, 0, 17, 2, 0, 0, 0, 0, 0, 2][:len(facts)]
    helper.call("calls", plan=[{"do": ["close", ["fd", "sub"]]}])


def test_attributes(helper: live.Helper, place: Path) -> None:
    file = place / "file"
    stat = make(file, 100)
    plan, name = Plan(), latin(file)
    claimed = {"flags": CLAIMED, "noted": True, "inode": stat.st_ino}
    real = {"device": support.device_of(place)}
    helper.call("calls", plan=[{"do": ["openat", AT_FDCWD, name, 2], "as": "f"}])
    fd = helper.call("calls", plan=[{"do": ["lseek", ["fd", "f"], 0, 0]}]) and int(
        next(n for n in os.listdir(f"/proc/{helper.pid}/fd") if os.path.realpath(f"/proc/{helper.pid}/fd/{n}") == os.path.realpath(file)))
    opened = {**real, "fd": fd}
    plan.do("fchmodat", AT_FDCWD, name, 0o4711).row("chmod", file, mode=0o4711, **claimed)
    plan.do("fchmod", ["fd", "f"], 0o640).row("chmod", file, mode=0o640, **opened)
    plan.do("fchmodat", AT_FDCWD, name + "?", 0o640).row("chmod", latin_path(file, "?"), mode=0o640, flags=CLAIMED)
    plan.do("fchownat", AT_FDCWD, name, 1001, -1, 0x100).row("chown", file, new_uid=1001, file_flags=0x100, **claimed)
    plan.do("fchownat", ["fd", "f"], "", -1, 1002, 0x1000).row("chown", file, new_gid=1002, file_flags=0x1000, **claimed)
    plan.do("fchown", ["fd", "f"], 7, 8).row("chown", file, new_uid=7, new_gid=8, **opened)
    plan.do("fchown", 99, 7, 8).row("chown", b"", new_uid=7, new_gid=8, fd=99)
    plan.do("truncate", name, 1 << 33).row("truncate", file, size=1 << 33, **claimed)
    plan.do("ftruncate", ["fd", "f"], 10).row("truncate", file, size=10, **opened)
    plan.do("setxattr", name, "trusted.tf", ["bytes", "value"], 5, 1).row("xattr", file, b"trusted.tf", size=5, file_flags=1, flags=CLAIMED)
    plan.do("setxattr", name, "trusted.tf", ["bytes", "value"], 5, 1).row("xattr", file, b"trusted.tf", size=5, file_flags=1, flags=CLAIMED)
    plan.do("fsetxattr", ["fd", "f"], "trusted.tf", ["bytes", "v"], 1, 0).row("xattr", file, b"trusted.tf", size=1, flags=CLAIMED, **opened)
    plan.do("lremovexattr", name, "trusted.tf").row("xattr", file, b"trusted.tf", file_flags=1 << 31, flags=CLAIMED)
    plan.do("fremovexattr", ["fd", "f"], "trusted.tf").row("xattr", file, b"trusted.tf", file_flags=1 << 31, flags=CLAIMED, **opened)
    if OLD_CALLS:
        plan.do("chmod", name, 0o600).row("chmod", file, mode=0o600, **claimed)
        plan.do("chown", name, 0, 0).row("chown", file, new_uid=0, new_gid=0, **claimed)
        plan.do("lchown", name, 0, -1).row("chown", file, new_uid=0, **claimed)
        plan.do("mknod", name + ".fifo", 0o10600, 0).row("create", latin_path(file, ".fifo"), mode=0o10600, flags=CLAIMED)
    for row in plan.rows:
        if row.fields.get("fd") == fd:
            row.fields["inode"] = stat.st_ino
    facts = check(helper, plan, place)
    assert [-f["ret"] for f in facts] == [0, 0, 2, 0, 0, 0, 9, 0, 0, 0, 17, 0, 0, 61, 0, 0, 0, 0][:len(facts)]
    helper.call("calls", plan=[{"do": ["close", ["fd", "f"]]}])


def latin_path(file: Path, end: str) -> bytes:
    return os.fsencode(file) + end.encode()


def test_what_a_user_may_not(helper: live.Helper, place: Path) -> None:
    """EACCES, in a child of another user: the records are his."""
    make(place / "secret", mode=0o600)
    plan = Plan()
    plan.do("openat", AT_FDCWD, latin(place / "secret"), 0).row("open", place / "secret", flags=CLAIMED, uid=4711)
    plan.do("unlinkat", AT_FDCWD, latin(place / "secret"), 0).row("delete", place / "secret", flags=CLAIMED, uid=4711)
    plan.do("mkdirat", AT_FDCWD, latin(place / "mine"), 0o700).row("mkdir", place / "mine", flags=CLAIMED, uid=4711, mode=0o700)
    with live.watching(helper, config=support.config(events=["open", "delete", "mkdir"])) as collector:
        done = helper.call("as_user", uid=4711, plan=plan.steps)
        batch = live.everything(collector)
        live.adds_up(collector)
    assert [f["ret"] for f in done["facts"]] == [-13, -13, -13]
    rows = batch["file"]
    mine = rows[rows["pid"] == done["pid"]]
    assert mine["errno"].tolist() == [13, 13, 13]
    assert set(mine["uid"].tolist()) == {4711}
    path = batch.strings("file", "path")
    assert [path[i] for i in range(len(rows)) if rows["pid"][i] == done["pid"]] == [row.path for row in plan.rows]


def test_deep_and_long_paths(helper: live.Helper, place: Path) -> None:
    """Beyond 40 components, and beyond 4,096 bytes: the end is kept, flagged, with the true length where it is known."""
    names = ["x" * 200] * 30
    shape = ["d"] * 60
    found = {}
    for label, parts in (("long", names), ("deep", shape)):
        helper.call("chdir", path=latin(place))
        for part in parts:      # in the helper: its working directory goes deeper than a path may be long
            helper.call("calls", plan=[{"do": ["mkdirat", AT_FDCWD, part, 0o755]}])
            helper.call("chdir", path=part)
        with live.watching(helper, config=support.config(events=["open", "create", "delete"])) as collector:
            cap = 2048 if "delete" in noted(collector) else 4096        # a note keeps less
            fact = helper.call("calls", plan=[{"do": ["openat", AT_FDCWD, "leaf", CREAT, 0o600], "as": "f"},
                                              {"do": ["unlinkat", AT_FDCWD, "leaf", 0]}])
            batch = live.everything(collector)
            live.adds_up(collector)
        helper.call("calls", plan=[{"do": ["close", ["fd", "f"]]}])
        true = os.fsencode(place) + b"/" + "/".join([*parts, "leaf"]).encode()
        rows, path = batch["file"], batch.strings("file", "path")
        assert len(rows) == 2
        assert (rows["flags"] & TRUNCATED).all()
        assert rows["inode"][0] == fact[0]["stat"]["inode"]
        assert true.endswith(path[0])
        assert true.endswith(path[1])
        found[label] = (len(path[0]), int(rows["path"]["full_len"][0]), len(true), len(path[1]))
    length, full, true_length, claimed = found["long"]
    assert length == 4096 and full == true_length > 6000 and claimed == cap
    length, full, true_length, _ = found["deep"]
    assert length == 40 * 2 + 3 and full > length
    helper.call("chdir", path="/")


def test_paths_that_cannot_be_read_are_counted(helper: live.Helper) -> None:
    """k_fault: a bad pointer is all that there is to say."""
    with live.watching(helper, config=support.config()) as collector:
        bad: list[list[Any]] = [["unlinkat", AT_FDCWD, ["address", 1], 0], ["openat", AT_FDCWD, ["address", 4096], 0],
                                ["unlinkat", AT_FDCWD, ["address", 0], 0]]
        facts = helper.call("calls", plan=[{"do": call} for call in bad])
        batch = live.everything(collector)
        stats = live.adds_up(collector)
    assert [f["ret"] for f in facts] == [-14] * 3
    assert len(batch["file"]) == 0
    assert (stats.by_kind["file.delete"]["k_fault"], stats.by_kind["file.open"]["k_fault"]) == (2, 1)


def test_no_path_is_the_file_of_the_descriptor(helper: live.Helper, place: Path) -> None:
    """setxattrat(fd, NULL, AT_EMPTY_PATH): judged by monitor_paths as any file is."""
    (place / "in").mkdir()
    make(place / "in/file"), make(place / "out")
    plan = [{"do": ["openat", AT_FDCWD, latin(place / name), 0], "as": name} for name in ("in/file", "out")]
    plan += [{"do": ["setxattrat", ["fd", name], ["address", 0], EMPTY_PATH, "trusted.tf", ["room", 16], 16]} for name in ("in/file", "out")]
    with live.watching(helper, config=support.config(events=["xattr"], monitor_paths=[str(place / "in")])) as collector:
        facts = helper.call("calls", plan=plan)
        batch = live.everything(collector)
        stats = live.adds_up(collector)
    helper.call("calls", plan=[{"do": ["close", ["fd", name]]} for name in ("in/file", "out")])
    if facts[2]["ret"] in (-38, -95):
        pytest.skip("no setxattrat (6.13), or no attributes in this file system")
    assert [f["ret"] for f in facts[2:]] == [0, 0]
    assert [list(batch.strings("file", name)) for name in ("path", "new_path")] == [[os.fsencode(place / "in/file")], [b"trusted.tf"]]
    assert (batch["file"]["inode"].tolist(), stats.by_kind["file.xattr"]["k_filtered"]) == ([facts[0]["stat"]["inode"]], 1)


def test_bind_mounts_in_a_namespace_of_their_own(place: Path) -> None:
    """The path is the one that the process sees; inode and device are the file's, whichever way it is reached."""
    source, target = place / "source", place / "target"
    (source / "sub").mkdir(parents=True)
    target.mkdir()
    stat = make(source / "sub/file", 3)
    with live.Helper("files.py") as helper:
        helper.call("namespace", source=latin(source), target=latin(target))
        with live.watching(helper, config=support.config(events=["open"])) as collector:
            facts = helper.call("calls", plan=[{"do": ["openat", AT_FDCWD, latin(target / "sub/file"), 0], "as": "f"}])
            batch = live.everything(collector)
    assert facts[0]["stat"]["inode"] == stat.st_ino
    row = batch["file"][0]
    assert len(batch["file"]) == 1
    assert (row["inode"], row["device"]) == (stat.st_ino, support.device_of(source))
    assert batch.strings("file", "path")[0] == os.fsencode(target / "sub/file")
    assert not row["flags"] & (CLAIMED | PARTIAL)


NOTES = {f"tf_note_{what}{variant}" for what in ("unlink", "rmdir", "mkdir", "symlink", "link", "rename", "chmod", "chown", "truncate")
         for variant in ("", "_lsm", "_k")}


@pytest.mark.parametrize("hooks", [(), ("tracepoint",), ("tracepoint", "fentry"), ("tracepoint", "lsm"), ("tracepoint", "kprobe")])
def test_hooks_of_the_kernels_own_paths_are_used_or_given_up(helper: live.Helper, place: Path, hooks: tuple[str, ...]) -> None:
    """One variant a hook at most; without any the row is there, and says that its path is the caller's word."""
    make(place / "gone")
    with Collector(support.config(events=["delete"]), filter=KernelFilter(descendants_of=[helper.pid]),
                   source=KernelSource(snapshot=False, hooks=hooks)) as collector:
        collector.fileno()
        health = collector.health()
        helper.call("calls", plan=[{"do": ["unlinkat", AT_FDCWD, latin(place / "gone"), 0]}])
        batch = live.everything(collector)
        live.adds_up(collector)
    notes = [p for p in health.programs if p["name"] in NOTES and "unlink" in p["name"]]
    attached = [p for p in notes if p["state"] == "attached"]
    assert len(notes) == 3 and len(attached) <= 1
    assert hooks != ("tracepoint",) or not attached
    assert all(p["reason"] for p in notes if p["state"] in ("load_failed", "attach_failed", "missing_hook"))
    assert health.status == "healthy" and not [line for line in health.advice if "tf_note" in line]
    assert list(batch.strings("file", "path")) == [os.fsencode(place / "gone")]
    assert bool(batch["file"]["flags"][0] & CLAIMED) is not bool(attached)
