# SPDX-License-Identifier: Apache-2.0
"""Case `filter`: a filter of four tests with a copy of the survivors, and a regular expression on names; numpy and Python's re beside them."""
from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from tapio_fast import schema
from tapio_fast._core import _engine
from tapio_fast._core._filter import Filter
from tapio_fast.batch import RecordBatch
from tapio_fast.bench._measure import Effort, expect, ratio, take_turns
from tapio_fast.bench._rows import Row
from tapio_fast.filtering._fields import find
from tapio_fast.filtering._program import compile_filter
from tapio_fast.filtering._tree import And, Test

DOMAIN, ROW_BYTES = "cpu", 120
IN_CACHE = 4096     # rows: half a megabyte, as the pump has just copied them
NAMES = [b"nginx", b"bash", b"curl", b"python3", b"postgres", b"sshd", b"systemd"] + [b"kworker/%d:%d" % (i % 64, i // 64) for i in range(100)]
PATTERN = rb"^(curl|nc|wget|kworker/1[0-9]:.)$"


def rows_of(n: int) -> np.ndarray:
    """Rows whose fields are spread as those of a busy machine are: a few users and names, many processes."""
    rng = np.random.default_rng(4)
    rows = np.zeros(n, schema.DTYPES[DOMAIN])
    rows["type"], rows["subtype"] = schema.DOMAINS[DOMAIN], rng.integers(0, 2, n)
    rows["pid"], rows["uid"] = rng.integers(1, 5000, n), rng.choice([0, 33, 1000, 1001], n)
    rows["rss"], rows["switches"] = rng.integers(0, 1 << 30, n), rng.integers(0, 100, n)
    rows["comm"] = np.array(NAMES)[rng.integers(0, len(NAMES), n)]
    return rows


def batch_of(rows: np.ndarray) -> RecordBatch:
    """Return the same rows as a batch."""
    return RecordBatch(_engine.build({schema.DOMAINS[DOMAIN]: (rows.tobytes(), b"")}))


def _filter(*tests: tuple[str, str, tuple[object, ...]]) -> Filter:
    parts = []
    for name, op, args in tests:
        field = find(name)
        expect(field is not None, f"no field {name}")
        parts.append(Test(field, op, args))     # type: ignore[arg-type]
    return compile_filter(And(tuple(parts)) if len(parts) > 1 else parts[0])


def _four(effort: Effort) -> list[Row]:
    batch = batch_of(rows_of(IN_CACHE))
    rows = np.array(batch[DOMAIN])
    compiled = _filter(("pid", "range", ((100, 4000),)), ("uid", "range", ((0, 0), (1000, 1000))), ("rss", "range", ((1 << 20, 1 << 29),)),
                       ("switches", "range", ((10, 1 << 63),)))

    def ours() -> _engine.Batch:
        return batch._core.select(compiled.match(batch._core))

    def by_numpy() -> np.ndarray:
        keep = ((rows["pid"] >= 100) & (rows["pid"] <= 4000) & ((rows["uid"] == 0) | (rows["uid"] == 1000)) & (rows["rss"] >= 1 << 20)
                & (rows["rss"] <= 1 << 29) & (rows["switches"] >= 10))
        kept: np.ndarray = rows[keep]
        return kept

    got = RecordBatch(ours())[DOMAIN]
    expect(0.1 < len(got) / IN_CACHE < 0.5 and np.array_equal(got, by_numpy()), "the rows kept differ")   # not bytes: numpy copies no padding
    variants: dict[str, Callable[[], object]] = {"filter": ours, "filter/numpy": by_numpy, "filter/match only": lambda: compiled.match(batch._core)}
    samples = take_turns(variants, IN_CACHE, effort)
    out = [sample.row(name, records=IN_CACHE, record_bytes=ROW_BYTES) for name, sample in samples.items()]
    out[1].ratio_to, out[1].ratio = "filter", ratio(samples["filter/numpy"], samples["filter"])
    out[1].judge(">= 4", out[1].ratio)
    out[0].note = f"4 tests, {len(got) / IN_CACHE:.0%} of {IN_CACHE} rows kept and copied"
    return out


def _names(effort: Effort) -> list[Row]:
    batch = batch_of(rows_of(IN_CACHE))
    compiled = _filter(("comm", "regex", (PATTERN,)))
    names: list[bytes] = batch[DOMAIN]["comm"].tolist()
    search = re.compile(PATTERN).search

    def by_re() -> list[bool]:
        return [search(name) is not None for name in names]

    def ours() -> bytes:
        return compiled.match(batch._core)[schema.DOMAINS[DOMAIN]]

    got = np.unpackbits(np.frombuffer(ours(), np.uint8), count=IN_CACHE, bitorder="little").astype(bool).tolist()
    expect(any(got) and got == by_re(), "the names found differ")
    samples = take_turns({"filter/regex on comm": ours, "filter/regex on comm, re": by_re}, IN_CACHE, effort)
    out = [sample.row(name, records=IN_CACHE, record_bytes=ROW_BYTES) for name, sample in samples.items()]
    out[1].ratio_to, out[1].ratio = out[0].name, ratio(samples["filter/regex on comm, re"], samples["filter/regex on comm"])
    out[1].judge(">= 50", out[1].ratio)
    out[0].note = f"{len(set(names))} names"
    return out


def filters(effort: Effort) -> list[Row]:
    """Time both."""
    return _four(effort) + _names(effort)
