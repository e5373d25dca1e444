# SPDX-License-Identifier: Apache-2.0
"""What else happens to sockets: states, listen, bind, lost and dropped segments, resets, errors, round trips, UDP flows; and the keys that
switch them off.

The truth is what the helper's own sockets say (getsockname, TCP_INFO, errno, sizes) and the names in the kernel's BTF.
"""
from __future__ import annotations

import functools
import struct
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import live_support as live
import numpy as np
import pytest
from test_network import CGROUP_V1, CLOSE, EGRESS, ESTABLISHED, INGRESS, LISTENER_OWNER, NO_OWNER, SYN_SENT, owned_by, packed

import tapio_fast as tapio
from tapio_fast import KernelFilter, schema
from tapio_fast.enabled import event_names

pytestmark = [pytest.mark.root, pytest.mark.live]

USER_CLAIMED = 1 << 1
LISTEN, CLOSE_WAIT, LAST_ACK, FIN_WAIT1, FIN_WAIT2, SYN_RECV = 10, 8, 9, 4, 5, 3
V1 = CGROUP_V1 if live.cgroup_of()[1] else 0
HOSTS = ["127.0.0.1", "::1"]
NETWORK = KernelFilter(kinds=[name for name in schema.KIND_BY_NAME if name.startswith("network.")])
ECONNREFUSED, ECONNRESET, EADDRINUSE, EADDRNOTAVAIL = 111, 104, 98, 99


@functools.cache
def reasons(enum: str) -> dict[str, int]:
    """Values of an enumeration of the running kernel, from its BTF."""
    data = Path("/sys/kernel/btf/vmlinux").read_bytes()
    _, _, _, head, types, size, strings, _ = struct.unpack_from("<HBBIIIII", data)
    at, end, text = head + types, head + types + size, head + strings

    def string(offset: int) -> str:
        return data[text + offset:data.index(b"\0", text + offset)].decode()

    extra = {1: 4, 3: 12, 14: 4, 17: 4}
    per = {4: 12, 5: 12, 6: 8, 13: 8, 15: 12, 19: 12}
    while at < end:
        name, info, _ = struct.unpack_from("<III", data, at)
        kind, n = info >> 24 & 31, info & 0xFFFF
        at += 12
        if kind == 6 and string(name) == enum:
            return {string(one): value for one, value in struct.iter_unpack("<Ii", data[at:at + 8 * n])}
        at += extra.get(kind, 0) + per.get(kind, 0) * n
    return {}


def config(performance: dict[str, Any] | None = None, **network: Any) -> tapio.Config:
    """The network domain alone."""
    off = {"enabled": False}
    return tapio.Config.default().replace(programs={"network": network, "process": off, "memory": off}, performance=performance or {})


class Seen(NamedTuple):
    """A collection of one call."""

    fact: Any
    me: dict[str, Any]
    batch: tapio.RecordBatch
    stats: tapio.Statistics
    attached: set[str]

    def rows(self, kind: str) -> np.ndarray:
        """Rows of a kind, in order of time."""
        rows = live.of_kind(self.batch, f"network.{kind}")[0]
        assert (rows["netns"] == self.me["netns"]).all() and (rows["weight"] == 1).all()
        return rows[np.argsort(rows["ts_ns"], kind="stable")]

    def cells(self, kind: str) -> dict[str, int]:
        """The ledger of a kind."""
        return self.stats.by_kind[f"network.{kind}"]


def watch(events: list[str], call: str, settings: tapio.Config | None = None, rule: KernelFilter = NETWORK, **arguments: Any) -> Seen:
    """Collect one call of a helper. (That nothing else appears is tested with all events on.)"""
    script = "datagrams.py" if call.startswith("udp") else "sockets.py"
    with live.Helper(script) as helper, live.watching(helper, config=settings or config(events=events), filter=rule,
                                                      netns=helper.facts["netns"]) as collector:
        fact = helper.call(call, **arguments)
        attached = {p["name"] for p in collector.health().programs if p["state"] == "attached"}
        batch = live.everything(collector)
        seen = Seen(fact, {**helper.facts, "tid": helper.pid}, batch, live.adds_up(collector), attached)
    wanted = {schema.KIND_BY_NAME[f"network.{name}"].subtype for name in events}
    assert set(batch["network"]["subtype"].tolist()) <= wanted
    return seen


