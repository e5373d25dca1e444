# SPDX-License-Identifier: Apache-2.0
"""Secrets of real processes: 500 in twenty shapes through argv, others in the names and the content of files; none in batches, store or log."""
from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import live_support as live
import pytest
import secret_shapes as shapes

import tapio_fast as tapio

pytestmark = [pytest.mark.root, pytest.mark.live]

REDACTED = 1 << 2
ROUNDS = 25             # of each of the twenty shapes


def config(store: Path, **file: object) -> tapio.Config:
    base = live.roomy(programs={"file": {"enabled": bool(file), **file}},
                      dual_path={"enabled": True, "raw_storage_path": str(store), "semantic_enabled": False, "correlation_enabled": False})
    return base.replace(debug={"enabled": True, "trace_events": True})


def plans(planted: list[tuple[str, shapes.Planted]], exe: Path) -> list[dict[str, object]]:
    """Children that are given these arguments, and end at once."""
    return [{"exe": str(exe), "argv": [part.encode().decode("latin-1") for part in p.argv]} for _, p in planted]


def test_500_secrets_of_real_processes_are_nowhere(triggers: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    planted = shapes.seeded(7, ROUNDS)
    with live.Helper("processes.py") as helper, live.watching(helper, config=config(tmp_path / "store")) as collector:
        facts = helper.call("children", plans=plans(planted, triggers / "t_signal"))
        batches = live.drain(collector)
        said = repr((collector.stats(), collector.debug(), collector.health()))
    seen, stored = b"\n".join(shapes.bytes_of(batch) for batch in batches), shapes.bytes_of_store(tmp_path / "store")
    said += "\n".join(record.getMessage() for record in caplog.records)
    assert len(facts) == len(planted) == 500
    for _, p in planted:
        assert p.keep.encode() in seen and p.keep.encode() in stored
        for secret in p.secrets:
            assert secret.encode() not in seen and secret.encode() not in stored and secret not in said, p
    rows, places = live.of_kind(live.together(batches), "process.exec")
    args = live.together(batches).strings("process", "args")
    true = {fact["pid"]: b"\0".join(part.encode() for part in p.argv) for fact, (_, p) in zip(facts, planted, strict=True)}
    assert {int(row["pid"]) for row in rows} == set(true)
    for row, place in zip(rows, places.tolist(), strict=True):
        whole = true[int(row["pid"])]
        assert row["flags"] & REDACTED and row["args"]["full_len"] == len(whole) > len(args[place])
        assert args[place].count(b"\0") == whole.count(b"\0")


def test_secrets_in_names_and_content_of_files_are_nowhere(tmp_path: Path) -> None:
    names = shapes.names(8, 5)
    content = "db_password = hunter2hunter2\nplain = keep-content\n"
    where = tmp_path / "files"
    where.mkdir()
    store = tmp_path / "store"
    settings = config(store, events=["open", "write", "rename"], monitor_paths=[str(where)], capture_content=True)
    script = "\n".join(["import os,sys", "for name in sys.stdin.read().split('\\0'):", f"    path = {str(where)!r} + '/' + name",
                        "    fd = os.open(path, os.O_CREAT | os.O_WRONLY)", f"    os.write(fd, {content!r}.encode())", "    os.close(fd)",
                        "    os.rename(path, path + '.keep')"])
    with live.Helper("processes.py") as helper, live.watching(helper, config=settings, filter=tapio.KernelFilter()) as collector:
        run(script, "\0".join(name for name, _ in names))
        batches = live.drain(collector)
    seen, stored = b"\n".join(shapes.bytes_of(batch) for batch in batches), shapes.bytes_of_store(store)
    for text in (seen, stored):
        # a store's block has a text once, however many rows have it
        assert text.count(b"keep-content") >= (len(names) if text is seen else 1) and b".keep" in text
        assert b"hunter2" not in text
        for _, secret in names:
            assert secret.encode() not in text, secret
    assert {name for name, _ in names} == {name.removesuffix(".keep") for name in os.listdir(where)}


def run(script: str, given: str) -> None:
    """Run Python with this on its standard input."""
    subprocess.run([sys.executable, "-S", "-E", "-c", script], input=given.encode(), check=True, timeout=live.LIMIT)
