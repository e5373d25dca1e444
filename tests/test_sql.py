# SPDX-License-Identifier: Apache-2.0
"""RawStore.sql(): answers equal plain Python over scan(), and errors say what is wrong. What is read for an answer, and when, is
test_sql_plan.py, whose store is made here."""
from __future__ import annotations

import datetime as dt
import ipaddress
import operator
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import batch_support as made
import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pytest

import tapio_fast as tapio
from tapio_fast import RawStore, RecordBatch, schema
from tapio_fast._core import _engine

SECOND = 1_000_000_000
START = 1_732_233_600 * SECOND      # 2024-11-22T00:00:00Z
GAP = 100 * SECOND                  # from one made epoch to the next
EPOCHS = 6                          # of made rows; those of a collector come after
EVENTS = sorted(set(schema.DOMAINS) - {schema.META})
ROWS = {"process": 30, "network": 60, "file": 40}       # of an epoch; 10 of any other domain
COMMS = [b"sh", b"curl", b"a-name-of-16-byt", b"", b"\xff\xfe", "größe".encode()]
ADDRESSES = [(0, bytes(16)), (2, bytes(16)), (2, bytes(10) + b"\xff\xff\x0a\x01\x02\x03"), (0, bytes(10) + b"\xff\xff\x7f\0\0\1"),
             (10, b"\x20\x01\x0d\xb8" + bytes(11) + b"\x01"), (10, bytes(15) + b"\x01")]
TEXTS = {"args": [b"", b"ls\0-l\0/tmp", b"curl\0https://example.org/x", b"sh\0-c\0\0x y\xff"], "data": [b"", b"\0\xff\x01", b"plain"]}
NAMES = {(k.domain, k.subtype): k.name.partition(".")[2] for k in schema.KIND_BY_NAME.values()}
PATHS = [b"", b"/etc/passwd", b"/etc/shadow", b"/usr/bin/curl", b"/tmp/\xff%_x", "/home/zoë/it's".encode()]


def made_rows(domain: str, n: int, epoch: int, rng: np.random.Generator) -> tuple[bytes, bytes]:
    """n rows of few values each, so that they meet, in the order of time; and what their texts point to. What blocks are chosen by (pids,
    control groups, ports, kinds) differs between epochs."""
    rows, text = np.zeros(n, schema.DTYPES[domain]), bytearray()
    for name, (dtype, *_) in (schema.DTYPES[domain].fields or {}).items():
        if name in schema.TEXT_FIELDS[domain]:
            values = TEXTS.get(name, PATHS)
            for row, one in zip(rows, rng.integers(0, len(values), n), strict=True):
                value = values[one]
                row[name] = (len(text), len(value), len(value))
                text += value
        elif dtype.base.kind in "ui":
            rows[name] = rng.integers(-2 if dtype.base.kind == "i" else 0, 5, (n, *dtype.shape))
        elif dtype.kind == "S":
            rows[name] = rng.choice(np.array(COMMS, "S16"), n)
    for name in {"cgroup_id", "source_port", "dest_port"} & set(rows.dtype.names or ()):
        rows[name] += np.where(rows[name] > 0, epoch, 0).astype(rows.dtype[name])
    known = [*rng.choice([subtype for d, subtype in NAMES if d == domain], 6), 199 + epoch % 2]      # the last one has no name
    chosen = rng.integers(0, len(ADDRESSES), n)
    for name in {"source_ip", "dest_ip", "family"} & set(rows.dtype.names or ()):
        rows[name] = [ADDRESSES[i][0] if name == "family" else np.frombuffer(ADDRESSES[i][1], np.uint8) for i in chosen]
    times = np.sort(rng.integers(2, 90 * SECOND, n))
    times[:2] = 0, 1        # known to the nanosecond, and shared by all domains
    rows["ts_ns"], rows["seq"], rows["type"] = START + epoch * GAP + times, epoch * 1000 + np.arange(n), schema.DOMAINS[domain]
    rows["subtype"], rows["pid"], rows["weight"] = rng.choice(known, n), epoch + rng.integers(1, 5, n), rng.choice([1, 2, 4], n)
    rows["start_ns"] = START - (rows["pid"] + rng.integers(0, 2, n) * 10).astype(np.int64) * SECOND
    return rows.tobytes(), bytes(text)


