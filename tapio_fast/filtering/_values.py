# SPDX-License-Identifier: Apache-2.0
"""Values of filters: what a token means for a field: numbers with units, named constants, addresses, texts. Relies on `_lexer`, `_fields`."""
from __future__ import annotations

import difflib
import ipaddress
import re
from fractions import Fraction

from tapio_fast import schema
from tapio_fast.filtering._fields import Field
from tapio_fast.filtering._lexer import Token, refuse, unescape
from tapio_fast.types import SUBTYPES, EventType, Severity

_TIMES = {"ns": 1, "us": 1000, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9, "d": 86400 * 10**9}
_SIZES = {"b": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4, "kb": 1000, "mb": 10**6, "gb": 10**9, "tb": 10**12,
          "kib": 1024, "mib": 1024**2, "gib": 1024**3, "tib": 1024**4}
_V4 = 0xFFFF << 32
_KINDS = tuple(k for k in schema.KINDS if k.domain != schema.META)
ALL_KINDS = frozenset(k.number for k in _KINDS)


def near(word: str, known: list[str]) -> str:
    """Return "did you mean 'x'?" or what there is, as far as it is short."""
    found = difflib.get_close_matches(word, known, 1)
    if found:
        return f"did you mean {found[0]!r}?"
    shown = ", ".join(known[:12])
    return f"there are {shown}{', ...' if len(known) > 12 else ''}" if known else "a number is needed"


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
    number = Fraction(int(token.text, 0)) if re.match(r"-?0[xXoObB]", token.text) else Fraction(token.text)
    if not token.unit:
        return number
    unit = token.unit
    if field.unit in ("ns", "us"):
        if unit not in _TIMES:
            refuse(source, token.at, f"{unit!r} is no unit of time; write ns, us, ms, s, m, h or d")
        return number * _TIMES[unit] / (1000 if field.unit == "us" else 1)
    if field.unit == "bytes":
        if unit.lower() not in _SIZES:
            refuse(source, token.at, f"{unit!r} is no unit of size; write KiB, MiB, GiB or kB, MB, GB")
        return number * _SIZES[unit.lower()]
    refuse(source, token.at, f"{field.name} has no unit; write the plain number")


def number(source: str, token: Token, field: Field) -> Fraction:
    """Return a number, in the field's unit: a literal or one of the field's constants."""
    if token.kind == "number":
        return _scaled(source, token, field)
    word = unescape(source, token).decode("utf-8", "replace") if token.kind == "string" else token.text
    if token.kind in ("name", "string"):
        value = field.names.get(word.upper())
        if value is None and field.type == "severity" and word.isdecimal():
            value = int(word)
        if value is not None:
            return Fraction(value)
        if field.names:
            refuse(source, token.at, f"{field.name} has no value {word!r}; {near(word.upper(), sorted(field.names))}")
    refuse(source, token.at, f"{field.name} is a number; {_written(token)} is none")


def whole(source: str, token: Token, field: Field) -> int:
    """Return a whole number that the field can have."""
    value = number(source, token, field)
    least, most = bounds(field)
    if value.denominator != 1:
        refuse(source, token.at, f"{field.name} holds whole numbers only")
    if not least <= value <= most:
        refuse(source, token.at, f"{field.name} is never {int(value)}: it lies between {least} and {most}")
    return int(value)


def mask(source: str, token: Token, field: Field) -> int:
    """Return one word of a mask: not negative, at most 64 bits."""
    value = number(source, token, field)
    if value.denominator != 1 or not 0 <= value < 1 << 64:
        refuse(source, token.at, "a mask is a whole number of at most 64 bits")
    return int(value)


def net(source: str, token: Token, field: Field) -> tuple[int, int]:
    """Return an address or CIDR as (128 bits, prefix length); IPv4 is mapped into IPv6."""
    text = unescape(source, token).decode("ascii", "replace") if token.kind == "string" else token.text
    if token.kind not in ("address", "string"):
        refuse(source, token.at, f"{field.name} is an address; write 10.0.0.1, 10.0.0.0/8 or 2001:db8::/32, not {_written(token)}")
    try:
        found = ipaddress.ip_network(text, strict=False)
    except ValueError:
        refuse(source, token.at, f"{text!r} is no address; write 10.0.0.1, 10.0.0.0/8 or 2001:db8::/32")
    base = int(found.network_address)
    return (base | _V4, found.prefixlen + 96) if found.version == 4 else (base, found.prefixlen)


def text(source: str, token: Token, field: Field) -> bytes:
    """Return the bytes of a text: a string, or a bare word or number as it is written."""
    if token.kind == "string":
        return unescape(source, token)
    if token.kind in ("name", "number", "address"):
        return (token.text + token.unit).encode()
    refuse(source, token.at, f"{field.name} is a text; write it in quotes")


def kinds(source: str, token: Token, field: Field) -> frozenset[int]:
    """Return the dense numbers of the kinds that a type, a subtype or "type.subtype" names."""
    word = unescape(source, token).decode("utf-8", "replace") if token.kind == "string" else token.text
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
        refuse(source, token.at, "records of type meta are about the collection itself; they are always there and cannot be filtered")
    refuse(source, token.at, f"no {field.name} {word!r}; {near(word.lower(), known)}")


def _written(token: Token) -> str:
    return "the end" if token.kind == "end" else repr(token.text + token.unit)
