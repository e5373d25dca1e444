# SPDX-License-Identifier: Apache-2.0
"""`info`: what a raw store holds."""
from __future__ import annotations

import dataclasses
import json as _json
from pathlib import Path
from typing import Any

from tapio_fast import RawStore
from tapio_fast._escape import escape
from tapio_fast.cli._exit import OK
from tapio_fast.formatting import rfc3339


def info(path: Path, json: bool) -> int:
    """Print RawStore.info() as a table or as JSON."""
    with RawStore(path) as store:
        found = dataclasses.asdict(store.info())
    if json:
        print(_json.dumps(found))
    else:
        times = {name: rfc3339(found[name]) if found[name] is not None else "-" for name in ("first_ns", "last_ns")}
        print("\n".join(_lines({**found, **times})))
    return OK


def _lines(found: dict[str, Any], indent: str = "") -> list[str]:
    width = max((len(str(name)) for name in found), default=0)
    lines = []
    for name, value in found.items():
        if isinstance(value, dict):
            lines += [f"{indent}{escape(str(name))}", *_lines(value, indent + "  ")]
        elif isinstance(value, (list, tuple)):
            lines.append(f"{indent}{escape(str(name)):<{width}}  {', '.join(escape(str(item)) for item in value) or '-'}")
        else:
            shown = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else escape(str(value))
            lines.append(f"{indent}{escape(str(name)):<{width}}  {shown}")
    return lines
