# SPDX-License-Identifier: Apache-2.0
"""Rules files that were written to hurt: every one is bounded, and ends in a FilterError or a Refusal that says what and where."""
from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from rules_support import exec_record, matches

from support import tier_size
from tapio_fast.errors import FilterError
from tapio_fast.filtering._imported import MAX_LEAVES, Imported
from tapio_fast.filtering._load import load_rules
from tapio_fast.filtering._parser import parse
from tapio_fast.filtering._text import to_text

SIGMA = {"title": "T", "logsource": {"product": "linux", "category": "process_creation"}, "level": "high", "tags": ["attack.t1"],
         "detection": {"s": {"Image|endswith": ["/x", "/y"], "CommandLine|contains|all": ["a", "b"]}, "f": [{"User": "root"}, {"ProcessId": 5}],
                       "condition": "s and not f"}}
FALCO = [{"list": "l", "items": ["a", "b"]}, {"macro": "m", "condition": "evt.type = execve and proc.name in (l)"},
         {"rule": "R", "desc": "d", "condition": "m and not fd.name startswith /x", "output": "o", "priority": "INFO", "tags": ["t"],
          "exceptions": [{"name": "e", "fields": ["proc.name"], "comps": ["="], "values": [["a"]]}]},
         {"rule": "R", "append": True, "condition": "or user.uid = 0"}]


def load(tmp_path: Path, text: str | bytes, name: str = "rules.yaml") -> Imported:
    file = tmp_path / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_rules(file)


def wrong(tmp_path: Path, text: str | bytes, name: str = "rules.yaml") -> str:
    with pytest.raises(FilterError) as caught:
        load(tmp_path, text, name)
    assert str(tmp_path / name) in str(caught.value)
    return str(caught.value)


def falco(tmp_path: Path, text: str, condition: str) -> Imported:
    return load(tmp_path, f"{text}- rule: R\n  desc: d\n  condition: {condition}\n  output: o\n  priority: INFO\n")


# -- files -------------------------------------------------------------------------------------------------------------------

def test_ten_megabytes_are_too_many(tmp_path: Path) -> None:
    assert "4 MiB" in wrong(tmp_path, "- list: l\n  items:\n" + "    - abcdefghij\n" * 650_000)
    assert "values" in wrong(tmp_path, "- list: l\n  items:\n" + "    - a\n" * 250_000)


