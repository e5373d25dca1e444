# SPDX-License-Identifier: Apache-2.0
"""Regular expressions as tables, against RE2 in Latin-1 on the same bytes: which are expressions, what matches, and where."""
from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
import re2
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from support import tier_size
from tapio_fast._core._regex import ARGV, FIND, ICASE, Regex
from tapio_fast.errors import FilterError

SUBJECTS = 10       # of each pattern
# pattern -> bytes that it matches, as a rule; together they are every construct of the language
ATOMS = {
    "a": b"a", "b": b"b", "ab": b"ab", "A": b"A", "_": b"_", "0": b"0", " ": b" ", "-": b"-", ".": b"x", r"\.": b".", r"\d": b"7", r"\D": b"a",
    r"\w": b"b", r"\W": b" ", r"\s": b"\n", r"\S": b"a", r"\n": b"\n", r"\t": b"\t", r"\x41": b"A", r"\x{62}": b"b", r"\101": b"A", r"\x00": b"\0",
    r"\xff": b"\xff", "[ab]": b"a", "[^a]": b"\n", "[a-c_]": b"c", "[]a]": b"]", "[a-]": b"-", r"[\d\-x]": b"3", r"[^\w\s]": b"-", "[[:alpha:]]": b"b",
    "[[:^digit:]]": b"-", "[^[:space:]0]": b"a", "[[:punct:][:upper:]]": b"A", r"\Qa.\E": b"a.", r"\C": b"\n", "": b"", "a{,2}": b"a{,2}",
}
EDGES = {"^": b"", "$": b"", r"\A": b"", r"\z": b"", r"\b": b"", r"\B": b""}
REPEATS = {"*": (0, 3), "+": (1, 3), "?": (0, 1), "{2}": (2, 2), "{1,3}": (1, 3), "{0,2}": (0, 2), "{2,}": (2, 4), "{0}": (0, 0), "*?": (0, 3),
           "+?": (1, 3), "??": (0, 1), "{1,2}?": (1, 2)}
GROUPS = ("(", "(?:", "(?P<n>", "(?<n>", "(?i:", "(?s:", "(?m:", "(?-i:", "(?im-s:", "(?U:")
SWITCHES = ("(?i)", "(?s)", "(?m)", "(?-s)")
HIGH = ("\\xff", "\\C", "[^")       # with (?i): RE2 knows the case of Latin-1 letters, this language of ASCII ones only

Part = tuple[str, bytes]            # a pattern, and bytes that it likely matches


def oracle(pattern: bytes, *, longest: bool = False, nocase: bool = False) -> Any:
    """Return RE2's view of a pattern; None where it refuses."""
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.log_errors = False
    options.longest_match = longest
    options.case_sensitive = not nocase
    try:
        return re2.compile(pattern, options)
    except re2.error:
        return None


@st.composite
def sequences(draw: st.DrawFn, parts: st.SearchStrategy[Part]) -> Part:
    chosen = draw(st.lists(parts, min_size=1, max_size=4))
    return "".join(text for text, _ in chosen), b"".join(sample for _, sample in chosen)


@st.composite
def alternatives(draw: st.DrawFn, parts: st.SearchStrategy[Part]) -> Part:
    chosen = draw(st.lists(parts, min_size=2, max_size=3))
    return f"(?:{'|'.join(text for text, _ in chosen)})", draw(st.sampled_from(chosen))[1]


@st.composite
def repeats(draw: st.DrawFn, parts: st.SearchStrategy[Part]) -> Part:
    (text, sample), (sign, (least, most)) = draw(parts), draw(st.sampled_from(sorted(REPEATS.items())))
    return f"(?:{text}){sign}", sample * draw(st.integers(least, most))


@st.composite
def groups(draw: st.DrawFn, parts: st.SearchStrategy[Part]) -> Part:
    (text, sample), begin = draw(parts), draw(st.sampled_from(GROUPS))
    return f"{begin}{draw(st.sampled_from(('', '', *SWITCHES)))}{text})", sample


