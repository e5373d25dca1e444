# SPDX-License-Identifier: Apache-2.0
"""`tapio-fast rules` and load_rules: forms told by content, TOML that reads back the same, exit codes, trying rules out on events."""
from __future__ import annotations

import json
import subprocess
import sys
from itertools import chain
from pathlib import Path
from typing import Any

import falco_truth
import pytest
import sigma_truth
from rules_support import EXEC_FACTS, exec_record, matches
from test_store import recorded

from tapio_fast import EventFilter
from tapio_fast.cli import main
from tapio_fast.errors import FilterError
from tapio_fast.filtering import _falco_fields
from tapio_fast.filtering._falco_events import FAMILIES
from tapio_fast.filtering._fields import FACTS, catalogue
from tapio_fast.filtering._judge import Judge
from tapio_fast.filtering._load import load_rules, rules_toml
from tapio_fast.filtering._parser import parse
from tapio_fast.filtering._sigma_fields import CATEGORIES
from tapio_fast.types import Severity

RULES = Path(__file__).parent / "rules"
OWN = """# ours
[[rules]]
name = "odd port"
expr = "type == network and dest_port > 60000"
severity = "high"
tags = ["t1", "t2"]
description = "what it's for"

[[rules]]
name = "by keys"
type = "process"
subtype = ["exec", "fork"]
conditions = { uid = [0, 1] }
process_name_regex = "^x"
"""


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


# -- load_rules --------------------------------------------------------------------------------------------------------------

def test_own_file_has_the_keys_of_filter_rules(tmp_path: Path) -> None:
    odd, keys = load_rules(write(tmp_path / "r.toml", OWN)).rules
    assert (odd.name, odd.severity, odd.tags, odd.description) == ("odd port", Severity.ERROR, ("t1", "t2"), "what it's for")
    assert odd.source.endswith("r.toml:2") and keys.source.endswith("r.toml:9")
    assert odd.node == parse("type == network and dest_port > 60000")
    assert matches(keys.node, exec_record("xx", uid=1)) and not matches(keys.node, exec_record("xx", uid=2)) and not matches(keys.node, exec_record("y", uid=1))


def test_lists_of_own_file_lie_beside_it(tmp_path: Path) -> None:
    write(tmp_path / "list.txt", "7\n8\n")
    found = load_rules(write(tmp_path / "r.toml", "[[rules]]\nname = 'a'\nexpr = 'pid in file(\"list.txt\")'\n"))
    assert found.rules[0].node == parse("pid in (7, 8)")


@pytest.mark.parametrize(("table", "said"), [
    ("expr = 'pid === 3'", "column"), ("exprs = 'pid == 3'", "did you mean 'expr'?"), ("", "says nothing"), ("expr = 5", "is a text"),
    ("expr = 'nosuch == 3'", "no field"), ("severity = 'huge'\nexpr = 'pid == 3'", "severity"), ("conditions = { nosuch = 3 }", "no field"),
    ("tags = 'x'", "list"), ("conditions = { pid = [] }", "empty list")])
def test_wrong_own_rules_are_refusals_and_the_others_stay(tmp_path: Path, table: str, said: str) -> None:
    found = load_rules(write(tmp_path / "r.toml", f"[[rules]]\nname = 'a'\n{table}\n[[rules]]\nname = 'b'\nexpr = 'pid == 3'\n"))
    assert [r.name for r in found.rules] == ["b"]
    assert [(r.name, r.where) for r in found.refusals] == [("a", f"{tmp_path}/r.toml:1")] and said in found.refusals[0].why


def test_field_that_needs_enrichment_has_a_note(tmp_path: Path) -> None:
    found = load_rules(write(tmp_path / "r.toml", "[[rules]]\nname = 'a'\nexpr = 'importance > 0.5'\n"))
    assert "importance" in found.rules[0].notes[0]


@pytest.mark.parametrize("text", ["# c\n---\ntitle: T\n", "%YAML 1.1\n---\ntitle: T\n", '"title": T\n', "{title: T}\n"])
def test_sigma_is_told_by_content(tmp_path: Path, text: str) -> None:
    assert "log source" in load_rules(write(tmp_path / "any", text)).refusals[0].why


@pytest.mark.parametrize("text", ["- macro: m\n  condition: x\n", "---\n- list: a\n  items: []\n", "-\n  list: a\n  items: []\n", "[{list: a, items: []}]\n"])
def test_falco_is_told_by_content(tmp_path: Path, text: str) -> None:
    found = load_rules(write(tmp_path / "any", text))
    assert not found.rules and not found.refusals


