"""``baton deployment``."""

from typing import Any

import click
from rich.markup import escape

from client.audit import AuditEvent
from client.cli.common import (
    REFUSED,
    Command,
    Group,
    Options,
    checks_table,
    connected,
    err,
    out,
    print_document,
    show_outcome,
    show_progress,
    show_rows,
)
from client.cli.names import (
    complete_assets,
    complete_deployments,
    complete_spaces,
    find_asset,
    find_deployment,
)
from client.commands import BatonClient
from client.outcome import Outcome
from schemas.commands import Compatibility, Reason
from schemas.events import EventName
from schemas.records import DeploymentRecord

REASONS = click.Choice([reason.value for reason in Reason])

deployment_argument = click.argument(
    "deployment", metavar="DEPLOYMENT", shell_complete=complete_deployments
)
asset_option = click.option(
    "--asset",
    required=True,
    help="The asset that shall serve: its ID, or its name in the space.",
    shell_complete=complete_assets,
)
space_option = click.option(
    "--space",
    "space_id",
    help="Where several spaces have a deployment of that name.",
    shell_complete=complete_spaces,
)


@click.group(cls=Group, name="deployment")
def group() -> None:
    """Deployments: endpoints whose ID never changes."""


@group.command(cls=Command)
@click.option("--space", "space_id", required=True, shell_complete=complete_spaces)
@asset_option
@click.option("--name", required=True, help="Unique in its space.")
@click.option("--description")
@click.pass_obj
def create(options: Options, space_id: str, asset: str, name: str, description: str | None) -> None:
    """Deploy an asset under a new deployment ID.

    Example: baton deployment create --space fraud --asset fraud-1 --name scoring
    """

    async def work(client: BatonClient) -> Outcome:
        asset_id = await find_asset(client, asset, space_id)
        return await client.create_deployment(space_id, asset_id, name, description)

    outcome = connected(options, work)
    after = outcome.event.data.after
    serving = asset if after is None else after.asset_id
    show_outcome(options, outcome, f"{outcome.deployment_id}\n  serves asset {escape(serving)}")


@group.command(cls=Command, name="list")
@click.option("--space", "space_id", help="Only this space.", shell_complete=complete_spaces)
@click.pass_obj
def list_(options: Options, space_id: str | None) -> None:
    """List the deployments.

    Example: baton deployment list --space fraud
    """
    records = connected(options, lambda client: client.deployments(space_id))
    documents = [_document(record) for record in records]
    columns = ("deployment_id", "name", "space_id", "status", "revision", "serving")
    show_rows(options, documents, columns)


@group.command(cls=Command)
@deployment_argument
@space_option
@click.pass_obj
def show(options: Options, deployment: str, space_id: str | None) -> None:
    """Show a deployment: what it serves, what it served, what is under way.

    Example: baton deployment show scoring
    """
    record = connected(options, lambda client: find_deployment(client, deployment, space_id))
    if options.as_json:
        print_document(record.model_dump(mode="json"))
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
@deployment_argument
@asset_option
@space_option
@click.option("--dry-run", is_flag=True, help="Run every check, change nothing.")
@click.option(
    "--check/--no-check",
    default=None,
    help="A dry run before the change, whose report is shown; by default with tables only.",
)
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
def replace(  # noqa: PLR0913 - an option each
    options: Options,
    /,
    deployment: str,
    asset: str,
    space_id: str | None,
    *,
    dry_run: bool,
    check: bool | None,
    **change: Any,  # noqa: ANN401 - the other fields of the command, as BatonClient takes them
) -> None:
    """Point a deployment to another asset of its space. Its ID stays.

    A dry run comes first and its report is shown: if a check fails, nothing is changed. The change
    then holds for the revision that was checked, and is refused if someone was quicker.

    Examples:
      baton deployment replace scoring --asset fraud-2 --dry-run
      baton deployment replace scoring --asset fraud-2 --reason accuracy
    """
    checked = dry_run or (not options.as_json if check is None else check)
    with err.status("looking") as status:

        def told(event: AuditEvent) -> None:
            if not options.as_json:
                show_progress(event)
            status.update(f"[yellow]{event.data.status}[/]")

        async def work(client: BatonClient) -> Outcome:
            record = await find_deployment(client, deployment, space_id)
            asset_id = await find_asset(client, asset, record.space_id)
            goal = (record.space_id, record.deployment_id, asset_id)
            if checked:
                status.update(f"checking asset {escape(asset_id)}")
                outcome = await client.replace_asset(*goal, dry_run=True, **change)
                _show_report(options, outcome, will_follow=not dry_run)
                if dry_run or not outcome.event.data.passed:
                    return outcome
                change["expected_revision"] = outcome.revision
            status.update("replacing")
            return await client.replace_asset(*goal, **change)

        outcome = connected(options, work, told)
    if outcome.name != EventName.UPDATE_CHECKED:
        _show_revision(options, outcome)
        return
    if options.as_json:
        print_document(outcome.event.as_json())
    if not outcome.event.data.passed:
        raise click.exceptions.Exit(REFUSED)


@group.command(cls=Command)
@deployment_argument
@space_option
@click.option("--to-revision", type=int, help="By default the one before the current.")
@click.option("--expected-revision", type=int, help="Refuse if someone was quicker.")
@click.option("--reason", type=REASONS)
@click.option("--comment")
@click.pass_obj
def rollback(
    options: Options,
    /,
    deployment: str,
    space_id: str | None,
    **change: Any,  # noqa: ANN401 - the other fields of the command, as BatonClient takes them
) -> None:
    """Go back to the asset of an earlier revision.

    Example: baton deployment rollback scoring --to-revision 1 --reason errors
    """

    async def work(client: BatonClient) -> Outcome:
        record = await find_deployment(client, deployment, space_id)
        return await client.rollback_deployment(record.space_id, record.deployment_id, **change)

    _show_revision(options, connected(options, work))


@group.command(cls=Command)
@deployment_argument
@space_option
@click.option("--expected-revision", type=int, help="Refuse if someone was quicker.")
@click.pass_obj
def delete(
    options: Options, deployment: str, space_id: str | None, expected_revision: int | None
) -> None:
    """End a deployment. Its ID never comes back; its requests get an error that says so.

    Example: baton deployment delete scoring --expected-revision 3
    """

    async def work(client: BatonClient) -> Outcome:
        record = await find_deployment(client, deployment, space_id)
        return await client.delete_deployment(
            record.space_id, record.deployment_id, expected_revision=expected_revision
        )

    outcome = connected(options, work)
    show_outcome(options, outcome, outcome.deployment_id)


def _show_report(options: Options, outcome: Outcome, *, will_follow: bool) -> None:
    if options.as_json:
        return
    passed = bool(outcome.event.data.passed)
    verdict = "would be replaced" if passed else "would not be replaced"
    more = "" if will_follow and passed else "; nothing was changed"
    show_outcome(options, outcome, f"{outcome.deployment_id} {verdict}{more}")
    out.print(checks_table(outcome.event.data.checks or ()))


def _show_revision(options: Options, outcome: Outcome) -> None:
    after = outcome.event.data.after
    serving = "" if after is None else f" and serves asset {escape(after.asset_id)}"
    text = f"{outcome.deployment_id} is at revision {outcome.revision}{serving}"
    show_outcome(options, outcome, text)


def _document(record: DeploymentRecord) -> dict[str, object]:
    serving = "" if record.asset is None else record.asset.asset_id
    return record.model_dump(mode="json") | {"serving": serving}
