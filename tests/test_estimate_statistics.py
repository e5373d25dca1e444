# SPDX-License-Identifier: Apache-2.0
"""estimate() against populations that are known whole: over many runs its intervals hold the truth as often as they say, its mean is
the truth, its variance is the spread that there is, and where that cannot be so it says that it is not reliable.

The population and the draws are numpy's own (PCG64), not our sampler's. A run is a value of `gid`, so that one call estimates them all.
"""
from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import batch_support as made
import numpy as np
import pytest

import support
import tapio_fast as tapio

RUNS = support.tier_size(300, 1000)
LOW, HIGH = 0.93, 0.97      # of the intervals must hold the truth
BATCH = 20_000              # rows at most


def below(k: int, n: int, p: float) -> float:
    """Chance of at most k of n."""
    return sum(math.exp(math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) + i * math.log(p) + (n - i) * math.log1p(-p))
               for i in range(k + 1))


def assert_covers(hits: int, runs: int) -> None:
    """1,000 runs: 93 to 97 %. Fewer: not so few (many) that 93 % (97 %) would show it once in a thousand."""
    if runs >= 1000:
        assert LOW <= hits / runs <= HIGH, f"{hits} of {runs} intervals hold the truth"
    else:
        assert below(hits, runs, LOW) > 1e-3 and below(runs - hits, runs, 1 - HIGH) > 1e-3, f"{hits} of {runs} intervals hold the truth"


@dataclass
class Outcome:
    """One estimate for each run of the same population."""

    truth: float
    table: tapio.estimation.Estimates       # type: ignore[name-defined]

    @property
    def hits(self) -> int:
        return int(((self.table["ci_low"] <= self.truth) & (self.truth <= self.table["ci_high"])).sum())

    def assert_fair(self) -> None:
        """Neither the estimate nor its variance is off."""
        found, errors = self.table["estimate"], self.table["std_error"]
        assert len(found) == RUNS and (self.table["ci_low"] >= 0).all() and (errors > 0).all()
        spread = found.std(ddof=1)
        assert abs(found.mean() - self.truth) < 3 * spread / math.sqrt(RUNS)
        # an estimated variance of RUNS normal values is off by a factor of sqrt(2 / RUNS)
        assert abs((errors**2).mean() / spread**2 - 1) < 4 * math.sqrt(2 / RUNS)


