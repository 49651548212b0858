"""Commands as they lie in their topic: each creates a space, or is refused."""

import json
from collections.abc import Iterator

from schemas.cloudevents import CloudEvent, encode
from schemas.topics import partition_for
from transport.settings import Settings
from transport.transactions import Write


def commands(settings: Settings, count: int, *, refused_every: int = 0) -> Iterator[Write]:
    """Yield commands that create spaces; every so many are about one that nobody made (0: none)."""
    topic = settings.topics.commands
    for number in range(count):
        space = f"space-{number}"
        name, body = "create-space", {"space_id": space, "name": space}
        if refused_every and number % refused_every == 0:
            name, body = "delete-deployment", {"space_id": space, "deployment_id": "none"}
        attributes = {
            "specversion": "1.0",
            "id": f"c{number}",
            "source": "/bench",
            "type": f"baton.command.{name}.v1",
            "actor": "bench",
        }
        headers, _ = encode(CloudEvent(attributes))
        key = space.encode()
        where = partition_for(key, topic.partitions)
        yield Write(topic.name, where, key, json.dumps(body).encode(), headers)
