# SPDX-License-Identifier: Apache-2.0
"""Falco rules files -> our tree: rules, macros, lists, appends and overrides, exceptions. docs/rules.md is the manual.

Files of a directory are read in the order of their names, as Falco reads several: a later item may append to or replace an earlier one.
Relies on `_falco_condition` (the language), `_falco_fields` (the table), `_yaml`; PyYAML is the extra "falco".
"""
from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tapio_fast.errors import FilterError
from tapio_fast.filtering._falco_condition import LIST_OPS, Check, Condition, Joined, Macro, Value, parse_condition, place
from tapio_fast.filtering._falco_fields import leaf
from tapio_fast.filtering._imported import (
    MAX_LEAVES,
    Imported,
    ImportedRule,
    Refusal,
    Unconvertible,
    each_file,
    finish,
    joined,
    measure,
    rule_files,
    rule_name,
    unique,
)
from tapio_fast.filtering._tree import Node, all_of, opposite
from tapio_fast.filtering._yaml import documents, read_text
from tapio_fast.types import Severity

MAX_VALUES = 100_000        # of a list, other lists in it expanded
MAX_CHAIN = 50              # macros within macros, lists within lists
SEVERITIES = {"EMERGENCY": Severity.CRITICAL, "ALERT": Severity.CRITICAL, "CRITICAL": Severity.CRITICAL, "ERROR": Severity.ERROR,
              "WARNING": Severity.WARNING, "NOTICE": Severity.INFO, "INFORMATIONAL": Severity.INFO, "INFO": Severity.INFO,
              "DEBUG": Severity.DEBUG}
_RULE_KEYS = {"rule", "condition", "desc", "output", "priority", "tags", "exceptions", "enabled", "source", "append", "override",
              "warn_evttypes", "skip-if-unknown-filter", "capture", "capture_duration"}
_TEXT_KEYS = ("condition", "output", "desc")
_IGNORED = ("required_engine_version", "required_plugin_versions")


@dataclass
class _Item:
    """A rule, macro or list as it stands after appends. wrong: why it cannot be used."""

    name: str
    where: str
    data: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    wrong: str = ""


def from_falco(path: str | os.PathLike[str]) -> Imported:
    """Read Falco rules out of a file, or of every *.yaml and *.yml below a directory.

    Raises FilterError when a single file cannot be read; of a directory such a file is a refusal.
    """
    return from_files(rule_files(Path(path)), single=not Path(path).is_dir())


def from_files(files: list[Path], *, single: bool = False) -> Imported:
    """Read files together; single: what cannot be read raises FilterError and is not a refusal."""
    return _Import().run(files, single)


