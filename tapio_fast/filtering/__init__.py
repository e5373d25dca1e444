# SPDX-License-Identifier: Apache-2.0
"""Filters: one expression language, its typed tree, and what of it the kernel, C and Python evaluate. docs/filter.md is the manual."""
from tapio_fast.filtering._event_filter import EventFilter, Explanation, FilterStats, as_filter
from tapio_fast.filtering._from_config import from_config, left_out
from tapio_fast.filtering._kernel import KernelFilter
from tapio_fast.filtering._rules import FilterRule

__all__ = ["EventFilter", "Explanation", "FilterRule", "FilterStats", "KernelFilter", "as_filter", "from_config", "left_out"]
