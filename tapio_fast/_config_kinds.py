# SPDX-License-Identifier: Apache-2.0
"""Kinds of configuration values: what each accepts, how it reads from text, how it is described.

A key is declared once, as a dataclass field whose metadata holds its Kind; checking, the environment, `config show` and
docs/configuration.md all read that. Relies on tapio_fast.errors only. (No pydantic: its import costs more than numpy's.)
"""
from __future__ import annotations

import dataclasses
import difflib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from tapio_fast.errors import ConfigError, FilterError

SEVERITIES = {"debug": "debug", "info": "info", "low": "info", "warning": "warning", "medium": "warning",
              "error": "error", "high": "error", "critical": "critical"}
_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"": 1, "b": 1, "k": 1 << 10, "kb": 1 << 10, "kib": 1 << 10, "m": 1 << 20, "mb": 1 << 20, "mib": 1 << 20,
          "g": 1 << 30, "gb": 1 << 30, "gib": 1 << 30}
_MEASURE = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([a-zA-Z]*)\s*\Z")


class Refused(Exception):
    """Carry why a value was refused, until the key is known."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """Say what a key accepts.

    allowed : str, for people, after "allowed: "
    check : value -> normal form; raises Refused
    from_text : text of an environment variable or option -> value for check
    """

    allowed: str
    check: Callable[[Any], Any]
    from_text: Callable[[str], Any] = str


def key_error(key: str, value: object, why: str, step: str) -> ConfigError:
    """Make the error that names the key, its value, the cause and the next step."""
    shown = json.dumps(value, default=str, ensure_ascii=True)
    shown = shown if len(shown) <= 80 else shown[:77] + "..."
    return ConfigError(f"configuration {key} = {shown}: {why}; {step}", key=key)


def setting(kind: Kind, default: Any, doc: str) -> Any:
    """Declare one key as a dataclass field."""
    return dataclasses.field(default=default, metadata={"kind": kind, "doc": doc})


def checked(key: str, spec: dataclasses.Field[Any], value: Any) -> Any:
    """Return the normal form of a value, or raise ConfigError that names its key."""
    kind: Kind = spec.metadata["kind"]
    try:
        return kind.check(value)
    except Refused as refused:
        default = json.dumps(spec.default, default=str)
        raise key_error(key, value, str(refused), f"allowed: {kind.allowed} (default {default})") from None


def _a(value: object) -> str:
    return {bool: "a boolean", int: "an integer", float: "a number", str: "text", list: "a list", tuple: "a list",
            dict: "a table", type(None): "nothing"}.get(type(value), f"a {type(value).__name__}")


def _text_bool(text: str) -> object:
    low = text.strip().lower()
    return True if low in _TRUE else False if low in _FALSE else text


def _text_number(text: str) -> object:
    for make in (int, float):
        try:
            return make(text)
        except ValueError:
            continue
    return text


def _text_list(text: str) -> object:
    if text.lstrip().startswith("["):
        try:
            return json.loads(text)
        except ValueError:
            raise Refused("looks like a JSON list but is not one") from None
    return [part.strip() for part in text.split(",") if part.strip()]


def _text_json(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        raise Refused("is not JSON") from None


def flag() -> Kind:
    """Accept true or false."""
    def check(value: Any) -> bool:
        if not isinstance(value, bool):
            raise Refused(f"is {_a(value)}, not true or false")
        return value
    return Kind("true or false", check, _text_bool)


def _in_range(value: Any, low: Any, high: Any, unit: str, *, open_low: bool = False) -> Any:
    if value < low or (open_low and value == low):
        raise Refused(f"is too small, it must be above {low:g}{unit}" if open_low else f"is too small, the least is {low:g}{unit}")
    if value > high:
        raise Refused(f"is too large, the most is {high:g}{unit}")
    if value != value:
        raise Refused("is not a number")
    return value


def integer(low: int, high: int, unit: str = "") -> Kind:
    """Accept an integer within bounds."""
    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise Refused(f"is {_a(value)}, not an integer")
        return int(_in_range(value, low, high, unit))
    return Kind(f"an integer from {low} to {high}{unit}", check, _text_number)


def number(low: float, high: float, unit: str = "", *, open_low: bool = False) -> Kind:
    """Accept a number within bounds; `open_low` excludes the lower one."""
    def check(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise Refused(f"is {_a(value)}, not a number")
        return float(_in_range(value, low, high, unit, open_low=open_low))
    return Kind(f"a number {'above' if open_low else 'from'} {low:g} {'up ' if open_low else ''}to {high:g}{unit}", check,
                _text_number)


def _measure(value: str, units: Mapping[str, float], what: str) -> tuple[float, str]:
    match = _MEASURE.match(value)
    unit = match.group(2).lower() if match else ""
    if not match or unit not in units:
        raise Refused(f"is not {what}")
    return float(match.group(1)), unit


def duration(low: float, high: float) -> Kind:
    """Accept seconds as a number, or text such as "100ms"; the normal form is float seconds."""
    def check(value: Any) -> float:
        if isinstance(value, str):
            amount, unit = _measure(value, _SECONDS, 'a duration (try 0.1 or "100ms")')
            value = amount * _SECONDS[unit]
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise Refused(f"is {_a(value)}, not a duration")
        return float(_in_range(value, low, high, " s"))
    return Kind(f'seconds from {low:g} to {high:g}, or text like "100ms"', check)


def size(low: int, high: int, unit_bytes: int = 1) -> Kind:
    """Accept a size counted in bytes or MiB, or text such as "4KiB"; KB, MB and GB mean powers of 1024."""
    unit = " MiB" if unit_bytes == 1 << 20 else " bytes"

    def check(value: Any) -> int:
        if isinstance(value, str):
            amount, suffix = _measure(value, _BYTES, 'a size (try 16 or "16MB")')
            total = amount * (_BYTES[suffix] if suffix else unit_bytes)
            if total % unit_bytes:
                raise Refused(f"is not a whole number of{unit}")
            value = int(total // unit_bytes)
        if isinstance(value, bool) or not isinstance(value, int):
            raise Refused(f"is {_a(value)}, not a size")
        return int(_in_range(value, low, high, unit))
    return Kind(f'an integer from {low} to {high}{unit}, or text like "{"64MB" if unit_bytes > 1 else "4KiB"}"', check)


def choice(*values: str, also: Mapping[str, str] | None = None) -> Kind:
    """Accept one of some words; `also` maps other spellings to them."""
    known = {**{value: value for value in values}, **(also or {})}

    def check(value: Any) -> str:
        if not isinstance(value, str):
            raise Refused(f"is {_a(value)}, not text")
        if value.lower() not in known:
            close = difflib.get_close_matches(value.lower(), [word.lower() for word in known], 1)
            raise Refused("is not one of the known words" + (f", did you mean {json.dumps(known[close[0]])}?" if close and close[0] in known else ""))
        return known[value.lower()]
    return Kind(" | ".join(json.dumps(value) for value in values), check)


def text(*, pattern: str = r"[^\x00-\x1f\x7f]*", allowed: str = "text without control characters", most: int = 4096) -> Kind:
    """Accept text that fits a pattern."""
    def check(value: Any) -> str:
        if not isinstance(value, str):
            raise Refused(f"is {_a(value)}, not text")
        if len(value) > most:
            raise Refused(f"is longer than {most} characters")
        if not re.fullmatch(pattern, value):
            raise Refused("does not have the right form")
        return value
    return Kind(allowed, check)


def expression() -> Kind:
    """Accept a regular expression of the engine's language (docs/regex.md)."""
    def check(value: object) -> object:
        from tapio_fast._core._regex import ARGV, FIND, Regex

        if not isinstance(value, str):
            raise Refused(f"is {_a(value)}, not text")
        if not value or "\0" in value:
            raise Refused("is empty or has a NUL: write \\x00")
        try:
            Regex(value.encode("utf-8", "surrogateescape"), ARGV | FIND)
        except FilterError as error:
            raise Refused(f"is no regular expression at offset {error.position}: {error}") from None
        return value

    return Kind("a regular expression", check)


