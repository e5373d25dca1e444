# SPDX-License-Identifier: Apache-2.0
"""Events as lines on stdout: text on a terminal, JSON Lines in a pipe, or only the fields that were asked for."""
from __future__ import annotations

import difflib
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

import typer

from tapio_fast import schema
from tapio_fast._escape import escape
from tapio_fast.cli._settings import Options
from tapio_fast.events import RawEvent
from tapio_fast.filtering import FilterRule
from tapio_fast.formatting import RawEventFormatter, rfc3339
from tapio_fast.types import Severity

_FIRST = ("time", "kind", "type", "subtype", "timestamp", "rules")


def known_fields() -> list[str]:
    """Return every name that --fields takes."""
    names = dict.fromkeys(_FIRST)
    for domain, dtype in schema.DTYPES.items():
        if domain != schema.META:
            names.update(dict.fromkeys(dtype.names or ()))
    names.pop("ts_ns", None)
    return list(names)


def fields_of(options: Options) -> list[str] | None:
    """Read --fields; an unknown name is a usage error with the nearest known one."""
    if options.fields is None:
        return None
    wanted = [name.strip() for name in options.fields.split(",") if name.strip()]
    known = known_fields()
    for name in wanted:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            step = f"did you mean {near[0]}?" if near else "`tapio-fast list fields` names them"
            raise typer.BadParameter(f"--fields: no field {name!r}; {step}")
    if not wanted:
        raise typer.BadParameter("--fields names no field")
    return wanted


class Printer:
    """Print events the way the options and the terminal ask for."""

    def __init__(self, options: Options) -> None:
        terminal = sys.stdout.isatty()
        self._fields = fields_of(options)
        self._json = options.json or not terminal
        colored = terminal and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
        self._formatter = RawEventFormatter(color_output=colored, verbose=options.verbose)

    def print(self, event: RawEvent, rules: Sequence[FilterRule] = ()) -> None:
        """Write one line; it ends with the rules that the event hit."""
        sys.stdout.write(self.line(event, rules) + "\n")

    def line(self, event: RawEvent, rules: Sequence[FilterRule] = ()) -> str:
        """Return the line of one event."""
        if rules and self._fields is None:
            if not self._json:
                return f"{self._formatter.format(event)}  [{', '.join(_hit(rule) for rule in rules)}]"
            hits = [{"name": rule.name, "severity": severity_of(rule), "tags": list(rule.tags)} for rule in rules]
            return json.dumps(json.loads(self._formatter.format_json(event)) | {"rules": hits})
        if self._fields is not None:
            chosen = {name: [rule.name for rule in rules] if name == "rules" else value_of(event, name) for name in self._fields}
            return json.dumps(chosen) if self._json else "\t".join(_cell(value) for value in chosen.values())
        return self._formatter.format_json(event) if self._json else self._formatter.format(event)


def value_of(event: RawEvent, name: str) -> Any:
    """Return one field of an event, in the form of to_dict(); None where its domain has no such field."""
    if name == "time":
        return rfc3339(event.timestamp)
    if name == "kind":
        return event.kind
    values = event.to_dict()
    return values[name] if name in values else values.get("details", {}).get(name)


def severity_of(rule: FilterRule) -> str | None:
    """Return a rule's severity by name."""
    return rule.severity.text if isinstance(rule.severity, Severity) else None


def _hit(rule: FilterRule) -> str:
    severity = severity_of(rule)
    return escape(rule.name) + (f": {severity}" if severity else "")


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, list):
        return " ".join(escape(str(item)) for item in value)
    return escape(str(value))
