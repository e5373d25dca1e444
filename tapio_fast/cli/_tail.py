# SPDX-License-Identifier: Apache-2.0
"""`tail` and `replay`: events as lines, live or from a store."""
from __future__ import annotations

import contextlib
import itertools
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import typer

from tapio_fast import Collector, RawStore, schema
from tapio_fast._times import parse_time
from tapio_fast.batch import RecordBatch
from tapio_fast.cli import _follow
from tapio_fast.cli._exit import FAILED, OK, say
from tapio_fast.cli._ledger import ledger_text
from tapio_fast.cli._output import Printer
from tapio_fast.cli._record import follow_filter, tell_advice
from tapio_fast.cli._settings import Options, configure
from tapio_fast.config import Config
from tapio_fast.enabled import enabled_kinds
from tapio_fast.events import RawEvent
from tapio_fast.filtering import EventFilter, FilterRule
from tapio_fast.filtering._tree import leaves

_SLICE = 0.2    # s: longest wait before Ctrl-C and CMD are looked at again


def tail(options: Options) -> int:
    """Run the verb; return the exit code: CMD's own, else 0, or 1 when the ledger does not add up."""
    printer = Printer(options)
    config = configure(options)
    account = _follow.account_for(options.user)
    chosen = options.chosen()
    with contextlib.ExitStack() as stack:
        command = stack.enter_context(_follow.Command(options.command, account)) if options.command else None
        interrupt = stack.enter_context(_follow.Interrupt(command))
        collector = Collector(config, filter=follow_filter(options, command, chosen))
        with collector:
            say(f"collecting {domains_of(config)}; waiting for events (Ctrl-C ends)")
            with contextlib.suppress(BrokenPipeError):
                for batch in _live(collector, options, command, interrupt):
                    _print(batch, printer, chosen)
            collector.stop()
        status = OK if command is None else command.wait()
    text, right = ledger_text(collector.stats().ledger, collector.stats().branches)
    print(text, file=sys.stderr, flush=True)
    tell_advice(collector)
    return status or (OK if right else FAILED)


def domains_of(config: Config) -> str:
    """Return the domains that a configuration collects, in the order of their kinds, for people."""
    wanted = enabled_kinds(config)
    return ", ".join(dict.fromkeys(kind.domain for kind in schema.KINDS if kind.name in wanted)) or "nothing"


def _print(batch: RecordBatch, printer: Printer, chosen: EventFilter | None) -> None:
    for event, rules in _seen(batch, chosen):
        printer.print(event, rules)
    sys.stdout.flush()


def _seen(batch: RecordBatch, chosen: EventFilter | None) -> Iterator[tuple[RawEvent, tuple[FilterRule, ...]]]:
    """Yield a batch's events with the rules that they hit; of what was collected everything is shown, hit or not."""
    if chosen is None or not chosen.rules:
        return ((event, ()) for event in batch.events())
    return chosen.hits(batch)


def _live(collector: Collector, options: Options, command: _follow.Command | None,
          interrupt: _follow.Interrupt) -> Iterator[RecordBatch]:
    """Yield batches until time, number, Ctrl-C or the end of CMD; after the latter two what is still queued comes too."""
    end = None if options.seconds is None else time.monotonic() + options.seconds
    left = options.count
    collector.read(0)       # the consumer exists from the first read: nothing of CMD is missed
    if command is not None:
        command.release()
    while left is None or left > 0:
        ended = interrupt.hit or (command is not None and command.poll())
        if ended:
            collector.stop()
        wait = _SLICE if end is None else min(_SLICE, end - time.monotonic())
        if wait <= 0:
            return
        for batch in collector.batches(duration=wait, max_events=left):
            yield batch
            if left is not None:
                left -= len(batch) - len(batch["meta"])
        if ended and collector.ended:
            return


def replay(options: Options) -> int:
    """Run the verb over a store."""
    chosen = options.chosen()
    printer = Printer(options)
    now = time.time_ns()
    since, until = time_of(options.since, now), time_of(options.until, now)
    with RawStore(options.store or Path()) as store:
        batches = store.scan(domains=_with_facts(options.domains, chosen), since=since, until=until)
        seen = (pair for batch in batches for pair in (((e, ()) for e in batch.events()) if chosen is None else chosen.hits(batch)))
        wanted = (pair for pair in seen if options.domains is None or pair[0].kind.partition(".")[0] in options.domains)
        for event, rules in itertools.islice(wanted, options.count):
            printer.print(event, rules)
        found = store.info()
    if found.damaged:
        say(f"warning: {found.corrupt_blocks} damaged blocks with {found.lost_rows} rows were passed over, {found.torn_bytes} bytes "
            "at the end are incomplete")
    return OK


def _with_facts(domains: list[str] | None, chosen: EventFilter | None) -> list[str] | None:
    """Return the domains to read: facts that a filter joins are told by rows of others."""
    if domains is None or chosen is None or not any(test.field.source in ("fact", "computed") for test in leaves(chosen.tree)):
        return domains
    return [*domains, *(d for d in ("process", "container", "meta") if d not in domains)]


def time_of(text: str | None, now: int) -> int | None:
    """Read "2026-11-22T15:00:00Z", "2026-11-22", or "-2h" before now, as Unix ns; what is no time is a usage error."""
    try:
        return None if text is None else parse_time(text, now_ns=now)
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(str(error)) from None
