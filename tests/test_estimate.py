# SPDX-License-Identifier: Apache-2.0
"""estimate(): equal to a slow reference on any rows however they are cut into batches, exact without sampling, grouped by any field,
and as a table. How its intervals behave is test_estimate_statistics.py; what it does not see, test_estimate_books.py."""
from __future__ import annotations

import math
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import batch_support as made
import live_support as live
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tapio_fast as tapio
from tapio_fast import errors, schema

RATES = made.rates(("network.connect", 0.5, 0), ("network.accept", 0.5, 1), ("network.retransmit", 0.5, 2), ("network.close", 0.5, 2))
CLOSE, RETRANSMIT, TCP, UDP = 2, 9, 6, 17


def network_rows(seed: int, n: int) -> np.ndarray:
    """Rows of four kinds, drawn by record, process and connection; few values, so that keys meet."""
    rng = np.random.default_rng(seed)
    rows = made.rows_of("network", n, ts_ns=np.arange(n), subtype=rng.choice([0, 1, CLOSE, RETRANSMIT, RETRANSMIT], n), pid=rng.integers(0, 4, n),
                        start_ns=rng.integers(0, 2, n), cookie=rng.integers(0, 5, n), netns=rng.integers(0, 2, n), uid=rng.integers(0, 3, n),
                        errno=rng.integers(-2, 2, n), bytes_sent=rng.integers(0, 1000, n),
                        protocol=rng.choice([TCP, TCP, UDP], n), weight=rng.choice([1, 1.5, 2, 4], n))
    rows["comm"] = rng.choice([b"sh", b"a-name-of-16-byt", b""], n)
    return rows


def fates(rows: np.ndarray) -> list[Any]:
    """Whose draw decided about each row (in the order of time), a row at a time."""
    closed: dict[int, int] = defaultdict(int)
    out: list[Any] = []
    for i, row in enumerate(rows):
        subtype, cookie, tcp = int(row["subtype"]), int(row["cookie"]), row["protocol"] == TCP and row["cookie"] != 0
        if subtype == 1 and row["pid"]:
            out.append(("process", int(row["pid"]), int(row["start_ns"])))
        elif subtype in (CLOSE, RETRANSMIT) and tcp:
            out.append(("connection", cookie, int(row["netns"]), closed[cookie]))
        else:
            out.append(i)
        closed[cookie] += bool(subtype == CLOSE and tcp)
    return out


