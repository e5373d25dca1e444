# SPDX-License-Identifier: Apache-2.0
"""FilterRule: the document's way to write a rule, and every other rule's form once read. Relies on `_parser`, `_tree`, `types`."""
from __future__ import annotations

import ipaddress
import numbers
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import islice
from typing import Any

from tapio_fast._escape import escape
from tapio_fast.errors import FilterError
from tapio_fast.filtering._check import check_tree
from tapio_fast.filtering._fields import find, suggest
from tapio_fast.filtering._parser import parse
from tapio_fast.filtering._text import quoted, to_text
from tapio_fast.filtering._tree import MAX_VALUES, TRUE, Node, all_of
from tapio_fast.types import Severity

_MAX_NAME = 200     # characters
_ADDRESSES = (      # networks can be iterated, but stand for themselves
    ipaddress.IPv4Address, ipaddress.IPv6Address, ipaddress.IPv4Network, ipaddress.IPv6Network)


@dataclass(frozen=True)
class FilterRule:
    """One named rule: a record matches when everything that is given holds; one that gives nothing matches every record.

    name : str, by which stats() and hits tell it
    type, subtype : name, number or enum, or a list of them, as in `type == network and subtype in (connect, accept)`
    min_severity : name, number or Severity
    conditions : field -> value, or list of values that it may have; texts are compared whole, numbers may be texts with units ("10ms")
    process_name_regex : str, searched in comm
    expr : str, an expression that must hold too
    severity, tags : what a hit carries, for whoever reads it
    Raises FilterError that names the rule and the part that is wrong.
    """

    name: str = ""
    type: str | int | Iterable[str | int] | None = None
    subtype: str | int | Iterable[str | int] | None = None
    min_severity: str | int | None = None
    conditions: Mapping[str, Any] = field(default_factory=dict, hash=False)
    process_name_regex: str | bytes | None = None
    expr: str = ""
    severity: Severity | str | None = None
    tags: tuple[str, ...] = ()
    _tree: Node = field(init=False, repr=False, compare=False, default=TRUE)

    __module__ = "tapio_fast"

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or len(self.name) > _MAX_NAME or not self.name.isprintable():
            raise FilterError(f"rule {_shown(self.name)}: a name is one line of at most {_MAX_NAME} printable characters")
        for name in ("type", "subtype"):
            value = getattr(self, name)
            if isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping):
                object.__setattr__(self, name, tuple(islice(value, MAX_VALUES + 1)))
        object.__setattr__(self, "tags", self._texts(self.tags))
        if not isinstance(self.conditions, Mapping):
            raise self._wrong("conditions", f"{_shown(self.conditions)} does not map fields to values")
        object.__setattr__(self, "conditions", dict(self.conditions))
        if self.severity is not None:
            try:
                object.__setattr__(self, "severity", Severity(self.severity))  # type: ignore[arg-type]
            except ValueError:
                raise self._wrong("severity", f"{_shown(self.severity)} is none; there are {', '.join(s.text for s in Severity)}") from None
        object.__setattr__(self, "_tree", self._build())

    @classmethod
    def of_tree(cls, name: str, tree: Node, *, severity: Severity | str | None = None, tags: Iterable[str] = ()) -> FilterRule:
        """Return a rule out of a tree that somebody else built (an import); its `expr` is the tree's text."""
        rule = cls(name=name, severity=severity, tags=tuple(tags))
        try:
            check_tree(tree)
        except FilterError as error:
            raise FilterError(f"rule {name!r}: {error}") from None
        object.__setattr__(rule, "expr", to_text(tree))
        object.__setattr__(rule, "_tree", tree)
        return rule

    @property
    def tree(self) -> Node:
        """The rule as a typed tree."""
        return self._tree

    def _texts(self, tags: Any) -> tuple[str, ...]:
        listed = isinstance(tags, Iterable) and not isinstance(tags, str | bytes | Mapping)
        found = tuple(islice(tags, MAX_VALUES)) if listed else ()
        if not listed or not all(isinstance(tag, str) and tag.isprintable() for tag in found):
            raise self._wrong("tags", f"{_shown(tags)} is no list of texts")
        return found

    def _wrong(self, part: str, why: object) -> FilterError:
        return FilterError(f"rule {self.name!r}, {part}: {str(why).removeprefix('filter: ')}")

    def _build(self) -> Node:
        nodes = [self._parsed(name, name, value) for name, value in (("type", self.type), ("subtype", self.subtype)) if value is not None]
        if self.min_severity is not None:
            nodes.append(self._parsed("min_severity", "severity", self.min_severity, ">="))
        if self.process_name_regex is not None:
            if not isinstance(self.process_name_regex, str | bytes):
                raise self._wrong("process_name_regex", f"{_shown(self.process_name_regex)} is no text")
            nodes.append(self._parsed("process_name_regex", "comm", self.process_name_regex, "=~"))
        for name, value in self.conditions.items():
            if not isinstance(name, str) or (find(name.lower()) is None and name.lower() != "flags"):
                raise self._wrong("conditions", f"no field {_shown(name)}; {suggest(str(name).lower())}")
            nodes.append(self._parsed(f"condition {name}", name, value))
        if self.expr:
            try:
                nodes.append(parse(self.expr))
            except FilterError as error:
                raise FilterError(f"rule {self.name!r}, expr: {str(error).removeprefix('filter: ')}", position=error.position) from None
        return all_of(nodes)

    def _parsed(self, part: str, name: str, value: Any, op: str = "") -> Node:
        """The test of one field, by way of its text: one place knows what a value means."""
        try:
            return parse(f"{name} {op} {_literal(value)}" if op else f"{name} {_written(value)}")
        except FilterError as error:
            raise self._wrong(part, error) from None


def _shown(value: object) -> str:
    text = repr(value)
    return escape(text if len(text) <= 60 else text[:57] + "...")


def _literal(value: Any) -> str:
    if isinstance(value, IntEnum):      # those of types.py are known by name, signals and address families by number
        return str(getattr(value, "text", int(value)))
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, _ADDRESSES):
        value = str(value)
    if not isinstance(value, bool) and isinstance(value, numbers.Integral):
        return str(int(value))
    if isinstance(value, float) and value - value == 0:     # neither infinite nor NaN
        return repr(float(value))
    if not isinstance(value, str | bytes):
        raise FilterError(f"{_shown(value)} is no value; give a text, a number or a list of them")
    try:
        return quoted(value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value)
    except UnicodeEncodeError:
        raise FilterError(f"{_shown(value)} holds half of a surrogate pair, which no text has") from None


def _written(value: Any) -> str:
    if isinstance(value, str | bytes | Mapping | os.PathLike) or isinstance(value, _ADDRESSES) or not isinstance(value, Iterable):
        return f"== {_literal(value)}"
    values = list(islice(value, MAX_VALUES + 1))
    if not values:
        raise FilterError("an empty list can never match; leave the condition out")
    # a set has no order that lasts: the same rule must give the same text
    written = map(_literal, values)
    return f"in ({', '.join(sorted(written) if isinstance(value, set | frozenset) else written)})"
