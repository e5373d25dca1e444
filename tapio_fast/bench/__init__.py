# SPDX-License-Identifier: Apache-2.0
"""Benchmarks that check their result before they time it: `python -m tapio_fast.bench [NAME ...] [--json] [--quick] [--check]`.

Each case measures ours and its rivals in the same run over the same bytes, turn by turn. Nothing here is used by collecting.
"""
from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmarks named in argv (None: the command line's); return the exit status."""
    from tapio_fast.bench._main import run

    return run(argv)
