# SPDX-License-Identifier: Apache-2.0
"""Helper with a network namespace of its own, in which it and processes of its own talk TCP, and bind. See serve.py."""
from __future__ import annotations

import array
import ctypes
import fcntl
import json
import mmap
import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

from serve import LIBC, boot_ns, checked, comm, serve, start_ticks

CLONE_NEWNET = 0x40000000
PR_SET_NAME = 15
LIMIT = 20.0        # s
HOSTS = {4: "127.0.0.1", 6: "::1"}


def enter_netns() -> None:
    """Leave for a network namespace with nothing but a loopback interface that is up."""
    checked(LIBC.unshare(CLONE_NEWNET))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16sH14x", fcntl.ioctl(s, 0x8913, request))[1]
        fcntl.ioctl(s, 0x8914, struct.pack("16sH14x", b"lo", flags | 1))


def process(work: Callable[[], dict[str, Any]], name: str, uid: int, cpu: int | None) -> tuple[int, int]:
    """Run work in a child with a name and user of its own; (pid, descriptor that its facts come from)."""
    read, write = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid:
        os.close(write)
        return pid, read
    status = 1
    try:
        os.close(read)
        checked(LIBC.prctl(PR_SET_NAME, name.encode(), 0, 0, 0))
        if cpu is not None:
            os.sched_setaffinity(0, {cpu})
        os.setgid(uid)
        os.setuid(uid)
        socket.setdefaulttimeout(LIMIT)
        facts = {"pid": os.getpid(), "tid": threading.get_native_id(), "ppid": os.getppid(), "uid": uid, "gid": uid, "comm": comm(),
                 "ticks": start_ticks(), **work()}
        os.write(write, json.dumps(facts).encode())
        status = 0
    finally:
        os._exit(status)


def facts_of(pid: int, read: int) -> dict[str, Any]:
    """Wait for such a child; its facts."""
    with os.fdopen(read, "rb") as f:
        data = f.read()
    status = os.waitpid(pid, 0)[1]
    if status:
        raise RuntimeError(f"process {pid} ended with status {status:#x}")
    return dict(json.loads(data))


def ends(s: socket.socket) -> dict[str, Any]:
    """Both addresses of a connected socket."""
    return {"sock": s.getsockname()[:2], "peer": s.getpeername()[:2]}


def take(s: socket.socket, n: int | None = None) -> int:
    """Read n bytes, or to the end; how many came."""
    got = 0
    while n is None or got < n:
        try:
            data = s.recv(min(65536, n - got) if n is not None else 65536)
        except ConnectionResetError:
            break
        if not data:
            break
        got += len(data)
    return got


def dial(host: str, port: int) -> tuple[socket.socket, dict[str, Any]]:
    """Connect; the socket, and what is known of it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    s = socket.socket(family, socket.SOCK_STREAM)
    before = boot_ns()
    s.connect((host, port))
    return s, {"before": before, "connected": boot_ns(), **ends(s)}


def client(port: Callable[[], int], host: str, how: str, sends: int, gets: int) -> dict[str, Any]:
    """The connecting end."""
    if how == "thread":
        found: list[Any] = []
        t = threading.Thread(target=lambda: found.extend([*dial(host, port()), threading.get_native_id()]))
        t.start()
        t.join()
        s, facts = found[0], {**found[1], "connect_tid": found[2]}
    else:
        s, facts = dial(host, port())
    if how == "abandon":        # more than fits into the other's window: what is left travels after we are gone
        s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * sends)
        s.sendall(bytes(sends))
        s.close()
        return {**facts, "sent": sends, "got": 0, "closing": boot_ns()}
    s.sendall(bytes(sends))
    if how == "half":
        s.shutdown(socket.SHUT_WR)
    got = take(s, None if how in ("server", "half") else gets)
    facts |= {"rtt": info(s, 68), "resent": info(s, 100)}       # tcpi_rtt, tcpi_total_retrans
    facts["closing"] = boot_ns()
    if how == "rst":
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()
    return {**facts, "sent": sends, "got": got}


def server(listener: socket.socket, how: str, gets: int, sends: int, go: int) -> dict[str, Any]:
    """The accepting end. `go` is readable once the client is gone (abandon)."""
    s, _ = listener.accept()
    facts = {"accepted": boot_ns(), **ends(s), "sent": sends}
    if how == "fork":
        child, read = process(lambda: {"got": take(s, gets), **answer(s, "client", sends)}, "tf-worker", os.getuid(), None)
        s.close()
        return {**facts, "worker": facts_of(child, read), "got": gets, "closing": boot_ns()}
    if how == "abandon":
        os.read(go, 1)
    got = take(s, None if how in ("half", "abandon") else gets)
    return {**facts, "got": got, **answer(s, how, sends)}


def answer(s: socket.socket, how: str, sends: int) -> dict[str, Any]:
    """Send, then close first ("server") or after the other end."""
    s.sendall(bytes(sends))
    if how not in ("server", "half", "abandon"):
        take(s)
    closing = boot_ns()
    s.close()
    return {"closing": closing}


def listen(host: str, rcvbuf: int = 0) -> socket.socket:
    """A listening socket on a free port; the mapped address listens on all of both families."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    s = socket.socket(family, socket.SOCK_STREAM)
    if rcvbuf:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
    if host.startswith("::ffff:"):
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        host = "::"
    s.bind((host, 0))
    s.listen(8)
    return s


