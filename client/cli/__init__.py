"""The ``baton`` command: one module for each noun."""

import click

from client.cli import (
    asset,
    audit,
    compare,
    completion,
    dead_letters,
    deployment,
    doctor,
    events,
    experiment,
    model,
    promote,
    score,
    services,
    space,
    up,
    watch,
)
from client.cli.common import Command, Group, quieted
from client.cli.options import shared_options

HELP = """Replace the model behind a live deployment without anyone noticing.

\b
Start Kafka, a worker and a scoring agent, then in another terminal:
  baton up
  baton space create fraud
  baton model save model.joblib --sample rows.csv --name fraud-1
  baton asset promote fraud-1 --space fraud --asset-id fraud-1
  baton deployment create --space fraud --asset fraud-1 --name scoring
  baton score rows.csv --deployment scoring

\b
Deployments and assets are named by their ID or their name. Every command prints a table, JSON or
YAML (-o), and waits for what becomes of it.

\b
Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 nobody answers in time, 130 interrupted.
"""


@click.group(cls=Group, help=HELP, params=[*shared_options(outermost=True)])
@click.version_option(package_name="baton", prog_name="baton")
def main() -> None:
    """Take the options that all commands share."""
    # A broker that is away is told of once, by the error that ends the command.
    quieted()


for noun in (space, experiment, model, asset, deployment, dead_letters):
    main.add_command(noun.group)
for command in (
    up.up,
    services.worker,
    services.scoring,
    services.console,
    promote.promote,
    score.score,
    events.events,
    audit.audit,
    watch.watch,
    doctor.doctor,
    completion.completion,
):
    main.add_command(command)
model.group.add_command(compare.compare)

__all__ = ["Command", "main"]
