# SPDX-License-Identifier: Apache-2.0
"""Values of filters: what a token means for a field: numbers with units, named constants, addresses, texts. Relies on `_lexer`, `_fields`."""
from __future__ import annotations

import difflib
import ipaddress
import re
from fractions import Fraction
from functools import cache

from tapio_fast import schema
from tapio_fast.filtering._fields import Field
from tapio_fast.filtering._lexer import Token, Unreadable, encoded, refuse, scan, unescape
from tapio_fast.types import SUBTYPES, EventType, Severity

_TIMES = {"ns": 1, "us": 1000, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9, "d": 86400 * 10**9}
_SIZES = {"b": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4, "kb": 1000, "mb": 10**6, "gb": 10**9, "tb": 10**12,
          "kib": 1024, "mib": 1024**2, "gib": 1024**3, "tib": 1024**4}
_MAX_DIGITS = 64        # characters of a number: beyond any field, and short enough to be read at once
_MAX_EXPONENT = 400     # of a number: no float has more
_V4 = 0xFFFF << 32
_KINDS = tuple(k for k in schema.KINDS if k.domain != schema.META)
ALL_KINDS = frozenset(k.number for k in _KINDS)


def _word(source: str, token: Token) -> str:
    """Return what a token says, a string without its escapes."""
    return unescape(source, token).decode("utf-8", "replace") if token.kind == "string" else token.text + token.unit


def near(word: str, known: list[str]) -> str:
    """Return "did you mean 'x'?" or what there is, as far as it is short."""
    found = [name for name in known if name.endswith(f".{word}")] or difflib.get_close_matches(word[:64], known, 1)
    if found:
        return f"did you mean {found[0]!r}?"
    shown = ", ".join(known[:12])
    return f"there are {shown}{', ...' if len(known) > 12 else ''}" if known else "a number is needed"


@cache
def bounds(field: Field) -> tuple[int, int]:
    """Return the least and the greatest value of a number field in any domain."""
    if field.type == "severity":
        return int(min(Severity)), int(max(Severity))
    least, most = 0, 0
    for place in field.places.values():
        bits = place.size * 8
        least = min(least, -(1 << bits - 1) if place.kind == "i" else 0)
        most = max(most, (1 << bits - 1) - 1 if place.kind == "i" else (1 << bits) - 1)
    return least, most


def _scaled(source: str, token: Token, field: Field) -> Fraction:
    digits, unit = token.text, token.unit
    based = re.match(r"-?0[xXoObB]", digits)
    if len(digits) > _MAX_DIGITS or (not based and abs(int(digits.lower().partition("e")[2] or 0)) > _MAX_EXPONENT):
        refuse(source, token, f"{token.shown} has more digits than any number of a record")
    if re.match(r"-?0[0-9]", digits):
        refuse(source, token, f"{token.shown} could be octal or decimal; write 0o755 for octal, and no 0 before a decimal number")
    number = Fraction(int(digits, 0)) if based else Fraction(digits)
    if not unit:
        return number
    if field.unit in ("ns", "us"):
        if unit not in _TIMES:
            refuse(source, token, f"{token.shown} has no unit of time; write ns, us, ms, s, m, h or d")
        return number * _TIMES[unit] / (1000 if field.unit == "us" else 1)
    if field.unit == "bytes":
        if unit.lower() not in _SIZES:
            refuse(source, token, f"{token.shown} has no unit of size; write KiB, MiB, GiB or kB, MB, GB")
        return number * _SIZES[unit.lower()]
    refuse(source, token, f"{field.name} has no unit; write the plain number")


def _quoted_number(word: str) -> Token | None:
    try:
        found = scan(word.strip()) if len(word) <= _MAX_DIGITS else []
    except Unreadable:
        return None
    return found[0] if len(found) == 2 and found[0].kind == "number" else None


