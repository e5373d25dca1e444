# SPDX-License-Identifier: Apache-2.0
"""What live tests share: helper processes, reading a collector to its end, cgroups, and what BPF objects exist in the kernel."""
from __future__ import annotations

import contextlib
import ctypes
import json
import mmap
import os
import select
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import tapio_fast as tapio
from tapio_fast import schema

TRIGGERS = Path(__file__).resolve().parent / "triggers"
# What every record says where the kernel has no fetching atomics.
WEAK_SEQ = 0x20 if tuple(map(int, os.uname().release.split(".")[:2])) < (5, 12) else 0
SLOW = 10 if os.environ.get("TAPIO_FAST_VM") else 1     # how much slower software emulation is
LATE = 1 << 3           # TF_F_LATE
LIMIT = 30.0 * SLOW     # s: nothing here takes longer when it works


class Helper:
    """A process of the test's own that does things to be recorded (tests/triggers/serve.py)."""

    def __init__(self, script: str, *, cgroup: Path | None = None) -> None:
        self._process = subprocess.Popen([sys.executable, "-S", "-E", "-B", str(TRIGGERS / script)], stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE)
        self._rest = b""
        self.pid = self._process.pid
        if cgroup is not None:
            (cgroup / "cgroup.procs").write_text(str(self.pid))
        self.facts: dict[str, Any] = self.call("whoami")

    def call(self, name: str, timeout: float = LIMIT, **args: Any) -> Any:
        """Call a function of the helper and return its result."""
        self.send(name, **args)
        return self.result(timeout)

    def send(self, name: str, **args: Any) -> None:
        """Call without waiting; result() later."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"call": name, "args": args}).encode() + b"\n")
        self._process.stdin.flush()

    def result(self, timeout: float = LIMIT) -> Any:
        """Return the result of the oldest call without one."""
        assert self._process.stdout is not None
        fd, end = self._process.stdout.fileno(), time.monotonic() + timeout
        while b"\n" not in self._rest:
            if not select.select([fd], [], [], max(0.0, end - time.monotonic()))[0]:
                raise TimeoutError(f"helper {self.pid} did not answer within {timeout} s")
            data = os.read(fd, 1 << 20)
            if not data:
                raise RuntimeError(f"helper {self.pid} ended with status {self._process.wait(5)}")
            self._rest += data
        line, self._rest = self._rest.split(b"\n", 1)
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"helper failed:\n{answer['error']}")
        return answer["ok"]

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(5)
        self._process.stdout.close()

    def __enter__(self) -> Helper:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class Generator(tapio.SyntheticSource):
    """A load generator that waits for go(), so that consumer, rates and rules are in place before its first record."""

    def __init__(self, *, rate: int = 0, **plan: Any) -> None:
        super().__init__(rate=rate // SLOW, hold=True, **plan)


def roomy(**sections: Any) -> tapio.Config:
    """Settings whose rings hold all that a test's generator sends while a busy machine lets nobody read: 128 MiB a CPU, 16 MiB critical."""
    cpus = os.cpu_count() or 1
    return tapio.Config.default().replace(performance={"ring_buffer_size_mb": 128 * cpus, "memory_limit_mb": 256 * cpus + 512}, **sections)


@contextlib.contextmanager
def watching(helper: Helper, *, config: tapio.Config | None = None, netns: int = 0, snapshot: bool = False,
             filter: tapio.KernelFilter | None = None) -> Iterator[tapio.Collector]:
    """A running collector that sees the helper and what it forks from now on, and whose consumer is there already."""
    filter = tapio.KernelFilter(descendants_of=[helper.pid]) if filter is None else filter
    with tapio.Collector(config, filter=filter, source=tapio.KernelSource(netns=netns, snapshot=snapshot)) as collector:
        collector.fileno()
        yield collector