def reference(rows: np.ndarray, by: list[str], value: str) -> dict[tuple[Any, ...], tuple[float, float, int]]:
    """Key -> (estimate, standard error, n), a record and a pair of a cluster's records at a time."""
    groups: dict[Any, dict[Any, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    for row, fate in zip(rows, fates(rows), strict=True):
        y = float(row[value]) if value != "count" else 1.0
        groups[tuple(row[f].item() for f in by)][fate].append((float(row["weight"]), y))
    out = {}
    for key, clusters in groups.items():
        every = [one for parts in clusters.values() for one in parts]
        variance = sum(max(w1, w2) * (min(w1, w2) - 1) * y1 * y2 for parts in clusters.values() for w1, y1 in parts for w2, y2 in parts)
        out[key] = sum(w * y for w, y in every), math.sqrt(max(variance, 0)), len(every)
    return out


def by_key(table: Any) -> dict[tuple[Any, ...], dict[str, Any]]:
    return {tuple(row[f] for f in table.by): row for row in table}


def assert_same(one: Any, other: Any) -> None:
    assert list(one.columns) == list(other.columns)
    for name, column in one.columns.items():
        if column.dtype.kind == "f":
            np.testing.assert_allclose(column, other[name], rtol=1e-9, atol=1e-6, err_msg=name)
        else:
            assert column.tolist() == other[name].tolist(), name


@pytest.mark.parametrize("value", ["count", "bytes_sent", "errno"])
@pytest.mark.parametrize("by", [[], ["uid"], ["pid", "errno"]])
@pytest.mark.parametrize("seed", range(3))
def test_equals_a_slow_reference(seed: int, by: list[str], value: str) -> None:
    rows = network_rows(seed, 300)
    table = tapio.estimate(made.batches_of(rows, RATES, [100, 170]), "network", by=by, value=value)
    expected = reference(rows, by, value)
    found = by_key(table)
    assert set(found) == set(expected)
    for key, (total, error, n) in expected.items():
        row = found[key]
        assert row["estimate"] == pytest.approx(total, abs=1e-9) and row["n"] == n
        assert row["std_error"] == pytest.approx(error, rel=1e-9, abs=1e-6)
        assert row["ci_low"] <= row["estimate"] <= row["ci_high"]


@given(seed=st.integers(0, 1 << 30), cuts=st.lists(st.integers(0, 200), max_size=5), by=st.sampled_from(
    [[], ["comm"], ["subtype"], ["uid", "comm"], ["dest_ip", "pid"], ["netns", "errno"]]))
def test_how_rows_are_cut_into_batches_does_not_matter(seed: int, cuts: list[int], by: list[str]) -> None:
    rows = network_rows(seed, 200)
    whole = tapio.estimate(made.batch_of(rows, RATES), "network", by=by, value="bytes_sent")
    parts = made.batches_of(rows, RATES, sorted(cuts))
    assert_same(whole, tapio.estimate(iter(parts), "network", by=by, value="bytes_sent"))
    assert_same(whole, tapio.estimate(tapio.RecordBatch.concat(parts), "network", by=by, value="bytes_sent"))


def test_the_order_of_rows_does_not_matter() -> None:
    rows = network_rows(1, 500)
    shuffled = rows[np.random.default_rng(2).permutation(500)]
    assert_same(*(tapio.estimate(made.batch_of(r, RATES), "network", by=["comm", "uid"]) for r in (rows, shuffled)))


def test_a_store_equals_its_batches(tmp_path: Path) -> None:
    parts = made.batches_of(network_rows(3, 900), RATES, [300, 600])
    with tapio.RawStore(tmp_path / "store", "a") as store:
        for part in parts:
            store.append(part)
        found = tapio.estimate(store, "network", by=["uid", "comm"])
    assert_same(found, tapio.estimate(parts, "network", by=["uid", "comm"]))
    with tapio.RawStore(tmp_path / "store") as store:
        assert_same(found, tapio.estimate(store, "network", by=["uid", "comm"]))
        assert (tapio.estimate(store, "file")["estimate"] == 0).all()


def test_without_sampling_everything_is_exact() -> None:
    rows = network_rows(4, 5000)
    rows["weight"], rows["bytes_sent"] = 1, np.arange(5000) << 30
    table = tapio.estimate(made.batches_of(rows, None, [77]), "network", by=["comm"], value="bytes_sent")
    for row in table:
        mine = rows["comm"] == row["comm"].encode()
        assert row["estimate"] == row["ci_low"] == row["ci_high"] == rows["bytes_sent"][mine].sum()
        assert row["std_error"] == 0 and row["n"] == mine.sum() and row["reliable"] is True
    assert tapio.estimate(made.batch_of(rows[:3]), "network")["reliable"].tolist() == [True]


def test_an_interval_is_never_below_what_was_kept() -> None:
    rows = made.rows_of("network", 3, weight=[1000, 1000, 2], bytes_sent=[1, 500, 7])
    rows["weight"][0] = 1.0001
    table = tapio.estimate(made.batch_of(rows, RATES), "network", value="bytes_sent")
    assert table["ci_low"][0] >= 508 and not table["reliable"][0]
    signed = tapio.estimate(made.batch_of(made.rows_of("network", 2, weight=50, errno=-9), RATES), "network", value="errno")
    assert signed["estimate"][0] == -900 and signed["ci_low"][0] < -900 < signed["ci_high"][0]


def test_rows_that_stand_for_many_count_as_many() -> None:
    rows = made.rows_of("file", 4, subtype=[2, 3, 0, 0], count=[10, 20, 1, 0], size=5, weight=2)
    batch = made.batch_of(rows, made.rates(("file.open", 0.5, 0), ("file.read", 0.5, 0), ("file.write", 0.5, 0)))
    assert {r["subtype"]: r["estimate"] for r in tapio.estimate(batch, "file", by="subtype")} == {"open": 4, "read": 20, "write": 40}
    assert tapio.estimate(batch, "file", value="records")["estimate"].tolist() == [8]
    assert tapio.estimate(batch, "file", value="size")["estimate"].tolist() == [40]
    denied = made.rows_of("security", 2, subtype=[tapio.SecurityEventType.CAPABILITY_DENIED, tapio.SecurityEventType.MEMFD], object_id=30)
    assert tapio.estimate(made.batch_of(denied), "security")["estimate"].tolist() == [31]
    faults = made.rows_of("memory", 2, subtype=tapio.MemoryEventType.PAGE_FAULT, count=[0, 7], minor_faults=100)
    assert tapio.estimate(made.batch_of(faults), "memory")["estimate"].tolist() == [7]
    assert tapio.estimate(made.batch_of(faults), "memory", value="minor_faults")["estimate"].tolist() == [200]


# --- keys ---------------------------------------------------------------------------------------------------------------------------

PATHS = [b"", b"/a", b"/b", b"/a\0", b"\0\0\0", b"\0\0", b"/\xff\xfe", b"/" + b"x" * 3000, b"/" + b"x" * 2999 + b"y"]


def test_texts_are_keys_whatever_their_bytes() -> None:
    times = {path: 1 + i for i, path in enumerate(PATHS)}

    def fill(source: tapio.MemorySource) -> None:
        for i, path in enumerate(PATHS):
            row = made.rows_of("file", 1)[0]
            row["path"], row["new_path"] = (0, len(path), len(path)), (0, 0, 0)
            source.fill("file.open", row, times[path], tail=path, cpu=i % 2)

    batches = [live.from_memory(fill), live.from_memory(fill)]
    for source, factor in ((batches[0], 1), (batches, 2), (tapio.RecordBatch.concat(batches), 2)):
        table = tapio.estimate(source, "file", by=["path"])
        assert {r["path"]: r["estimate"] for r in table} == {p.decode("utf-8", "backslashreplace"): factor * n for p, n in times.items()}
        assert table["path"].tolist() == [p.decode("utf-8", "backslashreplace") for p in sorted(PATHS)]
    assert tapio.estimate(batches, "file", by=["new_path", "cpu"])["cpu"].tolist() == [0, 1]


def test_a_name_ends_at_its_first_nul() -> None:
    rows = made.rows_of("cpu", 3)
    rows["comm"] = [b"sh", b"sh\0left over", b"shx"]
    assert tapio.estimate(made.batch_of(rows), "cpu", by=["comm"])["comm"].tolist() == ["sh", "shx"]


def test_keys_read_as_people_write_them_and_sort_by_value() -> None:
    rows = made.rows_of("network", 4, subtype=[1, 0, 1, 77], errno=[-5, 3, -1, 0])
    rows["dest_ip"][:2] = np.frombuffer(b"\0" * 10 + b"\xff\xff\x0a\x01\x02\x03", np.uint8)
    rows["dest_ip"][2] = np.frombuffer(b"\x20\x01" + b"\0" * 13 + b"\x01", np.uint8)
    batch = made.batch_of(rows)
    assert tapio.estimate(batch, "network", by=["dest_ip"])["dest_ip"].tolist() == ["", "10.1.2.3", "2001::1"]
    assert tapio.estimate(batch, "network", by=["errno"])["errno"].tolist() == [-5, -1, 0, 3]
    table = tapio.estimate(batch, "network", by=["type", "subtype"])
    assert table["subtype"].tolist() == ["connect", "accept", "77"] and set(table["type"].tolist()) == {"network"}
    assert tapio.estimate(batch, "network", by=["pid"])["pid"].dtype == np.uint32
    assert tapio.estimate(batch, "network", by=["weight"])["weight"].tolist() == [1.0]


def test_keys_far_apart_and_many() -> None:
    n = 30_000
    starts = np.random.default_rng(5).integers(0, 1 << 64, n, dtype=np.uint64)
    rows = made.rows_of("cpu", n, start_ns=starts, uid=np.arange(n) % 7)
    batches = made.batches_of(np.concatenate([rows, rows, rows]), None, [n, 2 * n])
    table = tapio.estimate(batches, "cpu", by=["uid", "start_ns"])
    assert list(zip(table["uid"].tolist(), table["start_ns"].tolist(), strict=True)) == sorted(zip((np.arange(n) % 7).tolist(), starts.tolist(), strict=True))
    assert set(table["estimate"].tolist()) == {3.0}


def test_more_keys_than_allowed_is_an_error_that_says_what_to_do() -> None:
    rows = made.rows_of("cpu", 300, pid=1 + np.arange(300), weight=2)
    batch = made.batch_of(rows)
    assert len(tapio.estimate(batch, "cpu", by=["pid"], max_keys=300)) == 300
    with pytest.raises(errors.OutOfMemoryError, match="cpu by pid: there are more than 299 distinct keys; .*max_keys"):
        tapio.estimate(batch, "cpu", by=["pid"], max_keys=299)
    with pytest.raises(errors.OutOfMemoryError, match="distinct keys"):      # processes count too
        tapio.estimate(batch, "cpu", keyed="process", max_keys=299)


# --- what is asked and given ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("asked", "error", "text"), [
    ({"domain": "nonsense"}, KeyError, "no domain 'nonsense'"), ({"domain": "meta"}, ValueError, "never sampled"),
    ({"by": ["nonsense"]}, KeyError, "network has no field 'nonsense'; it has ts_ns"), ({"by": ["pid", "pid"]}, ValueError, "twice"),
    ({"domain": "syscall", "by": ["args"]}, ValueError, "array of numbers"), ({"value": "comm"}, ValueError, "not a number"),
    ({"value": "dest_ip"}, ValueError, "not a number"), ({"value": "name"}, ValueError, "not a number"),
    ({"value": "nonsense"}, KeyError, "no field"), ({"keyed": "nonsense"}, ValueError, "keyed is None"),
    ({"domain": "file", "keyed": "connection"}, ValueError, "for network"),
])
def test_what_cannot_be_asked(asked: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        tapio.estimate([], **({"domain": "network"} | asked))


def test_what_is_no_batch_is_refused() -> None:
    with pytest.raises(TypeError, match="not ndarray"):
        tapio.estimate([np.zeros(3)], "cpu")        # type: ignore[list-item]


def test_nothing_read_is_a_row_of_zeros_or_no_row() -> None:
    assert list(tapio.estimate([], "cpu")) == [
        {"estimate": 0.0, "std_error": 0.0, "ci_low": 0.0, "ci_high": 0.0, "n": 0, "unobserved": 0, "reliable": True}]
    assert len(tapio.estimate([], "cpu", by=["pid"])) == 0
    told = made.batch_of(made.rows_of("cpu", 0), made.rates(("cpu.usage", 0.5, 0)))
    assert tapio.estimate(told, "cpu")["reliable"].tolist() == [False], "nothing kept of what is sampled is not nothing"


def table_of_names() -> Any:
    rows = made.rows_of("cpu", 3, pid=[1, 2, 2])
    rows["comm"] = [b"\x1b[31m", b"sh", b"sh"]
    return tapio.estimate(made.batch_of(rows), "cpu", by=["comm", "pid"])


def test_a_table_reads_well_and_cannot_act_on_a_terminal() -> None:
    text = repr(table_of_names())
    assert "\x1b" not in text and "\\x1b[31m" in text
    head, names, *cells = text.splitlines()
    assert head == "<Estimates cpu by=comm,pid value=count rows=2 unobserved=0>" and len(cells) == 2
    assert names.split() == ["comm", "pid", "estimate", "std_error", "ci_low", "ci_high", "n", "unobserved", "reliable"]
    many = repr(tapio.estimate(made.batch_of(made.rows_of("cpu", 500, pid=np.arange(500))), "cpu", by="pid"))
    assert many.splitlines()[-1] == "... 480 more"


def test_it_is_an_arrow_table() -> None:
    pa = pytest.importorskip("pyarrow")
    table = table_of_names()
    for arrow in (pa.table(table), table.to_arrow()):
        assert arrow.to_pylist() == list(table)
        assert arrow.schema.types == [pa.string(), pa.uint32(), *[pa.float64()] * 4, pa.int64(), pa.int64(), pa.bool_()]
        assert b'"value": "count"' in arrow.schema.metadata[b"tapio_fast.estimate"]
    assert pa.table(tapio.estimate([], "cpu", by=["comm"])).num_rows == 0


def test_polars_takes_it() -> None:
    pl = pytest.importorskip("polars")
    assert pl.DataFrame(table_of_names()).to_dicts() == list(table_of_names())


def test_duckdb_takes_it() -> None:
    duckdb = pytest.importorskip("duckdb")
    result = table_of_names()
    assert duckdb.sql("select sum(estimate) from result").fetchall() == [(3.0,)]
    assert len(result) == 2


def test_without_pyarrow_columns_and_stream_are_there_and_the_error_names_the_extra() -> None:
    text = ("import sys; sys.modules['pyarrow'] = None\nimport tapio_fast\nfrom tapio_fast.errors import MissingExtraError\n"
            "table = tapio_fast.estimate([], 'cpu')\nassert len(table.columns['n']) == 1\nprint(table.__arrow_c_stream__())\n"
            "try:\n    table.to_arrow()\nexcept MissingExtraError as error:\n    print(error)")
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60, check=True)
    assert '"arrow_array_stream"' in done.stdout and "pip install 'tapio_fast[arrow]'" in done.stdout


