# SPDX-License-Identifier: Apache-2.0
"""events.py and types.py: rows become the document's objects with nothing lost, and our numbers are the C table's."""
from __future__ import annotations

import dataclasses
import json
import os
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support import ROOT
from tapio_fast import events, schema, types
from tapio_fast.events import EnrichedEvent, RawEvent
from tapio_fast.types import EventType, NetworkEventType, ProcessEventType, Severity

TEXT = [("offset", "u4"), ("len", "u4"), ("full_len", "u4")]
HEADER = [("ts_ns", "u8"), ("seq", "u8"), ("cgroup_id", "u8"), ("start_ns", "u8"), ("pid", "u4"), ("tid", "u4"), ("ppid", "u4"),
          ("uid", "u4"), ("gid", "u4"), ("weight", "f4"), ("cpu", "u2"), ("gen", "u2"), ("type", "u1"), ("subtype", "u1"),
          ("flags", "u2"), ("comm", "S16")]
PROCESS = np.dtype([*HEADER, ("exit_code", "i4"), ("exe", TEXT), ("args", TEXT)])
NETWORK = np.dtype([*HEADER, ("source_ip", "u1", (16,)), ("dest_ip", "u1", (16,)), ("errno", "i4"), ("dest_port", "u2"), ("family", "u1")])


def row_of(dtype: np.dtype, **fields: Any) -> np.void:
    rows = np.zeros(1, dtype)
    for name, value in fields.items():
        rows[name][0] = value
    return rows[0]


def exec_row(**more: Any) -> np.void:
    return row_of(PROCESS, **({"ts_ns": 5, "pid": 7, "tid": 8, "uid": 1, "gid": 2, "cpu": 3, "type": 4, "comm": b"sh", "weight": 1} | more))


def test_a_row_becomes_the_documents_event() -> None:
    event = RawEvent.from_row(exec_row(exit_code=-1), {"exe": b"/bin/sh", "args": b"sh\0-c\0\0x"}, 1000)
    assert (event.type, event.subtype, event.timestamp, event.cpu, event.pid, event.tid, event.uid, event.gid, event.comm) == (
        EventType.PROCESS, ProcessEventType.EXEC, 1005, 3, 7, 8, 1, 2, "sh")
    assert event.details["exe"] == "/bin/sh" and event.details["args"] == ("sh", "-c", "", "x") and event.details["exit_code"] == -1
    assert event.kind == "process.exec"
    assert not {"type", "comm", "ts_ns", "pid"} & set(event.details)


def test_to_dict_has_the_documents_names_in_order() -> None:
    out = RawEvent.from_row(exec_row(), {"exe": b"/x", "args": b""}, 0).to_dict()
    assert list(out)[:9] == ["type", "subtype", "timestamp", "cpu", "pid", "tid", "uid", "gid", "comm"]
    assert out["type"] == "process" and out["subtype"] == "exec" and out["details"]["args"] == []
    json.dumps(out)


@pytest.mark.parametrize(("raw", "family", "text"), [
    (b"\0" * 10 + b"\xff\xff\x7f\0\0\1", 2, "127.0.0.1"), (b"\0" * 15 + b"\1", 10, "::1"), (b"\0" * 16, 10, "::"), (b"\0" * 16, 0, ""),
    (b"\0" * 12 + b"\x0a\0\0\1", 2, "10.0.0.1"), (bytes(range(16)), 10, "1:203:405:607:809:a0b:c0d:e0f"),
])
def test_addresses_are_text(raw: bytes, family: int, text: str) -> None:
    event = RawEvent.from_row(row_of(NETWORK, type=2, family=family, dest_ip=np.frombuffer(raw, np.uint8)), {}, 0)
    assert event.details["dest_ip"] == text


@given(st.binary(max_size=16), st.binary(max_size=64), st.lists(st.binary(max_size=8).filter(lambda b: b"\0" not in b), max_size=5))
def test_no_byte_of_a_text_is_lost(comm: bytes, exe: bytes, args: list[bytes]) -> None:
    comm = comm.rstrip(b"\0")
    packed = b"\0".join(args)
    event = RawEvent.from_row(exec_row(comm=comm), {"exe": exe, "args": packed}, 0)
    assert os.fsencode(event.comm) == comm and os.fsencode(event.details["exe"]) == exe
    assert [os.fsencode(arg) for arg in event.details["args"]] == (args if packed else [])   # one empty argument looks like none
    again = json.loads(json.dumps(event.to_dict(), ensure_ascii=False).encode())      # encodable: no lone surrogates
    assert again["comm"] == event.to_dict()["comm"]


