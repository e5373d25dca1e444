# SPDX-License-Identifier: Apache-2.0
"""How Statistics, HealthStatus and DebugInfo are made from the engine's counters. Relies on `stats`, `schema`, `config`."""
from __future__ import annotations

from typing import Any

from tapio_fast import _redaction, schema
from tapio_fast.config import Config, not_active
from tapio_fast.stats import LOSSES, DebugInfo, HealthStatus, Statistics, ledger_from

_MIB = 1 << 20
# (pump.stats(), pump.ledger(), pool.stats(), programs)
Parts = tuple[dict[str, Any], tuple[int, int, int, bytes], dict[str, int], list[dict[str, Any]]]


def ring_bytes(config: Config) -> int:
    """Bytes of both lanes' rings: the bulk lane and an eighth of it."""
    return config.performance.ring_buffer_size_mb * _MIB * 9 // 8


def _branches(pump: dict[str, Any]) -> dict[str, dict[str, int]]:
    raw, user = pump["raw"], pump["user"]
    branches: dict[str, dict[str, int]] = {"raw": {}, "user": {}, "semantic": {}, "outputs": {}}
    if raw["routed"] or raw["status"] or raw["cpu_ns"]:
        branches["raw"] = {k: raw[k] for k in ("routed", "buffered", "written", "dropped_full", "dropped_io", "dropped_enospc",
                                               "dropped_memory", "bytes")}
    if user["routed"]:
        branches["user"] = {k: user[k] for k in ("routed", "handed", "queued", "overflow")}
    return branches


def _sampling(pump: dict[str, Any]) -> dict[str, float]:
    return {"share": pump["keep_ppm"] / 1e6, "rate_changes": pump["rate_changes"]}


def statistics(parts: Parts, config: Config, seconds: float) -> Statistics:
    """Return Statistics; seconds is the time since start, for cpu_percent."""
    pump, raw_ledger, pool, programs = parts
    ledger = ledger_from(raw_ledger)
    totals = ledger.totals(ledger.cells)
    totals["in_ring"] = pump["in_ring"]
    memory = ring_bytes(config) + pool["in_use"] + pool["detached"] + pool["idle"] + len(raw_ledger[3]) + pump["redact"]["bytes"]
    return Statistics(
        events_received=totals["consumed"],
        events_dropped=sum(totals[c] for c in LOSSES),
        events_filtered=totals["k_filtered"] + totals["u_filtered"],
        events_sampled=totals["k_sampled"] + totals["u_sampled"],
        ring_buffer_full=totals["k_ring_full"],
        ring_buffer_usage_percent=pump["max_fill_permille"] / 10,
        memory_usage_mb=round(memory / _MIB, 3),
        cpu_percent=round((pump["cpu_ns"] + pump["raw"]["cpu_ns"]) / 1e7 / seconds, 3) if seconds else 0.0,
        ledger=totals, branches=_branches(pump), by_kind=ledger.by_kind(), by_cpu=ledger.by_cpu(),
        recursion_misses=sum(p["recursion_misses"] for p in programs), self_skipped=pump["self_skipped"],
        foreign_calls=pump["foreign_calls"], late=pump["late"], epochs=pump["epochs"],
        wakeups=pump["wakeups"], seconds=round(seconds, 3), redaction=pump["redact"] if pump["redact"]["bytes"] else {}, sampling=_sampling(pump))


