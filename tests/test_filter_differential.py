# SPDX-License-Identifier: Apache-2.0
"""Random (filter, batch) pairs: the C evaluator agrees with the plain reference on every row, and every operator, type and domain is met."""
from __future__ import annotations

import collections
import random

import numpy as np
import pytest
from facts_reference import Facts as PlainFacts
from filter_reference import Row, matches
from filter_strategies import FIELDS, OPS, leaf_of, pack, rows_of, seeds, tree
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from support import tier_size
from tapio_fast import schema
from tapio_fast._core import _engine
from tapio_fast._core._filter import Facts
from tapio_fast.filtering._program import compile_filter
from tapio_fast.filtering._tree import And, Node, Not, Or, leaves

PER_BATCH = 25
PAIRS = tier_size(3_000, 100_000)
DOMAINS = [d for d in schema.DTYPES if d != schema.META]
HOW = {"deadline": None, "database": None, "phases": [Phase.generate], "suppress_health_check": list(HealthCheck), "derandomize": True}
Kept = dict[int, list[bool]]


def truth(node: Node, rows: list[Row], facts: PlainFacts | None) -> Kept:
    """What the reference keeps, by domain, in the order of the batch."""
    return {schema.DOMAINS[d]: [matches(node, row, facts) for row in rows if row["domain"] == d]
            for d in DOMAINS if any(row["domain"] == d for row in rows)}


def bits(packed: bytes, n: int) -> list[bool]:
    unpacked = np.unpackbits(np.frombuffer(packed, np.uint8), bitorder="little")
    assert not unpacked[n:].any(), "rows past the last one"
    return unpacked[:n].astype(bool).tolist()


def kept(node: Node | None, batch: _engine.Batch, facts: Facts | None) -> Kept:
    """What C keeps."""
    counts = batch.counts()
    return {d: bits(packed, counts[d]) for d, packed in compile_filter(node).match(batch, facts).items()}


def smallest(node: Node, rows: list[Row], batch: _engine.Batch, facts: Facts | None, plain: PlainFacts | None) -> str:
    """The smallest part of a tree on which the two disagree, and the first row."""
    parts = node.parts if isinstance(node, And | Or) else (node.part,) if isinstance(node, Not) else ()
    for part in parts:
        if kept(part, batch, facts) != truth(part, rows, plain):
            return smallest(part, rows, batch, facts, plain)
    got, wanted = kept(node, batch, facts), truth(node, rows, plain)
    for d in wanted:
        for row, g, w in zip((r for r in rows if r["type"] == d), got[d], wanted[d], strict=True):
            if g != w:
                return f"C says {g}, the reference {w}:\n{node}\n{row}"
    return "the parts agree, the whole does not"


@pytest.mark.timeout(tier_size(300, 3600))
def test_c_agrees_with_the_reference() -> None:
    met: collections.Counter[tuple[str, ...]] = collections.Counter()
    fates: collections.Counter[str] = collections.Counter()

    @settings(max_examples=PAIRS // PER_BATCH, **HOW)
    @given(seeds, st.lists(seeds, min_size=PER_BATCH, max_size=PER_BATCH), st.booleans())
    def check(seed: int, filters: list[int], with_facts: bool) -> None:
        rows = rows_of(seed)
        batch, facts, plain = pack(rows), None, None
        if with_facts:
            facts, plain = Facts(), PlainFacts()
            facts.learn(batch)
            plain.learn(rows)
        for node in map(tree, filters):
            wanted = truth(node, rows, plain)
            assert kept(node, batch, facts) == wanted, smallest(node, rows, batch, facts, plain)
            all_fates = [x for some in wanted.values() for x in some]
            fates["all" if all(all_fates) else "none" if not any(all_fates) else "some"] += 1
            for leaf in leaves(node):
                met[leaf.op, leaf.field.type] += 1
                met["icase" if leaf.icase else "case", "negate" if leaf.negate else "plain"] += 1
                met["source", leaf.field.source] += 1
                for domain in leaf.field.places or DOMAINS:
                    met["domain", domain] += 1

    check()
    assert fates.total() >= PAIRS and fates["some"] >= 0.3 * fates.total(), fates
    wanted = {(op, kind) for kind, ops in OPS.items() for op in ops} | {("domain", d) for d in DOMAINS} | {
        ("source", s) for s in ("row", "fact", "computed")} | {(c, n) for c in ("icase", "case") for n in ("negate", "plain")}
    assert not wanted - set(met), wanted - set(met)


@settings(max_examples=tier_size(30, 1000), **HOW)
@given(seeds, st.none() | seeds, st.lists(seeds, min_size=1, max_size=5))
def test_rules_are_any_of_those_that_the_expression_lets_through(seed: int, of_expr: int | None, of_rules: list[int]) -> None:
    rows, expr, rules = rows_of(seed), None if of_expr is None else tree(of_expr), [tree(of) for of in of_rules]
    batch = pack(rows)
    through = truth(expr, rows, None) if expr is not None else {d: [True] * n for d, n in batch.counts().items() if d != schema.DOMAINS["meta"]}
    each = [{d: [a and b for a, b in zip(through[d], found, strict=True)] for d, found in truth(rule, rows, None).items()} for rule in rules]
    any_of = {d: [any(rule[d][i] for rule in each) for i in range(len(through[d]))] for d in through}
    compiled = compile_filter(expr, rules)
    hits = [7] * len(rules)
    counts = batch.counts()
    assert {d: bits(packed, counts[d]) for d, packed in compiled.match(batch).items()} == any_of
    assert {d: bits(packed, counts[d]) for d, packed in compiled.match(batch, None, hits).items()} == any_of
    assert hits == [7 + sum(sum(found) for found in rule.values()) for rule in each]
    for d, (whole, parts) in compiled.match_rules(batch).items():
        assert bits(whole, counts[d]) == any_of[d]
        assert [bits(part, counts[d]) for part in parts] == [rule[d] for rule in each]


@settings(max_examples=tier_size(30, 1000), **HOW)
@given(seeds, seeds)
def test_a_fate_that_does_not_depend_on_the_row_is_that_of_every_row(seed: int, of_tree: int) -> None:
    rows, node = rows_of(seed), tree(of_tree)
    compiled = compile_filter(node)
    for d, found in truth(node, rows, None).items():
        fate = compiled.fate(d)
        assert fate is None or set(found) <= {fate}


FACT_FIELDS = sorted(name for name, field in FIELDS.items() if field.source == "fact" or name == "descendant_of")


@settings(max_examples=tier_size(40, 2000), **HOW)
@given(st.lists(seeds, min_size=2, max_size=4), seeds)
def test_facts_of_several_epochs_are_those_of_all_rows_so_far(of_epochs: list[int], seed: int) -> None:
    r, facts, plain = random.Random(seed), Facts(), PlainFacts()
    for epoch in of_epochs:
        rows = rows_of(epoch)
        batch = pack(rows)
        facts.learn(batch)
        plain.learn(rows)
        if max(map(len, plain.versions().values()), default=0) > 8:
            return      # more than is kept of a process: tests/c/test_tf_facts.c
        for name in FACT_FIELDS:
            node = leaf_of(r, name)
            assert kept(node, batch, facts) == truth(node, rows, plain), smallest(node, rows, batch, facts, plain)
    assert facts.stats()["processes"] == len(plain.versions()) and facts.stats()["evicted_processes"] == 0
