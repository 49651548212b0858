"""``baton dead-letters``."""

import base64
import sys
from collections.abc import Iterator

import click
from rich.markup import escape

from client.cli.common import Command, Group, Options, out, print_document, run, show_rows
from client.deadletters import DeadLetter, dead_letter, dead_letters, hexdump, replay, text

COLUMNS = ("id", "topic", "partition", "offset", "time", "bytes", "reason")
# Of a value that is shown; --raw writes all of it.
SHOWN_BYTES = 4096

source_option = click.option(
    "--from",
    "source",
    type=click.Choice(["commands", "requests"]),
    help="Only those that came from this topic.",
)


@click.group(cls=Group, name="dead-letters")
def group() -> None:
    """Dead letters: records that could not be read or answered."""


@group.command(cls=Command, name="list")
@source_option
@click.option("--reason", help="Only those whose reason has this text.")
@click.pass_obj
def list_(options: Options, source: str | None, reason: str | None) -> None:
    """List the dead letters: whence they came, when and why.

    Example: baton dead-letters list --from commands
    """
    letters = run(_chosen(options, source, reason))
    show_rows(options, [letter.as_json() for letter in letters], COLUMNS)


@group.command(cls=Command)
@click.argument("identity", metavar="ID", type=click.IntRange(0))
@click.option("--raw", is_flag=True, help="Write the value's bytes to stdout, nothing else.")
@click.pass_obj
def show(options: Options, identity: int, *, raw: bool) -> None:
    """Show a dead letter: its headers, and its value as text or as a hexdump.

    Examples:
      baton dead-letters show 4
      baton dead-letters show 4 --raw > letter.bin
    """
    letter = run(dead_letter(options.settings(), identity))
    if raw:
        sys.stdout.buffer.write(letter.value)
        return
    if options.as_json:
        headers = [[name, value.decode(errors="replace")] for name, value in letter.headers]
        encoded = base64.b64encode(letter.value).decode()
        print_document(letter.as_json() | {"headers": headers, "value_base64": encoded})
        return
    for name, value in letter.as_json().items():
        out.print(f"{name:12}{escape(str(value))}", soft_wrap=True)
    for name, header in letter.headers:
        shown = header.decode(errors="backslashreplace")
        out.print(f"{'header':12}{escape(name)}: {escape(shown)}", soft_wrap=True)
    out.print()
    for line in lines(letter.value[:SHOWN_BYTES]):
        out.print(escape(line), soft_wrap=True)
    if len(letter.value) > SHOWN_BYTES:
        out.print(f"[dim]… {len(letter.value) - SHOWN_BYTES} bytes more: --raw writes them all[/]")


@group.command(cls=Command, name="replay")
@click.argument("identities", metavar="ID…", nargs=-1, type=click.IntRange(0))
@click.option("--all", "every", is_flag=True, help="All of them, or all --from a topic.")
@source_option
@click.pass_obj
def replay_(
    options: Options, identities: tuple[int, ...], source: str | None, *, every: bool
) -> None:
    """Send dead letters again, their bytes untouched, to the topic and partition they came from.

    Do so when what stood in their way has been mended: a record that still cannot be read becomes
    a dead letter again. A command that was applied already has no second effect.

    Examples:
      baton dead-letters replay 4 7
      baton dead-letters replay --all --from requests
    """
    if every == bool(identities):
        raise click.UsageError("give IDs, or --all")
    if identities and source is not None:
        raise click.UsageError("--from goes with --all")
    settings = options.settings()

    async def work() -> list[DeadLetter]:
        if every:
            letters = [letter for letter in await _chosen(options, source, None) if letter.kept]
        else:
            letters = [await dead_letter(settings, identity) for identity in identities]
        await replay(settings, letters)
        return letters

    letters = run(work())
    if options.as_json:
        print_document([letter.as_json() for letter in letters])
        return
    for letter in letters:
        place = f"{letter.topic}, partition {letter.partition}"
        out.print(f"[green]replayed[/] {letter.id} to {escape(place)}", soft_wrap=True)
    if not letters:
        out.print("[dim]none[/]")


async def _chosen(options: Options, source: str | None, reason: str | None) -> list[DeadLetter]:
    settings = options.settings()
    topics = {"commands": settings.topics.commands.name, "requests": settings.topics.requests.name}
    wanted = topics.get(source or "")
    return [
        letter
        async for letter in dead_letters(settings)
        if wanted in {None, letter.topic} and (reason is None or reason in letter.reason)
    ]


def lines(value: bytes) -> Iterator[str]:
    """Yield the lines of ``value``: its text, or a hexdump where it is none."""
    said = text(value)
    yield from hexdump(value) if said is None else said.splitlines()
