# SPDX-License-Identifier: Apache-2.0
"""DNS over UDP in a network namespace of the test's own, with a server of its own: queries, answers, latency, who asked.

The truth is what asker and server say they sent and when; the text of a message is told by the slow decoder of dns_reference.py.
"""
from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import dns_reference as dns
import live_support as live
import numpy as np
import pytest
from test_network import CGROUP_V1, EGRESS, owned_by, packed

import tapio_fast as tapio
from tapio_fast import KernelFilter

pytestmark = [pytest.mark.root, pytest.mark.live]

TRUNCATED, PARTIAL = 1, 1 << 10
WIRE = b"\xc0\x0c"
DNS = KernelFilter(kinds=["network.dns", "network.dns_query"])
FAST = tapio.Config.default()


def config(**network: Any) -> tapio.Config:
    """The network domain alone."""
    off = {"enabled": False}
    return FAST.replace(programs={"network": network, "process": off, "memory": off})


def cases() -> list[tuple[bytes, bytes | None]]:
    """A query of every kind, with its answer."""
    www = dns.name(b"www", b"example", b"org")
    asked = [dns.query(www, kind, i) for i, kind in enumerate((dns.A, dns.AAAA, dns.A, dns.A, dns.A, dns.TXT, dns.A, dns.AAAA))]
    chain = [dns.record(WIRE, dns.CNAME, dns.name(b"a", b"cdn", b"net")), dns.record(dns.name(b"a", b"cdn", b"net"), dns.CNAME,
             dns.name(b"b", b"cdn", b"net")), dns.record(dns.name(b"b", b"cdn", b"net"), dns.A, b"\x0a\0\0\7")]
    answers = [dns.reply(asked[0], [dns.record(WIRE, dns.A, bytes((192, 0, 2, i))) for i in range(3)]),
               dns.reply(asked[1], [dns.record(WIRE, dns.AAAA, bytes.fromhex("20010db8") + bytes(11) + b"\1")]),
               dns.reply(asked[2], chain), dns.reply(asked[3], [], 3), dns.reply(asked[4], [], 2),
               dns.reply(asked[5], [dns.record(WIRE, dns.TXT, b"\4text")]), dns.reply(asked[6], [], flags=0x8380),
               dns.reply(asked[7], [dns.record(WIRE, dns.CNAME, WIRE)] * 50 + [dns.record(WIRE, dns.TXT, b"x" * 200)])]
    never: list[tuple[bytes, bytes | None]] = [(dns.query(www, dns.A, 77), None)]
    return [*zip(asked, answers, strict=True), *never]


def watch(call: str, settings: tapio.Config | None = None, filter: KernelFilter = DNS, **arguments: Any) -> tuple[Any, Any, Any, int]:
    """Collect one call of the helper: (its facts, batch, statistics, its netns)."""
    with live.Helper("resolve.py") as helper, live.watching(helper, config=settings or config(), netns=helper.facts["netns"],
                                                            filter=filter) as collector:
        facts = helper.call(call, **arguments)
        batch = live.everything(collector)
        return facts, batch, live.adds_up(collector), helper.facts["netns"]


def as_text(messages: list[tuple[bytes, bytes | None]]) -> list[list[str | None]]:
    """Messages as the helper takes them."""
    return [[one if one is None else one.decode("latin-1") for one in pair] for pair in messages]


def check(row: Any, text: bytes, message: bytes, fact: dict[str, Any], host: str, netns: int, answer: bool) -> None:
    """Assert every field of a record."""
    asker = fact["asker"]
    kept = message[:512]
    expected = dns.decode(kept, answer)
    flags = (TRUNCATED if len(message) > 512 or expected.full_len > len(expected.text) else 0) | (0 if expected.whole else PARTIAL)
    owned_by(row, asker, flags=flags | (CGROUP_V1 if live.cgroup_of()[1] else 0))
    assert text == expected.text
    length = ("bytes_received", "bytes_sent") if answer else ("bytes_sent", "bytes_received")
    fields = {"dns_type": expected.type, "dns_rcode": expected.rcode if answer else 0, "protocol": 17, "direction": EGRESS,
              "family": 10 if ":" in host else 2, "dest_port": 53, "source_port": asker["sock"][1], "netns": netns, "errno": 0,
              length[0]: len(message), length[1]: 0, "state": 0, "old_state": 0, "reason": 0, "weight": 1.0,
              "srtt_us": 0, "retransmits": 0}
    assert {name: row[name] for name in fields} == fields
    assert bytes(row["source_ip"]) == bytes(row["dest_ip"]) == packed(host)
    assert row["cookie"] != 0 and row["name"]["full_len"] == expected.full_len


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("connected", [False, True])
def test_queries_and_answers(host: str, connected: bool) -> None:
    messages = cases()
    fact, batch, stats, netns = watch("ask", host=host, messages=as_text(messages), connected=connected, seconds=0.02)
    times = fact["asker"]["times"]
    texts = batch.strings("network", "name")
    queries, places = live.of_kind(batch, "network.dns_query")
    assert len(queries) == len(messages)
    for row, place, (query, _), (before, sent, _) in zip(queries, places, messages, times, strict=True):
        check(row, texts[int(place)], query, fact, host, netns, False)
        assert before <= row["ts_ns"] <= sent and row["duration_ns"] == 0
    answers, places = live.of_kind(batch, "network.dns")
    answered = [(m, t, h, q) for m, t, h, q in zip(messages, times, fact["held"], queries, strict=True) if m[1] is not None]
    assert len(answers) == len(answered) == len(messages) - 1
    for row, place, ((_, answer), (before, _, after), held, query) in zip(answers, places, answered, strict=True):
        assert answer is not None
        check(row, texts[int(place)], answer, fact, host, netns, True)
        assert held + 20_000_000 <= row["ts_ns"] <= after
        assert row["duration_ns"] == row["ts_ns"] - query["ts_ns"] and 20_000_000 <= row["duration_ns"] <= after - before
        assert row["cookie"] == query["cookie"]
    assert len(batch["network"]) == len(queries) + len(answers)     # loopback passes both hooks: nothing twice
    assert stats.by_kind["network.dns"]["seen"] == len(answers) and stats.events_dropped == 0


