# SPDX-License-Identifier: Apache-2.0
"""The benchmarks: rivals do the work they claim, rows say what was measured, --check fails where a limit is missed."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import support
from tapio_fast import schema
from tapio_fast._core import _bench, _bench_codec
from tapio_fast._core._engine import Pool
from tapio_fast.batch import RecordBatch
from tapio_fast.bench import _main, _measure, _rows, drain, endtoend, hooks, live, main
from tapio_fast.bench._measure import Effort, Samples, WrongResultError, expect, ratio, take_turns
from tapio_fast.bench._rows import Row, not_measured
from tapio_fast.collector import Collector
from tapio_fast.sources import SyntheticSource

KEYS = {"name", "unit", "value", "n", "spread", "ratio_to", "record_bytes", "cpu", "kernel", "commit"}


@pytest.fixture(scope="module")
def ring() -> _bench.Ring:
    return _bench.Ring(Pool(8 << 20, 64 << 20), size=1 << 16, bytes_per_pass=1 << 14, rows_per_pass=100)


@pytest.fixture(scope="module")
def records(ring: _bench.Ring) -> list[bytes]:
    return [_bench.row(i) for i in range(ring.records)]


def test_ring_is_full_of_records_made_from_their_number(ring: _bench.Ring, records: list[bytes]) -> None:
    assert ring.records == 511 and ring.nbytes == 511 * 120
    rows = np.frombuffer(b"".join(records), schema.DTYPES["cpu"])
    assert (rows["seq"] == np.arange(1, 512)).all() and (np.diff(rows["ts_ns"].astype(np.int64)) > 0).all()
    assert len(set(rows["pid"].tolist())) > 10, "rows should not all be of one process"


def test_passes_give_every_record_once_and_in_order(ring: _bench.Ring, records: list[bytes]) -> None:
    for _ in range(2):
        got = drain.all_batches(ring)
        assert b"".join(b["cpu"].tobytes() for b in got) == b"".join(records)
        assert max(map(len, got)) <= 100
    assert ring.drain(3) == 3 * 511 and drain.read_numpy(ring) == 511


def test_copying_rivals_copy_every_byte(ring: _bench.Ring, records: list[bytes]) -> None:
    whole = bytearray(ring.nbytes)
    assert ring.walk_copy(whole) == 511 and bytes(whole) == b"".join(records)
    small = bytearray(120 * 10)             # goes round: what is left is the end
    assert ring.walk_copy(small) == 511 and bytes(small[:120]) == records[510]


@pytest.mark.parametrize("walk", ["walk_bytes", "walk_bytes_gil"])
def test_bytes_callbacks_hand_over_every_record(ring: _bench.Ring, records: list[bytes], walk: str) -> None:
    got: list[bytes] = []
    assert getattr(ring, walk)(got.append) == 511 and got == records


@pytest.mark.parametrize("walk", ["walk_bytes", "walk_bytes_gil"])
def test_an_exception_in_a_callback_ends_the_walk(ring: _bench.Ring, walk: str) -> None:
    calls = []

    def fail(record: bytes) -> None:
        calls.append(record)
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        getattr(ring, walk)(fail)
    assert len(calls) == 1


def test_ctypes_rival_reads_the_fields(ring: _bench.Ring, records: list[bytes]) -> None:
    seen: list[int] = []
    callback = drain.ctypes_callback(seen)
    assert ring.walk_address(drain._address(callback)) == 511
    rows = np.frombuffer(b"".join(records), schema.DTYPES["cpu"])
    assert seen == (rows["seq"] + rows["pid"]).tolist()


def test_mixed_ring_has_two_domains(tmp_path: object) -> None:
    mixed = _bench.Ring(Pool(8 << 20, 64 << 20), size=1 << 16, bytes_per_pass=1 << 20, mixed=True)
    got = drain.all_batches(mixed)
    assert sum(len(b["cpu"]) + len(b["network"]) for b in got) == mixed.records
    want = [_bench.row(i, True) for i in range(mixed.records)]
    assert b"".join(b["network"].tobytes() for b in got) == b"".join(r for r in want if len(r) == 184)


@pytest.mark.live
@pytest.mark.usefixtures("no_leaks")
def test_kernel_ring_holds_the_same_records_and_libbpf_copies_them(records: list[bytes]) -> None:
    kernel = _bench.Ring(Pool(8 << 20, 64 << 20), size=1 << 16, bytes_per_pass=1 << 20, kernel=True)
    whole = bytearray(kernel.nbytes)
    assert kernel.records == 511
    for _ in range(2):
        assert kernel.libbpf_copy(whole) == 511 and bytes(whole) == b"".join(records)
        assert b"".join(b["cpu"].tobytes() for b in drain.all_batches(kernel)) == b"".join(records)


def test_libbpf_needs_a_ring_of_the_kernels(ring: _bench.Ring) -> None:
    with pytest.raises(Exception, match="consume ring"):
        ring.libbpf_copy(bytearray(120))


def test_planes_are_what_zstd_alone_compresses(records: list[bytes]) -> None:
    zstandard = pytest.importorskip("zstandard")
    block = _bench_codec.planes(b"".join(records), 120)
    assert len(block) == 511 * 120 and block != b"".join(records)
    size = _bench_codec.Zstd(1, len(block)).compress([block])
    other = len(zstandard.ZstdCompressor(level=1).compress(block))
    assert 0.9 < size / other < 1.1, "not the work that a plain zstd at level 1 does"


def test_wrong_result_is_not_timed() -> None:
    with pytest.raises(WrongResultError, match="nothing was timed: 3 rows"):
        expect(False, "3 rows")


def test_variants_take_turns() -> None:
    order: list[str] = []

    def note(name: str) -> Callable[[], None]:
        return lambda: order.append(name)

    effort = Effort(quick=True)
    samples = take_turns({"a": note("a"), "b": note("b")}, 10, effort)
    assert len(samples["a"].cpu) == len(samples["b"].wall) == effort.repeats
    timed = "".join(order).lstrip("a").lstrip("b")          # what warms up comes first
    assert [x for i, x in enumerate(timed) if i == 0 or timed[i - 1] != x] == ["a", "b"] * effort.repeats


def test_ratio_is_the_median_within_turns() -> None:
    assert ratio(Samples([10, 40, 90], []), Samples([5, 10, 90], [])) == 2


@pytest.mark.parametrize(("limit", "figure", "ok"), [(">= 5.0", 5.0, True), (">= 5.0", 4.99, False), ("<= 1.5", 1.5, True),
                                                     ("<= 1.5", 1.51, False), (">= 1.0", None, None)])
def test_limits_are_judged_both_ways(limit: str, figure: float | None, ok: bool | None) -> None:
    assert Row("x", "ns", 1.0).judge(limit, figure).ok is ok


def test_table_is_aligned_and_says_why_not_measured() -> None:
    text = _rows.table([Row("one", "ns/record", 1.5, 3, 0.1), not_measured("two", "ns/record", "no rights", ">= 1.0")])
    lines = text.splitlines()
    assert len({line.index("ns/record") for line in lines[1:]}) == 1 and "not measured: no rights" in lines[2] and "MISSED" not in text


def test_check_fails_only_with_check_and_a_missed_limit(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    missed = Row("slow", "ns/record", 3.0, 3, 0.0, ratio_to="fast", ratio=0.5).judge(">= 1.0", 0.5)
    monkeypatch.setattr(_main, "run_case", lambda name, effort: [missed])
    assert main(["drain"]) == 0
    assert main(["drain", "--check"]) == 1
    assert "slow missed its limit >= 1.0: 0.5" in capsys.readouterr().err
    monkeypatch.setattr(_main, "run_case", lambda name, effort: [not_measured("x", "ns", "no rights", ">= 1.0")])
    assert main(["drain", "--check", "--json"]) == 0


def test_a_wrong_result_is_a_failure(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def wrong(name: str, effort: Effort) -> list[Row]:
        raise WrongResultError("rows are missing")

    monkeypatch.setattr(_main, "run_case", wrong)
    assert main(["drain"]) == 1 and "rows are missing" in capsys.readouterr().err


def test_unknown_case_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        main(["drian"])
    assert error.value.code == 2 and "there are drain, batch" in capsys.readouterr().err


def test_json_lines_of_the_in_memory_cases(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["drain", "columns", "--quick", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {"drain", "drain/libbpf's loop", "drain/mixed rows", "columns"} <= {row["name"] for row in rows}
    for row in rows:
        assert set(row) >= KEYS
        assert row["value"] is not None and row["value"] > 0 or row["note"].startswith("not measured: ")


def test_live_cases_say_why_they_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    from tapio_fast.bench import _live

    for module in (_live, endtoend, live):
        monkeypatch.setattr(module, "why_not", lambda: "CAP_BPF is missing")
    rows = live.live(Effort(True)) + endtoend.end_to_end(Effort(True))
    assert rows and all(row.value is None and row.note == "not measured: CAP_BPF is missing" for row in rows)


@pytest.mark.live
def test_live_cases_lose_nothing() -> None:
    """The cases refuse to report a run that lost a record."""
    done = support.run([sys.executable, "-m", "tapio_fast.bench", "live", "end-to-end", "--quick", "--json"], timeout=270)
    rows = {row["name"]: row for row in map(json.loads, (line for line in done.stdout.splitlines() if line.startswith("{")))}
    assert rows["live"]["value"] > 0 and rows["end-to-end/idle"]["value"] is not None
    assert rows["end-to-end/20,000 records/s, wake-ups"]["ok"] is True


@pytest.mark.live
def test_a_full_ring_is_waited_for_and_accounted_to_the_last_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that stands still for a while makes the generator wait; every refused reserve is a gap in seq, the last ones too."""
    read = live.Reader.read

    def slowly(self: live.Reader, batch: RecordBatch) -> None:
        time.sleep(0.02)
        read(self, batch)

    monkeypatch.setattr(live, "RING_MIB", 1)
    monkeypatch.setattr(live.Reader, "read", slowly)
    ledger = live.through_collector(0.5)[2]
    assert ledger["k_ring_full"] > 1


