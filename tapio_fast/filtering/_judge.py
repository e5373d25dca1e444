# SPDX-License-Identifier: Apache-2.0
"""Judges events one by one, in the form of RawEvent.to_dict(): for trying rules out on JSON Lines, which say what
they expect and may give facts that no record has. Slow; batches are judged in C (`_event_filter`).

Facts (parent_exe ...) are joined from the execs and forks that came before, by process id, or stand in the event itself under "facts".
Relies on `_tree`, and on `_core._regex` for regexes.
"""
from __future__ import annotations

import fnmatch
import ipaddress
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from tapio_fast import schema
from tapio_fast._core import _regex
from tapio_fast.errors import FilterError
from tapio_fast.filtering._tree import And, Const, Node, Not, Test

MAX_PROCESSES = 65_536
MAX_ANCESTORS = 64
_OWN = {"process_exe": "exe", "process_args": "args", "process_cwd": "cwd"}


@dataclass(frozen=True)
class _Process:
    ppid: int
    comm: str = ""
    exe: str | None = None
    args: Any = None
    cwd: str | None = None


class Judge:
    """Knows the processes that events told of, and says whether a tree is true of the next one."""

    def __init__(self) -> None:
        self._processes: OrderedDict[int, _Process] = OrderedDict()

    def learn(self, event: Mapping[str, Any]) -> None:
        """Take in what an event says of its process; call it before `matches`."""
        details = event.get("details", {})
        pid, ppid = event.get("pid", 0), details.get("ppid", 0)
        if not isinstance(pid, int) or not pid:
            return
        known = self._processes.get(pid)
        kind = f"{event.get('type')}.{event.get('subtype')}"
        if kind == "process.exec":
            found = _Process(ppid, event.get("comm", ""), details.get("exe"), details.get("args"), details.get("cwd"))
        elif kind == "process.fork" or known is None:
            parent = self._processes.get(ppid) if kind == "process.fork" else None
            found = replace(parent or _Process(ppid), ppid=ppid, comm=event.get("comm", ""))
        else:
            found = replace(known, ppid=ppid or known.ppid, comm=event.get("comm", known.comm))
        self._processes[pid] = found
        self._processes.move_to_end(pid)
        if len(self._processes) > MAX_PROCESSES:
            self._processes.popitem(last=False)

    def matches(self, node: Node, event: Mapping[str, Any]) -> bool:
        """Whether a tree is true of an event."""
        if isinstance(node, Const):
            return node.value
        if isinstance(node, Not):
            return not self.matches(node.part, event)
        if isinstance(node, Test):
            return self._test(node, event)
        return (all if isinstance(node, And) else any)(self.matches(part, event) for part in node.parts)

    def possible(self, node: Node, event: Mapping[str, Any]) -> bool:
        """Whether the kind of an event can match: false only where the tree asks for other kinds first of all."""
        asked = node.parts if isinstance(node, And) else (node,)
        return all(self._test(part, event) for part in asked if isinstance(part, Test) and part.op == "kind")

    def _test(self, test: Test, event: Mapping[str, Any]) -> bool:
        values = self._values(test, event)
        if not values:
            return False
        return test.op == "exists" or any(_holds(test, value) for value in values) != test.negate

    def _values(self, test: Test, event: Mapping[str, Any]) -> list[Any]:
        """What an event has of a field; nothing where it lacks it."""
        name, field = test.field.name, test.field
        details = event.get("details", {})
        if field.source == "computed":
            return [v for v in (self._computed(name, event),) if v is not None]
        given = event.get("facts", {})
        if name in given:
            return list(given[name]) if name.startswith("ancestor_") else [given[name]]
        domain = str(event.get("type"))
        if domain in field.places:
            if re.fullmatch(r"arg\d", name):
                words = details.get("args", [])
                return [words[int(name[3:])]] if len(words) > int(name[3:]) else []
            shown = "flags" if name == "record_flags" else name
            value = event.get(shown, details.get(shown))
            return [value if value is not None else _nothing(field.type)]
        return self._fact(name, event) if field.source == "fact" else []

    def _computed(self, name: str, event: Mapping[str, Any]) -> Any:
        kind = schema.KIND_BY_NAME.get(f"{event.get('type')}.{event.get('subtype')}")
        if name == "descendant_of":
            return [pid for pid, _ in self._line(event)]
        if kind is None:
            return None
        if name != "severity":
            return kind.number
        details = event.get("details", {})
        failed = details.get("signal") if kind.name == "process.exit" else details.get("errno") if kind.domain != "process" else 0
        return max(kind.severity, 3) if failed else kind.severity

    def _line(self, event: Mapping[str, Any]) -> list[tuple[int, _Process | None]]:
        """The process of an event, its parent, and so on."""
        line: list[tuple[int, _Process | None]] = []
        pid, up = event.get("pid", 0), event.get("details", {}).get("ppid", 0)
        while pid and len(line) <= MAX_ANCESTORS and pid not in [p for p, _ in line]:
            known = self._processes.get(pid)
            line.append((pid, known))
            pid, up = up or (known.ppid if known else 0), 0
        return line

    def _fact(self, name: str, event: Mapping[str, Any]) -> list[Any]:
        who, _, what = name.partition("_")
        line = [process for _, process in self._line(event)]
        chosen = {"process": line[:1], "parent": line[1:2], "ancestor": line[1:]}.get(who, [])
        found = [getattr(process, what, None) for process in chosen if process is not None]
        return [value for value in found if value is not None]


