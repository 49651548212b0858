"""Clients of every kind on a real broker: the examples run, and all that they write fits."""

import asyncio
import inspect
import json
import shutil
import subprocess
import uuid
import zlib
from contextlib import aclosing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

import client.audit
import client.commands
import client.scoring
import client.sync
from artifacts.save import save_model
from artifacts.store import Store
from client import BatonClient, OutcomeTimeout, ScoreRequest, ScoringClient, events, sync
from client.errors import ScoringError
from schemas.scoring import MIN_REVISION, REQUEST_ID
from schemas.topics import partition_for
from tests.snippets import python_blocks, run, run_docstring
from tests.support import DEADLINE_S, eventually, read_all
from tests.unit.records import kind_of

pytestmark = pytest.mark.broker

ROOT = Path(__file__).parents[2]
ROWS = pd.DataFrame({"amount": [1.2, 870.0, 3.0, 912.0], "age": [30.0, 41.0, 25.0, 52.0]})


@pytest.fixture(scope="module")
async def fraud(stack):
    """Space fraud with the assets fraud-7 and fraud-8, of two fields."""
    await stack.baton.create_space("fraud")
    for asset, strength in (("fraud-7", 1.0), ("fraud-8", 0.5)):
        estimator = LogisticRegression(C=strength).fit(ROWS, np.array([0, 1, 0, 1]))
        store = Store(stack.settings.store)
        manifest = save_model(estimator, ROWS, store=store, name=asset)
        await stack.baton.promote_asset("fraud", manifest, asset)
    return stack


@pytest.fixture
async def deployment(fraud):
    """A new deployment that serves fraud-7."""
    made = await fraud.baton.create_deployment("fraud", "fraud-7", uuid.uuid4().hex[:8])
    return made.deployment_id


EXAMPLES = [
    member
    for module in (client.commands, client.scoring, client.audit, client.sync)
    for owner in vars(module).values()
    if getattr(owner, "__module__", "") == module.__name__
    for member in (owner, *(vars(owner).values() if inspect.isclass(owner) else ()))
    if inspect.isroutine(member) or inspect.isclass(member)
    if ">>>" in (member.__doc__ or "")
]


def test_there_are_examples():
    assert len(EXAMPLES) >= 7


@pytest.mark.parametrize("thing", EXAMPLES, ids=lambda t: f"{t.__module__}.{t.__qualname__}")
async def test_an_example_in_a_docstring_says_what_happens(fraud, deployment, thing):
    names = {"settings": fraud.settings, "deployment": deployment}
    await run_docstring(inspect.getdoc(thing), names)


async def test_the_examples_of_the_document_run(fraud, deployment, monkeypatch):
    for name, value in fraud.settings.environment().items():
        monkeypatch.setenv(name, value)
    names = {"deployment": deployment}
    blocks = python_blocks((ROOT / "docs" / "clients.md").read_text())
    printed = [await run(block, names) for block in blocks]
    assert printed[1] == "deployment-updated 2\n"
    assert printed[-1].startswith("deployed\n")


# --- what the clients promise


async def test_a_client_that_knows_a_revision_asks_for_it(fraud, deployment):
    async with ScoringClient(fraud.settings, timeout_s=DEADLINE_S) as other:
        outcome = await fraud.baton.replace_asset("fraud", deployment, "fraud-8")
        await other.score(deployment, [[1.2, 30]], request_id="knows-nothing")
        other.revisions.see(outcome)
        assert (await other.score(deployment, [[1.2, 30]], request_id="knows")).revision == 2
        # What the caller says counts.
        told = ScoreRequest(deployment, [[1.2, 30]], request_id="told", min_revision=1)
        await other.ask(told)
        # A revision that never comes: waited for, and told.
        other.revisions._latest[deployment] = 9
        with pytest.raises(ScoringError, match="revision_timeout"):
            await other.score(deployment, [[1.2, 30]])
    asked = {}
    for record in await read_all(fraud.settings, fraud.settings.topics.requests):
        headers = dict(record.headers)
        asked[headers.get(REQUEST_ID)] = headers.get(MIN_REVISION)
    assert asked[b"knows-nothing"] is None
    assert (asked[b"knows"], asked[b"told"]) == (b"2", b"1")


def lost_at_first(send):
    """Send, but let the client believe the first time that it took too long."""
    calls = []

    async def sent(*arguments, **options):
        calls.append(arguments)
        done = await send(*arguments, **options)
        if len(calls) == 1:
            raise TimeoutError
        return done

    return sent


