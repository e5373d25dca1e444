# SPDX-License-Identifier: Apache-2.0
"""The [filtering] section of a configuration as a filter. Relies on `_event_filter`, `_rules`; on `config` for types only."""
from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from tapio_fast.errors import ConfigError, FilterError
from tapio_fast.filtering._event_filter import EventFilter
from tapio_fast.filtering._fields import catalogue
from tapio_fast.filtering._rules import FilterRule
from tapio_fast.filtering._tree import Node, Test, all_of
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
