"""``baton events``: the audit log."""

import click
from rich.markup import escape

from client.audit import AuditEvent
from client.audit import events as audit_events
from client.cli.common import Command, Options, out, print_json, run


@click.command(cls=Command)
@click.option("--follow", "-f", is_flag=True, help="Go on as events come; Ctrl-C ends it.")
@click.option("--space", "space_id", help="Only this space.")
@click.option("--deployment", "deployment_id", help="Only this deployment.")
@click.pass_obj
def events(
    options: Options, space_id: str | None, deployment_id: str | None, *, follow: bool
) -> None:
    """Read the audit log: everything that happened, accepted or refused, by whom and why.

    Example: baton events --space fraud --follow
    """

    async def work() -> None:
        async for event in audit_events(options.settings(), follow=follow):
            if space_id not in {None, event.data.space_id}:
                continue
            if deployment_id not in {None, event.data.deployment_id}:
                continue
            if options.as_json:
                print_json(event.as_json())
            else:
                out.print(_line(event), soft_wrap=True)

    run(work())


def _line(event: AuditEvent) -> str:
    data = event.data
    colour = {"command-rejected": "red", "update-failed": "red", "update-started": "yellow"}
    subject = event.attributes.get("subject", "")
    parts = [
        f"[dim]{event.time}[/] [{colour.get(event.name, 'green')}]{event.name:22}[/]",
        escape(subject),
    ]
    if data.before and data.after:
        parts.append(escape(f"{data.before.asset_id} → {data.after.asset_id}"))
    if data.revision is not None:
        parts.append(f"revision {data.revision}")
    if data.code is not None:
        parts.append(escape(f"{data.code}: {data.message}"))
    if data.reason is not None:
        parts.append(f"reason {data.reason}")
    parts.append(f"[dim]by {escape(data.actor or 'unknown')}[/]")
    return "  ".join(parts)
