"""The console as a process: commands, scoring and events over HTTP, on the real broker."""

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncIterator, Iterator

import httpx
import numpy as np
import pytest
import schemathesis
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from artifacts.store import Store
from console import feed as feeds
from console.commands import SOURCE
from console.cursor import Cursor
from console.feed import Feed
from tests.support import DEADLINE_S, Process, eventually, new_settings, read_all

pytestmark = pytest.mark.broker

ROWS = {"input_data": [{"fields": ["x0", "x1", "x2"], "values": [[0.1, 0.2, 0.3]]}]}
WAIT = {"Prefer": "wait=60"}


@pytest.fixture(scope="module")
def console(stack, tmp_path_factory) -> Iterator[str]:
    """A console beside the stack's worker and agent; its address."""
    folder = tmp_path_factory.mktemp("console")
    process = Process("console", stack.settings, folder, BATON_CONSOLE_PORT="0")
    try:
        yield process.ready().ready_file.read_text()
        assert process.stop() == 0, process.tail()
    finally:
        process.kill()


@pytest.fixture
async def http(console) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=console, timeout=DEADLINE_S) as client:
        yield client


@contextlib.asynccontextmanager
async def another(start, settings, **env):
    """A console of its own, started for the block, and a client of it."""
    process = start("console", settings, BATON_CONSOLE_PORT="0", **env).ready()
    url = process.ready_file.read_text()
    async with httpx.AsyncClient(base_url=url, timeout=DEADLINE_S) as client:
        yield client
    assert process.stop() == 0, process.tail()


async def sent_with(settings, request_id):
    """How many requests of this id are in the log."""
    records = await read_all(settings, settings.topics.requests)
    return sum(
        (b"request-id", request_id.encode()) == (n.encode(), v)
        for r in records
        for n, v in r.headers
    )


def predict(client, deployment, *, body=ROWS, **headers):
    headers = {name.replace("_", "-"): text for name, text in headers.items()}
    url = f"/ml/v4/deployments/{deployment}/predictions"
    return client.post(url, params={"version": "2021-05-01"}, json=body, headers=headers)


async def test_a_person_s_way_from_a_file_to_a_replaced_model(http, stack):
    space = f"s{uuid.uuid4().hex[:6]}"
    made = await http.post("/api/spaces", json={"space_id": space}, headers=WAIT)
    assert (made.status_code, made.json()["status"]) == (200, "done")
    manifest = stack.manifest("binary").model_dump(mode="json", exclude_none=True)
    content = Store(stack.settings.store).read(manifest["uri"], manifest["sha256"])
    octets = {"Content-Type": "application/octet-stream"}
    stored = await http.post("/api/files", content=content, headers=octets)
    assert stored.status_code == 201
    assert stored.json() == {key: manifest[key] for key in ("uri", "sha256", "size")}
    for asset in ("one", "two"):
        body = {"asset_id": f"{space}-{asset}", "manifest": manifest | stored.json()}
        promoted = await http.post(f"/api/spaces/{space}/assets", json=body, headers=WAIT)
        assert promoted.status_code == 200, promoted.text
    body = {"asset_id": f"{space}-one", "name": "d"}
    # Without waiting: its place, where it is found once it has ended.
    url = f"/api/spaces/{space}/deployments"
    sent = await http.post(url, json=body, headers={"Baton-Actor": "ana@clinic"})
    assert (sent.status_code, sent.json()["status"]) == (202, "pending")
    created = await ended(http, sent.headers["location"])
    deployment = created["deployment_id"]
    assert created["event"]["data"]["actor"] == "ana@clinic"
    shown = await http.get(f"/api/deployments/{deployment}")
    assert (shown.headers["etag"], shown.json()["status"]) == ('"1"', "deployed")
    first = await predict(http, deployment)
    assert first.status_code == 200, first.text
    assert first.headers["baton-asset-id"] == f"{space}-one"
    assert (first.headers["baton-revision"], first.json()["revision"]) == ("1", 1)
    assert len(first.json()["predictions"][0]["values"]) == 1

    url = f"/api/deployments/{deployment}/replace"
    body = {"asset_id": f"{space}-two", "reason": "accuracy"}
    only = WAIT | {"If-Match": '"1"'}
    replaced = await http.post(url, json=body, headers=only)
    assert (replaced.status_code, replaced.headers["baton-revision"]) == (200, "2")
    # Whoever has been told of revision 2 asks for no less.
    assert f"{deployment}:2" in http.cookies["baton_seen"].strip('"')
    assert (await predict(http, deployment)).json()["revision"] == 2
    stale = await http.post(url, json=body | {"asset_id": f"{space}-one"}, headers=only)
    assert (stale.status_code, stale.json()["code"]) == (412, "revision_conflict")
    same = await http.post(url, json=body, headers=WAIT)
    assert (same.status_code, same.json()["code"]) == (409, "same_asset")

    url = f"/api/deployments/{deployment}/rollback"
    back = await http.post(url, json={}, headers=WAIT)
    assert (back.json()["revision"], back.json()["asset_id"]) == (3, f"{space}-one")
    gone = await http.delete(f"/api/deployments/{deployment}", headers=WAIT)
    assert gone.status_code == 200
    after = await predict(http, deployment)
    assert (after.status_code, after.json()["code"]) == (410, "deployment_deleted")
    # All of it is in the audit log.
    log = await http.get("/api/events", params={"after": "start", "space_id": space, "limit": 100})
    names = [event["event"] for event in log.json()["items"]]
    assert names.count("deployment-updated") == names.count("deployment-rolled-back") == 1
    assert {event["causationsource"] for event in log.json()["items"]} == {SOURCE}


