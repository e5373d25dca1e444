# SPDX-License-Identifier: Apache-2.0
"""Case `columns`: rows to contiguous columns, by RecordBatch.columns and by numpy field by field."""
from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tapio_fast.batch import RecordBatch
from tapio_fast.bench._measure import Effort, expect, ratio, take_turns
from tapio_fast.bench._rows import Row
from tapio_fast.bench.drain import DOMAIN, ROW_BYTES, all_batches, expected, memory_ring


def columns(effort: Effort) -> list[Row]:
    """Time all columns of a batch, and one of them."""
    batch = RecordBatch.concat(all_batches(memory_ring())[:4])
    rows = batch[DOMAIN]
    names = rows.dtype.names or ()

    def by_numpy() -> dict[str, np.ndarray]:
        return {name: np.ascontiguousarray(rows[name]) for name in names}

    ours = batch.columns(DOMAIN)
    expect(tuple(ours) == names, "columns are missing")
    for name, theirs in by_numpy().items():
        expect(ours[name].tobytes() == theirs.tobytes() == expected()[name][:len(rows)].tobytes(), f"column {name} differs")
        expect(ours[name].flags.c_contiguous and ours[name].dtype == theirs.dtype, f"column {name} has another form")
    expect(bool((batch._split(DOMAIN, ("pid",))["pid"] == rows["pid"]).all()), "column pid differs")
    variants: dict[str, Callable[[], object]] = {
        "columns": lambda: batch.columns(DOMAIN),
        "columns/numpy, each field": by_numpy,
        "columns/one": lambda: batch._split(DOMAIN, ("pid",)),
        "columns/one, numpy": lambda: np.ascontiguousarray(rows["pid"]),
    }
    samples = take_turns(variants, len(rows), effort)
    out = []
    for name, sample in samples.items():
        row = sample.row(name, records=len(rows), record_bytes=ROW_BYTES)
        mine = "columns/one" if "one" in name else "columns"
        if name != mine:
            row.ratio_to, row.ratio = mine, ratio(sample, samples[mine])
        out.append(row)
    out[0].note = f"{len(names)} columns of a batch of {len(rows)} rows"
    return out
