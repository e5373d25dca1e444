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

from tapio_fast import syscalls
from tapio_fast._escape import escape
from tapio_fast.events import EnrichedEvent, RawEvent
from tapio_fast.types import EventType, ProcessEventType, SecurityAction, Severity, subtype_name, type_name

__all__ = ["RawEventFormatter", "escape"]

_MOST_CAPS = 3      # named; more are counted
_TRUNCATED = 1      # header.flags: TF_F_TRUNCATED
_INGRESS = 2        # tf_direction: TF_DIR_INGRESS
_PROTOCOLS = {1: "ICMP", 6: "TCP", 17: "UDP", 58: "ICMPv6"}
_TCP_STATES = dict(enumerate(("", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE", "CLOSE_WAIT",
                              "LAST_ACK", "LISTEN", "CLOSING", "NEW_SYN_RECV")))
_DNS_TYPES = {1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 12: "PTR", 15: "MX", 16: "TXT", 28: "AAAA", 33: "SRV", 64: "SVCB", 65: "HTTPS",
              255: "ANY"}
_DNS_CODES = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}
_LABELS: dict[int, tuple[str, str, str]] = {
    EventType.NETWORK: ("🌐", "NET", "cyan"), EventType.PROCESS: ("⚙", "PROC", "green"), EventType.FILE: ("📁", "FILE", "yellow"),
    EventType.SYSCALL: ("🔧", "SYS", "grey"), EventType.SECURITY: ("🛡", "SEC", "red"), EventType.CONTAINER: ("📦", "CTR", "blue"),
    EventType.MEMORY: ("💾", "MEM", "yellow"), EventType.CPU: ("🖥", "CPU", "grey"), EventType.META: ("•", "META", "grey"),
}
_ACTIONS = {24: "unshare", 25: "setns", 26: "clone", 49: "core_pattern", 50: "release_agent", 51: "host_device", 52: "host_mount",
            53: "host_namespace"}       # enum tf_action, as far as container records have one
_RUNTIMES = {2: "docker", 3: "containerd", 4: "cri-o", 5: "podman", 6: "runc", 7: "lxc"}      # enum tf_runtime
_CAPABILITIES = ("chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable net_bind_service net_broadcast "
                 "net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio sys_chroot sys_ptrace sys_pacct sys_admin sys_boot sys_nice "
                 "sys_resource sys_time sys_tty_config mknod lease audit_write audit_control setfcap mac_override mac_admin syslog wake_alarm "
                 "block_suspend audit_read perfmon bpf checkpoint_restore").upper().split()      # linux/capability.h
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


