# SPDX-License-Identifier: Apache-2.0
"""Write docs/events.md: every event and field, from bpf/include/tf_event.h, the tables in C and tapio_fast/_about.py. Needs a built tree.

    python scripts/events_page.py            # writes the page
    python scripts/events_page.py --check    # 1 when it is not up to date
"""
from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tapio_fast import schema  # noqa: E402
from tapio_fast._about import ABOUT  # noqa: E402
from tapio_fast.enabled import collected_when  # noqa: E402
from tapio_fast.types import SecurityAction, Severity  # noqa: E402

HEADER = ROOT / "bpf" / "include" / "tf_event.h"
PAGE = ROOT / "docs" / "events.md"
_STRUCT = re.compile(r"/\* ([^\n]*?) \*/\nstruct tf_(\w+) \{\n(.*?)\n\};", re.DOTALL)
_FIELD = re.compile(r"^\t.*?(\w+)(?:\[[^]]*\])?;\s*/\* (.*?) \*/$", re.MULTILINE)
_FLAG = re.compile(r"^\tTF_F_(\w+)\s*= 1 << (\d+),\s*/\* (.*?) \*/$", re.MULTILINE)
INTRO = """<!-- SPDX-License-Identifier: Apache-2.0 -->
<!-- Written by scripts/events_page.py from bpf/include/tf_event.h; a test compares. -->
# Events

Every event, and every field of its records. `tapio-fast list events` and `tapio-fast list fields` tell the same of the installed version.
Which kernel shows what: [kernel-support.md](kernel-support.md). What a record means where that is not obvious, which fields a kind uses and
what it does not cover: [../bpf/README.md](../bpf/README.md). How to switch events on and off: [configuration.md](configuration.md).

*collected*: by default; with its domain (`programs.DOMAIN.enabled`); or when asked (its name in `events`, or a key of its own).
*lane*: a flood in the bulk lane cannot displace records of the critical one.
"""


class Struct(NamedTuple):
    """A record: its comment, and field -> unit and meaning."""

    about: str
    fields: dict[str, tuple[str, str]]


def structs() -> dict[str, Struct]:
    """Read records and their comments out of the header."""
    found = {}
    for about, name, body in _STRUCT.findall(HEADER.read_text()):
        fields = {}
        for field, comment in _FIELD.findall(body):
            unit, _, meaning = comment.partition(": ")
            fields[field.removesuffix("_")] = (unit, meaning)
        found[name] = Struct(about, fields)
    return found


def _runtimes() -> list[str]:
    """Names of enum tf_runtime, from 0."""
    return re.findall(r"TF_RT_(\w+)", re.search(r"enum tf_runtime \{(.*?)\}", HEADER.read_text(), re.DOTALL)[1])  # type: ignore[index]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _fields(domain: str, struct: Struct, names: tuple[str, ...]) -> list[str]:
    lines = ["| field | type | at | unit | meaning |", "|---|---|---|---|---|"]
    for name in names:
        dtype, offset, *_ = schema.DTYPES[domain].fields[name]  # type: ignore[index]
        shape = f"[{dtype.shape[0]}]" if dtype.shape else ""
        kind = "text" if dtype.names else dtype.base.str.lstrip("<|=") + shape
        unit, meaning = struct.fields[name]
        lines.append(f"| `{name}` | {kind} | {offset} | {unit} | {_cell(meaning)} |")
    return lines


def _events(domain: str) -> list[str]:
    lines = ["| event | subtype | collected | lane | severity | what |", "|---|---|---|---|---|---|"]
    for kind in sorted((kind for kind in schema.KINDS if kind.domain == domain), key=lambda kind: kind.subtype):
        lines.append(f"| `{kind.name}` | {kind.subtype} | {collected_when(kind.name)} | {kind.lane} | {Severity(kind.severity).text} | {ABOUT[kind.name]} |")
    return lines


def page() -> str:
    """Return the whole page."""
    known = structs()
    lines = [INTRO, "## Fields of every record", "", *_fields("cpu", known["header"], schema.HEADER_FIELDS), "", "Bits of `flags`:", ""]
    lines += ["| flag | value | meaning |", "|---|---|---|"]
    lines += [f"| {name.lower()} | {1 << int(bit)} | {_cell(meaning)} |" for name, bit, meaning in _FLAG.findall(HEADER.read_text())]
    for domain, dtype in schema.DTYPES.items():
        own = tuple(name for name in dtype.names or () if name not in schema.HEADER_FIELDS)
        lines += ["", f"## {domain}", "", f"{known[domain].about.partition(': ')[2]}. Type {schema.DOMAINS[domain]}, {dtype.itemsize} bytes a row "
                  "beside its texts.", "", *_events(domain), "", *_fields(domain, known[domain], own)]
    lines += ["", "## Actions", "", "Values of `action` in security and container records:", "",
              ", ".join(f"{action.value} {action.text}" for action in SecurityAction) + ".", "",
              "Values of `runtime` in container records:", "", ", ".join(f"{n} {name.lower()}" for n, name in enumerate(_runtimes())) + "."]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write or check."""
    text = page()
    if "--check" in sys.argv[1:]:
        return int(not PAGE.exists() or PAGE.read_text() != text)
    PAGE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
