# SPDX-License-Identifier: Apache-2.0
"""Debian kernels to boot, by package name: downloaded once, unpacked to build/vm/kernels/NAME (vmlinuz, modules, release).

The mirror is the one this machine's apt already uses, asked with lists of our own (like scripts/vendor.py). Which version a name means is
found out at run time, from the index as it is now: point releases drop old versions, and a mirror's index can name what it no longer has.
So an archive that fails is asked again with a fresh index, then the next one that has the package. apt checks signatures and checksums.

    python tests/vm/kernels.py [NAME ...]       fetch them now
"""
from __future__ import annotations

import dataclasses
import hashlib
import lzma
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
BUILD = ROOT / "build" / "vm"
sys.path.insert(0, str(ROOT / "scripts"))

import vendor  # noqa: E402

# What some tests need and Debian builds as modules; what these need comes along.
MODULES = ["virtio_pci", "virtio_blk", "veth", "dummy", "sch_netem", "overlay", "loop"]
TRIES = 3           # of every archive
PAUSE = 10.0        # s: between them, a mirror that is being updated needs a moment


MAIN, SECURITY = "debian", "debian-security"


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A kernel of Debian's: the suites that have it (with their archive, the first the best), the package, and what its command line must
    say."""

    name: str
    suites: tuple[tuple[str, str], ...]
    package: str = "linux-image-cloud-amd64"
    cmdline: str = ""
    hooks: bool = True          # nothing of tests/bpf/test_hooks.py may skip in it

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
    Kernel("5.10", (("bullseye-security", SECURITY),), cmdline="lsm=lockdown,yama,apparmor,bpf", hooks=False),
    Kernel("6.1", (("bookworm", MAIN), ("bookworm-security", SECURITY), ("bookworm-updates", MAIN))),
    Kernel("6.12", (("trixie", MAIN), ("trixie-security", SECURITY)), hooks=False),
    Kernel("backport", (("trixie-backports", MAIN),), hooks=False),
)}


class KernelError(Exception):
    """A kernel could not be had; its text is one sentence."""


class Archive(vendor.Mirror):
    """Debian's binary packages, by the private apt lists of scripts/vendor.py."""

    def use(self, suite: str, archive: str) -> None:
        """Read the lists of a suite, afresh."""
        base = re.sub(r"debian/?$", archive, self.base)
        (self.work / "sources.list").write_text(f"deb {self.option}{base} {suite} main\n")
        (self.work / "status").write_text("")
        code, said = vendor.run(["apt-get", *self._options(), "update"], self.work)
        errors = [line for line in said.splitlines() if line.startswith(("E:", "W: Failed", "Err:"))]
        if code or errors:
            raise KernelError(f"apt-get update for {suite} failed: {errors[0] if errors else said.strip()[-200:]}")

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
        if len(found) < 2:
            raise KernelError(f"the index names no package of a kernel for {package}")
        return found[1:]        # the first is only a name for the newest, and empty

    def download(self, package: str) -> Path:
        """Get one package; return its file."""
        code, said = vendor.run(["apt-get", *self._options(), "download", package], self.work / "get")
        files = list((self.work / "get").glob(f"{package}_*.deb"))
        if code or len(files) != 1:
            raise KernelError(f"apt-get download {package} failed: {said.strip()[-200:]}")
        if hashlib.sha256(files[0].read_bytes()).hexdigest() != self._field(package, "SHA256"):
            raise KernelError(f"{files[0].name} is not the file that the index names")
        return files[0]


def fetch(kernel: Kernel) -> Kernel:
    """Download and unpack a kernel, unless it is there."""
    wanted = kernel.folder / "wanted"
    if wanted.is_file() and wanted.read_text().split() == MODULES:
        return kernel
    failures: list[str] = []
    for turn in range(TRIES):
        for suite, archive in kernel.suites:
            try:
                _fetch(kernel, suite, archive)
                return kernel
            except KernelError as error:
                failures.append(str(error))
            except vendor.VendorError as error:     # there is no apt, or no mirror: no use in trying again
                raise KernelError(str(error)) from None
        if turn + 1 < TRIES:
            time.sleep(PAUSE)
    raise KernelError(f"Debian's kernel {kernel.name} ({kernel.package}) could not be fetched in {len(failures)} tries, the last: {failures[-1]}; "
                      f"make apt's mirror reachable and run `python tests/vm/kernels.py {kernel.name}`, or copy build/vm/kernels/{kernel.name} here")


def _fetch(kernel: Kernel, suite: str, archive: str) -> None:
    """Get it from one archive; nothing is left of what fails."""
    fresh = kernel.folder.with_name(kernel.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="tapio-kernel-") as work:
        packages = Archive(Path(work))
        packages.use(suite, archive)
        for package in packages.parts(kernel.package):
            done = subprocess.run(["dpkg-deb", "-x", packages.download(package), Path(work) / "root"], stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True, check=False)
            if done.returncode:
                raise KernelError(f"{package} cannot be unpacked: {done.stdout.strip()[-200:]}")
        _keep(Path(work) / "root", fresh)
    shutil.rmtree(kernel.folder, ignore_errors=True)
    fresh.rename(kernel.folder)


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
    (folder / "wanted").write_text(" ".join(MODULES) + "\n")


def _plain(path: Path) -> bytes:
    data = path.read_bytes()
    return lzma.decompress(data) if path.suffix == ".xz" else data


if __name__ == "__main__":
    for wanted in sys.argv[1:] or KERNELS:
        print(wanted, fetch(KERNELS[wanted]).release)
