# SPDX-License-Identifier: Apache-2.0
"""Filters that the kernel judges: kinds, pids, cgroups, descendants; changed while running; and what they refuse."""
from __future__ import annotations

import os
import signal
from pathlib import Path

import live_support as live
import numpy as np
import pytest

import tapio_fast as tapio
from tapio_fast import KernelFilter

pytestmark = [pytest.mark.root, pytest.mark.live]

CGROUP0 = 0x1000000     # of the generator: CGROUP0 + (n & 15)
COUNT = 200_000


def collected(rule: KernelFilter | None, kinds: tuple[str, ...] = ("cpu.usage",)) -> tuple[tapio.RecordBatch, tapio.Statistics]:
    """What is left of COUNT synthetic records."""
    source = live.Generator(count=COUNT, rate=2_000_000, kinds=kinds)
    with tapio.Collector(live.roomy(), filter=rule, source=source) as collector:
        collector.fileno()
        source.go()
        assert source.wait(30)
        batch = live.everything(collector)
        return batch, live.adds_up(collector)


def test_kinds() -> None:
    batch, stats = collected(KernelFilter(kinds=["cpu.load", "network.connect"]), ("cpu.usage", "cpu.load", "network.connect"))
    for name, cells in stats.by_kind.items():
        if not name.startswith("meta."):
            wanted = name != "cpu.usage"
            assert cells["k_filtered"] == (0 if wanted else cells["seen"])
            assert cells["routed"] == (cells["seen"] if wanted else 0)
    assert (batch["cpu"]["subtype"] == 1).all() and len(batch["network"])
    assert stats.events_filtered == stats.by_kind["cpu.usage"]["seen"] > 0


@pytest.mark.parametrize("exclude", [False, True])
def test_cgroups(exclude: bool) -> None:
    chosen = [CGROUP0 + 3, CGROUP0 + 7, 1 << 60]
    batch, stats = collected(KernelFilter(not_cgroups=chosen) if exclude else KernelFilter(cgroups=chosen))
    everything, _ = collected(None)
    n = everything["cpu"]["on_cpu_ns"]
    expected = np.isin(n & 15, (3, 7)) ^ exclude
    assert len(n) == COUNT
    assert np.array_equal(np.sort(batch["cpu"]["on_cpu_ns"]), np.sort(n[expected]))
    assert stats.by_kind["cpu.usage"]["k_filtered"] == COUNT - expected.sum()


def test_empty_set_lets_nothing_pass_but_meta() -> None:
    batch, stats = collected(KernelFilter(cgroups=[]))
    assert batch.domains == ["meta"]
    assert stats.by_kind["cpu.usage"]["k_filtered"] == COUNT


def test_pids_are_judged_as_this_process_sees_them(triggers: Path) -> None:
    with live.Helper("processes.py") as wanted, live.Helper("processes.py") as other:
        with live.watching(wanted, filter=KernelFilter(pids=[wanted.pid], kinds=["process.rename", "process.signal"])) as collector:
            for helper in (wanted, other):
                helper.call("rename_often", n=50)
            batch = live.everything(collector)
            live.adds_up(collector)
        assert batch["process"]["pid"].tolist() == [wanted.pid] * 50
        with live.watching(wanted, filter=KernelFilter(not_pids=[wanted.pid], kinds=["process.rename"])) as collector:
            for helper in (wanted, other):
                helper.call("rename_often", n=50)
            rows = live.everything(collector)["process"]
        assert (rows["pid"] == other.pid).sum() == 50 and not (rows["pid"] == wanted.pid).any()


