# SPDX-License-Identifier: Apache-2.0
"""estimate() over what the kernel's own sampler kept: 4,096 processes that each send as many records, and what is said of each."""
from __future__ import annotations

import live_support as live
import numpy as np
import pytest

import tapio_fast as tapio

pytestmark = [pytest.mark.root, pytest.mark.live]

PROCESSES = 4096        # that the generator makes up, in turn
EACH = 512


def test_intervals_hold_the_truth_when_the_kernel_draws() -> None:
    """95 % of 4,096 is 3,891; the rate is lowered on the way, so every process has records of both weights."""
    source = live.Generator(count=PROCESSES * EACH, rate=1_000_000, cpus=[0])
    with tapio.Collector(live.roomy(), source=source) as collector:
        collector.fileno()
        source.set_rate("cpu.usage", 0.5)
        source.go()
        batches = live.read_until(collector, lambda got: sum(len(b["cpu"]) for b in got) > PROCESSES * EACH // 8)
        source.set_rate("cpu.usage", 0.25)
        batches += live.read_until(collector, lambda _: source.wait(0), 60) + live.drain(collector)
        stats = live.adds_up(collector)
    assert stats.by_kind["cpu.usage"]["seen"] == PROCESSES * EACH
    assert len(np.unique(np.concatenate([b["cpu"]["weight"] for b in batches]))) == 2
    table = tapio.estimate(batches, "cpu", by=["pid"], keyed=False)
    assert len(table) == PROCESSES and table["n"].sum() == stats.by_kind["cpu.usage"]["routed"]
    held = ((table["ci_low"] <= EACH) & (EACH <= table["ci_high"])).mean()
    assert 0.93 <= held <= 0.97
    spread = table["estimate"].std() / PROCESSES**0.5
    assert abs(table["estimate"].mean() - EACH) < 4 * spread
    whole = tapio.estimate(batches, "cpu", keyed=False)
    assert abs(whole["estimate"][0] - PROCESSES * EACH) < 4 * whole["std_error"][0]
    assert whole["reliable"].tolist() == [True] and whole["unobserved"].tolist() == [0]
