# SPDX-License-Identifier: Apache-2.0
"""The parser: text of an expression -> typed tree. docs/filter.md has the grammar. Relies on `_lexer`, `_values`, `_fields`, `_tree`.

Recursive descent over tokens, a method a rule; types are checked while reading, so that an error points at its word.
"""
from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import replace
from typing import NoReturn

from tapio_fast.filtering import _values
from tapio_fast.filtering._fields import Field, catalogue, find, suggest
from tapio_fast.filtering._files import lines_of
from tapio_fast.filtering._lexer import Token, refuse, tokens
from tapio_fast.filtering._names import FILE_FLAGS, RECORD_FLAGS
from tapio_fast.filtering._patterns import check_text
from tapio_fast.filtering._tree import FALSE, TRUE, Node, Test, all_of, any_of, merge_ranges, opposite

MAX_DEPTH = 100
MAX_VALUES = 100_000
_ORDERED = ("<", "<=", ">", ">=")
_WORD_OPS = {"contains": "contains", "startswith": "startswith", "endswith": "endswith", "glob": "glob", "regex": "regex", "equals": "equal"}
_TEXT_OPS = {**_WORD_OPS, **{f"i{word}": op for word, op in _WORD_OPS.items()}}
_KEYWORDS = {"and", "or", "not", "in", "true", "false", "exists", "file", *_TEXT_OPS}


def parse(text: str, *, folder: str = "") -> Node:
    """Return the typed tree of an expression.

    folder : str, where file("list.txt") looks for a relative path; "" = the working directory
    Raises FilterError, whose `position` is the place in the text.
    """
    parser = _Parser(text, folder)
    if parser.peek().kind == "end":
        return TRUE
    node = parser.either()
    if parser.peek().kind != "end":
        parser.expected("`and`, `or` or the end")
    return node


