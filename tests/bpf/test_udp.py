# SPDX-License-Identifier: Apache-2.0
"""UDP: whose each operation is and whom it went to, where sockets are shared or send elsewhere; what a filter and a sampler make of flows.

The truth is what the helper's processes did: sizes and peers of their own choice.
"""
from __future__ import annotations

from collections import Counter

import live_support as live
import pytest
from test_network import EGRESS, packed
from test_network_events import HOSTS, config, ends, fields, watch
from test_sampling import check

from tapio_fast import KernelFilter

pytestmark = [pytest.mark.root, pytest.mark.live]

TIMES = 20_000


@pytest.mark.parametrize("host", HOSTS)
def test_processes_that_share_a_socket(host: str) -> None:
    """Each send is told of who made it, with the peer that it named; what is added up stays complete."""
    settings = config({"ring_buffer_size_mb": 64}, events=["flow", "send"], aggregate=False)
    seen = watch(["flow", "send"], "udp_share", settings=settings, host=host, times=TIMES)
    rows = seen.rows("send")
    told = Counter(zip(rows["pid"].tolist(), rows["bytes_sent"].tolist(), rows["dest_port"].tolist(), strict=True))
    assert told == {(one["pid"], one["size"], one["peer"][1]): TIMES for one in seen.fact["children"]}
    for one in seen.fact["children"]:
        mine = rows[rows["pid"] == one["pid"]]
        assert set(mine["comm"].tolist()) == {one["comm"].encode()} and set(mine["tid"].tolist()) == {one["tid"]}
        assert {bytes(ip) for ip in mine["dest_ip"]} == {packed(host)}
    assert seen.rows("flow")["bytes_sent"].sum() == TIMES * sum(one["size"] for one in seen.fact["children"])


@pytest.mark.parametrize("host", HOSTS)
def test_a_connected_socket_that_sends_elsewhere(host: str) -> None:
    """Nothing is told as gone to the connected peer that was sent to another one, nor the other way round after a send that failed."""
    seen = watch(["flow", "send"], "udp_elsewhere", settings=config(events=["flow", "send"], aggregate=False), host=host)
    fact = seen.fact
    assert fact["errno"]
    rows = seen.rows("send")
    assert rows["bytes_sent"].tolist() == [size for size, _ in fact["sent"]]
    for row, (size, whom) in zip(rows, fact["sent"], strict=True):
        ends(row, fact["sock"], fact[whom])
        fields(row, protocol=17, direction=EGRESS, bytes_sent=size)
    flows = seen.rows("flow")
    assert list(zip(flows["bytes_sent"].tolist(), flows["dest_port"].tolist(), strict=True)) == [
        (10, fact["good"][1]), (20, fact["other"][1]), (70, fact["good"][1])]


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


def test_raw_sockets_are_not_udp_or_tcp() -> None:
    """Whatever the number of their protocol."""
    seen = watch(["send", "recv", "flow", "bind"], "udp_raw")
    assert len(seen.batch["network"]) == 0
    assert all(not cells["seen"] for kind, cells in seen.stats.by_kind.items() if kind.startswith("network."))
