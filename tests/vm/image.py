# SPDX-License-Identifier: Apache-2.0
"""The initial RAM disk of a test machine: this Python with numpy and pytest, the built package, the tests and some system programs.

Archives in cpio's newc format, put one behind the other: what changes seldom (build/vm/base.cpio, kept), the kernel's modules, this tree.
Modules of Python go in compiled, unchecked: without, importing numpy takes 11 s in software emulation instead of 2.5 s. Tests go in as
pytest would have rewritten and kept them: it would take it a second a module.
"""
from __future__ import annotations

import ast
import hashlib
import importlib.util
import marshal
import os
import re
import shutil
import stat
import struct
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

from kernels import BUILD, ROOT, Kernel

HERE = Path(__file__).resolve().parent
TREE = "/tapio"                         # where the tests lie in the machine
PROGRAMS = ["ip", "runc", "losetup"]               # beside busybox; what is not on this machine is left out and the tests that need it skip
PACKAGES = ["numpy", "numpy.libs", "pytest", "_pytest", "pluggy", "iniconfig", "packaging", "pygments", "pytest_timeout.py", "py.py"]
NOT_OF_STDLIB = {"site-packages", "dist-packages", "test", "tests", "idlelib", "ensurepip", "lib2to3", "tkinter", "turtledemo",
                 "pydoc_data",
                 "__pycache__"}
MERGED = re.compile(r"^/(bin|sbin|lib|lib64)/")     # these are links into /usr


class Cpio:
    """Writes an archive; directories above an entry come by themselves."""

    def __init__(self, path: Path) -> None:
        self._out = path.open("wb")
        self._known: set[str] = set()
        self._number = 0

    def _entry(self, name: str, mode: int, data: bytes) -> None:
        self._number += 1
        raw = os.fsencode(name) + b"\0"
        links = 2 if stat.S_ISDIR(mode) else 1
        fields = (self._number, mode, 0, 0, links, 0, len(data), 0, 0, 0, 0, len(raw), 0)
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + raw
        for part in (head, data):
            self._out.write(part + b"\0" * (-len(part) % 4))

    def folder(self, name: str, mode: int = 0o755) -> None:
        """Add a directory."""
        name = name.strip("/")
        if not name or name in self._known:
            return
        self.folder(os.path.dirname(name))
        self._known.add(name)
        self._entry(name, stat.S_IFDIR | mode, b"")

    def file(self, name: str, data: bytes, mode: int = 0o644) -> None:
        """Add a file, once."""
        name = MERGED.sub(r"/usr/\1/", name).strip("/")
        if name not in self._known:
            self.folder(os.path.dirname(name))
            self._known.add(name)
            self._entry(name, stat.S_IFREG | mode, data)

    def link(self, name: str, target: str) -> None:
        """Add a symbolic link, unless there is something of that name."""
        name = MERGED.sub(r"/usr/\1/", name).strip("/")
        if name not in self._known:
            self.folder(os.path.dirname(name))
            self._known.add(name)
            self._entry(name, stat.S_IFLNK | 0o777, os.fsencode(target))

    def python(self, name: str, source: Path) -> None:
        """Add a module and its compiled form, which Python takes without looking at the source."""
        data = source.read_bytes()
        self.file(name, data)
        try:
            code = compile(data, name, "exec", dont_inherit=True)
        except (SyntaxError, ValueError):
            return      # a template of somebody's, not a module
        folder, base = os.path.split(name)
        cached = f"{folder}/__pycache__/{base[:-3]}.{sys.implementation.cache_tag}.pyc"
        self.file(cached, importlib.util.MAGIC_NUMBER + struct.pack("<I", 1) + importlib.util.source_hash(data) + marshal.dumps(code))
        if base.startswith("test_") or base == "conftest.py":
            self._rewritten(name, data)

    def _rewritten(self, name: str, data: bytes) -> None:
        """Add what pytest keeps of a test module (assertions that tell values), for a source of time 0, as all files here are."""
        from _pytest.assertion import rewrite

        tree = ast.parse(data, filename=name)
        rewrite.rewrite_asserts(tree, data, name)
        code = compile(tree, name, "exec", dont_inherit=True)
        folder, base = os.path.split(name)
        head = importlib.util.MAGIC_NUMBER + struct.pack("<III", 0, 0, len(data))
        self.file(f"{folder}/__pycache__/{base[:-3]}{rewrite.PYC_TAIL}", head + marshal.dumps(code))

    def tree(self, name: str, source: Path, skip: set[str]) -> None:
        """Add a directory with all below it."""
        for path in sorted(source.iterdir()):
            if path.name in skip:
                continue
            inside = f"{name}/{path.name}"
            if path.is_dir():
                self.tree(inside, path, skip)
            elif path.suffix == ".py":
                self.python(inside, path)
            elif path.suffix not in (".a", ".pyc"):
                self.file(inside, path.read_bytes(), path.stat().st_mode & 0o777)

    def close(self) -> None:
        """Write the end mark."""
        self._entry("TRAILER!!!", 0, b"")
        self._out.close()


def libraries(files: list[Path]) -> dict[str, Path]:
    """The shared libraries that these need, the loader included: name in the machine -> file here."""
    said = subprocess.run(["ldd", *files], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False).stdout
    found = {name: Path(name).resolve() for name in re.findall(r"(?:=> |^\t)(/\S+) \(0x", said, re.MULTILINE)}
    return {name: path for name, path in found.items() if "site-packages" not in name}


def _site() -> Path:
    import numpy

    return Path(numpy.__file__).parent.parent


