# SPDX-License-Identifier: Apache-2.0
"""The verbs that look after a store: info, verify, prune, export."""
from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filter_strategies import pack, rows_of

from tapio_fast import RawStore, RecordBatch


def run(*argv: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "tapio_fast", *map(str, argv)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=60, check=False)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Three segments, of which the first is two days old."""
    for k in range(3):
        with RawStore(tmp_path / "store", "a") as store:
            store.append(RecordBatch(pack([row for i in range(20) for row in rows_of(100 * k + i)])))
    at = time.time() - 48 * 3600
    os.utime(tmp_path / "store/segment-0000000001.tfseg", (at, at))
    return tmp_path / "store"


def test_verify_ends_with_74_where_something_is_damaged(path: Path) -> None:
    done = run("verify", path, "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["ok"] is True and json.loads(done.stdout)["segments"] == 3
    segment = path / "segment-0000000002.tfseg"
    raw = bytearray(segment.read_bytes())
    raw[-100] ^= 0xFF
    segment.write_bytes(raw)
    done = run("verify", path)
    assert done.returncode == 74 and "ok              False" in done.stdout and "corrupt_blocks  1" in done.stdout


def test_prune_says_what_went(path: Path) -> None:
    rows = json.loads(run("info", path, "--json").stdout)["rows"]
    dry = run("prune", path, "--older-than", "1d", "--dry-run")
    assert dry.returncode == 0 and dry.stdout.startswith("would remove 1 segment, ") and len(list(path.glob("*.tfseg"))) == 3
    done = run("prune", path, "--older-than", "1d", "--json")
    gone = json.loads(done.stdout)
    assert done.returncode == 0 and gone["segments"] == 1 and len(list(path.glob("*.tfseg"))) == 2
    told = json.loads(run("info", path, "--json").stdout)
    assert told["removed"] == gone and told["rows"] + gone["rows"] == rows
    assert "rows      " in run("info", path).stdout and run("prune", path, "--max-size", "1").stdout.startswith("removed 2 segments")


@pytest.mark.parametrize("wrong", [[], ["--older-than", "1x"], ["--max-size", "huge"], ["--keep-free", "-1"]])
def test_prune_needs_a_bound_that_can_be_read(path: Path, wrong: list[str]) -> None:
    done = run("prune", path, *wrong)
    assert done.returncode == 2 and "Traceback" not in done.stderr and len(list(path.glob("*.tfseg"))) == 3


def test_export_prints_the_files(path: Path, tmp_path: Path) -> None:
    done = run("export", path, "-o", tmp_path / "out", "--programs", "file,network", "--filter", "pid < 5")
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split()) == [str(tmp_path / "out" / name) for name in ("file.parquet", "network.parquet")]
    assert run("export", path, "-o", tmp_path / "out").returncode == 74         # there is one already
    assert run("export", path, "-o", tmp_path / "two", "--format", "csv").returncode == 2
