# SPDX-License-Identifier: Apache-2.0
"""Events as one line of text for people, or one line of JSON. Every byte from the kernel passes escape().

Relies on events, types and _escape.
"""
from __future__ import annotations

import datetime as _dt
import errno as _errno
import json
import signal as _signal
from collections.abc import Callable, Mapping
from typing import Any

from tapio_fast._escape import escape
from tapio_fast.events import EnrichedEvent, RawEvent
from tapio_fast.types import EventType, ProcessEventType, Severity, subtype_name, type_name

__all__ = ["RawEventFormatter", "escape"]

_TRUNCATED = 1      # header.flags: TF_F_TRUNCATED
_INGRESS = 2        # tf_direction: TF_DIR_INGRESS
_PROTOCOLS = {1: "ICMP", 6: "TCP", 17: "UDP", 58: "ICMPv6"}
_LABELS: dict[int, tuple[str, str, str]] = {
    EventType.NETWORK: ("🌐", "NET", "cyan"), EventType.PROCESS: ("⚙", "PROC", "green"), EventType.FILE: ("📁", "FILE", "yellow"),
    EventType.SYSCALL: ("🔧", "SYS", "grey"), EventType.SECURITY: ("🛡", "SEC", "red"), EventType.CONTAINER: ("📦", "CTR", "blue"),
    EventType.MEMORY: ("💾", "MEM", "yellow"), EventType.CPU: ("🖥", "CPU", "grey"), EventType.META: ("•", "META", "grey"),
}
_COLORS = {"grey": "90", "red": "31", "green": "32", "yellow": "33", "blue": "34", "cyan": "36"}


def count_text(amount: float, unit: str = "B") -> str:
    """Return bytes for people: 12 B, 3.4 KiB."""
    for prefix in ("", "Ki", "Mi", "Gi"):
        if amount < 1024:
            return f"{amount:g} {prefix}{unit}" if prefix == "" else f"{amount:.1f} {prefix}{unit}"
        amount /= 1024
    return f"{amount:.1f} Ti{unit}"


def duration_text(ns: int) -> str:
    """Return a duration for people: 850 ns, 1.2 ms, 3.4 s."""
    for limit, unit, scale in ((1_000, "ns", 1), (1_000_000, "us", 1e3), (1_000_000_000, "ms", 1e6)):
        if ns < limit:
            return f"{ns / scale:.3g} {unit}"
    return f"{ns / 1e9:.3f} s"


def errno_text(value: int) -> str:
    """Return the name of an errno, whatever its sign."""
    return _errno.errorcode.get(abs(value), f"errno {abs(value)}")


def signal_text(number: int) -> str:
    """Return the name of a signal; real-time ones by number."""
    try:
        return _signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _quoted(argument: str) -> str:
    shown = escape(argument)
    return shown if shown and not any(c in shown for c in " \"'") else json.dumps(shown, ensure_ascii=False).replace("\\\\", "\\")


