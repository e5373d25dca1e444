# SPDX-License-Identifier: Apache-2.0
"""The ways to read a collector: batches until a limit, in time order, asynchronously. Relies on `batch` and on the collector's read."""
from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from typing import Protocol

import numpy as np

from tapio_fast import schema
from tapio_fast._core import _engine
from tapio_fast.batch import RecordBatch
from tapio_fast.errors import ClosedError

_SLICE = 1.0    # s: longest single wait, so that a duration ends on time


class Reader(Protocol):
    """What these functions need of a collector."""

    def read(self, timeout: float | None = None) -> RecordBatch | None: ...
    def fileno(self) -> int: ...
    def _queued(self) -> int: ...
    @property
    def ended(self) -> bool: ...


class Limits:
    """When an iteration ends: idle seconds, seconds in all, records in all (meta records do not count)."""

    def __init__(self, timeout: float | None, duration: float | None, max_events: int | None) -> None:
        for name, value in (("timeout", timeout), ("duration", duration), ("max_events", max_events)):
            if value is not None and value < 0:
                raise ValueError(f"{name} is {value}; it must not be negative")
        now = time.monotonic()
        self._timeout = timeout
        self._end = None if duration is None else now + duration
        self._left = max_events
        self._idle_since = now
        self._rest: int | None = None       # rows to hand over still, once time is up

    @property
    def full(self) -> bool:
        """True once max_events were taken."""
        return self._left == 0

    def wait(self, reader: Reader) -> float | None:
        """Seconds that one read may wait: 0 once time is up, for what had been drained by then still counts; None when that is read.

        What is drained later does not count: a consumer slower than its stream would never come to an end.
        """
        now = time.monotonic()
        waits = [_SLICE]
        if self._end is not None:
            waits.append(self._end - now)
        if self._timeout is not None:
            waits.append(self._idle_since + self._timeout - now)
        if min(waits) > 0:
            self._rest = None
            return min(waits)
        if self._rest is None:
            self._rest = reader._queued()
        return 0.0 if self._rest > 0 else None

    def take(self, batch: RecordBatch) -> RecordBatch:
        """Count a batch; return it, or its first records in time when it holds more than are left."""
        records = len(batch) - len(batch[schema.META])
        if self._rest is not None:
            self._rest -= len(batch)
        if records:
            self._idle_since = time.monotonic()
        if self._left is None:
            return batch
        if records > self._left:
            batch = head(batch, self._left)
            records = self._left
        self._left -= records
        return batch


def head(batch: RecordBatch, n: int) -> RecordBatch:
    """Return a copy with the first n records in time order, and the meta records."""
    domain, row = (np.frombuffer(b, t) for b, t in zip(batch._core.order(), (np.uint8, np.uint32), strict=True))
    real = domain != schema.DOMAINS[schema.META]
    domain, row = domain[real][:n], row[real][:n]
    masks = {}
    for name in batch.domains:
        if name != schema.META:
            keep = np.zeros(len(batch[name]), bool)
            keep[row[domain == schema.DOMAINS[name]]] = True
            masks[schema.DOMAINS[name]] = np.packbits(keep, bitorder="little").tobytes()
    return RecordBatch(batch._core.select(masks))


def batches(reader: Reader, limits: Limits) -> Iterator[RecordBatch]:
    """Yield batches until the collector stops or a limit is reached."""
    while not limits.full:
        try:
            wait = limits.wait(reader)
            if wait is None:
                return
            batch = reader.read(wait)
        except ClosedError:
            return      # by another thread, between two reads
        if batch is not None:
            yield limits.take(batch)
        elif wait == 0 or reader.ended:
            return


def ordered(source: Iterator[RecordBatch]) -> Iterator[RecordBatch]:
    """Merge CPUs by time: hold back records newer than the watermark until a later batch has passed them."""
    held: _engine.Batch | None = None
    for batch in source:
        core = batch._core if held is None else _engine.concat([held, batch._core])
        done = core.until(batch.watermark_ns)
        held = core.until(batch.watermark_ns, after=True)
        yield RecordBatch(done.sorted())
    if held is not None and len(held):
        yield RecordBatch(held.sorted())


async def abatches(reader: Reader, limits: Limits) -> AsyncIterator[RecordBatch]:
    """Yield batches like `batches`, waiting in the running event loop."""
    import asyncio  # 30 ms of import that only this way of reading needs

    loop = asyncio.get_running_loop()
    while not limits.full:
        # Other tasks, timeouts and cancellation have their turn though batches wait; before the read, so that none is lost to them.
        await asyncio.sleep(0)
        try:
            wait = limits.wait(reader)
            batch = None if wait is None else reader.read(0)
        except ClosedError:
            return
        if batch is not None:
            yield limits.take(batch)
            continue
        if not wait or reader.ended:
            return
        ready = asyncio.Event()
        fd = reader.fileno()
        loop.add_reader(fd, ready.set)
        try:
            await asyncio.wait_for(ready.wait(), wait)
        except TimeoutError:
            pass        # the limits are looked at again
        finally:
            loop.remove_reader(fd)