@pytest.mark.live
def test_the_generator_begins_after_the_consumer(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is routed before a consumer is there never reaches it, and the case would find records missing that were not lost."""
    order: list[str] = []
    attach, go = Collector._attach, SyntheticSource.go

    def note_consumer(self: Collector) -> None:
        if not self._attached:
            order.append("consumer")
        attach(self)

    def note_generator(self: SyntheticSource) -> None:
        order.append("generator")
        go(self)

    monkeypatch.setattr(Collector, "_attach", note_consumer)
    monkeypatch.setattr(SyntheticSource, "go", note_generator)
    endtoend._run(endtoend.LOW_RATE, 0.1, {})
    live.through_collector(0.1)
    assert order == ["consumer", "generator"] * 2


def test_a_run_that_lost_records_is_made_again_and_then_refused() -> None:
    lost = iter([5.0, 0.0])
    assert endtoend._lossless(lambda: {"lost": next(lost)}) == {"lost": 0.0}
    with pytest.raises(WrongResultError, match=r"each of 3 runs lost records: \[7, 7, 7\]"):
        endtoend._lossless(lambda: {"lost": 7.0})


def test_module_runs_by_itself_with_help() -> None:
    done = subprocess.run([sys.executable, "-m", "tapio_fast.bench", "--help"], capture_output=True, text=True, timeout=60, check=True)
    assert "--check" in done.stdout and all(name in done.stdout for name in _main.CASES)


def test_spread_of_equal_samples_is_zero() -> None:
    assert _measure.spread([2.0, 2.0, 2.0]) == 0.0 and _measure.spread([1.0, 2.0, 3.0]) == 0.5


def test_what_the_hooks_reject_is_as_many_levels_up_as_they_say(tmp_path: Path) -> None:
    """Wherever temporary files lie."""
    path, deep = hooks._files(tmp_path)
    assert deep.parents[hooks.COMPONENTS - 1] == tmp_path and deep.is_file() and path.is_file()
    assert [v.name for v in hooks.VARIANTS if v.deep] == ["open/empty deep", "open/path reject"]
