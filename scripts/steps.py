# SPDX-License-Identifier: Apache-2.0
"""A small incremental build engine: one step makes one file, and runs only when something it read has changed.

A step is stale when its file is missing, its command line has changed, or a file that it read (by the compiler's own
dependency list) is newer or gone. Enough for a hundred files on two cores, and needs nothing but Python.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
_say = threading.Lock()


class BuildError(Exception):
    """The build cannot go on; the text is one sentence: what, why, and the next step."""


@dataclass
class Step:
    """Make `output` by running `argv`; `inputs` are known before, `depfile` tells the rest after the first run."""

    label: str
    argv: list[str]
    output: Path
    inputs: list[Path]
    depfile: Path | None = None
    env: dict[str, str] = field(default_factory=dict)
    tag: str = ""       # what else a change of must rebuild: the version of the tool

def jobs() -> int:
    """Return how many steps run at a time: TAPIO_FAST_JOBS, else the processors this process may use."""
    wanted = os.environ.get("TAPIO_FAST_JOBS", "")
    return int(wanted) if wanted.isdigit() and int(wanted) > 0 else len(os.sched_getaffinity(0))


@contextlib.contextmanager
def lock() -> Iterator[None]:
    """Let one build at a time work in build/; a second one waits."""
    BUILD.mkdir(exist_ok=True)
    with open(BUILD / ".lock", "w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print("build: waiting for another build in this tree", file=sys.stderr, flush=True)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def tool(name: str, why: str, package: str) -> str:
    """Return the path of a program, or say which package brings it."""
    path = shutil.which(name)
    if not path:
        raise BuildError(f"cannot {why}: {name} is not on PATH; install it (Debian: apt-get install {package}), then try again")
    return path


def _read_depfile(path: Path) -> list[Path] | None:
    """Return the files of a make-style dependency list, or None when it cannot be trusted."""
    try:
        text = path.read_text()
    except OSError:
        return None
    _, colon, rest = text.replace("\\\n", " ").partition(": ")
    if not colon:
        return None
    first = rest.split("\n", 1)[0]      # the rules after it are -MP's empty ones
    return [ROOT / name.replace("\0", " ") for name in first.replace("\\ ", "\0").split()]


def _command_digest(step: Step) -> str:
    # The tool by name only: an isolated build has the same one at a new path each time.
    words = [Path(step.argv[0]).name, *step.argv[1:], step.tag]
    return hashlib.sha256("\0".join(words).encode()).hexdigest()


def _command_file(step: Step) -> Path:
    return step.output.with_name(step.output.name + ".cmd")


def stale(step: Step) -> bool:
    """Tell whether the step has to run."""
    try:
        made = step.output.stat().st_mtime_ns
        if _command_file(step).read_text() != _command_digest(step):
            return True
        needed = list(step.inputs)
        if step.depfile:
            listed = _read_depfile(step.depfile)
            if listed is None:
                return True
            needed += listed
        return any(path.stat().st_mtime_ns > made for path in needed)
    except OSError:
        return True


def run_one(step: Step) -> None:
    """Run a step; its output appears whole or not at all."""
    step.output.parent.mkdir(parents=True, exist_ok=True)
    _command_file(step).write_text("")      # not up to date from here on; and the file system's own clock
    started = _command_file(step).stat().st_mtime_ns
    with _say:
        print(f"  {step.label}", file=sys.stderr, flush=True)
    done = subprocess.run(step.argv, cwd=ROOT, env=os.environ | step.env, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False)
    if done.stdout.strip():
        with _say:
            print(done.stdout.rstrip(), file=sys.stderr, flush=True)
    if done.returncode:
        step.output.unlink(missing_ok=True)
        raise BuildError(f"{step.label} failed ({Path(step.argv[0]).name} ended with status {done.returncode}): "
                         "its messages are above")
    if not step.output.exists():
        raise BuildError(f"{step.label} failed: {Path(step.argv[0]).name} reported success but made no {step.output.name}")
    # As old as the moment it began: a file that was edited meanwhile is then newer.
    os.utime(step.output, ns=(started, started))
    _command_file(step).write_text(_command_digest(step))


def run_all(steps: Sequence[Step]) -> int:
    """Run the stale ones of steps that do not depend on each other; return how many ran."""
    todo = [step for step in steps if stale(step)]
    failures: list[BuildError] = []

    def attempt(step: Step) -> None:
        try:        # go on after a failure: the others are then done already when it is mended
            run_one(step)
        except BuildError as error:
            failures.append(error)

    with ThreadPoolExecutor(max_workers=jobs()) as pool:
        list(pool.map(attempt, todo))
    if failures:
        more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        raise BuildError(f"{failures[0]}{more}")
    return len(todo)


def write_if_changed(path: Path, text: str) -> bool:
    """Write text unless the file holds it already, so that nothing is rebuilt for an equal file."""
    try:
        if path.read_text() == text:
            return False
    except OSError:
        path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(text)
    fresh.replace(path)
    return True
