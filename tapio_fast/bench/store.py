# SPDX-License-Identifier: Apache-2.0
"""Case `store`: drain, demux and store in one thread, against the time zstd level 1 alone needs on the same transformed columns."""
from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np

from tapio_fast._core._bench import Store
from tapio_fast._core._bench_codec import Zstd, planes
from tapio_fast.bench._measure import Effort, expect, ratio, take_turns
from tapio_fast.bench._rows import Row
from tapio_fast.bench.drain import DOMAIN, ROW_BYTES, expected_bytes, memory_ring


def open_store(folder: str) -> tuple[str, Store]:
    """Open a new store below `folder`: its path, its writer."""
    path = tempfile.mkdtemp(dir=folder)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return path, Store(fd)
    finally:
        os.close(fd)


def check(folder: str) -> tuple[int, int, int, int]:
    """Store the ring once and read it back; return what the writer said."""
    from tapio_fast.store import RawStore

    path, writer = open_store(folder)
    expect(memory_ring().store(writer) == memory_ring().records, "the store took another number of records")
    said = writer.stats()
    writer.close()
    rows = np.concatenate([b[DOMAIN].view("V120") for b in RawStore(path).scan() if DOMAIN in b])
    expect(rows.tobytes() == expected_bytes(), "the store holds other rows than the ring")
    on_disk = sum(f.stat().st_size for f in Path(path).iterdir())
    expect(said[0] == memory_ring().records and 0 < said[3] <= on_disk,
           f"the writer's numbers {said} do not fit the {on_disk} bytes on disk")
    return said


def store(effort: Effort) -> list[Row]:
    """Time both on blocks of the same size; the writer stays open, as in a collector."""
    ring = memory_ring()
    with tempfile.TemporaryDirectory(prefix="tapio-bench-") as folder:
        records, n_blocks, raw, size = check(folder)
        rows_per_block = -(-records // n_blocks)
        data, step = expected_bytes(), rows_per_block * ROW_BYTES
        blocks = [planes(data[at:at + step], ROW_BYTES) for at in range(0, len(data), step)]
        zstd = Zstd(1, step)
        alone = zstd.compress(blocks)
        expect(sum(map(len, blocks)) == len(data) and 0.7 < alone / size < 1.3, f"zstd alone gives {alone} bytes, the store {size}")
        names = ("store", "store/zstd 1 alone")
        _, writer = open_store(folder)
        samples = take_turns({names[0]: lambda: ring.store(writer), names[1]: lambda: zstd.compress(blocks)}, ring.records, effort, 3)
        writer.close()
    out = [samples[name].row(name, records=records, record_bytes=ROW_BYTES) for name in names]
    out[0].ratio_to, out[0].ratio = names[1], ratio(samples[names[0]], samples[names[1]])
    rate = 1e3 / out[0].value if out[0].value else 0
    out[0].note = f"{rate:.1f} M records/s, {size / records:.1f} bytes a record on disk ({raw / size:.1f} x)"
    out[1].note = f"{n_blocks} blocks of {rows_per_block} rows, delta and byte planes done before"
    out[0].judge("<= 1.5", out[0].ratio)
    return out
