"""The topic table, the dead letter's headers, and Kafka's default partitioner."""

from dataclasses import dataclass

DAY_MS = 24 * 60 * 60 * 1000
COMMAND_MEMORY_MS = 7 * DAY_MS

# A record of a change holds two manifests, each as large as a command may be (1 MiB): the answer to
# an accepted command always fits.
LARGE_BYTES = 8 * 1024 * 1024
LARGE = ("max.message.bytes", str(LARGE_BYTES))
# What a broker takes of a command unless it is told otherwise (max.message.bytes: 1 MiB and a few
# bytes), less room for a batch's own fields.
COMMAND_BYTES = 1024 * 1024 - 1024

Pairs = tuple[tuple[str, str], ...]

# The broker's clock stamps what clients and agents send: by a producer's, far behind, retention
# would remove a record before anybody has read it; one far ahead would be refused.
STAMPED: Pairs = (("message.timestamp.type", "LogAppendTime"),)
# The broker unpacks what a producer compressed: so its limit of a record's size is one of the true
# size, and readers need no codec.
UNPACKED: Pairs = (("compression.type", "uncompressed"),)


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic's full name, partition count and the configuration it must have."""

    name: str
    partitions: int
    config: Pairs


@dataclass(frozen=True, slots=True)
class Topics:
    """The six topics. ``control`` counts commands, events, state; ``data`` requests, responses."""

    prefix: str = "baton."
    control: int = 4
    data: int = 4

    @property
    def commands(self) -> Topic:
        """Commands, keyed by space."""
        return self._deleted("commands", self.control, 7, UNPACKED)

    @property
    def events(self) -> Topic:
        """Events: kept for ever."""
        config = (
            ("cleanup.policy", "delete"),
            ("retention.ms", "-1"),
            ("retention.bytes", "-1"),
            LARGE,
        )
        return Topic(f"{self.prefix}events", self.control, config)

    @property
    def state(self) -> Topic:
        """The deployment state table."""
        return Topic(f"{self.prefix}state", self.control, (("cleanup.policy", "compact"), LARGE))

    @property
    def requests(self) -> Topic:
        """Scoring requests."""
        return self._deleted("requests", self.data, 7, UNPACKED)

    @property
    def responses(self) -> Topic:
        """Scoring responses, each on its request's partition number; larger than their requests."""
        return self._deleted("responses", self.data, 7, (LARGE,))

    @property
    def dead_letters(self) -> Topic:
        """Records that no answer could be given to, untouched."""
        return self._deleted("dead-letters", 1, 30, (LARGE,))

    def all(self) -> tuple[Topic, ...]:
        """Return every topic."""
        return (
            self.commands,
            self.events,
            self.state,
            self.requests,
            self.responses,
            self.dead_letters,
        )

    def _deleted(self, name: str, partitions: int, days: int, more: Pairs = ()) -> Topic:
        policy = (("cleanup.policy", "delete"), ("retention.ms", str(days * DAY_MS)))
        config = (*policy, *STAMPED, *more)
        return Topic(f"{self.prefix}{name}", partitions, config)


def dead_letter_headers(
    *, topic: str, partition: int, offset: int, at: str, reason: str
) -> list[tuple[str, bytes]]:
    """Return the headers that say where a dead letter came from, when and why."""
    return [
        ("dead-letter-topic", topic.encode()),
        ("dead-letter-partition", str(partition).encode()),
        ("dead-letter-offset", str(offset).encode()),
        ("dead-letter-time", at.encode()),
        ("dead-letter-reason", reason.encode()),
    ]


def murmur2(data: bytes) -> int:
    """Return Kafka's 32-bit murmur2 of ``data`` (org.apache.kafka.common.utils.Utils.murmur2)."""
    m, mask, length = 0x5BD1E995, 0xFFFFFFFF, len(data)
    h = (0x9747B28C ^ length) & mask
    whole = length & ~3
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i : i + 4], "little") * m & mask
        k = (k ^ (k >> 24)) * m & mask
        h = (h * m & mask) ^ k
    if length & 3:
        h = (h ^ int.from_bytes(data[whole:], "little")) * m & mask
    h = (h ^ (h >> 13)) * m & mask
    return h ^ (h >> 15)


def partition_for(key: bytes, partitions: int) -> int:
    """Return the partition that Java's and aiokafka's default partitioner give to ``key``."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions
