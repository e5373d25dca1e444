# SPDX-License-Identifier: Apache-2.0
"""Where a collector's records come from: the kernel, the synthetic generator, in-memory rings. Relies on `_core`, `config`, `filtering`.

A source is used by one collector. The raw store's replay (`store.py`) is a source as well.
"""
from __future__ import annotations

import errno
import logging
import os
import threading
import time
from typing import TYPE_CHECKING, Any

from tapio_fast import sampling, schema, syscalls
from tapio_fast.enabled import OPTION_PUSHED, PATH_MONITOR, enabled_kinds, kernel_options, kernel_paths, keyed_kinds, sampling_rates, summed_kinds
from tapio_fast.errors import ClosedError, ConfigError, FilterError
from tapio_fast.filtering import EventFilter, KernelFilter, left_out
from tapio_fast.filtering._push import Plan, facts_needed, plan
from tapio_fast.filtering._tree import TRUE

if TYPE_CHECKING:
    from tapio_fast._core._engine import Source as CoreSource
    from tapio_fast._core._kernel import KernelObject
    from tapio_fast._core._log import Log
    from tapio_fast._core._memory import MemoryRings
    from tapio_fast._core._pump import Pump
    from tapio_fast.config import Config

_log = logging.getLogger("tapio_fast")
_NO_ARGS = 0xFFFFFFFF     # TF_ARGS_NONE: 0 is the C side's word for its default


class Source:
    """What a collector needs of a source; private to the package but for `name`. Here: what one without a kernel answers."""

    name = ""
    _gen = 0            # rule generation in force
    _finite = False     # what it has is there before the first read, and must not go by until then

    def _open(self, config: Config, log: Log, filter: EventFilter) -> CoreSource:
        """Return the engine's source, ready to be read."""
        raise NotImplementedError

    def _bind(self, pump: Pump, config: Config) -> None:
        """Called before the pump starts: what it is to know of sampling."""

    def _begin(self) -> None:
        """Called after the pump has started."""

    def _end(self) -> None:
        """Called before the pump stops: no more use of the engine's source from this side."""

    def _forget(self) -> None:
        """Called in a forked child, after the pump has let go: touch nothing that is the parent's."""

    def _plan_of(self, filter: EventFilter) -> Plan:
        """Return what of a filter the gate can judge; a source without a gate leaves all of it to the pump."""
        return Plan(exact=self._narrowed(filter).tree == TRUE)

    def _narrowed(self, filter: EventFilter) -> EventFilter:
        """Return what is judged of what the source sends: it may send more than was asked for, to learn facts from, or because what the
        configuration leaves out has no gate that knows it."""
        return filter

    def _push(self, plan: Plan) -> int:
        """Put a plan in force; return the new rule generation: one more than before, in a source with a gate and without."""
        self._gen += 1
        return self._gen

    def programs(self, stats: bool = False) -> list[dict[str, Any]]:
        """Return a dict per program."""
        return []

    def maps(self) -> list[dict[str, Any]]:
        """Return a dict per map."""
        return []

    def tampered(self) -> tuple[int, str]:
        """Return (how many maps and links somebody else has changed, the first one as a sentence)."""
        return 0, ""


