"""``baton events``: the audit log."""

import click
from rich.markup import escape

from client.audit import AuditEvent
from client.audit import events as audit_events
from client.cli.common import Command, Options, out, print_document, run
from client.cli.names import complete_deployments, complete_spaces
from client.history import Filter


@click.command(cls=Command)
@click.option("--follow", "-f", is_flag=True, help="Go on as events come; Ctrl-C ends it.")
@click.option("--space", "space_id", help="Only this space.", shell_complete=complete_spaces)
@click.option(
    "--deployment",
    help="Only this deployment: its ID, or its name.",
    shell_complete=complete_deployments,
)
@click.pass_obj
def events(options: Options, space_id: str | None, deployment: str | None, *, follow: bool) -> None:
    """Read the audit log as it grows, partition by partition; `baton audit` looks into it.

    Example: baton events --space fraud --follow
    """
    chosen = Filter(space_id, deployment)

    async def work() -> None:
        async for event in audit_events(options.settings(), follow=follow):
            if not chosen.takes(event):
                continue
            if options.as_json:
                print_document(event.as_json())
            else:
                out.print(line(event), soft_wrap=True)

    run(work())


def line(event: AuditEvent) -> str:
    """Return an event as a line, with rich's markup."""
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
