# SPDX-License-Identifier: Apache-2.0
"""The numpy view of every record: dtypes, kinds and ledger columns, all built from the C tables. Relies on `_core._layout`."""
from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from tapio_fast._core import _layout

TEXT = np.dtype([("offset", "u4"), ("len", "u4"), ("full_len", "u4")])
LANES = ("critical", "bulk")


@dataclass(frozen=True, slots=True)
class Kind:
    """One (type, subtype): `name` is "process.exec", `number` its dense number, which indexes the ledger."""

    number: int
    name: str
    domain: str
    type: int
    subtype: int
    lane: str
    severity: int


def _field_dtype(kind: str, size: int) -> np.dtype | tuple[np.dtype, int]:
    if kind == "T":
        return TEXT
    if kind == "B":
        return np.dtype((np.uint8, (size,)))
    if kind == "A":
        return np.dtype((np.uint64, (size // 8,)))
    return np.dtype(f"{kind}{size}")


def _domain_dtype(size: int, fields: list[tuple[str, str, str, int, int]]) -> np.dtype:
    shown = [f for f in fields if not f[0].startswith("_")]
    return np.dtype({"names": [f[0] for f in shown], "formats": [_field_dtype(f[2], f[4]) for f in shown],
                     "offsets": [f[3] for f in shown], "itemsize": size})


_LAYOUTS = _layout.layouts()
# domain name -> dtype of its rows (padding hidden, offsets as in C)
DTYPES: dict[str, np.dtype] = {name: _domain_dtype(size, fields) for name, _, _, size, fields in _LAYOUTS}
# domain name -> number (enum tf_type), and back
DOMAINS: dict[str, int] = {name: number for name, _, number, _, _ in _LAYOUTS}
DOMAIN_NAMES: dict[int, str] = {number: name for name, number in DOMAINS.items()}
# domain name -> {text field: bytes from the start of the row}
TEXT_FIELDS: dict[str, dict[str, int]] = {name: {f[0]: f[3] for f in fields if f[2] == "T"} for name, _, _, _, fields in _LAYOUTS}
# domain name -> names of the fields in the order of the layout, hidden ones too
FIELDS: dict[str, tuple[str, ...]] = {name: tuple(f[0] for f in fields) for name, _, _, _, fields in _LAYOUTS}
# fields of the common header, in order
HEADER_FIELDS: tuple[str, ...] = tuple(f for f in DTYPES["cpu"].names or () if DTYPES["cpu"].fields[f][1] < 80)  # type: ignore[index]
KINDS: tuple[Kind, ...] = tuple(
    Kind(i, f"{DOMAIN_NAMES[type_]}.{name}", DOMAIN_NAMES[type_], type_, subtype, LANES[lane], severity)
    for i, (name, type_, subtype, lane, severity) in enumerate(_layout.kinds()))
KIND_BY_NAME: dict[str, Kind] = {k.name: k for k in KINDS}
# ledger columns by place; None = unused
LEDGER: tuple[str | None, ...] = _layout.LEDGER
# what a refused record can have been refused for in the kernel; seen = submitted + the sum of these
KERNEL_CAUSES: tuple[str, ...] = ("k_filtered", "k_throttled", "k_sampled", "k_ring_full", "k_fault", "k_too_big", "k_map_full",
                                  "k_busy", "k_aggregated")
META = "meta"


@cache
def empty(domain: str) -> np.ndarray:
    """Return the read-only array of no rows of a domain."""
    rows = np.empty(0, DTYPES[domain])
    rows.flags.writeable = False
    return rows


def check_domain(domain: str) -> int:
    """Return the number of a domain, or raise KeyError with what there is."""
    try:
        return DOMAINS[domain]
    except KeyError:
        raise KeyError(f"no domain {domain!r}; there are {', '.join(sorted(DOMAINS))}") from None


def severity_table() -> np.ndarray:
    """Return u1[16, 256]: severity of (type, subtype) when the operation succeeded; 1 (debug) where unknown."""
    table = np.ones((16, 256), np.uint8)
    for kind in KINDS:
        table[kind.type, kind.subtype] = kind.severity
    return table
