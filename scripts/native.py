#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Build everything that is not Python: BPF objects, the engine's archive libtf.a, and the Cython extensions.

setup.py uses it as a module; by hand, from any folder:

    scripts/native.py inplace           extensions beside their .pyx (what `make build` runs)
    scripts/native.py lib               only build/libtf.a (build/<variant>/libtf.a for the variants below)
    scripts/native.py bpf               only build/bpf/*.bpf.o
    scripts/native.py annotate          Cython's HTML, in build/annotate

Switches, all by environment: TAPIO_FAST_DEBUG, TAPIO_FAST_SANITIZE, TAPIO_FAST_NO_BPF, TAPIO_FAST_SYSTEM_LIBBPF (=1),
TAPIO_FAST_CLANG (path), TAPIO_FAST_MARCH (x86-64-v2), TAPIO_FAST_JOBS, CC, AR, CFLAGS, LDFLAGS.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import itertools
import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import blobs  # noqa: E402

import vendor  # noqa: E402
from steps import BUILD, ROOT, BuildError, Step, lock, run_all, tool  # noqa: E402

# What the compiler must refuse everywhere: each once hid a truncated pointer.
NEVER = ["-Werror=implicit-function-declaration", "-Werror=int-conversion", "-Werror=incompatible-pointer-types"]
COMMON = ["-std=gnu11", "-fPIC", "-fvisibility=hidden", "-ffunction-sections", "-fdata-sections", "-pthread", *NEVER]
# _GNU_SOURCE: the engine is Linux only; defined empty, so that a file that defines it itself gets no warning.
ENGINE = ["-D_GNU_SOURCE=", "-Wall", "-Wextra", "-Wvla", "-Wshadow", "-fstack-protector-strong"]
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer"]
WRAPPED = ["btf__load_vmlinux_btf", "btf__free", "btf__find_by_name_kind"]     # of libbpf: csrc/tf_object_kernel_btf.c
# clang 22 at v3 turns an unused __sync_fetch_and_add into a fetching atomic, which 5.10 refuses: see style guide A.3.
BPF_FLAGS = ["-mcpu=v3", "-O2", "-g", "-fno-unwind-tables", "-fno-asynchronous-unwind-tables", "-Wall", "-Werror"]
# What NAME{variant}.bpf.o is compiled with. old: kernels without fetch atomics (before 5.12); new: with bpf_rdonly_cast (6.2).
BPF_VARIANTS = {"": [], ".old": ["-DTF_OLD"], ".new": ["-DTF_CASTS"]}
BPF_ARCH = {"x86_64": "x86", "aarch64": "arm64"}
LIMITED_API = "0x030B0000"


def _on(name: str) -> bool:
    return os.environ.get(name, "") not in ("", "0")


@dataclass(frozen=True)
class Options:
    """The switches of one build."""

    debug: bool = False
    sanitize: bool = False
    no_bpf: bool = False
    system_libbpf: bool = False

    @classmethod
    def from_env(cls) -> Options:
        """Read the TAPIO_FAST_* switches."""
        options = cls(_on("TAPIO_FAST_DEBUG"), _on("TAPIO_FAST_SANITIZE"), _on("TAPIO_FAST_NO_BPF"),
                      _on("TAPIO_FAST_SYSTEM_LIBBPF"))
        if options.no_bpf and options.system_libbpf:
            raise BuildError("TAPIO_FAST_NO_BPF and TAPIO_FAST_SYSTEM_LIBBPF exclude each other: unset one of them")
        return options

    @property
    def variant(self) -> str:
        """Name the folder of this build; empty for the plain one."""
        names = ("debug", "sanitize", "no_bpf", "system_libbpf")
        return "-".join(name.replace("_", "") for name in names if getattr(self, name))

    @property
    def lib(self) -> Path:
        """Where libtf.a goes."""
        return BUILD / self.variant / "libtf.a"

    @property
    def objects(self) -> Path:
        """Where this variant's objects go."""
        return BUILD / "obj" / (self.variant or "release")


def relative(path: Path) -> str:
    """Print paths short, and keep the tree's place on disk out of command lines and assertions."""
    return os.path.relpath(path, ROOT)


def compiler() -> list[str]:
    """Return the C compiler as an argument list."""
    if os.environ.get("CC"):
        argv = shlex.split(os.environ["CC"])
        return [tool(argv[0], "compile C (CC names it)", "gcc libc6-dev"), *argv[1:]]
    for name in ("gcc", "cc", "clang"):
        if shutil.which(name):
            return [name]
    return [tool("gcc", "compile C", "gcc libc6-dev")]


def optimise(options: Options) -> list[str]:
    """Return the optimisation flags of our own C."""
    march = os.environ.get("TAPIO_FAST_MARCH", "x86-64-v2" if platform.machine() == "x86_64" else "")
    flags = ["-O1", "-g", "-DTF_DEBUG=1"] if options.debug else ["-O3", "-g0", "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2"]
    if options.sanitize:
        flags = ["-O1", "-g", *(["-DTF_DEBUG=1"] if options.debug else []), *SANITIZE]
    if march:
        flags.append(f"-march={march}")
    if options.no_bpf:
        flags.append("-DTF_NO_BPF=1")
    return [*flags, *shlex.split(os.environ.get("CFLAGS", ""))]


def system_libbpf() -> Path:
    """Return the folder of the system's libbpf headers."""
    for folder in (Path("/usr/include/bpf"), Path("/usr/local/include/bpf")):
        if (folder / "libbpf.h").is_file():
            return folder
    raise BuildError("TAPIO_FAST_SYSTEM_LIBBPF is set but bpf/libbpf.h is not installed (Debian: apt-get install libbpf-dev)")


def includes(options: Options) -> list[str]:
    """Return the -I flags for csrc and the extensions."""
    folders = [ROOT / "csrc", ROOT / "bpf/include", ROOT / "vendor/zstd/src"]
    if options.system_libbpf:
        folders.append(system_libbpf())
    elif not options.no_bpf:
        folders += [ROOT / "vendor/libbpf/src", ROOT / "vendor/libbpf/src/include/uapi"]
    return [f"-I{relative(folder)}" for folder in folders]


def compile_step(source: Path, output: Path, flags: list[str]) -> Step:
    """Compile one C (or assembler) file."""
    depfile = output.with_suffix(".d")
    argv = [*compiler(), *flags, "-MMD", "-MF", relative(depfile), "-c", relative(source), "-o", relative(output)]
    return Step(f"cc   {relative(source)}", argv, output, [source], depfile)


def vendor_steps(options: Options) -> list[Step]:
    """Compile libbpf (unless left out) and zstd; never at less than -O2, they are not what is being debugged."""
    pinned = vendor.ensure(quiet=True)
    folder = BUILD / "obj" / ("vendor-asan" if options.sanitize else "vendor")
    flags = [*COMMON, "-O2" if options.sanitize else "-O3", "-g" if options.sanitize else "-g0"]
    if options.sanitize:
        flags += ["-fsanitize=address", "-fno-omit-frame-pointer"]      # UBSan would report libbpf's own unaligned reads
    steps = []
    for name, manifest in pinned.items():
        if name == "libbpf" and (options.no_bpf or options.system_libbpf):
            continue
        where = [f"-I{folder}" for folder in manifest["include"]]
        for source in manifest["sources"]:
            path = manifest["src"] / source
            output = folder / f"{name}_{source.replace('/', '_').rpartition('.')[0]}.o"
            steps.append(compile_step(path, output, [*flags, *manifest["cflags"], *where]))
    return steps


def engine_sources(options: Options) -> list[Path]:
    """Return csrc/*.c without what this variant leaves out."""
    sources = sorted((ROOT / "csrc").glob("*.c"))
    if options.no_bpf:
        return [s for s in sources if s.name == "tf_object_none.c" or not s.name.startswith(("tf_object", "tf_elf"))]
    if options.system_libbpf:
        return [s for s in sources if s.name != "tf_object_none.c" and not s.name.startswith("tf_elf")]
    return [s for s in sources if s.name != "tf_object_none.c"]


def engine_steps(options: Options) -> list[Step]:
    """Compile our own C."""
    flags = [*COMMON, *ENGINE, *optimise(options), *includes(options)]
    steps = []
    for source in engine_sources(options):
        own = [*flags, "-Icsrc/compat"] if source.name.startswith("tf_elf") else flags
        steps.append(compile_step(source, options.objects / "csrc" / f"{source.stem}.o", own))
    return steps


def bpf_compiler() -> tuple[list[str], dict[str, str]]:
    """Return the BPF compiler's first arguments and its environment."""
    named = os.environ.get("TAPIO_FAST_CLANG")
    if named:
        return [tool(named, "compile the BPF programs (TAPIO_FAST_CLANG names it)", "clang"), "-target", "bpf"], {}
    spec = importlib.util.find_spec("ziglang")
    if spec and spec.origin:
        caches = {f"ZIG_{which}_CACHE_DIR": str(BUILD / "zig") for which in ("GLOBAL", "LOCAL")}
        return [str(Path(spec.origin).with_name("zig")), "cc", "-target", "bpfel-freestanding"], caches
    if shutil.which("clang"):
        return ["clang", "-target", "bpf"], {}
    raise BuildError("cannot compile the BPF programs: Python's ziglang package is missing and so is clang; "
                     "pip install ziglang, or set TAPIO_FAST_CLANG, or TAPIO_FAST_NO_BPF=1 to build without them")


def bpf_steps(options: Options) -> list[Step]:
    """Compile every bpf/*.bpf.c for kernels from 5.12 on, and again for older and for newer ones (BPF_VARIANTS)."""
    sources = sorted((ROOT / "bpf").glob("*.bpf.c"))
    if options.no_bpf or not sources:
        return []
    front, env = bpf_compiler()
    headers = system_libbpf() if options.system_libbpf else ROOT / "vendor/libbpf/src"
    alias = BUILD / "include" / ("system" if options.system_libbpf else "vendor") / "bpf"     # for <bpf/bpf_helpers.h>
    alias.parent.mkdir(parents=True, exist_ok=True)
    if not alias.is_symlink() or os.readlink(alias) != str(headers):
        alias.unlink(missing_ok=True)
        alias.symlink_to(headers)
    arch = BPF_ARCH.get(platform.machine(), platform.machine())
    flags = [*BPF_FLAGS, f"-D__TARGET_ARCH_{arch}", f"-I{relative(headers)}", f"-I{relative(alias.parent)}", "-Ibpf", "-Ibpf/include"]
    steps = []
    for source, variant in itertools.product(sources, BPF_VARIANTS):
        output = BUILD / "bpf" / source.name.replace(".bpf.c", f"{variant}.bpf.o")
        depfile = output.with_suffix(".d")
        own = [*flags, *BPF_VARIANTS[variant]]
        argv = [*front, *own, "-MMD", "-MF", relative(depfile), "-c", relative(source), "-o", relative(output)]
        steps.append(Step(f"bpf  {relative(source)}{' (' + variant[1:] + ')' if variant else ''}", argv, output, [source], depfile, env))
    return steps


def build_bpf(options: Options) -> list[Path]:
    """Compile the BPF programs; return the objects."""
    steps = bpf_steps(options)
    run_all(steps)
    wanted = {step.output for step in steps}
    for stray in set((BUILD / "bpf").glob("*.bpf.o")) - wanted if steps else ():
        stray.unlink()      # its source is gone: it must not be tested or shipped
    return sorted(wanted)


def build_lib(options: Options) -> Path:
    """Build libtf.a; return its path."""
    objects = build_bpf(options)
    steps = vendor_steps(options) + engine_steps(options)
    if not options.no_bpf:
        flags = [*COMMON, *optimise(options), "-Icsrc"]
        steps += [compile_step(source, options.objects / f"{source.stem}.o", flags) for source in blobs.embed(objects)]
    run_all(steps)
    outputs = [step.output for step in steps]
    archiver = tool(os.environ.get("AR", "ar"), "make libtf.a", "binutils")
    # A fresh archive each time: `ar` would keep the member of a source that is gone.
    script = 'rm -f "$1" && ar=$2 && out=$1 && shift 2 && "$ar" qcsD "$out" "$@"'
    argv = ["/bin/sh", "-c", script, "sh", relative(options.lib), archiver, *map(relative, outputs)]
    run_all([Step(f"ar   {relative(options.lib)}", argv, options.lib, outputs)])
    return options.lib


def modules() -> list[str]:
    """Return the names of the extension modules: one for each .pyx."""
    return sorted(path.stem for path in (ROOT / "tapio_fast/_core").glob("*.pyx"))


def limited() -> bool:
    """Tell whether this Python builds against the stable ABI (a free-threaded one cannot)."""
    return not sysconfig.get_config_var("Py_GIL_DISABLED")


def cython_steps(options: Options) -> dict[str, Step]:
    """Translate each .pyx to C."""
    if not modules():
        return {}
    if not importlib.util.find_spec("Cython"):
        raise BuildError("cannot translate the .pyx files: Cython is missing from this Python; pip install 'Cython>=3.1'")
    directives = ["boundscheck=True", "wraparound=True", "initializedcheck=True", "nonecheck=True", "overflowcheck=True",
                  "cdivision=False"] if options.debug else []
    flat = [word for directive in directives for word in ("-X", directive)]
    steps = {}
    for name in modules():
        source = ROOT / f"tapio_fast/_core/{name}.pyx"
        output = BUILD / ("cython-debug" if options.debug else "cython") / f"{name}.c"
        output.parent.mkdir(parents=True, exist_ok=True)
        argv = [sys.executable, "-m", "cython", "-3", "-M", *flat, "--module-name", f"tapio_fast._core.{name}", "-I.", "-Icsrc",
                relative(source), "-o", relative(output)]
        steps[name] = Step(f"pyx  {relative(source)}", argv, output, [source, *source.parent.glob(f"{name}.pxd")], output.with_suffix(".c.dep"),
                           tag=importlib.metadata.version("Cython"))
    return steps


def build_extensions(options: Options) -> dict[str, Path]:
    """Build every extension module; return name -> shared object."""
    with lock():
        lib = build_lib(options)
        translated = cython_steps(options)
        run_all(list(translated.values()))
        headers = [sysconfig.get_path("include"), sysconfig.get_path("platinclude")]
        if translated and not any(Path(folder, "Python.h").is_file() for folder in headers):
            raise BuildError(f"cannot compile the extensions: Python.h of {sys.executable} is missing (Debian: apt-get install python3-dev)")
        flags = [*COMMON, *optimise(options), "-fwrapv", *includes(options), *(f"-I{folder}" for folder in dict.fromkeys(headers))]
        flags += [] if options.debug else ["-DNDEBUG"]
        flags += [f"-DPy_LIMITED_API={LIMITED_API}"] if limited() else []
        place = options.objects / f"py{sys.version_info.major}{sys.version_info.minor}{'' if limited() else 't'}"
        compiles = {name: compile_step(step.output, place / f"{name}.o", flags) for name, step in translated.items()}
        run_all(list(compiles.values()))
        link = ["-shared", "-pthread", "-Wl,--gc-sections", "-Wl,--exclude-libs,ALL", "-Wl,--as-needed", "-Wl,-z,now", "-Wl,-z,relro"]
        link += [f"-Wl,--wrap={name}" for name in WRAPPED]
        link += SANITIZE if options.sanitize else [] if options.debug else ["-s"]
        tail = [relative(lib), *(["-lbpf"] if options.system_libbpf else []), *shlex.split(os.environ.get("LDFLAGS", ""))]
        steps = {}
        for name, step in compiles.items():
            output = place / f"{name}.so"
            steps[name] = Step(f"link {name}", [*compiler(), *link, relative(step.output), *tail, "-o", relative(output)], output, [step.output, lib])
        run_all(list(steps.values()))
        return {name: step.output for name, step in steps.items()}


def inplace(options: Options) -> None:
    """Copy the extensions beside their sources; a running process keeps the old file."""
    suffix = ".abi3.so" if limited() else sysconfig.get_config_var("EXT_SUFFIX")
    for name, built in build_extensions(options).items():
        target = ROOT / f"tapio_fast/_core/{name}{suffix}"
        if target.is_file() and target.stat().st_mtime_ns == built.stat().st_mtime_ns and target.stat().st_size == built.stat().st_size:
            continue
        fresh = target.with_name(target.name + ".new")
        shutil.copy2(built, fresh)
        fresh.replace(target)
    for stray in (ROOT / "tapio_fast/_core").glob(f"*{suffix}"):
        if stray.name.removesuffix(suffix) not in modules():
            stray.unlink()


def annotate() -> None:
    """Write Cython's annotated HTML of every module to build/annotate."""
    folder = BUILD / "annotate"
    folder.mkdir(parents=True, exist_ok=True)
    for name in modules():
        subprocess.run([sys.executable, "-m", "cython", "-3", "-a", "-I.", "--module-name", f"tapio_fast._core.{name}",
                        f"tapio_fast/_core/{name}.pyx", "-o", f"build/annotate/{name}.c"], cwd=ROOT, check=True)
    print(f"annotated: {relative(folder)}/*.html")


def main(argv: list[str]) -> int:
    """Command line: inplace, lib, bpf or annotate."""
    command = argv[0] if len(argv) == 1 else ""
    try:
        options = Options.from_env()
        if command == "inplace":
            inplace(options)
        elif command == "lib":
            with lock():
                print(relative(build_lib(options)))
        elif command == "bpf":
            vendor.ensure(quiet=True)
            with lock():
                build_bpf(options)
        elif command == "annotate":
            annotate()
        else:
            print(__doc__, file=sys.stderr)
            return 2
    except BuildError as error:
        print(f"build: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
