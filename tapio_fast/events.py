# SPDX-License-Identifier: Apache-2.0
"""Events as objects, one by one: the document's RawEvent and EnrichedEvent. Convenient and slow; batches are the fast way.

Text from the kernel is str with surrogateescape, so that no byte is lost: os.fsencode() gives the bytes back. to_dict() is what
JSON takes: names for type and subtype, undecodable bytes as \\xNN. Relies on types; numpy is not imported.
"""
from __future__ import annotations

import dataclasses
import socket
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from tapio_fast.types import EventType, Severity, subtype_name, type_name

__all__ = ["ContainerContext", "EnrichedEvent", "K8sContext", "NetworkContext", "ProcessContext", "RawEvent"]

_AF_INET = 2
_MAPPED = b"\0" * 10 + b"\xff\xff"
_COMMON = ("ts_ns", "cpu", "pid", "tid", "uid", "gid", "comm", "type", "subtype")


def address_text(raw: bytes, family: int = 0) -> str:
    """Return the text of a 16-byte address: dotted for IPv4 (mapped, or by family), else IPv6; empty when it is not set."""
    if not any(raw) and family == 0:
        return ""
    if family == _AF_INET or raw.startswith(_MAPPED):
        return socket.inet_ntop(socket.AF_INET, raw[12:])
    return socket.inet_ntop(socket.AF_INET6, raw)


def text_of(raw: bytes) -> str:
    """Decode text from the kernel without losing a byte."""
    return raw.decode("utf-8", "surrogateescape")


@lru_cache(maxsize=64)
def _fields_of(dtype: Any) -> tuple[tuple[int, str, str], ...]:
    """List (place, name, how) of the fields beside the common ones; how is '' as it is, 'ip', 'text', 'chars'."""
    out = []
    for place, name in enumerate(dtype.names):
        if name in _COMMON or name.startswith("_"):
            continue
        field = dtype.fields[name][0]
        how = "text" if field.names else "ip" if name.endswith("_ip") else "chars" if field.kind == "S" else ""
        out.append((place, name, how))
    return tuple(out)


