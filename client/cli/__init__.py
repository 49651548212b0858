"""The ``baton`` command: one module for each noun."""

import logging

import click

from client.cli import (
    asset,
    deployment,
    events,
    model,
    score,
    services,
    space,
    up,
)
from client.cli.common import Command, Group, Options

HELP = """Replace the model behind a live deployment without anyone noticing.

\b
Start Kafka, a worker and a scoring agent, then in another terminal:
  baton up
  baton space create fraud
  baton model save model.joblib --sample rows.csv --name fraud-1
  baton asset promote fraud-1 --space fraud --asset-id fraud-1
  baton deployment create --space fraud --asset fraud-1 --name scoring
  baton score DEPLOYMENT --data rows.csv

\b
Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 nobody answers in time.
"""


@click.group(cls=Group, help=HELP)
@click.version_option(package_name="baton", prog_name="baton")
@click.option(
    "--bootstrap-servers",
    metavar="HOST:PORT",
    envvar="BATON_BOOTSTRAP_SERVERS",
    help="Where Kafka is; by default what `baton up` started in this folder.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")
@click.option("--timeout", type=float, default=120, show_default=True, help="Seconds to wait.")
@click.pass_context
def main(
    context: click.Context, bootstrap_servers: str | None, timeout: float, *, as_json: bool
) -> None:
    """Take the options that all commands share."""
    # A broker that is away is told of once, by the error that ends the command.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    context.obj = Options(bootstrap_servers, as_json, timeout)


for noun in (space, model, asset, deployment):
    main.add_command(noun.group)
for command in (
    up.up,
    services.worker,
    services.scoring,
    services.console,
    score.score,
    events.events,
):
    main.add_command(command)

__all__ = ["Command", "main"]
