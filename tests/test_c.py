# SPDX-License-Identifier: Apache-2.0
"""Compile every tests/c/test_*.c against the engine's archive and run it: as shipped, and with sanitizers and asserts."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import pytest

import support

native = support.native()
SOURCES = sorted((support.ROOT / "tests/c").glob("test_*.c"))
OPTIONS = {"plain": native.Options(), "sanitize": native.Options(debug=True, sanitize=True)}


@functools.cache
def sanitizer_missing() -> str | None:
    """Tell why sanitizers cannot be used, or None."""
    for library in ("libasan.so", "libubsan.so"):
        said = support.run([*native.compiler(), f"-print-file-name={library}"]).stdout.strip()
        if "/" not in said:
            return f"the compiler has no {library}"
    return None


@functools.cache
def build_lib(flavour: str) -> Path:
    """Build libtf.a of this flavour."""
    with native.lock():
        return Path(native.build_lib(OPTIONS[flavour]))


@functools.cache
def program(source: Path, flavour: str) -> Path:
    """Compile one C test; return the executable."""
    options: Any = OPTIONS[flavour]
    library = build_lib(flavour)
    output = native.BUILD / "ctest" / flavour / source.stem
    flags = [*native.COMMON, "-D_GNU_SOURCE=", "-Wall", "-Wextra", *native.optimise(options), *native.includes(options), "-Itests/c",
             "-Icsrc/compat"]
    step = native.compile_step(source, output.with_suffix(".o"), flags)
    link = native.Step(f"link {source.stem}", [*native.compiler(), *(native.SANITIZE if options.sanitize else []), "-pthread",
                       native.relative(step.output), native.relative(library), "-lm", "-o", native.relative(output)],
                       output, [step.output, library])
    native.run_all([step])
    native.run_all([link])
    return Path(output)


def environment() -> dict[str, str]:
    """Make every finding of a sanitizer fatal."""
    return {"ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0:allocator_may_return_null=1",
            "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
            "TAPIO_FAST_TIER": str(support.tier())}


@pytest.mark.parametrize("flavour", list(OPTIONS))
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_c(source: Path, flavour: str) -> None:
    if flavour == "sanitize" and sanitizer_missing():
        pytest.skip(str(sanitizer_missing()))
    done = support.run([program(source, flavour)], env=environment(), timeout=support.tier_size(240, 1800), check=False)
    words = done.stdout.strip().splitlines()
    if done.returncode == 77:
        pytest.skip(words[-1] if words else "the program gave no reason")
    assert done.returncode == 0, f"{source.name} ({flavour}) ended with status {done.returncode}:\n{done.stdout[-8000:]}"


@pytest.mark.parametrize("header", sorted((support.ROOT / "csrc").glob("*.h")), ids=lambda path: path.name)
def test_header_stands_alone(header: Path) -> None:
    """A header that needs another one first breaks whoever includes it."""
    options = OPTIONS["plain"]
    support.run([*native.compiler(), "-std=gnu11", "-Wall", "-Wextra", "-Werror", *native.includes(options), "-fsyntax-only",
                 "-x", "c", os.fspath(header)])
