# SPDX-License-Identifier: Apache-2.0
"""PEP 517 backend: setuptools', asking for ziglang only where BPF programs are compiled, and filling vendor/ for sdists."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import (  # noqa: F401  (the front end looks these up here)
    get_requires_for_build_sdist,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

# One clang for all: the objects in every wheel are the ones the tests loaded.
ZIG = "ziglang==0.17.1"


def _requires() -> list[str]:
    no_bpf = os.environ.get("TAPIO_FAST_NO_BPF", "") not in ("", "0")
    return [] if no_bpf or os.environ.get("TAPIO_FAST_CLANG") else [ZIG]


def get_requires_for_build_wheel(config_settings: Any = None) -> list[str]:
    """Return setuptools' own needs and ours."""
    return [*build_meta.get_requires_for_build_wheel(config_settings), *_requires()]


def get_requires_for_build_editable(config_settings: Any = None) -> list[str]:
    """Return setuptools' own needs and ours."""
    return [*build_meta.get_requires_for_build_editable(config_settings), *_requires()]


def build_sdist(sdist_directory: str, config_settings: Any = None) -> str:
    """Build an sdist that carries the vendored sources, so that it builds without any mirror."""
    import vendor

    vendor.ensure(quiet=True)
    return str(build_meta.build_sdist(sdist_directory, config_settings))


def build_wheel(wheel_directory: str, config_settings: Any = None, metadata_directory: str | None = None) -> str:
    """Build a wheel out of today's tree: what an earlier build left in build/setuptools must not get in."""
    shutil.rmtree(ROOT / "build/setuptools", ignore_errors=True)
    return str(build_meta.build_wheel(wheel_directory, config_settings, metadata_directory))


def build_editable(wheel_directory: str, config_settings: Any = None, metadata_directory: str | None = None) -> str:
    """Build an editable wheel."""
    return str(build_meta.build_editable(wheel_directory, config_settings, metadata_directory))
