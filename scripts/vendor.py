#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fill vendor/*/src with the pinned third-party sources, and verify what is there.

The tarballs come out of Debian's source packages, by apt-get with lists of our own: the mirror is the one this machine
already uses, no system configuration is read for anything else and none is written. Standard library only.

    scripts/vendor.py [ensure]          fetch what is missing, verify the rest (the default)
    scripts/vendor.py check             verify only, touch no network
    TAPIO_FAST_VENDOR_TARBALLS=DIR      take the tarballs from DIR instead of a mirror
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
VENDOR = ROOT / "vendor"
STAMP = ".version"
KEYRINGS = ("/usr/share/keyrings/debian-archive-keyring.pgp", "/usr/share/keyrings/debian-archive-keyring.gpg")


class VendorError(SystemExit):
    """A source could not be had or is not what the manifest pins; its text is one sentence for the user."""


def manifests() -> list[dict[str, Any]]:
    """Read every vendor/*/manifest.toml."""
    found = []
    for path in sorted(VENDOR.glob("*/manifest.toml")):
        manifest = tomllib.loads(path.read_text())
        manifest["src"] = path.parent / "src"
        found.append(manifest)
    return found


def tree_digest(src: Path) -> str:
    """Hash names and contents of all files below src, in name order."""
    digest = hashlib.sha256()
    for path in sorted(p for p in src.rglob("*") if p.is_file() and p.name != STAMP):
        name = path.relative_to(src).as_posix()
        digest.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def installed(manifest: dict[str, Any]) -> dict[str, Any] | None:
    """Return the pinned release that src holds, or None; raise VendorError if src is not what was pinned."""
    stamp = manifest["src"] / STAMP
    if not stamp.is_file():
        return None
    version = stamp.read_text().strip()
    for release in manifest["release"]:
        if release["version"] == version:
            digest = tree_digest(manifest["src"])
            if digest != release["tree_sha256"]:
                raise VendorError(
                    f"vendor/{manifest['name']}/src is not {manifest['name']} {version} as pinned in its manifest "
                    f"(tree sha256 {digest}): remove that folder and run scripts/vendor.py"
                )
            return dict(release)
    return None     # a version that is no longer pinned: fetch again


