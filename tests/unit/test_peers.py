import json
import re

import pytest

from bench import models
from bench.peers import OWN_ENVIRONMENT, PEERS, environments, kstreams, request

NAMES = ["ceiling", "confluent", "kstreams", "kstreams-10ms", "faust", "quix", "mlserver"]


def test_the_peers_are_those_that_baton_is_compared_with():
    assert list(PEERS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_peer_says_what_it_is_and_what_it_lacks(name):
    peer = PEERS[name]
    assert peer.name == name
    assert peer.title
    assert peer.lacks
    assert peer.guarantee in {"exactly once", "at least once", "at most once"}


@pytest.mark.parametrize("name", NAMES)
def test_every_peer_is_asked_for_the_same_numbers(name):
    value, headers = request(name, ["a", "b"], [0.25, 3.0])
    body = json.loads(value)
    if name == "mlserver":
        assert body["inputs"][0]["data"] == [0.25, 3.0]
    else:
        assert body == {"input_data": [{"fields": ["a", "b"], "values": [[0.25, 3.0]]}]}
    assert "deployment-id" in dict(headers)


@pytest.mark.parametrize("lock", sorted(set(OWN_ENVIRONMENT.values())))
def test_every_environment_is_pinned_by_digest_and_names_no_index(lock):
    text = (environments.HERE / f"{lock}.lock").read_text()
    pins = re.findall(r"^\S+==\S+.*$", text, re.MULTILINE)
    assert pins
    assert all(pin.endswith("\\") for pin in pins)
    assert "://" not in text


def test_the_jars_of_kafka_streams_are_known_by_digest():
    assert re.search(
        r"^[0-9a-f]{64}  kafka-streams-", kstreams.STREAMS.digests.read_text(), re.MULTILINE
    )


def test_a_saved_model_is_the_same_each_time(tmp_path):
    first = models.save("logistic", tmp_path).read_bytes()
    assert models.save("logistic", tmp_path).read_bytes() == first
