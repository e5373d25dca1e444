# SPDX-License-Identifier: Apache-2.0
"""What RawStore.sql() reads for an answer: only the columns, tables and times that a query needs, never so little that the answer changes;
and when it reads: a relation outlives what it came from and sees what the store holds by then."""
from __future__ import annotations

import gc
import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from test_sql import EPOCHS, EVENTS, GAP, SECOND, START, answer, in_order, instant, made_batch, records, write

import tapio_fast as tapio
from tapio_fast import ClosedError, RawStore, RecordBatch, schema, tables
from tapio_fast._core import _engine
from tapio_fast._sql import _NO_STATISTICS, MAX_NS, MIN_NS, Asked, StoreTables, read_plan

ALL = (MIN_NS, MAX_NS)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = write(tmp_path_factory.mktemp("plan") / "store")
    RawStore(path).sql("select 1")      # what a process makes once is not what a test leaks
    return path


@pytest.fixture(scope="module")
def store(path: Path) -> Iterator[RawStore]:
    with pytest.MonkeyPatch.context() as patch, RawStore(path) as opened:
        patch.setattr(tables, "_ROWS", 100)     # so few rows are given in several parts
        yield opened


# --- what is pushed down never changes an answer -----------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def plain(store: RawStore) -> Iterator[Any]:
    """All of the store in DuckDB, without anything that could leave out something."""
    every = list(store.scan())
    whole = {domain: store.table(domain).to_arrow() for domain in schema.DOMAINS} | {"events": store.table().to_arrow()}
    told = [{"boot_id": str(b.boot_id), "run_id": b.run_id, "epoch": b.epoch} | b.loss for b in every]
    whole["ledger"] = pa.Table.from_pylist(told)
    whole["estimates"] = pa.Table.from_pylist([{"domain": d} | row for d in EVENTS for row in tapio.estimate(store, d, by="subtype")])
    with duckdb.connect(":memory:") as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for name, table in whole.items():
            connection.register(name, table)
        yield connection


