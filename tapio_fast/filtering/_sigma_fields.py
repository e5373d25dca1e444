# SPDX-License-Identifier: Apache-2.0
"""Sigma's log sources and fields in ours, and one Sigma value as a leaf of our tree. docs/rules.md prints these tables.

Strings are compared without regard to case (ASCII) unless `cased`; `*` and `?` match "/" too. Relies on `_imported`; pySigma is imported
where it is used.
"""
from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tapio_fast.filtering._imported import (
    TRUE,
    Unconvertible,
    bits,
    exists,
    joined,
    kinds,
    nets,
    network,
    numbers,
    span,
    text,
)
from tapio_fast.filtering._names import FILE_FLAGS
from tapio_fast.filtering._tree import Node, all_of, any_of, opposite

_PROCESS = {
    "Image": ("text", "process_exe"), "CommandLine": ("text", "process_args"), "CurrentDirectory": ("text", "process_cwd"),
    "ParentImage": ("text", "parent_exe"), "ParentCommandLine": ("text", "parent_args"), "ProcessId": ("number", "pid"),
    "ParentProcessId": ("number", "ppid"), "User": ("user", "uid"),
}
_ENDS = {
    "SourceIp": ("client", "ip"), "DestinationIp": ("server", "ip"), "SourcePort": ("client", "port"), "DestinationPort": ("server", "port"),
    "Protocol": ("protocol", "protocol"), "Initiated": ("initiated", "direction"), "SourceIsIpv6": ("ipv6", "family"),
    "DestinationIsIpv6": ("ipv6", "family"),
}
# Fields that rules use and that cannot be had -> why
UNKNOWN = {
    "OriginalFileName": "it is read out of the header of Windows programs", "Description": "it is read out of the header of Windows programs",
    "Product": "it is read out of the header of Windows programs", "Company": "it is read out of the header of Windows programs",
    "FileVersion": "it is read out of the header of Windows programs", "IntegrityLevel": "it is Windows' own",
    "Hashes": "files are not hashed", "md5": "files are not hashed", "sha1": "files are not hashed", "sha256": "files are not hashed",
    "Imphash": "files are not hashed", "imphash": "files are not hashed",
    "LogonId": "sessions are not recorded; the user is (User: a number, or root)", "LogonGuid": "sessions are not recorded",
    "TerminalSessionId": "sessions are not recorded", "ProcessGuid": "it is the other collector's own number",
    "ParentProcessGuid": "it is the other collector's own number", "ParentUser": "the user of the parent is not joined",
    "GrandParentImage": "only the parent and any ancestor are known; ancestor_exe tells any",
    "GrandparentCommandLine": "only the parent's command line is joined", "CreationUtcTime": "the time of creation is not recorded",
    "DestinationHostname": "names of addresses are not joined to connections; DNS answers are records of their own (network.dns)",
    "SourceHostname": "names of addresses are not joined to connections; DNS answers are records of their own (network.dns)",
    "QueryResults": "answers are records of their own (network.dns)", "QueryStatus": "answers are records of their own (network.dns)",
}


@dataclass(frozen=True)
class Category:
    """One Sigma category. base: which records it is about; fields: Sigma's name -> (how, ours); keywords: texts that a bare value is sought in."""

    base: Callable[[], Node]
    fields: dict[str, tuple[str, str]]
    keywords: tuple[str, ...] = ()


def _made() -> Node:
    """A file was made, or cut to nothing by opening it."""
    cut = all_of([kinds("file.open"), bits("file_flags", FILE_FLAGS["O_TRUNC"]), numbers("errno", [(0, 0)])])
    return any_of([kinds("file.create"), cut])


CATEGORIES: dict[str, Category] = {
    "process_creation": Category(lambda: kinds("process.exec"), _PROCESS,
                                 ("process_args", "process_exe", "process_cwd", "parent_args", "parent_exe")),
    "network_connection": Category(lambda: kinds("network.connect", "network.accept", "network.flow"), _PROCESS | _ENDS),
    "file_event": Category(_made, _PROCESS | {"TargetFilename": ("text", "path")}, ("path", "process_exe", "process_args")),
    "file_delete": Category(lambda: kinds("file.delete"), _PROCESS | {"TargetFilename": ("text", "path")}, ("path", "process_exe")),
    "file_rename": Category(lambda: kinds("file.rename"),
                            _PROCESS | {"SourceFilename": ("text", "path"), "TargetFilename": ("text", "new_path")}, ("path", "new_path")),
    "dns_query": Category(lambda: kinds("network.dns_query"), _PROCESS | {"QueryName": ("text", "name")}, ("name",)),
}


