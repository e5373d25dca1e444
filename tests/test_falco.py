# SPDX-License-Identifier: Apache-2.0
"""Falco rules become trees that mean the same: conditions in the documentation's style against truth by hand, each operator alone."""
from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from falco_truth import TRUTH, rec
from rules_support import exec_record, matches

from tapio_fast.filtering._falco import from_falco
from tapio_fast.filtering._imported import Imported, ImportedRule
from tapio_fast.filtering._parser import parse
from tapio_fast.filtering._text import to_text
from tapio_fast.types import Severity

RULES = Path(__file__).parent / "rules" / "falco"
X86 = os.uname().machine == "x86_64"


@pytest.fixture(scope="module")
def imported() -> Imported:
    return from_falco(RULES)


def load(tmp_path: Path, text: str) -> Imported:
    file = tmp_path / "rules.yaml"
    file.write_text(text)
    return from_falco(file)


def rule_text(condition: str, more: str = "") -> str:
    body = "\n".join("    " + line for line in condition.splitlines())
    return f"- rule: R\n  desc: d\n  condition: |\n{body}\n  output: o\n  priority: WARNING\n{more}"


def one(tmp_path: Path, condition: str, before: str = "", more: str = "") -> ImportedRule:
    found = load(tmp_path, before + rule_text(condition, more))
    assert not found.refusals, found.refusals
    return found.rules[-1]


def why(tmp_path: Path, condition: str, before: str = "", more: str = "") -> str:
    found = load(tmp_path, before + rule_text(condition, more))
    assert not found.rules and len(found.refusals) == 1, found
    return found.refusals[0].why


# -- the collection ----------------------------------------------------------------------------------------------------------

def test_nine_conditions_of_ten_convert_and_the_others_say_why(imported: Imported) -> None:
    total = len(imported.rules) + len(imported.refusals)
    assert total >= 40 and len(imported.rules) / total >= 0.9
    assert {r.name: r.why.split(":")[0] for r in imported.refusals} == {
        "terminal shell": "field proc.tty", "image not allowed": "field container.image.repository", "login differs": "field user.loginuid",
        "read of a buffer": "field evt.buffer"}
    assert [r.name for r in imported.disabled] == ["switched off"]


def test_every_converted_rule_has_its_truth(imported: Imported) -> None:
    assert {rule.name for rule in imported.rules} == set(TRUTH)


@pytest.mark.parametrize("name", TRUTH)
def test_rule_hits_what_it_means_and_nothing_near(imported: Imported, name: str) -> None:
    if name in ("raw packets", "seldom call") and not X86:
        pytest.skip("the numbers of system calls in this test are x86-64's")
    rule = next(r for r in imported.rules if r.name == name)
    hit, missed = TRUTH[name]
    assert hit and missed
    for record in hit:
        assert matches(rule.node, record), record
    for record in missed:
        assert not matches(rule.node, record), record


def test_rules_survive_their_text(imported: Imported) -> None:
    for rule in imported.rules:
        assert parse(to_text(rule.node)) == rule.node


def test_head_of_a_rule_is_kept(imported: Imported) -> None:
    rule = next(r for r in imported.rules if r.name == "write below etc")
    assert rule.severity is Severity.ERROR and rule.tags == ("filesystem", "mitre_persistence")
    assert rule.description == "a file below /etc is opened for writing, but by packagers"
    file, line = rule.source.rsplit(":", 1)
    assert Path(file).read_text().splitlines()[int(line) - 1] == "- rule: write below etc"


def test_priorities_are_our_severities(tmp_path: Path) -> None:
    for priority, severity in (("emergency", Severity.CRITICAL), ("Alert", Severity.CRITICAL), ("CRITICAL", Severity.CRITICAL),
                               ("error", Severity.ERROR), ("warning", Severity.WARNING), ("notice", Severity.INFO),
                               ("informational", Severity.INFO), ("info", Severity.INFO), ("debug", Severity.DEBUG)):
        found = load(tmp_path, rule_text("proc.name = x").replace("WARNING", priority))
        assert found.rules[0].severity is severity
    assert "priority" in load(tmp_path, rule_text("proc.name = x").replace("WARNING", "urgent")).refusals[0].why


# -- operators ---------------------------------------------------------------------------------------------------------------

