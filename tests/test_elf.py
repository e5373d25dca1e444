# SPDX-License-Identifier: Apache-2.0
"""minielf sees what an independent reader sees, and no malformed file makes it read a byte too far."""

from __future__ import annotations

import ctypes.util
import sys
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection
from test_c import environment, native, program, sanitizer_missing

import support

SOURCE = support.ROOT / "tests/c/test_tf_elf.c"
# Small and complete: maps, .data, .rodata, .bss, two programs, relocations, BTF.
SAMPLE = """
#define SEC(name) __attribute__((section(name), used))
struct { int (*type)[27]; int (*max_entries)[4096]; } ring SEC(".maps");
const volatile int limit = 3;
int total, start = 7;
static __attribute__((noinline)) int helper(int x) { return x * start + total; }
SEC("socket") int first(void *ctx) { total += limit; return helper(total); }
SEC("tp_btf/sys_enter") int second(unsigned long long *ctx) { return helper((int)ctx[1]) & 1; }
char LICENSE[] SEC("license") = "Dual BSD/GPL";
"""


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile the sample BPF program."""
    folder = tmp_path_factory.mktemp("elf")
    source = folder / "sample.bpf.c"
    source.write_text(SAMPLE)
    front, env = native.bpf_compiler()
    support.run([*front, *native.BPF_FLAGS, "-c", source, "-o", folder / "sample.bpf.o"], env=env)
    return folder / "sample.bpf.o"


def truth(path: Path) -> list[str]:
    """List sections, symbols and segments as pyelftools reads them, in the words of `test_tf_elf dump`."""
    lines = []
    with path.open("rb") as handle:
        elf = ELFFile(handle)
        for index, section in enumerate(elf.iter_sections()):
            if index == 0:
                continue
            size, offset, kind = section["sh_size"], section["sh_offset"], section.header["sh_type"]
            data = b""
            if kind != "SHT_NOBITS":
                handle.seek(offset)
                data = handle.read(size)
            lines.append(f"section {index} {offset} {size} {sum(data)} {section.name}")
            if isinstance(section, SymbolTableSection):
                for at, symbol in enumerate(section.iter_symbols()):
                    lines.append(f"symbol {index} {at} {symbol['st_value']} {symbol['st_size']} {symbol.name}")
        for index, segment in enumerate(elf.iter_segments()):
            lines.append(f"segment {index} {segment['p_offset']} {segment['p_memsz']}")
    return lines


def seen(path: Path) -> list[str]:
    """List the same by minielf, without the columns that pyelftools only gives as names."""
    lines = []
    for line in support.run([program(SOURCE, "plain"), "dump", path]).stdout.splitlines():
        word, *rest = line.split(" ")
        if word == "section":
            del rest[1]
        elif word == "symbol":
            del rest[4:6]
        else:
            del rest[1]
        lines.append(" ".join([word, *rest]))
    return lines


def library(name: str) -> Path:
    """Return the path of a loaded shared library."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        path = line.split(None, 5)[-1]
        if Path(path).name.startswith(name):
            return Path(path)
    pytest.skip(f"{name} is not loaded into this process: {ctypes.util.find_library('c')}")


def test_same_as_pyelftools_on_bpf(sample: Path) -> None:
    objects = [sample, *sorted((support.ROOT / "build/bpf").glob("*.bpf.o"))]
    for path in objects:
        assert seen(path) == truth(path), path.name


def test_same_as_pyelftools_on_host_files() -> None:
    for path in (library("libc.so"), Path(sys.executable).resolve(), Path(program(SOURCE, "plain"))):
        assert seen(path) == truth(path), path.name


@pytest.mark.parametrize("name", ["malloc", "fopen@@GLIBC_2.2.5", "pthread_create@GLIBC_2.2.5"])
def test_function_offset_with_versions(name: str) -> None:
    """libbpf finds a function of libc through minielf where pyelftools says it lies."""
    path = library("libc.so")
    got = int(support.run([program(SOURCE, "plain"), "func", path, name], check=False).stdout)
    with path.open("rb") as handle:
        elf = ELFFile(handle)
        symbols = elf.get_section_by_name(".dynsym").get_symbol_by_name(name.partition("@")[0])
        wanted = set()
        for symbol in symbols or ():
            place = elf.get_section(symbol["st_shndx"])
            wanted.add(symbol["st_value"] - place["sh_addr"] + place["sh_offset"])
    if len(wanted) == 1 or got > 0:
        assert got in wanted
    else:
        pytest.skip(f"this libc has no {name}")


@pytest.mark.parametrize("mode", ["fuzz", "libbpf"])
def test_malformed(sample: Path, mode: str) -> None:
    """Cut at every length, every header byte changed, random changes: no stray read, under ASan and UBSan where they are."""
    flavour = "plain" if sanitizer_missing() else "sanitize"
    count = support.tier_size(20000, 2000000) if mode == "fuzz" else support.tier_size(5000, 200000)
    done = support.run([program(SOURCE, flavour), mode, sample, "1", str(count)], env=environment(),
                       timeout=support.tier_size(280, 3600))
    total = int(done.stdout.split()[-2])
    assert total >= count + sample.stat().st_size, done.stdout


def test_malformed_library(tmp_path: Path) -> None:
    """The same with a host library: symbol versions, notes, segments."""
    flavour = "plain" if sanitizer_missing() else "sanitize"
    small = tmp_path / "small.so"
    source = tmp_path / "small.c"
    source.write_text("int f(void) { return 1; }\nint g(void) { return 2; }\nint bss[1000];\n")
    (tmp_path / "map").write_text("V1 { global: f; local: bss; };\nV2 { global: g; } V1;\n")
    support.run([*native.compiler(), "-shared", "-fPIC", source, f"-Wl,--version-script={tmp_path / 'map'}", "-o", small])
    done = support.run([program(SOURCE, flavour), "fuzz", small, "2", str(support.tier_size(10000, 1000000))], env=environment(),
                       timeout=support.tier_size(280, 3600))
    assert int(done.stdout.split()[-2]) > 10000
