# SPDX-License-Identifier: Apache-2.0
"""What the benchmark files share: one case of `tapio_fast.bench`, checked and timed by pytest-benchmark. Relies on tapio_fast.bench.

The cases, their checks and their rivals live in the package; here each variant becomes a pytest-benchmark, so that runs can be kept and
compared (`--benchmark-autosave`, `--benchmark-compare`). pytest-benchmark measures variants one after the other: for ratios use
`python -m tapio_fast.bench`, which takes turns.
"""
from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from tapio_fast.bench._rows import machine


def run(benchmark: Any, call: Callable[[], object], records: int, record_bytes: int) -> None:
    """Time call(), which handles so many records, in CPU time of the thread, and note where."""
    benchmark.extra_info.update(machine() | {"records": records, "record_bytes": record_bytes})
    benchmark.pedantic(call, warmup_rounds=2, rounds=15, iterations=1)
    benchmark.extra_info["ns_per_record"] = benchmark.stats.stats.median * 1e9 / records


CPU_TIMER = time.thread_time
