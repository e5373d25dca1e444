# SPDX-License-Identifier: Apache-2.0
"""`list fields`: a user finds every name that a filter may say, with its values and units."""
from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tapio_fast import schema
from tapio_fast.cli import main
from tapio_fast.filtering._fields import ALIASES, FACTS, LATER, catalogue
from tapio_fast.filtering._parser import parse


def listed(capsys: pytest.CaptureFixture[str], *argv: str) -> list[dict[str, Any]]:
    assert main(["list", "fields", *argv, "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def shown(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert main(["list", "fields", *argv]) == 0
    return capsys.readouterr().out


def test_every_field_and_alias_of_filters_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    rows = listed(capsys)
    assert {name for row in rows for name in row["filter"]} == {*catalogue(), *ALIASES}
    assert {row["field"] for row in rows if row["domain"] not in ("(filter)", "(all)")} == {
        name for dtype in schema.DTYPES.values() for name in dtype.names or ()} - set(schema.HEADER_FIELDS)


def test_every_listed_name_may_be_written(capsys: pytest.CaptureFixture[str]) -> None:
    for row in listed(capsys):
        for name in row["filter"]:
            parse(f"exists {name}")
            for value in list(row["values"])[:50]:
                parse(f"{name} == {value}")


def test_a_table_tells_units_names_and_what_a_field_is(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys)
    assert re.search(r"network +srtt_us +u4 +\d+ +ns us ms s m h d$", text, re.M)
    assert re.search(r"file +size +u8 +\d+ +B kB .* KiB", text, re.M)
    assert re.search(r"\(all\) +flags +u2 +62 +record_flags +TRUNCATED", text, re.M)
    assert re.search(r"syscall +args +u8\[6\] +\d+ +arg0 \.\.\. arg5$", text, re.M)
    assert re.search(r"\(filter\) +dst_ip +address +the same as dest_ip$", text, re.M)
    assert re.search(r"\(filter\) +importance +float +needs enrichment$", text, re.M)
    assert re.search(r"\(filter\) +parent_exe +text +executable of the subject's parent$", text, re.M)
    assert max(map(len, text.splitlines())) < 160


def test_what_only_filters_know_is_a_list_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    rows = listed(capsys, "filter")
    assert {row["field"] for row in rows} == {*FACTS, *LATER, *ALIASES, "type", "subtype", "kind", "severity", "descendant_of"}
    assert {row["domain"] for row in rows} == {"(filter)"} and {row["offset"] for row in rows} == {None}


@pytest.mark.parametrize(("name", "value"), [("errno", "13 +EACCES"), ("event_type", "2 +network"), ("severity", "3 +MEDIUM"), ("signal", "9 +SIGKILL"),
                                             ("file_flags", "512 +O_TRUNC"), ("flags", "512 +O_TRUNC"), ("flags", "4 +REDACTED"), ("nr", "59 +EXECVE")])
def test_one_field_is_listed_with_all_names_of_its_values(name: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert re.search(rf"^{value}$", shown(capsys, name), re.M)


@pytest.mark.parametrize(("name", "domains"), [("duration_ns", {"network", "process", "syscall", "file", "memory"}), ("arg3", {"syscall"}), ("pid", {"(all)"}),
                                               ("cgroup_path", {"container", "(filter)"}), ("src_ip", {"(filter)"})])
def test_one_field_is_listed_where_it_is(name: str, domains: set[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert {row["domain"] for row in listed(capsys, name)} == domains


def test_meta_records_are_listed_and_not_filtered(capsys: pytest.CaptureFixture[str]) -> None:
    rows = listed(capsys, "meta")
    assert rows and not any(row["filter"] for row in rows)


@pytest.mark.parametrize(("name", "near"), [("durations_ns", "did you mean duration_ns?"), ("proces", "did you mean process?"),
                                          ("zzz", "container, cpu, file")])
def test_an_unknown_name_is_answered_with_a_near_one(name: str, near: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "fields", name]) == 2
    assert near in " ".join(capsys.readouterr().err.split())
