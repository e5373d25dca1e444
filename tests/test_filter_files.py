# SPDX-License-Identifier: Apache-2.0
"""Sets of filters in files: what a file may hold, and what is refused without waiting for it."""
from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from test_filter_language import V4, leaf, numbers

from tapio_fast.errors import FilterError
from tapio_fast.filtering import _files, _parser
from tapio_fast.filtering._parser import parse
from tapio_fast.filtering._tree import FALSE, Node


def read(tmp_path: Path, data: bytes, text: str = 'pid in file("list")') -> Node:
    (tmp_path / "list").write_bytes(data)
    return parse(text, folder=str(tmp_path))


def refused(tmp_path: Path, text: str, data: bytes | None = None) -> str:
    if data is not None:
        (tmp_path / "list").write_bytes(data)
    with pytest.raises(FilterError) as caught:
        parse(text, folder=str(tmp_path))
    assert caught.value.position == text.index("file("), "it points at the file"
    return str(caught.value)


def test_a_file_of_numbers_holds_one_value_or_range_a_line(tmp_path: Path) -> None:
    data = b"# watched\n7\n  9 \t\n\n0x10..0x12 # comment\r\n 3 .. 4\r\n#8\n"
    assert read(tmp_path, data) == numbers("pid", (3, 4), 7, 9, (16, 18))


def test_a_file_may_begin_with_a_byte_order_mark_and_end_without_a_line_end(tmp_path: Path) -> None:
    assert read(tmp_path, b"\xef\xbb\xbf7\r\n8") == numbers("pid", (7, 8))


def test_texts_of_a_file_are_taken_as_they_are(tmp_path: Path) -> None:
    data = "a b\n 'q' \\x41\\n\n# no\nnot # a comment\ncaf\u00e9\nx\u2028y\x0bz\na b\n".encode()
    expected = ("a b", "'q' \\x41\\n", "not # a comment", "caf\u00e9", "x\u2028y\x0bz")
    assert read(tmp_path, data, 'comm in file("list")') == leaf("comm", "equal", *(v.encode() for v in expected))
    assert read(tmp_path, data, 'path not contains file("list")') == leaf("path", "contains", *(v.encode() for v in expected), negate=True)


def test_names_addresses_and_kinds_of_a_file_are_read_as_in_an_expression(tmp_path: Path) -> None:
    assert read(tmp_path, b"EPERM\n'EACCES'\n5\n", 'errno in file("list")') == numbers("errno", 1, 5, 13)
    assert read(tmp_path, b"10.0.0.0/8\n::1\n\"10.0.0.0/8\"\n", 'dest_ip in file("list")') == leaf("dest_ip", "net", (1, 128), (V4 | 10 << 24, 104))
    assert read(tmp_path, b"connect\naccept", 'subtype in file("list")') == parse("subtype in (connect, accept)")
    assert read(tmp_path, b"1ms..2ms", 'duration_ns in file("list")') == numbers("duration_ns", (10**6, 2 * 10**6))
    assert read(tmp_path, b"4\n1..2", 'descendant_of file("list")') == leaf("descendant_of", "follow", 1, 2, 4)


def test_files_stand_among_other_values(tmp_path: Path) -> None:
    (tmp_path / "more").write_text("9")
    assert read(tmp_path, b"7", 'pid in (1, file("list"), 3..4, file("more"))') == numbers("pid", 1, (3, 4), 7, 9)


@pytest.mark.parametrize("data", [b"", b"\n\n", b"# nothing\n\r\n"])
def test_in_an_empty_file_is_nothing(tmp_path: Path, data: bytes) -> None:
    assert read(tmp_path, data) == FALSE
    assert read(tmp_path, data, 'pid not in file("list")') == leaf("pid", "exists")
    assert read(tmp_path, data, 'comm contains file("list")') == FALSE
    assert read(tmp_path, data, 'type in file("list")') == FALSE
    assert read(tmp_path, data, 'descendant_of file("list")') == FALSE


def test_a_path_is_relative_to_the_folder_and_its_escapes_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / os.fsdecode(b"a\"\xff")).write_text("5")
    assert parse(r'pid in file("a\"\xff")', folder=str(tmp_path)) == numbers("pid", 5)
    (tmp_path / "list").write_text("6")
    assert parse(f'pid in file("{tmp_path}/list")', folder="/nowhere") == numbers("pid", 6)
    monkeypatch.chdir(tmp_path)
    assert parse("pid in file('list')") == numbers("pid", 6)


@pytest.mark.parametrize(("data", "says"), [
    (b"7\n8 9\n", "list, line 2: not one value a line"), (b"7\n\n# x\nabc\n", "list, line 4: pid is a number; 'abc' is none"),
    (b"\xff\xfe7", "is not UTF-8 (line 1)"), (b"7\n8\n\xc3(\n", "is not UTF-8 (line 3)"), (b"-1", "list, line 1: pid is never '-1'"),
    (b"'7", "list, line 1: a string without its closing quote"), (b"7 or pid == 8", "list, line 1: not one value a line"),
    (b"5..1", "list, line 1: the range 5..1 is empty"), (b"1 == 2", "not one value"), (b"7;8", "list, line 1: unexpected ';'"),
    (b"9" * 5000, "list, line 1: not one value a line"), (b"0755", "list, line 1: '0755' could be octal"), (b"\0", "unexpected '\\x00'"),
])
def test_an_error_in_a_file_names_the_file_and_the_line(tmp_path: Path, data: bytes, says: str) -> None:
    assert says in refused(tmp_path, 'uid == 1 or pid in file("list")', data)


def test_ranges_in_a_file_are_for_numbers_only(tmp_path: Path) -> None:
    assert "ranges are for numbers" in refused(tmp_path, 'dest_ip in file("list")', b"10.0.0.1 .. 10.0.0.2")


def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        for name in ("fifo", "/dev/zero", "/dev/tty", "."):
            assert "is not a regular file" in refused(tmp_path, f'comm in file("{name}")') or name == "/dev/tty"
        assert "cannot read" in refused(tmp_path, 'comm in file("socket")')
    assert "No such file" in refused(tmp_path, 'comm in file("missing")')


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes(b"\xff")
    before = os.listdir("/proc/self/fd")
    for name in ("list", ".", "missing", "/dev/zero"):
        refused(tmp_path, f'comm in file("{name}")')
    assert os.listdir("/proc/self/fd") == before


def test_the_size_of_a_file_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _files.MAX_BYTES == 16 << 20
    monkeypatch.setattr(_files, "MAX_BYTES", 1 << 20)
    line = b"a" * 1023 + b"\n"
    assert read(tmp_path, line * 1024, 'path in file("list")') == leaf("path", "equal", b"a" * 1023)
    assert "is larger than 1 MiB" in refused(tmp_path, 'path in file("list")', line * 1024 + b"b")


def test_the_values_of_all_files_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_parser, "MAX_VALUES", 10)
    read(tmp_path, b"1\n" * 8, 'pid in (1, file("list"))')
    assert "has 9 values; 8 are left of the limit" in refused(tmp_path, 'pid in (1, file("list"))', b"1\n" * 9)
