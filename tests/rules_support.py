# SPDX-License-Identifier: Apache-2.0
"""The truth that imported rules are held against: a slow evaluator of the tree over records that are plain dicts.

A record is {"kind": "process.exec", field: value, ...}: texts as str or bytes, argv as a list, addresses as text, facts by their names.
A row field of the record's domain that is not given is empty or 0; a fact that is not given is not known. Regexes are RE2's.
"""
from __future__ import annotations

import fnmatch
import ipaddress
from typing import Any

import re2

from tapio_fast import schema
from tapio_fast.filtering._tree import And, Const, Node, Not, Or, Test

EXEC_FACTS = {"process_exe": "exe", "process_args": "args", "process_cwd": "cwd"}


def matches(node: Node, record: dict[str, Any]) -> bool:
    """Judge a record."""
    if isinstance(node, Const):
        return node.value
    if isinstance(node, Not):
        return not matches(node.part, record)
    if isinstance(node, And | Or):
        return (all if isinstance(node, And) else any)(matches(part, record) for part in node.parts)
    return test(node, record)


def test(node: Test, record: dict[str, Any]) -> bool:
    if node.op == "kind":
        return (schema.KIND_BY_NAME[record["kind"]].number in node.args) != node.negate
    values = values_of(node, record)
    if values is None:
        return False
    if node.op == "exists":
        return True
    return any(holds(node, value) for value in values) != node.negate


def values_of(node: Test, record: dict[str, Any]) -> list[Any] | None:
    """What a record has of a field: several values of ancestors, None where it lacks the field."""
    name, domain = node.field.name, record["kind"].partition(".")[0]
    if name not in record and name in EXEC_FACTS and record["kind"] == "process.exec":
        name = EXEC_FACTS[name]
    if name in record:
        value = record[name]
        return value if name.startswith("ancestor_") else [value]
    if node.field.source == "fact" or domain not in node.field.places:
        return None
    return ["::" if node.field.type == "address" else b"" if node.field.type in ("text", "argv") else 0]


def raw(value: Any) -> bytes:
    if isinstance(value, list):
        value = " ".join(value)
    return value.encode() if isinstance(value, str) else value


def lower(value: bytes, icase: bool) -> bytes:
    return value.lower() if icase else value     # bytes.lower: ASCII only


def holds(node: Test, value: Any) -> bool:
    if node.op == "range":
        return any(lo <= value <= hi for lo, hi in node.args)
    if node.op == "bits":
        mask, want = node.args
        return bool(value & mask) if want is None else value & mask == want
    if node.op == "net":
        address = ipaddress.ip_address(value)
        number = int(address) | 0xFFFF << 32 if address.version == 4 else int(address)
        return any(number >> 128 - prefix == base >> 128 - prefix for base, prefix in node.args)
    return any(text_holds(node.op, raw(value), arg, node.icase) for arg in node.args)


def text_holds(op: str, text: bytes, arg: bytes, icase: bool) -> bool:
    if op == "regex":
        options = re2.Options()
        options.encoding, options.case_sensitive, options.log_errors = re2.Options.Encoding.LATIN1, not icase, False
        return re2.search(arg, text, options) is not None
    text, arg = lower(text, icase), lower(arg, icase)
    return {"equal": lambda: text == arg, "contains": lambda: arg in text, "startswith": lambda: text.startswith(arg),
            "endswith": lambda: text.endswith(arg), "glob": lambda: fnmatch.fnmatchcase(text, arg)}[op]()


def exec_record(argv: str | list[str], exe: str = "", **more: Any) -> dict[str, Any]:
    """An exec: argv as one text or a list; exe: by default /usr/bin and the name of argv[0]; comm follows exe."""
    args = argv.split(" ") if isinstance(argv, str) else argv
    path = exe or (args[0] if args[0].startswith("/") else "/usr/bin/" + args[0])
    record = {"kind": "process.exec", "args": args, "exe": path, "comm": path.rpartition("/")[2][:15], "uid": 1000, "gid": 1000,
              "cwd": "/home/u", "parent_exe": "/usr/bin/bash", "parent_args": ["-bash"], "parent_comm": "bash", "container_id": "",
              "ancestor_comm": ["bash", "systemd"], "ancestor_exe": ["/usr/bin/bash", "/usr/lib/systemd/systemd"]}
    return record | more
