# SPDX-License-Identifier: Apache-2.0
"""Falco's fields in ours: the table, and one check as a tree. docs/rules.md prints it. Relies on `_falco_texts`, `_falco_numbers`.

A field that is not here is refused by name, with the reason where there is one worth telling.
"""
from __future__ import annotations

import difflib
from collections.abc import Callable

from tapio_fast.filtering import _falco_events as events
from tapio_fast.filtering import _falco_numbers as n
from tapio_fast.filtering import _falco_texts as t
from tapio_fast.filtering._falco_condition import Check
from tapio_fast.filtering._falco_texts import Ask
from tapio_fast.filtering._fields import catalogue
from tapio_fast.filtering._imported import FALSE, TRUE, Unconvertible, bits, exists, kinds, numbers, text
from tapio_fast.filtering._tree import Node, all_of, any_of, opposite

Compare = Callable[[Ask], Node]


def _text(name: str) -> Compare:
    return lambda a: t.plain(name, a)


def _type(a: Ask) -> Node:
    """evt.type, syscall.type."""
    notes = a.notes if a.notes is not None else []
    if a.op == "exists":
        return TRUE
    if a.op in ("=", "!="):
        found = events.of_types(a.values, notes) if a.values else FALSE
        return opposite(found) if a.op == "!=" else found
    tests = {"contains": lambda name, v: v in name, "startswith": str.startswith, "endswith": str.endswith}
    if a.op not in tests:
        raise Unconvertible(f"{a.op} is not for events; write = or in")
    names = [name for name in events.known() if any(tests[a.op](name, v) for v in a.values)]
    return events.of_types(names, notes) if names else FALSE


def _container(a: Ask) -> Node:
    """container.id: "host", or the first 12 characters."""
    if a.op == "exists":
        return exists("container_id")
    if a.op not in ("=", "!=", "startswith"):
        raise Unconvertible(f"{a.op} on container.id: only its first 12 characters are meant; write = != in startswith, or container.full_id")
    host = [v for v in a.values if v == "host"]
    ids = [v for v in a.values if v not in ("host", "")]
    parts: list[Node] = []
    if host and a.op != "startswith":
        parts.append(text("container_id", "equal", [""]))
    if ids:
        parts.append(text("container_id", "startswith", [v[:12] for v in ids]))
    if a.op == "!=" and len(parts) == 1:
        return text("container_id", "equal" if host else "startswith", [""] if host else [ids[0][:12]], negate=True)
    if a.op == "!=":
        return exists("container_id")
    return any_of(parts)


def _ancestor(name: str, comm: str | None, own: str) -> dict[str, Compare]:
    """A field of any ancestor, of the process itself [0] and of its parent [1]."""
    def anyone(a: Ask) -> Node:
        if a.op == "!=":
            raise Unconvertible("!= over all ancestors holds when any of them differs; write `not ... =` if none may match")
        return t.plain(name, a)
    found = {"": anyone, "0": _text(own)}
    return found | ({"1": _text(comm)} if comm else {})


def _source(target: bool) -> Compare:
    """fs.path.source and .target: what a symbolic link points to is its source."""
    moved, link = ("new_path", "path") if target else ("path", "new_path")
    return lambda a: any_of([all_of([kinds("file.rename", "file.link"), t.plain(moved, a)]), all_of([kinds("file.symlink"), t.plain(link, a)])])


def _socket(argument: str, names: dict[str, int]) -> Compare:
    from tapio_fast import syscalls
    number = syscalls.table().get("socket", 41)

    def compare(a: Ask) -> Node:
        return all_of([kinds("syscall.call"), numbers("nr", [(number, number)]), n.number(argument, names)(a)])
    return compare


def _io(*names: str) -> Compare:
    return n.boolean(lambda: kinds(*names))


