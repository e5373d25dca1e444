#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Make the virtual environment (first argument) and put the build and test dependencies of pyproject.toml into it.
set -euo pipefail

venv=${1:-.venv}
fail() { echo "venv: $*" >&2; exit 1; }

python=${PYTHON:-}
if [ -z "$python" ]; then      # deps.sh may have just installed it
    for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
        if command -v "$candidate" >/dev/null 2>&1 &&
            "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            python=$candidate
            break
        fi
    done
fi
[ -n "$python" ] || fail "no Python 3.11 or newer on PATH; install python3 or set PYTHON"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$python is $("$python" -V 2>&1), and 3.11 is the oldest that works; set PYTHON to a newer one"

[ -x "$venv/bin/python" ] || "$python" -m venv "$venv" || fail "$python cannot make a virtual environment: is python3-venv installed?"
# An older venv may hold an older pip and setuptools than the metadata here needs.
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade pip
# The lists come out of pyproject.toml itself, so that they are written once.
"$venv/bin/python" - >"$venv/requirements.txt" <<'PY'
import tomllib
with open("pyproject.toml", "rb") as handle:
    described = tomllib.load(handle)
project = described["project"]
names = [*described["build-system"]["requires"], *project["dependencies"]]
for extra in ("test", "dev"):
    names += project["optional-dependencies"][extra]
print("\n".join(dict.fromkeys(names)))
PY
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$venv/requirements.txt" ||
    fail "pip could not install the packages of $venv/requirements.txt: its messages are above"
