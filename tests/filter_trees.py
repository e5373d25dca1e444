# SPDX-License-Identifier: Apache-2.0
"""Hypothesis strategies for filters: trees in canonical form over every field and operator, and texts that are nearly expressions."""
from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tapio_fast import schema
from tapio_fast.filtering._fields import Field, catalogue
from tapio_fast.filtering._tree import FALSE, TEXT_OPS, TRUE, And, Node, Not, Or, Test, all_of, any_of, merge_ranges, merge_spans, opposite

SIZE = 6        # values of one test at most
REGEXES = (b"", b"a", b"^(curl|nc)$", b"[a-z]+\\.txt$", b"\\d{1,3}", b"x.y", b"(a|b)*c", b"\\xff", b"\\.")
_KINDS = [k.number for k in schema.KINDS if k.domain != schema.META]


def _limits(field: Field) -> tuple[int, int]:
    if field.type == "severity":
        return 1, 5
    signed = [p.size * 8 for p in field.places.values() if p.kind == "i"]
    unsigned = [p.size * 8 for p in field.places.values() if p.kind != "i"]
    return (-(1 << max(signed) - 1) if signed else 0), max([(1 << n - 1) - 1 for n in signed] + [(1 << n) - 1 for n in unsigned])


def _near(least: int, most: int) -> st.SearchStrategy[int]:
    """Numbers of a field, its ends and small ones often."""
    small = st.integers(max(least, -8), min(most, 300))
    return small | st.integers(least, most) | st.sampled_from([least, most, max(least, most - 1), min(most, least + 1)])


@st.composite
def _ranges(draw: st.DrawFn, field: Field) -> tuple[tuple[int, int], ...]:
    pairs = draw(st.lists(st.tuples(_near(*_limits(field)), _near(*_limits(field))), min_size=1, max_size=SIZE))
    return merge_ranges([(min(p), p[0] if draw(st.booleans()) and p[0] == min(p) else max(p)) for p in pairs])


@st.composite
def _spans(draw: st.DrawFn) -> tuple[tuple[tuple[float, float, bool, bool], ...], bool]:
    number = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([0.0, 0.1, 0.8, 1.0, 100.0])
    if draw(st.booleans()):
        value, is_open = draw(number), draw(st.booleans())
        return (draw(st.sampled_from([(value, float("inf"), is_open, False), (float("-inf"), value, False, is_open)])),), False
    pairs = draw(st.lists(st.tuples(number, number), min_size=1, max_size=SIZE))
    return tuple((lo, hi, False, False) for lo, hi in merge_spans([(min(p), max(p)) for p in pairs])), draw(st.booleans())


@st.composite
def _net(draw: st.DrawFn) -> tuple[int, int]:
    base = draw(st.integers(0, (1 << 128) - 1) | st.integers(0, (1 << 32) - 1).map(lambda v: v | 0xFFFF << 32) | st.integers(0, 1 << 20))
    prefix = draw(st.integers(0, 128) | st.sampled_from([128, 96, 104, 120, 80, 95, 97]))
    return base >> 128 - prefix << 128 - prefix, prefix


@st.composite
def tests_of(draw: st.DrawFn, field: Field) -> Node:
    """Draw one test of a field, with any operator that it takes."""
    if draw(st.integers(0, 15)) == 0:
        return Test(field, "exists", ())
    negate = draw(st.booleans())
    if field.type in ("text", "argv"):
        op = draw(st.sampled_from(TEXT_OPS))
        value = st.sampled_from(REGEXES) if op == "regex" else st.binary(max_size=12) | st.text(max_size=8).map(str.encode)
        if field.name.endswith("comm") and op not in ("glob", "regex"):
            value = value.map(lambda text: text[:15])       # no process has a longer name
        args: tuple[Any, ...] = tuple(draw(st.lists(value, min_size=1, max_size=SIZE, unique=True)))
        return Test(field, op, args, negate, draw(st.booleans()))
    if field.type == "address":
        return Test(field, "net", tuple(sorted(draw(st.sets(_net(), min_size=1, max_size=SIZE)))), negate)
    if field.type == "kind":
        numbers = draw(st.sets(st.sampled_from(_KINDS), min_size=1, max_size=len(_KINDS) - 1))
        return Test(catalogue()["kind"], "kind", tuple(sorted(numbers)))
    if field.type == "follow":
        return Test(field, "follow", tuple(sorted(draw(st.sets(_near(0, (1 << 32) - 1), min_size=1, max_size=SIZE)))))
    if field.type == "float":
        args, negate = draw(_spans())
        return Test(field, "float", args, negate)
    if field.type == "number" and draw(st.integers(0, 3)) == 0:
        mask = draw(_near(0, (1 << 64) - 1))
        if mask and draw(st.booleans()):
            return Test(field, "bits", (mask, None))
        return Test(field, "bits", (mask, draw(_near(0, (1 << 64) - 1)) & mask), negate)
    return Test(field, "range", draw(_ranges(field)), negate)


def leaves_of(fields: list[Field] | None = None) -> st.SearchStrategy[Node]:
    """Draw one test of any of some fields; None: of all that there are."""
    return st.sampled_from(fields or list(catalogue().values())).flatmap(tests_of)


def trees(fields: list[Field] | None = None, leaves: int = 8) -> st.SearchStrategy[Node]:
    """Draw a tree in the form that the parser gives: flat, without constants within, never negated twice."""
    def grow(parts: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
        some = st.lists(parts, min_size=2, max_size=4)
        return some.map(all_of) | some.map(any_of) | parts.map(opposite)
    return st.recursive(leaves_of(fields), grow, max_leaves=leaves) | st.sampled_from([TRUE, FALSE])


def depth_of(node: Node) -> int:
    """Nesting of a tree, by recursion: for small ones."""
    if isinstance(node, Not):
        return 1 + depth_of(node.part)
    return 1 + max(map(depth_of, node.parts)) if isinstance(node, And | Or) else 0


PIECES = ["and", "or", "not", "in", "(", ")", ",", "..", "==", "!=", "<", "<=", ">", ">=", "=~", "!~", "&", "|", "!", "=", "#", "\n", " ",
          "exists", "true", "false", "file(", "contains", "iregex", "glob", "flags", "pid", "comm", "dest_ip", "type", "subtype", "kind", "severity",
          "duration_ns", "weight", "descendant_of", "10ms", "1.5", "-1", "0x1f", "0755", "1e300", "1e400", "9" * 70, "10.0.0.0/8", "::1", "'a'",
          '"', '"\\x4', "O_CREAT", "warning", "connect", "meta", "é", "\ud800", "\udcff", "\0", "\u202e"]


def nearly() -> st.SearchStrategy[str]:
    """Draw a text that looks like an expression, as hostile or careless people write one."""
    return st.lists(st.sampled_from(PIECES), max_size=24).flatmap(
        lambda parts: st.sampled_from([" ", ""]).map(lambda glue: glue.join(parts))) | st.text(max_size=60)
