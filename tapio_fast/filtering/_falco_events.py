# SPDX-License-Identifier: Apache-2.0
"""Falco's events (evt.type, and what evt.* says of them) in our kinds of records. docs/rules.md prints the table. Relies on `_imported`.

One record of ours often stands for a family of calls: open, openat and openat2 are all file.open. A rule that names only a part of a
family matches the whole family, and gets a note that says so.
"""
from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from tapio_fast import syscalls
from tapio_fast.filtering._imported import Unconvertible, joined, kinds, numbers
from tapio_fast.filtering._tree import Node, all_of
from tapio_fast.types import SecurityAction


@dataclass(frozen=True)
class Family:
    """Calls that are recorded alike. core: named alone, the others are meant too; kinds: of the records; action: of security records."""

    core: tuple[str, ...]
    others: tuple[str, ...]
    kinds: tuple[str, ...]
    action: str = ""
    note: str = ""

    @property
    def node(self) -> Node:
        """Which records it is."""
        found: Node = kinds(*self.kinds)
        if self.action:
            number = int(SecurityAction[self.action])
            found = all_of([found, numbers("action", [(number, number)])])
        return found


_SUMS = "file reads and writes are added up until the descriptor is closed: one record for many calls"
FAMILIES: tuple[Family, ...] = (
    Family(("execve",), ("execveat",), ("process.exec",)),
    Family(("clone",), ("clone3", "fork", "vfork"), ("process.fork",)),
    Family(("procexit",), (), ("process.exit",)),
    Family(("kill", "tkill", "tgkill"), (), ("process.signal",)),
    Family(("setuid", "setresuid"), ("setreuid", "setfsuid"), ("process.setuid",)),
    Family(("setgid", "setresgid"), ("setregid", "setfsgid", "setgroups"), ("process.setgid",)),
    Family(("capset",), (), ("process.capset",)),
    Family(("open", "openat"), ("openat2", "open_by_handle_at", "creat"), ("file.open", "file.create")),
    Family(("close",), (), ("file.close",)),
    Family(("read",), ("pread", "readv", "preadv", "pread64", "preadv2"), ("file.read",), note=_SUMS),
    Family(("write",), ("pwrite", "writev", "pwritev", "pwrite64", "pwritev2"), ("file.write",), note=_SUMS),
    Family(("unlink",), (), ("file.delete",)),
    Family(("unlinkat",), (), ("file.delete", "file.rmdir")),
    Family(("rename", "renameat"), ("renameat2",), ("file.rename",)),
    Family(("chmod", "fchmod", "fchmodat"), ("fchmodat2",), ("file.chmod",)),
    Family(("chown", "fchown", "fchownat"), ("lchown",), ("file.chown",)),
    Family(("mkdir", "mkdirat"), (), ("file.mkdir",)),
    Family(("rmdir",), (), ("file.rmdir",)),
    Family(("link", "linkat"), (), ("file.link",)),
    Family(("symlink", "symlinkat"), (), ("file.symlink",)),
    Family(("truncate", "ftruncate"), (), ("file.truncate",)),
    Family(("mknod", "mknodat"), (), ("file.create",), note="files that open() made are records of the same kind"),
    Family(("setxattr", "lsetxattr", "fsetxattr", "removexattr", "lremovexattr", "fremovexattr"), (), ("file.xattr",)),
    Family(("connect",), (), ("network.connect",)),
    Family(("accept",), ("accept4",), ("network.accept",)),
    Family(("listen",), (), ("network.listen",)),
    Family(("bind",), (), ("network.bind",)),
    Family(("sendto", "sendmsg"), ("send", "sendmmsg"), ("network.flow", "network.send"),
           note="UDP only: what is sent by TCP has no record a call"),
    Family(("recvfrom", "recvmsg"), ("recv", "recvmmsg"), ("network.flow", "network.recv"),
           note="UDP only: what is received by TCP has no record a call"),
    Family(("ptrace",), (), ("security.ptrace",)),
    Family(("process_vm_readv",), (), ("security.process_vm",), "VM_READ"),
    Family(("process_vm_writev",), (), ("security.process_vm",), "VM_WRITE"),
    Family(("pidfd_getfd",), (), ("security.process_vm",), "PIDFD_GETFD"),
    Family(("init_module", "finit_module"), (), ("security.module_load",), "MODULE_INIT"),
    Family(("delete_module",), (), ("security.module_load",), "MODULE_DELETE"),
    Family(("bpf",), (), ("security.bpf",)),
    Family(("mount",), (), ("security.mount",), "MOUNT"),
    Family(("umount",), ("umount2",), ("security.mount",), "UMOUNT"),
    Family(("pivot_root",), (), ("security.mount",), "PIVOT_ROOT"),
    Family(("chroot",), (), ("security.mount",), "CHROOT"),
    Family(("move_mount",), (), ("security.mount",), "MOVE_MOUNT"),
    Family(("open_tree",), (), ("security.mount",), "OPEN_TREE"),
    Family(("fsmount",), (), ("security.mount",), "FSMOUNT"),
    Family(("mount_setattr",), (), ("security.mount",), "MOUNT_SETATTR"),
    Family(("setns",), (), ("security.namespace",), "SETNS"),
    Family(("unshare",), (), ("security.namespace",), "UNSHARE"),
    Family(("memfd_create",), (), ("security.memfd",)),
    Family(("userfaultfd",), (), ("security.userfaultfd",)),
    Family(("perf_event_open",), (), ("security.perf_event",)),
    Family(("io_uring_setup",), (), ("security.io_uring",)),
    Family(("keyctl",), (), ("security.keyctl",), "KEYCTL"),
    Family(("add_key",), (), ("security.keyctl",), "ADD_KEY"),
    Family(("request_key",), (), ("security.keyctl",), "REQUEST_KEY"),
    Family(("mmap",), ("mmap2",), ("memory.mmap",), note="mappings below programs.memory.threshold_mb have no record"),
    Family(("munmap",), (), ("memory.munmap",), note="mappings below programs.memory.threshold_mb have no record"),
    Family(("mprotect",), (), ("memory.mprotect",), note="mappings below programs.memory.threshold_mb have no record"),
)
_BY_NAME = {name: family for family in FAMILIES for name in (*family.core, *family.others)}
# What Falco calls by another name than the kernel
_RENAMED = {"prlimit": "prlimit64", "eventfd": "eventfd2", "signalfd": "signalfd4", "inotify_init": "inotify_init1", "pipe": "pipe2"}
# Falco events that are no system calls of ours
_NONE = {
    "container": "metadata of containers is no record",
    "drop": "losses are told by the ledger (meta.loss)",
    "switch": "context switches are counted, not recorded",
    "page_fault": "page faults are added up a process (memory.page_fault)", "signaldeliver": "signals are recorded when sent (kill)",
    "useradded": "changes of users are not events of the kernel; watch /etc/passwd",
    "userdeleted": "changes of users are not events of the kernel; watch /etc/passwd",
    "groupadded": "changes of groups are not events of the kernel; watch /etc/group", "pluginevent": "plugins are not there",
}