def ends(row: Any, sock: list[Any], peer: list[Any]) -> None:
    """Assert both ends of a row."""
    assert (bytes(row["source_ip"]), row["source_port"]) == (packed(sock[0]), sock[1])
    assert (bytes(row["dest_ip"]), row["dest_port"]) == (packed(peer[0]), peer[1])
    assert row["family"] == (10 if ":" in sock[0] else 2)


def fields(row: Any, **expected: Any) -> None:
    """Assert fields of a row; those not named must be zero."""
    names = ("duration_ns", "bytes_sent", "bytes_received", "srtt_us", "errno", "retransmits", "reason", "dns_type", "dns_rcode", "state",
             "old_state", "direction", "protocol")
    expected = {"protocol": 6, **expected}
    assert {name: row[name] for name in names if expected.get(name) is not any} == {
        name: expected.get(name, 0) for name in names if expected.get(name) is not any}


@pytest.mark.parametrize("host", HOSTS)
def test_every_state_of_a_connection(host: str) -> None:
    seen = watch(["state", "listen"], "life", host=host)
    client, listening = seen.fact["client"], seen.fact["listening"]
    rows = seen.rows("state")
    # by cookie: on 6.1 a new server's ports are not there yet at its first change
    cookies = {who: rows["cookie"][rows["dest_port"] == port] for who, port in (("client", listening[1]), ("server", client["sock"][1]))}
    of = {who: rows[np.isin(rows["cookie"], some)] for who, some in cookies.items()}
    of["listener"] = rows[~np.isin(rows["cookie"], np.concatenate(list(cookies.values())))]
    steps = {who: list(zip(some["old_state"].tolist(), some["state"].tolist(), strict=True)) for who, some in of.items()}
    assert steps["client"] == [(CLOSE, SYN_SENT), (SYN_SENT, ESTABLISHED), (ESTABLISHED, FIN_WAIT1), (FIN_WAIT1, FIN_WAIT2),
                               (FIN_WAIT2, CLOSE)]
    assert steps["server"] == [(LISTEN, SYN_RECV), (SYN_RECV, ESTABLISHED), (ESTABLISHED, CLOSE_WAIT), (CLOSE_WAIT, LAST_ACK),
                               (LAST_ACK, CLOSE)]
    assert steps["listener"] == [(CLOSE, LISTEN), (LISTEN, CLOSE)]
    for who, direction in (("client", EGRESS), ("server", None), ("listener", 0)):
        assert len(set(of[who]["cookie"].tolist())) == 1
        for row in of[who]:
            owned_by(row, seen.me, flags=V1 | (row["flags"] & LISTENER_OWNER))
            fields(row, state=any, old_state=any, direction=any if direction is None else direction)
    for row in of["client"][1:]:        # the port is taken after the first change
        ends(row, client["sock"], client["peer"])
    (listen,) = seen.rows("listen")
    ends(listen, listening, ["::" if ":" in host else "0.0.0.0", 0])
    owned_by(listen, seen.me, flags=V1 | LISTENER_OWNER)
    fields(listen, state=LISTEN, old_state=CLOSE, direction=INGRESS)
    assert listen["cookie"] == of["listener"]["cookie"][0]


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize(("call", "more", "counts"), [
    ("life", {}, {"bind": 1, "listen": 1, "connect": 1, "accept": 1, "close": 2, "state": 12, "rtt": 2}),
    ("refused", {}, {"bind": 2, "listen": 1, "connect": 1, "state": 4, "reset": 2, "drop": 1, "error": 1}),
    ("udp_talk", {"connected": True, "sizes": [7, 9]}, {"bind": 1, "flow": 2}),
    ("udp_refused", {}, {"bind": 1, "flow": 1, "drop": 1, "error": 1}),
])
def test_with_all_events_on_nothing_else_appears(host: str, call: str, more: dict[str, Any], counts: dict[str, int]) -> None:
    """Exact counts of every kind: what a call does not do has no row."""
    names = list(event_names("network"))
    seen = watch(names, call, host=host, **more)
    found = {name: len(seen.rows(name)) for name in names}
    if call == "refused" and "tf_network_send_reset" not in seen.attached:
        counts = counts | {"reset": 1}      # before 6.10 the kernel does not tell of a reset that is nobody's
    if call == "udp_refused":
        found["drop"] = int((seen.rows("drop")["protocol"] == 17).sum())      # the ICMP answer's own fate is not ours
    assert {name: n for name, n in found.items() if n} == counts


