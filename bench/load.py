"""An open load: requests leave when they are due, however late the answers are.

Sender and reader are processes of their own, so that neither holds up the other, and latency is
from the time at which a request was *due* to the time at which a consumer has read its answer. So a
stall counts for all who would have sent in it.
"""

import asyncio
import contextlib
import gc
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from aiokafka import AIOKafkaProducer

from bench.payloads import Payload
from schemas.scoring import REQUEST_ID, REVISION, STATUS
from schemas.topics import Topic
from transport.reading import new_consumer, partitions_of
from transport.settings import Settings

# Requests fall due in bunches: no timer of Python is finer than this.
TICK_S = 0.002
# What is appended at once after a stall: below what a batch takes for each partition.
AT_ONCE = 2000
# No answer for so long after the last was due: it does not come.
LOST_S = 15.0
START_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Phase:
    """So many requests a second for so long; nothing for ``rest_s`` after it."""

    rate: int
    seconds: float
    rest_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Arrivals:
    """What became of each request, by number. Times are those of ``time.monotonic``.

    ``due`` and ``read`` (s; NaN where no answer came), the answer's ``revision`` (0: it names
    none) and whether it is an ``error``. ``late_s`` is how late each left the sender.
    """

    due: "np.ndarray"
    read: "np.ndarray"
    revision: "np.ndarray"
    error: "np.ndarray"
    late_s: "np.ndarray"
    phases: tuple[Phase, ...]

    @property
    def latency_s(self) -> "np.ndarray":
        """From when it was due to when its answer was read."""
        found: np.ndarray = self.read - self.due
        return found

    def within(self, number: int, skip_s: float = 1.0) -> "np.ndarray":
        """Return a mask of what was due in a phase, but for its first ``skip_s`` seconds."""
        before = sum(phase.seconds + phase.rest_s for phase in self.phases[:number])
        begun = self.due[0] + before
        end = begun + self.phases[number].seconds
        mask: np.ndarray = (self.due >= begun + skip_s - 1e-6) & (self.due < end - 1e-6)
        return mask


class Load:
    """A load that is running; made by ``running``."""

    def __init__(self, sender: Connection, reader: Connection, phases: tuple[Phase, ...]) -> None:
        self._sender = sender
        self._reader = reader
        self._phases = phases
        self._due = schedule(phases)
        self.begun = receive(sender, START_TIMEOUT_S)
        self.end = self.begun + float(self._due[-1])

    def arrivals(self) -> Arrivals:
        """Wait for the end and return what became of the requests."""
        patience = self.end - time.monotonic() + LOST_S + START_TIMEOUT_S
        late = receive(self._sender, patience)
        read, revision, error = receive(self._reader, patience)
        return Arrivals(self._due + self.begun, read, revision, error, late, self._phases)


@contextlib.contextmanager
def running(
    settings: Settings, payloads: Sequence[Payload], phases: Sequence[Phase]
) -> Iterator[Load]:
    """Send ``payloads`` in turn, as ``phases`` say, within the block."""
    spawn = multiprocessing.get_context("spawn")
    due = schedule(phases)
    ends: list[Connection] = []
    processes = []
    try:
        for work, given in ((_read, len(due)), (_send, (list(payloads), due))):
            ours, theirs = spawn.Pipe()
            # Daemons: they end with this process.
            process = spawn.Process(
                target=_child, args=(work, theirs, settings, given), daemon=True
            )
            process.start()
            processes.append(process)
            theirs.close()
            ends.append(ours)
            receive(ours, START_TIMEOUT_S)
        reader, sender = ends
        sender.send("go")
        yield Load(sender, reader, tuple(phases))
    finally:
        for process in processes:
            process.kill()
            process.join()


