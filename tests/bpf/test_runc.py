# SPDX-License-Identifier: Apache-2.0
"""Real containers: life, ids, namespaces, and every way out that is recorded, against what runc, /proc and the test itself say."""
from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import live_support as live
import numpy as np
import pytest
import runc_support as runc

from tapio_fast import RecordBatch
from tapio_fast.config import load

pytestmark = [pytest.mark.root, pytest.mark.live, pytest.mark.runc]

CORE_PATTERN, RELEASE_AGENT, HOST_DEVICE, HOST_MOUNT, HOST_NAMESPACE = 49, 50, 51, 52, 53     # enum tf_action
USER_CLAIMED = 2
DOCKER, RUNC = 2, 6     # enum tf_runtime
NEWNS, NEWPID = 0x20000, 0x20000000
CONFIG = load({"programs.process.enabled": False, "programs.network.enabled": False, "programs.memory.enabled": False,
               "programs.container.enabled": True}, env={}).config
HEX = "0123456789abcdef" * 4
FIELDS = {"mnt": "mnt_ns", "pid": "pid_ns", "net": "net_ns", "user": "user_ns", "ipc": "ipc_ns", "uts": "uts_ns", "cgroup": "cgroup_ns",
          "time": "time_ns"}


@pytest.fixture
def helper() -> Iterator[live.Helper]:
    with live.Helper("containers.py") as helper:
        yield helper


def found(batch: RecordBatch, kind: str) -> list[dict[str, Any]]:
    """Records of one kind as dictionaries, texts as bytes."""
    rows, places = live.of_kind(batch, f"container.{kind}")
    out = []
    for row, place in zip(rows, places, strict=True):
        one = {name: row[name] for name in rows.dtype.names if rows.dtype[name].names is None}
        out.append(one | {name: bytes(batch.strings("container", name)[int(place)]) for name in ("cgroup_path", "container_id", "path")})
    return out


