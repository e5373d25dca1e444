# SPDX-License-Identifier: Apache-2.0
"""Helper that runs t_race, which makes system calls while a thread rewrites what they were given. See serve.py."""
from __future__ import annotations

import ctypes
import json
import os
import subprocess
from typing import Any

from serve import LIBC, checked, serve
from sockets import enter_netns

CLONE_NEWNS, PRIVATE = 0x20000, 0x44000


def race(exe: str, what: str, tries: int, folder: str, user: int = 0) -> dict[str, Any]:
    """Run it in a folder; what it found out."""
    done = subprocess.run([exe, what, str(tries)], cwd=folder, capture_output=True, user=user or None,
                          group=user or None, extra_groups=[] if user else None)
    if done.returncode:
        raise RuntimeError(f"t_race {what}: {done.returncode}: {done.stderr.decode()}")
    return dict(json.loads(done.stdout))


def own_mounts() -> None:
    """Leave for a mount namespace of our own, which tells nobody of its mounts."""
    checked(LIBC.unshare(CLONE_NEWNS))
    checked(LIBC.mount(b"none", b"/", None, PRIVATE, None))


def own_network() -> int:
    """Leave for a network namespace with a loopback interface; its number."""
    enter_netns()
    return os.stat("/proc/self/ns/net").st_ino


def calls(plan: list[list[Any]], folder: str) -> list[int]:
    """Calls of the C library, in a folder; their results, or what errno said, negative. Descriptors stay open."""
    os.chdir(folder)
    results = []
    for name, *args in plan:
        result = getattr(LIBC, name)(*(a.encode("latin-1") if isinstance(a, str) else a for a in args))
        results.append(result if result != -1 else -ctypes.get_errno())
    return results


if __name__ == "__main__":
    serve({f.__name__: f for f in (race, own_mounts, own_network, calls)})
