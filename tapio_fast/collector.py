# SPDX-License-Identifier: Apache-2.0
"""Collector: a source, the pump and its branches behind one object. Relies on `_core`, `sources`, `batch`, `stats`, `store`.

Threads: the engine's own ("tapio-pump", "tapio-store") never run Python. Any thread may call stats(), health(), set_filter() and
stop(); one at a time may read.
"""
from __future__ import annotations

import atexit
import dataclasses
import logging
import os
import threading
import time
import weakref
from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

from tapio_fast import _consume
from tapio_fast._redaction import redactor_for
from tapio_fast._reports import debug_info, health_status, statistics
from tapio_fast.batch import RecordBatch
from tapio_fast.config import Config
from tapio_fast.errors import ClosedError, ConfigError
from tapio_fast.filtering import EventFilter, as_filter, from_config, left_out
from tapio_fast.platform import require_linux
from tapio_fast.sampling import note_rates, sampled
from tapio_fast.sources import KernelSource
from tapio_fast.stats import DebugInfo, HealthStatus, Statistics

if TYPE_CHECKING:
    from tapio_fast._builder import CollectorBuilder
    from tapio_fast.events import RawEvent
    from tapio_fast.filtering._push import Plan

log = logging.getLogger("tapio_fast")
_MIB = 1 << 20
_DRAIN_MS = 2000
_STORE_MB = 32          # what the store's writer may hold beside the pool: its open block, raw and compressed
_open: weakref.WeakSet[Collector] = weakref.WeakSet()


