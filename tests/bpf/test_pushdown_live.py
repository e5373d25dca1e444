# SPDX-License-Identifier: Apache-2.0
"""Filters in the kernel: what it counts as filtered is what the reference says of the same records; real hooks ask for what they know."""
from __future__ import annotations

import random
from pathlib import Path

import file_support as files
import live_support as live
import pushdown_support as push
import pytest

import tapio_fast as tapio
from support import tier_size
from tapio_fast import schema, syscalls
from tapio_fast.filtering import EventFilter

pytestmark = [pytest.mark.root, pytest.mark.live]

KINDS = ("cpu.usage", "cpu.load", "network.connect")
EACH = 256
TOO_MANY = "it has too many alternatives for the kernel"


def counts(collector: tapio.Collector) -> tuple[int, int]:
    """Return (seen, k_filtered) of the generator's kinds."""
    cells = [collector.stats().by_kind.get(kind, {"seen": 0, "k_filtered": 0}) for kind in KINDS]
    return sum(c["seen"] for c in cells), sum(c["k_filtered"] for c in cells)


def test_the_kernel_filters_what_is_certainly_false() -> None:
    rng = random.Random(4)
    source = live.Generator(kinds=KINDS)
    asked = partial = 0
    number = tier_size(200, 3000)
    with tapio.Collector(live.roomy(), filter="uid == 0", source=source) as collector:     # loaded for more than ids
        for _ in range(number):
            text, truth = push.tree(rng, rng.randint(0, 3))
            rule = EventFilter(text)
            plan = source._plan_of(rule)
            source._push(plan)
            first = rng.choice((0, 1000, 65536 - 100, 3 << 20))
            seen, filtered = counts(collector)
            for kind in KINDS:
                tried, _, _ = source._need().synth(schema.KIND_BY_NAME[kind].number, EACH, first)
                assert tried == EACH
            now_seen, now_filtered = counts(collector)
            expected = sum(truth(push.synthetic(n, kind)) is False for kind in KINDS for n in range(first, first + EACH))
            assert now_seen - seen == EACH * len(KINDS)
            if TOO_MANY in plan.why:
                assert now_filtered - filtered <= expected, text
            else:
                assert now_filtered - filtered == expected, text
            asked += bool(plan.flags) or len(plan.clauses) < len(KINDS)
            partial += 0 < now_filtered - filtered < EACH * len(KINDS)
    assert asked >= 0.8 * number, "hardly a filter had a part for the kernel"
    assert partial >= 0.3 * number


@pytest.mark.parametrize("name", ["uid", "comm", "dest_port", "source_port", "dest_ip", "source_ip"])
def test_connections_are_judged_where_they_are_made(name: str) -> None:
    """Two servers on loopback; of one dimension at a time, what is asked for passes and the other is filtered in the kernel."""
    with live.Helper("sockets.py") as helper:
        with live.watching(helper, netns=helper.facts["netns"], filter="kind in (network.connect, network.close) and uid >= 0") as collector:
            helper.call("talk", host="127.0.0.1", how="client", sends=10, answers=0)
            rows = live.everything(collector)["network"]
        mine = rows[rows["subtype"] == 0][0]
        value = {"comm": f'"{mine["comm"].decode()}"', "dest_ip": "127.0.0.0/8", "source_ip": "127.0.0.1"}.get(name, str(mine[name]))
        other = {"comm": '"nobody"', "dest_ip": "10.0.0.0/8", "source_ip": "10.0.0.1", "uid": "4294967294"}.get(name, "1")
        ports = name.endswith("_port")      # another connection has others: not port 1
        for asked, passes in ((f"{name} != 1" if ports else f"{name} in ({value})", True), (f"{name} in ({other})", False)):
            with live.watching(helper, netns=helper.facts["netns"], filter=f"kind == network.connect and {asked}") as collector:
                helper.call("talk", host="127.0.0.1", how="client", sends=10, answers=0)
                live.wait_for(lambda: collector.stats().by_kind.get("network.connect", {}).get("seen"))
                stats = live.adds_up(collector).by_kind["network.connect"]
            assert stats["seen"] >= 1
            assert (stats["k_filtered"] == 0) == passes, (asked, stats)
            assert (stats["submitted"] == 0) != passes, (asked, stats)


def test_system_calls_are_judged_by_number() -> None:
    config = tapio.Config.default().replace(programs={"process": {"monitor_syscalls": ["getuid", "getgid"]}})
    with live.Helper("syscalls.py") as helper, live.watching(helper, config=config, filter=f"pid == {helper.pid} and nr == getuid") as collector:
        numbers = syscalls.table()
        helper.call("calls", plan=[[numbers["getuid"]]] * 20 + [[numbers["getgid"]]] * 30)
        live.wait_for(lambda: collector.stats().by_kind.get("syscall.call", {}).get("submitted", 0) >= 20)
        batch = live.everything(collector)
        stats = live.adds_up(collector).by_kind["syscall.call"]
    assert stats["submitted"] == 20 and stats["k_filtered"] >= 30
    assert set(batch["syscall"]["pid"].tolist()) == {helper.pid}


@pytest.mark.parametrize(("asked", "passes"), [
    ('path startswith "{there}/"', True), ('path startswith "{there}/x"', False), ('path == "{there}/one"', True), ('path == "{there}/on"', False),
    ('path != "{there}/one"', False), ('not path startswith "{there}"', False), ('path in ("/nowhere", "{there}/one") and pid > 0', True),
    ('path startswith ("/nowhere/", "{there}") or pid == 1', True), ('path startswith "/nowhere" or uid == 4294967294', False)])
def test_files_are_judged_by_their_path(asked: str, passes: bool, tmp_path: Path) -> None:
    """Before they are sent, by every program of the domain: created, written and read (added up), closed, removed."""
    mine = tmp_path / "one"
    with live.Helper("processes.py") as helper, live.watching(
            helper, config=files.config(events=["create", "read", "write", "close", "delete"]),
            filter=f"descendant_of {helper.pid} and ({asked.format(there=tmp_path)})") as collector:
        helper.call("child_output", exe="/bin/sh", argv=["sh", "-c", f"echo x > {mine}; cat {mine}; rm {mine}"])
        batch = live.everything(collector)
        cells = live.adds_up(collector).by_kind
    paths = zip(batch["file"]["subtype"].tolist(), batch.strings("file", "path"), strict=True)
    kinds = {tapio.FileEventType(subtype).text for subtype, path in paths if bytes(path) == str(mine).encode()}
    assert kinds == ({"create", "read", "write", "close", "delete"} if passes else set())
    for kind in ("file.create", "file.delete"):     # of this one file alone; user space has nothing left to refuse
        assert (cells[kind]["submitted"], cells[kind]["u_filtered"]) == (passes, 0), kind
