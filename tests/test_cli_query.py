# SPDX-License-Identifier: Apache-2.0
"""`tapio-fast query`, run as a command, in a pipe and on a terminal."""
from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

import tapio_fast as tapio
from tapio_fast import demo

CLI = [sys.executable, "-m", "tapio_fast", "query"]


def ask(*argv: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*CLI, *map(str, argv)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)


def on_terminal(*argv: str | Path) -> str:
    """What a terminal would show."""
    master, slave = pty.openpty()
    child = subprocess.Popen([*CLI, *map(str, argv)], stdin=subprocess.DEVNULL, stdout=slave, stderr=slave)
    os.close(slave)
    shown = b""
    while True:
        try:
            some = os.read(master, 65536)
        except OSError:         # the child was the last to hold the other end
            break
        if not some:
            break
        shown += some
    os.close(master)
    assert child.wait(60) == 0, shown
    return shown.decode().replace("\r\n", "\n")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("query") / "store"
    source = tapio.MemorySource()
    with tapio.Collector(demo._config(path), source=source) as collector:
        for kind, row, tail in (demo._made_up("process.exec", pid=77, args=b"ls\0-l", exe=b"/bin/l\x1b[31ms\xff"),
                                demo._made_up("network.connect", dest_port=443, family=2, protocol=6, direction=1)):
            assert source.fill(kind, row, 5, tail=tail) == 5
        collector.stop()
    return path


def test_in_a_pipe_an_object_a_line(store: Path) -> None:
    done = ask(store, "select subtype, args, count(*) as n, sum(weight) as w, max(time) as last from process group by all")
    assert done.returncode == 0, done.stderr
    row, = map(json.loads, done.stdout.splitlines())
    with tapio.RawStore(store) as opened:
        last = max(event.timestamp for batch in opened.scan(domains=["process"]) for event in batch.events())
    assert row == {"subtype": "exec", "args": ["ls", "-l"], "n": 5, "w": 5.0, "last": tapio.formatting.rfc3339(last)}


def test_values_that_json_has_no_word_for(store: Path) -> None:
    done = ask(store, "select 'nan'::double as a, '\\xff\\x41'::blob as b, 1.25::decimal(5, 2) as c, null as d, {'x': date '2026-12-01'} as e, "
                      "time from network limit 1")
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout)
    assert row.pop("time").endswith("Z")
    assert row == {"a": None, "b": "\\xffA", "c": 1.25, "d": None, "e": {"x": "2026-12-01"}}


def test_on_a_terminal_a_table_without_escape_sequences_of_others(store: Path) -> None:
    lines = on_terminal(store, "select pid, exe, weight from process limit 2").splitlines()
    assert lines[0].split() == ["pid", "exe", "weight"] and lines[3:] == ["(2 rows)"]
    assert all(line.split() == ["77", "/bin/l\\x1b[31ms\\\\xff", "1"] for line in lines[1:3])
    assert on_terminal(store, "select pid from memory").splitlines() == ["pid", "(0 rows)"]
    assert "\x1b" not in on_terminal(store, "select * from process")


@pytest.mark.parametrize("question, said", [("select pidd from process", '"pid"'), ("from proces", '"process"'), ("select from", "syntax"),
                                            ("select 1; select 2", "one SELECT"), ("create table t (a int)", "one SELECT")])
def test_a_wrong_question_is_a_usage_error_that_says_what_is_wrong(store: Path, question: str, said: str) -> None:
    done = ask(store, question)
    assert done.returncode == 2 and done.stdout == ""
    assert said in done.stderr and "Traceback" not in done.stderr


def test_no_store_is_an_io_error(tmp_path: Path) -> None:
    done = ask(tmp_path / "none", "select 1")
    assert done.returncode == 74 and "there is no such directory" in done.stderr


def test_a_reader_that_leaves_is_no_failure(store: Path) -> None:
    command = [*CLI, os.fspath(store), "select range from range(100000)"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None and child.stderr is not None
    assert child.stdout.readline() == '{"range": 0}\n'
    child.stdout.close()
    said = child.stderr.read()
    child.stderr.close()
    assert child.wait(60) == 0, said
