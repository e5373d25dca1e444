# SPDX-License-Identifier: Apache-2.0
"""KernelFilter: a filter of ids and kinds, given as arguments: what the gate judges to the end by itself. Relies on `_event_filter`."""
from __future__ import annotations

import os
from collections.abc import Iterable

from tapio_fast import schema
from tapio_fast._escape import escape
from tapio_fast.errors import FilterError
from tapio_fast.filtering._event_filter import EventFilter
from tapio_fast.filtering._fields import catalogue
from tapio_fast.filtering._tree import Node, Test, all_of, merge_ranges

_U64 = 1 << 64


class KernelFilter(EventFilter):
    """Records are collected when every given part agrees with their subject; meta records always are.

    kinds : names such as "process.exec"; None = all that the configuration enables. network.flow brings send and recv, which it adds up
        (rows of theirs come only where the configuration asks for single ones)
    pids, not_pids : process ids as this process sees them
    cgroups, not_cgroups : cgroup ids (inode of the cgroup's directory), or the directories themselves
    descendants_of : process ids; they and what they fork from now on
    """

    __module__ = "tapio_fast"

    def __init__(self, *, kinds: Iterable[str] | None = None, pids: Iterable[int] | None = None,
                 not_pids: Iterable[int] | None = None, cgroups: Iterable[int | str] | None = None,
                 not_cgroups: Iterable[int | str] | None = None, descendants_of: Iterable[int] | None = None) -> None:
        self.kinds = None if kinds is None else frozenset(kinds)
        self.pids, self.not_pids = _ids("pids", pids), _ids("not_pids", not_pids)
        self.cgroups, self.not_cgroups = _ids("cgroups", cgroups), _ids("not_cgroups", not_cgroups)
        self.descendants_of = _ids("descendants_of", descendants_of)
        for name in self.kinds or ():
            if name not in schema.KIND_BY_NAME:
                raise FilterError(f"no kind {name!r}; `tapio-fast list events` prints them all")
        super().__init__(tree=self._build())

    def _build(self) -> Node:
        fields = catalogue()
        parts: list[Node] = []
        if self.kinds is not None:
            parts.append(Test(fields["kind"], "kind", tuple(sorted(schema.KIND_BY_NAME[name].number for name in self.kinds))))
        for name, ids, negate in (("pid", self.pids, False), ("pid", self.not_pids, True), ("cgroup_id", self.cgroups, False),
                                  ("cgroup_id", self.not_cgroups, True)):
            if ids is not None:
                parts.append(Test(fields[name], "range", merge_ranges([(i, i) for i in ids]), negate))
        if self.descendants_of is not None:
            parts.append(Test(fields["descendant_of"], "follow", tuple(sorted(self.descendants_of))))
        return all_of(parts)


def _cgroup(path: str) -> int:
    try:
        return os.stat(path).st_ino
    except OSError as error:
        raise FilterError(f"no cgroup {escape(path)} ({error.strerror}); give its directory, in the hierarchy whose ids the records "
                          "carry (the memory controller's where flag CGROUP_V1 is set)") from None


def _ids(name: str, values: Iterable[int | str] | None) -> frozenset[int] | None:
    if values is None:
        return None
    ids = frozenset(_cgroup(v) if isinstance(v, str) and "cgroup" in name else int(v) for v in values)
    limit = _U64 if "cgroup" in name else 1 << 32
    for value in ids:
        if not 0 <= value < limit:
            raise FilterError(f"{name}: {value} is not an id (0 to {limit - 1})")
    return ids
