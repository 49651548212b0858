"""A Faust agent: takes what has come, predicts it in one call, sends an answer each."""

import os
import warnings
from pathlib import Path
from typing import Any

import faust
import joblib
import numpy as np
import orjson

warnings.filterwarnings("ignore", message="X does not have valid feature names")

BATCH = 1000
WITHIN_S = 0.01

estimator = joblib.load(os.environ["PEER_MODEL"])
app = faust.App(
    os.environ["PEER_GROUP"],
    broker=f"kafka://{os.environ['PEER_SERVERS']}",
    datadir=Path.cwd(),
    consumer_auto_offset_reset="earliest",
    producer_acks=-1,
    topic_disable_leader=True,
    web_enabled=False,
)
requests = app.topic(os.environ["PEER_REQUESTS"], value_serializer="raw", key_serializer="raw")
responses = app.topic(os.environ["PEER_RESPONSES"], value_serializer="raw", key_serializer="raw")


@app.agent(requests)
async def score(stream: faust.StreamT[Any]) -> None:
    """Answer requests of one row each."""
    async for events in stream.take_events(BATCH, within=WITHIN_S):
        rows = [orjson.loads(e.value)["input_data"][0]["values"][0] for e in events]
        shares = estimator.predict_proba(np.asarray(rows))
        labels = estimator.classes_[shares.argmax(axis=1)]
        fields = ["prediction", "probability"]
        for event, label, share in zip(events, labels.tolist(), shares.tolist(), strict=True):
            table = {"fields": fields, "values": [[label, share]]}
            await responses.send(
                value=orjson.dumps({"predictions": [table]}),
                partition=event.message.partition,
                headers=event.headers,
            )


if __name__ == "__main__":
    app.main()
