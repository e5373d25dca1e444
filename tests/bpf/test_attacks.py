# SPDX-License-Identifier: Apache-2.0
"""Ways to go unseen, or to be taken for somebody else, that a local program has: each must leave its record, or be counted.

The truth is what the helper (tests/triggers/attacks.py, t_compat.c) did.
"""
from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import dns_reference as dns
import live_support as live
import pytest
from test_security import KNOWS_CHANGES

import tapio_fast as tapio
from tapio_fast import syscalls
from tapio_fast.types import SecurityAction as A

pytestmark = [pytest.mark.root, pytest.mark.live]
only_x86 = pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of x86-64")

PARTIAL, TRUNCATED, CLAIMED, COMPAT = 1 << 10, 1, 2, 1 << 11
EGRESS, INGRESS = 1, 2
NEWUTS = 0x04000000
OFF = {"enabled": False}


def config(**programs: Any) -> tapio.Config:
    """These domains and no others."""
    return tapio.Config.default().replace(programs={**{name: OFF for name in ("process", "network", "memory")}, **programs})


def collect(settings: tapio.Config, call: str, *, kinds: list[str] | None = None, own_netns: bool = False, everybody: bool = False,
            **arguments: Any) -> tuple[Any, tapio.RecordBatch, tapio.Statistics]:
    """One call of the helper, collected: its facts, the batch, the statistics."""
    with live.Helper("attacks.py") as helper:
        filter = tapio.KernelFilter(kinds=kinds) if own_netns or everybody else tapio.KernelFilter(descendants_of=[helper.pid])
        with live.watching(helper, config=settings, netns=helper.facts["netns"] if own_netns else 0, filter=filter) as collector:
            facts = helper.call(call, **arguments)
            batch = live.everything(collector).sorted()
            return facts, batch, live.adds_up(collector)


# --- another interface -------------------------------------------------------------------------------------------------------------

def compat(settings: tapio.Config, triggers: Path, what: str, cwd: Path) -> tuple[Any, tapio.RecordBatch, tapio.Statistics]:
    told, batch, stats = collect(settings, "run", path=str(triggers / "t_compat"), arguments=[what], cwd=str(cwd))
    if told["status"] == 77:
        pytest.skip("this kernel has no 32-bit system calls")
    assert told["status"] == 0
    return told, batch, stats


@only_x86
def test_files_by_the_32_bit_interface(triggers: Path, tmp_path: Path) -> None:
    """Numbers and registers are translated: what was done is what is told, wide arguments and 16-bit ids included."""
    tmp_path.chmod(0o777)
    told, batch, _ = compat(config(file={"enabled": True, "exclude_paths": [], "aggregate": False}), triggers, "files", tmp_path)
    rows, paths = batch["file"], batch.strings("file", "path")
    at = [i for i in range(len(rows)) if rows["pid"][i] == told["pid"] and paths[i].startswith(os.fsencode(tmp_path))]
    by = {tapio.types.FileEventType(int(rows["subtype"][i])).text: rows[i] for i in at}
    assert [(tapio.types.FileEventType(int(rows["subtype"][i])).text, os.path.basename(paths[i])) for i in at] == [
        ("create", b"one"), ("write", b"one"), ("truncate", b"one"), ("chown", b"one"), ("close", b"one"), ("rename", b"one"),
        ("delete", b"two"), ("open", os.path.basename(os.fsencode(tmp_path)))]
    assert (by["create"]["mode"] & 0o7777, by["write"]["offset"], by["write"]["size"]) == (0o640, (1 << 32) + 7, 3)
    assert by["truncate"]["size"] == (2 << 32) + 5
    assert (by["chown"]["new_uid"], by["chown"]["new_gid"]) == (0xFFFFFFFF, 12)
    assert by["open"]["errno"] == 21


@only_x86
def test_identity_and_calls_by_the_32_bit_interface(triggers: Path, tmp_path: Path) -> None:
    number = syscalls.table()["setresuid"]
    told, batch, _ = compat(config(process={"enabled": True, "events": ["setuid"], "monitor_syscalls": ["setresuid"]},
                                   security={"enabled": True, "events": ["privilege_escalation"]}), triggers, "regain", tmp_path)
    rows = batch["security"]
    assert [(int(r["pid"]), int(r["action"]), int(r["old_uid"]), int(r["new_uid"])) for r in rows] == [(told["pid"], A.SETUID, 1000, 0)]
    made = batch["process"]
    assert [(int(r["old_uid"]), int(r["new_uid"])) for r in made] == [(0, 1000), (1000, 0)]
    calls = batch["syscall"]
    assert calls["nr"].tolist() == [number, number]
    assert [int(f) & COMPAT for f in calls["flags"]] == [0, COMPAT]
    assert calls["args"][1][:3].tolist() == [0xFFFFFFFF, 0, 0xFFFFFFFF]


