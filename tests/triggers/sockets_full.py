# SPDX-License-Identifier: Apache-2.0
"""Helper like sockets.py whose sockets have no memory left for what is stored with them. See serve.py."""
from __future__ import annotations

import socket
import struct
from typing import Any

from serve import serve
from sockets import enter_netns, errno_of


def no_room() -> dict[str, Any]:
    """Sockets whose memory for options is used up, by keys for peers that nobody talks to: one listens, the other connects to it."""
    TCP_MD5SIG, ENOMEM, most = 14, 12, 20_000       # linux/tcp.h
    listening, dialing = socket.socket(), socket.socket()
    listening.bind(("127.0.0.1", 0))
    refused = []
    for s in (listening, dialing):
        for i in range(most):
            peer = struct.pack("=H2x4s120x", socket.AF_INET, socket.inet_aton(f"10.1.{i >> 8}.{i & 255}"))
            key = peer + struct.pack("=BBHi80s", 0, 0, 4, 0, b"none")
            error = errno_of(lambda s=s, key=key: s.setsockopt(socket.IPPROTO_TCP, TCP_MD5SIG, key))    # type: ignore[misc]
            if error:
                refused.append(error)
                break
    if refused == [ENOMEM] * 2:
        listening.listen()
        dialing.connect(listening.getsockname())
    listening.close()
    dialing.close()
    return {"refused": refused}


if __name__ == "__main__":
    enter_netns()
    serve({"no_room": no_room})
