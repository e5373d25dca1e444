# SPDX-License-Identifier: Apache-2.0
"""What of a filter the kernel can judge: a plan for the gate (bpf/include/tf_admit.bpf.h). Relies on `_tree`, `_tables`, `schema`.

Per kind, the tree becomes clauses (a disjunction of conjunctions of tests that the gate knows). A test that it does not know counts as
true either way, so the kernel lets too much pass, never too little; what passes is judged again in C, unless the plan is exact.
"""
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from tapio_fast import schema
from tapio_fast.filtering import _tables
from tapio_fast.filtering._text import to_text
from tapio_fast.filtering._tree import And, Const, Node, Not, Or, Test, leaves

MOST = 16               # TF_CLAUSES
FOLLOWS = 1 << 16       # TF_R_DESCENDANTS
_EXACT = ("pid", "cgroup_id")       # judged for every kind by what the row will say
# The kinds whose rows tell the facts of processes; control groups are told by rows of the pump's own.
FACT_KINDS = frozenset({"process.exec", "process.fork", "process.exit"})
CGROUP_FACTS = ("container_id", "cgroup_path")
# Rows that are added up into another kind's: what is not let pass here is missing there.
_PARTS = {"network.send": "network.flow", "network.recv": "network.flow"}
# Of operations that are added up the row has these from who closed the file or owns the socket, another thread mostly. Pid and control group
# are judged all the same: the other process that shares a descriptor is rare, and every operation of the machine would be added up else.
_OF_THREADS = ("comm", "uid")


@dataclass(frozen=True, slots=True)
class Leaf:
    """A test that the gate knows. want: False for its opposite."""

    test: Test
    want: bool


Clause = frozenset[Leaf]
EVERYTHING: Clause = frozenset()


@dataclass
class Plan:
    """clauses : kind -> bits of the clauses that its records may match; none = the kind is not wanted

    others, entries, prefixes : the tables of each dimension (`_tables`)
    roots : process ids whose descendants count, None = nobody asks; follow, not_follow : bits of clauses that ask
    exact : bool, nothing is left to judge in user space
    followed : bool, all that passes is of the roots' descendants: that test is true from there on
    """

    clauses: dict[int, int] = field(default_factory=dict)
    tables: _tables.Tables = field(default_factory=_tables.Tables)
    roots: tuple[int, ...] | None = None
    follow: int = 0
    not_follow: int = 0
    exact: bool = True
    followed: bool = False
    known: list[Clause] = field(default_factory=list)
    why: list[str] = field(default_factory=list)

    @property
    def flags(self) -> int:
        """Bits of enum tf_rule_flag."""
        return self.tables.flags | (FOLLOWS if self.roots is not None else 0)

    def text(self) -> list[str]:
        """Return lines for people: what the kernel asks of which kinds."""
        by_mask: dict[int, list[str]] = {}
        for number, mask in self.clauses.items():
            by_mask.setdefault(mask, []).append(schema.KINDS[number].name)
        lines = []
        for mask, names in by_mask.items():
            wanted = [clause_text(clause) for i, clause in enumerate(self.known) if mask >> i & 1]
            lines.append(f"{', '.join(names)}: {'all' if 'true' in wanted else ' or '.join(wanted)}")
        return lines


def clause_text(clause: Clause) -> str:
    """Return a clause as an expression."""
    parts = [("" if leaf.want else "not ") + to_text(leaf.test) for leaf in clause]
    return " and ".join(sorted(parts)) or "true"


class _Planner:
    def __init__(self, tree: Node, summed: frozenset[str] = frozenset()) -> None:
        self.summed = summed
        self.exact = True
        roots = [test.args for test in leaves(tree) if test.op == "follow"]
        self.one_family = len(set(roots)) <= 1
        self.roots = tuple(sorted({pid for pids in roots for pid in pids})) if roots else None
        self.why: list[str] = []

    def unknown(self, why: str) -> list[Clause]:
        self.exact = False
        if why not in self.why:
            self.why.append(why)
        return [EVERYTHING]

    def test(self, test: Test, want: bool, kind: schema.Kind) -> list[Clause]:
        if test.op == "kind":
            return _const((kind.number in test.args) == want)
        if test.op == "exists" and test.field.source == "computed":
            return _const(want)
        if test.field.type == "severity":
            found = {any(lo <= s <= hi for lo, hi in test.args) != test.negate for s in _severities(kind)}
            return _const(found.pop() == want) if len(found) == 1 else self.unknown("severity depends on the result")
        if test.op == "follow":
            if not self.one_family:
                self.exact = False
                if not want:
                    return self.unknown("only one set of descendants can be left out")
            return [frozenset([Leaf(test, want)])]
        if test.field.source == "row" and kind.domain not in test.field.places:
            return _const(not want)     # the test is false
        if test.op == "exists" and test.field.source == "row":
            return _const(want)
        if kind.name in self.summed and test.field.name in _OF_THREADS:
            return self.unknown(f"{kind.name} is added up, and the row's subject need not be who did it")
        if not _tables.knows(test, kind.domain):
            return self.unknown(f"{to_text(test)} is judged in user space")
        if test.field.name not in _EXACT:
            self.exact = False
        return [frozenset([Leaf(test, want != test.negate)])]

    def clauses(self, node: Node, want: bool, kind: schema.Kind) -> list[Clause]:
        if isinstance(node, Const):
            return _const(node.value == want)
        if isinstance(node, Test):
            return self.test(node, want, kind)
        if isinstance(node, Not):
            return self.clauses(node.part, not want, kind)
        if isinstance(node, And) == want:
            return self.every(node, want, kind)
        found: list[Clause] = []
        for part in node.parts:
            found = _absorbed(found + self.clauses(part, want, kind))
            if len(found) > MOST:
                return self.unknown("it has too many alternatives for the kernel")
        return found

    def every(self, node: And | Or, want: bool, kind: schema.Kind) -> list[Clause]:
        found: list[Clause] = [EVERYTHING]
        for part in node.parts:
            more = self.clauses(part, want, kind)
            joined = _absorbed([a | b for a in found for b in more])
            if len(joined) <= MOST:
                found = joined
            else:       # one of two conditions is still a bound
                self.unknown("it has too many alternatives for the kernel")
        return found


