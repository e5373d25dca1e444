# SPDX-License-Identifier: Apache-2.0
"""`python -m tapio_fast.demo`: three seconds of events into a store, the ledger, and the store read back in numpy.

Live events of a small workload where this machine allows it; else the load generator in the kernel; else rings in memory. It says
which of them it used, and exactly why not the one before. What `make demo` shows.
"""
from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tapio_fast import Collector, Config, KernelFilter, MemorySource, RawStore, RecordBatch, SyntheticSource, probe, schema
from tapio_fast.cli._exit import nobody_reads
from tapio_fast.cli._follow import Command
from tapio_fast.cli._ledger import kinds_of, kinds_text, ledger_text
from tapio_fast.errors import PermissionDeniedError, TapioError, UnsupportedPlatformError
from tapio_fast.events import RawEvent
from tapio_fast.formatting import RawEventFormatter, count_text
from tapio_fast.stats import Statistics

_EXAMPLES = 3
_RATE = 20_000      # made-up records a second
# Commands that end in different ways, and TCP over IPv4 and IPv6: an exchange, and a refused connection.
WORKLOAD = """
import socket, subprocess, sys, threading, time
def exchange(family, address):
    with socket.socket(family) as server:
        server.bind((address, 0)); server.listen()
        def serve():
            peer, _ = server.accept()
            with peer: peer.sendall(peer.recv(100) * 10)
        thread = threading.Thread(target=serve); thread.start()
        with socket.create_connection(server.getsockname()[:2]) as client:
            client.sendall(b"hello, kernel"); client.recv(1000)
        thread.join()
        return server.getsockname()[1]
end = time.monotonic() + float(sys.argv[1])
while time.monotonic() < end:
    subprocess.run(["uname", "-r"], stdout=subprocess.DEVNULL)
    subprocess.run(["sh", "-c", "exit 7"])
    subprocess.run(["sh", "-c", "kill -TERM $$"])
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        try:
            port = exchange(family, address)
            socket.create_connection((address, port)).close()
        except OSError:
            pass
    time.sleep(0.25)
"""


def _config(path: Path) -> Config:
    return Config.default().replace(dual_path={"enabled": True, "raw_storage_path": str(path), "semantic_enabled": False,
                                               "correlation_enabled": False})


def _live(path: Path, seconds: float) -> Statistics:
    """Record a workload of our own and nothing else of this machine."""
    report = probe()
    if not report.can_collect:
        refuse = PermissionDeniedError if report.supported else UnsupportedPlatformError
        raise refuse(f"{report.reason}; {report.next_step}")
    script = path.with_name("workload.py")
    script.write_text(WORKLOAD)
    with Command([sys.executable, str(script), str(seconds)]) as workload:
        collector = Collector(_config(path), filter=KernelFilter(descendants_of=[workload.pid]))
        with collector:
            print(f"source: live kernel events of process {workload.pid} and its children (kernel {report.kernel})")
            workload.release()
            workload.wait()
            collector.stop()
        return collector.stats()


def _synthetic(path: Path, seconds: float) -> Statistics:
    """Let the load generator in the kernel send made-up records through the same gate and rings."""
    source = SyntheticSource(rate=_RATE, kinds=("process.exec", "network.connect", "cpu.usage"))
    with Collector(_config(path), source=source) as collector:
        print("source: the load generator in the kernel: made-up records through the real gate and rings")
        time.sleep(seconds)
        collector.stop()
    tried = sum(source.tried.values())
    stats = collector.stats()
    print(f"  the generator counted {tried:,} records of its own; the ledger saw {_seen(stats):,}")
    return stats


def _seen(stats: Statistics) -> int:
    return sum(counts["seen"] for kind, counts in stats.by_kind.items() if not kind.startswith("meta."))


