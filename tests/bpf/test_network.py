# SPDX-License-Identifier: Apache-2.0
"""TCP over IPv4 and IPv6 between processes of the test's own network namespace: tuples, bytes, times and owners, for every way to end.

The truth is what the two processes of each connection say of their sockets (getsockname, getpeername, bytes, clock) and of themselves.
"""
from __future__ import annotations

import ipaddress
import os
from typing import Any, NamedTuple

import live_support as live
import numpy as np
import pytest

import tapio_fast as tapio
from tapio_fast import KernelFilter, RecordBatch, Statistics

pytestmark = [pytest.mark.root, pytest.mark.live]

HZ = os.sysconf("SC_CLK_TCK")
NO_OWNER, CGROUP_V1, LISTENER_OWNER = 1 << 4, 1 << 6, 1 << 8
EGRESS, INGRESS = 1, 2
ESTABLISHED, SYN_SENT, SYN_RECV, CLOSE = 1, 2, 3, 7
HOSTS = ["127.0.0.1", "::1", "::ffff:127.0.0.1"]
HOWS = ["client", "server", "half", "rst", "thread", "fork"]
SENDS, ANSWERS = 12_345, 234_567
TALKS = [(host, how, None) for host in HOSTS for how in HOWS] + [(host, how, 0) for host in HOSTS[:2] for how in ("client", "abandon")]


class Run(NamedTuple):
    helper: dict[str, Any]
    talks: dict[tuple[str, str, int | None], dict[str, Any]]
    refused: dict[str, dict[str, Any]]
    batch: RecordBatch
    stats: Statistics


@pytest.fixture(scope="module")
def run() -> Run:
    """One collection of every kind of connection."""
    rule = KernelFilter(kinds=[f"network.{kind}" for kind in ("connect", "accept", "close")])
    with live.Helper("sockets.py") as helper, live.watching(helper, netns=helper.facts["netns"], filter=rule) as collector:
        talks = {}
        for host, how, cpu in TALKS:
            sends, answers = (100_000, 0) if how == "abandon" else (SENDS, ANSWERS)
            talks[host, how, cpu] = helper.call("talk", host=host, how=how, sends=sends, answers=answers, cpu=cpu)
        refused = {host: helper.call("refused", host=host) for host in HOSTS[:2]}
        closes = sum(2 for _ in TALKS)
        found = live.read_until(collector, lambda got: sum(len(live.of_kind(b, "network.close")[0]) for b in got) >= closes)
        batch = live.together([*found, *live.drain(collector)])
        stats = live.adds_up(collector)
    return Run(helper.facts, talks, refused, batch, stats)


def packed(address: str) -> bytes:
    """An address as records carry it."""
    ip = ipaddress.ip_address(address)
    return ip.packed if ip.version == 6 else b"\0" * 10 + b"\xff\xff" + ip.packed


def one(run: Run, kind: str, sock: list[Any], peer: list[Any]) -> Any:
    """The only record of a kind with this pair of ends."""
    rows, _ = live.of_kind(run.batch, f"network.{kind}")
    mine = (rows["source_port"] == sock[1]) & (rows["dest_port"] == peer[1])
    mine &= (rows["source_ip"] == np.frombuffer(packed(sock[0]), np.uint8)).all(axis=1)
    mine &= (rows["dest_ip"] == np.frombuffer(packed(peer[0]), np.uint8)).all(axis=1)
    assert mine.sum() == 1, f"{kind} {sock} {peer}: {mine.sum()} records"
    return rows[mine][0]


def owned_by(row: Any, who: dict[str, Any], **also: Any) -> None:
    """Assert the subject of a record; `also` replaces fields."""
    cgroup, v1 = live.cgroup_of()       # the helper was never moved
    expected = {"pid": who["pid"], "tid": who["tid"], "ppid": who["ppid"], "uid": who["uid"], "gid": who["gid"],
                "comm": who["comm"].encode(), "cgroup_id": cgroup, "flags": CGROUP_V1 if v1 else 0, **also}
    expected["flags"] |= live.WEAK_SEQ
    assert {name: row[name] for name in expected} == expected
    assert row["start_ns"] // (1_000_000_000 // HZ) == who["ticks"]