def grow(parts: st.SearchStrategy[Part]) -> st.SearchStrategy[Part]:
    return st.one_of(sequences(parts), sequences(parts), alternatives(parts), repeats(parts), groups(parts))


patterns = st.recursive(st.sampled_from(sorted((ATOMS | EDGES).items())) | st.sampled_from(sorted(ATOMS.items())), grow, max_leaves=12)


def subjects(sample: bytes, seed: int) -> list[bytes]:
    """Return subjects that contain the sample, nearly contain it, and have nothing to do with it."""
    rng = random.Random(seed)

    def noise(most: int) -> bytes:
        return bytes(rng.choice(b"aabbA_0 \n-.\0x\xff") for _ in range(rng.randrange(most)))

    found = [b"", sample]
    while len(found) < SUBJECTS:
        text = bytearray(noise(6) + (sample + noise(4)) * rng.randrange(3) + noise(6))
        if text and rng.random() < 0.3:
            text[rng.randrange(len(text))] = rng.choice(b"ab \n")
        found.append(bytes(text))
    return found


def compare(pattern: bytes, texts: list[bytes], seed: int) -> Counter[str]:
    """Compare one pattern on all texts, from a random place too; count pairs and matches."""
    truth, longest = oracle(pattern), oracle(pattern, longest=True)
    seen: Counter[str] = Counter()
    if truth is None:
        with pytest.raises(FilterError):
            Regex(pattern, FIND)
        return seen
    plain, regex = Regex(pattern), Regex(pattern, FIND)
    rng = random.Random(seed)
    for text in texts:
        matches = truth.search(text) is not None
        assert plain.search(text) == regex.search(text) == matches, (pattern, text)
        for start in {0, rng.randrange(len(text) + 1)}:
            span = longest.search(text, start)
            assert regex.find(text, start) == (span and span.span()), (pattern, text, start)
        seen.update(pairs=1, matches=matches)
    return seen


def test_agrees_with_re2() -> None:
    """At least 20,000 pairs of pattern and subject, of which at least 30 % match."""
    seen: Counter[str] = Counter()
    constructs: set[str] = set()

    @settings(max_examples=tier_size(2_600, 40_000), deadline=None, database=None, derandomize=True,
              suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example, HealthCheck.data_too_large])
    @given(patterns, st.integers(0, 2**32))
    def check(part: Part, seed: int) -> None:
        text, sample = part
        if "i" in text and any(high in text for high in HIGH) and "(?" in text:
            text = text.replace("\\xff", "b")
        seen.update(compare(text.encode("latin-1"), subjects(sample, seed), seed))
        constructs.update(word for word in (*ATOMS, *EDGES, *REPEATS, *GROUPS, *SWITCHES) if word in text)

    check()
    assert seen["pairs"] >= tier_size(20_000, 300_000), seen
    assert 0.3 <= seen["matches"] / seen["pairs"] <= 0.95, seen
    assert constructs == {*ATOMS, *EDGES, *REPEATS, *GROUPS, *SWITCHES}


@settings(max_examples=tier_size(1_500, 100_000), deadline=None)
@given(st.lists(st.sampled_from([b"(", b")", b"(?:", b"(?i)", b"(?P<n>", b"[", b"]", b"^", b"-", b"[:alpha:]", b"\\", b"\\d", b"\\Q", b"\\E", b"{", b"}",
                                 b"{1,", b"{2}", b"9", b",", b"*", b"+", b"?", b"|", b"$", b".", b"a", b"b", b"\\b", b"\\7", b"\\12", b"\\x4", b" "]),
                max_size=14).map(b"".join))
