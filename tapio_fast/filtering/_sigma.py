# SPDX-License-Identifier: Apache-2.0
"""Sigma rules -> our tree: pySigma reads them (modifiers, conditions, filters), we walk its condition tree. docs/rules.md is the manual.

No query text in between: text backends double the backslashes of regexes. Relies on `_sigma_fields`, `_yaml`; pySigma is the extra
"sigma" and imported where it is used.
"""
from __future__ import annotations

import copy
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from tapio_fast._core import _regex
from tapio_fast.errors import FilterError
from tapio_fast.filtering._imported import (
    Imported,
    ImportedRule,
    Refusal,
    Unconvertible,
    each_file,
    finish,
    joined,
    rule_files,
    rule_name,
    unique,
)
from tapio_fast.filtering._sigma_fields import Category, category_of, field_leaf, keyword_leaf
from tapio_fast.filtering._tree import Node, all_of, opposite
from tapio_fast.filtering._yaml import documents, read_text
from tapio_fast.types import Severity

MAX_CONDITION = 10_000      # characters of a condition
MAX_BRACKETS = 20           # parentheses within each other, before pySigma's parser sees them
SEVERITIES = {"INFORMATIONAL": Severity.DEBUG, "LOW": Severity.INFO, "MEDIUM": Severity.WARNING, "HIGH": Severity.ERROR,
              "CRITICAL": Severity.CRITICAL}
# What pySigma finds wrong with a rule and that changes nothing of what it matches
_HARMLESS = ("SigmaIdentifierError", "SigmaDateError", "SigmaModifiedError", "SigmaStatusError", "SigmaTagError", "SigmaReferencesError",
             "SigmaFalsePositivesError", "SigmaAuthorError", "SigmaDescriptionError", "SigmaFieldsError", "SigmaLicenseError",
             "SigmaRelatedError", "SigmaScopeError", "SigmaNameError", "SigmaTitleError")


def from_sigma(path: str | os.PathLike[str]) -> Imported:
    """Read Sigma rules out of a file, or of every *.yml and *.yaml below a directory.

    Filters (documents with `filter:`) apply to all rules that are read together. Raises FilterError when a single file cannot be
    read; of a directory such a file is a refusal.
    """
    _need_pysigma()
    return from_files(rule_files(Path(path)), single=not Path(path).is_dir())


def from_files(files: list[Path], *, single: bool = False) -> Imported:
    """Read files together; single: what cannot be read raises FilterError and is not a refusal."""
    _need_pysigma()
    return _Import().run(files, single)


def _need_pysigma() -> None:
    try:
        import sigma.collection  # noqa: F401
    except ImportError:
        raise FilterError("reading Sigma rules needs pySigma: pip install 'tapio_fast[sigma]'") from None


@cache
def _policy() -> Any:
    """Let pySigma ask our engine whether a regex can be had; RE2, which it uses by itself, would write to stderr."""
    import re2
    from sigma.policy import SigmaPolicy
    from sigma.policy.regex_engine import RegexEngine

    class Engine(RegexEngine):
        error = FilterError

        def compile(self, pattern: str, flags: int = 0) -> Any:
            letters = "".join(letter for flag, letter in ((re.IGNORECASE, "i"), (re.MULTILINE, "m"), (re.DOTALL, "s")) if flags & flag)
            pattern = f"(?{letters}){pattern}" if letters else pattern
            _regex.Regex(pattern.encode("utf-8", "surrogatepass"))
            options = re2.Options()
            options.log_errors = False
            try:
                return re2.compile(pattern, options)    # names of detections are matched with it
            except re2.error as error:
                raise FilterError(str(error)) from None
    return SigmaPolicy(regex_engine=Engine())


