"""One contract for every client: the Python one and the ``baton`` command."""

import asyncio
import json
import uuid

import joblib
import pandas as pd
import pytest
from click.testing import CliRunner

from client import CommandRejected, UpdateFailed, events
from client.cli import main
from tests.unit.models import X, fitted

pytestmark = pytest.mark.broker


class Refused(Exception):  # noqa: N818 - it is an answer
    def __init__(self, code, checks):
        super().__init__(code)
        self.code, self.checks = code, checks


class Python:
    """The async client; outcomes as the JSON of their events."""

    def __init__(self, stack):
        self.baton = stack.baton

    async def send(self, name, *arguments, **options):
        try:
            outcome = await getattr(self.baton, name)(*arguments, **options)
        except CommandRejected as refusal:
            raise Refused(refusal.rejection, [c.name for c in refusal.checks]) from None
        except UpdateFailed as failure:
            failed = [check.name for check in failure.checks if not check.passed]
            raise Refused("update-failed", failed) from None
        return outcome.event.as_json()

    async def create_space(self, space):
        return await self.send("create_space", space)

    async def promote(self, space, manifest, asset):
        return await self.send("promote_asset", space, manifest, asset)

    async def create_deployment(self, space, asset):
        return await self.send("create_deployment", space, asset, "d")

    async def replace(self, space, deployment, asset, **options):
        return await self.send("replace_asset", space, deployment, asset, **options)

    async def rollback(self, space, deployment):
        return await self.send("rollback_deployment", space, deployment)

    async def delete_deployment(self, space, deployment):
        return await self.send("delete_deployment", space, deployment)

    async def delete_asset(self, space, asset):
        return await self.send("delete_asset", space, asset)

    async def show(self, deployment):
        return (await self.baton.deployment(deployment)).model_dump(mode="json")


class CommandLine:
    """``baton --json``. It finds a deployment's space by itself."""

    def __init__(self, stack):
        self.environment, self.folder = stack.settings.environment(), stack.folder

    async def send(self, *arguments):
        # It runs an event loop of its own.
        done = await asyncio.to_thread(
            CliRunner().invoke, main, ["--json", *arguments], env=self.environment
        )
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        answer = json.loads(done.stdout.splitlines()[-1])
        if done.exit_code == 0:
            return answer
        assert done.exit_code == 1, done.output
        data = answer["data"]
        failed = [check["name"] for check in data.get("checks", ()) if not check["passed"]]
        raise Refused(data.get("code", answer["event"]), failed)

    async def create_space(self, space):
        return await self.send("space", "create", space)

    async def promote(self, space, manifest, asset):
        path = self.folder / f"{asset}.json"
        path.write_text(manifest.model_dump_json())
        return await self.send("asset", "promote", str(path), "--space", space, "--asset-id", asset)

    async def create_deployment(self, space, asset):
        arguments = ("--space", space, "--asset", asset, "--name", "d")
        return await self.send("deployment", "create", *arguments)

    async def replace(self, _space, deployment, asset, *, dry_run=False, expected_revision=None):
        options = ["--dry-run"] * dry_run
        if expected_revision is not None:
            options += ["--expected-revision", str(expected_revision)]
        return await self.send("deployment", "replace", deployment, "--asset", asset, *options)

    async def rollback(self, _space, deployment):
        return await self.send("deployment", "rollback", deployment)

    async def delete_deployment(self, _space, deployment):
        return await self.send("deployment", "delete", deployment)

    async def delete_asset(self, space, asset):
        return await self.send("asset", "delete", asset, "--space", space)

    async def show(self, deployment):
        return await self.send("deployment", "show", deployment)


@pytest.fixture(params=[Python, CommandLine])
def client(request, stack):
    return request.param(stack)


@pytest.fixture
async def lab(client, stack):
    space = f"s{uuid.uuid4().hex[:6]}"
    assets = [f"a{uuid.uuid4().hex[:6]}" for _ in range(3)]
    await client.create_space(space)
    for asset, case in zip(assets, ("binary", "binary", "mixed"), strict=True):
        await client.promote(space, stack.manifest(case), asset)
    created = await client.create_deployment(space, assets[0])
    assert (created["event"], created["data"]["revision"]) == ("deployment-created", 1)
    return space, created["data"]["deployment_id"], assets


async def test_replace_and_roll_back(client, lab):
    space, deployment, (first, second, _) = lab
    replaced = await client.replace(space, deployment, second, expected_revision=1)
    assert (replaced["event"], replaced["data"]["revision"]) == ("deployment-updated", 2)
    back = await client.rollback(space, deployment)
    assert (back["event"], back["data"]["revision"]) == ("deployment-rolled-back", 3)
    shown = await client.show(deployment)
    assert (shown["status"], shown["revision"]) == ("deployed", 3)
    assert shown["asset"]["asset_id"] == first


