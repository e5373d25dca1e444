# SPDX-License-Identifier: Apache-2.0
"""The command line without rights: help, options, exit codes, following CMD, the ledger on screen. Live verbs: test_cli_live.py."""
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer

from tapio_fast import errors
from tapio_fast.cli import _app, _exit, _follow, _machine, main
from tapio_fast.cli._ledger import equations, kinds_of, ledger_text
from tapio_fast.cli._settings import DOMAINS, Options, seconds_of
from tapio_fast.cli._tail import domains_of, time_of
from tapio_fast.config import Config
from tapio_fast.platform import PlatformReport, ProgramVerdict

VERBS = [["doctor"], ["record"], ["tail"], ["replay"], ["info"], ["query"], ["verify"], ["prune"],
         ["export"], ["config"], ["config", "show"], ["config", "check"], ["list"],
         ["list", "events"], ["list", "fields"], ["list", "programs"], ["version"], ["rules"],
         ["rules", "check"], ["rules", "convert"], ["rules", "test"]]


@pytest.fixture(autouse=True)
def no_outside_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "no-xdg"))


@pytest.mark.parametrize("verb", [[], *VERBS], ids=" ".join)
def test_every_verb_has_help(verb: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*verb, "--help"]) == 0
    assert "Usage: tapio-fast" in capsys.readouterr().out


def test_help_needs_no_extension_and_no_rights() -> None:
    code = """
import os, sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.startswith("tapio_fast._core."):
            raise ImportError(f"{name} is blocked by the test")
sys.meta_path.insert(0, Block())
from tapio_fast.cli import main
VERBS = <verbs>
for _ in range(2):      # twice: the interpreter's own files may be out of reach for uid 65534, so they are imported before
    codes = [main([*verb, "--help"]) for verb in VERBS]
    if os.geteuid() == 0:
        os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
assert not any(name.startswith("tapio_fast._core.") for name in sys.modules)
sys.exit(max(codes))
""".replace("<verbs>", repr([[], *VERBS]))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("argv", "says"), [
    (["nonsense"], "nonsense"), (["record"], "--output"), (["record", "-o", "x", "--frobnicate"], "--frobnicate"),
    (["record", "-o", "x", "--follow", "1", "--", "true"], "exclude each other"), (["record", "-o", "x", "--follow", "0"], "not a process id"),
    (["record", "-o", "x", "--programs", "netwrk"], "did you mean network?"), (["record", "-o", "x", "-d", "soon"], "not a duration"),
    (["record", "-o", "x", "--rules", "r.toml"], "cannot read rules r.toml"), (["tail", "--semantic"], "not available"),
    (["tail", "--filter", "pidd == 1"], "did you mean 'pid'"), (["tail", "--fields", "pidd"], "did you mean pid?"),
    (["replay", "x", "--filter", "pid = importance"], "is a number"), (["replay", "x", "--since", "yesterday"], "not a time"),
    (["replay", "x", "--programs", "syscal"], "did you mean syscall?"), (["record", "-o", "x", "--programs", "syscall"], "not a domain"),
    (["list", "fields", "nope"], "process"), (["list", "fields", "netwrk"], "did you mean network?"), (["record", "-o", "x", "-n", "0"], "-n"),
])
def test_wrong_usage_ends_with_2_and_says_what(argv: list[str], says: str, capsys: pytest.CaptureFixture[str],
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tapio_fast.sources.KernelSource._open", lambda *_: pytest.fail("the kernel was touched"))
    assert main(argv) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(("error", "code"), [
    (errors.UnsupportedPlatformError("x"), 69), (errors.PermissionDeniedError("x"), 77), (errors.ConfigError("x"), 78),
    (errors.FilterError("x"), 2), (errors.StoreError("x"), 74), (errors.CorruptStoreError("x"), 74), (errors.StoreLockedError("x"), 74),
    (errors.OutputError("x"), 74), (errors.ProgramLoadError("x"), 1), (errors.LayoutError("x"), 1), (errors.ClosedError("x"), 1),
    (errors.OutOfMemoryError("x"), 1), (PermissionError("x"), 77), (OSError("x"), 74), (ImportError("x"), 1), (BrokenPipeError(), 0),
    (KeyboardInterrupt(), 130),
], ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value))
def test_every_error_ends_with_its_code(error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch,
                                        capsys: pytest.CaptureFixture[str]) -> None:
    def fail(**_: Any) -> None:
        raise error
    monkeypatch.setattr(_app, "app", fail)
    monkeypatch.setattr(_exit, "nobody_reads", lambda: 0)
    assert main([]) == code
    told = capsys.readouterr().err
    assert "Traceback" not in told and (told.startswith("tapio-fast: error: ") or code in (0, 130))


