# SPDX-License-Identifier: Apache-2.0
"""What redacts a collector's records: built from [dual_path], handed to the pump. Relies on `config`, `_core`."""
from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from tapio_fast.config import Config

if TYPE_CHECKING:
    from tapio_fast._core._redact import Redactor

log = logging.getLogger("tapio_fast")
OFF = "dual_path.redact is false: passwords, tokens and keys in arguments, paths and captured content are collected as they are"


def redactor_for(config: Config, source: str) -> Redactor | None:
    """Make the rules for a source of this name; None, loudly, where the configuration switches them off, and for a replay."""
    if source == "store":
        return None         # a store replays as it was recorded
    if not config.dual_path.redact:
        log.warning("%s; set it to true unless you need them", OFF)
        return None
    from tapio_fast._core._redact import Redactor

    return Redactor([pattern.encode("utf-8", "surrogateescape") for pattern in config.dual_path.redact_patterns])
