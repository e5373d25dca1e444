# SPDX-License-Identifier: Apache-2.0
"""A filter of a collector: what is left to user space is judged in the pump, for all branches, counted, and by generation."""
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import live_support as live
import numpy as np
import pytest

import tapio_fast as tapio
from tapio_fast import EventFilter, FilterRule, schema


def cpu(pid: int, threads: int = 0) -> Any:
    """A row of cpu.usage."""
    row = np.zeros(1, schema.DTYPES["cpu"])[0]
    row["pid"], row["threads"] = pid, threads
    return row


@pytest.fixture
def memory() -> Iterator[tapio.MemorySource]:
    yield tapio.MemorySource()


def test_all_branches_get_what_the_filter_lets_pass(memory: tapio.MemorySource, tmp_path: Path) -> None:
    config = tapio.Config.default().replace(dual_path={"enabled": True, "semantic_enabled": False, "correlation_enabled": False,
                                                       "raw_storage_path": str(tmp_path / "store")})
    with tapio.Collector(config, filter="pid in (2, 5..6) and threads & 1", source=memory) as collector:
        collector.fileno()
        for pid in range(10):
            for threads in range(4):
                memory.fill("cpu.usage", cpu(pid, threads))
        memory.fill("process.exec", n=7)
        batch = live.everything(collector)
        stats = live.adds_up(collector)
    expected = [(pid, threads) for pid in (2, 5, 6) for threads in (1, 3)]
    assert [(r["pid"], r["threads"]) for r in batch["cpu"]] == expected and "process" not in batch
    assert stats.by_kind["cpu.usage"]["u_filtered"] == 40 - 6 and stats.by_kind["process.exec"]["u_filtered"] == 7
    assert stats.branches["raw"]["routed"] >= 6 and stats.events_filtered == 41
    with tapio.RawStore(tmp_path / "store") as store:
        kept = tapio.RecordBatch.concat(list(store.scan()))
    assert [(r["pid"], r["threads"]) for r in kept["cpu"]] == expected and "process" not in kept
    losses = sum(n for n in (b.loss["u_filtered"] for b in [kept]))
    assert losses in (0, 41)        # scan() tells losses where it can


def test_what_is_left_out_is_told_in_the_batches_loss(memory: tapio.MemorySource) -> None:
    with tapio.Collector(filter="threads == 1", source=memory) as collector:
        collector.fileno()
        memory.fill("cpu.usage", cpu(1, 0), n=5)
        memory.fill("cpu.usage", cpu(1, 1), n=3)
        batch = live.everything(collector)
    assert {name: batch.loss[name] for name in ("consumed", "u_filtered", "routed")} == {"consumed": 8, "u_filtered": 5, "routed": 3}


def test_names_that_the_configuration_leaves_out_are_judged_where_there_is_no_gate(memory: tapio.MemorySource) -> None:
    """For processes, system calls and usage; a RULES row says so, beside the filter that was given."""
    config = tapio.Config.default().replace(programs={"process": {"exclude_comms": ["kw*", "x[ab]"]}})
    with tapio.Collector(config, source=memory) as collector:
        collector.fileno()
        collector.set_filter("uid == 0")
        for name in (b"kw", b"kworker/0:1", b"kv", b"xa", b"xab", b"xc"):
            for kind in ("process.fork", "syscall.call", "cpu.usage", "network.connect"):
                row = np.zeros(1, schema.DTYPES[kind.partition(".")[0]])[0]
                row["comm"] = name
                memory.fill(kind, row)
        batch = live.everything(collector)
        stats = live.adds_up(collector)
    for domain in ("process", "syscall", "cpu"):
        assert batch[domain]["comm"].tolist() == [b"kv", b"xab", b"xc"]
    assert len(batch["network"]) == 6 and stats.ledger["u_filtered"] == 3 * 3
    rules = [batch.strings("meta", "data")[i] for i in live.of_kind(batch, "meta.rules")[1]]
    left_out = b'not (type in (process, cpu, syscall) and comm glob ("kw*", "x[ab]"))'
    assert rules[-1] == b"uid == 0 and " + left_out and rules[:-1] in ([], [left_out])


