# SPDX-License-Identifier: Apache-2.0
"""Helper of a test with two control groups: in one it keeps a flood going, in the other its children do a little each. See serve.py."""
from __future__ import annotations

import os
import subprocess

from serve import serve

_floods: dict[int, subprocess.Popen[bytes]] = {}


def canaries(path: str, n: int, opens: int) -> list[int]:
    """Fork n children, one after the other, each of which opens the file some times and ends; their pids."""
    pids = []
    for _ in range(n):
        pid = os.fork()
        if pid == 0:
            for _ in range(opens):
                os.close(os.open(path, os.O_RDONLY))
            os._exit(0)
        os.waitpid(pid, 0)
        pids.append(pid)
    return pids


def start(exe: str, path: str, made: str) -> int:
    """Start t_flood; its pid."""
    process = subprocess.Popen([exe, path, made])
    _floods[process.pid] = process
    return process.pid


def kill(pid: int) -> int:
    """End it; its status, -9 if it was still at it."""
    _floods[pid].kill()
    return _floods.pop(pid).wait(20)


if __name__ == "__main__":
    serve({f.__name__: f for f in (canaries, start, kill)})
