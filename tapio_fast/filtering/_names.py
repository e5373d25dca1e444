# SPDX-License-Identifier: Apache-2.0
"""Names that stand for numbers in filters: errnos, flags, protocols, signals ... by field. Relies on `types`, `syscalls`.

Linux's numbers, spelt out: a store may be read elsewhere. open(2) flags differ by machine: this machine's hold.
"""
from __future__ import annotations

import errno
import os
import platform
import signal
from collections.abc import Mapping

from tapio_fast import types

ERRNOS: dict[str, int] = {name: getattr(errno, name) for name in dir(errno) if name.startswith("E")} | {"OK": 0}
# the C library calls O_LARGEFILE 0 where every file is large; the kernel has a bit for it
OPEN_FLAGS: dict[str, int] = {name: getattr(os, name) for name in dir(os) if name.startswith("O_")} | {
    "O_ACCMODE": 3, "O_LARGEFILE": 0x20000 if platform.machine() == "aarch64" else 0x8000}
FILE_FLAGS: dict[str, int] = OPEN_FLAGS | {
    "RENAME_NOREPLACE": 1, "RENAME_EXCHANGE": 2, "RENAME_WHITEOUT": 4, "XATTR_CREATE": 1, "XATTR_REPLACE": 2,
    "AT_SYMLINK_NOFOLLOW": 0x100, "AT_REMOVEDIR": 0x200, "AT_SYMLINK_FOLLOW": 0x400, "AT_EMPTY_PATH": 0x1000}
RECORD_FLAGS: dict[str, int] = {name: 1 << bit for bit, name in enumerate((
    "TRUNCATED", "USER_CLAIMED", "REDACTED", "LATE", "NO_OWNER", "WEAK_SEQ", "CGROUP_V1", "SYNTHETIC", "LISTENER_OWNER", "KERNEL_SENDER",
    "PARTIAL", "COMPAT"))}
MODES: dict[str, int] = {
    "S_IFMT": 0o170000, "S_IFSOCK": 0o140000, "S_IFLNK": 0o120000, "S_IFREG": 0o100000, "S_IFBLK": 0o060000, "S_IFDIR": 0o040000,
    "S_IFCHR": 0o020000, "S_IFIFO": 0o010000, "S_ISUID": 0o4000, "S_ISGID": 0o2000, "S_ISVTX": 0o1000, "S_IRUSR": 0o400, "S_IWUSR": 0o200,
    "S_IXUSR": 0o100, "S_IRGRP": 0o040, "S_IWGRP": 0o020, "S_IXGRP": 0o010, "S_IROTH": 0o004, "S_IWOTH": 0o002, "S_IXOTH": 0o001}
PROTECTIONS = {"PROT_NONE": 0, "PROT_READ": 1, "PROT_WRITE": 2, "PROT_EXEC": 4}
MAP_FLAGS = {"MAP_SHARED": 1, "MAP_PRIVATE": 2, "MAP_FIXED": 0x10, "MAP_ANONYMOUS": 0x20, "MAP_GROWSDOWN": 0x100, "MAP_LOCKED": 0x2000,
             "MAP_POPULATE": 0x8000, "MAP_STACK": 0x20000, "MAP_HUGETLB": 0x40000}
NAMESPACES = {"CLONE_NEWTIME": 0x80, "CLONE_NEWNS": 0x20000, "CLONE_NEWCGROUP": 0x2000000, "CLONE_NEWUTS": 0x4000000,
              "CLONE_NEWIPC": 0x8000000, "CLONE_NEWUSER": 0x10000000, "CLONE_NEWPID": 0x20000000, "CLONE_NEWNET": 0x40000000}
FAMILIES = {"AF_UNSPEC": 0, "AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10, "AF_NETLINK": 16, "AF_PACKET": 17, "AF_VSOCK": 40}
PROTOCOLS = {"ICMP": 1, "TCP": 6, "UDP": 17, "ICMPV6": 58}
DIRECTIONS = {"UNKNOWN": 0, "EGRESS": 1, "INGRESS": 2}
STATES = {name: 1 + i for i, name in enumerate((
    "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE", "CLOSE_WAIT", "LAST_ACK", "LISTEN", "CLOSING",
    "NEW_SYN_RECV"))}
DNS_TYPES = {"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28, "SRV": 33, "ANY": 255}
DNS_CODES = {"NOERROR": 0, "FORMERR": 1, "SERVFAIL": 2, "NXDOMAIN": 3, "NOTIMP": 4, "REFUSED": 5}
RUNTIMES = {name: i for i, name in enumerate(("NONE", "OTHER", "DOCKER", "CONTAINERD", "CRIO", "PODMAN", "RUNC", "LXC", "SYSTEMD"))}
CAPABILITIES = {f"CAP_{name}": 1 << bit for bit, name in enumerate((
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP", "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT",
    "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE",
    "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ",
    "PERFMON", "BPF", "CHECKPOINT_RESTORE"))}
_BY_FIELD: dict[str, Mapping[str, int]] = {
    "errno": ERRNOS, "file_flags": FILE_FLAGS, "record_flags": RECORD_FLAGS, "mode": MODES, "prot": PROTECTIONS, "map_flags": MAP_FLAGS,
    "ns_flags": NAMESPACES, "family": FAMILIES, "protocol": PROTOCOLS, "direction": DIRECTIONS, "state": STATES, "old_state": STATES,
    "dns_type": DNS_TYPES, "dns_rcode": DNS_CODES, "runtime": RUNTIMES, "old_caps": CAPABILITIES, "new_caps": CAPABILITIES,
}


def of_field(name: str) -> Mapping[str, int]:
    """Return the constants of a field: NAME -> number; empty for one that has none. Names are looked up in upper case."""
    if name == "signal":
        return {s.name: int(s) for s in signal.Signals}
    if name == "action":
        return {m.name: int(m) for m in types.SecurityAction}
    if name == "severity":
        return {n: int(m) for n, m in types.Severity.__members__.items()}
    if name == "nr":
        from tapio_fast import syscalls
        return {n.upper(): number for n, number in syscalls.table().items()}
    return _BY_FIELD.get(name, {})
