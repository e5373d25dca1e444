# SPDX-License-Identifier: Apache-2.0
"""A slow, plain decoder of DNS messages, and a builder: what tests hold the engine's own decoder (csrc/tf_dns.c) against."""
from __future__ import annotations

import random
import socket
import struct
from typing import NamedTuple

CAP = 2048          # TF_DNS_TEXT_CAP
A, CNAME, AAAA, TXT = 1, 5, 28, 16


class Text(NamedTuple):
    """What a record says of a message."""

    text: bytes
    full_len: int
    type: int
    rcode: int
    whole: bool


class Malformed(Exception):
    """The message says something that cannot be."""


def read_name(message: bytes, at: int) -> tuple[list[bytes], int]:
    """Labels of the name at a place, and where what follows it begins."""
    labels: list[bytes] = []
    after, limit = -1, at
    while True:
        if at >= len(message):
            raise Malformed
        n = message[at]
        if n >> 6 == 3:
            if at + 1 >= len(message):
                raise Malformed
            to = struct.unpack_from("!H", message, at)[0] & 0x3FFF
            if to >= limit:
                raise Malformed
            after = at + 2 if after < 0 else after
            at = limit = to
        elif n >> 6:
            raise Malformed
        elif n == 0:
            return labels, at + 1 if after < 0 else after
        else:
            label = message[at + 1:at + 1 + n]
            labels.append(label)
            if len(label) < n or sum(len(one) + 1 for one in labels) + 1 > 255:
                raise Malformed
            at += 1 + n


def escaped(labels: list[bytes]) -> bytes:
    """A name as zone files have it."""
    def one(byte: int) -> str:
        if not 33 <= byte <= 126:
            return f"\\{byte:03d}"
        return ("\\" if chr(byte) in '."();@$\\' else "") + chr(byte)
    return ".".join("".join(map(one, label)) for label in labels).encode() or b"."


def _answer(message: bytes, kind: int, at: int, n: int) -> bytes:
    data = message[at:at + n]
    if kind == CNAME:
        labels, after = read_name(message, at)
        if after != at + n:
            raise Malformed
        return escaped(labels)
    if len(data) != (4 if kind == A else 16):
        raise Malformed
    return socket.inet_ntop(socket.AF_INET if kind == A else socket.AF_INET6, data).encode()


def decode(message: bytes, answers: bool) -> Text:
    """Decode a message as a record does."""
    if len(message) < 12:
        return Text(b"", 0, 0, 0, False)
    _, flags, questions, records = struct.unpack_from("!4H", message)
    parts: list[bytes] = []
    kind, whole, at = 0, not flags & 0x200, 12
    try:
        for i in range(questions):
            labels, at = read_name(message, at)
            if i == 0:
                parts.append(escaped(labels))
            if len(message) - at < 4:
                raise Malformed
            if i == 0:
                kind = struct.unpack_from("!H", message, at)[0]
            at += 4
        parts = parts or [b""]
        for _ in range(records if answers else 0):
            _, at = read_name(message, at)
            if len(message) - at < 10:
                raise Malformed
            sort, family, _, n = struct.unpack_from("!HHIH", message, at)
            at += 10
            if n > len(message) - at:
                raise Malformed
            if family == 1 and sort in (A, AAAA, CNAME):
                try:
                    parts.append(_answer(message, sort, at, n))
                except Malformed:
                    whole = False
            at += n
    except Malformed:
        whole = False
    text = b"\0".join(parts)
    kept = text
    while len(kept) > CAP:
        parts.pop()
        kept = b"\0".join(parts)
    return Text(kept, len(text), kind, flags & 15, whole)


def name(*labels: bytes) -> bytes:
    """A name on the wire."""
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def query(wire: bytes, kind: int, number: int = 1) -> bytes:
    """A question."""
    return struct.pack("!6H", number, 0x0100, 1, 0, 0, 0) + wire + struct.pack("!2H", kind, 1)


def record(wire: bytes, kind: int, data: bytes, family: int = 1, n: int | None = None) -> bytes:
    """One record of an answer."""
    return wire + struct.pack("!HHIH", kind, family, 60, len(data) if n is None else n) + data


def reply(asked: bytes, records: list[bytes], rcode: int = 0, flags: int = 0x8180, count: int | None = None) -> bytes:
    """An answer to a question."""
    return asked[:2] + struct.pack("!5H", flags | rcode, 1, len(records) if count is None else count, 0, 0) + asked[12:] + b"".join(records)


def hostile(rng: random.Random) -> bytes:
    """A message as an attacker may make it: right in part, at most 512 bytes."""
    labels = [rng.randbytes(rng.choice((1, 3, 63))) for _ in range(rng.randrange(5))]
    wire = rng.choice((name(*labels), name(b"www", b"example", b"org"), rng.randbytes(rng.randrange(1, 40)), b"\xc0" + rng.randbytes(1)))
    asked = query(wire, rng.choice((A, AAAA, CNAME, TXT, 65535)), rng.randrange(65536))
    records = []
    for _ in range(rng.randrange(12)):
        owner = rng.choice((b"\xc0\x0c", name(b"x"), struct.pack("!H", 0xC000 | rng.randrange(512))))
        kind, data = rng.choice(((A, rng.randbytes(4)), (AAAA, rng.randbytes(16)), (AAAA, bytes(10) + b"\xff\xff" + rng.randbytes(4)),
                                 (CNAME, b"\xc0\x0c"), (CNAME, name(rng.randbytes(9))), (CNAME, struct.pack("!H",
                                                                                                            0xC000 | rng.randrange(512))),
                                 (TXT, rng.randbytes(rng.randrange(20))), (A, rng.randbytes(rng.randrange(8)))))
        records.append(record(owner, kind, data, rng.choice((1, 1, 1, 3)), rng.choice((None, None, None, rng.randrange(40)))))
    message = bytearray(reply(asked, records, rng.randrange(16), rng.choice((0x8180, 0x8380)), rng.choice((None, None,
                                                                                                           rng.randrange(65536)))))
    for _ in range(rng.choice((0, 0, 1, 3))):
        message[rng.randrange(len(message))] = rng.randrange(256)
    return bytes(message[:rng.choice((512, 512, rng.randrange(1, 513)))])
