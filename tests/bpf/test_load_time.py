# SPDX-License-Identifier: Apache-2.0
"""What opening every program of every domain costs, by what does not hang on the machine's load: the instructions that the verifier walks.
Times: `python -m tapio_fast.bench load`."""
from __future__ import annotations

import pytest

import tapio_fast as tapio
from tapio_fast import schema
from tapio_fast._core._kernel import KernelObject
from tapio_fast._core._log import Log
from tapio_fast.enabled import OPTION_PUSHED
from tapio_fast.filtering._push import plan

pytestmark = [pytest.mark.root, pytest.mark.live]

# instructions that the verifier walks in all programs, 1.5 us each, most of what opening takes: as a rule, and where the gate judges
# more than ids (a filter that asks for it was given)
WALKED_ALL = {False: 190_000, True: 220_000}
ALL_RUN = 85            # programs of all domains that this kernel takes, at least
NOBODY = 1 << 30        # above any process id
WALKED_MOST = 7     # times the instructions of a program that the verifier may walk: more is a loop or a branch that explodes


@pytest.mark.parametrize("pushed", [False, True])
def test_loading_keeps_its_budget(pushed: bool) -> None:
    kinds = [kind.number for kind in schema.KINDS]
    opened = KernelObject(Log(), bulk_bytes=1 << 19, kinds=kinds, syscalls=range(400), options=OPTION_PUSHED * pushed)
    nobody = tapio.KernelFilter(pids=[NOBODY])
    opened.set_rules(plan(nobody.tree, schema.KIND_BY_NAME))        # attached to all, and records of none
    opened.attach()
    programs = opened.programs()
    del opened
    running = [program for program in programs if program["state"] in ("attached", "loaded")]
    assert len(running) >= ALL_RUN
    assert {p["object"] for p in running} >= {"process", "network", "file", "security", "container", "memory", "syscall", "usage"}
    assert [p["name"] for p in running if p["verified"] > WALKED_MOST * p["insns"]] == []
    assert sum({p["id"]: p["verified"] for p in running}.values()) < WALKED_ALL[pushed]
