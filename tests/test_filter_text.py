# SPDX-License-Identifier: Apache-2.0
"""Trees and texts: a tree's text reads back as the tree, and no text makes the parser do anything but answer."""
from __future__ import annotations

import random

import filter_trees
import pytest
from hypothesis import given, settings
from test_filter_language import kinds, leaf, numbers

from support import tier_size
from tapio_fast import schema
from tapio_fast.errors import FilterError
from tapio_fast.filtering._check import check_tree
from tapio_fast.filtering._fields import catalogue
from tapio_fast.filtering._parser import parse
from tapio_fast.filtering._text import to_text
from tapio_fast.filtering._tree import FALSE, TEXT_OPS, TRUE, And, Node, Not, Or, leaves


def test_a_tree_is_what_its_text_says() -> None:
    ops, shapes, deepest = set(), set(), 0

    @given(filter_trees.trees())
    @settings(max_examples=tier_size(800, 4_000), deadline=None, derandomize=True)
    def holds(tree: Node) -> None:
        nonlocal deepest
        check_tree(tree)
        text = to_text(tree)
        assert parse(text) == tree, text
        assert text.isascii() and text.isprintable(), "it fits into one line of a log"
        ops.update(test.op for test in leaves(tree))
        shapes.add(type(tree).__name__)
        deepest = max(deepest, filter_trees.depth_of(tree))

    holds()
    assert ops == {"range", "float", "bits", "net", "kind", "follow", "exists", *TEXT_OPS} and deepest >= 3
    assert shapes == {"Const", "Test", "Not", "And", "Or"}


@pytest.mark.parametrize("name", list(catalogue()))
def test_every_test_of_every_field_survives_its_text(name: str) -> None:
    @given(filter_trees.tests_of(catalogue()[name]))
    @settings(max_examples=20, deadline=None, database=None, derandomize=True)
    def survives(tree: Node) -> None:
        check_tree(tree)
        assert parse(to_text(tree)) == tree

    survives()


@pytest.mark.parametrize(("tree", "text"), [
    (TRUE, "true"), (FALSE, "false"), (numbers("pid", 1), "pid == 1"), (numbers("pid", (1, 2), 9, negate=True), "pid not in (1..2, 9)"),
    (numbers("dest_port", (1024, 65535)), "dest_port >= 1024"), (numbers("ret", (-(1 << 63), -1)), "ret <= -1"),
    (numbers("pid", (0, (1 << 32) - 1)), "pid in (0..4294967295)"), (leaf("comm", "equal", b'a"\\\xff'), 'comm == "a\\"\\\\\\xff"'),
    (leaf("path", "glob", b"/a*", b"b", negate=True, icase=True), 'path not iglob ("/a*", "b")'), (leaf("path", "exists"), "exists path"),
    (leaf("comm", "equal", b"a", icase=True), 'comm iequals "a"'), (leaf("comm", "equal", b"a", b"b", negate=True), 'comm not in ("a", "b")'),
    (leaf("dest_ip", "net", (0xFFFF << 32 | 10 << 24, 104), (1, 128)), "dest_ip in (10.0.0.0/8, ::1)"), (leaf("dest_ip", "net", (0, 0)), "dest_ip == ::/0"),
    (leaf("dest_ip", "net", (0xFFFF << 32, 96)), "dest_ip == 0.0.0.0/0"), (leaf("mode", "bits", 7, None), "mode & 0x7"),
    (leaf("mode", "bits", 7, 1, negate=True), "mode & 0x7 != 0x1"), (leaf("weight", "float", (0.1, 0.1, False, False)), "weight == 0.1"),
    (leaf("descendant_of", "follow", 1, 2), "descendant_of (1, 2)"), (kinds("network"), "type == network"),
    (kinds("process", "file"), "type in (process, file)"),
    (kinds("file.close", "network.close"), "subtype == close"), (kinds("file.close"), "kind == file.close"),
    (Not(And((numbers("pid", 1), Or((numbers("uid", 2), Not(numbers("gid", 3))))))), "not (pid == 1 and (uid == 2 or not gid == 3))"),
])
def test_texts_are_written_as_people_would(tree: Node, text: str) -> None:
    words = to_text(tree)
    if tree == kinds("process", "file"):        # in the order of their numbers
        words = words.replace("file, process", "process, file")
    assert words == text


def test_the_kinds_of_a_number_survive_their_text() -> None:
    for number in {k.subtype for k in schema.KINDS}:
        assert parse(to_text(parse(f"subtype == {number}"))) == parse(f"subtype == {number}")


def answers(text: str) -> None:
    """Parsing gives a tree that survives its text, or a FilterError within the text; anything else is raised."""
    try:
        tree = parse(text, folder="/nowhere")
    except FilterError as error:
        assert error.position is not None and 0 <= error.position <= len(text), (text, error)
        assert len(str(error)) < 2000 and all(c.isprintable() or c == "\n" for c in str(error))
        return
    check_tree(tree)
    assert parse(to_text(tree)) == tree


@given(filter_trees.nearly())
@settings(max_examples=tier_size(300, 10_000), deadline=None, derandomize=True)
def test_what_looks_like_an_expression_is_read_or_refused(text: str) -> None:
    answers(text)


@pytest.mark.timeout(1200)
def test_mutated_expressions_are_read_or_refused() -> None:
    """Deletions, doublings, swaps and foreign pieces in valid expressions, and random bytes: 5,000, or 200,000 in tier 2."""
    chosen = random.Random(20261130)
    seeds = ['type == network and subtype in (connect, accept) and dest_port in (22, 443, 3306)', 'dest_ip in 10.0.0.0/8 and not comm =~ "^(curl|nc)$"',
             'path startswith "/etc/" and flags & (O_WRONLY | O_RDWR) == 1', "severity >= warning or importance > 0.8 # why", "ret in (-5..-1, 0x10)",
             'duration_ns > 10ms and container_id != "\\x41\\n"', 'pid in file("watch.txt") or descendant_of 4711', "weight in (0.5..1e3) and dest_ip != ::1"]
    refused = 0
    for _ in range(tier_size(5_000, 200_000)):
        parts = list(chosen.choice(seeds))
        for _ in range(chosen.randint(1, 6)):
            at, kind = chosen.randrange(len(parts)), chosen.randrange(5)
            if kind == 0:
                del parts[at:at + chosen.randint(1, 4)]
            elif kind == 1:
                parts[at:at] = parts[at:at + chosen.randint(1, 12)]
            elif kind == 2:
                parts[at] = chr(chosen.randrange(256))
            elif kind == 3:
                parts[at:at] = f" {chosen.choice(filter_trees.PIECES)} "
            else:
                parts[at:at] = bytes(chosen.randrange(256) for _ in range(3)).decode("utf-8", "surrogateescape")
            parts = parts or ["("]
        text = "".join(parts)
        answers(text)
        refused += _is_refused(text)
    assert refused > 1000, "most mutations are errors"


def _is_refused(text: str) -> bool:
    try:
        parse(text, folder="/nowhere")
    except FilterError:
        return True
    return False
