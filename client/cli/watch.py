"""``baton watch``: the deployments live."""

import asyncio
import itertools
import time
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any

import click
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from client.cli.common import Command, Options, out, print_document, run, table
from client.cli.names import complete_deployments, complete_spaces
from client.rates import Rate
from client.state import StateReader
from client.traffic import Traffic
from schemas.records import DeploymentRecord
from schemas.times import rfc3339

COLOURS = {"deployed": "green", "updating": "yellow", "initializing": "yellow", "failed": "red"}


@click.command(cls=Command)
@click.option("--space", "space_id", help="Only this space.", shell_complete=complete_spaces)
@click.option(
    "--deployment",
    help="Only this deployment: its ID or name.",
    shell_complete=complete_deployments,
)
@click.option(
    "--interval", type=click.FloatRange(0.1), default=1.0, show_default=True, help="Seconds."
)
@click.option(
    "--window", type=click.IntRange(1, 600), default=10, show_default=True, help="Seconds."
)
@click.option("--count", type=click.IntRange(1), help="End after so many looks.")
@click.pass_obj
def watch(  # noqa: PLR0913, PLR0917 - an option each
    options: Options,
    /,
    space_id: str | None,
    deployment: str | None,
    interval: float,
    window: int,
    count: int | None,
) -> None:
    """Show the deployments live: status, revision, requests and errors a second, latencies.

    The figures come from the topics: a latency is from when Kafka had the request to when it had
    the answer. With -o json each look is one line. Ctrl-C ends it.

    Examples:
      baton watch --space fraud
      baton watch --count 1 -o json
    """
    with Live(console=out, auto_refresh=False) if _live(options) else nullcontext() as live:

        def show(documents: list[dict[str, Any]]) -> None:
            if options.as_json:
                now = rfc3339(time.time_ns() // 1_000_000)
                print_document({"time": now, "deployments": documents})
            elif live is not None:
                live.update(_table(documents), refresh=True)
            else:
                out.print(_table(documents))

        async def work() -> None:
            settings = options.settings()
            reader = StateReader(settings)
            try:
                async with Traffic(settings, window) as traffic:
                    for _ in itertools.count() if count is None else range(count):
                        # Before the first look, too: at once it would see no traffic.
                        await asyncio.sleep(interval)
                        records = [
                            record
                            for record in await reader.deployments(space_id)
                            if deployment in {None, record.deployment_id, record.name}
                        ]
                        show(_documents(records, traffic.rates()))
            finally:
                await reader.close_view()

        run(work())


def _live(options: Options) -> bool:
    return out.is_terminal and not options.as_json


def _documents(records: list[DeploymentRecord], rates: dict[str, Rate]) -> list[dict[str, Any]]:
    return [
        {
            "deployment_id": record.deployment_id,
            "name": record.name,
            "space_id": record.space_id,
            "status": record.status.value,
            "revision": record.revision,
            "asset_id": None if record.asset is None else record.asset.asset_id,
            "pending": None if record.pending is None else record.pending.asset.asset_id,
            **asdict(rates.get(record.deployment_id, Rate())),
        }
        for record in sorted(records, key=lambda r: (r.space_id, r.name))
    ]


def _table(documents: list[dict[str, Any]]) -> Table:
    grid = table("deployment", "space", "status", "revision", "serving", "requests/s", "errors/s")
    for name in ("p50 ms", "p99 ms"):
        grid.add_column(name, justify="right")
    for document in documents:
        status = document["status"]
        colour = COLOURS.get(status, "default")
        serving = document["asset_id"] or ""
        if document["pending"]:
            serving = f"{serving} → {document['pending']}"
        errors = document["errors_s"]
        grid.add_row(
            escape(document["name"]),
            escape(document["space_id"]),
            f"[{colour}]{status}[/]",
            str(document["revision"]),
            escape(serving),
            f"{document['requests_s']:.1f}",
            f"[red]{errors:.1f}[/]" if errors else "0",
            *(_milliseconds(document[name]) for name in ("p50_ms", "p99_ms")),
        )
    return grid


def _milliseconds(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"