def wire(run: Run, row: Any, host: str, direction: int) -> None:
    """Assert what is the same in every record of a connection."""
    family = 10 if ipaddress.ip_address(host).version == 6 and not host.startswith("::ffff:") else 2
    expected = {"family": family, "protocol": 6, "direction": direction, "netns": run.helper["netns"], "weight": 1.0, "reason": 0,
                "dns_type": 0, "dns_rcode": 0}
    assert {name: row[name] for name in expected} == expected
    assert row["name"]["full_len"] == 0


@pytest.mark.parametrize(("host", "how", "cpu"), TALKS)
def test_connect(run: Run, host: str, how: str, cpu: int | None) -> None:
    talk = run.talks[host, how, cpu]
    client = talk["client"]
    row = one(run, "connect", client["sock"], client["peer"])
    wire(run, row, host, EGRESS)
    owned_by(row, client, tid=client.get("connect_tid", client["tid"]))
    assert (row["state"], row["old_state"], row["errno"]) == (ESTABLISHED, SYN_SENT, 0)
    assert (row["bytes_sent"], row["bytes_received"]) == (0, 0)
    assert client["before"] <= row["ts_ns"] <= client["connected"]
    assert 0 < row["duration_ns"] <= row["ts_ns"] - client["before"]
    if cpu is not None:
        assert row["cpu"] == cpu


@pytest.mark.parametrize(("host", "how", "cpu"), TALKS)
def test_accept(run: Run, host: str, how: str, cpu: int | None) -> None:
    """Made in the client's context, where the handshake's last packet is sent: the subject must be the server all the same."""
    talk = run.talks[host, how, cpu]
    server = talk["server"]
    row = one(run, "accept", server["sock"], server["peer"])
    wire(run, row, host, INGRESS)
    owned_by(row, server, flags=LISTENER_OWNER | (CGROUP_V1 if live.cgroup_of()[1] else 0))
    assert (row["state"], row["old_state"], row["errno"]) == (ESTABLISHED, SYN_RECV, 0)
    assert (row["bytes_sent"], row["bytes_received"]) == (0, 0)
    assert talk["client"]["before"] <= row["ts_ns"] <= server["accepted"]


@pytest.mark.parametrize(("host", "how", "cpu"), TALKS)
def test_close_of_the_connecting_end(run: Run, host: str, how: str, cpu: int | None) -> None:
    talk = run.talks[host, how, cpu]
    client, server = talk["client"], talk["server"]
    row = one(run, "close", client["sock"], client["peer"])
    wire(run, row, host, EGRESS)
    owned_by(row, client)
    assert row["state"] == CLOSE
    assert row["bytes_sent"] == client["sent"] == server["got"]
    assert row["bytes_received"] == client["got"]
    assert 0 < row["srtt_us"] * 1000 <= row["ts_ns"] - client["before"]
    if how == "rst":            # nothing is acknowledged after it: the kernel's own figures of that moment
        assert (row["srtt_us"], row["retransmits"]) == (client["rtt"], client["resent"])
    assert row["duration_ns"] <= row["ts_ns"] - client["before"]
    if how != "half":           # there both directions are shut before close()
        assert row["duration_ns"] >= client["closing"] - client["connected"]
    assert row["ts_ns"] >= (client["closing"] if how in ("client", "rst") else client["before"])
    assert row["errno"] == 0
    if how == "abandon":        # it ended when the server had read it all: long after its process
        assert row["ts_ns"] > client["gone"]


@pytest.mark.parametrize(("host", "how", "cpu"), TALKS)
def test_close_of_the_accepting_end(run: Run, host: str, how: str, cpu: int | None) -> None:
    talk = run.talks[host, how, cpu]
    client, server = talk["client"], talk["server"]
    row = one(run, "close", server["sock"], server["peer"])
    wire(run, row, host, INGRESS)
    assert row["state"] == CLOSE
    if how == "rst":            # ended by the client's reset, before the server closed: nobody but the listener is known
        assert row["errno"] == 104
        owned_by(row, server, flags=LISTENER_OWNER | (CGROUP_V1 if live.cgroup_of()[1] else 0))
    else:
        owned_by(row, server.get("worker", server))
        assert row["errno"] == 0
    assert row["bytes_received"] == client["sent"]
    assert row["bytes_sent"] == server["sent"]
    assert row["duration_ns"] <= row["ts_ns"] - client["before"]
    assert row["duration_ns"] >= server.get("worker", server)["closing"] - server["accepted"] or how == "rst"


