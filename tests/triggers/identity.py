# SPDX-License-Identifier: Apache-2.0
"""Helper whose children change their identity by raw system calls, and report what /proc says of the thread around each. See serve.py."""
from __future__ import annotations

import ctypes
import json
import os
import threading
from typing import Any

from serve import LIBC, boot_ns, serve, start_ticks

X86 = os.uname().machine == "x86_64"
# asm/unistd_64.h and asm-generic/unistd.h
NUMBERS = ({"setuid": 105, "setgid": 106, "setreuid": 113, "setregid": 114, "setgroups": 116, "setresuid": 117, "setresgid": 119,
            "setfsuid": 122, "setfsgid": 123, "capset": 126} if X86 else
           {"setuid": 146, "setgid": 144, "setreuid": 145, "setregid": 143, "setgroups": 159, "setresuid": 147, "setresgid": 149,
            "setfsuid": 151, "setfsgid": 152, "capset": 91})


def _status() -> dict[str, Any]:
    """Return what the kernel tells of this very thread: ids as [real, effective, saved, file system], and capabilities."""
    with open("/proc/thread-self/status", encoding="latin-1") as f:
        lines = dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
    return {"uid": [int(v) for v in lines["Uid"].split()], "gid": [int(v) for v in lines["Gid"].split()], "caps": int(lines["CapEff"], 16),
            "permitted": int(lines["CapPrm"], 16), "groups": [int(v) for v in lines["Groups"].split()]}


def _raw(name: str, args: list[Any]) -> tuple[int, int]:
    """Make one system call; (result, errno)."""
    values: list[Any] = [ctypes.c_long(a) for a in args if isinstance(a, int)]
    if name == "setgroups":
        values = [ctypes.c_long(len(args)), (ctypes.c_uint32 * max(1, len(args)))(*args)]
    elif name == "capset":      # version 3: two words of effective, permitted, inheritable
        effective, permitted = args
        values = [(ctypes.c_uint32 * 2)(0x20080522, 0),
                  (ctypes.c_uint32 * 6)(effective & 0xFFFFFFFF, permitted & 0xFFFFFFFF, 0, effective >> 32, permitted >> 32, 0)]
    result = LIBC.syscall(ctypes.c_long(NUMBERS[name]), *values)
    return result, ctypes.get_errno() if result < 0 else 0


def _steps(plan: list[list[Any]]) -> list[dict[str, Any]]:
    facts = []
    for name, *args in plan:
        before, begun = _status(), boot_ns()
        result, errno = _raw(name, args)
        ended = boot_ns()
        facts.append({"call": name, "args": args, "result": result, "errno": errno, "before": before, "after": _status(), "begun": begun,
                      "ended": ended, "tid": threading.get_native_id()})
    return facts


def change(plan: list[list[Any]], threads: list[list[list[Any]]] | None = None) -> dict[str, Any]:
    """Fork a child that makes these calls, and then in a thread each those of `threads`; what it saw."""
    read, write = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        try:
            facts = _steps(plan)
            for part in threads or []:
                thread = threading.Thread(target=lambda part=part: facts.extend(_steps(part)))
                thread.start()
                thread.join()
            os.write(write, json.dumps({"facts": facts, "left": _status()}).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as f:
        said = f.read()
    ticks = start_ticks(pid)
    os.waitpid(pid, 0)
    return {"pid": pid, "ticks": ticks, **json.loads(said)}


def storm(n: int) -> int:
    """Fork a child that changes its effective user and back n times; its pid."""
    pid = os.fork()
    if pid == 0:
        for _ in range(n):
            LIBC.syscall(NUMBERS["setresuid"], -1, 1234, -1)
            LIBC.syscall(NUMBERS["setresuid"], -1, 0, -1)
        os._exit(0)
    os.waitpid(pid, 0)
    return pid


if __name__ == "__main__":
    serve({f.__name__: f for f in (change, storm)})
