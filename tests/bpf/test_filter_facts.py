# SPDX-License-Identifier: Apache-2.0
"""Filters that join facts, live: what tells them is collected for the filter alone, and replay gives the same answers."""
from __future__ import annotations

import os
from pathlib import Path

import file_support as support
import live_support as live
import pytest

import tapio_fast as tapio

pytestmark = [pytest.mark.root, pytest.mark.live]


def test_a_filter_of_facts_brings_what_tells_them_and_keeps_it_out(tmp_path: Path) -> None:
    """Only files are collected; which process has which executable and parent is known all the same, and shown to nobody."""
    shell, wanted, other = os.path.realpath("/bin/sh"), tmp_path / "by-shell", tmp_path / "by-helper"
    with live.Helper("processes.py") as helper:
        mine = os.readlink(f"/proc/{helper.pid}/exe")
        rule = f'descendant_of {helper.pid} and parent_exe == "{mine}" and process_exe == "{shell}"'
        with live.watching(helper, config=support.config(events=["create"]), filter=rule, snapshot=True) as collector:
            live.wait_for(lambda: collector.stats().epochs > 3)     # the snapshot has told of the helper itself
            then = f"exec {mine} -c 'open(\"{other}\", \"x\")'"      # not touch, which may be the shell itself (busybox)
            started = helper.call("child_output", exe="/bin/sh", argv=["sh", "-c", f"echo x > {wanted}; {then}"])
            assert other.exists()
            batch = live.everything(collector)
            stats = live.adds_up(collector)
    assert [(int(r["pid"]), p) for r, p in zip(batch["file"], batch.strings("file", "path"), strict=True)] == [
        (started["pid"], os.fsencode(wanted))]
    assert set(batch.domains) <= {"file", "meta"}
    assert stats.by_kind["process.exec"]["u_filtered"] >= 2 and stats.by_kind["process.exec"]["routed"] == 0


def test_a_filter_of_facts_set_later_says_what_it_lacks(caplog: pytest.LogCaptureFixture) -> None:
    with live.Helper("processes.py") as helper, live.watching(helper, config=support.config(events=["create"])) as collector:
        collector.set_filter('parent_exe endswith "/sh"')
    assert any("process.exec" in r.getMessage() and "given from the start" in r.getMessage() for r in caplog.records)


def test_stats_count_the_matches_of_each_rule() -> None:
    rules = [tapio.FilterRule(name="even", expr="threads & 1 == 0"), tapio.FilterRule(name="small", conditions={"threads": range(10)})]
    source = live.Generator(count=1000, cpus=(min(os.sched_getaffinity(0)),))
    with tapio.Collector(live.roomy(), filter=tapio.EventFilter(rules=rules), source=source) as collector:
        collector.fileno()
        source.go()
        assert source.wait(30)
        live.everything(collector)
        assert collector.stats().rules == {"even": 500, "small": 10}
    assert collector.stats().rules == {"even": 500, "small": 10}