@given(st.text(max_size=20))
def test_hand_made_text_is_encodable_too(text: str) -> None:
    RawEvent(EventType.FILE, 0, 0, 0, 0, 0, 0, 0, text, {"path": text}).to_dict()["details"]["path"].encode()


def test_numbers_from_a_newer_store_are_kept() -> None:
    event = RawEvent.from_row(exec_row(type=200, subtype=9), {}, 0)
    assert (event.type, event.to_dict()["type"], event.to_dict()["subtype"]) == (200, "200", "9")
    assert RawEvent.from_row(exec_row(subtype=250), {}, 0).to_dict()["subtype"] == "250"


def test_an_enriched_event_shows_the_contexts_it_has() -> None:
    raw = RawEvent.from_row(exec_row(), {}, 0)
    event = EnrichedEvent(raw, k8s_info=events.K8sContext(namespace="n", pod_name="p", labels={"a": "b"}),
                          container_info=events.ContainerContext(id="c" * 64), severity=Severity.HIGH, tags=("t",), metadata={"k": "v"})
    out = event.to_dict()
    assert out["k8s_info"] == {"namespace": "n", "pod_name": "p", "labels": {"a": "b"}} and out["container_info"] == {"id": "c" * 64}
    assert out["severity"] == "error" and out["tags"] == ["t"] and "process_info" not in out and out["pid"] == 7


def test_events_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        RawEvent.from_row(exec_row(), {}, 0).pid = 1  # type: ignore[misc]


def test_severity_takes_the_documents_other_names() -> None:
    assert [Severity(name) for name in ("debug", "low", "info", "medium", "warning", "high", "error", "critical")] == [1, 2, 2, 3, 3, 4, 4,
                                                                                                                       5]
    assert Severity("HIGH").text == "error"
    with pytest.raises(ValueError, match="loud"):
        Severity("loud")


def test_the_documents_numbers_have_not_moved() -> None:
    assert [member.text for member in NetworkEventType][:8] == ["connect", "accept", "close", "send", "recv", "dns", "http", "tls"]
    assert [member.text for member in types.FileEventType][:9] == ["open", "close", "read", "write", "create", "delete", "rename",
                                                                  "chmod", "chown"]
    assert [member.text for member in ProcessEventType] == ["exec", "exit", "fork", "signal", "setuid", "setgid", "rename", "capset"]
    assert [member.text for member in EventType] == ["unknown", "syscall", "network", "file", "process", "memory", "cpu", "security",
                                                     "container", "kprobe", "uprobe", "tracepoint", "meta"]
    for enum in types.SUBTYPES.values():
        assert [int(member) for member in enum] == list(range(len(enum)))


def test_every_kind_of_the_c_table_has_its_name_here() -> None:
    header = (ROOT / "bpf" / "include" / "tf_kinds.h").read_text()
    numbers = {name: int(value) for name, value in re.findall(r"TF_([A-Z]+) = (\d+)", header)}
    kinds = re.findall(r'X\(\w+,\s+TF_(\w+),\s+(\d+),\s+"(\w+)",\s+TF_\w+,\s+TF_(\w+?)(?:_SEV)?\)', header)
    assert len(kinds) >= 20
    for type_, subtype, text, severity in kinds:
        number = numbers[type_]
        assert EventType(number).name == type_
        assert types.subtype_name(number, int(subtype)) == text
        assert Severity[severity] == int(re.search(rf"TF_{severity}(?:_SEV)? = ([1-5])[,\s]", header)[1])  # type: ignore[index]


def test_arguments_of_a_system_call_are_numbers() -> None:
    row = np.zeros(1, schema.DTYPES["syscall"])[0]
    row["type"], row["args"] = EventType.SYSCALL, (1, 2, 3, 4, 5, 1 << 63)
    event = RawEvent.from_row(row, {}, 0)
    assert event.details["args"] == (1, 2, 3, 4, 5, 1 << 63)
    assert json.loads(json.dumps(event.to_dict()))["details"]["args"] == [1, 2, 3, 4, 5, 1 << 63]
