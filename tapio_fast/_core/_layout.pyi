# SPDX-License-Identifier: Apache-2.0
from collections.abc import Iterable

from typing_extensions import Buffer

KIND_MAX: int
LEDGER: tuple[str | None, ...]

def layouts() -> list[tuple[str, str, int, int, list[tuple[str, str, str, int, int]]]]: ...
def kinds() -> list[tuple[str, int, int, int, int]]: ...
def check_btf(btf: Buffer, required: Iterable[str] = ...) -> str: ...