def _memory(path: Path, seconds: float) -> Statistics:
    """Fill rings in this process's own memory with made-up records; works anywhere."""
    source = MemorySource()
    rows = [_made_up("process.exec", args=b"uname\0-r", exe=b"/usr/bin/uname"), _made_up("process.exit", exit_code=7),
            _made_up("network.connect", dest_port=443, family=2, protocol=6, direction=1)]
    with Collector(_config(path), source=source) as collector:
        print("source: rings in memory, filled with made-up records")
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for kind, row, tail in rows:
                source.fill(kind, row, _RATE // 300, tail=tail)
            time.sleep(0.01)
        collector.stop()
    return collector.stats()


def _made_up(kind: str, **fields: Any) -> tuple[str, np.void, bytes]:
    domain = kind.split(".")[0]
    row = np.zeros(1, schema.DTYPES[domain])
    row["comm"], row["pid"], row["tid"] = b"made-up", 4711, 4711
    tail = b""
    for name, value in fields.items():
        if isinstance(value, bytes):
            row[name] = (len(tail), len(value), len(value))
            tail += value
        else:
            row[name] = value
    return kind, row[0], tail


_SOURCES: dict[str, Callable[[Path, float], Statistics]] = {"live": _live, "synthetic": _synthetic, "memory": _memory}


def _show(path: Path, stats: Statistics) -> bool:
    """Print kinds with examples, the ledger, and the store in numpy; return whether it all adds up."""
    kinds = kinds_of(stats.by_kind)
    print(f"\n{sum(kinds.values()):,} events in {stats.seconds:.1f} s:\n{kinds_text(kinds)}\n")
    with RawStore(path) as store:
        batches = list(store.scan())
    for event in _examples(batches):
        print(f"  {RawEventFormatter(color_output=sys.stdout.isatty()).format(event)}")
    text, right = ledger_text(stats.ledger, stats.branches)
    print(f"\n{text}\n")
    return _read_back(path, batches, kinds) and right


def _examples(batches: Sequence[RecordBatch]) -> list[RawEvent]:
    """Return the first events of each kind."""
    taken: dict[str, int] = {}
    out = []
    for batch in batches:
        for event in batch.events():
            taken[event.kind] = taken.get(event.kind, 0) + 1
            if taken[event.kind] <= _EXAMPLES:
                out.append(event)
    return out


def _read_back(path: Path, batches: Sequence[RecordBatch], kinds: dict[str, int]) -> bool:
    """Open the store in numpy; return whether it holds exactly what the ledger says."""
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    print(f"the store holds {count_text(size)}; read back in numpy:")
    found = 0
    for domain, fields in (("process", ["ts_ns", "pid", "ppid", "comm", "exit_code", "signal"]),
                           ("network", ["ts_ns", "pid", "dest_port", "errno", "bytes_sent", "duration_ns"])):
        arrays = [batch[domain] for batch in batches if domain in batch]
        rows = np.concatenate(arrays) if arrays else np.empty(0, schema.DTYPES[domain])
        found += len(rows)
        print(f'\n  >>> rows["{domain}"][{fields}]      # {len(rows):,} rows of {schema.DTYPES[domain].itemsize} bytes')
        print("  " + str(rows[fields][:4]).replace("\n", "\n  "))
    expected = sum(n for kind, n in kinds.items() if kind.startswith(("process.", "network.")))
    print(f"\n  {found:,} rows read back, {expected:,} in the ledger: {'equal' if found == expected else 'NOT EQUAL'}")
    return found == expected


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; return 0 if it worked and everything added up."""
    parser = argparse.ArgumentParser(prog="python -m tapio_fast.demo", description="Record, account for, and read back a few events.")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long to record (default 3)")
    parser.add_argument("--source", choices=("auto", *_SOURCES), default="auto",
                        help="where events come from (default: the best there is)")
    options = parser.parse_args(argv)
    for name in _SOURCES if options.source == "auto" else [options.source]:
        with tempfile.TemporaryDirectory(prefix="tapio-demo-") as folder:
            path = Path(folder) / "store"
            try:
                stats = _SOURCES[name](path, options.seconds)
            except TapioError as error:
                print(f"no {name} events here: {error}\n")
                continue
            return 0 if _show(path, stats) else 1
    print("nothing could be recorded")
    return 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenPipeError:     # `... | head`
        sys.exit(nobody_reads())
