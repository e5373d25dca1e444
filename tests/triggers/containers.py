# SPDX-License-Identifier: Apache-2.0
"""Helper that makes control groups, enters namespaces and runs containers, and reports what it knows of each. See serve.py."""
from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

from serve import LIBC, boot_ns, checked, serve, start_ticks

SPACES = ("mnt", "pid", "net", "user", "ipc", "uts", "cgroup", "time", "pid_for_children", "time_for_children")
PIDFD_OPEN, OPEN_TREE, OPEN_TREE_ATTR = 434, 428, 467
AT_FDCWD, MS_BIND, NEWNS = -100, 4096, 0x20000
CLONE = {"x86_64": 56, "aarch64": 220}[os.uname().machine]
SIGCHLD = 17


def spaces(pid: int | str = "self") -> dict[str, int]:
    """Return the inode numbers of a process's namespaces; 0: a pid namespace that nobody has been in yet cannot be looked at."""
    found = {}
    for name in SPACES:
        try:
            found[name] = os.stat(f"/proc/{pid}/ns/{name}").st_ino
        except FileNotFoundError:
            found[name] = 0
    return found


def _spaces_with_child() -> dict[str, int]:
    """Return our namespaces; where the children's pid namespace cannot be looked at yet, a child looks at it."""
    found = spaces()
    if not found["pid_for_children"]:
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.write(write, str(spaces()["pid"]).encode())
            os._exit(0)
        os.waitpid(pid, 0)
        found["pid_for_children"] = int(os.read(read, 20))
    return found


def run(argv: list[str], cwd: str = "/") -> dict[str, Any]:
    """Run a program to its end. What it leaves behind becomes our child."""
    checked(LIBC.prctl(36, 1, 0, 0, 0))     # PR_SET_CHILD_SUBREAPER
    with open("/dev/null", "rb") as nothing, open(f"/tmp/tf-containers-{os.getpid()}", "w+b") as said:
        Path(said.name).unlink()
        process = subprocess.Popen(argv, cwd=cwd, stdin=nothing, stdout=said, stderr=said)
        status = process.wait(25)
        said.seek(0)
        return {"pid": process.pid, "status": status, "output": said.read().decode("latin-1")}


def reap(pid: int) -> bool:
    """Collect a child that has ended; whether there is none (any more)."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


def mkdir(path: str) -> dict[str, Any]:
    """Make a control group."""
    before = boot_ns()
    Path(path).mkdir()
    return {"id": os.stat(path).st_ino, "before": before, "after": boot_ns()}


def rmdir(path: str) -> None:
    """Remove a control group."""
    Path(path).rmdir()


def attach(path: str, pid: int) -> None:
    """Move a process into a control group."""
    (Path(path) / "cgroup.procs").write_text(str(pid))


_children: dict[int, int] = {}


def sleeper() -> dict[str, Any]:
    """Fork a child that waits until end_sleeper()."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        for other in (write, *_children.values()):
            os.close(other)
        os.read(read, 1)
        os._exit(0)
    os.close(read)
    _children[pid] = write
    return {"pid": pid, "ticks": start_ticks(pid), "spaces": spaces(pid)}


def end_sleeper(pid: int) -> int:
    """Let it end; its status."""
    os.close(_children.pop(pid))
    return os.waitpid(pid, 0)[1]


def unshared(flags: int) -> dict[str, Any]:
    """In a child: unshare(flags); what it was in and is in."""
    return _in_child(lambda: checked(LIBC.unshare(flags)))


def joined(path: str, kinds: int) -> dict[str, Any]:
    """In a child: setns() to this namespace file, or to the pid's namespaces by a pidfd."""
    def join() -> None:
        fd = LIBC.syscall(PIDFD_OPEN, int(path), 0) if path.isdigit() else os.open(path, os.O_RDONLY)
        checked(LIBC.setns(fd, kinds))
    return _in_child(join)


def back_and_forth(path: str, flags: int, kinds: int) -> dict[str, Any]:
    """In a child: unshare(flags), then setns() to `path`."""
    def both() -> None:
        fd = os.open(path, os.O_RDONLY)
        checked(LIBC.unshare(flags))
        checked(LIBC.setns(fd, kinds))
    return _in_child(both)