@pytest.mark.parametrize("host", HOSTS)
def test_lost_segments_are_drops_and_retransmissions(host: str) -> None:
    """The receiver's socket filter drops what comes: each try of the sender is a drop, each try after the first a retransmission."""
    seen = watch(["drop", "retransmit"], "lose", host=host, sends=1000, times=2)
    again = seen.rows("retransmit")
    assert len(again) == seen.fact["again"] >= 2
    for row in again:
        ends(row, seen.fact["sock"], seen.fact["peer"])
        fields(row, bytes_sent=1000, state=ESTABLISHED, retransmits=any, srtt_us=any, direction=any)
    assert again["retransmits"].tolist() == list(range(1, len(again) + 1)) and (again["srtt_us"] > 0).all()
    drops = seen.rows("drop")
    assert 2 <= len(drops) <= len(again) + 1
    state = ESTABLISHED if "tf_network_drop" in seen.attached else 0       # before 6.11 the kernel does not say whose it was
    for row in drops:
        ends(row, seen.fact["sock"], seen.fact["peer"])     # as in the packet
        length = (40 if ":" in host else 20) + 32 + 1000
        fields(row, bytes_sent=length, state=state, direction=INGRESS, reason=reasons("skb_drop_reason")["SKB_DROP_REASON_SOCKET_FILTER"])
    assert len(seen.batch["network"]) == len(again) + len(drops)


@pytest.mark.parametrize("host", HOSTS)
def test_owners_of_lost_segments(host: str) -> None:
    """With the events that tell owners beside them: the sender's is who connected, the receiver's who listens."""
    seen = watch(["drop", "retransmit", "connect", "listen"], "lose", host=host, sends=10, times=1)
    for row in seen.rows("retransmit"):
        owned_by(row, seen.me)
        assert row["direction"] == EGRESS
    for row in seen.rows("drop"):
        if "tf_network_drop" in seen.attached:
            owned_by(row, seen.me, flags=V1 | LISTENER_OWNER)
        else:
            assert (row["pid"], row["cookie"], row["flags"]) == (0, 0, NO_OWNER)


@pytest.mark.parametrize("host", HOSTS)
def test_reset_of_a_connection(host: str) -> None:
    seen = watch(["reset", "error", "connect", "listen"], "reset", host=host)
    assert seen.fact["read"] == ECONNRESET
    rows = seen.rows("reset")
    sent, = rows[rows["direction"] == EGRESS]
    got, = rows[rows["direction"] == INGRESS]
    ends(sent, seen.fact["sock"], seen.fact["peer"])
    ends(got, seen.fact["peer"], seen.fact["sock"])
    owned_by(sent, seen.me)
    owned_by(got, seen.me, flags=V1 | LISTENER_OWNER)
    known = reasons("sk_rst_reason")        # none before 6.10
    assert sent["reason"] in (known or {"": 0}).values() and (sent["reason"] != 0) == bool(known)
    fields(sent, direction=EGRESS, state=CLOSE, reason=any)
    fields(got, direction=INGRESS, state=ESTABLISHED)
    errors = seen.rows("error")
    told, = errors[errors["dest_port"] == seen.fact["sock"][1]]
    ends(told, seen.fact["peer"], seen.fact["sock"])
    fields(told, errno=ECONNRESET, state=CLOSE, direction=INGRESS)
    owned_by(told, seen.me, flags=V1 | LISTENER_OWNER)


