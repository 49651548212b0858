"""``baton promote``: ``baton asset promote`` in short."""

import click

from client.cli import asset
from client.cli.common import Command


@click.command(cls=Command)
@click.argument("model", metavar="MODEL")
@click.option("--to", "space_id", required=True, metavar="SPACE", help="The space.")
@click.option("--asset-id", help="The asset's ID; by default a new UUID.")
@click.pass_context
def promote(context: click.Context, model: str, space_id: str, asset_id: str | None) -> None:
    """Promote MODEL (its name, or a manifest file) into a space: `baton asset promote` in short.

    Example: baton promote churn-8 --to marketing
    """
    context.invoke(asset.promote, model=model, space_id=space_id, asset_id=asset_id)
