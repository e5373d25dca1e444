# SPDX-License-Identifier: Apache-2.0
"""Every configuration key, declared once: name, default, what it accepts, one line for people.

Each section is a frozen dataclass that checks its own values; checks across sections are in config.py.
Relies on _config_kinds.
"""
from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tapio_fast._config_kinds import (
    SEVERITIES,
    Kind,
    checked,
    choice,
    duration,
    expression,
    flag,
    integer,
    key_error,
    names,
    number,
    setting,
    size,
    tables,
    text,
)
from tapio_fast.types import SUBTYPES, WITHOUT_PROGRAM, EventType

_RATE = number(0.0, 1.0, open_low=True)
_PATHS = names(of=text(pattern=r"/[^\x00]*", allowed="an absolute path"), allowed="a list of absolute paths")
_GLOBS = names(of=text(pattern=r"[^\x00-\x1f\x7f]+"), allowed="a list of names, * and ? allowed")
_SYSCALLS = names(of=text(pattern=r"[a-z_][a-z0-9_]*|[0-9]{1,4}"), allowed="a list of system call names or numbers")
_MIB = 1 << 20


def _events(domain: str) -> Kind:
    known = [m.text for m in SUBTYPES[EventType[domain.upper()]] if m.text not in WITHOUT_PROGRAM.get(domain, ())]
    return names(of=choice("all", *known), allowed=f"a list of {', '.join(known)}, or all")


SENSITIVE_PATHS = ("/etc/passwd", "/etc/shadow", "/etc/gshadow", "/etc/sudoers", "/etc/sudoers.d", "/etc/ssh", "/etc/pam.d",
                   "/etc/ld.so.preload", "/etc/crontab", "/etc/cron.d", "/root/.ssh")
RULE_KEYS = ("name", "type", "subtype", "min_severity", "conditions", "process_name_regex", "expr", "severity", "tags")


class Section:
    """Check every field of a section when it is made."""

    PATH: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for spec in dataclasses.fields(self):  # type: ignore[arg-type]
            if "kind" in spec.metadata:
                key = f"{self.PATH}.{spec.name}" if self.PATH else spec.name
                object.__setattr__(self, spec.name, checked(key, spec, getattr(self, spec.name)))


@dataclasses.dataclass(frozen=True)
class NetworkConfig(Section):
    """[programs.network]"""

    PATH: ClassVar[str] = "programs.network"
    enabled: bool = setting(flag(), True, "collect the network domain")
    events: tuple[str, ...] = setting(_events("network"), (), "events to collect; empty: the usual ones; all: every one")
    track_connections: bool = setting(flag(), True, "TCP events: connect, accept, close, listen, state, retransmit, reset, rtt")
    monitor_dns: bool = setting(flag(), True, "DNS queries and answers")
    capture_packets: bool = setting(flag(), False, "keep the first bytes of packets")
    snaplen: int = setting(size(16, 65535), 256, "bytes kept of a captured packet")
    protocols: tuple[str, ...] = setting(
        names(of=choice("TCP", "UDP", "ICMP", also={"tcp": "TCP", "udp": "UDP", "icmp": "ICMP"}),
              allowed='a list of "TCP", "UDP", "ICMP"'), ("TCP", "UDP", "ICMP"), "transport protocols to collect")
    aggregate: bool = setting(flag(), True, "UDP: one flow per socket; false: also a record per send and receive")
    sampling_rate: float = setting(_RATE, 1.0, "share of network records kept, decided in the kernel")
    sampling_key: str = setting(choice("record", "process", "connection"), "record",
                                "what is drawn: each record, or a process or TCP connection once for all its records")


@dataclasses.dataclass(frozen=True)
class ProcessConfig(Section):
    """[programs.process]"""

    PATH: ClassVar[str] = "programs.process"
    enabled: bool = setting(flag(), True, "collect the process domain")
    events: tuple[str, ...] = setting(_events("process"), (), "events to collect; empty: the usual ones; all: every one")
    track_exec: bool = setting(flag(), True, "exec, with executable, working directory and arguments")
    track_fork_exit: bool = setting(flag(), True, "fork and exit, with life time, exit code and signal")
    monitor_syscalls: tuple[str, ...] = setting(_SYSCALLS, (), "system calls recorded with arguments and result")
    syscall_durations: bool = setting(flag(), False, "measure monitor_syscalls from entry to return (costs every call of the machine)")
    track_usage: bool = setting(flag(), False, "CPU time, memory and threads of every process, each usage_interval")
    usage_interval: float = setting(duration(0.05, 3600.0), 1.0, "how often track_usage looks")
    exclude_comms: tuple[str, ...] = setting(_GLOBS, (), "processes left out, by name")
    args_max_bytes: int = setting(size(0, 4096), 4096, "bytes of arguments kept per exec")
    sampling_rate: float = setting(_RATE, 1.0, "share of process records kept, decided in the kernel")
    sampling_key: str = setting(choice("record", "process"), "record", "what is drawn: each record, or a process once for all its records")


