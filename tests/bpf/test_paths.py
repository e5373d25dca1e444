# SPDX-License-Identifier: Apache-2.0
"""monitor_paths and exclude_paths, decided in the kernel: the nearest configured directory decides, by what it is and not by how it is
written; and no path that a thread rewrites during the call gets into a record as the kernel's."""
from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import file_support as support
import live_support as live
import numpy as np
import pytest
from file_support import AT_FDCWD, CLAIMED, latin

from support import tier_size
from tapio_fast import Collector, Config, ConfigError, KernelSource, MemorySource, schema

pytestmark = [pytest.mark.root, pytest.mark.live]

# below a/: what is opened, each by its number; a/in, a/in/out, a/in/out/back are what the matrices name
PLACES = ["f", "in/f", "in/out/f", "in/out/back/f", "in/outer", "in/out/back/deep/er/f", "other/f"]
MATRIX: list[tuple[dict[str, list[str]], set[int]]] = [
    ({}, {0, 1, 2, 3, 4, 5, 6}),
    ({"monitor_paths": ["in"]}, {1, 2, 3, 4, 5}),
    ({"exclude_paths": ["in"]}, {0, 6}),
    ({"monitor_paths": ["in"], "exclude_paths": ["in/out"]}, {1, 4}),
    ({"monitor_paths": ["in", "in/out/back"], "exclude_paths": ["in/out"]}, {1, 3, 4, 5}),
    ({"exclude_paths": ["in"], "monitor_paths": ["in/out"]}, {2, 3, 5}),
    ({"monitor_paths": ["in/outer"]}, {4}),
    ({"monitor_paths": ["other", "in/out/back"], "exclude_paths": ["f"]}, {3, 5, 6}),
]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directories and files that the matrices speak of."""
    top = tmp_path_factory.mktemp("paths") / "a"
    for place in PLACES:
        (top / place).parent.mkdir(parents=True, exist_ok=True)
        (top / place).write_bytes(b"content")
    return top


@pytest.fixture(scope="module")
def helper() -> Iterator[live.Helper]:
    """One helper for all."""
    with live.Helper("files.py") as one:
        yield one


def settings(top: Path, chosen: dict[str, list[str]], **more: Any) -> Config:
    return support.config(**{key: [str(top / p) for p in paths] for key, paths in chosen.items()}, **more)


@pytest.mark.parametrize(("chosen", "wanted"), MATRIX)
def test_the_nearest_configured_directory_decides(helper: live.Helper, tree: Path, chosen: dict[str, list[str]], wanted: set[int]) -> None:
    """Opened files (by inode), reads of them (added up), closes, and claimed paths (by text): each kind lets the same ones pass."""
    plan: list[dict[str, Any]] = []
    for place in PLACES:
        name = latin(tree / place)
        plan += [{"do": ["openat", AT_FDCWD, name, 0], "as": "f"}, {"do": ["read", ["fd", "f"], ["room", 3], 3]}, {"do": ["close", ["fd",
                                                                                                                                    "f"]]},
                 {"do": ["unlinkat", AT_FDCWD, name + ".none", 0]}, {"do": ["fchmodat", AT_FDCWD, name, 0o644]}]
    with live.watching(helper, config=settings(tree, chosen)) as collector:
        helper.call("calls", plan=plan)
        batch = live.everything(collector)
        stats = live.adds_up(collector)
    rows, path = batch["file"], batch.strings("file", "path")
    for subtype, kind, end in ((0, "open", b""), (1, "close", b""), (2, "read", b""), (5, "delete", b".none"), (7, "chmod", b"")):
        found = {path[i] for i in np.flatnonzero(rows["subtype"] == subtype)}
        # a file named itself has no sibling ".none"
        named = {tree / p for paths in chosen.values() for p in paths}
        expected = {os.fsencode(tree / PLACES[n]) + end for n in wanted if not (end and tree / PLACES[n] in named)}
        if end and chosen.get("exclude_paths") == ["f"]:
            expected -= {os.fsencode(tree / "f") + end}
        assert found == expected, kind
        cells = stats.by_kind[f"file.{kind}"]
        assert cells["k_filtered"] >= len(PLACES) - len(expected), kind     # and what other processes did meanwhile


@pytest.mark.parametrize(("chosen", "wanted"), MATRIX)
def test_without_a_gate_the_pump_decides_the_same(chosen: dict[str, list[str]], wanted: set[int]) -> None:
    source, row = MemorySource(), np.zeros(1, schema.DTYPES["file"])[0]
    config = settings(Path("/a"), chosen)
    with Collector(config, source=source) as collector:
        collector.fileno()
        for number, place in enumerate(PLACES):
            text = f"/a/{place}".encode()
            row["path"], row["new_path"], row["pid"] = (0, len(text), len(text)), (0, 0, 0), number + 1
            source.fill("file.open", row, tail=text)
            # away from what is nowhere to what is named, and the other way round: one of the two is enough
            row["path"], row["new_path"], row["pid"] = (0, 2, 2), (2, len(text), len(text)), 100 + number
            source.fill("file.rename", row, tail=b"/b" + text)
            row["path"], row["new_path"], row["pid"] = (2, len(text), len(text)), (0, 2, 2), 200 + number
            source.fill("file.rename", row, tail=b"/b" + text)
        source.fill("process.fork")
        batch = live.everything(collector)
        stats = live.adds_up(collector)
    nowhere = set() if chosen.get("monitor_paths") else set(range(len(PLACES)))     # where /b is wanted itself
    renamed = wanted | nowhere
    assert batch["file"]["pid"].tolist() == sorted([n + 1 for n in wanted] + [100 + n for n in renamed] + [200 + n for n in renamed],
                                                   key=lambda pid: (pid % 100 - (pid < 100), pid))
    assert len(batch["process"]) == 1 and stats.ledger["u_filtered"] == 3 * len(PLACES) - len(batch["file"])


def test_a_directory_is_what_it_is(helper: live.Helper, tree: Path) -> None:
    """Through another name: a symbolic link, the working directory, a descriptor, "..": an opened file is found all the same."""
    link = tree.parent / "link"
    link.symlink_to(tree / "in")
    helper.call("chdir", path=latin(tree / "other"))
    names: list[list[Any]] = [[AT_FDCWD, latin(link / "f")], [AT_FDCWD, "../in/f"], [AT_FDCWD, "f"], [["fd", "d"], "f"]]
    plan = [{"do": ["openat", AT_FDCWD, latin(tree / "in"), 0o10000000], "as": "d"}]
    plan += [{"do": ["openat", *name, 0], "as": str(i)} for i, name in enumerate(names)]
    plan += [{"do": ["close", ["fd", str(i)]]} for i in range(len(names))] + [{"do": ["close", ["fd", "d"]]}]
    with live.watching(helper, config=settings(tree.parent, {"monitor_paths": ["link"]}, events=["open"])) as collector:
        helper.call("calls", plan=plan)
        batch = live.everything(collector)
        stats = live.adds_up(collector)
    inside = os.fsencode(tree / "in")
    assert list(batch.strings("file", "path")) == [inside, inside + b"/f", inside + b"/f", inside + b"/f"]
    assert stats.by_kind["file.open"]["k_filtered"] >= 1
    helper.call("chdir", path="/")


def test_claimed_paths_relative_to_a_configured_directory(helper: live.Helper, tree: Path) -> None:
    """The text of a claimed path is judged joined to where it begins."""
    helper.call("chdir", path=latin(tree / "in"))
    plan = [{"do": ["unlinkat", AT_FDCWD, name, 0]} for name in ("none", "out/none", latin(tree / "none"))]
    with live.watching(helper, config=settings(tree, {"monitor_paths": ["in"], "exclude_paths": ["in/out"]},
                                               events=["delete"])) as collector:
        helper.call("calls", plan=plan)
        batch = live.everything(collector)
        stats = live.adds_up(collector)
    helper.call("chdir", path="/")
    assert list(batch.strings("file", "path")) == [os.fsencode(tree / "in/none")]
    assert stats.by_kind["file.delete"]["k_filtered"] >= 2


def test_claimed_paths_cannot_be_written_around_the_sets(helper: live.Helper, tree: Path) -> None:
    """"//", "." and ".." in every place: judged and told as what they lead to; the truth is os.path.normpath's (the tree has no links)."""
    top = str(tree)
    names = [f"{top}/other/../in/x", f"{top}//in///x/", f"/../../..{top}/./in/./x", f"{top}/in/out/../x", f"{top}/in/../other/x",
             f"{top}/inx", f"{top}/in/../inx", f"{top}/in/.../x", f"{top}/in/..x", f"{top}/other/" + "./" * 1500 + "../in/x",
             f"{top}/" + "other/../" * 400 + "in/y", f"{top}/in/x/..", f"{top}/in/.", f"{top}/in/x/../..", "../in/out/../x", "../../a/in/x",
             "./../in/x", "../" * 60 + top[1:] + "/in/x", "x", "../other/x", "../inx", "..", ".", "../in/x/..", "../in/x/../../other/./x/"]
    plan = [{"do": ["unlinkat", AT_FDCWD, name, 0]} for name in names]
    full = [os.path.normpath(os.path.join(top, "other", name)) for name in names]
    inside = [name == f"{top}/in" or name.startswith(f"{top}/in/") for name in full]
    helper.call("chdir", path=latin(tree / "other"))
    for key, wanted in (("monitor_paths", True), ("exclude_paths", False)):
        with live.watching(helper, config=settings(tree, {key: ["in"]}, events=["delete"])) as collector:
            helper.call("calls", plan=plan)
            batch = live.everything(collector)
            live.adds_up(collector)
        found = [text.decode() for text, pid in zip(batch.strings("file", "path"), batch["file"]["pid"], strict=True) if pid == helper.pid]
        assert found == [name for name, is_in in zip(full, inside, strict=True) if is_in is wanted]
    helper.call("chdir", path=latin(tree / "in"))       # relative and out of an excluded directory
    with live.watching(helper, config=settings(tree, {"exclude_paths": ["in"]}, events=["delete"])) as collector:
        helper.call("calls", plan=[{"do": ["unlinkat", AT_FDCWD, name, 0]} for name in ("../other/x", "x", "../in/x", "out/../../x")])
        batch = live.everything(collector)
    helper.call("chdir", path="/")
    assert list(batch.strings("file", "path")) == [os.fsencode(tree / "other/x"), os.fsencode(tree / "x")]


