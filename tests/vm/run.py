# SPDX-License-Identifier: Apache-2.0
"""Runs the live tests in a machine of qemu's with another kernel, by software emulation, and reads back what came out.

    python tests/vm/run.py KERNEL [--hybrid] [--short] [--] [pytest's arguments]     KERNEL: 5.10, 6.1, 6.12, backport
    python tests/vm/run.py KERNEL --sh 'command'                            a command instead, as root, in the project's folder
"""
from __future__ import annotations

import argparse
import dataclasses
import os
import re
import resource
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import image
import selection
from kernels import BUILD, KERNELS, Kernel, fetch

MINUTES = 60
# Above all of them: nothing in the machine knows of the host's settings.
ENVIRONMENT = {"TAPIO_FAST_VM": "1", "TAPIO_FAST_TRIGGERS": "/triggers", "TAPIO_FAST_MODULE": "/modules/dummy.ko",
               "PYTHONPATH": f"/site:{image.TREE}", "PYTHONDONTWRITEBYTECODE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
# Software emulation is some ten times slower than this machine.
PYTEST = ["-p", "no:cacheprovider", "-p", "pytest_timeout", "-p", "tell", "-o", "timeout=400", "-v", "--tb=short", "--color=no",
          "--junitxml=/tmp/junit.xml"]


@dataclasses.dataclass
class Outcome:
    """What came out of a machine: exit status of its script (None: it never ended), its output, the kernel's, results by test."""

    kernel: str
    status: int | None
    said: str
    console: str
    seconds: float
    cpu: float = 0.0            # s: of both processors of the machine, whatever else this one had to do
    passed: list[str] = dataclasses.field(default_factory=list)
    failed: dict[str, str] = dataclasses.field(default_factory=dict)
    skipped: dict[str, str] = dataclasses.field(default_factory=dict)
    took: dict[str, float] = dataclasses.field(default_factory=dict)       # s, by test

    def summary(self) -> str:
        """What ran, module by module, and why something did not."""
        lines = [f"{self.kernel} ({KERNELS[self.kernel].release}): {len(self.passed)} passed, {len(self.failed)} failed, {len(self.skipped)} "
                 f"skipped, {self.seconds:.0f} s of which {sum(self.took.values()):.0f} s in tests, {self.cpu:.0f} s of processor time"]
        for module in dict.fromkeys(test.partition("::")[0] for test in self.took):
            counts = [sum(test.startswith(module + "::") for test in tests) for tests in (self.passed, self.failed, self.skipped)]
            seconds = sum(t for test, t in self.took.items() if test.startswith(module + "::"))
            lines.append("  {:40} {:4} passed {:3} failed {:3} skipped {:6.0f} s".format(module, *counts, seconds))
        return "\n".join([*lines, *(f"  skipped in it: {test}: {why}" for test, why in self.skipped.items())])

    def troubles(self) -> list[str]:
        """Everything that keeps this run from being good, a text each."""
        found = [f"{test}\n{text}" for test, text in self.failed.items()]
        if self.status is None:
            found.append(f"the machine did not come to its end; its last words:\n{self.said[-2000:]}\n"
                         f"the kernel's:\n{self.console[-3000:]}")
        elif self.status and not found:
            found.append(f"the script ended with status {self.status}:\n{self.said[-3000:]}")
        oops = re.search(r"(BUG:|WARNING: CPU|Oops|general protection|rcu_sched self-detected)[^\n]*", self.console)
        if oops:
            found.append(f"the kernel complained: {oops.group(0)}\n{self.console[oops.start():][:3000]}")
        return found


def _script(command: str) -> str:
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in ENVIRONMENT.items())
    return f"{exports}cd {image.TREE}\n{command}\n"


def pytest_script(kernel: Kernel, arguments: list[str]) -> str:
    """The script that runs pytest and sends its results over the third serial line."""
    words = " ".join(shlex.quote(word) for word in [*PYTEST, *arguments])
    required = ["root", "live", *(["hooks"] if kernel.hooks else []), *(["runc"] if shutil.which("runc") else [])]
    return _script(f"export TAPIO_FAST_REQUIRE={','.join(required)}\npython3 -m pytest {words}\ncode=$?\ncat /tmp/junit.xml >/dev/ttyS2\nexit $code")


def command_script(command: str) -> str:
    """The script that runs a command."""
    return _script(command)