def _details(row: Any, values: tuple[Any, ...], strings: Mapping[str, bytes]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for place, name, how in _fields_of(row.dtype):
        if how == "text":
            raw = strings.get(name, b"")
            out[name] = tuple(text_of(part) for part in split_args(raw)) if name == "args" else text_of(raw)
        elif how == "ip":
            out[name] = address_text(bytes(row[name]), int(row["family"]) if "family" in row.dtype.names else 0)
        elif how == "chars":
            out[name] = text_of(values[place].rstrip(b"\0"))
        else:
            value = values[place]
            out[name] = tuple(value.tolist()) if row.dtype[place].shape else value      # a system call's arguments
    return out


def split_args(raw: bytes) -> list[bytes]:
    """Split NUL-separated arguments; no NUL ends the last one, so "x\\0" is x and an empty argument."""
    return raw.split(b"\0") if raw else []


def _utf8(value: str) -> str:
    """Spell what is not Unicode: an undecodable byte as \\xNN, a lone surrogate as \\uNNNN."""
    try:
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:
        return value.encode("utf-8", "backslashreplace").decode("utf-8")


def _plain(value: Any) -> Any:
    """Make a value fit for JSON: tuples to lists, undecodable bytes to \\xNN text, objects to dicts."""
    if isinstance(value, str):
        return value if value.isascii() else _utf8(value)
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


@dataclasses.dataclass(frozen=True)
class RawEvent:
    """One record of the kernel.

    timestamp : int, ns, Unix time of the operation's end
    subtype : int, of the type's own enumeration
    details : dict, the fields of its domain by their numpy names; addresses as text, args as a tuple (of a
        system call: of numbers)
    """

    type: EventType | int
    subtype: int
    timestamp: int
    cpu: int
    pid: int
    tid: int
    uid: int
    gid: int
    comm: str
    details: dict[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def from_row(cls, row: Any, strings: Mapping[str, bytes], wall_offset_ns: int) -> RawEvent:
        """Make an event of one row.

        row : numpy.void of a domain's dtype
        strings : text field -> bytes
        wall_offset_ns : int, ns, added to ts_ns for Unix time
        """
        values = row.item()
        common = dict(zip(row.dtype.names, values, strict=True))
        number = common["type"]
        kind = EventType._value2member_map_.get(number, number)
        return cls(kind, common["subtype"], common["ts_ns"] + wall_offset_ns, common["cpu"], common["pid"],  # type: ignore[arg-type]
                   common["tid"], common["uid"], common["gid"], text_of(common["comm"].rstrip(b"\0")), _details(row, values, strings))

    @property
    def kind(self) -> str:
        """Name of type and subtype: "process.exec"."""
        return f"{type_name(self.type)}.{subtype_name(self.type, self.subtype)}"

    def to_dict(self) -> dict[str, Any]:
        """Return the document's JSON object: type and subtype as names, timestamp in Unix ns."""
        out: dict[str, Any] = {"type": type_name(self.type), "subtype": subtype_name(self.type, self.subtype)}
        for name in ("timestamp", "cpu", "pid", "tid", "uid", "gid"):
            out[name] = getattr(self, name)
        out["comm"] = _plain(self.comm)
        if self.details:
            out["details"] = _plain(self.details)
        return out


class _Context:
    """Give a context its dict form, without what is empty."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that are set."""
        named = ((spec.name, getattr(self, spec.name)) for spec in dataclasses.fields(self))  # type: ignore[arg-type]
        return {name: _plain(value) for name, value in named if value not in ("", (), {}, None)}


@dataclasses.dataclass(frozen=True)
class ProcessContext(_Context):
    """Who: the process as it was known at the event."""

    pid: int = 0
    tid: int = 0
    ppid: int = 0
    uid: int = 0
    gid: int = 0
    comm: str = ""
    exe: str = ""
    cmdline: tuple[str, ...] = ()
    cgroup: str = ""
    start_time: int = 0
    process_tree: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class ContainerContext(_Context):
    """In which container."""

    id: str = ""
    name: str = ""
    image: str = ""
    runtime: str = ""
    state: str = ""
    labels: dict[str, str] = dataclasses.field(default_factory=dict)
    annotations: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class K8sContext(_Context):
    """In which pod of a Kubernetes cluster."""

    namespace: str = ""
    pod_name: str = ""
    pod_uid: str = ""
    container_name: str = ""
    node_name: str = ""
    service_name: str = ""
    labels: dict[str, str] = dataclasses.field(default_factory=dict)
    annotations: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class NetworkContext(_Context):
    """Over which connection."""

    protocol: str = ""
    direction: str = ""
    interface: str = ""
    local_service: str = ""
    remote_service: str = ""
    dns_names: tuple[str, ...] = ()
    tls_info: dict[str, str] | None = None
    http_info: dict[str, Any] | None = None
    latency_metrics: dict[str, float] | None = None
    bytes_transmit: int = 0
    bytes_receive: int = 0
    packets_transmit: int = 0
    packets_receive: int = 0


@dataclasses.dataclass(frozen=True)
class EnrichedEvent:
    """A raw event with its context: what the semantic path sends."""

    raw: RawEvent
    process_info: ProcessContext | None = None
    container_info: ContainerContext | None = None
    k8s_info: K8sContext | None = None
    network_info: NetworkContext | None = None
    severity: Severity = Severity.INFO
    importance: float = 0.0
    tags: tuple[str, ...] = ()
    metadata: dict[str, str] = dataclasses.field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the document's JSON object: the raw event's keys, and the contexts that are known."""
        out = self.raw.to_dict()
        for name in ("process_info", "container_info", "k8s_info", "network_info"):
            context = getattr(self, name)
            if context is not None:
                out[name] = context.to_dict()
        out["severity"] = Severity(self.severity).text
        out["importance"] = self.importance
        if self.tags:
            out["tags"] = _plain(self.tags)
        if self.metadata:
            out["metadata"] = _plain(self.metadata)
        return out