class KernelSource(Source):
    """The running kernel, by BPF programs.

    netns : int, inode of the only network namespace to watch sockets of; 0 = all
    trace_self : bool, also record what this very process does
    snapshot : bool, begin with a record of every living process and TCP socket
    hooks : kinds of hook that may be used: "tracepoint", "fentry", "lsm", "kprobe"; empty = all, the best first
    """

    name = "kernel"
    _synth = False

    def __init__(self, *, netns: int = 0, trace_self: bool = False, snapshot: bool = True,
                 hooks: tuple[str, ...] = ()) -> None:
        self._options: dict[str, Any] = {"netns": netns, "trace_self": trace_self, "snapshot": snapshot, "hooks": hooks}
        self._object: KernelObject | None = None
        self._pump: Pump | None = None
        self._kinds: set[str] = set()       # that programs are loaded for
        self._wanted: set[str] = set()      # that the configuration collects: the others are for facts only
        self._limit, self._pushed = 0, False
        self._lock = threading.Lock()

    def _enabled(self, config: Config) -> set[str]:
        return enabled_kinds(config)

    def _open(self, config: Config, log: Log, filter: EventFilter) -> CoreSource:
        from tapio_fast._core._kernel import KernelObject

        if self._object is not None:
            raise ClosedError("this source was used by another collector; make a new one")
        self._wanted = self._enabled(config)
        self._kinds = self._wanted | (frozenset() if self._synth else facts_needed(filter.tree, self._wanted))
        kinds = _numbers(self._kinds)
        keyed = keyed_kinds(config, self._kinds)
        self._limit = config.performance.map_entries_limit
        self._summed = summed_kinds(config)
        first = plan(filter.tree, self._kinds, self._limit, summed=self._summed)
        self._pushed = not first.exact
        self._object = KernelObject(
            log, bulk_bytes=config.performance.ring_buffer_size_mb << 20, kinds=kinds, synth=self._synth,
            follow=first.roots is not None, args_max=config.programs.process.args_max_bytes or _NO_ARGS,
            options=kernel_options(config) | (OPTION_PUSHED if self._pushed else 0),
            by_process=_numbers(keyed["process"]), by_connection=_numbers(keyed["connection"]),
            content_max=config.programs.file.content_max_bytes if config.programs.file.capture_content else 0,
            threshold_bytes=config.programs.memory.threshold_mb << 20, pressure_ms=config.programs.memory.pressure_ms,
            pressure_window_ms=config.programs.memory.pressure_window_ms,
            pressure_path=os.fsencode(config.programs.memory.pressure_path),
            map_entries=config.performance.map_entries_limit, profile=config.debug.enabled and config.debug.profile_enabled,
            **self._of_process(config), **self._options)
        self._pushed &= not self._object.judges_ids_only()
        self._set_paths(config)
        for sentence in () if self._synth else filter.wanting(self._wanted):
            _log.warning("%s", sentence)
        self._push(self._plan_of(filter))
        for kind, rate in sampling_rates(config, self._kinds).items():
            self.set_rate(kind, rate)
        rate, depth = sampling.throttle_of(config)
        if rate:
            self._object.set_throttle(rate, depth)
        self._object.attach()
        return self._object.source()

    def _bind(self, pump: Pump, config: Config) -> None:
        sampling.apply(pump, config, self._kinds, sampling_rates(config, self._kinds))
        self._pump = pump

    def _set_paths(self, config: Config) -> None:
        """Tell the kernel's programs the directories that the configuration names, before any of them runs."""
        for path, bits in kernel_paths(config).items():
            status = self._need().set_paths(bits, path)
            if status in (-errno.ENOENT, -errno.ENOTDIR) and not bits & PATH_MONITOR:
                continue        # nothing to leave out; what user memory claims is still matched by its text
            if status < 0:
                key = "programs.file.monitor_paths" if bits & PATH_MONITOR else "programs.file.exclude_paths"
                raise ConfigError(f"{key}: {path} cannot be watched: {os.strerror(-status)}; make it before the collector starts, or "
                                  "take it out", key=key)

    def _of_process(self, config: Config) -> dict[str, Any]:
        """Return what [programs.process] asks of the kernel's side beside kinds."""
        from tapio_fast._core._globs import Globs

        process = config.programs.process
        numbers: list[int] = []
        if "syscall.call" in self._kinds:
            numbers, elsewhere = syscalls.numbers_of(process.monitor_syscalls)
            if elsewhere:
                _log.warning("%s: this machine (%s) has no system call %s; go on without", syscalls.KEY, os.uname().machine,
                             ", ".join(elsewhere))
        try:
            patterns = [os.fsencode(pattern) for pattern in process.exclude_comms]
            globs = Globs(patterns) if patterns and process.enabled else None
        except ValueError:
            raise ConfigError("programs.process.exclude_comms: the patterns are too long together; each takes a place, and one for each "
                              "byte, ? or [set] in it, and there are 256 places: shorten them with * or name fewer",
                              key="programs.process.exclude_comms") from None
        return {"syscalls": numbers, "globs": globs, "usage_ns": round(process.usage_interval * 1e9)}

    def _plan_of(self, filter: EventFilter) -> Plan:
        missing = facts_needed(filter.tree, self._kinds) - self._kinds
        if missing and not self._synth:
            _log.warning("the filter joins facts that are told by %s, which are not collected: their programs are loaded only for a filter "
                         "that is given from the start; until then only what ran before is known", ", ".join(sorted(missing)))
        return plan(self._narrowed(filter).tree, self._kinds, self._limit, self._pushed, self._summed)

    def _narrowed(self, filter: EventFilter) -> EventFilter:
        return filter if self._kinds == self._wanted else KernelFilter(kinds=self._wanted).joined(filter)

    def _push(self, plan: Plan) -> int:
        with self._lock:
            self._gen = self._need().set_rules(plan)
            return self._gen

    def _need(self) -> KernelObject:
        if self._object is None:
            raise ClosedError("this source is not open; start its collector first")
        return self._object

    def _forget(self) -> None:
        self._pump = None
        if self._object is not None:
            self._object.forget()

    def set_rate(self, kind: str, probability: float) -> None:
        """Sample a kind in the kernel with this probability (0 < p <= 1); kept records carry the weight 1/p."""
        if not 0.0 < probability <= 1.0:
            raise FilterError(f"sampling probability of {kind} is {probability}; it must be above 0 and at most 1")
        threshold = sampling.threshold_of(probability)
        if self._pump is not None:      # which tells it to the stream
            self._pump.set_rate(schema.KIND_BY_NAME[kind].number, threshold)
        else:
            self._need().set_rate(schema.KIND_BY_NAME[kind].number, threshold)

    def set_throttle(self, rate: int, burst: int) -> None:
        """Allow each cgroup `rate` records a second and `burst` at once; rate 0 lifts the throttle. Raises ConfigError when the gate was
        loaded without one (filtering.adaptive_sampling)."""
        self._need().set_throttle(rate, burst)

    def programs(self, stats: bool = False) -> list[dict[str, Any]]:
        """Return a dict per program."""
        return self._need().programs(stats)

    def tampered(self) -> tuple[int, str]:
        """Return (how many maps and links somebody else has changed, the first one as a sentence)."""
        return self._need().tampered()

    def maps(self) -> list[dict[str, Any]]:
        """Return a dict per map."""
        return self._need().maps()


