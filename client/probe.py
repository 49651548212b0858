"""A request on each partition that names no deployment: whether it is answered, and the clocks."""

import asyncio
import time
import uuid
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaProducer

from client.tail import Tail
from schemas.scoring import DEPLOYMENT_ID, REQUEST_ID
from transport.settings import Settings

# No deployment's ID is of this form: the answer is an error, and no model is asked.
NOBODY = b"baton-doctor"
BODY = b'{"input_data":[{"values":[[0]]}]}'
WAIT_S = 10.0


@dataclass(frozen=True, slots=True)
class Probe:
    """What was heard: seconds to each answer; this clock less the broker's, give or take."""

    latencies_s: list[float]
    skew_s: float
    error_s: float


async def probe(settings: Settings, wait_s: float = WAIT_S) -> Probe:
    """Send a request on each partition, and wait at most ``wait_s`` for the answers.

    The broker stamps a request when it comes: between the two looks at this clock around it.
    """
    topics = settings.topics
    tail: Tail[float]

    def heard(record: Any) -> None:  # noqa: ANN401 - aiokafka's record
        identity = (dict(record.headers).get(REQUEST_ID) or b"").decode(errors="replace")
        waiting = tail.waiting.get(identity)
        if waiting is not None and not waiting.done():
            waiting.set_result(time.monotonic())

    tail = Tail(settings, topics.responses, heard)
    producer = AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers)
    async with AsyncExitStack() as block:
        block.push_async_callback(producer.stop)
        await producer.start()
        block.push_async_callback(tail.stop)
        await tail.start()
        answers = []
        looks = []
        for partition in range(topics.requests.partitions):
            identity = f"doctor-{uuid.uuid4()}"
            answer = block.enter_context(tail.expected(identity))
            before, begun = time.time(), time.monotonic()
            placed = await producer.send_and_wait(
                topics.requests.name,
                BODY,
                partition=partition,
                headers=[(DEPLOYMENT_ID, NOBODY), (REQUEST_ID, identity.encode())],
            )
            after = time.time()
            looks.append(((after - before) / 2, (before + after) / 2 - placed.timestamp / 1000))
            answers.append((begun, answer))
        done, _ = await asyncio.wait([answer for _, answer in answers], timeout=wait_s)
        latencies = [answer.result() - begun for begun, answer in answers if answer in done]
    # The shortest look is the most exact.
    error_s, skew_s = min(looks)
    return Probe(latencies, skew_s, error_s)
