"""``baton audit``: who did what and why, what served when, and whether the state is true to it."""

import asyncio
from collections import deque
from dataclasses import asdict
from pathlib import Path

import click
from rich.markup import escape

from client.audit import AuditEvent
from client.cli.common import REFUSED, Command, Options, err, out, print_document, run, show_rows
from client.cli.events import line
from client.cli.names import complete_deployments, complete_spaces
from client.export import KINDS, EventFile
from client.history import Filter, history, parse_time, serving_at
from client.verification import Difference, PartitionVerdict, verify
from schemas.errors import BatonError
from schemas.events import EventName

SHOWN = 20
SERVING = ("deployment_id", "name", "space_id", "asset_id", "revision", "since", "actor")


@click.command(cls=Command)
@click.option("--space", "space_id", help="Only this space.", shell_complete=complete_spaces)
@click.option(
    "--deployment",
    help="Only this deployment: its ID, or its name.",
    shell_complete=complete_deployments,
)
@click.option("--actor", help="Only what this person or program asked for.")
@click.option("--since", metavar="TIME", help="From then on: 2026-11-25, 2026-11-25T10:00Z, 2h.")
@click.option("--until", metavar="TIME", help="Before then.")
@click.option(
    "--event",
    "names",
    multiple=True,
    type=click.Choice([name.value for name in EventName]),
    help="Only these events; may be given several times.",
)
@click.option("--limit", type=click.IntRange(1), help="Only the newest ones.")
@click.option("--at", metavar="TIME", help="Which asset each deployment served then.")
@click.option("--verify", "verifying", is_flag=True, help="Prove that the state is the log's fold.")
@click.option(
    "--out",
    "goal",
    type=click.Path(dir_okay=False, path_type=Path),
    help=f"Write the events to a file, by its name {', '.join(KINDS)}.",
)
@click.pass_obj
def audit(  # noqa: PLR0913, PLR0917 - an option each
    options: Options,
    /,
    space_id: str | None,
    deployment: str | None,
    actor: str | None,
    since: str | None,
    until: str | None,
    names: tuple[str, ...],
    limit: int | None,
    at: str | None,
    goal: Path | None,
    *,
    verifying: bool,
) -> None:
    """Read the audit log in the order of time: who did what, accepted or refused, and why.

    --verify replays the log: the sequences of each partition have no gap, and each record of the
    state table is the fold of its events. A difference is shown with its key and both values, and
    ends with exit code 1.

    Examples:
      baton audit --space fraud --since 2h
      baton audit --deployment scoring --event deployment-updated -o json
      baton audit --at 2026-11-25T10:00:00Z
      baton audit --out log.parquet
      baton audit --verify
    """
    if verifying + (at is not None) + (goal is not None) > 1:
        raise click.UsageError("--verify, --at and --out exclude each other")
    chosen = Filter(
        space_id,
        deployment,
        actor,
        None if since is None else parse_time(since),
        None if until is None else parse_time(until),
        frozenset(names),
    )
    if verifying:
        _verify(options)
    elif at is not None:
        found = run(serving_at(options.settings(), parse_time(at), chosen))
        show_rows(options, [asdict(serving) for serving in found], SERVING)
    elif goal is not None:
        _export(options, chosen, goal)
    else:
        run(_show(options, chosen, limit))


async def _show(options: Options, chosen: Filter, limit: int | None) -> None:
    newest: deque[AuditEvent] = deque(maxlen=limit)
    async for event in history(options.settings(), chosen):
        if limit is None:
            _print(options, event)
        else:
            newest.append(event)
    for event in newest:
        _print(options, event)


def _print(options: Options, event: AuditEvent) -> None:
    if options.as_json:
        print_document(event.as_json())
    else:
        out.print(line(event), soft_wrap=True)


def _export(options: Options, chosen: Filter, goal: Path) -> None:
    async def work() -> int:
        count = 0
        with EventFile(goal) as file:
            async for event in history(options.settings(), chosen):
                # A file is written in a moment, and nothing else runs in this loop.
                file.write(event)
                count += 1
        return count

    count = run(work())
    if options.as_json:
        print_document({"events": count, "out": str(goal)})
    else:
        out.print(f"[green]{count} events[/] in {escape(str(goal))}", soft_wrap=True)


def _verify(options: Options) -> None:
    async def work() -> list[PartitionVerdict]:
        async with asyncio.timeout(options.timeout_s):
            return await verify(options.settings())

    with err.status("replaying the log"):
        try:
            verdicts = run(work())
        except TimeoutError:
            raise BatonError(
                f"the log was not read within {options.timeout_s:g} s: give more by --timeout"
            ) from None
    differences = [found for verdict in verdicts for found in verdict.differences]
    if options.as_json:
        partitions = [asdict(v) | {"differences": len(v.differences)} for v in verdicts]
        shown = [asdict(found) for found in differences]
        document = {"verified": not differences, "partitions": partitions, "differences": shown}
        print_document(document)
    else:
        _show_verdicts(options, verdicts, differences)
    if differences:
        raise click.exceptions.Exit(REFUSED)


def _show_verdicts(
    options: Options, verdicts: list[PartitionVerdict], differences: list[Difference]
) -> None:
    rows = [
        {
            "partition": verdict.partition,
            "events": verdict.events,
            "records": verdict.records,
            "differences": len(verdict.differences),
        }
        for verdict in verdicts
    ]
    show_rows(options, rows, ("partition", "events", "records", "differences"))
    for found in differences[:SHOWN]:
        out.print(f"\n[red bold]{escape(found.key)}[/]: {found.message}", soft_wrap=True)
        out.print(f"  the events say  {escape(repr(found.expected))}", soft_wrap=True)
        out.print(f"  the state has   {escape(repr(found.actual))}", soft_wrap=True)
    if len(differences) > SHOWN:
        out.print(f"\n… and {len(differences) - SHOWN} more: -o json has them all")
    if not differences:
        total = sum(verdict.events for verdict in verdicts)
        out.print(f"[green]verified[/]: {total} events without a gap, and the state is their fold")
