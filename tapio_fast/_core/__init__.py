# SPDX-License-Identifier: Apache-2.0
"""Thin Cython skins over the C engine (csrc/). Private: the public names are in `tapio_fast`."""
