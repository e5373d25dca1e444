# SPDX-License-Identifier: Apache-2.0
"""The command line: `tapio-fast VERB`. Verbs import what they need when they run, so that help needs no rights and no extension.

    _app       every verb with its options; knows nothing of how they work
    _exit      errors to exit codes, in one place
    _machine   doctor, list, version          _settings  config show, config check, options to Config
    _record    record                         _tail      tail, replay
    _follow    running and following CMD      _store     info, verify, prune
    _ledger    the ledger as a table          _output    events as lines
    _query     query                          _export    export
    _progress  how far long work has come
"""
from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code: 0, 1 failed, 2 usage, 69 unsupported, 74 I/O, 77 not permitted, 78 bad config."""
    from tapio_fast.cli import _exit
    return _exit.guarded(argv)