@pytest.mark.parametrize("host", HOSTS)
def test_connection_to_a_closed_port(host: str) -> None:
    seen = watch(["reset", "error", "drop", "connect"], "refused", host=host)
    fact = seen.fact
    rows = seen.rows("reset")
    got, = rows[rows["direction"] == INGRESS]
    answers = rows[rows["direction"] == EGRESS]
    # before 6.10 the kernel does not tell of a reset that is nobody's
    assert len(answers) == ("tf_network_send_reset" in seen.attached)
    for sent in answers:
        ends(sent, fact["peer"], fact["sock"])              # told by the packet it answers
        assert (sent["pid"], sent["cookie"], sent["flags"]) == (0, 0, NO_OWNER)
        fields(sent, direction=EGRESS, state=CLOSE, reason=reasons("sk_rst_reason")["SK_RST_REASON_NO_SOCKET"])
        assert fact["before"] <= sent["ts_ns"] <= got["ts_ns"]
    ends(got, fact["sock"], fact["peer"])
    owned_by(got, fact)
    fields(got, direction=INGRESS, state=SYN_SENT)
    drop, = seen.rows("drop")
    ends(drop, fact["sock"], fact["peer"])
    fields(drop, bytes_sent=80 if ":" in host else 60, direction=INGRESS, reason=reasons("skb_drop_reason")["SKB_DROP_REASON_NO_SOCKET"])
    error, = seen.rows("error")
    ends(error, fact["sock"], fact["peer"])
    owned_by(error, fact)
    fields(error, errno=ECONNREFUSED, state=CLOSE, direction=EGRESS)
    assert fact["before"] <= got["ts_ns"] <= error["ts_ns"] <= fact["after"]


SECOND = 1_000_000_000


@pytest.mark.parametrize("host", HOSTS)
def test_round_trips_one_sample_a_second(host: str) -> None:
    seen = watch(["rtt", "connect", "listen"], "ping_pong", host=host, seconds=2.2)
    rows = seen.rows("rtt")
    late = SECOND + 2 * seen.fact["pause"]      # a packet at most this long after the sample before is a sample itself
    for sock, peer in ((seen.fact["sock"], seen.fact["peer"]), (seen.fact["peer"], seen.fact["sock"])):
        mine = rows[rows["source_port"] == sock[1]]
        gaps = np.diff([seen.fact["first"], *mine["ts_ns"].tolist(), seen.fact["last"]])
        assert (gaps <= late).all() and (gaps[1:-1] >= SECOND).all()
        for row in mine:
            ends(row, sock, peer)
            owned_by(row, seen.me, flags=V1 | (row["flags"] & LISTENER_OWNER))
            fields(row, state=any, srtt_us=any, bytes_sent=any, bytes_received=any, direction=any)
        assert (mine["srtt_us"] > 0).all() and (mine["srtt_us"] < 1_000_000).all()
        assert mine["bytes_sent"].max() <= seen.fact["rounds"]
    cells = seen.cells("rtt")
    assert cells["k_aggregated"] == cells["seen"] - len(rows) and cells["seen"] >= 2 * seen.fact["rounds"]


