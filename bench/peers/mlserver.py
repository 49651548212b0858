"""MLServer with its Kafka server and adaptive batching: requests in the Open Inference Protocol."""

import json
import socket
from collections.abc import Sequence
from pathlib import Path

import orjson

from bench.peers import environments
from transport.settings import Settings

SCRIPT = Path(__file__).parent / "scripts" / "mlserver_start.py"
HOST = "127.0.0.1"
MODEL = "bench"
# Adaptive batching: so many requests go to the model in one call, or what came in so many seconds.
# Its documentation leaves both to experiment: these are the best of those tried.
BATCH = 512
WITHIN_S = 0.01


def versions() -> dict[str, str]:
    """Return the versions of what takes part."""
    return environments.versions("mlserver", "mlserver", "aiokafka", "scikit-learn")


def request(row: Sequence[float]) -> tuple[bytes, list[tuple[str, bytes]]]:
    """Return a request's value and headers: one row in, label and shares out."""
    table = {"name": "rows", "shape": [1, len(row)], "datatype": "FP64", "data": list(row)}
    outputs = [{"name": "predict"}, {"name": "predict_proba"}]
    value = orjson.dumps({"inputs": [table], "outputs": outputs})
    return value, [("mlserver-model", MODEL.encode()), ("deployment-id", MODEL.encode())]


def command(settings: Settings, model: Path, place: Path) -> tuple[list[str], dict[str, str]]:
    """Write MLServer's settings to ``place``; return its command and variables."""
    (place / "settings.json").write_text(json.dumps(_settings(settings)))
    (place / "model-settings.json").write_text(
        json.dumps(
            {
                "name": MODEL,
                "implementation": "mlserver_sklearn.SKLearnModel",
                "max_batch_size": BATCH,
                "max_batch_time": WITHIN_S,
                "parameters": {"uri": str(model.absolute())},
            }
        )
    )
    command = [str(environments.python("mlserver")), str(SCRIPT), "start", str(place)]
    # It hands bare arrays to a model that was fitted with names, and would warn of each.
    return command, {"PYTHONWARNINGS": "ignore:X does not have valid feature names"}


def _settings(settings: Settings) -> dict[str, object]:
    http, grpc, metrics = _free_ports(3)
    return {
        "debug": False,
        "host": HOST,
        "http_port": http,
        "grpc_port": grpc,
        "metrics_port": metrics,
        # A line for each request otherwise.
        "logging_settings": {
            "version": 1,
            "disable_existing_loggers": False,
            "loggers": {"mlserver": {"level": "WARNING"}},
        },
        "kafka_enabled": True,
        "kafka_servers": settings.bootstrap_servers,
        "kafka_topic_input": settings.topics.requests.name,
        "kafka_topic_output": settings.topics.responses.name,
    }


def _free_ports(count: int) -> list[int]:
    probes = [socket.create_server((HOST, 0)) for _ in range(count)]
    try:
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()
