# SPDX-License-Identifier: Apache-2.0
"""Errors of the filter language: what they say, where they point, and the limits that they guard."""
from __future__ import annotations

import re
import sys

import pytest

from tapio_fast.errors import FilterError
from tapio_fast.filtering import _parser
from tapio_fast.filtering._lexer import MAX_TEXT
from tapio_fast.filtering._parser import parse
from tapio_fast.filtering._patterns import MAX_PATTERN
from tapio_fast.filtering._text import to_text
from tapio_fast.filtering._tree import MAX_DEPTH, MAX_VALUES, Not, Or, leaves


def refused(text: str) -> FilterError:
    with pytest.raises(FilterError) as caught:
        parse(text)
    assert caught.value.position is not None and 0 <= caught.value.position <= len(text)
    return caught.value


# an expression with the place of its error marked by the ^ before it, and what the error says
@pytest.mark.parametrize(("marked", "says"), [
    ("^dest_prt == 22", "no field 'dest_prt'; did you mean 'dest_port'?"),
    ("pid == 1 and ^xyzzy == 2", "`tapio-fast list fields` names them all"),
    ("errno == ^EACCESS", "did you mean 'EACCES'?"), ("errno in (EPERM, ^'nope nope')", "errno has no value 'nope nope'"),
    ("severity >= ^warn", "did you mean 'WARNING'?"), ("type == ^netwrk", "did you mean 'network'?"),
    ("subtype in (connect, ^conect)", "did you mean 'connect'?"), ("kind == ^process.exek", "did you mean 'process.exec'?"),
    ("kind == ^exec", "no kind 'exec'"), ("type == ^meta", "about the collection itself"), ("type != ^meta", "about the collection itself"),
    ("type == ^1ms", "no type '1ms'"), ("nr == ^opennat", "did you mean 'OPENAT'?"),
    ("dest_port == ^70000", "dest_port is never '70000': it lies between 0 and 65535"), ("pid in (1, ^-1)", "pid is never '-1'"),
    ("severity == ^0", "between 1 and 5"), ("pid == ^1.5", "pid holds whole numbers only"), ("duration_ns == ^0.5ns", "whole numbers only (of ns)"),
    ("srtt_us == ^1ns", "whole numbers only (of us)"), ("pid in (^5..1)", "the range 5..1 is empty"), ("weight in ^2..1", "is empty"),
    ("pid == ^10ms", "pid has no unit"), ("duration_ns > ^10MS", "write ns, us, ms, s, m, h or d"), ("size > ^1XB", "write KiB, MiB, GiB"),
    ("size > ^10ms", "no unit of size"), ("duration_ns > ^1kB", "no unit of time"),
    ("mode == ^0755", "write 0o755 for octal"), ("pid == ^'0755'", "octal"), ("pid == ^1e999999999", "more digits than any number"),
    ("pid == ^" + "9" * 65, "more digits"), ("pid == ^0x" + "f" * 63, "more digits"), ("weight > ^9999e308", "larger than any number that weight can have"),
    ("pid == ^comm", "pid is a number; 'comm' is none"), ("pid == ^10.0.0.1", "pid is a number"), ("pid == ^'x'", "pid is a number; 'x' is none"),
    ("dest_ip == ^5", "dest_ip is an address"), ("dest_ip == ^300.0.0.1", "is no address"), ("dest_ip in 10.0.0.1^..10.0.0.2", "ranges are for numbers"),
    ("dest_ip == ^10.0.0.0/33", "is no address"), ("dest_ip == ^'fe80::1%eth0'", "has no zone"), ("dest_ip == ^1:2:3", "is no address"),
    ("comm in (a^..b)", "ranges are for numbers"), ("comm ^< 3", "comm is no number; `<` is for numbers"), ("dest_ip ^>= 10.0.0.1", "is no number"),
    ("pid ^=~ 'x'", "pid is not a text; write == < > in &"), ("dest_ip ^contains 'x'", "write == or in, with CIDRs"), ("weight ^& 1", "for flags and masks"),
    ("type ^!~ 'x'", "write == or in"), ("pid not ^glob 'x'", "pid is not a text"), ("comm ^& 1", "comm is no whole number"),
    ("flags & ^O_RDONLY", "a mask of 0 never matches"), ("mode & ^(0)", "a mask of 0"), ("mode & ^-1", "at most 64 bits"),
    ("mode & ^0x10000000000000000", "at most 64 bits"), ("mode & 3 == ^4", "bits that the mask lacks"), ("mode & (1 | 2^", "expected `)` after the mask"),
    ("^flags & 1", "write file_flags (open, rename) or record_flags"), ("exists ^flags", "`flags` needs a named flag"), ("^flags", "`flags` needs"),
    ("pid^", "expected an operator after pid"), ("pid ==^ ", "expected a value for pid, found the end"), ("pid ==^ \n\n", "found the end"),
    ("pid == ^and uid == 1", "expected a value for pid, found 'and'"), ("pid in (^)", "expected a value for pid, found ')'"),
    ("pid in (1^", "expected `,` or `)` after a value"), ("pid in (1, 2 ^3)", "found '3'"), ("(pid == 1^", "expected `)` that closes"),
    ("pid == 1^)", "expected `and`, `or` or the end, found ')'"), ("pid == 1 ^&& uid == 2", "found '&'"), ("pid == 1 ^uid == 2", "found 'uid'"),
    ("not^ ", "expected the name of a field"), ("(^)", "expected the name of a field"), ("^and pid == 1", "expected the name of a field, found 'and'"),
    ("^== 1", "expected the name of a field"), ("exists^ ", "expected the name of a field"), ("exists ^'comm'", "expected the name of a field"),
    ("pid ^not == 1", "expected an operator"), ("descendant_of ^!= 5", "expected a value for descendant_of"),
    ("descendant_of == ^-1", "descendant_of is never"),
    ('comm == ^"abc', "a string without its closing quote"), ("comm == ^'", "without its closing quote"), ("comm == ^é", "texts need quotes"),
    ("comm == ^/bin/sh", "unexpected '/'; texts need quotes"), ("pid == ^12_3", "a number must be followed by a space"),
    ("pid == 1 ^; pid == 2", "unexpected ';'"),
    ('comm == ^"\ud800"', "half of a surrogate pair"), ("comm in file(^x)", "in quotes"), ('comm in file("x"^', "expected `)` after the path"),
    ("pid in (^file(\"/nowhere/x\"))", "cannot read /nowhere/x: No such file or directory"), ('comm in ^file("a\0b")', "a\\x00b is no path"),
])
def test_an_error_points_at_its_word(marked: str, says: str) -> None:
    at = marked.index("^")
    text = marked[:at] + marked[at + 1:]
    error = refused(text)
    assert says in str(error)
    assert error.position == at, f"{error}\n{error.position} instead of {at}"


