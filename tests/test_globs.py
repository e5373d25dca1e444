# SPDX-License-Identifier: Apache-2.0
"""The compiled name patterns of programs.process.exclude_comms, against Python's fnmatch on the same bytes."""
from __future__ import annotations

import fnmatch

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from support import tier_size
from tapio_fast._core._globs import Globs

ALPHABET = b"ab-]![*?^\\|z\xe4\xff\n"
names = st.binary(max_size=16) | st.lists(st.sampled_from(ALPHABET), max_size=16).map(bytes)
patterns = st.lists(st.sampled_from(ALPHABET), min_size=1, max_size=24).map(bytes)
places = 256


def cut(name: bytes) -> bytes:
    """A kernel's name: up to its first NUL."""
    return name.partition(b"\0")[0]


def truth(texts: list[bytes], name: bytes) -> bool:
    return any(fnmatch.fnmatchcase(cut(name), text) for text in texts)


@settings(max_examples=tier_size(300, 20_000), deadline=None)
@given(st.lists(patterns, min_size=1, max_size=6), st.lists(names, min_size=1, max_size=20))
@example([b"[a-]"], [b"-", b"a", b"b"])
@example([b"[!]a]", b"[]]", b"[!", b"[z-a]", b"[!z-a]"], [b"]", b"a", b"b", b"[!", b"z", b""])
@example([b"**a**b*"], [b"ab", b"xaxxbx", b"ba"])
@example([b"0123456789abcdef"], [b"0123456789abcdef", b"0123456789abcde"])
@example([b"*" * 24, b"?"], [b"", b"0123456789abcdef"])
def test_agrees_with_fnmatch(texts: list[bytes], found: list[bytes]) -> None:
    globs = Globs(texts)
    for name in found:
        assert globs.match(name) == truth(texts, name), (texts, name)


@settings(max_examples=tier_size(100, 5_000), deadline=None)
@given(st.lists(st.lists(st.sampled_from(b"ab*?"), min_size=1, max_size=40).map(bytes), min_size=1, max_size=12), names)
def test_many_patterns_do_not_leak_into_each_other(texts: list[bytes], name: bytes) -> None:
    size = sum(1 + len(text.replace(b"*", b"")) for text in texts)
    if size > places:
        with pytest.raises(ValueError):
            Globs(texts)
    else:
        assert Globs(texts).match(name) == truth(texts, name)


def test_all_places_can_be_used_and_not_one_more() -> None:
    """16 patterns of 15 bytes: 256 places, patterns across every word of the automaton."""
    texts = [b"%015d" % (i * 7919) for i in range(16)]
    globs = Globs(texts)
    for text in texts:
        assert globs.match(text) and globs.match(text + b"\0x")
        assert not globs.match(text[:-1]) and not globs.match(text + b"0")
    assert not globs.match(b"")
    Globs([*texts[:15], b"%0*d" % (15, 1)])
    for more in (b"*", b"a"):
        with pytest.raises(ValueError, match="too long together"):
            Globs([*texts, more])


def test_stars_take_no_place() -> None:
    assert Globs([b"*" * 10_000 + b"a"]).match(b"bbba")
