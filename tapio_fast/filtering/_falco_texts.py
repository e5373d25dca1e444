# SPDX-License-Identifier: Apache-2.0
"""Falco's text operators on our text fields, and its texts that are parts of ours: argv[0], command lines, directories, names of files.

Each part is taken exactly: proc.cmdline is the process's name and argv[1..], ours is argv; so a value is matched against both as if they
were one text. argv[0] is taken to end at the first blank. Relies on `_imported`.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tapio_fast.filtering._imported import Unconvertible, exists, glob_bytes, glob_regex, joined, literal, text
from tapio_fast.filtering._tree import FALSE, Node, all_of, opposite

_SAME = {"in": "=", "intersects": "=", "icontains": "contains", "istartswith": "startswith", "iendswith": "endswith", "iglob": "glob"}
_PLAIN = {"=": "equal", "contains": "contains", "startswith": "startswith", "endswith": "endswith"}


@dataclass(frozen=True)
class Ask:
    """One comparison: op is = != contains startswith endswith glob regex pmatch exists < <= > >=; values: any of them."""

    op: str
    values: tuple[str, ...]
    icase: bool = False
    notes: list[str] | None = None

    def note(self, what: str) -> None:
        """Add a note to the rule."""
        if self.notes is not None and what not in self.notes:
            self.notes.append(what)


def ask(op: str, values: Sequence[str], calls: Sequence[str], notes: list[str]) -> Ask:
    """Return a comparison with the operators' synonyms and tolower(), toupper() taken out."""
    if op in ("bcontains", "bstartswith"):
        raise Unconvertible(f"{op} compares bytes of buffers, which are not recorded")
    icase = op in ("icontains", "istartswith", "iendswith", "iglob")
    found = Ask(_SAME.get(op, op), tuple(values), icase, notes)
    for call in calls:
        if call not in ("tolower", "toupper"):
            raise Unconvertible({"b64": "b64(): texts are not decoded before they are compared", "len": "len(): lengths are not fields",
                                 "val": "val(): a field cannot be compared with another one"}.get(call, f"{call}() is not known here"))
        if found.op not in ("=", "!=", "contains", "startswith", "endswith", "glob"):
            raise Unconvertible(f"{call}() goes with = != in contains startswith endswith glob, not with {found.op}")
        same = tuple(v for v in found.values if v == (v.lower() if call == "tolower" else v.upper()))
        if len(same) < len(found.values) and found.op == "!=":
            raise Unconvertible(f"{call}() never gives {found.values[0]!r}: the comparison is always true")
        found = replace(found, values=same, icase=True)
    return found


def plain(name: str, a: Ask) -> Node:
    """Compare a text field as a whole."""
    if a.op == "exists":
        return exists(name)
    if a.op not in ("!=", "pmatch") and not a.values:
        return FALSE
    if a.op in _PLAIN:
        return text(name, _PLAIN[a.op], a.values, icase=a.icase)
    if a.op == "!=":
        return text(name, "equal", a.values, icase=a.icase, negate=True)
    if a.op == "glob":
        return text(name, "glob", [glob(v) for v in a.values], icase=a.icase)
    if a.op == "regex":
        return text(name, "regex", [whole(v) for v in a.values])
    if a.op == "pmatch":
        return joined([_below(name, v) for v in a.values])
    raise Unconvertible(f"{a.op} is for numbers; this is a text")


def whole(pattern: str) -> str:
    """Return a regex that must match the whole text, as Falco's does."""
    return rf"\A(?:{pattern})\z"


def glob(pattern: str) -> bytes:
    """Return a shell pattern as our glob has it."""
    if any(f"{c}(" in pattern for c in "@+!?*"):
        raise Unconvertible(f"pattern {pattern!r}: lists such as @(a|b) are not read; write a regex")
    return glob_bytes(pattern)


def _below(name: str, path: str) -> Node:
    """A path, or what lies in it; `*` and `?` stay within a part of the path."""
    path = path.rstrip("/")
    if not any(c in path for c in "*?["):
        return joined([*([text(name, "equal", [path])] if path else []), text(name, "startswith", [path + "/"])])
    return text(name, "regex", [rf"(?s)\A{glob_regex(path, slashes=False)}(?:/|\z)"])


def derived(name: str, positive: Callable[[str, str, bool], Node], a: Ask) -> Node:
    """Compare a part of a text field. positive: (op, value, icase) -> tree of "it matches"."""
    if a.op == "exists":
        return exists(name)
    if a.op == "!=":
        return all_of([exists(name), *(opposite(positive("=", v, a.icase)) for v in a.values)])
    return joined([positive(a.op, v, a.icase) for v in a.values])


def _wrong(op: str, what: str) -> Unconvertible:
    return Unconvertible(f"{op} on {what} cannot be told from our fields; write = in contains startswith or endswith")


def argv0(name: str, a: Ask) -> Node:
    """Compare argv[0] (proc.exe)."""
    def positive(op: str, value: str, icase: bool) -> Node:
        if " " in value:
            raise Unconvertible(f"argv[0] is taken to end at the first blank, so {value!r} cannot be compared")
        if op == "startswith":
            return text(name, "startswith", [value], icase=icase)
        forms = {"=": r"\A{}(?: |\z)", "contains": r"\A[^ ]*{}", "endswith": r"\A[^ ]*{}(?: |\z)"}
        if op not in forms:
            raise _wrong(op, "argv[0]")
        return text(name, "regex", [forms[op].format(literal(value))], icase=icase)
    return derived(name, positive, a)


