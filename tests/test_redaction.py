# SPDX-License-Identifier: Apache-2.0
"""Secrets are in no branch: synthetic records through the pump to batches, store and log; what only looks like one is left alone."""
from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import live_support as live
import numpy as np
import pytest
import secret_shapes as shapes
from hypothesis import given, settings
from hypothesis import strategies as st

import tapio_fast as tapio
from support import tier_size
from tapio_fast import schema
from tapio_fast._core._redact import Redactor
from tapio_fast.errors import ConfigError

REDACTED = 1 << 2
ROUNDS = 25             # of each of the twenty shapes: 500 secrets
TEXT_FIELDS = [("process.exec", "exe"), ("process.exec", "cwd"), ("process.exec", "args"), ("file.open", "path"), ("file.rename", "new_path"),
               ("file.write", "data"), ("security.sensitive_file", "path"), ("syscall.call", "path"),
               ("container.escape", "path"), ("meta.snapshot_process", "path"), ("meta.snapshot_process", "path2"),
               ("meta.snapshot_process", "data"), ("meta.fact_process", "data")]


def joined(argv: list[str]) -> bytes:
    return b"\0".join(part.encode() for part in argv)


def send(source: tapio.MemorySource, kind: str, field: str, text: bytes, **more: Any) -> None:
    """One record whose only text is this."""
    row = np.zeros(1, schema.DTYPES[schema.KIND_BY_NAME[kind].domain])[0]
    row[field] = (0, len(text), more.pop("full_len", len(text)))
    for name, value in more.items():
        row[name] = value
    assert source.fill(kind, row, tail=text) == 1


def config(store: Path | None = None, **dual: Any) -> tapio.Config:
    where = {} if store is None else {"enabled": True, "raw_storage_path": str(store), "semantic_enabled": False, "correlation_enabled": False}
    return tapio.Config.default().replace(dual_path={**where, **dual}, debug={"enabled": True, "trace_events": True})


def collect(settings_: tapio.Config, fill: Any) -> tuple[list[tapio.RecordBatch], tapio.Statistics, tapio.HealthStatus, tapio.DebugInfo]:
    source = tapio.MemorySource(bulk_bytes=1 << 22, critical_bytes=1 << 22)
    with tapio.Collector(settings_, source=source) as collector:
        collector.fileno()
        fill(source)
        batches = live.drain(collector)
        return batches, live.adds_up(collector), collector.health(), collector.debug()


def plant_all(source: tapio.MemorySource) -> None:
    for _, planted in shapes.seeded(1, ROUNDS):
        send(source, "process.exec", "args", joined(planted.argv))
    for name, _ in shapes.names(2, 10):
        send(source, "file.open", "path", b"/srv/data/" + name.encode())


def test_500_secrets_are_in_no_branch_and_no_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secrets = [s.encode() for _, planted in shapes.seeded(1, ROUNDS) for s in planted.secrets] + [s.encode() for _, s in shapes.names(2, 10)]
    assert len(shapes.ARGUMENTS) == 20 and len(shapes.seeded(1, ROUNDS)) == 500 and len(set(secrets)) == len(secrets)
    batches, stats, _, debug = collect(config(tmp_path / "store"), plant_all)
    seen = b"\n".join(shapes.bytes_of(batch) for batch in batches)
    stored = shapes.bytes_of_store(tmp_path / "store")
    assert all(planted.keep.encode() in seen and planted.keep.encode() in stored for _, planted in shapes.seeded(1, ROUNDS))
    said = "\n".join(record.getMessage() for record in caplog.records) + repr((stats, debug, batches))
    for secret in secrets:
        assert secret not in seen and secret not in stored and secret.decode() not in said, secret
    rows = np.concatenate([batch["process"] for batch in batches])
    assert len(rows) == 500 and bool((rows["flags"] & REDACTED).all())
    assert rows["args"]["full_len"].tolist() == [len(joined(planted.argv)) for _, planted in shapes.seeded(1, ROUNDS)]
    assert stats.redaction["rows"] == 500 + 80 and stats.redaction["hits"] == 0


