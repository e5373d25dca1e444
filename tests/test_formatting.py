# SPDX-License-Identifier: Apache-2.0
"""formatting.py: lines that people can read, and no byte of a traced program that can act on their terminal or forge a line."""
from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapio_fast import syscalls
from tapio_fast.events import ContainerContext, EnrichedEvent, K8sContext, RawEvent, text_of
from tapio_fast.formatting import RawEventFormatter, count_text, duration_text, escape, rfc3339
from tapio_fast.types import EventType, Severity

PLAIN = RawEventFormatter()
COLOR = re.compile(r"\x1b\[\d*m")
BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c"
hostile = st.one_of(st.binary(max_size=40).map(text_of), st.text(max_size=40),
                    st.text(alphabet="\x1b[]0;\x07\n\r\t\x7f\x85\x9b\\\u2028" + BIDI, max_size=20))


def event(kind: EventType, subtype: int, details: dict[str, Any], comm: str = "sh", uid: int = 1000) -> RawEvent:
    return RawEvent(kind, subtype, 1_700_000_000_123_456_789, 1, 42, 43, uid, 100, comm, details)


def describe(kind: EventType, subtype: int, details: dict[str, Any]) -> str:
    return PLAIN.format(event(kind, subtype, details)).split("sh[42] ", 1)[1]


NET = {"protocol": 6, "source_ip": "10.0.0.1", "source_port": 5, "dest_ip": "::1", "dest_port": 80, "direction": 1}