@only_x86
def test_calls_without_a_counterpart_are_counted(triggers: Path, tmp_path: Path) -> None:
    """Others on the machine may make such calls too: at least ours, and not one of them taken for the call that has its number here."""
    told, batch, stats = compat(config(process={"enabled": True, "events": ["exec"], "monitor_syscalls": ["socket", "chroot", "setfsgid"]}),
                                triggers, "foreign", tmp_path)
    assert stats.foreign_calls >= 7
    assert not (batch["syscall"]["pid"] == told["pid"]).any()


@only_x86
@pytest.mark.skipif(not KNOWS_CHANGES, reason="needs the tracepoints of ctime (6.13)")
def test_sensitive_files_by_another_name_and_the_32_bit_interface(triggers: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    secret = tmp_path / "secret"
    secret.write_text("text")
    (tmp_path / "link").symlink_to("secret")
    told, batch, _ = compat(config(security={"enabled": True, "events": ["sensitive_file"], "sensitive_paths": [str(secret)]}), triggers,
                            "link", tmp_path)
    assert secret.stat().st_mode & 0o777 == 0o640
    (made,) = batch["security"]
    assert (made["pid"], made["action"], made["inode"]) == (told["pid"], A.CHMOD, secret.stat().st_ino)
    assert list(batch.strings("security", "path")) == [os.fsencode(tmp_path / "link")]


@only_x86
def test_the_32_bit_umount_has_no_flags(triggers: Path, tmp_path: Path) -> None:
    told, batch, _ = compat(config(security={"enabled": True, "events": ["mount"]}), triggers, "umount", tmp_path)
    assert [(int(r["pid"]), int(r["action"]), int(r["value"]), int(r["errno"])) for r in batch["security"]] == [
        (told["pid"], A.UMOUNT, 2, 2), (told["pid"], A.UMOUNT, 0, 2)]


# --- entry and exit ----------------------------------------------------------------------------------------------------------------

@only_x86
def test_a_call_that_never_began_has_no_duration() -> None:
    """seccomp refuses it before its entry is seen: the note of the call before is not its own."""
    told, batch, _ = collect(config(process={"enabled": True, "events": ["exec"], "monitor_syscalls": ["getppid"],
                                             "syscall_durations": True}),
                             "refused_by_seccomp", pause=0.05)
    assert told[0]["status"] == 0
    rows = batch["syscall"][batch["syscall"]["pid"] == told[0]["pid"]]
    assert rows["errno"].tolist() == [0, 1]
    assert 0 < rows["duration_ns"][0] < 50_000_000 and rows["duration_ns"][1] == 0


@only_x86
def test_namespaces_of_clone3_are_the_kernels_word() -> None:
    told, batch, _ = collect(config(security={"enabled": True, "events": ["namespace"]}), "clone3_that_forgets")
    (made,) = batch["security"]
    assert (made["pid"], made["action"], made["value"], made["target_pid"]) == (told["pid"], A.CLONE, NEWUTS, told["child"])
    assert int(made["flags"]) & CLAIMED == 0


@only_x86
def test_memory_that_a_personality_makes_executable() -> None:
    told, batch, _ = collect(config(security={"enabled": True, "events": ["writable_code"]}), "readable_is_executable", size=4096 * 77)
    if told["rights"] != "rwxp":
        pytest.skip("this kernel does not honour READ_IMPLIES_EXEC")
    rows = batch["security"][batch["security"]["pid"] == told["pid"]]
    assert told["at"] in rows["object_id"].tolist()
    assert set(rows["value"].tolist()) == {7}


# --- network -----------------------------------------------------------------------------------------------------------------------

def test_each_user_of_a_socket_has_a_flow_of_its_own() -> None:
    told, batch, _ = collect(config(network={"enabled": True, "events": ["flow"]}), "hand_over", kinds=["network.flow", "network.send"],
                             own_netns=True,
                             sizes=[1000, 30, 7])
    flows, _ = live.of_kind(batch, "network.flow")
    sent = flows[flows["bytes_sent"] > 0]
    assert [(int(r["pid"]), int(r["bytes_sent"])) for r in sent] == list(zip(told["pids"], [1000, 30, 7], strict=True))


def test_a_dns_query_in_pieces() -> None:
    """What is not with the headers is not read, but that a query was sent is told, and so is its answer's fate."""
    query = dns.query(dns.name(b"hidden", b"example"), dns.A, 5)
    _, batch, stats = collect(config(network={"enabled": True, "events": ["dns", "dns_query"]}), "dns_pieces",
                              kinds=["network.dns", "network.dns_query"], own_netns=True, first=query[:2].decode("latin-1"),
                              rest=query[2:].decode("latin-1"))
    (row,), _ = live.of_kind(batch, "network.dns_query")
    assert (row["bytes_sent"], row["dest_port"]) == (len(query), 53)
    assert int(row["flags"]) & (PARTIAL | TRUNCATED) == PARTIAL | TRUNCATED
    assert stats.by_kind["network.dns"]["k_map_full"] == 1


def test_dns_queries_in_the_same_memory() -> None:
    names = [dns.name(b"first"), dns.name(b"second"), dns.name(b"third")] * 5
    _, batch, _ = collect(config(network={"enabled": True, "events": ["dns_query"]}), "dns_same_memory", kinds=["network.dns_query"],
                          own_netns=True, queries=[dns.query(n, dns.A, 9).decode("latin-1") for n in names])
    rows, places = live.of_kind(batch, "network.dns_query")
    texts = batch.strings("network", "name")
    assert [texts[i] for i in places] == [b"first", b"second", b"third"] * 5


def test_a_simultaneous_open_is_a_connect() -> None:
    told, batch, _ = collect(config(network={"enabled": True, "events": ["connect", "accept"]}), "self_connect",
                             kinds=["network.connect", "network.accept"], own_netns=True)
    (row,), _ = live.of_kind(batch, "network.connect")
    assert (row["source_port"], row["dest_port"], row["direction"], row["errno"]) == (told["port"], told["port"], EGRESS, 0)
    assert row["duration_ns"] > 0
    assert len(live.of_kind(batch, "network.accept")[0]) == 0


def test_what_a_former_client_accepts_comes_in() -> None:
    told, batch, _ = collect(config(network={"enabled": True, "events": ["connect", "accept"]}), "client_then_server",
                             kinds=["network.connect", "network.accept"], own_netns=True)
    accepted, _ = live.of_kind(batch, "network.accept")
    assert sorted(accepted["source_port"].tolist()) == sorted([told["first"], told["port"]])
    assert set(accepted["direction"].tolist()) == {INGRESS}
    assert len(live.of_kind(batch, "network.connect")[0]) == 2


# --- no room -----------------------------------------------------------------------------------------------------------------------

def starve(group: Path) -> None:
    """No more memory for what this group's processes made: BPF maps stay theirs wherever these go."""
    for limit, usage in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
        if (group / limit).exists():
            live.wait_for(lambda limit=limit, usage=usage: _written(group / limit, (group / usage).read_text()))     # type: ignore[misc]


def _written(path: Path, text: str) -> bool:
    try:
        path.write_text(text)
    except OSError:
        return False        # more is in use by now
    return True


def test_a_storm_of_threads_without_memory_is_counted(triggers: Path, tmp_path: Path) -> None:
    """Each thread wants storage of its own: what there is none for is seen and lost, once each, and nothing else is."""
    threads, path = 2000, tmp_path / "file"
    path.write_text("text")
    with live.own_cgroup("storm") as group, live.Helper("attacks.py") as helper:
        before = next(p for p in group.parent.glob("**/cgroup.procs") if str(os.getpid()) in p.read_text().split())
        (group / "cgroup.procs").write_text(str(os.getpid()))
        try:
            with live.watching(helper, config=config(file={"enabled": True, "exclude_paths": [], "events": ["open",
                                                                                                            "close"]})) as collector:
                before.write_text(str(os.getpid()))
                starve(group)
                told = helper.call("run", path=str(triggers / "t_storm"), arguments=[str(path), str(threads)], cwd="/")
                batch = live.everything(collector)
                stats = live.adds_up(collector)
        finally:
            before.write_text(str(os.getpid()))
    assert told["status"] == 0
    lost = 0
    for kind in ("file.open", "file.close"):
        _, places = live.of_kind(batch, kind)
        paths = batch.strings("file", "path")
        cells = stats.by_kind[kind]
        assert sum(paths[i] == os.fsencode(path) for i in places) + cells["k_map_full"] == threads, (kind, cells)
        lost += cells["k_map_full"]
    if not lost:
        pytest.skip("this kernel does not charge the maps' memory to the group")


def test_first_processes_do_not_push_each_other_out() -> None:
    """More that wait for their exec than the table has places: each is reported, or counted."""
    limit, count = 64, 100
    settings = config(container={"enabled": True, "events": ["start"]}).replace(performance={"map_entries_limit": limit})
    told, batch, stats = collect(settings, "many_inits", kinds=["container.start"], everybody=True, count=count)
    assert told["failed"] == 0
    started = set(batch["container"]["pid"].tolist()) & set(told["pids"])
    assert 0 < len(started) <= limit
    assert stats.by_kind["container.start"]["k_map_full"] >= count - len(started)


@only_x86
def test_a_read_whose_descriptor_is_closed_meanwhile_is_counted() -> None:
    settings = config(file={"enabled": True, "exclude_paths": [], "events": ["read"]})
    told, _, stats = collect(settings, "closed_while_read")
    assert told["got"] == 4
    assert stats.by_kind["file.read"]["k_fault"] == 1
