# SPDX-License-Identifier: Apache-2.0
"""The README's Python runs as it stands: what a newcomer copies must work."""
from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import support

README = support.ROOT / "README.md"


def blocks() -> list[str]:
    """The Python blocks of the README."""
    text = README.read_text() if README.exists() else ""
    return [textwrap.dedent(block) for block in re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)]


def test_there_is_python_in_the_readme() -> None:
    assert README.exists(), "README.md is missing"
    assert blocks(), "README.md has no ```python block"


@pytest.mark.root
@pytest.mark.live
def test_it_runs(tmp_path: Path) -> None:
    """Each block by itself, in an empty folder, with processes coming and going so that there is something to see."""
    for number, block in enumerate(blocks()):
        compile(block, f"README.md block {number}", "exec")
        noise = subprocess.Popen([sys.executable, "-S", "-c", "import subprocess, time\nwhile True:\n"
                                  "    subprocess.run(['/bin/true'])\n    time.sleep(0.05)"])
        try:
            done = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
        finally:
            noise.kill()
            noise.wait()
        assert done.returncode == 0, f"block {number}:\n{block}\n{done.stderr}"
