# SPDX-License-Identifier: Apache-2.0
"""Helper that makes system calls on files, exactly those it is told to, and reports what it knows of each. See serve.py."""
from __future__ import annotations

import ctypes
import os
import platform
import struct
import threading
from typing import Any

from serve import LIBC, boot_ns, checked, serve

# asm/unistd_64.h; asm-generic/unistd.h
_X86 = {"read": 0, "write": 1, "open": 2, "close": 3, "lseek": 8, "pread64": 17, "pwrite64": 18, "readv": 19, "writev": 20, "dup2": 33,
        "sendfile": 40, "truncate": 76, "ftruncate": 77, "rename": 82, "mkdir": 83, "rmdir": 84, "creat": 85, "link": 86, "unlink": 87,
        "symlink": 88, "chmod": 90, "fchmod": 91, "chown": 92, "fchown": 93, "lchown": 94, "mknod": 133, "setxattr": 188,
        "lsetxattr": 189, "fsetxattr": 190, "removexattr": 197, "lremovexattr": 198, "fremovexattr": 199, "openat": 257, "mkdirat": 258,
        "mknodat": 259, "fchownat": 260, "unlinkat": 263, "renameat": 264, "linkat": 265, "symlinkat": 266, "fchmodat": 268,
        "clone": 56, "splice": 275, "dup3": 292, "preadv": 295, "pwritev": 296, "open_by_handle_at": 304, "renameat2": 316, "copy_file_range": 326,
        "preadv2": 327, "pwritev2": 328}
_ARM = {"read": 63, "write": 64, "close": 57, "lseek": 62, "pread64": 67, "pwrite64": 68, "readv": 65, "writev": 66, "sendfile": 71,
        "truncate": 45, "ftruncate": 46, "fchmod": 52, "fchown": 55, "setxattr": 5, "lsetxattr": 6, "fsetxattr": 7, "removexattr": 14,
        "lremovexattr": 15, "fremovexattr": 16, "openat": 56, "mkdirat": 34, "mknodat": 33, "fchownat": 54, "unlinkat": 35,
        "renameat": 38, "linkat": 37, "symlinkat": 36, "fchmodat": 53, "clone": 220, "splice": 76, "dup3": 24, "preadv": 69, "pwritev": 70,
        "open_by_handle_at": 265, "renameat2": 276, "copy_file_range": 285, "preadv2": 286, "pwritev2": 287}
_BOTH = {"close_range": 436, "openat2": 437, "fchmodat2": 452, "setxattrat": 463}
NR = {**(_ARM if platform.machine() == "aarch64" else _X86), **_BOTH}
_FDS: dict[str, int] = {}


def _argument(value: Any, kept: list[Any]) -> Any:
    """Turn one argument of a plan into what a system call takes; what must live on goes to `kept`."""
    if isinstance(value, int):
        return ctypes.c_long(value)
    if isinstance(value, str):
        value = ["bytes", value + "\0"]
    kind, *rest = value
    if kind == "fd":
        return ctypes.c_long(_FDS[rest[0]])
    if kind == "address":
        return ctypes.c_void_p(rest[0])
    data = {"bytes": lambda: rest[0].encode("latin-1"), "room": lambda: bytes(rest[0]),
            "how": lambda: struct.pack("<3Q", *rest), "long": lambda: struct.pack("<q", rest[0])}.get(kind)
    if data is not None:
        kept.append(ctypes.create_string_buffer(data(), len(data())))
        return ctypes.byref(kept[-1])
    parts = [ctypes.create_string_buffer(p.encode("latin-1"), len(p)) for p in rest]     # iovec
    kept += parts
    kept.append(ctypes.create_string_buffer(b"".join(struct.pack("<2Q", ctypes.addressof(p), len(p)) for p in parts)))
    return ctypes.byref(kept[-1])


def _stat(fd: int) -> dict[str, int]:
    s = os.fstat(fd)
    return {"inode": s.st_ino, "mode": s.st_mode, "size": s.st_size}


