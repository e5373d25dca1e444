# SPDX-License-Identifier: Apache-2.0
"""The filter language: which tree an expression becomes. The trees are written by hand."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tapio_fast import schema
from tapio_fast.errors import FilterError
from tapio_fast.filtering._fields import ALIASES, catalogue
from tapio_fast.filtering._parser import parse
from tapio_fast.filtering._tree import FALSE, TRUE, And, Node, Not, Or, leaves
from tapio_fast.filtering._tree import Test as Leaf  # pytest would take Test for a class of tests

V4 = 0xFFFF << 32
U16, U32, U64 = (1 << 16) - 1, (1 << 32) - 1, (1 << 64) - 1


def leaf(name: str, op: str, *args: Any, negate: bool = False, icase: bool = False) -> Leaf:
    return Leaf(catalogue()[name], op, args, negate, icase)


def numbers(name: str, *values: int | tuple[int, int], negate: bool = False) -> Leaf:
    return leaf(name, "range", *((v, v) if isinstance(v, int) else v for v in values), negate=negate)


def kinds(*names: str) -> Leaf:
    """Kinds by name, or all of a domain."""
    return leaf("kind", "kind", *sorted(k.number for k in schema.KINDS if k.name in names or k.domain in names))


def p(pid: int) -> Leaf:
    return numbers("pid", pid)


@pytest.mark.parametrize(("text", "tree"), [
    ("type == network and subtype in (connect, accept) and dest_port in (22, 443, 3306)",
     And((kinds("network"), kinds("network.connect", "network.accept"), numbers("dest_port", 22, 443, 3306)))),
    ('dest_ip in 10.0.0.0/8 and not comm =~ "^(curl|nc)$"',
     And((leaf("dest_ip", "net", (V4 | 10 << 24, 104)), Not(leaf("comm", "regex", b"^(curl|nc)$"))))),
    ('path startswith "/etc/" and flags & O_WRONLY', And((leaf("path", "startswith", b"/etc/"), leaf("file_flags", "bits", 1, None)))),
    ('type == process and subtype == exec and args contains "base64"',
     And((kinds("process"), kinds("process.exec"), leaf("args", "contains", b"base64")))),
    ("severity >= warning or importance > 0.8",
     Or((numbers("severity", (3, 5)), leaf("importance", "float", (0.8, float("inf"), True, False))))),
    ('duration_ns > 10ms and container_id != ""',
     And((numbers("duration_ns", (10_000_001, U64)), leaf("container_id", "equal", b"", negate=True)))),
    ("errno in (EACCES, EPERM)", numbers("errno", 1, 13)),
])
def test_the_promised_examples_become_these_trees(text: str, tree: Node) -> None:
    assert parse(text) == tree


def test_the_promised_example_with_a_file_becomes_this_tree(tmp_path: Path) -> None:
    (tmp_path / "watch.txt").write_text("7\n4\n5\n")
    tree = parse('pid in file("watch.txt") or descendant_of 4711', folder=str(tmp_path))
    assert tree == Or((numbers("pid", (4, 5), 7), leaf("descendant_of", "follow", 4711)))


@pytest.mark.parametrize("text", ["", "  \n\t", "# nothing\n  # more"])
def test_an_empty_expression_matches_everything(text: str) -> None:
    assert parse(text) == TRUE


@pytest.mark.parametrize(("text", "tree"), [
    ("pid == 1 or pid == 2 and pid == 3", Or((p(1), And((p(2), p(3)))))),
    ("pid == 1 and pid == 2 or pid == 3", Or((And((p(1), p(2))), p(3)))),
    ("(pid == 1 or pid == 2) and pid == 3", And((Or((p(1), p(2))), p(3)))),
    ("not pid == 1 and pid == 2", And((Not(p(1)), p(2)))),
    ("not (pid == 1 and pid == 2)", Not(And((p(1), p(2))))),
    ("not pid == 1 or pid == 2", Or((Not(p(1)), p(2)))),
    ("pid == 1 and (pid == 2 and pid == 3)", And((p(1), p(2), p(3)))),
    ("pid == 1 or (pid == 2 or (pid == 3))", Or((p(1), p(2), p(3)))),
    ("((pid == 1))", p(1)),
    ("not (not (pid == 1 or pid == 2) and pid == 3)", Not(And((Not(Or((p(1), p(2)))), p(3))))),
])
def test_not_binds_before_and_which_binds_before_or(text: str, tree: Node) -> None:
    assert parse(text) == tree


@pytest.mark.parametrize(("text", "tree"), [
    ("not pid == 1", Not(p(1))), ("! pid == 1", Not(p(1))), ("!(pid == 1)", Not(p(1))), ("not not pid == 1", p(1)), ("!not! pid == 1", Not(p(1))),
    ("pid != 1", numbers("pid", 1, negate=True)), ("pid not in (1, 2)", numbers("pid", (1, 2), negate=True)),
    ("not pid != 1", Not(numbers("pid", 1, negate=True))),
    ('comm !~ "a"', leaf("comm", "regex", b"a", negate=True)), ('comm not contains "a"', leaf("comm", "contains", b"a", negate=True)),
    ('comm not iglob "a*"', leaf("comm", "glob", b"a*", negate=True, icase=True)),
    ("dest_ip != ::1", leaf("dest_ip", "net", (1, 128), negate=True)),
    ("weight != 1", leaf("weight", "float", (1.0, 1.0, False, False), negate=True)),
    ("mode & 7 != 1", leaf("mode", "bits", 7, 1, negate=True)),
    ("severity != debug", numbers("severity", 1, negate=True)),
])
def test_a_negated_test_is_not_the_opposite_of_a_test(text: str, tree: Node) -> None:
    assert parse(text) == tree


def test_of_kinds_unequal_means_all_others() -> None:
    domains = {k.domain for k in schema.KINDS} - {"meta", "network"}
    assert parse("type != network") == parse("type not in (network)") == kinds(*domains)
    assert parse(f"type not in (network, {', '.join(domains)})") == FALSE
    assert parse(f"type in (network, {', '.join(domains)})") == TRUE


@pytest.mark.parametrize(("text", "tree"), [
    ("true", TRUE), ("FALSE", FALSE), ("not true", FALSE), ("true and pid == 1", p(1)), ("false or pid == 1", p(1)),
    ("false and pid == 1", FALSE), ("true or pid == 1", TRUE), ("not (true and false)", TRUE),
    ("pid < 0", FALSE), ("not pid > 4294967295", TRUE), ("pid >= 0", numbers("pid", (0, U32))),
])
def test_constants_are_folded(text: str, tree: Node) -> None:
    assert parse(text) == tree


def test_words_fields_and_constants_may_be_written_in_any_case() -> None:
    small = 'not (pid in (1, 2) or comm icontains "A") and errno == eacces and exists path and true'
    assert parse(small) == parse('NOT (PID IN (1, 2) OR Comm iContains "A") AND ErrNo == EAcces AND EXISTS Path AND True')


def test_comments_and_line_ends_mean_nothing() -> None:
    assert parse("pid == 1 # and pid == 2\n\r\n\tand # more\n uid == 3 #") == And((p(1), numbers("uid", 3)))
    assert parse('comm == "a#b"') == leaf("comm", "equal", b"a#b")


@pytest.mark.parametrize(("alias", "name"), ALIASES.items())
def test_an_alias_is_the_same_field(alias: str, name: str) -> None:
    assert parse(f"exists {alias}") == leaf(name, "exists")


# which operators each type of field takes: an expression with it, by operator
OPERATORS = {"==": "{f} == {v}", "!=": "{f} != {v}", "in": "{f} in ({v})", "not in": "{f} not in ({v})", "<": "{f} < {v}", ">=": "{f} >= {v}",
             "&": "{f} & {v}", "=~": "{f} =~ {v}", "!~": "{f} !~ {v}", "contains": "{f} contains {v}", "not iglob": "{f} not iglob {v}",
             "range": "{f} in {v}..{v}", "exists": "exists {f}"}
SETS, ORDER, MATCH = {"==", "!=", "in", "not in", "exists"}, {"<", ">=", "range"}, {"=~", "!~", "contains", "not iglob"}
TAKES = {"number": SETS | ORDER | {"&"}, "float": SETS | ORDER, "severity": SETS | ORDER, "text": SETS | MATCH, "argv": SETS | MATCH,
         "address": SETS, "kind": SETS, "follow": {"==", "in", "range", "exists"}}
VALUES = {"number": "1", "float": "1.5", "severity": "2", "text": '"a"', "argv": '"a"', "address": "10.0.0.1", "follow": "1"}


@pytest.mark.parametrize("name", list(catalogue()))
def test_every_field_takes_the_operators_of_its_type_and_no_others(name: str) -> None:
    field = catalogue()[name]
    value = VALUES.get(field.type) or {"type": "network", "subtype": "exec", "kind": "process.exec"}[name]
    for operator, form in OPERATORS.items():
        text = form.format(f=name, v=value)
        if operator in TAKES[field.type]:
            assert {t.field.name for t in leaves(parse(text))} == {"kind" if field.type == "kind" and operator != "exists" else name}, text
        else:
            with pytest.raises(FilterError) as caught:
                parse(text)
            assert caught.value.position is not None and caught.value.position >= len(name), caught.value


@pytest.mark.parametrize(("word", "op", "icase"), [(i + word, op, bool(i)) for i in ("", "i") for word, op in (
    ("equals", "equal"), ("contains", "contains"), ("startswith", "startswith"), ("endswith", "endswith"), ("glob", "glob"), ("regex", "regex"))])
def test_each_word_is_an_operator_with_and_without_case(word: str, op: str, icase: bool) -> None:
    assert parse(f'path {word} ("a", "b", "a")') == leaf("path", op, b"a", b"b", icase=icase)


@pytest.mark.parametrize(("text", "tree"), [
    ("file_flags & (O_CREAT | O_TRUNC)", leaf("file_flags", "bits", 0o100 | 0o1000, None)),
    ("file_flags & O_CREAT|O_TRUNC", leaf("file_flags", "bits", 0o100 | 0o1000, None)),
    ("flags & O_ACCMODE == O_RDONLY", leaf("file_flags", "bits", 3, 0)),
    ("flags & (O_ACCMODE) != 2", leaf("file_flags", "bits", 3, 2, negate=True)),
    ("flags & TRUNCATED", leaf("record_flags", "bits", 1, None)), ("flags & (late | redacted)", leaf("record_flags", "bits", 12, None)),
    ("flags in (O_RDWR)", numbers("file_flags", 2)), ("flags not in (O_RDWR, O_WRONLY)", numbers("file_flags", (1, 2), negate=True)),
    ("flags == compat", numbers("record_flags", 2048)), ("record_flags & 4", leaf("record_flags", "bits", 4, None)),
    ("ret & 0x8000000000000000", leaf("ret", "bits", 1 << 63, None)), ("mode & 0 == 0", leaf("mode", "bits", 0, 0)),
])
def test_flags_are_told_by_their_names(text: str, tree: Node) -> None:
    assert parse(text) == tree


@pytest.mark.parametrize(("text", "names"), [
    ("subtype == close", ["network.close", "file.close"]), ("kind == process.exec", ["process.exec"]),
    ("KIND in (Process.Exec, 'file.open')", ["process.exec", "file.open"]), ("type == 4", ["process"]), ("event_type == '2'", ["network"]),
    ("subtype == connect", ["network.connect"]),
])
def test_types_subtypes_and_kinds_end_as_kinds(text: str, names: list[str]) -> None:
    assert parse(text) == kinds(*names)


def test_a_type_without_a_kind_is_known_and_never_matches() -> None:
    assert parse("type == kprobe") == FALSE and parse("type in (kprobe, network)") == kinds("network")
