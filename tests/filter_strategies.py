# SPDX-License-Identifier: Apache-2.0
"""Random filters and batches that meet: both draw from the same small pools of values. Both
are made from a seed that hypothesis draws."""
from __future__ import annotations

import random
import re
from functools import cache
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tapio_fast import schema
from tapio_fast._core import _engine
from tapio_fast.filtering._fields import Field, catalogue
from tapio_fast.filtering._tree import And, Const, Node, Not, Or, Test, merge_ranges

Row = dict[str, Any]
ID = b"0123456789abcdef" * 4
NUMBERS = (0, 1, 2, 3, 4, 5, 6, 22, 80, 443, 1000, 3306, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 10**9, 2**63 - 1, 2**63, 2**64 - 1,
           -1, -2, -13, -2**15, -2**31, -2**63, 1 << 6, 1 << 10, 0o100644)
NAMES = (b"nginx", b"bash", b"BASH", b"kworker/0:1", b"curl", b"nc", b"python3", b"a", b"", b"exactly16bytes!!", b"exactly16bytes!", b"\xff\xfe[x]",
         b"sh", b"1234", b"a-b c")
PATHS = (b"/etc/passwd", b"/etc/shadow", b"/usr/bin/curl", b"/usr/bin/CURL", b"", b"/", b"/tmp/a*b?c[d]", b"/\xff\xfe/x", b"/docker/" + ID, ID, b"/kubepods/a",
         b"/usr/bin/python3", b"example.com\0" b"10.0.0.1", b"/var/log/" + b"x" * 300, b"a.b\nc", b"/etc", b"aaaaaaaaab", b"x")
ARGS = (b"sh\0-c\0echo aGk= | base64 -d\0", b"ls\0-l\0/etc\0", b"curl\0http://x/\0", b"", b"\0", b"LS\0", b"ls -l", b"a\0\0b\0\0", b"python3\0-c\0import os\0")
WEIGHTS = (1.0, 2.0, 0.5, 10.0, 3.1400001049041748, float("inf"), float("nan"), 0.0)
ADDRESSES = tuple(0xFFFF << 32 | a for a in (0x0A000001, 0x0AFFFFFF, 0x0B000000, 0xC0A80107, 0x7F000001, 0, 0xFFFFFFFF)) + (
    1, 0, 0x20010DB8 << 96 | 1, 0x20010DB8 << 96 | 1 << 64, 0xFE80 << 112 | 7, (1 << 128) - 1)
PIDS = (0, 1, 2, 3, 4, 5, 6)
SPECIAL = {"pid": PIDS, "tid": PIDS, "ppid": PIDS, "target_pid": PIDS, "victim_pid": PIDS, "cgroup_id": (1, 2, 3, 4, 5), "object_id": (1, 2, 3, 4, 5)}
FIELDS = {name: field for name, field in catalogue().items() if field.source != "later"}


# --- batches ---

@cache
def fitting(dtype: np.dtype) -> tuple[int, ...]:
    """Those numbers that a field of this dtype can hold."""
    info = np.iinfo(dtype)
    return tuple(n for n in NUMBERS if info.min <= n <= info.max)


def _start_of(pid: int, random: random.Random) -> int:
    return pid * 10 + random.choice((0, 0, 0, 2000)) if pid else 0


def _row(domain: str, random: random.Random) -> Row:
    dtype = schema.DTYPES[domain]
    row: Row = {"domain": domain}
    for name in dtype.names or ():
        kind = dtype.fields[name][0]        # type: ignore[index]
        if name in schema.TEXT_FIELDS[domain]:
            row[name] = random.choice(ARGS if name in ("args", "data") else PATHS)
        elif kind.kind == "S":
            row[name] = random.choice(NAMES)
        elif kind.subdtype is not None:
            row[name] = random.choice(ADDRESSES) if kind.base == np.uint8 else [random.choice(fitting(kind.base)) for _ in range(kind.shape[0])]
        elif kind.kind == "f":
            row[name] = random.choice(WEIGHTS)
        else:
            row[name] = random.choice(SPECIAL.get(name) or fitting(kind))
    if random.random() < 0.5 and "errno" in row:
        row["errno"] = 0
    kinds = [k.subtype for k in schema.KINDS if k.domain == domain] + [200]
    row.update(type=schema.DOMAINS[domain], subtype=random.choice(kinds), ts_ns=random.randrange(1, 40) * 100,
               start_ns=_start_of(row["pid"], random), flags=random.choice((0, 0, 0, 1 << 6, 1 << 10, 1 << 10 | 1)))
    if "parent_start_ns" in row:
        row["parent_start_ns"] = random.choice((0, _start_of(row["ppid"], random)))
    return row


