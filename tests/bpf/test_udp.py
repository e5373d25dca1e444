# SPDX-License-Identifier: Apache-2.0
"""UDP: whose each operation is and whom it went to, where sockets are shared or send elsewhere; what a filter and a sampler make of flows.

The truth is what the helper's processes did: sizes and peers of their own choice.
"""
from __future__ import annotations

import live_support as live
import pytest
from test_network_events import config, watch
from test_sampling import check

from tapio_fast import KernelFilter

pytestmark = [pytest.mark.root, pytest.mark.live]


def test_a_filter_that_names_flows_gets_them() -> None:
    """They are made of sends and receives, which the filter does not name."""
    seen = watch(["flow"], "udp_many", rule=KernelFilter(kinds=["network.flow"]), sockets=3, sizes=[100, 7])
    rows = seen.rows("flow")
    assert rows["bytes_sent"].tolist() == rows["bytes_received"].tolist() == [107] * 3
    assert seen.cells("send")["k_aggregated"] == seen.cells("recv")["k_aggregated"] == 6


def test_a_share_of_flows_is_of_whole_ones() -> None:
    """The rate thins the rows, not what each adds up: kept sums times weight then come to the truth."""
    rate, n, sizes = 0.5, 200, [100, 7, 3000]
    settings = config(events=["flow"], sampling_rate=rate)
    with live.Helper("datagrams.py") as helper, live.watching(helper, config=settings, netns=helper.facts["netns"]) as collector:
        helper.call("udp_many", sockets=n, sizes=sizes)
        batch = live.everything(collector)
        stats = live.adds_up(collector)
    rows, _ = live.of_kind(batch, "network.flow")
    check(rows, stats.by_kind["network.flow"], n, rate)
    assert set(rows["bytes_sent"].tolist()) == set(rows["bytes_received"].tolist()) == {sum(sizes)}
    for kind in ("network.send", "network.recv"):
        cells = stats.by_kind[kind]
        assert cells["seen"] - cells["k_filtered"] == cells["k_aggregated"] == n * len(sizes)
