"""The ``baton`` command against real services: audit, files, dead letters, doctor, watch."""

import asyncio
import json
import subprocess
import sys
import uuid
from datetime import timedelta

import pandas as pd
import pytest
from aiokafka import AIOKafkaProducer
from click.testing import CliRunner

from client import diagnosis
from client.cli import main
from client.findings import Level
from client.supervisor import child_environment
from schemas.records import record_key
from tests.support import eventually, read_all, until
from tests.unit.models import X

pytestmark = pytest.mark.broker

ROWS = 20_000
BAD = {17, 12_345}


def run(stack, *arguments):
    environment = stack.settings.environment() | {"COLUMNS": "200"}
    done = CliRunner().invoke(main, arguments, env=environment)
    assert "Traceback" not in done.output, done.output
    return done.exit_code, done.stdout


async def baton(stack, *arguments):
    # It runs an event loop of its own.
    return await asyncio.to_thread(run, stack, *arguments)


async def asked(stack, *arguments, code=0):
    status, text = await baton(stack, *arguments, "-o", "json")
    assert status == code, text
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
async def lab(stack):
    """Two spaces with a deployment ``d`` each; the first one has a second asset."""
    space, deployment, assets = await stack.deployed()
    await stack.deployed(space=f"{space}-b")
    return space, deployment, assets


def killed_once(stack, arguments, sign):
    """Run ``baton``, and kill it when the file ``sign`` is there."""
    process = subprocess.Popen(
        [sys.executable, "-m", "client.cli", *arguments], env=child_environment(stack.settings)
    )
    until(lambda: sign.exists() or process.poll() is not None, f"{sign.name} is there")
    process.kill()
    process.wait()


async def publish(stack, topic, value, *, key=None, partition=None, headers=()):
    producer = AIOKafkaProducer(bootstrap_servers=stack.settings.bootstrap_servers)
    await producer.start()
    try:
        return await producer.send_and_wait(
            topic, value, key=key, partition=partition, headers=list(headers)
        )
    finally:
        await producer.stop()


async def test_a_replace_shows_the_report_before_it_changes_anything(stack, lab):
    space, deployment, (first, second) = lab
    code, text = await baton(stack, "deployment", "show", "d")
    assert code == 1
    assert deployment in (await baton(stack, "deployment", "show", "d", "--space", space))[1]
    options = ("--space", space, "--reason", "accuracy")
    (checked,) = await asked(
        stack, "deployment", "replace", "d", "--asset", second, *options, "--dry-run"
    )
    assert (checked["event"], checked["data"]["revision"]) == ("update-checked", 1)
    code, text = await baton(stack, "deployment", "replace", "d", "--asset", second, *options)
    assert code == 0, text
    names = [line.split()[0] for line in text.splitlines()]
    assert names.index("update-checked") < names.index("sample_prediction")
    assert names[-1] == "deployment-updated"
    assert f"is at revision 2 and serves asset {second}" in text
    # For machines the change alone, unless they ask for the check.
    (event,) = await asked(stack, "deployment", "rollback", deployment)
    assert event["data"]["after"]["asset_id"] == first


async def test_the_audit_log_tells_who_did_what_and_what_served_when(stack, lab, tmp_path):
    space, deployment, (first, second) = lab
    events = await asked(stack, "audit", "--space", space)
    assert [event["time"] for event in events] == sorted(event["time"] for event in events)
    served = [e for e in events if e["event"].startswith("deployment-")]
    for event in served:
        (found,) = await asked(stack, "audit", "--deployment", deployment, "--at", event["time"])
        assert found[0]["asset_id"] == event["data"]["after"]["asset_id"]
    assert await asked(stack, "audit", "--space", space, "--at", "2020-01-01") == [[]]
    (updated,) = await asked(stack, "audit", "--event", "deployment-updated", "--space", space)
    assert (updated["data"]["reason"], updated["data"]["after"]["asset_id"]) == ("accuracy", second)
    assert await asked(stack, "audit", "--actor", "nobody") == []
    assert await asked(stack, "audit", "--until", "1h") == []
    (last,) = await asked(stack, "audit", "--space", space, "--limit", "1")
    assert last == events[-1]
    goal = tmp_path / "log.parquet"
    await asked(stack, "audit", "--out", str(goal))
    frame = pd.read_parquet(goal)
    assert frame[frame["space_id"] == space]["event"].tolist() == [e["event"] for e in events]
    assert first in set(frame["asset_id"])


