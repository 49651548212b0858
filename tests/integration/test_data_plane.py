"""Scoring requests on the real broker: one answer each, always of the current asset."""

import asyncio
import json
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from aiokafka import AIOKafkaProducer

from client import ScoreRequest, ScoringError
from tests.support import eventually, read_all
from tests.unit.models import CASES, MIXED, fitted

pytestmark = pytest.mark.broker


async def ask_raw(stack, value, headers=(), *, partition=1, key=b"k"):
    """Send a request as a stranger's program does; its raw answer."""
    settings = stack.settings
    async with AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers) as producer:
        sent = await producer.send_and_wait(
            settings.topics.requests.name, value, key=key, partition=partition, headers=headers
        )
    place = {"partition": partition, "offset": sent.offset}
    found = []

    async def answered():
        for record in await read_all(settings, settings.topics.responses):
            body = json.loads(record.value)
            if (body.get("request") or body["parameters"]["request"]) == place:
                found.append((record, body))
        return bool(found)

    await eventually(answered, f"an answer to {place}")
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize("case", sorted(CASES))
async def test_every_kind_of_model_answers_as_scikit_learn_does(stack, case):
    estimator, sample = fitted(case)
    _, deployment, (asset,) = await stack.deployed(case)
    frame = hasattr(sample, "columns")
    rows = sample.to_numpy().tolist() if frame else sample.tolist()
    fields = list(sample.columns) if frame else None
    answer = await stack.scoring.score(deployment, rows, fields=fields)
    assert (answer.asset_id, answer.revision, len(answer.values)) == (asset, 1, len(rows))
    predicted = [row[0] for row in answer.values]
    assert predicted == estimator.predict(sample).tolist()
    if hasattr(estimator, "predict_proba"):
        assert answer.predictions[0]["fields"] == ["prediction", "probability"]
        shares = [row[1] for row in answer.values]
        assert np.allclose(shares, estimator.predict_proba(sample))
    else:
        assert answer.predictions[0]["fields"] == ["prediction"]


async def test_wml_with_headers_is_answered_on_its_partition_and_key(stack):
    _, deployment, (asset,) = await stack.deployed("binary")
    headers = [("deployment-id", deployment.encode()), ("request-id", b"r-1")]
    value = b'{"input_data": [{"fields": ["x2", "x0", "x1"], "values": [[0, 1.5, 0]]}]}'
    record, body = await ask_raw(stack, value, headers, partition=1, key=b"customer-7")
    assert (record.partition, record.key) == (1, b"customer-7")
    assert dict(record.headers) == {
        "request-id": b"r-1",
        "deployment-id": deployment.encode(),
        "asset-id": asset.encode(),
        "revision": b"1",
        "status": b"ok",
    }
    assert (body["id"], body["deployment_id"], body["asset_id"]) == ("r-1", deployment, asset)
    (table,) = body["predictions"]
    (share,) = fitted("binary")[0].predict_proba([[1.5, 0, 0]]).tolist()
    assert table["fields"] == ["prediction", "probability"]
    assert table["values"][0][0] == 1
    assert np.allclose(table["values"][0][1], share)


async def test_wml_with_ids_in_the_body_and_several_tables(stack):
    _, deployment, _ = await stack.deployed("binary")
    entry = {"values": [[1, 2, 3], [4, 5, 6]]}
    body = {"id": "b-1", "deployment_id": deployment, "input_data": [entry, entry]}
    _, answer = await ask_raw(stack, json.dumps(body).encode())
    assert answer["id"] == "b-1"
    assert [len(table["values"]) for table in answer["predictions"]] == [2, 2]


async def test_open_inference_protocol(stack):
    _, deployment, (asset,) = await stack.deployed("mixed")
    columns = [
        {"name": "age", "shape": [2], "datatype": "FP64", "data": [30, None]},
        {"name": "city", "shape": [2], "datatype": "BYTES", "data": ["Rome", None]},
        {"name": "visits", "shape": [2, 1], "datatype": "INT64", "data": [[1], [2]]},
        {"name": "member", "shape": [2], "datatype": "BOOL", "data": [True, False]},
        {"name": "not_read", "shape": [2], "datatype": "BOOL", "data": [True, False]},
    ]
    body = {"id": "v-2", "inputs": columns, "parameters": {"deployment_id": deployment}}
    record, answer = await ask_raw(stack, json.dumps(body).encode(), partition=0)
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("v-2", deployment, "1")
    assert answer["parameters"]["asset_id"] == asset
    assert answer["parameters"]["request"]["partition"] == 0
    prediction, probability = answer["outputs"]
    expected = fitted("mixed")[0].predict(MIXED.iloc[:2].assign(city=["Rome", None]))
    assert (prediction["datatype"], prediction["shape"]) == ("BYTES", [2])
    assert prediction["data"] == expected.tolist()
    assert (probability["datatype"], probability["shape"]) == ("FP64", [2, 2])
    assert record.partition == 0


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"values": []}, "invalid_request", "input_data[0].values"),
        ({"values": [[1.0, 2.0]]}, "schema_mismatch", None),
        ({"values": [[1.0]], "fields": ["x0"]}, "schema_mismatch", "x1"),
        ({"values": [["one", 2.0, 3.0]]}, "schema_mismatch", "x0"),
        ({"values": [[None, 2.0, 3.0]]}, "schema_mismatch", "x0"),
        ({"deadline": datetime.now(UTC) - timedelta(seconds=1)}, "deadline_exceeded", "deadline"),
        ({"min_revision": 2}, "revision_timeout", "min_revision"),
        ({"deployment_id": "never-made"}, "deployment_not_found", "deployment_id"),
    ],
)
async def test_a_wrong_request_is_told_what_is_wrong_and_fails_alone(stack, change, code, field):
    _, deployment, _ = await stack.deployed("binary")
    good = {"deployment_id": deployment, "values": [[1.0, 2.0, 3.0]]}
    # In the same batch, before and behind the wrong one.
    answers = await asyncio.gather(
        *(stack.scoring.ask(ScoreRequest(**body)) for body in (good, good | change, good)),
        return_exceptions=True,
    )
    wrong = answers.pop(1)
    assert isinstance(wrong, ScoringError)
    assert (wrong.reason, wrong.field) == (code, field), wrong.message
    assert [answer.revision for answer in answers] == [1, 1]