@dataclasses.dataclass(frozen=True)
class FileConfig(Section):
    """[programs.file]"""

    PATH: ClassVar[str] = "programs.file"
    enabled: bool = setting(flag(), False, "collect the file domain")
    events: tuple[str, ...] = setting(_events("file"), (), "events to collect; empty: all of them")
    monitor_paths: tuple[str, ...] = setting(_PATHS, (), "only below these directories; empty: everywhere")
    exclude_paths: tuple[str, ...] = setting(_PATHS, ("/proc", "/sys"), "not below these directories")
    capture_content: bool = setting(flag(), False, "keep the first bytes of what is read and written; then every operation has its record")
    aggregate: bool = setting(flag(), True, "reads and writes: one record per open file when it is closed; false: one per operation")
    content_max_bytes: int = setting(size(1, 4096), 256, "bytes of content kept per operation")
    sampling_rate: float = setting(_RATE, 1.0, "share of file records kept, decided in the kernel")
    sampling_key: str = setting(choice("record", "process"), "record", "what is drawn: each record, or a process once for all its records")


@dataclasses.dataclass(frozen=True)
class MemoryConfig(Section):
    """[programs.memory]"""

    PATH: ClassVar[str] = "programs.memory"
    enabled: bool = setting(flag(), True, "collect the memory domain")
    events: tuple[str, ...] = setting(_events("memory"), (), "events to collect; empty: all of them, as far as the keys below say")
    track_oom: bool = setting(flag(), True, "out-of-memory kills")
    monitor_mmap: bool = setting(flag(), False, "mmap, munmap, mprotect and brk of threshold_mb or more")
    track_page_faults: bool = setting(flag(), False, "page faults, added up per process")
    track_allocations: bool = setting(flag(), False, "kernel allocations, added up")
    threshold_mb: int = setting(size(1, 1 << 24, _MIB), 1024, "size from which a mapping is recorded")
    pressure_ms: int = setting(integer(1, 10000, " ms"), 150,
                               "a record when processes waited this long for memory within pressure_window_ms")
    pressure_window_ms: int = setting(integer(500, 10000, " ms"), 2000,
                                      "window of pressure_ms; without CAP_SYS_RESOURCE the kernel takes multiples of 2000 only")
    pressure_path: str = setting(text(pattern=r"/proc/pressure/memory|(/[^\x00]*)?/memory\.pressure", most=255,
                                      allowed="/proc/pressure/memory, or the absolute path of a file memory.pressure"), "/proc/pressure/memory",
                                 "whose pressure: the machine's, or the memory.pressure file of a control group")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pressure_ms > self.pressure_window_ms:
            raise key_error(f"{self.PATH}.pressure_ms", self.pressure_ms,
                            f"is more than {self.PATH}.pressure_window_ms ({self.pressure_window_ms}): it would never be reached",
                            "lower it, or raise the window")


@dataclasses.dataclass(frozen=True)
class SecurityConfig(Section):
    """[programs.security]"""

    PATH: ClassVar[str] = "programs.security"
    enabled: bool = setting(flag(), False, "collect the security domain")
    events: tuple[str, ...] = setting(_events("security"), (), "events to collect; empty: all of them")
    sensitive_paths: tuple[str, ...] = setting(_PATHS, SENSITIVE_PATHS, "files and directories whose change is a security event")


@dataclasses.dataclass(frozen=True)
class ContainerConfig(Section):
    """[programs.container]"""

    PATH: ClassVar[str] = "programs.container"
    enabled: bool = setting(flag(), False, "collect the container domain")
    events: tuple[str, ...] = setting(_events("container"), (), "events to collect; empty: all of them")


