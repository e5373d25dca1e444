# SPDX-License-Identifier: Apache-2.0
"""In-memory rings through the Python face: full rings, hostile records, and an image of a kernel's ring that reads as the ring itself."""
from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable
from typing import Any

import live_support as live
import numpy as np
import pytest

import tapio_fast as tapio
from tapio_fast import schema

pytestmark = pytest.mark.usefixtures("no_leaks")

CAP = 184 + 3 * 4096        # TF_RECORD_CAP
RINGBUF = 27              # BPF_MAP_TYPE_RINGBUF


def record(kind: str, tail: bytes = b"", **fields: Any) -> bytes:
    """The bytes of one right record."""
    k = schema.KIND_BY_NAME[kind]
    row = np.zeros(1, schema.DTYPES[k.domain])
    row["type"], row["subtype"], row["weight"] = k.type, k.subtype, 1
    for name, value in fields.items():
        row[name] = value
    return row.tobytes() + tail


def read_raw(send: Callable[[tapio.MemorySource], None]) -> tuple[tapio.RecordBatch, tapio.Statistics]:
    """What comes of raw records, and the numbers."""
    source = tapio.MemorySource(cpus=2)
    with tapio.Collector(source=source) as collector:
        collector.fileno()
        send(source)
        batch = live.everything(collector)
        return batch, collector.stats()


def test_full_ring_refuses_and_counts() -> None:
    source = tapio.MemorySource(bulk_bytes=4096, critical_bytes=4096)
    config = tapio.Config.default().replace(performance={"batch_pool_mb": 1})
    with tapio.Collector(config, source=source) as collector:
        collector.fileno()
        sent = source.fill("cpu.usage", n=200_000)
        refused = 200_000 - sent
        batches = live.read_until(collector, lambda _: collector.stats().ledger["in_ring"] == 0) + live.drain(collector)
        stats = live.adds_up(collector)
    assert refused > 0 and stats.ring_buffer_full == refused
    assert sum(len(b["cpu"]) for b in batches) == sent
    seq = np.concatenate([b["cpu"]["seq"] for b in batches])
    assert seq[-1] - len(seq) <= refused == 200_000 - len(seq)


def test_stop_on_full_stops_at_the_first_refusal() -> None:
    source = tapio.MemorySource(bulk_bytes=4096)
    collector = tapio.Collector(source=source)
    rings = source._need()              # nobody reads yet
    one = record("cpu.usage")
    assert rings.fill(0, schema.KIND_BY_NAME["cpu.usage"].number, one, 1000,
                      True) == 4096 // 128 - 1       # the kernel never fills a ring to its last byte
    with collector:
        collector.fileno()
        live.drain(collector)
        assert collector.stats().ledger["seen"] == 4096 // 128


def test_lanes_and_cpus_are_kept_apart() -> None:
    def send(source: tapio.MemorySource) -> None:
        for cpu in (0, 1):
            for kind in ("process.exit", "cpu.usage", "cpu.load", "network.close"):
                assert source.fill(kind, n=cpu + 1, cpu=cpu) == cpu + 1

    batch, stats = read_raw(send)
    assert {d: len(batch[d]) for d in ("process", "cpu", "network")} == {"process": 3, "cpu": 6, "network": 3}
    for cpu in (0, 1):
        critical = np.concatenate([batch[d]["seq"][(batch[d]["cpu"] == cpu) & (batch[d]["subtype"] == 1)] for d in ("process", "cpu")])
        assert sorted(critical.tolist()) == list(range(1, 2 * (cpu + 1) + 1))
    assert [row["seen"] for row in stats.by_cpu] == [4, 8]
    assert stats.differences() == {}


