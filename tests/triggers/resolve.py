# SPDX-License-Identifier: Apache-2.0
"""Helper with a network namespace of its own and a DNS server in it, on port 53, that answers what the test tells it. See serve.py."""
from __future__ import annotations

import os
import socket
import struct
import threading
from typing import Any

from serve import boot_ns, serve
from sockets import LIMIT, enter_netns, facts_of, process


def _server(host: str) -> socket.socket:
    s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(LIMIT)
    s.bind((host, 53))
    return s


def ask(host: str, messages: list[list[str | None]], connected: bool = False, seconds: float = 0.0) -> dict[str, Any]:
    """A child of another user asks each query of a server of ours, which gives the answer beside it, or none. Bytes as latin-1 text."""
    server = _server(host)

    def work() -> dict[str, Any]:
        times = []
        with socket.socket(server.family, socket.SOCK_DGRAM) as s:
            s.settimeout(LIMIT)
            if connected:
                s.connect((host, 53))
            for query, answer in messages:
                before = boot_ns()
                data = str(query).encode("latin-1")
                s.send(data) if connected else s.sendto(data, (host, 53))
                sent = boot_ns()
                if answer is not None:
                    assert s.recv(4096) == answer.encode("latin-1")
                times.append([before, sent, boot_ns()])
            return {"times": times, "sock": s.getsockname()[:2]}
    child = process(work, "tf-asker", 1005, None)
    held = []
    for query, answer in messages:
        data, source = server.recvfrom(4096)
        assert data == str(query).encode("latin-1")
        held.append(boot_ns())
        if answer is not None:
            threading.Event().wait(seconds)
            server.sendto(answer.encode("latin-1"), source)
    server.close()
    return {"asker": facts_of(*child), "held": held}


def flood(host: str, queries: int) -> dict[str, Any]:
    """Many queries that nobody answers, each with a transaction number of its own."""
    server = _server(host)
    with socket.socket(server.family, socket.SOCK_DGRAM) as s:
        s.connect((host, 53))
        for i in range(queries):
            s.send(struct.pack("!6H", i, 0x100, 1, 0, 0, 0) + b"\1x\0\0\1\0\1")
            server.recv(512)
    server.close()
    return {}


def unasked(host: str, answer: str) -> None:
    """An answer from port 53 to somebody who asked nothing, and a query and an answer on another port."""
    server = _server(host)
    data = answer.encode("latin-1")
    with socket.socket(server.family, socket.SOCK_DGRAM) as s, socket.socket(server.family, socket.SOCK_DGRAM) as other:
        s.bind((host, 0))
        other.bind((host, 0))
        server.sendto(data, s.getsockname())
        s.recv(4096)
        s.sendto(data[:12], other.getsockname())
        other.sendto(data, s.getsockname())
        s.recv(4096)
    server.close()


if __name__ == "__main__":
    enter_netns()
    serve({f.__name__: f for f in (ask, flood, unasked)} | {"pid": os.getpid})