def _ours() -> Iterator[Path]:
    yield Path(sys.executable).resolve()
    yield from sorted((Path(sysconfig.get_path("stdlib")) / "lib-dynload").glob("*.so"))
    for name in ("numpy", "numpy.libs"):
        yield from sorted((_site() / name).rglob("*.so*"))
    for name in PROGRAMS:
        if shutil.which(name):
            yield Path(str(shutil.which(name)))


def python_in_machine() -> str:
    """The interpreter's path there: the same as here, so that it finds its library."""
    return str(Path(sys.executable).resolve())


def _write_base(path: Path) -> None:
    cpio = Cpio(path)
    for name in ("usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "proc", "sys", "dev", "run", "mnt", "root", "etc", "var/tmp"):
        cpio.folder(name)
    cpio.folder("tmp", 0o1777)
    for name in ("bin", "sbin", "lib", "lib64"):
        cpio.link(name, f"usr/{name}")
    cpio.file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n")
    cpio.file("etc/group", b"root:x:0:\nnogroup:x:65534:\n")
    cpio.file("etc/hosts", b"127.0.0.1 localhost\n::1 localhost\n")
    busybox = shutil.which("busybox")
    assert busybox, "busybox is missing: run `make deps` (package busybox-static)"
    cpio.file("usr/bin/busybox", Path(busybox).read_bytes(), 0o755)
    for name in PROGRAMS:
        where = shutil.which(name)
        if where:
            cpio.file(f"usr/bin/{name}", Path(where).resolve().read_bytes(), 0o755)
    applets = subprocess.run([busybox, "--list"], stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    for name in applets:
        cpio.link(f"usr/bin/{name}", "busybox")
    cpio.file(python_in_machine(), Path(sys.executable).resolve().read_bytes(), 0o755)
    cpio.link("usr/bin/python3", python_in_machine())
    cpio.tree(sysconfig.get_path("stdlib"), Path(sysconfig.get_path("stdlib")), NOT_OF_STDLIB)
    for name in PACKAGES:
        source = _site() / name
        if source.is_dir():
            cpio.tree(f"/site/{name}", source, {"tests", "__pycache__", "f2py", "include"})
        elif source.is_file():
            cpio.python(f"/site/{name}", source)
    for info in sorted(_site().glob("*.dist-info")):
        if info.name.startswith(("pytest", "pluggy")):
            cpio.tree(f"/site/{info.name}", info, set())       # pytest asks for versions
    for name, file in libraries(list(_ours())).items():
        cpio.file(name, file.read_bytes(), 0o755)
    for extra in Path("/lib/x86_64-linux-gnu").glob("libgcc_s.so.1"):       # loaded when a thread is cancelled
        cpio.file(str(extra), extra.resolve().read_bytes())
    cpio.close()


def base() -> Path:
    """What does not change with this tree; made again when Python, a package or this file did."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for item in (sys.version, *(f"{p} {p.stat().st_mtime_ns}" for p in _ours()), *(str(p) for p in sorted(_site().glob("*.dist-info")))):
        digest.update(item.encode() + b"\0")
    path = BUILD / f"base-{digest.hexdigest()[:16]}.cpio"
    if not path.exists():
        BUILD.mkdir(parents=True, exist_ok=True)
        for old in BUILD.glob("base-*.cpio"):
            old.unlink()
        fresh = path.with_suffix(f".{os.getpid()}")      # another run may be at it too
        _write_base(fresh)
        fresh.rename(path)
    return path


def compile_triggers(folder: Path) -> None:
    """Compile tests/triggers/t_*.c: there is no compiler in the machine."""
    for source in sorted((ROOT / "tests" / "triggers").glob("t_*.c")):
        subprocess.run(["gcc", "-std=gnu11", "-O2", "-pthread", "-o", folder / source.stem, source], check=True, timeout=60)


def _write_tree(path: Path, kernel: Kernel, run: str) -> None:
    cpio = Cpio(path)
    cpio.file("init", (HERE / "init").read_bytes(), 0o755)
    cpio.file("run.sh", run.encode(), 0o755)
    cpio.python("/site/tell.py", HERE / "tell.py")
    for name in kernel.folder.glob("*.ko"):
        cpio.file(f"modules/{name.name}", name.read_bytes())
    cpio.file("modules/order", (kernel.folder / "order").read_bytes())
    cpio.tree(f"{TREE}/tapio_fast", ROOT / "tapio_fast", {"__pycache__"})
    cpio.tree(f"{TREE}/tests", ROOT / "tests", {"__pycache__", "vm", "c", "golden"})
    for name in ("pyproject.toml", "docs", "bpf"):
        source = ROOT / name
        if source.is_dir():
            cpio.tree(f"{TREE}/{name}", source, set())
        else:
            cpio.file(f"{TREE}/{name}", source.read_bytes())
    with tempfile.TemporaryDirectory(prefix="tapio-triggers-") as folder:
        compile_triggers(Path(folder))
        for program in sorted(Path(folder).iterdir()):
            cpio.file(f"/triggers/{program.name}", program.read_bytes(), 0o755)
    cpio.close()


def write(path: Path, kernel: Kernel, run: str) -> None:
    """Write the whole RAM disk; `run` is the script that the machine runs once it is up."""
    tree = path.with_suffix(".tree")
    _write_tree(tree, kernel, run)
    with path.open("wb") as out:
        for part in (base(), tree):
            with part.open("rb") as source:
                shutil.copyfileobj(source, out, 1 << 20)
    tree.unlink()
