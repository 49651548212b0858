"""``baton doctor``."""

from dataclasses import asdict

import click
from rich.markup import escape

from client.cli.common import REFUSED, Command, Options, out, print_document, run
from client.diagnosis import diagnose
from client.findings import Finding, Level

COLOURS = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "red bold"}


@click.command(cls=Command)
@click.pass_obj
def doctor(options: Options) -> None:
    """Check the installation, and say of everything that is not well what to do.

    It looks at Python and scikit-learn, the store, the broker, the topics and their policies, live
    workers and agents, the clocks, what waits, the deployed assets' versions, and dead letters. To
    hear whether requests are answered it sends one on each partition that names no deployment. It
    ends with exit code 1 where anything fails.

    Example: baton doctor
    """

    async def work() -> list[Finding]:
        found = []
        async for finding in diagnose(options.settings()):
            found.append(finding)
            if not options.as_json:
                _show(finding)
        return found

    found = run(work())
    if options.as_json:
        print_document([asdict(finding) for finding in found])
    if any(finding.level is Level.FAIL for finding in found):
        raise click.exceptions.Exit(REFUSED)


def _show(finding: Finding) -> None:
    colour = COLOURS[finding.level]
    out.print(
        f"[{colour}]{finding.level:4}[/]  {escape(finding.check)}: {escape(finding.message)}",
        soft_wrap=True,
    )
    if finding.level is not Level.OK and finding.advice:
        out.print(f"      → {escape(finding.advice)}", soft_wrap=True)
