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


def count(data: bytes, at: int) -> tuple[int, int]:
    """A LEB128 number and where it ends."""
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 128:
            return value, at


def planes(part: bytes, n: int, size: int) -> np.ndarray:
    """n values of `size` bytes each, shape (n, size)."""
    return np.ascontiguousarray(np.frombuffer(part, np.uint8).reshape(size, n).T)


def unpacked(pack: bytes, n: int, row_size: int, fields: list[tuple[str, str, int, int]], epochs: list[int]) -> tuple[bytes, bytes]:
    """Rows and text of a pack, as docs/store-format.md says."""
    form, modes, at = pack[0], pack[1:1 + len(fields)], 1 + len(fields)
    said: list[tuple[bytes, list[int], list[int], int]] = []        # value, raw sizes of parts, packed sizes, entries
    for mode, (_, _, _, size) in zip(modes, fields, strict=True):
        value, raw, entries = b"", [], 0
        if mode == 0:
            value, at = pack[at:at + size], at + size
        elif mode == 3:
            entries, at = count(pack, at)
            if entries:
                text, at = count(pack, at)
                raw = [n * (1 if entries < 256 else 2 if entries < 65536 else 4), 8 * entries + text]
        else:
            raw = [n * size]
        sizes = []
        for _ in raw if form == 1 else ():
            packed, at = count(pack, at)
            sizes.append(packed)
        said.append((value, raw, sizes, entries))
    if form == 0:
        length, at = count(pack, at)
        assert at + length == len(pack)
        joined = unpack(pack[at:], sum(sum(raw) for _, raw, _, _ in said))
        at = 0
    table = np.zeros((n, row_size), np.uint8)
    texts: list[tuple[int, np.ndarray, list[tuple[bytes, int]]]] = []
    for mode, (_, _, offset, size), (value, raw, sizes, entries) in zip(modes, fields, said, strict=True):
        parts = []
        for i, length in enumerate(raw):
            if form == 0:
                parts.append(joined[at:at + length])
                at += length
            else:
                parts.append(unpack(pack[at:at + sizes[i]], length))
                at += sizes[i]
        if mode == 0:
            table[:, offset:offset + size] = np.frombuffer(value, np.uint8)
        elif mode in (1, 2):
            column = planes(parts[0], n, size)
            table[:, offset:offset + size] = np.cumsum(column.view(np.uint64), dtype=np.uint64).view(np.uint8).reshape(n, 8) if mode == 2 else column
        elif entries:
            ids = planes(parts[0], n, len(parts[0]) // n).astype(np.uint64) @ (256 ** np.arange(len(parts[0]) // n, dtype=np.uint64))
            lens = planes(parts[1][:4 * entries], entries, 4).view(np.uint32).ravel().tolist()
            full = planes(parts[1][4 * entries:8 * entries], entries, 4).view(np.uint32).ravel().tolist()
            ends = np.cumsum([8 * entries, *lens]).tolist()
            texts.append((offset, ids, [(parts[1][i:j], f) for i, j, f in zip(ends[:-1], ends[1:], full, strict=True)]))
    area, row = b"", 0
    for rows in epochs:
        start = len(area)
        for i in range(row, row + rows):
            for offset, ids, entry in texts:
                if ids[i]:
                    text, true = entry[int(ids[i]) - 1]
                    reference = struct.pack("<III", len(area) - start if text else 0, len(text), true)
                    table[i, offset:offset + 12] = np.frombuffer(reference, np.uint8)
                    area += text
        row += rows
    return table.tobytes(), area


def frames(raw: bytes, nonce: bytes, known: dict[int, tuple[str, int, list[tuple[str, str, int, int]]]]
           ) -> Iterator[tuple[dict[str, Any], dict[int, tuple[int, bytes, bytes]], list[tuple[int, ...]]]]:
    marker = b"".join(struct.pack("<Q", siphash24(nonce, struct.pack("<Q", 0x656D617266746600 + i))) for i in range(2))
    at, number, before = 32768, 0, 0
    while at < len(raw):
        assert raw[at:at + 16] == marker
        length, flags, frame_no, rows_before, payload_len, first, last = struct.unpack_from("<IIQQQQQ", raw, at + 16)
        n_epochs, n_domains, n_loss, table_len, rows = struct.unpack_from("<IIIIQ", raw, at + 96)
        filters = sum(raw[at + 121 + 56 * i] for i in range(n_domains))
        assert (flags, frame_no, rows_before, length) == (0, number, before, 120 + 56 * n_domains + 112 * filters + 4)
        crc = struct.unpack_from("<I", raw, at + length - 4)[0]
        assert crc == crc32c(raw[at:at + length - 4], crc32c(nonce))
        payload = raw[at + length:at + length + payload_len]
        foot = struct.unpack_from("<II", raw, at + length + payload_len)
        assert foot == (crc32c(payload, crc), length + payload_len + 8)
        line = struct.Struct(f"<QQq{n_loss}Q{n_domains}I")
        table = [line.unpack_from(unpack(payload[:table_len], n_epochs * line.size), i * line.size) for i in range(n_epochs)]
        part, domains, index, filter_at = table_len, {}, {}, at + 120 + 56 * n_domains
        for i in range(n_domains):
            d, filtered, row_size, n, pack_len, text, *told = struct.unpack_from("<BBHIIIQQQIIHH", raw, at + 120 + 56 * i)
            data, texts = unpacked(payload[part:part + pack_len], n, row_size, known[d][2], [line[3 + n_loss + i] for line in table])
            assert len(texts) == text
            domains[d] = (n, data, texts)
            index[d] = (told, raw[filter_at:filter_at + 112 * filtered])
            filter_at += 112 * filtered
            part += pack_len
        assert part == payload_len and (first, last) == (table[0][0], table[-1][0])
        yield {"rows": rows, "n_loss": n_loss, "index": index}, domains, table
        at, number, before = at + foot[1], number + 1, before + rows


def bits(values: np.ndarray, n: int) -> bytes:
    """A filter with these values."""
    out = np.zeros(n, bool)
    out[[(int(v) * 0x9E3779B97F4A7C15 % 2**64 >> 32) % n for v in values]] = True
    return np.packbits(out, bitorder="little").tobytes()


def check_index(told: list[int], filter: bytes, rows: np.ndarray) -> None:
    """The index of a domain says what its rows say."""
    names = rows.dtype.names or ()
    ports = np.concatenate([np.zeros(0, np.uint16), *(rows[f] for f in ("source_port", "dest_port") if f in names)])
    ports = ports[ports != 0]
    kinds = np.bitwise_or.reduce(np.uint64(1) << np.minimum(rows["subtype"], 63).astype(np.uint64))
    assert told == [kinds, rows["cgroup_id"].min(), rows["cgroup_id"].max(), rows["pid"].min(), rows["pid"].max(),
                    *((ports.min(), ports.max()) if len(ports) else (65535, 0))]
    assert (len(rows) >= 512) == bool(filter)
    if filter:
        assert filter == bits(np.unique(rows["pid"]), 512) + bits(np.unique(ports), 256) + bits(np.unique(rows["cgroup_id"]), 128)


def recorded(path: Path) -> bytes:
    source = MemorySource(cpus=2)
    config = Config.default().replace(dual_path={"enabled": True, "raw_storage_path": str(path), "semantic_enabled": False,
                                                 "correlation_enabled": False})
    row: Any = np.zeros(1, schema.DTYPES["process"])
    row["args"]["len"] = row["args"]["full_len"] = 4
    net: Any = np.zeros(1, schema.DTYPES["network"])
    with Collector(config, source=source) as collector:
        for i in range(4):
            collector.read(0.05)
            source.fill("cpu.usage", n=20 + i)
            source.fill("process.exec", row[0], n=5, tail=b"a\0b" + bytes([48 + i]), cpu=1)
            row["pid"] += 1
        for i in range(40):     # a block of more than a thousand rows
            row["pid"] = 1000 + i
            source.fill("process.exec", row[0], n=40, tail=b"c\0d" + bytes([48 + i]), cpu=1)
            net["dest_port"] = 8000 + i
            source.fill("network.connect", net[0], n=15, cpu=1)
    return (path / "segment-0000000001.tfseg").read_bytes()


def test_a_reader_written_from_the_document_finds_the_same(tmp_path: Path) -> None:
    raw = recorded(tmp_path / "s")
    magic, version, length, boot, nonce, run, number, made, _, resumes, n_layouts = struct.unpack_from("<8sII16s16sQQqQQI", raw)
    assert (magic, version, number, resumes) == (b"\x89TFSEG\r\n", 0x8001, 1, 0) and made > 1_600_000_000 * 10**9
    assert raw[:length] == raw[16384:16384 + length] and crc32c(raw[:length - 4]) == struct.unpack_from("<I", raw, length - 4)[0]
    known = layouts(raw, 96, n_layouts)
    assert {name: size for name, size, _ in known.values()} == {name: dtype.itemsize for name, dtype in schema.DTYPES.items()}
    for name, _, fields in known.values():
        shown = [(f, offset) for f, _, offset, _ in fields if not f.startswith("_")]
        assert shown == [(f, schema.DTYPES[name].fields[f][1]) for f in schema.DTYPES[name].names or ()]  # type: ignore[index]
    batches = list(RawStore(tmp_path / "s").scan())
    assert all(b.boot_id.bytes == boot and b.run_id == run for b in batches)
    seen: dict[int, bytes] = {}
    texts: dict[int, bytes] = {}
    epochs = []
    for head, domains, table in frames(raw, nonce, known):
        assert head["rows"] == sum(n for n, _, _ in domains.values())
        epochs += [(line[0], line[1], line[2], sum(line[3:3 + head["n_loss"]])) for line in table]
        for d, (_, data, text) in domains.items():
            seen[d] = seen.get(d, b"") + data
            texts[d] = texts.get(d, b"") + text
            check_index(*head["index"][d], np.frombuffer(data, schema.DTYPES[schema.DOMAIN_NAMES[d]]))
    assert epochs == [(b.epoch, b.watermark_ns, b.wall_offset_ns, sum(b.loss.values())) for b in batches]
    for d, data in seen.items():
        assert data == b"".join(b[schema.DOMAIN_NAMES[d]].tobytes() for b in batches)
        assert texts[d] == b"".join(bytes(memoryview(b._core.text(d) or b"")) for b in batches)


def test_the_document_names_every_limit_of_the_engine() -> None:
    text = (support.ROOT / "docs/store-format.md").read_text()
    writer = (support.ROOT / "csrc/tf_segment_writer.c").read_text()
    assert "8192 rows" in text and "block_rows : 8192" in writer and "1024 epochs" in text
    assert re.search(r"ARENA_BYTES \(4u << 20\)", writer) and "4 MiB waiting" in text