# {t} <= {u}: instants; {b}: one that rows of every domain have; {n}, {pid}, {uid}: numbers; {like}: a pattern of paths; {comm}: a name.
QUERIES = """
select pid, comm from network where time >= '{t}' and time < '{u}'
select * from file where path like '{like}' and time > '{t}'
select type, subtype, count(*), sum(weight) from events where time < '{t}' or pid = {pid} group by all
select seq from process where not (time < '{t}' or uid = {uid})
select seq, comm from network where time in ('{b}', '{t}') or time = '{u}'
select seq from events where time != '{b}' and uid not in ({uid}, 3) and comm is not distinct from '{comm}'
select seq from network where (time > '{t}' and time < '{u}') or (time <= '{b}' and pid > {pid}) or dest_port = {n}
select seq from file where (time, seq) > ('{t}'::timestamptz_ns, {n}::ubigint) and time + interval 7 seconds < '{u}'
select count(*), max(epoch_ns(time)) from syscall where epoch_ns(time) >= epoch_ns('{t}'::timestamptz_ns) and args[2] = {uid}
select seq from memory where time::timestamptz >= '{t}' and time::date <= date '2024-11-22' and time < timestamp '2024-12-24 18:00:00'
select p.exe, n.dest_ip, n.seq from process p join network n using (boot_id, pid, start_ns) where n.time > '{t}' and p.time < '{u}'
select p.seq, n.seq from process p join network n using (pid, start_ns) where p.time > '{u}' or n.time < '{t}' or n.uid = {uid}
select p.seq, n.seq, n.comm from process p left join network n on n.pid = p.pid and n.time < '{t}' and n.uid = 3 where p.time >= '{b}'
select p.cwd, f.path from process p full join file f on f.pid = p.pid and f.uid = p.uid and f.time > '{t}' and p.time < '{t}'
select a.seq, b.seq from network a join network b on a.cookie = b.cookie and a.dest_port = b.dest_port where a.time < '{t}' and b.time >= '{u}'
select a.seq, b.comm from file a, file b where a.time = b.time and a.seq < b.seq + {n} and b.time >= '{t}'
select a.seq, f.comm from network a join file f on a.time = f.time where a.time <= '{u}'
select p.seq, n.seq from process p asof join network n on p.pid = n.pid and p.time >= n.time where p.time > '{t}' and p.run_id = 0
select pid from network where time < '{t}' union all select uid from network where time > '{u}' union all select gid from file where time = '{b}'
select comm, pid, gid from events where time > '{t}' except select comm, pid, gid from network where time > '{u}'
with few as (from file where time > '{t}') select a.path, count(*) from few a join few b on a.inode = b.inode and b.time < '{u}' group by 1
with few as materialized (select * from network where time >= '{t}') select pid, (select max(uid) from few) from few where comm != '{comm}'
with recursive r(n) as (select 1 union select pid::int from process join r on ppid = n where time > '{t}') select n from r
select pid, seq, row_number() over (partition by pid order by time, seq), lag(bytes_sent) over w from network window w as (order by time, seq)
select pid, seq from network where time > '{t}' qualify row_number() over (partition by pid order by time desc, seq) <= 2
select epoch_ns(time), seq, comm from network order by time desc, seq limit {n}
select * from file where time < '{u}' order by size desc, seq limit {n} offset 2
select distinct on (pid) pid, seq, exe from process where time > '{t}' order by pid, time, seq
select p.seq from process p where exists (select 1 from network n where n.pid = p.pid and n.time > p.time and n.time < '{u}' and n.uid = p.uid)
select p.seq from process p where not exists (from network n where n.pid = p.pid and n.time between '{t}' and '{u}' and n.comm = p.comm)
select seq from network where pid in (select pid from file where time < '{t}' and path like '{like}') and time > '{t}'
select seq from network where (pid, uid) not in (select pid, uid from process where time > '{b}' and len(args) = 3)
select seq from events where time = (select max(time) from network where time < '{u}') or time > all (select time from file where uid = {uid})
select (select count(*) from file), (select count(*) from file where time = '{b}'), (select min(comm) from file where time > '{t}')
select p.seq, (select count(*) from network n where n.pid = p.pid and n.time >= p.time) from process p where p.time < '{t}'
select p.seq, l.path from process p, lateral (select path from file f where f.pid = p.pid and f.time > '{t}' order by f.seq limit 1) l
select count(*) filter (where time > '{t}'), sum(size) filter (where path like '{like}'), count(new_path) from file where time < '{u}'
select sum(case when time < '{t}' then bytes_sent else 0 end), max(time) = '{u}', count(distinct dest_ip) from network
select uid, comm, count(*) from network where time > '{t}' group by rollup (uid, comm) having count(*) > 1
select date_trunc('minute', time::timestamptz), count(*) from events where time >= '{t}' group by 1
select seq, unnest(args) from process where time < '{t}' and list_contains(args, '-c')
from (from network where time > '{t}') select pid, source_ip where time < '{u}'
select n from network n where n.time < '{t}' and n.seq % 7 = {uid}
select columns('.*_(ip|port)') from network where comm like '%s%' and time <= '{b}'
select l.epoch, k_ring_full, count(n.seq) from ledger l left join network n using (run_id, epoch) where n.uid = 3 or k_ring_full > 9 group by all
select domain, e.subtype, n, count(v.seq) from estimates e left join events v on v.type = domain and v.time < '{t}' group by all
select count(*) from security s semi join events e on e.comm = s.comm and e.time < '{t}' where s.time > '{b}'
select count(*), min(path), max(object_id) from meta where time > '{t}'
select seq, subtype from network where subtype in ('connect', 'close', '199') and pid = {pid}
select seq from network where subtype = '200' and time > '{t}'
select seq, subtype from file where subtype in ('199', 'rename') or subtype = '200' and pid in ({pid}, {n}, 6)
select seq from events where subtype = 'exec' and type = 'process' or subtype like 'c%' and cgroup_id in ({n}, {pid})
select seq, subtype from cpu where subtype in ('199', '201', '200') and uid < 4
select seq from network where (dest_port = {n} or source_port = {n}) and time < '{u}'
select seq from network where dest_port in (0, {n}) and source_port in (0, {pid}) and subtype != 'connect'
select a.seq, b.seq from network a join network b on a.seq < b.seq where a.pid = {pid} and b.dest_port = {n} and b.cgroup_id = {n}
select seq from process where pid in ({n}, {pid}, 3, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31, 33, 35, 37, 39) and pid != 3
select seq from cpu where pid = {pid} union all select seq from cpu where subtype = 'usage' union all select seq from cpu where cgroup_id = {n}
select seq from cpu where time > '{t}' and time < '{u}' and 1 = 0 union all select seq from cpu where epoch >= {n}
""".strip().splitlines()


