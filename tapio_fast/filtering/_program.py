# SPDX-License-Identifier: Apache-2.0
"""Turns a tree and named rules into the byte program that C compiles (csrc/tf_filter_program.c reads it). Relies on `_tree`, `_core._filter`."""
from __future__ import annotations

import struct
from collections.abc import Sequence

from tapio_fast import schema
from tapio_fast._core._filter import Filter
from tapio_fast.errors import FilterError
from tapio_fast.filtering._fields import FACTS, Field
from tapio_fast.filtering._tree import And, Const, Node, Not, Test, leaves

MAX_DEPTH = 256     # TF_FILTER_MAX_DEPTH
_OPS = ("range", "float", "bits", "net", "kind", "equal", "startswith", "endswith", "contains", "glob", "regex", "follow", "exists")
_SOURCES = {"row": 0, "fact": 1, "kind": 2, "severity": 3, "follow": 4}
_FACT_NUMBERS = {name: i for i, name in enumerate(FACTS)}
_NEGATE, _ICASE, _ARGV = 1, 2, 4
_FAR = 1 << 100     # beyond every field: C cuts ranges to what a field can hold
_WORD = (1 << 64) - 1


def _limited(value: int) -> bytes:
    return max(-_FAR, min(_FAR, value)).to_bytes(16, "little", signed=True)


def _args(test: Test) -> bytes:
    op, args = test.op, test.args
    if op == "bits":
        mask, want = args
        return struct.pack("<IQBQ", 1, mask & _WORD, want is not None, (want or 0) & _WORD)
    if op == "range":
        parts = [_limited(lo) + _limited(hi) for lo, hi in args]
    elif op == "float":
        parts = [struct.pack("<ddBB", *span) for span in args]
    elif op == "net":
        parts = [address.to_bytes(16, "big") + bytes([prefix]) for address, prefix in args]
    elif op == "kind":
        parts = [struct.pack("<H", kind) for kind in args]
    elif op == "follow":
        parts = [struct.pack("<I", pid) for pid in args if 0 <= pid < 1 << 32]
    else:
        parts = [struct.pack("<I", len(text)) + text for text in args]
    return struct.pack("<I", len(parts)) + b"".join(parts)


def _places(field: Field) -> bytes:
    places = [struct.pack("<BcHH", schema.DOMAINS[d], p.kind.encode(), p.offset, p.size) for d, p in sorted(field.places.items())]
    return bytes([len(places)]) + b"".join(places)


def _test(test: Test) -> bytes:
    field = test.field
    if field.source == "later":
        raise FilterError(f"{field.name} is known after enrichment only, which this version does not have; leave it out of filters")
    source = field.type if field.source == "computed" else field.source
    flags = test.negate * _NEGATE | test.icase * _ICASE | (field.type == "argv") * _ARGV
    head = bytes([5, _OPS.index(test.op), flags, _SOURCES[source], _FACT_NUMBERS[field.name] if source == "fact" else 0])
    return head + _places(field) + _args(test)


def _node(node: Node, out: list[bytes], depth: int = 0) -> None:
    if depth > MAX_DEPTH:
        raise FilterError(f"the filter is nested more than {MAX_DEPTH} deep; flatten it")
    if isinstance(node, Const):
        out.append(bytes([node.value]))
    elif isinstance(node, Test):
        out.append(_test(node))
    elif isinstance(node, Not):
        out.append(b"\2")
        _node(node.part, out, depth + 1)
    else:
        out.append(struct.pack("<BI", 3 if isinstance(node, And) else 4, len(node.parts)))
        for part in node.parts:
            _node(part, out, depth + 1)


def encode(expr: Node | None, rules: Sequence[Node] = ()) -> bytes:
    """Return the program: keep a row when `expr` is true and, if there are rules, any of them."""
    out = [b"TFP1", struct.pack("<IB", len(rules), expr is not None)]
    for tree in ([] if expr is None else [expr]) + list(rules):
        _node(tree, out)
    return b"".join(out)


def compile_filter(expr: Node | None, rules: Sequence[Node] = (), names: Sequence[str] = ()) -> Filter:
    """Compile a tree and rules (with their names, for messages) into a Filter.

    Raises FilterError, which names the field, the value and the rule; `.position` is None (the parser knows where the value stands).
    """
    program = encode(expr, rules)
    try:
        return Filter(program)
    except FilterError as error:
        raise FilterError(_say(error, expr, rules, names)) from None


def _say(error: FilterError, expr: Node | None, rules: Sequence[Node], names: Sequence[str]) -> str:
    text, test, value = str(error), getattr(error, "test", None), getattr(error, "value", 0)
    if test is None:
        return text
    trees = [("", expr)] if expr is not None else []
    trees += [(f" of rule {names[i]!r}" if i < len(names) else f" of rule {i + 1}", rule) for i, rule in enumerate(rules)]
    at = 0
    for where, tree in trees:
        for leaf in leaves(tree):
            if at == test:
                shown = repr(leaf.args[value])[1:] if value < len(leaf.args) else ""
                return f"{leaf.field.name} {leaf.op} {shown}{where}: {text}"
            at += 1
    return text