def made_batch(epoch: int, rng: np.random.Generator) -> RecordBatch:
    """An epoch with rows of all domains but meta; no clock offset, so that their ts_ns is Unix time, and of boot 0."""
    rows = {schema.DOMAINS[d]: made_rows(d, ROWS.get(d, 10), epoch, rng) for d in EVENTS}
    return RecordBatch(_engine.build(rows, epoch))


def collected(rounds: int = 3) -> Iterator[RecordBatch]:
    """Epochs of a collector: another boot, a clock offset, meta rows, and rings that were full, so that no accept was ever kept."""
    source = tapio.MemorySource(cpus=2, bulk_bytes=1 << 16)
    with tapio.Collector(source=source) as collector:
        collector.fileno()
        for i in range(rounds):
            # a process by the names of one of the other boot, and what it and an unknown one did
            source.fill("process.exec", made.rows_of("process", 1, pid=i + 1, start_ns=START - (i + 1) * SECOND)[0], n=3)
            source.fill("network.connect", made.rows_of("network", 1, pid=i + 1, start_ns=START - (i + 1) * SECOND)[0], n=2)
            source.fill("network.connect", made.rows_of("network", 1, pid=99)[0])
            if i:
                source.fill("cpu.usage", made.rows_of("cpu", 1, pid=i)[0], n=2000)
                assert source.fill("network.accept", n=5) == 0
            yield from collector.batches(timeout=0.05)
        collector.stop()
        yield from collector.batches(timeout=0.05)


def write(path: Path) -> Path:
    rng = np.random.default_rng(7)
    for epochs in (range(2), range(2, EPOCHS)):
        with RawStore(path, "a") as store:
            for epoch in epochs:
                store.append(made_batch(epoch, rng))
                store.flush()       # a block each
    with RawStore(path, "a") as store:
        for batch in [RecordBatch(_engine.build({}, EPOCHS)), *collected()]:    # an epoch of nothing is one, too
            store.append(batch)
    info = RawStore(path).info()
    assert info.segments > 2 and info.blocks > EPOCHS and info.epochs > EPOCHS + 2 and len(info.boot_ids) == 2
    return path


def _value(domain: str, name: str, row: Any) -> Any:
    value = row[name]
    if name == "type":
        return domain
    if name == "subtype":
        return NAMES.get((domain, int(value)), str(value))
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if getattr(value, "shape", ()) == (16,):
        raw = value.tobytes()
        if not any(raw) and not row["family"]:
            return ""
        return str(ipaddress.IPv4Address(raw[12:]) if row["family"] == 2 or raw[10:12] == b"\xff\xff" else ipaddress.IPv6Address(raw))
    return value.item() if not getattr(value, "shape", ()) else tuple(value.tolist())


def records(batches: Iterable[RecordBatch], domain: str) -> list[dict[str, Any]]:
    """The rows of a domain as dicts of Python values, made one at a time; times are Unix ns."""
    out = []
    for batch in batches:
        texts = {name: batch.strings(domain, name) for name in schema.TEXT_FIELDS[domain]}
        for i, row in enumerate(batch[domain]):
            one = {"time": int(row["ts_ns"]) + batch.wall_offset_ns}
            for name in (n for n in row.dtype.names if not n.startswith("_")):
                one[name] = texts[name][i] if name in texts else _value(domain, name, row)
                if name == "args" and name in texts:
                    one[name] = tuple(part.decode("utf-8", "backslashreplace") for part in one[name].split(b"\0")) if one[name] else ()
                elif name in texts and name != "data":
                    one[name] = one[name].decode("utf-8", "backslashreplace")
            out.append(one | {"boot_id": str(batch.boot_id), "run_id": batch.run_id, "epoch": batch.epoch,
                              "severity": int(batch.severity(domain)[i])})
    return out


def answer(store: RawStore, query: str, params: object = None, **tables: object) -> list[tuple[Any, ...]]:
    """The rows of an answer as in_order() has them."""
    return in_order(store.sql(query, params, **tables).fetchall())


def in_order(rows: Iterable[Iterable[Any]]) -> list[tuple[Any, ...]]:
    return sorted((tuple(tuple(v) if isinstance(v, list) else v for v in row) for row in rows), key=repr)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("sql") / "store")


@pytest.fixture(scope="module")
def store(path: Path) -> Iterator[RawStore]:
    with RawStore(path) as opened:
        yield opened


