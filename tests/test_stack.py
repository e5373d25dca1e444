# SPDX-License-Identifier: Apache-2.0
"""The stack of every chain of calls in every BPF object, counted as the strictest verifier does (6.1: each function's rounded up to 32
bytes, callbacks and code that a newer kernel would not run included): 512 bytes at most. The kernel here rounds to 16 and takes more."""
from __future__ import annotations

import struct
from pathlib import Path
from typing import NamedTuple

import pytest

from support import ROOT

LIMIT, FRAMES, ROUND = 512, 8, 32
OBJECTS = sorted((ROOT / "build" / "bpf").glob("*.bpf.o"))
FRAME_POINTER, CALL, LOAD_64, MOVE, ADD = 10, 0x85, 0x18, 0xBF, 0x07
TABLE, RELOCATIONS, CODE = 2, 9, 4
NOT_OLD = {"tf_container_enter", "tf_container_join"}    # never loaded by their old variant: TF_PS_NOT_OLD in csrc/tf_object_specs_container.c
TASK_STORAGE = (156, 157)       # helpers that tracing programs have since 5.12, where the old variants are not needed any more


class Function(NamedTuple):
    name: str
    own: int                    # bytes of stack
    calls: frozenset[tuple[int, int]]
    entry: bool                 # a program, not a function that programs share
    storage: bool               # asks for what a task has stored


class Object:
    """The functions of an object, by (section, offset)."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        start, = struct.unpack_from("<Q", data, 40)
        size, number, names = struct.unpack_from("<HHH", data, 58)
        self.sections = [struct.unpack_from("<IIQQQQIIQQ", data, start + i * size) for i in range(number)]
        self.section_names = names
        self.symbols = [s for section in self.sections if section[1] == TABLE for s in self._table(section)]
        self.moved = {(section[7], offset): self.symbols[info >> 32] for section in self.sections if section[1] == RELOCATIONS
                      for offset, info in struct.iter_unpack("<QQ", data[section[4]:section[4] + section[5]])}
        self.functions = {(section, value): self._function(name, section, value, length)
                          for name, kind, section, value, length in self.symbols if kind == 2}

    def _text(self, offset: int, table: int) -> str:
        at = self.sections[table][4] + offset
        return self.data[at:self.data.index(b"\0", at)].decode()

    def _table(self, section: tuple[int, ...]) -> list[tuple[str, int, int, int, int]]:
        raw = self.data[section[4]:section[4] + section[5]]
        return [(self._text(name, section[6]), info & 15, where, value, size)
                for name, info, _, where, value, size in struct.iter_unpack("<IBBHQQ", raw)]

    def _function(self, name: str, section: int, begin: int, length: int) -> Function:
        deepest, copies, calls, storage = 0, set(), set(), False
        for at in range(begin, begin + length, 8):
            op, registers, offset, imm = struct.unpack_from("<BBhi", self.data, self.sections[section][4] + at)
            to, source = registers & 15, registers >> 4
            if (op & 7 == 1 and source == FRAME_POINTER) or (op & 7 in (2, 3) and to == FRAME_POINTER):
                deepest = min(deepest, offset)
            elif op == MOVE:
                (copies.add if source == FRAME_POINTER else copies.discard)(to)
            elif op == ADD and to in copies:
                deepest = min(deepest, imm)
                copies.discard(to)
            moved = self.moved.get((section, at))
            storage |= op == CALL and source == 0 and imm in TASK_STORAGE
            if op == CALL and source == 1:
                calls.add(self._target(moved, imm) if moved else (section, at + 8 + imm * 8))
            elif op == LOAD_64 and moved and moved[2] < len(self.sections) and self.sections[moved[2]][2] & CODE:
                calls.add((moved[2], moved[3] + imm))       # a callback
        shared = self._text(self.sections[section][0], self.section_names) == ".text"
        return Function(name, -deepest, frozenset(calls), not shared, storage)

    def _target(self, symbol: tuple[str, int, int, int, int], imm: int) -> tuple[int, int]:
        return (symbol[2], symbol[3] if symbol[1] == 2 else (imm + 1) * 8)

    def deepest(self, where: tuple[int, int]) -> list[tuple[str, int]]:
        """The chain of calls from here that takes most: names with their rounded bytes."""
        function = self.functions.get(where)
        if function is None:
            return []           # a function of the kernel's
        below = [self.deepest(call) for call in function.calls]
        own = (function.name, -(-max(1, function.own) // ROUND) * ROUND)
        return [own, *max(below, key=lambda chain: sum(size for _, size in chain), default=[])]


@pytest.mark.skipif(not OBJECTS, reason="built without BPF")
@pytest.mark.parametrize("path", OBJECTS, ids=lambda path: path.name)
def test_every_chain_of_calls_fits(path: Path) -> None:
    built = Object(path.read_bytes())
    old = path.name.endswith(".old.bpf.o")
    chains = {function.name: built.deepest(where) for where, function in built.functions.items()
              if function.entry and not (old and (function.storage or function.name in NOT_OLD))}
    assert chains or old
    assert {name: chain for name, chain in chains.items() if sum(size for _, size in chain) > LIMIT or len(chain) > FRAMES} == {}


@pytest.mark.skipif(not OBJECTS, reason="built without BPF")
def test_calls_and_callbacks_are_followed() -> None:
    """The chain of a claimed path, by name: what it takes would be missed if a call or a callback were not seen."""
    built = Object((ROOT / "build/bpf/file.bpf.o").read_bytes())
    finish = next(where for where, function in built.functions.items() if function.name == "tf_file_finish")
    names = [name for name, _ in built.deepest(finish)]
    assert names[:3] == ["tf_file_finish", "tf_read_texts", "tf_read_claimed"] and len(names) >= 5, names
    called = {built.functions[call].name for function in built.functions.values() for call in function.calls if call in built.functions}
    assert {"tf_join_read", "tf_join_base", "tf_join_append", "tf_walk_step", "tf_climb_step"} <= called
