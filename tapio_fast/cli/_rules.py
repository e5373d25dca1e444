# SPDX-License-Identifier: Apache-2.0
"""`rules check`, `rules convert`, `rules test`: rules of ours, Sigma's and Falco's, and what they hit in what was recorded."""
from __future__ import annotations

import json as _json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import typer

from tapio_fast import schema
from tapio_fast._escape import escape
from tapio_fast.cli._exit import CONFIG, FAILED, IO, OK, say
from tapio_fast.cli._settings import near
from tapio_fast.errors import FilterError
from tapio_fast.formatting import rfc3339

_MAX_LINE = 1 << 20     # bytes of a JSON line


def check(files: list[Path], json: bool) -> int:
    """Say of each rule whether it converts, and why not; 0 if all do, 1 if some do not, 78 if a file is no rules file."""
    found, code = _load(files)
    refused = list(chain.from_iterable(f.refusals for f in found.values()))
    if json:
        print(_json.dumps({"rules": [_shown(rule) for f in found.values() for rule in f.rules], "refused": list(map(_refusal, refused)),
                           "disabled": [_refusal(r) for f in found.values() for r in f.disabled]}))
        return code or (FAILED if refused else OK)
    for path, each in found.items():
        for rule in each.rules:
            for note in rule.notes:
                print(escape(f"note     {rule.source}: {rule.name}: {note}"))
        for one in each.disabled:
            print(escape(f"disabled {one}"))
        for one in each.refusals:
            print(escape(f"refused  {one}"))
        print(escape(f"{path}: {len(each.rules)} converted, {len(each.refusals)} refused, {len(each.disabled)} disabled"))
    return code or (FAILED if refused else OK)


def convert(files: list[Path], output: Path | None) -> int:
    """Print rules as one of our own files; what was refused is told on stderr."""
    from tapio_fast.filtering._imported import unique
    from tapio_fast.filtering._load import rules_toml
    found, code = _load(files)
    refused = [one for f in found.values() for one in f.refusals]
    for one in refused:
        say(f"refused {one}")
    text = rules_toml(unique(chain.from_iterable(f.rules for f in found.values())))
    if output is None:
        sys.stdout.write(text)
    else:
        try:
            output.write_text(text)
        except OSError as error:
            say(f"error: cannot write {output}: {error.strerror}")
            return IO
    return code or (FAILED if refused else OK)


def test(files: list[Path], store: Path | None, events: Path | None, json: bool) -> int:
    """Say which rules hit which recorded events.

    An event that says what it expects ("expect": [names of rules]) is compared: 1 if one differs, or if a rule was refused.
    """
    if (store is None) == (events is None):
        raise typer.BadParameter("give either --store DIR or --events FILE")
    found, code = _load(files)
    if code:
        return code
    rules = [rule for f in found.values() for rule in f.rules]
    refused = [one for f in found.values() for one in f.refusals]
    for one in refused:
        say(f"refused {one}")
    tried = _try_store(rules, store, json) if store is not None else _try_lines(rules, events or Path(), json)
    _print_counts(tried, json)
    return FAILED if tried.wrong or refused else OK


@dataclass
class _Tried:
    """hits: events by name of the rule; wrong: events that were not hit as they expect."""

    hits: dict[str, int]
    events: int = 0
    wrong: int = 0


def _try_store(rules: list[Any], store: Path, json: bool) -> _Tried:
    """As a filter of a view does it: in C, batch by batch."""
    from tapio_fast import EventFilter, FilterRule, RawStore
    made = [FilterRule.of_tree(rule.name, rule.node) for rule in rules]
    tried = _Tried(dict.fromkeys((rule.name or "" for rule in made), 0))
    usable = []
    for rule in made:
        later = EventFilter(rules=[rule]).needs()
        if later:
            say(f"{rule.name}: needs enrichment, which is not available in this version, so it hits nothing: {', '.join(later)}")
        else:
            usable.append(rule)
    judge = EventFilter(rules=usable) if usable else None
    with RawStore(store) as opened:
        for batch in opened.scan():
            tried.events += len(batch) - len(batch[schema.META])
            for event, hit in judge.hits(batch) if judge else ():
                names = [rule.name or "" for rule in hit]
                for name in names:
                    tried.hits[name] += 1
                _print_hit(rfc3339(event.timestamp), event.to_dict(), names, json)
    return tried


