# SPDX-License-Identifier: Apache-2.0
"""Helper with a network namespace of its own, in which it and a process of its own send datagrams. See serve.py."""
from __future__ import annotations

import os
import signal
import socket
import struct
import time
from typing import Any

from serve import boot_ns, serve
from sockets import LIMIT, enter_netns, errno_of, facts_of, process


def udp_talk(host: str, connected: bool, sizes: list[int]) -> dict[str, Any]:
    """Datagrams to a socket of this process, each answered with twice its size, sent by a child: who uses a socket owns its flow."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    a, b = socket.socket(family, socket.SOCK_DGRAM), socket.socket(family, socket.SOCK_DGRAM)
    a.settimeout(LIMIT)
    b.settimeout(LIMIT)
    b.bind((host, 0))
    peer = b.getsockname()[:2]
    if connected:
        a.connect(peer)

    def work() -> dict[str, Any]:
        facts: dict[str, Any] = {"before": boot_ns()}
        for size in sizes:
            a.send(bytes(size)) if connected else a.sendto(bytes(size), peer)
            a.recv(1, socket.MSG_PEEK)
            a.recv(1 << 16) if connected else a.recvfrom(1 << 16)
        return {**facts, "after": boot_ns(), "sock": a.getsockname()[:2]}
    child = process(work, "tf-udp", 1004, None)
    for size in sizes:
        data, source = b.recvfrom(1 << 16)
        assert len(data) == size
        b.sendto(bytes(2 * size), source)
    facts = facts_of(*child)
    closing = boot_ns()
    a.close()
    b.close()
    return {"child": facts, "peer": peer, "closing": closing, "closed": boot_ns(), "source": source[:2]}


def udp_long(seconds: float) -> dict[str, Any]:
    """One socket that sends to itself for a while."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.1", 0))
        s.connect(s.getsockname())
        sent, end = 0, time.monotonic() + seconds
        while time.monotonic() < end:
            s.send(b"x" * 100)
            s.recv(200)
            sent += 1
            time.sleep(0.05)
    return {"sent": sent}


def udp_refused(host: str) -> dict[str, Any]:
    """A datagram for a port where nobody listens."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind((host, 0))
        peer = s.getsockname()[:2]
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.connect(tuple(peer))
        s.send(bytes(77))
        return {"sock": s.getsockname()[:2], "peer": peer, "errno": errno_of(lambda: s.recv(1))}


def udp_share(host: str, times: int) -> dict[str, Any]:
    """Two children send on one unconnected socket at the same time, each to a peer and in a size of its own."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    peers = []
    with socket.socket(family, socket.SOCK_DGRAM) as shared, socket.socket(family, socket.SOCK_DGRAM) as a, \
            socket.socket(family, socket.SOCK_DGRAM) as b:
        for s in (a, b):
            s.bind((host, 0))
            peers.append(s.getsockname()[:2])

        ready, go = os.pipe()

        def work(peer: list[Any], size: int) -> dict[str, Any]:
            os.close(go)
            os.read(ready, 1)       # until the parent closes it
            data = bytes(size)
            for _ in range(times):
                shared.sendto(data, peer)
            return {"peer": peer, "size": size}
        cpus = sorted(os.sched_getaffinity(0))
        children: list[tuple[int, int]] = []
        for peer, size, cpu in zip(peers, (11, 22), (cpus[0], cpus[-1]), strict=True):
            child = process(lambda peer=peer, size=size: work(peer, size), f"tf-share{size}", 1004, cpu)      # type: ignore[misc]
            while children and not (child[0] - children[0][0]) % 4:     # the four that are told apart: TF_PEERS
                os.kill(child[0], signal.SIGKILL)
                os.waitpid(child[0], 0)
                child = process(lambda peer=peer, size=size: work(peer, size), f"tf-share{size}", 1004, cpu)      # type: ignore[misc]
            children.append(child)
        os.close(go)
        facts = [facts_of(*child) for child in children]
        os.close(ready)
        return {"children": facts}


def udp_elsewhere(host: str) -> dict[str, Any]:
    """A connected socket that also sends to another peer, once to one that is refused: (size, whom it was for) of what left."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as s, socket.socket(family, socket.SOCK_DGRAM) as good, \
            socket.socket(family, socket.SOCK_DGRAM) as other:
        for one in (good, other):
            one.bind((host, 0))
        s.connect(good.getsockname())
        s.send(bytes(10))
        s.sendto(bytes(20), other.getsockname())
        s.send(bytes(30))
        errno = errno_of(lambda: s.sendto(bytes(65_530), other.getsockname()))      # no datagram is that long
        s.send(bytes(40))
        to = {"good": good.getsockname()[:2], "other": other.getsockname()[:2]}
        return {"sock": s.getsockname()[:2], **to, "errno": errno, "sent": [[10, "good"], [20, "other"], [30, "good"], [40, "good"]]}


def udp_many(sockets: int, sizes: list[int]) -> dict[str, Any]:
    """Sockets, one after the other, that each send to themselves."""
    for _ in range(sockets):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.bind(("127.0.0.1", 0))
            s.connect(s.getsockname())
            for size in sizes:
                s.send(bytes(size))
                s.recv(1 << 16)
    return {}


def udp_raw() -> dict[str, Any]:
    """Raw sockets with the protocol numbers of UDP and TCP: bound, and used."""
    for protocol in (socket.IPPROTO_UDP, socket.IPPROTO_TCP):
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol) as s:
            s.settimeout(LIMIT)
            s.bind(("127.0.0.1", 0))
            s.sendto(struct.pack("!4H", 9, 9, 9, 0) + b"x" + bytes(11), ("127.0.0.1", 0))
            s.recv(1 << 16)
    return {}


if __name__ == "__main__":
    enter_netns()
    serve({f.__name__: f for f in (udp_talk, udp_long, udp_refused, udp_share, udp_elsewhere, udp_many, udp_raw)})
