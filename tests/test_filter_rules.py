# SPDX-License-Identifier: Apache-2.0
"""FilterRule: every argument, what a value of a condition may be, and errors that name the rule and the part."""
from __future__ import annotations

import dataclasses
import ipaddress
import itertools
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_filter_language import V4, kinds, leaf, numbers, p

from tapio_fast import types
from tapio_fast.errors import FilterError
from tapio_fast.filtering._parser import parse
from tapio_fast.filtering._rules import FilterRule
from tapio_fast.filtering._tree import FALSE, TRUE, And, Node, Not
from tapio_fast.filtering._tree import Test as Leaf  # pytest would take Test for a class of tests


def test_everything_that_is_given_must_hold() -> None:
    rule = FilterRule(name="r", type="network", subtype=["connect", "accept"], min_severity="warning", conditions={"dest_port": [22, 443], "uid": 0},
                      process_name_regex="^c", expr="pid != 1 or pid != 2", severity="high", tags=("a", "b"))
    either = parse("pid != 1 or pid != 2")
    assert rule.tree == And((kinds("network"), kinds("network.connect", "network.accept"), numbers("severity", (3, 5)), leaf("comm", "regex", b"^c"),
                             numbers("dest_port", 22, 443), numbers("uid", 0), either))
    assert rule.severity is types.Severity.ERROR and rule.tags == ("a", "b") and rule.name == "r"


def test_a_rule_that_gives_nothing_matches_everything() -> None:
    assert FilterRule().tree == FilterRule(name="all").tree == TRUE


@pytest.mark.parametrize(("given", "tree"), [
    ({"type": "network"}, kinds("network")), ({"type": 2}, kinds("network")), ({"type": "2"}, kinds("network")),
    ({"type": types.EventType.NETWORK}, kinds("network")), ({"type": ["network", types.EventType.FILE]}, kinds("network", "file")),
    ({"subtype": "exec"}, kinds("process.exec")), ({"subtype": types.FileEventType.CHMOD}, kinds("file.chmod")),
    ({"subtype": (s for s in ("exec", "chmod"))}, kinds("process.exec", "file.chmod")), ({"subtype": 0}, parse("subtype == 0")),
    ({"min_severity": "high"}, numbers("severity", (4, 5))), ({"min_severity": 2}, numbers("severity", (2, 5))),
    ({"min_severity": "5"}, numbers("severity", 5)), ({"min_severity": types.Severity.DEBUG}, numbers("severity", (1, 5))),
    ({"process_name_regex": r"^a\d"}, leaf("comm", "regex", rb"^a\d")), ({"process_name_regex": 'x" or true'}, leaf("comm", "regex", b'x" or true')),
    ({"process_name_regex": b"\xff"}, leaf("comm", "regex", b"\xff")),
    ({"expr": "not pid == 1 # why"}, Not(p(1))), ({"expr": " "}, TRUE), ({"expr": "false", "type": "network"}, FALSE),
])
def test_each_argument_becomes_its_test(given: dict[str, Any], tree: Node) -> None:
    assert FilterRule(**given).tree == tree


