# SPDX-License-Identifier: Apache-2.0
"""What an import of foreign rules gives: rules, refusals, disabled rules; and the leaves that importers build trees of.

Nothing is dropped in silence: a rule becomes a tree as a whole, or a Refusal that says why. Relies on `_tree`, `_fields`, `_core._regex`.
"""
from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from tapio_fast import schema
from tapio_fast._core import _regex
from tapio_fast.errors import FilterError
from tapio_fast.filtering._fields import catalogue
from tapio_fast.filtering._patterns import MAX_NAME, MAX_PATTERN, NAMED
from tapio_fast.filtering._tree import (
    FALSE,
    TEXT_OPS,
    TRUE,
    And,
    Node,
    Not,
    Or,
    Test,
    all_of,
    any_of,
    merge_ranges,
    opposite,
)
from tapio_fast.filtering._values import ALL_KINDS, bounds
from tapio_fast.types import Severity

MAX_LEAVES = 20_000     # tests of one rule, macros expanded: beyond is a mistake or an attack
MAX_NESTING = 90        # and, or, not within each other: the text of a rule must be read again
_V4 = 0xFFFF << 32
# A record of process.exec carries itself what is joined from facts elsewhere.
_OF_EXEC = {"process_exe": "exe", "process_args": "args", "process_cwd": "cwd"}


class Unconvertible(Exception):
    """Say why a rule cannot become a tree, and what would be needed."""


@dataclass(frozen=True, slots=True)
class ImportedRule:
    """A rule that became a tree. source: "file:line"; id: the rule's own, or ""; notes: where its meaning differs a little, in words."""

    name: str
    node: Node
    severity: Severity
    tags: tuple[str, ...] = ()
    description: str = ""
    source: str = ""
    id: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    """A rule that did not become one: its name, where it stands ("file:line"), why."""

    name: str
    where: str
    why: str

    def __str__(self) -> str:
        return f"{self.where}: {self.name}: {self.why}"


