# SPDX-License-Identifier: Apache-2.0
"""What is not read of a store: blocks that its index rules out, and fields that nobody asked for. The answer must not change by it."""
from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from filter_reference import Row, matches
from filter_strategies import leaf_of, pack, rows_of, tree

from support import tier_size
from tapio_fast import EventFilter, RawStore, RecordBatch, schema
from tapio_fast._core import _engine, _store
from tapio_fast._store_files import open_writer
from tapio_fast.filtering._blocks import EVERY, Asked, asked_of, either
from tapio_fast.filtering._tree import Node

DOMAINS = [d for d in schema.DTYPES if d != schema.META]
BLOCKS = 40
ROWS = 700              # of a block: enough for a filter in its header


def rows_of_block(rng: np.random.Generator, domain: str, block: int) -> np.ndarray:
    """Processes, groups and ports of which each block has a few of its own."""
    rows = np.zeros(ROWS, schema.DTYPES[domain])
    rows["type"], rows["weight"] = schema.DOMAINS[domain], 1
    rows["ts_ns"] = block * 1_000_000 + np.arange(ROWS)
    rows["subtype"] = rng.choice([1, 2, 3] if block % 3 else [1, 4], ROWS)
    rows["pid"] = rng.choice([1, 100 + block, 5000 - block], ROWS)
    rows["cgroup_id"] = rng.choice([7, 1 << 40 | block], ROWS)
    rows["uid"] = rng.integers(0, 4, ROWS)
    for name in {"source_port", "dest_port", "size", "errno"} & set(rows.dtype.names or ()):
        rows[name] = rng.choice([0, 22, 8000 + block], ROWS)
    return rows


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A block an epoch, with rows of three domains each."""
    path = tmp_path_factory.mktemp("index") / "store"
    writer = open_writer(path, block_rows=1)
    rng = np.random.default_rng(5)
    for block in range(BLOCKS):
        batch = {schema.DOMAINS[d]: (rows_of_block(rng, d, block).tobytes(), b"") for d in ("network", "file", "security")}
        writer.append(_engine.build(batch, block))
    writer.close()
    return path


def rows_kept(batches: list[RecordBatch], domain: str) -> bytes:
    return b"".join(batch[domain].tobytes() for batch in batches)


EXPRESSIONS = [
    ("pid == 117", 1), ("pid in (103, 4999, 77777)", 2), ("pid == 4", 0), ("not pid == 117", BLOCKS), ("pid in (117, 118) and uid == 2", 2),
    ("dest_port == 8003", 1), ("dest_port in (8003, 8004) or source_port == 8009", 3), ("dest_port == 0", BLOCKS), ("dest_port == 22", BLOCKS),
    ("cgroup_id == 1099511627781", 1), ("subtype == reset and pid == 1", None), ("pid == 117 or uid == 3", BLOCKS), ("pid > 4990", None),
    ("pid == 117 and dest_port == 8004", 0), ("pid == 117 and pid == 118", 0), ("type == file and pid == 117", 1), ("uid == 9", BLOCKS),
    ("pid in (100..120)", None), ("severity >= debug and pid == 117", 1), ('comm == "x"', BLOCKS), ("errno == EPERM or pid == 101", BLOCKS),
]


@pytest.mark.parametrize("expression, most", EXPRESSIONS)
@pytest.mark.parametrize("domain", ["network", "file", "security"])
def test_a_filter_keeps_the_same_rows_whatever_is_passed_over(path: Path, domain: str, expression: str, most: int | None) -> None:
    store = RawStore(path)
    truth = [batch.filter(expression) for batch in store.scan(domains=[domain])]
    assert rows_kept(list(store.scan(domains=[domain], filter=expression)), domain) == rows_kept(truth, domain)
    asked = EventFilter(expression).asked_of(domain)
    if asked is None:
        assert not rows_kept(truth, domain)
        return
    reader = _store.Reader(store._fd, domains=1 << schema.DOMAINS[domain], asked={schema.DOMAINS[domain]: asked.raw()})
    read = sum(1 for _ in reader)
    assert read + reader.stats()["skipped_blocks"] == BLOCKS
    # a filter of bits errs to the safe side: a few blocks more than there must be
    assert most is None or read <= min(most + 6, BLOCKS)


def test_some_blocks_are_not_read_for_a_narrow_question(path: Path) -> None:
    store = RawStore(path)
    reader = _store.Reader(store._fd, domains=1 << schema.DOMAINS["network"],
                           asked={schema.DOMAINS["network"]: EventFilter("pid == 117").asked_of("network").raw()})       # type: ignore[union-attr]
    assert 1 <= sum(1 for _ in reader) <= 4 and reader.stats()["skipped_blocks"] >= BLOCKS - 4
    assert reader.stats()["corrupt_blocks"] == reader.stats()["lost_rows"] == 0


def test_meta_rows_come_whatever_the_filter(tmp_path: Path) -> None:
    meta = np.zeros(3, schema.DTYPES["meta"])
    meta["type"] = schema.DOMAINS["meta"]
    with RawStore(tmp_path, "a") as store:
        store.append(RecordBatch(_engine.build({schema.DOMAINS["meta"]: (meta.tobytes(), b"")})))
        assert sum(len(batch["meta"]) for batch in store.scan(filter="pid == 4711")) == 3
        assert sum(len(batch["meta"]) for batch in store.scan(domains=["meta", "file"], filter="pid == 4711")) == 3


def test_facts_are_learnt_from_every_block(tmp_path: Path) -> None:
    """The parent's execution is in a block without a matching row."""
    rows = np.zeros(2, schema.DTYPES["process"])
    rows["type"], rows["subtype"], rows["weight"] = schema.DOMAINS["process"], schema.KIND_BY_NAME["process.exec"].subtype, 1
    rows["pid"], rows["ppid"], rows["start_ns"], rows["parent_start_ns"] = [10, 20], [1, 10], [5, 6], [1, 5]
    rows["ts_ns"] = [100, 200]
    rows["exe"]["len"] = rows["exe"]["full_len"] = 9
    writer = open_writer(tmp_path, block_rows=1)
    for i in range(2):
        writer.append(_engine.build({schema.DOMAINS["process"]: (rows[i:i + 1].tobytes(), b"/bin/nano")}, i))
    writer.close()
    found = list(RawStore(tmp_path).scan(domains=["process"], filter='parent_exe == "/bin/nano" and pid == 20'))
    assert [batch["process"]["pid"].tolist() for batch in found] == [[20]]


