# SPDX-License-Identifier: Apache-2.0
"""The fields that filters know: where each lies in the rows of which domain, of what type, in what unit. Relies on `schema`, `_names`.

Four sources: "row" (in the record), "fact" (joined from what was recorded about processes and control groups before), "computed"
(kind, severity, descendant_of), "later" (needs enrichment, which this version does not have: such a field parses, and nothing more).
"""
from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

from tapio_fast import schema
from tapio_fast.filtering import _names

# Fields that are joined from facts -> (type, what it is)
FACTS: dict[str, tuple[str, str]] = {
    "container_id": ("text", "id of the container that the subject runs in; empty: in none"),
    "cgroup_path": ("text", "path of the subject's control group"),
    "process_exe": ("text", "executable of the subject"),
    "process_args": ("argv", "command line of the subject"),
    "process_cwd": ("text", "working directory of the subject when it was executed"),
    "parent_exe": ("text", "executable of the subject's parent"),
    "parent_comm": ("text", "name of the subject's parent"),
    "parent_args": ("argv", "command line of the subject's parent"),
    "parent_cwd": ("text", "working directory of the subject's parent when it was executed"),
    "ancestor_exe": ("text", "executable of any ancestor of the subject"),
    "ancestor_comm": ("text", "name of any ancestor of the subject"),
}
LATER: dict[str, str] = {
    "importance": "float", "namespace": "text", "pod": "text", "pod_uid": "text", "node": "text", "service": "text", "container_name": "text",
    "image": "text", "user": "text", "username": "text", "group": "text", "hostname": "text", "labels": "text",
}
COMPUTED: dict[str, str] = {"type": "kind", "subtype": "kind", "kind": "kind", "severity": "severity", "descendant_of": "follow"}
# Other spellings that people bring along; each says the same.
ALIASES: dict[str, str] = {
    "process_name": "comm", "src_ip": "source_ip", "dst_ip": "dest_ip", "src_port": "source_port", "dst_port": "dest_port",
    "event_type": "type", "cmdline": "process_args", "event_subtype": "subtype",
}
_DURATIONS = ("duration_ns", "on_cpu_ns")
_BYTES = ("size", "bytes_sent", "bytes_received", "rss", "limit")
_DOMAINS = tuple(d for d in schema.DTYPES if d != schema.META)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a field lies in the rows of one domain. kind: as tf_layout.h has it: u i f S (char[16]) B (address) A (word of an array) T."""

    offset: int
    size: int
    kind: str


@dataclass(frozen=True, slots=True)
class Field:
    """One field. type: number, float, text, argv (text whose NULs read as spaces), address, kind, severity, follow.

    unit: "ns", "us", "bytes" or ""; names: constants that may stand for a number; places: by domain, empty unless source is "row"
    A field of source "fact" with places has it in the rows of those domains, and joins it elsewhere.
    """

    name: str
    type: str
    source: str
    unit: str = ""
    places: Mapping[str, Place] = field(default_factory=dict, hash=False, compare=False, repr=False)
    names: Mapping[str, int] = field(default_factory=dict, hash=False, compare=False, repr=False)


def _type_of(name: str, kind: str) -> str:
    return {"T": "argv" if name == "args" else "text", "S": "text", "B": "address", "f": "float"}.get(kind, "number")


def _unit_of(name: str) -> str:
    if name in _BYTES:
        return "bytes"
    return "ns" if name in _DURATIONS else "us" if name.endswith("_us") else ""


def _kind_of(domain: str, name: str) -> tuple[str, int, int]:
    if name in schema.TEXT_FIELDS[domain]:
        return "T", schema.TEXT_FIELDS[domain][name], 12
    dtype, offset = schema.DTYPES[domain].fields[name][:2]  # type: ignore[index]
    if dtype.subdtype is not None:
        return ("B" if dtype.base.itemsize == 1 else "A"), offset, dtype.itemsize
    return dtype.kind, offset, dtype.itemsize


@cache
def catalogue() -> dict[str, Field]:
    """Return every field by its name, aliases apart."""
    places: dict[str, dict[str, Place]] = {}
    for domain in _DOMAINS:
        for name in schema.DTYPES[domain].names or ():
            kind, offset, size = _kind_of(domain, name)
            if kind == "A":     # args of a system call: a field a word
                for i in range(size // 8):
                    places.setdefault(f"arg{i}", {})[domain] = Place(offset + 8 * i, 8, "u")
            else:
                places.setdefault(name, {})[domain] = Place(offset, size, kind)
    found: dict[str, Field] = {}
    for name, where in places.items():
        if name in COMPUTED:
            continue
        shown = "record_flags" if name == "flags" else name
        kind = _type_of(name, next(iter(where.values())).kind)
        source = "fact" if name in FACTS else "row"
        found[shown] = Field(shown, kind, source, _unit_of(name), where, _names.of_field(shown))
    for name, (kind, _) in FACTS.items():
        if name not in found:
            found[name] = Field(name, kind, "fact")
    found.update({name: Field(name, kind, "later") for name, kind in LATER.items()})
    found.update({name: Field(name, kind, "computed", names=_names.of_field(name)) for name, kind in COMPUTED.items()})
    return found


# What others call fields, where the likeliest word is another field.
_MEANT = {"timestamp": "ts_ns", "time": "ts_ns", "ts": "ts_ns", "name": "comm", "user": "uid", "group": "gid", "process": "comm"}


def find(name: str) -> Field | None:
    """Return the field of a name or alias, or None."""
    return catalogue().get(ALIASES.get(name, name))


def suggest(name: str) -> str:
    """Return "did you mean x?" for a name that is close to one that is known, else where to look."""
    if name in _MEANT:
        return f"did you mean {_MEANT[name]!r}?"
    known = [*(n for n, f in catalogue().items() if f.source != "later"), *ALIASES, *LATER]
    near = difflib.get_close_matches(name[:64], known, 3)
    near.sort(key=lambda word: sorted(word) != sorted(name))        # letters the wrong way round are the likeliest mistake
    return f"did you mean {near[0]!r}?" if near else "`tapio-fast list fields` names them all"
