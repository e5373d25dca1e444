# SPDX-License-Identifier: Apache-2.0
"""Raw DNS messages on a ring come out of the drain decoded: against a slow decoder in Python, for right, cut and hostile messages."""
from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import dns_reference as dns
import live_support as live
import numpy as np
import pytest

import tapio_fast as tapio
from tapio_fast import schema

TRUNCATED, PARTIAL = 1, 1 << 10
NAMES = [(), (b"org",), (b"www", b"example", b"org"), (b"a.b", b"c\\d", b'"();@$'), (b"\0\x7f\xff ", b"~!"), (b"x" * 63,) * 3 + (b"y" * 61,
                                                                                                                                 )]
WIRE = b"\xc0\x0c"
# CNAMEs that all expand to a name of 60 escaped bytes: more text than a record keeps
BOMB = dns.reply(dns.query(dns.name(b"\1" * 63, b"\2" * 63, b"\3" * 63, b"\4" * 61), dns.A), [dns.record(WIRE, dns.CNAME, WIRE)] * 12)


def through_the_drain(kind: str, messages: list[bytes]) -> tapio.RecordBatch:
    """Put messages on a ring as the kernel's program does, one a row, a plain row after each."""
    def fill(source: tapio.MemorySource) -> None:
        row = np.zeros(1, schema.DTYPES["network"])[0]
        for message in messages:
            row["name"]["len"], row["name"]["full_len"], row["bytes_sent"] = len(message), len(message), len(message)
            assert source.fill(kind, row, tail=message) == 1
            assert source.fill("network.connect") == 1
    return live.from_memory(fill, cpus=1)


def agree(kind: str, messages: list[bytes]) -> None:
    """Assert that every row says what the slow decoder says."""
    batch = through_the_drain(kind, messages)
    rows, places = live.of_kind(batch, kind)
    texts = batch.strings("network", "name")
    assert len(rows) == len(messages) and len(batch["network"]) == 2 * len(messages)
    for row, place, message in zip(rows, places, messages, strict=True):
        expected = dns.decode(message, kind == "network.dns")
        assert texts[int(place)] == expected.text, message
        assert (row["dns_type"], row["name"]["full_len"]) == (expected.type, expected.full_len), message
        assert row["dns_rcode"] == (expected.rcode if kind == "network.dns" else 0)
        assert bool(row["flags"] & PARTIAL) == (not expected.whole), message
        assert bool(row["flags"] & TRUNCATED) == (expected.full_len > len(expected.text))
        assert row["bytes_sent"] == len(message)


def case(labels: tuple[bytes, ...]) -> list[bytes]:
    """A question and answers of every kind for one name."""
    asked = dns.query(dns.name(*labels), dns.A)
    return [asked, dns.reply(asked, [], 3), dns.reply(asked, [], 2), dns.reply(asked, [
        dns.record(WIRE, dns.CNAME, dns.name(b"cdn", b"example")), dns.record(WIRE, dns.A, b"\xc0\0\2\1"),
        dns.record(WIRE, dns.AAAA, bytes(15) + b"\1"), dns.record(WIRE, dns.TXT, b"\3abc")])]


@pytest.mark.parametrize("kind", ["network.dns_query", "network.dns"])
def test_messages_of_every_kind(kind: str) -> None:
    asked = dns.query(dns.name(b"loop"), dns.A)
    agree(kind, [message for labels in NAMES for message in case(labels)])
    agree(kind, [b"\0", b"\0" * 11, b"\0" * 12, asked[:-1], asked[:17], BOMB, dns.query(WIRE, 1), dns.query(b"\xc0\x0e\xc0\x0c", 1),
                 dns.query(dns.name(*(b"x" * 63,) * 4), 1), dns.query(b"\x40x\0", 1), dns.reply(asked, [], flags=0x8380),
                 dns.reply(asked, [dns.record(WIRE, dns.A, b"abc"), dns.record(WIRE, dns.A, b"abcd")], count=9)])


def test_what_a_message_says_in_words() -> None:
    """The slow decoder too must be right: these are written out by hand."""
    asked = dns.query(dns.name(b"www", b"a.b", b"\0x"), dns.AAAA)
    answer = dns.reply(asked, [dns.record(WIRE, dns.CNAME, dns.name(b"cdn") [:-1] + b"\xc0\x10"),
                               dns.record(WIRE, dns.AAAA, bytes.fromhex("20010db8000000000000000000000001"))], 0)
    assert dns.decode(answer, True).text == b"www.a\\.b.\\000x\0cdn.a\\.b.\\000x\x002001:db8::1"
    agree("network.dns", [answer])
    assert dns.decode(dns.query(b"\0", 2), False) == (b".", 1, 2, 0, True)
    cut = dns.decode(BOMB, True)
    assert cut.full_len > 2048 >= len(cut.text) > 1000 and cut.whole


def test_text_is_cut_between_answers_and_counted() -> None:
    batch = through_the_drain("network.dns", [BOMB] * 50)
    rows, _ = live.of_kind(batch, "network.dns")
    assert (rows["flags"] & TRUNCATED).all() and (rows["name"]["full_len"] > rows["name"]["len"]).all()


@pytest.mark.parametrize("seed", range(4))
def test_hostile_messages(seed: int, tier_size: Callable[[Any, Any], Any]) -> None:
    rng = random.Random(seed)
    for _ in range(tier_size(5, 200)):
        agree(rng.choice(("network.dns", "network.dns_query")), [dns.hostile(rng) for _ in range(400)])