async def test_a_request_that_is_no_json_is_answered_where_its_header_says_who_asks(stack):
    record, body = await ask_raw(stack, b"\xff", [("request-id", b"r-9")])
    assert dict(record.headers)["status"] == b"error"
    assert (body["id"], body["error"]["code"]) == ("r-9", "invalid_request")


async def test_what_nobody_can_be_told_of_goes_to_the_dead_letters(stack):
    settings = stack.settings
    value = uuid.uuid4().bytes + b"\xff"
    async with AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers) as producer:
        await producer.send_and_wait(settings.topics.requests.name, value, partition=0)
    found = []

    async def dead():
        letters = await read_all(settings, settings.topics.dead_letters)
        found[:] = [letter for letter in letters if letter.value == value]
        return bool(found)

    await eventually(dead, "the dead letter")
    (letter,) = found
    assert dict(letter.headers)["dead-letter-topic"].decode() == settings.topics.requests.name


async def test_a_model_that_fails_on_some_rows_fails_for_these_alone(stack):
    _, deployment, _ = await stack.deployed("binary")
    # Finite, but the model's answer to it is not.
    requests = [ScoreRequest(deployment, [[x, 0.0, 0.0]]) for x in (1.0, 1.7e308, -1.0)]
    answers = [answer async for answer in stack.scoring.stream(requests)]
    good = [answer for answer in answers if not isinstance(answer, ScoringError)]
    assert len(answers) == 3
    assert len(good) >= 2


async def test_no_answer_is_older_than_what_was_announced(stack):
    space, deployment, assets = await stack.deployed("binary", "binary")
    for turn in range(8):
        done = await stack.baton.replace_asset(space, deployment, assets[(turn + 1) % 2])
        answers = await asyncio.gather(
            *(stack.scoring.score(deployment, [[1.0, 0.0, 0.0]]) for _ in range(4))
        )
        assert {answer.revision for answer in answers} == {done.revision}
        assert {answer.asset_id for answer in answers} == {assets[(turn + 1) % 2]}


async def test_a_deleted_and_a_failed_deployment_say_so(stack):
    space, deployment, _ = await stack.deployed("binary")
    await stack.baton.delete_deployment(space, deployment)
    with pytest.raises(ScoringError, match="deployment_deleted"):
        await stack.scoring.score(deployment, [[1.0, 0.0, 0.0]])


async def test_a_deployment_whose_file_is_gone_says_so_and_recovers(stack):
    await stack.baton.create_space(space := f"gone-{time.time_ns()}")
    # A file of its own: no cache holds it.
    manifest = stack.manifest("binary", C=0.123)
    asset = (await stack.baton.promote_asset(space, manifest)).asset_id
    deployment = (await stack.baton.create_deployment(space, asset, "d")).deployment_id
    path = Path(manifest.uri)
    content = path.read_bytes()
    path.unlink()
    with pytest.raises(ScoringError, match="asset_unavailable"):
        await stack.scoring.score(deployment, [[1.0, 0.0, 0.0]])
    path.write_bytes(content)

    async def recovered():
        try:
            return (await stack.scoring.score(deployment, [[1.0, 0.0, 0.0]])).revision == 1
        except ScoringError:
            return False

    await eventually(recovered, "the file is read again")


async def test_many_rows_in_one_request(stack):
    _, deployment, _ = await stack.deployed("binary")
    rows = np.random.default_rng(3).normal(size=(5000, 3)).tolist()
    answer = await stack.scoring.score(deployment, rows)
    assert [row[0] for row in answer.values] == fitted("binary")[0].predict(rows).tolist()


async def test_a_stream_gives_each_answer_once(stack):
    _, deployment, _ = await stack.deployed("binary")
    requests = (
        ScoreRequest(deployment, [[float(n), 0, 0]], request_id=f"s{n}") for n in range(3000)
    )
    answers = [answer.request_id async for answer in stack.scoring.stream(requests)]
    assert sorted(answers) == sorted(f"s{n}" for n in range(3000))
    assert stack.scoring.repeated == 0


async def test_thirty_thousand_requests_asked_at_once_are_all_answered(stack):
    """Whoever asks faster than is answered waits in line: the client must not choke on the line."""
    _, deployment, _ = await stack.deployed("binary")
    fields = [f"x{n}" for n in range(3)]
    answers = await asyncio.gather(
        *(stack.scoring.score(deployment, [[1.0, 0.0, 0.0]], fields=fields) for _ in range(30_000))
    )
    assert len({answer.request_id for answer in answers}) == 30_000
