# SPDX-License-Identifier: Apache-2.0
"""The parser: text of an expression -> typed tree. docs/filter.md has the grammar. Relies on `_lexer`, `_values`, `_fields`, `_tree`.

Recursive descent over tokens, a method a rule; types are checked while reading, so that an error points at its word.
"""
from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import replace
from typing import NoReturn, TypeVar

from tapio_fast.errors import FilterError
from tapio_fast.filtering import _values
from tapio_fast.filtering._fields import Field, catalogue, find, suggest
from tapio_fast.filtering._files import lines_of, named
from tapio_fast.filtering._lexer import Token, Unreadable, refuse, scan, tokens, unescape
from tapio_fast.filtering._names import FILE_FLAGS, RECORD_FLAGS
from tapio_fast.filtering._patterns import MAX_NAME, MAX_TABLES, NAMED, check_text
from tapio_fast.filtering._tree import (
    FALSE,
    MAX_DEPTH,
    MAX_VALUES,
    TRUE,
    Node,
    Test,
    all_of,
    any_of,
    any_value,
    merge_ranges,
    merge_spans,
    opposite,
)

N = TypeVar("N", int, float)
_BEFORE_FLAG = 3        # words between `flags` and a constant: `not in (`
_MAX_LINE = 4096        # characters of a value in a file that is no text
_ORDERED = ("<", "<=", ">", ">=")
_WORD_OPS = {"contains": "contains", "startswith": "startswith", "endswith": "endswith", "glob": "glob", "regex": "regex", "equals": "equal"}
_INSTEAD = {"number": "== < > in &", "float": "== < > in", "severity": "== < > in", "kind": "== or in", "address": "== or in, with CIDRs"}
_TEXT_OPS = {**_WORD_OPS, **{f"i{word}": op for word, op in _WORD_OPS.items()}}
_KEYWORDS = {"and", "or", "not", "in", "true", "false", "exists", "file", *_TEXT_OPS}


def parse(text: str, *, folder: str = "") -> Node:
    """Return the typed tree of an expression.

    folder : str, where file("list.txt") looks for a relative path; "" = the working directory
    Raises FilterError, whose `position` is the place in the text.
    """
    if not isinstance(text, str):
        raise FilterError(f"filter: an expression is a text, not {type(text).__name__}", position=0)
    parser = _Parser(text, folder)
    if parser.peek().kind == "end":
        return TRUE
    node = parser.whole()
    if parser.peek().kind != "end":
        parser.expected("`and`, `or` or the end")
    return node


