# SPDX-License-Identifier: Apache-2.0
"""platform.py: the report is true on this machine and on others (faked), and never an exception."""
from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tapio_fast import _core, platform, schema
from tapio_fast.config import Config
from tapio_fast.errors import PermissionDeniedError
from tapio_fast.platform import is_supported, probe

ALL_CAPS = {"CAP_BPF": True, "CAP_PERFMON": True, "CAP_NET_ADMIN": True}


@pytest.fixture
def capable(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine where everything is there; tests take one thing away."""
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(platform, "_btf", lambda: True)
    monkeypatch.setattr(platform, "_ring_buffer", lambda: True)
    monkeypatch.setattr(platform, "_has_core", lambda: True)
    monkeypatch.setattr(platform, "_lockdown", lambda: "none")
    monkeypatch.setattr(platform, "_capabilities", lambda: dict(ALL_CAPS))
    monkeypatch.setattr(platform, "_initial_user_namespace", lambda: True)
    monkeypatch.setattr(platform, "_try_programs", lambda _: ((), "", ""))
    return monkeypatch


def test_a_machine_with_everything_can_collect(capable: pytest.MonkeyPatch) -> None:
    report = probe()
    assert report.supported and report.can_collect and is_supported() and not report.reason and not report.next_step


@pytest.mark.parametrize(("attribute", "value", "supported", "says", "step"), [
    ("_btf", False, False, "/sys/kernel/btf/vmlinux", "CONFIG_DEBUG_INFO_BTF"),
    ("_ring_buffer", False, False, "no BPF ring buffer", "5.8"),
    ("_has_core", False, False, "no BPF part", "TAPIO_FAST_NO_BPF"),
    ("_lockdown", "confidentiality", True, "locked down", "integrity"),
    ("_capabilities", {"CAP_BPF": True, "CAP_PERFMON": False}, True, "lacks CAP_PERFMON", "setcap cap_perfmon+ep"),
    ("_capabilities", {"CAP_BPF": False, "CAP_PERFMON": False}, True, "CAP_BPF and CAP_PERFMON", "sudo"),
])
def test_each_lack_is_named_with_its_next_step(capable: pytest.MonkeyPatch, attribute: str, value: Any, supported: bool, says: str,
                                               step: str) -> None:
    capable.setattr(platform, attribute, lambda: value)
    report = probe()
    assert (report.supported, report.can_collect, is_supported()) == (supported, False, supported)
    assert says in report.reason and step in report.next_step


def test_capabilities_of_a_user_namespace_do_not_count(capable: pytest.MonkeyPatch) -> None:
    capable.setattr(platform, "_capabilities", lambda: {"CAP_BPF": False, "CAP_PERFMON": False})
    capable.setattr(platform, "_initial_user_namespace", lambda: False)
    assert "user namespace" in probe().reason


def test_integrity_lockdown_does_not_forbid(capable: pytest.MonkeyPatch) -> None:
    capable.setattr(platform, "_lockdown", lambda: "integrity")
    assert probe().can_collect


def test_off_linux_the_documents_sentence(capable: pytest.MonkeyPatch) -> None:
    capable.setattr(sys, "platform", "darwin")
    capable.setattr(os, "uname", lambda: SimpleNamespace(sysname="Darwin", release="23", machine="arm64"))
    report = probe()
    assert report.reason.startswith("eBPF collector is only supported on Linux") and "Darwin" in report.reason
    assert not report.supported and not is_supported()


def test_windows_has_no_uname(capable: pytest.MonkeyPatch) -> None:
    capable.setattr(sys, "platform", "win32")
    capable.delattr(os, "uname")
    assert (probe().system, probe().supported) == ("Windows", False)


def test_bare_linux_without_proc_and_sys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(platform, "_read", lambda *_: b"")
    report = probe()
    assert not report.can_collect and not report.btf and report.lockdown == "" and not any(report.capabilities.values())


@pytest.mark.parametrize(("release", "there"), [("5.7.0", False), ("5.8.0-1-amd64", True), ("6.1", True), ("weird", False), ("7", False)])
def test_without_btf_the_version_tells_of_ring_buffers(monkeypatch: pytest.MonkeyPatch, release: str, there: bool) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(platform, "_read", lambda *_: b"")
    monkeypatch.setattr(platform, "_uname", lambda: ("Linux", release, "x"))
    assert platform._ring_buffer() is there


@pytest.mark.parametrize(("cap_eff", "uid_map", "bpf", "perfmon"), [
    ("000001ffffffffff", b"0 0 4294967295", True, True), ("0000000000000000", b"0 0 4294967295", False, False),
    (f"{1 << 39:016x}", b"0 0 4294967295", True, False), (f"{1 << 38:016x}", b"0 0 4294967295", False, True),
    (f"{1 << 21:016x}", b"0 0 4294967295", True, True), ("000001ffffffffff", b"0 100000 65536", False, False),
    ("zz", b"0 0 4294967295", False, False),
])
def test_capabilities_are_read_from_proc(monkeypatch: pytest.MonkeyPatch, cap_eff: str, uid_map: bytes, bpf: bool, perfmon: bool) -> None:
    files = {"/proc/self/status": f"Name:\tx\nCapEff:\t{cap_eff}\n".encode(), "/proc/self/uid_map": uid_map}
    monkeypatch.setattr(platform, "_read", lambda path, *_: files.get(path, b""))
    found = platform._capabilities()
    assert found == {"CAP_BPF": bpf, "CAP_PERFMON": perfmon, "CAP_NET_ADMIN": bpf and perfmon}


@pytest.mark.parametrize(("text", "mode"), [(b"[none] integrity confidentiality\n", "none"),
                                            (b"none [integrity] confidentiality\n", "integrity"), (b"", "")])
def test_lockdown_mode_is_what_stands_in_brackets(monkeypatch: pytest.MonkeyPatch, text: bytes, mode: str) -> None:
    monkeypatch.setattr(platform, "_read", lambda *_: text)
    assert platform._lockdown() == mode


def program(state: str, errno: int = 0) -> dict[str, Any]:
    return {"name": "tf_x", "hook": "tp_btf/x", "object": "process", "state": state, "errno": errno, "reason": "because", "insns": 5}


def trying(monkeypatch: pytest.MonkeyPatch, result: Any) -> Any:
    """Run _try_programs() over a faked `_kernel`, so that builds without BPF test it too."""
    def probe_programs(kinds: Any, _: int) -> Any:
        if isinstance(result, Exception):
            raise result
        return [{**p, "name": f"{p['name']}_{i}", "state": p["state"] if set(p.get("kinds", kinds)) & set(kinds) else "not_wanted"}
                for i, p in enumerate(result)]
    fake = SimpleNamespace(probe_programs=probe_programs)
    monkeypatch.setitem(sys.modules, "tapio_fast._core._kernel", fake)
    monkeypatch.setattr(_core, "_kernel", fake, raising=False)
    return platform._try_programs(None)


def test_one_program_that_loads_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    verdicts, reason, _ = trying(monkeypatch, [program("loaded"), program("load_failed", 22), program("missing_hook")])
    assert [v.verdict for v in verdicts] == ["ok", "refused", "missing"] and verdicts[1].reason == "because" and not reason


def test_a_verdict_tells_kinds_cost_and_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    number = {kind.name: kind.number for kind in schema.KINDS}
    flow = {**program("loaded"), "name": "tf_flow", "hook": "cgroup/sock_release", "kinds": [number["network.flow"]], "cost": "rare",
            "verified": 9}
    more = {**program("load_failed", 1), "kinds": [number["file.open"]], "more": True}
    verdicts, _, _ = trying(monkeypatch, [flow, more, {**program("loaded"), "kinds": [number["file.open"]]}])
    assert [(v.kinds, v.more, v.enabled, v.cost, v.verified) for v in verdicts[:2]] == [
        (("network.flow",), False, True, "rare", 9), (("file.open",), True, False, "", 0)]
    report = platform.PlatformReport("Linux", "6", "x", True, True, {}, "", True, True, programs=verdicts)
    assert report.needs == {"CAP_BPF": ("tf_flow_0", "tf_x_2"), "CAP_NET_ADMIN": ("tf_flow_0",), "CAP_PERFMON": ("tf_flow_0", "tf_x_2")}
    told = json.loads(json.dumps(report.to_dict()))
    assert told["needs"]["CAP_NET_ADMIN"] == ["tf_flow_0"] and told["programs"][0]["kinds"] == ["network.flow"]


@pytest.mark.parametrize("result", [PermissionDeniedError("cannot load: EPERM"), [program("load_failed", 1)]], ids=["raised", "reported"])
def test_a_refusal_despite_capabilities_points_at_seccomp(monkeypatch: pytest.MonkeyPatch, result: Any) -> None:
    _, reason, step = trying(monkeypatch, result)
    assert "although the capabilities are there" in reason and "seccomp" in step


@pytest.mark.parametrize("result", [RuntimeError("boom"), [program("load_failed", 22)], []], ids=["raised", "refused", "none"])
def test_whatever_loading_does_the_probe_reports(monkeypatch: pytest.MonkeyPatch, result: Any) -> None:
    _, reason, step = trying(monkeypatch, result)
    assert reason and "report this" in step


def test_the_report_on_this_machine_is_json_and_frozen() -> None:
    report = probe()
    assert json.loads(json.dumps(report.to_dict()))["kernel"] == os.uname().release
    assert report.btf == Path("/sys/kernel/btf/vmlinux").exists()
    assert bool(report.reason) == bool(report.next_step) == (not report.can_collect)
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.btf = False  # type: ignore[misc]


@pytest.mark.live
def test_where_collection_works_every_program_has_a_verdict() -> None:
    report = probe()
    assert report.can_collect and all(report.capabilities.values())
    names = {verdict.name for verdict in report.programs if verdict.verdict == "ok"}
    assert {verdict.object for verdict in report.programs} >= {"process", "network"} and len(names) >= 5
    for verdict in report.programs:
        assert verdict.cost and (verdict.verdict != "ok" or verdict.verified >= 20), verdict
    assert {"process.exec", "process.fork", "network.connect"} <= {k for v in report.programs if v.enabled for k in v.kinds}


@pytest.mark.live
def test_the_enabled_programs_are_those_of_the_configuration() -> None:
    only = Config.default().replace(programs={"process": {"enabled": False}, "network": {"enabled": False}, "memory": {"enabled": False},
                                              "container": {"enabled": True, "events": ["create", "namespace"]}})
    report = probe(only)
    enabled = {p.name for p in report.programs if p.enabled and p.verdict == "ok" and p.object in ("container", "syscall")}
    assert enabled == {"tf_container_mkdir", "tf_container_join", "tf_container_enter", "tf_container_fork", "tf_sys_exit", "tf_sys_enter"}
    assert not any(p.enabled and p.object in ("network", "udp", "memory", "file") for p in report.programs)
    assert report.enabled_needs == ("CAP_BPF", "CAP_PERFMON") and "CAP_NET_ADMIN" in report.needs
    assert {p.verdict for p in probe(only.replace(enabled=False)).programs if p.enabled} <= {"ok"}


@pytest.mark.root
def test_a_plain_user_gets_the_reason_not_an_exception() -> None:
    code = ("import json, os; from tapio_fast import probe; "
            "os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534); "
            "print(json.dumps(probe().to_dict()))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    report = json.loads(done.stdout)
    assert report["can_collect"] is False and report["capabilities"] == dict.fromkeys(ALL_CAPS, False)
    assert "lacks CAP_BPF and CAP_PERFMON" in report["reason"] or not report["supported"]
