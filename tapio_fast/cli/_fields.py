# SPDX-License-Identifier: Apache-2.0
"""`list fields`: the fields of records, what filters compare them as, and what else filters know. Relies on `filtering._fields`."""
from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tapio_fast import schema
from tapio_fast.filtering._fields import ALIASES, COMPUTED, FACTS, LATER, Field, catalogue, find
from tapio_fast.types import SUBTYPES, EventType

ALL = "filter"      # stands for a domain: what is in no record
_UNITS = {"ns": "ns us ms s m h d", "us": "ns us ms s m h d", "bytes": "B kB MB GB TB KiB MiB GiB TiB"}
_SHOWN = 4          # names of a field's values in a table; `list fields NAME` has them all


def names() -> list[str]:
    """Return what `list fields` takes: domains, "filter", fields, aliases."""
    return [*schema.DTYPES, ALL, *catalogue(), *ALIASES, "flags"]


def rows(what: str | None) -> list[dict[str, Any]]:
    """Return a row for each field: of a domain, of filters only, one field, or of all: those of every record once."""
    if what is None:
        first = next(iter(schema.DTYPES))
        return [row for name in schema.DTYPES for row in _of_domain(name) if name == first or row["domain"] != "(all)"] + _of_filters()
    if what in schema.DTYPES:
        return list(_of_domain(what))
    if what == ALL:
        return _of_filters()
    wanted = {"flags": {"record_flags", "file_flags"}}.get(what, {what})
    return [row for row in rows(None) if wanted & {*row["filter"], row["field"]}]


def constants(what: str) -> dict[str, int]:
    """Return the named values of a field or alias."""
    fields = [find(name) for name in ("record_flags", "file_flags")] if what == "flags" else [find(what)]
    return {name: value for field in fields if field is not None for name, value in _named(field).items()}


def _of_domain(domain: str) -> Iterable[dict[str, Any]]:
    for name, (dtype, offset, *_) in (schema.DTYPES[domain].fields or {}).items():
        words = dtype.shape[0] if dtype.shape and dtype.base.itemsize == 8 else 0       # the arguments of a system call
        shown = [f"arg{i}" for i in range(words)] or ["record_flags" if name == "flags" else name]
        field = None if domain == schema.META else find(shown[0])
        place = "(all)" if name in schema.HEADER_FIELDS else domain
        yield _row(place, name, _type(dtype), offset, shown if field else [], field, "")


def _of_filters() -> list[dict[str, Any]]:
    known = catalogue()
    told = {**{name: about for name, (_, about) in FACTS.items()}, **dict.fromkeys(LATER, "needs enrichment"),
            "descendant_of": "ids of processes: they and all that descend from them", "subtype": "names of subtypes, or their numbers",
            "kind": "type.subtype: `list events` has them", "type": "names of domains, or their numbers"}
    found = [_row("(filter)", name, known[name].type, None, [name], known[name], told.get(name, "")) for name in [*COMPUTED, *FACTS, *LATER]]
    return found + [_row("(filter)", alias, known[name].type, None, [alias], known[name], f"the same as {name}") for alias, name in ALIASES.items()]


def _row(domain: str, name: str, kind: str, offset: int | None, shown: list[str], field: Field | None, about: str) -> dict[str, Any]:
    named = {} if field is None or name in ALIASES else _named(field)
    unit = "" if field is None or name in ALIASES else field.unit
    return {"domain": domain, "field": name, "type": kind, "offset": offset, "filter": shown, "compared_as": field.type if field else "",
            "unit": unit, "values": named, "about": about}


def _named(field: Field) -> Mapping[str, int]:
    if field.name == "type":
        return {t.text: int(t) for t in EventType if t in SUBTYPES and t is not EventType.META}
    return field.names


def short(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row for a table: in a few words what a filter may say of it."""
    some = list(row["values"])[:_SHOWN]
    more = len(row["values"]) - len(some)
    shown = row["filter"] if len(row["filter"]) < 2 else [row["filter"][0], "...", row["filter"][-1]]
    named = f"{', '.join(some)}{f' ... ({more} more)' if more > 0 else ''}"
    write = "; ".join(filter(None, (row["about"], _UNITS.get(row["unit"], ""), named)))
    return {"domain": row["domain"], "field": row["field"], "type": row["type"], "offset": "" if row["offset"] is None else row["offset"],
            "filter": "" if row["filter"] == [row["field"]] else " ".join(shown), "values": write}


def _type(dtype: Any) -> str:
    if dtype.names:
        return "text"
    return f"{dtype.base.str.lstrip('<|=')}[{dtype.shape[0]}]" if dtype.shape else str(dtype.str.lstrip("<|="))
