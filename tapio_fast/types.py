# SPDX-License-Identifier: Apache-2.0
"""The numbers of events: types, subtypes and severities, with the document's values first and ours appended.

`bpf/include/tf_kinds.h` is the truth for what is collected; a test compares. Members without a program yet are numbers kept
free for them. Relies on the standard library only.
"""
from __future__ import annotations

from enum import IntEnum

__all__ = ["ContainerEventType", "CpuEventType", "EventType", "FileEventType", "MemoryEventType", "MetaEventType",
           "NetworkEventType", "ProcessEventType", "SecurityAction", "SecurityEventType", "Severity", "SyscallEventType", "subtype_name",
           "type_name"]


class _Named(IntEnum):
    """Accept names on input: EventType("network"), Severity("high")."""

    @classmethod
    def _missing_(cls, value: object) -> _Named | None:
        if isinstance(value, str):
            return cls.__members__.get(value.strip().upper())
        return None

    @property
    def text(self) -> str:
        """Name as it stands in JSON, filters and the store."""
        return self.name.lower()


class EventType(_Named):
    """Type of a record, which is also its domain."""

    UNKNOWN = 0
    SYSCALL = 1
    NETWORK = 2
    FILE = 3
    PROCESS = 4
    MEMORY = 5
    CPU = 6
    SECURITY = 7
    CONTAINER = 8
    KPROBE = 9
    UPROBE = 10
    TRACEPOINT = 11
    META = 12


class SyscallEventType(_Named):
    """Subtype of a syscall record."""

    CALL = 0


class NetworkEventType(_Named):
    """Subtype of a network record."""

    CONNECT = 0
    ACCEPT = 1
    CLOSE = 2
    SEND = 3
    RECV = 4
    DNS = 5
    HTTP = 6
    TLS = 7
    STATE = 8
    RETRANSMIT = 9
    RESET = 10
    RTT = 11
    DROP = 12
    LISTEN = 13
    BIND = 14
    FLOW = 15
    DNS_QUERY = 16
    ERROR = 17


class ProcessEventType(_Named):
    """Subtype of a process record."""

    EXEC = 0
    EXIT = 1
    FORK = 2
    SIGNAL = 3
    SETUID = 4
    SETGID = 5
    RENAME = 6
    CAPSET = 7


class FileEventType(_Named):
    """Subtype of a file record."""

    OPEN = 0
    CLOSE = 1
    READ = 2
    WRITE = 3
    CREATE = 4
    DELETE = 5
    RENAME = 6
    CHMOD = 7
    CHOWN = 8
    MKDIR = 9
    RMDIR = 10
    LINK = 11
    SYMLINK = 12
    TRUNCATE = 13
    XATTR = 14


class SecurityEventType(_Named):
    """Subtype of a security record."""

    PRIVILEGE_ESCALATION = 0
    PTRACE = 1
    MODULE_LOAD = 2
    BPF = 3
    MOUNT = 4
    NAMESPACE = 5
    FILELESS_EXEC = 6
    WRITABLE_CODE = 7
    CAPABILITY_DENIED = 8
    ACCESS_DENIED = 9
    SENSITIVE_FILE = 10
    RAW_SOCKET = 11
    KEYCTL = 12
    USERFAULTFD = 13
    PERF_EVENT = 14
    IO_URING = 15
    SETUID_EXEC = 16
    PROCESS_VM = 17
    MEMFD = 18
    IO_URING_OP = 19


class SecurityAction(_Named):
    """What a security or container record says was done (field `action`)."""

    NONE = 0
    SETUID = 1
    SETGID = 2
    CAPSET = 3
    EXEC = 4
    KERNEL = 5
    PTRACE = 6
    VM_READ = 7
    VM_WRITE = 8
    PIDFD_GETFD = 9
    MODULE_INIT = 10
    MODULE_DELETE = 11
    BPF = 12
    PERF_EVENT = 13
    USERFAULTFD = 14
    IO_URING = 15
    MOUNT = 16
    UMOUNT = 17
    PIVOT_ROOT = 18
    MOVE_MOUNT = 19
    OPEN_TREE = 20
    FSMOUNT = 21
    MOUNT_SETATTR = 22
    CHROOT = 23
    UNSHARE = 24
    SETNS = 25
    CLONE = 26
    MEMFD = 27
    MMAP = 28
    MPROTECT = 29
    OPEN = 30
    CONNECT = 31
    BIND = 32
    WRITE = 33
    RENAME = 34
    UNLINK = 35
    CHMOD = 36
    CHOWN = 37
    TRUNCATE = 38
    LINK = 39
    SYMLINK = 40
    MKDIR = 41
    RMDIR = 42
    XATTR = 43
    SOCKET = 44
    KEYCTL = 45
    ADD_KEY = 46
    REQUEST_KEY = 47
    CAPABLE = 48
    CORE_PATTERN = 49
    RELEASE_AGENT = 50
    HOST_DEVICE = 51
    HOST_MOUNT = 52
    HOST_NAMESPACE = 53
    SHMAT = 54


class ContainerEventType(_Named):
    """Subtype of a container record."""

    CREATE = 0
    START = 1
    STOP = 2
    DESTROY = 3
    ATTACH = 4
    NAMESPACE = 5
    ESCAPE = 6
    EMPTY = 7


class MemoryEventType(_Named):
    """Subtype of a memory record."""

    OOM_KILL = 0
    RECLAIM = 1
    COMPACTION = 2
    PRESSURE = 3
    PAGE_FAULT = 4
    MMAP = 5
    MUNMAP = 6
    MPROTECT = 7
    BRK = 8
    LIMIT = 9


class CpuEventType(_Named):
    """Subtype of a cpu record; LOAD is only made by the load generator."""

    USAGE = 0
    LOAD = 1


class MetaEventType(_Named):
    """Subtype of a record about the collection itself."""

    EPOCH = 0
    RULES = 1
    RATE = 2
    FACT_PROCESS = 3
    FACT_CGROUP = 4
    FACT_CONTAINER = 5
    FACT_POD = 6
    SNAPSHOT_PROCESS = 7
    SNAPSHOT_SOCKET = 8
    THROTTLE = 9
    LOSS = 10


class Severity(_Named):
    """Severity of an event; LOW, MEDIUM and HIGH are other names for INFO, WARNING and ERROR, taken on input."""

    DEBUG = 1
    INFO = 2
    WARNING = 3
    ERROR = 4
    CRITICAL = 5
    LOW = 2
    MEDIUM = 3
    HIGH = 4


SUBTYPES: dict[int, type[_Named]] = {
    EventType.SYSCALL: SyscallEventType, EventType.NETWORK: NetworkEventType, EventType.PROCESS: ProcessEventType,
    EventType.FILE: FileEventType,
    EventType.SECURITY: SecurityEventType, EventType.CONTAINER: ContainerEventType, EventType.MEMORY: MemoryEventType,
    EventType.CPU: CpuEventType, EventType.META: MetaEventType,
}


# subtypes of the document that no program makes
WITHOUT_PROGRAM = {"network": ("http", "tls")}


def type_name(number: int) -> str:
    """Return the name of a type, or its number as text: a newer store may hold types that we do not know."""
    member = EventType._value2member_map_.get(number)
    return member.text if isinstance(member, EventType) else str(number)


def subtype_name(type_number: int, number: int) -> str:
    """Return the name of a subtype of a type, or its number as text."""
    enum = SUBTYPES.get(type_number)
    member = enum._value2member_map_.get(number) if enum else None
    return member.text if isinstance(member, _Named) else str(number)
