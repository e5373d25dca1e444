# SPDX-License-Identifier: Apache-2.0
"""Falco rules files: events and their arguments, macros and lists, what later items change, exceptions; nothing is dropped in silence."""
from __future__ import annotations

from pathlib import Path

import pytest
from falco_truth import IN, net, opened, rec
from rules_support import exec_record, matches
from test_falco import load, one, rule_text, why

from tapio_fast import schema, syscalls
from tapio_fast.errors import FilterError
from tapio_fast.filtering import _falco_events
from tapio_fast.filtering._falco import from_falco

NR = syscalls.table()


# -- events and what they say ------------------------------------------------------------------------------------------------

def test_every_family_of_events_has_records() -> None:
    for family in _falco_events.FAMILIES:
        assert family.node is not None and all(kind in schema.KIND_BY_NAME for kind in family.kinds)


CHECKS = {
    "evt.type = execve": ([exec_record("x")], [rec("process.fork")]),
    "evt.type != execve": ([rec("process.fork")], [exec_record("x")]),
    "evt.type in (open, openat)": ([rec("file.open"), rec("file.create")], [rec("file.close")]),
    "evt.type startswith unlink": ([rec("file.delete"), rec("file.rmdir")], [rec("file.open")]),
    "evt.type = umount2": ([rec("security.mount", action=17)], [rec("security.mount", action=16)]),
    "evt.type = delete_module": ([rec("security.module_load", action=11)], [rec("security.module_load", action=10)]),
    "evt.type = accept4": ([rec("network.accept")], [rec("network.connect")]),
    "syscall.type = dup2": ([rec("syscall.call", nr=NR.get("dup2", -1))], [rec("syscall.call", nr=NR["dup3"])]),
    "evt.failed = true": ([rec("file.open", errno=2)], [rec("file.open"), rec("process.exit")]),
    "evt.failed = false": ([rec("file.open"), rec("process.exit")], [rec("file.open", errno=2)]),
    "evt.res = ENOENT": ([rec("file.open", errno=2)], [rec("file.open", errno=13), rec("process.exit")]),
    "evt.res != SUCCESS": ([rec("file.open", errno=2)], [rec("file.open")]),
    "evt.rawres = -13": ([rec("file.open", errno=13)], [rec("file.open", errno=2)]),
    "evt.is_open_write = true": ([opened("/x"), opened("/x", 2)], [opened("/x", 0), rec("file.chmod")]),
    "evt.is_open_write = false": ([opened("/x", 0), rec("process.exit")], [opened("/x")]),
    "evt.arg.flags contains O_CREAT": ([rec("file.open", file_flags=0o101)], [rec("file.open", file_flags=1)]),
    "evt.arg.flags contains O_RDWR": ([rec("file.open", file_flags=2)], [rec("file.open", file_flags=1)]),
    "evt.arg.flags contains O_TRUNC": ([rec("file.create", file_flags=0o1000)], [rec("file.rmdir", file_flags=0o1000), rec("file.open")]),
    "evt.arg.flags contains AT_REMOVEDIR": ([rec("file.rmdir", file_flags=0x200)], [rec("file.open", file_flags=0x200), rec("file.rmdir")]),
    "evt.arg.newpath startswith /x": ([rec("file.rename", path="/y", new_path="/x")], [rec("file.rename", path="/x", new_path="/y")]),
    "evt.arg[path] = /x": ([rec("file.delete", path="/x")], [rec("file.delete", path="/y")]),
    "evt.arg.sig in (SIGTERM, 9)": ([rec("process.signal", signal=15), rec("process.signal", signal=9)], [rec("process.signal", signal=1)]),
    "evt.latency > 1000000": ([rec("file.open", duration_ns=1000001)], [rec("file.open", duration_ns=1000000)]),
    "container.id = host": ([rec("file.open")], [rec("file.open", **IN)]),
    "container.id = 3ad7b26ded6d": ([rec("file.open", **IN)], [rec("file.open"), rec("file.open", container_id="4" * 64)]),
    "container.id != 3ad7b26ded6d": ([rec("file.open"), rec("file.open", container_id="4" * 64)], [rec("file.open", **IN)]),
    "container.id in (host, 3ad7b26ded6d)": ([rec("file.open"), rec("file.open", **IN)], [rec("file.open", container_id="4" * 64)]),
    "proc.aname[1] = bash": ([rec("file.open")], [rec("file.open", parent_comm="sh")]),
    "proc.aname[0] = x": ([rec("file.open")], [rec("file.open", comm="y")]),
    "proc.apid[1] = 5": ([rec("file.open", ppid=5)], [rec("file.open", ppid=6)]),
    "proc.acmdline[1] startswith 'sh -c'": ([rec("file.open", parent_comm="sh", parent_args=["/bin/sh", "-c", "x"])], [rec("file.open")]),
    "user.name != root": ([rec("file.open")], [rec("file.open", uid=0)]),
    "group.gid = 0": ([rec("file.open", gid=0)], [rec("file.open")]),
    "thread.tid >= 10": ([rec("file.open", tid=10)], [rec("file.open", tid=9)]),
    "fd.net = 10.0.0.0/8": ([net("connect", "10.1.1.1", 1), net("accept", "1.1.1.1", 1, source_ip="10.0.0.1")], [net("connect", "11.1.1.1", 1)]),
    "fd.sip = 10.0.0.1": ([net("connect", "10.0.0.1", 1), net("accept", "1.1.1.1", 1, source_ip="10.0.0.1", direction=2)],
                          [net("accept", "10.0.0.1", 1, direction=2), net("connect", "1.1.1.1", 1, source_ip="10.0.0.1")]),
    "fd.cport = 5": ([net("connect", "1.1.1.1", 1, source_port=5), net("accept", "1.1.1.1", 5, direction=2)], [net("connect", "1.1.1.1", 5)]),
    "fd.rport != 5": ([net("connect", "1.1.1.1", 6)], [net("connect", "1.1.1.1", 5), rec("file.open")]),
    "fd.port in (5, 6)": ([net("connect", "1.1.1.1", 5), net("connect", "1.1.1.1", 1, source_port=6)], [net("connect", "1.1.1.1", 7)]),
    "fd.type = ipv6": ([net("connect", "::1", 1, family=10)], [net("connect", "1.1.1.1", 1), rec("file.open")]),
    "fd.type = directory": ([opened("/x", mode=0o040755)], [opened("/x")]),
    "fd.l4proto = udp": ([net("flow", "1.1.1.1", 1, protocol=17)], [net("connect", "1.1.1.1", 1)]),
    "fd.is_server = true": ([net("accept", "1.1.1.1", 1, direction=2)], [net("connect", "1.1.1.1", 1)]),
}


