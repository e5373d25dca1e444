# SPDX-License-Identifier: Apache-2.0
"""The whole configuration: one frozen dataclass per section, presets, layers with precedence, what is not active yet.

Precedence, strongest first: command line, TAPIO_FAST_* environment, --config file, XDG file, /etc/tapio-fast, preset, default.
Keys live in _config_sections, what values may be in _config_kinds, reading in _config_sources.
"""
from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tapio_fast._config_kinds import flag, integer, key_error, setting, tables, text
from tapio_fast._config_sections import (
    AdaptiveSamplingConfig,
    ContainerConfig,
    DebugConfig,
    DualPathConfig,
    FileConfig,
    FilteringConfig,
    IntegrationConfig,
    LogConfig,
    MemoryConfig,
    MetricsConfig,
    NetworkConfig,
    PerformanceConfig,
    ProcessConfig,
    ProgramsConfig,
    Section,
    SecurityConfig,
)
from tapio_fast._config_sources import (
    ETC_DIR,
    keys_of,
    layer_from_env,
    layer_from_file,
    layer_of,
    system_files,
    toml_value,
)
from tapio_fast.enabled import switches
from tapio_fast.errors import ConfigError

__all__ = [
    "AdaptiveSamplingConfig", "Config", "ContainerConfig", "DebugConfig", "DualPathConfig", "FileConfig", "FilteringConfig",
    "IntegrationConfig", "LoadedConfig", "LogConfig", "MemoryConfig", "MetricsConfig", "NetworkConfig", "PRESETS",
    "PerformanceConfig", "ProcessConfig", "ProgramsConfig", "SecurityConfig", "load", "not_active",
]

# System calls by which rights are gained, code is brought in, or observation is escaped.
SECURITY_SYSCALLS = (
    "execve", "execveat", "ptrace", "process_vm_readv", "process_vm_writev", "setuid", "setgid", "setreuid", "setregid",
    "setresuid", "setresgid", "setgroups", "capset", "prctl", "seccomp", "init_module", "finit_module", "delete_module",
    "kexec_load", "kexec_file_load", "bpf", "perf_event_open", "mount", "umount2", "move_mount", "fsmount", "pivot_root", "chroot",
    "unshare", "setns", "clone", "clone3", "memfd_create", "mprotect", "keyctl", "add_key", "request_key", "userfaultfd",
    "io_uring_setup", "io_uring_enter", "socket", "connect", "bind", "listen", "kill", "tgkill", "chmod", "fchmod", "fchmodat",
    "chown", "fchown", "fchownat", "mknod", "mknodat", "open_by_handle_at", "acct", "reboot", "settimeofday", "clock_settime",
)

PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "high_performance": {"performance": {"ring_buffer_size_mb": 64, "batch_pool_mb": 256, "adaptive_sampling": True}},
    "security": {
        "programs": {"security": {"enabled": True}, "container": {"enabled": True}, "file": {"enabled": True},
                     "process": {"monitor_syscalls": SECURITY_SYSCALLS}},
        "performance": {"adaptive_sampling": False},
    },
}


