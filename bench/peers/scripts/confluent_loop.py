"""A batched loop of confluent-kafka, exactly once, as an expert writes it by hand."""

import os
import warnings
from collections.abc import Iterator

import joblib
import numpy as np
import orjson
from confluent_kafka import Consumer, KafkaException, Message, Producer

BATCH = 8000
# A batch that is not full after so long is taken as it is.
WAIT_S = 0.05

# Each batch goes to the model as one bare array: a frame of it would only cost time.
warnings.filterwarnings("ignore", message="X does not have valid feature names")

estimator = joblib.load(os.environ["PEER_MODEL"])
servers, group = os.environ["PEER_SERVERS"], os.environ["PEER_GROUP"]
responses = os.environ["PEER_RESPONSES"]
consumer = Consumer(
    {
        "bootstrap.servers": servers,
        "group.id": group,
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "isolation.level": "read_committed",
    }
)
producer = Producer(
    {
        "bootstrap.servers": servers,
        "transactional.id": f"{group}-0",
        "acks": "all",
        "linger.ms": 5,
        "batch.size": 900_000,
    }
)


def answers(messages: list[Message]) -> Iterator[bytes]:
    """Return the encoded answers to messages of one row each, predicted in one call."""
    rows = [orjson.loads(m.value())["input_data"][0]["values"][0] for m in messages]
    shares = estimator.predict_proba(np.asarray(rows))
    labels = estimator.classes_[shares.argmax(axis=1)]
    fields = ["prediction", "probability"]
    for label, share in zip(labels.tolist(), shares.tolist(), strict=True):
        yield orjson.dumps({"predictions": [{"fields": fields, "values": [[label, share]]}]})


def commit(messages: list[Message]) -> None:
    """Answer messages and commit their offsets in one transaction."""
    producer.begin_transaction()
    for message, answer in zip(messages, answers(messages), strict=True):
        producer.produce(
            responses, answer, partition=message.partition(), headers=message.headers()
        )
    producer.send_offsets_to_transaction(
        consumer.position(consumer.assignment()), consumer.consumer_group_metadata()
    )
    producer.commit_transaction()


producer.init_transactions()
consumer.subscribe([os.environ["PEER_REQUESTS"]])
while True:
    messages = consumer.consume(BATCH, WAIT_S)
    if broken := [m.error() for m in messages if m.error()]:
        raise KafkaException(broken[0])
    if messages:
        # What fails ends the process: its successor goes on from the committed offsets.
        commit(messages)
