# SPDX-License-Identifier: Apache-2.0
"""Helper with a network namespace of its own that does what somebody does who would rather not be seen. See serve.py."""
from __future__ import annotations

import ctypes
import mmap
import os
import signal
import socket
import struct
import subprocess
import threading
import time
from typing import Any

from serve import LIBC, boot_ns, checked, serve
from sockets import enter_netns, facts_of, process

MSG_MORE = 0x8000
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
READ_IMPLIES_EXEC, ALL_OF_IT = 0x0400000, 0xFFFFFFFF
GETPPID, NANOSLEEP, CLONE3 = 110, 35, 435
CLONE_NEWPID, CLONE_NEWUTS, CLONE_VFORK = 0x20000000, 0x04000000, 0x4000


def hand_over(sizes: list[int]) -> dict[str, Any]:
    """A socket that this process sends by, then a child, then this process again."""
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sink.bind(("127.0.0.1", 0))
    s.connect(sink.getsockname())
    s.send(bytes(sizes[0]))
    child = process(lambda: {"sent": s.send(bytes(sizes[1]))}, "tf-second", 1004, None)
    facts = facts_of(*child)
    s.send(bytes(sizes[2]))
    s.close()
    sink.close()
    return {"pids": [os.getpid(), facts["pid"], os.getpid()]}


def dns_pieces(first: str, rest: str) -> None:
    """A query in two pieces: only the first lies where the packet's headers do."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        server.bind(("127.0.0.1", 53))
        s.connect(("127.0.0.1", 53))
        s.send(first.encode("latin-1"), MSG_MORE)
        s.send(rest.encode("latin-1"))
        assert server.recv(512) == (first + rest).encode("latin-1")


def dns_same_memory(queries: list[str]) -> None:
    """Queries of the same socket and transaction to a server that has no room for them: each packet's memory is free for the next."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        server.bind(("127.0.0.1", 53))
        s.bind(("127.0.0.1", 0))
        for _ in range(20):
            s.sendto(b"\0\0\x80\0" + bytes(1000), ("127.0.0.1", 53))      # no queries: answers, by their third byte
        for query in queries:
            s.sendto(query.encode("latin-1"), ("127.0.0.1", 53))


def self_connect() -> dict[str, Any]:
    """A connection without a listener: a socket that connects to itself (simultaneous open)."""
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("127.0.0.1", 0))
        at = s.getsockname()
        s.connect(at)
        s.send(b"to myself")
        assert s.recv(100) == b"to myself"
        return {"port": at[1]}


def client_then_server() -> dict[str, Any]:
    """A socket that connects, lets go and listens: what it accepts comes in."""
    with socket.socket() as there, socket.socket() as s, socket.socket() as client:
        there.bind(("127.0.0.1", 0))
        there.listen()
        s.connect(there.getsockname())
        there.accept()[0].close()
        checked(LIBC.connect(s.fileno(), struct.pack("16x"), 16))       # AF_UNSPEC: let go
        s.bind(("127.0.0.1", 0))
        s.listen()
        client.connect(s.getsockname())
        s.accept()[0].close()
        return {"port": s.getsockname()[1], "first": there.getsockname()[1]}


def refused_by_seccomp(pause: float) -> list[dict[str, int]]:
    """A call, and a while later the same one in a child, where a filter refuses it before it begins; in one thread."""
    pid = os.fork()
    if pid == 0:
        LIBC.syscall(GETPPID)
        time.sleep(pause)
        # load nr; getppid? return errno 1 : allow
        code = struct.pack("HBBIHBBIHBBIHBBI", 0x20, 0, 0, 0, 0x15, 0, 1, GETPPID, 0x06, 0, 0, 0x00050001, 0x06, 0, 0, 0x7FFF0000)
        text = ctypes.create_string_buffer(code)
        program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", 4, ctypes.addressof(text)))
        checked(LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        checked(LIBC.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0))
        os._exit(0 if LIBC.syscall(GETPPID) == -1 else 1)
    return [{"pid": pid, "status": os.waitpid(pid, 0)[1]}]


