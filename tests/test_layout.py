# SPDX-License-Identifier: Apache-2.0
"""One definition of a record, seen three ways: the header by the compiler's debug information, numpy's dtypes, and BTF of BPF objects.

A header that was changed behind the engine's back must be named, field by field, before a single record is read.
"""
from __future__ import annotations

import io
import os
import subprocess
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

import support
from tapio_fast import LayoutError, schema
from tapio_fast._core import _layout

native = support.native()
HEADER = support.ROOT / "bpf/include/tf_event.h"
STRUCTS = {f"tf_{domain}": domain for domain in schema.DOMAINS}
KEEP = "\n".join(f"__attribute__((noinline)) int keep_{s}(struct {s} *p) {{ return p != 0; }}"
                 for s in ("tf_header", "tf_text", *STRUCTS))
TYPES = """typedef unsigned char __u8; typedef unsigned short __u16; typedef unsigned int __u32; typedef unsigned long long __u64;
typedef short __s16; typedef int __s32; typedef long long __s64;
"""


def compiled(folder: Path, header: str, argv: list[str], env: dict[str, str]) -> ELFFile:
    """Compile a header's text, with every record kept in the debug information."""
    # Rows may change size here: that the size is frozen is the header's own assertion
    text = "\n".join(line for line in header.splitlines() if not line.startswith("_Static_assert"))
    (folder / "records.c").write_text(TYPES + text + "\n" + KEEP + "\n")
    subprocess.run([*argv, "-c", "records.c", "-o", "records.o"], cwd=folder, env={**os.environ, **env}, check=True, timeout=120)
    return ELFFile(io.BytesIO((folder / "records.o").read_bytes()))


def btf_of(folder: Path, header: str) -> bytes:
    """The BTF that the BPF compiler makes of a header."""
    front, env = native.bpf_compiler()
    section = compiled(folder, header, [*front, "-mcpu=v3", "-O2", "-g"], env).get_section_by_name(".BTF")
    assert section is not None
    return bytes(section.data())


def fields_by_dwarf(folder: Path) -> dict[str, dict[str, tuple[int, int]]]:
    """struct -> field -> (offset, bytes), header flattened, as the C compiler sees them."""
    elf = compiled(folder, HEADER.read_text(), [*native.compiler(), "-g"], {})
    top = next(elf.get_dwarf_info().iter_CUs()).get_top_DIE()
    found = {}

    def size(die: object) -> int:
        attributes = die.attributes                     # type: ignore[attr-defined]
        if "DW_AT_byte_size" in attributes:
            return int(attributes["DW_AT_byte_size"].value)
        inner = size(die.get_DIE_from_attribute("DW_AT_type"))      # type: ignore[attr-defined]
        for child in die.iter_children():               # type: ignore[attr-defined]
            if child.tag == "DW_TAG_subrange_type":
                inner *= int(child.attributes["DW_AT_upper_bound"].value) + 1
        return inner

    for die in top.iter_children():
        if die.tag == "DW_TAG_structure_type" and "DW_AT_name" in die.attributes:
            found[die.attributes["DW_AT_name"].value.decode()] = {
                m.attributes["DW_AT_name"].value.decode(): (int(m.attributes["DW_AT_data_member_location"].value),
                                                             size(m.get_DIE_from_attribute("DW_AT_type")))
                for m in die.iter_children() if m.tag == "DW_TAG_member"}
    for fields in found.values():
        if "h" in fields:
            del fields["h"]
            fields.update(found["tf_header"])
    return found


def test_dtypes_are_the_compilers_structs(tmp_path: Path) -> None:
    seen = fields_by_dwarf(tmp_path)
    for struct, domain in STRUCTS.items():
        shown = {name.rstrip("_"): place for name, place in seen[struct].items() if not name.startswith("_")}
        dtype = schema.DTYPES[domain]
        assert {name: (at, field.itemsize) for name, (field, at) in dtype.fields.items()} == shown, domain


def test_the_header_as_it_is_agrees_in_btf(tmp_path: Path) -> None:
    assert _layout.check_btf(btf_of(tmp_path, HEADER.read_text()), ("tf_header", *STRUCTS)) == ""


