"""Requests as they lie in the topic: the same rows for everybody, in each one's own protocol."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import orjson
import pandas as pd

from schemas.scoring import DEPLOYMENT_ID, REQUEST_ID
from transport.settings import Settings
from transport.transactions import Write

# Value and headers, but for the request id.
Payload = tuple[bytes, list[tuple[str, bytes]]]
# Different ones in a stream; a multiple of each number of deployments that is measured.
KINDS = 1000


def batonic(
    deployments: Sequence[str], fields: Sequence[str], rows: Sequence[Any], size: int = 1
) -> list[Payload]:
    """Return requests of ``size`` rows each, to each of ``deployments`` in turn."""
    turning = itertools.cycle(rows)
    found: list[Payload] = []
    for number in range(KINDS if size == 1 else max(1, KINDS // size)):
        table = {"fields": list(fields), "values": list(itertools.islice(turning, size))}
        deployment = deployments[number % len(deployments)]
        named = [(DEPLOYMENT_ID, deployment.encode())]
        found.append((orjson.dumps({"input_data": [table]}), named))
    return found


def asking(deployments: Sequence[str], frame: pd.DataFrame) -> list[Payload]:
    """Return requests of one row of ``frame`` each, to each of ``deployments`` in turn."""
    return batonic(deployments, list(frame.columns), frame.to_numpy().tolist())


def stream(settings: Settings, payloads: Sequence[Payload], count: int) -> Iterator[Write]:
    """Yield ``count`` requests, partition after partition."""
    topic = settings.topics.requests
    for number in range(count):
        value, headers = payloads[number % len(payloads)]
        named = [*headers, (REQUEST_ID, b"%d" % number)]
        yield Write(topic.name, number % topic.partitions, None, value, named)
