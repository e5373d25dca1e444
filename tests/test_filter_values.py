# SPDX-License-Identifier: Apache-2.0
"""Values of filters: numbers, units, ranges, names, addresses, strings. What each means is written by hand."""
from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_filter_language import U16, U32, U64, V4, leaf, numbers

from tapio_fast.errors import FilterError
from tapio_fast.filtering._parser import parse
from tapio_fast.filtering._text import quoted
from tapio_fast.filtering._tree import FALSE
from tapio_fast.filtering._tree import Test as Leaf  # pytest would take Test for a class of tests


@pytest.mark.parametrize(("text", "value"), [
    ("42", 42), ("0", 0), ("0x1F", 31), ("0XfF", 255), ("0o17", 15), ("0b101", 5), ("1e3", 1000), ("1.5e1", 15), ("2.0", 2), ("'42'", 42), ('"0x10"', 16),
])
def test_numbers_are_written_in_many_ways(text: str, value: int) -> None:
    assert parse(f"pid == {text}") == numbers("pid", value)


@pytest.mark.parametrize(("text", "value"), [("-1", -1), ("-0x10", -16), ("-9223372036854775808", -(1 << 63)), ("9223372036854775807", (1 << 63) - 1)])
def test_signed_fields_take_negative_numbers_to_their_ends(text: str, value: int) -> None:
    assert parse(f"ret == {text}") == numbers("ret", value)


@pytest.mark.parametrize(("name", "text", "value"), [
    ("duration_ns", "10ms", 10_000_000), ("duration_ns", "1ns", 1), ("duration_ns", "1us", 1000), ("duration_ns", "1.5s", 1_500_000_000),
    ("duration_ns", "2m", 120 * 10**9), ("duration_ns", "1h", 3600 * 10**9), ("duration_ns", "1d", 86400 * 10**9), ("duration_ns", "7", 7),
    ("duration_ns", "0.3us", 300), ("duration_ns", "1e3ms", 10**9), ("duration_ns", "'10ms'", 10**7), ("on_cpu_ns", "0x10us", 16000),
    ("srtt_us", "1ms", 1000), ("srtt_us", "2s", 2_000_000), ("srtt_us", "5000ns", 5),
    ("size", "1KiB", 1024), ("size", "1kB", 1000), ("size", "1kb", 1000), ("size", "1K", 1024), ("size", "1MiB", 1 << 20), ("size", "1MB", 10**6),
    ("size", "1M", 1 << 20), ("size", "1.5GiB", 3 << 29), ("bytes_sent", "3GB", 3 * 10**9), ("rss", "1TiB", 1 << 40), ("limit", "1T", 1 << 40),
    ("bytes_received", "1TB", 10**12), ("size", "12B", 12), ("size", "4g", 4 << 30),
])
def test_units_are_exact(name: str, text: str, value: int) -> None:
    assert parse(f"{name} == {text}") == numbers(name, value)


@pytest.mark.parametrize(("text", "lo", "hi"), [
    ("> 10ms", 10_000_001, U64), (">= 10ms", 10_000_000, U64), ("< 10ms", 0, 9_999_999), ("<= 10ms", 0, 10_000_000),
    ("> 1.5s", 1_500_000_001, U64), ("> 0.5ns", 1, U64), (">= 0.5ns", 1, U64), ("< 1.5ns", 0, 1), ("<= 1.5ns", 0, 1), ("> 1.5ns", 2, U64),
    ("< 1", 0, 0), ("> 18446744073709551614", U64, U64), ("< 99999999999999999999", 0, U64), (">= -5", 0, U64), ("> -0.5", 0, U64),
])
def test_orders_are_exact_at_their_edges(text: str, lo: int, hi: int) -> None:
    assert parse(f"duration_ns {text}") == numbers("duration_ns", (lo, hi))


@pytest.mark.parametrize("text", ["< 0", "<= -1", "> 65535", ">= 65536", ">= 65535.5", "< -1e300", "> 1e300"])
def test_an_order_that_no_value_can_meet_is_false(text: str) -> None:
    assert parse(f"dest_port {text}") == FALSE


@given(st.integers(-5, 70_000), st.sampled_from(["<", "<=", ">", ">="]), st.integers(0, U16))
def test_an_order_holds_for_the_same_numbers_as_pythons(value: int, op: str, port: int) -> None:
    tree = parse(f"dest_port {op} {value}")
    ranges = tree.args if isinstance(tree, Leaf) else ()
    assert any(lo <= port <= hi for lo, hi in ranges) == eval(f"{port} {op} {value}")


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 5)), min_size=1, max_size=6))
def test_ranges_hold_the_same_numbers_as_a_set(pairs: list[tuple[int, int]]) -> None:
    tree = parse(f"pid in ({', '.join(f'{lo}..{lo + n}' for lo, n in pairs)})")
    assert isinstance(tree, Leaf)
    listed = {v for lo, n in pairs for v in range(lo, lo + n + 1)}
    assert {v for lo, hi in tree.args for v in range(lo, hi + 1)} == listed
    assert all(a[1] + 1 < b[0] for a, b in zip(tree.args, tree.args[1:], strict=False)), "sorted, disjoint, not adjacent"


