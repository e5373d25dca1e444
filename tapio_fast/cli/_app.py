# SPDX-License-Identifier: Apache-2.0
"""Every verb with its options. Each body is one call; what it calls is imported then, so that help is quick and needs nothing."""
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(name="tapio-fast", add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None,
                  help="Kernel telemetry in batches: record, watch and replay, with every lost record accounted for.",
                  context_settings={"help_option_names": ["-h", "--help"]})
config_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Show or check the configuration.")
list_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="List what can be collected.")
app.add_typer(config_app, name="config")
app.add_typer(list_app, name="list")
rules_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Check, convert and try out rules: ours, Sigma's, Falco's.")
app.add_typer(rules_app, name="rules")

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", metavar="FILE", readable=False, help="Configuration file (TOML).")]
Preset = Annotated[str | None, typer.Option(metavar="P", help="default, high_performance or security.")]
Programs = Annotated[str | None, typer.Option(metavar="A,B", help="Only these domains, such as process,network.")]
Filter = Annotated[list[str] | None, typer.Option("--filter", metavar="EXPR", help="What to keep, such as 'type == network and dest_port == 22' "
                                                                                     "(docs/filter.md); of several all must match.")]
Rules = Annotated[list[Path] | None, typer.Option(metavar="FILE", readable=False, help="Keep what one of these rules matches (docs/rules.md); may be "
                                                                                        "given again.")]
Fields = Annotated[str | None, typer.Option(metavar="A,B", help="Only these fields; `list fields` names them.")]
Follow = Annotated[int | None, typer.Option(metavar="PID", help="Only this process and what it starts from now on.")]
User = Annotated[str | None, typer.Option(metavar="U", help="User that CMD runs as and that owns the store (default: who called sudo).")]
Duration = Annotated[str | None, typer.Option("--duration", "-d", metavar="SECONDS", help='Stop after this time: 10, "500ms", "2m".')]
Count = Annotated[int | None, typer.Option("--count", "-n", metavar="N", min=1, help="Stop after this many events.")]
Command = Annotated[list[str] | None, typer.Argument(metavar="[-- CMD ...]", help="Run this, and follow it and its children only.",
                                                        show_default=False)]
RuleFiles = Annotated[list[Path], typer.Argument(metavar="FILE...", readable=False, help="Rules, or directories of them: our TOML, Sigma, Falco.")]
Since = Annotated[str | None, typer.Option(metavar="TIME", help='Not older: ISO 8601, or "-2h".')]
Until = Annotated[str | None, typer.Option(metavar="TIME", help='Older than: ISO 8601, or "-2h".')]
Store = Annotated[Path, typer.Argument(metavar="DIR", readable=False, help="Directory of a raw store.")]


def _version(wanted: bool) -> None:
    if wanted:
        from tapio_fast.cli._machine import version
        version(False)
        raise typer.Exit(0)


@app.callback()
def _root(_: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False) -> None:
    pass


def _run(verb: Callable[..., int], *args: Any) -> None:
    """Run a verb and end with its code. A reader that has gone is no failure; typer would make it one."""
    try:
        code = verb(*args)
    except BrokenPipeError:
        from tapio_fast.cli._exit import nobody_reads
        code = nobody_reads()
    raise typer.Exit(code)


@app.command()
def doctor(preset: Preset = None, config: ConfigFile = None, programs: Programs = None, json: Json = False) -> None:
    """Say what this machine can do, why not, and the exact next step; and what the enabled programs cost."""
    from tapio_fast.cli._machine import doctor as run
    _run(run, json, preset, config, programs)


@app.command()
def record(output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", readable=False,
                                                help="Directory of the raw store; made if missing.")],
           command: Command = None, duration: Duration = None, count: Count = None, preset: Preset = None, config: ConfigFile = None,
           programs: Programs = None, filter: Filter = None, rules: Rules = None, follow: Follow = None, user: User = None,
           json: Json = False) -> None:
    """Write live events into a raw store; ends with the ledger. Ctrl-C stops it."""
    given = dict(locals())
    from tapio_fast.cli._record import record as run
    _run(run, _options(given))


@app.command()
def tail(command: Command = None, duration: Duration = None, count: Count = None, preset: Preset = None, config: ConfigFile = None,
         programs: Programs = None, filter: Filter = None, rules: Rules = None, follow: Follow = None, user: User = None,
         fields: Fields = None, semantic: Annotated[bool, typer.Option(help="Semantic events (not available yet).")] = False,
         verbose: Annotated[bool, typer.Option("--verbose", "-v", help="More of each event.")] = False, json: Json = False) -> None:
    """Show live events: text on a terminal, JSON Lines in a pipe. Ctrl-C stops it."""
    given = dict(locals())
    from tapio_fast.cli._tail import tail as run
    _run(run, _options(given))


@app.command()
def replay(store: Store, count: Count = None, programs: Programs = None, filter: Filter = None, rules: Rules = None,
           fields: Fields = None, semantic: Annotated[bool, typer.Option(help="Semantic events (not available yet).")] = False,
           since: Since = None, until: Until = None,
           verbose: Annotated[bool, typer.Option("--verbose", "-v", help="More of each event.")] = False, json: Json = False) -> None:
    """Show the events of a raw store: text on a terminal, JSON Lines in a pipe."""
    given = dict(locals())
    from tapio_fast.cli._tail import replay as run
    _run(run, _options(given))


