# SPDX-License-Identifier: Apache-2.0
"""The slow, plain reference of filters: a tree over a row that is a dict of Python values. Written from what the documents say; shares
nothing with the C evaluator and its encoder. A row: "domain", "subtype", and the fields of its dtype: numbers, bytes for texts and names,
int of 128 bits for addresses, a list for args of a system call."""
from __future__ import annotations

import fnmatch
import ipaddress
import re
from functools import lru_cache
from typing import Any

from facts_reference import Facts

from tapio_fast import schema
from tapio_fast.filtering._fields import FACTS, Field
from tapio_fast.filtering._tree import And, Const, Node, Not, Or, Test

Row = dict[str, Any]
SEVERITY = {(k.domain, k.subtype): k.severity for k in schema.KINDS}


def matches(node: Node, row: Row, facts: Facts | None = None) -> bool:
    """Whether the tree is true of the row."""
    if isinstance(node, Const):
        return node.value
    if isinstance(node, Not):
        return not matches(node.part, row, facts)
    if isinstance(node, And):
        return all(matches(part, row, facts) for part in node.parts)
    if isinstance(node, Or):
        return any(matches(part, row, facts) for part in node.parts)
    return judge(node, row, facts)


def judge(test: Test, row: Row, facts: Facts | None) -> bool:
    """A test on a field that the row lacks is false, negated or not."""
    values = values_of(test.field, row, facts)
    if values is None:
        return False
    if test.op == "exists":
        return not test.negate
    return any(holds(test, value) for value in values) != test.negate


def severity_of(row: Row) -> int:
    """By kind; what failed, or was killed, is at least a warning."""
    severity = SEVERITY.get((row["domain"], row["subtype"]), 1)
    killed = row["domain"] == "process" and row["subtype"] == 1 and row["signal"] != 0
    failed = killed if row["domain"] == "process" else row.get("errno", 0) != 0
    return max(severity, 3) if failed else severity


def values_of(field: Field, row: Row, facts: Facts | None) -> list[Any] | None:
    """The values that a field has in a row (ancestors: several), or None where it lacks it."""
    name = {"record_flags": "flags"}.get(field.name, field.name)
    if name == "severity":
        return [severity_of(row)]
    if name in ("type", "subtype", "kind"):
        return [(row["domain"], row["subtype"])]
    if name == "descendant_of":
        return [facts.line(row) if facts else [p for p in (row["pid"], row["ppid"])[:2 if row["pid"] else 0] if p]]
    if re.fullmatch(r"arg\d", name):
        return [row["args"][int(name[3:])]] if row["domain"] == "syscall" else None
    if name == "args" and row["domain"] == "syscall":
        return None     # its words are fields of their own
    if name in row and name not in ("domain",):
        found = [row[name]]
    elif name in FACTS:
        own = {"process_exe": "exe", "process_args": "args", "process_cwd": "cwd"}.get(name)
        if own and row["domain"] == "process" and row["subtype"] == 0:
            found = [row[own]]
        else:
            found = facts.find(row, name) if facts else []
    else:
        return None
    if field.type == "argv":
        found = [text.rstrip(b"\0").replace(b"\0", b" ") for text in found]
    return found or None


@lru_cache(4096)
def expression(text: bytes, icase: bool) -> re.Pattern[bytes]:
    """A regular expression; our $ is the very end."""
    return re.compile(text.replace(b"$", rb"\Z"), re.IGNORECASE if icase else 0)


@lru_cache(4096)
def pattern(text: bytes, icase: bool) -> re.Pattern[bytes]:
    """A name pattern."""
    return re.compile(fnmatch.translate(text.decode("latin-1")).encode("latin-1"), re.IGNORECASE if icase else 0)


def holds(test: Test, value: Any) -> bool:
    """Whether one value is what the test asks for."""
    op, args = test.op, test.args
    if op == "range":
        return any(lo <= value <= hi for lo, hi in args)
    if op == "float":
        return any((value > lo if lo_open else value >= lo) and (value < hi if hi_open else value <= hi) for lo, hi, lo_open, hi_open in args)
    if op == "bits":
        mask, want = args
        return bool(value & mask) if want is None else value & mask == want
    if op == "net":
        return any(ipaddress.IPv6Address(value) in ipaddress.IPv6Network((address, prefix), strict=False) for address, prefix in args)
    if op == "kind":
        return any((schema.KINDS[k].domain, schema.KINDS[k].subtype) == value for k in args)
    if op == "follow":
        return any(pid in value for pid in args)
    if op == "regex":
        return any(expression(text, test.icase).search(value) for text in args)
    if op == "glob":
        return any(pattern(text, test.icase).match(value) for text in args)
    if test.icase:
        value, args = value.lower(), tuple(text.lower() for text in args)
    how = {"equal": lambda v, a: v == a, "startswith": bytes.startswith, "endswith": bytes.endswith, "contains": lambda v, a: a in v}[op]
    return any(how(value, text) for text in args)