def rest(name: str, a: Ask) -> Node:
    """Compare argv[1..] joined by blanks (proc.args)."""
    return derived(name, lambda op, value, icase: _rest(name, op, value, icase), a)


def _rest(name: str, op: str, value: str, icase: bool) -> Node:
    if value == "" and op in ("contains", "startswith", "endswith"):
        return exists(name)
    if value == "" and op == "=":
        return text(name, "regex", [r"\A[^ ]*\z"])
    forms = {"=": r"\A[^ ]* {}\z", "startswith": r"\A[^ ]* {}", "contains": r"(?s)\A[^ ]* .*{}", "endswith": r"(?s)\A[^ ]* .*{}\z"}
    if op in forms:
        return text(name, "regex", [forms[op].format(literal(value))], icase=icase)
    if op == "glob":
        return text(name, "regex", [rf"(?s)\A[^ ]* {glob_regex(value)}\z"], icase=icase)
    if op == "regex":
        return text(name, "regex", [rf"\A[^ ]* (?:{value})\z"])
    raise _wrong(op, "arguments")


def cmdline(comm: str, args: str) -> Callable[[Ask], Node]:
    """Compare the name of a process and argv[1..] (proc.cmdline)."""
    def positive(op: str, value: str, icase: bool) -> Node:
        head, blank, tail = value.partition(" ")
        if op == "contains":
            if value.startswith(" "):       # the blank ends the name: what follows is the same in argv
                return text(args, "contains", [value], icase=icase)
            parts: list[Node] = [_rest(args, op, value, icase)]
            after = _rest(args, "startswith", tail, icase) if tail else _has_rest(args)
            parts.append(all_of([text(comm, "endswith", [head], icase=icase), after]) if blank else
                         text(comm, "contains", [value], icase=icase))
            return joined(parts)
        if op == "startswith":
            if not blank:
                return text(comm, "startswith", [value], icase=icase)
            return all_of([text(comm, "equal", [head], icase=icase), _rest(args, op, tail, icase) if tail else _has_rest(args)])
        if op in ("=", "endswith") and blank and not tail:
            return FALSE        # a command line does not end with a blank
        if op == "=":
            return all_of([text(comm, "equal", [head], icase=icase), _rest(args, "=", tail, icase)])
        if op == "endswith":
            alone = all_of([text(comm, "endswith", [head], icase=icase), _rest(args, "=", tail, icase)])
            return joined([_rest(args, op, value, icase), alone])
        return _pattern(op, value, icase)

    def _pattern(op: str, value: str, icase: bool) -> Node:
        if op == "glob":
            return text(args, "regex", [rf"(?s)\A(?:[^ ]*/)?{glob_regex(value)}\z"], icase=icase)
        if op == "regex":
            return text(args, "regex", [rf"\A(?:[^ ]*/)?(?:{value})\z"], icase=icase)
        raise _wrong(op, "command lines")

    def compare(a: Ask) -> Node:
        if a.op in ("glob", "regex"):
            a.note("a pattern over a command line is compared with argv, with and without the directory of argv[0]")
        return derived(args, positive, a)
    return compare


def _has_rest(args: str) -> Node:
    return text(args, "contains", [" "])


def cwd(name: str, a: Ask) -> Node:
    """Compare a working directory, which ends with "/" there and not here."""
    def positive(op: str, value: str, icase: bool) -> Node:
        bare = value.rstrip("/") or "/"
        if op == "=":
            return text(name, "equal", [bare], icase=icase)
        if op == "pmatch":
            return _below(name, value)
        if op not in ("contains", "startswith", "endswith"):
            raise _wrong(op, "working directories")
        if op == "endswith" and not value.endswith("/"):
            return FALSE
        if value == "/":
            return exists(name)
        found: list[Node] = [text(name, op, [value], icase=icase)]
        if value.endswith("/"):     # the slash that ends theirs is the end of ours
            found.append(text(name, {"contains": "endswith", "startswith": "equal"}.get(op, "endswith"), [bare], icase=icase))
        return joined(found)
    return derived(name, positive, a)


def directory(name: str, a: Ask) -> Node:
    """Compare the directory that a path lies in (fd.directory)."""
    def positive(op: str, value: str, icase: bool) -> Node:
        path = literal(value)
        root = r"(?s)\A/[^/]*\z"
        forms = {"=": rf"\A{path}/[^/]*\z" if value != "/" else root, "startswith": rf"(?s)\A{path}.*/[^/]*\z" if value != "/" else r"\A/",
                 "contains": rf"(?s){path}.*/[^/]*\z" if value != "/" else r"\A/", "endswith": rf"{path}/[^/]*\z",
                 "pmatch": rf"(?s)\A{glob_regex(value.rstrip('/'), slashes=False)}/"}
        if op not in forms:
            raise _wrong(op, "directories")
        return text(name, "regex", [forms[op]], icase=icase)
    return derived(name, positive, a)


def filename(name: str, a: Ask) -> Node:
    """Compare the last part of a path (fd.filename, basename())."""
    def positive(op: str, value: str, icase: bool) -> Node:
        if "/" in value:
            return FALSE
        if op == "=":
            return text(name, "endswith", ["/" + value], icase=icase)
        if op == "endswith":
            return text(name, "endswith", [value], icase=icase)
        forms = {"startswith": r"/{}[^/]*\z", "contains": r"{}[^/]*\z"}
        if op == "glob":
            return text(name, "regex", [rf"/{glob_regex(value, slashes=False)}\z"], icase=icase)
        if op not in forms:
            raise _wrong(op, "names of files")
        return text(name, "regex", [forms[op].format(literal(value))], icase=icase)
    return derived(name, positive, a)
