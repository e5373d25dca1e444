# SPDX-License-Identifier: Apache-2.0
"""Falco's numbers, flags, booleans, addresses and ends of connections on our fields. Relies on `_imported`, `_falco_texts`."""
from __future__ import annotations

from collections.abc import Callable, Mapping

from tapio_fast.filtering._falco_texts import Ask
from tapio_fast.filtering._fields import catalogue
from tapio_fast.filtering._imported import FALSE, TRUE, Unconvertible, bits, exists, joined, kinds, nets, network, numbers, span
from tapio_fast.filtering._tree import Node, all_of, any_of, opposite

PTRACE = {"PTRACE_TRACEME": 0, "PTRACE_PEEKTEXT": 1, "PTRACE_PEEKDATA": 2, "PTRACE_PEEKUSR": 3, "PTRACE_POKETEXT": 4, "PTRACE_POKEDATA": 5,
          "PTRACE_POKEUSR": 6, "PTRACE_CONT": 7, "PTRACE_KILL": 8, "PTRACE_SINGLESTEP": 9, "PTRACE_GETREGS": 12, "PTRACE_SETREGS": 13,
          "PTRACE_ATTACH": 16, "PTRACE_DETACH": 17, "PTRACE_SYSCALL": 24, "PTRACE_SETOPTIONS": 0x4200, "PTRACE_GETREGSET": 0x4204,
          "PTRACE_SETREGSET": 0x4205, "PTRACE_SEIZE": 0x4206, "PTRACE_INTERRUPT": 0x4207}
BPF = {"BPF_MAP_CREATE": 0, "BPF_MAP_LOOKUP_ELEM": 1, "BPF_MAP_UPDATE_ELEM": 2, "BPF_MAP_DELETE_ELEM": 3, "BPF_MAP_GET_NEXT_KEY": 4,
       "BPF_PROG_LOAD": 5, "BPF_OBJ_PIN": 6, "BPF_OBJ_GET": 7, "BPF_PROG_ATTACH": 8, "BPF_PROG_DETACH": 9, "BPF_RAW_TRACEPOINT_OPEN": 17,
       "BPF_BTF_LOAD": 18, "BPF_LINK_CREATE": 28}
ROOT = {"root": 0}


def integer(value: str, names: Mapping[str, int]) -> int:
    """Return the number that a value is, by its digits or its name."""
    found = names.get(value, names.get(value.upper()))
    if found is not None:
        return found
    try:
        return int(value, 0)
    except ValueError:
        raise Unconvertible(f"{value!r} is no number" + (f"; there are {', '.join(list(names)[:12])}" if names else "")) from None


def number(name: str, names: Mapping[str, int] | None = None) -> Callable[[Ask], Node]:
    """Compare a number field; names: words that values may be."""
    def compare(a: Ask) -> Node:
        if a.op == "exists":
            return exists(name)
        if a.op not in ("=", "!=", "<", "<=", ">", ">="):
            raise Unconvertible(f"{a.op} is for texts; this is a number")
        given = catalogue()[name].names if names is None else names
        values = [integer(v, given) for v in a.values]
        if a.op in ("=", "!="):
            return numbers(name, [(v, v) for v in values], negate=a.op == "!=")
        return numbers(name, [span(name, a.op, v) for v in values])
    return compare


def with_kinds(compare: Callable[[Ask], Node], *names: str) -> Callable[[Ask], Node]:
    """Compare a field that means this in records of some kinds only."""
    return lambda a: all_of([kinds(*names), compare(a)])


def yes(a: Ask) -> bool:
    """Return what a boolean is compared to be."""
    value = a.values[0].lower() if len(a.values) == 1 else ""
    if a.op not in ("=", "!=") or value not in ("true", "false", "1", "0"):
        raise Unconvertible("a boolean goes with = true and = false")
    return (value in ("true", "1")) == (a.op == "=")


def boolean(node: Callable[[], Node]) -> Callable[[Ask], Node]:
    """Compare a boolean whose "true" is a tree."""
    return lambda a: node() if yes(a) else opposite(node())


