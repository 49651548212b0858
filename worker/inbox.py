"""Commands as they come: one record of the commands topic, and where it belongs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from schemas.cloudevents import CloudEvent
from schemas.ids import is_id
from schemas.topics import partition_for

# In place of a value: the command is too large to be queued, and its owner reads it from the log.
UNREAD = b"\0unread"


@dataclass(frozen=True, slots=True)
class CommandMessage:
    """One record of the commands topic. ``timestamp_ms`` is the broker's clock."""

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = field(default=())

    @property
    def unread(self) -> bool:
        """Whether only the place of the command is here."""
        # That very object: a command may hold the same bytes.
        return self.value is UNREAD


def home_partition(event: CloudEvent, message: CommandMessage, partitions: int) -> int:
    """Return the partition whose owner decides this command: murmur2 of its space.

    A command that names no space, or one that cannot exist, has no home but where it is.
    """
    space = space_of(event.data)
    if space is None or not is_id(space):
        return message.partition
    return partition_for(space.encode(), partitions)


def space_of(data: Any) -> str | None:  # noqa: ANN401 - anything a JSON body can be
    """Return the space that a command's data names, or None."""
    space = data.get("space_id") if isinstance(data, dict) else None
    return space if isinstance(space, str) else None
