# SPDX-License-Identifier: Apache-2.0
"""docs/kernel-support.md against probe(): what the table promises of the running kernel is served by a program that it loads, by a hook
that the row names; what it calls unsupported by none; and no program makes an event that the table does not have."""
from __future__ import annotations

import functools
import re
from typing import NamedTuple

import pytest

from support import ROOT
from tapio_fast import schema
from tapio_fast.platform import PlatformReport, ProgramVerdict, probe

PAGE = ROOT / "docs" / "kernel-support.md"
HOST, DEBIAN = 0, 1
# hooks of the table that are no programs
WITHOUT_PROGRAM = {"/proc/pressure/memory"}
PREFIXES = {"f": ("fentry/", "fexit/"), "lsm": ("lsm/", "lsm.s/"), "k": ("kprobe/", "kretprobe/")}


class Row(NamedTuple):
    event: str
    hooks: tuple[frozenset[str], frozenset[str]]    # sections that may serve it: on the host, on Debian 6.1
    verdicts: tuple[str, str]
    notes: str


def sections(cell: str) -> frozenset[str]:
    """Return what the hooks of a cell are called in a program's table: "a_begin, _end" is a_begin and a_end."""
    found: set[str] = set()
    last = ""
    for hook in re.split(r",\s*| (?=\+)", cell.strip()):
        kind, _, name = hook.rpartition(":")
        if hook.startswith("_"):
            hook = last.rpartition("_")[0] + hook
        if hook == "+enter":
            hook = "sys_enter"
        if kind:
            found.update(prefix + name for prefix in PREFIXES[kind])
        elif hook.startswith("iter/"):
            found.update((hook, hook.replace("iter/", "iter.s/")))
        elif hook in WITHOUT_PROGRAM or hook.startswith("cgroup/"):
            found.add(hook)
        else:
            found.update(("tp_btf/" + hook, "raw_tp/" + hook))
        last = hook
    return frozenset(found)


@functools.cache
def table() -> dict[str, Row]:
    rows = {}
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 6 and re.fullmatch(r"[a-z_]+\.[a-z_]+", cells[0]):
            assert cells[0] not in rows, f"{cells[0]} stands twice in {PAGE.name}"
            rows[cells[0]] = Row(cells[0], (sections(cells[1]), sections(cells[3])), (cells[2], cells[4]), cells[5])
    return rows


@functools.cache
def report() -> PlatformReport:
    return probe()


def column() -> int:
    """Which of the two columns is about this kernel: told by what it takes, not by its version."""
    taken = {program.hook.partition("/")[0] for program in report().programs if program.verdict == "ok"}
    refused = {program.hook.partition("/")[0] for program in report().programs if program.verdict == "refused"}
    if taken & {"fentry", "fexit", "lsm"}:
        if not report().kernel.startswith("6.1."):
            pytest.skip(f"the table has no column for {report().kernel}")
        return DEBIAN
    if not report().kernel.startswith("6.18") and not refused & {"fentry", "fexit", "lsm"}:
        pytest.skip(f"the table has no column for {report().kernel}")
    return HOST


def serving(event: str, programs: tuple[ProgramVerdict, ...]) -> list[ProgramVerdict]:
    return [program for program in programs if event in program.kinds and program.verdict == "ok"]


def disagreements(rows: dict[str, Row], programs: tuple[ProgramVerdict, ...], which: int) -> list[str]:
    """Return where table and programs differ, a sentence each."""
    found = []
    for row in rows.values():
        hooks, verdict = row.hooks[which], row.verdicts[which]
        served = {program.hook for program in serving(row.event, programs)}
        if verdict == "unsupported" and served:
            found.append(f"{row.event} is unsupported, but {sorted(served)} serve it")
        elif verdict != "unsupported" and not hooks & (served | WITHOUT_PROGRAM):
            found.append(f"{row.event} is {verdict} by {sorted(hooks)}, but is served by {sorted(served) or 'nothing'}")
    made = {kind for program in programs for kind in program.kinds if not kind.startswith("meta.")}
    return found + [f"{kind} has a program and no row" for kind in sorted(made - set(rows) - {"cpu.load"})]


def test_the_table_has_a_row_for_every_kind_and_no_other() -> None:
    kinds = {kind.name for kind in schema.KINDS if not kind.name.startswith("meta.")} - {"cpu.load"}      # the generator's own
    assert set(table()) == kinds


def test_every_verdict_is_one_of_three_and_lesser_ones_say_why() -> None:
    for row in table().values():
        assert set(row.verdicts) <= {"ok", "part", "unsupported"}, row
        assert row.notes or set(row.verdicts) == {"ok"}, f"{row.event}: part and unsupported need a note"


def test_only_what_the_facts_allow_is_missing_on_debian() -> None:
    assert [row.event for row in table().values() if row.verdicts[DEBIAN] == "unsupported"] == []


def test_hooks_are_read_as_the_page_writes_them() -> None:
    assert sections("mm_compaction_begin, _end") >= {"tp_btf/mm_compaction_begin", "tp_btf/mm_compaction_end"}
    assert sections("sys_exit +enter, f:security_path_link") == {
        "tp_btf/sys_exit", "raw_tp/sys_exit", "tp_btf/sys_enter", "raw_tp/sys_enter", "fentry/security_path_link",
        "fexit/security_path_link"}
    assert sections("k:cap_capable") == {"kprobe/cap_capable", "kretprobe/cap_capable"} and sections("iter/task") == {"iter/task",
                                                                                                                      "iter.s/task"}


def test_a_difference_is_found() -> None:
    """The comparison below must be able to fail, in each of its ways."""
    rows = {"process.exec": Row("process.exec", (sections("sched_process_exec"),) * 2, ("ok", "unsupported"), "")}
    there = ProgramVerdict("tf_x", "tp_btf/sched_process_exec", "process", "ok", kinds=("process.exec",))
    assert disagreements(rows, (there,), HOST) == []
    assert "unsupported, but" in disagreements(rows, (there,), DEBIAN)[0]
    assert "served by nothing" in disagreements(rows, (), HOST)[0]
    for other in ({"hook": "tp_btf/other"}, {"verdict": "refused"}):
        assert len(disagreements(rows, (ProgramVerdict(**{**vars(there), **other}),), HOST)) == 1
    assert disagreements(rows, (there, ProgramVerdict("tf_y", "x", "file", "missing", kinds=("file.open",))), HOST) == [
        "file.open has a program and no row"]


@pytest.mark.live
def test_the_running_kernel_does_what_its_column_says() -> None:
    which = column()
    assert table() and disagreements(table(), report().programs, which) == []


@pytest.mark.live
def test_no_substitute_is_unused_where_nothing_better_runs() -> None:
    """Of a path's note three variants are tried in turn: where none of them runs, each says why, the last one too."""
    if not report().can_collect:
        pytest.skip("needs the rights to load programs")
    verdicts = {program.name: program for program in report().programs}
    for name in [name for name in verdicts if name.startswith("tf_note_") and name + "_lsm" in verdicts]:
        variants = [verdicts[name + variant] for variant in ("", "_lsm", "_k")]
        runs = [v.verdict for v in variants].count("ok")
        assert runs <= 1 and all(v.verdict == "ok" or v.reason for v in variants)
        assert runs or not any(v.verdict == "unused" for v in variants), [(v.name, v.verdict, v.reason) for v in variants]


@pytest.mark.live
def test_no_cost_is_cut() -> None:
    """The longest one there is, whole."""
    costs = {program.cost for program in report().programs}
    assert not costs or "per change of a file or directory, and per read of one from disk" in costs
