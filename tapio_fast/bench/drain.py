# SPDX-License-Identifier: Apache-2.0
"""Cases `drain` and `batch`: a ring of 120-byte rows, filled once and read again and again, by us and by what Python programs do else.

`drain` ends in the rows of a batch in C; `batch` in RecordBatch and its numpy array. The rivals read the same bytes: libbpf's
ring_buffer__consume with a C callback that copies each record (on a ring of the kernel's), the same loop over the ring in our memory,
and callbacks that hand each record to Python.
"""
from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from tapio_fast import schema
from tapio_fast._core._bench import Ring, row
from tapio_fast._core._engine import Pool
from tapio_fast.batch import RecordBatch
from tapio_fast.bench._measure import Effort, Samples, expect, ratio, take_turns
from tapio_fast.bench._rows import Row, not_measured

RING_BYTES = 8 << 20        # a CPU's bulk ring under the default configuration and two CPUs
ROW_BYTES = 120
PASS_BYTES = 2 << 20                            # as the pump's own default
SINK_BYTES = PASS_BYTES // 128 * ROW_BYTES      # what one of our batches holds: rivals copy to as warm a place
DOMAIN = "cpu"


@functools.lru_cache(maxsize=1)
def _pool() -> Pool:
    return Pool(64 << 20, 256 << 20)


@functools.lru_cache(maxsize=4)
def memory_ring(mixed: bool = False) -> Ring:
    """Return the ring in our memory."""
    return Ring(_pool(), size=RING_BYTES, bytes_per_pass=PASS_BYTES, mixed=mixed)


@functools.lru_cache(maxsize=1)
def kernel_ring() -> Ring | str:
    """Return a ring buffer of the kernel with the same records, or why there is none."""
    try:
        return Ring(_pool(), size=RING_BYTES, bytes_per_pass=PASS_BYTES, kernel=True)
    except Exception as error:
        return str(error)


@functools.lru_cache(maxsize=1)
def expected_bytes() -> bytes:
    """Return the records that every ring of 120-byte rows holds, made without any ring."""
    return b"".join(row(i) for i in range(memory_ring().records))


def expected() -> np.ndarray:
    """Return the same as rows."""
    return np.frombuffer(expected_bytes(), schema.DTYPES[DOMAIN])


def all_batches(ring: Ring) -> list[RecordBatch]:
    """Read the whole ring into batches."""
    ring.rewind()
    return [RecordBatch(core) for core in iter(ring.next, None)]


def read_numpy(ring: Ring) -> int:
    """Read the whole ring as a consumer does: a RecordBatch and its numpy array at a time; return the rows seen."""
    ring.rewind()
    n = 0
    while (core := ring.next()) is not None:
        n += len(RecordBatch(core)[DOMAIN])
    return n


def check_ours(ring: Ring) -> None:
    """Refuse a drain that gives other bytes, another number, or a gap."""
    batches = all_batches(ring)
    expect(sum(map(len, batches)) == ring.records, f"{sum(map(len, batches))} rows of {ring.records}")
    rows = np.concatenate([b[DOMAIN].view("V120") for b in batches])
    expect(rows.tobytes() == expected_bytes(), "the rows differ from the records that were sent")
    seq = expected()["seq"]
    expect(bool((np.diff(seq) == 1).all()) and seq[0] == 1, "seq has gaps")
    expect(ring.drain() == ring.records and read_numpy(ring) == ring.records, "a timed path reads another number of records")


def check_copy(call: Callable[[Any], int], ring: Ring) -> None:
    """Refuse a callback that does not copy every record."""
    whole = bytearray(ring.nbytes)
    expect(call(whole) == ring.records and bytes(whole) == expected_bytes(), "the callback's copy differs from the records")


def _ctype(field: np.dtype) -> Any:
    scalars: dict[str, Any] = {"u1": ctypes.c_uint8, "u2": ctypes.c_uint16, "u4": ctypes.c_uint32, "u8": ctypes.c_uint64,
                               "f4": ctypes.c_float}
    return scalars.get(field.str[1:], ctypes.c_char * field.itemsize)


class Fields(ctypes.Structure):
    """The row as a ctypes program declares it: the same offsets as the C table."""

    _fields_ = [(name, _ctype(schema.DTYPES[DOMAIN][name])) for name in schema.DTYPES[DOMAIN].names or ()]


CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
FIELDS = ctypes.POINTER(Fields)


def ctypes_callback(seen: list[int] | None = None) -> Any:
    """Return a ctypes callback that casts a record and reads ten of its fields; `seen` collects seq and pid."""
    cast = ctypes.cast

    def on_record(_ctx: int, data: int, _size: int) -> int:
        r = cast(data, FIELDS).contents
        values = (r.ts_ns, r.seq, r.cgroup_id, r.pid, r.tid, r.uid, r.cpu, r.comm, r.on_cpu_ns, r.rss)
        if seen is not None:
            seen.append(values[1] + values[3])
        return 0

    return CALLBACK(on_record)


def _address(callback: Any) -> int:
    return ctypes.cast(callback, ctypes.c_void_p).value or 0


