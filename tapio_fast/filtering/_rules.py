# SPDX-License-Identifier: Apache-2.0
"""FilterRule: the document's way to write a rule, and every other rule's form once read. Relies on `_parser`, `_tree`, `types`."""
from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tapio_fast.errors import FilterError
from tapio_fast.filtering._fields import find, suggest
from tapio_fast.filtering._parser import parse
from tapio_fast.filtering._text import quoted
from tapio_fast.filtering._tree import Node, all_of
from tapio_fast.types import Severity

_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,200}")


@dataclass(frozen=True)
class FilterRule:
    """One named rule: a record matches when everything that is given holds.

    name : str, by which stats() and hits tell it
    type, subtype : str or number, as in `type == network and subtype == connect`; subtype may be a list
    min_severity : str or Severity
    conditions : field -> value, or list of values that it may have; texts are compared whole
    process_name_regex : str, searched in comm
    expr : str, an expression that must hold too
    severity, tags : what a hit carries, for whoever reads it
    Raises FilterError that names the rule and the part that is wrong.
    """

    name: str = ""
    type: str | int | None = None
    subtype: str | int | Iterable[str | int] | None = None
    min_severity: str | int | None = None
    conditions: Mapping[str, Any] = field(default_factory=dict)
    process_name_regex: str | None = None
    expr: str = ""
    severity: Severity | str | None = None
    tags: tuple[str, ...] = ()
    _tree: Node | None = None

    __module__ = "tapio_fast"

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or (self.name and not _NAME.fullmatch(self.name)):
            raise FilterError(f"rule {self.name!r}: a name is one line of at most 200 characters")
        object.__setattr__(self, "tags", tuple(self.tags))
        if self.severity is not None:
            try:
                object.__setattr__(self, "severity", Severity(self.severity))  # type: ignore[arg-type]
            except ValueError:
                raise self._wrong(f"severity {self.severity!r} is none; there are "
                                  f"{', '.join(s.text for s in Severity)}") from None
        if self._tree is None:
            object.__setattr__(self, "_tree", self._build())

    @classmethod
    def of_tree(cls, name: str, tree: Node, *, severity: Severity | str | None = None, tags: Iterable[str] = ()) -> FilterRule:
        """Return a rule out of a tree that somebody else built (an import)."""
        return cls(name=name, severity=severity, tags=tuple(tags), _tree=tree)

    @property
    def tree(self) -> Node:
        """The rule as a typed tree."""
        assert self._tree is not None
        return self._tree

    def _wrong(self, why: str) -> FilterError:
        return FilterError(f"rule {self.name!r}: {why}")

    def _build(self) -> Node:
        parts = [f"{name} {_written(value)}" for name, value in (("type", self.type), ("subtype", self.subtype)) if value is not None]
        if self.min_severity is not None:
            parts.append(f"severity >= {_literal(self.min_severity)}")
        if self.process_name_regex is not None:
            parts.append(f"comm =~ {quoted(self.process_name_regex.encode())}")
        for name, value in self.conditions.items():
            if find(name) is None and name != "flags":
                raise self._wrong(f"no field {name!r}; {suggest(str(name))}")
            parts.append(f"{name} {_written(value)}")
        if self.expr:
            parts.append(f"({self.expr}\n)")
        try:
            return all_of([parse(part) for part in parts])
        except FilterError as error:
            raise FilterError(f"rule {self.name!r}: {error}", position=error.position) from None


def _literal(value: Any) -> str:
    text = getattr(value, "text", None)
    if isinstance(text, str):       # the enums of types.py
        return text
    if isinstance(value, bool) or not isinstance(value, str | bytes | int | float):
        raise FilterError(f"{value!r} is no value of a condition; give a text, a number or a list of them")
    if isinstance(value, int | float):
        return str(value)
    raw = value.encode() if isinstance(value, str) else value
    return quoted(raw)


def _written(value: Any) -> str:
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        return f"== {_literal(value)}"
    values = list(value)
    if not values:
        raise FilterError("a condition with an empty list can never hold; leave it out")
    return f"in ({', '.join(map(_literal, values))})"
