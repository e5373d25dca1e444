# SPDX-License-Identifier: Apache-2.0
"""check_tree: what of the tree's contract each defect breaks. What the parser and the strategies give passes (test_filter_text.py)."""
from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from test_filter_language import U64, V4, kinds, leaf, numbers, p

from tapio_fast.errors import FilterError
from tapio_fast.filtering._check import check_tree
from tapio_fast.filtering._fields import Field, catalogue
from tapio_fast.filtering._parser import parse
from tapio_fast.filtering._text import to_text
from tapio_fast.filtering._tree import FALSE, MAX_DEPTH, TRUE, And, Node, Not, Or, all_of, any_of, any_value, leaves, merge_ranges, merge_spans, opposite
from tapio_fast.filtering._values import ALL_KINDS

INF = float("inf")


@pytest.mark.parametrize(("tree", "says"), [
    (And((p(1),)), "less than two parts"), (Or(()), "less than two parts"), (And((p(1), And((p(2), p(3))))), "And in And"),
    (Or((Or((p(2), p(3))), p(1))), "Or in Or"), (And((p(1), TRUE)), "a constant within"), (Or((p(1), FALSE)), "a constant within"),
    (Not(TRUE), "negated constant"),
    (Not(Not(p(1))), "double negation"), (None, "NoneType is no part"), (And((p(1), "x")), "str is no part"),
    (Not(p), "function is no part"),  # type: ignore[arg-type]
    (And([p(1), p(2)]), "And of less"),  # type: ignore[arg-type]
    (leaf("pid", "range"), "no values; use any_value"), (leaf("pid", "range", (2, 1)), "ranges are (lo, hi)"),
    (leaf("pid", "range", (-1, 1)), "between 0 and 4294967295"),
    (leaf("pid", "range", (0, 1 << 32)), "between 0"), (leaf("pid", "range", (1.0, 2)), "ranges are"), (leaf("pid", "range", (True, 2)), "ranges are"),
    (leaf("pid", "range", 5), "ranges are"),
    (numbers("pid", 2, 1), "sorted and apart"), (numbers("pid", 1, 2), "sorted and apart"), (numbers("pid", (1, 5), (3, 9)), "sorted and apart"),
    (numbers("severity", 6), "between 1 and 5"), (leaf("comm", "range", (1, 1)), "a text has no such test"),
    (leaf("dest_ip", "equal", b"x"), "a address has no such test"),
    (leaf("pid", "what", 1), "no such test"), (leaf("pid", "equal", b"1"), "no such test"), (leaf("comm", "equal", "x"), "values are bytes"),
    (leaf("comm", "equal"), "no values"), (leaf("comm", "equal", b"a", b"a"), "each value once"), (leaf("comm", "glob", b"a" * 1025), "at most 1024"),
    (leaf("pid", "range", (1, 1), icase=True), "only texts have a case"), (replace(p(1), negate=1), "negate and icase are bool"),
    (leaf("pid", "exists", negate=True), "is never negated"), (leaf("pid", "exists", 1), "it takes no values"),
    (replace(kinds("file"), negate=True), "is never negated"),
    (leaf("descendant_of", "follow", 2, 1), "sorted, each once"), (leaf("descendant_of", "follow", -1), "numbers, sorted"),
    (leaf("descendant_of", "follow", 1 << 32), "numbers"),
    (leaf("type", "kind", 1), "tests of the field kind"), (leaf("kind", "kind", *sorted(ALL_KINDS)), "some of the"),
    (leaf("kind", "kind", 65000), "some of the"),
    (leaf("kind", "kind", *sorted(ALL_KINDS)[1::-1]), "sorted"), (leaf("mode", "bits", 1), "(mask, want)"), (leaf("mode", "bits", 0, None), "a mask of 0"),
    (leaf("mode", "bits", 1, None, negate=True), "of none of its bits"), (leaf("mode", "bits", 1, 2), "bits that the mask lacks"),
    (leaf("mode", "bits", 4, 3), "bits that the mask lacks"),
    (leaf("mode", "bits", U64 + 1, None), "at most 64 bits"), (leaf("mode", "bits", -1, None), "at most 64"),
    (leaf("weight", "bits", 1, None), "no such test"),
    (leaf("dest_ip", "net", (1, 127)), "outside its prefix"), (leaf("dest_ip", "net", (0, 129)), "networks are"),
    (leaf("dest_ip", "net", (1 << 128, 128)), "networks are"),
    (leaf("dest_ip", "net", (2, 128), (1, 128)), "sorted, each once"), (leaf("dest_ip", "net", "::1"), "networks are"),
    (leaf("weight", "float", (1, 2, False, False)), "spans are"),
    (leaf("weight", "float", (2.0, 1.0, False, False)), "spans are"), (leaf("weight", "float", (1.0, 2.0, True, False)), "closed; join two tests"),
    (leaf("weight", "float", (1.0, 2.0, False, False), (2.0, 3.0, False, False)), "sorted and apart"),
    (leaf("weight", "float", (-INF, INF, False, False)), "stands alone"),
    (leaf("weight", "float", (1.0, INF, False, True)), "closed there"), (leaf("weight", "float", (1.0, INF, False, False), negate=True), "not negated"),
    (leaf("weight", "float", (float("nan"), 1.0, False, False)), "spans are"), (leaf("weight", "float", (1.0, 1.0, False, False),
    (2.0, INF, False, False)), "stands alone"),
    (replace(p(1), field=Field("pid", "text", "row")), "not a field of the catalogue"), (replace(p(1), field="pid"), "not a field"),
])
def test_each_defect_of_a_tree_is_told(tree: Any, says: str) -> None:
    with pytest.raises(FilterError) as caught:
        check_tree(tree)
    assert str(caught.value).startswith("tree: ") and says in str(caught.value)


