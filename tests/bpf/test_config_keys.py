# SPDX-License-Identifier: Apache-2.0
"""Every key of [programs.process], switched on and off: what then is recorded, and that what is off attaches nothing.

And the table of which test proves which key of [programs]; those of the other sections are in test_config_domains.py.
"""
from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import live_support as live
import pytest

import tapio_fast as tapio
from tapio_fast import config as config_module
from tapio_fast import schema, syscalls

pytestmark = [pytest.mark.root, pytest.mark.live]

HOOKS = {"exec": "tf_process_exec", "exit": "tf_process_exit", "fork": "tf_process_fork", "signal": "tf_process_signal",
         "rename": "tf_process_rename",
         "setuid": "tf_process_setuid", "setgid": "tf_process_setgid", "capset": "tf_process_capset"}
OLD = {"tf_process_exit": "tf_process_exit_old"}     # another kernel's variant
KEYS = {"enabled", "events", "track_exec", "track_fork_exit", "monitor_syscalls", "syscall_durations", "track_usage", "usage_interval",
        "exclude_comms",
        "args_max_bytes", "sampling_rate", "sampling_key"}


def only_process(**process: Any) -> tapio.Config:
    """The other domains are off."""
    return tapio.Config.default().replace(programs={"process": process, "network": {"enabled": False}, "memory": {"enabled": False}})


def attached(config: tapio.Config) -> set[str]:
    """Names of the programs that a collector attaches which follows nobody."""
    source = tapio.KernelSource(snapshot=False)
    with tapio.Collector(config, source=source, filter=tapio.KernelFilter(pids=[])):
        found = {p["name"] for p in source.programs() if p["state"] == "attached"}
    return {name for new in found for name in [next((n for n, old in OLD.items() if old == new), new)]}


def kinds_of(config: tapio.Config, triggers: Path) -> tuple[set[str], tapio.RecordBatch]:
    """What a helper's child that lives, is renamed, signalled, and changes its ids makes of a configuration."""
    with live.Helper("processes.py") as helper, live.watching(helper, config=config) as collector:
        helper.call("child", exe=str(triggers / "t_life"), argv=["kept", "exit", "3"], uid=1234, gid=1234)
        helper.call("child", exe=str(triggers / "t_life"), argv=["kept", "kill", "15"])
        helper.call("rename_often", n=3)
        batch = live.everything(collector)
        stats = live.adds_up(collector)
    seen = {kind for kind, cells in stats.by_kind.items() if cells["seen"] > cells["k_filtered"] and not kind.startswith("meta.")}
    return seen, batch