def filled(query: str, rng: np.random.Generator) -> str:
    t, u = sorted(int(START + GAP * rng.integers(0, EPOCHS) + rng.choice([-1, 0, 1, 2, rng.integers(0, GAP)])) for _ in range(2))
    return query.format(t=instant(t), u=instant(u), b=instant(START + GAP * int(rng.integers(0, EPOCHS))), n=rng.integers(1, 9),
                        pid=rng.integers(1, 9), uid=rng.integers(0, 5), like=rng.choice(["/etc/%", "%d%", "/%i%"]), comm=rng.choice(["sh", "curl"]))


@pytest.mark.parametrize("number", range(len(QUERIES)))
def test_an_answer_is_that_of_reading_everything(store: RawStore, plain: Any, number: int) -> None:
    query = filled(QUERIES[number], np.random.default_rng(number))
    assert answer(store, query) == in_order(plain.execute(query).fetchall()), query


# --- what is read --------------------------------------------------------------------------------------------------------------------

class Scan(NamedTuple):
    table: str
    columns: frozenset[str] | None      # that are decoded; None = all
    since_ns: int
    until_ns: int


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch) -> list[Scan]:
    """What is read of the store from now on, as the engine is asked for it."""
    found: list[Scan] = []
    local = threading.local()       # DuckDB may open the streams of several tables at once
    between, stream = RawStore._between, tables._arrow.batch_stream

    def spy_between(self: RawStore, domain: str | None, asked: Asked) -> Any:
        local.now = (domain or "events", asked.since_ns, asked.until_ns)
        return between(self, domain, asked)

    def spy_stream(domain: int, lists: Any, *, columns: Any = None, wanted: Any = None) -> Any:
        if (now := local.__dict__.pop("now", None)) is not None:      # else it is one of the empty tables that a query is planned over
            found.append(Scan(now[0], wanted, *now[1:]))
        return stream(domain, lists, columns=columns, wanted=wanted)

    monkeypatch.setattr(RawStore, "_between", spy_between)
    monkeypatch.setattr(tables._arrow, "batch_stream", spy_stream)
    return found


T, U = START + GAP, START + 2 * GAP + 123_456_789
READS = [
    ("select pid from network", {"network": ({"pid"}, *ALL)}),
    ("select count(*) from network", {"network": (set(), *ALL)}),
    ("select pid as x, pid + 1 from Network n order by x limit 3", {"network": ({"pid"}, *ALL)}),
    ("select count(*) from process where exe like '/etc/%'", {"process": ({"exe"}, *ALL)}),
    ("select seq from process where list_contains(args, 'ls') and array_to_string(args, ' ') like '%tmp'", {"process": ({"seq", "args"}, *ALL)}),
    ("select sum(size) filter (where path like '%d') from file group by uid", {"file": ({"size", "path", "uid"}, *ALL)}),
    ("select pid from events where severity > 2", {"events": ({"pid", "severity"}, *ALL)}),
    (f"select pid from network where time >= '{instant(T)}' and time < '{instant(U)}'", {"network": ({"pid", "time"}, T, U)}),
    (f"select pid from network where time > '{instant(T)}' and time <= '{instant(U)}'", {"network": ({"pid", "time"}, T + 1, U + 1)}),
    (f"select count(*) from events where time between '{instant(T)}' and '{instant(U)}' and '{instant(T + 5)}' <= time",
     {"events": ({"time"}, T + 5, U + 1)}),
    (f"select 1 from file where time = '{instant(U)}'", {"file": ({"time"}, U, U + 1)}),
    (f"select 1 from file where not time < '{instant(U)}'", {"file": ({"time"}, U, MAX_NS)}),
    (f"select 1 from file where time > '{instant(T)}' or uid = 3", {"file": ({"time", "uid"}, *ALL)}),
    (f"select 1 from file where comm = '(time > ''{instant(T)}''::TIMESTAMPTZ_NS)'", {"file": ({"comm", "time"}, *ALL)}),
    (f"select a.pid from network a join network b on a.cookie = b.seq where a.time between '{instant(T)}' and '{instant(T + 9)}'"
     f" and b.time >= '{instant(U)}' and b.time < '{instant(U + 9)}'", {"network": ({"pid", "cookie", "seq", "time"}, T, U + 9)}),
    (f"select n.name from network n join process p using (pid) where p.time < '{instant(T)}'",
     {"network": ({"name", "pid"}, *ALL), "process": ({"pid", "time"}, MIN_NS, T)}),
    (f"select 1 from network n join process p on n.time = p.time where p.time >= '{instant(T)}'",
     {"network": ({"time"}, T, MAX_NS), "process": ({"time"}, T, MAX_NS)}),
    (f"with few as (from file where time >= '{instant(T)}') select path from few where exists (select 1 from cpu where cpu.tid = few.tid)",
     {"file": ({"path", "tid", "time"}, T, MAX_NS), "cpu": ({"tid"}, *ALL)}),
    ("select 1", {}), ("select sum(k_ring_full) from ledger", {}), ("select n from estimates", {}), ("select pid from network where false", {}),
]


