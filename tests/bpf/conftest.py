# SPDX-License-Identifier: Apache-2.0
"""Compiles the trigger programs, once a session, where every user may execute them."""
from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import live_support
import pytest


@pytest.fixture(scope="session")
def triggers() -> Iterator[Path]:
    """A directory, open to all users, with the compiled programs of tests/triggers."""
    folder = Path(tempfile.mkdtemp(prefix="tf-triggers-"))
    folder.chmod(0o755)
    try:
        ready = os.environ.get("TAPIO_FAST_TRIGGERS")       # where there is no compiler: tests/vm
        for source in sorted(live_support.TRIGGERS.glob("t_*.c")):
            if ready:
                shutil.copy(Path(ready) / source.stem, folder)
                continue
            subprocess.run(["gcc", "-std=gnu11", "-O2", "-pthread", "-o", folder / source.stem, source], check=True, timeout=60)
        yield folder
    finally:
        shutil.rmtree(folder)