@pytest.mark.parametrize("deep", [lambda part: Not(And((part, p(1)))), lambda part: Or((p(2), And((p(1), part))))])
def test_a_tree_is_as_deep_as_a_text_may_be_and_no_deeper(deep: Any) -> None:
    tree: Node = p(0)
    fits, depth = tree, 0
    while True:
        tree = deep(tree)
        depth += 1
        try:
            check_tree(tree)
        except FilterError as error:
            assert "parentheses within each other" in str(error)
            break
        fits = tree
    assert depth > MAX_DEPTH // 2
    assert to_text(parse(to_text(fits))) == to_text(fits)
    for _ in range(3_000):      # three times as deep as Python's stack
        tree = deep(tree)
    with pytest.raises(FilterError, match="parentheses"):
        check_tree(tree)
    assert to_text(tree).count("(") > 3_000 and sum(1 for _ in leaves(tree)) > 3_000



def test_joining_keeps_trees_canonical() -> None:
    a, b, c = p(1), p(2), numbers("uid", 3)
    assert all_of([a, all_of([b, c])]) == And((a, b, c)) and any_of([any_of([a, b]), c]) == Or((a, b, c))
    assert all_of([]) == TRUE and any_of([]) == FALSE and all_of([a]) == any_of([a]) == a
    assert all_of([a, FALSE, b]) == FALSE and any_of([a, TRUE]) == TRUE and all_of([TRUE, a]) == a and any_of([FALSE, a]) == a
    assert opposite(opposite(a)) == a and opposite(TRUE) == FALSE
    for tree in (all_of([a, any_of([b, opposite(all_of([a, c]))])]), any_of([all_of([a, TRUE, b]), FALSE, c])):
        check_tree(tree)


def test_sets_are_merged_and_never_empty() -> None:
    assert merge_ranges([(5, 9), (1, 2), (3, 3), (8, 12), (7, 6)]) == ((1, 3), (5, 12))
    assert merge_spans([(2.0, 3.0), (0.5, 1.0), (1.0, 1.5)]) == [(0.5, 1.5), (2.0, 3.0)]
    pid = catalogue()["pid"]
    assert any_value(pid, "range", []) == FALSE and any_value(pid, "range", [], True) == leaf("pid", "exists")
    assert any_value(catalogue()["dest_ip"], "net", [(V4, 128)], True) == leaf("dest_ip", "net", (V4, 128), negate=True)
