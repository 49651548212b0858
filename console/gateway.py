"""Scoring over HTTP: a request's bytes onto the requests topic, its answer's bytes back."""

import asyncio
import hashlib
import logging
import uuid
from collections.abc import Sequence
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaTimeoutError

from console.answers import Answer, Answers, Asked, RequestIdReusedError
from console.following import Follower, OnFailure
from schemas.errors import BatonError
from schemas.scoring import DEADLINE, DEPLOYMENT_ID, MIN_REVISION, REQUEST_ID
from schemas.topics import COMMAND_BYTES, partition_for
from transport.settings import Settings
from transport.transactions import Write, size

log = logging.getLogger(__name__)

# Answers that a console looks back for when it starts, of each partition.
LOOK_BACK = 5000
LOOK_BACK_S = 600.0
BATCH_BYTES = 256 * 1024
# What an answer has as its key, so that every console knows the answers to all consoles' requests.
KEY = b"console/"


class BusyError(BatonError):
    """As many requests wait for an answer as may: this one was not sent."""

    code = "too_many_requests"


class RequestTooLargeError(BatonError):
    """A request is larger than the broker takes: it was not sent."""

    code = "request_too_large"


class AnswerTimeout(BatonError, TimeoutError):  # noqa: N818 - as TimeoutError
    """No answer in time. It may still come: the same request id gets it."""

    code = "answer_timeout"

    def __init__(self, request_id: str, timeout_s: float) -> None:
        super().__init__(
            f"no answer to request {request_id} after {timeout_s:g} s: is a scoring agent "
            "running? Ask again with this request id: it is not scored a second time"
        )
        self.request_id = request_id


class Gateway:
    """Sends requests and gives each its answer; at most ``in_flight`` wait at once."""

    def __init__(self, settings: Settings, in_flight: int, on_failure: OnFailure) -> None:
        self._requests = settings.topics.requests
        self._in_flight = in_flight
        self._waiting = 0
        self._sending: set[asyncio.Task[None]] = set()
        self._answers = Answers()
        servers = settings.bootstrap_servers
        self._follower = Follower(
            servers,
            settings.topics.responses,
            self._take,
            on_failure,
            records=LOOK_BACK,
            age_s=LOOK_BACK_S,
        )
        self._servers = servers
        # One at a time into a partition's batch, first come first served: see ScoringClient.
        self._doors = [asyncio.Lock() for _ in range(self._requests.partitions)]

    @property
    def waiting(self) -> int:
        """How many requests wait for their answers."""
        return self._waiting

    async def start(self) -> None:
        """Connect, and read the answers of the last minutes."""
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self._servers,
            enable_idempotence=True,
            linger_ms=1,
            max_batch_size=BATCH_BYTES,
        )
        await self._producer.start()
        await self._follower.start()

    async def stop(self) -> None:
        """Disconnect."""
        await self._follower.stop()
        await self._producer.stop()

    async def ask(  # noqa: PLR0913 - what a request is
        self,
        deployment_id: str,
        body: bytes,
        *,
        request_id: str | None = None,
        min_revision: int | None = None,
        deadline_ms: int | None = None,
        timeout_s: float,
        more: Sequence[tuple[str, bytes]] = (),
    ) -> Answer:
        """Return the answer to ``body``, an error of the agent's or not.

        A request id that was used within ten minutes gets the answer of then, or the one that is
        still to come; it is sent again only where this console knows nothing of it. ``more`` are
        further headers. Raises BusyError, RequestTooLargeError, RequestIdReusedError,
        AnswerTimeout, and KafkaError where the broker does not take it.
        """
        request_id = request_id or str(uuid.uuid4())
        name = deployment_id.encode()
        digest = hashlib.blake2b(b"%d:%b%b" % (len(name), name, body), digest_size=16).digest()
        asked = self._answers.get(request_id, digest)
        if asked is not None and asked.answer is not None:
            if asked.answer.header(DEPLOYMENT_ID) not in {None, deployment_id}:
                raise RequestIdReusedError(
                    f"request id {request_id} belongs to a request to another deployment: this "
                    "one was not sent; give it an id of its own"
                )
            return asked.answer
        if self._waiting >= self._in_flight:
            raise BusyError(
                f"{self._waiting} requests wait for their answers, as many as may: ask again in a "
                "moment"
            )
        self._waiting += 1
        try:
            async with asyncio.timeout(timeout_s):
                if asked is None:
                    headers = [(DEPLOYMENT_ID, name), (REQUEST_ID, request_id.encode()), *more]
                    if min_revision is not None:
                        headers.append((MIN_REVISION, str(min_revision).encode()))
                    if deadline_ms is not None:
                        headers.append((DEADLINE, str(deadline_ms).encode()))
                    write = self._write(request_id, body, headers)
                    asked = self._answers.asked(request_id, digest)
                    # On its own: a caller who leaves meanwhile leaves no half-sent request.
                    sending = asyncio.create_task(self._send(write, request_id))
                    self._sending.add(sending)
                    sending.add_done_callback(self._sending.discard)
                return await _answer(asked)
        except TimeoutError:
            raise AnswerTimeout(request_id, timeout_s) from None
        finally:
            self._waiting -= 1

    def _write(self, request_id: str, body: bytes, headers: list[tuple[str, bytes]]) -> Write:
        key = KEY + request_id.encode()
        partition = partition_for(key, self._requests.partitions)
        write = Write(self._requests.name, partition, key, body, headers)
        # An idempotent producer of aiokafka is out of step after a record that the broker refuses.
        if size(write) > COMMAND_BYTES:
            raise RequestTooLargeError(
                f"the request has {size(write)} bytes, at most {COMMAND_BYTES} are taken: send "
                "fewer rows"
            )
        return write

    async def _send(self, write: Write, request_id: str) -> None:
        try:
            async with self._doors[write.partition]:
                sent = await self._producer.send(
                    write.topic,
                    write.value,
                    key=write.key,
                    partition=write.partition,
                    headers=write.headers,
                )
            await sent
        except KafkaTimeoutError:
            # It may be in the log all the same: then its answer comes.
            log.warning("the broker has not acknowledged request %s in time", request_id)
        except Exception as error:  # noqa: BLE001 - whoever waits for the answer gets it
            self._answers.not_sent(request_id, error)

    def _take(self, record: Any) -> None:  # noqa: ANN401 - aiokafka's record
        headers = dict(record.headers)
        request_id = (headers.get(REQUEST_ID) or b"").decode(errors="replace")
        ours = record.key == KEY + request_id.encode()
        self._answers.answered(
            Answer(request_id, headers, record.value or b"", record.partition, record.offset),
            ours=ours,
        )


async def _answer(asked: Asked) -> Answer:
    """Wait for the answer, together with whoever else does."""
    if asked.answer is not None:
        return asked.answer
    future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    asked.waiting.add(future)
    try:
        return await future
    finally:
        asked.waiting.discard(future)
