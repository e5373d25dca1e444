# SPDX-License-Identifier: Apache-2.0
"""Helper that runs short of memory in control groups of the test's own, faults pages in and maps them. See serve.py."""
from __future__ import annotations

import ctypes
import mmap
import os
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from serve import LIBC, boot_ns, serve, start_ticks

MIB = 1 << 20
PAGE = mmap.PAGESIZE
X86 = os.uname().machine == "x86_64"
NUMBERS = {"mmap": (9, 222), "mprotect": (10, 226), "munmap": (11, 215), "brk": (12, 214), "mremap": (25, 216),
           "pkey_mprotect": (329, 288)}
PROT_NONE, PROT_READ, PROT_WRITE, PROT_EXEC = 0, 1, 2, 4
MAP_SHARED, MAP_PRIVATE, MAP_ANONYMOUS, MAP_NORESERVE = 1, 2, 32, 0x4000
MREMAP_MAYMOVE = 1
LIBC.syscall.restype = ctypes.c_long


def _call(name: str, *args: int) -> dict[str, Any]:
    """One system call, with what went in and what came out."""
    full = [ctypes.c_ulong(a & (1 << 64) - 1) for a in (*args, *[0] * (6 - len(args)))]
    before = boot_ns()
    ret = LIBC.syscall(ctypes.c_long(NUMBERS[name][0 if X86 else 1]), *full)
    after = boot_ns()
    return {"call": name, "args": list(args), "ret": ret, "errno": ctypes.get_errno() if ret == -1 else 0, "before": before,
            "after": after, "tid": threading.get_native_id()}


def mappings(size: int) -> list[dict[str, Any]]:
    """Every call, done, failed, and just too small."""
    anonymous = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
    done = [_call("mmap", 0, size, PROT_READ | PROT_WRITE, anonymous, -1, 0)]
    at = done[0]["ret"]
    done.append(_call("mprotect", at, size, PROT_READ))
    done.append(_call("pkey_mprotect", at, size, PROT_NONE, -1))
    done.append(_call("mremap", at, size, 2 * size, MREMAP_MAYMOVE, 0))
    at = done[-1]["ret"]
    done.append(_call("munmap", at, 2 * size))
    done.append(_call("mmap", 0, size, PROT_READ, MAP_PRIVATE, 12345, 0))            # EBADF
    done.append(_call("mprotect", 1 << 12, size, PROT_READ))                         # ENOMEM: nothing is there
    done.append(_call("munmap", 1, size))                                            # EINVAL: not at a page
    small = _call("mmap", 0, size - PAGE, PROT_READ, anonymous, -1, 0)
    shrunk = _call("mremap", small["ret"], size - PAGE, size - 2 * PAGE, 0, 0)
    return [*done, small, shrunk, _call("munmap", small["ret"], size - 2 * PAGE)]


def breaks(size: int) -> dict[str, Any]:
    """Move the break up by size, back, up by a page less, back, and far too high."""
    here = _call("brk", 0)["ret"]
    up = _call("brk", here + size)
    back = _call("brk", here)
    little = _call("brk", here + size - PAGE)
    _call("brk", here)
    return {"here": here, "up": up, "back": back, "little": little, "too_high": _call("brk", 1 << 62)}


def _enter(groups: list[str]) -> None:
    for group in groups:
        Path(group, "cgroup.procs").write_text("0")


def _child(work: Callable[[], None], groups: list[str]) -> tuple[int, int]:
    """Fork a child that goes into the groups, says so and waits for a word; return (pid, descriptor to say it)."""
    ready, go = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            _enter(groups)
            os.write(ready[1], b"x")
            os.read(go[0], 1)
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(99)
    os.close(ready[1])
    os.close(go[0])
    if os.read(ready[0], 1) != b"x":
        raise RuntimeError("the child could not enter its groups")
    os.close(ready[0])
    return pid, go[1]


def _facts(pid: int) -> dict[str, Any]:
    return {"pid": pid, "ticks": start_ticks(pid), "ppid": os.getpid(), "uid": 0, "gid": 0}


def _hold(size: int, adjust: int, name: bytes, full: int) -> Callable[[], None]:
    def work() -> None:
        LIBC.prctl(15, name)
        Path("/proc/self/oom_score_adj").write_text(str(adjust))
        ctypes.memset(LIBC_map(size), 1, size)
        os.write(full, b"x")
        threading.Event().wait(30)
    return work


def LIBC_map(size: int) -> int:     # noqa: N802
    """Anonymous memory, small pages."""
    at = int(_call("mmap", 0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)["ret"])
    LIBC.madvise(ctypes.c_void_p(at), ctypes.c_size_t(size), 15)        # MADV_NOHUGEPAGE
    return at


def out_of_memory(group: str, held: int, wanted: int) -> dict[str, Any]:
    """Two children of a small group: one holds memory and is the better victim, the other takes more than there is."""
    full = os.pipe()
    victim, go = _child(_hold(held, 500, b"tf_victim", full[1]), [group])
    facts = {"victim": _facts(victim)}
    os.write(go, b"x")
    os.read(full[0], 1)
    facts["victim"]["status_file"] = Path(f"/proc/{victim}/status").read_text()

    def take() -> None:
        LIBC.prctl(15, b"tf_taker")
        ctypes.memset(LIBC_map(wanted), 1, wanted)

    taker, go_too = _child(take, [group])
    facts["taker"] = _facts(taker)
    facts["before"] = boot_ns()
    os.write(go_too, b"x")
    facts["victim"]["status"] = os.waitpid(victim, 0)[1]
    facts["taker"]["status"] = os.waitpid(taker, 0)[1]
    facts["after"] = boot_ns()
    for fd in (*full, go, go_too):
        os.close(fd)
    return facts


