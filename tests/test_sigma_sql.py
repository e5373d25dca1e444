# SPDX-License-Identifier: Apache-2.0
"""Our trees of Sigma rules against the SQL that another pySigma backend writes for them, run by SQLite over random records."""
from __future__ import annotations

import random
import re
import sqlite3
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from rules_support import exec_record, matches
from sigma.backends.sqlite import sqliteBackend
from sigma.collection import SigmaCollection

from support import tier_size
from tapio_fast.filtering._sigma import from_sigma

RULES = Path(__file__).parent / "rules" / "sigma"
COLUMNS = ("Image", "CommandLine", "CurrentDirectory", "ParentImage", "ParentCommandLine", "ProcessId", "ParentProcessId", "User")
KEYWORDS = "Cloud Metadata Service Asked By A Command"      # SQL has one text to seek words in, we have five
WORDS = ["-c", "-e", "-l", "x", "run", "http://x", "| sh", "4755", "--pid", ">>", "-i", "-u", "0", "curl ", r"\x2f\x62\x69\x6e", "/bin/sh",
         "-e use Socket; exec(/bin/sh", "-c socket connect( dup2", "-L 80:x:80", "--target=1", "–enc"]


def sql_of_rules() -> dict[str, str]:
    """Title -> WHERE clause."""
    backend = sqliteBackend(collate_nocase=True)
    found = {}
    for file in sorted(RULES.glob("*.yml")):
        if file.stem != "refused":
            for rule in SigmaCollection.from_yaml(file.read_text()).rules:
                if rule.title != KEYWORDS:
                    found[rule.title] = backend.convert_rule(rule)[0].partition(" WHERE ")[2].replace("User='root' COLLATE NOCASE", "User=0")
    return found


@lru_cache(1000)
def expression(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def database() -> sqlite3.Connection:
    base = sqlite3.connect(":memory:")
    base.create_function("REGEXP", 2, lambda pattern, value: expression(pattern).search(value or "") is not None, deterministic=True)
    base.execute(f"CREATE TABLE logs ({', '.join(f'{c} NUMERIC' if c.endswith('Id') or c == 'User' else f'{c} TEXT' for c in COLUMNS)})")
    return base


def fragments(where: str) -> list[str]:
    """The words that a rule speaks of, so that random records come near it."""
    texts = re.findall(r"'((?:[^']|'')*)'", where)
    return [part for text in texts for part in re.split(r"[%*]", text.replace("\\_", "_").replace("\\\\", "\\")) if part and len(part) > 1]


def records(words: list[str], seed: int, n: int) -> Iterator[dict[str, Any]]:
    chance = random.Random(seed)
    paths = [w for w in words if w.startswith("/")] + ["/usr/bin/env", "/x", "/python3"]
    for _ in range(n):
        image = chance.choice(["", "/usr/bin", "/home/u", "/tmp"]) + chance.choice(paths)
        parts = chance.choices([*words, *WORDS], k=chance.randint(0, 5))
        argv = [image, *parts] if chance.random() < 0.8 else parts
        if chance.random() < 0.2:
            image, argv = image.swapcase(), [part.swapcase() for part in argv]
        yield exec_record(argv or [""], image, cwd="/", parent_exe=chance.choice(["", "/usr/bin/bash", *("/usr/sbin" + p for p in paths)]),
                          parent_args=chance.choices([*words, "java"], k=2), pid=chance.randint(290, 310), ppid=chance.randint(0, 4),
                          uid=chance.choice([0, 33, 48, 1000]))


def row(record: dict[str, Any]) -> tuple[Any, ...]:
    return (record["exe"], " ".join(record["args"]), record["cwd"], record["parent_exe"] or None, " ".join(record["parent_args"]), record["pid"],
            record["ppid"], record["uid"])


SQL = sql_of_rules()


@pytest.fixture(scope="module")
def trees() -> dict[str, Any]:
    return {rule.name: rule.node for rule in from_sigma(RULES).rules}


@pytest.mark.parametrize("title", SQL)
def test_tree_and_sql_hit_the_same_records(trees: dict[str, Any], title: str) -> None:
    base = database()
    found = list(records(fragments(SQL[title]), len(title), tier_size(1_000, 50_000)))
    base.executemany(f"INSERT INTO logs VALUES ({', '.join('?' * len(COLUMNS))})", map(row, found))
    theirs = {number for (number,) in base.execute(f"SELECT rowid FROM logs WHERE {SQL[title]}")}
    ours = {number for number, record in enumerate(found, 1) if matches(trees[title], record)}
    assert ours == theirs, [found[n - 1] for n in sorted(ours ^ theirs)[:3]]
    assert 0 < len(ours) < len(found)
