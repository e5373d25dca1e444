# SPDX-License-Identifier: Apache-2.0
"""Markers that depend on the machine, the tier, and a check that a test leaves nothing open."""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

import support  # noqa: E402


def pytest_report_header() -> str:
    """Say what decides which tests run."""
    return f"tapio_fast: tier {support.tier()}, required: {', '.join(sorted(support.required())) or 'nothing'}"


def pytest_configure(config: pytest.Config) -> None:
    """Refuse a requirement that no marker stands for: it would be dropped in silence."""
    unknown = support.required() - set(support.LACKS)
    if unknown:
        raise pytest.UsageError(f"TAPIO_FAST_REQUIRE names {', '.join(sorted(unknown))}; known are {', '.join(support.LACKS)}")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, or fail, a test whose marker asks for what this machine lacks."""
    for name, lacks in support.LACKS.items():
        if item.get_closest_marker(name):
            reason = lacks()
            if reason:
                support.lacking(name, reason)


@pytest.fixture(scope="session")
def tier_size() -> Callable[[Any, Any], Any]:
    """Give tier_size(small, big)."""
    return support.tier_size


def _open_things() -> dict[str, str]:
    things = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            things[f"fd {name}"] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            pass        # the listing's own descriptor
    for task in os.listdir("/proc/self/task"):
        try:
            things[f"thread {task}"] = Path(f"/proc/self/task/{task}/comm").read_text().strip()
        except OSError:
            pass
    return things


@pytest.fixture
def no_leaks() -> Iterator[None]:
    """Fail if the test leaves file descriptors or threads (of Python or C) behind. By @pytest.mark.usefixtures."""
    gc.collect()
    before = _open_things()
    python_threads = threading.active_count()
    yield
    deadline = time.monotonic() + 15     # s: what leaks stays
    while True:
        gc.collect()
        new = {key: value for key, value in _open_things().items() if before.get(key) != value}
        if not new and threading.active_count() <= python_threads:
            return
        if time.monotonic() > deadline:
            pytest.fail(f"left behind: {new}, {threading.active_count()} Python threads (was {python_threads})", pytrace=False)
        time.sleep(0.05)
