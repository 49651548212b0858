"""Start MLServer so that it answers the requests that wait already.

It reads from the topic's end and has no setting for it: here it begins at the beginning.
"""

from functools import partial

import mlserver.kafka.server as kafka
from mlserver.cli import main

if __name__ == "__main__":
    kafka.AIOKafkaConsumer = partial(kafka.AIOKafkaConsumer, auto_offset_reset="earliest")
    kafka.AIOKafkaProducer = partial(kafka.AIOKafkaProducer, acks="all")
    main()
