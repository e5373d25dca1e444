# SPDX-License-Identifier: Apache-2.0
"""Whether a tree is what _tree.py promises to the evaluators. Trees of the parser are; those of imports are held against it.

A tree that passes has a text that the parser reads back as the same tree. Relies on `_tree`, `_values`, `_patterns`.
"""
from __future__ import annotations

from itertools import pairwise
from typing import Any

from tapio_fast.errors import FilterError
from tapio_fast.filtering._fields import Field, catalogue
from tapio_fast.filtering._patterns import MAX_NAME, MAX_PATTERN, NAMED, check_glob, check_regex
from tapio_fast.filtering._tree import MAX_DEPTH, MAX_VALUES, TEXT_OPS, And, Const, Node, Not, Or, Test
from tapio_fast.filtering._values import ALL_KINDS, bounds

_TYPES: dict[str, tuple[str, ...]] = {
    "range": ("number", "severity"), "float": ("float",), "bits": ("number",), "net": ("address",), "kind": ("kind",), "follow": ("follow",),
    **{op: ("text", "argv") for op in TEXT_OPS}}
_NEVER_NEGATED = ("kind", "follow", "exists")
_INFINITE = float("inf")


def check_tree(node: Node) -> None:
    """Raise FilterError that says what of a tree is not in its canonical form."""
    values = 0
    stack: list[tuple[Any, int]] = [(node, 0)]
    while stack:
        top, depth = stack.pop()
        if depth > MAX_DEPTH:
            raise FilterError(f"tree: it needs more than {MAX_DEPTH} parentheses within each other")
        if isinstance(top, Test):
            _test(top)
            values += len(top.args)
        elif isinstance(top, Const):
            _need(top is node and type(top.value) is bool, "a constant within it; all_of, any_of and opposite fold it")
        elif isinstance(top, Not):
            _need(not isinstance(top.part, Not | Const), "a double negation or a negated constant; use opposite")
            stack.append((top.part, depth + isinstance(top.part, And | Or)))
        elif isinstance(top, And | Or):
            word = type(top).__name__
            _need(isinstance(top.parts, tuple) and len(top.parts) > 1, f"{word} of less than two parts")
            _need(not any(isinstance(part, type(top)) for part in top.parts), f"{word} in {word}; use all_of and any_of")
            stack += [(part, depth + isinstance(part, And | Or)) for part in top.parts]
        else:
            _need(False, f"{type(top).__name__} is no part of a tree")
    _need(values <= MAX_VALUES, f"more than {MAX_VALUES} values")


def _need(holds: bool, otherwise: str) -> None:
    if not holds:
        raise FilterError(f"tree: {otherwise}")


def _test(test: Test) -> None:
    field, op, args = test.field, test.op, test.args
    _need(isinstance(field, Field) and catalogue().get(field.name) == field, f"{field!r} is not a field of the catalogue")
    what = f"{field.name} {op}"
    _need(op == "exists" or field.type in _TYPES.get(op, ()), f"{what}: a {field.type} has no such test")
    _need(type(test.negate) is bool and type(test.icase) is bool, f"{what}: negate and icase are bool")
    _need(not test.icase or op in TEXT_OPS, f"{what}: only texts have a case")
    _need(not test.negate or op not in _NEVER_NEGATED, f"{what} is never negated; use opposite")
    _need(isinstance(args, tuple) and (op == "exists") == (not args), f"{what}: {'it takes no values' if op == 'exists' else 'no values; use any_value'}")
    if op in TEXT_OPS:
        _texts(what, op, args, test.icase)
        _need(op in ("glob", "regex") or field.name not in NAMED or all(len(a) <= MAX_NAME for a in args),
              f"{what}: a process's name has at most {MAX_NAME} bytes, so nothing is called what is asked for")
    elif op == "float":
        _floats(what, test)
    elif op == "bits":
        _bits(what, test)
    elif op == "net":
        _nets(what, args)
    elif op == "range":
        least, most = bounds(field)
        _need(all(isinstance(a, tuple) and len(a) == 2 and _whole(a[0], least, most) and _whole(a[1], a[0], most) for a in args),
              f"{what}: ranges are (lo, hi) between {least} and {most}")
        _need(all(a[1] + 1 < b[0] for a, b in pairwise(args)), f"{what}: ranges are sorted and apart; use merge_ranges")
    elif op in ("kind", "follow"):
        _need(op == "follow" or field.name == "kind", f"{what}: types and subtypes are tests of the field kind")
        _need(all(_whole(a, 0, (1 << 32) - 1) for a in args) and all(a < b for a, b in pairwise(args)), f"{what}: numbers, sorted, each once")
        _need(op == "follow" or ALL_KINDS > set(args), f"{what}: some of the {len(ALL_KINDS)} kinds")


def _whole(value: object, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most


def _texts(what: str, op: str, args: tuple[Any, ...], icase: bool) -> None:
    _need(all(type(a) is bytes for a in args), f"{what}: values are bytes")
    _need(len(set(args)) == len(args), f"{what}: each value once")
    if op in ("glob", "regex"):
        _need(all(len(a) <= MAX_PATTERN for a in args), f"{what}: a pattern has at most {MAX_PATTERN} bytes")
    if op == "regex":
        for value in args:
            check_regex(value, icase)
    if op == "glob":
        for value in args:
            check_glob(value, icase)


def _floats(what: str, test: Test) -> None:
    args = test.args
    _need(all(isinstance(a, tuple) and [type(v) for v in a] == [float, float, bool, bool] and a[0] <= a[1] for a in args),
          f"{what}: spans are (lo, hi, lo_open, hi_open)")
    infinite = [a for a in args if a[0] == -_INFINITE or a[1] == _INFINITE]
    if infinite:
        lo, hi, lo_open, hi_open = args[0]
        _need(len(args) == 1 and not test.negate and (lo != -_INFINITE) != (hi != _INFINITE) and not (lo_open if lo == -_INFINITE else hi_open),
              f"{what}: what ends at infinity stands alone, is closed there and not negated")
    else:
        _need(not any(a[2] or a[3] for a in args), f"{what}: spans with two ends are closed; join two tests")
        _need(all(a[1] < b[0] for a, b in pairwise(args)), f"{what}: spans are sorted and apart; use merge_spans")


def _bits(what: str, test: Test) -> None:
    _need(len(test.args) == 2, f"{what}: (mask, want)")
    mask, want = test.args
    _need(_whole(mask, 0, (1 << 64) - 1), f"{what}: a mask has at most 64 bits")
    if want is None:
        _need(mask != 0 and not test.negate, f"{what}: a mask of 0 never matches; of none of its bits write (mask, 0)")
    else:
        _need(_whole(want, 0, mask) and not want & ~mask, f"{what}: the value has bits that the mask lacks")


def _nets(what: str, args: tuple[Any, ...]) -> None:
    for arg in args:
        _need(isinstance(arg, tuple) and len(arg) == 2 and _whole(arg[0], 0, (1 << 128) - 1) and _whole(arg[1], 0, 128),
              f"{what}: networks are (address of 128 bits, prefix length)")
        _need(not arg[0] & ((1 << 128 - arg[1]) - 1), f"{what}: bits of the address lie outside its prefix")
    _need(all(a < b for a, b in pairwise(args)), f"{what}: networks are sorted, each once")