def test_aliases_of_aliases_are_counted_before_they_are_followed(tmp_path: Path) -> None:
    lines = ["- a0: &a0 [x,x,x,x,x,x,x,x,x,x]"] + [f"- a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 30)]
    assert "aliases expanded" in wrong(tmp_path, "\n".join(lines))
    assert "alias" in wrong(tmp_path, "- &a [*a]")
    assert "merge keys" in wrong(tmp_path, "title: x\na: &a {b: 1}\nc:\n  <<: [*a, *a]\n")


@pytest.mark.parametrize("text", ["[" * 100_000, "- " * 100_000 + "x", "{a: " * 5_000, "title: " + "[" * 200 + "]" * 200,
                                  "a:\n" + "".join(" " * i + "a:\n" for i in range(1, 500))], ids=["flow", "block", "maps", "closed", "keys"])
def test_nesting_is_bounded(tmp_path: Path, text: str) -> None:
    assert wrong(tmp_path, text)


@pytest.mark.parametrize(("text", "said"), [
    (b"title: \xff\xfe", ":1: byte 7 is not UTF-8"), (b"a: b\nc: \xe9\n", ":2: byte 8"), (b"title: a\0b", "no YAML"), ("\ufeff- 5: [".encode(), "no YAML"),
    (b"title: a\ntitle: b\n", ":2: the key 'title' stands here twice"), (b"title: !!python/object/apply:os.system [true]\n", "tag"),
    (b"title: !!binary aGVsbG8=\n", "tag"), (b"title: x\n? [a, b]\n: c\n", "key"), (b"a: " + b"9" * 5000, "digits"),
    (b"", "no rules file"), (b"# nothing\n", "no rules file"),
    (b"\x7fELF\x02\x01", "no rules file"), (b"a: b: c", "no YAML"), (b"\tx", "YAML")])
def test_what_is_no_rules_file_says_where(tmp_path: Path, text: bytes, said: str) -> None:
    assert said in wrong(tmp_path, text)


@pytest.mark.parametrize(("text", "said"), [("[[rules]]\nname = \n", "line 2"), ("x = 1\n", "'x' is not known"), ("rules = []\n", "no rule in it"),
                                            ("rules = " + "[" * 5000, "no TOML")])
def test_bad_toml_says_where(tmp_path: Path, text: str, said: str) -> None:
    assert said in wrong(tmp_path, text, "rules.toml")


# -- lists and macros --------------------------------------------------------------------------------------------------------

def test_ten_thousand_values_are_one_test(tmp_path: Path) -> None:
    names = [f"n{i}" for i in range(10_000)]
    rule = falco(tmp_path, f"- list: l\n  items: [{','.join(names)}]\n", "evt.type = execve and proc.name in (l)").rules[0]
    sigma = copy.deepcopy(SIGMA)
    sigma["detection"] = {"s": {"CommandLine|contains": [f"n{i}x" for i in range(10_000)]}, "condition": "s"}
    other = load(tmp_path, yaml.safe_dump(sigma), "s.yml").rules[0]
    for tree, hit, missed in ((rule.node, exec_record("n9999"), exec_record("n10000")), (other.node, exec_record("a n9999x"), exec_record("n9999"))):
        assert matches(tree, hit) and not matches(tree, missed)
        assert parse(to_text(tree)) == tree


def test_circles_are_named(tmp_path: Path) -> None:
    macros = "- macro: a\n  condition: b or proc.name = x\n- macro: b\n  condition: (c)\n- macro: c\n  condition: not a\n"
    assert "a -> b -> c -> a" in falco(tmp_path, macros, "a").refusals[0].why
    lists = "- list: a\n  items: [x, b]\n- list: b\n  items: [a]\n"
    assert "a -> b -> a" in falco(tmp_path, lists, "proc.name in (a)").refusals[0].why


def test_macros_that_double_are_counted(tmp_path: Path) -> None:
    macros = "- macro: m0\n  condition: proc.name = a or proc.pid = 1\n" + "".join(
        f"- macro: m{i}\n  condition: (m{i - 1} and user.uid = {i}) or (m{i - 1} and proc.ppid = {i})\n" for i in range(1, 40))
    assert str(MAX_LEAVES) in falco(tmp_path, macros, "m39").refusals[0].why


def test_chains_of_macros_and_lists_are_bounded(tmp_path: Path) -> None:
    macros = "- macro: m0\n  condition: proc.name = a\n" + "".join(f"- macro: m{i}\n  condition: m{i - 1}\n" for i in range(1, 500))
    assert "50 deep" in falco(tmp_path, macros, "m499").refusals[0].why
    lists = "- list: l0\n  items: [a]\n" + "".join(f"- list: l{i}\n  items: [l{i - 1}]\n" for i in range(1, 500))
    assert "50 deep" in falco(tmp_path, lists, "proc.name in (l499)").refusals[0].why
    wide = "- list: l0\n  items: [a]\n" + "".join(f"- list: l{i}\n  items: [{', '.join([f'l{i - 1}'] * 50)}]\n" for i in range(1, 40))
    assert falco(tmp_path, wide, "proc.name in (l39)").rules        # all the same value


@pytest.mark.parametrize("condition", ["(" * 5000 + "proc.name = a" + ")" * 5000, "not " * 50_000 + "proc.name = a", "(" * 5000,
                                       "proc.name = a" + " and proc.name = a" * 20_000, "proc.name in (" + "a," * 30_000 + "a)"],
                         ids=["closed", "nots", "open", "long", "list"])
def test_conditions_of_falco_are_bounded(tmp_path: Path, condition: str) -> None:
    found = falco(tmp_path, "", condition)
    assert len(found.rules) + len(found.refusals) == 1


@pytest.mark.parametrize("condition", ["(" * 2000 + "s" + ")" * 2000, "not " * 2000 + "s",
                                       "(" * 19 + "s" + ")" * 19, "s" + " or s" * 2000, "1 of " + "*" * 500],
                         ids=["deep", "nots", "nineteen", "long", "stars"])
def test_conditions_of_sigma_are_bounded(tmp_path: Path, condition: str) -> None:
    found = load(tmp_path, yaml.safe_dump({**SIGMA, "detection": {"s": {"Image": "/x"}, "condition": condition}}), "s.yml")
    assert len(found.rules) + len(found.refusals) == 1


def test_ten_thousand_rules_of_one_name(tmp_path: Path) -> None:
    text = "".join("- rule: R\n  condition: proc.name = a\n  priority: INFO\n" for _ in range(5_000))
    assert len(load(tmp_path, text).rules) == 1      # a later one replaces an earlier one, as in Falco


# -- anything ----------------------------------------------------------------------------------------------------------------

VALUES: list[Any] = [None, 5, -1.5, True, "", "x", "a and b", [], {}, ["x"], [[]], {"a": 1}, {"s": None}, "*", "%x%",
                     "\\", "(" * 30, float("nan"), [None], [{}]]


def mutated(data: Any, chance: random.Random) -> Any:
    """The same with one value somewhere replaced, doubled or dropped."""
    data = copy.deepcopy(data)
    places = []
    stack = [data]
    while stack:
        top = stack.pop()
        for key in list(top) if isinstance(top, dict) else range(len(top)):
            places.append((top, key))
            if isinstance(top[key], dict | list):
                stack.append(top[key])
    for _ in range(chance.randint(1, 3)):
        where, key = chance.choice(places)
        try:
            match chance.randint(0, 2):
                case 0:
                    where[key] = copy.deepcopy(chance.choice(VALUES))
                case 1 if isinstance(where, dict):
                    where[chance.choice([f"{key}|re", f"{key}|all", f"{key}|nosuch", "x", 5, None])] = where.pop(key)
                case _:
                    del where[key]
        except (KeyError, IndexError):
            continue
    return data


FILTER = {"title": "F", "filter": {"rules": "any", "s": {"Image": "x"}, "condition": "s"}, "logsource": SIGMA["logsource"]}


@pytest.mark.parametrize("base", [SIGMA, FALCO, FILTER], ids=["sigma", "falco", "filter"])
def test_rules_with_anything_anywhere_end_in_rules_or_refusals(tmp_path: Path, base: Any) -> None:
    chance = random.Random(20261130)
    for _ in range(tier_size(150, 5_000)):
        text = yaml.safe_dump_all([mutated(base, chance), SIGMA] if isinstance(base, dict) and "filter" in base else [mutated(base, chance)])
        try:
            found = load(tmp_path, text)
        except FilterError:
            continue
        for rule in found.rules:
            assert parse(to_text(rule.node)) == rule.node


@settings(max_examples=tier_size(150, 5_000), deadline=None)
@given(st.text(alphabet="-:[]{}#&*!|>'\"%@\n\t ruleabc=0.,?<~", max_size=60),
       st.sampled_from(["", "- rule: ", "title: x\n", "[[rules]]\n", "- macro: a\n  condition: "]))
def test_any_text_ends_in_rules_or_a_filter_error(tmp_path_factory: pytest.TempPathFactory, text: str, start: str) -> None:
    file = tmp_path_factory.getbasetemp() / "any.txt"
    file.write_text(start + text)
    try:
        load_rules(file)
    except FilterError:
        pass