def drawn_once_per(rng: np.random.Generator, keys: np.ndarray, chance_at_birth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which rows of a run are kept, and their weights, when the first row of a key settles both. Rows in the order of time."""
    _, first, place = np.unique(keys, return_index=True, return_inverse=True)
    chance = chance_at_birth[first]
    kept = rng.random(len(first)) < chance
    return kept[place], 1 / chance[place]


def changing(n: int, *chances: float) -> np.ndarray:
    """A rate for each of n rows in the order of time, which changes in equal steps."""
    return np.asarray(chances)[np.arange(n) * len(chances) // n]


def estimates(seed: int, population: np.ndarray, draw: Any, rates: np.ndarray, domain: str, **asked: Any) -> Any:
    """Estimate every run. Batches hold the rows of all runs in the order of time, so that what is drawn by key spans batches."""
    runs = []
    for run in range(RUNS):
        kept, weights = draw(np.random.default_rng([seed, run]))
        rows = population[kept]
        rows["gid"], rows["weight"] = run, weights[kept]
        if domain == "network":
            rows["cookie"] += np.uint64(run << 32)      # sockets of their own, or one run's close ends another's connection
        runs.append(rows)
    rows = np.concatenate(runs)
    rows = rows[np.argsort(rows["ts_ns"], kind="stable")]
    size = min(BATCH, len(rows) // 5)       # what spans batches shall do so
    batches = made.batches_of(rows, rates, range(size, len(rows), size))
    return tapio.estimate(batches, domain, by=["gid"], **asked)


def test_counts_drawn_record_by_record() -> None:
    n = 1500
    population = made.rows_of("syscall", n, ts_ns=np.arange(n))
    chance = np.full(n, 0.2)
    table = estimates(1, population, lambda rng: (rng.random(n) < chance, 1 / chance), made.rates(("syscall.call", 0.2, 0)), "syscall")
    outcome = Outcome(n, table)
    outcome.assert_fair()
    assert_covers(outcome.hits, RUNS)
    assert table["reliable"].all() and (table["unobserved"] == 0).all()


def test_counts_when_the_rate_changes_during_the_run() -> None:
    n = 4000
    population = made.rows_of("network", n, ts_ns=np.arange(n))
    chance = changing(n, 1.0, 0.1, 0.5, 0.07)
    table = estimates(2, population, lambda rng: (rng.random(n) < chance, 1 / chance), made.rates(("network.connect", 0.5, 0)), "network")
    outcome = Outcome(n, table)
    outcome.assert_fair()
    assert_covers(outcome.hits, RUNS)
    assert table["reliable"].all()


def test_sums_of_uneven_values_drawn_record_by_record() -> None:
    n = 5000
    size = np.random.default_rng(3).exponential(1e6, n).astype(np.uint64)
    population = made.rows_of("network", n, ts_ns=np.arange(n), bytes_sent=size)
    chance = changing(n, 0.5, 0.2)
    table = estimates(3, population, lambda rng: (rng.random(n) < chance, 1 / chance), made.rates(("network.connect", 0.5, 0)), "network",
                      value="bytes_sent")
    outcome = Outcome(float(size.sum()), table)
    outcome.assert_fair()
    assert_covers(outcome.hits, RUNS)


def test_rows_that_stand_for_many_operations() -> None:
    n = 3000
    count = np.random.default_rng(4).geometric(0.1, n)
    population = made.rows_of("file", n, ts_ns=np.arange(n), subtype=tapio.FileEventType.READ, count=count)
    chance = np.full(n, 0.3)
    table = estimates(4, population, lambda rng: (rng.random(n) < chance, 1 / chance), made.rates(("file.read", 0.3, 0)), "file")
    outcome = Outcome(float(count.sum()), table)
    outcome.assert_fair()
    assert_covers(outcome.hits, RUNS)


def processes(seed: int, sizes: np.ndarray, domain: str, **fields: Any) -> np.ndarray:
    """Rows of processes of these sizes, mixed in time. Pids are used again, by processes that started later."""
    rng = np.random.default_rng(seed)
    owner = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    return made.rows_of(domain, len(owner), ts_ns=np.arange(len(owner)), pid=1 + owner // 2, start_ns=1000 + owner % 2 * 7, **fields)


def identity(rows: np.ndarray) -> np.ndarray:
    return rows["pid"].astype(np.int64) * 2 - 2 + (rows["start_ns"] > 1000)


def test_counts_drawn_by_process_while_the_rate_changes() -> None:
    sizes = np.random.default_rng(5).geometric(0.25, 1500)
    population = processes(5, sizes, "process", subtype=tapio.ProcessEventType.SIGNAL)
    chance = changing(len(population), 0.5, 0.25, 0.125)
    keys = identity(population)
    table = estimates(5, population, lambda rng: drawn_once_per(rng, keys, chance), made.rates(("process.signal", 0.5, 1)), "process")
    outcome = Outcome(len(population), table)
    outcome.assert_fair()
    assert_covers(outcome.hits, RUNS)
    assert (table["reliable"]).mean() > 0.9


def test_sums_drawn_by_connection() -> None:
    rng = np.random.default_rng(6)
    connections = 1200
    owner = rng.permutation(np.repeat(np.arange(connections), rng.integers(1, 6, connections)))
    sent = rng.integers(100, 2000, len(owner))
    # the same cookie in two namespaces is two connections
    population = made.rows_of("network", len(owner), ts_ns=np.arange(len(owner)), cookie=1 + owner // 2, netns=owner % 2, bytes_sent=sent,
                              protocol=6)
    chance = np.full(len(owner), 0.3)
    table = estimates(6, population, lambda rng: drawn_once_per(rng, owner, chance), made.rates(("network.connect", 0.3, 2)), "network",
                      value="bytes_sent")
    outcome = Outcome(float(sent.sum()), table)
    outcome.assert_fair()
    assert_covers(outcome.hits, RUNS)


def test_connections_that_use_a_socket_one_after_the_other() -> None:
    """Twenty sockets, a hundred connections each; only the close record tells where one ends."""
    rng = np.random.default_rng(11)
    lengths = rng.integers(2, 6, 2000)
    owner = np.repeat(np.arange(2000), lengths)
    last = np.append(np.diff(owner) > 0, True)
    kinds = np.where(last, tapio.NetworkEventType.CLOSE, tapio.NetworkEventType.CONNECT)
    # connections of one socket follow each other, those of different sockets run side by side
    position = np.arange(len(owner)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    order = np.lexsort((owner, position, owner // 20))
    population = made.rows_of("network", len(owner), ts_ns=np.arange(len(owner)), subtype=kinds[order], cookie=1 + owner[order] % 20,
                              protocol=6)
    chance = np.full(len(owner), 0.25)
    told = made.rates(("network.connect", 0.25, 2), ("network.close", 0.25, 2))
    table = estimates(11, population, lambda rng: drawn_once_per(rng, owner[order], chance), told, "network")
    outcome = Outcome(len(population), table)
    outcome.assert_fair()
    assert_covers(outcome.hits, RUNS)
    assert table["reliable"].all()


def test_one_draw_for_kinds_with_different_rates() -> None:
    """One hash of the process against each kind's own rate: who keeps the rare kind keeps the other too."""
    sizes = np.random.default_rng(7).integers(2, 8, 800)
    population = processes(7, sizes, "process")
    signal = np.random.default_rng(70).random(len(population)) < 0.5
    population["subtype"] = np.where(signal, tapio.ProcessEventType.SIGNAL, tapio.ProcessEventType.RENAME)
    chance = np.where(signal, 0.2, 0.6)
    keys = identity(population)

    def draw(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        return rng.random(keys.max() + 1)[keys] < chance, 1 / chance

    table = estimates(7, population, draw, made.rates(("process.signal", 0.2, 1), ("process.rename", 0.6, 1)), "process")
    outcome = Outcome(len(population), table)
    outcome.assert_fair()
    assert_covers(outcome.hits, RUNS)


def test_clusters_taken_for_records_would_be_caught() -> None:
    """The test above can fail: the same draws, with the error bars of independent records."""
    sizes = np.random.default_rng(8).integers(5, 15, 600)
    population = processes(8, sizes, "process", subtype=tapio.ProcessEventType.SIGNAL)
    chance = np.full(len(population), 0.3)
    keys = identity(population)
    rates = made.rates(("process.signal", 0.3, 1))
    wrong = Outcome(len(population), estimates(8, population, lambda rng: drawn_once_per(rng, keys, chance), rates, "process", keyed=False))
    assert wrong.hits < 0.75 * RUNS
    with pytest.raises(AssertionError):
        assert_covers(wrong.hits, RUNS)


@pytest.mark.parametrize("exponent", [0.8, 1.0, 1.3])
@pytest.mark.parametrize("chance", [0.05, 0.5])
def test_zipf_keys_are_not_reliable(exponent: float, chance: float) -> None:
    sizes = np.maximum(300 / np.arange(1, 601) ** exponent, 1).astype(int)
    population = processes(9, sizes, "process", subtype=tapio.ProcessEventType.SIGNAL)
    keys, at_birth = identity(population), np.full(len(population), chance)
    table = estimates(9, population, lambda rng: drawn_once_per(rng, keys, at_birth), made.rates(("process.signal", chance, 1)), "process")
    assert len(table) == RUNS and not table["reliable"].any()


def test_fewer_than_a_hundred_kept_records_are_not_reliable() -> None:
    n = 900
    population = made.rows_of("syscall", n, ts_ns=np.arange(n))
    chance = np.full(n, 0.1)
    table = estimates(10, population, lambda rng: (rng.random(n) < chance, 1 / chance), made.rates(("syscall.call", 0.1, 0)), "syscall")
    assert table["reliable"].tolist() == (table["n"] >= 100).tolist()
    assert 0 < table["reliable"].sum() < RUNS, "the population is such that both happen"
    outcome = Outcome(n, table)
    assert_covers(outcome.hits, RUNS)       # even so, for a count the intervals are good