def known() -> list[str]:
    """Return every name that evt.type can be compared with."""
    return sorted({*_BY_NAME, *syscalls.table(), *_RENAMED})


def of_types(names: Iterable[str], notes: list[str]) -> Node:
    """Return which records are one of some events; appends to notes what is told together."""
    wanted = list(dict.fromkeys(names))
    parts: list[Node] = []
    for family in {id(f): f for f in (_BY_NAME.get(name) for name in wanted) if f is not None}.values():
        missing = [name for name in family.core if name not in wanted]
        named = [name for name in wanted if name in (*family.core, *family.others)]
        if missing:
            notes.append(f"evt.type {', '.join(named)}: records do not tell it from {', '.join(missing)}, which match too")
        if family.note:
            notes.append(f"evt.type {', '.join(named)}: {family.note}")
        parts.append(family.node)
    plain = [name for name in wanted if name not in _BY_NAME]
    if plain:
        parts.append(_calls(plain, notes))
    return joined(parts)


def _calls(names: list[str], notes: list[str]) -> Node:
    table = syscalls.table()
    found = []
    for name in names:
        if name in _NONE:
            raise Unconvertible(f"evt.type {name}: {_NONE[name]}")
        number = table.get(_RENAMED.get(name, name))
        if number is None:
            near = difflib.get_close_matches(name, known(), 1)
            raise Unconvertible(f"evt.type: no event {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
        found.append((number, number))
    notes.append(f"evt.type {', '.join(names)}: recorded where programs.process.monitor_syscalls names it")
    return all_of([kinds("syscall.call"), numbers("nr", found)])