def capability_text(number: int) -> str:
    """Return the name of a capability; unknown ones by number."""
    return f"CAP_{_CAPABILITIES[number]}" if 0 <= number < len(_CAPABILITIES) else f"capability {number}"


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
            return f"rename → {escape((d.get('args') or [''])[0])}"
        if kind in (ProcessEventType.SETUID, ProcessEventType.SETGID):
            which = "uid" if kind == ProcessEventType.SETUID else "gid"
            return f"set{which} {d.get(f'old_{which}', '?')} → {d.get(f'new_{which}', '?')}"
        if kind == ProcessEventType.CAPSET:
            return f"capset {d.get('old_caps', 0):#x} → {d.get('new_caps', 0):#x}"
        return f"process {subtype_name(raw.type, kind)}"

    def _network(self, raw: RawEvent, d: Mapping[str, Any]) -> str:
        kind = subtype_name(raw.type, raw.subtype)
        if kind in ("dns", "dns_query"):
            return self._dns(kind, d)
        protocol = _PROTOCOLS.get(d.get("protocol", 0), str(d.get("protocol", "?")))
        arrow = "←" if d.get("direction") == _INGRESS else "→"
        here, there = (_endpoint(d, "source"), _endpoint(d, "dest"))
        text = f"{kind} {protocol} {here}" + ("" if kind in ("listen", "bind") else f" {arrow} {there}")
        if kind == "state":
            text += f" {_TCP_STATES.get(d.get('old_state', 0), '?')} → {_TCP_STATES.get(d.get('state', 0), '?')}"
        if kind in ("drop", "reset") and d.get("reason"):
            text += f" (reason {d['reason']})"
        if kind == "rtt":
            text += f" {duration_text(1000 * d.get('srtt_us', 0))}"
        text += self._failed(d)
        if kind in ("drop", "retransmit"):
            text += f" [{count_text(d.get('bytes_sent', 0))}]"
        elif kind != "rtt" and (d.get("bytes_sent") or d.get("bytes_received")):
            text += f" [{count_text(d.get('bytes_sent', 0))} sent, {count_text(d.get('bytes_received', 0))} received]"
        return text + (f" {duration_text(d['duration_ns'])}" if d.get("duration_ns") else "")

    def _dns(self, kind: str, d: Mapping[str, Any]) -> str:
        name, *answers = str(d.get("name", "")).split("\0")
        sort = _DNS_TYPES.get(d.get("dns_type", 0), f"TYPE{d.get('dns_type', 0)}")
        if kind == "dns_query":
            return f"DNS query {escape(name) or '?'} {sort} → {_endpoint(d, 'dest')}"
        code = d.get("dns_rcode", 0)
        said = ", ".join(map(escape, answers)) or _DNS_CODES.get(code, f"RCODE{code}") if not code else \
            self._paint(_DNS_CODES.get(code, f"RCODE{code}"), "red")
        return f"DNS answer {escape(name) or '?'} {sort}: {said} {duration_text(d.get('duration_ns', 0))}"

    def _file(self, raw: RawEvent, d: Mapping[str, Any]) -> str:
        text = f"{subtype_name(raw.type, raw.subtype)} {escape(d.get('path', '')) or '?'}"
        if d.get("new_path"):
            text += f" → {escape(d['new_path'])}"
        if subtype_name(raw.type, raw.subtype) == "chmod" and "mode" in d:
            text += f" (mode {d['mode']:o})"
        if d.get("size"):
            text += f" [{count_text(d['size'])}" + (f" in {d['count']} operations]" if d.get("count", 1) > 1 else "]")
        return text + self._failed(d)

    def _cpu(self, raw: RawEvent, d: Mapping[str, Any]) -> str:
        threads = d.get("threads", 0)
        return (f"{subtype_name(raw.type, raw.subtype)}: {duration_text(d.get('on_cpu_ns', 0))} on CPU, {count_text(d.get('rss', 0))}, "
                f"{threads} thread{'' if threads == 1 else 's'}, {d.get('minor_faults', 0)} + {d.get('major_faults', 0)} page faults")

    def _syscall(self, raw: RawEvent, d: Mapping[str, Any]) -> str:
        text = syscalls.name_of(d.get("nr", -1)) or f"syscall {d.get('nr', '?')}"
        if self.verbose and d.get("args"):
            text += "(" + ", ".join(hex(a) if isinstance(a, int) else escape(str(a)) for a in d["args"]) + ")"
        if d.get("path"):
            text += f" {escape(d['path'])}"
        return text + (self._failed(d) or (f" = {d['ret']}" if "ret" in d else ""))

    def _memory(self, raw: RawEvent, d: Mapping[str, Any]) -> str:
        kind = subtype_name(raw.type, raw.subtype)
        took = duration_text(d.get("duration_ns", 0))
        limit = f" of a limit of {count_text(d['limit'])}" if d.get("limit") else ""
        if kind == "oom_kill":
            victim = f"{escape(d.get('victim_comm', '')) or '?'}[{d.get('victim_pid', '?')}]"
            return self._paint(f"out of memory: killed {victim}", "red") + f" using {count_text(d.get('rss', 0))}{limit}"
        if kind == "pressure":
            whose = f" in group {d['object_id']}" if d.get("object_id") else ""
            return self._paint(f"memory pressure: stalled {took}", "red") + f"{whose} (threshold {duration_text(d.get('limit', 0))})"
        if kind == "page_fault":
            waited = f", waited {took}" if d.get("duration_ns") else ""
            return f"page faults: {d.get('minor_faults', 0)} minor, {d.get('count', 0)} major{waited}"
        if kind in ("reclaim", "limit", "compaction"):
            times = f" in {d['count']} stalls" if d.get("count", 1) > 1 else ""
            freed = f", {count_text(d['size'])} reclaimed" if d.get("size") else ""
            where = f" (group {d['object_id']}{limit})" if d.get("object_id") else ""
            return f"{kind}: stalled {took}{times}{freed}{where}"
        return f"{kind} {count_text(d.get('size', 0))} at {d.get('address', 0):#x}" + self._failed(d)

    def _security(self, raw: RawEvent, d: Mapping[str, Any]) -> str:
        action = SecurityAction._value2member_map_.get(d.get("action", 0))
        words = [subtype_name(raw.type, raw.subtype)]
        if isinstance(action, SecurityAction) and action and action.text != words[0]:
            words.append(action.text)
        if d.get("path"):
            words.append(escape(d["path"]))
        elif d.get("family") and d.get("dest_port"):
            words.append(_endpoint(d, "dest"))
        if d.get("target_pid"):
            words.append(f"PID {d['target_pid']}")
        if d.get("old_uid", 0) != d.get("new_uid", 0):
            words.append(f"uid {d.get('old_uid', 0)} → {d.get('new_uid', 0)}")
        gained = [capability_text(bit) for bit in range(64) if (d.get("new_caps", 0) & ~d.get("old_caps", 0)) >> bit & 1]
        if gained:
            words.append("+" + (",".join(gained) if len(gained) <= _MOST_CAPS else f"{len(gained)} capabilities"))
        if words[0] == "capability_denied":
            times = d.get("object_id", 1)
            words[1:] = [capability_text(d.get("value", 0)), *([f"{times} times"] if times > 1 else [])]
        elif d.get("value"):
            words.append(f"({d['value']:#x})")
        return " ".join(words) + (f" → {self._paint(errno_text(d['errno']), 'red')}" if d.get("errno") else "")

    def _container(self, raw: RawEvent, d: Mapping[str, Any]) -> str:
        """Format `container action name (runtime id)`; the name is the file of an escape, else the control group's."""
        name = d.get("path") or str(d.get("cgroup_path", "")).rpartition("/")[2] or "/"
        words = ["container", subtype_name(raw.type, raw.subtype), _ACTIONS.get(d.get("action", 0), ""), escape(name)]
        if d.get("container_id"):
            runtime = _RUNTIMES.get(d.get("runtime", 0), "")
            words.append(f"({runtime}{' ' if runtime else ''}{escape(d['container_id'][:12])})")
        return " ".join(word for word in words if word) + self._failed(d)

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
                                   EventType.FILE: RawEventFormatter._file, EventType.SYSCALL: RawEventFormatter._syscall,
                                   EventType.MEMORY: RawEventFormatter._memory, EventType.SECURITY: RawEventFormatter._security,
                                   EventType.CONTAINER: RawEventFormatter._container, EventType.CPU: RawEventFormatter._cpu}


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
