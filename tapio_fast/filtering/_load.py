# SPDX-License-Identifier: Apache-2.0
"""Rules out of any file: our own TOML, Sigma or Falco YAML, told by their content; and rules as TOML again. docs/rules.md is the manual.

Our own file is a list of [[rules]] tables with the keys of FilterRule and a description. Relies on `_sigma`, `_falco`, `_rules`.
"""
from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

from tapio_fast.errors import FilterError
from tapio_fast.filtering import _falco, _sigma
from tapio_fast.filtering._fields import LATER
from tapio_fast.filtering._imported import Imported, ImportedRule, Refusal, each_file, unique
from tapio_fast.filtering._parser import parse
from tapio_fast.filtering._rules import FilterRule
from tapio_fast.filtering._text import to_text
from tapio_fast.filtering._tree import TRUE, all_of, leaves
from tapio_fast.filtering._yaml import read_text
from tapio_fast.types import Severity

KEYS = ("name", "expr", "type", "subtype", "min_severity", "conditions", "process_name_regex", "severity", "tags", "description")
SUFFIXES = (".toml", ".tapio", ".yml", ".yaml")
_TABLE = re.compile(r"^[ \t]*\[\[[ \t]*rules[ \t]*\]\]", re.MULTILINE)
_FIRST = re.compile(r"^(?![ \t]*(?:#|---|%|$))[ \t]*(.*)$", re.MULTILINE)


def load_rules(path: str | os.PathLike[str], *more: str | os.PathLike[str]) -> Imported:
    """Read rules out of a file of any known form, or of all of a directory; of several files and directories together.

    Raises FilterError when a single file cannot be read or is none of them; of a directory such a file is a refusal.
    """
    return _together([_load_one(Path(given)) for given in (path, *more)], [])


def _load_one(given: Path) -> Imported:
    if not given.is_dir():
        return _read(_form(given), [given], single=True)
    files = sorted(p for p in given.rglob("*") if p.suffix in SUFFIXES and p.is_file())
    if not files:
        raise FilterError(f"{given}: there are no rules in this directory: files end in {', '.join(SUFFIXES)}")
    forms: dict[str, list[Path]] = {}
    refused: list[Refusal] = []
    each_file(files, lambda file: forms.setdefault(_form(file), []).append(file), refused)
    return _together([_read(form, forms[form], single=False) for form in sorted(forms)], refused)


def _together(found: list[Imported], refused: list[Refusal]) -> Imported:
    return Imported(unique(chain.from_iterable(f.rules for f in found)), (*chain.from_iterable(f.refusals for f in found), *refused),
                    tuple(chain.from_iterable(f.disabled for f in found)))


def _form(path: Path) -> str:
    """Tell a file's form by its first line that is no comment."""
    text = read_text(path)
    found = _FIRST.search(text)
    first = found[1] if found else ""
    if path.suffix in (".toml", ".tapio") or re.match(r"\[\[?[\w. \"-]+\]\]?|[\w-]+\s*=", first):
        return "toml"
    if first == "-" or first.startswith(("- ", "[")):
        return "falco"
    if re.match(r"[\w\"'{]", first):
        return "sigma"
    raise FilterError(f"{path}: this is no rules file: neither our TOML ([[rules]]), nor Sigma (title:), nor Falco (- rule:)")


def _read(form: str, files: list[Path], *, single: bool) -> Imported:
    if form == "sigma":
        return _sigma.from_files(files, single=single)
    if form == "falco":
        return _falco.from_files(files, single=single)
    found: list[ImportedRule] = []
    refused: list[Refusal] = []

    def take(file: Path) -> None:
        rules, wrong = _own(file)
        found.extend(rules)
        refused.extend(wrong)

    each_file(files, take, refused, single=single)
    return Imported(unique(found), tuple(refused))


# -- our own files -----------------------------------------------------------------------------------------------------------

def _own(path: Path) -> tuple[list[ImportedRule], list[Refusal]]:
    text = read_text(path)
    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise FilterError(f"{path}: this is no TOML: {error}") from None
    unknown = [key for key in data if key != "rules"]
    tables = data.get("rules", [])
    if unknown or not isinstance(tables, list) or not tables:
        raise FilterError(f"{path}: " + (f"the key {unknown[0]!r} is not known here" if unknown else "there is no rule in it") +
                          "; a rules file is a list of [[rules]] tables")
    lines = [text.count("\n", 0, match.start()) + 1 for match in _TABLE.finditer(text)]
    found: list[ImportedRule] = []
    refused: list[Refusal] = []
    for i, table in enumerate(tables):
        where = f"{path}:{lines[i]}" if len(lines) == len(tables) else str(path)
        name = table.get("name") if isinstance(table, dict) else None
        shown = name if isinstance(name, str) and name else f"(rule {i + 1})"
        try:
            found.append(_rule(table, shown, where, str(path.parent)))
        except FilterError as error:
            refused.append(Refusal(shown, where, str(error)))
    return found, refused


def _rule(table: Any, name: str, where: str, folder: str) -> ImportedRule:
    if not isinstance(table, dict):
        raise FilterError("a rule is a table")
    for key, value in table.items():
        if key not in KEYS:
            near = difflib.get_close_matches(key, KEYS, 1)
            raise FilterError(f"no key {key!r}; " + (f"did you mean {near[0]!r}?" if near else f"there are {', '.join(KEYS)}"))
        if key in ("name", "expr", "process_name_regex", "description") and not isinstance(value, str):
            raise FilterError(f"{key} is a text, not {value!r}")
    if not isinstance(table.get("conditions", {}), dict) or not isinstance(table.get("tags", []), list):
        raise FilterError("conditions is a table, tags is a list")
    taken = {key: value for key, value in table.items() if key not in ("description", "expr", "tags")}
    rule = FilterRule(**{**taken, "name": name, "tags": tuple(map(str, table.get("tags", [])))})
    node = all_of([rule.tree, parse(table["expr"], folder=folder) if table.get("expr") else TRUE])
    if node == TRUE:
        raise FilterError("it says nothing of what it matches; give expr, type or conditions")
    later = sorted({leaf.field.name for leaf in leaves(node) if leaf.field.name in LATER})
    notes = [f"{field} needs enrichment, which this version does not have" for field in later]
    severity = rule.severity if isinstance(rule.severity, Severity) else Severity.INFO
    return ImportedRule(name, node, severity, rule.tags, table.get("description", ""), where, "", tuple(notes))


def rules_toml(rules: Iterable[ImportedRule]) -> str:
    """Return rules as one of our own files; load_rules() of it gives the same trees."""
    out = ["# Rules of tapio_fast; docs/rules.md tells what the keys mean."]
    for rule in rules:
        out += ["", "[[rules]]", *(f"# {_line(note)}" for note in (f"from {rule.source}" if rule.source else "", *rule.notes) if note),
                f"name = {_quoted(rule.name)}", f"severity = {_quoted(rule.severity.text)}"]
        if rule.tags:
            out.append(f"tags = [{', '.join(map(_quoted, rule.tags))}]")
        if rule.description:
            out.append(f"description = {_quoted(rule.description)}")
        text = to_text(rule.node)
        out.append(f"expr = '{text}'" if "'" not in text else f"expr = {_quoted(text)}")
    return "\n".join(out) + "\n"


def _line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)


def _quoted(text: str) -> str:
    """A basic string of TOML: JSON's but for DEL, which TOML wants escaped."""
    return json.dumps(text.encode("utf-8", "replace").decode(), ensure_ascii=False).replace("\x7f", "\\u007f")