# key of [programs] -> tests that switch it and look at what is recorded, or attached
DOMAINS = "bpf/test_config_domains.py::"
HERE = "bpf/test_config_keys.py::"
OF_NETWORK, OF_FILE, OF_MEMORY = (DOMAINS + f"test_keys_of_{section}" for section in ("network", "file", "memory"))
CONTENT = DOMAINS + "test_content_is_kept_when_asked_for_and_bounded"
PLANNED = "test_config.py::test_not_active_lists_what_is_asked_in_vain"
PROOFS = {
    **dict.fromkeys(("network.track_connections", "network.monitor_dns", "network.protocols", "network.aggregate"), OF_NETWORK),
    **dict.fromkeys(("network.capture_packets", "network.snaplen", "memory.track_allocations"), PLANNED),
    "network.sampling_rate": "bpf/test_sampling.py::test_share_of_a_section",
    **{f"process.{key}": HERE + f"test_{key}" for key in ("args_max_bytes", "monitor_syscalls", "track_usage", "exclude_comms")},
    "process.track_exec": HERE + "test_track_keys", "process.track_fork_exit": HERE + "test_track_keys",
    "process.syscall_durations": "bpf/test_syscall.py::test_durations_only_where_asked",
    "process.usage_interval": "bpf/test_usage.py::test_every_process_is_looked_at_in_each_look_and_filters_judge_it",
    "process.sampling_rate": "bpf/test_sampling.py::test_share_of_real_processes",
    **dict.fromkeys(("process.sampling_key", "file.sampling_key"), "bpf/test_keyed.py::test_a_process_is_kept_whole_or_not_at_all"),
    "network.sampling_key": "bpf/test_keyed.py::test_a_connection_is_kept_whole_or_not_at_all",
    **dict.fromkeys(("file.monitor_paths", "file.exclude_paths"), "bpf/test_paths.py::test_the_nearest_configured_directory_decides"),
    **dict.fromkeys(("file.capture_content", "file.content_max_bytes", "file.aggregate"), CONTENT),
    "file.sampling_rate": DOMAINS + "test_share_of_file_records",
    **dict.fromkeys(("memory.track_oom", "memory.monitor_mmap", "memory.track_page_faults"), OF_MEMORY),
    "memory.threshold_mb": DOMAINS + "test_threshold_mb",
    **dict.fromkeys(("memory.pressure_ms", "memory.pressure_path"), "bpf/test_memory_events.py::test_pressure"),
    "memory.pressure_window_ms": "bpf/test_memory_events.py::test_pressure_threshold_that_the_kernel_refuses_is_explained",
    "security.sensitive_paths": "bpf/test_security.py::test_sensitive_files",
}
OF_ALL = {"enabled": DOMAINS + "test_a_domain_that_is_off_takes_its_keys_along", "events": DOMAINS + "test_each_event_alone"}


def test_every_key_of_every_section_has_its_test() -> None:
    keys = {f"{section.name}.{key.name}" for section in dataclasses.fields(tapio.Config().programs)
            for key in dataclasses.fields(getattr(tapio.Config().programs, section.name))}
    proofs = {**{key: OF_ALL[key.partition(".")[2]] for key in keys if key.partition(".")[2] in OF_ALL}, **PROOFS}
    assert set(proofs) == keys
    assert {key for key, proof in proofs.items() if proof == PLANNED} == {key.removeprefix("programs.") for key in config_module._PLANNED}
    for key, proof in proofs.items():
        file, _, test = proof.partition("::")
        text = (Path(__file__).parents[1] / file).read_text()
        assert f"\ndef {test}(" in text and (key.partition(".")[2] in text or proof in OF_ALL.values()), (key, proof)


def test_every_key_is_here_and_does_something() -> None:
    assert {spec.name for spec in dataclasses.fields(tapio.Config().programs.process)} == KEYS
    asks = only_process(events=["exec", "setuid"], track_exec=False, track_fork_exit=False, monitor_syscalls=["openat"],
                        syscall_durations=True,
                        track_usage=True, usage_interval=5.0, exclude_comms=["x*"], args_max_bytes=16, sampling_rate=0.5)
    assert [key for key in config_module.not_active(asks) if key.startswith("programs.process.")] == []


@pytest.mark.parametrize("event", list(HOOKS))
def test_events_one_alone(event: str) -> None:
    ends = {"tf_sys_exit", "tf_sys_enter"} if event in ("setuid", "setgid", "capset") else set()
    assert attached(only_process(events=[event])) == {HOOKS[event]} | ends


def test_events_all_and_none() -> None:
    assert attached(only_process(events=["all"])) == set(HOOKS.values()) | {"tf_sys_exit", "tf_sys_enter"}
    default = {HOOKS[event] for event in ("exec", "exit", "fork", "signal", "rename")}
    assert attached(only_process()) == default
    assert attached(only_process(enabled=False, monitor_syscalls=["getppid"], track_usage=True)) == set()


def test_events_seen(triggers: Path) -> None:
    every, _ = kinds_of(only_process(events=["all"]), triggers)
    assert every == {f"process.{event}" for event in HOOKS if event != "capset"}
    some, batch = kinds_of(only_process(events=["exit", "setgid"]), triggers)
    assert some == {"process.exit", "process.setgid"}
    assert len(live.of_kind(batch, "process.setgid")[0]) == 1


