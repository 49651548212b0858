"""``baton space``."""

import click

from client.cli.common import Command, Group, Options, connected, show_outcome, show_rows


@click.group(cls=Group, name="space")
def group() -> None:
    """Deployment spaces: each has its own assets and deployments."""


@group.command(cls=Command)
@click.argument("space_id", metavar="SPACE")
@click.option("--name", help="A name for people; by default the ID.")
@click.option("--description")
@click.pass_obj
def create(options: Options, space_id: str, name: str | None, description: str | None) -> None:
    """Create a deployment space.

    Example: baton space create fraud --name "Fraud detection"
    """
    outcome = connected(options, lambda client: client.create_space(space_id, name, description))
    show_outcome(options, outcome, space_id)


@group.command(cls=Command, name="list")
@click.pass_obj
def list_(options: Options) -> None:
    """List the spaces.

    Example: baton space list -o yaml
    """
    records = connected(options, lambda client: client.spaces())
    documents = [record.model_dump(mode="json") for record in records]
    show_rows(options, documents, ("space_id", "name", "created_at"))
