"""The options that every command takes, before its noun or after its verb."""

import json
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import click

from schemas.errors import SettingsError
from transport.settings import Settings

HOME = Path(".baton")
# Where `baton up` leaves the address of its Kafka for the other commands.
ADDRESS = HOME / "up.json"
TIMEOUT_S = 120.0


class Format(StrEnum):
    """How results are printed: for people, or for machines."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


@dataclass(frozen=True, slots=True)
class Options:
    """The options that every command takes."""

    bootstrap_servers: str | None = None
    format: Format = Format.TABLE
    timeout_s: float = TIMEOUT_S

    @property
    def as_json(self) -> bool:
        """Whether a machine reads the output: documents, and nothing else on stdout."""
        return self.format is not Format.TABLE

    def settings(self) -> Settings:
        """Return the settings. Raises SettingsError where no Kafka is known."""
        servers = self.bootstrap_servers or _started_here()
        if not servers:
            raise SettingsError(
                "no Kafka known: run `baton up` in this folder, give --bootstrap-servers, or set "
                "BATON_BOOTSTRAP_SERVERS"
            )
        return Settings.from_env(os.environ, bootstrap_servers=servers)


def shared_options(taken: Collection[str] = (), *, outermost: bool = False) -> list[click.Option]:
    """Return the options, less the names that a command has ``taken`` for options of its own.

    Of those before the noun and those after the verb the latter win; the environment is asked only
    by the ``outermost``, or it would win over both.
    """

    def option(names: Sequence[str], dest: str, **more: Any) -> click.Option | None:  # noqa: ANN401
        free = [name for name in names if name not in taken]
        if not free:
            return None
        return click.Option([*free, f"shared_{dest}"], expose_value=False, callback=_keep, **more)

    formats = click.Choice([name.value for name in Format])
    found = [
        option(["-o", "--output"], "format", type=formats, help="How to print; default table."),
        option(["--json"], "json", is_flag=True, help="Short for -o json."),
        option(
            ["--timeout"],
            "timeout_s",
            type=click.FloatRange(0, min_open=True),
            metavar="SECONDS",
            help=f"How long to wait for an answer; default {TIMEOUT_S:g}.",
        ),
        option(
            ["--bootstrap-servers"],
            "bootstrap_servers",
            metavar="HOST:PORT",
            envvar="BATON_BOOTSTRAP_SERVERS" if outermost else None,
            help="Where Kafka is; by default what `baton up` started in this folder.",
        ),
    ]
    return [given for given in found if given is not None]


def _keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:  # noqa: ANN401 - whatever the option holds
    options = context.obj or Options()
    name = (parameter.name or "").removeprefix("shared_")
    if name == "json":
        context.obj = replace(options, format=Format.JSON) if value else options
    elif value in {None, ""}:
        context.obj = options
    else:
        context.obj = replace(options, **{name: Format(value) if name == "format" else value})


def _started_here() -> str | None:
    try:
        address = json.loads(ADDRESS.read_text())["bootstrap_servers"]
    except (OSError, ValueError, KeyError):
        return None
    return str(address)