@pytest.mark.parametrize("text", [OWN, "rules = [{name = 'a', expr = 'pid == 1'}]\n"])
def test_own_form_is_told_by_content(tmp_path: Path, text: str) -> None:
    assert load_rules(write(tmp_path / "any", text)).rules


def test_directory_of_all_forms_is_read_together(tmp_path: Path) -> None:
    write(tmp_path / "a.toml", OWN)
    write(tmp_path / "b.yml", "title: odd port\nlogsource: {category: process_creation}\ndetection: {s: {Image: /x}, condition: s}\n")
    write(tmp_path / "c.yaml", "- rule: R\n  condition: proc.name = a\n  priority: INFO\n")
    write(tmp_path / "d.yaml", "<html>")
    write(tmp_path / "e.txt", "<html>")
    found = load_rules(tmp_path)
    assert sorted(r.name for r in found.rules) == ["R", "by keys", "odd port", "odd port (2)"]
    assert [Path(r.where).name for r in found.refusals] == ["d.yaml"]
    with pytest.raises(FilterError, match="no rules in this directory"):
        (tmp_path / "empty").mkdir()
        load_rules(tmp_path / "empty")


def test_toml_of_all_rules_reads_back_the_same(tmp_path: Path) -> None:
    found = load_rules(RULES)
    again = load_rules(write(tmp_path / "r.toml", rules_toml(found.rules)))
    assert not again.refusals and len(again.rules) >= 80
    assert [(r.name, r.node, r.severity, r.tags, r.description) for r in again.rules] == [
        (r.name, r.node, r.severity, r.tags, r.description) for r in found.rules]


def test_import_of_tapio_fast_needs_neither_yaml_nor_sigma() -> None:
    code = "import sys, tapio_fast, tapio_fast.filtering._load; sys.exit(any(m.split('.')[0] in ('yaml', 'sigma') for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# -- the slow judge ----------------------------------------------------------------------------------------------------------

def event_of(record: dict[str, Any]) -> dict[str, Any]:
    """A record of the truth as an event of `replay --json`, with its facts."""
    kind, _, subtype = record["kind"].partition(".")
    event: dict[str, Any] = {"type": kind, "subtype": subtype, "pid": 0, "details": {}, "facts": {}}
    for name, value in record.items():
        if name in FACTS and not (name in catalogue() and kind in catalogue()[name].places):
            event["facts"][name] = value
        elif name in ("pid", "tid", "uid", "gid", "comm"):
            event[name] = value
        elif name == "arg0":
            event["details"]["args"] = [value]
        elif name != "kind":
            event["details"][name] = value
    if record["kind"] == "process.exec":
        event["facts"] |= {fact: record[own] for fact, own in EXEC_FACTS.items() if own in record}
    return event


def test_judge_agrees_with_the_truth_on_every_rule_and_record() -> None:
    records = [r for table in (sigma_truth.TRUTH, falco_truth.TRUTH) for r in chain.from_iterable(chain.from_iterable(table.values()))]
    rules = load_rules(RULES).rules
    judge = Judge()
    hits = 0
    for record in records:
        for rule in rules:
            expected = matches(rule.node, record)
            assert judge.matches(rule.node, event_of(record)) == expected, (rule.name, record)
            hits += expected
    assert hits > len(rules)


def exec_event(pid: int, ppid: int, argv: list[str], **more: Any) -> dict[str, Any]:
    return {"type": "process", "subtype": "exec", "pid": pid, "uid": 0, "comm": argv[0], "timestamp": 1,
            "details": {"ppid": ppid, "exe": f"/bin/{argv[0]}", "args": argv, "cwd": "/"}} | more


def test_judge_joins_parents_and_ancestors_from_what_came_before() -> None:
    judge = Judge()
    for event in (exec_event(1, 0, ["init"]), exec_event(2, 1, ["sshd", "-D"]), {"type": "process", "subtype": "fork", "pid": 3, "comm": "sshd",
                                                                                "details": {"ppid": 2}}):
        judge.learn(event)
    ls = {"type": "file", "subtype": "open", "pid": 4, "comm": "ls", "details": {"ppid": 3, "path": "/x"}}
    judge.learn(ls)
    for text, expected in (('parent_exe == "/bin/sshd"', True), ('parent_args == "sshd -D"', True), ('ancestor_comm == "init"', True),
                           ('ancestor_comm == "ls"', False), ("descendant_of 2", True), ("descendant_of 5", False), ('process_exe == ""', False),
                           ('not process_exe == "x"', True), ("exists process_exe", False), ('ancestor_exe != "/bin/init"', False)):
        assert judge.matches(parse(text), ls) == expected, text


