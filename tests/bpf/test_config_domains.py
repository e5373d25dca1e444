# SPDX-License-Identifier: Apache-2.0
"""Each domain alone, each event alone, each key of the other sections: what is asked for is seen and attached, what is not is neither.

test_config_keys.py has [programs.process], and the table of which test proves which key.
"""
from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dns_reference as dns
import live_support as live
import pytest
from test_sampling import check
from test_syscall import attached as linked

import tapio_fast as tapio
from tapio_fast import KernelFilter, schema
from tapio_fast.enabled import DEFAULT_EVENTS, event_names, kernel_options

pytestmark = [pytest.mark.root, pytest.mark.live]

OFF = {"enabled": False}
ALONE: dict[str, dict[str, Any]] = {
    "process": {}, "network": {}, "file": {"exclude_paths": []}, "memory": {"monitor_mmap": True, "threshold_mb": 64}, "security": {}, "container": {},
}
# domains that [programs.process] switches on, without a process record
OF_PROCESS: dict[str, dict[str, Any]] = {
    "syscall": {"monitor_syscalls": ["unshare", "mkdirat"]}, "cpu": {"track_usage": True, "usage_interval": 0.05},
}
PRESSURE = set() if Path("/proc/pressure/memory").exists() else {"memory.pressure"}      # kinds that this kernel does not measure
DISPATCHERS = {"tf_sys_exit", "tf_sys_enter"}
NEWUTS, UNSHARE = 0x04000000, {"x86_64": 272, "aarch64": 97}[os.uname().machine]


def only(domain: str, **keys: Any) -> tapio.Config:
    """One domain."""
    if domain in OF_PROCESS:
        keys = {"events": ["exec"], "track_exec": False, **OF_PROCESS[domain], **keys}
        domain = "process"
    programs = {spec.name: OFF for spec in dataclasses.fields(tapio.Config().programs)}
    return tapio.Config.default().replace(programs={**programs, domain: {"enabled": True, **keys}})


class Attached:
    """What a collector that follows nobody attaches: names by the kernel's own tables, and kinds by ours."""

    def __init__(self, config: tapio.Config) -> None:
        source = tapio.KernelSource(snapshot=False)
        with tapio.Collector(config, source=source, filter=KernelFilter(pids=[])):
            self.linked = linked(source)
            programs = [p for p in source.programs() if p["state"] == "attached" or
                        (p["state"] == "loaded" and p["hook"] in ("iter/task", "syscall") and p["kinds"])]      # run by the engine, no link
        self.kinds = {p["name"]: {schema.KINDS[number].name for number in p["kinds"]} for p in programs}


@pytest.fixture(scope="module")
def helpers() -> Iterator[dict[str, live.Helper]]:
    """A process for every kind of trouble."""
    with contextlib.ExitStack() as stack:
        yield {name: stack.enter_context(live.Helper(f"{name}.py")) for name in ("mixed", "memory", "security", "containers")}


def do_everything(helpers: dict[str, live.Helper], triggers: Path, folder: Path) -> None:
    """Something of each domain."""
    helpers["mixed"].call("children", exe=str(triggers / "t_life"), folder=str(folder), n=1, files=2, connects=4)
    helpers["memory"].call("mappings", size=64 << 20)
    helpers["security"].call("do", work="calls", steps=[[UNSHARE, NEWUTS]])
    helpers["containers"].call("unshared", flags=NEWUTS)


@pytest.mark.parametrize("domain", [*ALONE, *OF_PROCESS])
def test_each_domain_alone(domain: str, helpers: dict[str, live.Helper], triggers: Path, tmp_path: Path) -> None:
    """Everything happens; one domain is seen, nothing else is even counted."""
    config = only(domain, **ALONE.get(domain, {}))
    everyone = KernelFilter(descendants_of=[helper.pid for helper in helpers.values()])
    with live.watching(helpers["mixed"], config=config, filter=everyone) as collector:
        do_everything(helpers, triggers, tmp_path)
        if domain == "cpu":
            helpers["mixed"].call("whoami")
        found = live.read_until(collector, lambda got: any(len(batch[domain]) for batch in got))
        batch = tapio.RecordBatch.concat([*found, *live.drain(collector)])
        stats = live.adds_up(collector)
    assert set(batch.domains) - {"meta"} == {domain}
    assert {kind.partition(".")[0] for kind, cells in stats.by_kind.items() if cells["seen"]} - {"meta"} == {domain}


