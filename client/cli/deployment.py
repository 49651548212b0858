"""``baton deployment``."""

import click
from rich.markup import escape

from client.cli.common import (
    Command,
    Group,
    Options,
    checks_table,
    connected,
    out,
    print_json,
    show_outcome,
    show_rows,
)
from client.commands import BatonClient
from client.outcome import Outcome
from schemas.commands import Compatibility, Reason
from schemas.errors import BatonError
from schemas.events import EventName
from schemas.records import DeploymentRecord

REASONS = click.Choice([reason.value for reason in Reason])


@click.group(cls=Group, name="deployment")
def group() -> None:
    """Deployments: endpoints whose ID never changes."""


@group.command(cls=Command)
@click.option("--space", "space_id", required=True)
@click.option("--asset", "asset_id", required=True)
@click.option("--name", required=True, help="Unique in its space.")
@click.option("--description")
@click.pass_obj
def create(
    options: Options, space_id: str, asset_id: str, name: str, description: str | None
) -> None:
    """Deploy an asset under a new deployment ID.

    Example: baton deployment create --space fraud --asset fraud-1 --name scoring
    """
    outcome = connected(
        options, lambda client: client.create_deployment(space_id, asset_id, name, description)
    )
    show_outcome(options, outcome, f"{outcome.deployment_id}\n  serves asset {asset_id}")


@group.command(cls=Command, name="list")
@click.option("--space", "space_id", help="Only this space.")
@click.pass_obj
def list_(options: Options, space_id: str | None) -> None:
    """List the deployments."""
    records = connected(options, lambda client: client.deployments(space_id))
    documents = [_document(record) for record in records]
    columns = ("deployment_id", "name", "space_id", "status", "revision", "serving")
    show_rows(options, documents, columns)


@group.command(cls=Command)
@click.argument("deployment_id", metavar="DEPLOYMENT")
@click.pass_obj
def show(options: Options, deployment_id: str) -> None:
    """Show a deployment: what it serves, what it served, what is under way."""
    record = connected(options, lambda client: _found(client, deployment_id))
    if options.as_json:
        print_json(record.model_dump(mode="json"))
        return
    document = _document(record)
    for key in ("deployment_id", "name", "space_id", "status", "revision", "serving"):
        out.print(f"{key:14}{escape(str(document[key]))}")
    if record.pending is not None:
        awaited = record.pending.asset.asset_id
        out.print(f"{'pending':14}{escape(awaited)} since {record.pending.since}")
    out.print(f"{'last update':14}{record.last_update}\n")
    history = [entry.model_dump(mode="json") for entry in reversed(record.history)]
    show_rows(options, history, ("revision", "asset_id", "at", "command_id"))


@group.command(cls=Command)
@click.argument("deployment_id", metavar="DEPLOYMENT")
@click.option("--asset", "asset_id", required=True, help="The asset that shall serve.")
@click.option("--dry-run", is_flag=True, help="Run every check, change nothing.")
@click.option("--expected-revision", type=int, help="Refuse if someone was quicker.")
@click.option("--reason", type=REASONS)
@click.option("--comment")
@click.option(
    "--compatibility",
    type=click.Choice([mode.value for mode in Compatibility]),
    default=Compatibility.EXACT.value,
    show_default=True,
    help="compatible: types may widen, and fields that clients send may go unused.",
)
@click.option("--allow-output-change", is_flag=True, help="Accept other class labels or task.")
@click.pass_obj
def replace(  # noqa: PLR0913, PLR0917 - an option each
    options: Options,
    deployment_id: str,
    asset_id: str,
    expected_revision: int | None,
    reason: str | None,
    comment: str | None,
    compatibility: str,
    *,
    dry_run: bool,
    allow_output_change: bool,
) -> None:
    """Point a deployment to another asset of its space. Its ID stays.

    Example: baton deployment replace DEPLOYMENT --asset fraud-2 --reason accuracy
    """

    async def work(client: BatonClient) -> Outcome:
        record = await _found(client, deployment_id)
        return await client.replace_asset(
            record.space_id,
            deployment_id,
            asset_id,
            expected_revision=expected_revision,
            reason=reason,
            comment=comment,
            compatibility=compatibility,
            allow_output_change=allow_output_change,
            dry_run=dry_run,
        )

    outcome = connected(options, work)
    if outcome.name != EventName.UPDATE_CHECKED:
        _show_revision(options, outcome)
        return
    passed = bool(outcome.event.data.passed)
    verdict = "would be replaced" if passed else "would not be replaced"
    show_outcome(options, outcome, f"{deployment_id} {verdict}; nothing was changed")
    if not options.as_json:
        out.print(checks_table(outcome.event.data.checks or ()))
    if not passed:
        raise click.exceptions.Exit(1)


@group.command(cls=Command)
@click.argument("deployment_id", metavar="DEPLOYMENT")
@click.option("--to-revision", type=int, help="By default the one before the current.")
@click.option("--expected-revision", type=int, help="Refuse if someone was quicker.")
@click.option("--reason", type=REASONS)
@click.option("--comment")
@click.pass_obj
def rollback(  # noqa: PLR0913, PLR0917 - an option each
    options: Options,
    deployment_id: str,
    to_revision: int | None,
    expected_revision: int | None,
    reason: str | None,
    comment: str | None,
) -> None:
    """Go back to the asset of an earlier revision."""

    async def work(client: BatonClient) -> Outcome:
        record = await _found(client, deployment_id)
        return await client.rollback_deployment(
            record.space_id,
            deployment_id,
            to_revision=to_revision,
            expected_revision=expected_revision,
            reason=reason,
            comment=comment,
        )

    _show_revision(options, connected(options, work))


@group.command(cls=Command)
@click.argument("deployment_id", metavar="DEPLOYMENT")
@click.option("--expected-revision", type=int, help="Refuse if someone was quicker.")
@click.pass_obj
def delete(options: Options, deployment_id: str, expected_revision: int | None) -> None:
    """End a deployment. Its ID never comes back; its requests get an error that says so."""

    async def work(client: BatonClient) -> Outcome:
        record = await _found(client, deployment_id)
        return await client.delete_deployment(
            record.space_id, deployment_id, expected_revision=expected_revision
        )

    show_outcome(options, connected(options, work), deployment_id)


async def _found(client: BatonClient, deployment_id: str) -> DeploymentRecord:
    record = await client.deployment(deployment_id)
    if record is None:
        raise BatonError(f"there is no deployment {deployment_id}: see `baton deployment list`")
    return record


def _show_revision(options: Options, outcome: Outcome) -> None:
    after = outcome.event.data.after
    serving = "" if after is None else f" and serves asset {after.asset_id}"
    text = f"{outcome.deployment_id} is at revision {outcome.revision}{serving}"
    show_outcome(options, outcome, text)


def _document(record: DeploymentRecord) -> dict[str, object]:
    serving = "" if record.asset is None else record.asset.asset_id
    return record.model_dump(mode="json") | {"serving": serving}