class Collector:
    """Collect kernel records and hand them over in batches.

    config : Config, or None for Config.default()
    filter : expression (str) or EventFilter, what is collected at all; None = what the configuration enables (docs/filter.md)
    sampler : AdaptiveSampling, in place of the configuration's [filtering.adaptive_sampling]
    source : where records come from; None = the kernel (KernelSource)

    Raises UnsupportedPlatformError, PermissionDeniedError, ProgramLoadError, LayoutError, StoreError when started.
    """

    __module__ = "tapio_fast"

    def __init__(self, config: Config | None = None, *, filter: EventFilter | str | None = None, sampler: Any = None,
                 enricher: Any = None, correlator: Any = None, output: Any = None, source: Any = None) -> None:
        for name, value in {"enricher": enricher, "correlator": correlator, "output": output}.items():
            if value is not None:
                raise ConfigError(f"Collector({name}=...) is not available in this version; leave it out")
        config = Config.default() if config is None else config
        if not isinstance(config, Config):
            raise ConfigError(f"a configuration is a Config, not {type(config).__name__}: Config.from_file(path), or Config.default().replace(...)")
        self.config = config if sampler is None else sampled(config, sampler)
        self._asked = as_filter(filter)         # what the user gave; in force is what the configuration asks for as well
        self._asked.check_usable()
        self._filter = from_config(self.config).joined(self._asked)
        if source is None:
            require_linux()
            source = KernelSource()
        self._source = source
        self._state = "new"
        self._lock = threading.RLock()          # lifecycle and calls into the pump
        self._reading = threading.Lock()        # the one consumer
        self._pump: Any = None
        self._log: Any = None
        self._pool: Any = None
        self._store_id: tuple[int, ...] | None = None
        self._attached = self._closing = False
        self._final: tuple[Any, ...] | None = None
        self._counts: tuple[int, int, list[int]] = (0, 0, [])       # of the filter, as last read
        self._last_violations: list[str] = []
        self._started = self._stopped_at = 0.0
        self._pid = os.getpid()

    # -- life ------------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Load, attach and start collecting. Once only. Records are handed out from the first read on: to miss none, read(0) right away."""
        with self._lock:
            if self._state != "new":
                raise ClosedError(f"this collector is {self._state} already; make a new one to collect again")
            self._state = "failed"
            self._build()
            self._state = "running"
            self._started = time.monotonic()
            _open.add(self)
            self._source._begin()

    def _build(self) -> None:
        from tapio_fast._core._engine import Pool
        from tapio_fast._core._log import Log
        from tapio_fast._core._pump import Pump

        perf = self.config.performance
        self._log = Log()
        writer = self._open_store()
        redactor = redactor_for(self.config, self._source.name)
        outside = perf.ring_buffer_size_mb * 9 // 8 + (_STORE_MB if writer is not None else 0)
        outside += -(-redactor.stats()["bytes"] // _MIB) if redactor is not None else 0
        self._pool = Pool(perf.batch_pool_mb * _MIB, max(perf.memory_limit_mb - outside, perf.batch_pool_mb) * _MIB)
        try:
            core = self._source._open(self.config, self._log, self._filter)
            self._pump = Pump(core, self._pool, self._log, rows_per_domain=self.config.event_buffer_size, redactor=redactor)
            plan = self._source._plan_of(self._filter)
            self._pump.set_filter(self._source._gen, self._residual(plan, self._source._narrowed(self._filter)))
            self._asked._users.add(self)
            if writer is not None:
                self._pump.set_raw(writer, "drop_newest" if self._source.name != "store" else "block")
            self._note_rules(self._source._gen)
            self._source._bind(self._pump, self.config)
            if self._source._finite:      # what is there already must not go by before the first read
                self._attach()
            self._pump.start()
        except BaseException:
            if self._pump is not None:
                self._pump.close()
            if writer is not None:
                writer.close()      # the store is free at once, not when the traceback goes; a no-op where the pump had it
            self._drain_log()
            raise

    def _open_store(self) -> Any:
        dual = self.config.dual_path
        if not (dual.enabled and dual.raw_storage_enabled):
            return None
        from tapio_fast._store_files import kept, open_writer
        writer = open_writer(dual.raw_storage_path, **kept(dual.raw_retention_hours * 3600, dual.raw_max_mb << 20, dual.raw_keep_free_mb << 20))
        self._store_id = _identity(dual.raw_storage_path)
        return writer

    def stop(self) -> None:
        """Stop collecting: drain what is in the rings, end the branches. What is queued can still be read. Twice is fine."""
        with self._lock:
            if self._state != "running":
                return
            self._state = "stopped"
            self._source._end()
            self._pump.stop(_DRAIN_MS)
            self._stopped_at = time.monotonic()
            self._drain_log()

    def close(self) -> None:
        """Stop and let go of everything but batches that are still held; stats() keeps the last numbers. Twice is fine."""
        self.stop()
        self._closing = True
        with self._reading, self._lock:         # a read() in another thread returns first: stop() has ended its queue
            if self._state == "stopped":
                self._final, self._last_violations = self._snapshot(), self._violations()
                self._filter_counts()
                self._state = "closed"
                self._pump.close()
                self._pump = None
                self._drain_log()
            _open.discard(self)

    def __enter__(self) -> Collector:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    async def __aenter__(self) -> Collector:
        self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_state", "") == "running" and self._pid == os.getpid():
            self.close()

    def _forget(self) -> None:
        """In a forked child: the parent goes on collecting, this copy is closed."""
        self._lock, self._reading = threading.RLock(), threading.Lock()     # their holders do not exist here
        if self._state in ("running", "stopped"):
            self._pump.forget()
            self._source._forget()
        self._state, self._pump = "closed (forked child)", None

    # -- reading ---------------------------------------------------------------------------------------------------------

    def read(self, timeout: float | None = None) -> RecordBatch | None:
        """Return the next batch; None after `timeout` seconds (None = no limit) or once stopped and empty (`ended`)."""
        if not self._reading.acquire(blocking=False):
            if not self._closing:
                raise RuntimeError("another thread is reading this collector; one consumer at a time")
            self._reading.acquire()     # it is close() that has it, not a reader
        try:
            self._attach()
            core = self._pump.pop(-1 if timeout is None else max(0, round(timeout * 1000)))
        finally:
            self._reading.release()
        if self._log is not None:
            self._drain_log()
        if core is None:
            return None
        batch = RecordBatch(core)
        note_rates(batch)
        if self.config.debug.enabled and self.config.debug.trace_events:
            log.debug("%r loss=%r", batch, {k: v for k, v in batch.loss.items() if v})
        return batch

    def _attach(self) -> None:
        with self._lock:
            if self._pump is None:
                raise ClosedError(f"this collector is {self._state}; " +
                                  ("start it first: `with Collector(...) as collector:`" if self._state == "new" else "make a new one"))
            if not self._attached:
                perf = self.config.performance
                alone = not (self.config.dual_path.enabled and self.config.dual_path.raw_storage_enabled)
                policy = perf.overflow_policy if perf.overflow_policy != "auto" else ("block" if alone else "drop_oldest")
                size = perf.batch_pool_mb * _MIB
                # a full queue must leave room for the batch that is about to be dropped
                self._pump.attach_user(size // 2 if policy == "drop_newest" else size, policy)
                self._attached = True

    @property
    def ended(self) -> bool:
        """True once the collector has stopped and every batch has been read."""
        return self._pump is None or bool(self._pump.ended)

    def _queued(self) -> int:
        """Rows that wait to be read now."""
        return int(self._pump.stats()["user"]["queued"]) if self._pump is not None else 0

    def fileno(self) -> int:
        """Descriptor for select(): readable while a batch waits or the collector has ended. Attaches the consumer."""
        self._attach()
        return int(self._pump.fileno())

    def batches(self, timeout: float | None = None, duration: float | None = None, max_events: int | None = None,
                ordered: bool = False) -> Iterator[RecordBatch]:
        """Yield batches until stop(), `timeout` idle seconds, `duration` seconds or `max_events` records.

        ordered : bool, merge CPUs by time: rows come in order of (ts_ns, cpu, lane, seq), at the price of a copy
        """
        self._attach()
        found = _consume.batches(self, _consume.Limits(timeout, duration, max_events))
        return _consume.ordered(found) if ordered else found

    def abatches(self, timeout: float | None = None, duration: float | None = None, max_events: int | None = None) -> AsyncIterator[RecordBatch]:
        """Yield batches asynchronously; as batches()."""
        self._attach()
        return _consume.abatches(self, _consume.Limits(timeout, duration, max_events))

    def events(self, timeout: float | None = None, duration: float | None = None, max_events: int | None = None) -> Iterator[RawEvent]:
        """Yield RawEvent objects one by one: convenient and slow."""
        for batch in self.batches(timeout, duration, max_events):
            yield from batch.events()

    def semantic(self) -> Iterator[Any]:
        """Yield EnrichedEvent objects; not available in this version: raises ConfigError."""
        raise ConfigError("semantic events are not available in this version: nothing enriches yet; read batches() or events()")

    def groups(self) -> Iterator[Any]:
        """Yield CorrelationGroup objects; not available in this version: raises ConfigError."""
        raise ConfigError("correlation groups are not available in this version; read batches() or events()")

    def set_output(self, output: Any) -> None:
        """Change the output; not available in this version: raises ConfigError."""
        raise ConfigError(f"outputs are not available in this version ({type(output).__name__} was given); read batches() instead")

    # -- control and reports ---------------------------------------------------------------------------------------------

    def set_filter(self, filter: EventFilter | str | None) -> int:
        """Change what is collected, atomically between records; return the new rule generation."""
        asked = as_filter(filter)
        asked.check_usable()
        wanted = from_config(self.config).joined(asked)
        with self._lock:
            if self._state != "running":
                raise ClosedError(f"this collector is {self._state}; a filter can be changed while it runs")
            plan = self._source._plan_of(wanted)
            # first who judges the rest: a record of the new generation may come at once
            self._pump.set_filter(self._source._gen + 1, self._residual(plan, self._source._narrowed(wanted)))
            gen: int = self._source._push(plan)
            self._asked._users.discard(self)
            self._asked, self._filter = asked, wanted
            asked._users.add(self)
            self._note_rules(gen)
            return gen

    def _note_rules(self, gen: int) -> None:
        """Have a RULES record say what is collected from now on."""
        self._pump.note_rules(gen, left_out(self.config).joined(self._filter).text().encode())

    @staticmethod
    def _residual(plan: Plan, filter: EventFilter) -> Any:
        """Return the program for what the gate leaves to judge; None: nothing. Rules have their hits counted, so they are judged anyway."""
        return None if plan.exact and not filter.rules else filter._compiled(plan.followed)

    def _filter_counts(self) -> tuple[int, int, list[int]]:
        """Return what the pump's filter judged and kept, and each rule's matches."""
        with self._lock:
            if self._pump is not None:
                self._counts = self._pump.filter_counts()
            return self._counts

    def _snapshot(self) -> tuple[Any, ...]:
        return self._pump.stats(), self._pump.ledger(), self._pool.stats(), self._source.programs(True)

    def _violations(self) -> list[str]:
        """Sentences about our maps, links or store that are not as we left them."""
        found = []
        n, first = self._source.tampered()
        if n:
            found = [first] + [f"{n - 1} more things of ours were changed by somebody else"] * (n > 1)
        if self._store_id is not None and _identity(self.config.dual_path.raw_storage_path) != self._store_id:
            found.append(f"{self.config.dual_path.raw_storage_path} is not the directory (or owner, or mode) it was when collecting began")
        return found

    def _parts(self) -> tuple[Any, ...]:
        with self._lock:
            if self._final is not None:
                return self._final
            if self._pump is None:
                raise ClosedError(f"this collector is {self._state}; there are no numbers yet")
            return self._snapshot()

    def stats(self) -> Statistics:
        """Return counters, both sides of every identity; also after close()."""
        found = statistics(self._parts(), self.config, self._seconds())
        return dataclasses.replace(found, rules=self._rule_hits())

    def _rule_hits(self) -> dict[str, int]:
        """Rows that each rule of the filter in force matched so far."""
        return dict(zip(self._filter.rule_names, self._filter_counts()[2], strict=False))

    def _seconds(self) -> float:
        return (self._stopped_at or time.monotonic()) - self._started if self._started else 0.0

    def health(self) -> HealthStatus:
        """Return how the collector is, why, and what to do about it."""
        with self._lock:
            parts = self._parts()
            violations = self._last_violations if self._final is not None else self._violations()
        return health_status(parts, self.config, self._state, statistics(parts, self.config, self._seconds()), violations)

    def debug(self) -> DebugInfo:
        """Return what is loaded and how records flow; `debug.dump_programs`, `.dump_maps`, `.profile_enabled` add to it."""
        maps = []
        with self._lock:
            if self._pump is not None:
                maps = self._source.maps()
        return debug_info(self._parts(), self.config, maps, self._source.name)

    def _drain_log(self) -> None:
        for _, level, text in self._log.take():
            log.log(level, "%s", text)

    @staticmethod
    def builder(config: Config | None = None) -> CollectorBuilder:
        """Return the document's builder: Collector.builder(config).with_filter(f).build()."""
        from tapio_fast._builder import CollectorBuilder

        return CollectorBuilder(config)

    def __repr__(self) -> str:
        ledger = self.stats().ledger if self._state in ("running", "stopped", "closed") else None
        counts = f" seen={ledger['seen']} routed={ledger['routed']}" if ledger else ""
        return f"<Collector {self.config.name} {self._state} source={self._source.name}{counts}>"


def _identity(path: str) -> tuple[int, ...] | None:
    """What makes a store's directory the one it was: device, inode, owner, mode."""
    try:
        st = os.stat(path, follow_symlinks=False)
    except OSError:
        return None
    return st.st_dev, st.st_ino, st.st_uid, st.st_mode


def _forget_all() -> None:
    for collector in list(_open):
        collector._forget()
    _open.clear()


def _close_all() -> None:
    for collector in list(_open):
        collector.close()


os.register_at_fork(after_in_child=_forget_all)
atexit.register(_close_all)
