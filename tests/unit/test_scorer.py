"""A batch is answered without what is late, and nothing in it is forgotten."""

import asyncio

import orjson
import pytest
from aiokafka.errors import KafkaError

from schemas.scoring import ScoringCode
from schemas.topics import Topics
from scoring.cache import ModelRef
from scoring.codecs.tables import Prediction, Served
from scoring.errors import ScoringError
from scoring.metrics import ScoringMetrics
from scoring.resolver import Endpoint
from scoring.scorer import PATIENCE_S, Scorer
from tests.support import DEADLINE_S


class Record:
    topic, partition, key = "requests", 0, None

    def __init__(self, offset, deployment, rows=1, **headers):
        self.offset = offset
        named = {"deployment-id": deployment, "request-id": f"r{offset}"} | headers
        self.headers = [(name.replace("_", "-"), text.encode()) for name, text in named.items()]
        self.value = orjson.dumps({"input_data": [{"values": [[1.0]] * rows}]})


class Deployments:
    """Resolves every ID to a model of that name, at revision 1 until it is told otherwise."""

    def __init__(self):
        self.at = 1
        self.known = asyncio.Event()
        self.known.set()

    async def fence(self):
        await self.known.wait()

    def revision(self, _):
        return self.at

    async def reach(self, deployment_id, revision, timeout_s):
        async with asyncio.timeout(timeout_s):
            while self.revision(deployment_id) < revision:  # noqa: ASYNC110 - it is set by hand
                await asyncio.sleep(0.001)

    def resolve(self, deployment_id):
        if deployment_id == "none" or (deployment_id == "new" and self.at == 1):
            raise ScoringError(ScoringCode.DEPLOYMENT_NOT_FOUND, "none")
        return Endpoint(Served(deployment_id, "a", self.at), ModelRef(None, deployment_id))


class Models:
    """Predicts at once, but for ``slow`` when it is let, and ``broken`` never."""

    def __init__(self):
        self.go = asyncio.Event()
        self.asked = []

    async def predict(self, ref, requests):
        name = ref.key
        self.asked.append(name)
        if name == "slow":
            await self.go.wait()
        if name == "broken":
            raise KeyError("a defect of our own")
        return [[Prediction([1.0], None)]] * len(requests)


@pytest.fixture
def deployments():
    return Deployments()


@pytest.fixture
def models():
    return Models()


@pytest.fixture
def metrics():
    return ScoringMetrics()


@pytest.fixture
def scorer(deployments, models, metrics):
    return Scorer(Topics(), deployments, models, revision_wait_s=5.0, metrics=metrics)


def offsets(writes):
    return sorted(orjson.loads(write.value)["request"]["offset"] for write in writes)


async def test_what_is_late_does_not_hold_up_the_others(scorer, models, monkeypatch):
    batch = [Record(0, "quick"), Record(1, "slow"), Record(2, "none"), Record(3, "slow")]
    scored = await scorer.score(batch)
    assert offsets(scored.writes) == [0, 2]
    ((task, owed),) = scored.late.items()
    assert owed.offsets == {1, 3}
    # Who is known to be behind is not waited for again, in whatever batch.
    monkeypatch.setattr("scoring.scorer.PATIENCE_S", 2 * DEADLINE_S)
    async with asyncio.timeout(DEADLINE_S):
        again = await scorer.score([Record(4, "slow"), Record(5, "quick")])
    assert offsets(again.writes) == [5]
    models.go.set()
    assert offsets(await task) == [1, 3]
    for late in again.late:
        await late
    await asyncio.sleep(0)
    # It has caught up: it is waited for again.
    assert (await scorer.score([Record(6, "slow")])).late == {}


