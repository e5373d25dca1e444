# SPDX-License-Identifier: Apache-2.0
"""Which kinds a configuration asks for, and what the programs in the kernel need to know of it. Relies on `types`; `config` relies on
it.

Every domain has a default set; its `events` key replaces that set ("all": every one there is); the keys of the document
(`track_exec`, `monitor_dns` ...) take their kinds out of either; a list that names one of them is refused (`config`).
"""
from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from tapio_fast.types import SUBTYPES, WITHOUT_PROGRAM, EventType

if TYPE_CHECKING:
    from tapio_fast.config import Config

# domain -> subtypes collected unless its `events` key says otherwise
DEFAULT_EVENTS: dict[str, tuple[str, ...]] = {
    "process": ("exec", "exit", "fork", "signal", "rename"),
    "network": ("connect", "accept", "close", "listen", "retransmit", "reset", "error", "flow", "dns", "dns_query"),
    "file": ("open", "close", "read", "write", "create", "delete", "rename", "chmod", "chown", "mkdir", "rmdir", "link", "symlink",
             "truncate", "xattr"),
    "memory": ("oom_kill", "reclaim", "compaction", "pressure", "limit", "page_fault", "mmap", "munmap", "mprotect", "brk"),
    "security": ("privilege_escalation", "ptrace", "module_load", "bpf", "mount", "namespace", "fileless_exec", "writable_code",
                 "capability_denied", "access_denied", "sensitive_file", "raw_socket", "keyctl", "userfaultfd", "perf_event",
                 "io_uring", "setuid_exec", "process_vm", "memfd", "io_uring_op"),
    "container": ("create", "start", "stop", "destroy", "attach", "namespace", "escape", "empty"),
}
PATH_MONITOR, PATH_EXCLUDE, PATH_SENSITIVE, PATH_BESIDE = 1, 2, 4, 16     # enum tf_path_set
OPTION_SINGLE_IO, OPTION_PATH_SETS, OPTION_MONITOR, OPTION_DURATIONS, OPTION_SINGLE_UDP = 1, 2, 4, 8, 16   # enum tf_option
OPTION_THROTTLE, OPTION_PUSHED = 1 << 7, 1 << 10
OPTION_WITHOUT = {"TCP": 1 << 16, "UDP": 1 << 17, "ICMP": 1 << 18}


def event_names(domain: str) -> tuple[str, ...]:
    """Return every subtype of a domain that a program can make, as `events` takes them."""
    members = SUBTYPES[EventType[domain.upper()]]
    return tuple(m.text for m in members if m.text not in WITHOUT_PROGRAM.get(domain, ()))


class Switch(NamedTuple):
    """A key that switches kinds off as it is set: section and key, what turns them on again, the subtypes."""

    section: str
    key: str
    step: str
    names: tuple[str, ...]


def switches(config: Config) -> Iterator[Switch]:
    """Yield the keys of the document that switch kinds of their section off."""
    process, network, memory = config.programs.process, config.programs.network, config.programs.memory
    tcp = ("connect", "accept", "close", "listen", "state", "retransmit", "reset", "rtt")
    flags: tuple[tuple[bool, str, str, tuple[str, ...]], ...] = (
        (process.track_exec, "process", "track_exec", ("exec",)),
        (process.track_fork_exit, "process", "track_fork_exit", ("fork", "exit")),
        (network.track_connections, "network", "track_connections", tcp),
        (network.monitor_dns, "network", "monitor_dns", ("dns", "dns_query")),
        (memory.track_oom, "memory", "track_oom", ("oom_kill",)),
        (memory.monitor_mmap, "memory", "monitor_mmap", ("mmap", "munmap", "mprotect", "brk")),
        (memory.track_page_faults, "memory", "track_page_faults", ("page_fault",)))
    for on, section, key, names in flags:
        if not on:
            yield Switch(section, key, f"set programs.{section}.{key} = true", names)
    for protocol, of_it in (("TCP", tcp), ("UDP", ("flow", "send", "recv"))):
        if protocol not in network.protocols:
            yield Switch("network", "protocols", f'add "{protocol}" to programs.network.protocols', of_it)
    if not network.protocols:       # events of all protocols, each of which the kernel leaves out
        yield Switch("network", "protocols", "name a protocol in programs.network.protocols", ("drop", "error", "bind"))
    if not config.programs.security.sensitive_paths:
        yield Switch("security", "sensitive_paths", "name a path in programs.security.sensitive_paths", ("sensitive_file",))


def with_parts(kinds: set[str]) -> set[str]:
    """Return kinds and the single operations' kinds of those that are added up: without them there is nothing to add."""
    return kinds | {"network.send", "network.recv"} if "network.flow" in kinds else kinds


def enabled_kinds(config: Config) -> set[str]:
    """Return the kinds that a configuration enables, meta apart."""
    if not config.enabled:
        return set()
    kinds: set[str] = set()
    for domain, default in DEFAULT_EVENTS.items():
        section = getattr(config.programs, domain)
        if section.enabled:
            events = section.events or default
            kinds |= {f"{domain}.{name}" for name in (event_names(domain) if "all" in events else events)}
    kinds -= {f"{switch.section}.{name}" for switch in switches(config) for name in switch.names}
    process = config.programs.process
    if process.enabled and process.track_usage:
        kinds.add("cpu.usage")
    if process.enabled and process.monitor_syscalls:
        kinds.add("syscall.call")
    return with_parts(kinds)


