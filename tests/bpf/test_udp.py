# SPDX-License-Identifier: Apache-2.0
"""UDP: whose each operation is and whom it went to, where sockets are shared or send elsewhere; what a filter and a sampler make of flows.

The truth is what the helper's processes did: sizes and peers of their own choice.
"""
from __future__ import annotations

import pytest
from test_network_events import watch

from tapio_fast import KernelFilter

pytestmark = [pytest.mark.root, pytest.mark.live]


def test_a_filter_that_names_flows_gets_them() -> None:
    """They are made of sends and receives, which the filter does not name."""
    seen = watch(["flow"], "udp_many", rule=KernelFilter(kinds=["network.flow"]), sockets=3, sizes=[100, 7])
    rows = seen.rows("flow")
    assert rows["bytes_sent"].tolist() == rows["bytes_received"].tolist() == [107] * 3
    assert seen.cells("send")["k_aggregated"] == seen.cells("recv")["k_aggregated"] == 6
