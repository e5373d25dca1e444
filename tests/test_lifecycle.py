# SPDX-License-Identifier: Apache-2.0
"""Beginnings and ends: start/stop cycles, a forked child, every way an interpreter can exit. Nothing may be left, nothing may hang."""
from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import live_support as live
import numpy as np
import pytest

import tapio_fast as tapio

HERE = Path(__file__).resolve().parent
PRELUDE = """
import ctypes, os, signal, sys, threading, time
sys.path.insert(0, {here!r})
import live_support as live
import tapio_fast as tapio
import numpy as np
sources = {{"memory": lambda: tapio.MemorySource(), "kernel": lambda: tapio.KernelSource(snapshot=False),
            "synthetic": lambda: tapio.SyntheticSource(rate=200000)}}
def fds(pid="self"):
    paths = [f"/proc/{{pid}}/fd/{{f}}" for f in os.listdir(f"/proc/{{pid}}/fd")]
    return sorted(os.readlink(path) for path in paths if os.path.lexists(path))
"""
LIVE = [pytest.mark.root, pytest.mark.live]
SOURCES = ["memory", pytest.param("kernel", marks=LIVE), pytest.param("synthetic", marks=LIVE)]


def script(text: str, *args: str, timeout: float = 2 * live.LIMIT, send: int | None = None) -> subprocess.CompletedProcess[str]:
    """Run Python text in a process of its own; `send` is sent once it says "ready". Its end must come: what hangs hangs for ever, and how
    long starting Python, loading and unloading take is for others to say who share the CPUs."""
    process = subprocess.Popen([sys.executable, "-c", PRELUDE.format(here=str(HERE)) + text, *args], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    try:
        said = ""
        if send is not None:
            assert process.stdout is not None
            said = process.stdout.readline()
            assert said == "ready\n", process.communicate(timeout=5)
            process.send_signal(send)
            timeout = live.LIMIT
        out, err = process.communicate(timeout=timeout)
    except BaseException:
        process.kill()
        process.wait()
        raise
    return subprocess.CompletedProcess([], process.returncode, said + out, err)


# --- cycles ------------------------------------------------------------------------------------------------------------------------

def threads_and_fds() -> tuple[int, int]:
    return len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))


def cycle(source: Any) -> int:
    """Start, read something, stop, close; how many rows came."""
    with tapio.Collector(source=source) as collector:
        collector.fileno()
        if isinstance(source, tapio.MemorySource):
            source.fill("cpu.usage", n=10)
        return sum(len(b) for b in live.drain(collector))


def test_cycles_over_memory_leave_nothing(tier_size: Callable[[Any, Any], Any]) -> None:
    cycle(tapio.MemorySource())
    before = threads_and_fds()
    for _ in range(tier_size(60, 200)):
        assert cycle(tapio.MemorySource()) >= 10
    live.wait_for(lambda: threads_and_fds() == before)


@pytest.mark.root
@pytest.mark.live
def test_cycles_over_the_kernel_leave_nothing(tier_size: Callable[[Any, Any], Any]) -> None:
    """Descriptors, threads, maps, programs and links: those we hold ourselves while running, and those of the whole kernel."""
    cycle(tapio.KernelSource(snapshot=False))
    wait_gone(set())
    before, objects = threads_and_fds(), live.objects()
    for i in range(tier_size(60, 200)):
        cycle(tapio.KernelSource(snapshot=i % 2 == 0) if i % 3 else tapio.SyntheticSource(count=1000))
        if i % 20 == 0:
            assert live.wait_for(lambda: threads_and_fds() == before)
    live.wait_for(lambda: threads_and_fds() == before)
    live.wait_gone(objects)


@pytest.mark.root
@pytest.mark.live
def test_what_is_held_while_running_is_gone_after() -> None:
    before = live.held_objects()        # a benchmark's yardstick in this process may keep a ring of its own
    collector = tapio.Collector(source=tapio.KernelSource(snapshot=False))
    collector.start()
    held = live.held_objects() - before
    assert {what for what, _ in held} == {"prog", "map", "link"}
    named = {("prog", p["id"]) for p in collector.debug().loaded_programs if p["id"]}
    named |= {("map", m["id"]) for m in collector.debug().active_maps}
    assert named and {o for o in named if o[0] == "prog"} <= live.objects()
    collector.close()
    assert live.held_objects() == before
    wait_gone(held | named)


def wait_gone(objects: set[tuple[str, int]]) -> None:
    """Wait until the kernel has none of these any more: it frees them a moment later."""
    live.wait_for(lambda: not objects & live.objects())


@pytest.mark.root
@pytest.mark.live
def test_what_is_left_would_be_seen() -> None:
    """That the waiting above fails for what stays, and names it."""
    before = live.objects()
    with tapio.Collector(source=tapio.KernelSource(snapshot=False)), pytest.raises(AssertionError, match="'tf_ledger'"):
        live.wait_gone(before, 0.5)
    live.wait_gone(before)


def test_collector_dropped_without_close_ends_too() -> None:
    before = threads_and_fds()
    collector = tapio.Collector(source=tapio.MemorySource())
    collector.start()
    collector.fileno()
    del collector
    live.wait_for(lambda: threads_and_fds() == before)


def test_failed_start_leaves_nothing(tmp_path: Path) -> None:
    before = threads_and_fds()
    used = tapio.MemorySource()
    cycle(used)
    for _ in range(5):
        collector = tapio.Collector(source=used)
        with pytest.raises(tapio.ClosedError):
            collector.start()
        with pytest.raises(tapio.ClosedError):
            collector.read()
        collector.close()
    live.wait_for(lambda: threads_and_fds() == before)


