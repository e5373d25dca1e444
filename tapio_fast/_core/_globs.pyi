# SPDX-License-Identifier: Apache-2.0
# Types of _globs.pyx.
from collections.abc import Sequence

class Globs:
    def __init__(self, patterns: Sequence[bytes]) -> None: ...
    def match(self, name: bytes) -> bool: ...