@pytest.mark.parametrize(("query", "reads"), READS, ids=[query[:70] for query, _ in READS])
def test_only_what_is_asked_for_is_read(store: RawStore, scans: list[Scan], query: str, reads: dict[str, Any]) -> None:
    relation = store.sql(query)
    assert scans == [], "the store is read when rows are asked for"
    relation.fetchall()
    assert set(scans) == {Scan(table, frozenset(columns), since, until) for table, (columns, since, until) in reads.items()}


@pytest.mark.parametrize(("condition", "epochs"), [
    (f"time >= '{instant(START + GAP)}' and time < '{instant(START + 3 * GAP)}'", {1, 2}), (f"time = '{instant(START + 4 * GAP + 1)}'", {4}),
    ("pid = 1", {0}), ("pid in (7, 9) and uid = 2", {3, 4, 5}), ("cgroup_id = 9", {5}), ("dest_port = 9", {5}),
])
def test_blocks_of_other_times_and_processes_are_not_read(store: RawStore, monkeypatch: pytest.MonkeyPatch, condition: str, epochs: set[int]) -> None:
    asked: list[Any] = []
    between = RawStore._between
    monkeypatch.setattr(RawStore, "_between", lambda self, *args: asked.append(args) or between(self, *args))
    store.sql(f"select seq from network where {condition}").fetchall()
    infos = [getattr(batch, "_core", batch).info for batch in between(store, *asked[0])]        # epoch, ..., run_id
    assert len(asked) == 1 and {info[0] for info in infos if info[4] == 0} == epochs


def test_parameters_narrow_what_is_read(store: RawStore, scans: list[Scan]) -> None:
    query = "select pid from network where time >= $first::timestamptz_ns and time < $last::timestamptz_ns and uid = $uid"
    store.sql(query, {"first": instant(T), "last": instant(U), "uid": 2}).fetchall()
    assert set(scans) == {Scan("network", frozenset({"pid", "time", "uid"}), T, U)}


def test_every_column_of_every_table_is_read_alone() -> None:
    """By DuckDB's own plans: it quotes names that are words of SQL, like security."""
    names = StoreTables(lambda *_: (), lambda: (), None)
    with duckdb.connect(":memory:") as connection:
        connection.execute(f"set disabled_optimizers = '{_NO_STATISTICS}'")
        for table, empty in names.shapes().items():
            connection.register("shape", empty)
            connection.execute(f'create table "{table}" as from shape limit 0')
            connection.unregister("shape")
        for table, columns in names.columns.items():
            for column in columns:
                for query in (f'select "{column}" from {table}', f'select 1 from {table} where "{column}" is not null'):
                    plan = json.loads(connection.execute(f"explain (format json) {query}").fetchall()[0][1])
                    found = read_plan(plan, names.columns)
                    assert set(found) == {table} and found[table].columns == {column}, query


# --- plans ---------------------------------------------------------------------------------------------------------------------------

COLUMNS = {"network": ("time", "pid", "uid"), "process": ("time", "pid")}
LATER = "(time >= '2024-11-22 00:00:01+00'::TIMESTAMPTZ_NS)"


def scan_of(table: str = "memory.main.network", children: Any = (), **info: Any) -> dict[str, Any]:
    return {"name": "SEQ_SCAN", "children": list(children), "extra_info": {"Table": table} | info}


def asked_of(plan: list[Any]) -> dict[str, Any]:
    return {name: (a.columns and set(a.columns), a.since_ns, a.until_ns) for name, a in read_plan(plan, COLUMNS).items()}


