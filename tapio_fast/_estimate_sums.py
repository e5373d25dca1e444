# SPDX-License-Identifier: Apache-2.0
"""Sums by key over numpy columns, and from them an estimate's variance and interval. Relies on numpy and `errors`.

A key is a row of u8 integers. Rows pile up and are folded when there are as many as keys, so memory follows the number of keys and
the cost per row does not grow. Nothing here knows records: `estimation` says what is summed.
"""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import numpy as np

from tapio_fast.errors import OutOfMemoryError

_PILE = 1 << 16             # rows kept back before a fold
Z = 1.959963984540054       # normal quantile of a 95 % interval
RELIABLE_N = 100            # kept records below which error bars are not to be trusted ...
RELIABLE_SHARE = 0.01       # ... and the share of what was sampled above which one record or key is too much of it
Columns = Iterable[np.ndarray | None]
_Table = tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]      # keys, sums, maxima


def too_many(things: str, what: str, limit: int) -> OutOfMemoryError:
    """Return the error that says that there are more of something than may be kept."""
    return OutOfMemoryError(f"cannot estimate {what}: there are more than {limit} distinct {things}; group by fewer fields, read a shorter "
                            "time, or raise max_keys")


class Sums:
    """Sums (and maxima) of columns by key.

    width : int, u8 columns of a key; may be 0 (one key)
    sums, maxima : int, f8 columns added up, and those of which the largest is kept
    limit : int, keys at most
    """

    def __init__(self, width: int, sums: int, maxima: int = 0, *, limit: int, what: str) -> None:
        self._limit, self._what = limit, what
        self.keys = np.empty((width, 0), np.uint64)
        self.sums = [np.empty(0)] * sums
        self.maxima = [np.empty(0)] * maxima
        self._pile: list[_Table] = []
        self._piled = 0

    def add(self, keys: np.ndarray, sums: Columns, maxima: Columns = ()) -> None:
        """Add n rows: keys u8[width, n], f8[n] for each sum and maximum, None = all zero. Raises OutOfMemoryError above the limit."""
        if keys.shape[1]:
            self._pile.append(_fold(keys, sums, maxima))
            self._piled += self._pile[-1][0].shape[1]
        if self._piled >= max(_PILE, self.keys.shape[1] // 2):
            self.fold()

    def fold(self) -> None:
        """Bring everything added so far into `keys` (ascending), `sums` and `maxima`."""
        parts = [(self.keys, self.sums, self.maxima), *self._pile]
        self._pile, self._piled = [], 0
        keys = np.concatenate([part[0] for part in parts], axis=1)
        if keys.shape[1]:
            self.keys, self.sums, self.maxima = _fold(keys, _joined(parts, 1), _joined(parts, 2))
        if self.keys.shape[1] > self._limit:
            raise too_many("keys", self._what, self._limit)


def starts_of(keys: np.ndarray) -> np.ndarray:
    """Return the places at which a new key begins in sorted keys u8[width, n]."""
    new = np.ones(keys.shape[1], bool)
    new[1:] = (keys[:, 1:] != keys[:, :-1]).any(axis=0)
    return np.flatnonzero(new)


def _joined(parts: list[_Table], which: Literal[1, 2]) -> Iterator[np.ndarray]:
    """Yield the columns of several tables one after the other, so that memory holds only one twice."""
    for columns in zip(*(part[which] for part in parts), strict=True):
        yield np.concatenate(columns)


def _fold(keys: np.ndarray, sums: Columns, maxima: Columns) -> _Table:
    code, n = _codes(keys)
    anywhere = np.empty(n, np.intp)
    anywhere[code] = np.arange(len(code))
    added = [np.zeros(n) if column is None else np.bincount(code, column, n) for column in sums]
    most = []
    for column in maxima:
        most.append(np.zeros(n))
        if column is not None:
            np.maximum.at(most[-1], code, column)
    return keys[:, anywhere], added, most


def _codes(keys: np.ndarray) -> tuple[np.ndarray, int]:
    """Number the distinct keys in ascending order: (number of each row's key, how many there are). No sort where values lie close."""
    n = keys.shape[1]
    roomy = 2 * n + _PILE
    code, size = np.zeros(n, np.intp), 1
    for column in keys:
        low, high = int(column.min()), int(column.max())
        if low == high:
            continue
        span = high - low + 1
        if span > roomy:
            values, place = np.unique(column, return_inverse=True)
            span, place = len(values), place.reshape(-1)
        else:
            place = (column - np.uint64(low)).astype(np.intp)
        code, size = code * span + place, size * span       # below (2 n + 65536)^2
        if size > roomy:
            values, code = np.unique(code, return_inverse=True)
            code, size = code.reshape(-1), len(values)
    there = np.zeros(size, bool)
    there[code] = True
    return (np.cumsum(there) - 1)[code], int(there.sum())


def cluster_totals(starts: np.ndarray, weights: np.ndarray, totals: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (plain total, weighted total, variance) of clusters whose parts may have different weights.

    starts : where each cluster begins; its parts lie together, weights ascending
    weights, totals : f8[n], of the parts

    One draw decides a cluster: a part of weight w is kept when the draw is below 1/w, so of two parts the one of the larger weight says
    whether both are there. Their covariance is (min(w, w') - 1) t t', and times max(w, w') unbiased from what was kept. With one weight
    that is w (w - 1) t^2.
    """
    counts = np.diff(np.append(starts, len(weights)))
    plain, weighted = np.add.reduceat(totals, starts), np.add.reduceat(weights * totals, starts)
    variance = np.zeros(len(starts))
    before = np.zeros(len(starts))      # sum of (w - 1) t of the parts with smaller weights
    many = np.arange(len(starts))
    for level in range(int(counts.max(initial=0))):
        many = many[counts[many] > level]
        w, t = weights[starts[many] + level], totals[starts[many] + level]
        variance[many] += w * (w - 1) * t * t + 2 * w * t * before[many]
        before[many] += (w - 1) * t
    return plain, weighted, variance


def moments(extra: np.ndarray, variance: np.ndarray) -> list[np.ndarray]:
    """Return three f8[n]: variance, and unbiased estimates of its covariance with the estimate and of its own variance, per drawn unit.

    extra : f8[n], weighted minus plain value of the unit: (w - 1) y
    variance : f8[n], w (w - 1) y^2
    """
    return [variance, variance * extra, variance * extra * extra]


def _quantile(freedom: np.ndarray) -> np.ndarray:
    """Return the 97.5 % quantile of Student's t by its expansion in 1/freedom: within 0.5 % from 3 degrees on."""
    f = np.maximum(freedom, 3.0)
    z = Z
    terms = ((z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96, (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384)
    out: np.ndarray = np.full(f.shape, z)
    for power, term in enumerate(terms, 1):
        out = out + term / f**power
    return out


def interval(estimate: np.ndarray, seen: np.ndarray, sums: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (standard error, low, high) of 95 % intervals.

    estimate : f8[n]
    seen : f8[n], what was kept, plain: no total of things that are never negative is less; -inf where they may be
    sums : three f8[n], of moments()

    The variance V is estimated from the same draws as the total, and grows with it: by b = cov / V for each unit. So the interval holds
    the totals T with (estimate - T)^2 <= q^2 (V + b (T - estimate)). For a count at one rate that is Wilson's interval. What noise
    of V this does not explain gives the degrees of freedom of q.
    """
    variance, covariance, noise = sums
    safe = np.where(variance > 0, variance, 1.0)
    slope = covariance / safe
    rest = np.maximum(noise - covariance * slope, 0.0)
    # a residue of rounding is no noise
    rest = np.where(rest > 1e-9 * noise, rest, 0.0)
    freedom = np.where(rest > 0, 2 * variance**2 / np.where(rest > 0, rest, 1.0), np.inf)
    q = _quantile(freedom)
    middle = q * q * slope / 2
    half = np.sqrt(middle * middle + q * q * variance)
    low, high = np.maximum(estimate + middle - half, seen), estimate + middle + half
    exact = variance <= 0
    return np.sqrt(variance), np.where(exact, estimate, np.minimum(low, estimate)), np.where(exact, estimate, high)