async def test_a_false_record_in_the_state_is_found_by_replaying_the_log(stack, lab):
    _, deployment, _ = lab
    (verdict,) = await asked(stack, "audit", "--verify")
    assert verdict["verified"], verdict["differences"]
    assert sum(part["events"] for part in verdict["partitions"]) == len(
        await read_all(stack.settings, stack.settings.topics.events)
    )
    topic = stack.settings.topics.state
    key = record_key("deployment", deployment)
    held = [r for r in await read_all(stack.settings, topic) if r.key == key.encode()][-1]
    forged = json.loads(held.value) | {"revision": 7}
    await publish(
        stack, topic.name, json.dumps(forged).encode(), key=held.key, partition=held.partition
    )
    (verdict,) = await asked(stack, "audit", "--verify", code=1)
    (found,) = verdict["differences"]
    assert (found["key"], found["expected"], found["actual"]) == (
        key,
        {"revision": json.loads(held.value)["revision"]},
        {"revision": 7},
    )
    code, text = await baton(stack, "audit", "--verify")
    assert (code, key in text, "'revision': 7" in text) == (1, True, True)
    # The true record again: the module's other tests go on.
    await publish(stack, topic.name, held.value, key=held.key, partition=held.partition)
    assert (await asked(stack, "audit", "--verify"))[0]["verified"]


async def test_a_file_is_scored_once_a_row_through_a_kill_and_a_replace(stack, lab, tmp_path):
    space, deployment, (_, second) = lab
    source, goal = tmp_path / "rows.csv", tmp_path / "scored.parquet"
    frame = pd.DataFrame(X, columns=["x0", "x1", "x2"]).sample(
        ROWS, replace=True, random_state=1, ignore_index=True
    )
    frame["id"] = [f"k{number}" for number in range(1, ROWS + 1)]
    frame["x0"] = frame["x0"].astype(object)
    for row in BAD:
        frame.loc[row - 1, "x0"] = "oops"
    frame.to_csv(source, index=False)
    command = ("score", str(source), "--deployment", deployment, "--keep", "id")
    arguments = [*command, "--out", str(goal)]
    progress = tmp_path / "scored.parquet.progress"
    killed_once(stack, arguments, progress)
    assert not goal.exists(), "it was done before it was killed: give it more rows"
    saved = json.loads(progress.read_text())["rows"]
    assert 0 < saved < ROWS
    await stack.baton.replace_asset(space, deployment, second)
    (summary,) = await asked(stack, *arguments)
    assert summary == {"rows": ROWS, "errors": len(BAD), "out": str(goal)}
    scored = pd.read_parquet(goal)
    assert scored["row"].tolist() == list(range(1, ROWS + 1))
    assert scored["id"].tolist() == frame["id"].tolist()
    wrong = scored[scored["row"].isin(BAD)]
    assert set(wrong["error_code"]) == {"schema_mismatch"}
    assert wrong["asset_id"].notna().all()
    assert wrong["revision"].notna().all()
    right = scored[~scored["row"].isin(BAD)]
    assert right["error_code"].isna().all()
    # What was scored before the kill was not asked again, and each row says what scored it.
    assert right["revision"].is_monotonic_increasing
    assert right["revision"].nunique() == 2
    assert set(right[right["row"] > saved]["asset_id"]) == {second}
    code, _ = await baton(stack, *arguments)
    assert code == 1
    few = tmp_path / "few.csv"
    frame[["x0", "x1", "x2"]].head(3).to_csv(few, index=False)
    code, text = await baton(stack, "score", str(few), "--deployment", deployment, "--rows", "2")
    assert (code, second in text) == (0, True), text


async def test_a_dead_letter_is_shown_and_sent_again_untouched(stack):
    settings = stack.settings
    garbage = b"\x00\xffno command " + uuid.uuid4().bytes
    await publish(
        stack, settings.topics.commands.name, garbage, key=b"k", partition=1, headers=[("h", b"v")]
    )

    async def listed():
        (letters,) = await asked(stack, "dead-letters", "list", "--from", "commands")
        return [letter for letter in letters if letter["bytes"] == len(garbage)]

    async def laid_aside(count):
        return len(await listed()) == count

    await eventually(lambda: laid_aside(1), "the garbage is laid aside")
    (letter,) = await listed()
    (shown,) = await asked(stack, "dead-letters", "show", str(letter["id"]))
    assert (shown["headers"], shown["key"], shown["partition"]) == ([["h", "v"]], "k", 1)
    code, text = await baton(stack, "dead-letters", "show", str(letter["id"]))
    assert (code, "00000000  00 ff 6e 6f" in text) == (0, True), text
    await asked(stack, "dead-letters", "replay", str(letter["id"]))
    await eventually(lambda: laid_aside(2), "it is laid aside again")
    _, again = await listed()
    topic = settings.topics.commands
    first, second = (r for r in await read_all(settings, topic) if r.value == garbage)
    assert (second.key, second.partition, second.headers) == (b"k", 1, (("h", b"v"),))
    assert again["offset"] == second.offset > first.offset
    code, _ = await baton(stack, "dead-letters", "show", "999999")
    assert code == 1


