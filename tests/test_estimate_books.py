# SPDX-License-Identifier: Apache-2.0
"""What estimate() takes from meta rows: how fates were drawn (RATE), what nobody saw (EPOCH, THROTTLE), and when it must not be trusted."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import batch_support as made
import live_support as live
import numpy as np
import pytest

import tapio_fast as tapio

N = 400


def one_process(**fields: Any) -> np.ndarray:
    """Rows of weight 2, in four processes: 2 * 400 by record is 28.3, by process 2 * 4 * 100^2 is 282.8 of standard error."""
    return made.rows_of("cpu", N, ts_ns=np.arange(N) * 10, pid=1 + np.arange(N) % 4, weight=2, **fields)


BY_RECORD, BY_PROCESS = pytest.approx((2 * N) ** 0.5), pytest.approx((2 * 4 * 100**2) ** 0.5)


def row_of(table: Any) -> dict[str, Any]:
    rows = list(table)
    assert len(rows) == 1
    return rows[0]


def test_rate_rows_say_how_fates_were_drawn() -> None:
    for cause, error, reliable in ((0, BY_RECORD, True), (1, BY_PROCESS, False)):
        row = row_of(tapio.estimate(made.batch_of(one_process(), made.rates(("cpu.usage", 0.5, cause))), "cpu"))
        assert row["std_error"] == error and row["reliable"] is reliable
    for keyed, error in ((False, BY_RECORD), ("process", BY_PROCESS)):
        assert row_of(tapio.estimate(made.batch_of(one_process()), "cpu", keyed=keyed))["std_error"] == error


def test_what_no_rate_row_tells_is_not_reliable() -> None:
    batch = made.batch_of(one_process())
    row = row_of(tapio.estimate(batch, "cpu"))
    assert row["std_error"] == BY_RECORD and row["reliable"] is False
    assert row_of(tapio.estimate(batch, "cpu", keyed=False))["reliable"] is True
    other = made.batch_of(one_process(), made.rates(("cpu.load", 0.5, 0), ("network.connect", 0.5, 0)))
    assert row_of(tapio.estimate(other, "cpu"))["reliable"] is False, "rates of other kinds say nothing"


def test_a_rate_holds_in_later_batches_until_the_next() -> None:
    first, second = np.split(one_process(), 2)
    silent = made.batch_of(second)
    by_process = made.batch_of(first, made.rates(("cpu.usage", 0.5, 1)))
    assert row_of(tapio.estimate([by_process, silent], "cpu"))["std_error"] == BY_PROCESS
    row = row_of(tapio.estimate([by_process, made.batch_of(second, made.rates(("cpu.usage", 0.5, 0), ts_ns=2000))], "cpu"))
    # 4 processes of 50 and 200 records
    assert row["std_error"] == pytest.approx((2 * 4 * 50**2 + 2 * 200) ** 0.5)


def test_a_rate_that_changes_within_a_batch_holds_from_its_time_on() -> None:
    told = np.concatenate([made.rates(("cpu.usage", 0.5, 1), ts_ns=500), made.rates(("cpu.usage", 0.5, 0), ts_ns=2000)])
    row = row_of(tapio.estimate(made.batch_of(one_process(), told), "cpu"))
    # by process before 2000 ns (rows 0 to 199), also before the first row about it, then by record
    assert row["std_error"] == pytest.approx((2 * 4 * 50**2 + 2 * 200) ** 0.5)


def test_another_collection_draws_anew_and_its_rates_are_its_own() -> None:
    told = made.rates(("cpu.usage", 0.5, 1))
    one = made.batch_of(one_process(), told)
    made._template.cache_clear()        # the next rows come from other rings: another run_id
    other = made.batch_of(one_process(), told)
    silent = made.batch_of(one_process())
    assert one.run_id != other.run_id
    # the same processes by name, but drawn twice: the variance is twice that of one, not four times
    assert row_of(tapio.estimate([one, other], "cpu"))["std_error"] == pytest.approx((2 * 2 * 4 * 100**2) ** 0.5)
    many = [made.batch_of(made.rows_of("cpu", N, weight=2), made.rates(("cpu.usage", 0.5, 0)))]
    assert row_of(tapio.estimate(many, "cpu"))["reliable"] is True
    assert row_of(tapio.estimate([one, silent], "cpu"))["reliable"] is False, "silent is of a run without RATE rows"


def test_what_belongs_to_no_key_is_drawn_by_itself() -> None:
    nobody = made.rows_of("cpu", N, weight=2)
    assert row_of(tapio.estimate(made.batch_of(nobody, made.rates(("cpu.usage", 0.5, 1))), "cpu"))["std_error"] == BY_RECORD
    told = made.rates(("network.connect", 0.5, 2))
    for fields in ({"protocol": 17, "cookie": 5}, {"protocol": 6, "cookie": 0}):
        row = row_of(tapio.estimate(made.batch_of(made.rows_of("network", N, weight=2, pid=9, **fields), told), "network"))
        assert row["std_error"] == BY_RECORD and row["reliable"] is True
    tcp = made.rows_of("network", N, weight=2, protocol=6, cookie=5)
    assert row_of(tapio.estimate(made.batch_of(tcp, told), "network"))["std_error"] == pytest.approx((2 * N**2) ** 0.5)


def test_one_key_of_more_than_a_hundredth_is_not_reliable() -> None:
    told = made.rates(("cpu.usage", 0.5, 1))
    even = made.rows_of("cpu", 1000, pid=1 + np.arange(1000) % 200, weight=2)
    assert row_of(tapio.estimate(made.batch_of(even, told), "cpu"))["reliable"] is True
    uneven = even.copy()
    uneven["pid"][:5] = 1       # pids 2 to 5 lose one each: pid 1 has 9 of 1000
    assert row_of(tapio.estimate(made.batch_of(uneven, told), "cpu"))["reliable"] is True
    uneven["pid"][:7] = 1       # 11 of 1000
    assert row_of(tapio.estimate(made.batch_of(uneven, told), "cpu"))["reliable"] is False
    values = made.rows_of("cpu", 1000, rss=1, weight=2)
    values["rss"][0] = 20
    by_record = made.batch_of(values, made.rates(("cpu.usage", 0.5, 0)))
    assert row_of(tapio.estimate(by_record, "cpu", value="rss"))["reliable"] is False, "a record can be too much of a sum, too"
    assert row_of(tapio.estimate(by_record, "cpu"))["reliable"] is True


def test_a_hundred_kept_are_enough_and_what_was_kept_whole_does_not_count() -> None:
    told = made.rates(("cpu.usage", 0.3, 0))
    for n, reliable in ((100, True), (99, False)):
        rows = made.rows_of("cpu", n + 5000, weight=1)
        rows["weight"][:n] = 10 / 3
        assert row_of(tapio.estimate(made.batch_of(rows, told), "cpu"))["reliable"] is reliable


@pytest.mark.parametrize("weight", [0.0, -3.0, 0.5, np.nan, np.inf])
def test_a_weight_that_is_none_counts_once_and_is_not_reliable(weight: float) -> None:
    rows = made.rows_of("cpu", N)
    rows["weight"][7] = weight
    row = row_of(tapio.estimate(made.batch_of(rows), "cpu"))
    assert (row["estimate"], row["std_error"], row["reliable"]) == (N, 0, False)


# --- unobserved -----------------------------------------------------------------------------------------------------------------------

def with_losses(*rows: tuple[str, bytes, dict[str, int]]) -> tapio.RecordBatch:
    """A batch with one cpu.usage row of cgroup 5, and these meta rows: (kind, tail, more)."""
    def fill(source: tapio.MemorySource) -> None:
        one = made.rows_of("cpu", 1, cgroup_id=5)[0]
        source.fill("cpu.usage", one)
        for kind, tail, more in rows:
            source.fill(kind, made.loss_row(tail, **more), tail=tail)
    return live.from_memory(fill, cpus=1)


def test_a_full_ring_is_unobserved_as_often_as_the_source_counted_it() -> None:
    source = tapio.MemorySource(cpus=2, bulk_bytes=1 << 16)
    config = tapio.Config.default().replace(performance={"batch_pool_mb": 1})
    with tapio.Collector(config, source=source) as collector:
        collector.fileno()
        source.fill("cpu.usage", n=60_000, cpu=1)
        source.fill("network.connect", n=10)
        found = live.read_until(collector, lambda _: collector.stats().ledger["in_ring"] == 0) + live.drain(collector)
        lost = collector.stats().by_kind["cpu.usage"]["k_ring_full"]
    assert lost > 0
    table = tapio.estimate(found, "cpu")
    assert row_of(table)["unobserved"] == lost and table.unobserved == {"cpu.usage": lost} and table.missing_epochs == 0
    assert row_of(table)["estimate"] + lost == 60_000
    assert row_of(tapio.estimate(found, "network"))["unobserved"] == 0
    assert row_of(tapio.estimate(tapio.RecordBatch.concat(found), "cpu"))["unobserved"] == lost


def test_every_cause_of_the_domain_counts_and_no_other() -> None:
    causes = ["k_throttled", "k_ring_full", "k_fault", "k_too_big", "k_map_full", "k_busy", "u_bad"]
    others = ["k_filtered", "k_sampled", "k_aggregated"]
    tail = made.loss_tail(*(("cpu.usage", cause, 10**i) for i, cause in enumerate(causes)), *(("cpu.usage", cause, 5) for cause in others),
                          ("network.connect", "k_ring_full", 3))
    batch = with_losses(("meta.epoch", tail, {}))
    assert row_of(tapio.estimate(batch, "cpu"))["unobserved"] == 1111111
    assert row_of(tapio.estimate([batch, batch], "cpu"))["unobserved"] == 2222222
    assert row_of(tapio.estimate(batch, "network"))["unobserved"] == 3


def test_losses_go_to_their_kind_where_kinds_are_asked() -> None:
    tail = made.loss_tail(("cpu.usage", "k_ring_full", 7), ("cpu.load", "k_busy", 9))
    batch = with_losses(("meta.epoch", b"\xee" * 32 + tail, {"n_seqs": 2}))
    assert {r["subtype"]: (r["n"], r["unobserved"]) for r in tapio.estimate(batch, "cpu", by=["subtype"])} == {"usage": (1, 7), "load": (0, 9)}
    assert [(r["subtype"], r["unobserved"]) for r in tapio.estimate(batch, "cpu", by=["subtype", "pid"])] == [("usage", 7)]
    assert [r["unobserved"] for r in tapio.estimate(batch, "cpu", by=["pid"])] == [16], "any of them may be this process's"
    assert tapio.estimate(batch, "cpu", by=["pid"]).unobserved == {"cpu.usage": 7, "cpu.load": 9}


def test_throttled_records_go_to_their_cgroup() -> None:
    batch = with_losses(
        ("meta.epoch", made.loss_tail(("cpu.usage", "k_throttled", 100), ("cpu.load", "k_throttled", 10), ("cpu.load", "k_busy", 1)), {}),
        ("meta.throttle", made.loss_tail(("cpu.usage", "k_throttled", 60), ("cpu.load", "k_throttled", 10)), {"object_id": 5}),
        ("meta.throttle", made.loss_tail(("cpu.usage", "k_throttled", 30), ("network.connect", "k_throttled", 9)), {"object_id": 6}),
        ("meta.throttle", made.loss_tail(("cpu.usage", "k_throttled", 2)), {"object_id": 0}))
    # cgroup 5 has 70 of its own, and may have the 10 that are nobody's and the one that was busy
    assert [r["unobserved"] for r in tapio.estimate(batch, "cpu", by=["cgroup_id"])] == [70 + 10 + 1]
    assert [r["unobserved"] for r in tapio.estimate(batch, "cpu", by=["cgroup_id", "subtype"])] == [60 + 10]
    assert row_of(tapio.estimate(batch, "cpu"))["unobserved"] == 111, "told twice, lost once"


@pytest.mark.parametrize("lie", [{"n_seqs": 1 << 31}, {"n_losses": 1 << 31}, {"n_seqs": 3}, {"n_losses": 0}])
def test_tails_that_lie_are_read_as_far_as_they_go(lie: dict[str, int]) -> None:
    tail = made.loss_tail(("cpu.usage", "k_ring_full", 7), ("cpu.usage", "k_ring_full", 8))
    row = made.loss_row(tail)
    for name, value in lie.items():
        row[name] = value
    batch = live.from_memory(lambda s: (s.fill("cpu.usage"), s.fill("meta.epoch", row, tail=tail)), cpus=1)
    expected = 15 if lie == {"n_losses": 1 << 31} else 0
    assert row_of(tapio.estimate(batch, "cpu"))["unobserved"] == expected


def without_meta(tmp_path: Path) -> tuple[list[tapio.RecordBatch], int]:
    """What a scan without meta gives of a collection that lost cpu and network records: (batches, their losses)."""
    source = tapio.MemorySource(cpus=1, bulk_bytes=4096)
    with tapio.Collector(source=source) as collector:
        collector.fileno()
        for _ in range(100):
            source.fill("cpu.usage", n=1000)
            source.fill("network.connect", n=1000)
        found = live.drain(collector)
        own = collector.stats().by_kind["cpu.usage"]["k_ring_full"]
    with tapio.RawStore(tmp_path / "store", "a") as store:
        for batch in found:
            store.append(batch)
        bare = list(store.scan(domains=["cpu"]))
    assert row_of(tapio.estimate(found, "cpu"))["unobserved"] == own > 0
    assert bare and all("meta" not in batch for batch in bare)
    return bare, sum(batch.loss["k_ring_full"] for batch in bare)


def test_without_epoch_rows_the_losses_of_all_domains_are_the_bound(tmp_path: Path) -> None:
    bare, lost = without_meta(tmp_path)
    assert row_of(tapio.estimate(bare, "cpu"))["unobserved"] == lost > 0


def test_batches_with_and_without_epoch_rows_in_turn(tmp_path: Path) -> None:
    """Small batches are read together; what only a header tells is not lost by that, nor counted twice."""
    tail = made.loss_tail(("cpu.usage", "k_ring_full", 7))
    told = with_losses(("meta.epoch", tail, {}))
    bare, lost = without_meta(tmp_path)
    for order in ([told, *bare, told], [*bare, told, told], [told, told, *bare]):
        assert row_of(tapio.estimate(order, "cpu"))["unobserved"] == lost + 14


def test_epochs_left_out_are_counted() -> None:
    source = tapio.MemorySource()
    found: list[tapio.RecordBatch] = []
    with tapio.Collector(source=source) as collector:
        collector.fileno()
        for n in range(1, 6):
            source.fill("cpu.usage")
            found += live.read_until(collector, lambda got: any(len(b["cpu"]) for b in got))
            assert sum(len(b["cpu"]) for b in found) == n
    assert tapio.estimate(found, "cpu").missing_epochs == 0
    with_rows = [b for b in found if len(b["cpu"])]
    dropped = with_rows[2]
    rest = [b for b in found if b is not dropped]
    assert tapio.estimate(rest, "cpu").missing_epochs == 1
    assert row_of(tapio.estimate(rest, "cpu"))["estimate"] == 4