def test_close_while_another_thread_reads() -> None:
    collector = tapio.Collector(source=tapio.MemorySource())
    collector.start()
    collector.fileno()
    inside = threading.Event()
    ended: list[Any] = []

    def reader() -> None:
        inside.set()
        try:
            while True:
                if collector.read(timeout=None) is None and collector.ended:
                    break
        except tapio.ClosedError:
            pass        # close() came between two reads
        ended.append(True)

    thread = threading.Thread(target=reader)
    thread.start()
    assert inside.wait(live.LIMIT)
    collector.close()
    thread.join(live.LIMIT)
    assert ended


# --- fork --------------------------------------------------------------------------------------------------------------------------

FORK = """
name, how = sys.argv[1:]
before = fds()
source = sources[name]()
with tapio.Collector(source=source) as collector:
    collector.fileno()
    if name == "memory":
        source.fill("cpu.usage", n=100)
    kept = collector.read(timeout=5)
    copied = {d: kept[d].tobytes() for d in kept.domains}
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        for call in (collector.read, collector.stats, collector.fileno, lambda: collector.set_filter(None), collector.start):
            try:
                call()
            except tapio.ClosedError as error:
                assert "forked child" in str(error), error
            else:
                os._exit(10)
        collector.stop()
        collector.close()
        if {d: kept[d].tobytes() for d in kept.domains} != copied:
            os._exit(11)
        if live.held_objects():
            os._exit(12)
        if len(os.listdir("/proc/self/task")) != 1:
            os._exit(13)
        os.write(write, b"done")
        if how == "_exit":
            os._exit(0)
        if how == "exec":
            os.execv("/bin/true", ["true"])
        sys.exit(0)
    import select
    assert select.select([read], [], [], live.LIMIT)[0], "the child hangs"
    end = time.monotonic() + live.LIMIT
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done or time.monotonic() > end:
            break
        time.sleep(0.01)
    assert done and status == 0, status
    if name == "memory":
        assert source.fill("cpu.usage", n=50) == 50
        rest = sum(len(b["cpu"]) for b in live.drain(collector))
        assert rest + len(kept["cpu"]) == 150, rest
    else:
        live.drain(collector)
    assert not collector.stats().differences()
os.close(read), os.close(write)
print("parent done")
"""


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("how", ["exit", "_exit", "exec"])
def test_forked_child_is_closed_and_the_parent_goes_on(name: str, how: str) -> None:
    done = script(FORK, name, how)
    assert (done.returncode, done.stdout) == (0, "parent done\n"), done.stderr


# --- exits of the interpreter ------------------------------------------------------------------------------------------------------

EXIT = """
signal.signal(signal.SIGINT, signal.default_int_handler)    # a shell starts what runs in its background without
name, how, store = sys.argv[1:]
config = tapio.Config.default()
if store:
    config = config.replace(dual_path={"enabled": True, "raw_storage_path": store})
source = sources[name]()
collector = tapio.Collector(config, source=source)
collector.start()
collector.fileno()
if name == "memory":
    source.fill("cpu.usage", n=5000)
if how == "thread":
    def read():
        for batch in collector.batches():
            pass
    threading.Thread(target=read, daemon=True).start()
if how == "handler":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
print("ready", flush=True)
if how in ("SIGTERM", "SIGINT", "handler"):
    while True:
        batch = collector.read(timeout=60) if how == "SIGINT" else time.sleep(0.01)
if how == "SystemExit":
    raise SystemExit(3)
if how == "exception":
    raise ValueError("the user's own")
if how == "_exit":
    os._exit(4)
if how == "stopped":
    collector.stop()
"""
ENDS = [("end", 0, None), ("thread", 0, None), ("stopped", 0, None), ("SystemExit", 3, None), ("exception", 1, None), ("_exit", 4, None),
        ("SIGINT", 1, signal.SIGINT), ("handler", 3, signal.SIGTERM), ("SIGTERM", -signal.SIGTERM, signal.SIGTERM)]


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize(("how", "status", "send"), ENDS, ids=[e[0] for e in ENDS])
def test_interpreter_exits(name: str, how: str, status: int, send: int | None, tmp_path: Path) -> None:
    objects = live.objects() if name != "memory" else set()
    store = tmp_path / "store"
    done = script(EXIT, name, how, str(store) if name == "memory" else "", send=send)
    # SIGINT ends Python by the signal itself once KeyboardInterrupt has gone through
    assert done.returncode in ((status,) if how != "SIGINT" else (1, -signal.SIGINT)), done.stderr
    if how in ("end", "thread", "stopped", "SystemExit", "_exit", "handler"):
        assert done.stderr == ""
    if name != "memory":
        live.wait_gone(objects)
    elif how not in ("_exit", "SIGTERM"):
        with tapio.RawStore(str(store)) as kept:
            assert sum(len(b["cpu"]) for b in kept.scan()) == 5000


def test_batches_of_a_dead_collector_in_another_thread_stay_valid() -> None:
    """The pool is freed by whoever lets go last."""
    source = tapio.MemorySource()
    results: list[bool] = []
    with tapio.Collector(source=source) as collector:
        collector.fileno()
        source.fill("cpu.usage", n=1000)
        batches = live.drain(collector)
    rows = np.concatenate([b["cpu"]["seq"] for b in batches])

    def hold(own: list[tapio.RecordBatch]) -> None:
        time.sleep(0.05)
        results.append(np.array_equal(np.concatenate([b["cpu"]["seq"] for b in own]), rows))
        own.clear()

    threads = [threading.Thread(target=hold, args=(list(batches),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    batches.clear()
    del collector, source
    for thread in threads:
        thread.join()
    assert results == [True] * 4
