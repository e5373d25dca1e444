# SPDX-License-Identifier: Apache-2.0
"""Time of check, time of use: a thread rewrites path, name or address while calls are under way (tests/triggers/t_race.c). No field that a
record has from a kernel object is ever other than what the call really did; what comes from user memory says so (user_claimed). Each test
asserts too that memory did say something else by the end of some calls: else it would prove nothing. 100,000 tries in tier 2."""
from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import file_support as files
import live_support as live
import numpy as np
import pytest
from file_support import CLAIMED

import support
import tapio_fast as tapio
from tapio_fast import schema
from tapio_fast.config import load
from tapio_fast.types import SecurityAction as A

pytestmark = [pytest.mark.root, pytest.mark.live, pytest.mark.skipif(os.uname().machine != "x86_64", reason="t_race has x86-64 code")]

TRIES = support.tier_size(2000, 100_000)
BTF = Path("/sys/kernel/btf/vmlinux").read_bytes()
KNOWS_CHANGES = b"btf_trace_inode_set_ctime_to_ts\0" in BTF     # 6.13: the kernel tells which files and directories a call changed
ON_FILES = {"chmod": "chmod", "chown": "chown", "truncate": "truncate", "setxattr": "xattr", "unlink": "delete", "rename": "rename",
            "into": "rename", "link": "link", "symlink": "symlink", "mkdir": "mkdir", "rmdir": "rmdir"}
ACTIONS = {**{what: A[what.upper()] for what in ON_FILES if what not in ("setxattr", "into")}, "setxattr": A.XATTR, "into": A.RENAME}
NEW_NAME = {"into", "link"}      # the name that changes is the second path