@pytest.fixture(scope="module")
def rows(store: RawStore) -> dict[str, list[dict[str, Any]]]:
    every = list(store.scan())
    return {domain: records(every, domain) for domain in schema.DOMAINS}


# --- answers ------------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("domain", sorted(schema.DOMAINS))
def test_a_table_holds_what_scan_gives_in_every_column(store: RawStore, rows: dict[str, Any], domain: str) -> None:
    assert rows[domain]
    assert answer(store, f"select * replace (epoch_ns(time) as time) from {domain}") == in_order(row.values() for row in rows[domain])
    assert store.sql(f"from {domain} limit 0").columns == list(rows[domain][0])


def test_events_are_the_rows_of_all_domains_but_meta(store: RawStore, rows: dict[str, Any]) -> None:
    common = store.sql("from events limit 0").columns
    assert common == ["time", *(f for f in schema.HEADER_FIELDS if f in rows["cpu"][0]), "boot_id", "run_id", "epoch", "severity"]
    expected = in_order([row[c] for c in common] for domain in EVENTS for row in rows[domain])
    assert answer(store, "select * replace (epoch_ns(time) as time) from events") == expected
    kinds = Counter((row["type"], row["subtype"]) for domain in EVENTS for row in rows[domain])
    assert answer(store, "select type, subtype, count(*) from events group by all") == in_order((*k, n) for k, n in kinds.items())
    names = Counter(row["subtype"] for domain in EVENTS for row in rows[domain])     # a name that two domains have is one group
    assert answer(store, "select subtype, count(*) from events group by 1") == in_order(names.items())


def test_counts_sums_and_groups(store: RawStore, rows: dict[str, Any]) -> None:
    counts = " union all ".join(f"select '{domain}', count(*) from {domain}" for domain in rows)
    assert answer(store, counts) == in_order((domain, len(found)) for domain, found in rows.items())
    groups: dict[Any, list[int]] = defaultdict(lambda: [0, 0, 0])
    for row in rows["network"]:
        group = groups[row["boot_id"], row["comm"], row["uid"]]
        for i, value in enumerate((1, row["bytes_sent"], row["errno"])):
            group[i] += value
    assert answer(store, "select boot_id, comm, uid, count(*), sum(bytes_sent)::bigint, sum(errno)::bigint from network group by all") == \
        in_order((*key, *sums) for key, sums in groups.items())


def test_network_rows_join_the_processes_that_made_them(store: RawStore, rows: dict[str, Any]) -> None:
    by_key: dict[Any, list[Any]] = defaultdict(list)
    for row in rows["process"]:
        by_key[row["boot_id"], row["pid"], row["start_ns"]].append(row)
    assert len({boot for boot, *_ in by_key}) == 2
    makers = [(n, by_key.get((n["boot_id"], n["pid"], n["start_ns"]), [])) for n in rows["network"]]
    pairs = [(p["exe"], n["dest_ip"], n["seq"], p["seq"]) for n, found in makers for p in found]
    alone = [(None, n["dest_ip"], n["seq"], None) for n, found in makers if not found]
    assert len(pairs) > 300 and alone
    query = "select p.exe, n.dest_ip, n.seq, p.seq from network n %sjoin process p using (boot_id, pid, start_ns)"
    assert answer(store, query % "") == in_order(pairs)
    assert answer(store, query % "left ") == in_order(pairs + alone)


TEXT_CONDITIONS = [
    ("process", "args[1] = 'ls'", lambda r: r["args"][:1] == ("ls",)),
    ("process", "list_contains(args, '-l')", lambda r: "-l" in r["args"]),
    ("process", "len(args) > 2 and args[3] = ''", lambda r: len(r["args"]) > 2 and r["args"][2] == ""),
    ("process", "exists (select 1 from unnest(args) as t(a) where a like '%\\xff')", lambda r: any(a.endswith("\\xff") for a in r["args"])),
    ("process", "exe like '%/curl' or cwd ilike '/ETC/%'", lambda r: r["exe"].endswith("/curl") or r["cwd"].startswith("/etc/")),
    ("file", "path = '/home/zoë/it''s'", lambda r: r["path"] == "/home/zoë/it's"),
    ("file", "path like '%\\%\\_x' escape '\\'", lambda r: r["path"].endswith("%_x")),
    ("file", "data = '\\x00\\xFF\\x01'::blob", lambda r: r["data"] == b"\0\xff\x01"),
    ("network", "comm = 'größe' or comm = '\\xff\\xfe'", lambda r: r["comm"] in ("größe", "\\xff\\xfe")),
    ("network", "dest_ip = '10.1.2.3'", lambda r: r["dest_ip"] == "10.1.2.3"),
    ("security", "dest_ip = '0.0.0.0'", lambda r: r["dest_ip"] == "0.0.0.0"),
    ("syscall", "args[1] = 3 and args[6] < 2", lambda r: r["args"][0] == 3 and r["args"][5] < 2),
    ("events", "type = 'network' and severity >= 3", lambda r: r["type"] == "network" and r["severity"] >= 3),
]