def holds(asked: Asked | None, row: Row) -> bool:
    """Whether a block of only this row would be read."""
    if asked is None:
        return False
    ports = {row[name] for name in ("source_port", "dest_port") if name in row} - {0}
    return bool(asked.kinds >> min(row["subtype"], 63) & 1 and (asked.pid is None or row["pid"] in asked.pid)
                and (asked.cgroup is None or row["cgroup_id"] in asked.cgroup) and (asked.port is None or asked.port & ports))


def test_what_is_asked_of_a_block_is_never_more_than_a_row_needs() -> None:
    narrow = kept = 0
    for seed in range(tier_size(400, 20_000)):
        r = random.Random(seed)
        node: Node = tree(seed) if seed % 2 else leaf_of(r, r.choice(["pid", "dest_port", "source_port", "cgroup_id", "subtype", "type"]))
        asked = {domain: asked_of(node, domain) for domain in DOMAINS}
        for row in rows_of(seed):
            if row["domain"] != schema.META and matches(node, row):
                kept += 1
                assert holds(asked[row["domain"]], row), (node, row)
        narrow += any(one not in (None, Asked()) for one in asked.values())
    assert narrow > 50 and kept > 500


def test_either_is_what_one_of_both_has() -> None:
    a, b = Asked(kinds=1, pid=frozenset({1}), port=frozenset({2})), Asked(kinds=2, pid=frozenset({3}))
    assert either(a, b) == Asked(kinds=3, pid=frozenset({1, 3}))
    many = [Asked(pid=frozenset(range(i, i + 10))) for i in (0, 20)]
    assert either(*many) == Asked() and Asked().raw()[0] == EVERY


@pytest.mark.parametrize("seed", range(tier_size(10, 300)))
def test_columns_are_those_fields_and_the_others_are_zero(tmp_path: Path, seed: int) -> None:
    r = random.Random(seed)
    batch = RecordBatch(pack([row for k in range(30) for row in rows_of(1000 * seed + k)]))
    with RawStore(tmp_path, "a") as store:
        store.append(batch)
        domains = [d for d in batch.domains if r.random() < 0.7] or batch.domains
        there = sorted({name for d in domains for name in schema.DTYPES[d].names or ()})
        columns = r.sample(there, r.randint(1, min(6, len(there))))
        whole = RecordBatch.concat(list(store.scan(domains=domains)))
        some = RecordBatch.concat(list(store.scan(domains=domains, columns=columns)))
    assert len(some) == len(whole) > 0
    for domain in domains:
        for name in schema.DTYPES[domain].names or ():
            if name in schema.TEXT_FIELDS[domain]:
                wanted = list(whole.strings(domain, name)) if name in columns else [b""] * len(whole[domain])
                assert list(some.strings(domain, name)) == wanted, (domain, name)
                continue
            wanted = whole[domain][name] if name in columns or name == "ts_ns" else np.zeros_like(whole[domain][name])
            assert some[domain][name].tobytes() == wanted.tobytes(), (domain, name)


def test_a_filter_has_its_fields_whatever_the_columns(path: Path) -> None:
    store = RawStore(path)
    for expression in ("pid == 117 and uid == 2", "severity >= info and uid == 1", "dest_port == 8003"):
        whole = [batch["network"]["cgroup_id"].tolist() for batch in store.scan(domains=["network"], filter=expression)]
        some = [batch["network"]["cgroup_id"].tolist() for batch in store.scan(domains=["network"], columns=["cgroup_id"], filter=expression)]
        assert some == whole and some


def test_wrong_names_say_what_there_is(path: Path) -> None:
    store = RawStore(path)
    with pytest.raises(KeyError, match="did you mean pid"):
        store.scan(domains=["network"], columns=["pidd"])
    with pytest.raises(KeyError, match="no domain 'netwrok'"):
        store.scan(domains=["netwrok"])
    assert list(store.scan(domains=[])) == []