class RawEventFormatter:
    """Turn events into text.

    color_output : bool, colours and symbols for a terminal
    verbose : bool, adds cpu, uid, tid and more of the details
    """

    def __init__(self, *, color_output: bool = False, verbose: bool = False) -> None:
        self.color_output = color_output
        self.verbose = verbose

    def __repr__(self) -> str:
        """Show the options."""
        return f"RawEventFormatter(color_output={self.color_output}, verbose={self.verbose})"

    def format(self, event: RawEvent | EnrichedEvent) -> str:
        """Return one line without its newline."""
        raw = event.raw if isinstance(event, EnrichedEvent) else event
        parts = [self._paint(self._clock(raw.timestamp), "grey"), self._label(raw),
                 self._paint(f"{escape(raw.comm)}[{raw.pid}]", "red" if raw.uid == 0 else "blue"), self._describe(raw)]
        if isinstance(event, EnrichedEvent):
            parts += self._context(event)
        if self.verbose:
            tid = f" tid={raw.tid}" if raw.tid != raw.pid else ""
            parts.append(self._paint(f"[cpu={raw.cpu} uid={raw.uid}{tid}]", "grey"))
        return " ".join(part for part in parts if part)

    def format_json(self, event: RawEvent | EnrichedEvent) -> str:
        """Return one line of JSON: to_dict(), and `time` (RFC 3339, ns) and `summary` for people. ASCII only."""
        raw = event.raw if isinstance(event, EnrichedEvent) else event
        plain = self if not self.color_output else RawEventFormatter(verbose=self.verbose)
        out = {"time": rfc3339(raw.timestamp), **event.to_dict(), "summary": plain._describe(raw)}
        return json.dumps(out, ensure_ascii=True, allow_nan=False, default=str)

    def _paint(self, text: str, color: str) -> str:
        return f"\x1b[{_COLORS[color]}m{text}\x1b[0m" if self.color_output and text else text

    def _clock(self, timestamp: int) -> str:
        try:
            moment = _dt.datetime.fromtimestamp(timestamp // 1_000_000_000)
        except (OverflowError, ValueError, OSError):    # a foreign store can hold any number
            return f"@{timestamp}"
        return f"{moment:%H:%M:%S}.{timestamp // 1_000_000 % 1000:03d}"

    def _label(self, raw: RawEvent) -> str:
        symbol, label, color = _LABELS.get(raw.type, ("?", type_name(raw.type).upper(), "grey"))
        return self._paint(f"{symbol} {label:<4}", color) if self.color_output else f"{label:<4}"

    def _context(self, event: EnrichedEvent) -> list[str]:
        out = []
        if event.k8s_info is not None and event.k8s_info.pod_name:
            out.append(f"pod={escape(event.k8s_info.namespace)}/{escape(event.k8s_info.pod_name)}")
        elif event.container_info is not None:
            out.append(f"container={escape(event.container_info.name or event.container_info.id[:12])}")
        severe = event.severity >= Severity.WARNING
        return [*out, self._paint(f"{Severity(event.severity).text} {event.importance:.2f}", "red" if severe else "grey")]

    def _describe(self, raw: RawEvent) -> str:
        describe = _DESCRIBE.get(raw.type, RawEventFormatter._other)
        text = describe(self, raw, raw.details)
        cut = isinstance(raw.details.get("flags"), int) and raw.details["flags"] & _TRUNCATED
        return f"{text} (cut)" if cut else text

    def _process(self, raw: RawEvent, d: Mapping[str, Any]) -> str:
        kind = raw.subtype
        if kind == ProcessEventType.EXEC:
            line = " ".join(_quoted(argument) for argument in d.get("args", ())) or escape(d.get("exe", ""))
            where = f" (exe {escape(d.get('exe', ''))}, cwd {escape(d.get('cwd', ''))})" if self.verbose else ""
            return f"exec {self._paint(line, 'green')}{where}"
        if kind == ProcessEventType.EXIT:
            signal, code = d.get("signal", 0), d.get("exit_code", 0)
            end = f"killed by {signal_text(signal)}" if signal else f"exit {code}"
            lived = f" after {duration_text(d['duration_ns'])}" if d.get("duration_ns") else ""
            return (self._paint(end, "red") if signal or code else end) + lived
        if kind == ProcessEventType.FORK:
            if d.get("target_pid") == raw.pid:      # the subject of the record is the child
                return f"forked by PID {d.get('ppid', '?')}"
            return f"fork → PID {d.get('target_pid', '?')}"
        if kind == ProcessEventType.SIGNAL:
            return f"{signal_text(d.get('signal', 0))} → PID {d.get('target_pid', '?')}"
        if kind == ProcessEventType.RENAME:
            return f"rename → {escape(d.get('new_comm', ''))}"
        return f"process {subtype_name(raw.type, kind)}"

    def _network(self, raw: RawEvent, d: Mapping[str, Any]) -> str:
        protocol = _PROTOCOLS.get(d.get("protocol", 0), str(d.get("protocol", "?")))
        arrow = "←" if d.get("direction") == _INGRESS else "→"
        here, there = (_endpoint(d, "source"), _endpoint(d, "dest"))
        text = f"{subtype_name(raw.type, raw.subtype)} {protocol} {here} {arrow} {there}"
        if d.get("errno"):
            text += " " + self._paint(errno_text(d["errno"]), "red")
        if d.get("bytes_sent") or d.get("bytes_received"):
            text += f" [{count_text(d.get('bytes_sent', 0))} sent, {count_text(d.get('bytes_received', 0))} received]"
        return text + (f" {duration_text(d['duration_ns'])}" if d.get("duration_ns") else "")

    def _file(self, raw: RawEvent, d: Mapping[str, Any]) -> str:
        text = f"{subtype_name(raw.type, raw.subtype)} {escape(d.get('path', '')) or '?'}"
        if d.get("new_path"):
            text += f" → {escape(d['new_path'])}"
        if subtype_name(raw.type, raw.subtype) == "chmod" and "mode" in d:
            text += f" (mode {d['mode']:o})"
        if d.get("size"):
            text += f" [{count_text(d['size'])}]"
        return text + self._failed(d)

    def _syscall(self, raw: RawEvent, d: Mapping[str, Any]) -> str:
        text = f"syscall {d.get('nr', '?')}"
        if self.verbose and d.get("args"):
            text += "(" + ", ".join(hex(a) if isinstance(a, int) else escape(str(a)) for a in d["args"]) + ")"
        return text + (self._failed(d) or (f" = {d['ret']}" if "ret" in d else ""))

    def _other(self, raw: RawEvent, d: Mapping[str, Any]) -> str:
        if raw.type not in _LABELS:
            return f"{type_name(raw.type)} event"
        words = [subtype_name(raw.type, raw.subtype)]
        for name in ("action", "path", "container_id", "runtime", "victim_pid", "size"):
            if d.get(name):
                words.append(f"{name}={escape(str(d[name]))}")
        return " ".join(words) + self._failed(d)

    def _failed(self, d: Mapping[str, Any]) -> str:
        return " " + self._paint(errno_text(d["errno"]), "red") if d.get("errno") else ""


_Describe = Callable[[RawEventFormatter, RawEvent, Mapping[str, Any]], str]
_DESCRIBE: dict[int, _Describe] = {EventType.PROCESS: RawEventFormatter._process, EventType.NETWORK: RawEventFormatter._network,
                                   EventType.FILE: RawEventFormatter._file, EventType.SYSCALL: RawEventFormatter._syscall}


def _endpoint(d: Mapping[str, Any], end: str) -> str:
    ip, port = str(d.get(f"{end}_ip", "")), d.get(f"{end}_port", 0)
    return f"[{escape(ip)}]:{port}" if ":" in ip else f"{escape(ip) or '?'}:{port}"


def rfc3339(timestamp: int) -> str:
    """Return Unix ns as RFC 3339 text in UTC with nanoseconds, or "" where the calendar ends."""
    try:
        moment = _dt.datetime.fromtimestamp(timestamp // 1_000_000_000, _dt.UTC)
    except (OverflowError, ValueError, OSError):
        return ""
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{timestamp % 1_000_000_000:09d}Z"