@pytest.mark.parametrize(("table", "condition", "holds"), TEXT_CONDITIONS, ids=[f"{c[0]}-{c[1]}" for c in TEXT_CONDITIONS])
def test_conditions_on_texts_lists_and_addresses(store: RawStore, rows: dict[str, Any], table: str, condition: str, holds: Any) -> None:
    every = [row for d in EVENTS for row in rows[d]] if table == "events" else rows[table]
    expected = [(r["time"], r["seq"], r["pid"]) for r in every if holds(r)]
    assert 0 < len(expected) < len(every)
    assert answer(store, f"select epoch_ns(time), seq, pid from {table} where {condition}") == in_order(expected)


def instant(ns: int) -> str:
    whole, fraction = divmod(ns, SECOND)
    return f"{dt.datetime.fromtimestamp(whole, dt.UTC):%Y-%m-%d %H:%M:%S}.{fraction:09}+00"


@pytest.mark.parametrize(("sign", "holds"), [(">=", operator.ge), (">", operator.gt), ("<", operator.lt), ("<=", operator.le),
                                             ("=", operator.eq), ("!=", operator.ne)])
def test_time_is_compared_to_the_nanosecond(store: RawStore, rows: dict[str, Any], sign: str, holds: Any) -> None:
    at = START + 2 * GAP        # there is a row of each domain, and one a nanosecond later
    events = [row["time"] for d in EVENTS for row in rows[d]]
    network = [row["time"] for row in rows["network"]]
    assert answer(store, f"select count(*) from network where time {sign} '{instant(at)}'") == [(sum(holds(t, at) for t in network),)]
    flipped = sign.translate(str.maketrans("<>", "><"))
    assert answer(store, f"select count(pid) from events where '{instant(at + 1)}' {flipped} time") == [(sum(holds(t, at + 1) for t in events),)]


