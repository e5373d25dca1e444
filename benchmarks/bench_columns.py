# SPDX-License-Identifier: Apache-2.0
"""How fast do rows become contiguous columns, by RecordBatch.columns and by numpy field by field?"""
from __future__ import annotations

from typing import Any

import numpy as np
from _harness import run

from tapio_fast.batch import RecordBatch
from tapio_fast.bench import drain

BATCH = RecordBatch.concat(drain.all_batches(drain.memory_ring())[:2])
ROWS = BATCH[drain.DOMAIN]


def _by_numpy() -> dict[str, np.ndarray]:
    return {name: np.ascontiguousarray(ROWS[name]) for name in ROWS.dtype.names or ()}


def bench_columns(benchmark: Any) -> None:
    """RecordBatch.columns."""
    ours = BATCH.columns(drain.DOMAIN)
    assert all((ours[name] == theirs).all() for name, theirs in _by_numpy().items())
    run(benchmark, lambda: BATCH.columns(drain.DOMAIN), len(ROWS), 120)


def bench_columns_by_numpy(benchmark: Any) -> None:
    """np.ascontiguousarray for each field."""
    run(benchmark, _by_numpy, len(ROWS), 120)