def category_of(logsource: Any) -> Category:
    """Return what a rule's log source is in our records, or say why it is nothing."""
    shown = ", ".join(f"{n} {getattr(logsource, n)}" for n in ("product", "category", "service") if getattr(logsource, n))
    if logsource.product not in (None, "linux"):
        raise Unconvertible(f"log source {shown}: only rules for linux (or for any product) can match here")
    if logsource.service is not None:
        raise Unconvertible(f"log source {shown}: lines of {logsource.service} are not collected; use a category: {', '.join(CATEGORIES)}")
    found = CATEGORIES.get(logsource.category or "")
    if found is None:
        raise Unconvertible(f"log source {shown or '(none)'}: there are no records of it; there are {', '.join(CATEGORIES)}")
    return found


def field_leaf(category: Category, name: str, value: Any) -> Node:
    """Return one `field: value` of a rule as a tree."""
    found = category.fields.get(name)
    if found is None:
        if name in UNKNOWN:
            raise Unconvertible(f"field {name}: {UNKNOWN[name]}")
        near = difflib.get_close_matches(name, category.fields, 1)
        raise Unconvertible(f"no field {name!r} in this log source; " + (f"did you mean {near[0]!r}?" if near else
                                                                        f"there are {', '.join(category.fields)}"))
    how, ours = found
    try:
        return _HOW[how](ours, value)
    except Unconvertible as why:
        raise Unconvertible(f"field {name}: {why}") from None


def keyword_leaf(category: Category, value: Any) -> Node:
    """Return a bare value: it stands anywhere in one of the texts of a record."""
    from sigma.types import SigmaNumber, SigmaString, SpecialChars
    if not category.keywords:
        raise Unconvertible("a value without a field has no text to stand in here; name the field")
    if type(value) is SigmaNumber:
        value = SigmaString(str(value.number))
    if not isinstance(value, SigmaString):
        raise Unconvertible(f"a value without a field must be a string, not {_kind(value)}")
    star = SpecialChars.WILDCARD_MULTI
    anywhere = value
    if not anywhere.startswith(star):
        anywhere = star + anywhere
    if not anywhere.endswith(star):
        anywhere = anywhere + star
    return any_of([string(name, anywhere, type(value).__name__ != "SigmaCasedString") for name in category.keywords])


def string(name: str, value: Any, icase: bool) -> Node:
    """Return a test of a text against a Sigma string with its wildcards."""
    from sigma.types import Placeholder, SpecialChars
    parts = list(value.s)
    for part in parts:
        if isinstance(part, Placeholder):
            raise Unconvertible(f"the placeholder %{part.name}% has no values here; write them out")
    many = SpecialChars.WILDCARD_MULTI
    head, tail = bool(parts) and parts[0] is many, len(parts) > 1 and parts[-1] is many
    inner = parts[head:len(parts) - tail]
    if head and not inner:
        return exists(name)
    if all(isinstance(part, str) for part in inner):
        op = {(0, 0): "equal", (0, 1): "startswith", (1, 0): "endswith", (1, 1): "contains"}[head, tail]
        return text(name, op, ["".join(inner)], icase=icase)
    glob = "".join({many: "*"}.get(p, "?") if not isinstance(p, str) else "".join(f"[{c}]" if c in "*?[" else c for c in p) for p in parts)
    return text(name, "glob", [glob], icase=icase)


def _text(name: str, value: Any) -> Node:
    from sigma import types as t
    if isinstance(value, t.SigmaRegularExpression):
        return _regex(name, value)
    if isinstance(value, t.SigmaString):
        return string(name, value, not isinstance(value, t.SigmaCasedString))
    if isinstance(value, t.SigmaNumber) and not isinstance(value, t.SigmaTimestampPart):
        return text(name, "equal", [str(value.number)])
    if isinstance(value, t.SigmaBool):
        return text(name, "equal", [str(value.boolean)], icase=True)
    if isinstance(value, t.SigmaNull | t.SigmaExists):
        there = text(name, "equal", [b""], negate=True)     # known, and not empty
        return there if isinstance(value, t.SigmaExists) and value.exists else opposite(there)
    raise Unconvertible(f"a text cannot be compared with {_kind(value)}")


def _regex(name: str, value: Any) -> Node:
    from sigma.types import Placeholder, SigmaRegularExpressionFlag
    if any(isinstance(part, Placeholder) for part in value.regexp.s):
        raise Unconvertible("a placeholder in a regex has no values here; write them out")
    letters = {SigmaRegularExpressionFlag.MULTILINE: "m", SigmaRegularExpressionFlag.DOTALL: "s"}
    flags = "".join(sorted(letters[f] for f in value.flags if f in letters))
    pattern = str(value.regexp.original)
    return text(name, "regex", [f"(?{flags}){pattern}" if flags else pattern], icase=SigmaRegularExpressionFlag.IGNORECASE in value.flags)


def whole(value: Any) -> int:
    """Return a Sigma number, or a string of digits, as an int."""
    from sigma.types import SigmaNumber, SigmaString, SigmaTimestampPart
    if isinstance(value, SigmaNumber) and isinstance(value.number, int) and not isinstance(value, SigmaTimestampPart):
        return value.number
    if isinstance(value, SigmaString) and len(value.s) == 1 and isinstance(value.s[0], str) and value.s[0].isdecimal():
        return int(value.s[0])
    raise Unconvertible(f"it is a number here; {_kind(value)} {str(value)!r} is none")