@pytest.mark.parametrize(("text", "tree"), [
    ("pid in 1..3", numbers("pid", (1, 3))), ("pid == 1..3", numbers("pid", (1, 3))), ("pid in (5, 1..3, 4, 9)", numbers("pid", (1, 5), 9)),
    ("pid in (3..3)", numbers("pid", 3)), ("ret in -4..-1", numbers("ret", (-4, -1))), ("pid in 0x1..0x3", numbers("pid", (1, 3))),
    ("severity in (warning..critical)", numbers("severity", (3, 5))), ("duration_ns in 1us..1ms", numbers("duration_ns", (1000, 10**6))),
    ("weight in (1..2.5, 0.5)", leaf("weight", "float", (0.5, 0.5, False, False), (1.0, 2.5, False, False))),
    ("weight in (1..2, 1.5..3)", leaf("weight", "float", (1.0, 3.0, False, False))),
    ("weight <= 2", leaf("weight", "float", (float("-inf"), 2.0, False, False))), ("weight < 2", leaf("weight", "float", (float("-inf"), 2.0, False, True))),
    ("weight >= 1e-3", leaf("weight", "float", (0.001, float("inf"), False, False))),
    ("descendant_of in (7, 1..3)", leaf("descendant_of", "follow", 1, 2, 3, 7)), ("descendant_of (2, 1)", leaf("descendant_of", "follow", 1, 2)),
])
def test_ranges_hold_both_ends(text: str, tree: Leaf) -> None:
    assert parse(text) == tree


@pytest.mark.parametrize(("text", "value"), [
    ("errno == EACCES", 13), ("errno == eperm", 1), ("errno == 'ENOTSUP'", 95), ("errno == EWOULDBLOCK", 11), ("errno == OK", 0),
    ("signal == SIGKILL", 9), ("protocol == tcp", 6), ("family == AF_INET6", 10), ("direction == egress", 1), ("state == LISTEN", 10),
    ("dns_type == AAAA", 28), ("dns_rcode == NXDOMAIN", 3), ("old_caps == CAP_SYS_ADMIN", 1 << 21), ("mode == S_ISUID", 0o4000),
    ("severity == low", 2), ("severity == medium", 3), ("severity == high", 4), ("severity == critical", 5), ("severity == '2'", 2), ("prot == PROT_EXEC", 4),
    ("file_flags == O_DIRECTORY", 0o200000), ("ns_flags == CLONE_NEWUSER", 0x10000000), ("runtime == docker", 2), ("map_flags == MAP_ANONYMOUS", 0x20),
])
def test_names_stand_for_linuxs_numbers(text: str, value: int) -> None:
    assert parse(text) == numbers(text.split()[0], value)


@pytest.mark.parametrize("text", ["10.0.0.1", "255.255.255.255/32", "10.1.2.3/8", "0.0.0.0/0", "::", "::/0", "::1", "1::", "2001:db8::/32", "fe80::1:2/64",
                                  "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8", "::ffff:10.0.0.1", "::ffff:10.0.0.0/104", "64:ff9b::192.0.2.33",
                                  "ABCD:EF01::", '"10.0.0.0/8"', "'::1'"])
def test_addresses_of_every_form_are_what_the_standard_library_says(text: str) -> None:
    net = ipaddress.ip_network(text.strip("\"'"), strict=False)
    base = int(net.network_address)
    expected = (V4 | base, net.prefixlen + 96) if net.version == 4 else (base, net.prefixlen)
    assert parse(f"dest_ip == {text}") == leaf("dest_ip", "net", expected)


def test_an_ipv4_address_and_its_mapped_form_are_one() -> None:
    assert parse("dest_ip in (10.0.0.1, ::ffff:10.0.0.1, ::ffff:a00:1)") == parse("dest_ip == 10.0.0.1")


@pytest.mark.parametrize(("text", "value"), [
    (r'"a\n\t\r\0b"', b"a\n\t\r\0b"), (r'"\\ \" \'"', b"\\ \" '"), (r"'it\'s'", b"it's"), (r'"\x41\xff\x00"', b"A\xff\0"),
    (r'"\d+\.txt$"', rb"\d+\.txt$"), (r'"\x4"', rb"\x4"), (r'"\xzz"', rb"\xzz"), ('"a\nb"', b"a\nb"), ('"é\u20ac"', "é\u20ac".encode()),
    ('"\udcff"', b"\xff"), ('""', b""), ("bash", b"bash"), ("systemd-udevd", b"systemd-udevd"), ("a.b", b"a.b"), ("42", b"42"), ("10ms", b"10ms"),
    ("10.0.0.1", b"10.0.0.1"), ("-1.50", b"-1.50"), ("true", b"true"), ("exists", b"exists"), ("file", b"file"), ("0x1F", b"0x1F"), ("0755", b"0755"),
])
def test_strings_are_bytes_with_escapes(text: str, value: bytes) -> None:
    assert parse(f"comm == {text}") == leaf("comm", "equal", value)


@given(st.binary(max_size=40))
def test_any_bytes_can_be_written(value: bytes) -> None:
    assert parse(f"path == {quoted(value)}") == leaf("path", "equal", value)
    spelt = "".join(f"\\x{b:02X}" for b in value)
    assert parse(f"path == '{spelt}'") == leaf("path", "equal", value)


@pytest.mark.parametrize(("name", "least", "most"), [
    ("dest_port", 0, U16), ("pid", 0, U32), ("inode", 0, U64), ("exit_code", -(1 << 15), (1 << 15) - 1), ("fd", -(1 << 31), (1 << 31) - 1),
    ("ret", -(1 << 63), (1 << 63) - 1), ("severity", 1, 5), ("protocol", 0, 255), ("family", 0, U16),
])
def test_a_field_takes_the_values_that_it_can_have_and_no_others(name: str, least: int, most: int) -> None:
    assert parse(f"{name} in ({least}, {most})") == numbers(name, least, most)
    for value in (least - 1, most + 1):
        with pytest.raises(FilterError, match=f"{name} is never '{value}': it lies between {least} and {most}"):
            parse(f"{name} == {value}")