def flags(a: Ask) -> Node:
    """evt.arg.flags: names of flags in one text; open's, AT_*, CLONE_NEW*."""
    if a.op not in ("contains", "=", "!="):
        raise Unconvertible("flags go with contains and a name such as O_TRUNC")
    return joined([_flag(v.upper(), a) for v in a.values])


def _flag(word: str, a: Ask) -> Node:
    if word in ("O_F_CREATED", "F_CREATED"):
        return kinds("file.create")
    if a.op != "contains":
        raise Unconvertible("flags go with contains: the text holds all of them")
    if word.startswith("CLONE_NEW") and word in catalogue()["ns_flags"].names:
        return all_of([kinds("security.namespace"), bits("value", catalogue()["ns_flags"].names[word])])
    mask = catalogue()["file_flags"].names.get(word)
    if mask is None:
        raise Unconvertible(f"no flag {word!r} is recorded: those of open(2), AT_* and CLONE_NEW* are")
    if word in ("O_RDONLY", "O_WRONLY", "O_RDWR"):
        return all_of([kinds("file.open", "file.create"), bits("file_flags", 3, mask)])
    if not mask:
        raise Unconvertible(f"{word} has no bit on this machine")
    # the same bits mean other things in other kinds
    of = {"O": ("file.open", "file.create"), "AT": ("file.delete", "file.rmdir", "file.link"), "RENAME": ("file.rename",)}
    return all_of([kinds(*of.get(word.partition("_")[0], ("file.xattr",))), bits("file_flags", mask, mask)])


def mode(a: Ask) -> Node:
    """evt.arg.mode: names of permissions in one text."""
    names = catalogue()["mode"].names
    if a.op == "contains" and all(v.upper() in names for v in a.values):
        return joined([bits("mode", names[v.upper()], names[v.upper()]) for v in a.values])
    if a.op in ("=", "!="):
        return number("mode")(a)
    raise Unconvertible("modes go with contains and a name such as S_ISUID")


def opened(read: bool) -> Node:
    """A file was opened for reading, or for writing."""
    return all_of([kinds("file.open", "file.create"), any_of([bits("file_flags", 3, 0 if read else 1), bits("file_flags", 3, 2)])])


def failed() -> Node:
    """The operation failed. Records without an errno are of what succeeded."""
    return numbers("errno", [(1, 4095)])


def result(a: Ask) -> Node:
    """evt.res: SUCCESS or the name of an errno."""
    if a.op not in ("=", "!="):
        raise Unconvertible("evt.res goes with = != in, and SUCCESS or the name of an errno")
    names = catalogue()["errno"].names
    found: list[Node] = []
    for value in a.values:
        word = value.upper()
        if word == "SUCCESS":
            found.append(opposite(failed()))
        elif word in names:
            found.append(numbers("errno", [(names[word],) * 2]))
        else:
            raise Unconvertible(f"evt.res is SUCCESS or the name of an errno, never {value!r}; numbers are evt.rawres")
    return opposite(joined(found)) if a.op == "!=" else joined(found)


def raw_result(a: Ask) -> Node:
    """evt.rawres: below 0 is minus an errno; what a call that succeeded returned is known of single system calls only."""
    if a.op == "exists":
        return TRUE
    if a.op not in ("=", "!=", "<", "<=", ">", ">="):
        raise Unconvertible(f"{a.op} is for texts; evt.rawres is a number")
    found: list[Node] = []
    for value in (integer(v, {}) for v in a.values):
        if (a.op, value) in ((">=", 0), (">", -1), ("<", 0), ("<=", -1)):
            found.append(opposite(failed()) if a.op[0] == ">" else failed())
        elif value < 0 and a.op in ("=", "!="):
            found.append(numbers("errno", [(-value, -value)]))
        elif value == 0 and a.op in ("=", "!="):
            a.note("evt.rawres 0 is taken as success")
            found.append(opposite(failed()))
        else:
            raise Unconvertible(f"evt.rawres {a.op} {value}: of what a call returned only success and the errno are recorded")
    return opposite(joined(found)) if a.op == "!=" else joined(found)