def of_pid(batch: RecordBatch, kind: str, pid: int) -> dict[str, Any]:
    one, = (row for row in found(batch, kind) if row["pid"] == pid)
    return one


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Three containers: two at the same time that are killed, with an exec into one; one that ends by itself."""
    folder, out = tmp_path_factory.mktemp("life"), {}
    with live.Helper("containers.py") as helper, live.watching(helper, config=CONFIG) as collector:
        with runc.box(helper, folder, ["sleep", "1000"], cgroup=f"docker/{HEX}") as one, runc.box(helper, folder, ["sleep", "1000"]) as two:
            for name, box in (("docker", one), ("runc", two)):
                out[name] = {"pid": box.start(), "box": box, "ids": runc.cgroup_ids(box.cgroup)}
                out[name]["spaces"] = helper.call("spaces", pid=box.pid)
                out[name]["group"] = live.cgroup_of(box.pid)
            inside = two.runc("exec", two.name, "echo", "inside")
            assert inside["output"] == "inside\n"
            for box in (one, two):
                box.stop()
                assert box.delete()["status"] == 0
        with runc.box(helper, folder, ["sh", "-c", "exec sh -c 'exit 3'"]) as three:    # a second exec is no second start
            done = three.run()
            assert done["status"] == 3
            out["short"] = {"pid": three.pid, "box": three}
        out["batch"] = live.everything(collector)
        live.adds_up(collector)
    return out


@pytest.mark.parametrize(("name", "runtime"), [("docker", DOCKER), ("runc", RUNC), ("short", RUNC)])
def test_start_and_stop_once_each(life: dict[str, Any], name: str, runtime: int) -> None:
    box, pid = life[name]["box"], life[name]["pid"]
    container_id = HEX if name == "docker" else box.cgroup.rsplit("/", 1)[1]
    start, stop = of_pid(life["batch"], "start", pid), of_pid(life["batch"], "stop", pid)
    for row in (start, stop):
        assert (row["container_id"].decode(), row["runtime"]) == (container_id, runtime)
        assert row["cgroup_path"].decode() == box.cgroup and row["path"] == b""
        assert (row["tid"], row["target_pid"], row["uid"], row["errno"], row["action"], row["ns_flags"]) == (pid, pid, 0, 0, 0, 0)
        assert row["comm"] == (b"sh" if name == "short" else b"sleep") and row["object_id"] == row["cgroup_id"]
    assert start["ts_ns"] < stop["ts_ns"] and start["start_ns"] == stop["start_ns"]


def test_nobody_else_starts_or_stops(life: dict[str, Any]) -> None:
    """runc exec joins the namespaces of a container; it does not start one."""
    pids = sorted(life[name]["pid"] for name in ("docker", "runc", "short"))
    for kind in ("start", "stop"):
        assert sorted(int(row["pid"]) for row in found(life["batch"], kind)) == pids


@pytest.mark.parametrize("name", ["docker", "runc"])
def test_namespaces_and_group_are_those_of_proc(life: dict[str, Any], name: str) -> None:
    row = of_pid(life["batch"], "start", life[name]["pid"])
    assert {space: row[field] for space, field in FIELDS.items()} == {space: life[name]["spaces"][space] for space in FIELDS}
    assert (row["cgroup_id"], bool(row["flags"] & 1 << 6)) == life[name]["group"]


@pytest.mark.parametrize("name", ["docker", "runc"])
def test_its_control_groups(life: dict[str, Any], name: str) -> None:
    """One of each hierarchy that matters: made, entered by the first process, emptied, removed."""
    path, ids = life[name]["box"].cgroup.encode(), life[name]["ids"]
    for kind in ("create", "empty", "destroy"):
        assert sorted(int(row["object_id"]) for row in found(life["batch"], kind) if row["cgroup_path"] == path) == sorted(ids), kind
    attached = {int(row["object_id"]) for row in found(life["batch"], "attach") if row["cgroup_path"] == path}
    assert attached == set(ids)


def test_ordinary_work_is_no_escape(life: dict[str, Any], helper: live.Helper, tmp_path: Path) -> None:
    work = ("id; ls -R /proc/self /dev /sys/kernel >/dev/null 2>&1; cat /proc/sys/kernel/core_pattern /dev/null; "
            "echo x > /tmp/core_pattern; "
            "mkdir /tmp/d; echo y > /tmp/d/release_agent; mount -t tmpfs tmpfs /mnt; mount --bind /tmp /mnt; cat /dev/sda; "
            "ps; rm -r /tmp/d; true")
    with live.watching(helper, config=CONFIG) as collector:
        with runc.box(helper, tmp_path, ["sh", "-c", work]) as box:
            assert box.run()["status"] == 0
        batch = live.everything(collector)
        stats = live.adds_up(collector)
    assert found(batch, "escape") == found(life["batch"], "escape") == []
    assert "container.escape" not in stats.by_kind and len(found(batch, "start")) == 1      # not even seen


def escapes(helper: live.Helper, folder: Path, script: str, **options: Any) -> tuple[list[dict[str, Any]], str]:
    """Run a script in a container with all rights; its escape records in order, and what it said."""
    options.setdefault("privileged", True)
    with live.watching(helper, config=CONFIG) as collector:
        with runc.box(helper, folder, ["sh", "-c", script], **options) as box:
            done = box.run()
        batch = live.everything(collector)
        live.adds_up(collector)
    rows = found(batch, "escape")
    container_id = box.cgroup.rsplit("/", 1)[1].encode()
    assert all((row["container_id"], row["runtime"], row["cgroup_path"]) == (container_id, RUNC, box.cgroup.encode()) for row in rows)
    return rows, done["output"]


def brief(row: dict[str, Any]) -> tuple[int, bytes, int, bool]:
    return int(row["action"]), row["path"], int(row["errno"]), bool(row["flags"] & USER_CLAIMED)


def test_devices_and_kernel_files(helper: live.Helper, tmp_path: Path) -> None:
    """Nothing is written: opening for it is what counts. The names are the container's own, the objects the kernel's."""
    pattern = Path("/proc/sys/kernel/core_pattern").read_bytes()
    script = ("mknod /tmp/blk b 7 7; true < /tmp/blk; mknod /tmp/k c 1 11; true < /tmp/k; mknod /tmp/n c 1 3; true < /tmp/n; "
              "true 3>>/proc/sys/kernel/core_pattern; mount -t proc p /mnt; true 3<>/mnt/sys/kernel/core_pattern; "
              "true < /mnt/sys/kernel/core_pattern; "
              "mkdir /tmp/c; mount -t cgroup -o memory c /tmp/c && true 3>>/tmp/c/release_agent")
    v1 = "memory" in live._mounts()
    rows, said = escapes(helper, tmp_path, script + "; ls -i /tmp/blk /tmp/k", shared=("cgroup",))
    want = [(HOST_DEVICE, b"/tmp/blk", 0, False), (HOST_DEVICE, b"/tmp/k", 0, False), (CORE_PATTERN, b"/proc/sys/kernel/core_pattern", 0,
                                                                                       False),
            (CORE_PATTERN, b"/mnt/sys/kernel/core_pattern", 0, False)] + [(RELEASE_AGENT, b"/tmp/c/release_agent", 0, False)] * v1
    assert [brief(row) for row in rows] == want, said
    assert [int(row["inode"]) for row in rows[:2]] == [int(line.split()[0]) for line in said.splitlines()[-2:]]
    assert Path("/proc/sys/kernel/core_pattern").read_bytes() == pattern


def test_refused_attempts(helper: live.Helper, tmp_path: Path) -> None:
    """The real root device: read-only, hence refused while the host has it mounted for writing; a bad disk; a pid namespace above."""
    root = os.stat("/").st_dev
    script = (f"mknod /tmp/root b {os.major(root)} {os.minor(root)}; mount -r -t ext4 /tmp/root /mnt; "
              "mount -t xfs /dev/loop7 /mnt; nsenter --pid=/host/pid true")
    rows, said = escapes(helper, tmp_path, script, binds={"/host/pid": f"/proc/{helper.pid}/ns/pid"})
    mounts = [row for row in rows if row["action"] == HOST_MOUNT]
    assert [row["path"] for row in mounts] == [b"/tmp/root", b"/dev/loop7"], said
    assert all(row["errno"] and row["flags"] & USER_CLAIMED for row in mounts)
    pid = [row for row in rows if row["action"] == HOST_NAMESPACE]
    assert [(row["ns_flags"], row["errno"], row["inode"]) for row in pid] == [(NEWPID, 22, os.stat("/proc/self/ns/pid").st_ino)], said


@pytest.mark.skipif(not shutil.which("mke2fs") or not shutil.which("losetup"), reason="needs mke2fs and losetup")
def test_a_disk_mounted_inside(helper: live.Helper, tmp_path: Path) -> None:
    """A disk of the test's own, under a name of the container's own: told by the new mount's block device."""
    image = tmp_path / "image"
    image.write_bytes(bytes(1 << 20))
    subprocess.run(["mke2fs", "-q", "-F", image], check=True, timeout=30)
    loop = subprocess.run(["losetup", "--find", "--show", image], check=True, timeout=30, capture_output=True, text=True).stdout.strip()
    try:
        number = os.stat(loop).st_rdev
        script = (f"mknod /tmp/disk b {os.major(number)} {os.minor(number)}; mount -t ext4 -o ro /tmp/disk /mnt && umount /mnt; "
              "mount -t tmpfs t /mnt")
        rows, said = escapes(helper, tmp_path, script)
        assert [brief(row) for row in rows] == [(HOST_MOUNT, b"/tmp/disk", 0, False)], said
        assert rows[0]["inode"] == 2        # the root directory of an ext file system
    finally:
        subprocess.run(["losetup", "--detach", loop], check=True, timeout=30)


