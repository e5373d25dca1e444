# SPDX-License-Identifier: Apache-2.0
"""The typed tree that every filter becomes: expressions, FilterRule objects, config keys, Sigma and Falco rules. Relies on `_fields`.

Leaves are tests of one field in a canonical form, so that three evaluators (kernel push-down, C, the tests' reference) have little to
know. A leaf on a field that a record's domain lacks is false, negated or not; `Not` of it is true.

op            args                                field types
"range"       ((lo, hi), ...) inclusive           number, severity; also sets: sorted, disjoint, not adjacent
"float"       ((lo, hi, lo_open, hi_open), ...)   float: one that ends at infinity, or closed ones: sorted, disjoint
"bits"        (mask, want): x & mask != 0 where want is None, else x & mask == want    number
"net"         ((address, prefix length), ...)     address: int of 128 bits (IPv4 mapped), prefix of 128
"kind"        dense kind numbers                  kind (types, subtypes and their names all end here)
"equal" "startswith" "endswith" "contains" "glob" "regex"   bytes, ...: any of them    text
"follow"      process ids                         descendant_of
"exists"      ()                                  any: the domain has the field; a fact is known

Sets are never empty (no value at all is false, or `exists` where negated: `any_value`); "kind", "follow", "exists" and masks without a
value are never negated. `_check.check_tree` holds a tree against all of this.
"""
from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tapio_fast.filtering._fields import Field

MAX_DEPTH = 100         # parentheses within parentheses, of a text or of what a tree would need as one
MAX_VALUES = 100_000    # of all sets of an expression
TEXT_OPS = ("equal", "startswith", "endswith", "contains", "glob", "regex")


@dataclass(frozen=True, slots=True)
class Const:
    """True or false."""

    value: bool


@dataclass(frozen=True, slots=True)
class Test:
    """One field against values. negate: `!=`, `not in`, `!~`: the field is there and does not match; icase: ASCII letters are alike."""

    field: Field
    op: str
    args: tuple[Any, ...]
    negate: bool = False
    icase: bool = False


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite."""

    part: Node


@dataclass(frozen=True, slots=True)
class And:
    """All of at least two parts."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Any of at least two parts."""

    parts: tuple[Node, ...]


Node = Const | Test | Not | And | Or
TRUE, FALSE = Const(True), Const(False)


def all_of(parts: list[Node]) -> Node:
    """Join by `and`; nested ones are flattened, constants folded."""
    flat: list[Node] = []
    for part in parts:
        if part == FALSE:
            return FALSE
        if part != TRUE:
            flat += part.parts if isinstance(part, And) else [part]
    return TRUE if not flat else flat[0] if len(flat) == 1 else And(tuple(flat))


def any_of(parts: list[Node]) -> Node:
    """Join by `or`; nested ones are flattened, constants folded."""
    flat: list[Node] = []
    for part in parts:
        if part == TRUE:
            return TRUE
        if part != FALSE:
            flat += part.parts if isinstance(part, Or) else [part]
    return FALSE if not flat else flat[0] if len(flat) == 1 else Or(tuple(flat))


def opposite(part: Node) -> Node:
    """Return `not part`, without a double negation."""
    if isinstance(part, Const):
        return Const(not part.value)
    return part.part if isinstance(part, Not) else Not(part)


def leaves(node: Node) -> Iterator[Test]:
    """Yield every test of a tree, from left to right."""
    stack = [node]
    while stack:
        top = stack.pop()
        if isinstance(top, Test):
            yield top
        elif isinstance(top, Not):
            stack.append(top.part)
        elif isinstance(top, And | Or):
            stack += reversed(top.parts)


def merge_ranges(ranges: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Return inclusive ranges in canonical form: sorted, disjoint, not adjacent; empty ones dropped."""
    merged: list[tuple[int, int]] = []
    for lo, hi in sorted(r for r in ranges if r[0] <= r[1]):
        if merged and lo <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(hi, merged[-1][1]))
        else:
            merged.append((lo, hi))
    return tuple(merged)


def merge_spans(spans: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return closed ranges of floats in canonical form: sorted, disjoint."""
    merged: list[tuple[float, float]] = []
    for lo, hi in sorted(spans):
        if merged and lo <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(hi, merged[-1][1]))
        else:
            merged.append((lo, hi))
    return merged


def any_value(field: Field, op: str, args: Iterable[Any], negate: bool = False, icase: bool = False) -> Node:
    """Return the test of a field against values; of none at all (an empty file) nothing matches, and a field that is there differs."""
    found = tuple(args)
    if not found:
        return Test(field, "exists", ()) if negate else FALSE
    return Test(field, op, found, negate, icase)


def without(node: Node, op: str) -> Node:
    """Return a tree with the tests of an operator taken as true."""
    if isinstance(node, Test):
        return TRUE if node.op == op else node
    if isinstance(node, Not):
        return opposite(without(node.part, op))
    if isinstance(node, And | Or):
        return (all_of if isinstance(node, And) else any_of)([without(part, op) for part in node.parts])
    return node