def test_bind() -> None:
    seen = watch(["bind"], "bind_some")
    rows = seen.rows("bind")
    assert len(rows) == len(seen.fact["binds"]) == 7
    for row, (protocol, ip, port, error) in zip(rows, seen.fact["binds"], strict=True):
        ends(row, [ip, port], ["::" if ":" in ip else "0.0.0.0", 0])
        owned_by(row, seen.me, flags=V1 | (USER_CLAIMED if error else 0))
        fields(row, protocol=protocol, errno=error, state=CLOSE if protocol == 6 else 0)
    assert {EADDRINUSE, EADDRNOTAVAIL} <= set(rows["errno"].tolist())
    assert len(set(rows["cookie"].tolist())) == 7
    assert seen.fact["unreadable"] == [-1, 14]
    assert (seen.cells("bind")["k_fault"], seen.cells("bind")["seen"]) == (1, 8)        # and none of the Unix socket


SIZES = [1, 1000, 33]


@pytest.mark.parametrize("host", [*HOSTS, "::ffff:127.0.0.1"])
@pytest.mark.parametrize("connected", [False, True])
def test_udp_flows(host: str, connected: bool) -> None:
    seen = watch(["flow"], "udp_talk", host=host, connected=connected, sizes=SIZES)
    rows, child, peer = seen.rows("flow"), seen.fact["child"], seen.fact["peer"]
    assert len(rows) == 2
    bare = [host.removeprefix("::ffff:"), peer[1]]
    mine, = rows[rows["source_port"] == child["sock"][1]]
    ends(mine, [bare[0] if connected else "::" if ":" in bare[0] else "0.0.0.0", child["sock"][1]], bare)
    owned_by(mine, child)           # who used it, not who made and closed it
    fields(mine, protocol=17, direction=EGRESS, bytes_sent=sum(SIZES), bytes_received=2 * sum(SIZES), duration_ns=any)
    other, = rows[rows["source_port"] == peer[1]]
    ends(other, bare, [bare[0], child["sock"][1]])
    owned_by(other, seen.me)
    fields(other, protocol=17, direction=INGRESS, bytes_sent=2 * sum(SIZES), bytes_received=sum(SIZES), duration_ns=any)
    for row in rows:
        assert seen.fact["closing"] <= row["ts_ns"] <= seen.fact["closed"]
    assert seen.fact["closing"] - child["after"] <= mine["duration_ns"] <= mine["ts_ns"] - child["before"]
    for kind in ("send", "recv"):   # what was peeked at was not received
        assert seen.cells(kind)["seen"] == seen.cells(kind)["k_aggregated"] == 2 * len(SIZES)


@pytest.mark.parametrize("host", HOSTS)
def test_single_udp_operations(host: str) -> None:
    events = ["flow", "send", "recv"]
    seen = watch(events, "udp_talk", settings=config(events=events, aggregate=False), host=host, connected=True, sizes=SIZES)
    child, peer = seen.fact["child"], seen.fact["peer"]
    for kind, field, direction in (("send", "bytes_sent", EGRESS), ("recv", "bytes_received", INGRESS)):
        rows = seen.rows(kind)
        assert len(rows) == 2 * len(SIZES)
        assert Counter(rows[field].tolist()) == Counter([*SIZES, *(2 * size for size in SIZES)])
        for row in rows:
            fields(row, protocol=17, direction=direction, **{field: any})
        for row in rows[rows["source_port"] == child["sock"][1]]:
            ends(row, child["sock"], peer)
            owned_by(row, child)
            assert child["before"] <= row["ts_ns"] <= child["after"]
        assert seen.cells(kind)["k_aggregated"] == 0
    assert len(seen.rows("flow")) == 2


@pytest.mark.slow
def test_a_socket_in_use_is_reported_every_ten_seconds() -> None:
    seen = watch(["flow"], "udp_long", seconds=21)
    rows = seen.rows("flow")
    assert len(rows) == 3 and len(set(rows["cookie"].tolist())) == 1
    assert rows["bytes_sent"].sum() == rows["bytes_received"].sum() == 100 * seen.fact["sent"]
    assert (rows["duration_ns"][:2] >= 10_000_000_000).all()