def test_time_ranges(store: RawStore, rows: dict[str, Any]) -> None:
    times = [row["time"] for row in rows["file"]]
    for first, last in ((START, START + GAP), (START + GAP + 1, START + GAP + 1), (START + 1, START), (0, 1 << 62)):
        query = f"select count(*) from file where time between '{instant(first)}' and '{instant(last)}'"
        assert answer(store, query) == [(sum(first <= t <= last for t in times),)]
    for first, last in ((START, START + GAP), (START + GAP, START + 2 * GAP + 1)):
        query = f"select count(*) from file where time %s '{instant(first)}' and time %s '{instant(last)}'"
        assert answer(store, query % (">=", "<")) == [(sum(first <= t < last for t in times),)]
        assert answer(store, query % (">", "<=")) == [(sum(first < t <= last for t in times),)]
    day = dt.datetime.fromtimestamp(START // SECOND, dt.UTC)
    assert answer(store, "select count(*) from file where time >= ? and time < ?", [day, day + dt.timedelta(seconds=150)]) == [
        (sum(START <= t < START + 150 * SECOND for t in times),)]
    assert answer(store, "select count(*) from file where time < '1965-01-01'") == [(0,)]
    assert answer(store, "select count(*) from file where time::date = '2024-11-22'") == [(sum(t < START + 86400 * SECOND for t in times),)]


def test_the_ledger_has_a_row_for_each_epoch_whatever_is_in_it(store: RawStore) -> None:
    every = list(store.scan())
    assert any(not len(batch) for batch in every) and sum(batch.loss["k_ring_full"] for batch in every) > 1000
    names = list(every[0].loss)
    expected = in_order((b.watermark_ns + b.wall_offset_ns, str(b.boot_id), b.run_id, b.epoch, *b.loss.values()) for b in every)
    assert answer(store, "select * replace (epoch_ns(time) as time) from ledger") == expected
    sums = [sum(batch.loss[name] for batch in every) for name in names]
    assert answer(store, f"select {', '.join(f'sum({name})::bigint' for name in names)} from ledger") == [tuple(sums)]
    assert store.sql("from ledger").columns == ["time", "boot_id", "run_id", "epoch", *names]


def test_estimates_are_those_of_estimate_by_kind(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    told = made.rates(("network.connect", 0.5, 0), ("network.retransmit", 0.25, 2))
    sampled = made.rows_of("network", 900, ts_ns=np.arange(900), subtype=rng.choice([0, 9], 900), pid=rng.integers(1, 9, 900), protocol=6,
                           cookie=rng.integers(1, 50, 900), weight=rng.choice([1, 2, 4], 900))
    with RawStore(tmp_path / "s", "a") as store:
        for batch in [*made.batches_of(sampled, told, [300, 700]), *collected()]:
            store.append(batch)
        columns = ("subtype", "estimate", "std_error", "ci_low", "ci_high", "n", "unobserved", "reliable")
        expected = [(d, *(row[c] for c in columns)) for d in EVENTS for row in tapio.estimate(store, d, by="subtype")]
        relation = store.sql("from estimates")
        assert relation.columns == ["domain", *columns] and in_order(relation.fetchall()) == in_order(expected)
        found = {row[:2]: dict(zip(columns[1:], row[2:], strict=True)) for row in relation.fetchall()}
        for kind in ("connect", "retransmit"):
            row = found["network", kind]
            assert row["std_error"] > 0 and row["ci_low"] < row["estimate"] < row["ci_high"]
        lost = found["network", "accept"]
        assert (lost["n"], lost["unobserved"], lost["reliable"]) == (0, 10, False), "lost and never kept"


def test_a_table_has_as_many_names_as_its_rows(tmp_path: Path) -> None:
    """Kinds and boots are told by a dictionary: more of them in a part of a table than any domain has kinds, and boots that take turns."""
    every = np.zeros(256, schema.DTYPES["security"])
    every["ts_ns"], every["type"], every["subtype"] = START, schema.DOMAINS["security"], np.arange(256)
    one = RecordBatch(_engine.build({schema.DOMAINS["security"]: (every.tobytes(), b"")}))
    other = next(batch for batch in collected() if "process" in batch)
    with RawStore(tmp_path / "s", "a") as store:
        for batch in [one, other] * 20:
            store.append(batch)
        names = [(NAMES.get(("security", i), str(i)), 20) for i in range(256)]
        assert answer(store, "select subtype, count(*) from security group by 1") == in_order(names)
        boots = [(str(one.boot_id), 20 * 256), (str(other.boot_id), 20 * (len(other) - len(other["meta"])))]
        assert answer(store, "select boot_id, count(*) from events group by 1") == in_order(boots)


# --- tables of one's own, parameters, frames ---------------------------------------------------------------------------------------

def test_what_is_given_by_name_is_a_table(store: RawStore, rows: dict[str, Any]) -> None:
    wanted = [(row["comm"],) for row in rows["network"] if row["uid"] == 3]
    data = pa.table({"user": [3], "note": ["x"]})
    for mine in (data, data.to_reader(), pl.from_arrow(data), pl.from_arrow(data).lazy()):
        assert answer(store, "select comm from network join mine on mine.user = uid", mine=mine) == in_order(wanted)
    estimates = tapio.estimate(store, "network", by=["uid", "comm"])
    assert answer(store, "select * from mine where uid = 3", mine=estimates) == in_order(r.values() for r in estimates if r["uid"] == 3)
    batch = next(store.scan())
    for given in (batch.table("file"), store.table("file", until=START + GAP)):
        assert answer(store, "select count(*) from few join file using (time, seq)", few=given) == [(ROWS["file"],)]
    assert answer(store, "select count(*) from few", few=batch) == [(len(batch),)]


def test_parameters_by_position_and_by_name(store: RawStore, rows: dict[str, Any]) -> None:
    wanted = [(r["seq"],) for r in rows["network"] if r["pid"] == 3 and r["comm"] == "sh"]
    assert answer(store, "select seq from network where pid = ? and comm = ?", [3, "sh"]) == in_order(wanted)
    assert answer(store, "select seq from network where comm = $who and pid = $pid", {"pid": 3, "who": "sh"}) == in_order(wanted)


@pytest.mark.parametrize("asked", [
    {}, {"domain": "network"}, {"domain": "network", "filter": "uid == 3 and pid > 2"}, {"domain": "file", "columns": ["path", "time", "severity"]},
    {"domain": "process", "since": START + GAP, "until": START + 3 * GAP + 1, "columns": ["args", "seq"]},
    {"since": START + GAP + 1, "filter": "pid == 4"},
], ids=str)
def test_a_frame_equals_a_scan_with_the_same_arguments(store: RawStore, asked: dict[str, Any]) -> None:
    rest = {name: value for name, value in asked.items() if name not in ("domain", "columns")}
    domains = [asked["domain"]] if "domain" in asked else EVENTS
    every = list(store.scan(domains=domains, **rest))
    frame = store.to_polars(**asked)
    expected = [tuple(row[c] for c in frame.columns) for domain in domains for row in records(every, domain)]
    assert "columns" not in asked or frame.columns == asked["columns"]
    if "time" in frame.columns:
        frame = frame.with_columns(pl.col("time").dt.epoch("ns"))
    assert expected and in_order(frame.rows()) == in_order(expected)


# --- errors ----------------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("query", ["", ";", "-- nothing", "select 1; select 2", "create table t as from network", "insert into cpu values (1)",
                                   "copy network to '/dev/null'", "set threads = 1", "drop view network"])