def _nothing(kind: str) -> Any:
    return "" if kind in ("text", "argv") else "::" if kind == "address" else 0


def _bytes(value: Any) -> bytes:
    if isinstance(value, list | tuple):
        value = " ".join(map(str, value))
    return str(value).encode("utf-8", "surrogateescape")


def _address(value: str) -> int:
    try:
        found = ipaddress.ip_address(value or "::")
    except ValueError:
        raise FilterError(f"{value!r} is no address") from None
    return int(found) | 0xFFFF << 32 if found.version == 4 else int(found)


@lru_cache(8192)
def _expression(pattern: bytes, icase: bool) -> Any:
    return _regex.Regex(pattern, _regex.ICASE if icase else 0)


@lru_cache(8192)
def _glob(pattern: bytes, icase: bool) -> re.Pattern[bytes]:
    """Python's `re` on what a glob becomes is safe: there is nothing nested in it."""
    return re.compile(fnmatch.translate(pattern.decode("latin-1")).encode("latin-1"), re.IGNORECASE if icase else 0)


def _holds(test: Test, value: Any) -> bool:
    op, args = test.op, test.args
    if op == "kind":
        return value in args
    if op == "follow":
        return any(pid in value for pid in args)
    if op in ("range", "float", "bits") and not isinstance(value, int | float):
        return False
    if op == "range":
        return any(lo <= value <= hi for lo, hi in args)
    if op == "float":
        return any((value > lo if lo_open else value >= lo) and (value < hi if hi_open else value <= hi) for lo, hi, lo_open, hi_open in args)
    if op == "bits":
        mask, want = args
        return bool(value & mask) if want is None else bool(value & mask == want)
    if op == "net":
        number = _address(value)
        return any(number >> 128 - prefix == base >> 128 - prefix for base, prefix in args)
    text = _bytes(value)
    if op == "regex":
        return any(_expression(arg, test.icase).search(text) for arg in args)
    if op == "glob":
        return any(_glob(arg, test.icase).match(text) for arg in args)
    if test.icase:
        text, args = text.lower(), tuple(arg.lower() for arg in args)
    how: dict[str, Callable[[bytes, bytes], bool]] = {"equal": bytes.__eq__, "contains": bytes.__contains__, "startswith": bytes.startswith,
                                                      "endswith": bytes.endswith}
    return any(how[op](text, arg) for arg in args)