# condition, values of comm or path that it hits, that it misses
OPERATORS = {
    "proc.name = a": (["a"], ["A", "ab"]), "proc.name == a": (["a"], ["b"]), "proc.name=a": (["a"], ["b"]), "proc.name != a": (["b"], ["a"]),
    "proc.name in (a, 'b c')": (["a", "b c"], ["b"]), "proc.name in ()": ([], ["a"]), "proc.name intersects (a, b)": (["a"], ["c"]),
    "not proc.name in (a)": (["b"], ["a"]), "proc.name contains b": (["abc"], ["aBc"]), "proc.name icontains B": (["abc", "aBc"], ["ac"]),
    "proc.name startswith ab": (["abc"], ["cab"]), "proc.name endswith bc": (["abc"], ["bcd"]), "proc.name glob 'a*[0-9]'": (["ax1"], ["ax", "A1"]),
    "proc.name iglob 'A?'": (["ab", "AB"], ["abc"]), r"proc.name glob 'a\\*b'": (["a*b"], ["axb"]), "proc.name glob '[^a]x'": (["bx"], ["ax"]),
    "proc.name regex 'a+'": (["aa"], ["aab", "baa"]), "proc.name regex 'a|bc'": (["a", "bc"], ["ac", "abc"]), "proc.name exists": (["a", ""], []),
    "tolower(proc.name) = ab": (["AB", "ab"], ["b"]), "tolower(proc.name) = Ab": ([], ["ab", "Ab"]), "toupper(proc.name) in (AB)": (["ab"], ["b"]),
    "proc.name = \"a\\\"b\"": (['a"b'], ["ab"]), "proc.name = '(x)'": (["(x)"], ["x"]),
    "fd.name pmatch (/a/b, /c)": (["/a/b", "/a/b/c", "/c"], ["/a/bc", "/a", "/"]), "fd.name pmatch (/a/*)": (["/a/x", "/a/x/y"], ["/a", "/a/"[:-1]]),
    "fd.name pmatch (/)": (["/a"], []), "fd.name glob /a/*": (["/a/b", "/a/b/c"], ["/b"]),
    "fd.directory = /a": (["/a/b"], ["/a/b/c", "/a", "/ab/c"]), "fd.directory = /": (["/a"], ["/a/b"]),
    "fd.directory startswith /a": (["/a/b", "/ab/c", "/a/b/c"], ["/a", "/b/a/c"]), "fd.directory contains /.ssh": (["/r/.ssh/x", "/.ssha/y"], ["/r/.ssh"]),
    "fd.directory endswith /b": (["/a/b/c"], ["/a/b", "/a/b/c/d"]), "fd.directory != /a": (["/b/a"], ["/a/b"]),
    "fd.filename = b": (["/a/b", "/b"], ["/b/a", "/ab"]), "fd.filename contains b": (["/a/xbx"], ["/b/a"]), "fd.filename glob 'b*'": (["/a/bc"], ["/bc/a"]),
    "fd.filename endswith .so": (["/a/x.so"], ["/x.so/a"]), "fd.filename startswith b": (["/a/bc"], ["/bc/a", "/a/cb"]),
    "basename(fd.name) in (b, c)": (["/a/c"], ["/c/a"]),
    "proc.name = a or fd.name = /b and proc.name = c": (["a"], ["/b", "c"]), "(proc.name = a or proc.name = b) and fd.name = ''": (["a", "b"], ["c"]),
    "not (proc.name = a and not proc.name = b)": (["b"], ["a"]), "not not proc.name = a": (["a"], ["b"]), "not(proc.name = a)": (["b"], ["a"]),
    "proc.name = a and evt.dir = <": (["a"], ["b"]), "proc.name = a or evt.dir=>": (["a"], ["b"]), "proc.name in (a) and evt.source = syscall": (["a"], []),
}


@pytest.mark.parametrize("condition", OPERATORS)
def test_operator(tmp_path: Path, condition: str) -> None:
    hit, missed = OPERATORS[condition]
    if not hit:
        assert "never match" in why(tmp_path, condition)
        return
    node = one(tmp_path, condition).node
    where = lambda value: rec("file.open", **({"path": value} if value.startswith("/") else {"comm": value}))  # noqa: E731
    assert [v for v in hit if not matches(node, where(v))] == []
    assert [v for v in missed if matches(node, where(v))] == []