MUTATIONS = {
    "two fields swapped": (("__u32 tid;", "__u32 XXX;"), ("__u32 pid;", "__u32 tid;"), ("__u32 XXX;", "__u32 pid;"), "tf_header.pid"),
    "a wider field": (("__u16 gen;", "__u32 gen;"), "tf_header.gen"),
    "a field more in the header": (("__u64 seq;", "__u64 extra; __u64 seq;"), "tf_header.seq"),
    "a field that is gone": (("__u32 exe_device;", ""), "tf_process."),
    "another name": (("__u32 exe_device;", "__u32 exe_dev;"), "tf_process.exe_device"),
    "signed for unsigned": (("__u64 bytes_sent;", "__s64 bytes_sent;"), "tf_network.bytes_sent"),
    "float for an integer": (("__u32 srtt_us;", "float srtt_us;"), "tf_network.srtt_us"),
    "a shorter array": (("__u8  source_ip[TF_IP_LEN];", "__u8  source_ip[8]; __u8 rest[8];"), "tf_network.source_ip"),
    "an integer where a text was": (("struct tf_text cwd;", "__u32 cwd[3];"), "tf_process.cwd"),
    "a record that grew at its end": (("__u32 major_faults;", "__u32 major_faults; __u64 more;"), "tf_cpu"),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_mutated_header_is_named(name: str, tmp_path: Path) -> None:
    *changes, where = MUTATIONS[name]
    text = HEADER.read_text()
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    said = _layout.check_btf(btf_of(tmp_path, text), ("tf_header", *STRUCTS))
    assert where in said and "rebuild" in said, said


def test_record_that_is_missing_is_named(tmp_path: Path) -> None:
    said = _layout.check_btf(btf_of(tmp_path, HEADER.read_text()), ("tf_header", "tf_nonsense"))
    assert "tf_nonsense" in said


@pytest.mark.parametrize("damage", ["empty", "short", "magic", "offsets", "strings"])
def test_damaged_btf_is_refused_not_believed(damage: str, tmp_path: Path) -> None:
    data = bytearray(btf_of(tmp_path, HEADER.read_text()))
    if damage == "empty":
        data = bytearray()
    elif damage == "short":
        del data[len(data) // 2:]
    elif damage == "magic":
        data[0] ^= 0xFF
    elif damage == "offsets":
        data[8:24] = b"\xff" * 16
    else:
        data[-2000:] = b"\xff" * 2000
    assert _layout.check_btf(bytes(data), ("tf_header", *STRUCTS)) != ""


MAIN = """
#include <stdio.h>
#include "tf_object.h"
int main(void)
{
	struct tf_object_opts o = { .synth = true, .kind_mask = { ~0ull } };
	struct tf_object *object = NULL;
	char msg[1024] = "";
	int rc = tf_object_open(&o, &object, msg, sizeof(msg));

	printf("%d %s\\n", rc, msg);
	tf_object_close(object);
	return 0;
}
"""


@pytest.mark.root
@pytest.mark.live
def test_object_of_another_header_does_not_open(tmp_path: Path) -> None:
    """The whole way: synth.bpf.c compiled against a changed header, put into a program with this build's engine."""
    include = tmp_path / "include"
    include.mkdir()
    for path in (support.ROOT / "bpf/include").iterdir():
        text = path.read_text()
        if path.name == "tf_event.h":
            text = text.replace("__u32 tid;", "__u32 XXX;").replace("__u32 pid;", "__u32 tid;").replace("__u32 XXX;", "__u32 pid;")
        (include / path.name).write_text(text)
    with native.lock():
        library = native.build_lib(native.Options())
        steps = {step.output.name: step for step in native.bpf_steps(native.Options())}
        objects = {step.output.name: step.output for step in steps.values()}
        changed = [name for name in steps if name.startswith("synth.")]      # whichever variant this kernel gets
        for name in changed:
            argv = [f"-I{include}" if word == "-Ibpf/include" else str(tmp_path / name) if word.endswith(name) else
                    str(tmp_path / "synth.d") if word.endswith(".d") else word for word in steps[name].argv]
            subprocess.run(argv, cwd=support.ROOT, env={**os.environ, **(steps[name].env or {})}, check=True, timeout=120)
    # Assembled, because a compiler takes minutes over that many numbers.
    parts, rows = [".section .rodata\n"], []
    for i, (name, path) in enumerate(objects.items()):
        chosen = tmp_path / name if name in changed else path
        parts.append(f'.balign 16\n.globl b{i}\nb{i}: .incbin "{chosen}"\n')
        rows.append(f'{{"{name.removesuffix(".bpf.o")}", b{i}, {chosen.stat().st_size}}},')
    (tmp_path / "data.s").write_text("".join(parts) + '.section .note.GNU-stack,"",@progbits\n')
    (tmp_path / "blobs.c").write_text('#include "tf_blobs.h"\n' + "".join(f"extern const unsigned char b{i}[];\n" for i in range(len(rows)))
                                      + f"const struct tf_blob tf_blobs[] = {{{''.join(rows)}{{0, 0, 0}}}};\n"
                                      f"const size_t tf_blob_count = {len(rows)};\n")
    (tmp_path / "main.c").write_text(MAIN)
    flags = [f"-I{support.ROOT / d}" for d in ("csrc", "bpf/include")]
    subprocess.run([*native.compiler(), "-std=gnu11", *flags, "main.c", "blobs.c", "data.s", str(library), "-pthread", "-o", "main"],
                   cwd=tmp_path,
                   check=True, timeout=120)
    said = support.run([tmp_path / "main"], timeout=60).stdout
    assert said.startswith("-74 "), said
    assert "tf_header.pid" in said and "rebuild" in said


def test_that_answer_is_a_layout_error() -> None:
    from tapio_fast.errors import error_for

    error = error_for(74, "load BPF programs", cause="tf_header.pid: C u4 at 32, BTF u4 at 36 (rebuild bpf/)", bad=LayoutError)
    assert isinstance(error, LayoutError) and "tf_header.pid" in str(error)
