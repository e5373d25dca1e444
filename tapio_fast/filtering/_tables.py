# SPDX-License-Identifier: Apache-2.0
"""The gate's tables: for each dimension, which clauses each value matches. Relies on `_tree`; struct tf_rule_slot is the reader.

A dimension of numbers has a set of single values, or, where a range is asked for, a trie of prefixes. Names and addresses always have
a trie: an address range is a prefix, a name is one that ends in NUL, the beginning of a name is one that does not. Paths have a trie of their
own, with longer keys.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tapio_fast.filtering._tree import Test

NUMBERS = {"pid": 0, "cgroup_id": 1, "uid": 2, "nr": 3, "source_port": 4, "dest_port": 5}       # enum tf_rule_dim
BYTES = {"comm": 6, "source_ip": 7, "dest_ip": 8}
PATHS = {"path": 9}         # of file records
_MAX = (1 << 64) - 1
_WIDTH = {"comm": 16, "source_ip": 16, "dest_ip": 16, "path": 248}    # bytes of a key
_ENDS = ("source_port", "dest_port", "source_ip", "dest_ip")

Tests = Sequence[tuple[Test, bool]]     # of one clause; False: its opposite


@dataclass
class Tables:
    """entries : (dimension, value, clauses) of the set; prefixes : (dimension, bits, 16 bytes, clauses) of the trie

    paths : (bits, bytes, clauses) of the trie of paths
    others : by dimension, the clauses that a value without an entry matches; tries : bits of dimensions that use the trie
    """

    entries: list[tuple[int, int, int]] = field(default_factory=list)
    prefixes: list[tuple[int, int, bytes, int]] = field(default_factory=list)
    paths: list[tuple[int, bytes, int]] = field(default_factory=list)
    others: list[int] = field(default_factory=lambda: [0xFFFF] * 16)
    flags: int = 0
    tries: int = 0


def knows(test: Test, domain: str) -> bool:
    """Whether the gate can have a table for a test, of records of a domain. Which hooks ask it is theirs to decide."""
    name = test.field.name
    if name in _ENDS and domain != "network":
        return False
    if name in NUMBERS:
        return test.op == "range"
    if name == "comm" or (name == "path" and domain == "file"):
        # what is longer than a key, or has a NUL, is nothing that a prefix could tell
        return test.op in ("equal", "startswith") and not test.icase and all(len(v) < _WIDTH[name] and b"\0" not in v for v in test.args)
    return name in BYTES and test.op == "net"


def build(clauses: Sequence[Tests], limit: int, pushed: bool) -> tuple[Tables, list[str]]:
    """Return the tables of some clauses, and a sentence for each dimension that would need too many entries and is not asked then."""
    tables, left_out = Tables(), []
    for name, dim in (NUMBERS | BYTES | PATHS).items():
        of_dim = [[(test, want) for test, want in clause if test.field.name == name] for clause in clauses]
        if not any(of_dim):
            continue
        others, entries, prefixes = (_numbers if name in NUMBERS else _bytes)(of_dim, limit)
        if not pushed and (prefixes or dim > NUMBERS["cgroup_id"]):
            left_out.append(f"{name} is judged in user space: the programs were loaded for a filter that asked for ids only")
            continue
        if len(entries) + len(tables.entries) > limit or len(prefixes) + len(tables.paths if name in PATHS else tables.prefixes) > limit:
            left_out.append(f"{name} has {max(len(entries), len(prefixes))} values, more than performance.map_entries_limit: "
                            "judged in user space")
            continue
        tables.flags |= 1 << dim
        tables.others[dim] = others
        if name in PATHS:
            tables.paths += prefixes
            continue
        tables.tries |= (1 << dim) * bool(prefixes)
        tables.entries += [(dim, value, mask) for value, mask in entries]
        tables.prefixes += [(dim, 32 + bits, data, mask) for bits, data, mask in prefixes]
    return tables, left_out


Found = tuple[int, list[tuple[int, int]], list[tuple[int, bytes, int]]]


def _numbers(clauses: Sequence[Tests], limit: int) -> Found:
    """Tables of a dimension of numbers: a sweep over the ends of all ranges."""
    edges: dict[int, list[tuple[int, int, int]]] = {}   # value -> (clause, test of it, +1 or -1): inside more or less ranges from here on
    counts = [[0] * len(tests) for tests in clauses]
    for c, tests in enumerate(clauses):
        for t, (test, _) in enumerate(tests):
            for lo, hi in test.args:
                if hi < 0:
                    continue
                edges.setdefault(max(lo, 0), []).append((c, t, 1))
                edges.setdefault(hi + 1, []).append((c, t, -1))

    def accepted() -> int:
        return sum(1 << c for c, tests in enumerate(clauses)
                   if all((counts[c][t] > 0) == want for t, (_, want) in enumerate(tests)))

    others = accepted()
    spans: list[tuple[int, int, int]] = []      # from, to, clauses: of what is in some range
    previous, inside, mask = 0, 0, others
    for at in sorted(edges):
        if inside and at > previous:
            spans.append((previous, at - 1, mask))
        for c, t, step in edges[at]:
            counts[c][t] += step
            inside += step
        previous, mask = at, accepted()
    if inside:
        spans.append((previous, _MAX, mask))
    if sum(hi - lo + 1 for lo, hi, _ in spans) <= limit:
        return others, [(value, mask) for lo, hi, mask in spans for value in range(lo, hi + 1)], []
    prefixes = [(bits, value.to_bytes(8, "big") + bytes(8), mask) for lo, hi, mask in spans for value, bits in _prefixes_of(lo, min(hi, _MAX))]
    return others, [], prefixes


def _prefixes_of(lo: int, hi: int) -> list[tuple[int, int]]:
    """Return the least (value, bits) prefixes of 64 bits that cover lo..hi exactly."""
    found = []
    while lo <= hi:
        size = lo & -lo or 1 << 64
        while size > hi - lo + 1:
            size >>= 1
        found.append((lo, 64 - (size.bit_length() - 1)))
        lo += size
    return found


def _prefixes(test: Test) -> list[tuple[int, int]]:
    """Return a test's values as (a whole key as a number, how many of its bits count)."""
    if test.op == "net":
        return [(base, bits) for base, bits in test.args]
    width = _WIDTH[test.field.name]
    keys = [value + b"\0" * (test.op == "equal") for value in test.args]
    return [(int.from_bytes(key.ljust(width, b"\0"), "big"), 8 * len(key)) for key in keys]