def cmdline(record: dict[str, Any]) -> str:
    """proc.cmdline as Falco's documentation defines it: the name, then argv[1..]."""
    return " ".join([record["comm"], *record["args"][1:]])


RUNS = [exec_record(a, e) for a, e in (("curl -k x", ""), ("/usr/bin/curl -k x", "/usr/bin/curl"), ("x curl -k", "/bin/x"), ("curl", ""),
                                       ("/opt/curl", "/opt/curl"), ("foo -k", "/bin/curl"), ("xcurl -k", "/bin/xcurl"), ("curl  -k", ""),
                                       ("sh -c curl -k x", "/bin/sh"), ("curl -kx", ""), ("/curl -k/x y", "/bin/y"), ("k -k x", "/k/-k"))]


@pytest.mark.parametrize("value", ["curl", "curl -k", "curl -k x", " -k", "-k x", "x", "curl ", "url -k", "k", "l -", "c", "sh -c curl"])
@pytest.mark.parametrize("op", ["=", "contains", "startswith", "endswith", "!=", "icontains"])
def test_cmdline_is_the_name_and_the_arguments(tmp_path: Path, op: str, value: str) -> None:
    found = load(tmp_path, rule_text(f"evt.type = execve and proc.cmdline {op} '{value}'"))
    python = {"=": lambda t: t == value, "!=": lambda t: t != value, "contains": lambda t: value in t, "startswith": lambda t: t.startswith(value),
              "endswith": lambda t: t.endswith(value), "icontains": lambda t: value.lower() in t.lower()}[op]
    for record in RUNS:
        hit = bool(found.rules) and matches(found.rules[0].node, record)      # what can never match is refused
        assert hit == python(cmdline(record)), (cmdline(record), record["args"])


@pytest.mark.parametrize("value", ["-k", "-k x", "x", "", "curl -k", "-", " x"])
@pytest.mark.parametrize("op", ["=", "contains", "startswith", "endswith", "!="])
def test_args_are_without_argv_zero(tmp_path: Path, op: str, value: str) -> None:
    node = one(tmp_path, f"evt.type = execve and proc.args {op} '{value}'").node
    python = {"=": lambda t: t == value, "!=": lambda t: t != value, "contains": lambda t: value in t, "startswith": lambda t: t.startswith(value),
              "endswith": lambda t: t.endswith(value)}[op]
    for record in RUNS:
        assert matches(node, record) == python(" ".join(record["args"][1:])), record["args"]


@pytest.mark.parametrize("op", ["=", "contains", "startswith", "endswith", "!="])
@pytest.mark.parametrize("value", ["curl", "/usr/bin/curl", "c", "curl -k"])
def test_exe_is_argv_zero(tmp_path: Path, op: str, value: str) -> None:
    if " " in value:
        assert "first blank" in why(tmp_path, f"proc.exe {op} '{value}'")
        return
    node = one(tmp_path, f"evt.type = execve and proc.exe {op} '{value}'").node
    python = {"=": lambda t: t == value, "!=": lambda t: t != value, "contains": lambda t: value in t, "startswith": lambda t: t.startswith(value),
              "endswith": lambda t: t.endswith(value)}[op]
    for record in RUNS:
        assert matches(node, record) == python(record["args"][0]), record["args"]


@pytest.mark.parametrize("op", ["=", "contains", "startswith", "endswith", "!="])
@pytest.mark.parametrize("value", ["/tmp/", "/tmp/a/", "/tmp", "tmp/", "/a/", "/"])
def test_cwd_ends_with_a_slash_there(tmp_path: Path, op: str, value: str) -> None:
    if op in ("=", "!=") and not value.endswith("/"):
        return      # taken as if it did, which is what its author means
    found = load(tmp_path, rule_text(f"evt.type = execve and proc.cwd {op} '{value}'"))
    python = {"=": lambda t: t == value, "!=": lambda t: t != value, "contains": lambda t: value in t, "startswith": lambda t: t.startswith(value),
              "endswith": lambda t: t.endswith(value)}[op]
    for cwd in ("/tmp", "/tmp/a", "/", "/var/tmp", "/tmpx", "/a"):
        expected = python(cwd.rstrip("/") + "/")
        assert (matches(found.rules[0].node, exec_record("x", cwd=cwd)) if found.rules else False) == expected, cwd