def test_a_container_without_rights_tries(helper: live.Helper, tmp_path: Path) -> None:
    """/proc/sys is read-only in it, and the right to open disks is not given."""
    rows, said = escapes(helper, tmp_path, "true 3>>/proc/sys/kernel/core_pattern; true; mount -t ext4 /dev/sda /mnt", privileged=False)
    assert [brief(row) for row in rows] == [(CORE_PATTERN, b"/proc/sys/kernel/core_pattern", 30, True), (HOST_MOUNT, b"/dev/sda", 1,
                                                                                                         True)], said


def test_into_the_hosts_mount_namespace(helper: live.Helper, tmp_path: Path) -> None:
    """A container that shares the host's processes enters the mount namespace of one that the test started."""
    with live.Helper("containers.py") as outside:
        rows, said = escapes(helper, tmp_path, f"nsenter --mount=/proc/{outside.pid}/ns/mnt true", shared=("pid",))
    host = os.stat("/proc/self/ns/mnt").st_ino
    assert [(row["action"], row["ns_flags"], row["errno"], row["inode"], row["mnt_ns"]) for row in rows] == [(HOST_NAMESPACE, NEWNS, 0,
                                                                                                              host, host)], said


def test_the_hosts_root_mounted_inside(helper: live.Helper, tmp_path: Path) -> None:
    """By the runtime, and again by what runs in it: told by the directory that the new mount shows, whatever its source is called."""
    rows, said = escapes(helper, tmp_path, "mount --bind /host /mnt && mount --bind /tmp /dev && umount /mnt", binds={"/host": "/"})
    assert [row["action"] for row in rows] == [HOST_MOUNT] * 2, said
    assert [row["inode"] for row in rows] == [os.stat("/").st_ino] * 2 and not any(row["errno"] or row["flags"] & USER_CLAIMED
                                                                                   for row in rows)
    assert np.unique([int(row["pid"]) for row in rows]).size == 2