HOSTILE = {
    "empty": b"",
    "shorter than a header": b"\x01" * 79,
    "header only": record("cpu.usage")[:80],
    "one byte short": record("cpu.usage")[:-1],
    "one byte long, and no text": record("cpu.usage") + b"x",
    "unknown type": record("cpu.usage", type=15),
    "type beyond all": record("cpu.usage", type=255),
    "unknown subtype": record("cpu.usage", subtype=200),
    "a cpu that is not there": record("cpu.usage", cpu=2),
    "cpu 65535": record("cpu.usage", cpu=65535),
    "critical kind on the bulk lane": record("cpu.load"),
    "all ones": b"\xff" * 120,
    "all ones, long": b"\xff" * 4000,
    "text begins behind the record": record("network.connect", b"abc", name=(4, 0, 0)),
    "text ends behind the record": record("network.connect", b"abc", name=(1, 3, 3)),
    "text without any": record("network.connect", name=(0, 1, 1)),
    "text that wraps around": record("network.connect", b"abc", name=(0xFFFFFFFF, 2, 2)),
    "text of 4 GiB": record("network.connect", b"abc", name=(0, 0xFFFFFFFF, 0xFFFFFFFF)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_record_is_counted_and_its_neighbours_arrive(name: str) -> None:
    def send(source: tapio.MemorySource) -> None:
        for _i in range(3):
            source.fill("cpu.usage", n=5)
            assert source.raw(HOSTILE[name])
        source.fill("network.connect", n=2)

    batch, stats = read_raw(send)
    assert len(batch["cpu"]) == 15 and len(batch["network"]) == 2
    assert batch["cpu"]["seq"].tolist() == list(range(1, 16))
    assert stats.ledger["u_bad"] == 3 == stats.events_dropped
    assert stats.ledger["consumed"] == 20 and stats.ledger["routed"] == 17


def test_record_beyond_the_cap_ends_the_ring_but_not_the_collector() -> None:
    """Nothing behind it can be trusted: all that is there is one bad record; what comes later is read."""
    source = tapio.MemorySource(cpus=1)
    with tapio.Collector(source=source) as collector:
        collector.fileno()
        assert source.raw(b"\0" * (CAP + 8))
        live.wait_for(lambda: collector.stats().ledger["u_bad"] == 1)
        source.fill("cpu.usage", n=7)
        batch = live.everything(collector)
        assert collector.health().status == "degraded"
    assert len(batch["cpu"]) == 7


def test_fuzz_of_records_never_crashes_nor_invents(tier_size: Callable[[Any, Any], Any]) -> None:
    """Right records with random damage: each one is delivered or counted bad; texts stay inside their record."""
    rng = random.Random(20260729)
    kinds = [k.name for k in schema.KINDS if k.domain in ("cpu", "network", "process")]
    source, sent, good = tapio.MemorySource(cpus=2), 0, 0
    with tapio.Collector(source=source) as collector:
        collector.fileno()

        def feed() -> None:
            nonlocal sent
            for _ in range(tier_size(20_000, 500_000)):
                kind = rng.choice(kinds)
                data = bytearray(record(kind, rng.randbytes(rng.choice((0, 0, 5, 300))), cpu=rng.randrange(2)))
                for _ in range(rng.choice((0, 1, 1, 2, 8))):
                    data[rng.randrange(len(data))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
                if rng.random() < 0.1:
                    del data[rng.randrange(len(data)):]
                sent += source.raw(bytes(data), cpu=rng.randrange(2), lane=rng.choice(schema.LANES))

        feeder = threading.Thread(target=feed)
        feeder.start()
        while feeder.is_alive():
            batch = collector.read(timeout=0.05)
            good += 0 if batch is None else check_texts(batch)
        feeder.join()
        good += sum(map(check_texts, live.drain(collector)))
        stats = collector.stats()
    # damage may make a right record of another kind, of meta too; those stand among the pump's own rows
    good += sum(n["routed"] for kind, n in stats.by_kind.items() if kind.startswith("meta."))
    assert stats.ledger["consumed"] == sent == good + stats.ledger["u_bad"]
    assert good > sent // 20 and stats.ledger["u_bad"] > sent // 20


def check_texts(batch: tapio.RecordBatch) -> int:
    """Read every text; how many records (without the pump's own)."""
    rows = 0
    for domain in batch.domains:
        for field in schema.TEXT_FIELDS[domain]:
            texts = batch.strings(domain, field)
            assert [len(t) for t in texts] == batch[domain][field]["len"].tolist()
        rows += len(batch[domain]) if domain != "meta" else 0
    list(batch.events())
    batch.sorted()
    return rows


def test_wrong_use() -> None:
    for bad in ({"bulk_bytes": 5000}, {"bulk_bytes": 1024}, {"cpus": 0}):
        with pytest.raises(tapio.TapioError), tapio.Collector(source=tapio.MemorySource(**bad)):
            pass
    source = tapio.MemorySource()
    with pytest.raises(ValueError, match="exactly the bytes"):
        source.image(b"short", 0, 0)
    with tapio.Collector(source=source):
        with pytest.raises(IndexError):
            source.fill("cpu.usage", cpu=1)
        with pytest.raises(KeyError):
            source.fill("cpu.nonsense")
        with pytest.raises(tapio.ClosedError, match="before the collector starts"):
            source.image(b"short", 0, 0)
    with pytest.raises(tapio.ClosedError):
        source.fill("cpu.usage")


# --- an image of a kernel's ring --------------------------------------------------------------------------------------------------

class Recorded(tapio.SyntheticSource):
    """Fills the kernel's rings before anyone reads them, and takes their image."""

    _finite = True

    def __init__(self, kinds: tuple[str, ...]) -> None:
        super().__init__(kinds=kinds, text_len=333)
        self.images: dict[tuple[int, str], tuple[bytes, int, int]] = {}

    def _begin(self) -> None:
        pass

    def _open(self, *args: Any) -> Any:
        core = super()._open(*args)
        for rounds in (3, 0):           # first the bulk rings go round, so that the image holds records across the end
            for cpu in sorted(os.sched_getaffinity(0)):
                thread = threading.Thread(target=self._fill, args=(cpu, rounds))
                thread.start()
                thread.join()
        self._take_images()
        return core

    def _fill(self, cpu: int, resets: int) -> None:
        os.sched_setaffinity(0, {cpu})
        for n in range(resets or 1):
            for name in self._plan[2]:
                kind = schema.KIND_BY_NAME[name]
                self._need().synth(kind.number, 60 if kind.lane == "critical" else 2000, 1000 * n, 333)
            if resets:
                self._need().reset_rings()

    def _take_images(self) -> None:
        """The rings are listed by (cpu, lane)."""
        rings = [entry for entry in self.maps() if entry["type"] == RINGBUF]
        for place, entry in enumerate(rings):
            self.images[place // 2, schema.LANES[place % 2]] = live.ring_image(entry["id"], entry["max_entries"])


@pytest.mark.root
@pytest.mark.live
def test_image_of_a_kernels_ring_reads_as_the_ring() -> None:
    kernel = Recorded(("cpu.usage", "cpu.load", "network.connect", "process.exec"))
    config = tapio.Config.default().replace(performance={"ring_buffer_size_mb": 2})
    with tapio.Collector(config, source=kernel) as collector:
        collector.fileno()
        from_kernel = all_of(collector, 0)
    sizes = {lane: len(kernel.images[0, lane][0]) for lane in schema.LANES}
    assert any(lane == "bulk" and start // sizes[lane] != (end - 1) // sizes[lane]
               for (_, lane), (_, start, end) in kernel.images.items()), "no image goes over the end of its ring"
    memory = tapio.MemorySource(cpus=1 + max(cpu for cpu, _ in kernel.images), bulk_bytes=sizes["bulk"], critical_bytes=sizes["critical"])
    for (cpu, lane), (data, start, end) in kernel.images.items():
        memory.image(data, start, end, cpu=cpu, lane=lane)
    with tapio.Collector(config, source=memory) as collector:
        from_image = all_of(collector, len(from_kernel) - len(from_kernel["meta"]))
    assert {d: len(from_kernel[d]) for d in ("cpu", "network", "process")} == {d: len(from_image[d]) for d in ("cpu", "network", "process")}
    assert len(from_kernel) > 2 * 4000 and len(from_kernel["process"]) > 200
    for domain in ("cpu", "network", "process"):
        for field in schema.DTYPES[domain].names:
            a, b = from_kernel[domain][field], from_image[domain][field]
            if field in schema.TEXT_FIELDS[domain]:
                assert list(from_kernel.strings(domain, field)) == list(from_image.strings(domain, field)), field
                assert np.array_equal(a["full_len"], b["full_len"])
            else:
                late = 8 if field == "flags" else 0         # depends on how the passes fell
                assert np.array_equal(a & ~np.uint16(late) if late else a, b & ~np.uint16(late) if late else b), field


def all_of(collector: tapio.Collector, records: int) -> tapio.RecordBatch:
    """Everything that is in the rings, in time order."""
    found = live.read_until(collector, lambda got: collector.stats().ledger["in_ring"] == 0
                            and collector.stats().ledger["consumed"] >= max(records, 1))
    return live.together([*found, *live.drain(collector)])
