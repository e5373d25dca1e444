# SPDX-License-Identifier: Apache-2.0
"""The verbs that collect and replay, run as commands: live ones follow only what the test starts."""
from __future__ import annotations

import collections
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

import tapio_fast as tapio
from tapio_fast import demo, schema

CLI = [sys.executable, "-m", "tapio_fast"]
NO_RIGHTS = ["setpriv", "--bounding-set", "-bpf,-perfmon,-sys_admin"]     # root as it is in most containers


def run(*argv: str | Path, before: Sequence[str] = (), env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*before, *CLI, *map(str, argv)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
                          check=False, env=env)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of made-up records; no rights needed."""
    path = tmp_path_factory.mktemp("cli") / "store"
    source = tapio.MemorySource()
    config = demo._config(path)
    with tapio.Collector(config, source=source) as collector:
        for kind, row, tail in (demo._made_up("process.exec", args=b"ls\0-l", exe=b"/bin/l\x1bs"),
                                demo._made_up("process.exit", exit_code=7),
                                demo._made_up("network.connect", dest_port=443, family=2, protocol=6, direction=1)):
            assert source.fill(kind, row, 5, tail=tail) == 5
        collector.stop()
    return path


def test_replay_prints_json_lines_in_a_pipe(store: Path) -> None:
    done = run("replay", store)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert sorted(line["subtype"] for line in lines) == ["connect"] * 5 + ["exec"] * 5 + ["exit"] * 5
    assert {tuple(line["details"]["args"]) for line in lines if line["subtype"] == "exec"} == {("ls", "-l")}
    assert "\x1b" not in done.stdout


def test_replay_selects(store: Path) -> None:
    assert len(run("replay", store, "-n", "4").stdout.splitlines()) == 4
    fields = [json.loads(line) for line in run("replay", store, "--fields", "kind,dest_port", "--programs", "network").stdout.splitlines()]
    assert fields == [{"kind": "network.connect", "dest_port": 443}] * 5
    assert run("replay", store, "--since", "-1h", "--until", "-30m").stdout == ""
    assert len(run("replay", store, "--since", "-1h").stdout.splitlines()) == 15


def test_replay_takes_every_domain_and_process_is_what_its_section_collects(tmp_path: Path) -> None:
    source = tapio.MemorySource()
    with tapio.Collector(demo._config(tmp_path / "store"), source=source) as collector:
        for n, kind in enumerate(("process.exec", "syscall.call", "cpu.usage", "network.connect", "container.start"), 1):
            assert source.fill(kind, n=n) == n
        collector.stop()

    def kinds(domains: str) -> dict[str, int]:
        done = run("replay", tmp_path / "store", "--programs", domains, "--fields", "kind")
        assert done.returncode == 0, done.stderr
        return dict(collections.Counter(json.loads(line)["kind"] for line in done.stdout.splitlines()))
    assert kinds("process") == {"process.exec": 1, "syscall.call": 2, "cpu.usage": 3}
    assert kinds("syscall,container") == {"syscall.call": 2, "container.start": 5}
    assert kinds("cpu,process,network") == {"process.exec": 1, "syscall.call": 2, "cpu.usage": 3, "network.connect": 4}
    assert all(run("replay", tmp_path / "store", "--programs", domain).returncode == 0 for domain in schema.DTYPES)


def test_replay_into_a_closed_pipe_ends_quietly(store: Path) -> None:
    done = subprocess.run(f"{' '.join(CLI)} replay {store} | head -n 1; exit ${{PIPESTATUS[0]}}", shell=True, executable="/bin/bash",
                          capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "") and len(done.stdout.splitlines()) == 1


def test_info_tells_what_is_there(store: Path) -> None:
    done = run("info", store, "--json")
    assert done.returncode == 0 and json.loads(done.stdout)
    assert run("info", store).stdout


@pytest.mark.parametrize("verb", ["replay", "info"])
def test_a_store_that_is_not_there_is_an_io_error(verb: str, tmp_path: Path) -> None:
    done = run(verb, tmp_path / "none")
    assert done.returncode == 74 and "none" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.root
@pytest.mark.parametrize("verb", [["record", "-o", "STORE", "-d", "1"], ["tail", "-d", "1"]], ids=lambda v: v[0])
def test_without_rights_the_code_is_77_and_cmd_does_not_run(verb: list[str], tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    argv = [str(tmp_path / "store") if word == "STORE" else word for word in verb]
    done = run(*argv, "--", "touch", mark, before=NO_RIGHTS)
    assert done.returncode == 77, done.stderr
    assert "CAP_BPF" in done.stderr and "Traceback" not in done.stderr and not mark.exists()


@pytest.mark.root
@pytest.mark.parametrize("argv", [["doctor"], ["list", "programs"]], ids=" ".join)
def test_without_rights_the_reason_and_the_next_step_are_told(argv: list[str]) -> None:
    done = run(*argv, before=NO_RIGHTS)
    told = done.stdout + done.stderr
    assert done.returncode == 77 and "lacks CAP_BPF and CAP_PERFMON" in told and "sudo" in told


@pytest.mark.live
def test_record_follows_cmd_and_passes_its_status(tmp_path: Path) -> None:
    path = tmp_path / "store"
    done = run("record", "-o", path, "--json", "--", "sh", "-c", "/bin/echo from-cmd; exit 7")
    assert done.returncode == 7, done.stderr
    assert done.stdout.splitlines()[0] == "from-cmd"
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["path"] == str(path) and told["kinds"]["process.exec"] == 2 and told["kinds"]["process.exit"] == 2
    ledger = told["ledger"]
    assert ledger["seen"] == ledger["submitted"] + sum(ledger[cause] for cause in schema.KERNEL_CAUSES)
    assert ledger["consumed"] == ledger["routed"] + ledger["u_bad"] + ledger["u_filtered"] + ledger["u_sampled"] and not ledger["in_ring"]
    whole = tapio.RecordBatch.concat(list(tapio.RawStore(path).scan())).sorted()    # rows of different CPUs are in no order
    assert [text for text in whole.strings("process", "args") if text] == [b"sh\0-c\0/bin/echo from-cmd; exit 7", b"/bin/echo\0from-cmd"]
    rows = whole["process"]
    assert rows["exit_code"][rows["subtype"] == tapio.ProcessEventType.EXIT].tolist() == [0, 7]


@pytest.mark.live
def test_record_prints_a_ledger_that_adds_up_and_leaves_stdout_to_cmd(tmp_path: Path) -> None:
    done = run("record", "-o", tmp_path / "store", "--", "true")
    assert done.returncode == 0 and done.stdout == ""
    assert "process.exec" in done.stderr and "every sum above is exact" in done.stderr


@pytest.mark.live
def test_a_command_that_is_not_there_ends_with_127(tmp_path: Path) -> None:
    done = run("record", "-o", tmp_path / "store", "--", "/no/such/program")
    assert done.returncode == 127 and "cannot run '/no/such/program'" in done.stderr


def collects(pid: int) -> bool:
    """Say whether a process holds BPF links: its collector is attached."""
    fds = Path(f"/proc/{pid}/fd")
    with contextlib.suppress(OSError):      # a descriptor, or the process, has gone meanwhile
        return any("bpf_link" in os.readlink(fd) for fd in fds.iterdir())
    return False


def interrupted(*argv: str | Path, number: int = signal.SIGINT) -> tuple[int, str, str]:
    """Follow a sleeping process, so that the verb would run for ever; interrupt it once it collects."""
    with subprocess.Popen(["sleep", "600"]) as sleeper, \
            subprocess.Popen([*CLI, *map(str, argv), "--follow", str(sleeper.pid)], stdin=subprocess.DEVNULL, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            end = time.monotonic() + 30
            while process.poll() is None and not collects(process.pid) and time.monotonic() < end:
                time.sleep(0.05)
            process.send_signal(number)
            out, err = process.communicate(timeout=30)
        finally:
            process.kill()
            sleeper.kill()
        return process.returncode, out, err


@pytest.mark.live
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_an_interrupted_record_drains_prints_the_ledger_and_ends_with_0(number: int, tmp_path: Path) -> None:
    code, out, err = interrupted("record", "-o", tmp_path / "store", number=number)
    assert code == 0, err
    assert "every sum above is exact" in out and "Traceback" not in err
    tapio.RawStore(tmp_path / "store").info()


@pytest.mark.live
def test_an_interrupted_tail_prints_the_ledger_on_stderr() -> None:
    code, out, err = interrupted("tail")
    assert code == 0 and out == "" and "waiting for events" in err and "every sum above is exact" in err


@pytest.mark.live
def test_tail_shows_cmd_as_json_lines() -> None:
    done = run("tail", "--json", "--", "sh", "-c", "/bin/true; exit 3")
    assert done.returncode == 3, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    kinds = [event["subtype"] for event in events if event["type"] == "process"]
    assert kinds.count("exec") == 2 and kinds.count("exit") == 2 and kinds.count("fork") == 1
    assert [event["timestamp"] for event in events] == sorted(event["timestamp"] for event in events)
    assert abs(events[0]["timestamp"] - time.time_ns()) < 600 * 10**9
    assert "every sum above is exact" in done.stderr


@pytest.mark.live
def test_tail_stops_after_n() -> None:
    done = run("tail", "-n", "2", "--json", "--", "sh", "-c", "/bin/true; /bin/true; /bin/true")
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 2


@pytest.mark.live
@pytest.mark.root
def test_under_sudo_cmd_and_store_belong_to_the_caller(tmp_path: Path) -> None:
    os.chmod(tmp_path, 0o755)
    path = tmp_path / "store"
    done = run("record", "-o", path, "--", "id", "-u", env=os.environ | {"SUDO_UID": "65534", "SUDO_GID": "65534"})
    assert done.returncode == 0 and done.stdout == "65534\n", done.stderr
    assert {os.lstat(file).st_uid for file in [path, *path.rglob("*")]} == {65534}


@pytest.mark.live
@pytest.mark.root
def test_a_directory_that_was_there_before_is_not_given_away(tmp_path: Path) -> None:
    path = tmp_path / "mine"
    path.mkdir(mode=0o700)
    (path / "file").touch()
    done = run("record", "-o", path, "--", "true", env=os.environ | {"SUDO_UID": "65534", "SUDO_GID": "65534"})
    assert done.returncode == 0, done.stderr
    assert {os.lstat(file).st_uid for file in [path, *path.iterdir()]} == {0}


@pytest.mark.live
def test_doctor_agrees_with_what_works() -> None:
    done = run("doctor")
    assert done.returncode == 0 and "live collection works" in done.stdout and "tf_process_exec" in done.stdout


@pytest.mark.parametrize("source", ["memory", pytest.param("live", marks=pytest.mark.live), pytest.param("synthetic",
                                                                                                         marks=pytest.mark.live)])
def test_the_demo_adds_up(source: str) -> None:
    done = subprocess.run([sys.executable, "-m", "tapio_fast.demo", "--seconds", "0.5", "--source", source], capture_output=True, text=True,
                          check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "every sum above is exact" in done.stdout and "in the ledger: equal" in done.stdout


@pytest.mark.root
def test_the_demo_without_rights_says_why_and_uses_memory() -> None:
    done = subprocess.run([*NO_RIGHTS, sys.executable, "-m", "tapio_fast.demo", "--seconds", "0.3"], capture_output=True, text=True,
                          check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no live events here: " in done.stdout and "CAP_BPF" in done.stdout and "source: rings in memory" in done.stdout
