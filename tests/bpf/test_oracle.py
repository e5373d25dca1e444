# SPDX-License-Identifier: Apache-2.0
"""An independent witness: bpftrace watches the same processes beside us, and counts of exec, connect, open and unlink agree exactly.

Three accounts of one load are compared, process by process: what the load's own processes did, what bpftrace saw, what we recorded.
"""
from __future__ import annotations

import contextlib
import errno
import os
import select
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import live_support as live
import pytest

import support
from tapio_fast import Config, RecordBatch, Statistics

pytestmark = [pytest.mark.root, pytest.mark.live]

# Its own state names: 7 = TCP_CLOSE, 2 = TCP_SYN_SENT. A line per event: perf buffers say when they lose one, and pids tell the tree.
SCRIPT = """
BEGIN { @tree[$1] = 1; }
tracepoint:sched:sched_process_fork /@tree[args->parent_pid]/ { @tree[args->child_pid] = 1; }
tracepoint:sched:sched_process_exec /@tree[tid]/ { printf("exec %d 0\\n", pid); }
tracepoint:sock:inet_sock_set_state /@tree[tid] && args->protocol == 6 && args->oldstate == 7 && args->newstate == 2/
    { printf("connect %d 0\\n", pid); }
tracepoint:syscalls:sys_exit_open, tracepoint:syscalls:sys_exit_openat, tracepoint:syscalls:sys_exit_openat2
    /@tree[tid]/ { printf("open %d %d\\n", pid, args->ret); }
tracepoint:syscalls:sys_exit_unlink, tracepoint:syscalls:sys_exit_unlinkat
    /@tree[tid]/ { printf("unlink %d %d\\n", pid, args->ret); }
END { clear(@tree); }
"""
WHAT = {"exec": ("process.exec",), "connect": ("network.connect",), "open": ("file.open", "file.create"), "unlink": ("file.delete",)}


class Witness:
    """bpftrace, in a mount namespace of its own where tracefs is mounted."""

    def __init__(self, pid: int) -> None:
        script = "mount -t tracefs tracefs /sys/kernel/tracing; exec bpftrace -B line -e \"$1\" \"$2\""
        self._process = subprocess.Popen(["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", SCRIPT, str(pid)],
                                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                         env={**os.environ, "BPFTRACE_PERF_RB_PAGES": "4096"})   # 64 do not hold the long tier's bursts
        self._rest = b""
        self.lines: list[str] = []

    def read(self, seconds: float) -> list[str]:
        """What it said since the last call; waits so long for something."""
        assert self._process.stdout is not None
        fresh: list[str] = []
        while select.select([self._process.stdout], [], [], 0 if fresh else seconds)[0]:
            data = self._process.stdout.read1(1 << 16)
            if not data:
                break
            *lines, self._rest = (self._rest + data).split(b"\n")
            fresh += [line.decode() for line in lines]
        self.lines += fresh
        return fresh

    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def end(self) -> list[str]:
        """Interrupt it, once it has caught up (it drops what it has not printed yet); all it ever said."""
        while self.read(1.0):
            pass
        self._process.send_signal(2)
        end = time.monotonic() + live.LIMIT
        while self.alive() or self.read(0):
            self.read(0.1)
            assert time.monotonic() < end, "bpftrace does not end"
        return self.lines

    def close(self) -> None:
        """End it in any case."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait(10)
        assert self._process.stdout is not None
        self._process.stdout.close()


class Run(NamedTuple):
    facts: dict[str, Any]
    witness: list[str]
    batch: RecordBatch
    stats: Statistics


def seen(lines: list[str], pids: set[int]) -> Counter[tuple[str, int, int]]:
    """(what, pid, errno) -> how often bpftrace saw it."""
    words = (line.split() for line in lines)
    found = Counter((word[0], int(word[1]), max(0, -int(word[2]))) for word in words if len(word) == 3 and word[0] in WHAT)
    return Counter({key: n for key, n in found.items() if key[1] in pids})


def wait_until_it_sees_all(witness: Witness, helper: live.Helper, load: dict[str, Any]) -> None:
    """Repeat a small load until a round of it is seen whole: from then on every probe is attached, on every CPU."""
    end = time.monotonic() + live.LIMIT
    while True:
        assert witness.alive(), "\n".join(witness.lines)
        assert time.monotonic() < end, f"bpftrace saw too little: {witness.lines}"
        facts = helper.call("children", **(load | {"n": 1, "files": 1, "connects": 1}))
        pid = facts["pids"][0]
        until = time.monotonic() + 1
        while time.monotonic() < until and {what for what, *_ in seen(witness.lines, {pid})} != set(WHAT):
            witness.read(0.1)
        if {what for what, *_ in seen(witness.lines, {pid})} == set(WHAT):
            return


@pytest.fixture(scope="module")
def run(triggers: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """One load, watched by both."""
    if not shutil.which("bpftrace"):
        support.lacking("live", "bpftrace, the independent witness, is not on PATH (`make deps` installs it)")
    load = {"exe": str(triggers / "t_life"), "folder": str(tmp_path_factory.mktemp("oracle"))}
    config = Config.default().replace(programs={"file": {"enabled": True, "events": ["open", "create", "delete"]}})
    with live.Helper("mixed.py") as helper, contextlib.closing(Witness(helper.pid)) as witness:
        wait_until_it_sees_all(witness, helper, load)
        with live.watching(helper, config=config) as collector:
            facts = helper.call("children", timeout=120, **load, n=support.tier_size(20, 200), files=20, connects=20)
            batch = live.everything(collector)
            stats = live.adds_up(collector)
        lines = witness.end()
    assert stats.events_dropped == 0
    assert not [line for line in lines if line.startswith("Lost")], "bpftrace itself lost events"
    yield Run(facts, lines, batch, stats)


def ours(run: Run, what: str) -> Counter[tuple[int, int]]:
    """(pid, errno) -> how many records of it we have. bpftrace sees the beginning of a connect, which has no errno yet."""
    pids = set(run.facts["pids"])
    found: Counter[tuple[int, int]] = Counter()
    for kind in WHAT[what]:
        rows, _ = live.of_kind(run.batch, kind)
        errors = rows["errno"].tolist() if what in ("open", "unlink") else [0] * len(rows)
        found.update((pid, error) for pid, error in zip(rows["pid"].tolist(), errors, strict=True) if pid in pids)
    return found


def theirs(run: Run, what: str) -> Counter[tuple[int, int]]:
    """(pid, errno) -> how many bpftrace counted."""
    return Counter({(pid, error): n for (name, pid, error), n in seen(run.witness, set(run.facts["pids"])).items() if name == what})


def test_the_load_did_what_it_was_told(run: Run) -> None:
    assert set(run.facts["statuses"]) == {0}


@pytest.mark.parametrize("what", ["exec", "connect", "unlink"])
def test_three_accounts_agree(run: Run, what: str) -> None:
    told = Counter({(pid, 0): run.facts[what] for pid in run.facts["pids"]})
    if what == "unlink":        # each of them was tried again
        told += Counter({(pid, errno.ENOENT): run.facts[what] for pid in run.facts["pids"]})
    assert theirs(run, what) == told
    assert ours(run, what) == told


def test_opens_agree_with_bpftrace(run: Run) -> None:
    """The program that each child executes opens its libraries as well: how many, the load does not know."""
    for pid in run.facts["pids"]:
        assert theirs(run, "open")[pid, 0] > run.facts["open"] and theirs(run, "open")[pid, errno.ENOENT] >= run.facts["unlink"]
    assert ours(run, "open") == theirs(run, "open")
