# SPDX-License-Identifier: Apache-2.0
"""Debian kernels to boot, by package name: downloaded once, unpacked to build/vm/kernels/NAME (vmlinuz, modules, release).

The mirror is the one this machine's apt already uses, asked with lists of our own (like scripts/vendor.py). Which version a name means
is found out at run time: mirrors drop old ones.
"""
from __future__ import annotations

import dataclasses
import lzma
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
BUILD = ROOT / "build" / "vm"
sys.path.insert(0, str(ROOT / "scripts"))

import vendor  # noqa: E402

# What some tests need and Debian builds as modules; what these need comes along.
MODULES = ["virtio_pci", "virtio_blk", "veth", "dummy", "sch_netem", "overlay"]


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A kernel of Debian's: the suite and archive that have it, the package, and what its command line must say."""

    name: str
    suite: str
    archive: str = "debian"
    package: str = "linux-image-cloud-amd64"
    cmdline: str = ""

    @property
    def folder(self) -> Path:
        """Where it is unpacked."""
        return BUILD / "kernels" / self.name

    @property
    def release(self) -> str:
        """What uname -r says in it."""
        return (self.folder / "release").read_text().strip()


KERNELS = {k.name: k for k in (
    # its default list of LSMs lacks bpf
    Kernel("5.10", "bullseye-security", "debian-security", cmdline="lsm=lockdown,yama,apparmor,bpf"),
    Kernel("6.1", "bookworm"),
    Kernel("6.12", "trixie"),
    Kernel("backport", "trixie-backports"),
)}


class KernelError(Exception):
    """A kernel could not be had; its text is one sentence."""


class Archive(vendor.Mirror):
    """Debian's binary packages, by the private apt lists of scripts/vendor.py."""

    def use(self, kernel: Kernel) -> None:
        """Read the lists of the suite that has this kernel."""
        base = re.sub(r"debian/?$", kernel.archive, self.base)
        (self.work / "sources.list").write_text(f"deb {self.option}{base} {kernel.suite} main\n")
        (self.work / "status").write_text("")
        code, said = vendor.run(["apt-get", *self._options(), "update"], self.work)
        errors = [line for line in said.splitlines() if line.startswith(("E:", "W: Failed", "Err:"))]
        if code or errors:
            raise KernelError(f"apt-get update for {kernel.suite} failed: {errors[0] if errors else said.strip()[-200:]}")

    def _options(self) -> list[str]:
        # an empty status file: nothing is installed, and nothing of this machine's own decides
        return [*super()._options(), "-o", f"Dir::State::status={self.work / 'status'}", "-o", "APT::Architecture=amd64"]

    def _field(self, package: str, field: str) -> str:
        _, said = vendor.run(["apt-cache", *self._options(), "--no-all-versions", "show", package], self.work)
        found = re.search(rf"^{field}: (.*)$", said, re.MULTILINE)
        return found.group(1) if found else ""

    def parts(self, package: str) -> list[str]:
        """The package and the kernel packages that it needs: a name without a version leads to the image, that to its parts."""
        found, todo = [], [package]
        while todo:
            name = todo.pop()
            if name in found:
                continue
            found.append(name)
            depends = re.findall(r"[^\s,|]+", re.sub(r"\([^)]*\)", "", self._field(name, "Depends")))
            todo += [d for d in depends if re.match(r"linux-(image|binary|modules)-", d)]
        return found

    def download(self, package: str) -> Path:
        """Get one package; return its file."""
        code, said = vendor.run(["apt-get", *self._options(), "download", package], self.work / "get")
        files = list((self.work / "get").glob(f"{package}_*.deb"))
        if code or not files:
            raise KernelError(f"apt-get download {package} failed: {said.strip()[-200:]}")
        return files[0]


def fetch(kernel: Kernel) -> Kernel:
    """Download and unpack a kernel, unless it is there."""
    if (kernel.folder / "release").is_file():
        return kernel
    fresh = kernel.folder.with_name(kernel.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="tapio-kernel-") as work:
        archive = Archive(Path(work))
        archive.use(kernel)
        for package in archive.parts(kernel.package)[1:]:       # the first is only a name for the newest, and empty
            deb = archive.download(package)
            subprocess.run(["dpkg-deb", "-x", deb, Path(work) / "root"], check=True)
        _keep(Path(work) / "root", fresh)
    shutil.rmtree(kernel.folder, ignore_errors=True)
    fresh.rename(kernel.folder)
    return kernel


def _keep(root: Path, folder: Path) -> None:
    """Keep the kernel, and the modules in the order in which they must be loaded."""
    images = [p for p in root.rglob("vmlinuz*") if p.is_file()]
    trees = [p for p in root.rglob("modules/*") if (p / "kernel").is_dir()]
    if len(images) != 1 or len(trees) != 1:
        raise KernelError(f"the packages hold {len(images)} kernels and {len(trees)} module trees, not one of each")
    shutil.copy(images[0], folder / "vmlinuz")
    there = {re.sub(r"\.ko.*", "", p.name).replace("-", "_"): p for p in trees[0].rglob("*.ko*")}
    order: list[str] = []

    def add(name: str) -> None:
        if name in order or name not in there:
            return          # built in, where it is not there
        data = _plain(there[name])
        found = re.search(rb"\0depends=([^\0]*)\0", data)
        for need in filter(None, found.group(1).decode().split(",")) if found else ():
            add(need.replace("-", "_"))
        (folder / f"{name}.ko").write_bytes(data)
        order.append(name)

    for name in MODULES:
        add(name)
    (folder / "order").write_text("".join(f"{name}\n" for name in order))
    (folder / "release").write_text(trees[0].name + "\n")


def _plain(path: Path) -> bytes:
    data = path.read_bytes()
    return lzma.decompress(data) if path.suffix == ".xz" else data
