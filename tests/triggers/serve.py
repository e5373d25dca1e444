# SPDX-License-Identifier: Apache-2.0
"""A helper process of a test: reads {"call": name, "args": {...}} lines, answers each with {"ok": result} or {"error": text}.

Bytes travel as text of one character a byte (latin-1). The collector records a helper and its children, never the test's process.
"""
from __future__ import annotations

import ctypes
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

CLOCK_BOOTTIME = 7
LIBC = ctypes.CDLL(None, use_errno=True)


def boot_ns() -> int:
    """Return the clock that records carry."""
    return time.clock_gettime_ns(CLOCK_BOOTTIME)


def start_ticks(pid: int | str = "self") -> int:
    """Return the start time of a process in clock ticks since boot, as /proc says it."""
    with open(f"/proc/{pid}/stat", "rb") as f:
        return int(f.read().rpartition(b")")[2].split()[19])


def comm(pid: int | str = "self") -> str:
    """Return the name of a process, without the newline."""
    with open(f"/proc/{pid}/comm", "rb") as f:
        return f.read()[:-1].decode("latin-1")


def checked(result: int) -> int:
    """Raise OSError for a C call that returned -1."""
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def whoami() -> dict[str, Any]:
    """Return what this helper knows of itself."""
    return {"pid": os.getpid(), "ppid": os.getppid(), "uid": os.getuid(), "gid": os.getgid(), "comm": comm(),
            "ticks": start_ticks(), "netns": os.stat("/proc/self/ns/net").st_ino, "cwd": os.getcwd()}


def serve(functions: dict[str, Callable[..., Any]]) -> None:
    """Answer until the input ends."""
    functions = {"whoami": whoami, **functions}
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"ok": functions[request["call"]](**request["args"])}
        except Exception:
            answer = {"error": traceback.format_exc()}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