@pytest.mark.parametrize(("text", "place", "line"), [
    ("pid == 1 and pidd == 2", "column 14", "    pid == 1 and pidd == 2\n    " + " " * 13 + "^"),
    ("pid == 1\n  and pidd == 2\n", "line 2, column 7", "      and pidd == 2\n    " + " " * 6 + "^"),
    ("pid == 1 and\tpidd == 2", "column 14", "    pid == 1 and\\tpidd == 2\n    " + " " * 14 + "^"),
    ("comm == 'é\u202e' and pidd == 2", "column 18", "    comm == 'é\\u202e' and pidd == 2\n    " + " " * 22 + "^"),
    ("comm == 'a\\b' and pidd == 2", "column 19", "    comm == 'a\\\\b' and pidd == 2\n    " + " " * 19 + "^"),
])
def test_an_error_shows_the_line_with_a_caret_below_the_word(text: str, place: str, line: str) -> None:
    message = str(refused(text))
    assert f"(at {place})\n" in message and message.endswith("\n" + line)


def test_of_a_long_line_an_error_shows_what_is_around_the_word() -> None:
    text = " or ".join(f"pid == {n}" for n in range(1000)) + " or pidd == 3 or " + " or ".join(["pid == 4"] * 1000)
    shown, caret = str(refused(text)).split("\n")[1:]
    assert len(shown) < 150 and shown[caret.index("^"):].startswith("pidd == 3")


@pytest.mark.parametrize("text", [
    "x" * 500_000, "comm == '" + "x" * 500_000, "pid == " + "9" * 500_000, "pid == 0x" + "a" * 500_000 + "_", "errno == " + "E" * 500_000,
    "type == '" + "é" * 100_000 + "'", "pid == 1" + "m" * 500_000, "dest_ip == '" + "1" * 500_000 + "'", "pid == '" + "0xa" * 99_999 + "'",
    "1" * 500_000 + "_", "pid == 1." + "1" * 99_999 + "e" + "1" * 99_999 + "_", "a." * 250_000 + ".", ":" * 500_000, "pid in (" + "1.." * 99_999,
    "flags " + "(" * 500_000, "comm in file('" + "x" * 500_000 + "')"])
def test_an_error_about_a_huge_word_is_short_and_prompt(text: str) -> None:
    assert len(str(refused(text))) < 1000      # the time limit of a test is the other half of the claim


@pytest.mark.parametrize("bad", ["comm == '\x1b[2J' and pidd == 1",
                                 "'\x1b[2J'", "comm in file('\x1b[2J')", "errno == '\x1b[2J'", "type == '\u202e'", "dest_ip == '\x1b'"])
def test_hostile_text_cannot_reach_the_terminal_through_an_error(bad: str) -> None:
    assert all(c.isprintable() or c == "\n" for c in str(refused(bad)))


@pytest.mark.parametrize("value", [None, 5, b"pid == 1", ["pid == 1"]])
def test_what_is_no_text_is_refused(value: object) -> None:
    with pytest.raises(FilterError, match="an expression is a text"):
        parse(value)  # type: ignore[arg-type]