@pytest.mark.parametrize(("kind", "subtype", "details", "text"), [
    (EventType.PROCESS, 0, {"args": ("ls", "-l", "a b", "")}, 'exec ls -l "a b" ""'),
    (EventType.PROCESS, 0, {"args": (), "exe": "/bin/ls"}, "exec /bin/ls"),
    (EventType.PROCESS, 0, {"args": ("x",), "flags": 1}, "exec x (cut)"),
    (EventType.PROCESS, 1, {"exit_code": 3, "duration_ns": 2_500_000}, "exit 3 after 2.5 ms"),
    (EventType.PROCESS, 1, {"exit_code": 0, "signal": 9}, "killed by SIGKILL"),
    (EventType.PROCESS, 2, {"target_pid": 77}, "fork → PID 77"),
    (EventType.PROCESS, 2, {"target_pid": 42, "ppid": 7}, "forked by PID 7"),
    (EventType.PROCESS, 3, {"signal": 15, "target_pid": 1}, "SIGTERM → PID 1"),
    (EventType.PROCESS, 3, {"signal": 40, "target_pid": 1}, "signal 40 → PID 1"),
    (EventType.PROCESS, 6, {"args": ("x\ny",)}, "rename → x\\ny"),
    (EventType.NETWORK, 0, NET, "connect TCP 10.0.0.1:5 → [::1]:80"),
    (EventType.NETWORK, 0, NET | {"errno": -111}, "connect TCP 10.0.0.1:5 → [::1]:80 ECONNREFUSED"),
    (EventType.NETWORK, 2, NET | {"direction": 2, "bytes_sent": 12, "bytes_received": 2048, "duration_ns": 900},
     "close TCP 10.0.0.1:5 ← [::1]:80 [12 B sent, 2.0 KiB received] 900 ns"),
    (EventType.NETWORK, 8, NET | {"old_state": 2, "state": 1}, "state TCP 10.0.0.1:5 → [::1]:80 SYN_SENT → ESTABLISHED"),
    (EventType.NETWORK, 9, NET | {"bytes_sent": 1000}, "retransmit TCP 10.0.0.1:5 → [::1]:80 [1000 B]"),
    (EventType.NETWORK, 10, NET | {"direction": 2}, "reset TCP 10.0.0.1:5 ← [::1]:80"),
    (EventType.NETWORK, 11, NET | {"srtt_us": 1500, "bytes_sent": 9}, "rtt TCP 10.0.0.1:5 → [::1]:80 1.5 ms"),
    (EventType.NETWORK, 12, NET | {"protocol": 17, "bytes_sent": 85, "reason": 3}, "drop UDP 10.0.0.1:5 → [::1]:80 (reason 3) [85 B]"),
    (EventType.NETWORK, 13, NET | {"direction": 2}, "listen TCP 10.0.0.1:5"),
    (EventType.NETWORK, 14, NET | {"protocol": 17, "errno": 98}, "bind UDP 10.0.0.1:5 EADDRINUSE"),
    (EventType.NETWORK, 15, NET | {"protocol": 17, "bytes_sent": 1}, "flow UDP 10.0.0.1:5 → [::1]:80 [1 B sent, 0 B received]"),
    (EventType.NETWORK, 16, NET | {"dest_port": 53, "dns_type": 28, "name": "a.b\033"}, "DNS query a.b\\x1b AAAA → [::1]:53"),
    (EventType.NETWORK, 5, {"dns_type": 1, "name": "a\0b\x001.2.3.4", "duration_ns": 900}, "DNS answer a A: b, 1.2.3.4 900 ns"),
    (EventType.NETWORK, 5, {"dns_type": 99, "dns_rcode": 3, "name": "a", "duration_ns": 900}, "DNS answer a TYPE99: NXDOMAIN 900 ns"),
    (EventType.NETWORK, 17, NET | {"errno": 104}, "error TCP 10.0.0.1:5 → [::1]:80 ECONNRESET"),
    (EventType.FILE, 6, {"path": "/a", "new_path": "/b"}, "rename /a → /b"),
    (EventType.FILE, 7, {"path": "/a", "mode": 0o755}, "chmod /a (mode 755)"),
    (EventType.FILE, 0, {"path": "/a", "errno": 13}, "open /a EACCES"),
    (EventType.FILE, 2, {"path": "/a", "size": 2048, "count": 3}, "read /a [2.0 KiB in 3 operations]"),
    (EventType.FILE, 3, {"path": "/a", "size": 7, "count": 1}, "write /a [7 B]"),
    (EventType.CPU, 0, {"on_cpu_ns": 1_500_000, "rss": 1024, "threads": 1, "minor_faults": 3, "major_faults": 0},
     "usage: 1.5 ms on CPU, 1.0 KiB, 1 thread, 3 + 0 page faults"),
    (EventType.SYSCALL, 0, {"nr": 511, "ret": 0}, "syscall 511 = 0"),
    (EventType.SYSCALL, 0, {"nr": syscalls.number_of("openat"), "errno": 2, "path": "/a\nb"}, "openat /a\\nb ENOENT"),
    (EventType.PROCESS, 4, {"old_uid": 0, "new_uid": 1234, "old_gid": 7}, "setuid 0 → 1234"),
    (EventType.PROCESS, 5, {"old_gid": 5, "new_gid": 6}, "setgid 5 → 6"),
    (EventType.PROCESS, 7, {"old_caps": 0x1FF, "new_caps": 0}, "capset 0x1ff → 0x0"),
    (EventType.MEMORY, 0, {"victim_pid": 5, "victim_comm": "java\n", "rss": 2048, "limit": 4096},
     r"out of memory: killed java\n[5] using 2.0 KiB of a limit of 4.0 KiB"),
    (EventType.MEMORY, 0, {"victim_pid": 5}, "out of memory: killed ?[5] using 0 B"),
    (EventType.MEMORY, 3, {"duration_ns": 2_000_000_000, "limit": 1_000_000_000, "object_id": 7},
     "memory pressure: stalled 2.000 s in group 7 (threshold 1.000 s)"),
    (EventType.MEMORY, 4, {"minor_faults": 3, "count": 2, "duration_ns": 0}, "page faults: 3 minor, 2 major"),
    (EventType.MEMORY, 5, {"size": 4096, "address": 0x1000, "errno": 12}, "mmap 4.0 KiB at 0x1000 ENOMEM"),
    (EventType.MEMORY, 9, {"duration_ns": 1_000_000_000, "count": 4, "size": 1024, "object_id": 7, "limit": 2048},
     "limit: stalled 1.000 s in 4 stalls, 1.0 KiB reclaimed (group 7 of a limit of 2.0 KiB)"),
    (EventType.SECURITY, 1, {"action": 6, "value": 16, "target_pid": 7, "errno": 1}, "ptrace PID 7 (0x10) → EPERM"),
    (EventType.SECURITY, 9, {"action": 30, "path": "/a\nb", "errno": 13}, "access_denied open /a\\nb → EACCES"),
    (EventType.SECURITY, 9, {"action": 31, "family": 2, "dest_ip": "10.0.0.1", "dest_port": 80, "errno": 13},
     "access_denied connect 10.0.0.1:80 → EACCES"),
    (EventType.SECURITY, 0, {"action": 1, "old_uid": 1000, "new_uid": 0}, "privilege_escalation setuid uid 1000 → 0"),
    (EventType.SECURITY, 0, {"action": 3, "old_caps": 1, "new_caps": 3}, "privilege_escalation capset +CAP_DAC_OVERRIDE"),
    (EventType.SECURITY, 0, {"action": 4, "new_caps": (1 << 41) - 1, "path": "/x"}, "privilege_escalation exec /x +41 capabilities"),
    (EventType.SECURITY, 8, {"action": 48, "value": 21, "object_id": 1, "errno": 1}, "capability_denied CAP_SYS_ADMIN → EPERM"),
    (EventType.SECURITY, 8, {"action": 48, "value": 63, "object_id": 7, "errno": 1}, "capability_denied capability 63 7 times → EPERM"),
    (EventType.KPROBE, 0, {}, "kprobe event"),
])
def test_descriptions(kind: EventType, subtype: int, details: dict[str, Any], text: str) -> None:
    assert describe(kind, subtype, details) == text