class _Import:
    def __init__(self) -> None:
        self.found: list[ImportedRule] = []
        self.refused: list[Refusal] = []
        self.rules: list[tuple[Any, str]] = []      # pySigma's rule, where
        self.filters: list[tuple[Any, str]] = []
        self.broken: list[tuple[Any, str]] = []     # filters that were refused: data, name

    def run(self, files: list[Path], single: bool) -> Imported:
        each_file(files, self.file, self.refused, single=single)
        for rule, where in self.rules:
            self.convert(rule, where)
        return Imported(unique(self.found), tuple(self.refused))

    # -- documents -------------------------------------------------------------------------------------------------------

    def file(self, path: Path) -> None:
        """Take the rules out of a file. `action: global` documents are merged into those that follow."""
        before: list[Any] = []
        for document in documents(read_text(path), str(path), typed=True, extra="sigma"):
            where = f"{path}:{document.line}"
            data = document.data
            if not isinstance(data, dict):
                self.refused.append(Refusal("(document)", where, "a Sigma rule is a map with title, logsource and detection"))
                continue
            action = data.get("action")
            if action in ("global", "reset"):
                before = [data] if action == "global" else []
                continue
            together = [*before, data] if before or action else [data]
            self.document(copy.deepcopy(together), where)
            if action == "repeat" or before:
                before.append(data)

    def document(self, data: list[Any], where: str) -> None:
        from sigma.collection import SigmaCollection
        from sigma.correlations import SigmaCorrelationRule
        raw = data[-1]
        name = rule_name(raw.get("title") or raw.get("id") or raw.get("name") or "(no title)")
        if "correlation" in raw:
            self.refused.append(Refusal(name, where, "a correlation counts or orders the hits of other rules; a filter judges one record"))
            return
        try:
            read = SigmaCollection.from_dicts(data, collect_errors=True, collect_filters=True, resolve_references=False,
                                             policy=_policy())
        except Exception as error:      # pySigma lets errors of every class out of rules that are wrong enough
            self.refuse(raw, name, where, f"pySigma cannot read it: {_one_line(error)}")
            return
        fatal = [e for e in read.errors if type(e).__name__ not in _HARMLESS]
        rules = read.rules or read.filters
        if fatal or not rules or isinstance(rules[-1], SigmaCorrelationRule):
            self.refuse(raw, name, where, _one_line(fatal[0]) if fatal else "it holds no rule")
        elif read.filters:
            self.filters.append((read.filters[-1], where))
        else:
            self.rules.append((rules[-1], where))

    def refuse(self, raw: Any, name: str, where: str, why: str) -> None:
        if "filter" in raw:
            self.broken.append((raw, name))
        self.refused.append(Refusal(name, where, why))

    # -- one rule --------------------------------------------------------------------------------------------------------

    def convert(self, rule: Any, where: str) -> None:
        name = rule_name(rule.title or str(rule.id or "(no title)"))
        try:
            self.check_filters(rule)
            node = finish(_node(self.filtered(rule)))
        except Unconvertible as why:
            self.refused.append(Refusal(name, where, str(why)))
            return
        except RecursionError:
            self.refused.append(Refusal(name, where, "it is nested too deeply"))
            return
        notes = [_one_line(error) for error in rule.errors]
        severity = SEVERITIES[rule.level.name] if rule.level is not None else Severity.WARNING
        self.found.append(ImportedRule(name, node, severity, tuple(f"{t.namespace}.{t.name}" for t in rule.tags), rule.description or "",
                                       where, str(rule.id or ""), tuple(notes)))

    def check_filters(self, rule: Any) -> None:
        """A filter that was refused would have narrowed rules: those must not run without it."""
        for raw, name in self.broken:
            named = raw["filter"].get("rules") if isinstance(raw["filter"], dict) else "any"
            wanted = {str(n) for n in (named if isinstance(named, list) else [named])}
            if wanted & {"any", "None", str(rule.id), str(rule.name), str(rule.title)}:
                raise Unconvertible(f"its filter {name!r} was refused, and without it the rule would match more than it should")

    def filtered(self, rule: Any) -> Any:
        for each, where in self.filters:
            try:
                rule = each.apply_on_rule(rule)
            except Exception as error:      # as above: whatever class
                raise Unconvertible(f"the filter at {where} cannot be applied: {_one_line(error)}") from None
        return rule


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if 0 < len(text) <= 500 else f"{text[:250]} ... {text[-200:]}" if text else type(error).__name__


def _node(rule: Any) -> Node:
    """Return the tree of a rule: its log source, and any of its conditions."""
    from sigma.exceptions import SigmaError
    from sigma.rule.detection import EmptySigmaDetections
    if isinstance(rule.detection, EmptySigmaDetections):
        raise Unconvertible(_one_line(rule.errors[0]) if rule.errors else "it has no detection")
    if rule.taxonomy not in (None, "sigma"):
        raise Unconvertible(f"taxonomy {rule.taxonomy!r}: only Sigma's own field names are known")
    category = category_of(rule.logsource)
    for detection in rule.detection.detections.values():
        _check_items(detection)
    conditions = []
    for condition in rule.detection.parsed_condition:
        _check_condition(condition.condition)
        try:
            tree = condition.parse()
        except SigmaError as error:
            raise Unconvertible(f"condition: {_one_line(error)}") from None
        conditions.append(_walk(category, tree))
    return all_of([category.base(), joined(conditions)])


def _check_condition(text: Any) -> None:
    if not isinstance(text, str):
        raise Unconvertible(f"the condition is a text, not {type(text).__name__}")
    depth = most = 0
    for char in text:
        depth += (char == "(") - (char == ")")
        most = max(most, depth)
    if len(text) > MAX_CONDITION or most > MAX_BRACKETS:
        raise Unconvertible(f"the condition is longer than {MAX_CONDITION} characters or nested more than {MAX_BRACKETS} deep")


def _check_items(detection: Any) -> None:
    """Refuse what pySigma's tree no longer tells: a regex that was joined with wildcards, which backends anchor in different ways."""
    for item in _items(detection):
        names = {m.__name__ for m in item.modifiers}
        if "SigmaRegularExpressionModifier" in names and names & {"SigmaContainsModifier", "SigmaStartswithModifier", "SigmaEndswithModifier"}:
            raise Unconvertible(f"field {item.field}: |re is searched anywhere; instead of |startswith or |endswith write ^ or $ into it")


def _items(detection: Any) -> Iterator[Any]:
    stack = [detection]
    while stack:
        top = stack.pop()
        if hasattr(top, "detection_items"):
            stack += top.detection_items
        else:
            yield top


def _walk(category: Category, tree: Any) -> Node:
    from sigma import conditions as c
    if isinstance(tree, c.ConditionOR):
        return joined([_walk(category, arg) for arg in tree.args])
    if isinstance(tree, c.ConditionAND):
        return all_of([_walk(category, arg) for arg in tree.args])
    if isinstance(tree, c.ConditionNOT):
        return opposite(_walk(category, tree.args[0]))
    if isinstance(tree, c.ConditionFieldEqualsValueExpression):
        return _value(category, tree.field, tree.value)
    if isinstance(tree, c.ConditionValueExpression):
        return _value(category, None, tree.value)
    raise Unconvertible("the condition names nothing that could match")


def _value(category: Category, field: str | None, value: Any) -> Node:
    from sigma.types import SigmaExpansion
    if isinstance(value, SigmaExpansion):       # base64offset, windash: any of the forms
        return joined([_value(category, field, each) for each in value.values])
    return keyword_leaf(category, value) if field is None else field_leaf(category, field, value)