@pytest.mark.parametrize(("name", "value", "tree"), [
    ("pid", 5, p(5)), ("pid", "5", p(5)), ("PID", "0x5", p(5)), ("pid", np.uint32(5), p(5)), ("pid", 5.0, p(5)),
    ("pid", [1, "2", np.int8(9)], numbers("pid", (1, 2), 9)),
    ("pid", range(3), numbers("pid", (0, 2))), ("pid", {3, 1}, numbers("pid", 1, 3)), ("pid", np.array([7, 8]), numbers("pid", (7, 8))),
    ("ret", -1, numbers("ret", -1)), ("duration_ns", "10ms", numbers("duration_ns", 10**7)), ("size", "4KiB", numbers("size", 4096)),
    ("errno", "EACCES", numbers("errno", 13)), ("errno", ["EPERM", 13], numbers("errno", 1, 13)), ("signal", signal.SIGKILL, numbers("signal", 9)),
    ("action", types.SecurityAction.BPF, numbers("action", 12)), ("flags", "O_RDWR", numbers("file_flags", 2)), ("severity", "high", numbers("severity", 4)),
    ("dest_ip", "10.0.0.0/8", leaf("dest_ip", "net", (V4 | 10 << 24, 104))), ("dst_ip", ipaddress.ip_address("::1"), leaf("dest_ip", "net", (1, 128))),
    ("dest_ip", ipaddress.ip_network("10.0.0.0/8"), leaf("dest_ip", "net", (V4 | 10 << 24, 104))),
    ("comm", "a b", leaf("comm", "equal", b"a b")), ("comm", b"\xff\0", leaf("comm", "equal", b"\xff\0")),
    ("comm", "\udcff\u20ac", leaf("comm", "equal", b"\xff\xe2\x82\xac")),
    ("comm", ["b", "a", "b"], leaf("comm", "equal", b"b", b"a")), ("comm", frozenset("dcba"), leaf("comm", "equal", b"a", b"b", b"c", b"d")),
    ("comm", 42, leaf("comm", "equal", b"42")), ("comm", "", leaf("comm", "equal", b"")),
    ("path", Path("/etc/passwd"), leaf("path", "equal", b"/etc/passwd")),
    ("weight", 0.1, leaf("weight", "float", (0.1, 0.1, False, False))), ("weight", 1e300, leaf("weight", "float", (1e300, 1e300, False, False))),
    ("path", '" or true or comm == "', leaf("path", "equal", b'" or true or comm == "')),
    ("path", 'file("/etc/passwd")', leaf("path", "equal", b'file("/etc/passwd")')),
    ("comm", "\\x41\\", leaf("comm", "equal", b"\\x41\\")), ("kind", "process.exec", kinds("process.exec")), ("type", "file", kinds("file")),
    ("descendant_of", 7, leaf("descendant_of", "follow", 7)), ("importance", "0.5", leaf("importance", "float", (0.5, 0.5, False, False))),
])
def test_a_condition_takes_the_values_that_people_have(name: str, value: Any, tree: Leaf) -> None:
    assert FilterRule(conditions={name: value}).tree == tree


