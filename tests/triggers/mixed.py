# SPDX-License-Identifier: Apache-2.0
"""Helper whose children open, unlink, connect and execute a known number of times: the load of the oracle test. See serve.py."""
from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading
from typing import Any

from serve import serve
from sockets import enter_netns


def _files(folder: str, n: int) -> None:
    """Make, open again and remove n files; half of them by descriptors of their folder. Some attempts fail."""
    at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    for i in range(n):
        name = f"{os.getpid()}-{threading.get_native_id()}-{i}"
        path = os.path.join(folder, name)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        os.close(os.open(name if i % 2 else path, os.O_RDONLY, dir_fd=at if i % 2 else None))
        os.unlink(name if i % 2 else path, dir_fd=at if i % 2 else None)
        for attempt in (lambda path=path: os.open(path, os.O_RDONLY), lambda path=path: os.unlink(path)):
            with contextlib.suppress(FileNotFoundError):
                attempt()
    os.close(at)


def _connects(port: int, n: int) -> None:
    """Connect n times to a listener, every fourth time to a port that nobody listens on."""
    for i in range(n):
        with socket.socket() as s:
            code = s.connect_ex(("127.0.0.1", 1 if i % 4 == 3 else port))
            assert code in (0, errno.ECONNREFUSED), code


def _child(exe: str, folder: str, port: int, files: int, connects: int) -> None:
    """Do everything, a part of it in a second thread, then execute. Does not return."""
    status = 99
    try:
        thread = threading.Thread(target=_files, args=(folder, files))
        thread.start()
        _files(folder, files)
        _connects(port, connects)
        thread.join()
        with contextlib.suppress(FileNotFoundError):
            os.execv(exe + ".missing", ["missing"])
        os.execv(exe, ["child", "exit", "0"])
    finally:
        os._exit(status)


def children(exe: str, folder: str, n: int, files: int, connects: int) -> dict[str, Any]:
    """Run n children at once; how often each of them did what."""
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as server:
        pids = []
        for _ in range(n):
            pid = os.fork()
            if not pid:
                _child(exe, folder, server.getsockname()[1], files, connects)
            pids.append(pid)
        statuses = [os.waitpid(pid, 0)[1] for pid in pids]
    # open: two threads, each its folder and two a file; and what the loader opens for the program (known to the oracle only)
    return {"pids": pids, "statuses": statuses, "exec": 1, "connect": connects, "unlink": 2 * files, "open": 2 * (2 * files + 1)}


if __name__ == "__main__":
    enter_netns()
    serve({"children": children})
