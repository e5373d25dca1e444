# SPDX-License-Identifier: Apache-2.0
"""Compiled filters beside what the random pairs reach: severities as batches have them, big sets, nesting, and errors that say what is wrong."""
from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from filter_strategies import pack, rows_of

import tapio_fast as tapio
from tapio_fast import schema
from tapio_fast._core import _engine
from tapio_fast._core._filter import Filter
from tapio_fast.errors import FilterError
from tapio_fast.filtering._fields import find
from tapio_fast.filtering._program import MAX_DEPTH, compile_filter, encode
from tapio_fast.filtering._tree import Node, Not, merge_ranges
from tapio_fast.filtering._tree import Test as Leaf


def leaf(name: str, op: str, *args: object, **more: bool) -> Leaf:
    field = find(name)
    assert field is not None
    return Leaf(field, op, args, **more)


def kept(node: Node, batch: _engine.Batch, domain: str) -> list[bool]:
    number = schema.DOMAINS[domain]
    bits = np.unpackbits(np.frombuffer(compile_filter(node).match(batch)[number], np.uint8), bitorder="little")
    return bits[:batch.counts()[number]].astype(bool).tolist()


def test_severities_are_those_of_the_batch() -> None:
    seen = set()
    for seed in range(40):
        batch = tapio.RecordBatch(pack(rows_of(seed)))
        for domain in batch.domains:
            if domain == schema.META:
                continue
            severities = batch.severity(domain)
            for least in range(1, 6):
                assert kept(leaf("severity", "range", (least, 5)), batch._core, domain) == (severities >= least).tolist(), (domain, least)
            seen |= set(severities.tolist())
    assert seen == {1, 2, 3, 4, 5}


@pytest.mark.parametrize("name", ["pid", "uid", "rss", "ppid"])
@pytest.mark.parametrize("width", [0, 3])
def test_sets_of_ten_thousand(name: str, width: int) -> None:
    rng = random.Random(name)
    numbers = [rng.randrange(1 << 32) for _ in range(10_000)]
    rows = np.zeros(4096, schema.DTYPES["cpu"])
    rows[name] = rng.choices([n + d for n in numbers for d in (-1, 0, 1, width, width + 1) if 0 <= n + d < 1 << 32], k=4096)
    batch = _engine.build({schema.DOMAINS["cpu"]: (rows.tobytes(), b"")})
    members = {n + d for n in numbers for d in range(width + 1)}
    wanted = [int(n) in members for n in rows[name]]
    assert kept(leaf(name, "range", *merge_ranges([(n, n + width) for n in numbers])), batch, "cpu") == wanted
    assert any(wanted) and not all(wanted)


@pytest.mark.parametrize(("op", "truth"), [("equal", bytes.__eq__), ("startswith", bytes.startswith), ("endswith", bytes.endswith),
                                           ("contains", bytes.__contains__)])
def test_texts_of_ten_thousand(op: str, truth: object) -> None:
    rng = random.Random(op)
    values = [b"/%x/%x" % (rng.randrange(1 << 16), rng.randrange(1 << 16)) for _ in range(10_000)]
    texts = [rng.choice((b"", b"/usr", b"/")) + rng.choice(values)[:rng.randrange(4, 12)] + rng.choice((b"", b"x", b"/0")) for _ in range(300)] + values[:5]
    rows, area = np.zeros(len(texts), schema.DTYPES["security"]), bytearray()
    for i, text in enumerate(texts):
        rows["path"][i] = (len(area), len(text), len(text))
        area += text
    batch = _engine.build({schema.DOMAINS["security"]: (rows.tobytes(), bytes(area))})
    wanted = [any(truth(text, value) for value in values) for text in texts]     # type: ignore[operator]
    assert kept(leaf("path", op, *values), batch, "security") == wanted
    assert any(wanted) and not all(wanted)


def test_texts_that_lie_outside_of_their_area_are_empty() -> None:
    rows = np.zeros(4, schema.DTYPES["security"])
    rows["path"] = [(0, 4, 4), (1, 4, 4), (0xFFFFFFFF, 0xFFFFFFFF, 0), (2, 0, 0)]
    batch = _engine.build({schema.DOMAINS["security"]: (rows.tobytes(), b"/etc")})
    assert kept(leaf("path", "equal", b""), batch, "security") == [False, True, True, True]
    assert kept(leaf("path", "equal", b"/etc"), batch, "security") == [True, False, False, False]


def test_nesting_is_bounded() -> None:
    node: Node = leaf("pid", "range", (1, 1))
    for _ in range(MAX_DEPTH):
        node = Not(node)
    compile_filter(node)
    with pytest.raises(FilterError, match="nested more than 256 deep; flatten it"):
        compile_filter(Not(node))


def test_an_expression_that_does_not_compile_is_named_with_its_rule() -> None:
    right, wrong = leaf("comm", "regex", b"a"), leaf("comm", "regex", b"ok", b"a(b")
    with pytest.raises(FilterError, match=r"^comm regex 'a\(b': "):
        compile_filter(wrong)
    with pytest.raises(FilterError, match=r"^comm regex 'a\(b' of rule 'second': "):
        compile_filter(right, [right, wrong], ["first", "second"])
    with pytest.raises(FilterError, match=r"^path glob '.*': the pattern is too long"):
        compile_filter(leaf("path", "glob", b"?" * 10_000))
    with pytest.raises(FilterError, match="known after enrichment only"):
        compile_filter(leaf("importance", "float", (0.5, 1.0, False, False)))


def test_what_is_no_program_is_refused() -> None:
    whole = encode(leaf("pid", "range", (1, 1)))
    Filter(whole)
    for n in range(len(whole)):
        with pytest.raises(FilterError, match="the program of a filter cannot be used"):
            Filter(whole[:n])
    with pytest.raises(FilterError):
        Filter(whole + b"\0")


def test_threads_share_a_filter() -> None:
    batches = [pack(rows_of(seed)) for seed in range(8)]
    compiled = compile_filter(leaf("comm", "regex", b"^(bash|c.*l)$"))
    wanted = [compiled.match(batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(50):
            assert list(pool.map(compiled.match, batches)) == wanted
