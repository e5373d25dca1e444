# SPDX-License-Identifier: Apache-2.0
"""Sigma log sources other than process_creation, documents that belong together, and what is refused, each with its reason."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from falco_truth import net, opened, rec
from rules_support import exec_record, matches
from test_sigma import PROCESS, one, why

from tapio_fast.errors import FilterError
from tapio_fast.filtering._imported import Imported
from tapio_fast.filtering._sigma import from_sigma

NETWORK = "{product: linux, category: network_connection}"
FILE = "{product: linux, category: file_event}"
IN = {"direction": 2}

# log source, detection, records that it hits, that it misses
SOURCES: dict[str, tuple[str, str, list[dict[str, Any]], list[dict[str, Any]]]] = {
    "program that connects": (NETWORK, "Image|endswith: '/nc'", [net("connect", "1.1.1.1", 1, process_exe="/bin/nc")],
                              [net("connect", "1.1.1.1", 1), net("close", "1.1.1.1", 1, process_exe="/bin/nc"), exec_record("nc", "/bin/nc")]),
    "destination is the server": (NETWORK, "DestinationPort: [22, '443']", [net("connect", "1.1.1.1", 22), net("accept", "1.1.1.1", 9, source_port=443, **IN)],
                                  [net("connect", "1.1.1.1", 9, source_port=22), net("accept", "1.1.1.1", 22, **IN)]),
    "source is the client": (NETWORK, "SourceIp: 10.0.0.1", [net("connect", "1.1.1.1", 1, source_ip="10.0.0.1"), net("accept", "10.0.0.1", 1, **IN)],
                             [net("connect", "10.0.0.1", 1), net("accept", "1.1.1.1", 1, source_ip="10.0.0.1", **IN)]),
    "networks": (NETWORK, "DestinationIp|cidr: ['10.0.0.0/8', 'fe80::/10']", [net("connect", "10.9.9.9", 1), net("connect", "fe80::1", 1, family=10)],
                 [net("connect", "11.0.0.1", 1), net("connect", "::ffff:11.0.0.1", 1)]),
    "addresses that begin": (NETWORK, "DestinationIp|startswith: ['192.168.', '127.', 'fe80:']",
                             [net("connect", "192.168.9.9", 1), net("connect", "127.1.1.1", 1), net("connect", "fe80::1", 1)],
                             [net("connect", "192.169.0.1", 1), net("connect", "128.0.0.1", 1)]),
    "initiated": (NETWORK, "Initiated: 'true'", [net("connect", "1.1.1.1", 1)], [net("accept", "1.1.1.1", 1, **IN)]),
    "not initiated": (NETWORK, "Initiated: false", [net("accept", "1.1.1.1", 1, **IN)], [net("connect", "1.1.1.1", 1)]),
    "udp": (NETWORK, "Protocol: udp\n  DestinationPort: 53", [net("flow", "1.1.1.1", 53, protocol=17)], [net("connect", "1.1.1.1", 53)]),
    "comparison": (NETWORK, "DestinationPort|gte: 1024", [net("connect", "1.1.1.1", 1024)], [net("connect", "1.1.1.1", 1023)]),
    "IPv6": (NETWORK, "DestinationIsIpv6: true", [net("connect", "::1", 1, family=10)], [net("connect", "1.1.1.1", 1)]),
    "file made": (FILE, "TargetFilename|startswith: '/etc/cron'",
                  [rec("file.create", path="/etc/cron.d/x"), opened("/etc/crontab", 0o1001)],
                  [opened("/etc/crontab"), opened("/etc/crontab", 0o1001, errno=13), rec("file.delete", path="/etc/cron.d/x"), rec("file.create", path="/x")]),
    "file made by": (FILE, "Image: '/usr/bin/x'\n  User: root", [rec("file.create", uid=0)], [rec("file.create"), rec("file.create", uid=0, process_exe="/y")]),
    "file removed": ("{category: file_delete}", "TargetFilename|endswith: .log", [rec("file.delete", path="/x.LOG")], [rec("file.create", path="/x.log")]),
    "file renamed": ("{category: file_rename}", "SourceFilename: /a\n  TargetFilename: /b", [rec("file.rename", path="/a", new_path="/b")],
                     [rec("file.rename", path="/b", new_path="/a")]),
    "name asked for": ("{product: linux, category: dns_query}", "QueryName|endswith: '.onion'", [rec("network.dns_query", name="x.onion")],
                       [rec("network.dns", name="x.onion"), rec("network.dns_query", name="onion")]),
    "words in a file record": (FILE, "- authorized_keys", [rec("file.create", path="/r/.ssh/authorized_keys"),
                              rec("file.create", process_args=["cp", "AUTHORIZED_KEYS"])],
                               [rec("file.create", path="/x")]),
}


@pytest.mark.parametrize("name", SOURCES)
def test_log_source(tmp_path: Path, name: str) -> None:
    logsource, item, hit, missed = SOURCES[name]
    node = one(tmp_path, f"s:\n  {item}\ncondition: s", logsource).node
    assert [r for r in hit if not matches(node, r)] == []
    assert [r for r in missed if matches(node, r)] == []


@pytest.mark.parametrize(("logsource", "said"), [
    ("{product: windows, category: process_creation}", "product windows"), ("{product: linux, service: auditd}", "lines of auditd"),
    ("{product: linux, service: syslog}", "lines of syslog"), ("{product: linux}", "no records of it"), ("{category: webserver}", "category webserver"),
    ("{product: linux, category: process_creation, service: x}", "lines of x")])
def test_other_log_sources_are_refused_by_name(tmp_path: Path, logsource: str, said: str) -> None:
    assert said in why(tmp_path, "s: {Image: /x}\ncondition: s", logsource)


@pytest.mark.parametrize(("item", "logsource", "said"), [
    ("Imag: x", PROCESS, "did you mean 'Image'?"), ("OriginalFileName: x", PROCESS, "Windows"), ("GrandParentImage: x", PROCESS, "ancestor_exe"),
    ("DestinationHostname: x", NETWORK, "network.dns"), ("TargetFilename: x", PROCESS, "no field 'TargetFilename'"),
    ("User|contains: root", PROCESS, "write the user's number"), ("ProcessId: abc", PROCESS, "number"), ("DestinationIp: abc", NETWORK, "no address"),
    ("DestinationIp|startswith: '172.1'", NETWORK, "no address"), ("Protocol: icmp", NETWORK, "tcp or udp"), ("Initiated: maybe", NETWORK, "true or false"),
    ("CommandLine|expand: '%names%'", PROCESS, "placeholder %names%"), ("CommandLine|fieldref: Image", PROCESS, "fieldref"),
    ("CommandLine|re|startswith: 'a'", PROCESS, "write ^"), ("CommandLine|nosuch: a", PROCESS, "modifier"),
    ("CommandLine|lt: 5", PROCESS, "cannot be compared"),
    ("CommandLine|wide: 'ab'", PROCESS, "NUL"), ("CommandLine|hour: 5", PROCESS, "part of a time"), ("- word", NETWORK, "name the field"),
    ("CommandLine|cidr: 'x'", PROCESS, "CIDR"), ("CommandLine|re: '('", PROCESS, "")])
def test_refusal_says_why(tmp_path: Path, item: str, logsource: str, said: str) -> None:
    assert said in why(tmp_path, f"s:\n  {item}\ncondition: s", logsource)


@pytest.mark.parametrize("condition", ["x", "s |  count() > 5", "s and", "1 of nosuch_*", "2 of them", "(s", "", "s near t"])
def test_bad_conditions_are_refused(tmp_path: Path, condition: str) -> None:
    assert why(tmp_path, f"s: {{Image: /x}}\ncondition: '{condition}'")


def write(tmp_path: Path, text: str) -> Imported:
    file = tmp_path / "rules.yml"
    file.write_text(text)
    return from_sigma(file)


def rule(title: str, number: int = 1) -> str:
    return (f"title: {title}\nid: 00000000-0000-0000-0000-00000000000{number}\nlogsource: {PROCESS}\n"
            f"detection:\n  s: {{CommandLine|contains: {title}}}\n  condition: s\n")


def filter_of(rules: str, item: str) -> str:
    return f"title: F\nlogsource: {PROCESS}\nfilter:\n  rules: {rules}\n  f: {{{item}}}\n  condition: not f\n"


def test_documents_of_a_file_are_rules(tmp_path: Path) -> None:
    found = write(tmp_path, rule("a") + "---\n" + rule("b", 2) + "---\n")
    assert [(r.name, r.source.rsplit(":", 1)[1]) for r in found.rules] == [("a", "1"), ("b", "8")]


def test_filter_narrows_the_rules_it_names(tmp_path: Path) -> None:
    found = write(tmp_path, rule("a") + "---\n" + rule("b", 2) + "---\n" + filter_of("[00000000-0000-0000-0000-000000000001]", "Image: /x"))
    a, b = found.rules
    assert matches(a.node, exec_record("a", "/y")) and not matches(a.node, exec_record("a", "/x")) and matches(b.node, exec_record("b", "/x"))


@pytest.mark.parametrize("item", ["Hashes: x", "Image|nosuch: x"])
def test_rule_without_the_filter_it_needs_is_refused_too(tmp_path: Path, item: str) -> None:
    found = write(tmp_path, rule("a") + "---\n" + filter_of("any", item))
    assert not found.rules and "a" in {r.name for r in found.refusals}


def test_global_document_is_merged_into_those_that_follow(tmp_path: Path) -> None:
    found = write(tmp_path, "action: global\nlogsource: " + PROCESS + "\nlevel: critical\n---\ntitle: a\ndetection:\n  s: {Image: /a}\n  condition: s\n---\n"
                  "title: b\ndetection:\n  s: {Image: /b}\n  condition: s\n---\naction: reset\n---\ntitle: c\ndetection:\n  s: {Image: /c}\n  condition: s\n")
    assert [(r.name, r.severity.name) for r in found.rules] == [("a", "CRITICAL"), ("b", "CRITICAL")]
    assert matches(found.rules[1].node, exec_record("b", "/b")) and not matches(found.rules[1].node, exec_record("a", "/a"))
    assert [r.name for r in found.refusals] == ["c"] and "log source" in found.refusals[0].why


def test_correlations_are_refused(tmp_path: Path) -> None:
    found = write(tmp_path, rule("a") + "---\ntitle: many\ncorrelation: {type: event_count, rules: [a], timespan: 5m, condition: {gte: 3}}\n")
    assert [r.name for r in found.rules] == ["a"] and "correlation" in found.refusals[0].why


def test_same_titles_get_names_of_their_own(tmp_path: Path) -> None:
    found = write(tmp_path, rule("a") + "---\n" + rule("a", 2))
    assert [r.name for r in found.rules] == ["a", "a (2)"] and found.rules[1].notes


def test_small_faults_of_the_head_are_notes(tmp_path: Path) -> None:
    found = write(tmp_path, "date: yesterday\nstatus: unheard\n" + rule("a"))
    assert len(found.rules) == 1 and len(found.rules[0].notes) == 2
    assert "level" in write(tmp_path, "level: huge\n" + rule("a")).refusals[0].why


def test_directory_is_read_below_and_a_broken_file_is_a_refusal(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.yml").write_text(rule("a"))
    (tmp_path / "b.yaml").write_text("a: [")
    found = from_sigma(tmp_path)
    assert [r.name for r in found.rules] == ["a"] and [Path(r.where).name for r in found.refusals] == ["b.yaml"]
    with pytest.raises(FilterError, match=r"b\.yaml:2: this is no YAML"):
        from_sigma(tmp_path / "b.yaml")
