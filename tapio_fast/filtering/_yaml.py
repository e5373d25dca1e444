# SPDX-License-Identifier: Apache-2.0
"""Reads YAML that strangers wrote, within bounds: size, nesting, what aliases expand to; doubled keys are errors. Relies on PyYAML.

Documents are built from the parser's events without recursion, so that neither deep nesting nor aliases of aliases cost more than
the bounds say. PyYAML is imported where it is used.
"""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from tapio_fast.errors import FilterError

MAX_BYTES = 4 << 20         # of a file; the largest collections of rules are well below 1 MiB a file
MAX_NODES = 200_000         # of a document, aliases expanded
MAX_DEPTH = 64


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a file. line: where it begins; lines: where the items of a list at its top begin."""

    data: Any
    line: int
    lines: tuple[int, ...] = ()


def need_yaml(extra: str) -> Any:
    """Return PyYAML, or raise FilterError that names the extra."""
    try:
        import yaml
    except ImportError:
        raise FilterError(f"reading these rules needs PyYAML: pip install 'tapio_fast[{extra}]'") from None
    return yaml


def read_text(path: Path) -> str:
    """Return the text of a rules file: UTF-8, bounded; raises FilterError that names the file."""
    try:
        with open(path, "rb") as handle:
            raw = handle.read(MAX_BYTES + 1)
    except OSError as error:
        raise FilterError(f"cannot read rules {path}: {error.strerror}") from None
    if len(raw) > MAX_BYTES:
        raise FilterError(f"{path}: a rules file has at most {MAX_BYTES >> 20} MiB; split it, and give the directory")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise FilterError(f"{path}:{line}: byte {error.start} is not UTF-8; save the file as UTF-8", position=error.start) from None


def documents(text: str, name: str, *, typed: bool, extra: str) -> list[Document]:
    """Return the documents of a text.

    typed : scalars become numbers, booleans and null as YAML 1.1 has them; else all stay texts, as yaml-cpp readers see them
    Raises FilterError with file and line.
    """
    yaml = need_yaml(extra)
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return list(_Builder(yaml, name, typed).build(yaml.parse(text, Loader=loader)))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{name}:{mark.line + 1}" if mark is not None else name
        why = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error).splitlines()[0]
        raise FilterError(f"{where}: this is no YAML: {why}") from None
    except (RecursionError, ValueError, OverflowError) as error:
        raise FilterError(f"{name}: this YAML cannot be read: {error}") from None


class _Builder:
    """Turns events into plain data. A collection under way is (data, key or None, line, size)."""

    def __init__(self, yaml: Any, name: str, typed: bool) -> None:
        self.yaml, self.name, self.typed = yaml, name, typed
        self.resolver = yaml.resolver.Resolver()
        self.constructor = yaml.constructor.SafeConstructor()
        self.anchors: dict[str, tuple[Any, int]] = {}
        self.nodes = 0

    def wrong(self, mark: Any, why: str) -> NoReturn:
        raise FilterError(f"{self.name}:{mark.line + 1}: {why}")

    def build(self, events: Any) -> Iterator[Document]:
        """Yield one Document for each that is not empty."""
        for event in events:
            if isinstance(event, self.yaml.DocumentStartEvent):
                self.anchors, self.nodes = {}, 0
                data, line, lines = self.document(events)
                if data is not None:
                    yield Document(data, line, tuple(lines))

    def document(self, events: Any) -> tuple[Any, int, list[int]]:
        y = self.yaml
        stack: list[list[Any]] = []      # [data, pending key, has a key, anchor, nodes before it]
        lines: list[int] = []
        first = 0
        for event in events:
            mark = event.start_mark
            if isinstance(event, y.DocumentEndEvent):
                return None, first, []
            first = first or mark.line + 1
            if len(stack) == 1 and isinstance(stack[0][0], list) and not isinstance(event, y.SequenceEndEvent):
                lines.append(mark.line + 1)
            if isinstance(event, y.SequenceStartEvent | y.MappingStartEvent):
                if event.tag not in (None, "!", "tag:yaml.org,2002:seq", "tag:yaml.org,2002:map"):
                    self.wrong(mark, f"the tag {event.tag} is not read")
                if len(stack) >= MAX_DEPTH:
                    self.wrong(mark, f"nested more than {MAX_DEPTH} deep")
                self.count(mark, 1)
                stack.append([[] if isinstance(event, y.SequenceStartEvent) else {}, None, False, event.anchor, self.nodes - 1])
                continue
            if isinstance(event, y.SequenceEndEvent | y.MappingEndEvent):
                data, _, _, anchor, before = stack.pop()
                if anchor:
                    self.anchors[anchor] = (data, self.nodes - before)
            else:
                data = self.leaf(event)
            if not stack:
                self.end(events)
                return data, first, lines
            self.put(stack[-1], data, mark)
        return None, first, []

    def end(self, events: Any) -> None:
        for event in events:
            if isinstance(event, self.yaml.DocumentEndEvent):
                return

    def count(self, mark: Any, more: int) -> None:
        self.nodes += more
        if self.nodes > MAX_NODES:
            self.wrong(mark, f"a document has at most {MAX_NODES} values, aliases expanded")

    def leaf(self, event: Any) -> Any:
        if isinstance(event, self.yaml.AliasEvent):
            if event.anchor not in self.anchors:
                self.wrong(event.start_mark, f"the alias *{event.anchor} names nothing before it (or what it stands in)")
            data, size = self.anchors[event.anchor]
            self.count(event.start_mark, size)
            return data
        self.count(event.start_mark, 1)
        data = self.scalar(event)
        if event.anchor:
            self.anchors[event.anchor] = (data, 1)
        return data

    def scalar(self, event: Any) -> Any:
        if not self.typed:
            return event.value
        tag = event.tag
        if tag is None or tag == "!":
            tag = self.resolver.resolve(self.yaml.ScalarNode, event.value, event.implicit)
        if tag == "tag:yaml.org,2002:merge":
            self.wrong(event.start_mark, "merge keys (<<) are not read; write the keys out")
        if tag not in self.constructor.yaml_constructors or tag.endswith(("binary", "python")):
            self.wrong(event.start_mark, f"the tag {tag} is not read")
        if tag.endswith((":timestamp", ":value")):
            return event.value
        if tag.endswith(":int") and len(event.value) > 100:
            self.wrong(event.start_mark, "a number of more than 100 digits")
        return self.constructor.construct_object(self.yaml.ScalarNode(tag, event.value, event.start_mark, event.end_mark))

    def put(self, into: list[Any], data: Any, mark: Any) -> None:
        if isinstance(into[0], list):
            into[0].append(data)
        elif not into[2]:
            if isinstance(data, dict | list):
                self.wrong(mark, "a key is a plain value")
            if not self.typed and data == "<<":
                self.wrong(mark, "merge keys (<<) are not read; write the keys out")
            if data in into[0]:
                self.wrong(mark, f"the key {data!r} stands here twice; the first would be lost")
            into[1], into[2] = data, True
        else:
            into[0][into[1]] = data
            into[2] = False
