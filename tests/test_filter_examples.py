# SPDX-License-Identifier: Apache-2.0
"""The examples of the filter language, as text: each keeps exactly the rows that a Python predicate written beside it keeps."""
from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from facts_reference import Facts as PlainFacts
from filter_reference import severity_of
from filter_strategies import pack, rows_of

import tapio_fast as tapio
from tapio_fast.errors import FilterError
from tapio_fast.filtering import EventFilter

Row = dict[str, Any]
V4 = 0xFFFF << 32


def in_ten(address: int) -> bool:
    return address >> 32 == 0xFFFF and ipaddress.IPv4Address(address - V4) in ipaddress.IPv4Network("10.0.0.0/8")


def name_of(row: Row) -> bytes:
    return row["comm"].partition(b"\0")[0]


EXAMPLES: dict[str, Callable[[Row, PlainFacts], bool]] = {
    "type == network and subtype in (connect, accept) and dest_port in (22, 443, 3306)":
        lambda row, _: row["domain"] == "network" and row["subtype"] in (0, 1) and row["dest_port"] in (22, 443, 3306),
    'dest_ip in 10.0.0.0/8 and not comm =~ "^(curl|nc)$"':
        lambda row, _: "dest_ip" in row and in_ten(row["dest_ip"]) and not re.fullmatch(b"curl|nc", name_of(row)),
    'path startswith "/etc/" and flags & O_WRONLY':
        lambda row, _: row["domain"] == "file" and row["path"].startswith(b"/etc/") and bool(row["file_flags"] & os.O_WRONLY),
    'type == process and subtype == exec and args contains "base64"':
        lambda row, _: row["domain"] == "process" and row["subtype"] == 0 and b"base64" in row["args"],
    "severity >= warning":
        lambda row, _: severity_of(row) >= 3,
    'duration_ns > 10ms and container_id != ""':
        lambda row, facts: row.get("duration_ns", 0) > 10_000_000 and container_of(row, facts) not in (None, b""),
    'pid in file("watch.txt") or descendant_of 5':
        lambda row, facts: row["pid"] in (2, 3) or 5 in facts.line(row),
    "errno in (EACCES, EPERM)":
        lambda row, _: row.get("errno") in (13, 1),
}


def container_of(row: Row, facts: PlainFacts) -> bytes | None:
    if row["domain"] == "container":
        text: bytes = row["container_id"]
        return text
    found = facts.find(row, "container_id")
    return found[0] if found else None


@pytest.mark.parametrize("text", EXAMPLES)
def test_an_example_keeps_what_it_says(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "watch.txt").write_text("2\n3\n")
    monkeypatch.chdir(tmp_path)
    fates = set()
    for seed in range(60):
        rows = rows_of(seed)
        facts = PlainFacts()
        facts.learn(rows)
        batch = tapio.RecordBatch(pack(rows))
        for domain, kept in EventFilter(text).match(batch).items():
            wanted = [EXAMPLES[text](row, facts) for row in rows if row["domain"] == domain]
            assert kept.tolist() == wanted, (seed, domain)
            fates |= set(wanted)
        assert len(batch.filter(text)["meta"]) == len(batch["meta"])
    assert fates == {True, False}


def test_importance_parses_and_is_refused_where_records_are_judged() -> None:
    filter = EventFilter("severity >= warning or importance > 0.8")
    assert "importance" in filter.text()
    with pytest.raises(FilterError, match="enrichment"):
        filter.match(tapio.RecordBatch(pack(rows_of(1))))