def check_python(ring: Ring) -> None:
    """Refuse Python callbacks that miss a record or a byte."""
    for walk in (ring.walk_bytes, ring.walk_bytes_gil):
        got: list[bytes] = []
        expect(walk(got.append) == ring.records and b"".join(got) == expected_bytes(), "the bytes callback misses records")
    seen: list[int] = []
    callback = ctypes_callback(seen)
    rows = expected()
    expect(ring.walk_address(_address(callback)) == ring.records, "the ctypes callback misses records")
    expect(seen == (rows["seq"] + rows["pid"]).tolist(), "the ctypes callback reads other fields")


def _nothing(_record: bytes) -> None:
    pass


def _row(samples: dict[str, Samples], name: str, ours: str, limit: str | None = None, note: str = "") -> Row:
    out = samples[name].row(name, records=memory_ring().records, record_bytes=ROW_BYTES, note=note)
    if name != ours:
        out.ratio_to, out.ratio = ours, ratio(samples[name], samples[ours])
        if limit:
            out.judge(limit, out.ratio)
    return out


def drain(effort: Effort) -> list[Row]:
    """Time scan and copy into batches, nothing Python."""
    ring, kernel, mixed, sink = memory_ring(), kernel_ring(), memory_ring(True), bytearray(SINK_BYTES)
    check_ours(ring)
    check_copy(ring.walk_copy, ring)
    expect(mixed.drain() == mixed.records == mixed.walk_copy(bytearray(mixed.nbytes)), "records of the mixed ring are missing")
    variants: dict[str, Callable[[], object]] = {"drain": ring.drain, "drain/libbpf's loop": lambda: ring.walk_copy(sink)}
    if isinstance(kernel, Ring):
        check_ours(kernel)
        check_copy(kernel.libbpf_copy, kernel)
        variants |= {"drain/kernel ring": kernel.drain, "drain/libbpf callback": lambda: kernel.libbpf_copy(sink)}
    samples = take_turns(variants, ring.records, effort)
    rows = [_row(samples, "drain", "drain", note="in-memory ring to batch, C only"),
            _row(samples, "drain/libbpf's loop", "drain", note="C callback that copies, in-memory ring")]
    if isinstance(kernel, Ring):
        rows += [_row(samples, "drain/kernel ring", "drain", note="ours, on the kernel's ring"),
                 _row(samples, "drain/libbpf callback", "drain", ">= 1.0", "ring_buffer__consume, C callback that copies")]
    else:
        rows += [not_measured("drain/kernel ring", "ns/record", kernel),
                 not_measured("drain/libbpf callback", "ns/record", kernel, ">= 1.0")]
    return rows + _mixed(mixed, sink, effort)


def _mixed(mixed: Ring, sink: bytearray, effort: Effort) -> list[Row]:
    names = ("drain/mixed rows", "drain/mixed rows, libbpf's loop")
    samples = take_turns({names[0]: mixed.drain, names[1]: lambda: mixed.walk_copy(sink)}, mixed.records, effort)
    mean = mixed.nbytes // mixed.records
    rows = [samples[name].row(name, records=mixed.records, record_bytes=mean) for name in names]
    rows[0].note = "120 and 184 bytes in runs of about 8, two domains"
    rows[1].ratio_to, rows[1].ratio = names[0], ratio(samples[names[1]], samples[names[0]])
    return rows


def batch(effort: Effort) -> list[Row]:
    """Time the same through to RecordBatch and numpy, against all rivals."""
    ring, kernel, sink = memory_ring(), kernel_ring(), bytearray(SINK_BYTES)
    check_ours(ring)
    check_python(ring)
    callback = ctypes_callback()
    address = _address(callback)
    variants: dict[str, Callable[[], object]] = {
        "batch": lambda: read_numpy(ring),
        "batch/bytes callback, GIL held": lambda: ring.walk_bytes(_nothing),
        "batch/bytes callback, GIL per record": lambda: ring.walk_bytes_gil(_nothing),
        "batch/ctypes callback": lambda: ring.walk_address(address),
    }
    if isinstance(kernel, Ring):
        check_copy(kernel.libbpf_copy, kernel)
        variants["batch/libbpf callback"] = lambda: kernel.libbpf_copy(sink)
    samples = take_turns(variants, ring.records, effort)
    rows = [_row(samples, "batch", "batch", note="to RecordBatch and its numpy array")]
    if isinstance(kernel, Ring):
        rows.append(_row(samples, "batch/libbpf callback", "batch", ">= 1.0", "ring_buffer__consume, C callback that copies"))
    else:
        rows.append(not_measured("batch/libbpf callback", "ns/record", kernel, ">= 1.0"))
    limits = {"batch/bytes callback, GIL held": ">= 5.0", "batch/bytes callback, GIL per record": ">= 10.0",
              "batch/ctypes callback": ">= 100.0"}
    notes = {"batch/ctypes callback": "cast, ten fields read"}
    return rows + [_row(samples, name, "batch", limit, notes.get(name, "handed to an empty Python function"))
                   for name, limit in limits.items()]
