# SPDX-License-Identifier: Apache-2.0
"""The live tests on other kernels: each boots a machine of qemu's and shows what came out in it. How, and what was found: README.md.

In tier 1: the short selection on 6.1. By hand: `make test-vm` (everything), `make test-vm KERNELS="5.10 6.12 backport"`.
"""
from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

import kernels  # noqa: E402
import run  # noqa: E402
import selection  # noqa: E402

import support  # noqa: E402

SHORT = os.environ.get("TAPIO_FAST_VM_SELECTION", "short") == "short"
LIMIT = (30 if SHORT else 90) * run.MINUTES     # a machine that hangs; the short selection aims at 15 minutes, and prints what it took
FETCH = 5 * run.MINUTES         # beside it: a kernel and an image to make
NAMES = os.environ.get("TAPIO_FAST_VM_KERNELS", "6.1").split()

pytestmark = pytest.mark.vm


@pytest.fixture(scope="module", params=NAMES)
def outcome(request: pytest.FixtureRequest) -> run.Outcome:
    """The live tests, run in a machine."""
    name = request.param
    try:
        kernel = kernels.fetch(kernels.KERNELS[name])
    except kernels.KernelError as error:
        support.lacking("vm", str(error))
    return run.boot(name, run.pytest_script(kernel, selection.arguments(SHORT)), limit=LIMIT)


@pytest.mark.timeout(LIMIT + FETCH)
def test_live_tests_pass(outcome: run.Outcome, capsys: pytest.CaptureFixture[str]) -> None:
    """Every selected module ran, none was wholly skipped, nothing failed, the kernel had nothing to complain of."""
    with capsys.disabled():
        print(f"\n{outcome.summary()}")
    troubles = outcome.troubles()
    assert not troubles, f"{len(troubles)} on {outcome.kernel}:\n\n" + "\n\n".join(troubles)
    assert selection.silent(selection.modules(SHORT), outcome.passed) == [], "not one test of these passed"


def test_a_selection_names_what_is_there() -> None:
    """What is left out exists: a renamed test would else come back unseen, or hide."""
    for node in (*selection.ELSEWHERE, *selection.LONG):
        path, _, test = node.partition("::")
        assert Path(kernels.ROOT, path).is_file(), node
        assert not test or f"def {test.partition('[')[0]}(" in Path(kernels.ROOT, path).read_text(), node
        assert "::" in node or node not in selection.modules(True), node
    assert set(selection.modules(True)) <= set(selection.modules(False))
    assert selection.silent(["tests/bpf/test_a.py", "tests/bpf/test_b.py"], ["tests.bpf.test_a::test_one[x]"]) == ["tests/bpf/test_b.py"]
