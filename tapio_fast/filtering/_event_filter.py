# SPDX-License-Identifier: Apache-2.0
"""EventFilter: an expression and rules, as every place that takes a filter takes it. Relies on `_parser`, `_rules`, `_push`.

What it matches is decided by its tree alone. Where it is used says what follows: a collector collects nothing else (docs/filter.md), a
view (batch.filter, scan, replay) shows nothing else.
"""
from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tapio_fast import schema
from tapio_fast._escape import escape
from tapio_fast.errors import FilterError
from tapio_fast.filtering._blocks import Asked, asked_of
from tapio_fast.filtering._parser import parse
from tapio_fast.filtering._push import plan, unmet
from tapio_fast.filtering._rules import FilterRule
from tapio_fast.filtering._text import to_text
from tapio_fast.filtering._tree import TRUE, Node, all_of, any_of, leaves, without

if TYPE_CHECKING:
    from tapio_fast.batch import RecordBatch
    from tapio_fast.events import RawEvent
    from tapio_fast.filtering._imported import Imported, Refusal

_ROW_FIELDS = frozenset(name for names in schema.FIELDS.values() for name in names)
_log = logging.getLogger("tapio_fast")


@dataclass(frozen=True)
class Explanation:
    """What becomes of a filter; str() of it is for people.

    expression : str, the filter in its plain form
    kernel : lines, what the gate in the kernel asks of which kinds
    user : lines, why user space judges again; empty: the kernel's answer is final
    later : fields that need enrichment, which this version does not have
    """

    expression: str
    kernel: tuple[str, ...]
    user: tuple[str, ...]
    later: tuple[str, ...]

    __module__ = "tapio_fast"

    def __str__(self) -> str:
        lines = [self.expression, "in the kernel:", *(f"  {line}" for line in self.kernel or ("nothing is collected",))]
        lines += ["in user space:", *(f"  {line}" for line in self.user or ("nothing is left to judge",))]
        if self.later:
            lines.append(f"not available in this version, so an error when it is used: {', '.join(self.later)}")
        return "\n".join(lines)


@dataclass(frozen=True)
class FilterStats:
    """Counters of a filter, in rows that reached user space: what the kernel filtered is in the collector's ledger (k_filtered).

    judged, matched : rows; rules : name -> rows that it matched, among those that `expr` lets pass
    """

    judged: int
    matched: int
    rules: dict[str, int]

    __module__ = "tapio_fast"


def _later(tree: Node) -> list[str]:
    return sorted({test.field.name for test in leaves(tree) if test.field.source == "later"})


def _bools(bits: bytes, n: int) -> np.ndarray:
    return np.unpackbits(np.frombuffer(bits, np.uint8), count=n, bitorder="little").astype(bool)


