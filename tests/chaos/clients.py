"""``python -m tests.chaos.clients KIND SEED NUMBER FOLDER``: a client that notes what it does.

KIND is ``commands``, ``requests``, ``audit`` or ``offsets``; FOLDER holds ``world.json`` (the
manifests) and gets the notes. The settings are ``BATON_*`` variables. SIGTERM ends it once what it
has under way has ended, or a minute later.
"""

import asyncio
import contextlib
import json
import logging
import os
import random
import signal
import sys
import time
from pathlib import Path

from aiokafka.errors import KafkaError

from tests.chaos.asking import Asker
from tests.chaos.commanding import Commander
from tests.chaos.log import committed_places
from tests.chaos.notes import Notebook
from tests.chaos.world import World
from transport.admin import wait_for_broker
from transport.settings import Settings

RATE = 60.0
OFFSETS_EVERY_S = 0.3
PATIENCE_S = 60.0


async def main(kind: str, seed: str, number: str, folder: Path) -> None:
    """Be the client until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    # From here on it can be told to stop.
    Path(os.environ["BATON_READY_FILE"]).touch()
    settings = Settings.from_env(os.environ)
    await wait_for_broker(settings.bootstrap_servers, PATIENCE_S)
    # A file for each run of it: what a killed one noted is never written to again.
    notes = folder / f"{kind}-{number}-{time.monotonic_ns()}.notes"
    book = Notebook(f"{kind}-{number}", notes)
    rng = random.Random(f"{seed} {kind} {number}")
    match kind:
        case "commands":
            async with Commander(settings, book) as commander:
                await commander.settle(json.loads((folder / "world.json").read_text()))
                await commander.act(rng, stop)
        case "requests":
            async with Asker(settings, book) as asker:
                await asker.act(rng, RATE, stop)
                await asker.all_answered(PATIENCE_S)
        case "audit":
            watching = asyncio.create_task(World(settings, book).watch())
            await asyncio.wait(
                [watching, asyncio.create_task(stop.wait())], return_when=asyncio.FIRST_COMPLETED
            )
            watching.cancel()
        case "offsets":
            await _offsets(settings, book, stop)


async def _offsets(settings: Settings, book: Notebook, stop: asyncio.Event) -> None:
    """Note the scoring group's committed offsets, one sample after the other."""
    while not stop.is_set():
        with contextlib.suppress(KafkaError, OSError, TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                found = await committed_places(settings, f"{settings.app}-scoring")
            for partition, place in found.items():
                owed = len(place.owed)
                book.note("committed", partition=partition, offset=place.offset, owed=owed)
        await asyncio.sleep(OFFSETS_EVERY_S)


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    _, what, seed_of_run, which, where = sys.argv
    asyncio.run(main(what, seed_of_run, which, Path(where)))