@app.command()
def info(store: Store, json: Json = False) -> None:
    """Say what a raw store holds."""
    from tapio_fast.cli._store import info as run
    _run(run, store, json)


@app.command()
def verify(store: Store, json: Json = False) -> None:
    """Read and check every byte of a raw store; 74 if something is damaged."""
    from tapio_fast.cli._store import verify as run
    _run(run, store, json)


@app.command()
def prune(store: Store, older_than: Annotated[str | None, typer.Option(metavar="TIME", help="Segments last written to longer ago: 24h, 7d.")] = None,
          max_size: Annotated[str | None, typer.Option(metavar="SIZE", help="As long as the store is larger: 10G, 500MB.")] = None,
          keep_free: Annotated[str | None, typer.Option(metavar="SIZE", help="As long as the file system has less free.")] = None,
          dry_run: Annotated[bool, typer.Option("--dry-run", help="Remove nothing, say what would go.")] = False, json: Json = False) -> None:
    """Remove whole segments of a raw store, oldest first; what is being written to stays."""
    from tapio_fast.cli._store import prune as run
    _run(run, store, older_than, max_size, keep_free, dry_run, json)


@app.command()
def export(store: Store, output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT", readable=False, help="Directory of the files; "
                                                                                                              "made if missing.")],
           format: Annotated[str, typer.Option(metavar="FORMAT", help="parquet, arrow or jsonl.")] = "parquet", programs: Programs = None,
           filter: Filter = None, since: Since = None, until: Until = None, json: Json = False) -> None:
    """Write a raw store as Parquet, Arrow IPC or JSON Lines, a file a domain."""
    given = {"store": store, "programs": programs, "filter": filter, "since": since, "until": until, "json": json}
    from tapio_fast.cli._export import export as run
    _run(run, _options(given), output, format)


@app.command()
def query(store: Store, question: Annotated[str, typer.Argument(metavar="SQL", help="One SELECT over process, network, file, ..., events, "
                                                                                       "ledger, estimates (docs/sql.md).")],
          json: Json = False) -> None:
    """Ask a raw store in SQL: a table on a terminal, JSON Lines in a pipe. Takes the extra `duckdb`."""
    from tapio_fast.cli._query import query as run
    _run(run, store, question, json)


@config_app.command("show")
def config_show(preset: Preset = None, config: ConfigFile = None,
                origin: Annotated[bool, typer.Option("--origin", help="Say where each value comes from.")] = False) -> None:
    """Print the whole configuration that a command would use, as TOML."""
    from tapio_fast.cli._settings import show
    _run(show, preset, config, origin)


@config_app.command("check")
def config_check(file: Annotated[Path, typer.Argument(metavar="FILE", readable=False)]) -> None:
    """Check a configuration file; 0 if it is right, 78 if not."""
    from tapio_fast.cli._settings import check
    _run(check, file)


@list_app.command("events")
def list_events(json: Json = False) -> None:
    """List the kinds of events."""
    from tapio_fast.cli._machine import list_events as run
    _run(run, json)


@list_app.command("fields")
def list_fields(domain: Annotated[str | None, typer.Argument(metavar="[DOMAIN|FIELD]")] = None, json: Json = False) -> None:
    """List fields: of all domains or of one, those of filters only (filter), or one field with the names of its values."""
    from tapio_fast.cli._machine import list_fields as run
    _run(run, domain, json)


@list_app.command("programs")
def list_programs(preset: Preset = None, config: ConfigFile = None, programs: Programs = None, json: Json = False) -> None:
    """List all BPF programs: this kernel's verdict, cost, needs; * is enabled. Takes rights."""
    from tapio_fast.cli._machine import list_programs as run
    _run(run, json, preset, config, programs)


@rules_app.command("check")
def rules_check(files: RuleFiles, json: Json = False) -> None:
    """Say which rules convert, and of the others why not; 0 if all do, 1 if some do not, 78 if a file holds no rules."""
    from tapio_fast.cli._rules import check
    _run(check, files, json)


@rules_app.command("convert")
def rules_convert(files: RuleFiles, output: Annotated[Path | None, typer.Option("--output", "-o", metavar="OUT", readable=False,
                                                                                help="Write there, not to stdout.")] = None) -> None:
    """Print rules as expressions of ours (TOML); 1 if some were refused, which stderr tells."""
    from tapio_fast.cli._rules import convert
    _run(convert, files, output)


@rules_app.command("test")
def rules_test(files: RuleFiles,
               store: Annotated[Path | None, typer.Option(metavar="DIR", readable=False, help="Events of a raw store.")] = None,
               events: Annotated[Path | None, typer.Option(metavar="FILE", readable=False,
                                                           help='JSON Lines of `replay --json`; "expect": [rules] in one is compared.')] = None,
               json: Json = False) -> None:
    """Say which rules hit which recorded events; 1 if one differs from what it expects, or if a rule was refused."""
    from tapio_fast.cli._rules import test
    _run(test, files, store, events, json)


@app.command()
def version(json: Json = False) -> None:
    """Print the version."""
    from tapio_fast.cli._machine import version as run
    _run(run, json)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}, add_help_option=False)
def bench(ctx: typer.Context) -> None:
    """Measure: the same as `python -m tapio_fast.bench` (see its --help)."""
    from tapio_fast.bench import main
    _run(lambda: main(ctx.args) or 0)


def _options(given: dict[str, Any]) -> Any:
    from tapio_fast.cli._settings import Options
    return Options(**given)