def test_judge_knows_severities() -> None:
    def severity(kind: str, **details: Any) -> list[int]:
        event = {"type": kind.split(".")[0], "subtype": kind.split(".")[1], "details": details}
        return [s for s in range(1, 6) if Judge().matches(parse(f"severity == {s}"), event)]
    assert severity("file.open") == [1] and severity("file.open", errno=2) == [3] and severity("process.exit", signal=9) == [3]
    assert severity("memory.oom_kill") == [5]


# -- the command line --------------------------------------------------------------------------------------------------------

GOOD = "[[rules]]\nname = 'root'\nexpr = 'kind == process.exec and uid == 0'\n[[rules]]\nname = 'child of sh'\nexpr = 'parent_comm == \"sh\"'\n"


def test_check_says_what_was_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = write(tmp_path / "g.toml", GOOD)
    assert main(["rules", "check", str(good)]) == 0
    assert capsys.readouterr().out == f"{good}: 2 converted, 0 refused, 0 disabled\n"
    assert main(["rules", "check", str(RULES / "sigma" / "refused.yml"), str(good)]) == 1
    out = capsys.readouterr().out
    assert out.count("refused  ") == 4 and "field LogonId" in out and "0 converted, 4 refused" in out
    bad = write(tmp_path / "b.yml", "a: [")
    assert main(["rules", "check", str(bad), str(good)]) == 78
    both = capsys.readouterr()
    assert "this is no YAML" in both.err and "2 converted" in both.out
    assert main(["rules", "check", str(tmp_path / "none")]) == 78
    assert main(["rules", "check"]) == 2


def test_check_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rules", "check", "--json", str(RULES)]) == 1
    found = json.loads(capsys.readouterr().out)
    assert len(found["rules"]) >= 80 and len(found["refused"]) == 8 and len(found["disabled"]) == 1
    for rule in found["rules"]:
        parse(rule["expr"])
    assert {"name", "severity", "tags", "source", "id", "notes", "description", "expr"} == set(found["rules"][0])


def test_convert_prints_rules_that_read_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rules", "convert", str(RULES / "sigma" / "evasion.yml")]) == 0
    out = capsys.readouterr().out
    again = load_rules(write(tmp_path / "a.toml", out))
    assert [r.node for r in again.rules] == [r.node for r in load_rules(RULES / "sigma" / "evasion.yml").rules]
    assert main(["rules", "convert", str(RULES / "sigma" / "refused.yml"), "-o", str(tmp_path / "o.toml")]) == 1
    assert "refused" in capsys.readouterr().err and (tmp_path / "o.toml").exists()
    assert main(["rules", "convert", str(RULES / "sigma"), "-o", str(tmp_path / "no" / "o.toml")]) == 74


def events_file(tmp_path: Path, *events: dict[str, Any]) -> Path:
    return write(tmp_path / "e.jsonl", "".join(json.dumps(event) + "\n" for event in events) + "\n")


