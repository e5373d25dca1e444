# SPDX-License-Identifier: Apache-2.0
"""What meta rows say about how a domain was sampled (RATE) and what of it nobody saw (EPOCH, THROTTLE). Relies on `schema`.

Meta rows are read like any other bytes of a file: lengths are checked before use, and a tail that is too short is read as far as it goes.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tapio_fast import schema
from tapio_fast.sampling import rates_told

if TYPE_CHECKING:
    from tapio_fast.batch import RecordBatch

# how the fate of a record was drawn: RATE rows' `cause`
RECORD, PROCESS, CONNECTION, UNKNOWN = 0, 1, 2, 255
LOSS = np.dtype([("count", "u8"), ("cpu", "u2"), ("type", "u1"), ("subtype", "u1"), ("cause", "u4")])      # struct tf_epoch_loss
_SEQ_BYTES = 16             # of a struct tf_epoch_seq, which come first in the tail of an EPOCH row
WHOLE = 1 << 32             # RATE: kept of so many
UNOBSERVED = ("k_throttled", "k_ring_full", "k_fault", "k_too_big", "k_map_full", "k_busy", "u_bad")
_CAUSES = np.array([schema.LEDGER.index(cause) for cause in UNOBSERVED])
_THROTTLED = schema.LEDGER.index("k_throttled")


def _meta(batch: RecordBatch, kind: str) -> tuple[np.ndarray, np.ndarray]:
    rows = batch[schema.META]
    places = np.flatnonzero(rows["subtype"] == schema.KIND_BY_NAME[f"meta.{kind}"].subtype)
    return rows[places], places


def losses(batch: RecordBatch, rows: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (entries of dtype LOSS, index of the row that each is from) of EPOCH or THROTTLE rows."""
    texts = batch.strings(schema.META, "data")
    offsets = texts.offsets.astype(np.int64)
    begin = offsets[places] + rows["n_seqs"].astype(np.int64) * _SEQ_BYTES
    fit = np.maximum(offsets[places + 1] - begin, 0) // LOSS.itemsize
    counts = np.minimum(rows["n_losses"].astype(np.int64), fit)
    owner = np.repeat(np.arange(len(rows)), counts)
    nth = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    at = begin[owner] + nth * LOSS.itemsize
    data = np.frombuffer(texts.data, np.uint8)
    return data[at[:, np.newaxis] + np.arange(LOSS.itemsize)].reshape(-1).view(LOSS), owner