def _qemu(kernel: Kernel, folder: Path, hybrid: bool) -> list[str]:
    disk = folder / "disk"
    with disk.open("wb") as file:
        file.truncate(1 << 30)
    subprocess.run(["mkfs.ext4", "-q", "-F", disk], check=True, stdin=subprocess.DEVNULL)
    line = f"console=ttyS0 quiet panic=-1 mitigations=off psi=1 {kernel.cmdline}{' tapio_cgroup=hybrid' if hybrid else ''}"
    return ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "2G", "-display", "none", "-monitor",
            "none",
            "-nodefaults", "-no-reboot", "-kernel", str(kernel.folder / "vmlinuz"), "-initrd", str(folder / "ram"), "-append", line,
            "-drive", f"file={disk},if=virtio,format=raw,cache=unsafe",
            *(word for name in ("console", "said", "results") for word in ("-serial", f"file:{folder / name}"))]


def boot(name: str, script: str, *, hybrid: bool = False, limit: float = 15 * MINUTES, follow: bool = False) -> Outcome:
    """Boot a kernel, run the script, power off; `follow` shows what it says meanwhile."""
    kernel = fetch(KERNELS[name])
    with tempfile.TemporaryDirectory(prefix="run-", dir=BUILD) as work:
        folder = Path(work)
        image.write(folder / "ram", kernel, script)
        start, used = time.monotonic(), _cpu_of_children()
        with subprocess.Popen(_qemu(kernel, folder, hybrid), stdin=subprocess.DEVNULL) as machine:
            try:
                shown = 0
                while machine.poll() is None and time.monotonic() < start + limit:
                    try:
                        machine.wait(0.5)
                    except subprocess.TimeoutExpired:
                        shown += _show(folder / "said", shown) if follow else 0
            finally:
                machine.kill()
        if follow:
            _show(folder / "said", shown)
        texts = [_text(folder / name) for name in ("console", "said", "results")]
        used = _cpu_of_children() - used
    outcome = _judge(name, time.monotonic() - start, *texts)
    outcome.cpu = used
    return outcome


def _cpu_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _text(path: Path) -> str:
    return path.read_text(errors="replace").replace("\r", "") if path.exists() else ""


def _show(path: Path, begin: int) -> int:
    data = path.read_bytes()[begin:] if path.exists() else b""
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
    return len(data)


def _judge(name: str, seconds: float, console: str, said: str, results: str) -> Outcome:
    end = re.search(r"^TAPIO_EXIT (\d+)$", said, re.MULTILINE)
    outcome = Outcome(name, int(end.group(1)) if end else None, said, console, seconds)
    if "</testsuites>" not in results:      # it broke in the middle: what was said by then
        outcome.failed = dict(re.findall(r"^TAPIO_FAILED (\S+)[^\n]*\n(.*?)^TAPIO_FAILED_END", said, re.MULTILINE | re.DOTALL))
        return outcome
    for case in ET.fromstring(results).iter("testcase"):
        test = f"{case.get('classname')}::{case.get('name')}"
        bad = [part for part in case if part.tag in ("failure", "error")]
        skip = case.find("skipped")
        outcome.took[test] = float(case.get("time", "0"))
        if bad:
            outcome.failed[test] = "\n".join(part.text or part.get("message", "") for part in bad)
        elif skip is not None:
            outcome.skipped[test] = skip.get("message", "")
        else:
            outcome.passed.append(test)
    return outcome


def main(argv: list[str]) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kernel", choices=KERNELS)
    parser.add_argument("--hybrid", action="store_true", help="control groups of both versions, as systemd's hybrid mode")
    parser.add_argument("--short", action="store_true", help="without arguments for pytest: the selection of CI, not everything")
    parser.add_argument("--sh", metavar="COMMAND", help="run this instead of pytest")
    parser.add_argument("--minutes", type=float, default=15, help="give up after so long")
    parser.add_argument("arguments", nargs="*")
    args, rest = parser.parse_known_args(argv)
    asked = [*args.arguments, *rest] or selection.arguments(args.short)
    script = command_script(args.sh) if args.sh else pytest_script(fetch(KERNELS[args.kernel]), asked)
    outcome = boot(args.kernel, script, hybrid=args.hybrid, limit=args.minutes * MINUTES, follow=True)
    print(f"\n{outcome.summary()}")
    if outcome.status is None or os.environ.get("TAPIO_FAST_VM_CONSOLE"):
        print(outcome.console[-6000:])
    return 1 if outcome.troubles() else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
