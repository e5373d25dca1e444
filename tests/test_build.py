# SPDX-License-Identifier: Apache-2.0
"""What users install: the sdist and the wheel, in fresh environments, with nothing of this tree in reach."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

import support

pytestmark = pytest.mark.timeout(900)      # the sdist is built from nothing, in an isolated environment
ROOT = support.ROOT
# Nothing of the caller's shell may decide what is built.
DROP = ("TAPIO_FAST_REQUIRE", "TAPIO_FAST_TIER", "TAPIO_FAST_DEBUG", "TAPIO_FAST_SANITIZE", "TAPIO_FAST_NO_BPF",
        "TAPIO_FAST_SYSTEM_LIBBPF", "PYTHONPATH", "VIRTUAL_ENV", "CFLAGS", "LDFLAGS")
QUIET = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
# glibc before 2.34 keeps threads and mathematics apart.
MAY_NEED = {"libc.so.6", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1", "libpthread.so.0", "libm.so.6"}
MODULES = sorted(path.stem for path in (ROOT / "tapio_fast/_core").glob("*.pyx"))


@dataclass
class Installed:
    """A fresh environment with tapio_fast in it."""

    python: Path
    cwd: Path

    def run(self, *argv: str, timeout: float = 300) -> str:
        """Run its Python outside of this tree."""
        return support.run([self.python, *argv], cwd=self.cwd, drop=DROP, timeout=timeout).stdout


def install(folder: Path, package: Path, *options: str, python: str = sys.executable) -> Installed:
    """Make a fresh environment and install a wheel or sdist into it."""
    support.run([python, "-m", "venv", folder / "venv"], drop=DROP)
    installed = Installed(folder / "venv/bin/python", folder)
    support.run([installed.python, "-m", "pip", "install", "-q", *options, package], cwd=folder, env=QUIET, drop=DROP, timeout=900)
    return installed


def build_wheel(folder: Path, **env: str) -> Path:
    """Build a wheel of this tree with this environment's tools; objects that are up to date are used again."""
    support.run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, ROOT],
                env=QUIET | env, drop=[name for name in DROP if name not in env], timeout=900)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel."""
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the sdist."""
    folder = tmp_path_factory.mktemp("sdist")
    support.run([sys.executable, "-m", "build", "--sdist", "--no-isolation", "-o", folder, ROOT], env=QUIET, drop=DROP)
    (archive,) = folder.glob("*.tar.gz")
    return archive


@pytest.fixture(scope="session")
def from_wheel(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Install the wheel."""
    return install(tmp_path_factory.mktemp("from_wheel"), wheel)


@pytest.fixture(scope="session")
def from_sdist(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Install the sdist, in pip's own isolated build, without apt-get or clang to help."""
    return install(tmp_path_factory.mktemp("from_sdist"), sdist)


def shared_objects(wheel: Path, folder: Path) -> list[Path]:
    """Unpack the extensions of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return [Path(archive.extract(name, folder)) for name in archive.namelist() if name.endswith(".so")]


def check_works(installed: Installed) -> None:
    """Import everything, from the environment and from nowhere else, and measure something."""
    script = ("import importlib, sys, tapio_fast\n"
              "for name in sys.argv[1:]:\n"
              "    importlib.import_module('tapio_fast._core.' + name)\n"
              "print(tapio_fast.__file__)\n")
    where = installed.run("-c", script, *MODULES).strip().splitlines()[-1]
    assert Path(where).is_relative_to(installed.cwd), where
    if (ROOT / "tapio_fast/bench.py").exists() or (ROOT / "tapio_fast/bench").is_dir():
        installed.run("-m", "tapio_fast.bench", "--quick", timeout=600)


def test_wheel_tag(wheel: Path) -> None:
    assert re.fullmatch(r"tapio_fast-[0-9.]+-cp311-abi3-linux_\w+\.whl", wheel.name)


def test_wheel_contents(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names}
    assert all(top == "tapio_fast" or top.endswith(".dist-info") for top in tops), tops
    assert not [name for name in names if name.endswith((".c", ".o", ".a", ".pyx"))]
    assert sorted(Path(name).name for name in names if name.endswith(".so")) == [f"{name}.abi3.so" for name in MODULES]
    for licence in ("licenses/LICENSE", "licenses/LICENSES.md", "licenses/bpf/LICENSE"):
        assert [name for name in names if name.endswith(licence)], licence


def test_exports_only_init(wheel: Path, tmp_path: Path) -> None:
    """No second libbpf or zstd in the process may meet ours."""
    for path in shared_objects(wheel, tmp_path):
        said = support.run(["nm", "-D", "--defined-only", path]).stdout
        assert [line.split()[-1] for line in said.splitlines() if " " in line] == [f"PyInit_{path.name.split('.')[0]}"]


def test_needs_only_libc(wheel: Path, tmp_path: Path) -> None:
    for path in shared_objects(wheel, tmp_path):
        dynamic = support.run(["readelf", "-d", path]).stdout
        assert set(re.findall(r"NEEDED.*\[(.*)\]", dynamic)) <= MAY_NEED, path.name
        assert not re.search("RUNPATH|RPATH|TEXTREL", dynamic), path.name
        assert not re.search(r"GNU_STACK.*\n.*RWE", support.run(["readelf", "-lW", path]).stdout), path.name


def test_sdist_contents(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False).stdout.split("\n")
    needed = {name for name in tracked if name.startswith(("csrc/", "bpf/", "scripts/", "vendor/", "tapio_fast/"))
              and (ROOT / name).is_file()
              and not name.endswith(".html")}
    assert not needed - names, "in git but not in the sdist"
    assert {"vendor/libbpf/src/libbpf.c", "vendor/zstd/src/zstd.h", "LICENSE", "LICENSES.md"} <= names
    assert not [name for name in names if name.endswith((".so", ".o", ".a")) or name.startswith(("build/", ".venv"))]


def test_wheel_works(from_wheel: Installed) -> None:
    check_works(from_wheel)


def test_sdist_works(from_sdist: Installed) -> None:
    check_works(from_sdist)


def test_without_bpf(from_wheel: Installed, tmp_path: Path) -> None:
    """A build without BPF imports, and carries neither libbpf nor the programs."""
    wheel = build_wheel(tmp_path, TAPIO_FAST_NO_BPF="1")
    place = tmp_path / "only"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place)
    script = "import sys; sys.path.insert(0, sys.argv[1]); import importlib, tapio_fast\n" \
             "for name in sys.argv[2:]:\n    importlib.import_module('tapio_fast._core.' + name)\nprint(tapio_fast.__file__)"
    where = from_wheel.run("-c", script, os.fspath(place), *MODULES).strip().splitlines()[-1]
    assert Path(where).is_relative_to(place)
    for path in place.rglob("*.so"):
        data = path.read_bytes()
        # A warning that only libbpf has, and the licence string that only the programs have.
        assert b"failed to load object" not in data and b"Dual BSD/GPL" not in data, path.name


@pytest.mark.slow
@pytest.mark.parametrize("name", ["python3.12", "python3.13", "python3.14"])
def test_wheel_on_newer_python(name: str, wheel: Path, tmp_path: Path) -> None:
    """One abi3 wheel serves every later Python."""
    python = shutil.which(name)
    if not python or support.run([python, "-c", "import venv, ensurepip"], check=False).returncode:
        pytest.skip(f"{name} is not here")
    check_works(install(tmp_path, wheel, python=python))
