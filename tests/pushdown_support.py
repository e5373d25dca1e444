# SPDX-License-Identifier: Apache-2.0
"""Random filters with a truth of their own: each is text for the parser and, apart from it, a function of a record. Three-valued: a test
that the kernel cannot make is unknown, and what is not certainly false must pass the gate."""
from __future__ import annotations

import ipaddress
import random
from collections.abc import Callable
from typing import Any

Truth = bool | None
Record = dict[str, Any]
Filter = tuple[str, Callable[[Record], Truth]]

PID0, CGROUP0 = 0x1000000, 0x1000000
# What the gate knows beside ids, of connections.
NETWORK = ("source_port", "dest_port", "source_ip", "dest_ip")


def synthetic(n: int, kind: str) -> Record:
    """Return record n of the load generator as far as filters ask for it; the formula is bpf/README.md's."""
    record: Record = {"kind": kind, "pid": PID0 + (n & 0xFFF), "cgroup_id": CGROUP0 + (n & 15), "uid": n & 0xFFFF, "comm": b"synth",
                      "gid": (n >> 16) & 0xFFFF, "severity": {2, 3} if kind == "network.connect" else {1}}     # a connection may fail
    if kind == "network.connect":
        record |= {"source_port": 1024 + (n & 0x7FFF), "dest_port": 443 if n & 1 else 80, "source_ip": 0x0A000000 | (n & 0xFFFFFF),
                   "dest_ip": 0xC0000200 | (n & 0xFF), "bytes_sent": n * 2}
    return record


def _numbers(rng: random.Random, name: str, base: int, span: int) -> Filter:
    ranges = []
    for _ in range(rng.randint(1, 4)):
        lo = base + rng.randrange(span)
        ranges.append((lo, min(lo + rng.choice((0, 0, 1, 7, span // 8)), base + span - 1)))
    text = ", ".join(str(lo) if lo == hi else f"{lo}..{hi}" for lo, hi in ranges)
    negate = rng.random() < 0.3

    def truth(record: Record) -> Truth:
        if name not in record:
            return False
        return any(lo <= record[name] <= hi for lo, hi in ranges) != negate
    return f"{name} {'not in' if negate else 'in'} ({text})", truth


def _net(rng: random.Random, name: str) -> Filter:
    base = 0x0A000000 if name == "source_ip" else 0xC0000200
    nets = [ipaddress.ip_network((base | rng.randrange(256), rng.choice((8, 16, 24, 26, 28, 30, 32))), strict=False)
            for _ in range(rng.randint(1, 3))]

    def truth(record: Record) -> Truth:
        return name in record and any(ipaddress.ip_address(record[name]) in net for net in nets)
    return f"{name} in ({', '.join(map(str, nets))})", truth


def _comm(rng: random.Random) -> Filter:
    op, value = rng.choice([("==", "synth"), ("==", "synt"), ("!=", "synth"), ("startswith", "sy"), ("startswith", "synth"),
                            ("startswith", "x"), ("==", "synthesis")])

    def truth(record: Record) -> Truth:
        name, wanted = record["comm"], value.encode()
        return name.startswith(wanted) if op == "startswith" else (name == wanted) != (op == "!=")
    return f'comm {op} "{value}"', truth


PATHS = (b"/etc/passwd", b"/etc/pam.d/login", b"/etc", b"/etcetera", b"/usr/lib/x", b"/usr/lib", b"", b"/" + b"a" * 300, b"/" + b"a" * 246, b"/tmp/\xff\x80")


def _path(rng: random.Random) -> Filter:
    op = rng.choice(("startswith", "==", "!=", "in", "startswith"))
    values = rng.sample((*PATHS, b"/et", b"/etc/", b"/usr", b"/", b"/" + b"a" * 250), rng.randint(1, 3) if op == "in" else 1)
    text = ", ".join(push_quoted(v) for v in values)

    def truth(record: Record) -> Truth:
        if "path" not in record:
            return False
        if any(len(v) >= 248 for v in values):
            return None
        found: bool = record["path"].startswith(values[0]) if op == "startswith" else record["path"] in values
        return found != (op == "!=")
    return f"path {op} ({text})", truth


def push_quoted(value: bytes) -> str:
    """Return bytes as a string of the language."""
    return '"' + "".join(f"\\x{b:02x}" for b in value) + '"'


def _kind(rng: random.Random) -> Filter:
    kind = rng.choice(("network.connect", "cpu.usage", "cpu.load", "file.open"))
    return f"kind == {kind}", lambda record: bool(record["kind"] == kind)


def _severity(rng: random.Random) -> Filter:
    least = rng.randint(1, 5)

    def truth(record: Record) -> Truth:
        found = {s >= least for s in record["severity"]}
        return found.pop() if len(found) == 1 else None
    return f"severity >= {least}", truth


def _unknown(rng: random.Random) -> Filter:
    """A test that the gate does not make, on a field that the record has or lacks."""
    name, text = rng.choice([("gid", "gid == 1"), ("bytes_sent", "bytes_sent > 100"), ("bytes_sent", "bytes_sent not in (4, 6)"),
                             ("gid", "gid != 0"), ("path", 'path endswith "/etc/"'), ("comm", 'comm contains "yn"')])
    return text, lambda record: None if name in record else False


def leaf(rng: random.Random) -> Filter:
    """Return a random test."""
    return rng.choice((
        lambda: _numbers(rng, "pid", PID0, 4096), lambda: _numbers(rng, "cgroup_id", CGROUP0, 16), lambda: _numbers(rng, "uid", 0, 4096),
        lambda: _numbers(rng, "source_port", 1024, 4096), lambda: _numbers(rng, "dest_port", 70, 400), lambda: _net(rng, "source_ip"),
        lambda: _net(rng, "dest_ip"), lambda: _comm(rng), lambda: _kind(rng), lambda: _severity(rng), lambda: _unknown(rng), lambda: _path(rng)))()


def _not(value: Truth) -> Truth:
    return None if value is None else not value


def _and(values: list[Truth]) -> Truth:
    return False if False in values else None if None in values else True


def tree(rng: random.Random, depth: int) -> Filter:
    """Return a random filter of at most this depth."""
    if depth == 0 or rng.random() < 0.25:
        return leaf(rng)
    if rng.random() < 0.2:
        text, truth = tree(rng, depth - 1)
        return f"not ({text})", lambda record: _not(truth(record))
    parts = [tree(rng, depth - 1) for _ in range(rng.randint(2, 3))]
    texts, truths = [f"({text})" for text, _ in parts], [truth for _, truth in parts]
    if rng.random() < 0.5:
        return " and ".join(texts), lambda record: _and([truth(record) for truth in truths])
    return " or ".join(texts), lambda record: _not(_and([_not(truth(record)) for truth in truths]))
