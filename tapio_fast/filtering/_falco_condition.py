# SPDX-License-Identifier: Apache-2.0
"""Falco's condition language: text -> a small tree of checks, macros and lists still by name. Relies on the standard library.

The grammar is the one of Falco's documentation: or < and < not; `field op value`, where a value is a quoted or a bare word, a number, or
a list in parentheses; a bare identifier is a macro. Bare words end at blanks, parentheses, quotes, commas and "=".
"""
from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NoReturn

from tapio_fast.filtering._imported import Unconvertible

MAX_DEPTH = 100         # parentheses and nots, as in Falco
MAX_TEXT = 1 << 18      # characters of a condition, appended parts included
LIST_OPS = ("intersects", "in", "pmatch")
_BINARY = ("contains", "icontains", "bcontains", "startswith", "bstartswith", "endswith", "iendswith", "istartswith", "glob", "iglob", "regex",
           *LIST_OPS)
_BLANK = re.compile(r"[ \t\b\r\n]*")
_WORD = re.compile(r"[A-Za-z]+[A-Za-z0-9_]*(?:\.[A-Za-z]+[A-Za-z0-9_]*)*")
_CALL = re.compile(r"(tolower|toupper|b64|basename|len|val|concat|join)\(")
_BARE = re.compile(r"[^()\"'\s=,]+")
_INDEX = re.compile(r"\[(?:\"([^\"]*)\"|'([^']*)'|([^\]\[\"'\s]+))\]")
_SIGN = re.compile(r"<=|>=|==|!=|=|<|>")


@dataclass(frozen=True, slots=True)
class Macro:
    """The name of a macro."""

    name: str
    at: int


@dataclass(frozen=True, slots=True)
class Check:
    """One comparison. calls: transformers, outermost first; index: of field[index]; listed: the values stood in a list."""

    field: str
    index: str | None
    calls: tuple[str, ...]
    op: str
    values: tuple[Value, ...]
    at: int
    listed: bool = False


@dataclass(frozen=True, slots=True)
class Value:
    """A value; bare ones may be the name of a list. reference: it is a field itself: val(field), tolower(field)."""

    text: str
    bare: bool
    reference: bool = False


@dataclass(frozen=True, slots=True)
class Joined:
    """Parts joined by "and" or "or", or one part under "not"."""

    word: str
    parts: tuple[Condition, ...]


Condition = Macro | Check | Joined


def parse_condition(text: str) -> Condition:
    """Return the tree of a condition; raises Unconvertible that tells the column."""
    if len(text) > MAX_TEXT:
        raise Unconvertible(f"the condition has {len(text)} characters, the limit is {MAX_TEXT}: use lists")
    parser = _Parser(text)
    found = parser.either()
    parser.blank()
    if parser.at != len(text):
        parser.expected("`and`, `or` or the end")
    return found


def unescape(text: str) -> str:
    r"""Return a quoted value without its backslashes: \n \t \r \b \f \v \\ \" \' and \xHH (a byte); any other stands as it is."""
    names = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v", "\\": "\\", '"': '"', "'": "'"}

    def one(match: re.Match[str]) -> str:
        if match[1]:
            return bytes([int(match[1], 16)]).decode("utf-8", "surrogateescape")
        return names.get(match[2], "\\" + match[2])
    return re.sub(r"\\(?:x([0-9A-Fa-f]{2})|(.))", one, text, flags=re.DOTALL)


