# SPDX-License-Identifier: Apache-2.0
"""What the command line asked for, as one object; its way into a Config; and the verbs `config show` and `config check`."""
from __future__ import annotations

import dataclasses
import difflib
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tapio_fast.cli._exit import OK, say
from tapio_fast.config import Config, LoadedConfig, load, not_active
from tapio_fast.errors import ConfigError

if TYPE_CHECKING:
    from tapio_fast.filtering import EventFilter

DOMAINS = tuple(spec.name for spec in dataclasses.fields(Config.default().programs))


def near(word: str, known: Iterable[str]) -> str:
    """Return "did you mean x? " where a known word is close to one that is not, else nothing."""
    found = difflib.get_close_matches(word, list(known), 1)
    return f"did you mean {found[0]}? " if found else ""


@dataclasses.dataclass(frozen=True)
class Options:
    """Everything that record, tail and replay take; what a verb lacks stays None."""

    command: list[str] | None = None
    output: Path | None = None
    store: Path | None = None
    duration: str | None = None
    count: int | None = None
    preset: str | None = None
    config: Path | None = None
    programs: str | None = None
    filter: list[str] | None = None
    rules: list[Path] | None = None
    fields: str | None = None
    follow: int | None = None
    user: str | None = None
    since: str | None = None
    until: str | None = None
    semantic: bool = False
    verbose: bool = False
    json: bool = False

    def __post_init__(self) -> None:
        if self.command and self.follow is not None:
            raise typer.BadParameter("--follow PID and -- CMD exclude each other; give one of them")
        if self.semantic:
            raise typer.BadParameter("semantic events are not available in this version; leave --semantic out")
        if self.follow is not None and self.follow <= 0:
            raise typer.BadParameter(f"--follow {self.follow} is not a process id")
        _ = self.seconds, self.domains      # wrong ones are refused before anything starts

    @property
    def seconds(self) -> float | None:
        """--duration in seconds."""
        return None if self.duration is None else seconds_of(self.duration)

    def chosen(self) -> EventFilter | None:
        """--filter and --rules as one filter; None where neither was given. Raises FilterError: usage, whose rules are unreadable: bad config."""
        if not self.filter and not self.rules:
            return None
        from tapio_fast.filtering import EventFilter
        chosen = EventFilter.from_rules(*self.rules) if self.rules else EventFilter()
        for expression in self.filter or ():
            chosen = chosen.joined(EventFilter(expression))
        chosen.check_usable()
        return chosen

    @property
    def domains(self) -> list[str] | None:
        """--programs as a list: sections of [programs] to collect, domains of rows where a store is read."""
        if self.programs is None:
            return None
        known = DOMAINS if self.store is None else _of_rows()
        wanted = [name.strip() for name in self.programs.split(",") if name.strip()]
        unknown = [name for name in wanted if name not in known]
        if unknown or not wanted:
            wrong = unknown[0] if unknown else "nothing"
            raise typer.BadParameter(f"--programs {self.programs}: {wrong} is not a domain; {near(wrong, known)}there are {', '.join(known)}")
        if self.store is None:
            return wanted
        from tapio_fast.enabled import SAMPLED_WITH
        # as it was recorded: [programs.process] is for system calls and usage too
        return list(dict.fromkeys(domain for name in wanted for domain in SAMPLED_WITH.get(name, (name,))))


def _of_rows() -> tuple[str, ...]:
    from tapio_fast import schema  # needs the engine, which a store that is read needs anyway
    return tuple(schema.DTYPES)


def seconds_of(text: str) -> float:
    """Read a duration, or raise the usage error that shows how to write one."""
    from tapio_fast._config_kinds import Refused, duration
    try:
        return float(duration(0.0, 1e9).check(float(text) if text.replace(".", "", 1).isdigit() else text))
    except Refused:
        raise typer.BadParameter(f'{text!r} is not a duration; write 10, "500ms" or "2m"') from None


def configure(options: Options, **more: Any) -> Config:
    """Join all sources of configuration with what the command line says; warn of keys that do nothing yet."""
    cli: dict[str, Any] = dict(more)
    if options.domains is not None:
        cli["programs"] = {name: {"enabled": name in options.domains} for name in DOMAINS}
    config = load(cli, options.config, options.preset).config
    warn_not_active(config)
    return config


def warn_not_active(config: Config) -> None:
    """Say which keys are set to something that this version does not do."""
    keys = not_active(config)
    if keys:
        say(f"warning: not available in this version, so without effect: {', '.join(keys)}")


def show(preset: str | None, file: Path | None, origin: bool) -> int:
    """Print the configuration as TOML."""
    loaded: LoadedConfig = load(None, file, preset)
    sys.stdout.write(loaded.config.to_toml(loaded.origins if origin else None))
    warn_not_active(loaded.config)
    return OK


def _check_names(config: Config) -> None:
    """Look system calls up as a collector would when it starts; an installation without the engine has no table to look in."""
    try:
        from tapio_fast import syscalls
        _, elsewhere = syscalls.numbers_of(config.programs.process.monitor_syscalls)
    except ImportError:
        return
    if elsewhere:
        say(f"warning: {syscalls.KEY}: this machine ({os.uname().machine}) has no system call {', '.join(elsewhere)}")


def _check_filter(config: Config) -> None:
    """Make the filter that [filtering] asks for, as a collector would when it starts."""
    try:
        from tapio_fast.filtering import from_config
    except ImportError:
        return
    from_config(config).check_usable()


def check(file: Path) -> int:
    """Check one file on its own, as `--config FILE` would read it."""
    if not os.path.exists(file):
        raise ConfigError(f"cannot read configuration file {str(file)!r}: it does not exist; check the path")
    config = Config.from_file(file)
    _check_names(config)
    _check_filter(config)
    warn_not_active(config)
    print(f"{file}: ok")
    return OK