def test_rules_are_ored_the_expression_is_anded_and_hits_are_counted(memory: tapio.MemorySource) -> None:
    rules = [FilterRule(name="small", conditions={"pid": range(4)}), FilterRule(name="odd", expr="threads & 1")]
    chosen = EventFilter("pid != 0", rules=rules)
    with tapio.Collector(filter=chosen, source=memory) as collector:
        collector.fileno()
        for pid in range(8):
            for threads in range(2):
                memory.fill("cpu.usage", cpu(pid, threads))
        batch = live.everything(collector)
        stats = chosen.stats()
    truth = [(p, t) for p in range(8) for t in range(2) if p and (p < 4 or t & 1)]
    assert [(r["pid"], r["threads"]) for r in batch["cpu"]] == truth
    assert stats.rules == {"small": 6, "odd": 7} and (stats.judged, stats.matched) == (16, len(truth))
    found = chosen.match(batch, by="rule")
    assert found["small"]["cpu"].tolist() == [p < 4 for p, _ in truth] and found["odd"]["cpu"].tolist() == [t & 1 == 1 for _, t in truth]


def test_new_rules_reach_the_collectors_that_use_the_filter(memory: tapio.MemorySource) -> None:
    chosen = EventFilter(rules=[FilterRule(name="a", conditions={"pid": 1})])
    with tapio.Collector(filter=chosen, source=memory) as collector:
        collector.fileno()
        memory.fill("cpu.usage", cpu(1))
        first = live.read_until(collector, lambda got: any(len(b["cpu"]) for b in got))
        chosen.update_rules([FilterRule(name="b", conditions={"pid": 2})])
        memory.fill("cpu.usage", cpu(1))
        memory.fill("cpu.usage", cpu(2))
        rest = live.everything(collector)
        assert chosen.stats().rules == {"b": 1}
    assert [b["cpu"]["pid"].tolist() for b in first if len(b["cpu"])] == [[1]] and rest["cpu"]["pid"].tolist() == [2]
    with pytest.raises(tapio.FilterError, match="two rules are named 'x'"):
        chosen.update_rules([FilterRule(name="x"), FilterRule(name="x")])
    assert chosen.rule_names == ("b",)


CONFIGS: list[tuple[dict[str, Any], list[int]]] = [
    ({"process_filter": ["ngin?", "post*"]}, [1, 2]),
    ({"min_severity": "info"}, []),
    ({"rules": [{"name": "x", "conditions": {"pid": [2, 3]}}, {"name": "y", "process_name_regex": "^red"}]}, [2, 3]),
    ({"rules": [{"type": "cpu", "conditions": {"pid": [1, 2, 3]}}], "process_filter": ["redis"]}, [3]),
]


@pytest.mark.parametrize(("filtering", "pids"), CONFIGS)
def test_the_configuration_filters_too(memory: tapio.MemorySource, filtering: dict[str, Any], pids: list[int]) -> None:
    config = tapio.Config.default().replace(filtering=filtering)
    with tapio.Collector(config, filter="pid > 0", source=memory) as collector:
        collector.fileno()
        for pid, comm in enumerate(("nginx", "nginx", "postgres", "redis", "x")):
            row = cpu(pid)
            row["comm"] = comm
            memory.fill("cpu.usage", row)
        batch = live.everything(collector)
    assert batch["cpu"]["pid"].tolist() == pids


@pytest.mark.parametrize("key", ["namespace_filter", "container_filter"])
def test_names_that_need_enrichment_are_refused_by_key(key: str) -> None:
    config = tapio.Config.default().replace(filtering={key: ["app-*"]})
    with pytest.raises(tapio.ConfigError, match=f"filtering.{key}: .*needs? enrichment"):
        tapio.Collector(config, source=tapio.MemorySource())


def test_a_rule_of_the_configuration_that_is_wrong_is_named() -> None:
    config = tapio.Config.default().replace(filtering={"rules": [{"name": "x", "conditions": {"dest_prt": 22}}]})
    with pytest.raises(tapio.ConfigError, match=r"filtering.rules\[0\]: .*did you mean 'dest_port'"):
        tapio.Collector(config, source=tapio.MemorySource())