def number(source: str, token: Token, field: Field) -> Fraction:
    """Return a number, in the field's unit: a literal or one of the field's constants."""
    if token.kind == "number":
        return _scaled(source, token, field)
    if token.kind in ("name", "string"):
        word = _word(source, token)
        if token.kind == "string" and (digits := _quoted_number(word)):      # settings and imports have texts only
            return _scaled(source, token._replace(kind="number", text=digits.text, unit=digits.unit), field)
        value = field.names.get(word.upper())
        if value is not None:
            return Fraction(value)
        if field.names:
            refuse(source, token, f"{field.name} has no value {token.shown}; {near(word.upper(), sorted(field.names))}")
    refuse(source, token, f"{field.name} is a number; {token.shown} is none")


def whole(source: str, token: Token, field: Field) -> int:
    """Return a whole number that the field can have."""
    plain = token.kind == "number" and not token.unit and token.text.isdecimal() and len(token.text) < 20 and token.text[0] != "0"
    # of long lists nearly all are plain: an int takes a fifth of a Fraction's time
    value = int(token.text) if plain else number(source, token, field)
    least, most = bounds(field)
    if value.denominator != 1:
        refuse(source, token, f"{field.name} holds whole numbers only{f' (of {field.unit})' if field.unit else ''}")
    if not least <= value <= most:
        refuse(source, token, f"{field.name} is never {token.shown}: it lies between {least} and {most}")
    return int(value)


def real(source: str, token: Token, field: Field) -> float:
    """Return a number as a float."""
    try:
        return float(number(source, token, field))
    except OverflowError:
        refuse(source, token, f"{token.shown} is larger than any number that {field.name} can have")


def mask(source: str, token: Token, field: Field) -> int:
    """Return one word of a mask: not negative, at most 64 bits."""
    value = number(source, token, field)
    if value.denominator != 1 or not 0 <= value < 1 << 64:
        refuse(source, token, "a mask is a whole number of at most 64 bits")
    return int(value)


def net(source: str, token: Token, field: Field) -> tuple[int, int]:
    """Return an address or CIDR as (128 bits, prefix length); IPv4 is mapped into IPv6."""
    text = _word(source, token)
    if token.kind not in ("address", "string"):
        refuse(source, token, f"{field.name} is an address; write 10.0.0.1, 10.0.0.0/8 or 2001:db8::/32, not {token.shown}")
    try:
        found = ipaddress.ip_network(text, strict=False)
    except ValueError:
        refuse(source, token, f"{token.shown} is no address; write 10.0.0.1, 10.0.0.0/8 or 2001:db8::/32")
    if "%" in text:
        refuse(source, token, "an address of a record has no zone (%...); filter by netns, too, if several networks use it")
    base = int(found.network_address)
    return (base | _V4, found.prefixlen + 96) if found.version == 4 else (base, found.prefixlen)


def text(source: str, token: Token, field: Field) -> bytes:
    """Return the bytes of a text: a string, or a bare word or number as it is written."""
    if token.kind == "string":
        return unescape(source, token)
    if token.kind in ("name", "number", "address"):
        return encoded(source, token, token.text + token.unit)
    refuse(source, token, f"{field.name} is a text; write it in quotes")


def kinds(source: str, token: Token, field: Field) -> frozenset[int]:
    """Return the dense numbers of the kinds that a type, a subtype or "type.subtype" names."""
    word = _word(source, token)
    if field.name == "type":
        found = [k.number for k in _KINDS if word.lower() in (k.domain, str(k.type))]
        known = sorted(t.text for t in EventType if t.value in SUBTYPES and t is not EventType.META)
        known_to_type = word.upper() in EventType.__members__ and word.lower() != schema.META
        if found or known_to_type:
            return frozenset(found)
    elif field.name == "subtype":
        found = [k.number for k in _KINDS if word.lower() in (k.name.partition(".")[2], str(k.subtype))]
        known = sorted({k.name.partition(".")[2] for k in _KINDS})
        if found or any(word.upper() in e.__members__ for t, e in SUBTYPES.items() if t != EventType.META):
            return frozenset(found)
    else:
        found = [k.number for k in _KINDS if word.lower() == k.name]
        known = [k.name for k in _KINDS]
        if found:
            return frozenset(found)
    if word.lower() == schema.META:
        refuse(source, token, "records of type meta are about the collection itself; they are always there and cannot be filtered")
    refuse(source, token, f"no {field.name} {token.shown}; {near(word.lower(), known)}")