def _covers(prefixes: dict[int, set[int]], base: int, bits: int, whole: int) -> bool:
    return any(length <= bits and base >> (whole - length) in heads for length, heads in prefixes.items())


def _bytes(clauses: Sequence[Tests], limit: int) -> Found:
    """Tables of a dimension of texts or addresses. The longest prefix that is found for a value says which shorter ones hold it as well."""
    width = next(_WIDTH[test.field.name] for tests in clauses for test, _ in tests)
    whole = 8 * width
    sets: list[list[tuple[dict[int, set[int]], bool]]] = []
    every: set[tuple[int, int]] = set()
    for tests in clauses:
        mine = []
        for test, want in tests:
            heads: dict[int, set[int]] = {}
            for base, bits in _prefixes(test):
                heads.setdefault(bits, set()).add(base >> (whole - bits))
                every.add((base, bits))
            mine.append((heads, want))
        sets.append(mine)
    others = sum(1 << c for c, mine in enumerate(sets) if not any(want for _, want in mine))
    prefixes = []
    for base, bits in sorted(every):
        mask = sum(1 << c for c, mine in enumerate(sets) if all(_covers(heads, base, bits, whole) == want for heads, want in mine))
        prefixes.append((bits, base.to_bytes(width, "big"), mask))
    return others, [], prefixes