def test_what_is_not_one_select_is_refused(store: RawStore, query: str) -> None:
    with pytest.raises(ValueError, match="sql\\(\\) takes one SELECT"):
        store.sql(query)


@pytest.mark.parametrize("query", ["from cpu limit 1", "select 1;", "-- why\nselect 1 -- so", "with one as (select 1) from one", "values (1)"])
def test_every_spelling_of_a_select_is_one(store: RawStore, query: str) -> None:
    assert len(store.sql(query).fetchall()) == 1


@pytest.mark.parametrize(("query", "error", "says"), [
    ("select pid from netwrok", duckdb.CatalogException, '(?s)netwrok does not exist.*Did you mean "network"'),
    ("select pidd from network", duckdb.BinderException, '(?s)"pidd" not found.*"pid"'),
    ("selec pid from network", duckdb.ParserException, "syntax error"),
])
def test_what_is_wrong_with_a_query_is_told_by_duckdb(store: RawStore, query: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        store.sql(query)


@pytest.mark.parametrize("name", ["network", "events", "ledger", "estimates", "Network"])
def test_a_table_cannot_take_the_name_of_one_of_the_store(store: RawStore, name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}: there is another table of that name"):
        store.sql("select 1", **{name: pl.DataFrame({"a": [1]})})


def test_names_that_sql_takes_for_the_same_are_refused(store: RawStore) -> None:
    mine = pl.DataFrame({"pid": [1]})
    with pytest.raises(ValueError, match="capital and small letters"):
        store.sql("from mine", mine=mine, Mine=mine)
    assert len(answer(store, "from tapio_shape, mine", tapio_shape=mine, mine=mine)) == 1


def test_variables_of_the_caller_are_no_tables(store: RawStore) -> None:
    mine = pl.DataFrame({"pid": [1]})
    with pytest.raises(duckdb.CatalogException, match="mine does not exist"):
        store.sql("from mine")
    assert len(answer(store, "from mine", mine=mine)) == 1


@pytest.mark.parametrize(("package", "call", "extra"), [("duckdb", "sql('select 1')", "duckdb"), ("polars", "to_polars('cpu')", "polars"),
                                                        ("pyarrow", "table('cpu').to_arrow()", "arrow")])
def test_without_a_package_the_error_names_the_extra(path: Path, package: str, call: str, extra: str) -> None:
    text = (f"import sys; sys.modules[{package!r}] = None\nfrom tapio_fast import RawStore\nfrom tapio_fast.errors import MissingExtraError\n"
            f"try:\n    RawStore({str(path)!r}).{call}\nexcept MissingExtraError as error:\n    print(error)")
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60, check=True)
    assert f"pip install 'tapio_fast[{extra}]'" in done.stdout
