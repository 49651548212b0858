"""Start MLServer so that it answers the requests that wait already.

It reads from the topic's end, and drops what comes before its model is loaded; it has no setting
for either. Here it begins at the beginning, once its model is loaded.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import mlserver.kafka.server as kafka
from mlserver.cli import main

POLL_S = 0.05

Start = Callable[[Any], Awaitable[None]]


def when_loaded(start: Start) -> Start:
    """Return ``start`` of the Kafka server, put off until the model is loaded."""

    async def wait_and_start(self: Any) -> None:  # noqa: ANN401 - MLServer's
        registry = self._handlers._data_plane._model_registry  # noqa: SLF001 - no public way
        # Its own ready() is true of no models at all, and at first there are none.
        while not await loaded(registry):  # noqa: ASYNC110 - it tells nobody when they are
            await asyncio.sleep(POLL_S)
        await start(self)

    return wait_and_start


async def loaded(registry: Any) -> bool:  # noqa: ANN401 - MLServer's
    """Return whether there are models and all of them can predict."""
    models = list(await registry.get_models())
    return bool(models) and all(model.ready for model in models)


if __name__ == "__main__":
    kafka.AIOKafkaConsumer = partial(kafka.AIOKafkaConsumer, auto_offset_reset="earliest")
    kafka.AIOKafkaProducer = partial(kafka.AIOKafkaProducer, acks="all")
    kafka.KafkaServer.start = when_loaded(kafka.KafkaServer.start)
    main()