@pytest.mark.parametrize("host", HOSTS[:2])
def test_refused(run: Run, host: str) -> None:
    fact = run.refused[host]
    assert fact["errno"] == 111
    row = one(run, "connect", fact["sock"], fact["peer"])
    wire(run, row, host, EGRESS)
    owned_by(row, fact)
    assert (row["state"], row["old_state"], row["errno"]) == (CLOSE, SYN_SENT, 111)
    assert fact["before"] <= row["ts_ns"] <= fact["after"]
    assert 0 < row["duration_ns"] <= fact["after"] - fact["before"]
    rows = run.batch["network"]
    severity = run.batch.severity("network")
    assert (severity[rows["errno"] != 0] == 3).all() and (severity[rows["errno"] == 0] == 2).all()


def test_each_connection_has_one_cookie_an_end_and_nothing_is_invented(run: Run) -> None:
    rows = run.batch["network"]
    assert set(rows["netns"].tolist()) == {run.helper["netns"]}
    kinds = [len(live.of_kind(run.batch, f"network.{k}")[0]) for k in ("connect", "accept", "close")]
    assert kinds == [len(TALKS) + 2, len(TALKS), 2 * len(TALKS)]
    for talk in run.talks.values():
        for first, end in (("connect", talk["client"]), ("accept", talk["server"])):
            opened, closed = one(run, first, end["sock"], end["peer"]), one(run, "close", end["sock"], end["peer"])
            assert opened["cookie"] == closed["cookie"] != 0
            assert opened["ts_ns"] < closed["ts_ns"]
    assert run.stats.events_dropped == 0
    assert not (rows["flags"] & NO_OWNER).any()


def test_connection_older_than_the_collector_gets_its_owner_at_close() -> None:
    """Without a snapshot nobody knows whose it is, until a process closes it."""
    with live.Helper("sockets.py") as helper:
        kept = helper.call("keep_open", host="::1")
        with live.watching(helper, netns=helper.facts["netns"]) as collector:
            helper.call("close_kept")
            batch = live.everything(collector)
            stats = live.adds_up(collector)
    rows, _ = live.of_kind(batch, "network.close")
    pairs = {(kept[end]["sock"][1], kept[end]["peer"][1]) for end in ("client", "server")}
    assert {(int(r["source_port"]), int(r["dest_port"])) for r in rows} == pairs
    assert rows["pid"].tolist() == [helper.pid] * 2
    assert sorted(rows["bytes_sent"].tolist()) == sorted(rows["bytes_received"].tolist()) == [0, 1000]
    assert (rows["duration_ns"] == 0).all()         # its beginning was not seen
    assert stats.by_kind["network.close"]["seen"] == 2


@pytest.mark.parametrize("followed", [False, True])
def test_a_socket_without_room_for_an_owner_is_counted(followed: bool) -> None:
    """Its records are nobody's, and a filter may refuse them: that somebody connected and listened is told all the same."""
    kinds = ["network.connect", "network.listen"]
    config = tapio.Config.default().replace(programs={"network": {"events": ["connect", "listen"]}})
    with live.Helper("sockets_full.py") as helper:
        rule = KernelFilter(kinds=kinds, descendants_of=[helper.pid] if followed else None)
        with live.watching(helper, config=config, netns=helper.facts["netns"], filter=rule) as collector:
            fact = helper.call("no_room")
            batch = live.everything(collector)
            stats = live.adds_up(collector)
    if fact["refused"] != [12, 12]:
        pytest.skip(f"this kernel has no TCP_MD5SIG (errno {fact['refused']})")
    for kind in kinds:
        cells = stats.by_kind[kind]
        assert (cells["seen"], cells["k_map_full"], cells["k_filtered"]) == (2, 1, int(followed))
        rows, _ = live.of_kind(batch, kind)
        assert [(int(row["pid"]), bool(row["flags"] & NO_OWNER)) for row in rows] == [(0, True)] * (not followed)
