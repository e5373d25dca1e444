# SPDX-License-Identifier: Apache-2.0
"""Helper that forks, executes and ends children, and reports what it knows of each. See serve.py."""
from __future__ import annotations

import ctypes
import mmap
import os
import resource
import select
import threading
import time
from typing import Any

from serve import LIBC, boot_ns, checked, comm, serve, start_ticks


def _enter(plan: dict[str, Any], stdin: int | None, stdout: int | None) -> None:
    """In the child: become what the plan says and execute. Does not return."""
    try:
        for fd, to in ((stdin, 0), (stdout, 1)):
            if fd is not None:
                os.dup2(fd, to)
        exe: str | int = plan["exe"]
        if plan.get("memfd"):       # the program without a file
            exe = os.memfd_create(plan["memfd"], os.MFD_CLOEXEC)
            with open(plan["exe"], "rb") as f:
                os.write(exe, f.read())
        if plan.get("unlink_exe"):
            exe = os.open(plan["exe"], os.O_RDONLY | os.O_CLOEXEC)
            os.unlink(plan["exe"])
        if plan.get("cwd"):
            os.chdir(plan["cwd"])
        if plan.get("rmdir_cwd"):
            os.rmdir(plan["cwd"])
        if plan.get("gid") is not None:
            os.setgid(plan["gid"])
        if plan.get("uid") is not None:
            os.setuid(plan["uid"])
        if plan.get("cpu") is not None:
            os.sched_setaffinity(0, {plan["cpu"]})
        argv = [a.encode("latin-1") for a in plan["argv"]]
        if argv[0]:
            os.execve(exe, argv, {})
        # Python refuses an empty first argument; the kernel does not
        LIBC.execve(os.fsencode(plan["exe"]), (ctypes.c_char_p * (len(argv) + 1))(*argv), (ctypes.c_char_p * 1)())
    finally:
        os._exit(99)


def _reap(pid: int) -> tuple[int, int]:
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    ticks = start_ticks(pid)
    return ticks, os.waitpid(pid, 0)[1]


def child(**plan: Any) -> dict[str, Any]:
    """Run one child to its end."""
    before = boot_ns()
    pid = os.fork()
    if pid == 0:
        _enter(plan, None, plan.get("_stdout"))
    ticks, status = _reap(pid)
    return {"pid": pid, "ticks": ticks, "status": status, "before": before, "after": boot_ns()}