class Race(NamedTuple):
    """What a race did, and what was recorded of it."""

    truth: np.ndarray       # 0, 1, or -1 where it is not known
    inodes: np.ndarray
    batch: tapio.RecordBatch
    after: int              # how often user memory said something else just after the call

    def rows(self, kind: str) -> tuple[np.ndarray, dict[str, list[bytes]]]:
        """Rows of a kind in order of time, and their texts."""
        rows, places = live.of_kind(self.batch, kind)
        order = np.argsort(rows["ts_ns"], kind="stable")
        domain = schema.KIND_BY_NAME[kind].domain
        names = [n for n in (rows.dtype.names or ()) if rows.dtype[n].fields and "full_len" in (rows.dtype[n].names or ())]
        texts = {n: self.batch.strings(domain, n) for n in names}
        return rows[order], {n: [text[int(places[i])] for i in order] for n, text in texts.items()}


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder in memory, which every user may enter."""
    made = Path(tempfile.mkdtemp(prefix="tf-race-", dir="/dev/shm"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


def config(*on: str, **keys: Any) -> tapio.Config:
    """These domains, and these keys of them."""
    settings: dict[str, Any] = {f"programs.{name}.enabled": name in on for name in ("process", "network", "file", "security", "container", "memory")}
    settings["performance.ring_buffer_size_mb"] = support.tier_size(32, 256)
    return load({**settings, **{k.replace("__", "."): v for k, v in keys.items()}}, env={}).config


def run(helper: live.Helper, chosen: tapio.Config, exe: Path, what: str, folder: Path, netns: int = 0, **more: Any) -> Race:
    """Let the helper race while a collector is read."""
    found: list[tapio.RecordBatch] = []
    fact: dict[str, Any] = {}
    with live.watching(helper, config=chosen, netns=netns) as collector:
        def go() -> None:
            fact.update(helper.call("race", timeout=1500, exe=str(exe), what=what, tries=TRIES, folder=str(folder), **more))
        thread = threading.Thread(target=go)
        thread.start()
        while thread.is_alive():
            batch = collector.read(timeout=0.2)
            if batch is not None:
                found.append(batch)
        found += live.drain(collector)
        stats = live.adds_up(collector)
    assert fact, "the helper failed"
    assert stats.events_dropped == 0, {k: c for k, c in stats.by_kind.items() if c["seen"]}
    truth = np.frombuffer(fact["truth"].encode(), dtype="u1").astype(int) - ord("0")
    truth[truth > 1] = -1
    print(f"{what}: {len(truth)} tries, memory differed after {fact['after']}, {fact['turns']} writes, truth unknown {fact['unknown']}")
    print({k: {n: v for n, v in c.items() if v} for k, c in stats.by_kind.items() if c["seen"]})
    assert fact["after"] > 0
    return Race(truth, np.array(fact["inodes"], dtype="u8"), tapio.RecordBatch.concat(found), fact["after"])


@pytest.mark.parametrize("what", ON_FILES)
def test_calls_by_name(what: str, folder: Path, triggers: Path) -> None:
    """file rows are claims (or the kernel's, and then true); security.sensitive_file knows by the kernel's objects which file it was."""
    names = [os.fsencode(folder / "a"), os.fsencode(folder / "b")]
    chosen = config("file", "security", programs__file__events=[ON_FILES[what]], programs__security__events=["sensitive_file"],
                    programs__security__sensitive_paths=[str(folder / "a")])
    with live.Helper("race.py") as helper:
        race = run(helper, chosen, triggers / "t_race", what, folder)
    rows, texts = race.rows(f"file.{ON_FILES[what]}")
    said = texts["new_path" if what in NEW_NAME else "path"]
    assert len(rows) == len(race.truth)
    claimed = (rows["flags"] & CLAIMED).astype(bool)
    assert not rows["errno"].any() and set(said) <= set(names)
    which = np.array([names.index(text) for text in said])
    known = (race.truth >= 0) & ~claimed
    assert (which[known] == race.truth[known]).all()
    assert not rows["inode"][claimed].any() and not rows["device"][claimed].any()
    if claimed.any():
        lies = int((which != race.truth)[race.truth >= 0].sum())
        print(f"{what}: claimed {int(claimed.sum())}, the other name {lies}")
        assert lies > 0
    sensitive(race, ACTIONS[what], rows, which, folder)


def sensitive(race: Race, action: A, rows: np.ndarray, which: np.ndarray, folder: Path) -> None:
    """Each call that was done to the sensitive name has its record, with its inode; one for the other name is a claim without."""
    found = race.rows("security.sensitive_file")[0]
    found = found[found["action"] == action]        # not what t_race does to begin anew
    at = np.searchsorted(rows["ts_ns"], found["ts_ns"], side="right") - 1      # made right after the file row of the same call
    assert len(set(at.tolist())) == len(at)
    assert (found["flags"] & CLAIMED).all()
    by_kernel = found["inode"] != 0
    if not KNOWS_CHANGES:
        assert not by_kernel.any()
        return
    assert set(at[by_kernel].tolist()) == set(np.flatnonzero(race.truth == 0).tolist())
    assert (found["inode"][by_kernel] == race.inodes[at[by_kernel]]).all()
    assert (found["device"][by_kernel] == files.device_of(folder)).all()
    assert (race.truth[at[~by_kernel]] == 1).all()
    hidden = int((which[at[by_kernel]] != 0).sum())
    print(f"  sensitive_file: {int(by_kernel.sum())} known by the kernel, {hidden} of them while memory named the other file, "
          f"{int((~by_kernel).sum())} false claims, flagged")


@pytest.mark.skipif(not KNOWS_CHANGES, reason="needs the tracepoints of ctime (6.13)")
def test_by_descriptor(folder: Path, triggers: Path) -> None:
    """sensitive_file is of what the call changed, whatever is behind the descriptor when it ends."""
    chosen = config("file", "security", programs__file__events=["chmod"], programs__security__events=["sensitive_file"],
                    programs__security__sensitive_paths=[str(folder / "a")])
    with live.Helper("race.py") as helper:
        race = run(helper, chosen, triggers / "t_race", "fchmod", folder)
    rows, _ = race.rows("file.chmod")
    assert len(rows) == len(race.truth)
    found, texts = race.rows("security.sensitive_file")
    mine = found["action"] == A.CHMOD
    at = np.searchsorted(rows["ts_ns"], found["ts_ns"][mine], side="right") - 1      # made right after the file row of the same call
    assert at.tolist() == np.flatnonzero(race.truth == 0).tolist()
    assert set(found["inode"][mine].tolist()) == {os.stat(folder / "a").st_ino} and not (found["flags"][mine] & CLAIMED).any()
    paths = [text for text, ok in zip(texts["path"], mine, strict=True) if ok]
    assert set(paths) <= {b"", os.fsencode(folder / "a")}
    print(f"fchmod: {paths.count(b'')} of {len(paths)} while the descriptor had the other file already")


def test_open(folder: Path, triggers: Path) -> None:
    """Opening for writing: the sensitive file, exactly when it was opened."""
    for name in "ab":
        (folder / name).write_text("text")
    chosen = config("file", "security", programs__file__events=["open"], programs__security__events=["sensitive_file"],
                    programs__security__sensitive_paths=[str(folder / "a")])
    with live.Helper("race.py") as helper:
        race = run(helper, chosen, triggers / "t_race", "open", folder)
    rows, texts = race.rows("file.open")
    mine = np.array([text.startswith(os.fsencode(folder)) for text in texts["path"]])
    names = [os.fsencode(folder / name) for name in "ab"]
    assert rows["inode"][mine].tolist() == race.inodes.tolist()
    assert [text for text, ok in zip(texts["path"], mine, strict=True) if ok] == [names[k] for k in race.truth]
    assert not (rows["flags"][mine] & CLAIMED).any()
    found, texts = race.rows("security.sensitive_file")
    assert len(found) == int((race.truth == 0).sum())
    assert set(texts["path"]) <= {names[0]} and set(found["inode"].tolist()) <= {os.stat(names[0]).st_ino}
    assert not (found["flags"] & CLAIMED).any()


def test_denied(folder: Path, triggers: Path) -> None:
    """What was refused left no kernel object: always a claim, never a device or an inode."""
    for name in "ab":
        (folder / name).write_text("text")
        (folder / name).chmod(0o600)
    chosen = config("security", programs__security__events=["access_denied"])
    with live.Helper("race.py") as helper:
        race = run(helper, chosen, triggers / "t_race", "denied", folder, user=1000)
    rows, texts = race.rows("security.access_denied")
    said = [text for text in texts["path"] if text.startswith(os.fsencode(folder))]
    rows = rows[np.array([text in said for text in texts["path"]])]
    assert len(rows) == len(race.truth)
    assert (rows["flags"] & CLAIMED).all() and not rows["inode"].any() and not rows["device"].any()
    assert set(said) == {os.fsencode(folder / name) for name in "ab"}       # both were there at some time


def test_mount(folder: Path, triggers: Path) -> None:
    """The target of a mount is a claim."""
    chosen = config("security", programs__security__events=["mount"])
    with live.Helper("race.py") as helper:
        helper.call("own_mounts")
        race = run(helper, chosen, triggers / "t_race", "mount", folder)
    rows, texts = race.rows("security.mount")
    rows, said = rows[2:], texts["path"][2:]        # two mounts to begin with
    assert len(rows) == len(race.truth)
    names = [os.fsencode(folder / name) for name in "ab"]
    which = np.array([names.index(text) for text in said])
    assert (rows["flags"] & CLAIMED).all() and not rows["inode"].any() and not rows["device"].any()
    assert (which != race.truth)[race.truth >= 0].any()


def test_escape_by_a_device(folder: Path, triggers: Path) -> None:
    """container.escape tells of the device exactly when it was opened: by the open file."""
    os.mknod(folder / "a", 0o20600, os.makedev(1, 11))      # /dev/kmsg
    (folder / "b").write_text("text")
    chosen = config("container", programs__container__events=["escape"])
    with live.Helper("race.py") as helper:
        helper.call("own_mounts")
        race = run(helper, chosen, triggers / "t_race", "device", folder)
    rows, texts = race.rows("container.escape")
    assert len(rows) == int((race.truth == 0).sum())
    assert set(rows["inode"].tolist()) <= {os.stat(folder / "a").st_ino} and set(texts["path"]) <= {os.fsencode(folder / "a")}
    assert not (rows["flags"] & CLAIMED).any() and not rows["errno"].any()


def test_exec(folder: Path, triggers: Path) -> None:
    """Path and first argument of exec: what was executed, and what it was given; without a file exactly when it was the memfd."""
    chosen = config("process", "security", programs__process__events=["exec"], programs__security__events=["fileless_exec"],
                    performance__map_entries_limit=2 * TRIES + 10_000)      # the kernel frees dead processes, which are followed, late
    with live.Helper("race.py") as helper:
        race = run(helper, chosen, triggers / "t_race", "exec", folder)
    rows, texts = race.rows("process.exec")
    mine = np.array([b"race" in text or b"plain" in text for text in texts["exe"]]) & (rows["ppid"] != helper.pid)
    exe = [text for text, ok in zip(texts["exe"], mine, strict=True) if ok]
    assert (race.truth >= 0).all() and len(exe) == len(race.truth)
    assert exe == [(b"/memfd:race (deleted)", os.fsencode(folder / "plain"))[k] for k in race.truth]
    plain = os.stat(folder / "plain").st_ino
    assert ((rows["exe_inode"][mine] == plain) == (race.truth == 1)).all()
    args = [text.rstrip(b"\0") for text, ok in zip(texts["args"], mine, strict=True) if ok]
    assert [bytes([int(n)]) for n in race.inodes] == args
    found, texts = race.rows("security.fileless_exec")
    assert len(found) == int((race.truth == 0).sum()) and set(texts["path"]) <= {b"/memfd:race (deleted)"}


@pytest.mark.parametrize(("what", "kind"), [("bind", "bind"), ("send", "send"), ("dns", "dns_query")])
def test_network(what: str, kind: str, folder: Path, triggers: Path) -> None:
    """Addresses of bind and sendto are the socket's and the packet's, a DNS question is the packet's."""
    chosen = config("network", programs__network__events=[kind], programs__network__aggregate=False)
    with live.Helper("race.py") as helper:
        netns = helper.call("own_network")
        race = run(helper, chosen, triggers / "t_race", what, folder, netns=netns)
    rows, texts = race.rows(f"network.{kind}")
    assert (race.truth >= 0).all()
    assert not (rows["flags"] & CLAIMED).any()
    if what == "dns":
        assert texts["name"] == [(b"a.race.test", b"b.race.test")[k] for k in race.truth]
        return
    if what == "bind":
        rows = rows[rows["source_port"] != 0]
    port = rows["source_port" if what == "bind" else "dest_port"]
    assert port.tolist() == race.inodes.tolist()