class _Parser:
    def __init__(self, text: str, folder: str) -> None:
        self.text, self.folder = text, folder
        self.tokens = tokens(text)
        self.at = self.depth = self.values = 0

    # -- tokens ----------------------------------------------------------------------------------------------------------

    def peek(self, ahead: int = 0) -> Token:
        return self.tokens[min(self.at + ahead, len(self.tokens) - 1)]

    def next(self) -> Token:
        token = self.peek()
        self.at += 1
        return token

    def is_op(self, *ops: str) -> bool:
        return self.peek().kind == "op" and self.peek().text in ops

    def is_word(self, *words: str, ahead: int = 0) -> bool:
        return self.peek(ahead).kind == "name" and self.peek(ahead).text.lower() in words

    def take_op(self, op: str) -> bool:
        if self.is_op(op):
            self.at += 1
            return True
        return False

    def need_op(self, op: str, why: str) -> None:
        if not self.take_op(op):
            self.expected(f"`{op}` {why}")

    def expected(self, what: str) -> NoReturn:
        token = self.peek()
        found = "the end" if token.kind == "end" else repr(token.text + token.unit)
        refuse(self.text, token.at, f"expected {what}, found {found}")

    # -- and, or, not ----------------------------------------------------------------------------------------------------

    def either(self) -> Node:
        parts = [self.both()]
        while self.is_word("or"):
            self.at += 1
            parts.append(self.both())
        return any_of(parts)

    def both(self) -> Node:
        parts = [self.negated()]
        while self.is_word("and"):
            self.at += 1
            parts.append(self.negated())
        return all_of(parts)

    def negated(self) -> Node:
        times = 0
        while self.is_word("not") or self.is_op("!"):
            self.at += 1
            times += 1
        node = self.primary()
        return opposite(node) if times % 2 else node

    def primary(self) -> Node:
        if self.is_op("("):
            start = self.next()
            self.depth += 1
            if self.depth > MAX_DEPTH:
                refuse(self.text, start.at, f"parentheses are nested more than {MAX_DEPTH} deep")
            node = self.either()
            self.need_op(")", "that closes the parenthesis")
            self.depth -= 1
            return node
        if self.is_word("true", "false"):
            return TRUE if self.next().text.lower() == "true" else FALSE
        if self.is_word("exists"):
            self.at += 1
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
            refuse(self.text, token.at, f"no field {token.text!r}; {suggest(name)}")
        return found

    def flags(self, token: Token) -> Field:
        """Of `flags & O_WRONLY` the constant says which flags are meant: those of open(2), or the record's own."""
        ahead = 0
        while self.peek(ahead).kind == "op":
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
            return replace_negate(self.members(field, self.list_of), negate)
        if self.is_word(*_TEXT_OPS) or (self.is_word("not") and self.is_word(*_TEXT_OPS, ahead=1)):
            negate = self.is_word("not")
            self.at += negate
            word = self.next().text.lower()
            return self.matching(field, _TEXT_OPS[word], word.startswith("i"), negate)
        if self.is_op("=~", "!~"):
            return self.matching(field, "regex", False, self.next().text == "!~")
        if self.is_op("==", "=", "!="):
            negate = self.next().text == "!="
            return replace_negate(self.members(field, self.one_of), negate)
        if self.is_op(*_ORDERED):
            return self.ordered(field, self.next())
        self.expected(f"an operator after {field.name}: == != < <= > >= in =~ contains startswith endswith glob &")

    def followed(self, field: Field) -> Node:
        if not self.take_op("=="):
            self.at += self.is_word("in")
        numbers = catalogue()["pid"]
        return Test(field, "follow", tuple(sorted({_values.whole(self.text, t, numbers) for t in self.list_of(numbers)})))

    def bits(self, field: Field) -> Node:
        self.need_type(field, "number", "&")
        brackets = self.take_op("(")
        mask = _values.mask(self.text, self.next(), field)
        while self.take_op("|"):
            mask |= _values.mask(self.text, self.next(), field)
        if brackets:
            self.need_op(")", "after the mask")
        if not self.is_op("==", "=", "!="):
            if not mask:
                refuse(self.text, self.peek().at, "a mask of 0 never matches; for O_RDONLY write file_flags & O_ACCMODE == O_RDONLY")
            return Test(field, "bits", (mask, None))
        negate = self.next().text == "!="
        return Test(field, "bits", (mask, _values.mask(self.text, self.next(), field)), negate)

    def ordered(self, field: Field, op: Token) -> Node:
        token = self.next()
        if field.type == "float":
            value = float(_values.number(self.text, token, field))
            low, open_end = op.text[0] == ">", len(op.text) == 1
            return Test(field, "float", ((value, math.inf, open_end, False) if low else (-math.inf, value, False, open_end),))
        self.need_type(field, "number", op.text, "severity")
        exact = _values.number(self.text, token, field)
        least, most = _values.bounds(field)
        lo, hi = {"<": (least, math.ceil(exact) - 1), "<=": (least, math.floor(exact)), ">": (math.floor(exact) + 1, most),
                  ">=": (math.ceil(exact), most)}[op.text]
        ranges = merge_ranges([(max(lo, least), min(hi, most))])
        return Test(field, "range", ranges) if ranges else FALSE

    def matching(self, field: Field, op: str, icase: bool, negate: bool) -> Node:
        if field.type not in ("text", "argv"):
            refuse(self.text, self.peek(-1).at, f"{field.name} is not a text; use == < > in")
        values = []
        for token in self.list_of(field):
            value = _values.text(self.text, token, field)
            check_text(self.text, token.at, op, value, icase)
            values.append(value)
        return Test(field, op, tuple(dict.fromkeys(values)), negate, icase)

    # -- sets ------------------------------------------------------------------------------------------------------------

    def members(self, field: Field, source: Callable[[Field], list[Token]]) -> Test:
        """A field that equals any of some values."""
        if field.type in ("text", "argv"):
            return Test(field, "equal", tuple(dict.fromkeys(_values.text(self.text, t, field) for t in source(field))))
        if field.type == "kind":
            return Test(field, "kind", tuple(sorted(frozenset().union(*(_values.kinds(self.text, t, field) for t in source(field))))))
        if field.type == "address":
            return Test(field, "net", tuple(sorted({_values.net(self.text, t, field) for t in source(field)})))
        if field.type == "float":
            values = [float(_values.number(self.text, t, field)) for t in source(field)]
            return Test(field, "float", tuple((v, v, False, False) for v in sorted(set(values))))
        return Test(field, "range", merge_ranges(self.ranges(field, source)))

    def ranges(self, field: Field, source: Callable[[Field], list[Token]]) -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = []
        items = source(field)
        i = 0
        while i < len(items):
            lo = hi = _values.whole(self.text, items[i], field)
            if i + 2 < len(items) and items[i + 1].kind == "range":
                hi = _values.whole(self.text, items[i + 2], field)
                if hi < lo:
                    refuse(self.text, items[i].at, f"the range {lo}..{hi} is empty: its ends are the wrong way round")
                i += 2
            found.append((lo, hi))
            i += 1
        return found

    def one_of(self, field: Field) -> list[Token]:
        """What follows == and !=: one value, or a list as with `in`."""
        return self.list_of(field)

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
            refuse(self.text, token.at, f"more than {MAX_VALUES} values; use ranges, CIDRs or patterns")
        if self.is_op(".."):
            dots = self.next()
            if field.type not in ("number", "severity"):
                refuse(self.text, dots.at, f"{field.name} is no number: ranges are for numbers")
            return [token, Token("range", "..", dots.at), self.next()]
        return [token]

    def file(self, field: Field, start: Token) -> list[Token]:
        self.need_op("(", "after file")
        name = self.next()
        if name.kind != "string":
            self.at -= 1
            self.expected('the path of a file in quotes: file("list.txt")')
        self.need_op(")", "after the path")
        found = []
        path = os.path.join(self.folder, name.text)
        for line in lines_of(self.text, start.at, path, MAX_VALUES - self.values):
            self.values += 1
            # a line of a file is read as if it stood here, so that an error in it points at the file's name
            parsed = [Token("string", line.replace("\\", "\\\\"), start.at)] if field.type in ("text", "argv") else tokens(line)[:-1]
            if len(parsed) not in (1, 3) or (len(parsed) == 3 and parsed[1].text != ".."):
                refuse(self.text, start.at, f"{path}: {line!r} is not one value a line")
            found += [Token("range" if t.text == ".." else t.kind, t.text, start.at, t.unit) for t in parsed]
        return found

    def need_type(self, field: Field, kind: str, op: str, *others: str) -> None:
        if field.type not in (kind, *others):
            refuse(self.text, self.peek(-1).at, f"{field.name} is no number; `{op}` is for numbers")


def replace_negate(test: Test, negate: bool) -> Test:
    """Return a test negated; of kinds the complement is told, because every record has one."""
    if negate and test.op == "kind":
        return replace(test, args=tuple(sorted(_values.ALL_KINDS - set(test.args))))
    return replace(test, negate=True) if negate else test
