# SPDX-License-Identifier: Apache-2.0
"""Tell setuptools about the extensions; scripts/native.py builds them. Everything else is in pyproject.toml."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "scripts"))

import native  # noqa: E402


class BuildExt(build_ext):
    """Build all extensions at once with scripts/native.py, then put each where setuptools wants it."""

    def run(self) -> None:
        """Build libtf.a and the extensions; a BuildError ends as its one sentence."""
        try:
            self.built = native.build_extensions(native.Options.from_env())
        except native.BuildError as error:
            raise SystemExit(f"error: {error}") from None
        super().run()

    def build_extension(self, ext: Extension) -> None:
        """Copy the shared object of one extension."""
        target = Path(self.get_ext_fullpath(ext.name))
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(self.built[ext.name.rpartition(".")[2]], target)


def extensions() -> list[Extension]:
    """List one extension for each .pyx; none while `make build` only registers the tree, as it compiles by itself."""
    if os.environ.get("TAPIO_FAST_REGISTER_ONLY"):
        return []
    return [
        Extension(f"tapio_fast._core.{name}", [f"tapio_fast/_core/{name}.pyx"], py_limited_api=native.limited())
        for name in native.modules()
    ]


setup(
    ext_modules=extensions(),
    cmdclass={"build_ext": BuildExt},
    options={
        # Apart from our own build/: a module removed from the tree must not come back out of an old build/lib.
        "build": {"build_base": "build/setuptools"},
        "bdist_wheel": {"py_limited_api": "cp311"} if native.limited() else {},
    },
)