def clone3_that_forgets() -> dict[str, int]:
    """clone3 with a new namespace, whose arguments are gone when it returns: the child, in our memory, which we wait for, wipes them."""
    memory = mmap.mmap(-1, 4096)
    memory[:64] = struct.pack("<8Q", CLONE_NEWUTS | CLONE_VFORK, 0, 0, 0, signal.SIGCHLD, 0, 0, 0)
    at = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    pid = LIBC.syscall(CLONE3, ctypes.c_void_p(at), 64)
    if pid == 0:
        memory[:8] = bytes(8)
        os._exit(0)
    os.waitpid(checked(pid), 0)
    return {"pid": os.getpid(), "child": pid, "left": int.from_bytes(memory[:8], "little")}


def many_inits(count: int) -> dict[str, Any]:
    """First processes of so many pid namespaces, all alive before the first executes."""
    said, told = os.pipe()
    gate, go = os.pipe()
    outer = []
    for _ in range(count):
        outer.append(os.fork())
        if outer[-1]:
            continue
        checked(LIBC.unshare(CLONE_NEWPID))
        init = os.fork()
        if init == 0:
            os.close(go)
            os.read(gate, 1)
            os.execve("/bin/true", ["true"], {})
        os.write(told, struct.pack("<I", init))
        os.close(go)
        os._exit(os.waitpid(init, 0)[1])
    pids = [struct.unpack("<I", os.read(said, 4))[0] for _ in range(count)]
    os.close(go)        # now they execute
    failed = sum(os.waitpid(pid, 0)[1] for pid in outer)
    for fd in (said, told, gate):
        os.close(fd)
    return {"pids": pids, "failed": failed}


def closed_while_read() -> dict[str, int]:
    """A read from a pipe that gets its data when another thread has closed the descriptor."""
    read, write = os.pipe()
    got: list[bytes] = []
    thread = threading.Thread(target=lambda: got.append(os.read(read, 100)))
    thread.start()
    in_read = False
    while not in_read:      # call number 0, with our descriptor
        with open(f"/proc/self/task/{thread.native_id}/syscall") as f:
            in_read = f.read().startswith(f"0 {read:#x} ")
    os.close(read)
    os.write(write, b"data")
    thread.join()
    os.close(write)
    return {"got": len(got[0])}


def readable_is_executable(size: int) -> dict[str, Any]:
    """Memory that nobody asked to be executable, and is; in a child, whose personality it is."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        LIBC.mmap.restype = ctypes.c_void_p
        checked(LIBC.personality(LIBC.personality(ctypes.c_ulong(ALL_OF_IT)) | READ_IMPLIES_EXEC))
        at = LIBC.mmap(None, ctypes.c_size_t(size), 3, 0x22, -1, 0)
        with open("/proc/self/maps") as f:
            rights = next(line.split()[1] for line in f if line.startswith(f"{at:x}-"))
        os.write(write, f"{at} {rights}".encode())
        os._exit(0)
    os.waitpid(pid, 0)
    at, rights = os.read(read, 100).decode().split()
    os.close(read)
    os.close(write)
    return {"pid": pid, "at": int(at), "rights": rights}


def run(path: str, arguments: list[str], cwd: str) -> dict[str, int]:
    """Another program; who it was and how it ended."""
    before = boot_ns()
    with subprocess.Popen([path, *arguments], cwd=cwd) as child:
        status = child.wait()
    return {"pid": child.pid, "status": status, "before": before, "after": boot_ns()}


if __name__ == "__main__":
    enter_netns()
    serve({f.__name__: f for f in (hand_over, dns_pieces, dns_same_memory, self_connect, client_then_server, refused_by_seccomp,
                                   clone3_that_forgets, many_inits, closed_while_read, readable_is_executable, run)})
