# SPDX-License-Identifier: Apache-2.0
"""What exec records say at the edges: argv of every shape and size, long and deep paths, programs and directories that are gone."""
from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import live_support as live
import pytest

pytestmark = [pytest.mark.root, pytest.mark.live]

CAP = 4096
TRUNCATED, PARTIAL, CGROUP_V1 = 1, 1 << 10, 1 << 6


def execs(batch: Any) -> dict[int, tuple[Any, dict[str, bytes]]]:
    """pid -> (row, texts) of the exec records; each pid once."""
    rows, places = live.of_kind(batch, "process.exec")
    texts = {f: batch.strings("process", f) for f in ("exe", "cwd", "args")}
    found = {int(r["pid"]): (r, {f: texts[f][at] for f in texts}) for r, at in zip(rows, places.tolist(), strict=True)}
    assert len(found) == len(rows)
    return found


def test_argv_of_every_shape(triggers: Path) -> None:
    long = ["x" * 120_000] * 15                     # 1.8 MB, the most that fits beside an environment
    shapes: list[list[str]] = [
        ["a"], [""], ["", "", ""], ["a", "", "b", ""], ["\xff\xfe\x80", "\n\t\x01"], ["a" * CAP], ["a" * (CAP + 1)], ["a" * (CAP - 1), ""],
        ["a" * (CAP - 1), "b"], ["a" * (CAP - 2), "b"], ["é" * 3000, "z"], long,
    ]
    for _ in range(5):
        shapes = check_shapes(triggers, shapes)
        if not shapes:
            return
    pytest.fail(f"partial five times: {[len(argv) for argv in shapes]}")


def check_shapes(triggers: Path, shapes: list[list[str]]) -> list[list[str]]:
    """Run these; return those whose record says that a page of the arguments could not be read: the kernel may just be moving it, which
    a test cannot forbid, and does not do so every time."""
    with live.Helper("processes.py") as helper, live.watching(helper) as collector:
        plans = [{"exe": str(triggers / "t_signal"), "argv": argv} for argv in shapes]      # ends at once, whatever it is given
        facts = helper.call("children", plans=plans)
        found = execs(live.everything(collector))
    assert len(found) == len(shapes)
    again = []
    for fact, argv in zip(facts, shapes, strict=True):
        row, texts = found[fact["pid"]]
        if row["flags"] & PARTIAL:
            again.append(argv)
            continue
        true = b"\0".join(a.encode("latin-1") for a in argv)
        assert texts["args"] == true[:CAP]
        assert row["args"]["full_len"] == len(true)
        assert row["args"]["len"] == min(len(true), CAP)
        assert int(row["flags"]) & ~CGROUP_V1 == (TRUNCATED if len(true) > CAP else 0)
    return again


def test_script_is_its_interpreter_with_the_arguments_the_kernel_made(triggers: Path, tmp_path: Path) -> None:
    script = triggers / "script"
    script.write_text(f"#!{triggers / 't_life'} exit\n")
    script.chmod(0o755)
    with live.Helper("processes.py") as helper, live.watching(helper) as collector:
        fact = helper.call("child", exe=str(script), argv=["shown", "5"])
        row, texts = execs(live.everything(collector))[fact["pid"]]
    assert texts["exe"] == os.fsencode(triggers / "t_life")
    assert texts["args"].split(b"\0") == [os.fsencode(triggers / "t_life"), b"exit", os.fsencode(script), b"5"]
    assert row["comm"] == b"script"


