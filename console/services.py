"""What every request of the console uses: the clients and views that live as long as it does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from artifacts.store import Store
from console.commands import SOURCE, Commands
from console.feed import Feed
from console.following import OnFailure
from console.gateway import Gateway
from console.meter import Meter
from console.security import Keys
from console.settings import ConsoleSettings
from console.state import State
from console.streams import Streams


@dataclass(frozen=True, slots=True)
class Services:
    """``commands`` writes, ``state`` and ``feed`` are views, ``gateway`` scores.

    ``meter`` measures the traffic of the deployments that somebody looks at.
    ``comparing`` is held while two models are loaded to be compared.
    """

    settings: ConsoleSettings
    keys: Keys
    state: State
    feed: Feed
    commands: Commands
    gateway: Gateway
    meter: Meter
    streams: Streams
    store: Store
    comparing: asyncio.Lock = field(default_factory=asyncio.Lock)


@asynccontextmanager
async def opened(
    settings: ConsoleSettings, keys: Keys, on_failure: OnFailure
) -> AsyncIterator[Services]:
    """Connect to Kafka, read the views, and disconnect at the end of the block."""
    kafka = settings.kafka
    state = State(kafka, SOURCE)
    feed = Feed(kafka, SOURCE, on_failure)
    commands = Commands(kafka, state, feed, actor=settings.actor)
    gateway = Gateway(kafka, settings.in_flight, on_failure)
    meter = Meter(kafka)
    async with AsyncExitStack() as open_until:
        # It waits for the broker and makes the topics.
        await open_until.enter_async_context(commands)
        for part in (state, feed, gateway):
            open_until.push_async_callback(part.stop)
            await part.start()
        watching = asyncio.create_task(state.watch(on_failure))
        open_until.callback(watching.cancel)
        # It connects once it is asked.
        open_until.push_async_callback(meter.stop)
        yield Services(
            settings,
            keys,
            state,
            feed,
            commands,
            gateway,
            meter,
            Streams(settings.streams),
            Store(kafka.store),
        )


def services(connection: HTTPConnection) -> Services:
    """Return the services of the application that serves this request."""
    found: Services = connection.app.state.services
    return found


Here = Annotated[Services, Depends(services)]
