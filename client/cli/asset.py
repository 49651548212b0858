"""``baton asset``."""

from pathlib import Path

import click

from client.cli.common import Command, Group, Options, connected, show_outcome, show_rows
from client.cli.model import read_manifest
from client.cli.names import complete_assets, complete_spaces, find_asset
from client.commands import BatonClient
from client.outcome import Outcome


@click.group(cls=Group, name="asset")
def group() -> None:
    """Assets: models promoted into a space."""


@group.command(cls=Command)
@click.argument("model", metavar="MODEL")
@click.option(
    "--space",
    "space_id",
    required=True,
    help="The space to promote it into.",
    shell_complete=complete_spaces,
)
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
@click.option("--space", "space_id", help="Only this space.", shell_complete=complete_spaces)
@click.pass_obj
def list_(options: Options, space_id: str | None) -> None:
    """List the assets.

    Example: baton asset list --space fraud
    """
    records = connected(options, lambda client: client.assets(space_id))
    documents = [
        record.model_dump(mode="json") | {"name": record.manifest.name if record.manifest else ""}
        for record in records
    ]
    show_rows(options, documents, ("asset_id", "name", "space_id", "created_at"))


@group.command(cls=Command)
@click.argument("asset", metavar="ASSET", shell_complete=complete_assets)
@click.option("--space", "space_id", required=True, shell_complete=complete_spaces)
@click.pass_obj
def delete(options: Options, asset: str, space_id: str) -> None:
    """Delete ASSET (its ID or name) that no deployment uses. Its ID never comes back.

    Example: baton asset delete fraud-1 --space fraud
    """

    async def work(client: BatonClient) -> Outcome:
        return await client.delete_asset(space_id, await find_asset(client, asset, space_id))

    outcome = connected(options, work)
    show_outcome(options, outcome, outcome.asset_id)
