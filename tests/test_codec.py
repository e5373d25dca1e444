# SPDX-License-Identifier: Apache-2.0
"""The codec against independent oracles: numpy for the transform, the zstandard package for the compression."""

from __future__ import annotations

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from tapio_fast import CorruptStoreError, schema
from tapio_fast._core._codec import Codec


def rows_like(seed: int, n: int, row_size: int) -> bytes:
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, 256, (n, row_size), np.uint8)
    rows[:, rng.random(row_size) < 0.6] = 7
    return rows.tobytes()


def planes_in_numpy(rows: bytes, n: int, row_size: int) -> bytes:
    table = np.frombuffer(rows, np.uint8).reshape(n, row_size).copy()
    if row_size >= 16 and n:
        head = np.ascontiguousarray(table[:, :16]).view(np.uint64)
        head[1:] -= head[:-1].copy()
        table[:, :16] = head.view(np.uint8)
    return np.ascontiguousarray(table.T).tobytes()


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32), n=st.integers(0, 300), row_size=st.sampled_from([1, 8, 15, 16, 31, 32, 33, 80, 120, 184, 255]))
def test_rows_come_back_and_others_can_read_them(seed: int, n: int, row_size: int) -> None:
    codec, rows = Codec(), rows_like(seed, n, row_size)
    planes = planes_in_numpy(rows, n, row_size)
    packed = codec.encode_rows(rows, row_size)
    assert codec.planes(rows, row_size) == planes
    assert codec.decode_rows(packed, n, row_size) == rows
    assert zstandard.ZstdDecompressor().decompress(packed, max_output_size=len(rows) + 1) == planes
    assert codec.decode_rows(zstandard.ZstdCompressor(level=3).compress(planes), n, row_size) == rows


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=5000))
def test_bytes_come_back(data: bytes) -> None:
    codec = Codec()
    assert codec.decode_bytes(codec.encode_bytes(data), len(data)) == data


@settings(max_examples=300, deadline=None)
@given(junk=st.binary(max_size=200), length=st.integers(0, 1000))
def test_junk_is_refused_or_is_really_that_frame(junk: bytes, length: int) -> None:
    try:
        out = Codec().decode_bytes(junk, length)
    except CorruptStoreError:
        return
    assert zstandard.ZstdDecompressor().decompress(junk, max_output_size=length + 1) == out and len(out) == length


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    bomb = zstandard.ZstdCompressor(level=1).compress(bytes(256 << 20))
    with pytest.raises(CorruptStoreError):
        Codec().decode_bytes(bomb, 1 << 20)
    with pytest.raises(CorruptStoreError):
        Codec().decode_rows(bomb, 1000, 120)


def test_a_window_above_8_mib_is_refused() -> None:
    data = bytes(range(256)) * (9 << 12)
    params = zstandard.ZstdCompressionParameters.from_level(1, window_log=24)
    sized = zstandard.ZstdCompressor(compression_params=params).compress(data)
    with pytest.raises(CorruptStoreError):
        Codec().decode_bytes(sized, len(data))


def test_planes_of_records_are_smaller_than_rows() -> None:
    """The reason for the transform; a synthetic stream with the regularities of a real one."""
    n, rng = 16384, np.random.default_rng(1)
    rows = np.zeros(n, schema.DTYPES["network"])
    rows["ts_ns"] = 10**12 + np.cumsum(rng.integers(200, 3000, n))
    rows["seq"] = np.arange(n)
    rows["pid"] = 1000 + rng.integers(0, 32, n)
    rows["dest_port"] = rng.choice([80, 443], n)
    rows["bytes_sent"] = rng.integers(0, 5000, n)
    rows["comm"] = rng.choice([b"curl", b"nginx"], n)
    packed = Codec().encode_rows(rows.tobytes(), rows.itemsize)
    assert len(packed) * 1.5 < len(zstandard.ZstdCompressor(level=1).compress(rows.tobytes()))


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="whole rows"):
        Codec().planes(b"abc", 2)
    with pytest.raises(ValueError, match="whole rows"):
        Codec().encode_rows(b"abc", 0)
    with pytest.raises(Exception, match="level"):
        Codec(99)