async def ended(http, location):
    """What becomes of a command."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            found = await http.get(location)
            assert found.status_code == 200, found.text
            if found.json()["status"] not in {"pending", "running"}:
                return found.json()
            await asyncio.sleep(0.05)


async def test_a_refusal_says_which_fields_do_not_fit(http, stack):
    space, deployment, (_, other) = await stack.deployed("binary", "mixed")
    body = {"asset_id": other, "dry_run": True}
    url = f"/api/deployments/{deployment}/replace"
    refused = await http.post(url, json=body, headers=WAIT)
    assert (refused.status_code, refused.json()["code"]) == (422, "schema_mismatch")
    assert refused.headers["content-type"] == "application/problem+json"
    failed = [check["name"] for check in refused.json()["checks"] if not check["passed"]]
    assert "input_schema:age" in failed
    found = await http.get("/api/deployments", params={"space_id": space})
    assert [item["revision"] for item in found.json()["items"]] == [1]
    assets = await http.get(f"/api/spaces/{space}/assets")
    used = {item["asset_id"]: item["used_by"] for item in assets.json()["items"]}
    assert used[other] == []
    assert [deployment] in used.values()


async def test_a_command_sent_twice_is_applied_once_and_found_by_another_console(
    http, stack, start
):
    space, key = f"s{uuid.uuid4().hex[:6]}", uuid.uuid4().hex
    headers = WAIT | {"Idempotency-Key": key}
    both = [http.post("/api/spaces", json={"space_id": space}, headers=headers) for _ in range(2)]
    first, second = await asyncio.gather(*both)
    assert first.json() == second.json()
    async with another(start, stack.settings) as client:
        again = await client.post("/api/spaces", json={"space_id": space}, headers=headers)
        assert again.json() == first.json()
        assert (await client.get(f"/api/commands/{key}")).json() == first.json()
        other = {"space_id": f"{space}-other"}
        reused = await client.post("/api/spaces", json=other, headers=headers)
        assert (reused.status_code, reused.json()["code"]) == (409, "command_id_reused")
        unknown = await client.get(f"/api/commands/{uuid.uuid4()}")
        assert (unknown.status_code, unknown.json()["code"]) == (404, "command_not_found")
    log = await http.get("/api/events", params={"command_id": key})
    assert [event["event"] for event in log.json()["items"]] == ["space-created"]


async def test_the_same_request_id_is_scored_once(http, stack, start):
    _, deployment, _ = await stack.deployed("binary")
    key = uuid.uuid4().hex
    # Nobody waits for it: it is on its way all the same.
    late = await predict(http, deployment, Idempotency_Key=key, Prefer="wait=0")
    assert (late.status_code, late.json()["code"]) == (504, "answer_timeout")
    assert late.json()["request_id"] == key
    asked = await asyncio.gather(
        *(predict(http, deployment, Idempotency_Key=key) for _ in range(5))
    )
    assert {answer.status_code for answer in asked} == {200}
    assert len({answer.content for answer in asked}) == 1
    other = {"input_data": [{"values": [[9, 9, 9]]}]}
    reused = await predict(http, deployment, body=other, Idempotency_Key=key)
    assert (reused.status_code, reused.json()["code"]) == (409, "request_id_reused")
    # Another console, and one that has been started again, knows it from Kafka.
    async with another(start, stack.settings) as client:
        again = await predict(client, deployment, Idempotency_Key=key)
        assert again.content == asked[0].content
    assert await sent_with(stack.settings, key) == 1


async def test_errors_are_told_in_the_words_of_each_protocol(http, stack):
    _, deployment, _ = await stack.deployed("binary")
    missing = await predict(
        http, deployment, body={"input_data": [{"fields": ["x0"], "values": [[1]]}]}
    )
    problem = missing.json()
    assert (missing.status_code, problem["code"], problem["field"]) == (
        422,
        "schema_mismatch",
        "x1",
    )
    assert problem["errors"] == [{"code": problem["code"], "message": problem["detail"]}]
    assert missing.headers["baton-request-id"] == problem["request_id"] == problem["trace"]
    nonsense = await http.post(f"/v2/models/{deployment}/infer", content=b"\xff")
    assert (nonsense.status_code, nonsense.json()["code"]) == (400, "invalid_request")
    assert nonsense.json()["error"].startswith("invalid_request: ")
    unknown = await predict(http, "nothing")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "deployment_not_found")
    later = await predict(http, deployment, Baton_Min_Revision="99")
    assert (later.status_code, later.json()["code"]) == (503, "revision_timeout")
    assert later.headers["retry-after"]
    late = await predict(http, deployment, Baton_Deadline="1")
    assert (late.status_code, late.json()["code"]) == (504, "deadline_exceeded")


async def test_a_client_nobody_here_wrote_infers(console, stack):
    _, deployment, _ = await stack.deployed("binary")
    await asyncio.to_thread(infer, console, deployment)


def infer(console, deployment):
    with contextlib.closing(InferenceServerClient(console.removeprefix("http://"))) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready(deployment)
        assert not client.is_model_ready("nothing")
        assert client.get_server_metadata()["name"] == "baton"
        metadata = client.get_model_metadata(deployment)
        assert [tensor["name"] for tensor in metadata["inputs"]] == ["x0", "x1", "x2"]
        answers = []
        # Binary tensors are what it sends by default.
        for binary in (True, False):
            inputs = []
            for tensor in metadata["inputs"]:
                entry = InferInput(tensor["name"], [2], tensor["datatype"])
                entry.set_data_from_numpy(np.array([0.1, 0.9]), binary_data=binary)
                inputs.append(entry)
            outputs = [InferRequestedOutput("prediction", binary_data=binary)]
            result = client.infer(deployment, inputs, outputs=outputs, request_id="mine")
            assert result.get_response()["id"] == "mine"
            assert result.get_response()["model_version"] == "1"
            answers.append(result.as_numpy("prediction").tolist())
        assert answers[0] == answers[1]
        assert client.infer(deployment, inputs).as_numpy("probability").shape == (2, 2)
        with pytest.raises(InferenceServerException, match="deployment_not_found"):
            client.infer("nothing", inputs)


async def test_more_than_may_wait_are_told_to_come_again(bootstrap_servers, tmp_path, start):
    # Nobody answers here.
    alone = new_settings(bootstrap_servers, tmp_path)
    async with another(start, alone, BATON_CONSOLE_IN_FLIGHT="1") as client:
        ready = await client.get("/v2/health/ready")
        assert ready.status_code == 200
        waiting = asyncio.create_task(predict(client, "d", Prefer="wait=6", Idempotency_Key="d"))

        async def waits():
            return await sent_with(alone, "d") == 1

        await eventually(waits, "the one place is taken")
        busy = await predict(client, "e", Idempotency_Key="e")
        assert busy.status_code == 429
        assert busy.json()["code"] == "too_many_requests"
        assert busy.headers["retry-after"] == "1"
        assert (await waiting).status_code == 504
        # The place is free again. What was refused was not sent.
        assert (await predict(client, "f", Prefer="wait=0")).status_code == 504
    assert await sent_with(alone, "e") == 0


async def lines_until(http, condition, **headers):
    """Read an event stream until ``condition`` holds of the events; they and the last id."""
    events, last = [], ""
    async with http.stream("GET", "/api/events/stream", headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        async for line in answer.aiter_lines():
            name, _, text = line.partition(": ")
            if name == "id":
                last = text
            elif name == "data":
                events.append(json.loads(text))
            if line == "" and condition(events):
                return events, last
    raise AssertionError("the stream ended")


async def test_an_event_stream_misses_nothing_while_it_is_away(http, stack):
    async with asyncio.timeout(DEADLINE_S):
        _, last = await lines_until(http, lambda _: True)
        names = [f"s{uuid.uuid4().hex[:6]}" for _ in range(6)]
        for name in names[:3]:
            await stack.baton.create_space(name)
        seen, last = await lines_until(http, lambda e: len(e) == 2, **{"Last-Event-ID": last})
        for name in names[3:]:
            await stack.baton.create_space(name)
        rest, _ = await lines_until(http, lambda e: len(e) == 4, **{"Last-Event-ID": last})
    assert sorted(e["data"]["space_id"] for e in seen + rest) == sorted(names)
    wrong = await http.get("/api/events/stream", headers={"Last-Event-ID": "yesterday"})
    assert (wrong.status_code, wrong.json()["code"]) == (422, "invalid_cursor")


async def test_what_is_no_longer_at_hand_is_read_from_the_log(stack, monkeypatch):
    monkeypatch.setattr(feeds, "KEPT_EVENTS", 2)
    for _ in range(8):
        await stack.baton.create_space(f"s{uuid.uuid4().hex[:6]}")
    whole = [r.value for r in await read_all(stack.settings, stack.settings.topics.events)]
    feed = Feed(stack.settings, SOURCE, pytest.fail)
    await feed.start()
    try:
        coming = feed.since(Cursor.start(feed.partitions), idle_s=5)
        found = [await anext(coming) for _ in whole]
        await coming.aclose()
    finally:
        await feed.stop()
    for number in range(feed.partitions):
        mine = [event.sequence for event in found if event.partition == number]
        assert mine == list(range(1, len(mine) + 1))


def test_it_answers_as_it_describes_itself(console):
    described = schemathesis.openapi.from_url(f"{console}/openapi.json")
    # It never ends: tried above.
    operations = described.exclude(path="/api/events/stream").get_all_operations()
    tried = 0
    for operation in (found.ok() for found in operations):
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            with contextlib.suppress(Unsatisfiable):
                asked(operation, mode)()
        tried += 1
    assert tried > 20


def asked(operation, mode):
    """A test of an operation with what fits its description, or does not."""

    @given(case=operation.as_strategy(generation_mode=mode))
    @hypothesis_settings(max_examples=8, deadline=None, derandomize=True, database=None)
    def test(case):
        # What no JSON Schema says, a tensor's length by its shape, the agents refuse.
        case.call_and_validate(excluded_checks=[positive_data_acceptance])

    return test
