# SPDX-License-Identifier: Apache-2.0
"""CollectorBuilder: the document's way to put a Collector together, one call a part. Relies on `collector`."""
from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tapio_fast.config import Config

if TYPE_CHECKING:
    from tapio_fast.collector import Collector
    from tapio_fast.filtering import EventFilter


class CollectorBuilder:
    """Collects the parts of a Collector one call at a time."""

    def __init__(self, config: Config | None) -> None:
        self._config = config
        self._parts: dict[str, Any] = {}

    def _with(self, name: str, value: Any) -> CollectorBuilder:
        self._parts[name] = value
        return self

    def with_filter(self, filter: EventFilter | str) -> CollectorBuilder:
        """Set the filter."""
        return self._with("filter", filter)

    def with_sampler(self, sampler: Any) -> CollectorBuilder:
        """Set the sampler."""
        return self._with("sampler", sampler)

    def with_enricher(self, enricher: Any) -> CollectorBuilder:
        """Set the enricher."""
        return self._with("enricher", enricher)

    def with_correlator(self, correlator: Any) -> CollectorBuilder:
        """Set the correlator."""
        return self._with("correlator", correlator)

    def with_output(self, output: Any) -> CollectorBuilder:
        """Set the output."""
        return self._with("output", output)

    def with_source(self, source: Any) -> CollectorBuilder:
        """Set the source."""
        return self._with("source", source)

    def build(self) -> Collector:
        """Return the collector."""
        from tapio_fast.collector import Collector

        return Collector(self._config, **self._parts)