class _Import:
    def __init__(self) -> None:
        self.items: dict[str, dict[str, _Item]] = {"rule": {}, "macro": {}, "list": {}}
        self.refused: list[Refusal] = []
        self.lists: dict[str, list[str]] = {}                       # expanded
        self.trees: dict[str, tuple[Node, tuple[str, ...]]] = {}    # of macros: tree, notes
        self.failed: dict[str, str] = {}                            # macros that cannot be a tree: why

    def run(self, files: list[Path], single: bool) -> Imported:
        each_file(files, self.file, self.refused, single=single)
        found, disabled = [], []
        for item in self.items["rule"].values():
            if not item.wrong and item.data.get("enabled", "true").lower() in ("false", "no", "off"):
                disabled.append(Refusal(rule_name(item.name), item.where, "enabled is false"))
                continue
            try:
                found.append(self.rule(item))
            except Unconvertible as why:
                self.refused.append(Refusal(rule_name(item.name), item.where, str(why)))
            except RecursionError:
                self.refused.append(Refusal(rule_name(item.name), item.where, "it is nested too deeply, its macros written out"))
        return Imported(unique(found), tuple(self.refused), tuple(disabled))

    # -- items of files --------------------------------------------------------------------------------------------------

    def file(self, path: Path) -> None:
        for document in documents(read_text(path), str(path), typed=False, extra="falco"):
            if not isinstance(document.data, list):
                raise FilterError(f"{path}:{document.line}: a Falco rules file is a list of rules, macros and lists")
            for line, data in zip(document.lines, document.data, strict=True):
                self.item(data, f"{path}:{line}")

    def item(self, data: Any, where: str) -> None:
        kind = next((k for k in ("rule", "macro", "list") if isinstance(data, dict) and k in data), None)
        if kind is None:
            if not (isinstance(data, dict) and set(data) & set(_IGNORED)):
                shown = ", ".join(map(str, data)) if isinstance(data, dict) else str(data)[:40]
                self.refused.append(Refusal("(item)", where, f"this is no rule, macro or list: {shown}"))
            return
        name = data[kind]
        if not isinstance(name, str) or not name:
            self.refused.append(Refusal("(item)", where, f"the name of a {kind} is a text"))
            return
        known = self.items[kind].get(name)
        how = _how(kind, data, known)
        if isinstance(how, str):
            self.refused.append(Refusal(rule_name(name), where, how))
            if known is not None:
                known.wrong = f"what {where} says of it was refused, and without that it would not match what it should"
        elif how and known is not None:
            _merge(known, data, how, where)
        else:
            self.items[kind][name] = item = _Item(name, where, data)
            if known is not None:
                item.notes.append(f"it replaces the {kind} of the same name at {known.where}")
            if kind == "rule":
                item.notes += [f"the key {key!r} means nothing here" for key in data if key not in _RULE_KEYS]

    # -- one rule --------------------------------------------------------------------------------------------------------

    def rule(self, item: _Item) -> ImportedRule:
        data = item.data
        if item.wrong:
            raise Unconvertible(item.wrong)
        if data.get("source", "syscall") not in ("", "syscall"):
            raise Unconvertible(f"source {data['source']}: only system calls are recorded")
        priority = str(data.get("priority", "")).upper()
        if priority not in SEVERITIES:
            raise Unconvertible(f"priority {data.get('priority')!r} is none; there are {', '.join(SEVERITIES)}")
        tags = data.get("tags") or []
        if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
            raise Unconvertible("tags are a list of texts")
        notes: list[str] = []
        text = data.get("condition")
        if not isinstance(text, str) or not text.strip():
            raise Unconvertible("it has no condition")
        parts = [self.tree(parse_condition(text), text, notes, ())]
        excepted = self.exceptions(data.get("exceptions"), notes)
        if excepted:
            parts.append(opposite(joined(excepted)))
        node = finish(all_of(parts))
        description = data.get("desc")
        return ImportedRule(rule_name(item.name), node, SEVERITIES[priority], tuple(tags), description if isinstance(description, str) else "",
                            item.where, "", tuple(dict.fromkeys([*item.notes, *notes])))

    def tree(self, condition: Condition, text: str, notes: list[str], within: tuple[str, ...]) -> Node:
        """Return the tree of a condition. within: the macros that it stands in."""
        if isinstance(condition, Macro):
            try:
                return self.macro(condition.name, notes, within)
            except Unconvertible as why:
                raise Unconvertible(f"{why} (condition, {place(text, condition.at)})" if not within else str(why)) from None
        if isinstance(condition, Joined):
            parts = [self.tree(part, text, notes, within) for part in condition.parts]
            if sum(measure(part)[0] for part in parts) > MAX_LEAVES:
                raise Unconvertible(f"it has more than {MAX_LEAVES} tests with its macros written out; use lists of values")
            if condition.word == "not":
                return opposite(parts[0])
            return all_of(parts) if condition.word == "and" else joined(parts)
        try:
            return leaf(condition, self.values(condition), notes)
        except Unconvertible as why:
            raise Unconvertible(f"{why} (condition, {place(text, condition.at)})") from None

    def macro(self, name: str, notes: list[str], within: tuple[str, ...]) -> Node:
        item = self.items["macro"].get(name)
        if item is None:
            raise Unconvertible(f"there is no macro {name!r}" + ("; it is a list, which goes with `in`" if name in self.items["list"] else ""))
        if name in within:
            raise Unconvertible(f"the macro {name!r} stands in itself: {' -> '.join((*within[within.index(name):], name))}")
        if len(within) >= MAX_CHAIN:
            raise Unconvertible(f"macros stand in macros more than {MAX_CHAIN} deep")
        if item.wrong or name in self.failed:
            raise Unconvertible(f"macro {name}: {item.wrong or self.failed[name]}")
        if name not in self.trees:
            text = item.data.get("condition")
            if not isinstance(text, str):
                raise Unconvertible(f"the macro {name!r} has no condition")
            own: list[str] = []
            try:
                tree = self.tree(parse_condition(text), text, own, (*within, name))
            except Unconvertible as why:
                self.failed[name] = str(why)
                raise Unconvertible(f"macro {name}: {why}") from None
            self.trees[name] = tree, tuple(own)
        tree, own_notes = self.trees[name]
        notes += own_notes
        return tree

    # -- values ----------------------------------------------------------------------------------------------------------

    def values(self, check: Check) -> list[str]:
        """Return the values of a check; in lists, bare words that name a list become its items."""
        if check.op not in LIST_OPS:
            return [value.text for value in check.values]
        found: list[str] = []
        for value in check.values:
            named = value.bare and value.text in self.items["list"]
            found += self.items_of(value.text, ()) if named else [value.text]
        return list(dict.fromkeys(found))

    def items_of(self, name: str, within: tuple[str, ...]) -> list[str]:
        if name in self.lists:
            return self.lists[name]
        if name in within:
            raise Unconvertible(f"the list {name!r} stands in itself: {' -> '.join((*within[within.index(name):], name))}")
        if len(within) >= MAX_CHAIN:
            raise Unconvertible(f"lists stand in lists more than {MAX_CHAIN} deep")
        item = self.items["list"][name]
        items = item.data.get("items")
        if item.wrong or not isinstance(items, list) or not all(isinstance(i, str) for i in items):
            raise Unconvertible(f"list {name}: {item.wrong or 'its items are a list of texts'}")
        found: dict[str, None] = {}
        for text in items:
            more = self.items_of(text, (*within, name)) if text in self.items["list"] else [_unquoted(text)]
            found.update(dict.fromkeys(more))
            if len(found) > MAX_VALUES:
                raise Unconvertible(f"list {name}: more than {MAX_VALUES} values")
        self.lists[name] = [*found]
        return self.lists[name]

    # -- exceptions ------------------------------------------------------------------------------------------------------

    def exceptions(self, given: Any, notes: list[str]) -> list[Node]:
        """Return the trees of what a rule does not mean: any of them excepts a record."""
        if given in (None, ""):
            return []
        if not isinstance(given, list):
            raise Unconvertible("exceptions are a list")
        return [node for each in given for node in self.exception(each, notes)]

    def exception(self, each: Any, notes: list[str]) -> Iterable[Node]:
        name = each.get("name") if isinstance(each, dict) else None
        if not isinstance(name, str):
            raise Unconvertible("an exception is a map with a name, fields, comps and values")
        fields, comps, values = each.get("fields"), each.get("comps"), each.get("values") or []
        if not isinstance(values, list) or not fields:
            raise Unconvertible(f"exception {name}: it needs fields, and values that are a list")
        single = isinstance(fields, str)
        if not values:
            return []
        fields = [fields] if single else fields
        comps = [comps or "in"] if single else comps or ["="] * len(fields)
        rows = [[values]] if single else values
        if not isinstance(comps, list) or len(comps) != len(fields):
            raise Unconvertible(f"exception {name}: comps has as many items as fields")
        found = []
        for row in rows:
            if not isinstance(row, list) or len(row) != len(fields):
                raise Unconvertible(f"exception {name}: a row of values has as many items as fields, which {row!r} has not")
            found.append(all_of([self.excepted(name, f, c, v, notes) for f, c, v in zip(fields, comps, row, strict=True)]))
        return found

    def excepted(self, name: str, field_name: Any, op: Any, value: Any, notes: list[str]) -> Node:
        items = value if isinstance(value, list) else [value]
        if not all(isinstance(i, str) for i in (field_name, op, *items)) or (len(items) != 1 and op not in LIST_OPS):
            raise Unconvertible(f"exception {name}: {op} takes {'a list of texts' if op in LIST_OPS else 'one text'}")
        check = parse_condition(f"{field_name} {op} x")
        if not isinstance(check, Check):
            raise Unconvertible(f"exception {name}: {field_name!r} is no field")
        check = Check(check.field, check.index, check.calls, check.op, tuple(Value(_unquoted(i), i == _unquoted(i)) for i in items), 0, True)
        try:
            return leaf(check, self.values(check), notes)
        except Unconvertible as why:
            raise Unconvertible(f"exception {name}: {why}") from None


