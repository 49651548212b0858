"""Names instead of IDs: what people call deployments and assets, and what a shell completes."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar

import click
from click.shell_completion import CompletionItem

from client.cli.options import Options
from client.state import StateReader
from schemas.errors import BatonError
from schemas.records import AssetRecord, DeploymentRecord

# Whoever pressed Tab waits for it.
COMPLETION_S = 2.0

Found: TypeAlias = "Iterable[tuple[str, str]]"
T = TypeVar("T")


class Directory(Protocol):
    """Whoever knows the deployments and the assets: a StateReader."""

    async def deployment(self, deployment_id: str) -> DeploymentRecord | None:
        """Return a deployment by its ID."""
        ...

    async def deployments(self, space_id: str | None = None) -> list[DeploymentRecord]:
        """Return the deployments of a space, or all."""
        ...

    async def assets(self, space_id: str | None = None) -> list[AssetRecord]:
        """Return the assets of a space, or all."""
        ...


class AmbiguousNameError(BatonError):
    """A name that several bear."""

    code = "ambiguous_name"


async def find_deployment(
    directory: Directory, named: str, space_id: str | None = None
) -> DeploymentRecord:
    """Return the deployment whose ID or whose name is ``named``; an ID wins over a name.

    Raises AmbiguousNameError, with the IDs, where several spaces have one of that name, and
    BatonError where there is none.
    """
    record = await directory.deployment(named)
    if record is not None and space_id in {None, record.space_id}:
        return record
    found = [r for r in await directory.deployments(space_id) if r.name == named]
    if not found:
        where = "" if space_id is None else f" in space {space_id}"
        raise BatonError(f"there is no deployment {named}{where}: see `baton deployment list`")
    return _only("deployment", named, found, lambda r: (r.deployment_id, f"space {r.space_id}"))


async def find_asset(directory: Directory, named: str, space_id: str) -> str:
    """Return the ID of the asset in the space whose ID or whose model's name is ``named``.

    What nothing there is called is returned as it is: the refusal then comes from the worker, and
    is in the audit log. Raises AmbiguousNameError, with the IDs.
    """
    assets = await directory.assets(space_id)
    if any(record.asset_id == named for record in assets):
        return named
    found = [r for r in assets if r.manifest is not None and r.manifest.name == named]
    if not found:
        return named
    return _only("asset", named, found, lambda r: (r.asset_id, r.created_at)).asset_id


def _only(kind: str, named: str, found: Sequence[T], told: Callable[[T], tuple[str, str]]) -> T:
    if len(found) > 1:
        listed = "".join(f"\n  {identity}  ({more})" for identity, more in map(told, found))
        raise AmbiguousNameError(f"{len(found)} {kind}s are named {named}: give an ID{listed}")
    return found[0]


def complete_spaces(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete the ID of a space."""
    del parameter

    async def look(reader: StateReader) -> Found:
        return [(record.space_id, record.name) for record in await reader.spaces()]

    return _completed(context, incomplete, look)


def complete_deployments(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete the name or the ID of a deployment."""
    del parameter

    async def look(reader: StateReader) -> Found:
        records = await reader.deployments()
        names = [(r.name, f"{r.status} in {r.space_id}") for r in records]
        # IDs only for whoever has begun one: twice as many lines tell less.
        ids = [(r.deployment_id, f"{r.name} in {r.space_id}") for r in records if incomplete]
        return [*names, *ids]

    return _completed(context, incomplete, look)


def complete_assets(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete the ID of an asset, of the space given already or of all."""
    del parameter

    async def look(reader: StateReader) -> Found:
        records = await reader.assets(context.params.get("space_id"))
        return [(r.asset_id, r.manifest.name if r.manifest else "") for r in records]

    return _completed(context, incomplete, look)


def _completed(
    context: click.Context,
    incomplete: str,
    look: Callable[[StateReader], Coroutine[Any, Any, Found]],
) -> list[CompletionItem]:
    # Nothing may be written to a terminal on which a person is writing.
    logging.disable()
    options = context.find_object(Options) or Options()

    async def within() -> Found:
        reader = StateReader(options.settings())
        try:
            async with asyncio.timeout(COMPLETION_S):
                return await look(reader)
        finally:
            await reader.close_view()

    try:
        found = asyncio.run(within())
    except Exception:  # noqa: BLE001 - without an answer there is nothing to complete
        return []
    return [
        CompletionItem(name, help=more)
        for name, more in dict(found).items()
        if name.startswith(incomplete)
    ]
