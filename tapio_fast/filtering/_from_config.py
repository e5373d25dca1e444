# SPDX-License-Identifier: Apache-2.0
"""What a configuration asks for, as filters: [filtering], and what [programs] leaves out. Relies on `_event_filter`, `_rules`; on `config`
for types only."""
from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from tapio_fast import schema
from tapio_fast.errors import ConfigError, FilterError
from tapio_fast.filtering._event_filter import EventFilter
from tapio_fast.filtering._fields import catalogue
from tapio_fast.filtering._rules import FilterRule
from tapio_fast.filtering._tree import TRUE, Node, Not, Test, all_of, any_of
from tapio_fast.types import Severity

if TYPE_CHECKING:
    from tapio_fast.config import Config


def _rule(number: int, keys: dict[str, Any]) -> FilterRule:
    key = f"filtering.rules[{number}]"
    try:
        return FilterRule(**{"name": f"rule {number + 1}", **keys})
    except FilterError as error:
        raise ConfigError(f"{key}: {error}", key=key) from None


def from_config(config: Config) -> EventFilter:
    """Return what [filtering] lets pass. Raises ConfigError, naming the key, for what this version cannot tell."""
    wanted, fields = config.filtering, catalogue()
    for key, names in (("namespace_filter", wanted.namespace_filter), ("container_filter", wanted.container_filter)):
        if names:
            raise ConfigError(f"filtering.{key}: names of namespaces and containers need enrichment, which is not available in this version; "
                              "take it out, or filter by container_id or cgroup_id", key=f"filtering.{key}")
    parts: list[Node] = []
    least = Severity(wanted.min_severity)  # type: ignore[arg-type]
    if least > Severity.DEBUG:
        parts.append(Test(fields["severity"], "range", ((int(least), int(max(Severity))),)))
    if wanted.process_filter:
        parts.append(Test(fields["comm"], "glob", tuple(os.fsencode(name) for name in wanted.process_filter)))
    return EventFilter(tree=all_of(parts), rules=[_rule(i, dict(keys)) for i, keys in enumerate(wanted.rules)])


def left_out(config: Config) -> EventFilter:
    """Return what [programs] leaves out by name and directory (exclude_comms, monitor_paths, exclude_paths), as a filter of what stays.

    A source with a gate has it decided by tables of its own in the kernel, by the directories themselves; who has no gate judges this.
    """
    process, file = config.programs.process, config.programs.file
    parts: list[Node] = []
    if process.enabled and process.exclude_comms:
        named = Test(catalogue()["comm"], "glob", tuple(os.fsencode(pattern) for pattern in process.exclude_comms))
        parts.append(Not(all_of([_of_domains("process", "syscall", "cpu"), named])))
    if file.enabled and (file.monitor_paths or file.exclude_paths):
        names = [_wanted(field, file.monitor_paths, file.exclude_paths) for field in ("path", "new_path")]
        # the other texts are no paths that decide: where a symlink points, the name of an attribute
        moved = Test(catalogue()["kind"], "kind", tuple(sorted(schema.KIND_BY_NAME[name].number for name in ("file.rename", "file.link"))))
        parts.append(any_of([Not(_of_domains("file")), names[0], all_of([moved, names[1]])]))
    return EventFilter(tree=all_of(parts))


def _of_domains(*domains: str) -> Node:
    return Test(catalogue()["kind"], "kind", tuple(kind.number for kind in schema.KINDS if kind.domain in domains))


def _wanted(field: str, monitor: tuple[str, ...], exclude: tuple[str, ...]) -> Node:
    """The nearest directory that is named decides; without one to monitor the root is."""
    roots = [path.rstrip("/") for path in monitor] or [""]
    out = [path.rstrip("/") for path in exclude]

    def under(paths: list[str]) -> Node:
        whole = tuple(os.fsencode(path) for path in paths if path)
        parts: list[Node] = [Test(catalogue()[field], "startswith", tuple(os.fsencode(path) + b"/" for path in paths))]
        return any_of([Test(catalogue()[field], "equal", whole), *parts] if whole else parts)

    found: list[Node] = []
    for root in roots:
        within = [path for path in out if path == root or path.startswith(f"{root}/")]
        here = under([root]) if root or monitor else TRUE
        found.append(all_of([here, Not(under(within))]) if within else here)
    return any_of(found)
