# SPDX-License-Identifier: Apache-2.0
"""What a block's index must have, so that a filter can keep one of its rows: necessary, not sufficient. Relies on `_tree`.

A store's blocks tell by domain which subtypes are in them, and which pids, control groups and ports may be (docs/store-format.md).
"""
from __future__ import annotations

import functools
from dataclasses import dataclass

from tapio_fast import schema
from tapio_fast.filtering._tree import And, Const, Node, Or, Test

MOST = 16               # values of a field: TF_ASKED_MAX
EVERY = (1 << 64) - 1
_PORTS = ("source_port", "dest_port")


@dataclass(frozen=True, slots=True)
class Asked:
    """Of the rows wanted each has one of these values of a field; None = any.

    kinds : int, bits of subtypes, the last one: 63 and above
    """

    kinds: int = EVERY
    pid: frozenset[int] | None = None
    cgroup: frozenset[int] | None = None
    port: frozenset[int] | None = None

    def raw(self) -> tuple[int, frozenset[int], frozenset[int], frozenset[int]]:
        """Return it as the engine's reader takes it."""
        none: frozenset[int] = frozenset()
        return self.kinds, self.pid or none, self.cgroup or none, self.port or none


def asked_of(node: Node, domain: str) -> Asked | None:
    """Return what a row of a domain must have for a tree to be true; None: it never is."""
    if isinstance(node, Const):
        return Asked() if node.value else None
    if isinstance(node, Test):
        return _of_test(node, domain)
    if isinstance(node, And):
        found: Asked | None = Asked()
        for part in node.parts:
            more = asked_of(part, domain)
            found = None if found is None or more is None else both(found, more)
        return found
    if isinstance(node, Or):
        some = [more for more in (asked_of(part, domain) for part in node.parts) if more is not None]
        return functools.reduce(either, some) if some else None
    return Asked()


def kinds_of(domain: str, names: frozenset[str] | set[str]) -> int:
    """Return the bits of subtypes of a domain by their names; one without a name is its number."""
    bits = 0
    for name in names:
        if name.isdecimal():
            bits |= 1 << min(int(name), 63)
    for kind in schema.KINDS:
        if kind.domain == domain and kind.name.partition(".")[2] in names:
            bits |= 1 << min(kind.subtype, 63)
    return bits


def _of_test(test: Test, domain: str) -> Asked | None:
    if test.op == "kind" and not test.negate:
        bits = 0
        for number in test.args:
            kind = schema.KINDS[number]
            if kind.domain == domain:
                bits |= 1 << min(kind.subtype, 63)
        return Asked(kinds=bits) if bits else None
    if test.field.source == "row" and domain not in test.field.places:
        return None
    if test.op != "range" or test.negate or sum(hi - lo + 1 for lo, hi in test.args) > MOST:
        return Asked()
    return of_values(test.field.name, frozenset(v for lo, hi in test.args for v in range(lo, hi + 1)))


def of_values(name: str, values: frozenset[int]) -> Asked:
    """Return what it means for a block that a field has one of these values."""
    if len(values) > MOST or (name in _PORTS and 0 in values) or any(value not in range(1 << 64) for value in values):
        return Asked()
    if name == "pid":
        return Asked(pid=values)
    if name == "cgroup_id":
        return Asked(cgroup=values)
    return Asked(port=values) if name in _PORTS else Asked()


def both(a: Asked, b: Asked) -> Asked | None:
    """Return what rows have that have both."""
    kinds = a.kinds & b.kinds
    pid, cgroup = _common(a.pid, b.pid), _common(a.cgroup, b.cgroup)
    if not kinds or pid == frozenset() or cgroup == frozenset():
        return None
    # a row has two ports: values of both need not meet
    port = b.port if a.port is None or (b.port is not None and len(b.port) < len(a.port)) else a.port
    return Asked(kinds, pid, cgroup, port)


def _common(a: frozenset[int] | None, b: frozenset[int] | None) -> frozenset[int] | None:
    return b if a is None else a if b is None else a & b


def either(a: Asked, b: Asked) -> Asked:
    """Return what rows have that have one or the other."""
    return Asked(a.kinds | b.kinds, _all(a.pid, b.pid), _all(a.cgroup, b.cgroup), _all(a.port, b.port))


def _all(a: frozenset[int] | None, b: frozenset[int] | None) -> frozenset[int] | None:
    return None if a is None or b is None or len(a | b) > MOST else a | b