def talk(host: str, how: str, sends: int, answers: int, cpu: int | None = None) -> dict[str, Any]:
    """One connection between a server and a client process, users 1001 and 1002; what both know. With cpu, all on that one and a busy
    third process beside them."""
    port_read, port_write = os.pipe2(os.O_CLOEXEC)
    go_read, go_write = os.pipe2(os.O_CLOEXEC)

    def serving() -> dict[str, Any]:
        listener = listen(host, 4096 if how == "abandon" else 0)
        os.write(port_write, array.array("H", [listener.getsockname()[1]]).tobytes())
        return {"listening": listener.getsockname()[:2], **server(listener, how, sends, answers, go_read)}

    busy = os.fork() if cpu is not None else 0
    if cpu is not None and not busy:
        os.sched_setaffinity(0, {cpu})
        while os.getppid() != 1:
            sum(range(1000))
        os._exit(0)
    try:
        s = process(serving, "tf-server", 1001, cpu)
        c = process(lambda: client(lambda: struct.unpack("H", os.read(port_read, 2))[0], host, how, sends, answers),
                    "tf-client", 1002, cpu)
        of_client = facts_of(*c)
        of_client["gone"] = boot_ns()
        os.write(go_write, b"!")
        of_server = facts_of(*s)
    finally:
        if busy:
            os.kill(busy, 9)
            os.waitpid(busy, 0)
        for fd in (port_read, port_write, go_read, go_write):
            os.close(fd)
    return {"client": of_client, "server": of_server, "after": boot_ns()}


def refused(host: str) -> dict[str, Any]:
    """Connect to a port where nobody listens."""
    probe = listen(host)
    port = probe.getsockname()[1]
    probe.close()

    def work() -> dict[str, Any]:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as s:
            s.bind((host, 0))
            before, sock = boot_ns(), s.getsockname()[:2]
            error = s.connect_ex((host, port))
            return {"before": before, "after": boot_ns(), "errno": error, "sock": sock, "peer": [host, port]}
    return facts_of(*process(work, "tf-refused", 1003, None))


_kept: list[socket.socket] = []


def keep_open(host: str) -> dict[str, Any]:
    """A listener, and both ends of a connection to it, all of this process, until it ends."""
    listener = listen(host)
    s, facts = dial(host, listener.getsockname()[1])
    other, _ = listener.accept()
    s.sendall(b"x" * 1000)
    take(other, 1000)
    _kept.extend((listener, s, other))
    return {"listening": listener.getsockname()[:2], "client": ends(s), "server": ends(other), "sent": 1000}


def close_kept() -> None:
    """Close what keep_open() made."""
    for s in _kept:
        s.close()
    _kept.clear()


def refuse_many(host: str, n: int) -> None:
    """n refused connections of this process: a quick load of network records."""
    probe = listen(host)
    port = probe.getsockname()[1]
    probe.close()
    for _ in range(n):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as s:
            s.connect_ex((host, port))


def dial_many(host: str, n: int) -> None:
    """n connections of this process with itself, closed by the client first."""
    with listen(host) as listener:
        for _ in range(n):
            s = socket.create_connection(listener.getsockname())
            other, _ = listener.accept()
            s.close()
            take(other)
            other.close()

def life(host: str) -> dict[str, Any]:
    """One connection of this process with itself from listen() to the last close(), the client first."""
    listener = listen(host)
    s, facts = dial(host, listener.getsockname()[1])
    other, _ = listener.accept()
    s.sendall(b"ping")
    take(other, 4)
    s.close()
    take(other)
    other.close()
    listening = listener.getsockname()[:2]
    listener.close()
    return {"listening": listening, "client": {"sock": facts["sock"], "peer": facts["peer"]}}


def deaf(s: socket.socket) -> None:
    """Have the kernel drop all that comes for a socket: a classic BPF filter that accepts nothing."""
    program = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0), 8)
    s.setsockopt(socket.SOL_SOCKET, 26, struct.pack("HxxxxxxQ", 1, ctypes.addressof(program)))


def info(s: socket.socket, at: int, size: int = 4) -> int:
    """A number of TCP_INFO."""
    return int.from_bytes(s.getsockopt(socket.IPPROTO_TCP, 11, 192)[at:at + size], "little")


