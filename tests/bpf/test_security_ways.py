# SPDX-License-Identifier: Apache-2.0
"""What security records are made of, done in another way than usual: by threads, by other calls to the same end, with more bits than the
kernel looks at."""
from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import live_support as live
import numpy as np
import pytest

from tapio_fast.config import load
from tapio_fast.types import SecurityAction as A

pytestmark = [pytest.mark.root, pytest.mark.live, pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of x86-64")]

NEWUTS, SOCK_PACKET, SHM_EXEC, SHM_RDONLY = 0x04000000, 10, 0o100000, 0o10000
NOISE = 0xDEAD << 32


def do(events: list[str], *steps: list[Any], work: str = "calls", sensitive: Iterable[Path] = (),
       **more: Any) -> tuple[dict[str, Any], np.ndarray, list[bytes]]:
    """Let a child make system calls, or do other work: what it said, and the security rows that it caused, in order, with their paths."""
    config = load({**{f"programs.{name}.enabled": name == "security" for name in
                      ("process", "network", "file", "security", "container", "memory")}, "programs.security.events": events,
                   "programs.security.sensitive_paths": [str(path) for path in sensitive]}, env={}).config
    with live.Helper("security.py") as helper, live.watching(helper, config=config) as collector:
        told: dict[str, Any] = helper.call("do", work=work, **({"steps": steps} if steps else {}), **more)
        batch = live.everything(collector)
        live.adds_up(collector)
    rows = batch["security"]
    mine = np.flatnonzero(rows["pid"] == told["pid"])
    return told, rows[mine], [batch.strings("security", "path")[int(i)] for i in mine]


def test_threads_in_namespaces_of_their_own() -> None:
    told, rows, _ = do(["namespace"], work="new_thread", flags=NEWUTS)
    (made,) = rows
    assert (made["action"], made["value"], made["target_pid"]) == (A.CLONE, NEWUTS, told["results"][0])
    assert not len(do(["namespace"], work="new_thread", flags=0)[1])


def test_sockets_of_packets_and_of_netlink() -> None:
    """The old way to an AF_PACKET socket is one; raw sockets of netlink, which every getaddrinfo opens, are not raw."""
    told, rows, _ = do(["raw_socket"], [41, 2, SOCK_PACKET, 0x300], [41, 16, 3, 0], [41, 2, 1, 0], [41, 16, 2, 0], [41, 17, 2, 0], [41, 2, 3, 1])
    assert min(told["results"]) >= 0
    assert [(int(r["family"]), int(r["value"]), int(r["object_id"])) for r in rows] == [
        (family, kind, told["results"][i]) for i, family, kind in ((0, 2, SOCK_PACKET), (4, 17, 2), (5, 2, 3))]


def test_shared_memory_that_may_be_executed() -> None:
    """System V: writable unless it says otherwise."""
    told, rows, _ = do(["writable_code"], [29, 0, 4096, 0o1700], *([30, {"step": 0}, 0, flags] for flags in (SHM_EXEC, 0, SHM_EXEC | SHM_RDONLY)),
                       [31, {"step": 0}, 0, 0], [30, -1, 0, SHM_EXEC])
    assert min(told["results"][:5]) >= 0 > told["results"][5]
    assert [(int(r["action"]), int(r["value"]), int(r["object_id"]), int(r["errno"])) for r in rows] == [
        (A.SHMAT, 7, told["results"][1], 0), (A.SHMAT, 7, 0, -told["results"][5])]


def test_flags_of_refused_opens(tmp_path: Path) -> None:
    """Those of the open, wherever the call has them; the kernel looks at 32 bits."""
    for part in (tmp_path, *tmp_path.parents[:2]):
        part.chmod(0o755)
    (tmp_path / "secret").touch(0o600)
    told, rows, paths = do(["access_denied"], [85, "secret", 0o644], [437, -100, "secret", {"buf": struct.pack("<3Q", 1, 0, 0).hex()}, 24],
                           [2, "secret", NOISE | 1, 0], uid=1000, cwd=str(tmp_path))
    assert told["results"] == [-13] * 3
    assert rows["value"].tolist() == [os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 1, 1]
    assert paths == [os.fsencode(tmp_path / "secret")] * 3


def test_integers_have_32_bits() -> None:
    """Whatever the caller left in the upper half of a register."""
    steps: list[list[Any]] = [[166, "none", NOISE | 2], [429, -100, "none", -100, "none", NOISE | 4], [428, -100, "none", NOISE | 1],
                              [442, -100, "none", NOISE | 0x100, {"buf": "00" * 32}, 32], [432, -1, NOISE | 1, 0], [319, "x", NOISE | 1],
                              [313, NOISE | 999, "", NOISE | 3], [176, "tf_no_module", NOISE | 0x800], [438, -1, NOISE | 5, 0]]
    told, rows, _ = do(["mount", "memfd", "module_load", "process_vm"], *steps)
    values = rows["value"].tolist()
    assert values == [2, 4, 1, 0x100, 1, 1, 3, 0x800, 5]
    assert (rows["object_id"][5], rows["object_id"][6]) == (told["results"][5], 999)