def test_an_error_message_cannot_drive_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "check", "no\x1b[2Jsuch"]) == 78
    assert "\x1b" not in capsys.readouterr().err


def test_config_show_prints_a_complete_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "show", "--preset", "high_performance"]) == 0
    told = capsys.readouterr()
    assert tomllib.loads(told.out) == Config.high_performance().to_dict()
    assert told.err == ""       # all of it is active


def test_config_show_origin(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text('name = "n"\n')
    monkeypatch.setenv("TAPIO_FAST_PERFORMANCE__BURST_SIZE", "7")
    assert main(["config", "show", "--origin", "--config", str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith('name = "n" ') and line.endswith(f"# {file}") for line in lines)
    assert any(line.startswith("burst_size = 7 ") and line.endswith("# environment TAPIO_FAST_PERFORMANCE__BURST_SIZE") for line in lines)


@pytest.mark.parametrize(("text", "code", "says"), [
    ("[dual_path]\nimportance_threshold = 0.5\n", 0, "importance_threshold"), ("", 0, ""), ("[performance]\nburst_size = -5\n", 78, "performance.burst_size"),
    ("nonsense", 78, "TOML"), ('[programs.process]\nmonitor_syscalls = ["openat"]\n', 0, ""),
    ('[programs.process]\nmonitor_syscalls = ["openta"]\n', 78, "did you mean 'openat'?"),
])
def test_config_check(text: str, code: int, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "x.toml"
    file.write_text(text)
    assert main(["config", "check", str(file)]) == code
    assert says in capsys.readouterr().err


def report(**change: Any) -> PlatformReport:
    values: dict[str, Any] = {"system": "Linux", "kernel": "6.1", "machine": "x", "btf": True, "ring_buffer": True, "lockdown": "none",
                              "capabilities": {"CAP_BPF": True}, "supported": True, "can_collect": True} | change
    return PlatformReport(**values)


EXEC = ProgramVerdict("tf_exec", "tp_btf/exec", "process", "ok", insns=7, kinds=("process.exec",), enabled=True, cost="per process",
                      needs=("CAP_BPF", "CAP_PERFMON"))
FLOW = ProgramVerdict("tf_flow", "cgroup/x", "network", "ok", insns=9, kinds=("network.flow",), cost="rare", needs=("CAP_BPF",
                                                                                                                    "CAP_NET_ADMIN"))


LONG = "cannot load tf_{} (EPERM) although there are the rights: a security module forbids it"
PROGRAMS = (EXEC, FLOW, ProgramVerdict("tf_x", "fentry/x", "file", "refused", "not\x1ballowed", more=True),
            *(ProgramVerdict(f"tf_{name}", "lsm/y", "file", "refused", LONG.format(name), more=True) for name in "ab"))


@pytest.fixture
def probed(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """Configurations that the verb under test has asked the (faked) machine about."""
    asked: list[Config] = []

    def probe(config: Config) -> PlatformReport:
        asked.append(config)
        return report(programs=PROGRAMS)
    monkeypatch.setattr(_machine, "probe", probe)
    return asked


def test_programs_are_listed_with_cost_and_capabilities(probed: list[Config], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "programs"]) == 0
    told = capsys.readouterr().out
    assert "  ok      * tf_exec  tp_btf/exec  7 instructions, per process\n" in told
    assert "  ok        tf_flow  cgroup/x     9 instructions, rare\n" in told and "not\\x1ballowed" in told
    assert "  refused   tf_a     lsm/y        [1]\n  refused   tf_b     lsm/y        [1]\n" in told
    assert told.count("a security module forbids it") == 1, "a long reason is told once"
    assert "the enabled programs (*) need CAP_BPF, CAP_PERFMON\n" in told and "CAP_NET_ADMIN is needed for tf_flow\n" in told


def test_doctor_shows_what_is_enabled_and_sums_up_the_rest(probed: list[Config], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    told = capsys.readouterr().out
    assert "  ok      * tf_exec  tp_btf/exec  7 instructions, per process\n" in told and "tf_x" not in told
    assert "not enabled:\n  network     1 program of 9 instructions\n" in told
    assert "3 programs that would only tell more of the same events are refused or missing here (fentry, lsm)" in told
    assert "the enabled programs (*) need CAP_BPF, CAP_PERFMON\n" in told and "CAP_NET_ADMIN is needed for tf_flow\n" in told


@pytest.mark.parametrize("argv", [["doctor"], ["list", "programs"]], ids=" ".join)
def test_programs_as_json(argv: list[str], probed: list[Config], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*argv, "--json"]) == 0
    out = capsys.readouterr().out
    programs = json.loads(out)["programs"] if argv == ["doctor"] else [json.loads(line) for line in out.splitlines()]
    assert programs == report(programs=PROGRAMS).to_dict()["programs"]
    assert programs[0]["kinds"] == ["process.exec"] and programs[0]["enabled"] and programs[1]["needs"][1] == "CAP_NET_ADMIN"


@pytest.mark.parametrize("argv", [["doctor"], ["list", "programs"]], ids=" ".join)
def test_any_configuration_can_be_asked_about(argv: list[str], probed: list[Config], tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text("[programs.file]\nenabled = true\n")
    for options in ([], ["--config", str(file)], ["--preset", "security"], ["--programs", "container"]):
        assert main([*argv, *options]) == 0
    plain, from_file, preset, domains = probed
    assert plain == Config.default() and from_file.programs.file.enabled and preset == Config.security()
    assert domains.programs.container.enabled and not domains.programs.process.enabled


def test_a_capability_that_is_lacking_is_needed_all_the_same() -> None:
    flow = ProgramVerdict(**{**vars(FLOW), "verdict": "refused", "insns": 0, "enabled": True})
    found = report(programs=(EXEC, flow), capabilities={"CAP_BPF": True, "CAP_NET_ADMIN": False})
    assert found.enabled_needs == ("CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON") == tuple(found.to_dict()["enabled_needs"])
    assert "the enabled programs (*) need CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON; this process lacks CAP_NET_ADMIN" in _machine._need_lines(found)


@pytest.mark.parametrize(("config", "domains"), [
    (Config.default(), "process, network, memory"), (Config.default().replace(enabled=False), "nothing"),
    *((Config.default().replace(programs={name: {"enabled": name == one} for name in DOMAINS}), one) for one in DOMAINS),
    (Config.default().replace(programs={"process": {"track_usage": True, "monitor_syscalls": ["getpid"]}, "network": {"enabled": False},
                                        "memory": {"enabled": False}}), "process, cpu, syscall"),
])
def test_tail_says_what_it_collects(config: Config, domains: str) -> None:
    assert domains_of(config) == domains


@pytest.mark.parametrize(("found", "code", "says"), [
    (report(), 0, "live collection works"),
    (report(can_collect=False, reason="lacks CAP_BPF", next_step="run with sudo"), 77, "next step: run with sudo"),
    (report(can_collect=False, supported=False, btf=False, reason="no BTF", next_step="other kernel"), 69, "does not work: no BTF"),
])
def test_doctor(found: PlatformReport, code: int, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(_machine, "probe", lambda _: found)
    assert main(["doctor"]) == code
    assert says in capsys.readouterr().out
    assert main(["doctor", "--json"]) == code
    assert json.loads(capsys.readouterr().out) == found.to_dict()


@pytest.mark.parametrize(("there", "files", "says"), [(True, [], "is not mounted"), (True, ["lsm"], "not reported by this kernel"),
                                                      (False, [], "not reported by this kernel")])
def test_doctor_tells_a_mount_that_is_missing_from_a_kernel_without_lockdown(there: bool, files: list[str], says: str, tmp_path: Path,
                                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    where = tmp_path / "security"
    if there:
        where.mkdir()
    for name in files:
        (where / name).touch()
    monkeypatch.setattr(_machine, "LOCKDOWN_PATH", str(where / "lockdown"))
    assert says in "\n".join(_machine._doctor_lines(report(lockdown="")))


def test_lists_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "events"]) == 0
    assert "process.exec" in capsys.readouterr().out
    assert main(["list", "events", "--json"]) == 0
    assert all("event" in json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert main(["list", "fields", "network"]) == 0
    assert "dest_port" in capsys.readouterr().out
    for argv in (["version"], ["--version"]):
        assert main(argv) == 0
        assert capsys.readouterr().out.startswith("tapio-fast ")


def test_durations_and_times() -> None:
    assert [seconds_of(text) for text in ("10", "0.5", "500ms", "2m")] == [10, 0.5, 0.5, 120]
    now = 1_700_000_000_000_000_000
    assert time_of("-2h", now) == now - 7200 * 10**9 and time_of(None, now) is None
    assert time_of("2023-11-14T22:13:20.5+00:00", now) == now + 500_000_000
    with pytest.raises(typer.BadParameter):
        time_of("-2 parsecs", now)


def test_domains_come_from_the_configuration() -> None:
    assert Options(programs="process, network").domains == ["process", "network"] and Options().domains is None


LEDGER = {"seen": 100, "submitted": 90, "k_filtered": 4, "k_throttled": 0, "k_sampled": 0, "k_ring_full": 6, "k_fault": 0, "k_too_big": 0,
          "k_map_full": 0, "k_busy": 0, "k_aggregated": 0, "in_ring": 0, "consumed": 90, "u_bad": 1, "u_filtered": 0, "u_sampled": 0,
          "routed": 89}
BRANCHES = {"raw": {"routed": 89, "written": 80, "buffered": 0, "dropped_full": 0, "dropped_io": 9, "bytes": 5000}, "user": {}}


def test_the_ledger_adds_up_on_screen() -> None:
    text, right = ledger_text(LEDGER, BRANCHES)
    assert right and "every sum above is exact" in text
    shown: dict[str, list[int]] = {}
    for line in text.splitlines():      # what is printed must add up by itself, hidden zeros and all
        words = line.replace("raw: routed", "raw_routed").replace(",", "").split()
        if len(words) >= 2 and words[0] not in "=+" and words[1].isdigit():
            shown[words[0]] = [int(words[1])]
            last = words[0]
        elif len(words) >= 3 and words[0] in "=+":
            shown[last].append(int(words[2]))
    assert set(shown) == {"seen", "submitted", "consumed", "raw_routed"}
    assert all(numbers[0] == sum(numbers[1:]) for numbers in shown.values())


@pytest.mark.parametrize(("place", "name"), [("ledger", "seen"), ("ledger", "consumed"), ("ledger", "routed"), ("raw", "routed"),
                                             ("raw", "dropped_io")])
def test_a_wrong_ledger_is_shouted(place: str, name: str) -> None:
    ledger, branches = dict(LEDGER), {"raw": dict(BRANCHES["raw"])}
    (ledger if place == "ledger" else branches["raw"])[name] += 1
    text, right = ledger_text(ledger, branches)
    assert not right and "DOES NOT ADD UP" in text and sum(abs(e.difference) for e in equations(ledger, branches)) >= 1


def test_kinds_leave_out_what_is_about_the_collection() -> None:
    assert kinds_of({"process.exec": {"routed": 3}, "meta.epoch": {"routed": 9}, "cpu.usage": {"routed": 0}}) == {"process.exec": 3}


def test_cmd_is_held_until_it_is_let_go(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    with _follow.Command(["touch", str(mark)]) as command:
        assert not command.poll() and not mark.exists()
        command.release()
        assert command.wait() == 0 and mark.exists()


def test_cmd_never_runs_when_the_collector_fails(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    with pytest.raises(RuntimeError), _follow.Command(["touch", str(mark)]):
        raise RuntimeError
    assert not mark.exists()


@pytest.mark.parametrize(("argv", "code"), [
    (["sh", "-c", "exit 7"], 7), (["sh", "-c", "kill -KILL $$"], 137), (["sh", "-c", "kill -PIPE $$"], 141),
    (["/no/such/program"], 127), (["/etc/passwd"], 126),
])
def test_the_status_of_cmd_is_passed_on(argv: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    with _follow.Command(argv) as command:
        command.release()
        assert command.wait() == code
    assert ("cannot run" in capsys.readouterr().err) == (code in (126, 127))


@pytest.mark.usefixtures("no_leaks")
def test_commands_leave_no_descriptor_behind() -> None:
    for argv in (["true"], ["/no/such"]):
        with _follow.Command(argv) as command:
            command.release()
            command.wait()


def test_who_cmd_runs_as(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert _follow.account_for(None, {}) is None and _follow.account_for(None, {"SUDO_UID": "0", "SUDO_GID": "0"}) is None
    account = _follow.account_for(None, {"SUDO_UID": "54321", "SUDO_GID": "54322"})
    assert account is not None and (account.uid, account.gid) == (54321, 54322)
    with pytest.raises(typer.BadParameter, match="no such user"):
        _follow.account_for("no-such-user-here", {})
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert _follow.account_for(None, {"SUDO_UID": "54321"}) is None
    with pytest.raises(errors.PermissionDeniedError, match="only root"):
        _follow.account_for("root", {})


@pytest.mark.root
def test_under_sudo_cmd_runs_as_the_caller(tmp_path: Path) -> None:
    account = _follow.account_for(None, {"SUDO_UID": "65534", "SUDO_GID": "65534"})
    out = tmp_path / "out"
    out.touch()
    os.chmod(out, 0o666)
    os.chmod(tmp_path, 0o755)
    with open(out, "w") as file:
        code = f"id -u; id -g; id -G; echo $HOME >&{1}"
        saved = os.dup(1)
        os.dup2(file.fileno(), 1)
        try:
            with _follow.Command(["sh", "-c", code], account) as command:
                command.release()
                status = command.wait()
        finally:
            os.dup2(saved, 1)
            os.close(saved)
    assert status == 0 and out.read_text().split()[:3] == ["65534"] * 3


@pytest.mark.root
def test_giving_the_store_away_follows_no_links(tmp_path: Path) -> None:
    store, outside = tmp_path / "store", tmp_path / "outside"
    store.mkdir()
    outside.write_text("mine")
    (store / "segment").write_text("x")
    (store / "planted").symlink_to(outside)
    _follow.give_store(store, SimpleNamespace(uid=65534, gid=65534))  # type: ignore[arg-type]
    assert (os.stat(store).st_uid, os.stat(store / "segment").st_uid, os.lstat(store / "planted").st_uid) == (65534,) * 3
    assert os.stat(outside).st_uid == 0


def test_following_a_process_that_is_gone_is_an_error() -> None:
    with pytest.raises(errors.TapioError, match="no such process"):
        _follow.check_pid(2**22 + 1)


def test_the_first_interrupt_is_noted_and_the_second_one_ends() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), _follow.Interrupt() as interrupt:
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupt.hit
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