def test_a_plan_tells_columns_and_times() -> None:
    assert asked_of([scan_of(Projections="pid")]) == {"network": ({"pid"}, *ALL)}
    assert asked_of([scan_of(Projections="")]) == {"network": (frozenset(), *ALL)}
    assert asked_of([scan_of(Projections=["pid", "uid"], Filters=[LATER, "(uid = 3)"])]) == {
        "network": ({"pid", "uid", "time"}, START + SECOND, MAX_NS)}
    both = f"({LATER} AND (time <= '2024-11-22 00:00:02.000000003+00'::TIMESTAMPTZ_NS))"
    assert asked_of([scan_of(Projections="", Filters=both)]) == {"network": ({"time"}, START + SECOND, START + 2 * SECOND + 4)}
    inner = scan_of("memory.main.process", Projections="pid", Filters=LATER.replace(">=", "<"))
    assert asked_of([{"name": "JOIN", "children": [scan_of(Projections="uid"), {"children": [inner]}]}]) == {
        "network": ({"uid"}, *ALL), "process": ({"pid", "time"}, MIN_NS, START + SECOND)}


@pytest.mark.parametrize("info", [
    {}, {"Filters": "(uid = 3)"}, {"Projections": "rowid_of_another_version"}, {"Projections": ["pid", "#1"]}, {"Projections": "pid, uid"},
    {"Projections": ["PID"]}, {"Projections": {"a": "pid"}}, {"Projections": ["pid", ["uid"]]}, {"Projections": 3},
], ids=str)
def test_columns_that_are_not_understood_are_all_of_them(info: dict[str, Any]) -> None:
    assert asked_of([scan_of(**info)]) == {"network": (None, *ALL)}
    assert asked_of([scan_of(Projections="pid", Filters=LATER), scan_of(**info)]) == {"network": (None, *ALL)}


@pytest.mark.parametrize("text", [
    f"optional: {LATER}", f"({LATER} OR {LATER})", f"({LATER} AND (uid = 3))", f"(NOT {LATER})", f"COALESCE({LATER}, true)",
    LATER.replace(">=", "!="), LATER.replace(">=", "IS DISTINCT FROM"), LATER.replace("time", "start_time"), LATER.replace("_NS", ""),
    LATER.replace("+00'", "'"), LATER.replace("+00'", "+02'"), LATER.replace("+00'", ".0000000001+00'"), LATER.replace("2024", "12024"),
    LATER.replace("2024-11-22 00:00:01+00", "infinity"), LATER.replace("2024-11-22 00:00:01+00", "2024-11-22 (BC) 00:00:01+00"),
    f"(comm = '{LATER}')",
    "(CAST(time AS TIMESTAMP WITH TIME ZONE) >= '2024-11-22 00:00:01+00'::TIMESTAMP WITH TIME ZONE)",
])
def test_times_that_are_not_understood_narrow_nothing(text: str) -> None:
    assert asked_of([scan_of(Projections="pid", Filters=text)])["network"][1:] == ALL
    assert asked_of([scan_of(Projections="pid", Filters=["(uid = 3)", text])])["network"][1:] == ALL


def test_other_shapes_of_a_plan_leave_a_table_whole() -> None:
    """A table that read_plan() does not tell of is made whole by StoreTables.make()."""
    for plan in ([], [{}], [{"name": "SEQ_SCAN", "extra_info": {}}], [{"extra_info": {"Table": "elsewhere"}}], [{"children": []}]):
        assert asked_of(plan) == {}
    made = StoreTables(lambda *_: (), lambda: (), None).make({"network": Asked(frozenset({"pid"}), 3, 4)})
    assert made["network"]._filled == {"pid"} and made["process"]._filled is None


def test_two_scans_of_a_table_ask_for_what_either_needs() -> None:
    one, other = Asked(frozenset({"pid"}), 5, 10), Asked(frozenset({"uid"}), 3, 7)
    for both in (one | other, other | one):
        assert (both.columns, both.since_ns, both.until_ns) == ({"pid", "uid"}, 3, 10)
    whole = one | Asked()
    assert (whole.columns, whole.since_ns, whole.until_ns) == (None, *ALL)


# --- when it is read -------------------------------------------------------------------------------------------------------------------

FRAMES_AT = 32768       # bytes of a segment before its first block (docs/store-format.md)
NETWORK = "select seq, comm from network where uid = 3"


