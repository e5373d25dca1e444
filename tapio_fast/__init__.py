# SPDX-License-Identifier: Apache-2.0
"""tapio_fast: kernel telemetry for Python, in numpy batches, with every lost record accounted for.

>>> import tapio_fast as tapio
>>> with tapio.Collector() as collector:            # doctest: +SKIP
...     for batch in collector.batches(duration=10):
...         print(batch["process"]["comm"])
"""
from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

if _TYPE_CHECKING:
    from tapio_fast.batch import RecordBatch
    from tapio_fast.collector import Collector
    from tapio_fast.config import Config
    from tapio_fast.errors import (
        ClosedError,
        ConfigError,
        CorruptStoreError,
        FilterError,
        LayoutError,
        OutputError,
        PermissionDeniedError,
        ProgramLoadError,
        StoreError,
        StoreLockedError,
        TapioError,
        UnsupportedPlatformError,
    )
    from tapio_fast.estimation import estimate
    from tapio_fast.events import ContainerContext, EnrichedEvent, K8sContext, NetworkContext, ProcessContext, RawEvent
    from tapio_fast.filtering import EventFilter, FilterRule, KernelFilter
    from tapio_fast.formatting import RawEventFormatter
    from tapio_fast.platform import PlatformReport, is_supported, probe
    from tapio_fast.sampling import AdaptiveSampling
    from tapio_fast.sources import KernelSource, MemorySource, SyntheticSource
    from tapio_fast.stats import DebugInfo, HealthStatus, Statistics
    from tapio_fast.store import RawStore
    from tapio_fast.types import (
        ContainerEventType,
        EventType,
        FileEventType,
        MemoryEventType,
        NetworkEventType,
        ProcessEventType,
        SecurityAction,
        SecurityEventType,
        Severity,
    )

__all__ = [
    "AdaptiveSampling", "ClosedError", "Collector", "Config", "ConfigError", "ContainerContext", "ContainerEventType", "CorruptStoreError",
    "DebugInfo", "EnrichedEvent", "EventFilter", "EventType", "FileEventType", "FilterError", "FilterRule", "HealthStatus", "K8sContext",
    "KernelFilter", "KernelSource",
    "LayoutError", "MemoryEventType", "MemorySource", "NetworkContext", "NetworkEventType", "OutputError", "PermissionDeniedError",
    "PlatformReport", "ProcessContext", "ProcessEventType", "ProgramLoadError", "RawEvent", "RawEventFormatter", "RawStore",
    "RecordBatch", "SecurityAction", "SecurityEventType", "Severity", "Statistics", "StoreError", "StoreLockedError", "SyntheticSource",
    "TapioError",
    "UnsupportedPlatformError", "estimate", "is_supported", "probe",
]

# Names are imported when they are first used: a program that only reads stores does not pay for the collector.
_HOMES = {
    "batch": "RecordBatch",
    "collector": "Collector",
    "config": "Config",
    "errors": "ClosedError ConfigError CorruptStoreError FilterError LayoutError OutputError PermissionDeniedError ProgramLoadError "
              "StoreError StoreLockedError TapioError UnsupportedPlatformError",
    "estimation": "estimate",
    "events": "ContainerContext EnrichedEvent K8sContext NetworkContext ProcessContext RawEvent",
    "filtering": "EventFilter FilterRule KernelFilter",
    "formatting": "RawEventFormatter",
    "platform": "PlatformReport is_supported probe",
    "sampling": "AdaptiveSampling",
    "sources": "KernelSource MemorySource SyntheticSource",
    "stats": "DebugInfo HealthStatus Statistics",
    "store": "RawStore",
    "types": "ContainerEventType EventType FileEventType MemoryEventType NetworkEventType ProcessEventType SecurityAction "
             "SecurityEventType Severity",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> _Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'tapio_fast' has no attribute {name!r}")
    value = getattr(_import_module(f"tapio_fast.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