@pytest.mark.parametrize(("key", "events"), [("track_exec", {"exec"}), ("track_fork_exit", {"fork", "exit"})])
def test_track_keys(key: str, events: set[str], triggers: Path) -> None:
    on, _ = kinds_of(only_process(**{key: True}), triggers)
    off, _ = kinds_of(only_process(**{key: False}), triggers)
    assert on - off == {f"process.{event}" for event in events} and off <= on
    assert not attached(only_process(**{key: False})) & {HOOKS[event] for event in events}
    chosen = only_process(events=["all"], **{key: False})
    assert not attached(chosen) & {HOOKS[event] for event in events}, "the key takes its events out of any list"


@pytest.mark.parametrize("most", [0, 1, 7, 4096])
def test_args_max_bytes(most: int, triggers: Path) -> None:
    _, batch = kinds_of(only_process(events=["exec"], args_max_bytes=most), triggers)
    rows, places = live.of_kind(batch, "process.exec")
    texts = batch.strings("process", "args")
    assert sorted(texts[int(at)] for at in places) == sorted([b"kept\0exit\x003"[:most], b"kept\0kill\x0015"[:most]])
    assert sorted(rows["args"]["full_len"].tolist()) == [11, 12]
    assert ((rows["flags"] & 1 == 1) == (rows["args"]["len"] < rows["args"]["full_len"])).all()


def test_monitor_syscalls(triggers: Path) -> None:
    seen, batch = kinds_of(only_process(events=["exit"], monitor_syscalls=["setresuid", "setuid", "prctl"]), triggers)
    assert seen == {"process.exit", "syscall.call"}
    numbers = set(batch["syscall"]["nr"].tolist())
    table = syscalls.table()
    assert {table["setuid"], table["prctl"]} <= numbers <= {table[n] for n in ("setresuid", "setuid", "prctl")}
    assert attached(only_process(events=["exit"], monitor_syscalls=["prctl"])) == {"tf_process_exit", "tf_sys_exit", "tf_syscall_call"}


def test_track_usage(triggers: Path) -> None:
    with_it, _ = kinds_of(only_process(events=["exit"], track_usage=True, usage_interval=0.05), triggers)
    without, batch = kinds_of(only_process(events=["exit"]), triggers)
    assert with_it - without == {"cpu.usage"} and len(batch["cpu"]) == 0


def test_exclude_comms(triggers: Path) -> None:
    """The names of the two children; their forks still have the helper's."""
    seen, _ = kinds_of(only_process(events=["exec", "fork", "exit"], exclude_comms=["t_life"]), triggers)
    assert seen == {"process.fork"}


def domains_served(config: tapio.Config) -> dict[str, set[str]]:
    """Attached program -> domains of the kinds that it serves; dispatchers of system calls serve none themselves."""
    source = tapio.KernelSource(snapshot=False)
    with tapio.Collector(config, source=source, filter=tapio.KernelFilter(pids=[])):
        domain = {kind.number: kind.domain for kind in schema.KIND_BY_NAME.values()}
        return {p["name"]: {domain[k] for k in p["kinds"]} for p in source.programs() if p["state"] == "attached"}


@pytest.mark.parametrize("domain", ["process", "network", "memory"])
def test_a_domain_that_is_off_attaches_nothing(domain: str) -> None:
    default = domains_served(tapio.Config.default())
    assert any(domain in served for served in default.values())
    left = domains_served(tapio.Config.default().replace(programs={domain: {"enabled": False}}))
    assert {name for name, served in left.items() if served} == {name for name, served in default.items() if served - {domain}}


def test_a_collector_that_is_off_attaches_nothing() -> None:
    assert attached(tapio.Config.default().replace(enabled=False)) == set()