async def test_the_doctor_tells_of_a_transaction_that_stays_open(settings, monkeypatch):
    topic = settings.topics.responses.name
    async with AIOKafkaProducer(
        bootstrap_servers=settings.bootstrap_servers, transactional_id=settings.app
    ) as producer:
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"kept from everybody", partition=1)
        (lately,) = await diagnosis._transactions(None, settings)
        assert (lately.level, lately.check) == (Level.OK, "transactions")
        monkeypatch.setattr(diagnosis, "OPEN", timedelta())
        (told,) = await diagnosis._transactions(None, settings)
        assert (told.level, told.check) == (Level.FAIL, f"topic {topic}")
        assert told.message.startswith("partition 1: a transaction is open since ")
        await producer.abort_transaction()

    async def over():
        (finding,) = await diagnosis._transactions(None, settings)
        return finding.level is Level.OK

    await eventually(over, "the transaction is over")


@pytest.mark.usefixtures("lab")
async def test_the_doctor_finds_a_whole_installation_well_and_says_what_is_not(stack):
    # The markers that a transactional producer leaves behind wait for nobody.
    servers, topic = stack.settings.bootstrap_servers, stack.settings.topics.requests.name
    sure = AIOKafkaProducer(bootstrap_servers=servers, transactional_id="sure")
    async with sure as producer, producer.transaction():
        for partition in range(stack.settings.topics.requests.partitions):
            headers = [("request-id", f"sure-{partition}".encode())]
            await producer.send_and_wait(topic, b"{}", partition=partition, headers=headers)
    (findings,) = await asked(stack, "doctor")
    levels = {finding["check"]: finding["level"] for finding in findings}
    assert "fail" not in levels.values(), findings
    told = {finding["check"]: finding["message"] for finding in findings}
    assert told["broker"].startswith("Apache Kafka 4.")
    for check in ("clock", "scoring", "workers", "scoring agents", "versions", "lag of requests"):
        assert levels[check] == "ok", findings
    code, text = await baton(stack, "doctor", "--bootstrap-servers", "127.0.0.1:1")
    assert code == 1
    assert "fail  broker: no Kafka answers at 127.0.0.1:1" in text
    assert "→ start it, or set BATON_BOOTSTRAP_SERVERS" in text


async def test_watch_sees_the_traffic_in_the_topics(stack, lab):
    space, deployment, _ = lab
    watching = asyncio.create_task(
        asked(stack, "watch", "--space", space, "--count", "6", "--interval", "0.5")
    )
    row = [[0.0, 0.0, 0.0]]
    while not watching.done():
        await stack.scoring.score(deployment, row, fields=["x0", "x1", "x2"])
    looks = await watching
    assert len(looks) == 6
    (found,) = looks[-1]["deployments"]
    assert (found["deployment_id"], found["status"]) == (deployment, "deployed")
    assert found["requests_s"] > 1
    assert found["errors_s"] == 0
    assert 0 <= found["p50_ms"] <= found["p99_ms"] < 60_000


async def test_a_shell_completes_what_lives_in_kafka(stack, lab):
    space, deployment, (first, _) = lab

    async def completed(*words):
        line = " ".join(["baton", *words])
        environment = {"_BATON_COMPLETE": "bash_complete", "COMP_WORDS": line}
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", "from client.cli import main; main(prog_name='baton')"],
            env=child_environment(stack.settings) | environment | {"COMP_CWORD": str(len(words))},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stderr == ""
        return {line.partition(",")[2] for line in done.stdout.splitlines()}

    assert space in await completed("audit", "--space", space[:3])
    assert deployment in await completed("deployment", "show", deployment[:4])
    assert first in await completed("deployment", "replace", "d", "--asset", first[:4])