@dataclasses.dataclass(frozen=True)
class Config(Section):
    """Hold every setting of a collector; `Config()` is the default preset.

    Raises ConfigError, naming the key, for a value of the wrong type, out of range, or in contradiction to another.
    """

    name: str = setting(text(pattern=r"[^\x00-\x1f\x7f]+", allowed="text of 1 to 128 characters", most=128), "tapio",
                        "label of this collector, in its repr")
    enabled: bool = setting(flag(), True, "false: start() collects nothing")
    event_buffer_size: int = setting(integer(1, 1_000_000, " rows"), 10000, "rows per domain and batch at most")
    programs: ProgramsConfig = dataclasses.field(default_factory=ProgramsConfig)
    dual_path: DualPathConfig = dataclasses.field(default_factory=DualPathConfig)
    performance: PerformanceConfig = dataclasses.field(default_factory=PerformanceConfig)
    filtering: FilteringConfig = dataclasses.field(default_factory=FilteringConfig)
    integration: IntegrationConfig = dataclasses.field(default_factory=IntegrationConfig)
    debug: DebugConfig = dataclasses.field(default_factory=DebugConfig)
    outputs: tuple[dict[str, Any], ...] = setting(tables(required=("type",), allowed='a list of tables, each with a "type"'), (),
                                                  "where semantic events go, beside integration.tapio_server")
    metrics: MetricsConfig = dataclasses.field(default_factory=MetricsConfig)
    log: LogConfig = dataclasses.field(default_factory=LogConfig)

    def __post_init__(self) -> None:
        """Check each section's type, each own value, and what must fit together."""
        for spec in dataclasses.fields(self):
            section: Any = spec.default_factory
            if "kind" not in spec.metadata and not isinstance(getattr(self, spec.name), section):
                raise key_error(spec.name, getattr(self, spec.name), "is not a section object",
                                f"give a {section.__name__}, or use Config.default().replace({spec.name}={{...}})")
        super().__post_init__()
        _check_together(self)

    @classmethod
    def default(cls) -> Config:
        """Return the balanced preset: process and network, nothing sampled."""
        return cls()

    @classmethod
    def high_performance(cls) -> Config:
        """Return the preset for high rates: large rings and pool, bulk kinds thinned, critical kinds whole."""
        return cls().replace(**PRESETS["high_performance"])

    @classmethod
    def security(cls) -> Config:
        """Return the preset for watching security: all domains that matter, nothing sampled."""
        return cls().replace(**PRESETS["security"])

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Config:
        """Read a TOML file over the defaults. Raises ConfigError."""
        return _config(layer_from_file(cls, path))

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Config:
        """Read TAPIO_FAST_* variables (`__` nests) over the defaults. Raises ConfigError."""
        return _config(layer_from_env(cls, os.environ if env is None else env)[0])

    def replace(self, **changes: Any) -> Config:
        """Return a copy with some keys changed: `replace(performance={"burst_size": 10})`. Raises ConfigError."""
        return _config({**_flat(self), **layer_of(Config, changes)})

    def to_dict(self) -> dict[str, Any]:
        """Return nested plain dicts and lists, as a TOML or JSON file would hold them."""
        out: dict[str, Any] = {}
        for key, value in _flat(self).items():
            *path, name = key.split(".")
            place = out
            for part in path:
                place = place.setdefault(part, {})
            place[name] = list(value) if isinstance(value, tuple) else value
        return out

    def to_toml(self, origins: Mapping[str, str] | None = None) -> str:
        """Return a complete TOML file; with origins, each line ends in where its value came from."""
        groups: dict[str, list[str]] = {}
        for key, value in _flat(self).items():
            section, _, name = key.rpartition(".")
            line = f"{name} = {toml_value(value)}"
            groups.setdefault(section, []).append(f"{line:<48} # {origins[key]}" if origins else line)
        blocks = ["\n".join([f"[{section}]", *lines] if section else lines) for section, lines in groups.items()]
        return "\n\n".join(blocks) + "\n"


class LoadedConfig(NamedTuple):
    """Hold a configuration and, per dotted key, where its value came from."""

    config: Config
    origins: dict[str, str]


def _flat(config: Config) -> dict[str, Any]:
    out = {}
    for key in keys_of(Config):
        value: Any = config
        for part in key.split("."):
            value = getattr(value, part)
        out[key] = value
    return out


def _config(layer: Mapping[str, Any]) -> Config:
    return Config(**_values(layer, Config, ""))


def _values(layer: Mapping[str, Any], section: type, prefix: str) -> dict[str, Any]:
    """Turn a flat layer into arguments of a section; what it lacks is at its default."""
    values: dict[str, Any] = {}
    for spec in dataclasses.fields(section):
        key = prefix + spec.name
        if "kind" not in spec.metadata:
            part: Any = spec.default_factory
            values[spec.name] = part(**_values(layer, part, f"{key}."))
        elif key in layer:
            values[spec.name] = layer[key]
    return values


def _check_together(config: Config) -> None:
    """Refuse values that are fine alone and impossible together."""
    performance, path = config.performance, config.dual_path
    rings = performance.ring_buffer_size_mb * 9 / 8
    if rings + performance.batch_pool_mb > performance.memory_limit_mb:
        raise key_error("performance.memory_limit_mb", performance.memory_limit_mb,
                        f"is less than the rings ({rings:g} MiB: ring_buffer_size_mb and an eighth) and batch_pool_mb "
                        f"({performance.batch_pool_mb} MiB) need", "raise it, or lower one of the two")
    if performance.durability == "ring" and not (path.enabled and path.raw_storage_enabled):
        raise key_error("performance.durability", "ring", "keeps records in the ring until they are stored, but nothing is stored",
                        "set dual_path.enabled and dual_path.raw_storage_enabled, or durability = \"fast\"")
    both = sorted(set(config.programs.file.monitor_paths) & set(config.programs.file.exclude_paths))
    if both:
        raise key_error("programs.file.monitor_paths", both, "is also in programs.file.exclude_paths", "remove it from one of them")
    process = config.programs.process
    alone = bool(process.monitor_syscalls) or process.track_usage       # the way to have these without a process event
    for switch in switches(config):
        section = getattr(config.programs, switch.section)
        named = [name for name in section.events if name in switch.names]
        # it would collect nothing, and not say so
        if section.enabled and named and not (switch.section == "process" and alone):
            raise key_error(f"programs.{switch.section}.events", section.events,
                            f"asks for {', '.join(named)}, which programs.{switch.section}.{switch.key} = "
                            f"{toml_value(getattr(section, switch.key))} switches off",
                            f"{switch.step}, or leave {'it' if len(named) == 1 else 'them'} out of events")