@pytest.mark.parametrize("domain", [*ALONE, *OF_PROCESS])
def test_a_domain_alone_attaches_its_own_programs(domain: str) -> None:
    found = Attached(only(domain, **ALONE.get(domain, {})))
    assert found.kinds
    assert {kind.partition(".")[0] for name, kinds in found.kinds.items() if name not in DISPATCHERS for kind in kinds} == {domain}
    assert found.linked <= set(found.kinds)
    assert (not found.linked & DISPATCHERS) == (domain in ("process", "cpu", "network")), "by default these hook no system call"


@pytest.mark.parametrize("domain", ALONE)
def test_a_domain_that_is_off_takes_its_keys_along(domain: str) -> None:
    """Whatever else is set in its section."""
    keys = {**ALONE[domain], "events": ["all"], **({"track_usage": True, "monitor_syscalls": ["getppid"]} if domain == "process" else {})}
    assert Attached(only(domain, **keys).replace(programs={domain: OFF})).linked == set()


@pytest.mark.parametrize("domain", DEFAULT_EVENTS)
def test_each_event_alone(domain: str) -> None:
    """Its programs, and none that makes no record of it. (A flow is made of what is sent and received.)"""
    keys = {"memory": {"monitor_mmap": True, "track_page_faults": True}}.get(domain, {})
    for kind in sorted({f"{domain}.{name}" for name in event_names(domain)} - PRESSURE)[::live.SLOW // 2 or 1]:     # emulated: some
        event = kind.partition(".")[2]
        found = Attached(only(domain, events=[event], **keys))
        parts = {kind, "network.send", "network.recv"} if event == "flow" else {kind}
        serving = {name for name, kinds in found.kinds.items() if kind in kinds}
        assert serving, kind
        assert [name for name, kinds in found.kinds.items() if not kinds & parts and name not in DISPATCHERS] == [], kind


# --- [programs.network] ------------------------------------------------------------------------------------------------------------

TCP = {"connect", "accept", "close", "listen"}
DNS = {"dns", "dns_query"}


@pytest.fixture(scope="module")
def talkers() -> Iterator[list[live.Helper]]:
    with live.Helper("sockets.py") as sockets, live.Helper("resolve.py") as resolve:
        yield [sockets, resolve]


@pytest.mark.parametrize(("keys", "kinds"), [
    ({}, TCP | DNS | {"flow"}), ({"enabled": True, "events": ["all"]}, TCP | DNS | {"flow", "state", "bind", "rtt"}),
    ({"track_connections": False}, DNS | {"flow"}), ({"monitor_dns": False}, TCP | {"flow"}), ({"protocols": ["TCP"]}, TCP | DNS),
    ({"protocols": ["UDP"]}, DNS | {"flow"}), ({"protocols": [], "monitor_dns": False}, set()), ({"events": ["dns", "close"]}, {"dns", "close"}),
    ({"aggregate": False}, TCP | DNS | {"flow", "send", "recv"}), ({"aggregate": False, "events": ["send"]}, {"send"}),
], ids=str)
def test_keys_of_network(keys: dict[str, Any], kinds: set[str], talkers: list[live.Helper]) -> None:
    sockets, resolve = talkers
    query = dns.query(dns.name(b"key"), dns.A)
    messages = [[query.decode("latin-1"), dns.reply(query, []).decode("latin-1")]]
    everyone = KernelFilter(descendants_of=[sockets.pid, resolve.pid])
    with live.watching(sockets, config=only("network", **keys), filter=everyone) as collector:
        sockets.call("talk", host="127.0.0.1", how="client", sends=10, answers=10)
        resolve.call("ask", host="127.0.0.1", messages=messages)
        found = live.read_until(collector, lambda _: "close" not in kinds or collector.stats().by_kind["network.close"]["consumed"] >= 2)
        batch = tapio.RecordBatch.concat([*found, *live.drain(collector)])
        live.adds_up(collector)
    names = {kind.subtype: kind.name.partition(".")[2] for kind in schema.KINDS if kind.domain == "network"}
    seen = {names[number] for number in batch["network"]["subtype"].tolist()}
    assert seen - ({"drop"} if "all" in keys.get("events", ()) else set()) == kinds, "before 5.17 every freed packet is a drop"


# --- [programs.file] ---------------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def files() -> Iterator[live.Helper]:
    with live.Helper("files.py") as one:
        yield one


def use(path: Path, times: int = 1) -> list[dict[str, Any]]:
    """Make a file, write, read back, change and remove it."""
    name = os.fspath(path)
    one = [{"do": ["openat", -100, name, 0o102, 0o600], "as": "f"}, {"do": ["write", ["fd", "f"], ["bytes", "c" * 5000], 5000]},
           {"do": ["pread64", ["fd", "f"], ["room", 5000], 5000, 0]}, {"do": ["fchmod", ["fd", "f"], 0o640]}, {"do": ["close", ["fd", "f"]]},
           {"do": ["unlinkat", -100, name, 0]}]
    return one * times


@pytest.mark.parametrize(("keys", "counts"), [
    ({}, {"create": 1, "write": 1, "read": 1, "chmod": 1, "close": 1, "delete": 1}), ({"events": ["chmod", "delete"]}, {"chmod": 1, "delete": 1}),
    ({"monitor_paths": ["HERE"]}, {"create": 1, "write": 1, "read": 1, "chmod": 1, "close": 1, "delete": 1}),
    ({"monitor_paths": ["/usr"]}, {}), ({"exclude_paths": ["HERE"]}, {}),
], ids=str)
def test_keys_of_file(keys: dict[str, Any], counts: dict[str, int], files: live.Helper, tmp_path: Path) -> None:
    keys = {name: [str(tmp_path) if item == "HERE" else item for item in items] for name, items in keys.items()}
    with live.watching(files, config=only("file", **keys)) as collector:
        files.call("calls", plan=use(tmp_path / "file"))
        batch = live.everything(collector)
        live.adds_up(collector)
    found = {kind.partition(".")[2]: len(live.of_kind(batch, kind)[0]) for kind in schema.KIND_BY_NAME if kind.startswith("file.")}
    assert {kind: n for kind, n in found.items() if n} == counts


@pytest.mark.parametrize(("keys", "kept"), [
    ({}, None), ({"aggregate": False}, 0), ({"content_max_bytes": 9}, None), ({"capture_content": True}, 256),
    ({"capture_content": True, "content_max_bytes": 4096}, 4096), ({"capture_content": True, "aggregate": True, "content_max_bytes": 1}, 1),
], ids=str)
def test_content_is_kept_when_asked_for_and_bounded(keys: dict[str, Any], kept: int | None, files: live.Helper, tmp_path: Path) -> None:
    """None: reads and writes are added up, and what a row has is the histogram. Asking for content is asking for a record each."""
    with live.watching(files, config=only("file", events=["read", "write"], **keys)) as collector:
        files.call("calls", plan=use(tmp_path / "file"))
        batch = live.everything(collector)
        stats = live.adds_up(collector)
    rows, data = batch["file"], list(batch.strings("file", "data"))
    assert len(rows) == 2
    single = stats.by_kind["file.read"]["k_aggregated"] == stats.by_kind["file.write"]["k_aggregated"] == 0
    assert single is (kept is not None)
    assert [len(one) for one in data] == [96 if kept is None else kept] * 2
    if kept:
        assert set(b"".join(data)) == set(b"c") and (rows["data"]["full_len"] == 5000).all()


def test_share_of_file_records(files: live.Helper, tmp_path: Path) -> None:
    rate, n = 0.25, 400
    with live.watching(files, config=only("file", events=["create", "delete"], sampling_rate=rate)) as collector:
        files.call("calls", plan=use(tmp_path / "file", n))
        batch = live.everything(collector)
        stats = live.adds_up(collector)
    for kind in ("file.create", "file.delete"):
        cells = stats.by_kind[kind]
        check(live.of_kind(batch, kind)[0], {**cells, "seen": cells["seen"] - cells["k_filtered"]}, n, rate)


# --- [programs.memory], and what is common -------------------------------------------------------------------------------------------

MAPS = {"memory.mmap", "memory.munmap", "memory.mprotect", "memory.brk"}


@pytest.mark.parametrize(("keys", "off"), [
    ({}, MAPS | {"memory.page_fault"}), ({"track_page_faults": True}, MAPS), ({"monitor_mmap": True}, {"memory.page_fault"}),
    ({"track_oom": False}, MAPS | {"memory.page_fault", "memory.oom_kill"}),
    ({"track_oom": False, "events": ["limit"]}, {f"memory.{name}" for name in event_names("memory")} - {"memory.limit"}),
], ids=str)
def test_keys_of_memory(keys: dict[str, Any], off: set[str]) -> None:
    on = {f"memory.{name}" for name in event_names("memory")} - off
    found = Attached(only("memory", **keys))
    # what is left of a stall, and the count of faults, are sent by the same program
    served = set().union(*(kinds for name, kinds in found.kinds.items() if name not in ("tf_memory_exit", "tf_memory_exit_old")))
    assert served | {"memory.page_fault"} == on - PRESSURE | {"memory.page_fault"}
    assert "memory.page_fault" not in served & off
    assert bool(found.linked & DISPATCHERS) == bool(on & MAPS)


@pytest.mark.parametrize(("threshold", "seen"), [(63, True), (64, True), (65, False)])
def test_threshold_mb(threshold: int, seen: bool, helpers: dict[str, live.Helper]) -> None:
    """Calls of exactly 64 MiB; the one of twice that apart."""
    with live.watching(helpers["memory"], config=only("memory", events=["mprotect"], monitor_mmap=True, threshold_mb=threshold)) as collector:
        helpers["memory"].call("mappings", size=64 << 20)
        rows = live.everything(collector)["memory"]
    assert rows["size"].tolist() == [64 << 20] * (3 if seen else 0)


def test_high_rate_kinds_are_added_up_unless_told_otherwise() -> None:
    """The kernel's options of every domain's default are those that add up; the two keys take them away, one each."""
    every = {spec.name: {"enabled": True, "exclude_paths": []} if spec.name == "file" else {"enabled": True}
             for spec in dataclasses.fields(tapio.Config().programs)}
    assert kernel_options(tapio.Config().replace(programs=every)) == 0
    single = {kernel_options(only(domain, aggregate=False)) & ~kernel_options(only(domain)) for domain in ("file", "network")}
    assert single == {1, 16}      # TF_O_SINGLE_IO, TF_O_SINGLE_UDP


DOCUMENT = """
name = "production-ebpf"
enabled = true
event_buffer_size = 10000
[programs.network]
enabled = true
capture_packets = false
track_connections = true
monitor_dns = true
protocols = ["TCP", "UDP", "ICMP"]
[programs.process]
enabled = true
track_exec = true
track_fork_exit = true
monitor_syscalls = ["open", "connect", "execve"]
exclude_comms = ["systemd-*", "kernel-*"]
[programs.file]
enabled = true
monitor_paths = ["/etc", "/var/log", "/home"]
exclude_paths = ["/proc", "/sys"]
capture_content = false
[programs.memory]
enabled = true
track_oom = true
monitor_mmap = false
threshold_mb = 1024
"""


def test_the_documents_own_configuration(triggers: Path, tmp_path: Path) -> None:
    """Its example, key by key, as a file: it collects what it says."""
    file = tmp_path / "production.toml"
    file.write_text(DOCUMENT)
    config = tapio.Config.from_file(file)
    with live.Helper("files.py") as helper, live.watching(helper, config=config) as collector:
        helper.call("calls", plan=[{"do": ["openat", -100, path, 0], "as": "f"} for path in ("/etc/passwd", "/proc/version", "/usr/bin/env")])
        helper.call("executed", plan=[], exe=str(triggers / "t_life"))
        batch = live.everything(collector)
        health = collector.health()
        live.adds_up(collector)
    assert health.not_active == [] and health.status == ("degraded" if PRESSURE else "healthy"), health.advice
    opened = [path for path in batch.strings("file", "path") if path]
    assert b"/etc/passwd" in opened and not [path for path in opened if path.startswith((b"/proc", b"/usr"))]
    assert {event.kind for event in batch.events()} >= {"process.fork", "process.exec", "process.exit", "file.open", "syscall.call"}
