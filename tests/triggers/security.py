# SPDX-License-Identifier: Apache-2.0
"""Helper whose children do one thing each that a security record is made of, and say what they did. See serve.py."""
from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import struct
from collections.abc import Callable
from typing import Any

from serve import LIBC, boot_ns, checked, serve

Told = dict[str, Any]
_KEPT: list[Any] = []         # memory that a thread may still use


def syscall(number: int, *args: Any) -> int:
    """Make a system call; return its result, or -errno."""
    LIBC.syscall.restype = ctypes.c_long
    plain = [ctypes.c_long(a) if isinstance(a, int) else a for a in args]
    result = LIBC.syscall(ctypes.c_long(number), *plain)
    return int(result) if result != -1 else -ctypes.get_errno()


def effective() -> int:
    """Effective capabilities of this process, as /proc tells them."""
    with open("/proc/self/status") as f:
        return int(next(line for line in f if line.startswith("CapEff")).split()[1], 16)


def set_effective(bits: int) -> int:
    """capset(2): these effective capabilities, nothing else changed; -errno."""
    with open("/proc/self/status") as f:
        caps = {line.split(":")[0]: int(line.split()[1], 16) for line in f if line.startswith("Cap")}
    data = b"".join(struct.pack("<III", bits >> at & 0xFFFFFFFF, caps["CapPrm"] >> at & 0xFFFFFFFF, caps["CapInh"] >> at & 0xFFFFFFFF)
                    for at in (0, 32))
    return syscall(126, ctypes.c_char_p(struct.pack("<II", 0x20080522, 0)), ctypes.c_char_p(data))


