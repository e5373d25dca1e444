# SPDX-License-Identifier: Apache-2.0
"""Helper that makes system calls by number, with any arguments, and reports what it gave and got. See serve.py."""
from __future__ import annotations

import ctypes
import mmap
import os
import signal
import threading
from typing import Any

from serve import LIBC, boot_ns, serve

LIBC.syscall.restype = ctypes.c_long
LIBC.mmap.restype = ctypes.c_void_p
_kept: list[Any] = []       # what the kernel was given the address of


def _region(which: str) -> tuple[int, int]:
    """Return the bounds of a mapping of this process, from its first to its last line."""
    with open("/proc/self/maps", encoding="latin-1") as f:
        found = [line.split()[0].split("-") for line in f if which in line]
    return int(found[0][0], 16), int(found[-1][1], 16)


def _argument(value: Any) -> int:
    """An integer as it is; text becomes the address of its bytes; the lists are made-up places in memory."""
    if isinstance(value, int):
        return value
    if isinstance(value, str):
        _kept.append(ctypes.create_string_buffer(value.encode("latin-1")))
        return ctypes.addressof(_kept[-1])
    how, text = value
    page = mmap.PAGESIZE
    at = LIBC.mmap(None, ctypes.c_size_t(2 * page), mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
    raw = text.encode("latin-1") + b"\0"
    if how == "across":         # from one page into the next
        where = at + page - len(raw) // 2
    else:                       # "gone": not there any more
        where = at
    ctypes.memmove(where, raw, len(raw))
    if how == "gone":
        LIBC.munmap(ctypes.c_void_p(at), ctypes.c_size_t(2 * page))
    return int(where)


def calls(plan: list[list[Any]]) -> list[dict[str, Any]]:
    """Make each call [number, argument...]; the facts of each."""
    facts = []
    for number, *args in plan:
        values = [_argument(a) & (1 << 64) - 1 for a in args]
        values += [0] * (6 - len(values))
        arguments = [ctypes.c_ulong(v) for v in values]
        ctypes.set_errno(0)
        begun = boot_ns()
        result = LIBC.syscall(ctypes.c_long(number), *arguments)
        ended = boot_ns()
        facts.append({"nr": number, "args": values, "result": result, "errno": ctypes.get_errno() if result == -1 else 0, "begun": begun,
                      "ended": ended, "tid": threading.get_native_id()})
    return facts


def in_thread(plan: list[list[Any]]) -> list[dict[str, Any]]:
    """The same from a thread, which ends."""
    facts: list[dict[str, Any]] = []
    thread = threading.Thread(target=lambda: facts.extend(calls(plan)))
    thread.start()
    thread.join()
    return facts


def interrupted(number: int) -> list[dict[str, Any]]:
    """Make a call that only a signal ends."""
    before = signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    facts = calls([[number]])
    signal.signal(signal.SIGALRM, before)
    return facts


def regions() -> dict[str, Any]:
    """Return where the C library's code and this thread's stack are."""
    return {"libc": _region("libc"), "stack": _region("[stack]")}


def race(number: int, tries: int) -> dict[str, int]:
    """Open a path by raw openat while a thread rewrites it; what was there at any time is one of two texts."""
    text = ctypes.create_string_buffer(b"/tmp/aaaa-aaaa", 32)
    stop = threading.Event()

    def rewrite() -> None:
        while not stop.is_set():
            ctypes.memmove(text, b"/tmp/bbbb-bbbb", 14)
            ctypes.memmove(text, b"/tmp/aaaa-aaaa", 14)

    thread = threading.Thread(target=rewrite)
    thread.start()
    for _ in range(tries):
        LIBC.syscall(ctypes.c_long(number), ctypes.c_long(-100), text, ctypes.c_long(os.O_RDONLY), ctypes.c_long(0))
    stop.set()
    thread.join()
    return {"tries": tries}


if __name__ == "__main__":
    serve({f.__name__: f for f in (calls, in_thread, interrupted, regions, race)})
