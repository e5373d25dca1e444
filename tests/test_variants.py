# SPDX-License-Identifier: Apache-2.0
"""The variants of every object. old: for kernels without fetch atomics (before 5.12): they contain none, and say of their records that the
sequence is weak. new: for kernels that cast pointers (6.2). All of them load here too. Real old kernels: tests/vm."""
from __future__ import annotations

import struct
from pathlib import Path

import live_support as live
import numpy as np
import pytest

import tapio_fast as tapio
from support import ROOT
from tapio_fast import schema

OBJECTS = sorted((ROOT / "build/bpf").glob("*.bpf.o"))
OLD, NEW = ([path for path in OBJECTS if path.name.endswith(f".{variant}.bpf.o")] for variant in ("old", "new"))
PLAIN = [path for path in OBJECTS if path not in OLD + NEW]
ATOMIC = (0xDB, 0xC3)       # BPF_STX | BPF_ATOMIC, 64 and 32 bits
FETCH = 1                   # in the immediate
WEAK_SEQ = 0x20


def instructions(path: Path) -> np.ndarray:
    """Return opcode and immediate of every instruction in the executable sections of an object."""
    data = path.read_bytes()
    table, = struct.unpack_from("<Q", data, 40)
    size, count = struct.unpack_from("<HH", data, 58)
    parts = []
    for i in range(count):
        _, kind, flags, _, offset, length = struct.unpack_from("<IIQQQQ", data, table + i * size)
        if kind == 1 and flags & 4:      # SHT_PROGBITS, SHF_EXECINSTR
            parts.append(np.frombuffer(data, [("code", "u1"), ("regs", "u1"), ("off", "<i2"), ("imm", "<i4")], length // 8, offset))
    return np.concatenate(parts)


def fetching(path: Path) -> int:
    code = instructions(path)
    return int((np.isin(code["code"], ATOMIC) & (code["imm"] & FETCH != 0)).sum())


@pytest.mark.parametrize("path", OLD, ids=lambda path: path.name)
def test_the_old_variant_has_no_fetch_atomics(path: Path) -> None:
    assert fetching(path) == 0


def test_every_object_has_its_variants_and_all_but_the_old_ones_fetch() -> None:
    for paths in (OLD, NEW):
        assert [path.name.partition(".")[0] for path in paths] == [path.name.partition(".")[0] for path in PLAIN]
    assert len(PLAIN) >= 6
    assert {path.name.partition(".")[0] for path in PLAIN + NEW if not fetching(path)} == {"yard"}     # yardsticks: no gate, nothing counted
    assert any((instructions(path)["code"] == ATOMIC[0]).any() for path in OLD)     # they do add, atomically


def test_only_the_new_ones_ask_for_the_cast() -> None:
    casting = [path for path in OBJECTS if b"bpf_rdonly_cast\0" in path.read_bytes()]
    assert {path.name for path in casting} <= {path.name for path in NEW}
    assert {path.name.partition(".")[0] for path in casting} >= {"process", "network", "file", "security", "container", "memory"}


@pytest.mark.live
def test_the_plain_variant_loads_here_too_and_runs_the_same() -> None:
    from tapio_fast._core._kernel import KernelObject
    from tapio_fast._core._log import Log

    kinds = [kind.number for kind in schema.KINDS]
    plain, new = ({p["name"]: (p["state"], p["insns"]) for p in KernelObject(Log(), bulk_bytes=1 << 19, kinds=kinds, plain=plain).programs()}
                  for plain in (True, False))
    assert {name: state for name, (state, _) in plain.items()} == {name: state for name, (state, _) in new.items()}
    assert plain["tf_process_exec"][1] != new["tf_process_exec"][1], "the same object was loaded twice"


@pytest.mark.live
def test_the_old_variant_loads_here_too() -> None:
    from tapio_fast._core._kernel import KernelObject
    from tapio_fast._core._log import Log

    # not cpu.usage: 5.10 takes its loop over threads at once, the verifier of today walks it to its own limit
    kinds = [kind.number for kind in schema.KINDS if kind.name != "cpu.usage"]
    new, old = ({p["name"]: p for p in KernelObject(Log(), bulk_bytes=1 << 19, kinds=kinds, old=old).programs()} for old in (False, True))
    lost = [program for name, program in old.items() if program["state"] != new[name]["state"] and program["hook"].startswith("tp_btf/")]
    assert {program["object"] for program in lost} == {"file_io", "security", "security_cred", "security_path", "security_hook", "container"}
    assert all(program["state"] == "missing_hook" and "before 5.12" in program["reason"] for program in lost), lost
    assert {p["name"] for p in lost if p["object"] == "container"} == {"tf_container_enter", "tf_container_join"}
    kept = {program["object"] for program in old.values() if program["state"] == "loaded"}
    assert kept >= {"syscall", "process", "identity", "network", "bind", "drop", "udp", "dns", "file", "container", "memory", "snapshot"}


@pytest.mark.live
@pytest.mark.parametrize("variant", ["new", "plain", "old"])
def test_only_the_old_ones_records_say_that_their_sequence_is_weak(variant: str) -> None:
    source = tapio.KernelSource(snapshot=False)
    source._options.update({} if variant == "new" else {variant: True})
    with live.Helper("processes.py") as helper, tapio.Collector(filter=tapio.KernelFilter(descendants_of=[helper.pid]),
                                                                source=source) as collector:
        collector.fileno()
        fact = helper.call("child_output", exe="/bin/echo", argv=["echo", "x"])
        batch = live.everything(collector)
        live.adds_up(collector)
    rows, _ = live.of_kind(batch, "process.exec")
    assert rows["pid"].tolist() == [fact["pid"]]
    assert bool(rows["flags"][0] & WEAK_SEQ) is (variant == "old")


@pytest.mark.live
@pytest.mark.parametrize("variant", ["new", "plain", "old"])
def test_what_the_old_ones_do_not_judge_is_judged_in_user_space(variant: str) -> None:
    """Their gate has no stack for more than ids: neither for what the first filter asks, nor for ranges of ids in a later one."""
    source = tapio.KernelSource(snapshot=False)
    source._options.update({} if variant == "new" else {variant: True})
    with live.Helper("processes.py") as helper:
        family = f"descendant_of == {helper.pid} and type == process and "
        with tapio.Collector(filter=family + "uid == 0", source=source) as collector:       # loaded for more than ids
            collector.fileno()
            wanted = []
            for condition, wants in (("uid != 0", False), ("uid == 0", True), ("pid > 100000000", False), ("pid < 100000000", True)):
                collector.set_filter(family + condition)
                fact = helper.call("child_output", exe="/bin/echo", argv=["echo", "x"])
                wanted += [fact["pid"]] * wants
            batch = live.everything(collector)
            live.adds_up(collector)
            counted = collector.stats().by_kind["process.exec"]
    rows, _ = live.of_kind(batch, "process.exec")
    assert rows["pid"].tolist() == wanted
    assert (counted["seen"], counted["k_filtered"], counted["u_filtered"]) == ((4, 0, 2) if variant == "old" else (4, 2, 0)), counted