def test_descendants_are_followed_and_others_are_not(triggers: Path) -> None:
    with live.Helper("processes.py") as followed, live.Helper("processes.py") as other:
        with live.watching(followed) as collector:
            family = followed.call("start_family")
            pids = {family["pid"], *followed.call("grow_family", number=0, n=5)}
            strangers = other.call("forks_only", n=20)
            followed.call("end_family", number=0)
            batch = live.everything(collector)
            live.adds_up(collector)
    assert len(pids) == 11
    for kind in ("fork", "exit"):
        rows, _ = live.of_kind(batch, f"process.{kind}")
        assert sorted(rows["pid"].tolist()) == sorted(pids), kind
    assert not np.isin(batch["process"]["pid"], strangers).any()


@pytest.mark.parametrize("how", ["abandon", "fork", "client"])
def test_sockets_of_descendants_that_are_gone_are_still_theirs(how: str) -> None:
    """A connection outlives the process that made it; its close belongs to the followed family all the same."""
    with live.Helper("sockets.py") as helper, live.Helper("processes.py") as other:
        with live.watching(helper, netns=helper.facts["netns"]) as collector:
            talk = helper.call("talk", host="::1", how=how, sends=100_000, answers=0)
            found = live.read_until(collector, lambda _: collector.stats().by_kind.get("network.close", {}).get("consumed") == 2)
            batch = live.together([*found, *live.drain(collector)])
            stats = live.adds_up(collector)
        closes, _ = live.of_kind(batch, "network.close")
        server = talk["server"].get("worker", talk["server"])
        assert sorted(closes["pid"].tolist()) == sorted([talk["client"]["pid"], server["pid"]])
        assert stats.by_kind["network.close"]["k_filtered"] == 0
        rule = KernelFilter(descendants_of=[other.pid])         # a family that has nothing to do with it
        with live.watching(helper, netns=helper.facts["netns"], filter=rule) as collector:
            helper.call("talk", host="::1", how=how, sends=100_000, answers=0)
            live.wait_for(lambda: collector.stats().by_kind.get("network.close", {}).get("k_filtered") == 2)
            assert len(live.everything(collector)["network"]) == 0


def test_filter_changed_while_running_separates_exactly() -> None:
    """Every record was judged by the generation it carries; within a generation nothing is missing and nothing too much."""
    source = live.Generator(rate=400_000)
    found: list[tapio.RecordBatch] = []
    with tapio.Collector(live.roomy(), source=source) as collector:
        collector.fileno()
        source.go()
        generations: dict[int, int | None] = {}

        def read_on(gen: int, records: int) -> None:
            """Until every CPU has sent so many records under these rules: what was queued before them does not count."""
            def enough(got: list[tapio.RecordBatch]) -> bool:
                cpus = [b["cpu"]["cpu"][b["cpu"]["gen"] == gen] for b in got]
                return bool(cpus) and all((np.concatenate(cpus) == cpu).sum() >= records for cpu in os.sched_getaffinity(0))
            found.extend(live.read_until(collector, enough))

        read_on(1, 5_000)
        for chosen in (5, 9, None, 5):
            gen = collector.set_filter(None if chosen is None else KernelFilter(cgroups=[CGROUP0 + chosen]))
            generations[gen] = chosen
            read_on(gen, 1_000)
        found.extend(live.drain(collector))
        stats = live.adds_up(collector)
    rows = np.concatenate([b["cpu"] for b in found])
    first = min(set(rows["gen"].tolist()) - set(generations))
    generations[first] = None
    assert set(rows["gen"].tolist()) == set(generations) and len(generations) == 5
    assert list(generations)[:4] == sorted(list(generations)[:4]) and first < min(list(generations)[:4])
    for gen, chosen in generations.items():
        for cpu in os.sched_getaffinity(0):
            n = rows["on_cpu_ns"][(rows["gen"] == gen) & (rows["cpu"] == cpu)]
            assert len(n)
            if chosen is not None:
                assert (n & 15 == chosen).all()
            assert (np.diff(n.astype(np.int64)) == (1 if chosen is None else 16)).all(), "a gap inside a generation"
    assert stats.by_kind["cpu.usage"]["k_filtered"] == sum(source.tried.values()) - len(rows)
    rules = [b["meta"]["rules"][b["meta"]["subtype"] == 1] for b in found]
    assert set(generations) - {first} <= set(np.concatenate(rules).tolist()), "a RULES record for each generation"


