# SPDX-License-Identifier: Apache-2.0
"""Case `import`: CPU time of `import tapio_fast` against `import numpy`, each in fresh interpreters, in turns."""
from __future__ import annotations

import statistics
import subprocess
import sys

from tapio_fast.bench._measure import Effort, Samples, expect, ratio, spread
from tapio_fast.bench._rows import Row

_CHILD = """
import sys, time
cpu, wall = time.process_time_ns(), time.perf_counter_ns()
{statement}
print(time.process_time_ns() - cpu, time.perf_counter_ns() - wall, "{module}" in sys.modules)
"""
# name -> (statement, module that it must have loaded)
STATEMENTS = {
    "import": ("import tapio_fast", "tapio_fast"),
    "import/Collector, RecordBatch": ("from tapio_fast import Collector, RecordBatch", "numpy"),
    "import/numpy": ("import numpy", "numpy"),
}


def _once(statement: str, module: str) -> tuple[int, int]:
    argv = [sys.executable, "-c", _CHILD.format(statement=statement, module=module)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=True)
    cpu, wall, there = done.stdout.split()
    expect(there == "True", f"{statement} did not load {module}")
    return int(cpu), int(wall)


def imports(effort: Effort) -> list[Row]:
    """Time all; the first turn only warms the caches."""
    samples = {name: Samples() for name in STATEMENTS}
    for turn in range((5 if effort.quick else 11) + 1):
        for name, sample in samples.items():
            cpu, wall = _once(*STATEMENTS[name])
            if turn:
                sample.cpu.append(cpu / 1e6)
                sample.wall.append(wall / 1e6)
    rows = [Row(name, "ms", statistics.median(s.cpu), len(s.cpu), spread(s.cpu), note=f"CPU time; wall {statistics.median(s.wall):.0f} ms")
            for name, s in samples.items()]
    for row in rows[:2]:
        row.ratio_to, row.ratio = "import/numpy", ratio(samples[row.name], samples["import/numpy"])
    rows[0].judge("<= 1.6", rows[0].ratio)
    rows[1].note += "; the classes, and with them numpy, are loaded when first used"
    return rows