def names(*, of: Kind | None = None, allowed: str = "a list of texts") -> Kind:
    """Accept a list of texts, each checked by `of`; the normal form is a tuple without repeats."""
    one = of or text()

    def check(value: Any) -> tuple[str, ...]:
        if isinstance(value, (str, bytes)) or not isinstance(value, (list, tuple)):
            raise Refused(f"is {_a(value)}, not a list")
        out: dict[str, None] = {}
        for item in value:
            try:
                out[one.check(item)] = None
            except Refused as refused:
                raise Refused(f"its item {json.dumps(item, default=str)} {refused}") from None
        return tuple(out)
    return Kind(allowed, check, _text_list)


def tables(*, known: tuple[str, ...] = (), required: tuple[str, ...] = (), allowed: str) -> Kind:
    """Accept a list of tables; with `known`, no other keys in them."""
    def check(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, (list, tuple)):
            raise Refused(f"is {_a(value)}, not a list of tables")
        for number_, item in enumerate(value):
            if not isinstance(item, Mapping):
                raise Refused(f"its item {number_} is {_a(item)}, not a table")
            for name in required:
                if name not in item:
                    raise Refused(f"its item {number_} lacks {name!r}")
            for name in item:
                if known and name not in known:
                    raise Refused(f"its item {number_} has the unknown key {name!r} (known: {', '.join(known)})")
        return tuple(dict(item) for item in value)
    return Kind(allowed, check, _text_json)
