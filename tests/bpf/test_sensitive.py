# SPDX-License-Identifier: Apache-2.0
"""Sensitive files by other names: symbolic and hard links, /proc/PID/root, bind mounts of the directory, of one below it and of the file
itself, chroot, and a file that took the place of a sensitive one. Opens are known by the open file; changes by name by what the kernel
says that they changed, where it does (6.13)."""
from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import live_support as live
import numpy as np
import pytest
from file_support import device_of
from test_causes import Slots, slots_of
from test_security import KNOWS_CHANGES
from test_security_ways import do

from tapio_fast import Config, RecordBatch
from tapio_fast.config import load
from tapio_fast.types import SecurityAction as A

pytestmark = [pytest.mark.root, pytest.mark.live]

CLAIMED, BIND = 1 << 1, 4096
# names of the sensitive secret, of dir/file in the sensitive dir, and of dir/sub/file; none of them says so
SECRET = ["by_symlink", "mnt/secret", "file_mount", "hard", "up/secret", "proc/secret"]
BELOW = ["dir_link/file", "dir_mount/file", "up/dir/file", "proc/dir/file"]
DEEP = ["sub_mount/file", "dir_mount/sub/file", "up/dir/sub/file"]


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """Files, links, and places for mounts."""
    top = tmp_path / "sensitive"
    (top / "real/dir/sub").mkdir(parents=True)
    for name in ("mnt", "dir_mount", "sub_mount", "other"):
        (top / name).mkdir()
    for name in ("real/secret", "real/dir/file", "real/dir/sub/file", "real/plain", "real/new", "file_mount", "other/file"):
        (top / name).write_text("text")
    (top / "by_symlink").symlink_to("real/secret")
    (top / "dir_link").symlink_to(top / "real/dir")
    (top / "up").symlink_to("real")
    (top / "proc").symlink_to(f"/proc/self/root{top}/real")
    os.link(top / "real/secret", top / "hard")
    return top


@pytest.fixture
def helper(top: Path) -> Iterator[live.Helper]:
    """A process with mounts of its own."""
    with live.Helper("race.py") as helper:
        helper.call("own_mounts")
        binds = [("real", "mnt"), ("real/dir", "dir_mount"), ("real/dir/sub", "sub_mount"), ("real/secret", "file_mount")]
        assert helper.call("calls", folder=str(top), plan=[["mount", *two, None, BIND, None] for two in binds]) == [0] * len(binds)
        yield helper


def config(top: Path) -> Config:
    """Nothing but sensitive_file, of a file and a directory."""
    return load({**{f"programs.{name}.enabled": name == "security" for name in
                    ("process", "network", "file", "security", "container", "memory")}, "programs.security.events": ["sensitive_file"],
                 "programs.security.sensitive_paths": [str(top / "real/secret"), str(top / "real/dir")]}, env={}).config


def collect(helper: live.Helper, top: Path, plan: list[list[Any]], folder: str = "") -> tuple[list[int], np.ndarray, list[bytes]]:
    """Results of the calls, the records of them, and their paths."""
    with live.watching(helper, config=config(top)) as collector:
        results = helper.call("calls", folder=folder or str(top), plan=plan)
        batch: RecordBatch = live.everything(collector)
        stats = live.adds_up(collector)
    rows, places = live.of_kind(batch, "security.sensitive_file")
    order = np.argsort(rows["ts_ns"], kind="stable")
    assert stats.by_kind["security.sensitive_file"]["submitted"] == len(rows)
    texts = batch.strings("security", "path")
    return results, rows[order], [texts[int(places[i])] for i in order]


def inodes_of(top: Path, names: list[str]) -> list[int]:
    """Of the files that these names are of."""
    return [os.stat(top / ("real/secret" if n in SECRET else "real/dir/file" if n in BELOW else "real/dir/sub/file")).st_ino for n in names]


def test_opens(helper: live.Helper, top: Path) -> None:
    names = [*SECRET, *BELOW, *DEEP]
    wanted = inodes_of(top, names)
    results, rows, _ = collect(helper, top, [["open", name, os.O_WRONLY] for name in [*names, "real/plain", "other/file", "mnt/plain"]])
    assert min(results) >= 0
    assert rows["inode"].tolist() == wanted
    assert not (rows["flags"] & CLAIMED).any() and set(rows["device"].tolist()) == {device_of(top)}


def how(flags: int, mode: int = 0) -> str:
    """struct open_how, as the helper takes bytes."""
    return struct.pack("<3Q", flags, mode, 0).decode("latin-1")


def openat2(name: str, flags: int, mode: int = 0) -> list[Any]:
    return ["syscall", 437, -100, name, how(flags, mode), 24]


