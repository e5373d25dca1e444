# SPDX-License-Identifier: Apache-2.0
"""How fast does a ring of 120-byte rows become batches and numpy arrays, and how fast is what Python programs do else?"""
from __future__ import annotations

from typing import Any

import pytest
from _harness import run

from tapio_fast.bench import drain

RING = drain.memory_ring()


@pytest.fixture(scope="module", autouse=True)
def checked() -> None:
    """Check ours and the Python rivals before anything is timed."""
    drain.check_ours(RING)
    drain.check_copy(RING.walk_copy, RING)
    drain.check_python(RING)


def bench_drain(benchmark: Any) -> None:
    """Scan and copy into batches, C only."""
    run(benchmark, RING.drain, RING.records, 120)


def bench_batch(benchmark: Any) -> None:
    """Through to RecordBatch and its numpy array."""
    run(benchmark, lambda: drain.read_numpy(RING), RING.records, 120)


def bench_libbpf_loop(benchmark: Any) -> None:
    """libbpf's loop with a C callback that copies, over the ring in our memory."""
    sink = bytearray(drain.SINK_BYTES)
    run(benchmark, lambda: RING.walk_copy(sink), RING.records, 120)


def bench_libbpf_callback(benchmark: Any, kernel_ring: Any) -> None:
    """ring_buffer__consume with a C callback that copies, over a ring of the kernel's."""
    drain.check_copy(kernel_ring.libbpf_copy, kernel_ring)
    sink = bytearray(drain.SINK_BYTES)
    run(benchmark, lambda: kernel_ring.libbpf_copy(sink), RING.records, 120)


def bench_bytes_gil_held(benchmark: Any) -> None:
    """A bytes object a record, handed to an empty Python function, with the GIL held throughout."""
    run(benchmark, lambda: RING.walk_bytes(drain._nothing), RING.records, 120)


def bench_bytes_gil_per_record(benchmark: Any) -> None:
    """The same with the GIL taken for each record."""
    run(benchmark, lambda: RING.walk_bytes_gil(drain._nothing), RING.records, 120)


def bench_ctypes(benchmark: Any) -> None:
    """A ctypes callback that casts and reads ten fields."""
    callback = drain.ctypes_callback()
    address = drain._address(callback)
    run(benchmark, lambda: RING.walk_address(address), RING.records, 120)