async def test_a_revision_that_is_to_come_is_waited_for_aside(scorer, deployments):
    batch = [Record(0, "quick"), Record(1, "quick", min_revision="2"), Record(2, "quick")]
    scored = await scorer.score(batch)
    assert offsets(scored.writes) == [0, 2]
    deployments.at = 2
    ((task, owed),) = scored.late.items()
    assert owed.offsets == {1}
    (answer,) = await task
    assert orjson.loads(answer.value)["revision"] == 2
    # Its deployment is not behind for that.
    assert (await scorer.score([Record(3, "quick")])).late == {}


async def test_models_are_asked_while_the_fence_is_under_way(scorer, deployments, models):
    deployments.known.clear()
    scoring = asyncio.create_task(scorer.score([Record(0, "quick"), Record(1, "new")]))
    while not models.asked:  # noqa: ASYNC110 - what it waits for has no event
        await asyncio.sleep(0)
    # Longer than anybody is waited for: a fence that takes its time makes nothing late.
    await asyncio.sleep(PATIENCE_S * 1.5)
    assert not scoring.done()
    deployments.known.set()
    scored = await scoring
    assert scored.late == {}
    assert offsets(scored.writes) == [0, 1]
    assert models.asked == ["quick"]


async def test_what_was_replaced_before_the_fence_is_asked_again(
    scorer, deployments, models, metrics
):
    deployments.known.clear()
    batch = [Record(0, "quick"), Record(1, "new"), Record(2, "quick", min_revision="2")]
    scoring = asyncio.create_task(scorer.score(batch))
    while not models.asked:  # noqa: ASYNC110 - what it waits for has no event
        await asyncio.sleep(0)
    deployments.at = 2
    deployments.known.set()
    scored = await scoring
    assert scored.late == {}
    assert offsets(scored.writes) == [0, 1, 2]
    assert {orjson.loads(write.value)["revision"] for write in scored.writes} == {2}
    # Once before the fence, for nothing; behind it, what serves then.
    assert sorted(models.asked) == ["new", "quick", "quick", "quick"]
    counted = metrics.registry.get_sample_value(
        "baton_deployment_answers_total", {"deployment_id": "quick"}
    )
    assert counted == 2


async def test_a_fence_that_fails_leaves_nothing_running(scorer, deployments):
    async def fence():
        await asyncio.sleep(0)
        raise KafkaError("gone")

    deployments.fence = fence
    with pytest.raises(KafkaError):
        await scorer.score([Record(0, "quick"), Record(1, "slow")])
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == 1


async def test_a_large_request_is_answered_aside(scorer, deployments):
    batch = [Record(0, "quick"), Record(1, "quick", 20_000), Record(2, "quick", 1)]
    scored = await scorer.score(batch)
    assert offsets(scored.writes) == [0, 2]
    ((task, owed),) = scored.late.items()
    assert (owed.offsets, owed.bytes) == ({1}, len(batch[1].value))
    assert offsets(await task) == [1]
    # One that waits for a revision holds no place of the others.
    waiting = [Record(n, "quick", 20_000, min_revision="2") for n in range(10)]
    scored = await scorer.score([*waiting, Record(10, "quick", 20_000)])
    *early, last = scored.late
    assert offsets(await last) == [10]
    assert not any(task.done() for task in early)
    deployments.at = 2
    assert offsets([write for task in early for write in await task]) == list(range(10))


async def test_a_defect_of_our_own_is_told_to_who_met_it(scorer):
    scored = await scorer.score([Record(0, "broken"), Record(1, "quick")])
    told = {
        orjson.loads(w.value)["request"]["offset"]: orjson.loads(w.value) for w in scored.writes
    }
    assert told[0]["error"]["code"] == "model_error"
    assert "predictions" in told[1]


async def test_a_batch_that_is_dropped_leaves_nothing_running(scorer, models):
    scoring = asyncio.create_task(scorer.score([Record(0, "slow")]))
    await asyncio.sleep(0)
    scoring.cancel()
    await asyncio.wait([scoring])
    models.go.set()
    await asyncio.sleep(0.01)
    assert len(asyncio.all_tasks()) == 1