@pytest.mark.root
@pytest.mark.live
def test_a_swap_of_rules_at_speed_judges_each_record_by_one_generation() -> None:
    """Filters that only user space can judge, changed at full rate: rows of a generation are all those of its filter, and no others."""
    source = live.Generator(rate=1_000_000)
    found: list[tapio.RecordBatch] = []
    masks: dict[int, int] = {}
    with tapio.Collector(live.roomy(), filter="threads & 1 == 0", source=source) as collector:
        collector.fileno()
        source.go()
        found.extend(live.read_until(collector, lambda got: sum(len(b["cpu"]) for b in got) > 2_000))
        for mask in (1, 3, 7, 1, 15, 31):
            gen = collector.set_filter(f"threads & {mask} == 0")
            masks[gen] = mask

            counts = dict.fromkeys(source._cpus, 0)

            def enough(got: list[tapio.RecordBatch], gen: int = gen, counts: dict[int, int] = counts) -> bool:
                if got:     # the last one is new
                    rows = got[-1]["cpu"]
                    for number in counts:
                        counts[number] += int(((rows["gen"] == gen) & (rows["cpu"] == number)).sum())
                return all(n > 500 for n in counts.values())
            found.extend(live.read_until(collector, enough))
        found.extend(live.drain(collector))
        stats = live.adds_up(collector)
    rows = np.concatenate([b["cpu"] for b in found])
    masks[min(set(rows["gen"].tolist()))] = 1
    assert set(rows["gen"].tolist()) == set(masks) and len(masks) == 7
    for gen, mask in masks.items():
        for number in source._cpus:
            mine = rows["threads"][(rows["gen"] == gen) & (rows["cpu"] == number)].astype(np.int64)
            assert (mine & mask == 0).all()
            assert (np.diff(mine) == mask + 1).all(), "a record of the generation is missing"
    cells = stats.by_kind["cpu.usage"]
    assert cells["k_filtered"] == 0 and cells["u_filtered"] == sum(source.tried.values()) - len(rows)


def test_hits_learn_a_batch_once(memory: tapio.MemorySource) -> None:
    """Eight executions are remembered: the first of six is there for both questions."""
    with tapio.Collector(source=memory) as collector:
        collector.fileno()
        for number in range(6):
            row = np.zeros(1, schema.DTYPES["process"])[0]
            row["pid"], row["tid"], row["start_ns"], text = 70, 70, 5, b"/bin/e%d" % number
            row["exe"] = (0, len(text), len(text))
            memory.fill("process.exec", row, tail=text)
        batch = live.everything(collector)
    rule = FilterRule(name="first", expr='kind == process.exec and exe == "/bin/e0"')
    chosen = EventFilter('process_exe == "/bin/e0"', rules=[rule])
    assert [(event.details["exe"], rules) for event, rules in chosen.hits(batch)] == [("/bin/e0", (rule,))]


def test_rules_about_what_is_not_collected_are_told() -> None:
    chosen = EventFilter(rules=[FilterRule(name="files", expr="type == file"), FilterRule(name="some", expr="pid == 3")])
    found = chosen.explain(tapio.Config.default())
    assert any("rule 'files' matches nothing" in line and "file.open" in line and "[programs]" in line for line in found.kernel)
    assert not any("rule 'some'" in line for line in found.kernel)
    whole = tapio.Config.default().replace(programs={"file": {"enabled": True}})
    assert not any("matches nothing" in line for line in chosen.explain(whole).kernel)


def test_a_rule_that_needs_enrichment_is_named() -> None:
    with pytest.raises(tapio.FilterError, match=r"rule 'b': pod: this needs enrichment"):
        EventFilter(rules=[FilterRule(name="a", expr="pid == 3"), FilterRule(name="b", expr="pod == x")]).check_usable()


def test_the_root_can_be_excluded_and_a_second_text_is_not_always_a_path() -> None:
    """An attribute's name decides nothing, where a file is moved to does."""
    row, kept = np.zeros(1, schema.DTYPES["file"])[0], []
    row["path"], row["new_path"] = (0, 2, 2), (2, 3, 3)
    for excluded in ("/", "/a"):
        source = tapio.MemorySource()
        with tapio.Collector(tapio.Config.default().replace(programs={"file": {"enabled": True, "exclude_paths": [excluded]}}), source=source) as collector:
            collector.fileno()
            for kind in ("file.open", "file.xattr", "file.symlink", "file.rename", "file.link"):
                source.fill(kind, row, tail=b"/a/bc")
            batch = live.everything(collector)
            kept.append(batch["file"]["subtype"].tolist())
    moved = [schema.KIND_BY_NAME[name].subtype for name in ("file.rename", "file.link")]
    assert kept == [[], moved]