@pytest.mark.parametrize("domain", sorted(set(schema.DTYPES) - {"meta"}))
def test_every_field_of_every_domain_is_a_key_and_every_number_a_value(domain: str) -> None:
    batch = made.batch_of(made.rows_of(domain, 5, weight=2))
    for field in set(schema.DTYPES[domain].names or ()) - ({"args"} if domain == "syscall" else set()):
        assert tapio.estimate(batch, domain, by=[field])["estimate"].tolist() == [10.0], field
        dtype = schema.DTYPES[domain].fields[field][0]      # type: ignore[index]
        if dtype.kind in "uif" and not dtype.shape and field != "count":      # value="count" means operations
            assert tapio.estimate(batch, domain, value=field)["estimate"].tolist() == [10.0 * float(batch[domain][field][0])], field


def test_a_later_window_of_a_live_collection_knows_how_it_is_drawn() -> None:
    """RATE rows come once, at the first read; the second window has none."""
    source = tapio.MemorySource()
    with tapio.Collector(tapio.Config.default().replace(programs={"process": {"sampling_rate": 0.5}}), source=source) as collector:
        collector.fileno()
        found = []
        for _ in range(2):
            source.fill("cpu.usage", n=2000)
            batches = live.read_until(collector, lambda got: sum(len(b["cpu"]) for b in got) > 800)
            found.append(tapio.estimate(batches, "cpu"))
            again = [b for b in batches if len(b["meta"]) and (b["meta"]["subtype"] == schema.KIND_BY_NAME["meta.rate"].subtype).any()]
            assert bool(again) == (len(found) == 1)
    assert [bool(table["reliable"][0]) for table in found] == [True, True]
