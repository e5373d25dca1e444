# SPDX-License-Identifier: Apache-2.0
"""The live tests on other kernels: each boots a machine of qemu's and shows what came out in it. How, and what was found: README.md.

By hand: `make test-vm` (6.1), `make test-vm KERNELS="5.10 6.12 backport"`. Not in tier 1 yet: the whole selection takes longer than CI allows.
"""
from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

import kernels  # noqa: E402
import run  # noqa: E402

pytestmark = [pytest.mark.vm, pytest.mark.timeout(20 * run.MINUTES)]

NAMES = os.environ.get("TAPIO_FAST_VM_KERNELS", "6.1").split()


@pytest.fixture(scope="module", params=NAMES)
def outcome(request: pytest.FixtureRequest) -> run.Outcome:
    """The live tests, run in a machine."""
    return run.boot(request.param, run.pytest_script(run.DEFAULT), limit=float(os.environ.get("TAPIO_FAST_VM_MINUTES", "15")) * run.MINUTES)


def test_live_tests_pass(outcome: run.Outcome, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\n{outcome.kernel} ({kernels.KERNELS[outcome.kernel].release}): {len(outcome.passed)} passed, {len(outcome.failed)} failed, "
              f"{len(outcome.skipped)} skipped in {outcome.seconds:.0f} s")
        for test, why in outcome.skipped.items():
            print(f"  skipped in it: {test}: {why}")
    troubles = outcome.troubles()
    assert not troubles, f"{len(troubles)} on {outcome.kernel}:\n\n" + "\n\n".join(troubles)
    assert len(outcome.passed) > 100, "most tests did not run"
