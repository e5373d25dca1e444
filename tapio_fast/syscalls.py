# SPDX-License-Identifier: Apache-2.0
"""Names and numbers of system calls, of this machine or another. The table is bpf/include/tf_sysno.h. Relies on `_core`, `errors`."""
from __future__ import annotations

import difflib
import functools
import os
from collections.abc import Iterable

from tapio_fast.errors import ConfigError

KEY = "programs.process.monitor_syscalls"
MOST = 512      # TF_SYS_MAX: numbers below are looked at
MACHINES = ("x86_64", "aarch64")


@functools.cache
def table(machine: str = "") -> dict[str, int]:
    """Return name -> number of a machine ("x86_64", "aarch64"; default: this one; empty for others)."""
    from tapio_fast._core import _layout

    machine = machine or os.uname().machine
    if machine not in MACHINES:
        return {}
    arm = MACHINES.index(machine) == 1
    numbers = {name: on_arm if arm else on_x86 for name, on_x86, on_arm in _layout.syscalls()}
    return {name: number for name, number in numbers.items() if number >= 0}


@functools.cache
def _names(machine: str) -> dict[int, str]:
    return {number: name for name, number in table(machine).items()}


def name_of(number: int, machine: str = "") -> str:
    """Return the name of a number, or "" where the table has none."""
    return _names(machine).get(number, "")


def number_of(name: str, machine: str = "") -> int | None:
    """Return the number that a name or number (as text) stands for on a machine; None: only another machine has that call.

    Raises ConfigError for a name that no machine knows, and for a number out of range.
    """
    if name.isdecimal():
        if int(name) >= MOST:
            raise ConfigError(f"{KEY}: system call number {name} is out of range; numbers are 0 to {MOST - 1}", key=KEY)
        return int(name)
    known = table(machine)
    if name in known:
        return known[name]
    everywhere = {n for other in MACHINES for n in table(other)}
    if name in everywhere:
        return None
    near = difflib.get_close_matches(name, sorted(known or everywhere), 1, 0.6)
    hint = f"did you mean {near[0]!r}?" if near else "see `man 2 syscalls`, or give its number"
    raise ConfigError(f"{KEY}: no system call is named {name!r}; {hint}", key=KEY)


def numbers_of(names: Iterable[str], machine: str = "") -> tuple[list[int], list[str]]:
    """Return (sorted numbers, names that only another machine has). Raises ConfigError as number_of does."""
    found: set[int] = set()
    elsewhere = []
    for name in names:
        number = number_of(name, machine)
        if number is None:
            elsewhere.append(name)
        else:
            found.add(number)
    return sorted(found), elsewhere
