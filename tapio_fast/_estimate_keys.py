# SPDX-License-Identifier: Apache-2.0
"""Fields that records are grouped by, as u8 columns and back. Relies on `schema`, `types`, `events` for addresses.

Numbers are themselves, names and addresses two u8 in the order of their bytes, texts the number that they got when they were first seen.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tapio_fast import schema
from tapio_fast._estimate_sums import too_many
from tapio_fast.events import address_text
from tapio_fast.types import subtype_name, type_name

if TYPE_CHECKING:
    from tapio_fast.batch import RecordBatch


def _objects(texts: Sequence[str]) -> np.ndarray:
    out = np.empty(len(texts), object)
    out[:] = texts
    return out


def _shown(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")


class Key:
    """One field to group by. `width` u8 columns stand for it."""

    width = 1

    def __init__(self, domain: str, field: str) -> None:
        self.domain, self.field = domain, field

    def encode(self, batch: RecordBatch) -> np.ndarray:
        """Return u8[width, n]."""
        raise NotImplementedError

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Return the values of u8[width, n]: numbers, or str objects."""
        raise NotImplementedError

    def order(self, codes: np.ndarray) -> np.ndarray:
        """Return u8[width, n] by which the values sort."""
        return codes


class NumberKey(Key):
    """A number; `names` turns it into text."""

    def __init__(self, domain: str, field: str, names: Callable[[int], str] | None = None) -> None:
        super().__init__(domain, field)
        self._names = names
        self._dtype = schema.DTYPES[domain].fields[field][0]  # type: ignore[index]
        # signed and float fields keep their bits in the widest type of their kind
        self._wide = np.dtype({"u": np.uint64, "i": np.int64, "f": np.float64}[self._dtype.kind])

    def encode(self, batch: RecordBatch) -> np.ndarray:
        return batch[self.domain][self.field].astype(self._wide).view(np.uint64)[np.newaxis]

    def decode(self, codes: np.ndarray) -> np.ndarray:
        values = np.ascontiguousarray(codes[0]).view(self._wide).astype(self._dtype)
        return values if self._names is None else _objects([self._names(v) for v in values.tolist()])

    def order(self, codes: np.ndarray) -> np.ndarray:
        return codes ^ np.uint64(1 << 63) if self._wide.kind == "i" else codes


class BytesKey(Key):
    """16 bytes: a name (NUL padded; what lies behind a NUL is not part of it) or an address."""

    width = 2

    def __init__(self, domain: str, field: str) -> None:
        super().__init__(domain, field)
        self._is_name = schema.DTYPES[domain].fields[field][0].kind == "S"  # type: ignore[index]

    def encode(self, batch: RecordBatch) -> np.ndarray:
        column = np.ascontiguousarray(batch[self.domain][self.field])
        raw = column.view(np.uint8).reshape(len(column), 16)
        if self._is_name:
            raw = raw * np.logical_and.accumulate(raw != 0, axis=1)
        return np.ascontiguousarray(raw, np.uint8).view(">u8").T.astype(np.uint64)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        raw = codes.T.astype(">u8").tobytes()
        parts = [raw[i:i + 16] for i in range(0, len(raw), 16)]
        return _objects([_shown(p.rstrip(b"\0")) if self._is_name else address_text(p) for p in parts])


class TextKey(Key):
    """A text: the number of its first appearance."""

    def __init__(self, domain: str, field: str, limit: int) -> None:
        super().__init__(domain, field)
        self._limit = limit
        self._numbers: dict[bytes, int] = {}

    def encode(self, batch: RecordBatch) -> np.ndarray:
        texts = batch.strings(self.domain, self.field)
        offsets = texts.offsets.astype(np.intp)
        data, lengths = np.frombuffer(texts.data, np.uint8), np.diff(offsets)
        out = np.empty(len(lengths), np.uint64)
        # texts of one length are a matrix of bytes, whose distinct rows numpy finds: Python sees each distinct text of a batch once
        order = np.argsort(lengths, kind="stable")
        at = np.flatnonzero(np.diff(lengths[order], prepend=-1))
        for rows in np.split(order, at[1:]) if len(order) else ():
            length = int(lengths[rows[0]])
            if not length:
                out[rows] = self._number(b"")
                continue
            matrix = data[offsets[rows][:, np.newaxis] + np.arange(length)]
            _, first, place = np.unique(matrix.view(f"S{length}").ravel(), return_index=True, return_inverse=True)
            out[rows] = np.array([self._number(matrix[i].tobytes()) for i in first.tolist()], np.uint64)[place.ravel()]
        return out[np.newaxis]

    def _number(self, text: bytes) -> int:
        number = self._numbers.setdefault(text, len(self._numbers))
        if number >= self._limit:
            raise too_many("texts", f"{self.domain} by {self.field}", self._limit)
        return number

    def decode(self, codes: np.ndarray) -> np.ndarray:
        texts = list(self._numbers)
        return _objects([_shown(texts[i]) for i in codes[0].tolist()])

    def order(self, codes: np.ndarray) -> np.ndarray:
        texts = list(self._numbers)
        rank = np.empty(len(texts), np.uint64)
        rank[sorted(range(len(texts)), key=texts.__getitem__)] = np.arange(len(texts))
        out: np.ndarray = rank[codes]
        return out


def check_field(domain: str, field: str) -> np.dtype:
    """Return the dtype of a field of a domain, or raise KeyError with what there is."""
    dtype = schema.DTYPES[domain]
    if field not in (dtype.names or ()):
        raise KeyError(f"{domain} has no field {field!r}; it has {', '.join(dtype.names or ())}")
    found: np.dtype = dtype.fields[field][0]  # type: ignore[index]
    return found


def make_key(domain: str, field: str, limit: int) -> Key:
    """Return the key for a field. Raises KeyError (no such field), ValueError (one that nothing can be grouped by)."""
    dtype = check_field(domain, field)
    number = schema.DOMAINS[domain]
    if field in schema.TEXT_FIELDS[domain]:
        return TextKey(domain, field, limit)
    if dtype.itemsize == 16 and (dtype.kind == "S" or dtype.shape == (16,)):
        return BytesKey(domain, field)
    if dtype.shape:
        raise ValueError(f"{domain}.{field} is an array of numbers, which nothing can be grouped by; choose another field")
    return NumberKey(domain, field, {"type": type_name, "subtype": lambda n: subtype_name(number, n)}.get(field))
