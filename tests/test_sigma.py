# SPDX-License-Identifier: Apache-2.0
"""Sigma rules become trees that mean the same: 50 rules in the public style against truth written by hand, and each modifier alone."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from rules_support import exec_record, matches
from sigma_truth import TRUTH

from tapio_fast.errors import FilterError
from tapio_fast.filtering._imported import Imported, ImportedRule
from tapio_fast.filtering._parser import parse
from tapio_fast.filtering._sigma import from_sigma
from tapio_fast.filtering._text import to_text
from tapio_fast.types import Severity

RULES = Path(__file__).parent / "rules" / "sigma"
PROCESS = "{product: linux, category: process_creation}"


@pytest.fixture(scope="module")
def imported() -> Imported:
    return from_sigma(RULES)


def load(tmp_path: Path, detection: str, logsource: str = PROCESS, more: str = "") -> Imported:
    """One rule out of the lines of its detection."""
    file = tmp_path / "rule.yml"
    body = "\n".join("  " + line for line in detection.strip("\n").splitlines())
    file.write_text(f"title: T\nlogsource: {logsource}\ndetection:\n{body}\n{more}")
    return from_sigma(file)


def one(tmp_path: Path, detection: str, logsource: str = PROCESS, more: str = "") -> ImportedRule:
    found = load(tmp_path, detection, logsource, more)
    assert not found.refusals, found.refusals
    return found.rules[0]


def why(tmp_path: Path, detection: str, logsource: str = PROCESS, more: str = "") -> str:
    found = load(tmp_path, detection, logsource, more)
    assert not found.rules and len(found.refusals) == 1
    return found.refusals[0].why


def hits(rule: ImportedRule, argv: str | list[str], exe: str = "", **more: Any) -> bool:
    return matches(rule.node, exec_record(argv, exe, **more))


# -- the collection ----------------------------------------------------------------------------------------------------------

def test_nine_rules_of_ten_convert_and_the_others_say_why(imported: Imported) -> None:
    assert len(imported.rules) + len(imported.refusals) == 50
    assert len(imported.rules) / 50 >= 0.9
    assert {r.name: r.why.split(":")[0] for r in imported.refusals} == {
        "Session Of A Foreign Collector": "field LogonId", "Program With A Listed Hash": "field Hashes",
        "Named User Starts A Database Dump": "field User", "Process With The Name Of Its Parent": "field Image"}
    assert all(r.where.startswith(str(RULES / "refused.yml:")) for r in imported.refusals)


def test_every_converted_rule_has_its_truth(imported: Imported) -> None:
    assert {rule.name for rule in imported.rules} == set(TRUTH)


@pytest.mark.parametrize("title", TRUTH)
def test_rule_hits_what_it_means_and_nothing_near(imported: Imported, title: str) -> None:
    rule = next(r for r in imported.rules if r.name == title)
    hit, missed = TRUTH[title]
    assert hit and missed
    for record in hit:
        assert matches(rule.node, record), record
    for record in missed:
        assert not matches(rule.node, record), record
    for kind in ("process.fork", "network.connect", "file.open"):
        assert not matches(rule.node, {"kind": kind})


def test_rules_survive_their_text(imported: Imported) -> None:
    for rule in imported.rules:
        assert parse(to_text(rule.node)) == rule.node


def test_head_of_a_rule_is_kept(imported: Imported) -> None:
    rule = next(r for r in imported.rules if r.name == "Sudo With A Negative User Id")
    assert rule.severity is Severity.CRITICAL and rule.tags == ("attack.privilege_escalation", "cve.2019-14287")
    raw = next(d for d in yaml.safe_load_all((RULES / "privileges.yml").read_text()) if d["title"] == rule.name)
    assert rule.id == raw["id"]
    file, line = rule.source.rsplit(":", 1)
    assert Path(file).read_text().splitlines()[int(line) - 1] == f"title: {rule.name}"


def test_levels_are_our_severities(tmp_path: Path) -> None:
    for level, severity in (("informational", Severity.DEBUG), ("low", Severity.LOW), ("medium", Severity.MEDIUM), ("high", Severity.HIGH),
                            ("critical", Severity.CRITICAL)):
        assert one(tmp_path, "s: {Image: /x}\ncondition: s", more=f"level: {level}").severity is severity
    assert one(tmp_path, "s: {Image: /x}\ncondition: s").severity is Severity.WARNING


# -- values and modifiers ----------------------------------------------------------------------------------------------------

# detection of one selection, argv that it hits, argv that it misses
VALUES = {
    "whole": ("CommandLine: 'a b'", ["a b", "A B"], ["a b c", "xa b"]),
    "cased": ("CommandLine|cased: 'a B'", ["a B"], ["a b"]),
    "contains cased": ("CommandLine|contains|cased: 'X'", ["aXb"], ["axb"]),
    "wildcards": ("CommandLine: 'a*b?c'", ["ab.c", "a/x/b/c"], ["abc", "ab.cd"]),
    "escaped wildcard": (r"CommandLine: 'a\*b\?'", ["a*b?"], ["axb?", "a*bx"]),
    "escaped backslash before a wildcard": (r"CommandLine: 'a\\*b'", ["a\\b", "a\\xb"], ["a*b", "axb"]),
    "plain backslash": (r"CommandLine: 'a\b'", ["a\\b"], ["ab"]),
    "bracket is no pattern": ("CommandLine: 'a[bc]*d'", ["a[bc]xd"], ["abxd"]),
    "any of a list": ("CommandLine|contains: [ab, cd]", ["xab", "cdx"], ["abd"[1:]]),
    "all of a list": ("CommandLine|contains|all: [ab, cd]", ["cd ab"], ["ab", "cd"]),
    "not equal": ("CommandLine|neq: 'a'", ["b"], ["a"]),
    "empty": ("CommandLine: ''", [""], ["a"]),
    "null": ("CommandLine: null", [""], ["a"]),
    "star is anything known": ("CommandLine: '*'", ["a", ""], []),
    "exists": ("CommandLine|exists: true", ["a"], [""]),
    "exists not": ("CommandLine|exists: false", [""], ["a"]),
    "number as text": ("CommandLine: 42", ["42"], ["4"]),
    "regex is searched and minds case": ("CommandLine|re: 'b+'", ["abbc"], ["aBc"]),
    "regex i": ("CommandLine|re|i: '^B+$'", ["bb"], ["abb"]),
    "regex s": ("CommandLine|re|s: 'a.b'", ["a\nb"], ["ab"]),
    "regex m": ("CommandLine|re|m: '^b$'", ["a\nb\nc"], ["ab"]),
    "regex without m": ("CommandLine|re: '^b$'", ["b"], ["a\nb\nc"]),
    "base64": ("CommandLine|base64|contains: 'ab'", ["x YWI= "], ["ab"]),
    "not ascii": ("CommandLine|contains: 'é'", ["café"], ["cafe", "CAFÉ"]),       # case is ASCII's
}


@pytest.mark.parametrize("name", VALUES)
def test_value(tmp_path: Path, name: str) -> None:
    item, hit, missed = VALUES[name]
    rule = one(tmp_path, f"s:\n  {item}\ncondition: s")
    assert [argv for argv in hit if not hits(rule, [argv], "/x")] == []
    assert [argv for argv in missed if hits(rule, [argv], "/x")] == []


def test_null_of_a_fact_is_also_what_is_not_known(tmp_path: Path) -> None:
    rule = one(tmp_path, "s: {ParentImage: null}\ncondition: s")
    unknown = exec_record("x")
    del unknown["parent_exe"]
    assert matches(rule.node, unknown) and hits(rule, "x", parent_exe="") and not hits(rule, "x", parent_exe="/y")


def test_regex_reaches_the_tree_with_the_backslashes_it_has(tmp_path: Path) -> None:
    rule = one(tmp_path, r"s: {CommandLine|re: 'a\\b\.c\d'}" + "\ncondition: s")
    assert hits(rule, [r"a\b.c1"]) and not hits(rule, ["a\\bxc1"])


@pytest.mark.parametrize("pattern", [r"(?=a)b", r"(a)\1", "a{1,2000}", "(", "(a{1,100}){1,100}", "x" * 1025])
def test_regex_that_the_engine_refuses_is_a_refusal(tmp_path: Path, pattern: str, capfd: pytest.CaptureFixture[str]) -> None:
    text = why(tmp_path, f"s: {{CommandLine|re: '{pattern}'}}\ncondition: s")
    assert pattern[:100] in text and " invalid: " in text
    assert capfd.readouterr().err == ""


# -- conditions --------------------------------------------------------------------------------------------------------------

CONDITIONS = {
    "1 of them": ({"a", "b", "ab"}, {""}), "all of them": ({"abc"}, {"ab"}), "a and not b": ({"a"}, {"ab", "b"}),
    "not (a or b)": ({"c", ""}, {"a", "b"}), "1 of sel_*": ({"d", "e"}, {"a"}), "all of sel_*": ({"de"}, {"d"}),
    "not 1 of sel_*": ({"a"}, {"d"}), "a or b and c": ({"a", "bc"}, {"b", "c"}), "(a or b) and c": ({"ac"}, {"a"}),
    "not not a": ({"a"}, {"b"}), "any of sel_*": ({"d"}, {"a"}),
}


@pytest.mark.parametrize("condition", CONDITIONS)
def test_condition(tmp_path: Path, condition: str) -> None:
    names = {"a": "a", "b": "b", "c": "c"} | ({"sel_d": "d", "sel_e": "e"} if "sel_" in condition else {})
    rule = one(tmp_path, "".join(f"{n}: {{CommandLine|contains: '{v}'}}\n" for n, v in names.items()) + f"condition: {condition}")
    hit, missed = CONDITIONS[condition]
    assert {argv for argv in hit | missed if hits(rule, [argv], "/x")} == hit


def test_several_conditions_are_alternatives(tmp_path: Path) -> None:
    rule = one(tmp_path, "a: {CommandLine: a}\nb: {CommandLine: b}\ncondition: [a, b]")
    assert hits(rule, "a") and hits(rule, "b") and not hits(rule, "c")


def test_a_list_with_one_part_that_cannot_be_is_refused_as_a_whole(tmp_path: Path) -> None:
    assert "Hashes" in why(tmp_path, "s:\n- Image: /x\n- Hashes: y\ncondition: s")


def test_pysigma_missing_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import sys
    monkeypatch.setitem(sys.modules, "sigma.collection", None)
    with pytest.raises(FilterError, match=r"pip install 'tapio_fast\[sigma\]'"):
        from_sigma(tmp_path)
