# SPDX-License-Identifier: Apache-2.0
"""`doctor`, `list` and `version`: what there is, and what this machine can do."""
from __future__ import annotations

import json as _json
import os
import re
import sys
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as _installed
from pathlib import Path
from typing import Any

import typer

from tapio_fast._escape import escape
from tapio_fast.cli._exit import DENIED, OK, UNSUPPORTED
from tapio_fast.cli._settings import Options, configure, near
from tapio_fast.platform import LOCKDOWN_PATH, PlatformReport, ProgramVerdict, probe

_LONG = 48      # characters: a longer reason is told once, below the table


def package_version() -> str:
    """Return the version of the installed package."""
    try:
        return _installed("tapio_fast")
    except PackageNotFoundError:
        return "0 (not installed: run from the source tree)"


def version(json: bool) -> int:
    """Print the version of the package, and of what it runs on."""
    python = ".".join(map(str, sys.version_info[:3]))
    numpy = _installed("numpy")
    if json:
        print(_json.dumps({"tapio_fast": package_version(), "python": python, "numpy": numpy}))
    else:
        print(f"tapio-fast {package_version()} (Python {python}, numpy {numpy})")
    return OK


def _asked(preset: str | None, file: Path | None, domains: str | None) -> PlatformReport:
    """Probe with the configuration that a collecting verb would use; its programs are the enabled ones."""
    return probe(configure(Options(preset=preset, config=file, programs=domains)))


def doctor(json: bool, preset: str | None = None, file: Path | None = None, domains: str | None = None) -> int:
    """Print the report on this machine; return 0, 69 or 77."""
    report = _asked(preset, file, domains)
    if json:
        print(_json.dumps(report.to_dict()))
    else:
        print("\n".join(_doctor_lines(report)))
    return exit_code(report)


def exit_code(report: PlatformReport) -> int:
    """Return 0 where live collection works, 77 where it lacks rights, 69 where this machine cannot."""
    return OK if report.can_collect else DENIED if report.supported else UNSUPPORTED


def _doctor_lines(report: PlatformReport) -> list[str]:
    rows = [("system", f"{report.system} {report.kernel} {report.machine}".strip()),
            ("type information (BTF)", _yes(report.btf)), ("BPF ring buffer", _yes(report.ring_buffer)),
            *((name, _yes(held)) for name, held in report.capabilities.items()),
            ("lockdown", report.lockdown or _no_lockdown())]
    lines = [f"tapio-fast {package_version()}", *(f"  {name:<24}{escape(value)}" for name, value in rows)]
    if report.programs:
        lines += ["", *_enabled_lines(report), "", *_need_lines(report)]
    if report.can_collect:
        return [*lines, "", "live collection works"]
    return [*lines, "", f"live collection does not work: {escape(report.reason)}", f"next step: {escape(report.next_step)}"]


def _no_lockdown() -> str:
    """Tell why no mode could be read: an empty directory is where nobody has mounted the file system that has it."""
    where = os.path.dirname(LOCKDOWN_PATH)
    try:
        empty = not os.listdir(where)
    except OSError:
        empty = False
    return f"not known: {where} is not mounted (mount -t securityfs none {where})" if empty else "not reported by this kernel"


def _yes(held: bool) -> str:
    return "yes" if held else "no"


def _enabled_lines(report: PlatformReport) -> list[str]:
    """What the configuration loads, with its cost; the rest in a line for each domain."""
    shown = tuple(p for p in report.programs if p.enabled and not (p.more and p.verdict != "ok"))
    lines = ["enabled programs, and what they cost:", *_program_lines(shown)] if shown else ["no program is enabled"]
    others: dict[str, list[int]] = {}
    for program in report.programs:
        if program.verdict == "ok" and not program.enabled:
            others.setdefault((program.kinds or (program.object,))[0].partition(".")[0], []).append(program.insns)
    if others:
        lines += ["", "not enabled:", *(f"  {name:<10}{len(insns):>3} program{'s' if len(insns) > 1 else ''} of {_span(insns)} instructions"
                                        for name, insns in others.items())]
    less = [p for p in report.programs if p.more and p.verdict in ("refused", "missing")]
    if less:
        hooks = ", ".join(sorted({p.hook.partition("/")[0] for p in less}))
        lines += ["", f"{len(less)} programs that would only tell more of the same events are refused or missing here ({hooks})"]
    return [*lines, "`tapio-fast list programs` has all; --preset, --config or --programs show the cost of others"]