def test_opens_for_reading_that_change(helper: live.Helper, top: Path) -> None:
    """O_TRUNC, which openat2 leaves in user memory only, and what an open made; not the same flags without effect."""
    creates = os.O_RDONLY | os.O_CREAT
    plan = [openat2("by_symlink", os.O_RDONLY | os.O_TRUNC), ["open", "dir_link/made", creates, 0o600], openat2("up/dir/made2", creates, 0o600),
            ["open", "real/secret", creates, 0o600], openat2("real/secret", creates, 0o600), openat2("real/secret", os.O_RDONLY),
            ["open", "other/made", creates, 0o600], openat2("other/made2", creates, 0o600), openat2("real/plain", os.O_RDONLY | os.O_TRUNC)]
    results, rows, paths = collect(helper, top, plan)
    assert min(results) >= 0
    names = [top / "real/secret", top / "real/dir/made", top / "real/dir/made2"]
    assert rows["inode"].tolist() == [os.stat(name).st_ino for name in names] and paths == [os.fsencode(name) for name in names]
    assert rows["object_id"].tolist() == results[:3]
    assert [int(v) & (os.O_TRUNC | os.O_CREAT) for v in rows["value"]] == [os.O_TRUNC, os.O_CREAT, os.O_CREAT]
    assert [bool(f & CLAIMED) for f in rows["flags"]] == [True, False, False]


def handle_of(path: Path) -> bytes:
    """struct file_handle of a file."""
    handle, mount = ctypes.create_string_buffer(struct.pack("<Ii", 128, 0), 136), ctypes.c_int()
    if ctypes.CDLL(None, use_errno=True).name_to_handle_at(-100, os.fsencode(path), handle, ctypes.byref(mount), 0):
        pytest.skip(f"no handles in this file system: {os.strerror(ctypes.get_errno())}")
    return handle.raw


def test_opens_by_handle(helper: live.Helper, top: Path) -> None:
    """Which have no name at all; and one that is refused says what it asked for."""
    secret = handle_of(top / "real/secret").decode("latin-1")
    plan = [["open_by_handle_at", -100, secret, flags] for flags in (os.O_WRONLY, os.O_RDONLY)]
    plan.append(["open_by_handle_at", -100, handle_of(top / "real/plain").decode("latin-1"), os.O_WRONLY])
    results, rows, paths = collect(helper, top, plan)
    assert min(results) >= 0
    assert [(int(r["inode"]), int(r["value"]), int(r["object_id"])) for r in rows] == [(os.stat(top / "real/secret").st_ino, os.O_WRONLY, results[0])]
    assert set(paths) <= {os.fsencode(top / name) for name in ("real/secret", "hard")} and not (rows["flags"] & CLAIMED).any()
    told, rows, paths = do(["access_denied"], [304, -100, {"buf": secret.encode("latin-1").hex()}, 1], uid=1000)
    assert told["results"] == [-1]
    assert [(int(r["action"]), int(r["value"]), int(r["errno"])) for r in rows] == [(A.OPEN, 1, 1)] and paths == [b""]


@pytest.mark.skipif(not KNOWS_CHANGES, reason="needs the tracepoints of ctime (6.13)")
def test_changes_by_name(helper: live.Helper, top: Path) -> None:
    """Each by its inode, whatever its name; the path says what the program claimed."""
    names = [*SECRET, *BELOW, *DEEP]
    inodes = inodes_of(top, names)
    plan: list[list[Any]] = [[*call] for n in [*names, "real/plain", "other/file", "mnt/plain"]
                             for call in (["chmod", n, 0o640], ["truncate", n, 7])]
    plan += [["rename", "mnt/plain", "mnt/renamed"], ["mkdir", "other/d", 0o755], ["rmdir", "other/d"]]
    results, rows, paths = collect(helper, top, plan)
    assert not any(results)
    assert rows["inode"].tolist() == [n for n in inodes for _ in range(2)]
    assert rows["action"].tolist() == [A.CHMOD, A.TRUNCATE] * len(names)
    assert paths == [os.fsencode(top / n) for n in names for _ in range(2)]
    assert (rows["flags"] & CLAIMED).all() and set(rows["device"].tolist()) == {device_of(top)}


@pytest.mark.skipif(not KNOWS_CHANGES, reason="needs the tracepoints of ctime (6.13)")
def test_far_below_a_sensitive_directory(helper: live.Helper, top: Path) -> None:
    plan: list[list[Any]] = [["chdir", "real/dir"]]
    plan += [[call, "d", *mode] for _ in range(400) for call, mode in (("mkdir", [0o755]), ("chdir", []))]
    plan += [["open", "f", os.O_WRONLY | os.O_CREAT, 0o600], ["chmod", "f", 0o640]]
    results, rows, _ = collect(helper, top, plan)
    assert not any(results[:-2]) and results[-2] > 0 == results[-1]
    assert rows["action"].tolist() == [A.MKDIR] * 400 + [A.OPEN, A.CHMOD]
    inode = os.stat(f"/proc/{helper.pid}/fd/{results[-2]}").st_ino
    assert rows["inode"][-2:].tolist() == [inode, inode]


