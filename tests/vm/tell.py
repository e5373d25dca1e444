# SPDX-License-Identifier: Apache-2.0
"""Plugin of pytest in a test machine: says each failure at once, with its text and the time so far. A machine may not come to its end."""
from __future__ import annotations

import time

import pytest

BEGAN = time.monotonic()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Print what failed."""
    if report.failed:
        print(f"\nTAPIO_FAILED {report.nodeid} ({report.when}) at {time.monotonic() - BEGAN:.0f} s\n{report.longreprtext}\nTAPIO_FAILED_END",
              flush=True)
