# SPDX-License-Identifier: Apache-2.0
"""Trees in the parser's form, over every field: what C keeps of a batch is what the plain reference keeps, before and after their text."""
from __future__ import annotations

import filter_trees
import numpy as np
from filter_reference import matches
from filter_strategies import pack, rows_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support import tier_size
from tapio_fast import schema
from tapio_fast.filtering._fields import catalogue
from tapio_fast.filtering._parser import parse
from tapio_fast.filtering._program import compile_filter
from tapio_fast.filtering._text import to_text
from tapio_fast.filtering._tree import Node

FIELDS = [field for field in catalogue().values() if field.source != "later"]


@given(filter_trees.trees(FIELDS), st.integers(0, 1 << 30))
@settings(max_examples=tier_size(200, 5_000), deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_a_tree_keeps_what_the_reference_keeps(tree: Node, seed: int) -> None:
    rows = rows_of(seed)
    batch = pack(rows)
    counts = batch.counts()
    for node in (tree, parse(to_text(tree))):
        for domain, bits in compile_filter(node).match(batch, None).items():
            mine = [row for row in rows if row["type"] == domain]
            got = np.unpackbits(np.frombuffer(bits, np.uint8), bitorder="little")[:counts[domain]].astype(bool).tolist()
            assert got == [matches(tree, row) for row in mine], to_text(tree)


def test_every_domain_has_rows_to_judge() -> None:
    assert {row["domain"] for seed in range(20) for row in rows_of(seed)} == set(schema.DTYPES)
