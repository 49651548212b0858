"""``baton worker``, ``scoring`` and ``console``: run one of each, in place of this process."""

import os
import sys

import click

from client.cli.common import Command, Options
from client.supervisor import child_environment


@click.command(cls=Command)
@click.pass_obj
def worker(options: Options) -> None:
    """Run one worker: it applies commands. Run several to share the partitions.

    Settings come from BATON_* variables; SIGTERM stops it cleanly.

    Example: baton worker --bootstrap-servers kafka-1:9092
    """
    _become(options, "worker")


@click.command(cls=Command)
@click.pass_obj
def scoring(options: Options) -> None:
    """Run one scoring agent: it answers requests. Run several to share the partitions.

    Settings come from BATON_* variables; SIGTERM stops it cleanly.

    Example: baton scoring --bootstrap-servers kafka-1:9092
    """
    _become(options, "scoring")


@click.command(cls=Command)
@click.pass_obj
def console(options: Options) -> None:
    """Run the console and the HTTP endpoint, by default at http://127.0.0.1:8470.

    Settings come from BATON_* variables; SIGTERM stops it cleanly.

    Example: baton console --bootstrap-servers kafka-1:9092
    """
    _become(options, "console")


def _become(options: Options, module: str) -> None:
    # The same process id: whoever supervises this command supervises the service.
    arguments = [sys.executable, "-m", module]
    os.execve(sys.executable, arguments, child_environment(options.settings()))  # noqa: S606