def test_an_address_gets_its_name() -> None:
    _, batch, _, _ = watch("ask", host="127.0.0.1", messages=as_text(cases()[2:3]))
    (event,) = [one for one in batch.events() if one.kind == "network.dns"]
    assert event.details["name"].split("\0") == ["www.example.org", "a.cdn.net", "b.cdn.net", "10.0.0.7"]


def test_hostile_answers_come_out_as_the_slow_decoder_says(tier_size: Callable[[Any, Any], Any]) -> None:
    rng = random.Random(3)
    messages: list[tuple[bytes, bytes | None]] = []
    for i in range(tier_size(300, 5000)):
        answer = bytearray(dns.hostile(rng).ljust(12, b"\0"))
        answer[:3] = i.to_bytes(2) + bytes([answer[2] | 0x80])
        messages.append((dns.query(dns.name(b"h%d" % i), dns.A, i), bytes(answer)))
    fact, batch, _, netns = watch("ask", host="127.0.0.1", messages=as_text(messages), connected=True)
    rows, places = live.of_kind(batch, "network.dns")
    texts = batch.strings("network", "name")
    assert len(rows) == len(messages)
    for row, place, (_, answer) in zip(rows, places, messages, strict=True):
        assert answer is not None
        check(row, texts[int(place)], answer, fact, "127.0.0.1", netns, True)


def test_what_nobody_asked_is_no_answer() -> None:
    answer = dns.reply(dns.query(dns.name(b"x"), dns.A), [])
    _, batch, stats, _ = watch("unasked", host="127.0.0.1", answer=answer.decode("latin-1"))
    assert len(batch["network"]) == 0
    assert all(not stats.by_kind[kind]["seen"] for kind in ("network.dns", "network.dns_query") if kind in stats.by_kind)


def test_a_full_table_is_counted_and_queries_are_still_recorded() -> None:
    settings = config().replace(performance={"map_entries_limit": 64})
    _, batch, stats, _ = watch("flood", settings, host="127.0.0.1", queries=100)
    assert len(live.of_kind(batch, "network.dns_query")[0]) == 100
    cells = stats.by_kind["network.dns"]
    assert cells["seen"] == cells["k_map_full"] and 0 < cells["k_map_full"] <= 100 - 64


def test_only_followed_processes_are_recorded() -> None:
    """The filter judges who asked, in the hook of the answer too, which runs on somebody else's time."""
    query = dns.query(dns.name(b"q"), dns.A)
    with live.Helper("resolve.py") as helper, live.Helper("resolve.py") as stranger, live.watching(helper, config=config()) as collector:
        for one in (stranger, helper):
            facts = one.call("ask", host="127.0.0.1", messages=as_text([(query, dns.reply(query, []))]))
        batch = live.everything(collector)
        live.adds_up(collector)
    for kind in ("network.dns", "network.dns_query"):
        rows, _ = live.of_kind(batch, kind)
        assert rows["pid"].tolist() == [facts["asker"]["pid"]]
        assert np.unique(rows["netns"]).tolist() == [helper.facts["netns"]]


def test_queries_of_others_take_no_place_in_the_table() -> None:
    """What the filter refuses is not remembered: else a stranger's flood would cost others their answers."""
    query = dns.query(dns.name(b"q"), dns.A)
    settings = config().replace(performance={"map_entries_limit": 64})
    with live.Helper("resolve.py") as helper, live.Helper("resolve.py") as stranger, live.watching(helper, config=settings) as collector:
        stranger.call("flood", host="127.0.0.1", queries=200)
        facts = helper.call("ask", host="127.0.0.1", messages=as_text([(query, dns.reply(query, []))]))
        batch = live.everything(collector)
        stats = live.adds_up(collector)
    rows, _ = live.of_kind(batch, "network.dns")
    assert rows["pid"].tolist() == [facts["asker"]["pid"]]
    assert stats.by_kind["network.dns"]["k_map_full"] == 0
    assert stats.by_kind["network.dns_query"]["k_filtered"] >= 200