def _unquoted(text: str) -> str:
    quoted = len(text) >= 2 and text[0] == text[-1] and text[0] in "'\""
    return text[1:-1] if quoted else text


def _how(kind: str, data: dict[str, Any], known: _Item | None) -> dict[str, str] | str | None:
    """Return which keys are appended or replaced, None for a whole new item, or why it cannot be done."""
    override = data.get("override")
    keys = [key for key in data if key not in (kind, "append", "override")]
    if override is not None:
        if not isinstance(override, dict) or any(v not in ("append", "replace") for v in override.values()):
            return "override is a map of keys to append or replace"
        if known is None:
            return f"it overrides a {kind} that is not there (before it)"
        unsaid = [key for key in keys if key not in override] or [key for key in override if key not in data]
        if unsaid:
            return f"override says nothing of the key {unsaid[0]!r}, or the key is missing"
        return dict(override)
    if str(data.get("append", "false")).lower() in ("true", "yes", "on"):
        if known is None:
            return f"it appends to a {kind} that is not there (before it)"
        return {key: "append" for key in keys if key in ("condition", "items", "exceptions", "tags")}
    if kind == "rule" and keys == ["enabled"]:
        return {"enabled": "replace"} if known is not None else "it switches a rule that is not there (before it)"
    return None


def _merge(known: _Item, data: dict[str, Any], how: dict[str, str], where: str) -> None:
    """Change an item by what a later one says."""
    merged = dict(known.data)
    for key, action in how.items():
        new, old = data[key], merged.get(key)
        if action == "replace" or old is None:
            merged[key] = new
        elif isinstance(old, str) and isinstance(new, str) and key in _TEXT_KEYS:
            merged[key] = f"{old} {new}"
        elif key == "exceptions" and isinstance(old, list) and isinstance(new, list):
            merged[key] = _with_values(old, new)
        elif isinstance(old, list) and isinstance(new, list):
            merged[key] = [*old, *new]
        else:
            known.wrong = f"{where} appends to {key} what does not fit to it"
            return
    known.data = merged
    known.notes.append(f"changed by {where}: {', '.join(how)}")


def _with_values(old: list[Any], new: list[Any]) -> list[Any]:
    """Append exceptions: values to those of the same name, else a new one."""
    found = [dict(each) if isinstance(each, dict) else each for each in old]
    by_name = {each.get("name"): each for each in found if isinstance(each, dict)}
    for each in new:
        known = by_name.get(each.get("name")) if isinstance(each, dict) else None
        if known is None or not isinstance(each.get("values"), list) or "fields" in each:
            found.append(each)
        else:
            known["values"] = [*(known.get("values") or []), *each["values"]]
    return found