async def test_a_command_that_is_sent_again_is_applied_once(fraud, monkeypatch):
    settings = fraud.settings
    async with BatonClient(settings, source="/again", timeout_s=DEADLINE_S, retries=1) as baton:
        monkeypatch.setattr(baton, "_publish", lost_at_first(baton._publish))
        outcome = await baton.create_space(f"again-{uuid.uuid4().hex[:6]}")
    sent = await read_all(settings, settings.topics.commands)
    ids = [dict(record.headers).get("ce_id", b"").decode() for record in sent]
    assert ids.count(outcome.command_id) == 2
    # Behind the second one on its partition there is another: it was decided, to no effect.
    with pytest.raises(client.CommandRejected, match="space_exists"):
        await fraud.baton.create_space(outcome.event.data.space_id)
    found = [e async for e in events(settings) if e.command_id == outcome.command_id]
    assert [event.name for event in found] == ["space-created"]


async def test_a_request_that_is_sent_again_keeps_its_id(fraud, deployment, monkeypatch):
    settings = fraud.settings
    async with ScoringClient(settings, timeout_s=DEADLINE_S, retries=1) as scoring:
        monkeypatch.setattr(scoring._producer, "send", lost_at_first(scoring._producer.send))
        answer = await scoring.score(deployment, [[1.2, 30]])
    sent = await read_all(settings, settings.topics.requests)
    ids = [dict(record.headers).get(REQUEST_ID, b"").decode() for record in sent]
    assert ids.count(answer.request_id) == 2


async def test_no_more_is_under_way_than_the_bound(fraud, deployment, monkeypatch):
    async with ScoringClient(fraud.settings, timeout_s=DEADLINE_S, max_in_flight=3) as scoring:
        most, once = [], scoring._once

        async def counted(request, request_id):
            most.append(len(scoring._tail.waiting) + 1)
            return await once(request, request_id)

        monkeypatch.setattr(scoring, "_once", counted)
        rows = [scoring.score(deployment, [[n, 30]]) for n in range(20)]
        assert len(await asyncio.gather(*rows)) == 20
        assert max(most) == 3


async def test_a_stream_gives_an_answer_before_the_next_request_is_there(fraud, deployment):
    answered = asyncio.Event()

    async def requests():
        yield ScoreRequest(deployment, [[1.2, 30]])
        # Endless streams pause: nobody has to wait for a thousand requests.
        await asyncio.wait_for(answered.wait(), DEADLINE_S)
        yield ScoreRequest(deployment, [[1.2, 30]])

    got = []
    async with aclosing(fraud.scoring.stream(requests())) as answers:
        async for answer in answers:
            got.append(answer.revision)
            answered.set()
    assert got == [1, 1]


async def test_what_a_stream_s_requests_raise_ends_it(fraud, deployment):
    def requests():
        yield ScoreRequest(deployment, [[1.2, 30]])
        raise OSError("the file is gone")

    with pytest.raises(OSError, match="the file is gone"):
        async for _ in fraud.scoring.stream(requests()):
            pass
    assert fraud.scoring._tail.waiting == {}


async def test_the_sync_clients_raise_what_the_async_ones_do(fraud):
    def program():
        with sync.BatonClient(fraud.settings, timeout_s=DEADLINE_S) as baton:
            with pytest.raises(client.CommandRejected, match="space_exists"):
                baton.create_space("fraud")
            assert [space.space_id for space in baton.spaces() if space.space_id == "fraud"]
        with sync.ScoringClient(fraud.settings, timeout_s=DEADLINE_S) as scoring:
            requests = [ScoreRequest("no-such-one", [[n, 1]]) for n in range(5)]
            codes = [error.reason for error in scoring.stream(requests, max_in_flight=2)]
            assert codes == ["deployment_not_found"] * 5
        with (
            pytest.raises(OutcomeTimeout),
            sync.BatonClient(fraud.settings, timeout_s=0.000001) as baton,
        ):
            baton.create_space("too-late")

    await asyncio.to_thread(program)


# --- clients of others


async def outcome_of(settings, command_id):
    """The events of a command, once it has ended."""
    found = []

    async def ended():
        found[:] = [event async for event in events(settings) if event.command_id == command_id]
        return any(event.name != "update-started" for event in found)

    await eventually(ended, f"command {command_id} ends")
    return found


