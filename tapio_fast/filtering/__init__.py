# SPDX-License-Identifier: Apache-2.0
"""Filters: one expression language, its typed tree, and what of it the kernel, C and Python evaluate. docs/filter.md is the manual."""
from tapio_fast.filtering._kernel import KernelFilter, as_filter

__all__ = ["KernelFilter", "as_filter"]
