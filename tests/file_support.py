# SPDX-License-Identifier: Apache-2.0
"""What tests of the file domain share: plans of system calls with the row that each must make, and the numbers of file systems."""
from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import live_support as live
import numpy as np

from tapio_fast import Config, RecordBatch, schema

TRUNCATED, CLAIMED, PARTIAL, CGROUP_V1 = 1 << 0, 1 << 1, 1 << 10, 1 << 6
AT_FDCWD, NONE = -100, 0xFFFFFFFF
HZ = os.sysconf("SC_CLK_TCK")


def config(**file: Any) -> Config:
    """The file domain alone."""
    off = {"enabled": False}
    return Config.default().replace(programs={"file": {"enabled": True, "exclude_paths": [], **file}, "process": off, "network": off,
                                              "memory": off}, performance={"map_entries_limit": 1000})


def latin(path: Path | str) -> str:
    """A path as the helper takes it: one character a byte."""
    return os.fsencode(path).decode("latin-1")


def device_of(path: Path | str) -> int:
    """The superblock's device, as mountinfo tells it: stat(2) tells another one on some file systems."""
    best, number = "", 0
    real = os.path.realpath(path)
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        _, _, device, _, where, *_ = line.split()
        if (real == where or real.startswith(where.rstrip("/") + "/")) and len(where) >= len(best):
            major, minor = device.split(":")
            best, number = where, int(major) << 20 | int(minor)
    return number


@dataclasses.dataclass
class Expected:
    """One row: which call makes it, its texts, its other fields. `noted`: the kernel's own hook sees the path, where there is one."""

    step: int
    kind: str
    path: bytes
    new_path: bytes = b""
    fields: dict[str, Any] = dataclasses.field(default_factory=dict)
    flags: int = 0
    noted: bool = False
    inode: int = 0


class Plan:
    """System calls for the helper, and the rows expected of them, in their order."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Any]] = []
        self.rows: list[Expected] = []

    def do(self, *call: Any, label: str | None = None) -> Plan:
        """Add a call."""
        self.steps.append({"do": list(call), **({"as": label} if label else {})})
        return self

    def row(self, kind: str, path: Path | str | bytes, new_path: Path | str | bytes = b"", *, flags: int = 0, noted: bool = False,
            inode: int = 0, **fields: Any) -> Plan:
        """The call added last makes this row too."""
        if inode and not noted:
            fields["inode"] = inode
        self.rows.append(Expected(len(self.steps) - 1, kind, os.fsencode(path), os.fsencode(new_path), fields, flags, noted, inode))
        return self


DEFAULTS = {"inode": 0, "offset": 0, "size": 0, "device": 0, "file_flags": 0, "mode": 0, "fd": -1, "count": 1, "sequential": 0,
            "new_uid": NONE, "new_gid": NONE}


def compare(plan: Plan, facts: list[dict[str, Any]], who: dict[str, Any], batch: RecordBatch, *, noted: set[str] = frozenset(),
            # type: ignore[assignment]
            device: int = 0) -> None:
    """Every row of this process is as planned, field by field, and there is no other."""
    rows = batch["file"]
    texts = [batch.strings("file", name) for name in ("path", "new_path")]
    order = sorted(np.flatnonzero(rows["pid"] == who["pid"]).tolist(), key=lambda i: rows["ts_ns"][i])
    names = {schema.KIND_BY_NAME[f"file.{name}"].subtype: name for name in
             ("open", "close", "read", "write", "create", "delete", "rename", "chmod", "chown", "mkdir", "rmdir", "link", "symlink",
              "truncate", "xattr")}
    said = [(names[int(rows["subtype"][i])], texts[0][i]) for i in order]
    assert said == [(e.kind, e.path) for e in plan.rows]
    cgroup, v1 = live.cgroup_of(who["pid"]) if who.get("cgroup") is None else who["cgroup"]
    for i, e in zip(order, plan.rows, strict=True):
        row, fact = rows[i], facts[e.step]
        resolved = e.noted and e.kind in noted
        wanted = {**DEFAULTS, "errno": -min(fact["ret"], 0), **e.fields}
        if resolved:
            wanted.update(device=device, inode=e.inode)
        kept = e.kind == "symlink"      # what a symbolic link says is the caller's word, wherever it lies
        flags = (CGROUP_V1 if v1 else 0) | (e.flags & ~(CLAIMED if resolved and not kept else 0))
        wanted.update(flags=flags, pid=who["pid"], tid=who["pid"], ppid=who["ppid"], uid=who["uid"], gid=who["gid"], cgroup_id=cgroup,
                      comm=who["comm"].encode("latin-1"), weight=1.0, type=schema.KIND_BY_NAME["file.open"].type)
        wrong = {k: (row[k], v) for k, v in wanted.items() if row[k] != v}
        assert not wrong, (e, wrong)
        assert texts[1][i] == e.new_path
        assert row["start_ns"] // (1_000_000_000 // HZ) == who["ticks"]
        assert fact["before"] <= row["ts_ns"] - row["duration_ns"] <= row["ts_ns"] <= fact["after"], e