def run(argv: list[str], cwd: Path) -> tuple[int, str]:
    """Run a tool without a terminal; return its status and everything it said."""
    env = os.environ | {"LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(argv, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False)
    return done.returncode, done.stdout


class Mirror:
    """Debian's source packages, through apt-get with a private folder for lists, cache and downloads."""

    def __init__(self, work: Path) -> None:
        if not shutil.which("apt-get"):
            raise VendorError(
                "cannot fetch the vendored sources: this machine has no apt-get; put the tarballs named in "
                "vendor/*/manifest.toml into a folder and set TAPIO_FAST_VENDOR_TARBALLS to it, or build from the sdist"
            )
        self.work = work
        self.suites: set[str] = set()
        for name in ("lists/partial", "cache/archives/partial", "empty/partial", "get"):
            (work / name).mkdir(parents=True)
        for path in (work, *work.rglob("*")):
            path.chmod(0o755)       # apt drops to its own user for the transfer
        self.base = self._base()
        key = next((k for k in KEYRINGS if os.path.exists(k)), None)
        self.option = f"[signed-by={key}] " if key else ""

    def _base(self) -> str:
        """Ask apt which mirror of Debian's main archive this machine is configured for."""
        code, said = run(["apt-get", "-o", f"Dir::State::Lists={self.work / 'empty'}", "update", "--print-uris"], self.work)
        for uri in re.findall(r"^'(.+?)/dists/[^/']+/InRelease'", said, re.MULTILINE):
            if re.search(r"/debian/?$", uri):
                return str(uri)
        raise VendorError(
            "cannot fetch the vendored sources: apt is configured for no mirror of Debian's main archive "
            f"(apt-get update --print-uris gave status {code}); set TAPIO_FAST_VENDOR_TARBALLS to a folder with the tarballs"
        )

    def _options(self) -> list[str]:
        w = self.work
        return ["-o", f"Dir::Etc::sourcelist={w / 'sources.list'}", "-o", "Dir::Etc::sourceparts=-",
                "-o", f"Dir::State::Lists={w / 'lists'}", "-o", f"Dir::Cache={w / 'cache'}",
                "-o", "Acquire::Languages=none", "-o", "Acquire::Retries=3", "-q"]

    def get(self, release: dict[str, Any]) -> Path | str:
        """Download the tarball of a release; return its path, or why it could not be had."""
        suite = release["suite"]
        if suite not in self.suites:
            (self.work / "sources.list").write_text(f"deb-src {self.option}{self.base} {suite} main\n")
            code, said = run(["apt-get", *self._options(), "update"], self.work)
            errors = [line for line in said.splitlines() if line.startswith(("E:", "W: Failed", "Err:"))]
            if code or errors:
                return f"apt-get update for {suite} failed: {errors[0] if errors else said.strip()[-200:]}"
            self.suites = {suite}   # one suite at a time: the list was rewritten
        spec = f"{release['package']}/{suite}"
        code, said = run(["apt-get", *self._options(), "source", "--download-only", "--tar-only", spec], self.work / "get")
        path = self.work / "get" / str(release["tarball"])
        if path.is_file():
            return path
        return f"{suite} has no {release['tarball']} any more" if not code else f"apt-get source {spec} failed: {said.strip()[-200:]}"


def matches(name: str, pattern: str) -> bool:
    """Match like fnmatch; only `include/*.h` reaches into folders below."""
    if pattern.startswith("include/"):
        return fnmatch.fnmatchcase(name, pattern)
    return fnmatch.fnmatchcase(name, pattern) and name.count("/") == pattern.count("/")


def unpack(tarball: Path, manifest: dict[str, Any], release: dict[str, Any]) -> None:
    """Write the kept files of a verified tarball to src, whole or not at all."""
    src: Path = manifest["src"]
    fresh = src.with_name(f"src.new.{os.getpid()}")
    shutil.rmtree(fresh, ignore_errors=True)
    with tarfile.open(tarball) as archive:
        for member in archive:
            name = member.name.partition("/")[2]
            kept = next(((p, to) for p, to in release["keep"] if matches(name, p)), None)
            if not member.isfile() or kept is None or ".." in name.split("/"):
                continue
            pattern, to = kept
            fixed = pattern.rpartition("/")[0]      # the part of the path that `to` replaces
            target = fresh / (to + name[len(fixed) + 1 if fixed else 0:])
            target.parent.mkdir(parents=True, exist_ok=True)
            stream = archive.extractfile(member)
            assert stream is not None
            target.write_bytes(stream.read())
    digest = tree_digest(fresh)
    if digest != release["tree_sha256"]:
        shutil.rmtree(fresh)
        raise VendorError(f"{release['tarball']} unpacks to tree sha256 {digest}, its manifest pins "
                          f"{release['tree_sha256'] or 'none'}: fix tree_sha256 or keep in vendor/{manifest['name']}/manifest.toml")
    (fresh / STAMP).write_text(release["version"] + "\n")
    shutil.rmtree(src, ignore_errors=True)
    fresh.rename(src)


def verify_tarball(path: Path, release: dict[str, Any]) -> None:
    """Raise VendorError unless the tarball has the pinned sha256."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != release["sha256"]:
        raise VendorError(f"{release['tarball']} has sha256 {digest}, the manifest pins {release['sha256']}: "
                          "the mirror or the download is not to be trusted, nothing was unpacked")


def fetch(manifest: dict[str, Any], mirror: Mirror | None) -> dict[str, Any]:
    """Get the best release that can be had and unpack it."""
    reasons = []
    folder = os.environ.get("TAPIO_FAST_VENDOR_TARBALLS")
    for release in manifest["release"]:
        got: Path | str
        if folder:
            local = Path(folder) / release["tarball"]
            got = local if local.is_file() else f"{folder} has no {release['tarball']}"
        else:
            assert mirror is not None
            got = mirror.get(release)
        if isinstance(got, Path):
            verify_tarball(got, release)
            unpack(got, manifest, release)
            return dict(release)
        reasons.append(got)
    raise VendorError(f"cannot fetch {manifest['name']}: {'; '.join(reasons)}; see vendor/README.md for how to bring the tarball yourself")


def ensure(quiet: bool = False) -> dict[str, dict[str, Any]]:
    """Make all vendored sources present and verified; return name -> manifest joined with its chosen release."""
    state = {m["name"]: (m, installed(m)) for m in manifests()}
    if any(release is None for _, release in state.values()):
        with tempfile.TemporaryDirectory(prefix="tapio-vendor-") as work:
            mirror = None if os.environ.get("TAPIO_FAST_VENDOR_TARBALLS") else Mirror(Path(work))
            for name, (manifest, release) in state.items():
                if release is None:
                    state[name] = (manifest, fetch(manifest, mirror))
    if not quiet:
        for name, (_, release) in state.items():
            assert release is not None
            print(f"vendor: {name} {release['version']} verified")
    return {name: manifest | (release or {}) for name, (manifest, release) in state.items()}


def main(argv: list[str]) -> int:
    """Command line: ensure (default) or check."""
    command = argv[0] if argv else "ensure"
    if command == "ensure" and len(argv) <= 1:
        ensure()
    elif command == "check":
        for manifest in manifests():
            if installed(manifest) is None:
                raise VendorError(f"vendor/{manifest['name']}/src is missing or of an unpinned version: run scripts/vendor.py")
    else:
        print(__doc__, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