def test_a_line_has_time_label_process_and_description() -> None:
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.123 PROC sh\[42\] fork → PID 1", PLAIN.format(event(EventType.PROCESS, 2, {"target_pid": 1})))


def test_verbose_adds_cpu_uid_and_tid() -> None:
    line = RawEventFormatter(verbose=True).format(event(EventType.PROCESS, 2, {}))
    assert line.endswith("[cpu=1 uid=1000 tid=43]")


def test_colours_only_when_asked_and_root_is_red() -> None:
    root = event(EventType.PROCESS, 2, {}, uid=0)
    assert "\x1b" not in PLAIN.format(root)
    assert "\x1b[31msh[42]\x1b[0m" in RawEventFormatter(color_output=True).format(root)


def test_context_of_an_enriched_event_is_shown() -> None:
    raw = event(EventType.PROCESS, 2, {})
    pod = EnrichedEvent(raw, k8s_info=K8sContext(namespace="n", pod_name="p"), severity=Severity.ERROR, importance=0.9)
    assert PLAIN.format(pod).endswith("pod=n/p error 0.90")
    assert "container=abcdef012345 " in PLAIN.format(EnrichedEvent(raw, container_info=ContainerContext(id="abcdef0123456789")))


def test_json_has_the_event_and_a_summary_without_colours() -> None:
    line = RawEventFormatter(color_output=True).format_json(event(EventType.PROCESS, 1, {"exit_code": 1}))
    out = json.loads(line)
    assert out["time"] == "2023-11-14T22:13:20.123456789Z" and out["timestamp"] == 1_700_000_000_123_456_789
    assert out["summary"] == "exit 1" and out["type"] == "process" and out["details"] == {"exit_code": 1}