def _const(value: bool) -> list[Clause]:
    return [EVERYTHING] if value else []


def _absorbed(clauses: list[Clause]) -> list[Clause]:
    """Drop clauses that another one implies."""
    kept: list[Clause] = []
    for clause in sorted(set(clauses), key=lambda c: (len(c), clause_text(c))):
        if not any(other <= clause for other in kept):
            kept.append(clause)
    return kept


def _severities(kind: schema.Kind) -> set[int]:
    """Return the severities that records of a kind can have: RecordBatch.severity."""
    fails = "errno" in (schema.DTYPES[kind.domain].names or ()) or kind.name == "process.exit"
    return {kind.severity, max(kind.severity, 3)} if fails else {kind.severity}


def facts_needed(tree: Node, enabled: Iterable[str]) -> frozenset[str]:
    """Return the kinds that tell what a tree joins, of what is collected by a plan for the kinds that are enabled."""
    if _joins(tree) or _line_needed(tree, _plan(tree, enabled, frozenset(), 10_000, True, frozenset())):
        return FACT_KINDS
    return frozenset()


def _joins(tree: Node) -> bool:
    return any(test.field.source == "fact" and test.field.name not in CGROUP_FACTS for test in leaves(tree))


def _line_needed(tree: Node, found: Plan) -> bool:
    """Whether user space judges descent again, for which it must know who forked whom."""
    return not (found.exact or found.followed) and any(test.op == "follow" for test in leaves(tree))


def plan(tree: Node, enabled: Iterable[str], limit: int = 10_000, pushed: bool = True, summed: frozenset[str] = frozenset()) -> Plan:
    """Return what the gate is to do for a tree.

    enabled : names of the kinds that the configuration collects
    limit : entries that the tables of one generation may have; what would need more is left to user space
    pushed : bool, the loaded programs look at more than ids (TF_O_PUSHED)
    summed : names of the kinds whose operations the kernel adds up
    """
    names = frozenset(enabled)
    facts = FACT_KINDS if _joins(tree) else frozenset()
    found = _plan(tree, names, facts, limit, pushed, summed)
    return found if facts or not _line_needed(tree, found) else _plan(tree, names, FACT_KINDS, limit, pushed, summed)


def _plan(tree: Node, enabled: Iterable[str], facts: frozenset[str], limit: int, pushed: bool, summed: frozenset[str]) -> Plan:
    planner = _Planner(tree, summed)
    result = Plan(roots=planner.roots)
    names = {name for name in enabled if not name.startswith("meta.")}
    wanted = {name: planner.clauses(tree, True, schema.KIND_BY_NAME[name]) for name in sorted(names)}
    for part, whole in _PARTS.items():
        if part in names and whole in names and set(wanted[part]) != set(wanted[whole]):
            wanted[part] = _absorbed(wanted[part] + wanted[whole])
            planner.exact = False
    wanted.update({name: [EVERYTHING] for name in facts if name in names})
    ids: dict[Clause, int] = {}
    for name, clauses in wanted.items():
        fresh = [c for c in clauses if c not in ids]
        if len(ids) + len(fresh) > MOST - (EVERYTHING not in ids):
            planner.unknown("it has too many alternatives for the kernel")
            clauses = [EVERYTHING]
        mask = 0
        for clause in clauses:
            mask |= 1 << ids.setdefault(clause, len(ids))
        if mask:
            result.clauses[schema.KIND_BY_NAME[name].number] = mask
    result.known = list(ids)
    for i, clause in enumerate(result.known):
        for leaf in clause:
            if leaf.test.op == "follow":
                result.follow |= (1 << i) * leaf.want
                result.not_follow |= (1 << i) * (not leaf.want)
    if not result.follow | result.not_follow:
        result.roots = None
    result.followed = planner.one_family and bool(result.follow) and not any(mask & ~result.follow for mask in result.clauses.values())
    result.tables, left_out = _tables.build([[(leaf.test, leaf.want) for leaf in clause] for clause in result.known], limit, pushed)
    for why in left_out:
        planner.unknown(why)
    result.exact, result.why = planner.exact, planner.why
    return result


def unmet(tree: Node, enabled: Iterable[str]) -> list[str]:
    """Return the kinds that a tree is about when none of them is collected, so that nothing can match; empty: some are, or no kind can."""
    planner = _Planner(tree)

    def can(name: str) -> bool:
        return bool(planner.clauses(tree, True, schema.KIND_BY_NAME[name]))

    if any(can(name) for name in enabled if not name.startswith("meta.")):
        return []
    return [kind.name for kind in schema.KINDS if kind.domain != schema.META and can(kind.name)]