@example(b"a**")
@example(b"a(?i)*")
@example(b"^*")
@example(b"(?)")
@example(b"[a-b-c]")
@example(b"x{2}{3}")
@example(b"\\Qa\\")
def test_the_same_texts_are_expressions(pattern: bytes) -> None:
    """What RE2 refuses is refused, and nothing else is."""
    try:
        Regex(pattern)
        mine = True
    except FilterError as error:
        assert error.position is not None and 0 <= error.position <= len(pattern)
        mine = False
    assert mine == (oracle(pattern) is not None)


@settings(max_examples=tier_size(1_000, 100_000), deadline=None)
@given(st.binary(max_size=60), st.integers(0, 7), st.binary(max_size=40))
def test_random_bytes_are_an_expression_or_a_typed_error(pattern: bytes, flags: int, subject: bytes) -> None:
    try:
        regex = Regex(pattern, flags)
    except FilterError as error:
        assert str(error) and error.position is not None and error.position <= len(pattern)
        return
    found = regex.search(subject)
    if flags & FIND:
        assert (regex.find(subject) is not None) == found


@settings(max_examples=tier_size(200, 10_000), deadline=None)
@given(patterns.filter(lambda part: not any(high in part[0] for high in HIGH)), st.integers(0, 2**32))
def test_case_is_ignored_as_re2_does(part: Part, seed: int) -> None:
    pattern = part[0].encode()
    truth = oracle(pattern, nocase=True)
    regex = Regex(pattern, ICASE)
    for text in subjects(part[1].swapcase(), seed):
        assert regex.search(text) == (truth.search(text) is not None), (pattern, text)


@settings(max_examples=tier_size(200, 10_000), deadline=None)
@given(patterns.filter(lambda part: "\\x00" not in part[0]), st.integers(0, 2**32))
def test_argv_reads_nul_as_space(part: Part, seed: int) -> None:
    pattern = part[0].encode("latin-1")
    plain, argv = Regex(pattern, FIND), Regex(pattern, FIND | ARGV)
    for text in subjects(part[1], seed):
        spaces = text.replace(b"\0", b" ")
        assert argv.search(spaces.replace(b" ", b"\0")) == argv.search(spaces) == plain.search(spaces)
        assert argv.find(spaces.replace(b" ", b"\0")) == plain.find(spaces)


@pytest.mark.parametrize(("pattern", "says"), [
    (b"(a|b)*a(a|b){20}", "4096 states"), (b"(((x{1000}){1000}){1000}){1000}", "4096 places"), (b"((a?){1000}){4}", "steps to be made"),
    (b"(" * 101 + b")" * 101, "deeper than 100"), (b"a" * 1025, "longer than 1024 bytes"), (b"a{1001}", "more than 1000 times"),
    (b"(.{1,30}\\b){1,30}x", "4096 states"), (b"(a)\\1", "refers back"), (b"a(?=b)", "looking around"), (b"\\pL", "Unicode"),
    ("[é]".encode(), "write (x|y)"),
])
def test_what_no_table_can_hold_is_refused(pattern: bytes, says: str) -> None:
    with pytest.raises(FilterError) as caught:
        Regex(pattern, FIND)
    assert says in str(caught.value)


@pytest.mark.parametrize("pattern", [b"((a*)*)*b", b"(a|aa)+b", b"(.*a){30}b", b"(x+x+)+y", b"(?:a|b|ab)*c", b"(a*)*(a*)*(a*)*b"])
def test_nested_repetitions_are_walked_once(pattern: bytes) -> None:
    """Patterns on which a backtracking engine never ends: a long subject that nearly matches."""
    regex = Regex(pattern, FIND)
    text = b"a" * 100_000 + b"x" * 1000
    assert not regex.search(text) and regex.find(text) is None
    assert regex.nbytes < 20_000


def test_a_character_beyond_ascii_is_one_part() -> None:
    regex = Regex("^é+$".encode(), FIND)
    assert regex.search("éé".encode()) and not regex.search(b"\xc3\xa9\xa9")
