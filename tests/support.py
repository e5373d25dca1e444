# SPDX-License-Identifier: Apache-2.0
"""What many tests share: how big to be (tier), what this machine lacks, and running the project's own tools."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ROOT / "scripts"


def tier() -> int:
    """Return TAPIO_FAST_TIER: 1 is CI, 2 is `make test-long`."""
    return int(os.environ.get("TAPIO_FAST_TIER", "1"))


def tier_size(small: Any, big: Any) -> Any:
    """Choose a size: small in tier 1, big in tier 2."""
    return big if tier() >= 2 else small


def required() -> set[str]:
    """Return the markers of TAPIO_FAST_REQUIRE: what they stand for must be there, lacking it is a failure."""
    return {name.strip() for name in os.environ.get("TAPIO_FAST_REQUIRE", "").split(",") if name.strip()}


def _root() -> str | None:
    return None if os.geteuid() == 0 else f"user id is {os.geteuid()}, not 0"


@functools.cache
def _live() -> str | None:
    try:
        import tapio_fast
    except ImportError as error:
        return f"tapio_fast cannot be imported: {error}"
    if not hasattr(tapio_fast, "probe"):
        return "tapio_fast has no probe() yet"
    report = tapio_fast.probe()
    return None if report.can_collect else f"this kernel or user cannot collect: {report}"


def _program(name: str) -> Callable[[], str | None]:
    return lambda: None if shutil.which(name) else f"{name} is not on PATH; `make deps-test` as root installs it"


# marker -> why this machine cannot run such a test, or None
LACKS: dict[str, Callable[[], str | None]] = {
    "root": _root,
    "live": _live,
    "slow": lambda: None if tier() >= 2 else "takes minutes: set TAPIO_FAST_TIER=2",
    "vm": _program("qemu-system-x86_64"),
    "runc": _program("runc"),
    "strace": _program("strace"),
    "hooks": lambda: None,      # the test finds out, by what became of its programs
}


def lacking(name: str, reason: str) -> NoReturn:
    """Skip the running test, or fail it if TAPIO_FAST_REQUIRE names what it lacks."""
    if name in required():
        pytest.fail(f"needs {name}, which TAPIO_FAST_REQUIRE promises: {reason}", pytrace=False)
    pytest.skip(f"needs {name}: {reason}")


def run(argv: Sequence[str | os.PathLike[str]], *, env: dict[str, str] | None = None, cwd: Path = ROOT,
        timeout: float = 600, check: bool = True, drop: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """Run a program without a terminal; a failure shows all it said."""
    full = {key: value for key, value in (os.environ | (env or {})).items() if key not in drop}
    done = subprocess.run([os.fspath(a) for a in argv], cwd=cwd, env=full, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace", timeout=timeout, check=False)
    if check and done.returncode:
        pytest.fail(f"{' '.join(map(str, argv))} ended with status {done.returncode}:\n{done.stdout[-8000:]}", pytrace=False)
    return done


def native() -> Any:
    """Import scripts/native.py, the builder."""
    if str(SCRIPTS) not in sys.path:
        sys.path.insert(0, str(SCRIPTS))
    import native as module

    return module