_CREATED_EXEC = n.boolean(lambda: all_of([kinds("file.create"), bits("mode", 0o111)]))
_FAMILIES = {k: v for k, v in catalogue()["family"].names.items()}
# field -> how it is compared
FIELDS: dict[str, Compare] = {
    "evt.type": _type, "syscall.type": _type, "evt.dir": n.direction, "evt.num": n.sequence, "evt.cpu": n.number("cpu"),
    "evt.latency": n.number("duration_ns"), "evt.latency.ns": n.number("duration_ns"), "evt.res": n.result, "evt.rawres": n.raw_result,
    "evt.failed": n.boolean(n.failed), "evt.is_open_read": n.boolean(lambda: n.opened(True)), "evt.is_open_write": n.boolean(lambda: n.opened(False)),
    "evt.is_open_create": _io("file.create"), "evt.is_open_exec": _CREATED_EXEC,
    "evt.is_io_read": _io("file.read", "network.recv", "network.flow"), "evt.is_io_write": _io("file.write", "network.send", "network.flow"),
    "evt.is_io": _io("file.read", "file.write", "network.send", "network.recv", "network.flow"),
    "evt.arg.flags": n.flags, "evt.arg.mode": n.mode, "evt.arg.path": _text("path"), "evt.arg.name": _text("path"),
    "evt.arg.filename": _text("path"), "evt.arg.pathname": _text("path"), "evt.arg.oldpath": _text("path"), "evt.arg.newpath": _text("new_path"),
    "evt.arg.linkpath": n.with_kinds(_text("path"), "file.symlink"), "evt.arg.target": n.with_kinds(_text("new_path"), "file.symlink"),
    "evt.arg.dir": n.with_kinds(_text("path"), "security.mount"), "evt.arg.uid": n.number("new_uid", n.ROOT),
    "evt.arg.euid": n.with_kinds(n.number("new_uid", n.ROOT), "process.setuid"), "evt.arg.gid": n.number("new_gid", n.ROOT),
    "evt.arg.egid": n.with_kinds(n.number("new_gid", n.ROOT), "process.setgid"), "evt.arg.sig": n.number("signal"),
    "evt.arg.pid": n.number("target_pid"), "evt.arg.request": n.with_kinds(n.number("value", n.PTRACE), "security.ptrace"),
    "evt.arg.cmd": n.with_kinds(n.number("value", n.BPF), "security.bpf"), "evt.arg.domain": _socket("arg0", _FAMILIES),
    "evt.abspath": _text("path"),
    "proc.name": _text("comm"), "proc.exe": lambda a: t.argv0("process_args", a), "proc.exepath": _text("process_exe"),
    "proc.args": lambda a: t.rest("process_args", a), "proc.cmdline": t.cmdline("comm", "process_args"), "proc.exeline": _text("process_args"),
    "proc.cwd": lambda a: t.cwd("process_cwd", a), "proc.pid": n.number("pid"), "proc.ppid": n.number("ppid"),
    "proc.pname": _text("parent_comm"), "proc.pexe": lambda a: t.argv0("parent_args", a), "proc.pexepath": _text("parent_exe"),
    "proc.pcmdline": t.cmdline("parent_comm", "parent_args"),
    "proc.is_exe_from_memfd": n.boolean(lambda: text("process_exe", "startswith", ["/memfd:"])), "proc.exe_ino": n.number("exe_inode"),
    "thread.tid": n.number("tid"), "thread.cgroups": _text("cgroup_path"),
    "user.uid": n.number("uid", n.ROOT), "user.name": n.number("uid", n.ROOT), "group.gid": n.number("gid", n.ROOT), "group.name": n.number("gid", n.ROOT),
    "container.id": _container, "container.full_id": _text("container_id"),
    "fd.name": _text("path"), "fd.directory": lambda a: t.directory("path", a), "fd.filename": lambda a: t.filename("path", a),
    "fs.path.name": _text("path"), "fs.path.source": _source(False), "fs.path.target": _source(True), "fd.num": n.number("fd"),
    "fd.ino": n.number("inode"), "fd.type": n.fd_type, "fd.typechar": n.fd_type, "fd.l4proto": n.protocol,
    "fd.is_server": n.boolean(lambda: numbers("direction", [(2, 2)])),
    "fd.connected": n.assumed(False, "fd.connected = false: flows do not tell connected UDP sockets from others; both match"),
    "fd.name_changed": n.assumed(True, "fd.name_changed = true: a flow is one record a peer, so it is left out"),
} | {f"fd.{letter}{what}": n.end("port" if what == "port" else "ip", which)
     for letter, which in (("", "any"), ("c", "client"), ("s", "server"), ("l", "local"), ("r", "remote")) for what in ("ip", "net", "port")}
