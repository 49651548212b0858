"""The audit log: in pages, and live as Server-Sent Events that miss nothing."""

import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query
from fastapi.responses import StreamingResponse

from client.audit import AuditEvent
from console import documents
from console.cursor import Cursor
from console.feed import Feed, Matches
from console.openapi import problems
from console.services import Here
from schemas.events import EventName
from schemas.ids import Id

router = APIRouter(prefix="/api", tags=["events"])

HEARTBEAT_S = 15.0
# A browser that has lost the connection comes back after so many milliseconds.
RETRY_MS = 1000
# Looked at in one call, however few of them match.
MAX_SCANNED = 5000
START = "start"


def matching(
    space_id: Annotated[Id | None, Query(description="About this space alone.")] = None,
    deployment_id: Annotated[Id | None, Query(description="About this deployment alone.")] = None,
    asset_id: Annotated[Id | None, Query(description="About this asset alone.")] = None,
    command_id: Annotated[
        str | None, Query(max_length=1024, description="Caused by this command.")
    ] = None,
    event: Annotated[EventName | None, Query(description="Of this kind alone.")] = None,
) -> Matches:
    """Return what tells whether an event is asked for."""

    def matches(found: AuditEvent) -> bool:
        data = found.data
        assets = {data.asset_id, *(at.asset_id for at in (data.before, data.after) if at)}
        return (
            space_id in {None, data.space_id}
            and deployment_id in {None, data.deployment_id}
            and (asset_id is None or asset_id in assets)
            and command_id in {None, data.command_id}
            and event in {None, found.name}
        )

    return matches


Filter = Annotated[Matches, Depends(matching)]


async def place(here: Here) -> AsyncIterator[None]:
    """Hold one of the places for streams until the answer has ended."""
    with here.streams.place():
        yield


@router.get("/events", summary="Events of the audit log", responses=problems(422))
async def events(
    here: Here,
    matches: Filter,
    after: Annotated[
        str | None,
        Query(
            max_length=2000,
            description="The oldest events behind this cursor (`start`: from the very first on). "
            "Without it, the newest ones, newest first.",
        ),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> documents.Events:
    """Return a page of them. Page on with its `cursor` in `after` until `end`."""
    feed = here.feed
    if after is None:
        cursor, found = feed.cursor, feed.newest(limit, matches)
        return documents.Events(
            items=[documents.event(event) for event in found], cursor=str(cursor), end=True
        )
    cursor = _place(feed, after)
    items: list[documents.Event] = []
    scanned = 0
    async with aclosing(feed.since(cursor, idle_s=0)) as coming:
        async for event in coming:
            if event is None:
                break
            cursor = cursor.past(event.partition, event.sequence)
            if matches(event):
                items.append(documents.event(event))
            scanned += 1
            if len(items) == limit or scanned == MAX_SCANNED:
                break
    return documents.Events(items=items, cursor=str(cursor), end=not cursor.lacks(feed.cursor))


@router.get(
    "/events/stream",
    summary="Events as they come (Server-Sent Events)",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "Each event's data is the JSON of the event, its id a cursor.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
        **problems(422, 503),
    },
    dependencies=[Depends(place)],
)
async def stream(
    here: Here,
    matches: Filter,
    last_event_id: Annotated[
        str | None,
        Header(
            alias="Last-Event-ID",
            max_length=2000,
            description="Go on behind it: nothing is missed. A browser sends it by itself.",
        ),
    ] = None,
    after: Annotated[
        str | None,
        Query(max_length=2000, description="The same, for a first connection; `start`: all."),
    ] = None,
) -> StreamingResponse:
    """Send every event that matches, for as long as the caller listens.

    So many may listen at once (`BATON_CONSOLE_STREAMS`); the next is a 503 with `Retry-After`.
    """
    place = last_event_id or after
    cursor = here.feed.cursor if place is None else _place(here.feed, place)
    return StreamingResponse(
        _sent(here.feed, cursor, matches),
        media_type="text/event-stream",
        # A proxy that collected a few before it sends them on would hold them back.
        headers={"X-Accel-Buffering": "no"},
    )


async def _sent(feed: Feed, cursor: Cursor, matches: Matches) -> AsyncIterator[str]:
    # An id without data: known to the browser from the start, and no event to it.
    yield f"retry: {RETRY_MS}\nid: {cursor}\n\n"
    async with aclosing(feed.since(cursor, HEARTBEAT_S)) as coming:
        async for event in coming:
            if event is None:
                yield f"id: {cursor}\n\n"
                continue
            cursor = cursor.past(event.partition, event.sequence)
            if matches(event):
                data = json.dumps(event.as_json(), ensure_ascii=False)
                yield f"id: {cursor}\nevent: {event.name}\ndata: {data}\n\n"


def _place(feed: Feed, text: str) -> Cursor:
    if text == START:
        return Cursor.start(feed.partitions)
    return Cursor.parse(text, feed.partitions)