def _number(name: str, value: Any) -> Node:
    from sigma import types as t
    if isinstance(value, t.SigmaNull | t.SigmaExists):
        return exists(name) if isinstance(value, t.SigmaExists) and value.exists else opposite(exists(name))
    if isinstance(value, t.SigmaCompareExpression):
        number = whole(value.number)
        op = value.op.name
        if op == "NEQ":
            return numbers(name, [(number, number)], negate=True)
        return numbers(name, [span(name, {"LT": "<", "LTE": "<=", "GT": ">", "GTE": ">="}[op], number)])
    return numbers(name, [(whole(value),) * 2])


def _user(name: str, value: Any) -> Node:
    from sigma.types import SigmaString
    if isinstance(value, SigmaString) and len(value.s) == 1 and str(value.s[0]).lower() == "root":
        return numbers(name, [(0, 0)])
    try:
        return _number(name, value)
    except Unconvertible:
        raise Unconvertible(f"names of users are not joined; write the user's number, or root, not {str(value)!r}") from None


def _address(name: str, value: Any) -> Node:
    from sigma import types as t
    if isinstance(value, t.SigmaCIDRExpression):
        return nets(name, [network(value.cidr)])
    if isinstance(value, t.SigmaNull | t.SigmaExists):
        return exists(name) if isinstance(value, t.SigmaExists) and value.exists else opposite(exists(name))
    if isinstance(value, t.SigmaString):
        parts = list(value.s)
        try:
            if len(parts) == 1 and isinstance(parts[0], str) and "/" not in parts[0]:
                return nets(name, [network(parts[0])])
            if len(parts) == 2 and isinstance(parts[0], str) and parts[1] is t.SpecialChars.WILDCARD_MULTI:
                return nets(name, [network(_prefix(parts[0]))])
        except ValueError:
            pass
    raise Unconvertible(f"{str(value)!r} is no address here: write 10.0.0.1, or |cidr with 10.0.0.0/8")


def _prefix(start: str) -> str:
    """The network whose addresses begin with a text: "10." or "fe80:"."""
    if start.endswith(".") and start.count(".") <= 3:
        return start + ".".join(["0"] * (4 - start.count("."))) + f"/{8 * start.count('.')}"
    groups = start[:-1].split(":")
    if start.endswith(":") and "" not in groups and len(groups[0]) == 4 and len(groups) == 1:
        return f"{start}:/16"
    raise ValueError(start)


def _ends(client: bool) -> Callable[[str, Any], Node]:
    """The client is who connected: our end of what went out, the other end of what came in."""
    def leaf(what: str, value: Any) -> Node:
        make = _address if what == "ip" else _number
        out, back = ("source", "dest") if client else ("dest", "source")
        return any_of([all_of([numbers("direction", [(0, 1)]), make(f"{out}_{what}", value)]),
                       all_of([numbers("direction", [(2, 2)]), make(f"{back}_{what}", value)])])
    return leaf


def _yes(value: Any) -> bool:
    from sigma.types import SigmaBool, SigmaString
    if isinstance(value, SigmaBool):
        return value.boolean
    if isinstance(value, SigmaString) and len(value.s) == 1 and str(value.s[0]).lower() in ("true", "false"):
        return str(value.s[0]).lower() == "true"
    raise Unconvertible(f"true or false is needed, not {str(value)!r}")


def _protocol(name: str, value: Any) -> Node:
    from sigma.types import SigmaString
    if isinstance(value, SigmaString) and len(value.s) == 1 and str(value.s[0]).lower() in ("tcp", "udp"):
        return numbers(name, [(6, 6) if str(value.s[0]).lower() == "tcp" else (17, 17)])
    raise Unconvertible(f"a protocol is tcp or udp, not {str(value)!r}")


def _kind(value: Any) -> str:
    return {"SigmaRegularExpression": "a regex (|re)", "SigmaCIDRExpression": "a network (|cidr)", "SigmaNull": "null",
            "SigmaCompareExpression": "a number (|lt, |gte ...)", "SigmaFieldReference": "another field (|fieldref)",
            "SigmaTimestampPart": "a part of a time", "SigmaString": "the string", "SigmaNumber": "the number", "SigmaBool": "the boolean",
            }.get(type(value).__name__, type(value).__name__)


_HOW: dict[str, Callable[[str, Any], Node]] = {
    "text": _text, "number": _number, "user": _user, "client": _ends(True), "server": _ends(False), "protocol": _protocol,
    "initiated": lambda name, value: numbers(name, [(1, 1) if _yes(value) else (2, 2)]),
    "ipv6": lambda name, value: numbers(name, [(10, 10) if _yes(value) else (2, 2)]),
}

__all__ = ["CATEGORIES", "TRUE", "category_of", "field_leaf", "joined", "keyword_leaf"]