@pytest.mark.parametrize("condition", CHECKS)
def test_field(tmp_path: Path, condition: str) -> None:
    if "dup2" in condition and "dup2" not in NR:
        pytest.skip("this machine has no dup2")
    node = one(tmp_path, condition).node
    hit, missed = CHECKS[condition]
    assert [r for r in hit if not matches(node, r)] == []
    assert [r for r in missed if matches(node, r)] == []


@pytest.mark.parametrize(("condition", "said"), [
    ("proc.nam = x", "no field 'proc.nam'; did you mean 'proc.name'?"), ("evt.type = opn", "did you mean 'open'"), ("proc.tty = 0", "terminals"),
    ("proc.aname[3] = x", "leave the index out"), ("proc.aname != x", "not ... ="), ("proc.name = val(proc.pname)", "another one"),
    ("b64(proc.args) contains x", "not decoded"), ("len(proc.args) > 5", "lengths"), ("proc.pid contains 1", "for texts"),
    ("proc.name > 5", "for numbers"), ("fd.ip = ten", "address"), ("fd.port = http", "no number"), ("evt.res = 5", "evt.rawres"),
    ("evt.buffer bcontains 00", "evt.buffer"), ("user.name = daemon", "no number"), ("k8s.pod.name = x", "pods"), ("fd.type = unix", "have no records"),
    ("evt.rawres = 4", "only success"), ("unknown_macro", "no macro"), ("evt.arg.flags contains O_NONSENSE", "no flag"),
    ("evt.type = container", "no record"), ("evt.is_open_read = maybe", "boolean"), ("proc.name = a and evt.dir = >", "never match"),
    ("proc.cmdline pmatch (/x)", "pmatch"), ("fd.name glob '@(a|b)'", "regex"),
])
def test_refusal_says_why_and_where(tmp_path: Path, condition: str, said: str) -> None:
    text = why(tmp_path, condition)
    assert said in text
    assert "column" in text or "never match" in text


