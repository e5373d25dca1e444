# SPDX-License-Identifier: Apache-2.0
"""The slow, plain reference of facts: keeps every row it was shown, and looks through all of them at every question."""
from __future__ import annotations

from typing import Any

from tapio_fast import schema

Row = dict[str, Any]
Key = tuple[int, int]       # pid, start_ns
V1 = 1 << 6                 # TF_F_CGROUP_V1
TELLING = ("exec", "fork", "rename", "snapshot_process", "fact_process")
PARTIAL = 1 << 10           # TF_F_PARTIAL
DEPTH = 64
KINDS = {(k.domain, k.subtype): k.name.partition(".")[2] for k in schema.KINDS}


def kind_of(row: Row) -> str:
    """"exec", "fork" ... of a process row or "fact_process" ... of a meta row."""
    return KINDS.get((row["domain"], row["subtype"]), "")


class Facts:
    """What a stream has told so far. learn() takes the rows of an epoch in the order of their batch."""

    def __init__(self) -> None:
        self.process: list[Row] = []        # rows that tell something about a process
        self.cgroups: dict[tuple[int, int], tuple[bytes, bytes]] = {}

    def learn(self, rows: list[Row]) -> None:
        """Learn from all rows of an epoch: what was there before it comes first."""
        for row in sorted(rows, key=lambda row: row["domain"] != "meta"):
            kind = kind_of(row)
            if row["domain"] == "process" or (row["domain"] == "meta" and kind in ("snapshot_process", "fact_process")):
                self.process.append(row)
            place = row.get("object_id"), row["flags"] & V1
            if row["domain"] == "container" and row["cgroup_path"]:
                self.cgroups[place] = row["cgroup_path"], row["container_id"]
            if row["domain"] == "meta" and kind in ("fact_cgroup", "fact_container") and row["path"]:
                self.cgroups[place] = row["path"], row["path2"]

    def rows_of(self, key: Key) -> list[Row]:
        """What was told about a process, oldest first; of two at one time, the one learned first comes first."""
        return sorted((r for r in self.process if (r["pid"], r["start_ns"]) == key and key[0]), key=lambda r: r["ts_ns"])

    def versions(self) -> dict[Key, list[Row]]:
        """Rows that tell what a process executes, by process."""
        found: dict[Key, list[Row]] = {}
        for row in self.process:
            if row["pid"]:
                found.setdefault((row["pid"], row["start_ns"]), []).append(row)
        return {key: [r for r in rows if kind_of(r) in TELLING] for key, rows in found.items()}

    def text(self, key: Key, what: str, ts: int, depth: int = 0) -> bytes | None:
        """exe, args, cwd or comm of a process at a time; None = not known."""
        if depth > DEPTH:
            return None
        told = [r for r in self.rows_of(key) if kind_of(r) in ("exec", "fork", "snapshot_process", "fact_process")
                or (kind_of(r) == "rename" and r["tid"] == r["pid"])]
        before = [r for r in told if r["ts_ns"] <= ts]
        if not before and told and told[0]["domain"] == "meta":
            before = told[:1]       # what was there when we looked had been there before
        for row in reversed(before):
            kind = kind_of(row)
            if what == "comm":
                return row["args"].partition(b"\0")[0][:16] if kind == "rename" else row["comm"].partition(b"\0")[0]
            if kind == "exec":
                return row[what]
            if kind == "fork":
                return self.text((row["ppid"], row["parent_start_ns"]), what, row["ts_ns"], depth + 1)
            if row["domain"] == "meta":
                text = row[{"exe": "path", "cwd": "path2", "args": "data"}[what]]
                return None if not text and row["flags"] & PARTIAL else text
        return None

    def parent_of(self, key: Key) -> Key | None:
        """Link that the earliest row which names a parent gives."""
        named = [r for r in self.rows_of(key) if r["parent_start_ns"] and r["ppid"]]
        return (named[0]["ppid"], named[0]["parent_start_ns"]) if named else None

    def by_pid(self, pid: int, ts: int, lived: int) -> Key | None:
        """The process that had this pid: the youngest that had started by then, and not ended before a time."""
        ended = {r["start_ns"]: r["ts_ns"] for r in self.process if r["pid"] == pid and r["domain"] == "process" and kind_of(r) == "exit"}
        starts = [r["start_ns"] for r in self.process if r["pid"] == pid and r["start_ns"] <= ts and ended.get(r["start_ns"], lived) >= lived]
        return (pid, max(starts)) if starts and pid else None

    def parents(self, row: Row) -> list[Key]:
        """Parent, its parent ..., as far as is known."""
        if not row["pid"]:
            return []
        at = self.parent_of((row["pid"], row["start_ns"]))
        if at is None and row["ppid"]:
            at = self.by_pid(row["ppid"], row["ts_ns"], row["start_ns"])
            if at is None:
                return [(row["ppid"], -1)]
        found: list[Key] = []
        while at is not None and len(found) < DEPTH:
            found.append(at)
            at = self.parent_of(at)
        return found

    def line(self, row: Row) -> list[int]:
        """Process ids of the subject and its ancestors."""
        return [row["pid"], *(pid for pid, _ in self.parents(row))] if row["pid"] else []

    def find(self, row: Row, name: str) -> list[bytes]:
        """Values of a fact; none = not known."""
        if name in ("cgroup_path", "container_id"):
            known = self.cgroups.get((row["cgroup_id"], row["flags"] & V1))
            return [known[name == "container_id"]] if known else []
        who, what = name.split("_")
        if who == "process":
            keys = [(row["pid"], row["start_ns"])]
        else:
            keys = self.parents(row)[:1 if who == "parent" else DEPTH]
        texts = [self.text(key, what, row["ts_ns"]) for key in keys if key[0]]
        return [text for text in texts if text is not None]
