# SPDX-License-Identifier: Apache-2.0
"""Errors to exit codes, in one place; and how a command ends when nobody reads its output any more."""
from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from tapio_fast._escape import escape
from tapio_fast.errors import (
    ConfigError,
    FilterError,
    OutputError,
    PermissionDeniedError,
    ProgramLoadError,
    StoreError,
    TapioError,
    UnsupportedPlatformError,
)

OK, FAILED, USAGE, UNSUPPORTED, IO, DENIED, CONFIG = 0, 1, 2, 69, 74, 77, 78
INTERRUPTED = 130

# First match counts; what is not here is FAILED.
_CODES: tuple[tuple[type[BaseException], int], ...] = (
    (UnsupportedPlatformError, UNSUPPORTED), (PermissionDeniedError, DENIED), (ConfigError, CONFIG), (FilterError, USAGE),
    (ProgramLoadError, FAILED), (StoreError, IO), (OutputError, IO), (TapioError, FAILED), (PermissionError, DENIED), (OSError, IO),
)


def code_for(error: BaseException) -> int:
    """Return the exit code that belongs to an error."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), FAILED)


def guarded(argv: Sequence[str] | None) -> int:
    """Run the command line; turn whatever happens into an exit code and one sentence on stderr."""
    try:
        from tapio_fast.cli._app import app
        app(args=None if argv is None else list(argv), prog_name="tapio-fast")
        code = OK
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else OK if ended.code is None else FAILED
    except BrokenPipeError:
        return nobody_reads()
    except KeyboardInterrupt:
        return INTERRUPTED
    except (TapioError, OSError) as error:
        say(f"error: {error}")
        return code_for(error)
    except ImportError as error:
        say(f"error: {error}; this installation is not complete: install the wheel, or run `make build` in the source tree")
        return FAILED
    return _flush(code)


def _flush(code: int) -> int:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        return nobody_reads()
    except OSError as error:
        say(f"error: cannot write to standard output: {error.strerror}")
        return IO
    return code


def nobody_reads() -> int:
    """End quietly, as `tapio-fast tail | head` must; Python would complain again when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return OK


def say(text: str) -> None:
    """Write one line for people to stderr, escaped; a closed stderr is no reason to fail."""
    try:
        lines = [escape(line).replace("\\\\", "\\") for line in text.split("\n")]
        print("tapio-fast:", "\n".join(lines), file=sys.stderr, flush=True)
    except OSError:
        pass
