# SPDX-License-Identifier: Apache-2.0
"""The ledger as a table that adds up in front of the reader. The sums are made here, from the numbers shown, not taken from below."""
from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

_REFUSED = ("k_filtered", "k_throttled", "k_sampled", "k_ring_full", "k_fault", "k_too_big", "k_map_full", "k_busy", "k_aggregated")
_WORDS = {
    "seen": "reached the gate", "submitted": "put into a ring", "k_filtered": "not wanted by the filter",
    "k_throttled": "over their cgroup's rate", "k_sampled": "left out by sampling", "k_ring_full": "lost: ring full",
    "k_fault": "lost: memory could not be read", "k_too_big": "lost: larger than a record may be", "k_map_full": "lost: table full",
    "k_busy": "lost: no scratch slot free", "k_aggregated": "added to another record", "consumed": "taken out of the rings",
    "in_ring": "still in a ring", "u_bad": "lost: not a valid record", "u_filtered": "not wanted by the filter",
    "u_sampled": "left out by sampling", "routed": "given to every branch", "written": "in the store",
    "buffered": "on the way to the store",
    "handed": "given to the program", "queued": "waiting for the program", "overflow": "lost: the program was too slow",
    "dropped_full": "lost: queue full", "dropped_io": "lost: write failed", "dropped_enospc": "lost: disk full",
    "dropped_memory": "lost: no memory",
}
_ALWAYS = {"submitted", "consumed", "routed", "written", "handed", "in_ring"}


@dataclasses.dataclass(frozen=True)
class Equation:
    """A total and the parts that must sum up to it."""

    name: str
    total: int
    parts: dict[str, int]

    @property
    def difference(self) -> int:
        """Total minus the sum of the parts; 0 when the ledger adds up."""
        return self.total - sum(self.parts.values())


def equations(ledger: Mapping[str, int], branches: Mapping[str, Mapping[str, int]]) -> list[Equation]:
    """Return the identities of the ledger: kernel, rings, user space, and each branch that ran."""
    def one(name: str, *parts: str) -> Equation:
        return Equation(name, ledger[name], {part: ledger[part] for part in parts})

    out = [one("seen", "submitted", *_REFUSED), one("submitted", "consumed", "in_ring"),
           one("consumed", "routed", "u_bad", "u_filtered", "u_sampled")]
    for branch, ways in (("raw", ("written", "buffered")), ("user", ("handed", "queued", "overflow"))):
        counts = branches.get(branch) or {}
        if counts:
            parts = {way: counts.get(way, 0) for way in ways}
            parts |= {name: n for name, n in counts.items() if name.startswith("dropped")}
            out.append(Equation(f"{branch}: routed", counts["routed"], parts))
    return out


def ledger_text(ledger: Mapping[str, int], branches: Mapping[str, Mapping[str, int]]) -> tuple[str, bool]:
    """Return the table, and whether everything adds up. Parts that are zero and may be are left out."""
    lines = ["ledger (records)"]
    right = True
    for equation in equations(ledger, branches):
        own = equation.total - ledger["routed"] if equation.name.endswith(": routed") else 0
        words = (f"{own:,} of them made by the pump itself (EPOCH, RULES)" if own > 0 else
                 "since its first read" if own < 0 else _WORDS.get(equation.name, ""))
        lines.append(f"  {equation.name:<14}{equation.total:>14,}   {words}".rstrip())
        shown = {name: n for name, n in equation.parts.items() if n or name in _ALWAYS}
        lines += [f"  {'= ' if i == 0 else '+ '}{name:<12}{n:>14,}   {_WORDS.get(name, '')}" for i, (name, n) in enumerate(shown.items())]
        if equation.difference:
            right = False
            lines.append(f"  ! difference  {equation.difference:>14,}   these numbers do not add up: please report it")
        lines.append("")
    lines.append("  every sum above is exact" if right else "  THE LEDGER DOES NOT ADD UP")
    return "\n".join(lines), right


def kinds_text(kinds: Mapping[str, int]) -> str:
    """Return the kinds seen, most frequent first."""
    if not kinds:
        return "no events"
    width = max(len(kind) for kind in kinds)
    return "\n".join(f"  {kind:<{width}}{n:>12,}" for kind, n in sorted(kinds.items(), key=lambda item: -item[1]))


def kinds_of(by_kind: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """Return kind -> records that were routed, without those about the collection itself."""
    return {kind: counts["routed"] for kind, counts in by_kind.items() if counts["routed"] and not kind.startswith("meta.")}
