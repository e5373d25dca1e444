# SPDX-License-Identifier: Apache-2.0
"""Pins what `import tapio_fast` gives: other people's scripts use exactly these names."""
from __future__ import annotations

import inspect
import subprocess
import sys

import tapio_fast as tapio
from tapio_fast import schema

NAMES = {
    "AdaptiveSampling", "ClosedError", "Collector", "Config", "ConfigError", "ContainerContext", "ContainerEventType", "CorruptStoreError",
    "DebugInfo", "EnrichedEvent", "EventFilter", "EventType", "FileEventType", "FilterError", "FilterRule", "HealthStatus", "K8sContext",
    "KernelFilter", "KernelSource",
    "LayoutError", "MemoryEventType", "MemorySource", "NetworkContext", "NetworkEventType", "OutputError", "PermissionDeniedError",
    "PlatformReport", "ProcessContext", "ProcessEventType", "ProgramLoadError", "RawEvent", "RawEventFormatter", "RawStore",
    "RecordBatch", "SecurityAction", "SecurityEventType", "Severity", "Statistics", "StoreError", "StoreLockedError", "SyntheticSource",
    "TapioError",
    "UnsupportedPlatformError", "estimate", "is_supported", "probe",
}
HEADER = ["ts_ns", "seq", "cgroup_id", "start_ns", "pid", "tid", "ppid", "uid", "gid", "weight", "cpu", "gen", "type", "subtype", "flags",
          "comm"]
PROMISED = {
    "network": {"source_ip", "dest_ip", "source_port", "dest_port", "family", "protocol", "direction", "state", "old_state",
                "duration_ns", "bytes_sent", "bytes_received", "srtt_us", "errno", "netns"},
    "process": {"parent_start_ns", "exit_code", "signal", "target_pid", "old_uid", "old_gid", "duration_ns", "exe", "cwd", "args"},
    "cpu": {"on_cpu_ns", "rss", "threads", "switches"},
}


def test_all_is_exactly_this() -> None:
    assert set(tapio.__all__) == NAMES and len(tapio.__all__) == len(NAMES)
    assert list(tapio.__all__) == sorted(tapio.__all__)
    for name in NAMES:
        assert getattr(tapio, name) is not None


def test_every_public_thing_is_documented() -> None:
    for name in NAMES:
        thing = getattr(tapio, name)
        assert inspect.getdoc(thing), name
        for method, member in inspect.getmembers(thing, inspect.isfunction) if inspect.isclass(thing) else ():
            if not method.startswith("_") and member.__module__.startswith("tapio_fast"):
                assert inspect.getdoc(member), f"{name}.{method}"


def parameters(function: object) -> list[str]:
    return [p for p in inspect.signature(function).parameters if p != "self"]       # type: ignore[arg-type]


def test_signatures_that_are_promised() -> None:
    assert parameters(tapio.Collector.__init__) == ["config", "filter", "sampler", "enricher", "correlator", "output", "source"]
    assert parameters(tapio.Collector.read) == ["timeout"]
    assert parameters(tapio.Collector.batches) == ["timeout", "duration", "max_events", "ordered"]
    for name in ("start", "stop", "close", "abatches", "events", "fileno", "stats", "health", "debug", "set_filter", "builder",
                 "__enter__", "__aenter__"):
        assert callable(getattr(tapio.Collector, name)), name
    assert parameters(tapio.estimate)[:4] == ["source", "domain", "by", "value"]
    for name in ("strings", "columns", "time", "copy", "filter", "concat", "severity"):
        assert callable(getattr(tapio.RecordBatch, name)), name
    for name in ("domains", "boot_id", "wall_offset_ns", "loss"):
        assert isinstance(getattr(tapio.RecordBatch, name), property), name


def test_statistics_have_the_promised_names() -> None:
    fields = set(tapio.Statistics.__dataclass_fields__)
    assert {"events_received", "events_dropped", "events_filtered", "events_sampled", "ring_buffer_full", "ring_buffer_usage_percent",
            "memory_usage_mb", "cpu_percent", "ledger", "branches", "by_kind", "by_cpu"} <= fields
    assert {"status", "loaded_programs", "verification_failures", "security_violations", "programs", "not_active",
            "advice"} == set(tapio.HealthStatus.__dataclass_fields__)
    assert {"loaded_programs", "active_maps", "event_pipeline"} == set(tapio.DebugInfo.__dataclass_fields__)


def test_records_have_the_promised_fields() -> None:
    for domain, dtype in schema.DTYPES.items():
        assert list(dtype.names or ())[:len(HEADER)] == HEADER, domain
        assert dtype.fields is not None and dtype.fields["comm"][1] + 16 == 80
        assert dtype.itemsize in (120, 184)
    for domain, fields in PROMISED.items():
        assert fields <= set(schema.DTYPES[domain].names or ()), domain


def test_errors_are_what_they_say() -> None:
    tree = {"UnsupportedPlatformError": RuntimeError, "PermissionDeniedError": PermissionError, "ProgramLoadError": RuntimeError,
            "LayoutError": RuntimeError, "ConfigError": ValueError, "FilterError": ValueError, "StoreError": OSError,
            "ClosedError": ValueError, "OutputError": OSError}
    for name, base in tree.items():
        assert issubclass(getattr(tapio, name), (tapio.TapioError,)) and issubclass(getattr(tapio, name), base), name
    assert issubclass(tapio.CorruptStoreError, tapio.StoreError) and issubclass(tapio.StoreLockedError, tapio.StoreError)


def test_import_pulls_in_nothing_heavy() -> None:
    text = ("import sys, tapio_fast; heavy = {'asyncio', 'grpc', 'pandas', 'polars', 'pyarrow', 'duckdb', 'typer', 'msgpack', 'ssl', "
            "'zstandard', 'multiprocessing'}; print(sorted(heavy & set(sys.modules)))")
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