def sequence(a: Ask) -> Node:
    """evt.num, which rules use to say always (>= 0) and never (= 0)."""
    value = integer(a.values[0], {}) if len(a.values) == 1 else -1
    known = {("=", 0): FALSE, (">=", 0): TRUE, (">", 0): TRUE, ("!=", 0): TRUE, ("<", 0): FALSE, ("<=", 0): FALSE, (">=", 1): TRUE}
    if (a.op, value) not in known:
        raise Unconvertible("evt.num counts the other collector's events")
    return known[a.op, value]


def direction(a: Ask) -> Node:
    """evt.dir, which Falco has given up: `<` is every event, `>` is none."""
    if a.op not in ("=", "!=") or set(a.values) - {"<", ">"}:
        raise Unconvertible("evt.dir is < or >; leave it out, every record is of a call that ended")
    return TRUE if ("<" in a.values) == (a.op == "=") else FALSE


# -- connections -------------------------------------------------------------------------------------------------------------

def _addresses(name: str, a: Ask, negate: bool = False) -> Node:
    try:
        return nets(name, [network(v) for v in a.values], negate=negate) if a.values else FALSE
    except ValueError as error:
        raise Unconvertible(f"{error}; write an address or a network such as 10.0.0.0/8") from None


def _one(name: str, a: Ask) -> Node:
    """One end: an address or a port, by the name of our field."""
    if a.op == "exists":
        return exists(name)
    if name.endswith("_port"):
        return number(name)(a)
    if a.op not in ("=", "!="):
        raise Unconvertible(f"{a.op} is not for addresses; write = != or in")
    return _addresses(name, a, a.op == "!=")


def end(what: str, which: str) -> Callable[[Ask], Node]:
    """Compare an end of a connection. what: ip or port; which: client, server, local, remote, any."""
    def compare(a: Ask) -> Node:
        ours, theirs = _one(f"source_{what}", a), _one(f"dest_{what}", a)
        if which in ("local", "remote"):
            return ours if which == "local" else theirs
        if which == "any":
            return all_of([ours, theirs]) if a.op == "!=" else any_of([ours, theirs])
        out, back = (ours, theirs) if which == "client" else (theirs, ours)
        return any_of([all_of([numbers("direction", [(0, 1)]), out]), all_of([numbers("direction", [(2, 2)]), back])])
    return compare


def fd_type(a: Ask) -> Node:
    """fd.type, fd.typechar."""
    if a.op not in ("=", "!="):
        raise Unconvertible(f"{a.op} is not for types of descriptors; write = or in")
    found = {"file": "f", "directory": "d", "ipv4": "4", "ipv6": "6", "pipe": "p", "unix": "u"}
    parts: list[Node] = []
    for value in a.values:
        match found.get(value, value):
            case "f" | "d" | "p" as kind:
                parts.append(bits("mode", 0o170000, {"f": 0o100000, "d": 0o040000, "p": 0o010000}[kind]))
            case "4" | "6" as kind:
                parts.append(all_of([kinds("network"), numbers("family", [(2, 2) if kind == "4" else (10, 10)])]))
            case _:
                raise Unconvertible(f"descriptors of type {value!r} have no records; files (f, d, p) and IP sockets (4, 6) have")
    if a.op == "!=":
        return all_of([any_of([exists("mode"), kinds("network")]), *(opposite(p) for p in parts)])
    return joined(parts)


def protocol(a: Ask) -> Node:
    """fd.l4proto."""
    names = {"tcp": 6, "udp": 17, "icmp": 1}
    return number("protocol", names)(a)


def assumed(value: bool, note: str) -> Callable[[Ask], Node]:
    """Take a boolean as given, with a note: records are made so that it holds."""
    def compare(a: Ask) -> Node:
        if yes(a) != value:
            raise Unconvertible("this is not recorded")
        a.note(note)
        return TRUE
    return compare