def lose(host: str, sends: int, times: int) -> dict[str, Any]:
    """Send to a deaf socket until the segment went out again so many times; then it hears again."""
    listener = listen(host)
    s, facts = dial(host, listener.getsockname()[1])
    other, _ = listener.accept()
    deaf(other)
    s.sendall(bytes(sends))
    end = time.monotonic() + LIMIT
    while info(s, 100) < times and time.monotonic() < end:
        time.sleep(0.01)
    other.setsockopt(socket.SOL_SOCKET, 27, 0)
    take(other, sends)
    again = info(s, 100)        # tcpi_total_retrans
    for one in (s, other, listener):
        one.close()
    return {"sock": facts["sock"], "peer": facts["peer"], "again": again}


def reset(host: str) -> dict[str, Any]:
    """A connection that its client resets."""
    listener = listen(host)
    s, facts = dial(host, listener.getsockname()[1])
    other, _ = listener.accept()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()
    facts["read"] = errno_of(lambda: other.recv(1))
    other.close()
    listener.close()
    return facts


def errno_of(call: Callable[[], Any]) -> int:
    """Errno that a call fails with, 0 = it does not."""
    try:
        call()
    except OSError as error:
        return error.errno or 0
    return 0


def ping_pong(host: str, seconds: float) -> dict[str, Any]:
    """Send to and fro for a while; `pause` is the longest that a round took, in ns: who measures has been kept from the CPU as well."""
    listener = listen(host)
    s, facts = dial(host, listener.getsockname()[1])
    other, _ = listener.accept()
    rounds, pause, end = 0, 0, time.monotonic() + seconds
    facts["first"] = last = boot_ns()
    while time.monotonic() < end:
        s.sendall(b"x")
        take(other, 1)
        other.sendall(b"y")
        take(s, 1)
        rounds += 1
        pause, last = max(pause, boot_ns() - last), boot_ns()
    facts.update(rounds=rounds, rtt=info(s, 68), pause=pause, last=last)
    for one in (s, other, listener):
        one.close()
    return facts


def bind_some() -> dict[str, Any]:
    """Bind in every way; what getsockname says of those that worked, the errno of the others."""
    found: list[list[Any]] = []
    kept = []
    for family, kind, address in ((socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)), (socket.AF_INET, socket.SOCK_DGRAM, ("0.0.0.0",
                                                                                                                               0)),
                                  (socket.AF_INET6, socket.SOCK_DGRAM, ("::1", 0)), (socket.AF_INET6, socket.SOCK_STREAM, ("::", 0)),
                                  (socket.AF_INET, socket.SOCK_STREAM, None), (socket.AF_INET6, socket.SOCK_DGRAM, ("2001:db8::7", 4242)),
                                  (socket.AF_INET, socket.SOCK_DGRAM, ("192.0.2.9", 4243))):
        s = socket.socket(family, kind)
        kept.append(s)
        address = address or kept[0].getsockname()      # in use
        error = errno_of(lambda s=s, address=address: s.bind(address))     # type: ignore[misc]
        found.append([6 if kind == socket.SOCK_STREAM else 17, *(address[:2] if error else s.getsockname()[:2]), error])
    with socket.socket(socket.AF_UNIX) as unix, socket.socket(socket.AF_INET) as bad:
        unix.bind(f"\0tapio-{os.getpid()}")
        unreadable = LIBC.bind(bad.fileno(), ctypes.c_void_p(8), 16)
        errno = ctypes.get_errno()
    for s in kept:
        s.close()
    return {"binds": found, "unreadable": [unreadable, errno]}


def race(tries: int) -> dict[str, Any]:
    """connect() while another process rewrites the port in the address: whom each socket really reached."""
    listeners = [listen("127.0.0.1") for _ in range(2)]
    ports = [one.getsockname()[1] for one in listeners]
    memory = mmap.mmap(-1, 4096)
    memory[:16] = struct.pack("=H", socket.AF_INET) + struct.pack("!H4s8x", ports[0], socket.inet_aton("127.0.0.1"))
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    first, second = (struct.pack("!H", port) for port in ports)
    rewriter = os.fork()
    if not rewriter:
        while os.getppid() != 1:
            for _ in range(1000):
                memory[2:4] = second
                memory[2:4] = first
        os._exit(0)
    try:
        reached = []
        for _ in range(tries):
            with socket.socket() as s:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                checked(LIBC.connect(s.fileno(), ctypes.c_void_p(address), 16))
                peer = s.getpeername()[1]
                reached.append([s.getsockname()[1], peer])
                listeners[ports.index(peer)].accept()[0].close()
    finally:
        os.kill(rewriter, 9)
        os.waitpid(rewriter, 0)
        for one in listeners:
            one.close()
    return {"ports": ports, "reached": reached}


if __name__ == "__main__":
    enter_netns()
    serve({f.__name__: f for f in (talk, refused, keep_open, close_kept, refuse_many, dial_many, life, lose, reset, ping_pong, bind_some, race)})