@pytest.mark.parametrize("condition", ["", "proc.name", "proc.name =", "proc.name = a b", "(proc.name = a", "proc.name = a)", "and", "not",
                                       "proc.name = 'a", "proc.name in (a", "proc.name in (a,)", "proc.name = a and", "proc.name ~ a", "= a", "5"])
def test_bad_syntax_is_refused(tmp_path: Path, condition: str) -> None:
    assert "condition" in why(tmp_path, condition)


def test_part_of_a_family_has_a_note(tmp_path: Path) -> None:
    assert one(tmp_path, "evt.type in (open, openat)").notes == ()
    assert "openat" in one(tmp_path, "evt.type = open").notes[0]
    assert "monitor_syscalls" in one(tmp_path, "evt.type = sysinfo").notes[0]


# -- macros, lists, what later items change ----------------------------------------------------------------------------------

def comms(tmp_path: Path, text: str) -> set[str]:
    """Which of a, b, c, d are hit as names by rule R."""
    found = load(tmp_path, text)
    assert not found.refusals, found.refusals
    rule = next(r for r in found.rules if r.name == "R")
    return {c for c in "abcd" if matches(rule.node, rec("file.open", comm=c))}


LIST = "- list: l\n  items: [a, b]\n"
MACRO = "- macro: m\n  condition: proc.name in (l)\n"


def test_lists_stand_in_lists_and_macros_in_macros(tmp_path: Path) -> None:
    text = LIST + "- list: k\n  items: [c, l]\n" + MACRO + "- macro: n\n  condition: m or proc.name in (k)\n" + rule_text("n")
    assert comms(tmp_path, text) == set("abc")
    assert comms(tmp_path, LIST + rule_text("proc.name in (l, d)")) == set("abd")
    assert comms(tmp_path, LIST + rule_text("proc.name = l")) == set()       # a list is one in lists only
    assert comms(tmp_path, LIST + rule_text("proc.name in ('l', d)")) == {"d"}


def test_what_is_defined_later_is_known_before(tmp_path: Path) -> None:
    assert comms(tmp_path, rule_text("m") + MACRO + LIST) == set("ab")


def test_append_and_override(tmp_path: Path) -> None:
    base = LIST + MACRO + rule_text("m and not proc.name = a")
    assert comms(tmp_path, base) == {"b"}
    assert comms(tmp_path, base + "- list: l\n  items: [c]\n  append: true\n") == set("bc")
    assert comms(tmp_path, base + "- list: l\n  items: [c]\n  override:\n    items: replace\n") == {"c"}
    assert comms(tmp_path, base + "- macro: m\n  condition: or proc.name = d\n  override: {condition: append}\n") == set("bd")
    assert comms(tmp_path, base + "- rule: R\n  condition: or proc.name = d\n  append: true\n") == set("bd")
    assert comms(tmp_path, base + "- rule: R\n  condition: proc.name = d\n  priority: DEBUG\n  override: {condition: replace, priority: replace}\n") == {"d"}
    assert comms(tmp_path, base + rule_text("proc.name = c")) == {"c"}       # a whole new rule of the same name