@settings(deadline=None)     # a busy machine, not a slow formatter
@given(hostile, hostile, hostile)
def test_lines_are_inert_whatever_the_kernel_says(comm: str, path: str, arg: str) -> None:
    made = [event(EventType.PROCESS, 0, {"args": (arg, path), "exe": path, "cwd": path}, comm), event(EventType.PROCESS, 6, {"args": (path,
                                                                                                                                      )}),
            event(EventType.FILE, 6, {"path": path, "new_path": arg}, comm), event(EventType.CONTAINER, 0, {"container_id": arg,
                                                                                                            "path": path}),
            event(EventType.NETWORK, 0, {"source_ip": arg, "dest_ip": path})]
    made.append(EnrichedEvent(made[0], k8s_info=K8sContext(namespace=comm, pod_name=path)))  # type: ignore[arg-type]
    for one in made:
        for verbose in (False, True):
            assert RawEventFormatter(verbose=verbose).format(one).isprintable()
            assert COLOR.sub("", RawEventFormatter(color_output=True, verbose=verbose).format(one)).isprintable()
            line = RawEventFormatter(verbose=verbose).format_json(one)
            assert line.isascii() and line.isprintable() and json.loads(line)["summary"].isprintable()


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_escaped_bytes_are_printable_and_tell_apart(raw: bytes) -> None:
    shown = escape(raw)
    assert shown.isprintable() and not set(shown) & set(BIDI)
    assert unescape(shown) == raw


def unescape(shown: str) -> bytes:
    """Undo escape(): the independent half of the proof that no two inputs look the same."""
    short = {"n": b"\n", "t": b"\t", "r": b"\r", "\\": b"\\"}
    out = b""
    while shown:
        if shown[0] != "\\":
            out, shown = out + shown[0].encode(), shown[1:]
        elif shown[1] in short:
            out, shown = out + short[shown[1]], shown[2:]
        else:
            size = {"x": 2, "u": 4, "U": 8}[shown[1]]
            point, shown = (shown[1], int(shown[2:2 + size], 16)), shown[2 + size:]
            out += bytes([point[1]]) if point[0] == "x" else chr(point[1]).encode()
    return out


@pytest.mark.parametrize(("raw", "shown"), [
    (b"plain ok", "plain ok"), ("ümläut 漢字".encode(), "ümläut 漢字"), (b"\x1b]0;x\x07", "\\x1b]0;x\\x07"), (b"a\nb", "a\\nb"),
    (b"\x9b31m", "\\x9b31m"), ("\x9b".encode(), "\\u009b"), (b"\xff\xfe", "\\xff\\xfe"), (b"\x7f", "\\x7f"), (b"C:\\x1b", "C:\\\\x1b"),
    ("\u202egpj.exe".encode(), "\\u202egpj.exe"), ("\u2028".encode(), "\\u2028"), ("\U000e0041".encode(), "\\U000e0041"),
    (b"\xed\xa0\x80", "\\xed\\xa0\\x80"),
])
def test_escape(raw: bytes, shown: str) -> None:
    assert escape(raw) == shown


def test_amounts_for_people() -> None:
    assert [duration_text(n) for n in (0, 999, 1500, 2_000_000, 3_400_000_000)] == ["0 ns", "999 ns", "1.5 us", "2 ms", "3.400 s"]
    assert [count_text(n) for n in (0, 1023, 1024, 3 << 20)] == ["0 B", "1023 B", "1.0 KiB", "3.0 MiB"]


@pytest.mark.parametrize("timestamp", [0, -1, 1 << 63, -(1 << 62), 1 << 70])
def test_any_timestamp_of_a_foreign_store_can_be_shown(timestamp: int) -> None:
    one = RawEvent(EventType.PROCESS, 2, timestamp, 0, 1, 1, 0, 0, "x", {})
    assert PLAIN.format(one) and json.loads(PLAIN.format_json(one))["time"] == rfc3339(timestamp)


def test_container() -> None:
    """`container action name (runtime id)`."""
    start = event(EventType.CONTAINER, 1, {"cgroup_path": "/docker/" + "ab" * 32, "container_id": "ab" * 32, "runtime": 2, "action": 0, "path": ""})
    escape = event(EventType.CONTAINER, 6, {"cgroup_path": "/runc/web", "container_id": "web", "action": 51, "path": "/dev/sda\x1b", "errno": 1})
    group = event(EventType.CONTAINER, 0, {"cgroup_path": "/system.slice/a.service", "container_id": "", "action": 0, "path": ""})
    assert f"container start {'ab' * 32} (docker abababababab)" in PLAIN.format(start)
    assert "container escape host_device /dev/sda\\x1b (web) EPERM" in PLAIN.format(escape)
    assert PLAIN.format(group).endswith("container create a.service")
