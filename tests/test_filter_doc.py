# SPDX-License-Identifier: Apache-2.0
"""docs/filter.md: its examples are read, its errors are what the parser says, and it names what there is."""
from __future__ import annotations

import re
from pathlib import Path

import pytest

from tapio_fast.errors import FilterError
from tapio_fast.filtering import _files, _lexer, _patterns, _tree, _values
from tapio_fast.filtering._check import check_tree
from tapio_fast.filtering._fields import ALIASES, FACTS, LATER, catalogue
from tapio_fast.filtering._names import FILE_FLAGS, RECORD_FLAGS
from tapio_fast.filtering._parser import _TEXT_OPS, parse
from tapio_fast.filtering._text import to_text
from tapio_fast.filtering._tree import TRUE

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "filter.md").read_text()
API = """type == network and subtype in (connect, accept) and dest_port in (22, 443, 3306)
dest_ip in 10.0.0.0/8 and not comm =~ "^(curl|nc)$"
path startswith "/etc/" and flags & O_WRONLY
type == process and subtype == exec and args contains "base64"
severity >= warning or importance > 0.8
duration_ns > 10ms and container_id != ""
pid in file("watch.txt") or descendant_of 4711
errno in (EACCES, EPERM)"""
NAMED = set(re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", PAGE, flags=re.S)))
WORDS = {word for text in NAMED for word in re.findall(r"\w+", text)}


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)\n```", PAGE, re.S)


EXAMPLES = [line for block in blocks("filter") for line in block.split("\n")]


@pytest.fixture
def folder(tmp_path: Path) -> str:
    for name, text in {"watch.txt": "4711\n", "blocked.txt": "192.0.2.1\n", "known.txt": "sshd\n", "watched.txt": "/etc/\n"}.items():
        (tmp_path / name).write_text(text)
    return str(tmp_path)


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_is_read_and_says_something(example: str, folder: str) -> None:
    tree = parse(example, folder=folder)
    check_tree(tree)
    assert parse(to_text(tree)) == tree
    assert tree != TRUE or example == "true"


def test_the_promised_examples_are_on_the_page() -> None:
    assert API in PAGE and len(EXAMPLES) > 50


@pytest.mark.parametrize("message", blocks("error"))
def test_every_error_is_what_the_parser_says(message: str) -> None:
    text = message.split("\n")[1].removeprefix("    ")
    with pytest.raises(FilterError) as caught:
        parse(text)
    assert str(caught.value) == message


def test_a_comment_of_the_page_about_precedence_is_true() -> None:
    told = [re.split(r"\s+# (?=pid)", line) for line in EXAMPLES if "# pid" in line]
    assert told and all(parse(text) == parse(meant) for text, meant in told)


def test_the_page_names_every_word_alias_fact_and_later_field() -> None:
    words = {word.removeprefix("i") for word in _TEXT_OPS if word not in ("icontains", "iregex")} | {"icontains", "iregex"}
    for name in [*words, *ALIASES, *FACTS, *LATER, "descendant_of", "exists", "severity", "type", "subtype", "kind"]:
        assert name in WORDS, f"docs/filter.md does not name {name}"


def test_the_page_names_every_field_that_has_constants_or_units() -> None:
    for field in catalogue().values():
        if field.names or field.unit:
            assert field.name in WORDS, f"docs/filter.md does not tell the values of {field.name}"


def test_the_constants_that_the_page_names_exist() -> None:
    known = {name for field in catalogue().values() for name in field.names} | set(FILE_FLAGS) | set(RECORD_FLAGS)
    table = PAGE.split("## Named values")[1].split("**Flags.**")[0]
    for name in re.findall(r"`([A-Z][A-Z0-9_]+\*?)`", table):
        found = any(k.startswith(name[:-1]) for k in known) if name.endswith("*") else name in known
        assert found, f"there is no {name}"


def test_the_units_of_the_page_are_those_of_the_language() -> None:
    section = PAGE.split("## Numbers, units, ranges")[1].split("## Named")[0]
    for unit in _values._TIMES:
        assert re.search(rf"[` ]{unit}[` ]", section), unit
    for unit in _values._SIZES:
        assert re.search(rf"[` ]{unit}[` ]", section, re.I), unit


def test_the_limits_of_the_page_are_those_of_the_language() -> None:
    limits = PAGE.split("## Limits")[1].split("## Errors")[0].replace(",", "")
    for number in (_lexer.MAX_TEXT, _tree.MAX_DEPTH, _tree.MAX_VALUES, _files.MAX_BYTES >> 20, _patterns.MAX_PATTERN,
                   _patterns.MAX_TABLES >> 20, _values._MAX_DIGITS):
        assert re.search(rf"\| {number}\b", limits), number
