# SPDX-License-Identifier: Apache-2.0
"""Text of a filter into tokens, each with its place. Relies on the standard library and `errors`."""
from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NoReturn

from tapio_fast._escape import escape
from tapio_fast.errors import FilterError

MAX_TEXT = 1 << 20      # characters of an expression: what is longer belongs into a file("...") or is an attack
_EXCERPT = 60

_TOKENS = re.compile(r"""
    (?P<space>\s+ | \#[^\n]*)
  | (?P<address>(?:[0-9A-Fa-f]{0,4}:){2,7}(?:\d+\.\d+\.\d+\.\d+|[0-9A-Fa-f]{0,4})(?:/\d+)? | \d+\.\d+\.\d+\.\d+(?:/\d+)?)(?![\w.:])
  | (?P<number>-?(?:0[xX][0-9A-Fa-f]+ | 0[oO][0-7]+ | 0[bB][01]+ | \d+(?:\.\d+)?(?:[eE][+-]?\d+)?)(?P<unit>[A-Za-z]*))(?!\w)
  | (?P<string>"(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*')
  | (?P<name>[A-Za-z_](?:[\w-]|\.(?=[A-Za-z_]))*)
  | (?P<op>\.\.|==|!=|<=|>=|=~|!~|[=<>!&|(),])
""", re.VERBOSE | re.DOTALL)
_ESCAPES = {"n": b"\n", "t": b"\t", "r": b"\r", "0": b"\0", "\\": b"\\", '"': b'"', "'": b"'"}


@dataclass(frozen=True, slots=True)
class Token:
    """kind: address, number, string, name, op, end; text: as written (a string's without quotes, still escaped)."""

    kind: str
    text: str
    at: int
    unit: str = ""


def refuse(text: str, at: int, why: str) -> NoReturn:
    """Raise the FilterError that shows the place: line and column count from 1."""
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
    found: list[Token] = []
    at = 0
    while at < len(text):
        match = _TOKENS.match(text, at)
        if match is None:
            char = text[at]
            if char in "\"'":
                refuse(text, at, "a string without its closing quote")
            refuse(text, at, f"a number must be followed by a space or an operator: {escape(text[at:at + 20])}" if char.isdigit() else
                   f"unexpected {escape(char)!r}; texts need quotes")
        kind = str(match.lastgroup)
        if kind == "number":
            unit = match["unit"]
            number = match["number"]
            # in 0xff the letters are digits, in 10ms they are a unit
            found.append(Token(kind, number.removesuffix(unit) if unit else number, at, unit))
        elif kind != "space":
            found.append(Token(kind, match[kind][1:-1] if kind == "string" else match[kind], at))
        at = match.end()
    found.append(Token("end", "", len(text)))
    return found


def unescape(source: str, token: Token) -> bytes:
    r"""Return the bytes of a string: UTF-8, with \n \t \r \0 \\ \" \' \xNN; any other backslash stands for itself (regexes)."""
    out = bytearray()
    text, i = token.text, 0
    while i < len(text):
        char = text[i]
        if char != "\\" or i + 1 == len(text):
            out += char.encode("utf-8", "surrogateescape")
            i += 1
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
