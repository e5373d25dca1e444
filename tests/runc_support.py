# SPDX-License-Identifier: Apache-2.0
"""Real containers by runc: a busybox root file system and a config.json in a temporary folder; every container is removed at the end."""
from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import live_support as live

CAPABILITIES = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_NET_BIND_SERVICE"]
NAMESPACES = ["pid", "network", "ipc", "uts", "mount", "cgroup"]
TOOLS = ["sh", "sleep", "mount", "umount", "mknod", "nsenter", "cat", "ls", "mkdir", "echo", "true", "touch", "rm", "id", "ps", "unshare"]


def _mounts(privileged: bool) -> list[dict[str, Any]]:
    return [{"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"]},
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid"] if privileged else ["nosuid", "ro"]}]


def _own_capabilities() -> list[str]:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff"))
    names = ("CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST "
             "NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE "
             "SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG").split()
    bits = int(line.split()[1], 16)
    return [f"CAP_{name}" for i, name in enumerate(names) if bits >> i & 1]


def spec(args: list[str], *, cgroup: str, privileged: bool = False, binds: dict[str, str] | None = None,
         shared: tuple[str, ...] = ()) -> dict[str, Any]:
    """A config.json: all namespaces but user, time and those shared with the host; privileged: all our capabilities and every device.

    binds : inside -> outside, read-only
    """
    mounts = [{"destination": inside, "type": "bind", "source": outside, "options": ["bind", "ro"]} for inside, outside in (binds
                                                                                                                            or {}).items()]
    caps = _own_capabilities() if privileged else CAPABILITIES
    linux: dict[str, Any] = {"namespaces": [{"type": name} for name in NAMESPACES if name not in shared], "cgroupsPath": cgroup,
                             "resources": {"devices": [{"allow": privileged, "access": "rwm"}]}}
    if not privileged:
        linux |= {"readonlyPaths": ["/proc/sys", "/proc/sysrq-trigger"], "maskedPaths": ["/proc/kcore"]}
    return {"ociVersion": "1.0.2", "hostname": "box", "root": {"path": "rootfs"}, "mounts": [*_mounts(privileged), *mounts],
            "process": {"user": {"uid": 0, "gid": 0}, "args": args, "env": ["PATH=/bin"], "cwd": "/",
                        "capabilities": {which: caps for which in ("bounding", "effective", "permitted")}},
            "linux": linux}


class Box:
    """One container. Everything that runs it is a child of the helper, so that a collector follows it."""

    def __init__(self, helper: live.Helper, folder: Path, config: dict[str, Any]) -> None:
        self.name = f"tf-{uuid.uuid4().hex[:12]}"
        self.helper, self.bundle, self.state = helper, folder / self.name, folder / "state"
        rootfs = self.bundle / "rootfs"
        for name in ("bin", "proc", "dev", "tmp", "sys", "mnt", "host"):
            (rootfs / name).mkdir(parents=True)
        shutil.copy(shutil.which("busybox") or "busybox", rootfs / "bin/busybox")
        for tool in TOOLS:
            (rootfs / "bin" / tool).symlink_to("busybox")
        self.cgroup = config["linux"]["cgroupsPath"]
        (self.bundle / "config.json").write_text(json.dumps(config))

    def runc(self, *args: str) -> dict[str, Any]:
        """Run runc as a child of the helper; {"pid", "status", "output"}."""
        done: dict[str, Any] = self.helper.call("run", argv=["runc", "--root", str(self.state), *args], cwd=str(self.bundle))
        return done

    def run(self) -> dict[str, Any]:
        """Run it in the foreground, to its end."""
        return self.runc("run", "--pid-file", str(self.bundle / "pid"), self.name)

    def start(self) -> int:
        """Run it in the background; the pid of its first process."""
        done = self.runc("run", "--detach", "--pid-file", str(self.bundle / "pid"), self.name)
        assert done["status"] == 0, done["output"]
        return self.pid

    @property
    def pid(self) -> int:
        """Its first process, in the host's numbers, as runc says."""
        return int((self.bundle / "pid").read_text())

    def stop(self) -> None:
        """Kill it, and wait until its first process is gone."""
        done = self.runc("kill", self.name, "KILL")
        assert done["status"] == 0, done["output"]
        live.wait_for(lambda: self.helper.call("reap", pid=self.pid))

    def delete(self) -> dict[str, Any]:
        """Remove it, running or not."""
        return self.runc("delete", "--force", self.name)


def cgroup_ids(path: str) -> dict[int, bool]:
    """Ids of this path's control groups in the hierarchies that records are about: id -> whether it is version 1."""
    mounts = live._mounts()
    v1 = next((name for name in ("memory", "pids") if name in mounts), None)
    found = {}
    for where, old in ((mounts.get(""), False), (mounts.get(v1) if v1 else None, True)):
        if where is not None and (where / path.lstrip("/")).is_dir():
            found[os.stat(where / path.lstrip("/")).st_ino] = old
    return found


@contextlib.contextmanager
def box(helper: live.Helper, folder: Path, args: list[str], *, cgroup: str = "runc/{}", **options: Any) -> Iterator[Box]:
    """A container that is there for the time of the block. cgroup: {} stands for a name of its own."""
    top = f"tapio_fast_test_{os.getpid()}_{uuid.uuid4().hex[:8]}"
    made = Box(helper, folder, spec(args, cgroup=f"/{top}/" + cgroup.format(uuid.uuid4().hex[:12]), **options))
    try:
        yield made
    finally:
        done = subprocess.run(["runc", "--root", str(made.state), "delete", "--force", made.name], capture_output=True, text=True,
                              timeout=60, check=False)
        assert done.returncode == 0 or "does not exist" in done.stderr, done.stderr
        for where in {*live._mounts().values()}:
            for folder, _, _ in os.walk(where / top, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(folder)