def _in_child(do: Any) -> dict[str, Any]:
    out, said = os.pipe()
    pid = os.fork()
    if pid == 0:
        error = 0
        try:
            before = spaces()
            with contextlib.ExitStack() as stack:
                stack.callback(lambda: os.write(said, repr((before, _spaces_with_child(), error)).encode()))
                try:
                    do()
                except OSError as e:
                    error = e.errno or -1
        finally:
            os._exit(0)
    os.close(said)
    with os.fdopen(out) as f:
        before, after, error = eval(f.read())
    os.waitpid(pid, 0)
    return {"pid": pid, "before": before, "after": after, "errno": error}


def cloned_and_kept(flags: int) -> dict[str, Any]:
    """clone(flags) a child that waits until end_sleeper()."""
    read, write = os.pipe()
    LIBC.syscall.restype = ctypes.c_long
    pid = checked(LIBC.syscall(CLONE, flags | SIGCHLD, 0, 0, 0, 0))
    if pid == 0:
        os.close(write)
        os.read(read, 1)
        os._exit(0)
    os.close(read)
    _children[pid] = write
    return {"pid": pid, "spaces": spaces(pid)}


def cloned(flags: int) -> dict[str, Any]:
    """clone(flags) a child that ends once we have looked at it."""
    found = cloned_and_kept(flags)
    end_sleeper(found["pid"])
    return found


def shown_from_below(depth: int, folder: str) -> dict[str, Any]:
    """So many forks down, in a mount namespace of its own: the host's root, bound and (twice) as a tree that is mounted nowhere yet."""
    read, write = os.pipe()
    top = os.fork()
    if top:
        os.close(write)
        with os.fdopen(read) as f:
            done: dict[str, Any] = eval(f.read())
        os.waitpid(top, 0)
        return done
    for _ in range(depth - 1):
        if child := os.fork():
            os.waitpid(child, 0)
            os._exit(0)
    errors = {}
    LIBC.syscall.restype = ctypes.c_long
    checked(LIBC.unshare(NEWNS))
    for name, call in (("mount", lambda: LIBC.mount(b"/", folder.encode(), None, MS_BIND, None)),
                       ("open_tree", lambda: LIBC.syscall(OPEN_TREE, AT_FDCWD, b"/", 1)),
                       ("open_tree_attr", lambda: LIBC.syscall(OPEN_TREE_ATTR, AT_FDCWD, b"/", 1, None, 0))):
        errors[name] = ctypes.get_errno() if call() < 0 else 0
    os.write(write, repr({"pid": os.getpid(), "errors": errors}).encode())
    os._exit(0)


def call_without_entry(nr: int) -> dict[str, int]:
    """A call that succeeds with this number and that nobody saw begin: an exec, told apart by its tracer in its middle (x86-64)."""
    traceme, cont, set_options, poke_user, event_exec, orig_rax = 0, 7, 0x4200, 6, 0x10, 120
    LIBC.ptrace.argtypes, LIBC.ptrace.restype = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p), ctypes.c_long
    pid = os.fork()
    if pid == 0:
        LIBC.ptrace(traceme, 0, None, None)
        os.kill(os.getpid(), signal.SIGSTOP)
        os.execv("/bin/true", ["true"])
    os.waitpid(pid, 0)
    checked(LIBC.ptrace(set_options, pid, None, event_exec))
    checked(LIBC.ptrace(cont, pid, None, None))
    os.waitpid(pid, 0)
    checked(LIBC.ptrace(poke_user, pid, orig_rax, nr))
    checked(LIBC.ptrace(cont, pid, None, None))
    return {"pid": pid, "status": os.waitpid(pid, 0)[1]}


if __name__ == "__main__":
    serve({f.__name__: f for f in (spaces, run, reap, mkdir, rmdir, attach, sleeper, end_sleeper, unshared, joined, back_and_forth, cloned,
                                   cloned_and_kept, shown_from_below, call_without_entry)})
