# SPDX-License-Identifier: Apache-2.0
"""Whose draw decided about a record: which records share one fate, as `tf_sample_keeps` in the kernel gives it. Relies on `schema`.

By process: (pid, start_ns). A record whose subject is not known (pid 0) is drawn by itself. By connection: TCP only, all others are drawn one
by one. A row names its connection by the socket's cookie, which the next socket at the same address has again; the draw goes by the
connection's birth, so such connections have fates of their own, and are told apart by the close record that ends each.
"""
from __future__ import annotations

import numpy as np

from tapio_fast import schema
from tapio_fast._estimate_books import CONNECTION, PROCESS
from tapio_fast._estimate_sums import starts_of, too_many

_TCP = 6
_CLOSE = schema.KIND_BY_NAME["network.close"].subtype


def _connected(rows: np.ndarray) -> np.ndarray:
    found: np.ndarray = (rows["protocol"] == _TCP) & (rows["cookie"] != 0)
    return found


def clustered(domain: str, rows: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Return bool[n]: records whose fate was drawn together with others'."""
    out: np.ndarray = (drawn == PROCESS) & (rows["pid"] != 0)
    if domain == "network":
        out |= (drawn == CONNECTION) & _connected(rows)
    return out


def names(domain: str, rows: np.ndarray, drawn: np.ndarray, turns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return two u8[n] that name the process or the connection of each record; turns is Connections.turns()."""
    first, second = rows["pid"].astype(np.uint64), rows["start_ns"].copy()
    if domain == "network":
        by = drawn == CONNECTION
        first[by], second[by] = turns[by] << np.uint64(32) | rows["netns"][by], rows["cookie"][by]
    return first, second


class Connections:
    """Counts the closes of each cookie along the stream."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._run = 0
        self._cookies = np.empty(0, np.uint64)      # ascending
        self._closes = np.empty(0, np.uint64)

    def turns(self, rows: np.ndarray, run: int) -> np.ndarray:
        """Return u8[n]: how many connections with its cookie ended before each row, by time within the batch. Once for each batch."""
        if run != self._run:        # cookies are hashed anew
            self._run, self._cookies, self._closes = run, self._cookies[:0], self._closes[:0]
        out = np.zeros(len(rows), np.uint64)
        places = np.flatnonzero(_connected(rows))
        if not len(places):
            return out
        closes = rows["subtype"][places] == _CLOSE
        places = places[np.lexsort((closes, rows["ts_ns"][places], rows["cookie"][places]))]
        cookies, closes = rows["cookie"][places], (rows["subtype"][places] == _CLOSE).astype(np.uint64)
        starts = starts_of(cookies[np.newaxis])
        counts = np.diff(np.append(starts, len(cookies)))
        before = np.cumsum(closes) - closes
        known = self._known(cookies[starts])
        out[places] = before - np.repeat(before[starts] - known, counts)
        self._remember(cookies[starts], known, np.add.reduceat(closes, starts))
        return out

    def _known(self, cookies: np.ndarray) -> np.ndarray:
        if not len(self._cookies):
            return np.zeros(len(cookies), np.uint64)
        at = np.minimum(np.searchsorted(self._cookies, cookies), len(self._cookies) - 1)
        return np.where(self._cookies[at] == cookies, self._closes[at], np.uint64(0))

    def _remember(self, cookies: np.ndarray, known: np.ndarray, more: np.ndarray) -> None:
        ended = more > 0
        if ended.any():
            self._cookies, first = np.unique(np.append(cookies[ended], self._cookies), return_index=True)
            self._closes = np.append((known + more)[ended], self._closes)[first]
        if len(self._cookies) > self._limit:
            raise too_many("sockets", "network", self._limit)