class SyntheticSource(KernelSource):
    """The load generator: BPF programs that send made-up records through the same gate and rings, and trace nothing.

    rate : records/s over all CPUs; 0 = as fast as it goes
    count : records to try in all, spread over the CPUs; None = until the collector stops
    kinds : names; each CPU's thread sends them in turn ("cpu.usage" bulk, "cpu.load" critical, "network.connect", "process.exec")
    text_len : bytes of args of a process.exec
    cpus : CPUs to run on; None = all that this process may use
    stop_on_full : bool, wait for room after a refused record instead of losing records
    hold : bool, begin at go() and not with the collector: what is sent before a consumer is there goes by it
    """

    name = "synthetic"
    _synth = True

    def __init__(self, *, rate: int = 0, count: int | None = None, kinds: tuple[str, ...] = ("cpu.usage",), text_len: int = 64,
                 cpus: tuple[int, ...] | None = None, stop_on_full: bool = False, hold: bool = False) -> None:
        super().__init__(snapshot=False)
        self._hold = hold
        self._plan = (rate, count, kinds, text_len, stop_on_full)
        self._cpus = sorted(os.sched_getaffinity(0)) if cpus is None else list(cpus)
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self.tried: dict[tuple[int, str], int] = {}     # (cpu, kind) -> the generator's own count
        self.sent: dict[tuple[int, str], int] = {}

    def _enabled(self, config: Config) -> set[str]:
        return set(self._plan[2])

    def _begin(self) -> None:
        if not self._hold:
            self.go()

    def go(self) -> None:
        """Begin to send; what `hold` waits for. Twice is fine."""
        self._need()
        if self._threads:
            return
        for i, cpu in enumerate(self._cpus):
            thread = threading.Thread(target=self._run, args=(i, cpu), name=f"tapio-synth-{cpu}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def halt(self) -> None:
        """Send no more; returns when the last record is on its ring. Twice is fine."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def send(self, kind: str) -> bool:
        """Send one record from the calling thread's CPU, once the others are halted; return False when the ring had no room."""
        cpu = min(os.sched_getaffinity(0))
        first = sum(self.sent.values())
        tried, sent, _ = self._need().synth(schema.KIND_BY_NAME[kind].number, 1, first, self._plan[3], self._plan[4])
        self._note(cpu, kind, tried, sent)
        return bool(sent)

    def _note(self, cpu: int, kind: str, tried: int, sent: int) -> None:
        key = (cpu, kind)
        self.tried[key] = self.tried.get(key, 0) + tried
        self.sent[key] = self.sent.get(key, 0) + sent

    def _end(self) -> None:
        self.halt()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until `count` records were tried; return False after `timeout` seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        for thread in self._threads:
            thread.join(None if end is None else max(0.0, end - time.monotonic()))
        return not any(t.is_alive() for t in self._threads)

    def _run(self, place: int, cpu: int) -> None:
        os.sched_setaffinity(0, {cpu})
        rate, count, kinds, text_len, stop_on_full = self._plan
        share = None if count is None else count // len(self._cpus) + (place < count % len(self._cpus))
        chunk = 16384 if not rate else max(1, min(16384, rate // len(self._cpus) // 1000))
        first, started, turn = 0, time.monotonic(), 0
        while not self._stop.is_set() and (share is None or first < share):
            kind = schema.KIND_BY_NAME[kinds[turn % len(kinds)]]
            n = chunk if share is None else min(chunk, share - first)
            tried, sent, _ = self._need().synth(kind.number, n, first, text_len, stop_on_full)
            self._note(cpu, kind.name, tried, sent)
            first += sent if stop_on_full else tried
            turn += sent == n or not stop_on_full
            if rate:
                ahead = first / (rate / len(self._cpus)) - (time.monotonic() - started)
                if ahead > 0:
                    self._stop.wait(ahead)
            elif stop_on_full and sent < n:
                self._stop.wait(0.0002)


def _numbers(kinds: set[str]) -> list[int]:
    return [schema.KIND_BY_NAME[name].number for name in kinds]


class MemorySource(Source):
    """Rings in this process's own memory, laid out like the kernel's; needs no rights. `fill()` sends rows.

    cpus : rings to make, as if there were so many CPUs
    bulk_bytes, critical_bytes : size of each CPU's ring, a power of two, at least 4096
    """

    name = "memory"

    def __init__(self, *, cpus: int = 1, bulk_bytes: int = 1 << 22, critical_bytes: int = 1 << 19) -> None:
        self._sizes = (cpus, bulk_bytes, critical_bytes)
        self._rings: MemoryRings | None = None
        self._stays = EventFilter()

    def _open(self, config: Config, log: Log, filter: EventFilter) -> CoreSource:
        self._stays = left_out(config)
        self._push(self._plan_of(filter))
        return self._need().source()

    def _narrowed(self, filter: EventFilter) -> EventFilter:
        return self._stays.joined(filter)

    def _bind(self, pump: Pump, config: Config) -> None:
        kinds = {kind.name for kind in schema.KINDS if kind.domain != schema.META}
        sampling.apply(pump, config, kinds, sampling_rates(config, kinds))

    def _need(self) -> MemoryRings:
        if self._rings is None:
            from tapio_fast._core._memory import MemoryRings

            self._rings = MemoryRings(*self._sizes)
        return self._rings

    def _forget(self) -> None:
        if self._rings is not None:
            self._rings.gone()      # the rings are shared memory: a child must not send into its parent's

    def fill(self, kind: str, row: Any = None, n: int = 1, *, tail: bytes = b"", cpu: int = 0, stop_on_full: bool = False) -> int:
        """Send n copies of a row as `kind`; return how many fitted (the rest counts as k_ring_full).

        row : numpy void of the kind's domain, or None for zeros; ts_ns, seq, cpu, type, subtype and weight are set.
        tail : bytes of text that the row's text fields point into
        """
        import numpy as np

        k = schema.KIND_BY_NAME[kind]
        one = np.zeros(1, schema.DTYPES[k.domain])
        if row is not None:
            one[0] = row
        one["type"], one["subtype"], one["weight"] = k.type, k.subtype, 1.0
        return self._need().fill(cpu, k.number, one.tobytes() + tail, n, stop_on_full)

    def raw(self, record: bytes, *, cpu: int = 0, lane: str = "bulk") -> bool:
        """Put these bytes as one record on a ring, right or wrong; return False when it is full."""
        return self._need().raw(cpu, schema.LANES.index(lane), record)

    def image(self, data: bytes, consumer: int, producer: int, *, cpu: int = 0, lane: str = "bulk") -> None:
        """Load a recorded image of a kernel ring of the same size, before the collector starts."""
        self._finite = True
        self._need().image(cpu, schema.LANES.index(lane), data, consumer, producer)
