# SPDX-License-Identifier: Apache-2.0
"""How fast are drain, demux and store in one thread, and how much of that is zstd alone?"""
from __future__ import annotations

from pathlib import Path
from typing import Any

from _harness import run

from tapio_fast._core._bench_codec import Zstd, planes
from tapio_fast.bench import drain, store

RING = drain.memory_ring()


def bench_store(benchmark: Any, tmp_path: Path) -> None:
    """Drain, demux and store."""
    store.check(str(tmp_path))
    _, writer = store.open_store(str(tmp_path))
    run(benchmark, lambda: RING.store(writer), RING.records, 120)
    writer.close()


def bench_zstd_alone(benchmark: Any) -> None:
    """zstd level 1 on the transformed columns, in blocks of 20,000 rows."""
    data, step = drain.expected_bytes(), 20_000 * 120
    blocks = [planes(data[at:at + step], 120) for at in range(0, len(data), step)]
    zstd = Zstd(1, step)
    assert 0 < zstd.compress(blocks) < len(data) / 5
    run(benchmark, lambda: zstd.compress(blocks), RING.records, 120)