class EventFilter:
    """What records to keep: those that match `expr` and, if there are rules, any of the rules. Records of type meta always stay.

    expr : str, an expression (docs/filter.md); None or "" matches everything
    rules : FilterRule objects
    Raises FilterError, with `.position` where it is about a place in a text.
    """

    __module__ = "tapio_fast"

    def __init__(self, expr: str | None = None, *, rules: Iterable[FilterRule] = (), tree: Node | None = None) -> None:
        if expr is not None and not isinstance(expr, str):
            raise FilterError(f"an expression is a str, not {type(expr).__name__}; FilterRule objects go to rules=[...]")
        self._expr = parse(expr or "") if tree is None else tree
        self._rules: tuple[FilterRule, ...] = ()
        self._lock = threading.Lock()
        self._users: weakref.WeakSet[Any] = weakref.WeakSet()      # collectors that this filter is in force in
        self._program: Any = None
        self._facts: Any = None
        self._judged = self._matched = 0
        self.refusals: tuple[Refusal, ...] = ()     # rules of an import that could not be converted
        self._set_rules(rules)

    def _set_rules(self, rules: Iterable[FilterRule]) -> None:
        rules = tuple(rules)
        names: dict[str, int] = {}
        for i, rule in enumerate(rules):
            if not isinstance(rule, FilterRule):
                raise FilterError(f"rules are FilterRule objects, not {type(rule).__name__}")
            name = rule.name or f"rule {i + 1}"
            if name in names:
                raise FilterError(f"two rules are named {name!r}; give each a name of its own")
            names[name] = 0
        with self._lock:
            self._rules, self._hits, self._program = rules, names, None

    # -- where it comes from ---------------------------------------------------------------------------------------------

    @classmethod
    def from_sigma(cls, path: str | os.PathLike[str]) -> EventFilter:
        """Return a filter out of Sigma rules, a file or a directory of them (docs/rules.md).

        Rules that cannot be converted are left out, each with a warning in the log, and listed in `refusals`. Raises FilterError when
        none is left; MissingExtraError without the extra tapio_fast[sigma].
        """
        from tapio_fast.filtering._sigma import from_sigma

        return cls._imported(from_sigma(path), path)

    @classmethod
    def from_falco(cls, path: str | os.PathLike[str]) -> EventFilter:
        """Return a filter out of Falco rules, a file or a directory of them; as from_sigma, with the extra tapio_fast[falco]."""
        from tapio_fast.filtering._falco import from_falco

        return cls._imported(from_falco(path), path)

    @classmethod
    def from_rules(cls, path: str | os.PathLike[str], *more: str | os.PathLike[str]) -> EventFilter:
        """Return a filter out of rules of any form that can be told by their content: ours (TOML), Sigma, Falco; of several files or
        directories together."""
        from tapio_fast.filtering._load import load_rules

        return cls._imported(load_rules(path, *more), path)

    @classmethod
    def _imported(cls, found: Imported, path: str | os.PathLike[str]) -> EventFilter:
        from tapio_fast.filtering._imported import Imported, Refusal

        later = {rule.name: _later(rule.node) for rule in found.rules}
        refusals = found.refusals + tuple(Refusal(rule.name, rule.source, f"{', '.join(later[rule.name])}: this needs enrichment, which is not "
                                                  "available in this version") for rule in found.rules if later[rule.name])
        found = Imported(tuple(rule for rule in found.rules if not later[rule.name]), refusals, found.disabled)
        for refusal in found.refusals:
            _log.warning("rule left out: %s", escape(str(refusal)))
        if not found.rules:
            why = f"; the first of {len(found.refusals)} that cannot be converted: {escape(str(found.refusals[0]))}" if found.refusals else ""
            raise FilterError(f"{escape(os.fspath(path))} gives no rule{why}")
        made = cls(rules=[FilterRule.of_tree(r.name, r.node, severity=r.severity, tags=r.tags) for r in found.rules])
        made.refusals = found.refusals
        return made

    # -- what it is ------------------------------------------------------------------------------------------------------

    @property
    def tree(self) -> Node:
        """The whole filter as one typed tree."""
        return all_of([self._expr, any_of([rule.tree for rule in self._rules])]) if self._rules else self._expr

    @property
    def rules(self) -> tuple[FilterRule, ...]:
        """The rules in force."""
        return self._rules

    @property
    def rule_names(self) -> tuple[str, ...]:
        """Names of the rules, in order; one without a name is "rule 3"."""
        return tuple(self._hits)

    def text(self) -> str:
        """Return the filter as one expression, as RULES records carry it; "all" when it lets everything pass."""
        tree = self.tree
        return "all" if tree == TRUE else to_text(tree)

    @property
    def joins_facts(self) -> bool:
        """Whether rows of other domains tell what this filter asks for (parent_exe, container_id ...)."""
        return bool(self._compiled().needs_facts)

    def asked_of(self, domain: str) -> Asked | None:
        """Return what a block of a store must have for this filter to keep a row of a domain of it; None: it keeps none of that domain."""
        return Asked() if self.joins_facts else asked_of(self.tree, domain)

    def with_fields(self, columns: frozenset[str]) -> frozenset[str] | None:
        """Return these fields and those that judging a row takes; None: any may be."""
        tests = list(leaves(self.tree))
        if any(test.field.source != "row" or test.field.name not in _ROW_FIELDS for test in tests):
            return None
        return columns | {test.field.name for test in tests} | {"type", "subtype"}

    def needs(self) -> list[str]:
        """Return the names of the fields that need enrichment."""
        return _later(self.tree)

    def check_usable(self) -> None:
        """Raise FilterError when the filter asks for what this version cannot tell."""
        named = [(f"rule {name!r}: ", rule.tree) for name, rule in zip(self._hits, self._rules, strict=True)]
        for where, tree in [("", self._expr), *named]:
            later = _later(tree)
            if not later:
                continue
            raise FilterError(f"{where}{', '.join(later)}: this needs enrichment, which is not available in this version; take it out of the "
                              "filter (it parses, and explain() shows it, so that rules can be written already)")

    def explain(self, config: Any = None) -> Explanation:
        """Return what the kernel would judge, under a configuration (None = the default), and what is left to user space."""
        from tapio_fast.config import Config
        from tapio_fast.enabled import enabled_kinds, summed_kinds
        from tapio_fast.filtering._from_config import left_out

        config = Config.default() if config is None else config
        wanting = self.wanting(enabled_kinds(config))
        found = plan(self.tree, enabled_kinds(config), config.performance.map_entries_limit, summed=summed_kinds(config))
        user = () if found.exact else tuple(found.why) or ("what passes is judged again by the row itself",)
        stays = left_out(config).text()
        by_config = [f"[programs], by names and directories of its own: {stays}"] if stays != "all" else []
        return Explanation(self.text(), (*found.text(), *wanting, *by_config), user, tuple(self.needs()))

    def wanting(self, enabled: Iterable[str]) -> list[str]:
        """Return a sentence for the expression and each rule that can match nothing, since no kind that it is about is collected.

        enabled : names of the kinds that are
        """
        enabled = frozenset(enabled)
        trees = [("the filter", self._expr)] if self._expr != TRUE else []
        trees += [(f"rule {name!r}", all_of([self._expr, rule.tree])) for name, rule in zip(self._hits, self._rules, strict=True)]
        found = []
        for what, tree in trees:
            kinds = unmet(tree, enabled)
            if kinds:
                domains = ", ".join(dict.fromkeys(kind.partition(".")[0] for kind in kinds))
                shown = ", ".join(kinds[:4]) + (" ..." if len(kinds) > 4 else "")
                found.append(f"{what} matches nothing: it is about {shown}, which the configuration does not collect; enable them in [programs] "
                             f"({domains}; `tapio-fast list events` tells what each needs)")
        return found

    # -- what it does ----------------------------------------------------------------------------------------------------

    def _compiled(self, followed: bool = False) -> Any:
        """The program that C runs, made when it is first needed. followed: the kernel has seen to descendant_of."""
        from tapio_fast.filtering._program import compile_filter

        self.check_usable()
        with self._lock:
            trees = [self._expr, *(rule.tree for rule in self._rules)]
            if followed:
                expr, *rules = [without(tree, "follow") for tree in trees]
                return compile_filter(expr, rules, self.rule_names)
            if self._program is None:
                self._program = compile_filter(trees[0], trees[1:], self.rule_names)
            return self._program

    def match(self, batch: RecordBatch, by: str = "row") -> Mapping[str, Any]:
        """Judge the rows of a batch, meta apart.

        by : "row" returns {domain: bool[n]}; "rule" returns {rule name: {domain: bool[n]}}, of rows that `expr` lets pass
        """
        if by not in ("row", "rule"):
            raise ValueError(f'by is "row" or "rule", not {by!r}')
        program, facts = self._compiled(), self._learned(batch)
        return self._by_row(batch, program, facts) if by == "row" else self._by_rule(batch, program, facts)

    def _by_row(self, batch: RecordBatch, program: Any, facts: Any) -> dict[str, np.ndarray]:
        found = self._count(batch, program, facts)
        return {schema.DOMAIN_NAMES[d]: _bools(bits, batch.count(d)) for d, bits in found.items()}

    def _by_rule(self, batch: RecordBatch, program: Any, facts: Any) -> dict[str, dict[str, np.ndarray]]:
        rules: dict[str, dict[str, np.ndarray]] = {name: {} for name in self._hits}
        for d, (_, each) in program.match_rules(batch._core, facts).items():
            for name, bits in zip(rules, each, strict=True):
                rules[name][schema.DOMAIN_NAMES[d]] = _bools(bits, batch.count(d))
        return rules

    def hits(self, batch: RecordBatch) -> Iterator[tuple[RawEvent, tuple[FilterRule, ...]]]:
        """Yield the events that match, in time order, each with the rules that it hit (none without rules): convenient and slow."""
        program, facts = self._compiled(), self._learned(batch)         # once: what is learned twice pushes older facts out
        found = self._by_row(batch, program, facts)
        rules = self._by_rule(batch, program, facts) if self._rules else {}
        for domain, row, event in batch.placed_events(found):
            yield event, tuple(rule for rule, name in zip(self._rules, rules, strict=True) if rules[name][domain][row])

    def _masks(self, batch: RecordBatch) -> dict[int, bytes]:
        """Return the rows to keep as bits, by number of the domain."""
        return self._count(batch, self._compiled(), self._learned(batch))

    def _learned(self, batch: RecordBatch) -> Any:
        """Return what the batches judged so far have told of processes and control groups; None when nobody asks."""
        from tapio_fast._core._filter import Facts

        if not self._compiled().needs_facts:
            return None
        if self._facts is None:
            self._facts = Facts()
        self._facts.learn(batch._core)
        return self._facts

    def _count(self, batch: RecordBatch, program: Any, facts: Any) -> dict[int, bytes]:
        hits = [0] * len(self._hits)
        found: dict[int, bytes] = program.match(batch._core, facts, hits if hits else None)
        with self._lock:
            self._judged += sum(batch.count(d) for d in found)
            self._matched += sum(int.from_bytes(bits, "little").bit_count() for bits in found.values())
            for name, n in zip(self._hits, hits, strict=True):
                self._hits[name] += n
        return found

    def stats(self) -> FilterStats:
        """Return how many rows were judged, here and in the collectors that use the filter, and what matched, by rule."""
        with self._lock:
            judged, matched, hits = self._judged, self._matched, dict(self._hits)
        for user in list(self._users):
            more, kept, each = user._filter_counts()
            judged, matched = judged + more, matched + kept
            for name, n in zip(hits, each, strict=False):
                hits[name] += n
        return FilterStats(judged, matched, hits)

    def update_rules(self, rules: Iterable[FilterRule]) -> None:
        """Replace the rules; collectors that use this filter change over, each atomically between records."""
        before = self._rules
        self._set_rules(rules)
        try:
            for user in list(self._users):
                user.set_filter(self)
        except BaseException:
            self._set_rules(before)
            raise

    def joined(self, other: EventFilter) -> EventFilter:
        """Return a filter that asks for both; rules keep their names as far as only one of the two has any."""
        first, second = (self, other) if other._rules else (other, self)
        expr = all_of([first.tree, second._expr])
        made = EventFilter(rules=second._rules, tree=expr)
        made.refusals = first.refusals + second.refusals
        return made

    def __repr__(self) -> str:
        text = self.text()
        return f"<{type(self).__name__} {text if len(text) <= 80 else text[:77] + '...'}>"


def as_filter(filter: object) -> EventFilter:
    """Return a filter out of what may be given for one: None, an expression, an EventFilter. Raises FilterError."""
    if filter is None:
        return EventFilter()
    if isinstance(filter, EventFilter):
        return filter
    if isinstance(filter, str):
        return EventFilter(filter)
    raise FilterError(f"a filter is an expression (str) or an EventFilter, not {type(filter).__name__}")
