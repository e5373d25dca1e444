# SPDX-License-Identifier: Apache-2.0
"""The builder's own promises: it rebuilds what changed and only that, and each missing thing is one clear sentence."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest

import support

native = support.native()
import steps  # noqa: E402  (scripts/ is on the path now)
import vendor  # noqa: E402


def settle(path: Path, text: str) -> None:
    """Write a file whose time is later than all that was made before."""
    path.write_text(text)
    later = time.time_ns() + 1_000_000
    os.utime(path, ns=(later, later))
    time.sleep(0.002)


def test_rebuilds_what_changed(tmp_path: Path) -> None:
    (tmp_path / "a.h").write_text("#define A 1\n")
    (tmp_path / "a.c").write_text('#include "a.h"\nint a = A;\n')
    (tmp_path / "b.c").write_text("int b = 1;\n")
    made = [native.compile_step(tmp_path / f"{name}.c", tmp_path / "o" / f"{name}.o", ["-O1"]) for name in "ab"]
    assert steps.run_all(made) == 2
    assert steps.run_all(made) == 0
    settle(tmp_path / "a.h", "#define A 2\n")
    assert [steps.stale(step) for step in made] == [True, False]
    assert steps.run_all(made) == 1
    changed = native.compile_step(tmp_path / "b.c", tmp_path / "o/b.o", ["-O2"])
    assert steps.run_all([changed]) == 1 and steps.run_all([changed]) == 0
    (tmp_path / "o/a.d").unlink()
    assert steps.stale(made[0])


def test_edit_during_a_step_is_not_missed(tmp_path: Path) -> None:
    source, output = tmp_path / "in", tmp_path / "out"
    source.write_text("1")
    step = steps.Step("copy", ["/bin/sh", "-c", f"cp {source} {output}; sleep 0.05; echo 2 > {source}; sleep 0.05"], output, [source])
    assert steps.run_all([step]) == 1
    assert steps.stale(step)


def test_failed_step_is_one_sentence_and_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "bad.c"
    source.write_text("int f(void) { return g(); }\n")
    step = native.compile_step(source, tmp_path / "bad.o", native.NEVER)
    with pytest.raises(steps.BuildError, match=r"^cc .*bad\.c failed \(\w+ ended with status \d+\): its messages are above$"):
        steps.run_all([step])
    assert "implicit declaration" in capsys.readouterr().err
    assert not step.output.exists() and steps.stale(step)


def test_no_compiler() -> None:
    done = support.run([sys.executable, "scripts/native.py", "lib"], env={"PATH": "/nonexistent"}, drop=("CC",), check=False)
    assert done.returncode == 1
    assert "gcc is not on PATH; install it (Debian: apt-get install gcc libc6-dev)" in done.stdout.splitlines()[-1]


def test_no_bpf_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TAPIO_FAST_CLANG", raising=False)
    monkeypatch.setattr(native.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(native.shutil, "which", lambda name: None)
    with pytest.raises(steps.BuildError, match="pip install ziglang, or set TAPIO_FAST_CLANG, or TAPIO_FAST_NO_BPF=1"):
        native.bpf_compiler()


def test_options_that_exclude_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAPIO_FAST_NO_BPF", "1")
    monkeypatch.setenv("TAPIO_FAST_SYSTEM_LIBBPF", "1")
    with pytest.raises(steps.BuildError, match="exclude each other"):
        native.Options.from_env()


def test_vendored_sources_are_as_pinned() -> None:
    for manifest in vendor.manifests():
        release = vendor.installed(manifest)
        assert release is not None
        for source in release["sources"]:
            assert (manifest["src"] / source).is_file(), source


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Make a vendored project of one file, its tarball in a folder."""
    folder = tmp_path / "tarballs"
    folder.mkdir()
    data = b"int toy;\n"
    with tarfile.open(folder / "toy_1.orig.tar.gz", "w:gz") as archive:
        for name in ("toy-1/src/toy.c", "toy-1/../../escape.c", "toy-1/src/deep/no.c"):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    digest = hashlib.sha256((folder / "toy_1.orig.tar.gz").read_bytes()).hexdigest()
    tree = hashlib.sha256(f"toy.c\0{hashlib.sha256(data).hexdigest()}\n".encode()).hexdigest()
    release = {"version": "1", "package": "toy", "suite": "sid", "tarball": "toy_1.orig.tar.gz", "sha256": digest, "tree_sha256": tree,
               "keep": [["src/*.c", ""]], "sources": ["toy.c"]}
    manifest = {"name": "toy", "release": [release], "src": tmp_path / "toy/src"}
    manifest["src"].parent.mkdir()
    monkeypatch.setenv("TAPIO_FAST_VENDOR_TARBALLS", str(folder))
    monkeypatch.setattr(vendor, "manifests", lambda: [manifest])
    return manifest


def test_vendor_unpacks_only_what_is_listed(toy: dict[str, Any], tmp_path: Path) -> None:
    vendor.ensure(quiet=True)
    assert sorted(path.name for path in toy["src"].rglob("*")) == [vendor.STAMP, "toy.c"]
    assert not list(tmp_path.rglob("escape.c"))


def test_vendor_refuses_a_wrong_tarball(toy: dict[str, Any]) -> None:
    toy["release"][0]["sha256"] = "0" * 64
    with pytest.raises(vendor.VendorError, match="the manifest pins 0{64}.*nothing was unpacked"):
        vendor.ensure(quiet=True)
    assert not toy["src"].exists()


def test_vendor_notices_a_changed_file(toy: dict[str, Any]) -> None:
    vendor.ensure(quiet=True)
    (toy["src"] / "toy.c").write_text("int evil;\n")
    with pytest.raises(vendor.VendorError, match="is not toy 1 as pinned"):
        vendor.ensure(quiet=True)


def test_vendor_without_apt(toy: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TAPIO_FAST_VENDOR_TARBALLS")
    monkeypatch.setattr(vendor.shutil, "which", lambda name: None)
    with pytest.raises(vendor.VendorError, match="this machine has no apt-get; put the tarballs"):
        vendor.ensure(quiet=True)


def test_vendor_falls_back_to_an_older_release(toy: dict[str, Any]) -> None:
    gone = dict(toy["release"][0], version="2", tarball="toy_2.orig.tar.gz")
    toy["release"].insert(0, gone)
    assert vendor.ensure(quiet=True)["toy"]["version"] == "1"


@pytest.mark.parametrize(("argument", "required", "status", "said"), [
    ((), "vm", 0, "deps: all there"),
    (("test",), "", 0, "(runc|qemu).*; tests that need them will skip"),
    (("test",), "root,live,vm", 1, "(runc|qemu)"),
])
def test_what_only_tests_need_is_asked_for_where_tests_need_it(
        argument: tuple[str, ...], required: str, status: int, said: str, tmp_path: Path) -> None:
    """On a machine that can build, has none of the tests' programs and can install nothing."""
    for tool in ("bash", "gcc", "make", "ar", "nm", "readelf", "id", "uname", "sort", "mktemp", "tail", "rm"):
        (tmp_path / tool).symlink_to(shutil.which(tool) or tool)
    (tmp_path / "apt-get").write_text("#!/bin/false\n")
    (tmp_path / "apt-get").chmod(0o755)
    done = support.run(["bash", "scripts/deps.sh", *argument], check=False,
                       env={"PATH": str(tmp_path), "PYTHON": sys.executable, "TAPIO_FAST_REQUIRE": required})
    assert done.returncode == status, done.stdout
    assert re.search(said, done.stdout)
