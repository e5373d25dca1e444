# SPDX-License-Identifier: Apache-2.0
"""docs/events.md is what its script makes of the sources, every field of every record has a unit and a meaning, every kind a line."""
from __future__ import annotations

import importlib.util
from types import ModuleType

import pytest

import support
from tapio_fast import schema
from tapio_fast._about import ABOUT
from tapio_fast.config import Config
from tapio_fast.enabled import collected_when, enabled_kinds


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("events_page", support.ROOT / "scripts" / "events_page.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date(script: ModuleType) -> None:
    assert script.PAGE.read_text() == script.page(), "run `make docs`"


def test_every_field_has_unit_and_meaning(script: ModuleType) -> None:
    known = script.structs()
    for domain, dtype in schema.DTYPES.items():
        for name in dtype.names or ():
            unit, meaning = known["header" if name in schema.HEADER_FIELDS else domain].fields[name]
            assert unit and " " not in unit and meaning, f"{domain}.{name}: {unit!r}, {meaning!r}"


def test_every_kind_has_its_line() -> None:
    assert set(ABOUT) == set(schema.KIND_BY_NAME)
    assert all(line and line == line.strip() and not line.endswith(".") for line in ABOUT.values())
    assert len(set(ABOUT.values())) == len(ABOUT)


def test_when_a_kind_is_collected() -> None:
    default = enabled_kinds(Config.default())
    assert {name for name in schema.KIND_BY_NAME if collected_when(name) == "by default"} == default
    whens = {name: collected_when(name) for name in ("file.open", "network.drop", "memory.mmap", "process.setuid", "cpu.usage", "meta.epoch")}
    assert whens == {"file.open": "with its domain", "network.drop": "when asked", "memory.mmap": "when asked", "process.setuid": "when asked",
                     "cpu.usage": "when asked", "meta.epoch": "always"}