@pytest.mark.skipif(not KNOWS_CHANGES, reason="needs the tracepoints of ctime (6.13)")
def test_changes_by_descriptor(top: Path) -> None:
    """By any name that the file has, as by name; the path is the open file's."""
    os.link(top / "real/dir/file", top / "other/link")
    names = ["other/link", "by_symlink", "real/dir/sub/file", "other/file"]
    steps: list[list[Any]] = [[2, str(top / name), os.O_RDONLY] for name in names] + [[91, {"step": i}, 0o640] for i in range(len(names))]
    told, rows, paths = do(["sensitive_file"], *steps, sensitive=[top / "real/secret", top / "real/dir"])
    assert told["results"][4:] == [0] * 4
    assert rows["object_id"].tolist() == told["results"][:3] and not (rows["flags"] & CLAIMED).any()
    assert paths == [os.fsencode(top / name) for name in ("other/link", "real/secret", "real/dir/sub/file")]


@pytest.mark.skipif(not KNOWS_CHANGES, reason="needs the tracepoints of ctime (6.13)")
def test_new_names_and_other_files(helper: live.Helper, top: Path) -> None:
    """Made, moved and removed through other names; and what takes the place of a sensitive file is as sensitive."""
    plan: list[list[Any]] = [["mkdir", "dir_mount/m", 0o755], ["symlink", "x", "sub_mount/s"], ["link", "other/file", "dir_link/l"],
            ["rename", "dir_link/m", "other/m"], ["unlink", "sub_mount/s"], ["rename", "other/m", "up/dir/m2"],
            ["rename", "up/new", "up/secret"], ["chmod", "mnt/secret", 0o644], ["open", "proc/secret", os.O_RDWR],
            ["unlink", "mnt/secret"], ["mkdir", "other/x", 0o755]]
    results, rows, _ = collect(helper, top, plan)
    assert [r for r in results if r < 0] == []
    assert rows["action"].tolist() == [A.MKDIR, A.SYMLINK, A.LINK, A.RENAME, A.UNLINK, A.RENAME, A.RENAME, A.CHMOD, A.OPEN, A.UNLINK]
    assert rows["inode"].all()
    assert rows["inode"][0] == os.stat(top / "real/dir/m2").st_ino == rows["inode"][3] == rows["inode"][5]
    assert rows["inode"][1] == rows["inode"][4]
    assert rows["inode"][2] == os.stat(top / "other/file").st_ino
    assert len(set(rows["inode"][7:].tolist())) == 1 and rows["inode"][7] != rows["inode"][6]


def test_in_a_changed_root(top: Path) -> None:
    """chroot: the names begin elsewhere, the files are the same."""
    (top / "real/dir/file").chmod(0o600)
    with live.Helper("race.py") as helper:
        results, rows, paths = collect(helper, top, [["chroot", str(top / "real")], ["open", "/dir/file", os.O_WRONLY],
                                                     ["chmod", "/dir/../dir/file", 0o600]])
    assert results[0] == results[2] == 0 < results[1]
    inode = os.stat(top / "real/dir/file").st_ino
    assert rows["inode"].tolist() == [inode, inode if KNOWS_CHANGES else 0]
    assert paths == [os.fsencode(top / "real/dir/file")] * 2


def test_without_a_free_slot(helper: live.Helper, top: Path) -> None:
    """Nothing that the kernel knows not to be sensitive is counted as lost; what is, is; what nobody can tell may have been."""
    chosen = config(top)
    plan: list[list[Any]] = [["chmod", "other/file", 0o600], ["open", "other/file", os.O_WRONLY], ["rename", "real/plain", "real/plain2"],
                             ["rename", "real/plain2", "real/plain"], ["chmod", "hard", 0o600], ["open", "mnt/secret", os.O_WRONLY]]
    with live.watching(helper, config=chosen) as collector, slots_of(collector) as slots:
        for i in range(slots.count):
            live.wait_for(lambda i=i: take(slots, i))
        results = helper.call("calls", folder=str(top), plan=plan)
        batch = live.everything(collector)
        stats = live.adds_up(collector)
    assert min(results) >= 0 and not len(batch["security"])
    cells = stats.by_kind["security.sensitive_file"]
    lost = 2 if KNOWS_CHANGES else 4 + 1        # the calls by name, which have a text only, and the open
    assert (cells["seen"], cells["k_busy"], cells["submitted"]) == (lost, lost, 0)


def take(slots: Slots, index: int) -> bool:
    """Take a slot, unless a program is using it right now."""
    try:
        slots.mark(index, 1)
    except AssertionError:
        return False
    return True