@dataclasses.dataclass(frozen=True)
class ProgramsConfig(Section):
    """[programs]: what is collected."""

    PATH: ClassVar[str] = "programs"
    network: NetworkConfig = dataclasses.field(default_factory=NetworkConfig)
    process: ProcessConfig = dataclasses.field(default_factory=ProcessConfig)
    file: FileConfig = dataclasses.field(default_factory=FileConfig)
    memory: MemoryConfig = dataclasses.field(default_factory=MemoryConfig)
    security: SecurityConfig = dataclasses.field(default_factory=SecurityConfig)
    container: ContainerConfig = dataclasses.field(default_factory=ContainerConfig)


@dataclasses.dataclass(frozen=True)
class DualPathConfig(Section):
    """[dual_path]: where collected records go."""

    PATH: ClassVar[str] = "dual_path"
    enabled: bool = setting(flag(), False, "run the paths below beside the consumer")
    raw_storage_enabled: bool = setting(flag(), True, "write every collected record to the raw store")
    raw_storage_path: str = setting(text(pattern=r"[^\x00]+", allowed="a directory"), "/var/lib/tapio/ebpf/raw",
                                    "directory of the raw store")
    raw_retention_hours: float = setting(number(0.0, 876000.0, " h", open_low=True), 24, "age at which stored records are removed")
    raw_max_mb: int = setting(integer(0, 1 << 40, " MB"), 0, "size above which the oldest segments of the store are removed; 0: no limit")
    raw_keep_free_mb: int = setting(integer(0, 1 << 40, " MB"), 0, "free space of the file system below which they are; 0: no limit")
    semantic_enabled: bool = setting(flag(), True, "turn valuable records into semantic events")
    correlation_enabled: bool = setting(flag(), True, "group semantic events that belong together")
    importance_threshold: float = setting(number(0.0, 1.0), 0.7, "importance from which a record becomes a semantic event")
    redact: bool = setting(flag(), True, "cut secrets out of arguments, paths and captured content before any path sees them")
    redact_patterns: tuple[str, ...] = setting(names(of=expression(), allowed="a list of regular expressions"), (),
                                               "whatever one of these matches is cut out too")

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.redact_patterns) > 64:
            raise key_error(f"{self.PATH}.redact_patterns", len(self.redact_patterns), "are more patterns than 64", "join some with |")


@dataclasses.dataclass(frozen=True)
class PerformanceConfig(Section):
    """[performance]"""

    PATH: ClassVar[str] = "performance"
    ring_buffer_size_mb: int = setting(size(1, 2048, _MIB), 16, "bulk rings of all CPUs together; the critical rings add an eighth")
    event_rate_limit: int = setting(integer(1, 1_000_000_000, " records/s"), 10000,
                                    "rate above which health() warns, or adaptive sampling thins out")
    burst_size: int = setting(integer(1, 1_000_000_000, " records"), 1000, "records above burst_threshold that a cgroup sends at once")
    cpu_limit: float = setting(number(0.0, 4096.0, " cores", open_low=True), 2.0, "CPU time the collector may use, adaptive sampling keeps to it")
    memory_limit_mb: int = setting(size(8, 1 << 24, _MIB), 512, "memory the collector may use, rings and pools counted in")
    sampling_interval: float = setting(duration(0.001, 3600.0), 0.1, "how often adaptive sampling measures and changes rates")
    adaptive_sampling: bool = setting(flag(), False, "thin out bulk kinds above event_rate_limit and cpu_limit, and when rings fill")
    map_entries_limit: int = setting(integer(64, 1 << 24, " entries"), 10000, "entries of each table in the kernel")
    overflow_policy: str = setting(choice("auto", "block", "drop_oldest", "drop_newest"), "auto",
                                   "what happens when the consumer is slow (auto: block while it is the only branch, else drop_oldest)")
    batch_pool_mb: int = setting(size(1, 1 << 20, _MIB), 64, "memory for batches on their way")
    durability: str = setting(choice("fast", "ring"), "fast", "ring: the kernel's ring is freed only after the store has the records")


@dataclasses.dataclass(frozen=True)
class AdaptiveSamplingConfig(Section):
    """[filtering.adaptive_sampling]"""

    PATH: ClassVar[str] = "filtering.adaptive_sampling"
    enabled: bool = setting(flag(), False, "the same, and burst_protection")
    base_rate: float = setting(_RATE, 0.1, "least share of unimportant kinds that adaptive sampling keeps")
    importance_boost: float = setting(number(1.0, 1e6), 10.0, "how much likelier kinds of dual_path.importance_threshold or more are kept")
    burst_protection: bool = setting(flag(), True, "limit each cgroup in the kernel: to burst_threshold, after performance.burst_size at once")
    burst_threshold: int = setting(integer(1, 1_000_000_000, " records/s"), 10000, "rate of a cgroup that counts as a burst")


