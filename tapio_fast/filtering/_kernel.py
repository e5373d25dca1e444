# SPDX-License-Identifier: Apache-2.0
"""KernelFilter: what the gate in the kernel can judge by itself (kinds, pids, cgroups, descendants). Relies on `schema`.

The filter language of expressions comes later; asking for one says so.
"""
from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from tapio_fast import schema
from tapio_fast._escape import escape
from tapio_fast.enabled import with_parts
from tapio_fast.errors import FilterError

_U64 = 1 << 64


@dataclass(frozen=True)
class KernelFilter:
    """Records are collected when every given part agrees with their subject; meta records always are.

    kinds : names such as "process.exec"; None = all that the configuration enables. network.flow brings send and recv, which it adds up
        (rows of theirs come only where the configuration asks for single ones)
    pids, not_pids : process ids as this process sees them
    cgroups, not_cgroups : cgroup ids (inode of the cgroup's directory), or the directories themselves
    descendants_of : process ids; they and what they fork from now on
    """

    kinds: frozenset[str] | None = None
    pids: frozenset[int] | None = None
    not_pids: frozenset[int] | None = None
    cgroups: frozenset[int] | None = None
    not_cgroups: frozenset[int] | None = None
    descendants_of: frozenset[int] | None = None

    __module__ = "tapio_fast"

    def __init__(self, *, kinds: Iterable[str] | None = None, pids: Iterable[int] | None = None,
                 not_pids: Iterable[int] | None = None, cgroups: Iterable[int | str] | None = None,
                 not_cgroups: Iterable[int | str] | None = None, descendants_of: Iterable[int] | None = None) -> None:
        if kinds is not None:
            kinds = frozenset(kinds)
            for name in kinds:
                if name not in schema.KIND_BY_NAME:
                    raise FilterError(f"no kind {name!r}; `tapio-fast list events` prints them all")
        object.__setattr__(self, "kinds", kinds)
        ids: dict[str, Iterable[int | str] | None] = {
            "pids": pids, "not_pids": not_pids, "cgroups": cgroups, "not_cgroups": not_cgroups, "descendants_of": descendants_of}
        for name, values in ids.items():
            object.__setattr__(self, name, None if values is None else _ids(name, values))

    def tables(self) -> dict[str, list[int]]:
        """Return the exact-match tables of the gate: name -> sorted ids."""
        named = {n: getattr(self, n) for n in ("pids", "not_pids", "cgroups", "not_cgroups")}
        return {name: sorted(ids) for name, ids in named.items() if ids is not None}

    def numbers(self, enabled: Iterable[str]) -> list[int]:
        """Return the dense numbers of the kinds wanted, meta kinds among them."""
        names = set(enabled) if self.kinds is None else set(enabled) & with_parts(set(self.kinds))
        return [k.number for k in schema.KINDS if k.name in names or k.domain == schema.META]

    def mask(self, rows: np.ndarray) -> np.ndarray:
        """Judge rows in numpy: bool[n]. `descendants_of` needs the kernel and raises FilterError."""
        if self.descendants_of is not None:
            raise FilterError("descendants_of can only be judged while collecting, not on rows; filter by pids instead")
        keep = np.ones(len(rows), bool)
        if self.kinds is not None:
            wanted = np.zeros((16, 256), bool)
            for name in self.kinds:
                wanted[schema.KIND_BY_NAME[name].type, schema.KIND_BY_NAME[name].subtype] = True
            keep &= wanted[rows["type"], rows["subtype"]]
        for name, ids in self.tables().items():
            column = rows["pid"] if name.endswith("pids") else rows["cgroup_id"]
            found = np.isin(column, np.array(ids, np.uint64))
            keep &= ~found if name.startswith("not_") else found
        return keep

    def text(self) -> str:
        """Return the filter as the text that RULES records carry."""
        parts = [f"kind in ({', '.join(sorted(self.kinds))})"] if self.kinds is not None else []
        names = {"pids": "pid in", "not_pids": "pid not in", "cgroups": "cgroup_id in", "not_cgroups": "cgroup_id not in"}
        parts += [f"{names[n]} ({', '.join(map(str, ids))})" for n, ids in self.tables().items()]
        if self.descendants_of is not None:
            parts.append(f"descendant_of {', '.join(map(str, sorted(self.descendants_of)))}")
        return " and ".join(parts) or "all"


def _cgroup(path: str) -> int:
    try:
        return os.stat(path).st_ino
    except OSError as error:
        raise FilterError(f"no cgroup {escape(path)} ({error.strerror}); give its directory, in the hierarchy whose ids the records "
                          "carry (the memory controller's where flag CGROUP_V1 is set)") from None


def _ids(name: str, values: Iterable[int | str]) -> frozenset[int]:
    ids = frozenset(_cgroup(v) if isinstance(v, str) and "cgroup" in name else int(v) for v in values)
    limit = _U64 if "cgroup" in name else 1 << 32
    for value in ids:
        if not 0 <= value < limit:
            raise FilterError(f"{name}: {value} is not an id (0 to {limit - 1})")
    return ids


def as_filter(filter: object) -> KernelFilter:
    """Return a filter, or raise FilterError for what cannot be one yet."""
    if filter is None:
        return KernelFilter()
    if isinstance(filter, KernelFilter):
        return filter
    if isinstance(filter, str):
        raise FilterError("filter expressions are not available in this version; use KernelFilter(kinds=, pids=, cgroups=, "
                          "descendants_of=) or filter the arrays with numpy")
    raise FilterError(f"a filter is a KernelFilter, not {type(filter).__name__}")
