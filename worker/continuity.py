"""Whether the topics of a partition still belong together when an owner takes it over."""

from aiokafka import TopicPartition

from schemas.errors import TopicError
from schemas.records import CursorRecord
from schemas.topics import Topics
from transport.consumer import Consumer
from transport.ends import Ends
from transport.reading import has_records
from transport.watch import RECOVER


async def check_continuity(
    bootstrap_servers: str, topics: Topics, partition: int, cursor: CursorRecord
) -> None:
    """Raise TopicError where commands, events or state lack what another of them tells of.

    A topic that was deleted is created again, empty, by whoever starts next. Then new commands
    would lie below the cursor and be skipped, or old ones be applied a second time.
    """
    commands = TopicPartition(topics.commands.name, partition)
    events = TopicPartition(topics.events.name, partition)
    # Uncommitted: a transaction's markers may reach the state before the events.
    consumer = Consumer(bootstrap_servers=bootstrap_servers, enable_auto_commit=False)
    await consumer.start()
    try:
        ends = await Ends(consumer, [commands, events]).now()
    finally:
        await consumer.stop()
    if cursor.offset >= ends[commands]:
        raise TopicError(
            f"topic {commands.topic} partition {partition} ends at offset {ends[commands]}, but "
            f"{topics.state.name} remembers the command at offset {cursor.offset}: the commands "
            f"were deleted, and new ones up to there would be skipped. {RECOVER}"
        )
    # Each event takes an offset, and each transaction one more.
    if cursor.sequence > ends[events]:
        raise TopicError(
            f"topic {events.topic} partition {partition} ends at offset {ends[events]}, but "
            f"{topics.state.name} remembers {cursor.sequence} events: the audit log was deleted. "
            f"{RECOVER}"
        )
    if cursor.sequence == 0 and await has_records(bootstrap_servers, events):
        raise TopicError(
            f"topic {events.topic} partition {partition} has events, but {topics.state.name} "
            "remembers none: the state was deleted, and every command would be applied again. "
            f"{RECOVER}"
        )
