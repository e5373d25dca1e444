# SPDX-License-Identifier: Apache-2.0
"""Batches with rows of the test's own making: a batch is taken from in-memory rings, and the rows are written over its memory."""
from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence

import live_support as live
import numpy as np

import tapio_fast as tapio
from tapio_fast import schema

LOSS = np.dtype([("count", "u8"), ("cpu", "u2"), ("type", "u1"), ("subtype", "u1"), ("cause", "u4")])
ROOM = 1 << 15      # rows of a template: batches of at most so many are of one collection
_KIND = {"network": "network.connect", "process": "process.signal", "file": "file.open", "memory": "memory.mmap",
         "syscall": "syscall.call", "cpu": "cpu.usage", "security": "security.io_uring_op", "container": "container.create"}


def rows_of(domain: str, n: int, **fields: object) -> np.ndarray:
    """n rows of a domain, zero but for these fields; weight 1 and type and subtype (0) are set."""
    rows = np.zeros(n, schema.DTYPES[domain])
    rows["type"], rows["weight"] = schema.DOMAINS[domain], 1
    for name, value in fields.items():
        rows[name] = value
    return rows


def rates(*told: tuple[str, float, int], ts_ns: int = 0) -> np.ndarray:
    """RATE rows: (kind, chance of keeping, cause: 0 per record, 1 by process, 2 by connection)."""
    rows = rows_of("meta", len(told), subtype=schema.KIND_BY_NAME["meta.rate"].subtype, ts_ns=ts_ns)
    for row, (kind, chance, cause) in zip(rows, told, strict=True):
        row["object_id"], row["value"], row["cause"] = schema.KIND_BY_NAME[kind].number, round(chance * 2**32), cause
    return rows


@functools.cache
def _template(domain: str, room: int) -> tapio.RecordBatch:
    source = tapio.MemorySource(cpus=1, bulk_bytes=1 << 25, critical_bytes=1 << 23)
    with tapio.Collector(source=source) as collector:
        collector.fileno()
        assert source.fill(_KIND[domain], n=room, stop_on_full=True) == room
        assert source.fill("meta.rate", n=64) == 64
        return tapio.RecordBatch.concat(live.drain(collector))


def batch_of(rows: np.ndarray, meta: np.ndarray | None = None) -> tapio.RecordBatch:
    """A batch with exactly these rows of one domain (texts empty), these RATE rows (at most 64) and an EPOCH row."""
    domain = next(d for d, dtype in schema.DTYPES.items() if dtype.names == rows.dtype.names)
    template = _template(domain, max(ROOM, len(rows)))
    told = rates() if meta is None else meta
    old = template["meta"]
    is_rate = old["subtype"] == schema.KIND_BY_NAME["meta.rate"].subtype
    keep = np.zeros(len(old), bool)
    keep[np.flatnonzero(is_rate)[:len(told)]] = True
    keep[np.flatnonzero(old["subtype"] == schema.KIND_BY_NAME["meta.epoch"].subtype)[-1]] = True
    masks = {schema.DOMAINS[domain]: np.packbits(np.arange(len(template[domain])) < len(rows), bitorder="little").tobytes(),
             schema.DOMAINS["meta"]: np.packbits(keep, bitorder="little").tobytes()}
    batch = tapio.RecordBatch(template._core.select(masks))
    _write(batch[domain], rows)
    _write(batch["meta"], told, np.flatnonzero(batch["meta"]["subtype"] == schema.KIND_BY_NAME["meta.rate"].subtype))
    assert len(batch[domain]) == len(rows)
    return batch


def _write(to: np.ndarray, rows: np.ndarray, places: np.ndarray | slice = slice(None)) -> None:
    """Write over rows that are nobody else's. (They are read-only: through their address.)"""
    if len(rows):
        raw = (ctypes.c_uint8 * to.nbytes).from_address(to.ctypes.data)
        np.frombuffer(raw, to.dtype)[places] = rows


def batches_of(rows: np.ndarray, meta: np.ndarray | None = None, cuts: Sequence[int] = ()) -> list[tapio.RecordBatch]:
    """The same rows in several batches; RATE rows are in the first."""
    parts = np.split(rows, list(cuts))
    return [batch_of(part, meta if i == 0 else None) for i, part in enumerate(parts) if len(part) or i == 0]


def loss_tail(*entries: tuple[str, str, int]) -> bytes:
    """The tail of an EPOCH row without seqs: (kind, cause, count)."""
    cells = np.zeros(len(entries), LOSS)
    for cell, (kind, cause, count) in zip(cells, entries, strict=True):
        k = schema.KIND_BY_NAME[kind]
        cell["type"], cell["subtype"], cell["cause"], cell["count"] = k.type, k.subtype, schema.LEDGER.index(cause), count
    return cells.tobytes()


def loss_row(tail: bytes, *, n_seqs: int = 0, object_id: int = 0) -> np.void:
    """A row of EPOCH or THROTTLE with this tail."""
    row = np.zeros(1, schema.DTYPES["meta"])[0]
    row["n_seqs"], row["n_losses"], row["object_id"] = n_seqs, (len(tail) - 16 * n_seqs) // 16, object_id
    row["data"] = (0, len(tail), len(tail))
    return row
