"""The ends of partitions, from a leader that its followers know as theirs.

A broker that stood still, or was parted from the others, may have been deposed without knowing it.
When it wakes, and for as long as it is parted, it goes on telling what was true when it led; Kafka
keeps nobody from reading that. So whoever must know what is there *now* asks its followers, too.
What a later leader wrote is acknowledged once ``min.insync.replicas`` copies have it (the producers
ask for ``acks=all``), and the deposed one's is not among them: the brokers of these copies know who
leads. Where they are at least half of all copies, half as many of the other brokers as there are
copies have one of them among them.
https://kafka.apache.org/documentation/#replication
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.protocol.metadata import MetadataRequest

from transport.fence import Fence
from transport.futures import retrieve

# ListOffsets' timestamp of the end: https://kafka.apache.org/protocol#The_Messages_ListOffsets
LATEST = -1
# A leader that has not answered by then may have been deposed meanwhile.
ASK_AGAIN_S = 0.5
BACKOFF_S = 0.02
TIMEOUT_S = 40.0


class Ends:
    """The ends of ``partitions``, as ``consumer`` sees them; it lends its connections.

    ``follower`` is another consumer that follows them, if any: it is told of a new leader.
    """

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        partitions: Sequence[TopicPartition],
        follower: AIOKafkaConsumer | None = None,
    ) -> None:
        self._consumer = consumer
        self._partitions = partitions
        self._follower = follower
        # By broker: what shares its answers.
        self._fences: dict[int, Fence[Any]] = {}

    async def now(self) -> dict[TopicPartition, int]:
        """Return the ends: all that was acknowledged before this call lies before them.

        Asks until it is so. Raises TimeoutError, and KafkaError where to ask is of no use.
        """
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                try:
                    if (found := await self._ask()) is not None:
                        return found
                except KafkaError as error:
                    if not error.retriable:
                        raise
                self._client.force_metadata_update()
                await asyncio.sleep(BACKOFF_S)

    @property
    def _client(self) -> Any:  # noqa: ANN401 - aiokafka has no types
        return self._consumer._client  # noqa: SLF001 - no public way to ask a certain broker

    async def _ask(self) -> dict[TopicPartition, int] | None:
        """Return the ends, or None where those who lead are not known as leaders."""
        leaders = {}
        for part in self._partitions:
            node = self._client.cluster.leader_for_partition(part)
            if node is None or node < 0:
                self._client.add_topic(part.topic)
                return None
            leaders[part] = node
        asked = asyncio.create_task(self._listed(leaders))
        asked.add_done_callback(retrieve)
        try:
            while await self._known(leaders):
                await asyncio.wait([asked], timeout=ASK_AGAIN_S)
                if asked.done():
                    return asked.result()
        finally:
            asked.cancel()
        return None

    async def _listed(self, leaders: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        requests: dict[int, dict[str, list[tuple[int, int]]]] = defaultdict(dict)
        for part, node in leaders.items():
            requests[node].setdefault(part.topic, []).append((part.partition, LATEST))
        # end_offsets() would ask whoever leads by the time of a second attempt.
        ask = self._consumer._fetcher._proc_offset_request  # noqa: SLF001
        answers = await asyncio.gather(*(ask(node, topics) for node, topics in requests.items()))
        return {part: offset for answer in answers for part, (offset, _) in answer.items()}

    async def _known(self, leaders: Mapping[TopicPartition, int]) -> bool:
        """Whether so many others as are half of the copies, asked now, know these as leaders."""
        missing, left = {}, {}
        for part, leader in leaders.items():
            metadata = self._client.cluster._partitions[part.topic][part.partition]  # noqa: SLF001
            missing[part] = len(metadata.replicas) // 2
            left[part] = set(metadata.replicas) - {leader}
        asked = {
            asyncio.create_task(self._hear(node)): node for node in set().union(*left.values())
        }
        waiting, another = set(asked), None
        try:
            # Not for those who could change nothing: one of them may stand still.
            while any(missing.values()) and all(missing[part] <= len(left[part]) for part in left):
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    said = task.result()
                    for part in [part for part in left if asked[task] in left[part]]:
                        left[part].remove(asked[task])
                        if _leader(said, part) == leaders[part]:
                            missing[part] = max(missing[part] - 1, 0)
                        else:
                            another = said or another
        finally:
            for task in waiting:
                task.cancel()
        known = not any(missing.values())
        if another is not None and not known:
            self._learn(another)
        return known

    async def _hear(self, node: int) -> Any:  # noqa: ANN401 - aiokafka's response
        """Return what ``node`` says of the topics, asked from now on; None where it does not."""
        if self._client.cluster.broker_metadata(node) is None:
            # Away, as the others have it.
            return None
        if node not in self._fences:
            self._fences[node] = Fence(partial(self._question, node))
        try:
            return await self._fences[node].wait()
        except (KafkaError, OSError):
            return None

    async def _question(self, node: int) -> Any:  # noqa: ANN401
        topics = sorted({part.topic for part in self._partitions})
        request = MetadataRequest(topics, allow_auto_topic_creation=False)
        return await self._client.send(node, request)

    def _learn(self, said: Any) -> None:  # noqa: ANN401
        """Turn to who leads by what was ``said``: the next broker to be asked may stand still."""
        for consumer in (self._consumer, self._follower):
            if consumer is not None:
                consumer._client.cluster.update_metadata(said)  # noqa: SLF001
                fetcher = consumer._fetcher  # noqa: SLF001
                fetcher._notify(fetcher._wait_consume_future)  # noqa: SLF001


def _leader(said: Any, part: TopicPartition) -> int | None:  # noqa: ANN401
    for _error, topic, _internal, partitions in said.topics if said else ():
        for _error, number, leader, *_ in partitions:
            if (topic, number) == part:
                return int(leader)
    return None
