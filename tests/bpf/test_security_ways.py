# SPDX-License-Identifier: Apache-2.0
"""What security records are made of, done in another way than usual: by threads, by other calls to the same end, with more bits than the
kernel looks at."""
from __future__ import annotations

import os
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