def _forget_late(batch: tapio.RecordBatch) -> None:
    """Take TF_F_LATE out of rows: it tells how the pump's passes fell around a record, not what happened, and in software emulation it
    comes to any of them. (Rows are read-only: through their address.)"""
    for domain in batch.domains:
        rows = batch[domain]
        if len(rows):
            raw = (ctypes.c_uint8 * rows.nbytes).from_address(rows.ctypes.data)
            np.frombuffer(raw, rows.dtype)["flags"] &= np.uint16(~LATE & 0xFFFF)


def drain(collector: tapio.Collector) -> list[tapio.RecordBatch]:
    """Stop the collector and read it to its end."""
    collector.stop()
    found, end = [], time.monotonic() + LIMIT
    while not collector.ended:
        batch = collector.read(timeout=1)
        if batch is not None:
            _forget_late(batch)
            found.append(batch)
        assert time.monotonic() < end, "a stopped collector did not come to its end"
    return found


def together(batches: list[tapio.RecordBatch]) -> tapio.RecordBatch:
    """These batches as one, its rows in the order in which they happened: a batch holds one CPU's ring after the other's, and what a
    test has made happen may have moved between CPUs at any time."""
    return tapio.RecordBatch.concat(batches).sorted()


def everything(collector: tapio.Collector) -> tapio.RecordBatch:
    """Stop the collector; what it had and has, as one batch in the order of time."""
    return together(drain(collector))


def from_memory(fill: Callable[[tapio.MemorySource], object], *, cpus: int = 2) -> tapio.RecordBatch:
    """What `fill` puts on in-memory rings, as one batch."""
    source = tapio.MemorySource(cpus=cpus)
    with tapio.Collector(source=source) as collector:
        collector.fileno()      # from here on there is a consumer
        fill(source)
        return tapio.RecordBatch.concat(drain(collector))       # as it lay on the rings


def read_until(collector: tapio.Collector, enough: Callable[[list[tapio.RecordBatch]], bool],
               limit: float = LIMIT) -> list[tapio.RecordBatch]:
    """Read until `enough` says so; fail after `limit` seconds."""
    found: list[tapio.RecordBatch] = []
    end = time.monotonic() + limit
    while not enough(found):
        assert time.monotonic() < end, f"not enough after {limit} s: {found}"
        batch = collector.read(timeout=0.2)
        if batch is not None:
            _forget_late(batch)
            found.append(batch)
    return found


def wait_for(what: Callable[[], Any], limit: float = LIMIT, every: float = 0.01) -> Any:
    """Ask until the answer is true; return it. Fail after `limit` seconds."""
    end = time.monotonic() + limit
    while True:
        answer = what()
        if answer:
            return answer
        assert time.monotonic() < end, f"still {answer!r} after {limit} s"
        time.sleep(every)


