# SPDX-License-Identifier: Apache-2.0
"""programs.process.exclude_comms: the kernel's judgement of thousands of real names, against fnmatch; and what it is not applied to."""
from __future__ import annotations

import fnmatch
import random
from collections.abc import Callable
from typing import Any

import live_support as live
import pytest

import tapio_fast as tapio

pytestmark = [pytest.mark.root, pytest.mark.live]

LETTERS = b"ab[]-!*?^\xe4\xff z"


def config(patterns: list[bytes], **process: Any) -> tapio.Config:
    texts = [pattern.decode("utf-8", "surrogateescape") for pattern in patterns]
    return tapio.Config.default().replace(programs={"process": {"exclude_comms": texts, **process}})


def some_bytes(source: random.Random, least: int, most: int) -> bytes:
    return bytes(source.choice(LETTERS) for _ in range(source.randint(least, most)))


@pytest.mark.parametrize("seed", range(6))
def test_kernel_agrees_with_fnmatch(tier_size: Callable[[Any, Any], Any], seed: int) -> None:
    """A rename's subject still has its old name: the record of leaving a name is refused when that name is excluded."""
    source = random.Random(seed)
    patterns = [some_bytes(source, 1, 8) for _ in range(source.randint(1, 25))]
    if seed == 0:       # every word of the automaton
        patterns = [b"q" * 13 + b"%d" % i for i in range(14)] + [b"[!a]??*b", b"*z"]
    names = [some_bytes(source, 1, 15) for _ in range(tier_size(500, 5000))] + [p[:15] for p in patterns] + [b"q" * 13 + b"13"]
    refused = [name for name in names if any(fnmatch.fnmatchcase(name, p) for p in patterns)]
    assert refused and len(refused) < len(names)
    with live.Helper("processes.py") as helper:
        with live.watching(helper, config=config(patterns, events=["rename"])) as collector:
            helper.call("rename_through", names=[name.decode("latin-1") for name in names])
            rows = live.everything(collector)["process"]
            stats = live.adds_up(collector)
    kept = [name for name in names if name not in set(refused)]
    wanted = [bytes(name).rstrip(b"\0") for name in kept]
    mine = rows["comm"].tolist()
    first = helper.facts["comm"].encode()[:15]      # the record of leaving the helper's own name
    if not any(fnmatch.fnmatchcase(first, p) for p in patterns):
        assert mine.pop(0) == first
        refused_in_all = len(refused)
    else:
        refused_in_all = len(refused) + 1
    assert mine == wanted
    assert stats.by_kind["process.rename"]["k_filtered"] >= refused_in_all     # others' renames are refused as well
    assert stats.by_kind["process.rename"]["seen"] >= len(names) + 1


def test_excluded_processes_are_left_out_of_every_process_kind_and_of_no_other(triggers: Any) -> None:
    with live.Helper("processes.py") as helper:
        with live.watching(helper, config=config([b"t_li[a-f]*"], events=["exec", "exit", "fork"])) as collector:
            out = helper.call("child", exe=str(triggers / "t_life"), argv=["a", "exit", "0"])
            kept = helper.call("child", exe=str(triggers / "t_signal"), argv=["a"])
            batch = live.everything(collector)
            stats = live.adds_up(collector)
    pids = {kind: live.of_kind(batch, f"process.{kind}")[0]["pid"].tolist() for kind in ("fork", "exec", "exit")}
    assert pids == {"fork": [out["pid"], kept["pid"]], "exec": [kept["pid"]], "exit": [kept["pid"]]}    # a fork still has its parent's name
    assert stats.by_kind["process.exec"]["k_filtered"] >= 1     # others' programs are refused as well


def test_network_is_not_asked_for_names() -> None:
    with live.Helper("sockets.py") as helper:
        chosen = config([b"*"])
        with live.watching(helper, config=chosen, netns=helper.facts["netns"]) as collector:
            helper.call("talk", host="127.0.0.1", how="client", sends=1000, answers=0)
            found = live.read_until(collector, lambda _: collector.stats().by_kind.get("network.close", {}).get("consumed", 0) >= 2)
            batch = live.together([*found, *live.drain(collector)])
            live.adds_up(collector)
    assert len(batch["network"]) >= 4 and len(batch["process"]) == 0


def test_generator_is_judged_as_well() -> None:
    """The same gate: "synth" is the name of its processes."""
    source = live.Generator(count=200_000, rate=2_000_000, kinds=("cpu.usage", "network.connect"))
    with tapio.Collector(config([b"syn?h"]), source=source) as collector:
        collector.fileno()
        source.go()
        assert source.wait(30)
        batch = live.everything(collector)
        stats = live.adds_up(collector)
    assert len(batch["cpu"]) == 0 and len(batch["network"]) > 0
    usage = stats.by_kind["cpu.usage"]
    assert usage["seen"] == usage["k_filtered"] > 0


def test_names_survive_a_change_of_filter() -> None:
    with live.Helper("processes.py") as helper:
        with live.watching(helper, config=config([b"name-*"], events=["rename"])) as collector:
            collector.set_filter(tapio.KernelFilter(pids=[helper.pid]))
            helper.call("rename_often", n=50)
            rows = live.everything(collector)["process"]
            stats = live.adds_up(collector)
    assert rows["comm"].tolist() == [helper.facts["comm"].encode()[:15]]
    assert stats.by_kind["process.rename"]["k_filtered"] >= 49


def test_too_many_patterns_are_refused_with_the_limit() -> None:
    with pytest.raises(tapio.ConfigError, match="256 places") as caught:
        tapio.Collector(config([b"%015d" % i for i in range(17)]), source=tapio.KernelSource(snapshot=False)).start()
    assert caught.value.key == "programs.process.exclude_comms"
