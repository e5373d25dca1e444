# SPDX-License-Identifier: Apache-2.0
"""Tables into files of other formats, by arro3-io, imported when asked for. A file is there when it is whole, or not at all."""
from __future__ import annotations

import importlib
import os
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

from tapio_fast._escape import escape
from tapio_fast.errors import MissingExtraError
from tapio_fast.tables import Table

Write = Callable[[Any, Table, str], None]
# Arrow's stream form: its file form has no room for names that turn up later
FORMATS: Mapping[str, tuple[str, Write]] = {
    "parquet": (".parquet", lambda io, table, path: io.write_parquet(table, path, compression="zstd(1)")),
    "arrow": (".arrows", lambda io, table, path: io.write_ipc_stream(table, path, compression="zstd")),
    "jsonl": (".jsonl", lambda io, table, path: io.write_ndjson(table, path)),
}


def export(directory: str, format: str, tables: Mapping[str, Table], progress: Callable[[str], None] | None = None) -> list[str]:
    """Write each table into NAME.SUFFIX of a directory; return the paths. `progress` is told the name of each table before it is written."""
    if format not in FORMATS:
        raise ValueError(f"no format {format!r}; there are {', '.join(FORMATS)}")
    suffix, write = FORMATS[format]
    try:
        io = importlib.import_module("arro3.io")
    except ImportError:
        raise MissingExtraError("cannot export: arro3-io is not installed; run pip install 'tapio_fast[parquet]', or use store.table(...)"
                                ) from None
    os.makedirs(directory, exist_ok=True)
    paths = {name: os.path.join(directory, name + suffix) for name in tables}
    for path in paths.values():
        if os.path.lexists(path):
            raise FileExistsError(f"{escape(path)} is there already; choose another directory, or remove it")
    for name, path in paths.items():
        if progress is not None:
            progress(name)
        _whole(lambda to, name=name: write(io, tables[name], to), path)       # type: ignore[misc]
    return list(paths.values())


def _whole(write: Callable[[str], None], path: str) -> None:
    fd, part = tempfile.mkstemp(prefix=".", suffix=".part", dir=os.path.dirname(path) or ".")
    try:
        os.close(fd)
        write(part)
        with open(part, "rb") as done:
            os.fsync(done.fileno())
        os.link(part, path)         # unlike rename: never over another file
    except Exception as error:
        if "KeyboardInterrupt" in str(error):       # it came while the table was read, and the library made an error of it
            raise KeyboardInterrupt from None
        raise
    finally:
        os.unlink(part)
