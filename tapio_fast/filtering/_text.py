# SPDX-License-Identifier: Apache-2.0
"""A tree back into the text of an expression: RULES records carry it, explain() shows it; parse() of it gives the same tree."""
from __future__ import annotations

import ipaddress
import math

from tapio_fast import schema
from tapio_fast.filtering._tree import And, Const, Node, Not, Or, Test
from tapio_fast.filtering._values import bounds

_WORDS = {"startswith": "startswith", "endswith": "endswith", "contains": "contains", "glob": "glob", "regex": "regex", "equal": "equals"}


def to_text(node: Node) -> str:
    """Return the expression that a tree stands for, in one line."""
    out: list[str] = []
    stack: list[Node | str] = [node]
    while stack:
        top = stack.pop()
        if isinstance(top, str):
            out.append(top)
        elif isinstance(top, Const):
            out.append("true" if top.value else "false")
        elif isinstance(top, Test):
            out.append(_test(top))
        else:
            parts: list[Node | str] = ["not ", *_inner(top.part)] if isinstance(top, Not) else _inner(top.parts[0])
            if not isinstance(top, Not):
                word = " and " if isinstance(top, And) else " or "
                for part in top.parts[1:]:
                    parts += [word, *_inner(part)]
            stack += reversed(parts)
    return "".join(out)


def _inner(node: Node) -> list[Node | str]:
    return ["(", node, ")"] if isinstance(node, And | Or) else [node]


def quoted(value: bytes) -> str:
    r"""Return bytes as a string of the language: printable ASCII as it is, the rest as \xNN."""
    return '"' + "".join(f"\\{chr(b)}" if b in b'\\"' else chr(b) if 32 <= b < 127 else f"\\x{b:02x}" for b in value) + '"'


def _listed(values: list[str]) -> str:
    return values[0] if len(values) == 1 else f"({', '.join(values)})"


def _equality(test: Test, values: list[str]) -> str:
    if len(values) == 1 and ".." not in values[0]:
        return f"{test.field.name} {'!=' if test.negate else '=='} {values[0]}"
    return f"{test.field.name} {'not in' if test.negate else 'in'} ({', '.join(values)})"


def _test(test: Test) -> str:
    name, args = test.field.name, test.args
    if test.op == "exists":
        return f"exists {name}"
    if test.op == "follow":
        return f"{name} {_listed([str(a) for a in args])}"
    if test.op == "kind":
        return _kinds(test)
    if test.op == "range":
        return _ranges(test)
    if test.op == "net":
        return _equality(test, [_net(*a) for a in args])
    if test.op == "bits":
        mask, want = args
        return f"{name} & {mask:#x}" + ("" if want is None else f" {'!=' if test.negate else '=='} {want:#x}")
    if test.op == "float":
        return _floats(test)
    if test.op == "equal" and not test.icase:
        return _equality(test, [quoted(a) for a in args])
    word = ("i" if test.icase else "") + _WORDS[test.op]
    return f"{name} {'not ' if test.negate else ''}{word} {_listed([quoted(a) for a in args])}"


def _ranges(test: Test) -> str:
    least, most = bounds(test.field)
    if len(test.args) == 1 and not test.negate and test.args[0][0] != test.args[0][1]:
        lo, hi = test.args[0]
        if hi == most and lo != least:
            return f"{test.field.name} >= {lo}"
        if lo == least and hi != most:
            return f"{test.field.name} <= {hi}"
    return _equality(test, [str(lo) if lo == hi else f"{lo}..{hi}" for lo, hi in test.args])


def _kinds(test: Test) -> str:
    """Types where the kinds are all that there are of some types, else subtypes where they are all of those, else the kinds themselves."""
    chosen = set(test.args)
    names = [schema.KINDS[number].name for number in test.args]
    for field, part in (("type", 0), ("subtype", 2)):
        words = dict.fromkeys(name.partition(".")[part] for name in names)
        if all(k.number in chosen for k in schema.KINDS if k.domain != schema.META and k.name.partition(".")[part] in words):
            return f"{field} == {next(iter(words))}" if len(words) == 1 else f"{field} in ({', '.join(words)})"
    return f"kind == {names[0]}" if len(names) == 1 else f"kind in ({', '.join(names)})"


def _net(base: int, prefix: int) -> str:
    if prefix >= 96 and base >> 32 == 0xFFFF:
        return str(ipaddress.IPv4Network((base & 0xFFFFFFFF, prefix - 96))).removesuffix("/32")
    # 2.0.0.ffff style texts of mapped networks shorter than /96 would read back as IPv4
    return str(ipaddress.IPv6Network((base, prefix))).removesuffix("/128")


def _floats(test: Test) -> str:
    lo, hi, lo_open, hi_open = test.args[0]
    if math.isinf(hi):
        return f"{test.field.name} {'>' if lo_open else '>='} {lo!r}"
    if math.isinf(lo):
        return f"{test.field.name} {'<' if hi_open else '<='} {hi!r}"
    return _equality(test, [repr(lo) if lo == hi else f"{lo!r}..{hi!r}" for lo, hi, _, _ in test.args])