def test_without_redaction_the_same_search_finds_all(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """And it is loud: a warning, and a line of advice."""
    batches, stats, health, _ = collect(config(tmp_path / "store", redact=False), plant_all)
    seen, stored = b"\n".join(shapes.bytes_of(batch) for batch in batches), shapes.bytes_of_store(tmp_path / "store")
    for _, planted in shapes.seeded(1, ROUNDS):
        assert all(s.encode() in seen and s.encode() in stored for s in planted.secrets if "\\" not in s)
    assert "dual_path.redact is false" in caplog.text and caplog.records[0].levelno == logging.WARNING
    assert any("dual_path.redact" in line for line in health.advice) and stats.redaction == {}
    assert not any((batch["process"]["flags"] & REDACTED).any() for batch in batches)


@pytest.mark.parametrize("shape", shapes.ARGUMENTS)
def test_of_a_secret_nothing_is_left_and_its_neighbours_are(shape: str) -> None:
    redactor = Redactor()
    for name, planted in shapes.seeded(3, 10):
        if name != shape:
            continue
        text, found = redactor.text(joined(planted.argv), True)
        assert found and b"***" in text
        assert text.count(b"\0") == len(planted.argv) - 1 and planted.keep.encode() in text
        for secret in planted.secrets:
            assert not any(secret[i:i + 6].encode() in text for i in range(len(secret) - 5)), (text, secret)


@pytest.mark.parametrize("argv", shapes.BENIGN, ids=" ".join)
def test_what_only_looks_like_a_secret_is_left_alone(argv: list[str]) -> None:
    assert len(shapes.BENIGN) >= 40
    assert Redactor().text(joined(argv), True) == (joined(argv), False)
    assert Redactor().text(" ".join(argv).encode(), False) == (" ".join(argv).encode(), False)


@pytest.mark.parametrize(("kind", "field"), TEXT_FIELDS)
def test_every_text_that_may_carry_one_is_redacted(kind: str, field: str) -> None:
    text = b"/srv/token=hunter2hunter2"
    batches, _, _, _ = collect(config(), lambda source: send(source, kind, field, text, full_len=900))
    domain = schema.KIND_BY_NAME[kind].domain
    batch = tapio.RecordBatch.concat(batches)
    rows, places = live.of_kind(batch, kind)
    row = rows[0]
    assert len(rows) == 1 and batch.strings(domain, field)[places[0]] == b"/srv/token=***"
    assert row["flags"] & REDACTED and row[field]["full_len"] == 900 and row[field]["len"] == len(b"/srv/token=***")
    assert b"hunter2" not in shapes.bytes_of(batch)


def test_a_name_that_was_asked_for_is_redacted() -> None:
    """DNS names are made of the raw message while it is copied; redaction comes after."""
    message = b"\0\7\1\0\0\1" + bytes(6) + b"\x13token=hunter2hunter\3org\0\0\1\0\1"
    batches, _, _, _ = collect(config(), lambda source: send(source, "network.dns_query", "name", message))
    batch = tapio.RecordBatch.concat(batches)
    assert batch.strings("network", "name")[0] == b"token=***" and batch["network"]["flags"][0] & REDACTED
    assert b"hunter" not in shapes.bytes_of(batch)


@pytest.mark.parametrize(("kind", "field", "more"), [
    ("file.write", "data", {"count": 3}), ("meta.snapshot_socket", "data", {}), ("container.start", "cgroup_path", {}),
])
def test_bytes_that_are_no_text_are_left_alone(kind: str, field: str, more: dict[str, Any]) -> None:
    """Latencies, sockets, and control group paths, whose bytes may read like a secret."""
    text = b"token=hunter2hunter2".ljust(96, b"x")
    batches, stats, _, _ = collect(config(), lambda source: send(source, kind, field, text, **more))
    assert text in b"".join(shapes.bytes_of(batch) for batch in batches) and stats.redaction["rows"] == 0


@pytest.mark.parametrize("text", [
    "credentials:\n  password: hunter2", "secret:\n  token: hunter2", '{"credentials": {"password": "hunter2"}}', '{"token": {"secret": "hunter2"}}',
    "{'credentials': {'password': 'hunter2'}}", "sh -c tool --ask-pass --password hunter2", 'curl\0-d\0{"credentials": {"password": "hunter2"}}',
    "tool\0--no-password\0--password\0hunter2", "tool\0--ask-password\0--token\0hunter2", "tool\0--token\0--password\0hunter2",
    "docker\0run\0--secret\0--token\0hunter2", "gh\0auth\0login\0--with-token\0--password\0hunter2"])
def test_a_name_right_before_another_one_hides_nothing(text: str) -> None:
    left, found = Redactor().text(text.encode(), "\0" in text)
    assert found and b"hunter2" not in left and left.count(b"\0") == text.count("\0")


def test_the_users_own_filter_is_not_redacted() -> None:
    """RULES rows say what was collected; their text is the user's."""
    chosen = 'path == "token=hunter2hunter2"'
    with tapio.Collector(config(redact_patterns=["."]), source=tapio.MemorySource()) as collector:
        collector.fileno()
        collector.set_filter(chosen)        # whose row comes to a consumer for certain: that of the start may pass before there is one
        batches = live.drain(collector)
        rows = collector.stats().redaction["rows"]
    rules = [batch.strings("meta", "data")[i] for batch in batches for i in live.of_kind(batch, "meta.rules")[1]]
    assert rules[-1] == chosen.encode() and rows == 0


def test_own_patterns_cut_out_what_they_match() -> None:
    redactor = Redactor([b"customer-[0-9]+", rb"--pin \d{4}\b"])
    assert redactor.text(b"show\0customer-4711\0x") == (b"show\0***\0x", True)
    assert redactor.text(b"atm\0--pin\0" + b"1234\0x", True) == (b"atm\0***\0***\0x", True)       # NUL reads as a space, and stays
    assert redactor.text(b"customer-x") == (b"customer-x", False)


@pytest.mark.parametrize(("pattern", "offset", "says"), [
    ("a(b", 1, "has no )"), ("(a)\\1", 3, "refers back"), ("(a|b)*a(a|b){20}", 0, "4096 states"), ("x" * 1025, 1024, "longer than 1024"), ("", None, "empty"),
])
def test_a_wrong_pattern_is_told_by_key_and_offset(pattern: str, offset: int | None, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config(redact_patterns=["fine", pattern])
    assert caught.value.key == "dual_path.redact_patterns" and says in str(caught.value)
    assert offset is None or f"at offset {offset}" in str(caught.value)


def test_a_text_that_is_known_is_judged_once() -> None:
    def fill(source: tapio.MemorySource) -> None:
        for i in range(300):
            send(source, "file.open", "path", b"/srv/a file-%d" % (i % 3))
            send(source, "process.exec", "args", b"x\0--token=hunter2hunter%d" % (i % 3))

    batches, stats, _, debug = collect(config(), fill)
    assert stats.redaction["plain"] == 0        # a name and a value have a blank between them, or a sign
    assert (stats.redaction["misses"], stats.redaction["hits"], stats.redaction["rows"]) == (6, 594, 300)
    stage = next(stage for stage in debug.event_pipeline if stage["stage"] == "redaction")
    assert stage["misses"] == 6 and 1 << 20 < stage["bytes"] < 8 << 20
    assert {bytes(text) for batch in batches for text in batch.strings("process", "args")} == {b"x\0--token=***"}


@settings(max_examples=tier_size(300, 20_000), deadline=None)
@given(st.lists(st.tuples(st.integers(0, 400), st.integers(1, 3000)), min_size=1, max_size=60), st.randoms(use_true_random=False))
def test_the_cache_never_mixes_texts_up(texts: list[tuple[int, int]], rng: Any) -> None:
    """A redactor that has seen other texts, more than its cache holds, says what a fresh one says."""
    used = shared_redactor()
    for number, size in texts:
        secret = b" password=%d " % number if rng.random() < 0.5 else b""
        text = (b"%d," % number * size)[:size] + secret + b"tail"
        expected = text.replace(b"=%d " % number, b"=" + b"***"[:len(str(number))] + b" ") if secret else text
        for _ in range(2):
            assert used.text(text) == (expected, bool(secret))


_shared: list[Redactor] = []


def shared_redactor() -> Redactor:
    if not _shared:
        _shared.append(Redactor())
    return _shared[0]


@settings(max_examples=tier_size(1_000, 10_000), deadline=None)
@given(st.lists(st.sampled_from([b"password", b"--token", b"=", b":", b" ", b"\0", b"'", b'"', b"\\", b"://", b"@", b"a", b"mysql", b"-p", b"\n", b"curl",
                                 b"-u", b"$", b"{", b"sh", b"-c", b"Authorization", b"bearer ", b"-----BEGIN PRIVATE KEY-----", b"\xff", b"AKIA"]),
                max_size=30).map(b"".join), st.booleans())
def test_any_text_shrinks_keeps_its_arguments_and_is_clean_afterwards(text: bytes, argv: bool) -> None:
    redactor = Redactor()
    out, found = redactor.text(text, argv)
    assert len(out) <= len(text) and out.count(b"\0") == text.count(b"\0") and (found or out == text)
    assert redactor.text(text, argv) == (out, found)


def test_a_replay_is_not_redacted_again(tmp_path: Path) -> None:
    text = b"x\0--password=hunter2hunter2"
    first, _, _, _ = collect(config(tmp_path / "store", redact=False), lambda source: send(source, "process.exec", "args", text))
    with tapio.RawStore(str(tmp_path / "store")) as store, tapio.Collector(source=store.replay()) as collector:
        again = list(collector.batches(timeout=live.LIMIT))
        assert collector.stats().redaction == {}
    assert [bytes(t) for batch in again for t in batch.strings("process", "args")] == [text]