def calls(plan: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Make each system call of a plan: {"do": [name, argument...], "as": label of the descriptor, "drop": it is gone afterwards}."""
    facts = []
    for step in plan:
        name, *args = step["do"]
        kept: list[Any] = []
        ready = [_argument(a, kept) for a in args]
        before = boot_ns()
        ret = LIBC.syscall(NR[name], *ready)
        fact: dict[str, Any] = {"before": before, "after": boot_ns(), "ret": ret if ret >= 0 else -ctypes.get_errno()}
        if "as" in step and ret >= 0:
            _FDS[step["as"]] = ret
        if ret >= 0 and "as" in step:
            fact["stat"] = _stat(ret)
        facts.append(fact)
    return facts


def chdir(path: str) -> None:
    """Change the working directory."""
    os.chdir(path.encode("latin-1"))


def as_user(uid: int, plan: list[dict[str, Any]]) -> dict[str, Any]:
    """Make the calls in a child of another user."""
    return forked(plan, uid)


def forked(plan: list[dict[str, Any]], uid: int = 0) -> dict[str, Any]:
    """Make the calls in a child that has all our descriptors; it ends without closing them."""
    out, into = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        try:
            if uid:
                os.setuid(uid)
            text = repr(calls(plan)).encode()
            while text:
                text = text[os.write(into, text):]
            os._exit(0)
        finally:
            os._exit(99)
    os.close(into)
    with os.fdopen(out, "rb") as f:
        text = f.read()
    assert os.waitpid(pid, 0)[1] == 0
    return {"pid": pid, "facts": eval(text)}        # what repr of our own dicts wrote


def executed(plan: list[dict[str, Any]], exe: str) -> dict[str, Any]:
    """Make the calls in a child, which then executes `exe` with one argument, "exit"."""
    pid = os.fork()
    if pid == 0:
        try:
            calls(plan)
            os.execv(exe, [exe, "exit", "0"])
        finally:
            os._exit(99)
    return {"pid": pid, "status": os.waitpid(pid, 0)[1]}


def replaced(old: str, new: str, tries: int) -> None:
    """Write 4 bytes by a descriptor; let a process that shares it close it and open another file there; write 8. On one CPU, where memory that
    was freed is used again first."""
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cpus)})
    for _ in range(tries):
        fd = os.open(old.encode("latin-1"), os.O_WRONLY)
        os.write(fd, bytes(4))
        pid = LIBC.syscall(ctypes.c_long(NR["clone"]), ctypes.c_long(0x400 | 17), *[ctypes.c_long(0)] * 4)     # CLONE_FILES, SIGCHLD
        if pid == 0:
            os.close(fd)
            os._exit(os.open(new.encode("latin-1"), os.O_WRONLY) != fd)
        assert os.waitpid(checked(pid), 0)[1] == 0
        os.write(fd, bytes(8))
        os.close(fd)
    os.sched_setaffinity(0, cpus)


def namespace(source: str, target: str) -> None:
    """Take a mount namespace of our own and bind one directory onto another."""
    checked(LIBC.unshare(0x20000))
    checked(LIBC.mount(b"none", b"/", None, ctypes.c_ulong((1 << 18) | 16384), None))     # MS_PRIVATE | MS_REC
    checked(LIBC.mount(source.encode("latin-1"), target.encode("latin-1"), None, ctypes.c_ulong(4096), None))


def race(paths: list[str], tries: int) -> dict[str, Any]:
    """Open one buffer again and again while another thread writes the paths into it in turn."""
    room = max(map(len, paths)) + 1
    buffer = ctypes.create_string_buffer(paths[0].encode("latin-1"), room)
    texts = [p.encode("latin-1").ljust(room, b"\0") for p in paths]
    done = threading.Event()
    turns = 0

    def rewrite() -> None:
        nonlocal turns
        address = ctypes.addressof(buffer)
        while not done.is_set():
            for text in texts:
                ctypes.memmove(address, text, room)
                turns += 1

    thread = threading.Thread(target=rewrite)
    thread.start()
    found = []
    for _ in range(tries):
        fd = LIBC.open(buffer, os.O_RDONLY)
        found.append(os.fstat(fd).st_ino if fd >= 0 else 0)
        if fd >= 0:
            os.close(fd)
    done.set()
    thread.join()
    return {"opened": found, "turns": turns}


if __name__ == "__main__":
    serve({"calls": calls, "chdir": chdir, "forked": forked, "as_user": as_user, "executed": executed, "namespace": namespace,
           "replaced": replaced,
           "race": race})