def schedule(phases: Sequence[Phase]) -> "np.ndarray":
    """Return when each request is due (s from the start)."""
    parts, begin = [], 0.0
    for phase in phases:
        times = np.arange(round(phase.rate * phase.seconds)) / phase.rate
        parts.append(begin + np.floor(times / TICK_S + 1e-9) * TICK_S)
        begin += phase.seconds + phase.rest_s
    return np.concatenate(parts)


def receive(connection: Connection, timeout_s: float) -> Any:  # noqa: ANN401 - what was sent
    """Return the next object. Raises TimeoutError, or EOFError where the other end died."""
    if not connection.poll(max(timeout_s, 0.0)):
        raise TimeoutError(f"the load's process said nothing for {timeout_s:.0f} s")
    return connection.recv()


def _child(work: Any, connection: Connection, settings: Settings, given: Any) -> None:  # noqa: ANN401
    gc.disable()
    # Ctrl-C comes to every process of the terminal, and the parent has its say.
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(work(connection, settings, given))


async def _send(
    connection: Connection, settings: Settings, given: "tuple[list[Payload], np.ndarray]"
) -> None:
    payloads, due = given
    topic = settings.topics.requests
    late = np.zeros(len(due))
    times = due.tolist()
    sent: set[asyncio.Future[Any]] = set()
    async with AIOKafkaProducer(
        bootstrap_servers=settings.bootstrap_servers, acks="all", max_batch_size=900_000
    ) as producer:
        await producer.partitions_for(topic.name)
        connection.send("ready")
        receive(connection, START_TIMEOUT_S)
        begun = time.monotonic() + TICK_S
        connection.send(begun)
        number = 0
        while number < len(times):
            now = time.monotonic() - begun
            if (left := times[number] - now) > 0:
                await asyncio.sleep(left)
                continue
            last = number
            while last < min(len(times), number + AT_ONCE) and times[last] <= now:
                last += 1
            for future in await _append(producer, topic, payloads, range(number, last)):
                sent.add(future)
                future.add_done_callback(sent.discard)
            late[number:last] = time.monotonic() - begun - due[number:last]
            number = last
        await asyncio.gather(*sent)
    connection.send(late)


async def _append(
    producer: AIOKafkaProducer, topic: Topic, payloads: list[Payload], numbers: range
) -> list["asyncio.Future[Any]"]:
    """Append requests in a batch for each partition, and do not wait for the broker."""
    batches = {}
    for number in numbers:
        partition = number % topic.partitions
        if partition not in batches:
            batches[partition] = producer.create_batch()
        value, headers = payloads[number % len(payloads)]
        named = [*headers, (REQUEST_ID, b"%d" % number)]
        if batches[partition].append(timestamp=None, key=None, value=value, headers=named) is None:
            raise ValueError(f"no batch takes {len(numbers)} requests of {len(value)} bytes")
    return [
        await producer.send_batch(batch, topic.name, partition=partition)
        for partition, batch in batches.items()
    ]


async def _read(connection: Connection, settings: Settings, count: int) -> None:
    read = np.full(count, np.nan)
    revision = np.zeros(count, dtype=int)
    error = np.zeros(count, dtype=bool)
    consumer = new_consumer(settings.bootstrap_servers)
    await consumer.start()
    try:
        where = partitions_of(settings.topics.responses)
        consumer.assign(where)
        for partition, end in (await consumer.end_offsets(where)).items():
            consumer.seek(partition, end)
        connection.send("ready")
        found, changed = 0, time.monotonic() + START_TIMEOUT_S
        while found < count and time.monotonic() < changed + LOST_S:
            batches = await consumer.getmany(timeout_ms=500)
            now = time.monotonic()
            for records in batches.values():
                changed = now
                for record in records:
                    headers = dict(record.headers)
                    number = int(headers[REQUEST_ID])
                    found += bool(np.isnan(read[number]))
                    read[number] = now
                    revision[number] = int(headers.get(REVISION, b"0"))
                    error[number] = headers.get(STATUS) == b"error"
    finally:
        await consumer.stop()
    connection.send((read, revision, error))