class Books:
    """The state of one domain's sampling along the stream, and its losses.

    lost : i8[256], records nobody saw by subtype
    throttled : {(cgroup id, subtype): records}, the part of them that THROTTLE rows name
    untold : int, records lost of all domains in batches that carry no EPOCH row; some of them may be of this domain
    missing_epochs : int, epochs left out between those that came
    sampled : bool, a RATE row said that not every record of a kind is kept
    """

    def __init__(self, domain: str) -> None:
        self._type = schema.DOMAINS[domain]
        self._kinds = {k.number: k.subtype for k in schema.KINDS if k.domain == domain}
        self.lost = np.zeros(256, np.int64)
        self.throttled: dict[tuple[int, int], int] = {}
        self.untold = 0
        self.missing_epochs = 0
        self.sampled = False
        self.run = 0                # number of the collection under way, which changes where boot_id or run_id do
        self._id: tuple[object, int] | None = None
        self._epoch = 0
        self._drawn = np.full(256, UNKNOWN, np.uint8)

    def read(self, batch: RecordBatch) -> None:
        """Take the losses of a batch, and notice where another collection begins."""
        identity = (batch.boot_id, batch.run_id)
        if identity != self._id:
            self.run += self._id is not None
            self._id, self._epoch = identity, 0
            self._drawn[:] = UNKNOWN
            for kind, (cause, thinned) in rates_told(*identity).items():
                if kind in self._kinds and cause <= CONNECTION:
                    self._drawn[self._kinds[kind]] = cause
                    self.sampled |= thinned
        rows, places = _meta(batch, "epoch")
        if not len(rows):
            self.untold += sum(batch.loss.get(cause, 0) for cause in UNOBSERVED)
            return
        self._count_epochs(rows["epoch"].astype(np.int64))
        entries, _ = losses(batch, rows, places)
        mine = entries[(entries["type"] == self._type) & np.isin(entries["cause"], _CAUSES)]
        np.add.at(self.lost, mine["subtype"], mine["count"].astype(np.int64))
        self._read_throttle(batch)

    def _count_epochs(self, epochs: np.ndarray) -> None:
        steps = np.diff(epochs, prepend=self._epoch or epochs[0] - 1)
        self.missing_epochs += int((steps[steps > 1] - 1).sum())
        self._epoch = int(epochs[-1])

    def _read_throttle(self, batch: RecordBatch) -> None:
        rows, places = _meta(batch, "throttle")
        entries, owner = losses(batch, rows, places)
        for entry, row in zip(entries, owner.tolist(), strict=True):
            if entry["type"] == self._type and entry["cause"] == _THROTTLED and rows["object_id"][row]:
                key = (int(rows["object_id"][row]), int(entry["subtype"]))
                self.throttled[key] = self.throttled.get(key, 0) + int(entry["count"])

    def drawn(self, batch: RecordBatch, rows: np.ndarray) -> np.ndarray:
        """Return u1[n]: how the fate of each row was drawn, by the last RATE row of its kind up to its time.

        A row before the first RATE row of its kind is judged by that one if both are in this batch, else by what batches that were read
        live have said; without either it is UNKNOWN.
        """
        told, _ = _meta(batch, "rate")
        told = told[np.isin(told["object_id"], list(self._kinds)) & (told["cause"] <= CONNECTION)]
        self.sampled |= bool((told["value"] < WHOLE).any())
        told = told[np.argsort(told["ts_ns"], kind="stable")]
        changed = []
        for kind in np.unique(told["object_id"]).tolist():
            mine = told[told["object_id"] == kind]
            subtype = self._kinds[kind]
            first = self._drawn[subtype] if self._drawn[subtype] != UNKNOWN else mine["cause"][0]
            self._drawn[subtype] = mine["cause"][-1]
            if (mine["cause"] != first).any():
                changed.append((subtype, mine["ts_ns"], np.append(first, mine["cause"]).astype(np.uint8)))
        out: np.ndarray = self._drawn[rows["subtype"]]
        for subtype, times, causes in changed:
            where = np.flatnonzero(rows["subtype"] == subtype)
            out[where] = causes[np.searchsorted(times, rows["ts_ns"][where], side="right")]
        return out

    def by_kind(self) -> dict[str, int]:
        """Return {kind: records nobody saw}, of those that lost any."""
        names = {k.subtype: k.name for k in schema.KINDS if k.type == self._type}
        return {names.get(s, str(s)): int(self.lost[s]) for s in np.flatnonzero(self.lost).tolist()}

    def unobserved(self, n: int, subtypes: np.ndarray | None, cgroups: np.ndarray | None) -> np.ndarray:
        """Return i8[n]: records nobody saw that may belong to each of n rows, of which the subtype or the cgroup may be known."""
        lost = np.full(n, self.lost.sum()) if subtypes is None else self.lost[subtypes.astype(np.intp)]
        if cgroups is not None and self.throttled:
            lost = np.maximum(lost - self._named(n, subtypes), 0) + self._of_cgroups(subtypes, cgroups)
        return lost + self.untold

    def _named(self, n: int, subtypes: np.ndarray | None) -> np.ndarray:
        """Of what was throttled, how much is known to be some cgroup's."""
        by_subtype = np.zeros(256, np.int64)
        for (_, subtype), count in self.throttled.items():
            by_subtype[subtype] += count
        return np.full(n, by_subtype.sum()) if subtypes is None else by_subtype[subtypes.astype(np.intp)]

    def _of_cgroups(self, subtypes: np.ndarray | None, cgroups: np.ndarray) -> np.ndarray:
        if subtypes is not None:
            pairs = zip(cgroups.tolist(), subtypes.tolist(), strict=True)
            return np.array([self.throttled.get(pair, 0) for pair in pairs], np.int64)
        by_cgroup: dict[int, int] = {}
        for (cgroup, _), count in self.throttled.items():
            by_cgroup[cgroup] = by_cgroup.get(cgroup, 0) + count
        return np.array([by_cgroup.get(cgroup, 0) for cgroup in cgroups.tolist()], np.int64)
