"""What waits in partitions behind a position, and how long nothing of it has been taken."""

import time
from collections.abc import Mapping
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition

from transport.reading import has_records


class Stand(NamedTuple):
    """How far a partition is worked off: all before ``position``.

    ``progress`` is anything that changes with whatever is done there.
    """

    position: int
    progress: object


class Waiting(NamedTuple):
    """``offsets`` wait; for ``seconds``, at least, one of them has and nothing was done."""

    offsets: int
    seconds: float


class Backlog:
    """Looks at the ends of partitions again and again.

    Offsets without a record count for nothing: the markers of transactions, and what was taken
    back. What waits is seen to wait from the first look that finds it: whoever was idle for an hour
    when a record came is not late with it.
    """

    def __init__(self, bootstrap_servers: str) -> None:
        self._servers = bootstrap_servers
        # From a position that was looked at up to here there is no record.
        self._empty_to: dict[TopicPartition, int] = {}
        # By partition: its progress at the last look, and since when something waits meanwhile.
        self._seen: dict[TopicPartition, tuple[object, float | None]] = {}

    async def look(
        self, probe: AIOKafkaConsumer, stands: Mapping[TopicPartition, Stand]
    ) -> dict[TopicPartition, Waiting]:
        """Return what waits in each partition of ``stands``, by a read_committed ``probe``.

        Raises KafkaError, OSError or TimeoutError where the broker is away. Nobody is late then:
        the next look is a first one.
        """
        seen, self._seen = self._seen, {}
        found: dict[TopicPartition, tuple[object, float | None]] = {}
        waiting = {}
        ends = await probe.end_offsets(list(stands)) if stands else {}
        now = time.monotonic()
        for partition, (position, progress) in stands.items():
            begin, end = max(position, self._empty_to.get(partition, 0)), ends[partition]
            before, since = seen.get(partition, (None, None))
            if progress != before or end <= begin:
                since = None
            elif await has_records(self._servers, partition, begin - 1):
                since = now if since is None else since
            else:
                self._empty_to[partition] = begin = end
                since = None
            found[partition] = (progress, since)
            waiting[partition] = Waiting(max(end - begin, 0), 0.0 if since is None else now - since)
        self._seen = found
        return waiting