async def test_a_command_by_librdkafka_s_own_partitioner_is_applied_once(fraud):
    from confluent_kafka import Producer

    topic = fraud.settings.topics.commands
    # Its default for a key is CRC32, so about half of the spaces are somewhere else than at home.
    space = next(
        name
        for name in (f"crc-{number}" for number in range(100))
        if zlib.crc32(name.encode()) % topic.partitions
        != partition_for(name.encode(), topic.partitions)
    )
    delivered = []
    producer = Producer({"bootstrap.servers": fraud.settings.bootstrap_servers})
    headers = {
        "ce_specversion": "1.0",
        "ce_id": "crc",
        "ce_source": "/librdkafka",
        "ce_type": "baton.command.create-space.v1",
        "content-type": "application/json",
    }
    producer.produce(
        topic.name,
        json.dumps({"space_id": space, "name": space}),
        key=space,
        headers=list(headers.items()),
        on_delivery=lambda error, message: delivered.append((error, message.partition())),
    )
    assert producer.flush(DEADLINE_S) == 0
    home = partition_for(space.encode(), topic.partitions)
    assert delivered == [(None, zlib.crc32(space.encode()) % topic.partitions)]
    assert delivered[0][1] != home
    (event,) = await outcome_of(fraud.settings, "crc")
    assert (event.name, event.partition, event.data.space_id) == ("space-created", home, space)
    # Behind it all that was there is decided: what came twice would have two events.
    await fraud.baton.create_space(f"behind-{home}")
    lying = [
        record.partition
        for record in await read_all(fraud.settings, topic)
        if dict(record.headers).get("ce_id") == b"crc"
    ]
    assert sorted(lying) == sorted([delivered[0][1], home])
    assert len(await outcome_of(fraud.settings, "crc")) == 1


NODE, NPM = shutil.which("node"), shutil.which("npm")


def node_modules():
    """KafkaJS, installed once into the cache from the lock file; None where npm cannot."""
    from transport.embedded.jars import cache_folder

    here = ROOT / "examples" / "node"
    folder = cache_folder() / "node-example"
    lock = (here / "package-lock.json").read_bytes()
    if not (folder / "installed").exists() or (folder / "installed").read_bytes() != lock:
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(here / name, folder)
        install = [NPM, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(install, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"npm cannot install KafkaJS: {done.stderr[-300:]}")
        (folder / "installed").write_bytes(lock)
    shutil.copy(here / "replace.mjs", folder)
    return folder


@pytest.mark.skipif(NODE is None or NPM is None, reason="no node and npm here")
async def test_the_node_example_replaces_and_scores(fraud, deployment):
    folder = await asyncio.to_thread(node_modules)
    done = await asyncio.to_thread(
        subprocess.run,
        [NODE, "replace.mjs", "fraud", deployment, "fraud-8"],
        cwd=folder,
        env=fraud.settings.environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_S + 10,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    first, second = done.stdout.splitlines()
    assert first == "event.deployment-updated.v1 revision 2"
    assert second.startswith("asset fraud-8, revision 2: [[0,[")
    (event,) = [
        event
        async for event in events(fraud.settings)
        if event.data.deployment_id == deployment and event.name == "deployment-updated"
    ]
    assert event.data.actor == "node@example.com"


# --- last: all that was written above


async def test_every_record_of_every_topic_is_a_message_of_the_contract(fraud, deployment):
    topics, garbage = fraud.settings.topics, b"no command"
    async with BatonClient(fraud.settings) as baton:
        await baton.replace_asset("fraud", deployment, "fraud-8", dry_run=True)
        await baton._producer.send_and_wait(topics.commands.name, garbage)
        inputs = [{"name": "x", "shape": [1, 2], "datatype": "FP64", "data": [1.2, 30]}]
        request = {"id": "v2", "parameters": {"deployment_id": deployment}, "inputs": inputs}
        value = json.dumps(request).encode()
        await baton._producer.send_and_wait(topics.requests.name, value)
    found = set()

    async def all_kinds():
        for topic in topics.all():
            for record in await read_all(fraud.settings, topic):
                if record.value != garbage or topic == topics.dead_letters:
                    found.add(kind_of(topic.name, *parts(record)))
        # What the tests above have made, and what each topic has at least.
        return found >= {
            "command.replace-asset",
            "event.update-checked",
            "event.command-rejected",
            "state.deployment",
            "state.cursor",
            "request.v2",
            "response.v2",
            "response.wml",
            "response.error",
            "dead-letter",
        }

    await eventually(all_kinds, "a message of each topic")


def parts(record):
    """A record as the contract describes it: key, headers, payload."""
    headers = {name: (text or b"").decode() for name, text in record.headers}
    # A dead letter is any bytes.
    payload = None if "dead-letter-reason" in headers else json.loads(record.value)
    return (record.key or b"").decode(), headers, payload
