# SPDX-License-Identifier: Apache-2.0
"""Text of a filter into tokens, each with its place. Relies on the standard library and `errors`."""
from __future__ import annotations

import re
from typing import NamedTuple, NoReturn

from tapio_fast._escape import escape
from tapio_fast.errors import FilterError

MAX_TEXT = 1 << 20      # characters of an expression: what is longer belongs into a file("...") or is an attack
_EXCERPT = 60           # characters of the text on each side of an error's place
_SHOWN = 40             # characters of a word that an error repeats

# Possessive where two parts could share characters: what does not match must not be tried in every other way.
_TOKENS = re.compile(r"""
    (?P<space>\s+ | \#[^\n]*)
  | (?P<address>(?:[0-9A-Fa-f]{0,4}:){2,8}(?:\d+\.\d+\.\d+\.\d+|[0-9A-Fa-f]{0,4})(?:/\d+)? | \d+\.\d+\.\d+\.\d+(?:/\d+)?)
    (?![\w:] | \.(?!\.))
  | (?P<number>-?(?:0[xX][0-9A-Fa-f]++ | 0[oO][0-7]++ | 0[bB][01]++ | \d++(?:\.\d++)?+(?:[eE][+-]?\d++)?+)(?P<unit>[A-Za-z]*+))(?!\w)
  | (?P<string>"(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*')
  | (?P<name>[A-Za-z_](?:[\w-]|\.(?=[A-Za-z_]))*)
  | (?P<op>\.\.|==|!=|<=|>=|=~|!~|[=<>!&|(),])
""", re.VERBOSE | re.DOTALL | re.ASCII)
_ESCAPES = {"n": b"\n", "t": b"\t", "r": b"\r", "0": b"\0", "\\": b"\\", '"': b'"', "'": b"'"}


class Token(NamedTuple):
    """kind: address, number, string, name, op, range, end; text: as written (a string's without quotes, still escaped).

    where: "list.txt, line 3: " for one that a file holds; it is then placed at the name of the file
    """

    kind: str
    text: str
    at: int
    unit: str = ""
    where: str = ""

    @property
    def shown(self) -> str:
        """The token for an error message: one short line."""
        word = self.text[:_SHOWN] + self.unit[:_SHOWN]
        return "the end" if self.kind == "end" else f"'{escape(word)}{'...' if len(word) < len(self.text) + len(self.unit) else ''}'"


class Unreadable(Exception):
    """Say that no token begins at a place. Never leaves the package: `tokens` makes a FilterError of it."""

    def __init__(self, at: int, why: str) -> None:
        super().__init__(why)
        self.at, self.why = at, why


def refuse(text: str, place: int | Token, why: str) -> NoReturn:
    """Raise the FilterError that shows the place: line and column count from 1."""
    if isinstance(place, Token):
        why, place = place.where + why, place.at
    at = place
    line = text.count("\n", 0, at) + 1
    start = text.rfind("\n", 0, at) + 1
    end = text.find("\n", at)
    shown = text[start:end if end >= 0 else len(text)]
    column = at - start
    cut = max(0, column - _EXCERPT)
    where = f"column {column + 1}" if "\n" not in text else f"line {line}, column {column + 1}"
    before, after = escape(shown[cut:column]), escape(shown[column:column + _EXCERPT])
    raise FilterError(f"filter: {why} (at {where})\n    {before}{after}\n    {' ' * len(before)}^", position=at)


def tokens(text: str) -> list[Token]:
    """Return the tokens of an expression; the last one is of kind "end". Raises FilterError."""
    if len(text) > MAX_TEXT:
        raise FilterError(f"filter: the expression has {len(text)} characters; the limit is {MAX_TEXT}: put long lists into a "
                          'file and write file("list.txt")', position=MAX_TEXT)
    try:
        return scan(text)
    except Unreadable as error:
        refuse(text, error.at, error.why)


def scan(text: str) -> list[Token]:
    """Return the tokens of a text; raise Unreadable where there is none."""
    found: list[Token] = []
    at = last = 0
    while at < len(text):
        match = _TOKENS.match(text, at)
        if match is None:
            char = text[at]
            if char in "\"'":
                raise Unreadable(at, "a string without its closing quote")
            raise Unreadable(at, f"a number must be followed by a space or an operator: {escape(text[at:at + 20])}" if char in "0123456789"
                             else f"unexpected '{escape(char)}'; texts need quotes")
        kind = str(match.lastgroup)
        if kind == "number":
            unit = match["unit"]
            number = match["number"]
            # in 0xff the letters are digits, in 10ms they are a unit
            found.append(Token(kind, number.removesuffix(unit) if unit else number, at, unit))
        elif kind != "space":
            found.append(Token(kind, match[kind][1:-1] if kind == "string" else match[kind], at))
        at = match.end()
        last = last if kind == "space" else at
    # the end is where the last token ends: an error there is not shown on an empty line further down
    found.append(Token("end", "", last))
    return found


def unescape(source: str, token: Token) -> bytes:
    r"""Return the bytes of a string: UTF-8, with \n \t \r \0 \\ \" \' \xNN; any other backslash stands for itself (regexes)."""
    out = bytearray()
    text, i = token.text, 0
    while i < len(text):
        char = text[i]
        if char != "\\" or i + 1 == len(text):
            end = text.find("\\", i + 1)
            end = end if end >= 0 else len(text)
            out += encoded(source, token, text[i:end])
            i = end
            continue
        following = text[i + 1]
        if following == "x" and re.fullmatch(r"[0-9A-Fa-f]{2}", text[i + 2:i + 4]):
            out.append(int(text[i + 2:i + 4], 16))
            i += 4
        elif following in _ESCAPES:
            out += _ESCAPES[following]
            i += 2
        else:
            out += b"\\"
            i += 1
    return bytes(out)


def encoded(source: str, token: Token, text: str) -> bytes:
    """Return text as UTF-8; the bytes that Python's surrogateescape stands for as themselves."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        refuse(source, token, "it holds half of a surrogate pair, which no text has; write its bytes as \\xNN")
