# SPDX-License-Identifier: Apache-2.0
"""The plan for the gate, against a truth of its own: what the tables let pass is what is not certainly false."""
from __future__ import annotations

import random

import pushdown_support as push
import pytest

from support import tier_size
from tapio_fast import schema
from tapio_fast.filtering._parser import parse
from tapio_fast.filtering._push import Plan, facts_needed, plan
from tapio_fast.filtering._tables import BYTES, NUMBERS, PATHS

KINDS = ("cpu.usage", "cpu.load", "network.connect", "file.open")
RECORDS = [push.synthetic(n, kind) for kind in KINDS[:3] for n in (*range(0, 300, 7), 4095, 65535, 65536 + 5)] + [
    push.synthetic(n, "file.open") | {"path": path, "severity": {1, 3}} for n, path in enumerate(push.PATHS)]
TOO_MANY = "it has too many alternatives for the kernel"


def passes(found: Plan, record: push.Record) -> bool:
    """Return what the gate would say, by the tables alone: tf_admit.bpf.h in Python."""
    clauses = found.clauses.get(schema.KIND_BY_NAME[record["kind"]].number, 0)
    tables = found.tables
    for name, dim in (NUMBERS | BYTES | PATHS).items():
        if not tables.flags >> dim & 1 or name not in record:
            continue
        value = record[name]
        mask = tables.others[dim]
        if name in NUMBERS and not tables.tries >> dim & 1:
            mask = next((m for d, v, m in tables.entries if (d, v) == (dim, value)), mask)
        else:
            width, prefixes = 128, [(bits - 32, data, m) for d, bits, data, m in tables.prefixes if d == dim]
            if name in PATHS:
                width, prefixes = 248 * 8, tables.paths
                key = value[:248].ljust(248, b"\0")
            elif name == "comm":
                key = value.ljust(16, b"\0")
            elif name in NUMBERS:
                key = value.to_bytes(8, "big").ljust(16, b"\0")
            else:
                key = bytes(10) + b"\xff\xff" + value.to_bytes(4, "big")
            number, longest = int.from_bytes(key, "big"), 0
            for bits, data, m in prefixes:
                if bits >= longest and not (number ^ int.from_bytes(data, "big")) >> (width - bits):
                    mask, longest = m, bits
        clauses &= mask
    return clauses != 0


def test_the_tables_let_pass_what_is_not_certainly_false() -> None:
    rng = random.Random(20261130)
    partial = limited = 0
    number = tier_size(600, 20_000)
    for _ in range(number):
        text, truth = push.tree(rng, rng.randint(0, 3))
        found = plan(parse(text), KINDS)
        expected = [truth(record) is not False for record in RECORDS]
        got = [passes(found, record) for record in RECORDS]
        if TOO_MANY in found.why:
            limited += 1
            assert all(g >= e for g, e in zip(got, expected, strict=True)), text
        else:
            assert got == expected, text
        partial += 0 < sum(got) < len(got)
    assert partial >= 0.3 * number
    assert limited < 0.2 * number


def test_an_exact_plan_leaves_nothing_to_judge() -> None:
    rng = random.Random(7)
    exact = 0
    for _ in range(600):
        text, truth = push.tree(rng, 2)
        found = plan(parse(text), KINDS)
        if found.exact:
            exact += 1
            assert [passes(found, record) for record in RECORDS] == [truth(record) is True for record in RECORDS], text
    assert exact > 5


@pytest.mark.parametrize(("lo", "hi"), [(0, 0), (0, 65535), (1, 65534), (1024, 1 << 20), (3, 3), ((1 << 32) - 5, (1 << 32) - 1)])
def test_a_wide_range_is_a_few_prefixes(lo: int, hi: int) -> None:
    found = plan(parse(f"uid in ({lo}..{hi})"), KINDS, limit=100)
    assert len(found.tables.prefixes) <= 128 and len(found.tables.entries) <= 100
    for uid in {0, lo, hi, max(lo - 1, 0), min(hi + 1, (1 << 32) - 1), (lo + hi) // 2, 1 << 31, (1 << 32) - 1}:
        record = push.synthetic(0, "cpu.usage") | {"uid": uid}
        assert passes(found, record) == (lo <= uid <= hi), uid


def test_what_does_not_fit_is_left_to_user_space_and_says_so() -> None:
    found = plan(parse(f"uid in ({', '.join(map(str, range(0, 4000, 2)))})"), KINDS, limit=100)
    assert not found.tables.flags and not found.exact
    assert any("uid has" in why and "map_entries_limit" in why for why in found.why)
    assert all(passes(found, record) for record in RECORDS)


def test_programs_that_look_at_ids_only_get_no_other_table() -> None:
    found = plan(parse("uid == 5 and pid in (1, 2) and cgroup_id in (0..1000000)"), KINDS, limit=10_000, pushed=False)
    assert found.tables.flags == 1 << NUMBERS["pid"] and not found.tables.tries and not found.exact


ALL = [kind.name for kind in schema.KINDS if kind.domain != schema.META]


def test_every_record_has_a_severity() -> None:
    for text in ("exists severity", "exists kind and exists severity"):
        assert len(plan(parse(text), ALL).clauses) == len(ALL), text
    assert not plan(parse("not exists severity"), ALL).clauses


def test_who_forked_whom_is_collected_where_user_space_judges_descent_again() -> None:
    telling = {schema.KIND_BY_NAME[name].number for name in ("process.exec", "process.fork", "process.exit")}
    for text, needed in (("descendant_of 10", False), ("descendant_of 10 and type == file", False),
                         ("descendant_of 10 and type == file or dest_port == 22", True),
                         ("descendant_of 10 and type == file or descendant_of 11 and type == network", True)):
        assert (telling <= set(plan(parse(text), ALL).clauses)) == (needed or text == "descendant_of 10"), text
        assert bool(facts_needed(parse(text), ALL)) == needed, text


def test_what_is_added_up_is_not_judged_by_the_thread_that_did_it() -> None:
    summed = frozenset({"file.read"})
    found = plan(parse("type == file and comm == lead and pid == 5"), ALL, summed=summed)
    texts = {name: line for line in found.text() for name in line.partition(":")[0].split(", ")}
    assert "comm" not in texts["file.read"].partition(":")[2] and "pid == 5" in texts["file.read"] and "comm" in texts["file.open"].partition(":")[2]
    assert not found.exact