class _Parser:
    def __init__(self, text: str) -> None:
        self.text, self.at, self.depth = text, 0, 0

    def expected(self, what: str) -> NoReturn:
        rest = self.text[self.at:self.at + 30].split("\n")[0].strip()
        raise Unconvertible(f"condition, {place(self.text, self.at)}: expected {what}, found {rest!r}" if rest else
                            f"condition: expected {what}, found the end")

    def blank(self) -> bool:
        match = _BLANK.match(self.text, self.at)
        assert match is not None
        moved = match.end() > self.at
        self.at = match.end()
        return moved

    def word(self, word: str) -> bool:
        """Take a keyword that ends there."""
        self.blank()
        end = self.at + len(word)
        if self.text.startswith(word, self.at) and (end == len(self.text) or self.text[end] in " \t\b\r\n()"):
            self.at = end
            return True
        return False

    def sign(self, sign: str) -> bool:
        self.blank()
        if self.text.startswith(sign, self.at):
            self.at += len(sign)
            return True
        return False

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Unconvertible(f"condition, {place(self.text, self.at)}: nested more than {MAX_DEPTH} deep")

    def either(self) -> Condition:
        parts = [self.both()]
        while self.word("or"):
            parts.append(self.both())
        return parts[0] if len(parts) == 1 else Joined("or", tuple(parts))

    def both(self) -> Condition:
        parts = [self.negated()]
        while self.word("and"):
            parts.append(self.negated())
        return parts[0] if len(parts) == 1 else Joined("and", tuple(parts))

    def negated(self) -> Condition:
        odd = False
        while self.word("not"):
            odd = not odd
        found = self.primary()
        return Joined("not", (found,)) if odd else found

    def primary(self) -> Condition:
        if self.sign("("):
            self.deeper()
            found = self.either()
            if not self.sign(")"):
                self.expected("a `)`")
            self.depth -= 1
            return found
        start = self.at
        field, index, calls = self.operand()
        if not calls and index is None and "." not in field:
            return Macro(field, start)
        return self.check(field, index, calls, start)

    def operand(self) -> tuple[str, str | None, tuple[str, ...]]:
        """A field with its index, in transformers or not."""
        calls = []
        self.blank()
        while (call := _CALL.match(self.text, self.at)) is not None:
            calls.append(call[1])
            self.at = call.end()
            self.blank()
        word = _WORD.match(self.text, self.at)
        if word is None:
            self.expected("a field, a macro or `(`")
        self.at = word.end()
        index = _INDEX.match(self.text, self.at)
        if index is not None:
            self.at = index.end()
        for call_name in calls:
            if not self.sign(")"):
                self.expected(f"the `)` of {call_name}(")
        return word[0], next((g for g in index.groups() if g is not None), "") if index else None, tuple(calls)

    def check(self, field: str, index: str | None, calls: tuple[str, ...], start: int) -> Check:
        self.blank()
        if self.word("exists"):
            return Check(field, index, calls, "exists", (), start)
        sign = _SIGN.match(self.text, self.at)
        if sign is not None:
            self.at = sign.end()
            return Check(field, index, calls, "=" if sign[0] == "==" else sign[0], (self.value(),), start)
        for op in _BINARY:
            if self.word(op):
                if op in LIST_OPS:
                    return Check(field, index, calls, op, self.values(), start, True)
                return Check(field, index, calls, op, (self.value(),), start)
        self.expected(f"an operator after {field}: = != < <= > >= in intersects pmatch contains startswith endswith glob regex exists")

    def value(self) -> Value:
        self.blank()
        if self.text[self.at:self.at + 1] in ("'", '"'):
            return self.quoted()
        if _CALL.match(self.text, self.at):
            return Value(self.operand()[0], False, True)
        bare = _BARE.match(self.text, self.at)
        if bare is None:
            self.expected("a value")
        self.at = bare.end()
        return Value(bare[0], True)

    def quoted(self) -> Value:
        delimiter, i = self.text[self.at], self.at + 1
        while i < len(self.text) and self.text[i] != delimiter:
            i += 2 if self.text[i] == "\\" else 1
        if i >= len(self.text):
            self.expected("a closing quote")
        inner = self.text[self.at + 1:i]
        self.at = i + 1
        return Value(unescape(inner), False)

    def values(self) -> tuple[Value, ...]:
        if not self.sign("("):
            value = self.value()
            return (value,)
        if self.sign(")"):
            return ()
        found = [self.value()]
        while self.sign(","):
            found.append(self.value())
        if not self.sign(")"):
            self.expected("`,` or `)` in a list")
        return tuple(found)


def place(text: str, at: int) -> str:
    """Return "column 7", or "line 2, column 7" of a text of several lines."""
    line = text.count("\n", 0, at) + 1
    column = at - (text.rfind("\n", 0, at) + 1) + 1
    return f"column {column}" if "\n" not in text.strip() else f"line {line}, column {column}"