def cached_reads(groups: list[str], path: str, times: int) -> dict[str, Any]:
    """A child reads a file larger than its group may cache."""
    def work() -> None:
        fd = os.open(path, os.O_RDONLY)
        for _ in range(times):
            os.lseek(fd, 0, os.SEEK_SET)
            while os.read(fd, 4 * MIB):
                pass

    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)
    pid, go = _child(work, groups)
    facts = {**_facts(pid), "before": boot_ns()}
    os.write(go, b"x")
    facts["status"] = os.waitpid(pid, 0)[1]
    os.close(go)
    return {**facts, "after": boot_ns()}


def compact() -> dict[str, Any]:
    """A child has all zones of the machine compacted."""
    pid, go = _child(lambda: Path("/proc/sys/vm/compact_memory").write_text("1") and None, [])
    facts = {**_facts(pid), "before": boot_ns()}
    os.write(go, b"x")
    facts["status"] = os.waitpid(pid, 0)[1]
    os.close(go)
    return {**facts, "after": boot_ns()}


def _touch(size: int) -> None:
    at = LIBC_map(size)
    ctypes.memset(at, 1, size)


def reclaim(size: int, more: int) -> dict[str, Any]:
    """A child fills fresh memory while the machine wants to keep `more` bytes free than are; `vmstat` is what the kernel counted."""
    reserve = Path("/proc/sys/vm/min_free_kbytes")

    def work() -> None:     # by the child itself: whoever asks for memory from then on has to free some
        free = next(int(line.split()[1]) for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemFree:"))
        reserve.write_text(str(free + more // 1024))
        _touch(size)

    kept, was = reserve.read_text(), _reclaim_counters()
    pid, go = _child(work, [])
    facts = {**_facts(pid), "before": boot_ns()}
    os.write(go, b"x")
    facts["status"] = os.waitpid(pid, 0)[1]
    reserve.write_text(kept)
    os.close(go)
    return {**facts, "after": boot_ns(), "vmstat": {name: n - was[name] for name, n in _reclaim_counters().items()}}


def _reclaim_counters() -> dict[str, int]:
    found = {"allocstall": 0, "pgsteal_direct": 0}
    for name, n in (line.split() for line in Path("/proc/vmstat").read_text().splitlines()):
        if name.startswith("allocstall_") or name == "pgsteal_direct":
            found[name.partition("_")[0] if name != "pgsteal_direct" else name] += int(n)
    return found


def faults(pages: int, threads: int, path: str, size: int = 0) -> dict[str, Any]:
    """A child touches fresh pages from several threads, and pages of a file (its first `size` bytes; 0: all) that are on disk only."""
    def work() -> None:
        crew = [threading.Thread(target=_touch, args=(pages * PAGE,)) for _ in range(threads)]
        for t in crew:
            t.start()
        for t in crew:
            t.join()
        with open(path, "rb") as f:
            os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            with mmap.mmap(f.fileno(), size, mmap.MAP_PRIVATE, mmap.PROT_READ) as m:
                m.madvise(mmap.MADV_RANDOM)         # no reading ahead
                for at in range(0, len(m), PAGE):
                    m[at]

    pid, go = _child(work, [])
    facts = {**_facts(pid), "before": boot_ns()}
    os.write(go, b"x")
    _, facts["status"], usage = os.wait4(pid, 0)
    os.close(go)
    return {**facts, "after": boot_ns(), "minor": usage.ru_minflt, "major": usage.ru_majflt}


def ended_by_another(leader: str, last: str) -> dict[str, Any]:
    """A child whose first thread ends before the other, which has another name."""
    def rest() -> None:
        LIBC.prctl(15, last.encode())
        while Path(f"/proc/self/task/{os.getpid()}/stat").read_bytes().rpartition(b")")[2].split()[0] != b"Z":
            time.sleep(0.001)
        os._exit(0)

    def work() -> None:
        LIBC.prctl(15, leader.encode())
        threading.Thread(target=rest).start()
        LIBC.syscall(60 if X86 else 93, 0)      # exit: of this thread alone

    pid, go = _child(work, [])
    facts = {**_facts(pid), "before": boot_ns()}
    os.write(go, b"x")
    facts["status"] = os.waitpid(pid, 0)[1]
    os.close(go)
    return {**facts, "after": boot_ns()}


def written_files(folder: str, files: int, writes: int) -> dict[str, Any]:
    """Write to many files, all open at a time."""
    fds = [os.open(f"{folder}/{n}", os.O_CREAT | os.O_WRONLY, 0o600) for n in range(files)]
    for _ in range(writes):
        for fd in fds:
            os.write(fd, b"x" * 100)
    for fd in fds:
        os.close(fd)
    return {"calls": files * writes, "bytes": files * writes * 100}


def unreadable_paths(count: int) -> list[int]:
    """Calls with a path where no memory is; return their errnos."""
    errnos = []
    for _ in range(count):
        assert LIBC.unlink(ctypes.c_void_p(1)) == -1
        errnos.append(ctypes.get_errno())
    return errnos


if __name__ == "__main__":
    serve({f.__name__: f for f in (mappings, breaks, out_of_memory, cached_reads, compact, reclaim, faults, ended_by_another, written_files,
                                   unreadable_paths)})