def test_enabled(tmp_path: Path) -> None:
    off = rule_text("proc.name = a", "  enabled: false\n")
    assert [r.name for r in load(tmp_path, off).disabled] == ["R"] and not load(tmp_path, off).rules
    assert comms(tmp_path, off + "- rule: R\n  enabled: true\n  override: {enabled: replace}\n") == {"a"}
    assert comms(tmp_path, off + "- rule: R\n  enabled: true\n") == {"a"}
    assert not load(tmp_path, rule_text("proc.name = a") + "- rule: R\n  enabled: false\n").rules


@pytest.mark.parametrize("later", ["- rule: Q\n  append: true\n  condition: or x\n", "- rule: R\n  condition: x\n  override: {condition: prepend}\n",
                                   "- rule: R\n  condition: or proc.name = d\n  override: {desc: append}\n", "- rule: Q\n  enabled: true\n",
                                   "- list: l\n  items: [c]\n  override: {items: append}\n"])
def test_change_that_cannot_be_made_is_refused(tmp_path: Path, later: str) -> None:
    found = load(tmp_path, rule_text("proc.name = a") + later)
    assert found.refusals
    if later.startswith("- rule: R"):
        assert not found.rules      # without the change it would not match what it should


def test_exceptions(tmp_path: Path) -> None:
    def rule(exceptions: str) -> str:
        return LIST + rule_text("proc.name in (a, b, c, d)", "  exceptions:\n" + exceptions)
    assert comms(tmp_path, rule("    - {name: e, fields: [proc.name], comps: [=], values: [[a], [b]]}\n")) == set("cd")
    assert comms(tmp_path, rule("    - {name: e, fields: proc.name, values: [a, l]}\n")) == set("cd")
    assert comms(tmp_path, rule("    - {name: e, fields: [proc.name, user.uid], comps: [in, =], values: [[[a, l], 1000], [c, 0]]}\n")) == set("cd")
    assert comms(tmp_path, rule("    - {name: e, fields: [proc.name]}\n")) == set("abcd")
    for wrong in ("{fields: [proc.name], values: [[a]]}", "{name: e, fields: [proc.name], values: [[a, b]]}", "{name: e, values: [[a]]}",
                  "{name: e, fields: [proc.nam], values: [[a]]}", "{name: e, fields: [proc.name], comps: [=, =], values: [[a]]}"):
        assert "exception" in load(tmp_path, rule(f"    - {wrong}\n")).refusals[0].why


def test_other_sources_and_items_are_refused(tmp_path: Path) -> None:
    assert "k8s_audit" in why(tmp_path, "proc.name = a", more="  source: k8s_audit\n")
    found = load(tmp_path, "- roole: x\n- 5\n- required_plugin_versions: [{name: x, version: 1}]\n- rule: {}\n" + rule_text("proc.name = a"))
    assert len(found.refusals) == 3 and len(found.rules) == 1
    assert one(tmp_path, "proc.name = a", more="  exeptions: []\n").notes == ("the key 'exeptions' means nothing here",)


def test_directory_is_read_in_order_and_a_broken_file_is_a_refusal(tmp_path: Path) -> None:
    (tmp_path / "1.yaml").write_text(LIST + rule_text("proc.name in (l)"))
    (tmp_path / "2.yaml").write_text("- list: l\n  items: [c]\n  override: {items: append}\n")
    (tmp_path / "3.yaml").write_text("{")
    found = from_falco(tmp_path)
    assert matches(found.rules[0].node, rec("file.open", comm="c"))
    assert [Path(r.where).name for r in found.refusals] == ["3.yaml"]
    with pytest.raises(FilterError, match=r"3\.yaml:2: this is no YAML"):
        from_falco(tmp_path / "3.yaml")
    with pytest.raises(FilterError, match="cannot read rules"):
        from_falco(tmp_path / "4.yaml")
