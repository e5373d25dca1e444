# SPDX-License-Identifier: Apache-2.0
"""`export`: a raw store in another format, a file a domain."""
from __future__ import annotations

import json as _json
import time
from pathlib import Path

from tapio_fast import RawStore
from tapio_fast._escape import escape
from tapio_fast.cli._exit import OK, USAGE, say
from tapio_fast.cli._settings import Options
from tapio_fast.cli._tail import time_of


def export(options: Options, output: Path, format: str) -> int:
    """Write the files and print their names."""
    now = time.time_ns()
    since, until = time_of(options.since, now), time_of(options.until, now)
    with RawStore(options.store or Path()) as store:
        try:
            paths = store.export(output, format, domains=options.domains, since=since, until=until, filter=options.chosen(),
                                 progress=lambda name: say(f"writing {name}"))
        except ValueError as error:
            say(f"error: {error}")
            return USAGE
    for path in paths:
        print(_json.dumps({"path": path}) if options.json else escape(path))
    return OK