def _advice(pump: dict[str, Any], stats: Statistics, config: Config, failed: list[dict[str, Any]]) -> list[str]:
    perf = config.performance
    advice = []
    if stats.ring_buffer_full:
        advice.append(f"{stats.ring_buffer_full} records found their ring full: raise performance.ring_buffer_size_mb "
                      f"(now {perf.ring_buffer_size_mb}) or disable what you do not need")
    if pump["no_memory"]:
        advice.append(f"{pump['no_memory']} drain passes waited for memory: read faster, raise performance.batch_pool_mb (now "
                      f"{perf.batch_pool_mb}) or let batches go")
    if stats.branches["user"].get("overflow"):
        advice.append(f"{stats.branches['user']['overflow']} records were dropped because the consumer was slow "
                      f"(performance.overflow_policy={perf.overflow_policy})")
    raw = stats.branches["raw"]
    lost = sum(v for k, v in raw.items() if k.startswith("dropped_"))
    if lost:
        advice.append(f"{lost} records did not reach the raw store (errno {-pump['raw']['status']}): check the disk of "
                      f"{config.dual_path.raw_storage_path}")
    adaptive = perf.adaptive_sampling or config.filtering.adaptive_sampling.enabled
    if stats.seconds > 1 and stats.events_received / stats.seconds > perf.event_rate_limit:
        advice.append(f"{stats.events_received / stats.seconds:.0f} records/s is above performance.event_rate_limit "
                      f"({perf.event_rate_limit}); " + (
            "adaptive sampling thins out what it may" if adaptive else "nothing is dropped for it"))
    if not config.dual_path.redact:
        advice.append(_redaction.OFF)
    if pump["forgotten"]:
        advice.append(f"{pump['forgotten']} records were drawn by a process or connection that is older than the last 63 changes of its rate: "
                      "their fate may have changed; raise performance.sampling_interval")
    if pump["step_errno"]:
        advice.append(f"the snapshot of living processes and sockets ended early (errno {pump['step_errno']})")
    advice += [f"{p['name']} ({p['hook']}) is not active: {p['reason']}" for p in failed]
    return advice


def health_status(parts: Parts, config: Config, state: str, stats: Statistics, violations: list[str]) -> HealthStatus:
    """Return HealthStatus: unhealthy when nothing is collected any more, degraded when part is missing, lost or tampered with."""
    pump, _, _, programs = parts
    loaded = [p for p in programs if p["state"] in ("attached", "loaded")]
    served = {p["hook"] for p in loaded}     # a variant for other kernels is not missed where its sibling runs
    failed = [p for p in programs if not p["more"] and not p["replaced"] and (
        p["state"] in ("load_failed", "attach_failed") or (p["state"] == "missing_hook" and p["hook"] not in served))]
    advice = violations + _advice(pump, stats, config, failed)
    differences = stats.differences() if state in ("stopped", "closed") else {}
    if differences:
        advice.append(f"the ledger does not add up: {differences}; please report this with the output of stats()")
    dead = pump["source_status"] < 0 or (programs and not any(p["state"] == "attached" for p in programs))
    degraded = violations or failed or stats.events_dropped or differences or pump["raw"]["status"] or pump["step_errno"]
    return HealthStatus(
        status="unhealthy" if dead or state.startswith("failed") else "degraded" if degraded else "healthy",
        loaded_programs=len(loaded), verification_failures=sum(p["state"] == "load_failed" and not p.get("more") for p in programs),
        security_violations=len(violations), programs=[{k: p[k] for k in ("name", "hook", "state", "reason")} for p in programs],
        not_active=not_active(config), advice=advice)


def debug_info(parts: Parts, config: Config, maps: list[dict[str, Any]], source: str) -> DebugInfo:
    """Return DebugInfo; the debug section of the configuration says how much of it."""
    pump, raw_ledger, pool, programs = parts
    debug = config.debug
    names = ["name", "hook", "object", "state", "id"]
    if debug.enabled and debug.dump_programs:
        names += ["insns", "errno", "reason", "recursion_misses"]
    if debug.enabled and debug.profile_enabled:
        names += ["run_ns", "run_count"]
    active = maps
    if debug.enabled and debug.dump_maps:
        cells = ledger_from(raw_ledger)
        rows = [{"kind": k.name, "cpu": cpu, **{n: v for n, v in cells.totals(cells.cells[cpu, k.number]).items() if v}}
                for k in schema.KINDS for cpu in range(raw_ledger[0]) if cells.cells[cpu, k.number].any()]
        active = [{**m, "cells": rows} if m["name"] == "tf_ledger" else m for m in maps]
    pipeline = [
        {"stage": "source", "name": source, "status": pump["source_status"]},
        {"stage": "pump", "epochs": pump["epochs"], "passes": pump["passes"], "wakeups": pump["wakeups"], "cpu_ns": pump["cpu_ns"],
         "no_memory": pump["no_memory"], "late": pump["late"], "bad": pump["bad"], "discarded": pump["discarded"]},
        {"stage": "redaction", **pump["redact"]},
        {"stage": "sampling", **_sampling(pump)},
        {"stage": "pool", **pool},
        {"stage": "raw", **pump["raw"]},
        {"stage": "user", **pump["user"]},
    ]
    return DebugInfo([{n: p[n] for n in names} for p in programs], active, pipeline)
