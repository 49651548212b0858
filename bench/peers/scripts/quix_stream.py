"""A Quix Streams application: a record at a time, decoded by it, predicted, and produced by it."""

import os
import warnings
from typing import Any

import joblib
import numpy as np
from quixstreams import Application

warnings.filterwarnings("ignore", message="X does not have valid feature names")

estimator = joblib.load(os.environ["PEER_MODEL"])
app = Application(
    broker_address=os.environ["PEER_SERVERS"],
    consumer_group=os.environ["PEER_GROUP"],
    auto_offset_reset="earliest",
    auto_create_topics=False,
    loglevel="WARNING",
    producer_extra_config={"acks": "all"},
)
requests = app.topic(os.environ["PEER_REQUESTS"], value_deserializer="json")
responses = app.topic(os.environ["PEER_RESPONSES"], value_serializer="json")


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Return the answer to a request of one row."""
    shares = estimator.predict_proba(np.asarray(request["input_data"][0]["values"]))
    row = [estimator.classes_[shares[0].argmax()].item(), shares[0].tolist()]
    return {"predictions": [{"fields": ["prediction", "probability"], "values": [row]}]}


stream = app.dataframe(requests)
stream = stream.apply(answer)
stream = stream.to_topic(responses)
app.run()
