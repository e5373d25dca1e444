# SPDX-License-Identifier: Apache-2.0
"""Signal and rename records: who is the subject, who the target, who really sent."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import live_support as live
import numpy as np
import pytest

pytestmark = [pytest.mark.root, pytest.mark.live]

USER_CLAIMED, CGROUP_V1, KERNEL_SENDER = 1 << 1, 1 << 6, 1 << 9


def signals(batch: Any, number: int) -> np.ndarray:
    """Signal records of one number."""
    rows, _ = live.of_kind(batch, "process.signal")
    return rows[rows["signal"] == number]


@pytest.mark.parametrize("how", ["kill", "tgkill", "sigqueue"])
def test_signal_between_processes(triggers: Path, how: str) -> None:
    """The family process is the target; it is ended by the signal."""
    with live.Helper("processes.py") as helper:
        target = helper.call("start_family")
        with live.watching(helper) as collector:
            sender = helper.call("child", exe=str(triggers / "t_signal"), argv=["a", how, str(target["pid"]), "12"])
            helper.call("end_family", number=0)
            batch = live.everything(collector)
        assert sender["status"] == 0
        rows = signals(batch, 12)
    assert rows["pid"].tolist() == rows["tid"].tolist() == [sender["pid"]]
    assert rows["target_pid"].tolist() == [target["pid"]]
    assert rows["comm"].tolist() == [b"t_signal"]
    assert not int(rows["flags"][0]) & ~(CGROUP_V1 | live.WEAK_SEQ)
    assert sender["before"] <= rows["ts_ns"][0] <= sender["after"]
    exits, _ = live.of_kind(batch, "process.exit")
    assert dict(zip(exits["pid"].tolist(), exits["signal"].tolist(), strict=True)).get(target["pid"]) == 12


def test_signals_of_the_kernel_have_the_target_as_subject(triggers: Path) -> None:
    with live.Helper("processes.py") as helper, live.watching(helper) as collector:
        crash = helper.call("child", exe=str(triggers / "t_signal"), argv=["a", "segv"])
        batch = live.everything(collector)
    rows = signals(batch, 11)
    assert rows["pid"].tolist() == rows["target_pid"].tolist() == [crash["pid"]]
    assert int(rows["flags"][0]) & ~(CGROUP_V1 | live.WEAK_SEQ) == KERNEL_SENDER
    assert len(signals(batch, 17)) == 0, "SIGCHLD is ignored by the helper: it was never queued"
    exits, _ = live.of_kind(batch, "process.exit")
    assert exits["signal"].tolist() == [11] and exits["exit_code"].tolist() == [0]


def test_timer_signal_is_the_kernels(triggers: Path) -> None:
    with live.Helper("processes.py") as helper, live.watching(helper) as collector:
        fact = helper.call("child", exe=str(triggers / "t_signal"), argv=["a", "alarm"])
        rows = signals(live.everything(collector), 14)
    assert rows["pid"].tolist() == rows["target_pid"].tolist() == [fact["pid"]]
    assert rows["flags"][0] & KERNEL_SENDER


def test_ignored_signal_has_no_record(triggers: Path) -> None:
    with live.Helper("processes.py") as helper, live.watching(helper) as collector:
        fact = helper.call("child", exe=str(triggers / "t_signal"), argv=["a", "ignored", "10"])
        batch = live.everything(collector)
    assert fact["status"] == 0
    assert len(signals(batch, 10)) == 0
    assert len(live.of_kind(batch, "process.exit")[0]) == 1     # the rest of it is there


def test_renames(triggers: Path) -> None:
    with live.Helper("processes.py") as helper, live.watching(helper) as collector:
        names = ["first", "a name too long for a comm", "th\xff"]
        fact = helper.call("child_output", exe=str(triggers / "t_rename"), argv=["a", *names])
        batch = live.everything(collector)
    rows, places = live.of_kind(batch, "process.rename")
    order = np.argsort(rows["ts_ns"])
    rows, places = rows[order], places[order]
    new = batch.strings("process", "args")
    thread = int(fact["output"])
    cut = b"a name too long"
    assert rows["comm"].tolist() == [b"t_rename", b"first", cut]
    assert [new[int(place)] for place in places] == [b"first", cut, "th\xff".encode("latin-1")]
    assert rows["pid"].tolist() == rows["target_pid"].tolist() == [fact["pid"]] * 3
    assert rows["tid"].tolist() == [fact["pid"], fact["pid"], thread]
    assert (np.diff(rows["ts_ns"].astype(np.int64)) > 0).all()


def test_own_process_is_left_out_and_counted(triggers: Path) -> None:
    """What the collecting process does itself has no record, not even when it renames itself."""
    import ctypes
    import os

    import tapio_fast as tapio

    with tapio.Collector(filter=tapio.KernelFilter(pids=[os.getpid()]), source=tapio.KernelSource(snapshot=False)) as collector:
        collector.fileno()
        libc = ctypes.CDLL(None)
        old = Path("/proc/self/comm").read_bytes()[:-1]
        for _ in range(10):
            libc.prctl(15, b"own-name", 0, 0, 0)
        libc.prctl(15, old, 0, 0, 0)
        batch = live.everything(collector)
        live.adds_up(collector)
    assert len(batch["process"]) == 0
