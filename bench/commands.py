"""Commands applied a second by one worker: decided, logged and remembered, exactly once."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace

from bench.rig import ends, fill, peer, rate, report, rig, service
from schemas.cloudevents import CloudEvent, encode
from schemas.topics import partition_for
from transport.admin import ensure_topics
from transport.settings import Settings
from transport.transactions import Write

COMMANDS = 30_000
# A transaction each: fewer are enough to see how slow.
PLAIN_COMMANDS = 1_500


def main() -> None:
    """Measure and print."""
    with rig() as (settings, folder):
        with service("worker", settings, folder):
            ours = asyncio.run(applied(settings, COMMANDS))
        other = replace(settings, topic_prefix="plain.", app="plain")
        asyncio.run(ensure_topics(other.bootstrap_servers, other.topics))
        with peer("one-by-one", other):
            theirs = asyncio.run(applied(other, PLAIN_COMMANDS))
    rows = [
        ("Baton, one worker", COMMANDS, ours),
        ("a transaction each, no rules", PLAIN_COMMANDS, theirs),
    ]
    report("Commands: create-space, 4 partitions, exactly once", rows)


async def applied(settings: Settings, count: int) -> float:
    """Events a second that follow from ``count`` commands."""
    events = settings.topics.events
    source = await ends(settings, events)
    await fill(settings, commands(settings, count))
    return await rate(settings, events, count, source)


def commands(settings: Settings, count: int) -> Iterator[Write]:
    """Yield commands that create spaces."""
    topic = settings.topics.commands
    for number in range(count):
        space = f"space-{number}"
        attributes = {
            "specversion": "1.0",
            "id": f"c{number}",
            "source": "/bench",
            "type": "baton.command.create-space.v1",
            "actor": "bench",
        }
        headers, _ = encode(CloudEvent(attributes))
        value = json.dumps({"space_id": space, "name": space}).encode()
        key = space.encode()
        yield Write(topic.name, partition_for(key, topic.partitions), key, value, headers)


if __name__ == "__main__":
    main()
