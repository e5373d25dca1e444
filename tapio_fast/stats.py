# SPDX-License-Identifier: Apache-2.0
"""Statistics, HealthStatus and DebugInfo: what a collector says about itself. Relies on `schema` for the ledger's columns."""
from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from tapio_fast import schema

# Kernel causes that are losses; filtered, throttled, sampled and aggregated records were refused on purpose.
LOSSES = ("k_ring_full", "k_fault", "k_too_big", "k_map_full", "k_busy", "u_bad")
TOTALS = ("seen", "submitted", *schema.KERNEL_CAUSES, "in_ring", "consumed", "u_bad", "u_filtered", "u_sampled", "routed")


@dataclass(frozen=True)
class Statistics:
    """Counters of a collector, in records unless said otherwise.

    ledger : totals; seen == submitted + k_*, submitted == consumed + in_ring, consumed == u_* + routed
    branches : raw, user, semantic, outputs: each `routed` equals the sum of what it names beside it
    sampling : "share", of plain kinds' records, that adaptive sampling keeps now (1.0 where it is off); "rate_changes", RATE records so far
    redaction : rows that lost a secret, texts that are plain by their bytes, others known (hits) or judged (misses), bytes of rules and cache; empty where off
    rules : name of each rule of the filter in force -> rows that it matched
    by_kind : "process.exec" -> the ledger's names; by_cpu : one dict per CPU
    """

    events_received: int
    events_dropped: int
    events_filtered: int
    events_sampled: int
    ring_buffer_full: int
    ring_buffer_usage_percent: float
    memory_usage_mb: float
    cpu_percent: float
    ledger: dict[str, int]
    branches: dict[str, dict[str, int]]
    by_kind: dict[str, dict[str, int]]
    by_cpu: list[dict[str, int]]
    rules: dict[str, int] = field(default_factory=dict)
    recursion_misses: int = 0
    self_skipped: int = 0
    foreign_calls: int = 0
    late: int = 0
    epochs: int = 0
    wakeups: int = 0
    seconds: float = 0.0
    redaction: dict[str, int] = field(default_factory=dict)
    sampling: dict[str, float] = field(default_factory=dict)

    __module__ = "tapio_fast"

    def differences(self) -> dict[str, int]:
        """Return the identities that do not hold: equation -> difference. Empty at rest; bounded by records in flight while running."""
        t = self.ledger
        raw, user = self.branches.get("raw", {}), self.branches.get("user", {})
        sums = {
            "seen": t["seen"] - t["submitted"] - sum(t[c] for c in schema.KERNEL_CAUSES),
            "submitted": t["submitted"] - t["consumed"] - t["in_ring"],
            "consumed": t["consumed"] - t["u_bad"] - t["u_filtered"] - t["u_sampled"] - t["routed"],
        }
        if raw:
            sums["raw.routed"] = raw["routed"] - sum(v for k, v in raw.items() if k in ("buffered", "written") or k.startswith("dropped_"))
        if user:
            sums["user.routed"] = user["routed"] - user["handed"] - user["queued"] - user["overflow"]
        return {name: n for name, n in sums.items() if n}

    def to_dict(self) -> dict[str, Any]:
        """Return plain dicts and numbers, as every `--json` prints them."""
        return asdict(self)


@dataclass(frozen=True)
class HealthStatus:
    """How a collector is; `status` is "healthy", "degraded" or "unhealthy"."""

    status: str
    loaded_programs: int
    verification_failures: int
    security_violations: int
    programs: list[dict[str, Any]] = field(default_factory=list)
    not_active: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)

    __module__ = "tapio_fast"

    def to_dict(self) -> dict[str, Any]:
        """Return plain dicts and lists."""
        return asdict(self)


@dataclass(frozen=True)
class DebugInfo:
    """What is loaded and how records flow; more of it with the `debug` configuration."""

    loaded_programs: list[dict[str, Any]]
    active_maps: list[dict[str, Any]]
    event_pipeline: list[dict[str, Any]]

    __module__ = "tapio_fast"

    def to_dict(self) -> dict[str, Any]:
        """Return plain dicts and lists."""
        return asdict(self)


@dataclass(frozen=True)
class Ledger:
    """The raw counters: u8[cpus, kinds, columns] in the order of `schema.LEDGER`."""

    cells: np.ndarray

    def column(self, name: str) -> np.ndarray:
        """Return u8[cpus, kinds] of one column."""
        return self.cells[:, :, schema.LEDGER.index(name)]

    def totals(self, cells: np.ndarray) -> dict[str, int]:
        """Sum a selection of cells to a dict of TOTALS without in_ring."""
        sums = cells.reshape(-1, self.cells.shape[2]).sum(axis=0, dtype=np.uint64)
        return {name: int(sums[i]) for i, name in enumerate(schema.LEDGER) if name is not None}

    def by_kind(self) -> dict[str, dict[str, int]]:
        """Return totals per kind, of kinds that were seen or consumed."""
        out = {}
        for kind in schema.KINDS:
            totals = self.totals(self.cells[:, kind.number])
            if totals["seen"] or totals["consumed"]:
                out[kind.name] = totals
        return out

    def by_cpu(self) -> list[dict[str, int]]:
        """Return totals per CPU."""
        return [self.totals(cpu) for cpu in self.cells]


def ledger_from(raw: tuple[int, int, int, bytes]) -> Ledger:
    """Build a Ledger from what `Pump.ledger()` returns."""
    cpus, kinds, columns, data = raw
    return Ledger(np.frombuffer(data, np.uint64).reshape(cpus, kinds, columns))