def rows_of(seed: int) -> list[Row]:
    """The rows of a batch: some of every domain, at times many of one."""
    rng = random.Random(seed)
    counts = {domain: rng.randrange(0, 6) for domain in schema.DTYPES}
    counts["process"] += 3
    if rng.random() < 0.1:
        counts[rng.choice([d for d in counts if d not in ("meta", "process")])] += rng.choice((60, 70, 130, 300))   # 8 versions of a process are kept
    return [_row(domain, rng) for domain, n in counts.items() for _ in range(n)]


def pack(rows: list[Row]) -> _engine.Batch:
    """The same rows as a batch, domain by domain in this order."""
    parts = {}
    for domain, dtype in schema.DTYPES.items():
        mine = [row for row in rows if row["domain"] == domain]
        array, text = np.zeros(len(mine), dtype), bytearray(b"head")     # no text begins at 0
        for at, row in enumerate(mine):
            for name in dtype.names or ():
                value = row[name]
                if name in schema.TEXT_FIELDS[domain]:
                    array[name][at] = (len(text), len(value), len(value))
                    text += value
                elif isinstance(value, int) and array[name].ndim == 2:
                    array[name][at] = np.frombuffer(value.to_bytes(16, "big"), np.uint8)
                else:
                    array[name][at] = value
        if mine:
            parts[schema.DOMAINS[domain]] = array.tobytes(), bytes(text)
    return _engine.build(parts)


# --- trees ---

def _changed(r: random.Random, text: bytes) -> bytes:
    """A part of a text, or the text in other letters."""
    how = r.randint(0, 5)
    if how == 0:
        return text.swapcase()
    if how <= 2 or not text:
        return text
    a, b = sorted((r.randint(0, len(text)), r.randint(0, len(text))))
    return text[a:b] if how < 5 else text[:b]


def _glob(r: random.Random, text: bytes) -> bytes:
    out = bytearray()
    for c in text[:40]:
        how = r.randint(0, 9) if len(text) < 20 else 9
        out += {0: b"*", 1: b"?", 2: b"[" + bytes([c]) + b"x-z]", 3: b"[!q]"}.get(how, bytes([c]))
    return bytes(r.choice((b"", b"*"))) + bytes(out) + bytes(r.choice((b"", b"*", b"**", b"[")))


def _regex(r: random.Random, text: bytes) -> bytes:
    part = re.escape(text[:30])
    return bytes(r.choice((
        part, b"^" + part, part + b"$", b"^(" + part + b"|bash)$", b"[a-f]+", b"^[^/]*$", rb"\d{2,4}", b"(c|C)url", b"^.?$", b"a+b", rb"[\x80-\xff]", b"^$",
        rb"(^|/)bin/", b"e.*[0-9]$")))


def _texts(r: random.Random, field: Field, op: str) -> tuple[bytes, ...]:
    pool = NAMES if field.name.endswith("comm") else ARGS if field.type == "argv" or field.name == "data" else PATHS
    count = r.choice((1, 1, 2, 3, 7, 9))
    change = {"glob": _glob, "regex": _regex}.get(op, _changed)
    texts = [r.choice(pool) for _ in range(count)]
    if field.type == "argv":
        texts = [text.rstrip(b"\0").replace(b"\0", b" ") for text in texts]
    return tuple(change(r, text) for text in texts)


