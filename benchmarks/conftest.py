# SPDX-License-Identifier: Apache-2.0
"""CPU time of the thread as pytest-benchmark's timer: the machine is usually shared."""
from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from _harness import CPU_TIMER  # noqa: E402


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give every benchmark the same timer."""
    for item in items:
        item.add_marker(pytest.mark.benchmark(timer=CPU_TIMER, disable_gc=True))


@pytest.fixture
def kernel_ring() -> Any:
    """Give the kernel's ring, or skip with the reason."""
    from tapio_fast.bench import drain

    ring = drain.kernel_ring()
    if isinstance(ring, str):
        pytest.skip(f"not measured: {ring}")
    return ring