def test_paths_as_proc_shows_them(triggers: Path) -> None:
    """Each child waits, so that /proc/PID/exe and /proc/PID/cwd can be asked."""
    deep = triggers / "deep"
    long = deep.joinpath(*[f"{i:02}-" + "n" * 97 for i in range(18)])       # 1,800 bytes and more
    long.mkdir(parents=True)
    gone = triggers / "gone"
    gone.mkdir()
    for place in (long / "t_life", triggers / "doomed", triggers / "ends in (deleted)"):
        shutil.copy(triggers / "t_life", place)
    (triggers / "link").symlink_to(triggers / "t_life")
    plans: list[dict[str, Any]] = [
        {"exe": str(triggers / "t_life"), "cwd": "/"},
        {"exe": str(triggers / "link"), "cwd": str(triggers)},
        {"exe": str(long / "t_life"), "cwd": str(long)},
        {"exe": str(triggers / "doomed"), "unlink_exe": True},
        {"exe": str(triggers / "ends in (deleted)")},
        {"exe": str(triggers / "t_life"), "cwd": str(gone), "rmdir_cwd": True},
        {"exe": str(triggers / "t_life"), "memfd": "nameless"},
        {"exe": str(triggers / "t_life"), "cwd": "/proc/self"},
    ]
    with live.Helper("processes.py") as helper, live.watching(helper) as collector:
        facts = [helper.call("held_child", argv=["held"], **plan) for plan in plans]
        found = execs(live.everything(collector))
    for fact in facts:
        row, texts = found[fact["pid"]]
        assert texts["exe"] == fact["exe"].encode("latin-1")
        assert texts["cwd"] == fact["cwd"].encode("latin-1")
        assert texts["args"] + b"\0" == fact["cmdline"].encode("latin-1")
        assert (row["exe_inode"], row["exe_device"]) == (fact["inode"], fact["device"])
        assert not row["flags"] & (TRUNCATED | PARTIAL)
        assert row["exe"]["full_len"] == len(texts["exe"])
    assert facts[3]["exe"].endswith("doomed (deleted)")
    assert facts[5]["cwd"].endswith("gone (deleted)")


def test_path_deeper_than_the_walk_keeps_its_end_and_says_so(triggers: Path) -> None:
    deep = triggers.joinpath("steps", *[f"s{i}" for i in range(60)])
    deep.mkdir(parents=True)
    shutil.copy(triggers / "t_life", deep)
    with live.Helper("processes.py") as helper, live.watching(helper) as collector:
        fact = helper.call("child", exe=str(deep / "t_life"), argv=["a", "exit", "0"], cwd=str(deep))
        row, texts = execs(live.everything(collector))[fact["pid"]]
    for field, whole in (("exe", os.fsencode(deep / "t_life")), ("cwd", os.fsencode(deep))):
        assert whole.endswith(texts[field])
        assert texts[field].count(b"/") >= 32
        assert len(texts[field]) == row[field]["len"] < row[field]["full_len"] <= len(whole)
    assert row["flags"] & TRUNCATED
    assert texts["args"] == b"a\0exit\x000"


def test_life_time_lies_between_what_we_waited(triggers: Path) -> None:
    with live.Helper("processes.py") as helper, live.watching(helper) as collector:
        fact = helper.call("held_child", exe=str(triggers / "t_life"), argv=["a"], hold=0.12)
        rows, _ = live.of_kind(live.everything(collector), "process.exit")
    row = rows[rows["pid"] == fact["pid"]][0]
    assert 120_000_000 <= row["duration_ns"] <= fact["after"] - fact["before"]


def test_exec_from_a_second_thread_keeps_the_process(triggers: Path) -> None:
    with live.Helper("processes.py") as helper, live.watching(helper) as collector:
        fact = helper.call("child_output", exe=str(triggers / "t_threads"), argv=["a", "exec", str(triggers / "t_life"), "exit", "3"])
        batch = live.everything(collector)
    rows, places = live.of_kind(batch, "process.exec")
    exes = batch.strings("process", "exe")
    assert [exes[int(p)] for p in places] == [os.fsencode(triggers / "t_threads"), os.fsencode(triggers / "t_life")]
    thread = int(fact["output"])
    assert thread != fact["pid"]
    assert rows["pid"].tolist() == rows["tid"].tolist() == [fact["pid"]] * 2
    assert rows["target_pid"].tolist() == [fact["pid"], thread]
    assert len(set(rows["start_ns"].tolist())) == 1
    exits, _ = live.of_kind(batch, "process.exit")
    assert exits["pid"].tolist() == [fact["pid"]]
    assert exits["exit_code"].tolist() == [3]


def test_threads_are_not_processes(triggers: Path) -> None:
    with live.Helper("processes.py") as helper, live.watching(helper) as collector:
        many = helper.call("child", exe=str(triggers / "t_threads"), argv=["a", "many", "50"])
        leader = helper.call("child_output", exe=str(triggers / "t_threads"), argv=["a", "leader"])
        batch = live.everything(collector)
    pids = sorted((many["pid"], leader["pid"]))
    for kind in ("fork", "exec", "exit"):
        rows, _ = live.of_kind(batch, f"process.{kind}")
        assert sorted(rows["pid"].tolist()) == pids, kind
    assert rows["tid"].tolist() == rows["pid"].tolist()
    codes = dict(zip(rows["pid"].tolist(), rows["exit_code"].tolist(), strict=True))
    assert codes == {many["pid"]: 0, leader["pid"]: 7}      # of the process, though its leader had ended with 0 before