class _Parser:
    def __init__(self, text: str, folder: str) -> None:
        self.text, self.folder = text, folder
        self.tokens = tokens(text)
        self.at = self.values = self.tables = 0

    # -- tokens ----------------------------------------------------------------------------------------------------------

    def peek(self, ahead: int = 0) -> Token:
        at = self.at + ahead
        return self.tokens[at] if at < len(self.tokens) else self.tokens[-1]

    def next(self) -> Token:
        token = self.peek()
        self.at += 1
        return token

    def is_op(self, *ops: str) -> bool:
        token = self.peek()
        return token.kind == "op" and token.text in ops

    def is_word(self, *words: str, ahead: int = 0) -> bool:
        token = self.peek(ahead)
        return token.kind == "name" and token.text.lower() in words

    def take_op(self, op: str) -> bool:
        if self.is_op(op):
            self.at += 1
            return True
        return False

    def take_word(self, word: str) -> bool:
        if self.is_word(word):
            self.at += 1
            return True
        return False

    def need_op(self, op: str, why: str) -> None:
        if not self.take_op(op):
            self.expected(f"`{op}` {why}")

    def expected(self, what: str) -> NoReturn:
        token = self.peek()
        again = self.peek(1)
        meant = {"&": "and", "|": "or"}.get(token.text) if token.kind == again.kind == "op" and token.text == again.text else None
        refuse(self.text, token, f"expected {what}, found {token.shown}" + (f"{token.text}: write `{meant}`" if meant else ""))

    # -- and, or, not ----------------------------------------------------------------------------------------------------

    def whole(self) -> Node:
        """An expression. What is open lies on a stack of its own, so that no text can exhaust Python's."""
        outer: list[tuple[list[Node], list[Node], bool]] = []
        ors: list[Node] = []
        ands: list[Node] = []
        while True:
            opposed = self.nots()
            if self.is_op("("):
                if len(outer) == MAX_DEPTH:
                    refuse(self.text, self.peek(), f"parentheses are nested more than {MAX_DEPTH} deep")
                self.at += 1
                outer.append((ors, ands, opposed))
                ors, ands = [], []
                continue
            node = self.primary()
            while True:
                ands.append(opposite(node) if opposed else node)
                if self.take_word("and"):
                    break
                ors.append(all_of(ands))
                ands = []
                if self.take_word("or"):
                    break
                node = any_of(ors)
                if not outer:
                    return node
                self.need_op(")", "that closes the parenthesis, `and` or `or`")
                ors, ands, opposed = outer.pop()

    def nots(self) -> bool:
        """Whether an odd number of `not` stands here."""
        odd = False
        while self.take_word("not") or self.take_op("!"):
            odd = not odd
        return odd

    def primary(self) -> Node:
        if self.is_word("true", "false"):
            return TRUE if self.next().text.lower() == "true" else FALSE
        if self.take_word("exists"):
            return Test(self.field(), "exists", ())
        return self.comparison()

    # -- one field -------------------------------------------------------------------------------------------------------

    def field(self) -> Field:
        token = self.next()
        if token.kind != "name" or token.text.lower() in _KEYWORDS:
            self.at -= 1
            self.expected("the name of a field")
        name = token.text.lower()
        found = self.flags(token) if name == "flags" else find(name)
        if found is None:
            refuse(self.text, token, f"no field {token.shown}; {suggest(name)}")
        return found

    def flags(self, token: Token) -> Field:
        """Of `flags & O_WRONLY` the constant says which flags are meant: those of open(2), or the record's own."""
        ahead = 0
        while ahead < _BEFORE_FLAG and (self.peek(ahead).kind == "op" or self.is_word("not", "in", ahead=ahead)):
            ahead += 1
        word = self.peek(ahead).text.upper()
        if word in FILE_FLAGS:
            return catalogue()["file_flags"]
        if word in RECORD_FLAGS:
            return catalogue()["record_flags"]
        refuse(self.text, token.at, "`flags` needs a named flag to tell which are meant; write file_flags (open, rename) or record_flags")

    def comparison(self) -> Node:
        field = self.field()
        if field.name == "descendant_of":
            return self.followed(field)
        if self.take_op("&"):
            return self.bits(field)
        if self.is_word("in") or (self.is_word("not") and self.is_word("in", ahead=1)):
            negate = self.next().text.lower() == "not"
            self.at += negate
            return self.members(field, negate)
        if self.is_word(*_TEXT_OPS) or (self.is_word("not") and self.is_word(*_TEXT_OPS, ahead=1)):
            negate = self.is_word("not")
            self.at += negate
            word = self.next().text.lower()
            return self.matching(field, _TEXT_OPS[word], word.startswith("i"), negate)
        if self.is_op("=~", "!~"):
            return self.matching(field, "regex", False, self.next().text == "!~")
        if self.is_op("==", "=", "!="):
            return self.members(field, self.next().text == "!=")
        if self.is_op(*_ORDERED):
            return self.ordered(field, self.next())
        self.expected(f"an operator after {field.name}: == != < <= > >= in =~ contains startswith endswith glob &")

    def followed(self, field: Field) -> Node:
        if not (self.take_op("==") or self.take_op("=")):
            self.at += self.is_word("in")
        numbers = replace(catalogue()["pid"], name=field.name)
        ranges = merge_ranges(self.ranges(numbers, self.list_of(numbers), _values.whole))
        if sum(hi - lo + 1 for lo, hi in ranges) > MAX_VALUES:
            refuse(self.text, self.peek(-1), f"{field.name} takes at most {MAX_VALUES} processes")
        return any_value(field, "follow", [pid for lo, hi in ranges for pid in range(lo, hi + 1)], False)

    def bits(self, field: Field) -> Node:
        if field.type != "number":
            refuse(self.text, self.peek(-1), f"{field.name} is no whole number; `&` is for flags and masks")
        start = self.peek()
        brackets = self.take_op("(")
        mask = _values.mask(self.text, self.next(), field)
        while self.take_op("|"):
            mask |= _values.mask(self.text, self.next(), field)
        if brackets:
            self.need_op(")", "after the mask")
        if not self.is_op("==", "=", "!="):
            if not mask:
                refuse(self.text, start, "a mask of 0 never matches; for O_RDONLY write file_flags & O_ACCMODE == O_RDONLY")
            return Test(field, "bits", (mask, None))
        negate = self.next().text == "!="
        value = self.next()
        want = _values.mask(self.text, value, field)
        if want & ~mask:
            refuse(self.text, value, f"{value.shown} has bits that the mask lacks: the two are never equal")
        return Test(field, "bits", (mask, want), negate)

    def ordered(self, field: Field, op: Token) -> Node:
        if field.type not in ("number", "severity", "float"):
            refuse(self.text, op, f"{field.name} is no number; `{op.text}` is for numbers")
        token = self.next()
        if field.type == "float":
            value = _values.real(self.text, token, field)
            low, open_end = op.text[0] == ">", len(op.text) == 1
            return Test(field, "float", ((value, math.inf, open_end, False) if low else (-math.inf, value, False, open_end),))
        # of the five severities one that is none is a mistake; other orders may lie outside what a field can have
        exact = (_values.whole if field.type == "severity" else _values.number)(self.text, token, field)
        least, most = _values.bounds(field)
        lo, hi = {"<": (least, math.ceil(exact) - 1), "<=": (least, math.floor(exact)), ">": (math.floor(exact) + 1, most),
                  ">=": (math.ceil(exact), most)}[op.text]
        ranges = merge_ranges([(max(lo, least), min(hi, most))])
        return Test(field, "range", ranges) if ranges else FALSE

    def matching(self, field: Field, op: str, icase: bool, negate: bool) -> Node:
        if field.type not in ("text", "argv"):
            refuse(self.text, self.peek(-1), f"{field.name} is not a text; write {_INSTEAD[field.type]}")
        values = []
        for token in self.list_of(field):
            value = _values.text(self.text, token, field) if op in ("glob", "regex") else self.fitting(field, token)
            self.tables += check_text(self.text, token, op, value, icase)
            if self.tables > MAX_TABLES:
                refuse(self.text, token, f"the regexes so far take more than {MAX_TABLES >> 20} MiB of tables; use fewer or simpler ones")
            values.append(value)
        return any_value(field, op, dict.fromkeys(values), negate, icase)

    def fitting(self, field: Field, token: Token) -> bytes:
        """A text that the field can hold."""
        value = _values.text(self.text, token, field)
        if field.name in NAMED and len(value) > MAX_NAME:
            refuse(self.text, token, f"{field.name} holds at most {MAX_NAME} bytes, the kernel cuts longer names: write "
                   f"{value[:MAX_NAME].decode('utf-8', 'replace')!r}, or compare exe")
        return value

    # -- sets ------------------------------------------------------------------------------------------------------------

    def members(self, field: Field, negate: bool) -> Node:
        """A field that equals any of some values, or none of them."""
        values = self.list_of(field)
        if field.type in ("text", "argv"):
            return any_value(field, "equal", dict.fromkeys(self.fitting(field, t) for t in values), negate)
        if field.type == "kind":
            chosen = frozenset().union(*(_values.kinds(self.text, t, field) for t in values))
            return of_kinds(_values.ALL_KINDS - chosen if negate else chosen)
        if field.type == "address":
            return any_value(field, "net", sorted({_values.net(self.text, t, field) for t in values}), negate)
        if field.type == "float":
            spans = merge_spans(self.ranges(field, values, _values.real))
            return any_value(field, "float", [(lo, hi, False, False) for lo, hi in spans], negate)
        return any_value(field, "range", merge_ranges(self.ranges(field, values, _values.whole)), negate)

    def ranges(self, field: Field, items: list[Token], read: Callable[[str, Token, Field], N]) -> list[tuple[N, N]]:
        found: list[tuple[N, N]] = []
        i = 0
        while i < len(items):
            lo = hi = read(self.text, items[i], field)
            if i + 2 < len(items) and items[i + 1].kind == "range":
                hi = read(self.text, items[i + 2], field)
                if hi < lo:
                    refuse(self.text, items[i], f"the range {lo}..{hi} is empty: its ends are the wrong way round")
                i += 2
            found.append((lo, hi))
            i += 1
        return found

    def list_of(self, field: Field) -> list[Token]:
        """Values: one, (a, b), (1..5, 7) or file("list.txt"); between the ends of a range stands a token of kind "range"."""
        if not self.take_op("("):
            return self.value(field)
        found: list[Token] = []
        while True:
            found += self.value(field)
            if self.take_op(")"):
                return found
            self.need_op(",", "or `)` after a value")

    def value(self, field: Field) -> list[Token]:
        token = self.next()
        self.values += 1
        if token.kind == "name" and token.text.lower() == "file" and self.is_op("("):
            return self.file(field, token)
        if token.kind in ("op", "end") or (token.kind == "name" and token.text.lower() in ("and", "or", "not", "in")):
            self.at -= 1
            self.expected(f"a value for {field.name}")
        if self.values > MAX_VALUES:
            refuse(self.text, token, f"more than {MAX_VALUES} values; use ranges, CIDRs or patterns")
        if self.is_op(".."):
            dots = self.next()
            self.ranged(field, dots)
            return [token, Token("range", "..", dots.at), self.next()]
        return [token]

    def file(self, field: Field, start: Token) -> list[Token]:
        self.need_op("(", "after file")
        name = self.next()
        if name.kind != "string":
            self.at -= 1
            self.expected('the path of a file in quotes: file("list.txt")')
        self.need_op(")", "after the path")
        path = os.path.join(os.fsencode(self.folder), unescape(self.text, name))
        found = []
        for number, line in lines_of(self.text, start, path, MAX_VALUES - self.values):
            self.values += 1
            where = f"{named(path)}, line {number}: "
            found += self.of_line(field, line, start._replace(where=where))
        return found

    def of_line(self, field: Field, line: str, place: Token) -> list[Token]:
        """A line of a file is read as if it stood here, so that an error in it points at the file's name; texts are taken as they are."""
        if field.type in ("text", "argv"):
            return [place._replace(kind="string", text=line.replace("\\", "\\\\"))]
        try:
            parsed = scan(line)[:-1] if len(line) <= _MAX_LINE else []
        except Unreadable as error:
            refuse(self.text, place, error.why)
        ranged = len(parsed) == 3 and parsed[1].kind == "op" and parsed[1].text == ".."
        if len(parsed) != 1 and not ranged:
            refuse(self.text, place, "not one value a line")
        if ranged:
            self.ranged(field, place)
            parsed[1] = parsed[1]._replace(kind="range")
        return [t._replace(at=place.at, where=place.where) for t in parsed]

    def ranged(self, field: Field, place: Token) -> None:
        if field.type not in ("number", "severity", "float"):
            refuse(self.text, place, f"{field.name} is no number: ranges are for numbers")


def of_kinds(numbers: frozenset[int]) -> Node:
    """Return the test that a record is of one of some kinds. Every record has a kind, so that `!=` needs no negation."""
    if not numbers or numbers == _values.ALL_KINDS:
        return TRUE if numbers else FALSE
    return Test(catalogue()["kind"], "kind", tuple(sorted(numbers)))