def _try_lines(rules: list[Any], path: Path, json: bool) -> _Tried:
    """Event by event, each with the facts and expectations that its line gives."""
    from tapio_fast.filtering._judge import Judge
    judge = Judge()
    of_kind: dict[tuple[str, str], list[Any]] = {}      # the rules that a kind of events can be hit by
    tried = _Tried(dict.fromkeys((rule.name for rule in rules), 0))
    for place, event in _lines(path):
        judge.learn(event)
        tried.events += 1
        kind = event["type"], event["subtype"]
        if kind not in of_kind:
            of_kind[kind] = [rule for rule in rules if judge.possible(rule.node, event)]
        hits = [rule.name for rule in of_kind[kind] if judge.matches(rule.node, event)]
        for name in hits:
            tried.hits[name] += 1
        tried.wrong += not _as_expected(place, event, hits, set(tried.hits))
        if hits:
            _print_hit(place, event, hits, json)
    return tried


def _load(files: list[Path]) -> tuple[dict[Path, Any], int]:
    from tapio_fast.filtering._load import load_rules
    found, code = {}, OK
    for path in files:
        try:
            found[path] = load_rules(path)
        except FilterError as error:
            say(f"error: {error}")
            code = CONFIG
    return found, code


def _shown(rule: Any) -> dict[str, Any]:
    from tapio_fast.filtering._text import to_text
    return {"name": rule.name, "severity": rule.severity.text, "tags": list(rule.tags), "description": rule.description, "source": rule.source,
            "id": rule.id, "notes": list(rule.notes), "expr": to_text(rule.node)}


def _refusal(one: Any) -> dict[str, str]:
    return {"name": one.name, "where": one.where, "why": one.why}


def _lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Events of a file of JSON Lines, as `replay --json` writes them."""
    try:
        with open(path, "rb") as handle:
            number = 0
            while line := handle.readline(_MAX_LINE + 1):
                number += 1
                if line.strip():
                    yield f"line {number}", _event(line, f"{path}:{number}")
    except OSError as error:
        raise OSError(f"cannot read events {path}: {error.strerror}") from None


def _event(line: bytes, where: str) -> dict[str, Any]:
    try:
        event = _json.loads(line) if len(line) <= _MAX_LINE else None
    except (ValueError, RecursionError):
        event = None
    right = isinstance(event, dict) and all(isinstance(event.get(key, {}), dict) for key in ("details", "facts"))
    if not right or not isinstance(event, dict) or not isinstance(event.get("type"), str) or not isinstance(event.get("subtype"), str):
        raise FilterError(f'{where}: this is no event: {{"type": "process", "subtype": "exec", "pid": 1, "details": {{...}}}} as `replay --json` '
                          f"writes it, in at most {_MAX_LINE >> 20} MiB")
    _check_names(event, where)
    return event


def _check_names(event: Mapping[str, Any], where: str) -> None:
    """A misspelt word would make an event that nothing hits."""
    from tapio_fast.filtering._fields import FACTS
    kind = f"{event['type']}.{event['subtype']}"
    known = schema.KIND_BY_NAME.get(kind)
    if known is None or known.domain == schema.META:
        kinds = [k.name for k in schema.KINDS if k.domain != schema.META]
        raise FilterError(f"{where}: there are no events {kind!r}; {near(kind, kinds)}`tapio-fast list events` names them")
    fields = schema.DTYPES[known.domain].names or ()
    for part, names in (("details", fields), ("facts", (*FACTS, *fields))):
        for name in event.get(part, {}):
            if name not in names:
                raise FilterError(f"{where}: {part} of {kind} have no {name!r}; {near(name, names)}`tapio-fast list fields {known.domain}` names them")


def _as_expected(place: str, event: Mapping[str, Any], hits: list[str], known: set[str]) -> bool:
    expected = event.get("expect")
    if expected is None:
        return True
    if not isinstance(expected, list) or not all(isinstance(name, str) for name in expected):
        raise FilterError(f'{place}: "expect" is a list of names of rules')
    strange = [name for name in expected if name not in known]
    missing, more = sorted(set(expected) - set(hits)), sorted(set(hits) - set(expected))
    for what, names in (("is no rule here", strange), ("was expected and did not hit", [n for n in missing if n in known]), ("was not expected", more)):
        for name in names:
            say(f"{place}: {name!r} {what}")
    return not (missing or more)


def _print_hit(place: str, event: Mapping[str, Any], hits: list[str], json: bool) -> None:
    if json:
        print(_json.dumps({"event": place, "rules": hits, "type": event["type"], "subtype": event["subtype"], "pid": event.get("pid"),
                           "timestamp": event.get("timestamp")}))
    else:
        print(escape(f"{place}: {event['type']}.{event['subtype']} pid {event.get('pid', '-')} {event.get('comm', '')}: {', '.join(hits)}"))


def _print_counts(tried: _Tried, json: bool) -> None:
    if json:
        print(_json.dumps({"events": tried.events, "hits": tried.hits, "unexpected": tried.wrong}))
        return
    print(f"{tried.events} events; hits by rule:")
    for name, count in tried.hits.items():
        print(escape(f"{count:>8}  {name}"))
    if tried.wrong:
        print(f"{tried.wrong} events were not hit as expected")