def test_rules_records_carry_the_text() -> None:
    with tapio.Collector(source=live.Generator()) as collector:
        collector.fileno()
        gen = collector.set_filter(KernelFilter(cgroups=[CGROUP0], kinds=["cpu.usage"]))
        batch = live.everything(collector)
    rows, places = live.of_kind(batch, "meta.rules")
    texts = {int(row["rules"]): batch.strings("meta", "data")[int(p)] for row, p in zip(rows, places, strict=True)}
    assert texts[gen] == b"subtype == usage and cgroup_id == %d" % CGROUP0


def test_more_ids_than_the_tables_hold_are_judged_in_user_space() -> None:
    config = live.roomy().replace(performance={"map_entries_limit": 64})
    source = live.Generator(count=COUNT, rate=2_000_000)
    rule = KernelFilter(pids=range(0x1000000, 0x1001000, 2))
    with tapio.Collector(config, filter=rule, source=source) as collector:
        collector.fileno()
        source.go()
        assert source.wait(30)
        batch = live.everything(collector)
        cells = live.adds_up(collector).by_kind["cpu.usage"]
    assert "map_entries_limit" in str(rule.explain(config))
    assert cells["k_filtered"] == 0 and cells["u_filtered"] == cells["routed"] == COUNT // 2
    assert (batch["cpu"]["pid"] % 2 == 0).all() and len(batch["cpu"]) == COUNT // 2


def test_filter_of_a_stopped_collector_is_refused() -> None:
    collector = tapio.Collector(source=tapio.SyntheticSource(count=1))
    collector.start()
    collector.close()
    with pytest.raises(tapio.ClosedError):
        collector.set_filter(None)


def test_a_cgroup_may_be_named_by_its_directory(tmp_path: Path) -> None:
    assert KernelFilter(cgroups=[str(tmp_path)]).cgroups == {os.stat(tmp_path).st_ino}
    with pytest.raises(tapio.FilterError, match="no cgroup .*missing .No such file"):
        KernelFilter(cgroups=[str(tmp_path / "missing")])


def test_following_a_process_that_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(tapio.FilterError, match="cannot follow 3999999.*not a living process"):
        tapio.Collector(filter=KernelFilter(descendants_of=[3999999])).start()


@pytest.mark.parametrize("refusals", [1, 2])
def test_a_refused_filter_changes_nothing(refusals: int) -> None:
    """The family that is followed stays followed, with who lost his parent, also when the same roots are named once more."""
    with live.Helper("processes.py") as helper, live.watching(helper) as collector:
        started = helper.call("child_output", exe="/bin/sh", argv=["sh", "-c", "sleep 60 >/dev/null 2>&1 & echo $!"])
        orphan = int(started["output"])
        pids = {orphan, started["pid"]}
        for _ in range(refusals):
            with pytest.raises(tapio.FilterError, match="cannot follow .*not a living process"):
                collector.set_filter(KernelFilter(descendants_of=[helper.pid, 3999999]))
        pids.add(helper.call("child_output", exe="/bin/echo", argv=["echo", "x"])["pid"])
        collector.set_filter(KernelFilter(descendants_of=[helper.pid]))
        pids.add(helper.call("child_output", exe="/bin/echo", argv=["echo", "x"])["pid"])
        os.kill(orphan, signal.SIGKILL)
        found = live.read_until(collector, lambda got: pids <= {int(pid) for b in got for pid in live.of_kind(b, "process.exit")[0]["pid"]})
        found += live.drain(collector)
        live.adds_up(collector)
    exits = [int(pid) for b in found for pid in live.of_kind(b, "process.exit")[0]["pid"]]
    assert sorted(exits) == sorted(pids)