def _span(numbers: list[int]) -> str:
    return " to ".join(map(str, dict.fromkeys((min(numbers), max(numbers)))))


def _program_lines(programs: tuple[ProgramVerdict, ...]) -> list[str]:
    """One line a program: verdict, "*" where the configuration loads it, and what it costs or why it does not run."""
    name_width = max(len(program.name) for program in programs)
    hook_width = max(len(program.hook) for program in programs)
    notes: dict[str, int] = {}

    def last(program: ProgramVerdict) -> str:
        if program.insns:
            return f"{program.insns} instructions, {program.cost}"
        reason = re.sub(r"\btf_\w+", "it", program.reason)
        return escape(reason) if len(reason) <= _LONG else f"[{notes.setdefault(reason, len(notes) + 1)}]"

    lines = [f"  {program.verdict:<8}{'*' if program.enabled else ' '} {program.name:<{name_width}}  {program.hook:<{hook_width}}  "
             f"{last(program)}".rstrip() for program in programs]
    return lines + [f"  [{number}] {escape(reason)}" for reason, number in notes.items()]


def _need_lines(report: PlatformReport) -> list[str]:
    """Tell the capabilities: those that the enabled programs need, then what each further one is for."""
    needed = report.enabled_needs
    lacks = [name for name in needed if not report.capabilities.get(name, True)]
    lines = [f"the enabled programs (*) need {', '.join(needed)}" + (f"; this process lacks {', '.join(lacks)}" if lacks else "")] if needed else []
    return lines + [f"{name} is needed for {', '.join(programs)}" for name, programs in report.needs.items() if name not in needed] + [
        "measuring the programs' run time (debug.profile_enabled) needs CAP_SYS_ADMIN"]


def _table(rows: list[dict[str, Any]]) -> str:
    names = list(rows[0]) if rows else []
    widths = {name: max(len(name), *(len(str(row[name])) for row in rows)) for name in names}
    lines = ["  ".join(f"{name:<{widths[name]}}" for name in names).rstrip()]
    lines += ["  ".join(f"{str(row[name]):<{widths[name]}}" for name in names).rstrip() for row in rows]
    return "\n".join(lines)


def _print(rows: list[dict[str, Any]], json: bool) -> int:
    print("\n".join(_json.dumps(row) for row in rows) if json else _table(rows))
    return OK


def list_events(json: bool) -> int:
    """Print every kind that can be collected: when it is, its lane and severity, and what it says."""
    from tapio_fast import schema
    from tapio_fast._about import ABOUT
    from tapio_fast.enabled import collected_when
    from tapio_fast.types import Severity
    rows = [{"event": kind.name, "type": kind.type, "subtype": kind.subtype, "collected": collected_when(kind.name), "lane": kind.lane,
             "severity": Severity(kind.severity).text, "about": ABOUT[kind.name]}
            for kind in sorted(schema.KINDS, key=lambda kind: (kind.domain == schema.META, kind.domain, kind.subtype))]
    shown = ("event", "collected", "severity", "about")
    return _print(rows if json else [{name: row[name] for name in shown} for row in rows], json)


def list_fields(what: str | None, json: bool) -> int:
    """Print fields with what a filter may say of them: all, a domain's, those that only filters know, or one with its named values."""
    from tapio_fast.cli._fields import constants, names, rows, short
    if what is not None and what not in names():
        from tapio_fast import schema
        raise typer.BadParameter(f"no domain or field {what!r}; {near(what, names())}there are the domains {', '.join(sorted(schema.DTYPES))}; "
                                 "`list fields filter` has what only filters know")
    found = rows(what)
    if json:
        return _print(found, True)
    _print([short(row) for row in found], False)
    if what is not None and (named := constants(what)):
        print()
        _print([{"value": value, "name": name} for name, value in sorted(named.items(), key=lambda item: (item[1], item[0]))], False)
    return OK


def list_programs(json: bool, preset: str | None = None, file: Path | None = None, domains: str | None = None) -> int:
    """Print the BPF programs with this kernel's verdict; without rights, why there is none."""
    report = _asked(preset, file, domains)
    if json:
        print("\n".join(_json.dumps(program) for program in report.to_dict()["programs"]))
    elif report.programs:
        print("\n".join([*_program_lines(report.programs), "", *_need_lines(report)]))
    if not report.programs:
        print(f"tapio-fast: programs could not be tried: {escape(report.reason)}; {escape(report.next_step)}", file=sys.stderr)
        return exit_code(report)
    return OK