def expected(store: RawStore) -> list[tuple[Any, ...]]:
    return in_order((row["seq"], row["comm"]) for row in records(store.scan(), "network") if row["uid"] == 3)


@pytest.mark.usefixtures("no_leaks")
def test_a_relation_outlives_the_store_it_came_from(path: Path) -> None:
    store = RawStore(path)
    told = expected(store)
    relation, few = store.sql(NETWORK), store.sql("from events").limit(1)
    del store
    gc.collect()
    assert told and in_order(relation.fetchall()) == told
    assert in_order(relation.fetchall()) == told, "each time anew"
    assert len(few.fetchall()) == 1     # and the rest of the stream is never asked for


def test_a_relation_is_answered_on_any_thread(store: RawStore) -> None:
    relations = [store.sql(NETWORK) for _ in range(4)]
    found: list[Any] = []
    threads = [threading.Thread(target=lambda r=r: found.append(in_order(r.fetchall()))) for r in relations]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [expected(store)] * 4


def test_a_forked_child_asks_anew(path: Path) -> None:
    """DuckDB's threads are not there, and what belongs to the parent must not be taken down."""
    text = (f"import os, signal\nfrom tapio_fast import RawStore\ndef ask():\n    return RawStore({str(path)!r}).sql('from cpu').fetchall()\n"
            "told, child = ask(), os.fork()\nif not child:\n    signal.alarm(20)\n    os._exit(ask() != told)\nprint(os.waitpid(child, 0)[1])")
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "0\n"


def test_what_is_appended_is_seen_by_the_next_question_and_by_older_relations(path: Path, tmp_path: Path) -> None:
    shutil.copytree(path, tmp_path / "s")
    rng = np.random.default_rng(9)
    with RawStore(tmp_path / "s", "a") as store:
        relation, before = store.sql(NETWORK), expected(store)
        assert in_order(relation.fetchall()) == before
        store.append(made_batch(EPOCHS, rng))
        after = expected(store)
        assert len(after) > len(before)
        assert answer(store, NETWORK) == after and in_order(relation.fetchall()) == after
        assert answer(store, "select count(*) from ledger") == [(sum(1 for _ in store.scan()),)]


def test_now_is_when_rows_are_asked_for(tmp_path: Path) -> None:
    with RawStore(tmp_path / "s", "a") as store:
        relation = store.sql("select count(*) from cpu where time > now() - interval 1 hour and time <= now()")
        assert relation.fetchall() == [(0,)]
        row = np.zeros(1, schema.DTYPES["cpu"])
        row["ts_ns"], row["type"] = time.time_ns(), schema.DOMAINS["cpu"]
        store.append(RecordBatch(_engine.build({schema.DOMAINS["cpu"]: (row.tobytes(), b"")})))
        assert relation.fetchall() == [(1,)]


def test_an_empty_store_has_every_table_without_rows(tmp_path: Path) -> None:
    with RawStore(tmp_path / "s", "a") as store:
        assert not list((tmp_path / "s").glob("segment-*"))
        names = [*schema.DOMAINS, "events", "ledger", "estimates"]
        assert answer(store, " union all ".join(f"select count(*) from {name}" for name in names)) == [(0,)] * len(names)
        assert answer(store, "select e, l, n from events e, ledger l, estimates n") == []


def test_a_damaged_store_answers_from_the_rest(path: Path, tmp_path: Path) -> None:
    shutil.copytree(path, tmp_path / "s")
    segment = sorted((tmp_path / "s").glob("segment-*"))[1]
    raw = bytearray(segment.read_bytes())
    raw[(FRAMES_AT + len(raw)) // 2] ^= 0xFF
    segment.write_bytes(raw)
    store = RawStore(tmp_path / "s")
    rest = expected(store)
    assert not store.verify().ok and 0 < len(rest) < len(expected(RawStore(path)))
    assert answer(store, NETWORK) == rest
    assert answer(store, "select run_id, epoch from ledger") == in_order((b.run_id, b.epoch) for b in store.scan())


def test_closing_the_store_ends_its_relations(path: Path) -> None:
    store = RawStore(path)
    relation = store.sql(NETWORK)
    store.close()
    with pytest.raises(duckdb.Error, match="ClosedError: store .* is closed"):
        relation.fetchall()
    with pytest.raises(ClosedError):
        store.sql(NETWORK)
    with pytest.raises(ClosedError):
        store.to_polars("network")