def test_deep_below_a_configured_directory(helper: live.Helper, tmp_path: Path) -> None:
    """Deeper than the text of a path reaches."""
    helper.call("chdir", path=latin(tmp_path))
    for _ in range(60):
        helper.call("calls", plan=[{"do": ["mkdirat", AT_FDCWD, "d", 0o755]}])
        helper.call("chdir", path="d")
    plan = [{"do": ["openat", AT_FDCWD, "leaf", 0o102, 0o600], "as": "f"}, {"do": ["close", ["fd", "f"]]}]
    with live.watching(helper, config=settings(tmp_path, {"monitor_paths": ["d"]}, events=["create"])) as collector:
        fact = helper.call("calls", plan=plan)
        batch = live.everything(collector)
    helper.call("chdir", path="/")
    assert batch["file"]["inode"].tolist() == [fact[0]["stat"]["inode"]]


def test_what_is_not_there(tree: Path) -> None:
    """A directory to monitor must be there, else nothing would be collected and nobody told; one to exclude need not."""
    with pytest.raises(ConfigError, match=r"programs\.file\.monitor_paths: .*/nowhere cannot be watched: No such file"):
        Collector(settings(tree, {"monitor_paths": ["nowhere"]}), source=KernelSource(snapshot=False)).start()
    with pytest.raises(ConfigError, match="File name too long"):
        Collector(settings(tree, {"monitor_paths": ["x" * 250]}), source=KernelSource(snapshot=False)).start()
    with Collector(settings(tree, {"exclude_paths": ["nowhere"]}), source=KernelSource(snapshot=False)) as collector:
        assert collector.health().status in ("healthy", "degraded")