def children(plans: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Run children one after the other."""
    return [child(**plan) for plan in plans]


def child_output(**plan: Any) -> dict[str, Any]:
    """Run one child to its end; `output` is what it wrote."""
    read, write = os.pipe2(os.O_CLOEXEC)
    done = child(_stdout=write, **plan)
    os.close(write)
    with os.fdopen(read) as f:
        return {**done, "output": f.read()}


def held_child(**plan: Any) -> dict[str, Any]:
    """Run a child of t_life in `hold`, look at it in /proc while it lives, then let it end."""
    to_child, into = os.pipe2(os.O_CLOEXEC)
    out, from_child = os.pipe2(os.O_CLOEXEC)
    before = boot_ns()
    pid = os.fork()
    if pid == 0:
        _enter(plan, to_child, from_child)
    os.close(to_child)
    os.close(from_child)
    if not select.select([out], [], [], 20)[0] or not os.read(out, 1):
        raise RuntimeError("the child did not come up")
    found = {}
    for name in ("exe", "cwd"):
        path = f"/proc/{pid}/{name}"
        found[name] = os.fsencode(os.readlink(path)).decode("latin-1")
    stat = os.stat(f"/proc/{pid}/exe")
    with open(f"/proc/{pid}/cmdline", "rb") as f:
        found["cmdline"] = f.read().decode("latin-1")
    time.sleep(plan.get("hold", 0))
    os.close(into)
    ticks, status = _reap(pid)
    os.close(out)
    return {"pid": pid, "ticks": ticks, "status": status, "before": before, "after": boot_ns(), "inode": stat.st_ino,
            "device": os.major(stat.st_dev) << 20 | os.minor(stat.st_dev), **found}


_programs: dict[int, int] = {}      # pid -> where its input comes from


def start_program(**plan: Any) -> dict[str, Any]:
    """Start a t_life that holds, and leave it there until end_program()."""
    to_child, into = os.pipe2(os.O_CLOEXEC)
    out, from_child = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        _enter(plan, to_child, from_child)
    os.close(to_child)
    os.close(from_child)
    if not select.select([out], [], [], 20)[0] or not os.read(out, 1):
        raise RuntimeError("the child did not come up")
    os.close(out)
    _programs[pid] = into
    return {"pid": pid, "ticks": start_ticks(pid)}


def end_program(pid: int) -> int:
    """Let it end; its status."""
    os.close(_programs.pop(pid))
    return os.waitpid(pid, 0)[1]


def forks_only(n: int) -> list[int]:
    """Fork n children that do nothing but end; their pids."""
    pids = []
    for _ in range(n):
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
        pids.append(pid)
    return pids


_families: list[tuple[int, int, int]] = []  # (pid, where orders go, where answers come from)


def start_family() -> dict[str, Any]:
    """Fork a child that waits for a line to fork its own children: (pid); see grow_family()."""
    read, write = os.pipe2(os.O_CLOEXEC)
    out, answer = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        os.close(write)
        with os.fdopen(read) as orders, os.fdopen(answer, "w") as said:
            for line in orders:
                said.write(",".join(map(str, _grandchildren(int(line)))) + "\n")
                said.flush()
        os._exit(0)
    os.close(read)
    os.close(answer)
    _families.append((pid, write, out))
    return {"pid": pid, "ticks": start_ticks(pid)}


def _grandchildren(n: int) -> list[int]:
    """Fork n children, each of which forks one more and waits for it; the pids of all."""
    read, write = os.pipe2(os.O_CLOEXEC)
    pids = []
    for _ in range(n):
        pid = os.fork()
        if pid == 0:
            grandchild = os.fork()
            if grandchild == 0:
                os._exit(0)
            os.waitpid(grandchild, 0)
            os.write(write, b"%d\n" % grandchild)
            os._exit(0)
        os.waitpid(pid, 0)
        pids.append(pid)
    os.close(write)
    with os.fdopen(read) as f:
        return pids + [int(line) for line in f]


def grow_family(number: int, n: int) -> list[int]:
    """Let family `number` fork n children and as many grandchildren; their pids."""
    _, write, out = _families[number]
    os.write(write, b"%d\n" % n)
    line = b""
    while not line.endswith(b"\n"):
        line += os.read(out, 65536)
    return [int(p) for p in line.split(b",")]


def end_family(number: int) -> int:
    """Let family `number` end; its status."""
    pid, write, out = _families[number]
    os.close(write)
    os.close(out)
    return os.waitpid(pid, 0)[1]


def rename_often(n: int) -> None:
    """Rename this process n times, and back."""
    name = comm()
    for i in range(n - 1):
        checked(LIBC.prctl(15, b"name-%d" % i, 0, 0, 0))
    checked(LIBC.prctl(15, name.encode("latin-1"), 0, 0, 0))


def rename_through(names: list[str]) -> None:
    """Take each of these names in turn, and then the own one again."""
    own = comm()
    for name in [*names, own]:
        checked(LIBC.prctl(15, name.encode("latin-1"), 0, 0, 0))


def _burn(cpu_ms: int) -> None:
    """Use that much CPU time of this thread."""
    end = time.thread_time_ns() + cpu_ms * 1_000_000
    while time.thread_time_ns() < end:
        pass


_held: list[Any] = []       # memory and threads that stay
_release = threading.Event()


def work(cpu_ms: int = 0, mb: int = 0, dead: int = 0, alive: int = 0, naps: int = 0) -> None:
    """Burn CPU here, in `dead` threads that end and in `alive` ones that stay; touch mb of new memory; sleep shortly `naps` times."""
    threads = len(os.listdir("/proc/self/task"))
    _burn(cpu_ms)
    if mb:
        memory = mmap.mmap(-1, mb << 20)
        for at in range(0, mb << 20, mmap.PAGESIZE):
            memory[at] = 1
        _held.append(memory)
    for _ in range(dead):
        thread = threading.Thread(target=_burn, args=(cpu_ms,))
        thread.start()
        thread.join()
    while dead and len(os.listdir("/proc/self/task")) > threads:   # joined is not yet gone
        time.sleep(0.001)
    for _ in range(alive):
        done = threading.Event()
        thread = threading.Thread(target=lambda done=done: (_burn(cpu_ms), done.set(), _release.wait()), daemon=True)
        thread.start()
        done.wait()
        _held.append(thread)
    for _ in range(naps):
        time.sleep(0.0001)


def used() -> dict[str, int]:
    """Return what the kernel says this process has used so far, and when it was asked."""
    begun = boot_ns()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    with open("/proc/self/statm") as f:
        rss = int(f.read().split()[1]) * mmap.PAGESIZE
    with open("/proc/self/stat", "rb") as f:
        fields = f.read().rpartition(b")")[2].split()
    return {"begun": begun, "on_cpu_ns": round((usage.ru_utime + usage.ru_stime) * 1e9), "switches": usage.ru_nvcsw + usage.ru_nivcsw,
            "minor_faults": usage.ru_minflt, "major_faults": usage.ru_majflt, "rss": rss, "threads": int(fields[17]),
            "ticks": int(fields[11]) + int(fields[12]), "ended": boot_ns()}


if __name__ == "__main__":
    serve({f.__name__: f for f in (child, children, child_output, held_child, forks_only, start_program, end_program, start_family,
                                  grow_family, end_family, rename_often, rename_through, work, used)})
