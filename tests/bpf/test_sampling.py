# SPDX-License-Identifier: Apache-2.0
"""programs.X.sampling_rate: the share is kept in the kernel, critical kinds too, with its weight, and the ledger has the rest."""
from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import live_support as live
import numpy as np
import pytest

import tapio_fast as tapio
from tapio_fast.enabled import enabled_kinds, sampling_rates

pytestmark = [pytest.mark.root, pytest.mark.live]

SIGMAS = 5


def check(rows: np.ndarray, cells: dict[str, int], seen: int, rate: float) -> None:
    """A binomial's share with weight 1/p; what is missing is k_sampled."""
    assert cells["seen"] == seen == cells["submitted"] + cells["k_sampled"]
    assert len(rows) == cells["submitted"]
    assert abs(len(rows) - seen * rate) <= SIGMAS * math.sqrt(seen * rate * (1 - rate))
    assert np.allclose(rows["weight"], 1 / rate)


@pytest.mark.parametrize(("section", "kind", "rate"), [("process", "cpu.usage", 0.1), ("process", "cpu.load", 0.3),
                                                      ("network", "network.connect", 0.05), ("process", "process.exec", 0.5)])
def test_share_of_a_section(tier_size: Callable[[Any, Any], Any], section: str, kind: str, rate: float) -> None:
    """With the generator's kinds; network keeps whole what process thins out, and the other way round."""
    other = "process.exec" if section == "network" else "network.connect"
    config = live.roomy(programs={section: {"sampling_rate": rate}})
    source = live.Generator(count=tier_size(200_000, 2_000_000), rate=500_000, kinds=(kind, other))
    with tapio.Collector(config, source=source) as collector:
        collector.fileno()
        source.go()
        batches = live.read_until(collector, lambda _: source.wait(0), 60) + live.drain(collector)
        stats = live.adds_up(collector)
    batch = tapio.RecordBatch.concat(batches)
    tried = {name: sum(n for (_, k), n in source.tried.items() if k == name) for name in (kind, other)}
    check(live.of_kind(batch, kind)[0], stats.by_kind[kind], tried[kind], rate)
    whole = stats.by_kind[other]
    assert whole["seen"] == whole["submitted"] == tried[other] > 0
    assert (live.of_kind(batch, other)[0]["weight"] == 1).all()


def test_share_of_real_processes(tier_size: Callable[[Any, Any], Any]) -> None:
    """Critical kinds: whoever sets the rate of [programs.process] has said so."""
    rate, n = 0.25, tier_size(1000, 10_000)
    config = tapio.Config.default().replace(programs={"process": {"sampling_rate": rate, "events": ["fork", "exit", "rename"]}})
    with live.Helper("processes.py") as helper, live.watching(helper, config=config) as collector:
        helper.call("forks_only", n=n, timeout=120)
        helper.call("rename_often", n=n)
        batch = live.everything(collector)
        stats = live.adds_up(collector)
    for kind in ("process.fork", "process.exit", "process.rename"):
        check(live.of_kind(batch, kind)[0], {**stats.by_kind[kind],
                                             "seen": stats.by_kind[kind]["seen"] - stats.by_kind[kind]["k_filtered"]}, n, rate)


def test_a_rate_of_one_keeps_all(triggers: Path) -> None:
    config = tapio.Config.default().replace(programs={"process": {"sampling_rate": 1.0}})
    with live.Helper("processes.py") as helper, live.watching(helper, config=config) as collector:
        helper.call("forks_only", n=200)
        rows, _ = live.of_kind(live.everything(collector), "process.fork")
        stats = live.adds_up(collector)
    assert len(rows) == 200 and (rows["weight"] == 1).all() and stats.ledger["k_sampled"] == 0


def test_kinds_of_each_section() -> None:
    """file has no program in this test; its kinds get the rate all the same."""
    config = tapio.Config.default().replace(programs={
        "process": {"sampling_rate": 0.5, "track_usage": True, "monitor_syscalls": ["getppid"]}, "network": {"sampling_rate": 0.25},
        "file": {"enabled": True, "sampling_rate": 0.125}, "security": {"enabled": True}})
    everything = enabled_kinds(config)
    added_up = {"file.read", "file.write", "network.send", "network.recv"}
    assert added_up < everything
    kinds = everything - added_up       # what only feeds a sum is not thinned
    rates = sampling_rates(config, everything)
    wanted = {"process": 0.5, "cpu": 0.5, "syscall": 0.5, "network": 0.25, "file": 0.125}
    assert rates == {kind: wanted[kind.split(".")[0]] for kind in kinds if kind.split(".")[0] in wanted}
    assert {kind.split(".")[0] for kind in rates} == set(wanted)
    assert {kind.split(".")[0] for kind in kinds - set(rates)} == {"security", "memory"}
    single = config.replace(programs={"network": {"aggregate": False}, "file": {"aggregate": False}})
    assert set(sampling_rates(single, everything)) == set(rates) | added_up