def test_a_path_rewritten_during_the_call_is_never_taken_for_true(helper: live.Helper, tree: Path) -> None:
    """A thread writes two paths into the buffer in turn while it is opened: what a record says of a file that it knows is true."""
    tries = tier_size(2000, 100_000)
    paths = [tree / "in/f", tree / "other/f"]
    true = {p.stat().st_ino: os.fsencode(p) for p in paths}
    with live.watching(helper, config=support.config(events=["open"])) as collector:
        helper.send("race", paths=[latin(p) for p in paths], tries=tries)
        batches = live.read_until(collector, lambda found: sum(len(b["file"]) for b in found) >= tries, 300)
        fact = helper.result(60)
        batches += live.drain(collector)
        stats = live.adds_up(collector)
    assert fact["turns"] > 2
    assert stats.by_kind["file.open"]["submitted"] == tries
    known = claimed = 0
    opened = []
    for batch in batches:
        rows, path = batch["file"], batch.strings("file", "path")
        for i in range(len(rows)):
            opened.append((int(rows["ts_ns"][i]), int(rows["inode"][i])))
            if rows["flags"][i] & CLAIMED:
                claimed += 1
                continue
            known += 1
            assert path[i] == true[int(rows["inode"][i])]
    assert known + claimed == tries
    assert [inode for _, inode in sorted(opened)] == fact["opened"]     # each as the call really opened it
    assert known == sum(1 for inode in fact["opened"] if inode)
