# SPDX-License-Identifier: Apache-2.0
"""Batches of random rows and texts, of several boots and clocks, and a slow reference for the tables made of them."""
from __future__ import annotations

import ctypes
import uuid
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pytest

from tapio_fast import RecordBatch, schema
from tapio_fast._core import _engine
from tapio_fast.events import address_text, split_args
from tapio_fast.types import subtype_name

pa = pytest.importorskip("pyarrow")

EVENTS = sorted(set(schema.DOMAINS) - {schema.META}, key=schema.DOMAINS.__getitem__)       # in the order of their numbers
PIECES = [b"a", b"bin/", b"\0", b"\0\0", b"\\x41", b"\xff", b"\xc3", b"\xc0\x80", b"\xed\xa0\x80", b"\xe1\x80", b"\xf0\x9f\x98", b"\xf4\x90\x80\x80",
          "é".encode(), "漢字".encode(), "🙂".encode(), "\u202e".encode()]
ADDRESSES = [bytes(16), bytes(10) + b"\xff\xff\x0a\x01\x02\x03", b"\x20\x01\x0d\xb8" + bytes(11) + b"\x01", bytes(15) + b"\x01", b"\x01" * 16]


class _Head(ctypes.Structure):
    """struct tf_batch of csrc/tf_batch.h: nothing in Python writes who a batch is from."""

    _fields_ = [("_refs", ctypes.c_uint32 * 2), ("_pool", ctypes.c_void_p * 3), ("_domains", ctypes.c_uint64 * 5 * 16), ("total", ctypes.c_uint64),
                ("epoch", ctypes.c_uint64), ("watermark_ns", ctypes.c_uint64), ("wall_offset_ns", ctypes.c_int64),
                ("boot_id", ctypes.c_uint8 * 16), ("run_id", ctypes.c_uint64)]


def batch_of(parts: dict[str, tuple[np.ndarray, bytes]], number: int = 1) -> RecordBatch:
    """A batch of these rows and text areas; two numbers in a row are of one boot, and one in five is of the first again."""
    core = _engine.build({schema.DOMAINS[domain]: (rows.tobytes(), text) for domain, (rows, text) in parts.items()}, number << 40)
    head = _Head.from_address(ctypes.c_void_p.from_address(id(core) + object.__basicsize__).value or 0)
    assert (head.total, head.epoch) == (len(core), number << 40), "csrc/tf_batch.h has changed"
    head.wall_offset_ns, head.run_id = (-1) ** number * (number << 50), number + 7
    head.boot_id[:] = list(uuid.uuid5(uuid.NAMESPACE_OID, str(number // 2 % 5)).bytes)
    return RecordBatch(core)


def random_rows(domain: str, n: int, rng: np.random.Generator, text: bytes) -> np.ndarray:
    """Any bytes for a row, but for its type and weight; one text in five lies outside the text area."""
    dtype = schema.DTYPES[domain]
    rows = np.frombuffer(bytearray(rng.bytes(n * dtype.itemsize)), dtype)
    rows["type"], rows["weight"], rows["subtype"] = schema.DOMAINS[domain], rng.choice([1, 1.5, 4], n), rng.choice([*range(21), 77, 255], n)
    for name in dtype.names or ():
        if name in schema.TEXT_FIELDS[domain]:
            offsets = rng.integers(0, len(text) + 1, n)
            lengths = np.where(rng.integers(0, 5, n), rng.integers(0, len(text) - offsets + 1), rng.choice([len(text) + 1, 2**32 - 1], n))
            rows[name]["offset"], rows[name]["len"] = offsets, lengths
        elif dtype[name].kind == "S":
            rows[name] = [b"".join(rng.choice(np.array(PIECES, object), 6))[:16] for _ in range(n)]
        elif name in ("errno", "signal"):
            rows[name] = rng.integers(-1, 2, n)
        elif name == "family":
            rows[name] = rng.choice([0, 2, 10, 17], n)
        elif dtype[name].shape == (16,):
            rows[name] = np.frombuffer(b"".join(ADDRESSES[i] for i in rng.integers(0, len(ADDRESSES), n)), np.uint8).reshape(n, 16)
    return rows


def random_batch(domains: Iterable[str], n: int, seed: int, text: bytes = b"".join(PIECES), number: int = 1) -> RecordBatch:
    rng = np.random.default_rng(seed)
    return batch_of({domain: (random_rows(domain, n, rng, text), text) for domain in domains}, number)


def spelt(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")


def said(batch: RecordBatch, domain: str, name: str) -> list[Any]:
    """What the batch says of each row, beside its fields."""
    if name == "time":
        return list(batch.time(domain).view(np.int64))
    if name == "severity":
        return list(batch.severity(domain))
    return [str(batch.boot_id) if name == "boot_id" else getattr(batch, name)] * len(batch[domain])


def cells(batch: RecordBatch, domain: str, name: str) -> list[Any]:
    """A column of one domain, a row at a time; times as ns."""
    rows = batch[domain]
    if name not in (rows.dtype.names or ()):
        return said(batch, domain, name)
    if name in schema.TEXT_FIELDS[domain]:
        raw = list(batch.strings(domain, name))
        return raw if name == "data" else [[spelt(part) for part in split_args(r)] for r in raw] if name == "args" else [spelt(r) for r in raw]
    if name == "type":
        return [domain] * len(rows)
    if name == "subtype":
        known = {k.subtype for k in schema.KINDS if k.domain == domain}
        return [subtype_name(schema.DOMAINS[domain], s) if s in known else str(s) for s in rows[name].tolist()]
    if rows.dtype[name].kind == "S":
        return [spelt(comm.rstrip(b"\0")) for comm in rows[name].tolist()]
    if rows.dtype[name].shape == (16,):
        return [address_text(bytes(raw), int(family)) for raw, family in zip(rows[name], rows["family"], strict=True)]
    return list(rows[name].tolist())


def values(column: Any) -> list[Any]:
    """What a column holds, as Python has it; times as ns."""
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    return list(column.to_pylist())


def assert_equal(arrow: Any, batches: Sequence[RecordBatch], domains: Iterable[str]) -> None:
    arrow.validate(full=True)
    for name in arrow.column_names:
        assert values(arrow[name]) == [cell for batch in batches for domain in domains for cell in cells(batch, domain, name)], name