@dataclasses.dataclass(frozen=True)
class FilteringConfig(Section):
    """[filtering]"""

    PATH: ClassVar[str] = "filtering"
    min_severity: str = setting(choice("debug", "info", "warning", "error", "critical", also=SEVERITIES), "debug",
                                "records below are not collected (low, medium, high mean info, warning, error)")
    namespace_filter: tuple[str, ...] = setting(_GLOBS, (), "only these Kubernetes namespaces")
    container_filter: tuple[str, ...] = setting(_GLOBS, (), "only these containers, by name")
    process_filter: tuple[str, ...] = setting(_GLOBS, (), "only these processes, by name")
    rules: tuple[dict[str, Any], ...] = setting(tables(known=RULE_KEYS, allowed="a list of tables with the keys " +
                                                       ", ".join(RULE_KEYS)), (), "filter rules; a record passes if one matches")
    adaptive_sampling: AdaptiveSamplingConfig = dataclasses.field(default_factory=AdaptiveSamplingConfig)


@dataclasses.dataclass(frozen=True)
class IntegrationConfig(Section):
    """[integration]: the Tapio server."""

    PATH: ClassVar[str] = "integration"
    tapio_server: str = setting(text(pattern=r"|[^\s/:]+:[0-9]{1,5}|\[[0-9a-fA-F:.]+\]:[0-9]{1,5}", allowed='"host:port", or empty'),
                                "", "server that semantic events are sent to; empty: none")
    stream_batch_size: int = setting(integer(1, 100_000, " events"), 100, "semantic events per message")
    stream_timeout: float = setting(duration(0.001, 3600.0), 1.0, "longest time a message waits to fill")
    enable_tls: bool = setting(flag(), True, "encrypt, and check the server's certificate")
    ca_file: str = setting(text(), "", "certificates trusted as issuers; empty: the system's")
    cert_file: str = setting(text(), "", "own certificate")
    key_file: str = setting(text(), "", "own private key")
    server_name: str = setting(text(), "", "name the server's certificate must carry; empty: the host of tapio_server")

    def __post_init__(self) -> None:
        super().__post_init__()
        if bool(self.cert_file) != bool(self.key_file):
            here, other = ("cert_file", "key_file") if self.cert_file else ("key_file", "cert_file")
            raise key_error(f"{self.PATH}.{here}", getattr(self, here), f"needs {self.PATH}.{other} beside it", "set both or neither")
        if not self.enable_tls and (self.ca_file or self.cert_file or self.server_name):
            raise key_error(f"{self.PATH}.enable_tls", False, "contradicts the TLS files that are set: they would be ignored",
                            "set enable_tls = true, or remove ca_file, cert_file, key_file and server_name")


@dataclasses.dataclass(frozen=True)
class DebugConfig(Section):
    """[debug]"""

    PATH: ClassVar[str] = "debug"
    enabled: bool = setting(flag(), False, "do what the keys below ask for, each of which does nothing alone")
    log_level: str = setting(choice("trace", "debug", "info", "warning", "error", also={"warn": "warning"}), "info",
                             "least level that is logged")
    dump_programs: bool = setting(flag(), False, "debug() lists the loaded programs with their instructions")
    dump_maps: bool = setting(flag(), False, "debug() lists the maps with their cells")
    trace_events: bool = setting(flag(), False, "log one line per batch that is read, to the logger tapio_fast at level DEBUG")
    profile_enabled: bool = setting(flag(), False, "measure the programs' run time in the kernel, for debug()")


@dataclasses.dataclass(frozen=True)
class MetricsConfig(Section):
    """[metrics]"""

    PATH: ClassVar[str] = "metrics"
    enabled: bool = setting(flag(), False, "serve metrics for Prometheus")
    listen: str = setting(text(pattern=r"[^\s/]*:[0-9]{1,5}", allowed='"host:port"'), "127.0.0.1:9478", "address to serve them on")


@dataclasses.dataclass(frozen=True)
class LogConfig(Section):
    """[log]"""

    PATH: ClassVar[str] = "log"
    format: str = setting(choice("text", "json"), "text", "form of log lines")
    file: str = setting(text(), "", "file to append to; empty: stderr")