# field -> index -> how
INDEXED: dict[str, dict[str, Compare]] = {
    "proc.aname": _ancestor("ancestor_comm", "parent_comm", "comm"), "proc.aexepath": _ancestor("ancestor_exe", "parent_exe", "process_exe"),
    "proc.apid": {"0": n.number("pid"), "1": n.number("ppid")},
    "proc.acmdline": {"0": t.cmdline("comm", "process_args"), "1": t.cmdline("parent_comm", "parent_args")},
    "proc.aexe": {"0": lambda a: t.argv0("process_args", a), "1": lambda a: t.argv0("parent_args", a)},
}
_LATER = "this version has no enrichment with {}; container.id is known"
# beginning of a field -> why there is none like it; the longest counts
NONE: dict[str, str] = {
    "container.": _LATER.format("names and images of containers"), "k8s.": _LATER.format("pods"), "ka.": "the Kubernetes audit log is no record of ours",
    "jevt.": "JSON events of plugins are no records of ours", "json.": "JSON events of plugins are no records of ours",
    "ct.": "cloud audit logs are no records of ours", "proc.tty": "terminals are not recorded", "proc.env": "environments are not recorded",
    "proc.aenv": "environments are not recorded", "proc.sid": "sessions are not recorded", "proc.sname": "sessions are not recorded",
    "proc.vpgid": "process groups are not recorded", "proc.pgid": "process groups are not recorded",
    "proc.is_vpgid_leader": "process groups are not recorded", "proc.is_sid_leader": "sessions are not recorded",
    "proc.loginshellid": "sessions are not recorded", "proc.vpid": "ids are the host's; proc.pid is known",
    "proc.pvpid": "ids are the host's; proc.ppid is known",
    "thread.vtid": "ids are the host's; thread.tid is known", "proc.duration": "times are not compared with each other",
    "proc.ppid.duration": "times are not compared with each other",
    "proc.is_exe_upper_layer": "layers of overlay file systems are not recorded", "proc.is_exe_writable": "permissions of executables are not recorded",
    "proc.exe_ino.": "times of executables are not recorded", "proc.cmdnargs": "lengths are not fields", "proc.cmdlenargs": "lengths are not fields",
    "proc.stdin": "standard descriptors of processes are not recorded", "proc.stdout": "standard descriptors of processes are not recorded",
    "proc.stderr": "standard descriptors of processes are not recorded", "fd.types": "descriptors of a process are not listed",
    "thread.cap_": "capabilities are recorded where they change (process.capset, security.privilege_escalation), not with every event",
    "user.": "of users only the number is known: user.uid, or user.name = root", "group.": "of groups only the number is known: group.gid",
    "evt.buffer": "contents of reads and writes are not compared", "evt.args": "arguments are fields of their own: evt.arg.path, evt.arg.flags ...",
    "evt.info": "arguments are fields of their own: evt.arg.path, evt.arg.flags ...", "evt.rawarg": "write evt.arg instead",
    "evt.time": "times are chosen by --since and --until", "evt.rawtime": "times are chosen by --since and --until",
    "evt.datetime": "times are chosen by --since and --until", "evt.reltime": "times are chosen by --since and --until",
    "evt.arg.": "this argument is not recorded", "fd.sip.name": "names of addresses are not joined; DNS answers are records of their own",
    "fd.cip.name": "names of addresses are not joined; DNS answers are records of their own",
    "fd.rip.name": "names of addresses are not joined; DNS answers are records of their own",
    "fd.lip.name": "names of addresses are not joined; DNS answers are records of their own", "fd.dev": "devices are numbered otherwise here",
    "fd.nameraw": "only the resolved path is recorded: fd.name", "fs.path.nameraw": "only the resolved path is recorded: fs.path.name",
    "fs.path.sourceraw": "only the resolved path is recorded: fs.path.source", "fs.path.targetraw": "only the resolved path is recorded: fs.path.target",
}


def leaf(check: Check, values: list[str], notes: list[str]) -> Node:
    """Return one check as a tree; values: with lists expanded. Raises Unconvertible."""
    shown = check.field if check.index is None else f"{check.field}[{check.index}]"
    compare, calls = _find(check), check.calls
    if any(value.reference for value in check.values):
        raise Unconvertible(f"field {shown}: a field cannot be compared with another one")
    try:
        if calls and calls[0] == "basename":
            named = {"proc.exepath": "process_exe", "proc.pexepath": "parent_exe", "fd.name": "path", "fs.path.name": "path"}.get(check.field)
            if named is None or len(calls) > 1:
                raise Unconvertible("basename() goes with proc.exepath, proc.pexepath, fd.name and fs.path.name")
            return t.filename(named, t.ask(check.op, values, (), notes))
        return compare(t.ask(check.op, values, calls, notes))
    except Unconvertible as why:
        raise Unconvertible(f"field {shown}: {why}") from None


def _find(check: Check) -> Compare:
    field, index = check.field, check.index
    if field in INDEXED:
        found = INDEXED[field].get(index or "")
        if found is None:
            raise Unconvertible(f"field {field}[{index or ''}]: " + ("only the parent [1] is known of this" if "" not in INDEXED[field] else
                                                                    "ancestors are known as a set, not by their distance: leave the index out"))
        return found
    if index is not None and field == "evt.arg" and f"evt.arg.{index}" in FIELDS:
        return FIELDS[f"evt.arg.{index}"]
    if index is None and field in FIELDS:
        return FIELDS[field]
    if field == "evt.source":
        return lambda a: TRUE if a.op == "=" and a.values == ("syscall",) else FALSE
    why = next((NONE[start] for start in sorted(NONE, key=len, reverse=True) if field.startswith(start)), None)
    if why is None:
        near = difflib.get_close_matches(field, [*FIELDS, *INDEXED], 1)
        raise Unconvertible(f"no field {field!r}" + (f"; did you mean {near[0]!r}?" if near else "; docs/rules.md lists those that are known"))
    raise Unconvertible(f"field {field}: {why}")
