"""``baton asset``."""

from pathlib import Path

import click

from client.cli.common import Command, Group, Options, connected, show_outcome, show_rows
from client.cli.model import read_manifest


@click.group(cls=Group, name="asset")
def group() -> None:
    """Assets: models promoted into a space."""


@group.command(cls=Command)
@click.argument("model", metavar="MODEL")
@click.option("--space", "space_id", required=True, help="The space to promote it into.")
@click.option("--asset-id", help="The asset's ID; by default a new UUID.")
@click.pass_obj
def promote(options: Options, model: str, space_id: str, asset_id: str | None) -> None:
    """Promote MODEL (a name given to `baton model save`, or a manifest file) into a space.

    Example: baton asset promote fraud-1 --space fraud
    """
    manifest = read_manifest(Path(model))
    outcome = connected(options, lambda client: client.promote_asset(space_id, manifest, asset_id))
    show_outcome(options, outcome, f"{outcome.asset_id} in space {space_id}")


@group.command(cls=Command, name="list")
@click.option("--space", "space_id", help="Only this space.")
@click.pass_obj
def list_(options: Options, space_id: str | None) -> None:
    """List the assets."""
    records = connected(options, lambda client: client.assets(space_id))
    documents = [
        record.model_dump(mode="json") | {"name": record.manifest.name if record.manifest else ""}
        for record in records
    ]
    show_rows(options, documents, ("asset_id", "name", "space_id", "created_at"))


@group.command(cls=Command)
@click.argument("asset_id", metavar="ASSET")
@click.option("--space", "space_id", required=True)
@click.pass_obj
def delete(options: Options, asset_id: str, space_id: str) -> None:
    """Delete an asset that no deployment uses. Its ID never comes back."""
    outcome = connected(options, lambda client: client.delete_asset(space_id, asset_id))
    show_outcome(options, outcome, asset_id)