@dataclass(frozen=True, slots=True)
class Imported:
    """All rules of a file or directory: converted, refused, and those that the file itself switches off."""

    rules: tuple[ImportedRule, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    disabled: tuple[Refusal, ...] = ()


def each_file(files: Iterable[Path], take: Callable[[Path], object], refused: list[Refusal], *, single: bool = False) -> None:
    """Give each file to `take`; one that it raises FilterError for is refused. single: raised instead, the user named this file."""
    for file in files:
        try:
            take(file)
        except FilterError as error:
            if single:
                raise
            refused.append(Refusal(file.name, str(file), str(error)))


def text(name: str, op: str, values: Iterable[str | bytes], *, icase: bool = False, negate: bool = False) -> Test:
    """Return a test of a text field against any of some values; a regex or glob that cannot be compiled is Unconvertible."""
    found = tuple(dict.fromkeys(v.encode("utf-8", "surrogateescape") if isinstance(v, str) else v for v in values))
    if name in NAMED and op not in ("regex", "glob"):
        short = tuple(value for value in found if len(value) <= MAX_NAME)      # lists name what no process is called, too
        if found and not short:
            raise Unconvertible(f"{name}: the kernel keeps {MAX_NAME} bytes of a process's name, so {found[0]!r} would never match")
        found = short
    for value in found:
        if b"\0" in value:
            raise Unconvertible(f"{name}: no text of a record holds a NUL byte, so {value!r} would never match")
        if op in ("regex", "glob"):
            if len(value) > MAX_PATTERN:
                raise Unconvertible(f"{name}: the pattern has {len(value)} bytes, the limit is {MAX_PATTERN}: split it")
            if op == "regex":
                try:
                    _regex.Regex(value, _regex.ICASE if icase else 0)
                except FilterError as error:
                    raise Unconvertible(f"{name}: regex {value.decode('utf-8', 'replace')!r}: {error}") from None
    return Test(catalogue()[name], op, found, negate, icase)


def numbers(name: str, ranges: Iterable[tuple[int, int]], *, negate: bool = False) -> Node:
    """Return a test of a number field; ranges outside of what the field can hold are cut, and what is never true is FALSE."""
    field = catalogue()[name]
    least, most = bounds(field)
    merged = merge_ranges([(max(lo, least), min(hi, most)) for lo, hi in ranges])
    if not merged:
        return exists(name) if negate else FALSE
    return Test(field, "range", merged, negate)


def span(name: str, op: str, value: int) -> tuple[int, int]:
    """Return the values of a number field that are < <= > >= or = a number."""
    least, most = bounds(catalogue()[name])
    return {"<": (least, value - 1), "<=": (least, value), ">": (value + 1, most), ">=": (value, most)}.get(op, (value, value))


def bits(name: str, mask: int, want: int | None = None) -> Test:
    """Return a test of bits: any of the mask, or the masked value."""
    return Test(catalogue()[name], "bits", (mask, want))


def nets(name: str, values: Iterable[tuple[int, int]], *, negate: bool = False) -> Test:
    """Return a test of an address field against networks of `network`."""
    return Test(catalogue()[name], "net", tuple(sorted(set(values))), negate)


def network(value: str) -> tuple[int, int]:
    """Read an address or CIDR as (128 bits, prefix length); raises ValueError."""
    import ipaddress
    found = ipaddress.ip_network(value.strip(), strict=False)
    base = int(found.network_address)
    return (base | _V4, found.prefixlen + 96) if found.version == 4 else (base, found.prefixlen)


def exists(name: str) -> Test:
    """Return the test that a record has a field, and that the fact is known."""
    return Test(catalogue()[name], "exists", ())


def kinds(*names: str) -> Test:
    """Return the test of a record's kind: "process.exec", or a domain for all of its kinds."""
    for name in names:
        if name not in schema.KIND_BY_NAME and name not in schema.DOMAINS:
            raise KeyError(name)
    chosen = {k.number for k in schema.KINDS if k.name in names or k.domain in names}
    return Test(catalogue()["kind"], "kind", tuple(sorted(chosen & ALL_KINDS)))


def literal(value: str | bytes) -> str:
    """Return a regex that matches exactly these bytes."""
    raw = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
    return "".join(chr(b) if chr(b).isalnum() and b < 128 or chr(b) in " /_-,:;=@%&~\"'<>#!" else
                   f"\\{chr(b)}" if 32 < b < 127 else f"\\x{b:02x}" for b in raw)


def joined(parts: list[Node]) -> Node:
    """Join by `or`; tests of the same field and operator become one test of many values, `a and x or a and y` becomes `a and (x or y)`."""
    groups: dict[object, list[Node]] = {}
    node = any_of(parts)
    for i, part in enumerate(node.parts if isinstance(node, Or) else (node,)):
        groups.setdefault(_alike(part) or i, []).append(part)
    return any_of([group[0] if len(group) == 1 else _together(group) for group in groups.values()])


def _alike(part: Node) -> object:
    if isinstance(part, Test) and not part.negate and part.op in (*TEXT_OPS, "range", "net", "kind"):
        return part.field.name, part.op, part.icase
    if isinstance(part, And) and len(part.parts) == 2:
        return "and", part.parts[0]
    return None


def _together(group: list[Node]) -> Node:
    if isinstance(group[0], And):
        return all_of([group[0].parts[0], joined([p.parts[1] for p in group if isinstance(p, And)])])
    tests = [t for t in group if isinstance(t, Test)]
    args = list(chain.from_iterable(t.args for t in tests))
    if tests[0].op == "range":
        return replace(tests[0], args=merge_ranges(args))
    if tests[0].op in ("net", "kind"):
        return replace(tests[0], args=tuple(sorted(set(args))))
    return replace(tests[0], args=tuple(dict.fromkeys(args)))


def finish(node: Node) -> Node:
    """Return the tree of a whole rule: bounded, simpler where it means the same, and not one that can never match."""
    size, depth = measure(node)
    if size > MAX_LEAVES:
        raise Unconvertible(f"it has more than {MAX_LEAVES} tests; use lists of values")
    if depth > MAX_NESTING:
        raise Unconvertible(f"it is nested more than {MAX_NESTING} deep")
    found = _simpler(node, False)
    if found == FALSE:
        raise Unconvertible("it can never match: a part that must hold never does (evt.dir = >, evt.num = 0, an empty list, two kinds of "
                            "records at once)")
    return found


def measure(node: Node) -> tuple[int, int]:
    """Return how many tests a tree has and how deep it is, without recursion."""
    size = deepest = 0
    stack = [(node, 1)]
    while stack:
        top, depth = stack.pop()
        deepest = max(deepest, depth)
        size += isinstance(top, Test)
        stack += [(part, depth + 1) for part in _parts(top)]
    return size, deepest


def _parts(node: Node) -> Iterator[Node]:
    if isinstance(node, Not):
        yield node.part
    elif isinstance(node, And | Or):
        yield from node.parts


def _simpler(node: Node, only_exec: bool) -> Node:
    """Ask for kinds once, for the same once, and for an exec's own fields where only execs can match."""
    if isinstance(node, Test):
        own = _OF_EXEC.get(node.field.name) if only_exec else None
        return replace(node, field=catalogue()[own]) if own else node
    if isinstance(node, Not):
        return opposite(_simpler(node.part, only_exec))
    if isinstance(node, Or):
        return any_of(list(dict.fromkeys(_simpler(part, only_exec) for part in node.parts)))
    if not isinstance(node, And):
        return node
    of_kind = [set(p.args) for p in node.parts if isinstance(p, Test) and p.op == "kind"]
    rest = [p for p in node.parts if not (isinstance(p, Test) and p.op == "kind")]
    first: list[Node] = []
    if of_kind:
        wanted = set.intersection(*of_kind)
        if not wanted:
            return FALSE
        only_exec = only_exec or wanted == set(kinds("process.exec").args)
        first.append(Test(catalogue()["kind"], "kind", tuple(sorted(wanted))))
    return all_of(list(dict.fromkeys([*first, *(_simpler(part, only_exec) for part in rest)])))


def rule_name(raw: object) -> str:
    """Return a name as FilterRule takes it: one line of at most 200 characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(raw)).split())[:200] or "(no name)"


def unique(rules: Iterable[ImportedRule]) -> tuple[ImportedRule, ...]:
    """Return rules with names of their own: a second "x" becomes "x (2)", because hits and counts go by name."""
    seen: dict[str, int] = {}
    found = []
    for rule in rules:
        n = seen[rule.name] = seen.get(rule.name, 0) + 1
        found.append(rule if n == 1 else replace(rule, name=f"{rule.name[:185]} ({n})",
                                                 notes=(*rule.notes, f"another rule has the same name {rule.name!r}")))
    return tuple(found)


def rule_files(path: Path) -> list[Path]:
    """Return the file, or the *.yml and *.yaml files below a directory in the order of their names; raises FilterError if there are none."""
    if not path.is_dir():
        return [path]
    found = sorted(p for p in path.rglob("*") if p.suffix in (".yml", ".yaml") and p.is_file())
    if not found:
        raise FilterError(f"{path}: there is no *.yml or *.yaml file in this directory")
    return found


_BRACKET = re.compile(r"\[(?:!|\^)?\]?[^\]]*\]")


def glob_regex(pattern: str, *, slashes: bool = True) -> str:
    """Return the regex (without anchors) of a shell pattern; slashes: `*` and `?` match "/" too."""
    out, i = [], 0
    star, one = (".*", ".") if slashes else ("[^/]*", "[^/]")
    while i < len(pattern):
        char = pattern[i]
        bracket = _BRACKET.match(pattern, i) if char == "[" else None
        if bracket:
            inner = bracket[0][1:-1]
            not_ = inner[:1] in ("!", "^")
            body = inner[1:] if not_ else inner
            if any(ord(c) > 126 for c in body) or "[" in body:
                raise Unconvertible(f"pattern {pattern!r}: a bracket holds plain ASCII characters and ranges only")
            out.append(f"[{'^' if not_ else ''}{re.sub(r'([^A-Za-z0-9-])', chr(92) * 2 + '1', body)}]")
            i = bracket.end()
            continue
        if char == "\\" and i + 1 < len(pattern):
            i += 1
            out.append(literal(pattern[i]))
        else:
            out.append(star if char == "*" else one if char == "?" else literal(char))
        i += 1
    return "".join(out)


def glob_bytes(pattern: str) -> bytes:
    r"""Return a shell pattern with `\x` escapes as one without: our glob has brackets only."""
    out, i = [], 0
    while i < len(pattern):
        char = pattern[i]
        if char == "\\" and i + 1 < len(pattern):
            i += 1
            out.append(f"[{pattern[i]}]" if pattern[i] in "*?[" else pattern[i])
        else:
            out.append("[!" if pattern.startswith("[^", i) else char)
            i += pattern.startswith("[^", i)
        i += 1
    return "".join(out).encode("utf-8", "surrogateescape")


__all__ = ["FALSE", "TRUE", "Imported", "ImportedRule", "Refusal", "Unconvertible"]