def test_parentheses_are_bounded() -> None:
    fits = "(" * MAX_DEPTH + "pid == 1" + ")" * MAX_DEPTH
    assert to_text(parse(fits)) == "pid == 1"
    assert re.search("more than 100 deep", str(refused(f"({fits})")))


def test_deep_and_long_texts_do_not_need_pythons_stack() -> None:
    """With a hundred frames left: depth must cost memory, not recursion."""
    depth = 0
    frame = sys._getframe()
    while frame.f_back is not None:
        frame, depth = frame.f_back, depth + 1
    deep = "not (pid == 1 and (uid == 2 or " * 50 + "gid == 3" + "))" * 50
    limit = sys.getrecursionlimit()
    try:
        sys.setrecursionlimit(depth + 100)
        tree = parse(deep)
        text = to_text(tree)
        assert text == deep and to_text(parse(text)) == text and sum(1 for _ in leaves(tree)) == 101
        assert parse("not " * 100_001 + "pid == 1") == Not(parse("pid == 1")) and parse("!" * 100_000 + "pid == 1") == parse("pid == 1")
        assert "more than 100 deep" in str(refused("(" * 100_000)) and "more than 100 deep" in str(refused("not (" * 100_000))
    finally:
        sys.setrecursionlimit(limit)


def test_chains_of_50000_terms_are_one_flat_node() -> None:
    tree = parse(" or ".join(f"pid == {n}" for n in range(50_000)))
    assert isinstance(tree, Or) and len(tree.parts) == 50_000
    assert to_text(tree).count(" or ") == 49_999 and sum(1 for _ in leaves(tree)) == 50_000


def test_values_are_bounded_over_the_whole_expression(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_VALUES == 100_000
    monkeypatch.setattr(_parser, "MAX_VALUES", 10)
    parse("pid in (1, 2, 3, 4, 5) or uid in (1, 2, 3, 4, 5)")
    assert refused("pid in (1, 2, 3, 4, 5) or uid in (1, 2, 3, 4, 5, 6)").position == 49
    assert "at most 10 processes" in str(refused("descendant_of 1..11"))
    assert len(parse("descendant_of 1..10").args) == 10  # type: ignore[union-attr]


def test_the_length_of_an_expression_is_bounded() -> None:
    fits = "pid == 1" + " " * (MAX_TEXT - 8)
    assert to_text(parse(fits)) == "pid == 1"
    assert 'file("list.txt")' in str(refused(fits + " "))


@pytest.mark.parametrize("op", ["glob", "regex", "=~", "iglob"])
def test_the_length_of_a_pattern_is_bounded(op: str) -> None:
    parse(f"comm glob '{'a' * MAX_PATTERN}'")
    assert f"at most {MAX_PATTERN} bytes, this one has {MAX_PATTERN + 1}" in str(refused(f"comm {op} '{'a' * (MAX_PATTERN + 1)}'"))


@pytest.mark.parametrize(("pattern", "says"), [
    ("(a", "the regex is wrong"), ("a(?=b)", "the regex is wrong at its byte"), (r"(a)\\1", "the regex is wrong at its byte"), ("[z-a]", "the regex is wrong"),
    ("(a|b)*a(a|b){20}", "the regex is wrong"), ("x{2000}", "the regex is wrong at its byte")])
def test_a_regex_that_no_table_holds_is_refused_at_its_place(pattern: str, says: str) -> None:
    for text in (f"comm =~ '{pattern}'", f"pid == 1 or comm not iregex ('a', '{pattern}')"):
        error = refused(text)
        assert says in str(error) and error.position == text.index(pattern) - 1


def test_the_tables_of_all_regexes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_parser, "MAX_TABLES", 1 << 20)
    parse("comm =~ 'a.{10}b' and path =~ 'x'")
    text = " or ".join(f"path =~ '{n}.*[ab].{{9}}c'" for n in range(1000))
    assert "MiB of tables; use fewer" in str(refused(text))


@pytest.mark.parametrize(("expr", "at"), [("comm == averyveryverylongname", 8), ("comm startswith 'averyveryverylo_'", 16),
                                          ("comm in (sh, averyveryverylongname)", 13), ("parent_comm contains averyveryverylongname", 21)])
def test_a_name_that_no_process_can_have_is_told(expr: str, at: int) -> None:
    with pytest.raises(FilterError, match=r"holds at most 15 bytes.*'averyveryverylo'") as caught:
        parse(expr)
    assert caught.value.position == at


@pytest.mark.parametrize(("expr", "says"), [
    ("timestamp > 5", "did you mean 'ts_ns'"), ("pdi == 1", "did you mean 'pid'"), ("kind == exec", "did you mean 'process.exec'"),
    ("pid == 1 && uid == 2", "write `and`"), ("pid == 1 || uid == 2", "write `or`"), ('path glob "*a??????????????????????"', "4096 states")])
def test_the_likeliest_mistakes_are_understood(expr: str, says: str) -> None:
    with pytest.raises(FilterError, match=says) as caught:
        parse(expr)
    assert caught.value.position is not None
