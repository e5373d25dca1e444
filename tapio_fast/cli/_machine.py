# SPDX-License-Identifier: Apache-2.0
"""`doctor`, `list` and `version`: what there is, and what this machine can do."""
from __future__ import annotations

import json as _json
import sys
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as _installed
from typing import Any

import typer

from tapio_fast._escape import escape
from tapio_fast.cli._exit import DENIED, OK, UNSUPPORTED
from tapio_fast.platform import PlatformReport, ProgramVerdict, probe


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


def doctor(json: bool) -> int:
    """Print the report on this machine; return 0, 69 or 77."""
    report = probe()
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
            ("lockdown", report.lockdown or "not reported by this kernel")]
    lines = [f"tapio-fast {package_version()}", *(f"  {name:<24}{escape(value)}" for name, value in rows)]
    if report.programs:
        lines += ["", *_program_lines(report.programs), "", *_need_lines(report)]
    if report.can_collect:
        return [*lines, "", "live collection works"]
    return [*lines, "", f"live collection does not work: {escape(report.reason)}", f"next step: {escape(report.next_step)}"]


def _yes(held: bool) -> str:
    return "yes" if held else "no"


def _program_lines(programs: tuple[ProgramVerdict, ...]) -> list[str]:
    """One line a program: verdict, "*" where the default configuration loads it, and what it costs or why it does not run."""
    name_width = max(len(program.name) for program in programs)
    hook_width = max(len(program.hook) for program in programs)
    return [f"  {program.verdict:<8}{'*' if program.default else ' '} {program.name:<{name_width}}  {program.hook:<{hook_width}}  "
            f"{f'{program.insns} instructions, {program.cost}' if program.insns else escape(program.reason)}".rstrip()
            for program in programs]


def _need_lines(report: PlatformReport) -> list[str]:
    """Tell the capabilities: first those of the default configuration, then what each further one is for."""
    default = {name for program in report.programs if program.default and program.verdict == "ok" for name in program.needs}
    lines = [f"the default configuration (*) needs {', '.join(sorted(default))}"] if default else []
    return lines + [f"{name} is needed for {', '.join(programs)}" for name, programs in report.needs.items() if name not in default] + [
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
    """Print every kind that can be collected, with its lane and severity."""
    from tapio_fast import schema
    from tapio_fast.types import Severity
    return _print([{"event": kind.name, "type": kind.type, "subtype": kind.subtype, "lane": kind.lane,
                    "severity": Severity(kind.severity).text} for kind in schema.KINDS], json)


def list_fields(domain: str | None, json: bool) -> int:
    """Print the fields of each domain: those of every record once, then a domain's own."""
    from tapio_fast import schema
    if domain is not None and domain not in schema.DTYPES:
        raise typer.BadParameter(f"no domain {domain!r}; there are {', '.join(sorted(schema.DTYPES))}")
    rows = []
    for name in [domain] if domain else schema.DTYPES:
        for field, (dtype, offset, *_) in (schema.DTYPES[name].fields or {}).items():
            common = field in schema.HEADER_FIELDS
            if not (common and domain is None and name != next(iter(schema.DTYPES))):
                rows.append({"domain": "(all)" if common else name, "field": field, "type": _type(dtype), "offset": offset})
    return _print(rows, json)


def _type(dtype: Any) -> str:
    if dtype.names:
        return "text"
    return f"{dtype.base.str.lstrip('<|=')}[{dtype.shape[0]}]" if dtype.shape else str(dtype.str.lstrip("<|="))


def list_programs(json: bool) -> int:
    """Print the BPF programs with this kernel's verdict; without rights, why there is none."""
    report = probe()
    if json:
        print("\n".join(_json.dumps(program) for program in report.to_dict()["programs"]))
    elif report.programs:
        print("\n".join([*_program_lines(report.programs), "", *_need_lines(report)]))
    if not report.programs:
        print(f"tapio-fast: programs could not be tried: {escape(report.reason)}; {escape(report.next_step)}", file=sys.stderr)
        return exit_code(report)
    return OK