@pytest.mark.parametrize("host", HOSTS)
def test_udp_to_a_closed_port(host: str) -> None:
    seen = watch(["error", "drop"], "udp_refused", host=host)
    assert seen.fact["errno"] == ECONNREFUSED
    error, = seen.rows("error")
    ends(error, seen.fact["sock"], seen.fact["peer"])
    owned_by(error, seen.me)
    fields(error, protocol=17, errno=ECONNREFUSED)
    drop, = [row for row in seen.rows("drop") if row["protocol"] == 17]
    ends(drop, seen.fact["sock"], seen.fact["peer"])
    fields(drop, protocol=17, bytes_sent=77 + 8 + (40 if ":" in host else 20), direction=INGRESS,
           reason=reasons("skb_drop_reason")["SKB_DROP_REASON_NO_SOCKET"])


def test_an_address_rewritten_during_connect_never_changes_the_record(tier_size: Callable[[Any, Any], Any]) -> None:
    tries = tier_size(2000, 100_000)
    settings = config(events=["connect"], performance={"ring_buffer_size_mb": 64})
    with live.Helper("sockets.py") as helper, live.watching(helper, config=settings, filter=NETWORK,
                                                            netns=helper.facts["netns"]) as collector:
        fact = helper.call("race", timeout=600, tries=tries)
        batch = live.everything(collector)      # the helper may change its CPU
        live.adds_up(collector)
    rows = live.of_kind(batch, "network.connect")[0]
    got = list(zip(rows["source_port"].tolist(), rows["dest_port"].tolist(), strict=True))
    assert got == [tuple(pair) for pair in fact["reached"]] and len(got) == tries
    assert set(rows["dest_port"].tolist()) == set(fact["ports"])       # the race was on
    assert not (rows["flags"] & USER_CLAIMED).any()


TCP = {"tf_network_state", "tf_network_retransmit", "tf_network_send_reset", "tf_network_receive_reset", "tf_network_rtt"}
DNS = {"tf_dns_query", "tf_dns_answer"}
UDP = {"tf_udp_send", "tf_udp_recv", "tf_udp_release", "tf_udp_from4", "tf_udp_from6"}
USERS = {"tf_udp_connect4", "tf_udp_connect6", "tf_udp_to4", "tf_udp_to6"}
ANY = {"tf_network_drop", "tf_network_error", "tf_network_bind"}


@pytest.mark.parametrize(("settings", "off"), [
    ({}, set()),
    ({"track_connections": False}, TCP),
    ({"monitor_dns": False}, DNS),
    ({"protocols": ("UDP", "ICMP")}, TCP),
    ({"protocols": ("TCP", "ICMP")}, UDP),
    ({"protocols": ()}, TCP | UDP | ANY),
    ({"protocols": (), "monitor_dns": False}, TCP | UDP | ANY | DNS | USERS),
    ({"enabled": False}, TCP | UDP | ANY | DNS | USERS),
])
def test_what_is_switched_off_attaches_nothing(settings: dict[str, Any], off: set[str]) -> None:
    source = tapio.KernelSource(snapshot=False)
    with tapio.Collector(config(events=["all"], **settings), source=source):
        programs = {one["name"]: one for one in source.programs()}
    states = {name: one["state"] for name, one in programs.items()}
    names = TCP | DNS | UDP | USERS | ANY
    # another kernel's variants serve: tests/vm
    old = {name for name in names if states[name] == "missing_hook" or programs[name]["reason"] == "another variant fits this kernel"}
    assert {name for name in names - old if states[name] == "attached"} == names - off - old
    assert (states["tf_sys_exit"] == "attached") == ("tf_network_bind" not in off)


@pytest.mark.parametrize(("protocols", "kept"), [(("TCP",), {6}), (("UDP",), {17}), (("ICMP",), set())])
def test_binds_of_other_protocols_are_left_out(protocols: tuple[str, ...], kept: set[int]) -> None:
    seen = watch(["bind"], "bind_some", settings=config(events=["bind"], protocols=protocols))
    assert set(seen.rows("bind")["protocol"].tolist()) == kept