def of_kind(batch: tapio.RecordBatch, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows of one kind, and their places in their domain's array."""
    k = schema.KIND_BY_NAME[kind]
    rows = batch[k.domain]
    places = np.flatnonzero(rows["subtype"] == k.subtype)
    return rows[places], places


def adds_up(collector: tapio.Collector) -> tapio.Statistics:
    """Assert every identity of a collector at rest; return its statistics."""
    stats = collector.stats()
    assert stats.differences() == {}
    ledger = stats.ledger
    for name in ledger:
        if name != "in_ring":       # known for the whole only
            assert ledger[name] == sum(cells[name] for cells in stats.by_kind.values()), name
            assert ledger[name] == sum(cells[name] for cells in stats.by_cpu), name
    for kind, cells in stats.by_kind.items():
        refused = sum(cells[cause] for cause in schema.KERNEL_CAUSES)
        assert cells["seen"] == cells["submitted"] + refused, kind
    return stats


# --- cgroups ---------------------------------------------------------------------------------------------------------------------

def _mounts() -> dict[str, Path]:
    """Controller ("" for version 2) -> mount point."""
    found = {}
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, options, *_ = line.split()
        if kind == "cgroup2":
            found[""] = Path(where)
        elif kind == "cgroup":
            found.update({name: Path(where) for name in options.split(",")})
    return found


def cgroup_of(pid: int | str = "self") -> tuple[int, bool]:
    """The cgroup id that a record of this process must carry, and whether it is a version 1 controller's."""
    paths = {}
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        paths.update({name: path for name in controllers.split(",")})
    mounts = _mounts()
    if paths.get("", "/") != "/":
        return os.stat(f"{mounts['']}{paths['']}").st_ino, False
    for controller in ("memory", "pids"):
        if paths.get(controller, "/") != "/" and controller in mounts:
            return os.stat(f"{mounts[controller]}{paths[controller]}").st_ino, True
    return (os.stat(mounts[""]).st_ino if "" in mounts else 1), False


@contextlib.contextmanager
def own_cgroup(name: str) -> Iterator[Path]:
    """A cgroup of the memory controller (version 1, else the unified hierarchy), removed at the end."""
    mounts = _mounts()
    parent = mounts.get("memory") or mounts[""]
    path = parent / f"tapio_fast_test_{os.getpid()}_{name}"
    path.mkdir()
    try:
        yield path
    finally:
        wait_for(lambda: not (path / "cgroup.procs").read_text(), 10)
        path.rmdir()


# --- what the kernel holds ---------------------------------------------------------------------------------------------------------

_BPF = {"x86_64": 321, "aarch64": 280}
_NEXT = {"prog": 11, "map": 12, "link": 31}
_FD_BY_ID = {"prog": 13, "map": 14, "link": 30}
_INFO_BY_FD = 15
_MAP_UPDATE_ELEM = 2
_NAME_AT = {"prog": 64, "map": 24}
_libc = ctypes.CDLL(None, use_errno=True)


def _bpf(command: int, attr: bytes) -> tuple[int, bytes]:
    buffer = ctypes.create_string_buffer(attr.ljust(128, b"\0"), 128)
    result = _libc.syscall(_BPF[os.uname().machine], command, buffer, 128)
    return (result if result >= 0 else -ctypes.get_errno()), buffer.raw


def ids(what: str) -> list[int]:
    """Ids of all programs, maps or links of the kernel."""
    found, last = [], 0
    while True:
        result, attr = _bpf(_NEXT[what], struct.pack("<II", last, 0))
        if result < 0:
            assert result == -2, f"BPF_{what.upper()}_GET_NEXT_ID: errno {-result}"
            return found
        last = struct.unpack_from("<I", attr, 4)[0]
        found.append(last)


def write_map(number: int, key: int, value: bytes) -> None:
    """Overwrite one entry of a map whose key is a number, as another process with CAP_BPF could."""
    fd, _ = _bpf(_FD_BY_ID["map"], struct.pack("<I", number))
    assert fd >= 0
    key_buffer, value_buffer = ctypes.create_string_buffer(struct.pack("<I", key)), ctypes.create_string_buffer(value, len(value))
    attr = struct.pack("<IIQQQ", fd, 0, ctypes.addressof(key_buffer), ctypes.addressof(value_buffer), 0)
    try:
        assert _bpf(_MAP_UPDATE_ELEM, attr)[0] == 0
    finally:
        os.close(fd)


def name_of_map(number: int) -> str:
    """The name that a map has in the kernel; empty when it is gone."""
    info = _info("map", number)
    return info[_NAME_AT["map"]:].split(b"\0")[0].decode() if info else ""


def ring_image(number: int, size: int) -> tuple[bytes, int, int]:
    """(data, consumer position, producer position) of a BPF ring buffer, by its map's id."""
    fd, _ = _bpf(_FD_BY_ID["map"], struct.pack("<I", number))
    assert fd >= 0, f"map {number}: errno {-fd}"
    try:
        with mmap.mmap(fd, mmap.PAGESIZE, mmap.MAP_SHARED, mmap.PROT_READ) as consumer, \
                mmap.mmap(fd, mmap.PAGESIZE + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=mmap.PAGESIZE) as producer:
            positions = struct.unpack_from("<Q", consumer)[0], struct.unpack_from("<Q", producer)[0]
            return producer[mmap.PAGESIZE:mmap.PAGESIZE + size], *positions
    finally:
        os.close(fd)


def program_fd(number: int) -> int:
    """A descriptor of a loaded program, by its id; the caller closes it."""
    fd, _ = _bpf(_FD_BY_ID["prog"], struct.pack("<I", number))
    assert fd >= 0, f"program {number}: errno {-fd}"
    return fd


def _info(what: str, number: int) -> bytes | None:
    fd, _ = _bpf(_FD_BY_ID[what], struct.pack("<I", number))
    if fd < 0:
        return None         # gone meanwhile
    try:
        info = ctypes.create_string_buffer(256)
        result, _ = _bpf(_INFO_BY_FD, struct.pack("<IIQ", fd, 256, ctypes.addressof(info)))
        return info.raw if result >= 0 else None
    finally:
        os.close(fd)


def objects() -> set[tuple[str, int]]:
    """(what, id) of every program, map and link of the whole kernel. None is opened: a kernel keeps a program array for ever that somebody
    opens by its id while its last descriptor's release still waits to be worked off (docs/kernel-support.md), and our own look was it."""
    return {(what, number) for what in ("prog", "map", "link") for number in ids(what)}


def name_of(what: str, number: int) -> str:
    """Name of a program or map, of a link that of its program; empty where it is gone. Opens it: not for what was closed just now."""
    info = _info(what, number)
    if info is None:
        return ""
    if what == "link":
        return name_of("prog", struct.unpack_from("<I", info, 8)[0])
    return info[_NAME_AT[what]:].split(b"\0", 1)[0].decode(errors="replace")


def held_objects(pid: int | str = "self") -> set[tuple[str, int]]:
    """(what, id) of the BPF objects that a process holds a descriptor of."""
    found = set()
    with contextlib.suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fdinfo"):
            with contextlib.suppress(OSError):
                lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/fdinfo/{name}").read_text().splitlines() if ":" in line)
                what = "link" if "link_id" in lines else "map" if "map_id" in lines else "prog" if "prog_id" in lines else None
                if what:
                    found.add((what, int(lines[f"{what}_id"])))
    return found


def wait_gone(before: set[tuple[str, int]], limit: float = LIMIT) -> None:
    """Wait until the objects of ours that are there now, and were not before, are gone. The kernel frees them in stages (links, programs,
    their maps, the maps in those), each after a grace period and by a work queue: 0.3 s here, seconds on a busy machine; what leaks stays.
    What another process holds (a second test run) is not ours to wait for, nor what has another's name."""
    def left() -> set[tuple[str, int]]:
        still = found & objects()
        for pid in (p for p in os.listdir("/proc") if still and p.isdigit() and int(p) != os.getpid()):
            still -= held_objects(pid)
        return still

    found = objects() - before
    begun = time.monotonic()
    named = False
    while still := left():
        late = time.monotonic() - begun
        if late > limit / 3 and not named:      # by now whatever was closed has been worked off, and can be opened
            found, named = {thing for thing in still if name_of(*thing).startswith(("tf_", ".data.tf_"))}, True
            continue
        assert late < limit, f"left in the kernel after {limit} s: {sorted((*thing, name_of(*thing)) for thing in still)}"
        time.sleep(0.02)


def let_be_known_as(pid: int, euid: int) -> None:
    """Let the collector have last seen a process as this user without capabilities: what it is now then came from nowhere."""
    (number,) = {number for what, number in held_objects() if what == "map" and name_of_map(number) == "tf_known_ids"}
    pidfd = os.pidfd_open(pid)
    try:
        write_map(number, pidfd, struct.pack("<QIIIIII", 0, 0, euid, 0, 0, euid, 0))
    finally:
        os.close(pidfd)