def test_rules_are_tried_out_on_events(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = str(write(tmp_path / "g.toml", GOOD))
    events = events_file(tmp_path, exec_event(10, 1, ["sh"], expect=["root"]), exec_event(11, 10, ["ls"], expect=["root", "child of sh"]))
    assert main(["rules", "test", good, "--events", str(events)]) == 0
    out = capsys.readouterr().out
    assert "line 2: process.exec pid 11 ls: root, child of sh" in out and "       2  root" in out and "       1  child of sh" in out
    assert main(["rules", "test", good, "--events", str(events), "--json"]) == 0
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last == {"events": 2, "hits": {"root": 2, "child of sh": 1}, "unexpected": 0}


@pytest.mark.parametrize(("expect", "said"), [([], "'root' was not expected"), (["root", "child of sh"], "'child of sh' was expected"),
                                              (["root", "rooot"], "'rooot' is no rule here")])
def test_unexpected_hits_fail(tmp_path: Path, capsys: pytest.CaptureFixture[str], expect: list[str], said: str) -> None:
    events = events_file(tmp_path, exec_event(10, 1, ["x"], expect=expect))
    assert main(["rules", "test", str(write(tmp_path / "g.toml", GOOD)), "--events", str(events)]) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("line", ["5", "{", "[]", "{}", '{"type": "x", "subtype": 5}', '{"type": "x", "subtype": "y", "details": 3}', "[" * 100_000,
                                  '{"type": "process", "subtype": "exec", "expect": 5}', '{"type": "proces", "subtype": "exec"}',
                                  '{"type": "process", "subtype": "exec", "details": {"exee": "/x"}}', '{"type": "process", "subtype": "exce"}',
                                  '{"type": "process", "subtype": "exec", "facts": {"parent_exee": "/x"}}'])
def test_what_is_no_event_says_where(tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str) -> None:
    events = write(tmp_path / "e.jsonl", "\n" + line + "\n")
    assert main(["rules", "test", str(write(tmp_path / "g.toml", GOOD)), "--events", str(events)]) == 2
    assert "2: " in capsys.readouterr().err


def test_events_of_any_shape_are_judged_without_an_accident(tmp_path: Path) -> None:
    strange = ({"type": "process", "subtype": "exec", "uid": "root", "pid": "x", "details": {"ppid": [], "args": 5}},
               {"type": "network", "subtype": "connect", "details": {"dest_port": None}}, {"type": "syscall", "subtype": "call", "details": {"args": "ab"}})
    assert main(["rules", "test", str(write(tmp_path / "g.toml", OWN + GOOD)), "--events", str(events_file(tmp_path, *strange))]) == 0


def test_test_needs_one_source_of_events(tmp_path: Path) -> None:
    good = str(write(tmp_path / "g.toml", GOOD))
    assert main(["rules", "test", good]) == 2
    assert main(["rules", "test", good, "--store", "x", "--events", "y"]) == 2
    assert main(["rules", "test", good, "--store", str(tmp_path / "none")]) == 74
    assert main(["rules", "test", good, "--events", str(tmp_path / "none")]) == 74


def test_rules_are_tried_out_on_a_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recorded(tmp_path / "store", rounds=2)
    rules = write(tmp_path / "g.toml", "[[rules]]\nname = 'ls'\nexpr = 'kind == process.exec and args startswith \"ls -l B\" and pid == 4711'\n"
                  "[[rules]]\nname = 'net'\nexpr = 'type == network'\n")
    assert main(["rules", "test", str(rules), "--store", str(tmp_path / "store"), "--json"]) == 0
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last == {"events": 201 + 100 + 14, "hits": {"ls": 7, "net": 100}, "unexpected": 0}


def test_manual_names_every_field_and_event_that_converts() -> None:
    text = (Path(__file__).parent.parent / "docs" / "rules.md").read_text()
    named = {*_falco_fields.FIELDS, *_falco_fields.INDEXED, *chain.from_iterable(c.fields for c in CATEGORIES.values()), *CATEGORIES,
             *chain.from_iterable((*f.core, *f.others) for f in FAMILIES)}
    assert [name for name in sorted(named) if f"`{name}`" not in text and f"`{name}[1]`" not in text] == []


def test_several_rules_files_and_filters_are_all_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recorded(tmp_path / "store", rounds=2)
    first = write(tmp_path / "a.toml", "[[rules]]\nname = 'exec'\nexpr = 'kind == process.exec'\n")
    second = write(tmp_path / "b.toml", "[[rules]]\nname = 'net'\nexpr = 'type == network'\n[[rules]]\nname = 'pods'\nexpr = 'pod == x'\n")
    assert main(["replay", str(tmp_path / "store"), "--rules", str(first), "--rules", str(second), "--filter", "pid > 0", "--filter", "pid == 4711",
                 "--fields", "rules,pid"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {line["pid"] for line in found} == {4711} and {rule for line in found for rule in line["rules"]} == {"exec"}
    assert main(["replay", str(tmp_path / "store"), "--rules", str(first), "--rules", str(second), "--fields", "rules"]) == 0
    assert {rule for line in capsys.readouterr().out.splitlines() for rule in json.loads(line)["rules"]} == {"exec", "net"}


def test_an_import_leaves_out_what_needs_enrichment(tmp_path: Path) -> None:
    rules = write(tmp_path / "b.toml", "[[rules]]\nname = 'net'\nexpr = 'type == network'\n[[rules]]\nname = 'pods'\nexpr = 'pod == x'\n")
    found = EventFilter.from_rules(rules)
    assert found.rule_names == ("net",) and [(r.name, "pod: this needs enrichment" in r.why) for r in found.refusals] == [("pods", True)]
    found.check_usable()
