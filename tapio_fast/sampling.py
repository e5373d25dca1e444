# SPDX-License-Identifier: Apache-2.0
"""Sampling: what a configuration asks of the controller in the pump, and which kinds it may thin. Relies on `config`, `enabled`, `schema`.

The draws are made in the kernel (or, for sources without a gate, in the pump), the controller runs in the pump: csrc/tf_sample.h tells
its law. Every change of a rate is a record of kind meta.rate, so that replay knows it.
"""
from __future__ import annotations

import dataclasses
import threading
import uuid
from typing import TYPE_CHECKING, Any, NamedTuple

from tapio_fast import schema
from tapio_fast.enabled import samplable
from tapio_fast.errors import ConfigError

if TYPE_CHECKING:
    from tapio_fast.batch import RecordBatch
    from tapio_fast.config import Config

RATE_ALL = 0xFFFFFFFF           # TF_RATE_ALL: every record is kept
WHOLE, IMPORTANT, PLAIN = 0, 1, 2       # enum tf_sample_class
# importance of a kind before anything is known of the record: by the severity it has when the operation succeeds
IMPORTANCE = {1: 0.2, 2: 0.4, 3: 0.7, 4: 0.9, 5: 1.0}


@dataclasses.dataclass(frozen=True)
class AdaptiveSampling:
    """Thin bulk kinds out when there is more than the limits of [performance] allow; as [filtering.adaptive_sampling].

    enabled : bool
    base_rate : float, the least share of unimportant records that is kept, above 0 and at most 1
    importance_boost : float, how much likelier important kinds are kept, at least 1
    burst_protection : bool, limit each cgroup to `burst_threshold` records a second, in the kernel
    burst_threshold : int, records/s
    """

    __module__ = "tapio_fast"

    enabled: bool = True
    base_rate: float = 0.1
    importance_boost: float = 10.0
    burst_protection: bool = True
    burst_threshold: int = 10000

    def applied_to(self, config: Config) -> Config:
        """Return the configuration with this in its [filtering.adaptive_sampling]. Raises ConfigError."""
        return config.replace(filtering={"adaptive_sampling": dataclasses.asdict(self)})


def sampled(config: Config, sampler: Any) -> Config:
    """Return the configuration with a collector's sampler= in it. Raises ConfigError."""
    if not isinstance(sampler, AdaptiveSampling):
        raise ConfigError(f"Collector(sampler=...) takes an AdaptiveSampling, not a {type(sampler).__name__}; build one, or set "
                          "[filtering.adaptive_sampling]")
    return sampler.applied_to(config)


class Control(NamedTuple):
    """Arguments of the controller (struct tf_pump_control)."""

    rate_limit: float
    cpu_limit: float
    base_rate: float
    boost: float
    interval: float
    classes: dict[int, int]     # dense kind -> class; others are whole


def threshold_of(probability: float) -> int:
    """Return how many of 2^32 are kept."""
    return min(RATE_ALL, max(1, round(probability * 2**32)))


def classes_of(config: Config, kinds: set[str]) -> dict[int, int]:
    """Return dense kind -> class of those that may be thinned: bulk kinds, the important ones apart."""
    least = config.dual_path.importance_threshold
    bulk = [schema.KIND_BY_NAME[name] for name in samplable(config, kinds) if schema.KIND_BY_NAME[name].lane == "bulk"]
    return {kind.number: IMPORTANT if IMPORTANCE[kind.severity] >= least else PLAIN for kind in bulk}


def control_of(config: Config, kinds: set[str]) -> Control | None:
    """Return what the controller is to do; None when both switches are off."""
    performance, adaptive = config.performance, config.filtering.adaptive_sampling
    if not (performance.adaptive_sampling or adaptive.enabled):
        return None
    return Control(performance.event_rate_limit, performance.cpu_limit, adaptive.base_rate, adaptive.importance_boost,
                   performance.sampling_interval, classes_of(config, kinds))


def throttle_of(config: Config) -> tuple[int, int]:
    """Return (records/s, depth) of each cgroup's bucket; rate 0 = none."""
    adaptive = config.filtering.adaptive_sampling
    if not (adaptive.enabled and adaptive.burst_protection):
        return 0, 0
    return adaptive.burst_threshold, config.performance.burst_size


def apply(pump: Any, config: Config, kinds: set[str], rates: dict[str, float]) -> None:
    """Tell the pump the rates that hold from the start, and let its controller steer them."""
    for kind, rate in rates.items():
        pump.set_rate(schema.KIND_BY_NAME[kind].number, threshold_of(rate))
    control = control_of(config, kinds)
    if control is not None:
        pump.set_control(*control)


# What the collections that were read in this process have said of how each kind is drawn. A RATE record comes when a rate changes, so
# later batches of a collection have none: estimate() over them asks here. (boot_id, run_id) -> {number of the kind:
# (cause, whether it is thinned)}
_told: dict[tuple[uuid.UUID, int], dict[int, tuple[int, bool]]] = {}
_told_lock = threading.Lock()
_TOLD_MAX = 64          # collections
_RATE = schema.KIND_BY_NAME["meta.rate"].subtype


def note_rates(batch: RecordBatch) -> None:
    """Remember what the RATE rows of a live batch say."""
    rows = batch[schema.META]
    rates = rows[rows["subtype"] == _RATE]
    if not len(rates):
        return
    with _told_lock:
        mine = _told.setdefault((batch.boot_id, batch.run_id), {})
        mine.update((kind, (cause, value < 1 << 32)) for kind, cause, value in zip(
            *(rates[name].tolist() for name in ("object_id", "cause", "value")), strict=True))
        while len(_told) > _TOLD_MAX:
            del _told[next(iter(_told))]


def rates_told(boot_id: uuid.UUID, run_id: int) -> dict[int, tuple[int, bool]]:
    """Return {number of the kind: (how it is drawn, whether it is thinned)} as far as batches of a collection that were read live have said."""
    with _told_lock:
        return dict(_told.get((boot_id, run_id), {}))
