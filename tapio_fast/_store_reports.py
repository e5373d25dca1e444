# SPDX-License-Identifier: Apache-2.0
"""What a store tells of itself. Relies on `_retention`."""
from __future__ import annotations

from dataclasses import dataclass, field

from tapio_fast._retention import Removed


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """What a store holds, by the headers of its blocks; `verify()` reads the blocks themselves.

    bytes : of all segments on disk; rows_by_domain : name -> rows
    first_ns, last_ns : Unix time of the oldest and newest row, None when there are no rows
    damaged : bool, something cannot be read: see verify()
    removed : Removed, what retention took away since the store was made; None: its record is damaged
    """

    path: str
    segments: int
    bytes: int
    blocks: int
    epochs: int
    rows: int
    rows_by_domain: dict[str, int]
    unknown_rows: int
    first_ns: int | None
    last_ns: int | None
    boot_ids: list[str]
    damaged: bool
    corrupt_blocks: int
    lost_rows: int
    torn_bytes: int
    foreign_files: int
    removed: Removed | None


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What a reading of every byte found.

    ok : bool, no damage: the next three are 0
    corrupt_blocks, lost_rows : damaged blocks and the rows that good headers say were in them
    torn_bytes : incomplete end of a segment (a crash, a cut file, or a block that is being written just now)
    unknown_rows : of domains this version does not know; foreign_files : named like a segment, but none
    """

    path: str
    ok: bool = field(init=False)
    segments: int
    blocks: int
    epochs: int
    rows: int
    corrupt_blocks: int
    lost_rows: int
    torn_bytes: int
    unknown_rows: int
    foreign_files: int
    seconds: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "ok", not (self.corrupt_blocks or self.lost_rows or self.torn_bytes))