@functools.cache
def collected_when(kind: str) -> str:
    """Tell people how a kind comes to be collected."""
    from tapio_fast.config import Config

    if kind.startswith("meta."):
        return "always"
    if kind == "cpu.load":
        return "generator"
    domains = {domain: {"enabled": True} for domain in DEFAULT_EVENTS}
    return ("by default" if kind in enabled_kinds(Config.default()) else
            "with its domain" if kind in enabled_kinds(Config.default().replace(programs=domains)) else "when asked")


# section of [programs] -> domains that its sampling_rate is for, and `replay --programs` of its name
SAMPLED_WITH = {"process": ("process", "syscall", "cpu"), "network": ("network",), "file": ("file",)}


def _only_added_up(config: Config, kinds: set[str]) -> set[str]:
    """Return the kinds whose operations only feed a sum: the sum's row is thinned, and an operation missing in it would be missing twice."""
    options = kernel_options(config)
    # rows of the same kind as what they add up; of round trips one a second and socket, of whichever packet comes first
    sums = {"memory.reclaim", "memory.compaction", "memory.limit", "memory.page_fault", "network.rtt"}
    if not options & OPTION_SINGLE_IO:
        sums |= {"file.read", "file.write"}
    if "network.flow" in kinds and not options & OPTION_SINGLE_UDP:
        sums |= {"network.send", "network.recv"}
    return sums


def samplable(config: Config, kinds: set[str]) -> set[str]:
    """Return the kinds that may be thinned at all."""
    return kinds - _only_added_up(config, kinds)


def keyed_kinds(config: Config, kinds: set[str]) -> dict[str, set[str]]:
    """Return key -> kinds of which all records of a key share one fate: "process", "connection" (programs.X.sampling_key)."""
    keyed: dict[str, set[str]] = {"process": set(), "connection": set()}
    for section, domains in SAMPLED_WITH.items():
        key = getattr(config.programs, section).sampling_key
        if key in keyed:
            keyed[key] |= {kind for kind in samplable(config, kinds) if kind.partition(".")[0] in domains}
    return keyed


def sampling_rates(config: Config, kinds: set[str]) -> dict[str, float]:
    """Return kind -> share to keep, of those that are not whole. Critical kinds too: whoever sets a rate has said so."""
    rates = {}
    kinds = samplable(config, kinds)
    for section, domains in SAMPLED_WITH.items():
        rate = getattr(config.programs, section).sampling_rate
        if rate < 1.0:
            rates.update({kind: rate for kind in kinds if kind.partition(".")[0] in domains})
    return rates


def summed_kinds(config: Config) -> frozenset[str]:
    """Return the kinds of operations that the kernel adds up instead of telling each."""
    file, network = config.programs.file, config.programs.network
    reads = {"file.read", "file.write"} if file.aggregate and not file.capture_content else set()
    return frozenset(reads | ({"network.send", "network.recv"} if network.aggregate else set()))


def kernel_options(config: Config) -> int:
    """Return the bits of enum tf_option."""
    programs = config.programs
    bits = 0
    if not programs.file.aggregate or programs.file.capture_content:     # content has no place in a sum
        bits |= OPTION_SINGLE_IO
    if programs.file.monitor_paths or programs.file.exclude_paths:
        bits |= OPTION_PATH_SETS
    if programs.file.monitor_paths:
        bits |= OPTION_MONITOR
    if programs.process.syscall_durations:
        bits |= OPTION_DURATIONS
    if not programs.network.aggregate:
        bits |= OPTION_SINGLE_UDP
    if config.filtering.adaptive_sampling.enabled and config.filtering.adaptive_sampling.burst_protection:
        bits |= OPTION_THROTTLE
    for name, bit in OPTION_WITHOUT.items():
        if name not in programs.network.protocols:
            bits |= bit
    return bits


def kernel_paths(config: Config) -> dict[str, int]:
    """Return the directories and files that the kernel must know -> bits of enum tf_path_set, shortest path first."""
    found: dict[str, int] = {}
    file, security = config.programs.file, config.programs.security
    for paths, bit in ((file.monitor_paths, PATH_MONITOR), (file.exclude_paths, PATH_EXCLUDE)):
        for path in paths if file.enabled else ():
            path = path.rstrip("/") or "/"
            found[path] = found.get(path, 0) | bit
    for path in security.sensitive_paths if "security.sensitive_file" in enabled_kinds(config) else ():
        path = path.rstrip("/") or "/"
        found[path] = found.get(path, 0) | PATH_SENSITIVE
        found[os.path.dirname(path)] = found.get(os.path.dirname(path), 0) | PATH_BESIDE    # for what takes the place of the path
    return dict(sorted(found.items(), key=lambda item: len(item[0])))