@pytest.mark.parametrize(("given", "part", "says"), [
    ({"type": "netwrk"}, "type", "did you mean 'network'?"), ({"type": "meta"}, "type", "about the collection"), ({"type": {"a": 1}}, "type", "is no value"),
    ({"type": []}, "type", "empty list"), ({"subtype": "conect"}, "subtype", "did you mean 'connect'?"),
    ({"subtype": [["connect"]]}, "subtype", "is no value"),
    ({"subtype": 99}, "subtype", "no subtype '99'"), ({"min_severity": "loud"}, "min_severity", "has no value 'loud'"),
    ({"min_severity": True}, "min_severity", "True"),
    ({"min_severity": 6}, "min_severity", "never"), ({"conditions": {"pidd": 1}}, "conditions", "did you mean 'pid'?"),
    ({"conditions": {1: 1}}, "conditions", "no field 1"),
    ({"conditions": {"pid or true": 1}}, "conditions", "no field 'pid or true'"), ({"conditions": {"": 1}}, "conditions", "no field ''"),
    ({"conditions": {"\x1b[2J\n": 1}}, "conditions", "no field"), ({"conditions": [1]}, "conditions", "does not map fields to values"),
    ({"conditions": {"pid": None}}, "condition pid", "None is no value"), ({"conditions": {"pid": True}}, "condition pid", "True is no value"),
    ({"conditions": {"pid": []}}, "condition pid", "empty list"), ({"conditions": {"pid": [[1], [2]]}}, "condition pid", "[1] is no value"),
    ({"conditions": {"pid": {"a": 1}}}, "condition pid", "is no value"), ({"conditions": {"pid": object()}}, "condition pid", "is no value"),
    ({"conditions": {"pid": "x"}}, "condition pid", "pid is a number"), ({"conditions": {"pid": -1}}, "condition pid", "never"),
    ({"conditions": {"pid": 1.5}}, "condition pid", "whole numbers"), ({"conditions": {"pid": float("nan")}}, "condition pid", "nan is no value"),
    ({"conditions": {"weight": float("inf")}}, "condition weight", "inf is no value"),
    ({"conditions": {"pid": itertools.count()}}, "condition pid", "more than 100000 values"),
    ({"conditions": {"comm": "\ud800"}}, "condition comm", "surrogate"), ({"conditions": {"flags": 3}}, "condition flags", "needs a named flag"),
    ({"conditions": {"dest_ip": "10.0.0"}}, "condition dest_ip", "is no address"), ({"process_name_regex": 5}, "process_name_regex", "5 is no text"),
    ({"process_name_regex": "a" * 2000}, "process_name_regex", "at most 1024 bytes"), ({"expr": "pidd == 1"}, "expr", "did you mean 'pid'?"),
    ({"expr": "pid == 1) or (pid == 2"}, "expr", "found ')'"), ({"expr": 5}, "expr", "an expression is a text"),
    ({"severity": "loud"}, "severity", "there are debug, info, warning, error, critical"), ({"severity": 9}, "severity", "9 is none"),
    ({"tags": "abc"}, "tags", "'abc' is no list of texts"), ({"tags": [1]}, "tags", "is no list of texts"), ({"tags": ["a\n"]}, "tags", "is no list"),
    ({"tags": 5}, "tags", "5 is no list"),
])
def test_an_error_names_the_rule_and_the_part(given: dict[str, Any], part: str, says: str) -> None:
    with pytest.raises(FilterError) as caught:
        FilterRule(name="my rule", **given)
    message = str(caught.value)
    assert message.startswith(f"rule 'my rule', {part}: ") and says in message
    assert all(c.isprintable() or c == "\n" for c in message)


def test_the_place_of_an_error_in_expr_is_that_of_the_expression() -> None:
    with pytest.raises(FilterError) as caught:
        FilterRule(name="r", type="network", expr="pid == 1 and pidd == 2")
    assert caught.value.position == 13
    with pytest.raises(FilterError) as caught:
        FilterRule(name="r", conditions={"pid": "x"})
    assert caught.value.position is None, "the user wrote no text that it could point into"


@pytest.mark.parametrize("name", ["a\nb", "\x1b[2J", "a\0", "x" * 201, "\u202e", "\ud800", "\x85", 5, None, b"x"])
def test_a_name_is_one_line_that_can_be_shown(name: Any) -> None:
    with pytest.raises(FilterError, match="a name is one line") as caught:
        FilterRule(name=name)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 200


def test_a_rule_is_a_value() -> None:
    conditions = {"pid": [1, 2]}
    rule = FilterRule(name="r", subtype=["exec"], conditions=conditions, severity="low")
    conditions["pid"] = [3]
    assert rule == FilterRule(name="r", subtype=("exec",), conditions={"pid": [1, 2]}, severity=types.Severity.INFO) and len({rule, rule}) == 1
    assert dataclasses.replace(rule, conditions={"pid": 5}).tree == And((kinds("process.exec"), p(5))), "a changed copy is read anew"
    assert "_tree" not in repr(rule)


def test_a_rule_of_a_tree_carries_the_trees_text() -> None:
    tree = And((p(1), Not(leaf("comm", "regex", b"^a\xff"))))
    rule = FilterRule.of_tree("r", tree, severity="critical", tags=["t"])
    assert rule.tree is tree and rule.tags == ("t",) and rule.severity is types.Severity.CRITICAL
    assert dataclasses.replace(rule, name="s").tree == tree == parse(rule.expr)


def test_a_rule_of_a_tree_that_is_not_canonical_is_refused() -> None:
    with pytest.raises(FilterError, match="^rule 'r': tree: pid range"):
        FilterRule.of_tree("r", leaf("pid", "range", (2, 1)))
