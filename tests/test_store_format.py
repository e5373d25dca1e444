# SPDX-License-Identifier: Apache-2.0
"""An independent reader of docs/store-format.md, in plain Python: it must find in a segment what RawStore finds."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import zstandard

import support
from tapio_fast import Collector, Config, RawStore, schema
from tapio_fast.sources import MemorySource

M64 = (1 << 64) - 1


def crc32c(data: bytes, crc: int = 0) -> int:
    crc = crc ^ 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def siphash24(key: bytes, data: bytes) -> int:
    k0, k1 = struct.unpack("<QQ", key)
    v: list[int] = [k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573]

    def rotl(x: int, b: int) -> int:
        return (x << b | x >> (64 - b)) & M64

    def rounds(n: int) -> None:
        for _ in range(n):
            v[0] = (v[0] + v[1]) & M64
            v[1] = rotl(v[1], 13) ^ v[0]
            v[0] = rotl(v[0], 32)
            v[2] = (v[2] + v[3]) & M64
            v[3] = rotl(v[3], 16) ^ v[2]
            v[0] = (v[0] + v[3]) & M64
            v[3] = rotl(v[3], 21) ^ v[0]
            v[2] = (v[2] + v[1]) & M64
            v[1] = rotl(v[1], 17) ^ v[2]
            v[2] = rotl(v[2], 32)

    padded = data + bytes(7 - len(data) % 8) + bytes([len(data) & 0xFF])
    for (word,) in struct.iter_unpack("<Q", padded):
        v[3] ^= word
        rounds(2)
        v[0] ^= word
    v[2] ^= 0xFF
    rounds(4)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def layouts(head: bytes, at: int, count: int) -> dict[int, tuple[str, int, list[tuple[str, str, int, int]]]]:
    out = {}
    for _ in range(count):
        number, name_len, row_size, n_fields, _pad = struct.unpack_from("<BBHHH", head, at)
        name = head[at + 8:at + 8 + name_len].decode()
        at += 8 + name_len
        fields = []
        for _ in range(n_fields):
            kind, size_of_name, offset, size = struct.unpack_from("<cBHH", head, at)
            fields.append((head[at + 6:at + 6 + size_of_name].decode(), kind.decode(), offset, size))
            at += 6 + size_of_name
        out[number] = (name, row_size, fields)
    return out


def unpack(part: bytes, size: int) -> bytes:
    assert zstandard.frame_content_size(part) == size
    return zstandard.ZstdDecompressor().decompress(part)


def rows_of(planes: bytes, n: int, row_size: int) -> bytes:
    table = np.ascontiguousarray(np.frombuffer(planes, np.uint8).reshape(row_size, n).T)
    head = np.ascontiguousarray(table[:, :16]).view(np.uint64)
    table[:, :16] = np.cumsum(head, axis=0, dtype=np.uint64).view(np.uint8)
    return table.tobytes()


def frames(raw: bytes, nonce: bytes) -> Iterator[tuple[dict[str, int], dict[int, tuple[int, bytes, bytes]], list[tuple[int, ...]]]]:
    marker = b"".join(struct.pack("<Q", siphash24(nonce, struct.pack("<Q", 0x656D617266746600 + i))) for i in range(2))
    at, number, before = 32768, 0, 0
    while at < len(raw):
        assert raw[at:at + 16] == marker
        length, flags, frame_no, rows_before, payload_len, first, last = struct.unpack_from("<IIQQQQQ", raw, at + 16)
        n_epochs, n_domains, n_loss, table_len, rows = struct.unpack_from("<IIIIQ", raw, at + 96)
        assert (flags, frame_no, rows_before, length) == (0, number, before, 120 + 24 * n_domains + 4)
        crc = struct.unpack_from("<I", raw, at + length - 4)[0]
        assert crc == crc32c(raw[at:at + length - 4], crc32c(nonce))
        payload = raw[at + length:at + length + payload_len]
        foot = struct.unpack_from("<II", raw, at + length + payload_len)
        assert foot == (crc32c(payload, crc), length + payload_len + 8)
        line = struct.Struct(f"<QQq{n_loss}Q{n_domains}I{n_domains}I")
        table = [line.unpack_from(unpack(payload[:table_len], n_epochs * line.size), i * line.size) for i in range(n_epochs)]
        part, domains = table_len, {}
        for i in range(n_domains):
            d, _p, row_size, n, rows_len, text, text_len, _q = struct.unpack_from("<BBHIIIII", raw, at + 120 + 24 * i)
            data = rows_of(unpack(payload[part:part + rows_len], n * row_size), n, row_size) if n else b""
            texts = unpack(payload[part + rows_len:part + rows_len + text_len], text) if text else b""
            domains[d] = (n, data, texts)
            part += rows_len + text_len
        assert part == payload_len and (first, last) == (table[0][0], table[-1][0])
        yield {"rows": rows, "n_loss": n_loss}, domains, table
        at, number, before = at + foot[1], number + 1, before + rows


def recorded(path: Path) -> bytes:
    source = MemorySource(cpus=2)
    config = Config.default().replace(dual_path={"enabled": True, "raw_storage_path": str(path), "semantic_enabled": False,
                                                 "correlation_enabled": False})
    row: Any = np.zeros(1, schema.DTYPES["process"])
    row["args"]["len"] = row["args"]["full_len"] = 4
    with Collector(config, source=source) as collector:
        for i in range(4):
            collector.read(0.05)
            source.fill("cpu.usage", n=20 + i)
            source.fill("process.exec", row[0], n=5, tail=b"a\0b" + bytes([48 + i]), cpu=1)
    return (path / "segment-0000000001.tfseg").read_bytes()


def test_a_reader_written_from_the_document_finds_the_same(tmp_path: Path) -> None:
    raw = recorded(tmp_path / "s")
    magic, version, length, boot, nonce, run, number, made, _, resumes, n_layouts = struct.unpack_from("<8sII16s16sQQqQQI", raw)
    assert (magic, version, number, resumes) == (b"\x89TFSEG\r\n", 0, 1, 0) and made > 1_600_000_000 * 10**9
    assert raw[:length] == raw[16384:16384 + length] and crc32c(raw[:length - 4]) == struct.unpack_from("<I", raw, length - 4)[0]
    known = layouts(raw, 96, n_layouts)
    assert {name: size for name, size, _ in known.values()} == {name: dtype.itemsize for name, dtype in schema.DTYPES.items()}
    for name, _, fields in known.values():
        shown = [(f, offset) for f, _, offset, _ in fields if not f.startswith("_")]
        assert shown == [(f, schema.DTYPES[name].fields[f][1]) for f in schema.DTYPES[name].names or ()]  # type: ignore[index]
    batches = list(RawStore(tmp_path / "s").scan())
    assert all(b.boot_id.bytes == boot and b.run_id == run for b in batches)
    seen: dict[int, bytes] = {}
    epochs = []
    for head, domains, table in frames(raw, nonce):
        assert head["rows"] == sum(n for n, _, _ in domains.values())
        epochs += [(line[0], line[1], line[2], sum(line[3:3 + head["n_loss"]])) for line in table]
        for d, (_, data, _texts) in domains.items():
            seen[d] = seen.get(d, b"") + data
    assert epochs == [(b.epoch, b.watermark_ns, b.wall_offset_ns, sum(b.loss.values())) for b in batches]
    for d, data in seen.items():
        assert data == b"".join(b[schema.DOMAIN_NAMES[d]].tobytes() for b in batches)


def test_the_document_names_every_limit_of_the_engine() -> None:
    text = (support.ROOT / "docs/store-format.md").read_text()
    writer = (support.ROOT / "csrc/tf_segment_writer.c").read_text()
    assert "8192 rows" in text and "block_rows : 8192" in writer and "1024 epochs" in text
    assert re.search(r"ARENA_BYTES \(4u << 20\)", writer) and "4 MiB waiting" in text
