# SPDX-License-Identifier: Apache-2.0
"""A writer that is killed: at every system call of a run with rotations, in the middle of any write, and at random moments.

Every store that it leaves opens, has a prefix of what was appended, and all of what flush() had confirmed.
"""
from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import tapio_fast as tapio
from support import tier_size
from tapio_fast import RawStore, schema
from tapio_fast._core import _engine
from tapio_fast._store_files import open_writer

PROCESS = schema.DOMAINS["process"]
EPOCHS = 14
PAGE = os.sysconf("SC_PAGESIZE")
OPTIONS = {"block_rows": 1, "segment_bytes": 32768 + 30_000}      # blocks of some pages, four or so to a segment


def epoch(number: int) -> _engine.Batch:
    """Rows and texts that follow from the number alone."""
    r = np.random.default_rng(number)
    rows = np.zeros(100 + number % 50, schema.DTYPES["process"])
    rows["ts_ns"], rows["type"], rows["subtype"] = number * 1_000_000 + np.arange(len(rows)), PROCESS, 1
    rows["pid"], rows["old_caps"] = r.integers(0, 1 << 30, len(rows)), r.integers(0, 1 << 60, len(rows))
    text = r.integers(0, 256, 40 * len(rows), np.uint8).tobytes()
    rows["exe"]["offset"], rows["exe"]["len"], rows["exe"]["full_len"] = 40 * np.arange(len(rows)), 40, 40
    return _engine.build({PROCESS: (rows.tobytes(), text)}, number)


def left(path: Path) -> int:
    """How many epochs there are, from the first one on and unchanged."""
    try:
        store = RawStore(path)
    except (tapio.StoreError, OSError):      # killed before there was a segment
        return 0
    count = 0
    for count, batch in enumerate(store.scan(), 1):
        whole = tapio.RecordBatch(epoch(count - 1))
        assert batch.epoch == count - 1 and batch["process"].tobytes() == whole["process"].tobytes()
        assert list(batch.strings("process", "exe")) == list(whole.strings("process", "exe"))
    return count


WRITE = """
import os, sys
sys.path[:0] = {path!r}
import test_store_kill as t
from tapio_fast._store_files import open_writer
fd = int(sys.argv[2])
writer = open_writer(sys.argv[1], **t.OPTIONS)
for number in range(t.EPOCHS):
    writer.append(t.epoch(number))
    if number % 3 == 2:
        writer.flush(True)
        os.write(fd, bytes([number + 1]))
writer.close()
os.write(fd, bytes([t.EPOCHS]))
"""


def under_strace(path: Path, *inject: str) -> tuple[int, int]:
    """Run the writer; (its status, how many epochs were confirmed)."""
    segments = [a for i in range(1, 12) for a in ("-P", str(path / f"segment-{i:010}.tfseg"))]
    ours, theirs = os.pipe()
    script = WRITE.format(path=[str(Path(__file__).parent), *sys.path])
    command = ["strace", "-f", "-qq", "-o", os.devnull, "-P", str(path), "-P", str(path / "LOCK"), *segments, *inject,
               sys.executable, "-c", script, str(path), str(theirs)]
    done = subprocess.run(command, capture_output=True, timeout=120, check=False, pass_fds=[theirs])
    os.close(theirs)
    confirmed = os.read(ours, 1000)
    os.close(ours)
    return done.returncode, max(confirmed, default=0)


@pytest.mark.strace
@pytest.mark.parametrize("call", ["openat", "pwrite64", "fdatasync", "fsync", "flock", "close", "newfstatat,fstat", "getdents64"])
def test_killed_at_any_system_call(tmp_path: Path, call: str) -> None:
    killed = 0
    for when in range(1, 120):
        path = tmp_path / str(when)
        path.mkdir(mode=0o700)
        status, confirmed = under_strace(path, "-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={when}")
        found = left(path)
        assert found >= confirmed, f"killed at {call} {when}: {confirmed} were confirmed, {found} are there"
        if status == 0:
            assert found == EPOCHS == confirmed
            break
        killed += 1
        with RawStore(path, "a") as again:      # the next start goes on behind it
            again.append(tapio.RecordBatch(epoch(found)))
        assert left(path) == found + 1
    else:
        pytest.fail("it was still being killed")
    least = {"openat": 5, "pwrite64": EPOCHS + 3, "fdatasync": 8, "fsync": 3}
    assert killed >= least.get(call, 1), killed


def test_cut_at_any_page_of_any_write(tmp_path: Path) -> None:
    """A kill inside a write leaves whole pages of it: whatever prefix, it is the epochs that are whole in it."""
    writer = open_writer(tmp_path / "whole", **OPTIONS)
    for number in range(EPOCHS):
        writer.append(epoch(number))
    writer.close()
    files = sorted((tmp_path / "whole").glob("*.tfseg"))
    assert len(files) >= 3
    states = before = 0
    for k, file in enumerate(files):
        raw = file.read_bytes()
        reader = RawStore(tmp_path / "whole")._reader()
        frames = [f for f in iter(reader.frame, None) if f["segment"] == k + 1]
        ends = [32768 + sum(f["bytes"] for f in frames[:i]) for i in range(len(frames) + 1)]
        cuts = {cut for start, end in zip(ends, ends[1:], strict=False) for cut in (*range(start // PAGE * PAGE + PAGE, end, PAGE), start, end)}
        for cut in sorted(cuts | set(range(0, 32768, PAGE))):
            path = tmp_path / "cut"
            path.mkdir(mode=0o700)
            for whole in files[:k]:
                os.link(whole, path / whole.name)
            (path / file.name).write_bytes(raw[:cut])
            whole_ones = sum(end <= cut for end in ends[1:])
            assert left(path) == before + whole_ones, (file.name, cut)
            for name in os.listdir(path):
                (path / name).unlink()
            path.rmdir()
            states += 1
        before += len(frames)
    assert before == EPOCHS and states > 40


def test_killed_at_random(tmp_path: Path) -> None:
    """A forked writer is killed after some moments; what it had confirmed is there, and the next one goes on behind it."""
    r = random.Random(20261201)
    total = confirmed = kept = 0
    path = tmp_path / "store"
    for _ in range(tier_size(300, 10_000)):
        ours, theirs = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                writer = open_writer(path, **OPTIONS)
                for number in range(total, total + 1000):
                    writer.append(epoch(number))
                    if number % 2:
                        writer.flush(True)
                        os.write(theirs, (number + 1).to_bytes(4, "little"))
            finally:
                os._exit(1)
        os.close(theirs)
        time.sleep(r.random() * r.choice((0.002, 0.01, 0.03)))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        said = b""
        while some := os.read(ours, 65536):
            said += some
        os.close(ours)
        confirmed = max(confirmed, int.from_bytes(said[-4:], "little") if said else 0)
        total = left(path)
        assert total >= confirmed
        kept += total > 0
        if total > 400:         # what is read again each time
            for name in os.listdir(path):
                (path / name).unlink()
            total = confirmed = 0
    assert kept > 200