def _child(work: Callable[..., Told], uid: int, args: dict[str, Any]) -> Told:
    """Fork; the child becomes `uid`, works, and tells what it did (nothing, if it executes another program)."""
    read, write = os.pipe2(os.O_CLOEXEC)
    before = boot_ns()
    pid = os.fork()
    if pid == 0:
        try:
            if uid:
                os.setgroups([])
                os.setresgid(uid, uid, uid)
                os.setresuid(uid, uid, uid)
            told = work(**args)
        except BaseException as error:
            told = {"raised": repr(error)}
        os.write(write, json.dumps(told).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as f:
        text = f.read()
    status = os.waitpid(pid, 0)[1]
    return {"pid": pid, "uid": uid, "before": before, "after": boot_ns(), "status": status, **(json.loads(text) if text else {})}


def do(work: str, uid: int = 0, **args: Any) -> Told:
    """Let a child do one of WORKS."""
    told = _child(WORKS[work], uid, args)
    if "raised" in told:
        raise RuntimeError(f"{work}: {told['raised']}")
    return told


def calls(steps: list[list[Any]], cwd: str = "") -> Told:
    """System calls one after the other: [number, arguments]; texts become pointers to them, {"buf": hex} to bytes, {"step": i} the
    result of an earlier one."""
    if cwd:
        os.chdir(cwd)
    results: list[int] = []
    for number, *args in steps:
        made = []
        for a in args:
            if isinstance(a, dict):
                a = results[a["step"]] if "step" in a else ctypes.create_string_buffer(bytes.fromhex(a["buf"]))
            made.append(ctypes.c_char_p(a.encode()) if isinstance(a, str) else a)
        results.append(syscall(number, *made))
    return {"results": results}


def _target() -> int:
    """Fork a process that waits to be looked at."""
    pid = os.fork()
    if pid == 0:
        signal.pause()
        os._exit(0)
    return pid


def trace() -> Told:
    """Attach to a child of our own, and let it go."""
    target = _target()
    results = [syscall(101, 16, target, 0, 0)]
    os.waitpid(target, 0x40000000)      # __WALL
    results.append(syscall(101, 17, target, 0, 0))
    os.kill(target, 9)
    os.waitpid(target, 0)
    return {"target": target, "results": results}


def trace_other(target: int) -> Told:
    """Try to attach to somebody else's process."""
    return {"results": [syscall(101, 16, target, 0, 0)]}


def process_vm() -> Told:
    """Read and write another process's memory, and take a descriptor of it."""
    there = ctypes.create_string_buffer(b"0123456789", 16)
    target = _target()
    here = ctypes.create_string_buffer(10)
    local = struct.pack("<QQ", ctypes.addressof(here), 10)
    remote = struct.pack("<QQ", ctypes.addressof(there), 10)
    results = [syscall(number, target, ctypes.c_char_p(local), 1, ctypes.c_char_p(remote), 1, 0) for number in (310, 311)]
    pidfd = syscall(434, target, 0)
    results.append(syscall(438, pidfd, 1, 0))
    os.kill(target, 9)
    os.waitpid(target, 0)
    return {"target": target, "results": results, "read": here.raw.decode()}


def regain(how: str) -> Told:
    """Give privileges up, and take them back."""
    if how == "setuid":
        os.setresuid(1000, 1000, 0)
        old = effective()
        os.setresuid(-1, 0, -1)
        return {"old": [old, 1000, 0], "new": [effective(), 0, 0]}
    if how == "setgid":
        os.setresgid(1000, 1000, 0)
        os.setresgid(-1, 0, -1)
        return {"old": [effective(), 0, 1000], "new": [effective(), 0, 0]}
    whole = effective()
    checked(set_effective(whole & ~(1 << 21)))
    checked(set_effective(whole))
    return {"old": [whole & ~(1 << 21), 0, 0], "new": [whole, 0, 0]}


def execute(path: str, drop: bool = False, memfd: str = "", unlink: bool = False,
            arguments: tuple[str, ...] = ()) -> Told:
    """Become another program: by path, or by a descriptor of what has no name (any more)."""
    target: Any = path
    if memfd:
        target = os.memfd_create(memfd, os.MFD_CLOEXEC)
        with open(path, "rb") as f:
            os.write(target, f.read())
    if unlink:
        target = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        os.unlink(path)
    if drop:
        checked(set_effective(effective() & ~(1 << 21)))
    os.execve(target, ["t", *arguments], {})
    raise AssertionError("unreachable")


def execute_later(path: str, fifo: str, fork: bool) -> Told:
    """Wait until the test has written to a pipe, then become another program; or have a child do so."""
    with open(fifo) as f:
        f.read()
    if fork:
        pid = os.fork()
        if pid:
            return {"status": os.waitpid(pid, 0)[1]}
    os.execve(path, ["t"], {})
    raise AssertionError("unreachable")


def new_process(number: int, flags: int) -> Told:
    """clone or clone3 with these flags; the child ends at once."""
    if number == 56:
        made = syscall(56, flags | signal.SIGCHLD, 0, 0, 0, 0)
    else:
        made = syscall(435, ctypes.c_char_p(struct.pack("<8Q", flags, 0, 0, 0, signal.SIGCHLD, 0, 0, 0)), 64)
    if made == 0:
        os._exit(0)
    if made > 0:
        os.waitpid(made, 0)
    return {"results": [made]}


def new_thread(flags: int) -> Told:
    """A thread by clone with these flags; it ends at once. What it runs must know nothing of threads: getpid of the C library."""
    stack = ctypes.create_string_buffer(1 << 16)
    _KEPT.append(stack)
    top = ctypes.c_void_p((ctypes.addressof(stack) + len(stack)) & ~15)
    as_thread = 0x100 | 0x400 | 0x800 | 0x10000 | 0x40000      # CLONE_VM, FILES, SIGHAND, THREAD, SYSVSEM
    return {"results": [checked(LIBC.clone(ctypes.cast(LIBC.getpid, ctypes.c_void_p), top, as_thread | flags, None))]}


def join(kind: str) -> Told:
    """setns to the namespace that we are in."""
    fd = os.open(f"/proc/self/ns/{kind}", os.O_RDONLY)
    return {"results": [syscall(308, fd, 0)], "inode": os.fstat(fd).st_ino}


def chroot(path: str) -> Told:
    """Change the root directory, and fail to open something below it."""
    first = syscall(161, ctypes.c_char_p(path.encode()))
    return {"results": [first, syscall(59, ctypes.c_char_p(b"/plain"), 0, 0)]}


def memory(path: str) -> Told:
    """Writable and executable memory: of nothing, of a file; by mmap and by mprotect; and memory that is one of the two only."""
    results = [syscall(9, 0, 4096, 7, 0x22, -1, 0)]
    fd = os.open(path, os.O_RDWR)
    results.append(syscall(9, 0, 4096, 7, 2, fd, 0))
    plain = syscall(9, 0, 4096, 3, 0x22, -1, 0)
    results.append(plain)
    results += [syscall(10, plain, 4096, 7), syscall(329, plain, 4096, 7, -1), syscall(10, plain, 4096, 5)]
    stat = os.fstat(fd)
    return {"results": results, "inode": stat.st_ino, "device": os.major(stat.st_dev) << 20 | os.minor(stat.st_dev)}


def named_memory(title: str) -> Told:
    """memfd_create."""
    fd = os.memfd_create(title, os.MFD_CLOEXEC)
    stat = os.fstat(fd)
    return {"fd": fd, "inode": stat.st_ino, "device": os.major(stat.st_dev) << 20 | os.minor(stat.st_dev)}


def refuse_often(n: int) -> Told:
    """Ask n times for what needs CAP_SYS_TIME, as a user that has not got it."""
    for _ in range(n):
        syscall(227, 0, ctypes.c_char_p(struct.pack("<qq", 1, 0)))      # clock_settime
    return {}


def to_address(number: int, family: int, kind: int, address: str) -> Told:
    """connect or bind a socket to the bytes of an address."""
    with socket.socket(family, kind) as s:
        raw = bytes.fromhex(address)
        return {"results": [syscall(number, s.fileno(), ctypes.c_char_p(raw), len(raw))], "fd": s.fileno()}


def closed_socket(address: str, path: str) -> Told:
    """As a user, connect by a relative name to a socket that only root may use."""
    os.chdir(path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("closed.sock")
        os.chmod("closed.sock", 0o600)
        listener.listen()
        os.setresgid(1000, 1000, 1000)
        os.setresuid(1000, 1000, 1000)
        return to_address(42, socket.AF_UNIX, socket.SOCK_STREAM, address)


WORKS: dict[str, Callable[..., Told]] = {f.__name__: f for f in (
    calls, trace, trace_other, process_vm, regain, execute, execute_later, new_process, new_thread, join, chroot, memory, named_memory,
    refuse_often, to_address, closed_socket)}

if __name__ == "__main__":
    serve({"do": do})
