"""``python -m tests.chaos.impostor worker|scoring PARTITION``: takes an owner's ids and dies.

It starts a transactional producer with the id that the partition's owner uses (an agent's stands in
the metadata of the committed offset), writes what the
owner might write, and kills itself before the commit. The owner is fenced; nobody may ever see what
was written.
"""

import asyncio
import json
import os
import signal
import sys

from aiokafka import AIOKafkaProducer

from tests.chaos.log import committed_places
from transport.settings import Settings

FORGED = [
    ("ce_specversion", b"1.0"),
    ("ce_id", b"forged"),
    ("ce_source", b"/baton/worker"),
    ("ce_type", b"baton.event.space-created.v1"),
    ("ce_subject", b"space/forged"),
    ("ce_causationid", b"forged"),
    ("ce_causationsource", b"/impostor"),
    ("ce_sequence", b"00000000000000000001"),
    ("content-type", b"application/json"),
]


async def main(module: str, partition: int) -> None:
    """Write half of a transaction and die."""
    settings = Settings.from_env(os.environ)
    topics = settings.topics
    space: dict[str, object] = {"space_id": "forged", "name": "forged"}
    forged = [(topics.events, b"forged", space), (topics.state, b"space/forged", space)]
    identity = f"{settings.app}-{topics.commands.name}-{partition}"
    if module == "scoring":
        group = f"{settings.app}-scoring"
        places = await committed_places(settings, group)
        # Where no agent has taken the partition yet there is nobody to be.
        held = partition in places and places[partition].holder
        identity = f"{group}-{held or 'nobody'}"
        place = {"partition": partition, "offset": 0}
        answer: dict[str, object] = {
            "id": "forged",
            "deployment_id": "forged",
            "revision": 1,
            "request": place,
        }
        forged = [(topics.responses, b"forged", answer)]
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.bootstrap_servers,
        transactional_id=identity,
        transaction_timeout_ms=10_000,
    )
    await producer.start()
    await producer.begin_transaction()
    for topic, key, body in forged:
        value = json.dumps(body).encode()
        await producer.send_and_wait(topic.name, value, key, partition, headers=FORGED)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
