# SPDX-License-Identifier: Apache-2.0
"""Where configuration comes from: nested mappings, TOML files, the environment, in layers whose origin is remembered.

A layer is a flat dict {"performance.burst_size": 1000}, already checked key by key; later layers win. Lists are replaced,
never joined. Relies on _config_kinds; the root dataclass (Config) is handed in, so that config.py can import this.
"""
from __future__ import annotations

import dataclasses
import errno
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tapio_fast._config_kinds import Refused, checked, key_error
from tapio_fast.errors import ConfigError

ENV_PREFIX = "TAPIO_FAST_"
# Read by the build and by the test suite; not settings of a collector.
ENV_NOT_SETTINGS = frozenset({"CLANG", "DEBUG", "JOBS", "MARCH", "NO_BPF", "REGISTER_ONLY", "REQUIRE", "SANITIZE", "SYSTEM_LIBBPF", "TIER", "MODULE",
                              "TRIGGERS", "VENDOR_TARBALLS", "VM", "VM_CONSOLE",
                              "VM_KERNELS", "VM_SELECTION"})
ETC_DIR = Path("/etc/tapio-fast")
_SKIP_VERIFY = ("would let anybody pose as the server, so it cannot be set",
                "remove it; give the issuer of the server's certificate as integration.ca_file, its name as integration.server_name")


def keys_of(root: type) -> dict[str, dataclasses.Field[Any]]:
    """List every key below a section class, dotted, in the order of declaration."""
    return dict(_walk(root, ""))


def _walk(section: type, prefix: str) -> Iterator[tuple[str, dataclasses.Field[Any]]]:
    for spec in dataclasses.fields(section):
        if "kind" in spec.metadata:
            yield prefix + spec.name, spec
        else:
            yield from _walk(spec.default_factory, f"{prefix}{spec.name}.")  # type: ignore[arg-type]


def sections_of(keys: Mapping[str, Any]) -> set[str]:
    """List the dotted names of all sections that hold these keys."""
    return {".".join(key.split(".")[:depth]) for key in keys for depth in range(1, key.count(".") + 1)}


def unknown_key(key: str, keys: Mapping[str, Any], where: str = "") -> ConfigError:
    """Make the error for a key that does not exist, with the nearest one that does."""
    import difflib
    if key.rsplit(".", 1)[-1] == "tls_skip_verify":
        why, step = _SKIP_VERIFY
        return ConfigError(f"{where}configuration {key} {why}; {step}", key=key)
    known = [*keys, *sections_of(keys)]
    near = difflib.get_close_matches(key, known, 1, 0.75)
    tail = key.rsplit(".", 1)[-1]
    if not near:
        by_tail = {name.rsplit(".", 1)[-1]: name for name in reversed(known)}
        near = [by_tail[found] for found in difflib.get_close_matches(tail, list(by_tail), 1, 0.7)]
    step = f"did you mean {near[0]}?" if near else "`tapio-fast config show` lists all keys"
    return ConfigError(f"{where}configuration {key} is not known; {step}", key=key)


def layer_of(root: type, values: Mapping[str, Any], where: str = "", prefix: str = "") -> dict[str, Any]:
    """Turn a nested mapping into a checked layer; `where` names the file in errors."""
    keys = keys_of(root)
    sections = sections_of(keys)
    out: dict[str, Any] = {}
    for name, value in values.items():
        key = f"{prefix}{name}"
        if key in sections:
            if dataclasses.is_dataclass(value) and not isinstance(value, type):
                value = {spec.name: getattr(value, spec.name) for spec in dataclasses.fields(value)}
            if not isinstance(value, Mapping):
                raise _in(where, key_error(key, value, "is one value, but this is a section", f"write it as a table: [{key}]"))
            out.update(layer_of(root, value, where, f"{key}."))
        elif key in keys:
            try:
                out[key] = checked(key, keys[key], value)
            except ConfigError as error:
                raise _in(where, error) from None
        else:
            raise unknown_key(key, keys, where)
    return out


def _in(where: str, error: ConfigError) -> ConfigError:
    return ConfigError(f"{where}{error}", key=error.key) if where else error


def layer_from_file(root: type, path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a TOML file as a layer.

    Raises ConfigError when it cannot be read, is not TOML, or holds an unknown key or a wrong value.
    """
    import tomllib
    name = os.fspath(path)
    try:
        with open(path, "rb") as file:
            values = tomllib.load(file)
    except OSError as error:
        code = errno.errorcode.get(error.errno or 0, "?")
        raise ConfigError(f"cannot read configuration file {name!r}: {error.strerror} ({code}); check its path and mode") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"configuration file {name!r} is not valid TOML: {error}; "
                          "`tapio-fast config show` prints a complete one") from None
    return layer_of(root, values, f"{name}: ")


def layer_from_env(root: type, env: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Read TAPIO_FAST_* variables (`__` nests) as a layer; also returns which variable set which key."""
    keys = keys_of(root)
    layer: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for variable in sorted(env):
        rest = variable[len(ENV_PREFIX):]
        if not variable.startswith(ENV_PREFIX) or rest in ENV_NOT_SETTINGS:
            continue
        key = rest.lower().replace("__", ".")
        if key not in keys:
            raise unknown_key(key, keys, f"environment {variable}: ")
        spec = keys[key]
        try:
            layer[key] = checked(key, spec, spec.metadata["kind"].from_text(env[variable]))
        except Refused as refused:
            allowed = f"allowed: {spec.metadata['kind'].allowed}"
            raise _in(f"environment {variable}: ", key_error(key, env[variable], str(refused), allowed)) from None
        except ConfigError as error:
            raise _in(f"environment {variable}: ", error) from None
        sources[key] = variable
    return layer, sources


def system_files(env: Mapping[str, str], etc: Path = ETC_DIR) -> list[Path]:
    """List the configuration files that exist outside the command line, weakest first."""
    files = [etc / "config.toml", *sorted((etc / "conf.d").glob("*.toml"))]
    home = env.get("XDG_CONFIG_HOME") or (os.path.join(env["HOME"], ".config") if env.get("HOME") else "")
    if home and os.path.isabs(home):    # the XDG specification: a relative path is to be ignored
        files.append(Path(home) / "tapio-fast" / "config.toml")
    return [file for file in files if _exists(file)]


def _exists(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:     # below a directory we may not search: as good as absent
        return False


def toml_value(value: Any) -> str:
    """Write one value as TOML."""
    import json
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{toml_value(str(name))} = {toml_value(item)}" for name, item in value.items()) + "}"
    return "[" + ", ".join(toml_value(item) for item in value) + "]"
