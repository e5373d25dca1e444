# SPDX-License-Identifier: Apache-2.0
"""What the gate judges is what the row says, also where one thread does something and another one is the row's subject."""
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import live_support as live
import pytest

import tapio_fast as tapio

pytestmark = [pytest.mark.root, pytest.mark.live]

CHILD = """
import ctypes, os, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
def name(text): libc.prctl(15, text, 0, 0, 0)
mode, path = sys.argv[1:]
sys.stdin.readline()
name(b"tflead")
if mode == "faults":            # the leader ends first, the other thread last
    def work():
        name(b"tfwork"); time.sleep(0.4); os._exit(0)
    threading.Thread(target=work).start()
    time.sleep(0.1)
    libc.syscall(60, 0)
elif mode == "reads":           # one thread reads, the other one closes
    fd = os.open(path, os.O_RDONLY)
    def work():
        name(b"tfwork")
        for _ in range(5): os.pread(fd, 10, 0)
    thread = threading.Thread(target=work)
    thread.start(); thread.join()
    os.close(fd)
else:                           # a grandchild opens the file
    if not os.fork():
        if not os.fork():
            open(path, "rb").close()
            time.sleep(0.3)
            os._exit(0)
        os.wait(); os._exit(0)
    os.wait()
"""


def collected(mode: str, path: Path, filter: str, programs: dict[str, Any]) -> tapio.RecordBatch:
    config = tapio.Config.default().replace(programs={"network": {"enabled": False}, **programs})
    child = subprocess.Popen([sys.executable, "-S", "-E", "-c", CHILD, mode, str(path)], stdin=subprocess.PIPE)
    try:
        with tapio.Collector(config, filter=filter.replace("PID", str(child.pid)), source=tapio.KernelSource()) as collector:
            collector.fileno()
            live.wait_for(lambda: collector.stats().by_kind.get("meta.snapshot_process", {}).get("seen", 0) > 0)
            child.communicate(b"\n", timeout=60 * live.SLOW)
            batch = live.everything(collector)
            live.adds_up(collector)
    finally:
        child.kill()
        child.wait()
    return batch


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "subject"
    path.write_bytes(b"x" * 100)
    return path


@pytest.mark.parametrize("how", ["==", "iequals"])
def test_page_faults_are_judged_by_the_leaders_name(how: str, file: Path) -> None:
    """`iequals` is judged in user space, `==` in the kernel: the same rows."""
    programs = {"memory": {"enabled": True, "events": ["page_fault"], "track_page_faults": True}}
    for name, n in (("tflead", 1), ("tfwork", 0)):
        rows = collected("faults", file, f"type == memory and comm {how} {name}", programs)["memory"]
        assert len(rows) == n and all(row["comm"] == b"tflead" for row in rows)


@pytest.mark.parametrize("how", ["==", "iequals"])
def test_reads_that_are_added_up_are_judged_by_the_row(how: str, file: Path) -> None:
    programs = {"file": {"enabled": True, "events": ["read"]}}
    for name, wanted in (("tflead", [(b"tflead", 5, 50)]), ("tfwork", [])):
        rows = collected("reads", file, f'kind == file.read and comm {how} {name} and path == "{file}"', programs)["file"]
        assert [(row["comm"], row["count"], row["size"]) for row in rows] == wanted


@pytest.mark.parametrize("more", ["", " or type == network and dest_port == 22", f" or descendant_of {os.getpid()} and type == memory"],
                         ids=["alone", "network", "two roots"])
def test_descendants_far_down_are_found_beside_other_conditions(more: str, file: Path) -> None:
    """With another condition beside it, user space judges descent again, and must know who forked whom."""
    programs = {"file": {"enabled": True, "events": ["open"]}}
    batch = collected("tree", file, f"descendant_of PID and type == file{more}", programs)
    paths = [path for path in batch.strings("file", "path") if path == str(file).encode()]
    assert len(paths) == 1