async def test_a_refusal_has_its_code_and_its_checks(client, lab):
    space, deployment, (first, _, other) = lab
    before = await client.show(deployment)
    with pytest.raises(Refused, match="schema_mismatch") as refusal:
        await client.replace(space, deployment, other)
    assert "input_schema:age" in refusal.value.checks
    with pytest.raises(Refused, match="same_asset"):
        await client.replace(space, deployment, first)
    with pytest.raises(Refused, match="space_exists"):
        await client.create_space(space)
    assert await client.show(deployment) == before


async def test_a_dry_run_changes_nothing(client, lab):
    space, deployment, (_, second, _) = lab
    before = await client.show(deployment)
    checked = await client.replace(space, deployment, second, dry_run=True)
    assert (checked["event"], checked["data"]["passed"]) == ("update-checked", True)
    assert await client.show(deployment) == before


async def test_delete(client, lab):
    space, deployment, (first, _, _) = lab
    with pytest.raises(Refused, match="asset_in_use"):
        await client.delete_asset(space, first)
    await client.delete_deployment(space, deployment)
    gone = await client.delete_asset(space, first)
    assert gone["event"] == "asset-deleted"


async def test_a_corrupted_file_is_refused(client, lab, stack):
    space, deployment, _ = lab
    manifest = stack.manifest("binary").model_copy(update={"sha256": "0" * 64})
    await client.promote(space, manifest, f"bad-{deployment}")
    with pytest.raises(Refused, match="update-failed") as refusal:
        await client.replace(space, deployment, f"bad-{deployment}")
    assert refusal.value.checks == ["digest"]


def baton(stack, *arguments):
    """Run ``baton`` as a person does; its exit status and what it prints."""
    runner = CliRunner()
    done = runner.invoke(main, arguments, env=stack.settings.environment() | {"COLUMNS": "100"})
    return done.exit_code, done.output


async def test_a_person_s_way_from_a_file_to_a_score(stack, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    estimator, _ = fitted("binary")
    joblib.dump(estimator, "model.joblib")
    pd.DataFrame(X[:5], columns=["x0", "x1", "x2"]).to_csv("rows.csv", index=False)

    async def run(*arguments):
        return await asyncio.to_thread(baton, stack, *arguments)

    code, text = await run("model", "save", "model.joblib", "--sample", "rows.csv", "--name", "m")
    assert code == 0, text
    assert "x0" in text
    assert (await run("space", "create", "walk"))[0] == 0
    assert (await run("asset", "promote", "m", "--space", "walk", "--asset-id", "walk-m"))[0] == 0
    code, text = await run(
        "deployment", "create", "--space", "walk", "--asset", "walk-m", "--name", "d"
    )
    assert code == 0, text
    (record,) = await stack.baton.deployments("walk")
    deployment = record.deployment_id
    assert deployment in text
    code, text = await run("score", deployment, "--data", "rows.csv", "--rows", "2")
    assert (code, "revision 1" in text) == (0, True), text
    code, text = await run("deployment", "list", "--space", "walk")
    assert (code, deployment in text) == (0, True), text
    code, text = await run("deployment", "show", deployment)
    assert (code, "walk-m" in text) == (0, True), text
    # Refusals are told with what to do, and by the exit status.
    code, text = await run("deployment", "replace", deployment, "--asset", "nothing")
    assert (code, "asset_not_found" in text) == (1, True), text
    code, text = await run("score", "no-such-deployment", "--data", "rows.csv")
    assert (code, "deployment_not_found" in text) == (1, True), text
    code, text = await run("events", "--space", "walk")
    assert code == 0
    assert [line.split()[1] for line in text.splitlines()] == [
        "space-created",
        "asset-promoted",
        "update-started",
        "deployment-created",
        "command-rejected",
    ]


async def test_events_follow_gives_each_once(stack):
    seen = []
    space = f"f{uuid.uuid4().hex[:6]}"

    async def follow():
        async for event in events(stack.settings, follow=True, from_beginning=False):
            seen.append(event)
            if event.data.space_id == space:
                return

    following = asyncio.create_task(follow())
    # It follows from where the log ends when it has begun: so let some pass until it hears one.
    while not following.done():
        await stack.baton.create_space(f"{space}-{uuid.uuid4().hex[:6]}")
        if seen:
            await stack.baton.create_space(space)
            break
    await following
    places = [(event.partition, event.sequence) for event in seen]
    assert len(places) == len(set(places))


def test_a_broker_that_is_away_is_told_in_one_line(monkeypatch):
    monkeypatch.setattr("client.commands.BROKER_TIMEOUT_S", 1.0)
    runner = CliRunner()
    done = runner.invoke(main, ["--bootstrap-servers", "127.0.0.1:1", "space", "create", "x"])
    assert done.exit_code == 3
    (line,) = done.output.strip().splitlines()
    assert line.startswith("error: no Kafka answers at 127.0.0.1:1")