def _ranges(r: random.Random, pool: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    count = r.choice((1, 1, 1, 2, 3, 20))
    if count == 20 and r.random() < 0.5:
        return merge_ranges([(n, n) for n in (r.choice(pool) for _ in range(count))] + [(n, n) for n in range(7, 99, 2)])
    pairs = [sorted((r.choice(pool) + r.choice((0, 0, -1, 1)), r.choice(pool))) for _ in range(count)]
    return merge_ranges([(lo, hi) if r.random() < 0.5 else (lo, lo) for lo, hi in pairs])


def _args(r: random.Random, field: Field, op: str) -> tuple[Any, ...]:
    if op == "range":
        return _ranges(r, (1, 2, 3, 4, 5) if field.type == "severity" else SPECIAL.get(field.name) or NUMBERS)
    if op == "bits":
        mask = r.choice((1, 2, 3, 0xFF, 1 << 6, 0x8000, 1 << 31, 1 << 63, 2**64 - 1))
        return mask, r.choice((None, 0, mask, 1))
    if op == "float":
        spans = [(*sorted((r.choice((-1.0, 0.0, 1.0, 2.0, 3.1400001049041748, 10.0, float("inf"))), r.choice((0.5, 1.0, 5.0, 1e9)))),
                  r.random() < 0.5, r.random() < 0.5) for _ in range(r.randint(1, 2))]
        return tuple(spans)
    if op == "net":
        return tuple((r.choice(ADDRESSES), r.choice((0, 1, 8, 64, 96, 104, 120, 127, 128))) for _ in range(r.choice((1, 1, 2, 6))))
    if op == "kind":
        kinds = [k.number for k in schema.KINDS if k.domain == r.choice(sorted(schema.DOMAINS))] if r.random() < 0.5 else []
        return tuple(sorted({*kinds, *(r.choice(schema.KINDS).number for _ in range(r.randint(1, 6)))}))
    if op == "follow":
        return tuple(r.choice(PIDS) for _ in range(r.randint(1, 3)))
    return () if op == "exists" else _texts(r, field, op)


OPS = {"number": ("range", "range", "range", "bits", "exists"), "float": ("float", "exists"), "address": ("net", "net", "exists"), "kind": ("kind",),
       "severity": ("range",), "follow": ("follow", "exists"), "text": ("equal", "startswith", "endswith", "contains", "glob", "regex", "exists")}
OPS["argv"] = OPS["text"]
# chosen as often as all other fields together: every domain has them, or they are rarely drawn otherwise
COMMON = ("comm", "pid", "kind", "severity", "weight", "path", "errno", "process_exe", "process_args", "parent_comm", "ancestor_exe", "container_id",
          "cgroup_path", "descendant_of", "uid", "ts_ns", "record_flags", "dest_ip", "args", "exe")


def leaf_of(r: random.Random, name: str = "") -> Test:
    """One test of this or any field."""
    field = FIELDS[name or (r.choice(COMMON) if r.random() < 0.6 else r.choice(sorted(FIELDS)))]
    op = r.choice(OPS[field.type])
    text = field.type in ("text", "argv") and op != "exists"
    return Test(field, op, _args(r, field, op), negate=r.random() < 0.3, icase=text and r.random() < 0.4)


def tree_of(r: random.Random, depth: int = 3) -> Node:
    """A tree of a few tests."""
    how = r.random()
    if how < 0.02:
        return Const(r.random() < 0.5)
    if how < 0.5 or not depth:
        return leaf_of(r)
    if how < 0.6:
        return Not(tree_of(r, depth - 1))
    return (And if how < 0.78 else Or)(tuple(tree_of(r, depth - 1) for _ in range(r.randint(2, 4))))


# Trees go by seed: one is a hundred choices, of which hypothesis would keep account one by one. Tests look for the smallest part that
# disagrees themselves.
seeds = st.integers(0, 2**64 - 1)


def tree(seed: int) -> Node:
    """The tree of a seed."""
    return tree_of(random.Random(seed))
