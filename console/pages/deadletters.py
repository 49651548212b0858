"""Dead letters: what could not be read or answered, its bytes, and sending it again."""

import logging
from typing import Annotated

from fastapi import Path, Request, Response
from fastapi.responses import RedirectResponse

from client import deadletters
from console.forms import Sent
from console.pages import page
from console.services import Here

log = logging.getLogger(__name__)

router = page.router()

# Of the topic's offsets, looked through at each view.
AMONG = 500
# Of one letter's value: 256 lines of a hexdump. All of it is a link away.
SHOWN_BYTES = 4096

# Offsets are 63 bits.
Identity = Annotated[int, Path(ge=0, le=2**63 - 1)]


@router.get("/dead-letters")
async def dead_letters(
    request: Request, here: Here, source: str = "", reason: str = ""
) -> Response:
    """Return the newest dead letters: of the topic ``source``, with ``reason`` in their reason."""
    topics = here.settings.kafka.topics
    found = [
        letter.as_json()
        for letter in await deadletters.newest(here.settings.kafka, AMONG)
        if source in {"", letter.topic} and reason.lower() in letter.reason.lower()
    ]
    context = {
        "letters": found,
        "among": AMONG,
        "sources": [topics.commands.name, topics.requests.name],
        "asked": {"source": source, "reason": reason},
    }
    return page.render(request, "deadletters.html", context)


@router.get("/dead-letters/{identity}")
async def dead_letter(
    request: Request, identity: Identity, here: Here, replayed: str = ""
) -> Response:
    """Return one: where it came from and why it is here, its headers and its bytes."""
    letter = await deadletters.dead_letter(here.settings.kafka, identity)
    said = deadletters.text(letter.value)
    context = {
        "letter": letter,
        "key": None if letter.key is None else _told(letter.key),
        "headers": [(name, _told(value)) for name, value in letter.headers],
        "text": None if said is None else said[:SHOWN_BYTES],
        "hexdump": "\n".join(deadletters.hexdump(letter.value[:SHOWN_BYTES])),
        "more": max(len(letter.value) - SHOWN_BYTES, 0),
        "replayed": bool(replayed),
    }
    return page.render(request, "deadletter.html", context)


@router.get("/dead-letters/{identity}/value")
async def value(identity: Identity, here: Here) -> Response:
    """Return its bytes as a file to keep, which no browser shows."""
    letter = await deadletters.dead_letter(here.settings.kafka, identity)
    named = {"Content-Disposition": f'attachment; filename="dead-letter-{identity}.bin"'}
    return Response(letter.value, 200, named, "application/octet-stream")


@router.post("/dead-letters/{identity}/replay")
async def replay(identity: Identity, here: Here, form: Sent) -> Response:
    """Publish it again, where it came from."""
    del form
    letter = await deadletters.dead_letter(here.settings.kafka, identity)
    await deadletters.replay(here.settings.kafka, [letter])
    log.info("dead letter %d was published again to %s", identity, letter.topic)
    return RedirectResponse(f"/dead-letters/{identity}?replayed=yes", 303)


def _told(raw: bytes) -> str:
    """Return a key's or a header's text, or its bytes in hexadecimal."""
    said = deadletters.text(raw)
    return raw.hex(" ") if said is None else said