def load(cli: Mapping[str, Any] | None = None, file: str | os.PathLike[str] | None = None, preset: str | None = None,
         env: Mapping[str, str] | None = None, etc: Path = ETC_DIR) -> LoadedConfig:
    """Join all sources by precedence and remember where each value came from.

    cli : nested mapping of what the command line set
    file : the --config file, which must exist
    preset : "default", "high_performance" or "security"
    env : variables, default os.environ; also tells where the XDG file is
    etc : directory of the machine's config.toml and conf.d/
    Raises ConfigError.
    """
    env = os.environ if env is None else env
    if preset is not None and preset.replace("-", "_") not in PRESETS:
        close = difflib.get_close_matches(preset, PRESETS, 1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise ConfigError(f"preset {preset!r} is not known; {hint}allowed: {', '.join(PRESETS)}", key="preset")
    variables, names = layer_from_env(Config, env)
    chosen = (preset or "default").replace("-", "_")
    layers = [("preset " + chosen, layer_of(Config, PRESETS[chosen]))]
    layers += [(str(path), layer_from_file(Config, path)) for path in system_files(env, etc)]
    if file is not None:
        layers.append((os.fspath(file), layer_from_file(Config, file)))
    layers += [("environment", variables), ("command line", layer_of(Config, cli or {}))]
    values: dict[str, Any] = {}
    origins = dict.fromkeys(keys_of(Config), "default")
    for origin, layer in layers:
        values.update(layer)
        origins.update({key: f"environment {names[key]}" if origin == "environment" else origin for key in layer})
    return LoadedConfig(_config(values), origins)


# Keys outside [programs] that do something now. The rest is checked and kept, and listed by not_active() when it asks for more than the
# default.
_ACTIVE = frozenset({
    "name", "enabled", "event_buffer_size",
    "debug.enabled", "debug.dump_programs", "debug.dump_maps", "debug.trace_events", "debug.profile_enabled",
    "dual_path.enabled", "dual_path.raw_storage_enabled", "dual_path.raw_storage_path",
    "dual_path.raw_retention_hours", "dual_path.raw_max_mb", "dual_path.raw_keep_free_mb",
    "dual_path.redact", "dual_path.redact_patterns",
    "performance.ring_buffer_size_mb", "performance.memory_limit_mb", "performance.batch_pool_mb", "performance.overflow_policy",
    "performance.map_entries_limit", "performance.event_rate_limit",
    "filtering.min_severity", "filtering.process_filter", "filtering.rules", "filtering.namespace_filter", "filtering.container_filter",
    "performance.burst_size", "performance.cpu_limit",
    "performance.sampling_interval", "performance.adaptive_sampling",
    *(f"filtering.adaptive_sampling.{field.name}" for field in dataclasses.fields(AdaptiveSamplingConfig)),
})
# Keys of [programs] that do nothing yet.
_PLANNED = frozenset({"programs.network.capture_packets", "programs.network.snaplen", "programs.memory.track_allocations"})


def not_active(config: Config) -> list[str]:
    """List the keys that ask for something this version does not do yet.

    Those are keys changed from their default, except a part switched off that does not run anyway, and the semantic paths
    (on by default) once dual_path.enabled asks for them.
    """
    default = _flat(Config())
    return [key for key, value in _flat(config).items() if _asks_in_vain(key, value, default[key], config)]


def _asks_in_vain(key: str, value: Any, default: Any, config: Config) -> bool:
    if key in ("dual_path.semantic_enabled", "dual_path.correlation_enabled"):
        return bool(value) and config.dual_path.enabled
    if key in _ACTIVE or value == default:
        return False
    if key.startswith("programs."):
        return key in _PLANNED
    return not (value is False and key.startswith("dual_path."))
